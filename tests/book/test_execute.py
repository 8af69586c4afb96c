"""Which pages `book/execute.py` runs, and that what it caches is found again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def execute(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BOOK))
    spec = importlib.util.spec_from_file_location("execute_pages", BOOK / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("finish", None)


def test_every_page_with_code_waits_until_it_is_cached(execute: ModuleType, tmp_path: Path) -> None:
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    cache = get_cache(tmp_path)
    before = execute.waiting(cache)
    names = {p.stem for p in before}
    assert {"index", "01_data_preparation", "15_reading_with_care"} <= names
    assert "governance" not in names
    page = before[-1]
    bundle = CacheBundleIn(execute.read(page), str(page), data={"execution_seconds": 0.0})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    assert execute.waiting(cache) == before[:-1]


def test_the_longest_come_first(execute: ModuleType, tmp_path: Path) -> None:
    from jupyter_cache import get_cache

    first = [p.stem for p in execute.waiting(get_cache(tmp_path))[: len(execute.LONGEST)]]
    assert sorted(first) == sorted(execute.LONGEST)
