"""Turn chapters with their outputs into pages that ask the network for nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pwp_lib
from pwp_lib.errors import InputError

from .chapters import PAGES, Cell, Facts, own_page
from .chapters_run import Gate

__all__ = ["book_folder", "build_pages", "need_jupyter_book", "read_chapter"]


def need_jupyter_book() -> None:
    """See that the extra is installed.

    Raises
    ------
    InputError
        With what to install.
    """
    if importlib.util.find_spec("jupyter_book") is None:
        raise InputError(
            "pwp book needs the packages of the extra book",
            mend='install them with: python -m pip install "pwp-lib[book]"',
        )


def book_folder() -> Path:
    """Where the chapters lie: in the installed package, or in a checkout."""
    package = Path(pwp_lib.__file__).parent
    for folder in (package / "chapters", package.parents[1]):
        if (folder / "_config.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise InputError("the chapters are not installed", mend="install pwp-lib from its wheel")


def read_chapter(name: str) -> list[Cell]:
    """Read the cells of a chapter as they stand in git."""
    text = (book_folder() / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    cells: list[Cell] = json.loads(text)["cells"]
    return cells


def title_of(cells: Sequence[Cell]) -> str:
    """Say the first heading of a chapter."""
    return "".join(cells[0]["source"]).split("\n")[0].lstrip("# ")


def build_pages(
    chapters: Mapping[str, Sequence[Cell]], facts: Facts, gate: Gate, index: str, into: Path
) -> None:
    """Render chapters and pages of prose as HTML.

    Parameters
    ----------
    chapters : mapping of str to list of cells
        With the outputs that may be shown, and no others.
    facts : Facts
    gate : Gate
    index : str
        The first page.
    into : Path
        An existing folder. What the pages are made from lies in a hidden one within it, which
        nobody else can read, until they are done: whatever happens nothing is left elsewhere.

    Raises
    ------
    InputError
        If the pages cannot be made.
    """
    source = book_folder()
    with tempfile.TemporaryDirectory(prefix=".pages-", dir=into) as place:
        root = Path(place)
        shutil.copytree(
            source / "book",
            root / "book",
            ignore=shutil.ignore_patterns("*.md", "_toc.yml", "*.py"),
        )
        for page in PAGES:
            text = (source / "book" / f"{page}.md").read_text(encoding="utf-8")
            _write(root / "book" / f"{page}.md", own_page(text, facts))
        _write(root / "book" / "index.md", index)
        for name, cells in chapters.items():
            _write(root / "notebooks" / f"{name}.ipynb", json.dumps(_notebook(cells)))
        _write_settings(source, root, list(chapters), _banner(gate))
        html = _sphinx(root)
        _finish(source, html)
        for made in html.iterdir():
            made.rename(into / made.name)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _banner(gate: Gate) -> str:
    """Say on every page what data are on it."""
    if gate.active:
        return "Made from one service's own data, under disclosure control."
    if gate.synthetic:
        return "All patient data in this book are synthetic: they were made by a program."
    return (
        "Disclosure control was OFF: these pages show patients and small caseloads, and must not "
        "leave the service."
    )


def _notebook(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        },
        "cells": [
            {
                "cell_type": c["cell_type"],
                "id": f"cell-{i}",
                "metadata": {"tags": [t for t in c["tags"] if t in ("hide-input", "remove-input")]},
                "source": c["source"],
                **(
                    {"outputs": c["outputs"], "execution_count": None}
                    if c["cell_type"] == "code"
                    else {}
                ),
            }
            for i, c in enumerate(cells)
        ],
    }


def _write_settings(source: Path, root: Path, chapters: Sequence[str], banner: str) -> None:
    import yaml

    config = yaml.safe_load((source / "_config.yml").read_text(encoding="utf-8"))
    config["title"] = "Therapist effects: your own data"
    config["execute"] = {"execute_notebooks": "off"}
    config["html"]["extra_footer"] = f"<p>{banner} Prose CC BY 4.0, code MIT.</p>"
    config.pop("latex", None)
    sphinx = config["sphinx"]
    kept = ("sphinx_proof", "sphinx_tippy")
    sphinx["extra_extensions"] = [e for e in sphinx["extra_extensions"] if e in kept]
    settings = sphinx["config"]
    for name in [n for n in settings if n.startswith(("autosummary", "autodoc", "numpydoc"))]:
        del settings[name]
    theme = settings["html_theme_options"]
    for name in [n for n in theme if n.startswith(("launch", "repository", "use_repository"))]:
        del theme[name]
    theme |= {"announcement": banner, "use_download_button": False}
    _write(root / "_config.yml", yaml.safe_dump(config, allow_unicode=True))
    parts = [
        {"caption": "The analysis", "numbered": True,
         "chapters": [{"file": f"notebooks/{c}"} for c in chapters]},
        {"caption": "Before anybody acts on it",
         "chapters": [{"file": f"book/{p}"} for p in PAGES]},
    ]  # fmt: skip
    contents = {"format": "jb-book", "root": "book/index", "parts": parts}
    _write(root / "book" / "_toc.yml", yaml.safe_dump(contents, sort_keys=False))


def _sphinx(root: Path) -> Path:
    """Run jupyter-book over notebooks that have run already."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [".", "--config", "_config.yml", "--toc", "book/_toc.yml", "-q", "--keep-going"]
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, errors="replace"
    )
    html = root / "_build" / "html"
    wanted = [html / "book" / "index.html", *(
        html / "notebooks" / f"{n.stem}.html" for n in (root / "notebooks").glob("*.ipynb")
    )]  # fmt: skip
    if done.returncode or not all(page.is_file() for page in wanted):
        if os.environ.get("PWP_DEBUG") == "1":
            print(done.stdout, done.stderr, file=sys.stderr)
        raise InputError(
            "jupyter-book could not make the pages",
            mend='see that the packages of "pwp-lib[book]" are installed as it asks for them',
        )
    if os.environ.get("PWP_DEBUG") == "1":
        print(done.stderr, file=sys.stderr)
    return html


def _finish(source: Path, html: Path) -> None:
    """Mend the pages as `book/finish.py` does for the public book."""
    spec = importlib.util.spec_from_file_location("finish", source / "book" / "finish.py")
    if spec is None or spec.loader is None:
        raise InputError("the chapters are not installed whole", mend="install pwp-lib again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.mend_pages(html)
    (html / ".nojekyll").touch()
    shutil.rmtree(html / "_sources", ignore_errors=True)
