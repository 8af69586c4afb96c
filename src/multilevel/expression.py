"""The parts of a formula (names, numbers, arithmetic, calls), and their values row by row."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np

from multilevel.errors import InputError

#: Signs by the names that formulae's scanner gives them, and what they do.
_SIGNS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "PLUS": ("+", operator.add),
    "MINUS": ("-", operator.sub),
    "STAR": ("*", operator.mul),
    "SLASH": ("/", operator.truediv),
    "STAR_STAR": ("**", operator.pow),
    "EQUAL_EQUAL": ("==", operator.eq),
    "BANG_EQUAL": ("!=", operator.ne),
    "LESS": ("<", operator.lt),
    "LESS_EQUAL": ("<=", operator.le),
    "GREATER": (">", operator.gt),
    "GREATER_EQUAL": (">=", operator.ge),
}
#: Signs that stand between terms, not between numbers.
_BETWEEN_TERMS = {"COLON": (":", None), "PIPE": ("|", None), "TILDE": ("~", None)}
_OPERATORS = dict(_SIGNS.values())
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_RANK = {"**": 3, "*": 2, "/": 2, "+": 1, "-": 1}
_BASES = {"log": math.e, "log2": 2.0, "log10": 10.0}
#: Functions of one value, which any kind of frame can compute row by row.
_ELEMENTWISE = (*_BASES, "exp", "sqrt", "abs")
#: A column whose name could be read as a term, a level, a number or an operation.
_AMBIGUOUS = re.compile(r"[()\[\]{}:`]| [-+*/<>=!]|^[-+]|^\d+(\.\d*)?$|^Intercept$")


@dataclass(frozen=True)
class Name:
    """A column of the data; printed in backticks where its name could be read as a term."""

    name: str

    def __str__(self) -> str:
        return f"`{self.name}`" if _AMBIGUOUS.search(self.name) else self.name


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

    @property
    def only(self) -> Expression | None:
        """The argument of a call that has one and no keyword."""
        return self.arguments[0] if len(self.arguments) == 1 and not self.keywords else None


Expression: TypeAlias = Name | Number | Operation | Call


def _bracketed(parent: Operation, child: Expression, position: int) -> str:
    """Brackets only where leaving them out would mean something else."""
    if not isinstance(child, Operation):
        return str(child)
    outer, inner = _RANK.get(parent.symbol, 0), _RANK.get(child.symbol, 0)
    needed = inner < outer or (inner == outer and (position > 0 or parent.symbol == "**"))
    return f"({child})" if needed or len(parent.operands) == 1 else str(child)


def read_expression(node: Any, inside: bool = False) -> Expression:
    """Turn a syntax tree of formulae's parser into an expression; brackets have done their work.

    Raises
    ------
    InputError
        For what has no meaning, such as ``a:b`` or ``x | g`` inside a call.
    """
    kind = type(node).__name__
    if kind == "Grouping":
        return read_expression(node.expression, inside)
    if kind == "Variable" and node.level is None:
        return Name(node.name.lexeme)
    if kind == "QuotedName":
        return Name(node.expression.lexeme[1:-1])
    if kind == "Literal":
        plain = f"{node.value:g}" if isinstance(node.value, float) else str(node.value)
        return Number(node.value, node.lexeme or plain)
    if kind == "Call":
        named = [a for a in node.args if type(a).__name__ == "Assign"]
        return Call(
            node.callee.name.lexeme,
            tuple(read_expression(a, True) for a in node.args if a not in named),
            tuple((a.name.name.lexeme, read_expression(a.value, True)) for a in named),
        )
    signs = _SIGNS if inside else _SIGNS | _BETWEEN_TERMS
    if kind in ("Binary", "Unary") and node.operator.kind in signs:
        sides = (node.left, node.right) if kind == "Binary" else (node.right,)
        symbol, _ = signs[node.operator.kind]
        return Operation(symbol, tuple(read_expression(side, inside) for side in sides))
    if not inside:
        raise InputError(
            "part of the formula cannot be read", hint="put arithmetic in braces: {x - 1}"
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


def stored_as_column(expression: Expression) -> bool:
    """Whether an expression is no polynomial but can be computed row by row, as ``log(x)``."""
    if isinstance(expression, Call):
        inner = expression.only
        known = expression.function.removeprefix("np.") in _ELEMENTWISE
        return inner is not None and known and is_rowwise(inner)
    if isinstance(expression, Operation) and len(expression.operands) == 2:
        right = expression.operands[1]
        whole = isinstance(right, Number) and right.value in range(1, 7)
        special = (
            expression.symbol in _COMPARISONS
            or (expression.symbol == "/" and any(names_in(right)))
            or (expression.symbol == "**" and not whole)
        )
        return special and all(map(is_rowwise, expression.operands))
    return False


def is_rowwise(expression: Expression) -> bool:
    """Whether `evaluate` can compute an expression."""
    if isinstance(expression, Name):
        return True
    if isinstance(expression, Number):
        return not isinstance(expression.value, str)
    if isinstance(expression, Operation):
        return all(map(is_rowwise, expression.operands))
    known = expression.function == "I" or stored_as_column(expression)
    return known and expression.only is not None and is_rowwise(expression.only)


def is_comparison(expression: Expression) -> bool:
    """Whether an expression gives truth values, as ``{x > 10}``."""
    if isinstance(expression, Call) and expression.function == "I" and expression.only:
        return is_comparison(expression.only)
    return isinstance(expression, Operation) and expression.symbol in _COMPARISONS


def evaluate(expression: Expression, column: Callable[[str], Any]) -> Any:
    """Compute an expression row by row, on arrays and on expressions of lazy frames alike.

    Parameters
    ----------
    expression : Expression
        Arithmetic and functions of one value; see `is_rowwise`.
    column : callable
        Gives a column as an array or as an expression of narwhals.
    """
    if isinstance(expression, Name):
        return column(expression.name)
    if isinstance(expression, Number):
        return float(expression.value)
    if isinstance(expression, Call):
        return _called(
            expression.function.removeprefix("np."), evaluate(expression.arguments[0], column)
        )
    operands = [evaluate(o, column) for o in expression.operands]
    if len(operands) == 1:
        return -operands[0] if expression.symbol == "-" else operands[0]
    value = _OPERATORS[expression.symbol](*operands)
    if expression.symbol in _COMPARISONS:
        # Spark does not calculate with truth values, and NumPy adds them as "or".
        in_frame = isinstance(value, nw.Expr)
        return nw.when(value).then(1).otherwise(0) if in_frame else np.multiply(value, 1)
    return value


def _called(function: str, inner: Any) -> Any:
    if function == "I":
        return inner
    if not isinstance(inner, nw.Expr):
        return getattr(np, function)(inner)
    if function in _BASES:
        return inner.log(_BASES[function])
    return getattr(inner, function)()
