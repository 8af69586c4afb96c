"""Who uses which public name: chapters, the calibration, the command and the other packages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("multilevel", "pwp_lib", "pwp_report")
COMMAND = ("cli.py", "commands", "start.py")


def public_names(package: str) -> set[str]:
    """Names that a package's stub offers."""
    tree = ast.parse((ROOT / "src" / package / "__init__.pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def used_names(package: str) -> set[str]:
    """Names met in code outside the package, and the types of what those give back."""
    used = {name for tree in _users(package) for name in _names(tree)}
    given = _given_back()
    waiting = list(used)
    while waiting:
        new = given.get(waiting.pop(), set()) - used
        used |= new
        waiting += new
    return used


@cache
def _parsed(code: str) -> ast.Module:
    return ast.parse(code)


@cache
def _given_back() -> dict[str, set[str]]:
    """Names in what a function returns and in what a class holds, by function and class."""
    given: dict[str, set[str]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(_parsed(file.read_text(encoding="utf-8"))):
            held: list[ast.expr] = []
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                held = [node.returns]
            elif isinstance(node, ast.ClassDef):
                held = [line.annotation for line in node.body if isinstance(line, ast.AnnAssign)]
            for annotation in held:
                given.setdefault(node.name, set()).update(_names(annotation))
    return given


def _users(package: str) -> Iterator[ast.Module]:
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield _parsed(re.sub(r"^[%!].*", "", "".join(cell["source"]), flags=re.M))
    files = [*(ROOT / "calibration").rglob("*.py")]
    for other in PACKAGES:
        own = other == package
        files += [
            file
            for file in (ROOT / "src" / other).rglob("*.py")
            if not own or file.relative_to(ROOT / "src" / other).parts[0] in COMMAND
        ]
    for file in files:
        yield _parsed(file.read_text(encoding="utf-8"))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def write_snapshot() -> None:
    """Write the public names of the three packages to tests/public_names.txt."""
    names = sorted(set().union(*map(public_names, PACKAGES)))
    text = "\n".join(names) + "\n"
    (ROOT / "tests" / "public_names.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_snapshot()
