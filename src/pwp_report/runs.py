"""Results in a folder of their own per run: written beside their place, moved there whole.

Last of all one pointer, ``latest``, is replaced. Killed at any moment, the folder holds the old
results or the new.

What a killed run leaves, ``.run-*.partial``, nobody but its owner can read; it holds nothing that
is not released. A later run in the same folder removes it once it is a day old, when nobody can
still be writing it.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pwp_report.wording import refusal


def publish(home: Path, fill: Callable[[Path], object]) -> Path:
    """Write a run, give it the next number, and point to it.

    Parameters
    ----------
    home : Path
        Folder of runs; made if it does not exist.
    fill : callable
        Writes everything into the folder that it is given.

    Returns
    -------
    Path
        The folder of this run, ``run-0001`` or the next number.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    try:
        made = not home.exists()
        home.mkdir(parents=True, exist_ok=True)
        # What runs that were killed have left, a day ago or more.
        for left in home.glob(".run-*.partial"):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".run-", suffix=".partial", dir=home))
    except OSError:
        raise refusal("folder_not_writable", file=home) from None
    try:
        fill(work)
        work.chmod(0o755)
        run = _move(work, home)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if made and not any(home.iterdir()):
            home.rmdir()
        if isinstance(error, OSError):
            why = error.strerror or type(error).__name__
            raise refusal("results_not_written", file=home, why=why) from None
        raise
    _point(home, run)
    return run


def _move(work: Path, home: Path) -> Path:
    """Give the run the next number; another process may take it first."""
    taken = [int(m[1]) for p in home.iterdir() if (m := re.fullmatch(r"run-(\d{4,})", p.name))]
    run = home / f"run-{max(taken, default=0) + 1:04d}"
    try:
        if not run.exists():
            return work.rename(run)
    except OSError:
        if not run.exists():
            raise
    return _move(work, home)


def _point(home: Path, run: Path) -> None:
    """Replace the pointer, last of all: a link, or a small file where links are not allowed."""
    new = home / ".latest.new"
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(run.name, target_is_directory=True)
        new.replace(home / "latest")
    except OSError:
        new.unlink(missing_ok=True)
        new.write_text(run.name + "\n", encoding="utf-8", newline="\n")
        new.replace(home / "latest.txt")
