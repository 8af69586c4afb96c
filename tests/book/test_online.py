"""The files by which Binder and conda set up the book agree with the lock.

Neither service can be reached from a test: what is held here is that they would install the same.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / ".binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [x.strip() for x in text.splitlines() if x.strip() and not x.strip().startswith("#")]


def pins(python: str) -> dict[str, str]:
    """Version of each package that the lock has for a Python on Linux."""
    here = {
        **default_environment(),
        **{"python_version": python, "python_full_version": f"{python}.9", "extra": ""},
        **{"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
        **{"platform_python_implementation": "CPython", "implementation_name": "cpython"},
    }
    found = {}
    for line in lines(ROOT / "requirements.lock"):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(here):
            (only,) = wanted.specifier
            assert only.operator == "==", line
            assert canonicalize_name(wanted.name) not in found, line
            found[canonicalize_name(wanted.name)] = only.version
    return found


def binder_python() -> str:
    (line,) = lines(BINDER / "runtime.txt")
    return line.removeprefix("python-")


def test_binder_installs_the_lock_and_nothing_else() -> None:
    (line,) = lines(BINDER / "requirements.txt")
    option, path = line.split()
    assert option == "-r"
    # pip reads the path from the folder of the file that names it.
    assert (BINDER / path).resolve() == ROOT / "requirements.lock"


def test_conda_reads_the_same_lock() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r"^\s+- -r requirements\.lock$", text, re.M)
    assert re.search(r"^\s+- --no-deps -e \.$", text, re.M)
    assert f"- python={binder_python()}\n" in text


def test_the_lines_kept_ready_for_an_address_make_launch_buttons() -> None:
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert "launch_buttons" not in str(yaml.safe_load(text))
    ready = re.sub(r"^      # (?= *\w+:)", "      ", text, flags=re.M)
    options = yaml.safe_load(ready)["sphinx"]["config"]["html_theme_options"]
    assert options["repository_url"].startswith("https://")
    assert set(options["launch_buttons"]) == {
        *("notebook_interface", "binderhub_url", "colab_url"),
    }


def test_binders_python_is_one_that_the_library_takes() -> None:
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{binder_python()}.0")


@pytest.mark.parametrize("extra", ["", "bayes", "book"])
def test_the_lock_has_what_the_book_needs(extra: str) -> None:
    asked = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    locked = pins(binder_python())
    for line in asked:
        wanted = Requirement(line)
        if canonicalize_name(wanted.name) != PROJECT["name"]:
            version = locked.get(canonicalize_name(wanted.name))
            assert version is not None, f"{wanted.name} is not in the lock"
            assert wanted.specifier.contains(version, prereleases=True), line


def test_the_lock_has_what_the_chapters_import() -> None:
    distributions, locked = packages_distributions(), pins(binder_python())
    chapters = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert chapters
    for chapter in chapters:
        cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] != "code":
                continue
            for name in _imported("".join(cell["source"])) - {*sys.stdlib_module_names, "pwp_lib"}:
                names = {canonicalize_name(d) for d in distributions.get(name, [])}
                assert names & set(locked), f"{chapter.name} imports {name}"


def _imported(code: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_what_binder_runs_afterwards() -> None:
    script = BINDER / "postBuild"
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n")
    assert "pip install --quiet --no-deps -e ." in text
    if os.name == "posix":
        assert os.access(script, os.X_OK), "Binder runs it as a program"
    if shell := shutil.which("bash"):
        assert subprocess.run([shell, "-n", str(script)], check=False).returncode == 0


def test_no_address_of_a_repository_is_made_up() -> None:
    """The repository has no public address yet: nothing may point to one."""
    for page in (ROOT / "book").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"mybinder\.org/v2|colab\.research\.google\.com/github", text), page
