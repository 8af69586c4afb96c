"""Finish a built book: see that every page is there, and add what Sphinx does not write."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import students

ROOT = Path(__file__).resolve().parent.parent


def expected_pages() -> list[str]:
    """Pages that the table of contents promises."""
    text = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"^\s*(?:- file|root):\s*(\S+)\s*$", text, flags=re.MULTILINE)


def missing_pages(html: Path) -> list[str]:
    """Promised pages that the build did not write."""
    return [page for page in expected_pages() if not (html / f"{page}.html").is_file()]


def executed_notebooks() -> dict[str, Path]:
    """Find the executed copy of each chapter in the execution cache."""
    cache = ROOT / "_build" / ".jupyter_cache"
    database = cache / "global.db"
    if not database.is_file():
        return {}
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select uri, hashkey from nbcache order by pk").fetchall()
    return {Path(uri).stem: cache / "executed" / key / "base.ipynb" for uri, key in rows}


def write_downloads(html: Path) -> int:
    """Offer each chapter with its outputs as a download, and return how many there are."""
    folder = html / "downloads"
    folder.mkdir(exist_ok=True)
    count = 0
    for chapter, file in sorted(executed_notebooks().items()):
        if not (ROOT / "notebooks" / f"{chapter}.ipynb").is_file() or not file.is_file():
            continue
        notebook = json.loads(file.read_text(encoding="utf-8"))
        source = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
        restore_prose(notebook, source)
        target = folder / f"{chapter}.ipynb"
        target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
        count += 1
    return count


def copy_data(html: Path) -> None:
    """Offer the packaged tables, the six downloads and what their columns hold."""
    data = ROOT / "src" / "pwp_lib" / "packaged"
    target = html / "downloads" / "data"
    shutil.copytree(data, target, dirs_exist_ok=True)
    shutil.make_archive(str(target.parent / "extracts"), "zip", data / "extracts")


def restore_prose(executed: dict[str, object], source: dict[str, object]) -> None:
    """Put the chapter's text back: the cache keeps the code cells alone."""
    code = iter([c for c in executed["cells"] if c["cell_type"] == "code"])  # type: ignore[attr-defined]
    executed["cells"] = [
        next(code, cell) if cell["cell_type"] == "code" else cell
        for cell in source["cells"]  # type: ignore[attr-defined]
    ]


def mend(page: str) -> str:
    """Undo three slips of the tools: a constant twice, a list without items, a nameless button.

    The theme and its extension both declare ``THEBE_JS_URL``, which the console reports as an
    error; docutils calls references a list whose children are no list items, which screen readers
    trip over; the theme's button that unfolds a section is a picture without a name. The script of
    the extension is kept once, the claim to be a list is dropped, and the button is named.
    """
    script = re.compile(r"<script>const THEBE_JS_URL[^\n]*</script>")
    first = script.search(page)
    if first:
        page = page[: first.end()] + script.sub("", page[first.end() :])
    page = page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    named = '<summary aria-label="Pages of this section"><span class="toctree-toggle"'
    return page.replace('<summary><span class="toctree-toggle"', named)


def mend_pages(html: Path) -> None:
    """Mend every page in place; a page that needs none is not touched."""
    for file in html.rglob("*.html"):
        before = file.read_text(encoding="utf-8")
        after = mend(before)
        if after != before:
            file.write_text(after, encoding="utf-8")


def main(html: Path) -> int:
    """Check and finish the book in `html`; return an exit code."""
    missing = missing_pages(html)
    if missing:
        print("These pages of book/_toc.yml were not built: " + ", ".join(missing), file=sys.stderr)
        return 1
    (html / ".nojekyll").touch()
    mend_pages(html)
    write_downloads(html)
    copy_data(html)
    students.write_archive(html)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
