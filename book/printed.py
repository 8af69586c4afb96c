"""Print the built book into one PDF: its pages joined in order, by a headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from finish import expected_pages

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
NAME = "therapist-effects.pdf"
TITLE = (
    '<div class="title-page"><h1>Therapist effects</h1><p>A book and a library</p>'
    f"<p>The pwp_lib maintainers, version {version('pwp-lib')}</p>"
    "<p>All patient data in this book are synthetic: they were made by a program.</p></div>"
)
# Styles, and the script that sets the mathematics with its settings.
HEAD = "|".join(
    (
        r'<link [^>]*rel="stylesheet"[^>]*>',
        r"<script>window\.MathJax.*?</script>",
        r"<script [^>]*tex-svg[^>]*></script>",
    )
)
STYLE = """
@page {
  size: A4; margin: 18mm 17mm 20mm;
  @bottom-center { content: counter(page); font: 9pt sans-serif }
}
html { font-size: 13px } body { display: block; padding: 0; background: #fff; color: #111 }
main.printed > section.page { break-before: page }
.title-page { text-align: center; padding-top: 30vh } .title-page h1 { font-size: 3rem; border: 0 }
figure, tr, .admonition-title, .pwp-question, pre { break-inside: avoid }
h1, h2, h3, h4, dt, .admonition-title, caption { break-after: avoid }
.headerlink, .copybtn, summary, details.above-input { display: none !important }
pre, code { white-space: pre-wrap !important; overflow-wrap: anywhere }
.pwp-scroll, .cell_output .text_html, div.math { overflow: visible !important; max-width: none }
.pwp-scroll { container-type: normal !important }
.pwp-scroll > table > caption { max-width: none !important }
table { font-size: 0.85rem !important; max-width: 100% }
table.dataframe { font-size: 0.7rem !important }
th, td { overflow-wrap: anywhere; white-space: normal !important; min-width: 0 !important }
img { max-width: 100% !important; max-height: 215mm; width: auto !important }
img { height: auto !important } figure img { margin: auto }
figcaption { color: #222 !important; font-weight: 400 !important; text-align: left !important }
a { color: inherit }
"""


def article(page: str) -> str:
    """Take what a reader reads out of a page: the article, without navigation."""
    found = re.search(r'<article class="bd-article">(.*)</article>', page, flags=re.DOTALL)
    if found is None:
        raise ValueError("a page has no article")
    return found.group(1)


def link_to(pages: list[str], page: str) -> Callable[[re.Match[str]], str]:
    """Make the function that turns a link of `page` into one within the joined document."""

    def within(link: re.Match[str]) -> str:
        target, _, anchor = link.group(1).partition("#")
        if re.match(r"[a-z]+:", target):
            return link.group(0)
        path = os.path.normpath(f"{Path(page).parent}/{target}") if target else f"{page}.html"
        name = path.removesuffix(".html")
        if name not in pages:
            return ""  # what is not printed cannot be linked
        return f'href="#p{pages.index(name)}{"-" + anchor if anchor else ""}"'

    return within


def joined(html: Path, pages: list[str]) -> str:
    """Join the pages into one document whose links stay within it."""
    head: dict[str, None] = {}  # in order, each once
    parts = []
    for number, page in enumerate(pages):
        whole = (html / f"{page}.html").read_text(encoding="utf-8")
        head.update(dict.fromkeys(re.findall(HEAD, whole, flags=re.DOTALL)))
        text = article(whole)
        text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        text = re.sub(r'\b(id|for|aria-labelledby|aria-describedby)="', rf'\1="p{number}-', text)
        text = re.sub(r'href="([^"]*)"', link_to(pages, page), text)
        text = text.replace("<details", "<details open")
        parts.append(f'<section class="page" id="p{number}">{text}</section>')
    return (
        f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>Therapist effects</title>{''.join(head)}<style>{STYLE}</style></head>"
        f'<body>{TITLE}<main class="printed">{"".join(parts)}</main></body></html>'
    )


def print_page(browser: str, page: Path, target: Path) -> int:
    """Let the browser print one page, once its script has set the mathematics."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", f"--user-data-dir={profile}", "--no-pdf-header-footer"]
        command += ["--generate-pdf-document-outline", "--virtual-time-budget=600000"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses root otherwise
        command += [f"--print-to-pdf={target}", page.as_uri()]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode


def main(html: Path) -> int:
    """Print the book in `html`, and link the file from its page of downloads."""
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    if browser is None:
        print(
            "A browser that prints is needed: install Chromium, on Debian and Ubuntu with "
            "`sudo apt install chromium`.",
            file=sys.stderr,
        )
        return 2
    together, target = html / "book" / "printed.html", html / "downloads" / NAME
    target.unlink(missing_ok=True)
    together.write_text(joined(html, expected_pages()), encoding="utf-8")
    try:
        code = print_page(browser, together.resolve(), target.resolve())
    finally:
        together.unlink()
    if code or not target.is_file():
        print(f"{browser} could not print the book.", file=sys.stderr)
        return code or 1
    downloads = html / "book" / "downloads.html"
    link = f'<p><a href="../downloads/{NAME}" download>The whole book as a PDF</a></p>'
    text = downloads.read_text(encoding="utf-8")
    downloads.write_text(text.replace("<!-- pdf -->", link), encoding="utf-8")
    print(f"The book is printed at {target.resolve().as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
