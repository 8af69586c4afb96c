"""Every public name is documented, once, on a page of the library's reference."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import pwp_lib
import pwp_report

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = sorted(BOOK.glob("library*.md"))
DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|autoclass|autofunction|py:data):: ([\w.]+)(?:\(.*\))?$", re.M
)
SUMMARY = re.compile(r"^\.\. autosummary::\n(?:   :.*\n)*\n((?:   \w+\n)+)", re.M)


def documented() -> Counter[tuple[str, str, str]]:
    """Count module, name and directive over all pages."""
    found: Counter[tuple[str, str, str]] = Counter()
    for page in PAGES:
        module = ""
        for directive, name in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if directive == "currentmodule":
                module = name
            else:
                found[module, name, directive] += 1
    return found


FOUND = documented()


def test_every_public_name_is_documented_once() -> None:
    for package in (pwp_lib, pwp_report):
        counts = Counter(n for module, n, _ in FOUND.elements() if module == package.__name__)
        assert counts == Counter(package.__all__)


@pytest.mark.parametrize("part", ["figures", "show", "interactive"])
def test_what_draws_and_says_is_documented(part: str) -> None:
    module = importlib.import_module(f"pwp_lib.show.{part}")
    wanted = {n for n in module.__all__ if not inspect.isclass(getattr(module, n))}
    assert wanted <= {name for where, name, _ in FOUND if where == module.__name__}


@pytest.mark.parametrize(("module", "name", "directive"), sorted(FOUND))
def test_the_directive_is_of_the_right_kind(module: str, name: str, directive: str) -> None:
    thing = getattr(importlib.import_module(module), name)
    kind = "class" if inspect.isclass(thing) else "function" if callable(thing) else "data"
    assert directive.removeprefix("auto").removeprefix("py:") == kind
    if kind != "data":
        assert inspect.getdoc(thing), f"{name} has no docstring"


def test_the_overview_lists_every_public_name() -> None:
    text = (BOOK / "library.md").read_text(encoding="utf-8")
    listed = {name for block in SUMMARY.findall(text) for name in block.split()}
    on_the_page = {name for d, name in DIRECTIVE.findall(text) if d != "currentmodule"}
    assert listed | on_the_page == {*pwp_lib.__all__, *pwp_report.__all__}
    assert not listed & on_the_page


def test_every_page_of_the_reference_is_in_the_table_of_contents() -> None:
    contents = (BOOK / "_toc.yml").read_text(encoding="utf-8")
    assert PAGES
    for page in PAGES:
        assert re.search(rf"file: book/{page.stem}$", contents, re.M), page.name


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda page: page.stem)
def test_names_that_a_page_mentions_are_there(page: Path) -> None:
    for name in re.findall(r"(?<![\w./-])pwp\.(\w+)", page.read_text(encoding="utf-8")):
        assert name in pwp_lib.__all__, name
