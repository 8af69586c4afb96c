"""Results in a folder of their own per run: written beside their place, moved there whole.

Last of all one pointer, ``latest``, is replaced. Killed at any moment, the folder holds the old
results or the new.

What a killed run leaves, ``.run-*.partial``, nobody but its owner can read, and the next run in the
same folder removes it. Every run locks a file ``.run-*.lock`` beside its own for as long as it
lives; the system lets go of the lock of a process that has died, however it died. So what is not
locked is nobody's, and a run that still writes is left alone, whoever started it. Where the system
has no such locks, on some network drives, nothing is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from multilevel.errors import InputError

__all__ = ["publish"]


def publish(out: str | os.PathLike[str], fill: Callable[[Path], object]) -> Path:
    """Write a run, give it the next number, and point to it.

    Parameters
    ----------
    out : path
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
    home = Path(out)
    try:
        made = not home.exists()
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        work, lock = _begin(home)
    except OSError:
        raise InputError(
            "nothing can be written to the folder", hint="name another with --out", file=home
        ) from None
    try:
        fill(work)
        work.chmod(0o755)
        run = _move(work, home)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        _let_go(lock)
        if made and not any(home.iterdir()):
            home.rmdir()
        if isinstance(error, OSError):
            raise InputError(
                f"the results cannot be written ({error.strerror or type(error).__name__})",
                hint="see that there is room, or name another folder with --out",
                file=home,
            ) from None
        raise
    _let_go(lock)
    _point(home, run)
    return run


def _begin(home: Path) -> tuple[Path, IO[str]]:
    """Make a folder of this run's own, mode 0700, and lock it before anything is in it."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=".run-", suffix=".partial", dir=home))
        lock = work.with_suffix(".lock").open("a")
        with suppress(OSError):
            _lock(lock)
        # Before it was locked, another run may have taken it for what somebody left.
        if work.exists():
            return work, lock
        _let_go(lock)


def _lock(file: IO[str]) -> None:
    """Lock a file until it is closed or its process ends; an error if another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _let_go(lock: IO[str]) -> None:
    if sys.platform == "win32":  # where what is open cannot be removed
        lock.close()
    with suppress(OSError):
        Path(lock.name).unlink(missing_ok=True)
    lock.close()


def _sweep(home: Path) -> None:
    """Remove what runs that are no more have left; what cannot be locked is in use."""
    left = {p.with_suffix("") for k in ("partial", "lock") for p in home.glob(f".run-*.{k}")}
    for stem in left:
        with suppress(OSError):
            lock = stem.with_suffix(".lock").open("a")
            try:
                _lock(lock)
            except OSError:
                lock.close()
                continue
            shutil.rmtree(stem.with_suffix(".partial"), ignore_errors=True)
            _let_go(lock)


def _move(work: Path, home: Path) -> Path:
    """Give the run the next number; another process may take it first."""
    taken = [int(m[1]) for p in home.iterdir() if (m := re.fullmatch(r"run-(\d{4,})", p.name))]
    number = max(taken, default=0)
    while True:
        number += 1
        run = home / f"run-{number:04d}"
        if run.exists():
            continue
        try:
            work.rename(run)
        except OSError:
            if run.exists():
                continue
            raise
        return run


def _point(home: Path, run: Path) -> None:
    """Replace the pointer, last of all: a link, or a small file where links are not allowed."""
    new = home / ".latest.new"
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(run.name, target_is_directory=True)
        os.replace(new, home / "latest")
    except OSError:
        new.unlink(missing_ok=True)
        new.write_text(run.name + "\n", encoding="utf-8", newline="\n")
        os.replace(new, home / "latest.txt")
