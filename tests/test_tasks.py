"""What `make book` and `make test` say when they cannot start, and when they forget caches."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tasks(tmp_path: Path) -> ModuleType:
    module = load(ROOT / "tasks.py", "tasks_under_test")
    module.ROOT, module.BUILD, module.VENV = tmp_path, tmp_path / "_build", tmp_path / ".venv"
    module.LOCK = tmp_path / "requirements.lock"
    return module


def test_an_old_python_is_named_in_one_line(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert tasks.main(["book"]) == 2
    said = capsys.readouterr().err.strip()
    assert "3.11 or later" in said
    assert "\n" not in said


def test_a_missing_venv_is_answered_with_what_to_install(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without_ensurepip(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name == "ensurepip":
            raise ImportError(name)
        return real(name, *rest, **more)

    tasks.LOCK.write_text("")
    (tasks.ROOT / "pyproject.toml").write_text("")
    monkeypatch.setattr(builtins, "__import__", without_ensurepip)
    assert tasks.environment() == 2
    assert "python3-venv" in capsys.readouterr().err
    assert not tasks.VENV.exists()


def test_an_unknown_task_is_refused(tasks: ModuleType) -> None:
    assert tasks.main(["bake"]) == 2
    assert tasks.main([]) == 2


def test_caches_go_when_the_library_changes_and_stay_when_it_does_not(tasks: ModuleType) -> None:
    source = tasks.ROOT / "src" / "pwp_lib" / "constant.py"
    source.parent.mkdir(parents=True)
    source.write_text("VALUE = 1")
    caches = [tasks.BUILD / ".jupyter_cache", tasks.BUILD / ".doctrees"]

    def rebuild() -> list[bool]:
        tasks.drop_stale_caches()
        there = [cache.exists() for cache in caches]
        for cache in caches:
            cache.mkdir(exist_ok=True)
        return there

    assert rebuild() == [False, False]
    assert rebuild() == [True, True]
    source.write_text("VALUE = 2")
    assert rebuild() == [False, False]
    report = tasks.ROOT / "src" / "pwp_report" / "cli.py"
    report.parent.mkdir()
    report.write_text("the command line shows on no page")
    assert rebuild() == [True, True]


def test_a_missing_page_fails_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish = load(ROOT / "book" / "finish.py", "finish_under_test")
    assert "book/index" in finish.expected_pages()
    for page in finish.expected_pages()[1:]:
        (tmp_path / f"{page}.html").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{page}.html").touch()
    assert finish.main(tmp_path) == 1
    assert "book/index" in capsys.readouterr().err
    (tmp_path / "book" / "index.html").touch()
    assert finish.main(tmp_path) == 0
    assert (tmp_path / ".nojekyll").exists()
