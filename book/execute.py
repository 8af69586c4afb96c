"""Run the book's pages that hold code, several at a time, into the cache from which Sphinx reads.

Sphinx would run them one after another. A page that fails is left to it: it says where and why.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from finish import expected_pages

ROOT = Path(__file__).resolve().parent.parent
#: The longest first, so that none is left over at the end.
LONGEST = ("05_mcmc_intervals", "07_quartile_comparison", "10_how_close_did_we_get")
TIMEOUT = 600


def read(page: Path) -> Any:
    """Read a page as the notebook that Sphinx makes of it."""
    import nbformat
    from myst_nb.core.read import read_myst_markdown_notebook

    if page.suffix == ".ipynb":
        return nbformat.read(page, as_version=4)
    return read_myst_markdown_notebook(page.read_text(encoding="utf-8"), path=page)


def waiting(cache: Any) -> list[Path]:
    """Pages with code whose outputs the cache does not hold."""
    found = []
    for name in expected_pages():
        page = next(p for s in (".ipynb", ".md") if (p := ROOT / f"{name}{s}").is_file())
        if page.suffix == ".md" and "{code-cell}" not in page.read_text(encoding="utf-8"):
            continue
        try:
            cache.match_cache_notebook(read(page))
        except KeyError:
            found.append(page)
    return sorted(found, key=lambda p: p.stem not in LONGEST)


def run(page: Path) -> tuple[Any, float, bool]:
    """Run a page: its notebook with outputs, the seconds it took, and whether it went through."""
    from jupyter_cache.executors.utils import single_nb_execution

    done = single_nb_execution(
        read(page),
        cwd=str(page.parent),
        timeout=TIMEOUT,
        allow_errors=False,
        # The kernel's warning that it listens on this machine is no news to a reader of the log.
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    return done.nb, done.time, done.err is None


def main(folder: Path) -> None:
    """Fill the cache in `folder`."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn
    from rich.progress import track

    cache = get_cache(folder)
    pages = waiting(cache)
    if not pages:
        return
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        started = {pool.submit(run, page): page for page in pages}
        for done in track(as_completed(started), "Running the chapters", total=len(pages)):
            notebook, seconds, ok = done.result()
            if ok:
                bundle = CacheBundleIn(
                    notebook, str(started[done]), data={"execution_seconds": seconds}
                )
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
