"""The house itself: what is light, what is pinned, which floor imports which."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "pwp_lib"
HEAVY = ("pandas", "scipy", "matplotlib", "pymc", "numpy", "statsmodels", "numba", "duckdb")
# From the ground floor up: a module imports only from floors below its own, or from its own.
FLOORS = ("errors", "data", "engine", "findings", "paper", "output")


def python_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return names


def test_the_import_loads_nothing_heavy() -> None:
    code = f"import sys, pwp_lib; dir(pwp_lib); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    import pwp_lib

    assert "fit_mixed" in pwp_lib.__all__
    missing = [name for name in pwp_lib.__all__ if not hasattr(pwp_lib, name)]
    assert missing == []


def test_the_public_names_are_those_of_the_snapshot() -> None:
    import pwp_lib

    snapshot = (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8").split()
    assert sorted(pwp_lib.__all__) == snapshot, (
        "public names changed: say so in CHANGELOG.md and rewrite tests/public_names.txt"
    )


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor: str) -> None:
    above = FLOORS[FLOORS.index(floor) + 1 :]
    files = [
        f for f in python_files() if f.relative_to(SOURCE).parts[0].removesuffix(".py") == floor
    ]
    assert files
    wrong = [
        f"{file.relative_to(SOURCE)} imports {name}"
        for file in files
        for name in imported_modules(file)
        if name.startswith(tuple(f"pwp_lib.{a}" for a in above))
        or name.startswith(
            ("pwp_report.cli", "pwp_report.analysis", "pwp_report.commands", "pwp_lib.classroom")
        )
    ]
    # `output` shows results of the top floor's Analysis, of which it knows the type alone.
    wrong = [w for w in wrong if not (floor == "output" and w.endswith(("analysis", "Analysis")))]
    assert wrong == []


def test_the_library_never_imports_what_is_licensed_otherwise() -> None:
    users = [
        f.name for f in python_files() if any(m.startswith("pingouin") for m in imported_modules(f))
    ]
    assert users == []


def test_the_lock_pins_every_dependency_and_holds_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:| @ |index-url", lock)
    pinned: dict[str, list[Version]] = {}
    for line in lock.splitlines():
        requirement = Requirement(line)
        name = requirement.name.lower()
        pinned.setdefault(name, []).append(Version(next(iter(requirement.specifier)).version))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "pwp-lib":
            continue
        versions = pinned.get(requirement.name.lower(), [])
        assert versions, f"{requirement.name} is not in the lock"
        assert all(requirement.specifier.contains(v) for v in versions), text


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^  "([A-Za-z][^"]*)",(.*)$', text, flags=re.MULTILINE)
    bare = [
        name
        for name, rest in listed
        if re.search(r"[<>=]", name)
        and "#" not in rest
        and not name.startswith(("nbformat", "pre-commit"))
    ]
    assert bare == []


def test_notebooks_carry_no_outputs_and_define_no_functions() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for file in notebooks:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = [c for c in cells if c["cell_type"] == "code"]
        assert not any(c["outputs"] or c["execution_count"] for c in code), file.name
        sources = ["".join(c["source"]) for c in code]
        assert not any(re.search(r"^\s*(def|class) ", s, re.MULTILINE) for s in sources), file.name


def test_what_a_cell_shows_is_its_last_word() -> None:
    """A table that is made before the last line of its cell is on no page."""
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            source = "".join(x for x in cell["source"] if not x.startswith("%"))
            lost = [
                ast.unparse(line)[:60]
                for line in ast.parse(source).body[:-1]
                if isinstance(line, ast.Expr)
                and ast.unparse(line).startswith(("show.", "beside.", "interactive."))
            ]
            assert not lost, f"{file.name}: {lost}"


def test_every_chapter_is_in_the_table_of_contents_and_in_the_downloads() -> None:
    contents = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    downloads = (ROOT / "book" / "downloads.md").read_text(encoding="utf-8")
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"notebooks/{file.stem}" in contents
        assert f"downloads/{file.name}" in downloads


def test_version_is_told_once() -> None:
    import pwp_lib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    cite_page = (ROOT / "book" / "cite.md").read_text(encoding="utf-8")
    version = project["version"]
    assert pwp_lib.__version__ == version
    assert f"\nversion: {version}\n" in citation
    assert f"## {version}" in changes
    assert f"version {version}" in cite_page
