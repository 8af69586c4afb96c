"""What `book/finish.py` mends on built pages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def loaded_finish() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finish_mending", ROOT / "book" / "finish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_constant_declared_twice_is_kept_once() -> None:
    script = '<script>const THEBE_JS_URL = "x"; const y = "z"</script>'
    page = f"<head>{script}\n{script}\n<script>other()</script></head>"
    mended = loaded_finish().mend(page)
    assert mended.count("THEBE_JS_URL") == 1
    assert "<script>other()</script>" in mended


def test_references_no_longer_claim_to_be_a_list() -> None:
    page = '<div role="list" class="citation-list"><div class="citation"></div></div>'
    mended = loaded_finish().mend(page)
    assert mended == '<div class="citation-list"><div class="citation"></div></div>'


def test_the_button_that_unfolds_a_section_has_a_name() -> None:
    page = '<summary><span class="toctree-toggle" role="presentation"></span></summary>'
    assert 'aria-label="Pages of this section"' in loaded_finish().mend(page)


def test_a_page_that_needs_nothing_is_not_touched(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>Nothing to mend.</p>", encoding="utf-8")
    before = page.stat().st_mtime_ns
    loaded_finish().mend_pages(tmp_path)
    assert page.stat().st_mtime_ns == before


def test_the_packaged_tables_are_offered(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    loaded_finish().copy_data(tmp_path)
    page = (ROOT / "book" / "downloads.md").read_text(encoding="utf-8")
    offered = re.findall(r'href="\.\./(downloads/(?:data/\S+|extracts\.zip))"', page)
    assert len(offered) == 5
    assert all((tmp_path / name).is_file() for name in offered)
