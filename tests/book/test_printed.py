"""How `book/printed.py` joins the pages of the book before a browser prints them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = """<html><head><link rel="stylesheet" href="../_static/pwp.css"><link rel="icon" href="x">
<script>window.MathJax = {}</script><script src="../other.js"></script></head>
<body><nav>menu</nav><article class="bd-article"><h1 id="top">TITLE</h1>BODY
<script>play()</script><details><summary>Show</summary>Answer</details></article></body></html>"""


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    spec = importlib.util.spec_from_file_location("printed", ROOT / "book" / "printed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop("finish", None)
    return module


@pytest.fixture
def html(tmp_path: Path) -> Path:
    bodies = {
        "book/index": '<a href="../notebooks/one.html#top">one</a> <a href="#top">up</a> '
        '<a href="https://doi.org/1">paper</a> <a href="../downloads/one.ipynb">file</a>',
        "notebooks/one": '<a href="../book/index.html">start</a>',
    }
    for name, body in bodies.items():
        file = tmp_path / f"{name}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(PAGE.replace("TITLE", name).replace("BODY", body), encoding="utf-8")
    return tmp_path


def test_links_stay_within_the_printed_book(printed: ModuleType, html: Path) -> None:
    text = printed.joined(html, ["book/index", "notebooks/one"])
    assert '<a href="#p1-top">one</a> <a href="#p0-top">up</a>' in text
    assert '<a href="https://doi.org/1">paper</a> <a >file</a>' in text
    assert '<a href="#p0">start</a>' in text
    assert text.count('id="p0-top"') == text.count('id="p1-top"') == 1


def test_the_pages_come_without_navigation_and_scripts_and_with_answers(
    printed: ModuleType, html: Path
) -> None:
    text = printed.joined(html, ["book/index", "notebooks/one"])
    assert text.index("book/index</h1>") < text.index("notebooks/one</h1>")
    assert "menu" not in text
    assert "play()" not in text
    assert text.count("<details open>") == 2
    # What two pages share is loaded once.
    assert text.count("pwp.css") == text.count("window.MathJax") == 1
    assert "other.js" not in text
    assert 'rel="icon"' not in text


def test_without_a_browser_one_sentence_says_what_to_install(
    printed: ModuleType,
    html: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert printed.main(html) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "install Chromium" in said
    assert not (html / "downloads").exists()
