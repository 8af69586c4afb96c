"""Count lines of code: those that are not blank, a comment or part of a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> int:
    """Count the lines of code of a module's text; each semicolon counts as one more."""
    lines: set[int] = set()
    semicolons = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
        semicolons += token.type == tokenize.OP and token.string == ";"
    return len(lines - _docstring_lines(source)) + semicolons


def _docstring_lines(source: str) -> set[int]:
    """Lines that hold a docstring and nothing else: after ``def f():`` on its line it is code."""
    documentation: set[int] = set()
    heads: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _DOCUMENTED) or ast.get_docstring(node, clean=False) is None:
            continue
        first = node.body[0]
        documentation |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        if not isinstance(node, ast.Module):
            heads.add(node.lineno)
    return documentation - heads


def package_lines(package: Path) -> tuple[int, int]:
    """Count the lines of a package, those of its folder `show` apart from the others."""
    own = shown = 0
    for file in sorted(package.rglob("*.py")):
        count = code_lines(file.read_text(encoding="utf-8"))
        if "show" in file.relative_to(package).parts[:-1]:
            shown += count
        else:
            own += count
    return own, shown
