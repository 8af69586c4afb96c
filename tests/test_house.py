"""The three packages themselves: what is light, what is used, what is pinned, how long they are."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import grimp
import pytest
from lines import code_lines, package_lines
from packaging.requirements import Requirement
from packaging.version import Version
from used_names import PACKAGES, public_names, used_names

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("pandas", "scipy", "matplotlib", "pymc", "numpy", "statsmodels", "numba", "duckdb")
# Lines of code that a package may have; second, those of its folder `show`.
BUDGETS = {"multilevel": (5500, 0), "pwp_lib": (3900, 1100), "pwp_report": (5200, 0)}
# Public and used by nobody yet: the list may only get shorter.
UNUSED = {
    "multilevel": set(),
    "pwp_lib": set(),
    "pwp_report": set(),
}


def project() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"])


def exempted_imports() -> set[str]:
    """Imports that the contracts let pass until they are untied."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    return {line for contract in contracts for line in contract.get("ignore_imports", [])}


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, {package} as p; dir(p); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) == public_names(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_the_public_names_are_those_of_the_snapshot() -> None:
    snapshot = (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8").split()
    assert sorted(set().union(*map(public_names, PACKAGES))) == snapshot, (
        "public names changed: say so in CHANGELOG.md and rewrite tests/public_names.txt "
        "by `python3 tests/used_names.py`"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_used(package: str) -> None:
    unused = public_names(package) - used_names(package)
    assert unused <= UNUSED[package], "no chapter, command or package uses these: remove them"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_keeps_within_its_budget(package: str) -> None:
    own, shown = package_lines(ROOT / "src" / package)
    budget, show_budget = BUDGETS[package]
    assert 0 < own <= budget
    assert shown <= show_budget


@pytest.mark.parametrize("package", PACKAGES)
def test_a_readme_lists_the_modules_from_below(package: str) -> None:
    text = (ROOT / "src" / package / "README.md").read_text(encoding="utf-8")
    listed = [f"{package}.{name}" for name in re.findall(r"^- `([\w.]+)`: ", text, flags=re.M)]
    files = [f for f in (ROOT / "src" / package).rglob("*.py") if not f.stem.startswith("__")]
    modules = [".".join(f.relative_to(ROOT / "src").with_suffix("").parts) for f in files]
    assert sorted(listed) == sorted(modules), "list each module, and no other, in the README"
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    upwards = {
        f"{module} -> {other}"
        for place, module in enumerate(listed)
        for other in graph.find_modules_directly_imported_by(module) & set(listed[place + 1 :])
    }
    assert upwards <= exempted_imports()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_example_of_a_readme_runs(package: str) -> None:
    result = doctest.testfile(
        str(ROOT / "src" / package / "README.md"), module_relative=False, encoding="utf-8"
    )
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ("# a comment\n\nx = 1  # another\n", 1),
        ('def f(): "documentation"\n', 1),
        ('def f():\n    "documentation"; x = 1\n', 2),
        ('@cached\ndef f():\n    """Say what.\n\n    More.\n    """\n    return 1\n', 3),
        ('"""Module."""\n\nTEXT = """\n\nthree lines are data\n"""\n', 4),
        ('class A:\n    """Say what."""\n\n    x: int = 0\n    """No docstring."""\n', 3),
        ("both = (\n    1,\n    # why\n    2,\n)\n", 4),
        ("x = 1; y = 2\n", 2),
        ('f"""a\n{x}\nb; c"""\n', 3),
        ("x = 1 \\\n    + 2\n", 2),
    ],
)
def test_lines_of_code_are_counted_as_lines_of_code(source: str, count: int) -> None:
    assert code_lines(source) == count


def test_the_packages_never_import_what_is_licensed_otherwise() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    assert [f.name for f in files if any("pingouin" in m for m in imported_modules(f))] == []


def test_the_lock_pins_every_dependency_and_holds_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:| @ |index-url", lock)
    pinned: dict[str, list[Version]] = {}
    for line in lock.splitlines():
        requirement = Requirement(line)
        name = requirement.name.lower()
        pinned.setdefault(name, []).append(Version(next(iter(requirement.specifier)).version))
    declared = project()
    wanted = [*declared["dependencies"], *chain(*declared["optional-dependencies"].values())]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "pwp-lib":
            continue
        versions = pinned.get(requirement.name.lower(), [])
        assert versions, f"{requirement.name} is not in the lock"
        assert all(requirement.specifier.contains(v) for v in versions), text


def test_the_packages_import_what_they_depend_on() -> None:
    files = (ROOT / "src").rglob("*.py")
    imported = {module.split(".")[0] for file in files for module in imported_modules(file)}
    named = {Requirement(text).name.replace("-", "_") for text in project()["dependencies"]}
    assert named <= imported


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^  "([A-Za-z][^"]*)",(.*)$', text, flags=re.MULTILINE)
    bare = [
        name
        for name, rest in listed
        if re.search(r"[<>=]=?\d", name)
        and "#" not in rest
        and not name.startswith(("nbformat", "pre-commit"))
    ]
    assert bare == []


def test_notebooks_carry_no_outputs_and_define_short_functions_only() -> None:
    """A step that is repeated may have a name in view; a program belongs in the library."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for file in notebooks:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = [c for c in cells if c["cell_type"] == "code"]
        assert not any(c["outputs"] or c["execution_count"] for c in code), file.name
        for node in (n for c in code for n in ast.walk(ast.parse("".join(c["source"])))):
            assert not isinstance(node, ast.ClassDef), file.name
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 8, f"{file.name}: {node.name}"


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
                and ast.unparse(line).startswith(("show.", "interactive."))
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

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    cite_page = (ROOT / "book" / "cite.md").read_text(encoding="utf-8")
    version = project()["version"]
    assert pwp_lib.__version__ == version
    assert f"\nversion: {version}\n" in citation
    assert f"## {version}" in changes
    assert f"version {version}" in cite_page
