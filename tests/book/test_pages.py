"""The built book as a reader meets it: in a real browser, and link by link.

These checks run by `make pages`, after `make book`; they need Chromium. ``PWP_PAGES=full`` opens
every page at both widths and in both themes, as `make nightly` does; by default every page is
opened once, at a telephone's width. ``PWP_HTML`` names another folder of built pages than
``_build/html``, ``PWP_CHROMIUM`` another browser than ``/usr/bin/chromium``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = Path(os.environ.get("PWP_HTML", ROOT / "_build" / "html")).resolve()
CHROMIUM = os.environ.get("PWP_CHROMIUM") or "/usr/bin/chromium"
FULL = os.environ.get("PWP_PAGES") == "full"

VIEWS = [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")]
LARGEST_PAGE = 3_000_000
LARGEST_LANDING_PAGE = 1_000_000

# A message of the theme on every first visit: no choice of light or dark is stored yet.
NOT_OURS = ("Got invalid theme mode",)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PAGES = sorted(HTML.rglob("*.html")) if HTML.is_dir() else []
# Pages that Sphinx writes for its own use, and copies of other software.
PAGES = [
    p
    for p in PAGES
    if "_static" not in p.parts
    and "_sources" not in p.parts
    and p.name not in {"genindex.html", "search.html", "py-modindex.html"}
]
NAMES = [p.relative_to(HTML).as_posix() for p in PAGES]

pytestmark = pytest.mark.pages


@cache
def soup(path: Path) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def own_page(name: str) -> Path:
    return HTML / name


# -- without a browser -----------------------------------------------------------------------------


def test_the_book_is_built() -> None:
    assert PAGES, "the book is not built: run `make book` first"
    assert "index.html" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_book_lead_somewhere(name: str) -> None:
    page = own_page(name)
    broken = []
    for tag in soup(page).select("a[href], link[href], img[src], script[src]"):
        target = tag.get("href") or tag.get("src")
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or target.startswith("data:"):
            continue
        file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if file.is_dir():
            file = file / "index.html"
        anchored = not (parts.fragment and file.suffix == ".html")
        if not file.is_file() or not (anchored or unquote(parts.fragment) in _anchors(file)):
            broken.append(target)
    assert not broken


@cache
def _anchors(file: Path) -> frozenset[str]:
    tags = soup(file).find_all(attrs={"id": True})
    named = soup(file).find_all("a", attrs={"name": True})
    return frozenset([t["id"] for t in tags] + [t["name"] for t in named])


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_says_what_it_shows(name: str) -> None:
    article = soup(own_page(name)).select_one("article.bd-article") or soup(own_page(name))
    silent = [str(i)[:120] for i in article.find_all("img") if not (i.get("alt") or "").strip()]
    assert not silent


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_light_enough(name: str) -> None:
    limit = LARGEST_LANDING_PAGE if name in {"index.html", "book/index.html"} else LARGEST_PAGE
    assert own_page(name).stat().st_size < limit


@pytest.mark.parametrize("name", NAMES)
def test_headings_come_in_order(name: str) -> None:
    article = soup(own_page(name)).select_one("article.bd-article")
    if article is None:
        assert 'http-equiv="refresh"' in own_page(name).read_text(encoding="utf-8").lower()
        return  # a page that only leads to another
    levels = [int(h.name[1]) for h in article.find_all(re.compile(r"^h[1-6]$"))]
    assert levels[:1] in ([], [1])
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_machine_is_on_a_page(name: str) -> None:
    article = soup(own_page(name)).select_one("article.bd-article")
    text = article.get_text(" ") if article else ""
    for sign in ("Traceback (most recent call last)", "site-packages/", "FutureWarning", "/home/"):
        assert sign not in text


# -- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert Path(CHROMIUM).exists(), "install Chromium, or name another in PWP_CHROMIUM"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.mark.parametrize(("width", "theme"), VIEWS if FULL else VIEWS[:1], ids=lambda v: str(v))
@pytest.mark.parametrize("name", NAMES)
def test_a_page_in_the_browser(browser: Any, name: str, width: int, theme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    try:
        page.goto(own_page(name).as_uri(), wait_until="load")
        page.wait_for_timeout(250)
        problems = {
            "asked the network": [
                u for u in asked if not u.startswith(("file:", "data:", "blob:"))
            ],
            "errors in the console": [s for s in said if not any(n in s for n in NOT_OURS)],
            "pixels beyond the page's edge": _overflow(page),
            "pictures without alternative text": _bare_pictures(page),
            "serious violations found by axe-core": _violations(page),
        }
        assert {k: v for k, v in problems.items() if v} == {}
    finally:
        context.close()


def _overflow(page: Any) -> int:
    script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return max(0, int(page.evaluate(script)))


def _bare_pictures(page: Any) -> list[str]:
    script = "[...document.images].filter(i => !i.hasAttribute('alt')).map(i => i.src.slice(0, 90))"
    found: list[str] = page.evaluate(script)
    return found


def _violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:160]} "
        f"[{len(v['nodes'])} in all] {v['nodes'][0]['failureSummary'][:300]}"
        for v in found
        if v["impact"] in {"serious", "critical"}
    ]


def test_quick_questions_answer_at_once(browser: Any) -> None:
    name = next((n for n in NAMES if soup(own_page(n)).select_one(".pwp-question")), None)
    assert name is not None, "no page has quick questions"
    page = browser.new_page()
    try:
        page.goto(own_page(name).as_uri())
        question = page.locator(".pwp-question").first
        assert question.locator("details summary").is_visible(), "readable without the script"
        for verdict, word in (("no", "Not quite"), ("yes", "Right")):
            choice = question.locator(f'input[data-right="{verdict}"]').first
            choice.focus()
            page.keyboard.press("Space")
            assert word in question.locator(".pwp-feedback").inner_text()
    finally:
        page.close()
