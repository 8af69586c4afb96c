"""The parts of a formula: names, numbers, arithmetic and calls, as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from multilevel.errors import InputError

__all__ = ["Call", "Expression", "Name", "Number", "Operation", "names_in", "read_expression"]

_SYMBOLS = {
    "PLUS": "+",
    "MINUS": "-",
    "STAR": "*",
    "SLASH": "/",
    "STAR_STAR": "**",
    "EQUAL_EQUAL": "==",
    "BANG_EQUAL": "!=",
    "LESS": "<",
    "LESS_EQUAL": "<=",
    "GREATER": ">",
    "GREATER_EQUAL": ">=",
}


@dataclass(frozen=True)
class Name:
    """A column of the data."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Number:
    """A number or, within calls, a quoted text."""

    value: float | str
    lexeme: str

    def __str__(self) -> str:
        return self.lexeme


@dataclass(frozen=True)
class Operation:
    """Arithmetic or a comparison, with one operand or two."""

    symbol: str
    operands: tuple[Expression, ...]

    def __str__(self) -> str:
        parts = [_bracketed(self, o, i) for i, o in enumerate(self.operands)]
        if len(parts) == 1:
            return f"{self.symbol}{parts[0]}"
        return f"{parts[0]} {self.symbol} {parts[1]}"


@dataclass(frozen=True)
class Call:
    """A function of expressions, such as ``center(x)``."""

    function: str
    arguments: tuple[Expression, ...]
    keywords: tuple[tuple[str, Expression], ...] = ()

    def __str__(self) -> str:
        parts = [str(a) for a in self.arguments] + [f"{k}={v}" for k, v in self.keywords]
        return f"{self.function}({', '.join(parts)})"


Expression: TypeAlias = Name | Number | Operation | Call

_RANK = {"**": 3, "*": 2, "/": 2, "+": 1, "-": 1}


def _bracketed(parent: Operation, child: Expression, position: int) -> str:
    """Brackets only where leaving them out would mean something else."""
    if not isinstance(child, Operation):
        return str(child)
    outer, inner = _RANK.get(parent.symbol, 0), _RANK.get(child.symbol, 0)
    needed = inner < outer or (inner == outer and (position > 0 or parent.symbol == "**"))
    return f"({child})" if needed or len(parent.operands) == 1 else str(child)


def read_expression(node: Any) -> Expression:
    """Turn a node of the syntax tree of formulae's parser into an expression.

    Raises
    ------
    InputError
        For what has no meaning inside a call, such as ``a:b`` or ``x | g``.
    """
    kind = type(node).__name__
    if kind == "Grouping":
        return read_expression(node.expression)
    if kind == "Variable" and node.level is None:
        return Name(node.name.lexeme)
    if kind == "QuotedName":
        return Name(node.expression.lexeme[1:-1])
    if kind == "Literal":
        return Number(node.value, node.lexeme or _plain(node.value))
    if kind == "Call":
        plain = tuple(read_expression(a) for a in node.args if type(a).__name__ != "Assign")
        keywords = tuple(
            (a.name.name.lexeme, read_expression(a.value))
            for a in node.args
            if type(a).__name__ == "Assign"
        )
        return Call(node.callee.name.lexeme, plain, keywords)
    if kind in ("Binary", "Unary") and node.operator.kind in _SYMBOLS:
        sides = (node.left, node.right) if kind == "Binary" else (node.right,)
        return Operation(
            _SYMBOLS[node.operator.kind], tuple(read_expression(side) for side in sides)
        )
    raise InputError(
        "the formula has something inside brackets that only makes sense outside them",
        hint="inside a call or braces use column names, numbers and + - * / **",
    )


def names_in(expression: Expression) -> Iterator[str]:
    """Columns that an expression uses, each as often as it is used."""
    if isinstance(expression, Name):
        yield expression.name
    elif isinstance(expression, Operation):
        for operand in expression.operands:
            yield from names_in(operand)
    elif isinstance(expression, Call):
        for argument in (*expression.arguments, *(v for _, v in expression.keywords)):
            yield from names_in(argument)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
