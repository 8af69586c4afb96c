"""The parts of a formula (names, numbers, arithmetic, calls), and their values row by row."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np

from multilevel.errors import InputError

#: Signs of comparisons, and what they do.
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: Those of arithmetic too.
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    **_COMPARISONS,
}
#: Signs that stand between terms, not between numbers.
_BETWEEN_TERMS = (":", "|", "~")
_RANK = {"**": 3, "*": 2, "/": 2, "+": 1, "-": 1}
_BASES = {"log": math.e, "log2": 2.0, "log10": 10.0}
#: Functions of one value, which any kind of frame can compute row by row.
_ELEMENTWISE = (*_BASES, "exp", "sqrt", "abs")
#: A column whose name could be read as a term, a level, a number or an operation.
_AMBIGUOUS = re.compile(r"[()\[\]{}:`]| [-+*/<>=!]|^[-+]|^\d+(\.\d*)?$|^Intercept$")


@dataclass(frozen=True)
class Expression:
    """A part of a formula.

    Attributes
    ----------
    kind : {"name", "number", "operation", "call", "keyword"}
    head : str
        A column's name, a number as written, a sign, or the name of a function or argument.
    parts : tuple of Expression
        What the sign or the function is applied to.
    value : float or str, optional
        Of a number or, within calls, of a quoted text.
    """

    kind: Literal["name", "number", "operation", "call", "keyword"]
    head: str
    parts: tuple[Expression, ...] = ()
    value: float | str | None = None

    def __str__(self) -> str:
        parts = [self._bracketed(i) for i in range(len(self.parts))]
        if self.kind == "name":
            return f"`{self.head}`" if _AMBIGUOUS.search(self.head) else self.head
        if self.kind == "call":
            return f"{self.head}({', '.join(parts)})"
        if self.kind == "keyword":
            return f"{self.head}={parts[0]}"
        return f" {self.head} ".join(parts) if len(parts) > 1 else self.head + "".join(parts)

    def _bracketed(self, position: int) -> str:
        """Write a part, in brackets where leaving them out would mean something else."""
        part = self.parts[position]
        outer, inner = _RANK.get(self.sign, 0), _RANK.get(part.sign, 0)
        needed = inner < outer or (inner == outer and (position > 0 or self.sign not in "+-*/"))
        both = self.sign and part.sign
        return f"({part})" if both and (needed or len(self.parts) == 1) else str(part)

    @property
    def sign(self) -> str:
        """The sign of an operation, empty for anything else."""
        return self.head if self.kind == "operation" else ""

    @property
    def only(self) -> Expression | None:
        """The argument of a call that has one and no keyword."""
        one = self.kind == "call" and len(self.parts) == 1 and self.parts[0].kind != "keyword"
        return self.parts[0] if one else None


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
        return Expression("name", node.name.lexeme)
    if kind == "QuotedName":
        return Expression("name", node.expression.lexeme[1:-1])
    if kind == "Literal" and isinstance(node.value, bool) and not inside:
        return Expression("name", str(node.value))  # no number, whatever it is equal to
    if kind == "Literal":
        if isinstance(node.value, int) and int(float(node.value)) != node.value:
            raise InputError("a number in the formula has more digits than are calculated with")
        plain = f"{node.value:g}" if isinstance(node.value, float) else str(node.value)
        return Expression("number", node.lexeme or plain, (), node.value)
    if kind == "Call" and type(node.callee).__name__ == "Variable":
        arguments = tuple(read_expression(argument, True) for argument in node.args)
        return Expression("call", node.callee.name.lexeme, arguments)
    if kind == "Assign" and inside:
        return Expression("keyword", node.name.name.lexeme, (read_expression(node.value, True),))
    symbol = node.operator.lexeme if kind in ("Binary", "Unary") else ""
    if symbol in _OPERATORS or (symbol in _BETWEEN_TERMS and not inside):
        sides = (node.left, node.right) if kind == "Binary" else (node.right,)
        of = [side.operator.lexeme for side in sides if hasattr(side, "operator")]
        # formulae reads -x ** 2 as (-x) ** 2, a ** b ** c from the left, and a < x < b as R never.
        chained = symbol in _COMPARISONS and not _COMPARISONS.keys().isdisjoint(of)
        if chained or (symbol == "**" and hasattr(sides[0], "operator")):
            hint = "put brackets around it, as in -(x ** 2) or in (0 < x) * (x < 9)"
            raise InputError(f"it is not clear what {symbol} is applied to", hint=hint)
        parts = tuple(read_expression(side, inside) for side in sides)
        return Expression("operation", symbol, parts)
    if not inside:
        raise InputError("part of the formula cannot be read", hint="put it in braces: {x - 1}")
    raise InputError(
        "the formula has something inside brackets that only makes sense outside them",
        hint="inside a call or braces use column names, numbers and + - * / **",
    )


def names_in(expression: Expression) -> Iterator[str]:
    """Columns that an expression uses, each as often as it is used."""
    if expression.kind == "name":
        yield expression.head
    for part in expression.parts:
        yield from names_in(part)


def stored_as_column(expression: Expression) -> bool:
    """Whether an expression is no polynomial but can be computed row by row, as ``log(x)``."""
    sign = expression.sign
    function = expression.kind == "call" and expression.head != "I"
    power = sign == "**" and expression.parts[1].value not in range(1, 7)
    quotient = sign == "/" and any(names_in(expression.parts[1]))
    return (function or power or quotient or sign in _COMPARISONS) and is_rowwise(expression)


def is_rowwise(expression: Expression) -> bool:
    """Whether `evaluate` can compute an expression."""
    if expression.kind == "call":
        known = expression.head.removeprefix("np.") in _ELEMENTWISE or expression.head == "I"
        return known and expression.only is not None and is_rowwise(expression.only)
    text = isinstance(expression.value, str) or expression.kind == "keyword"
    return not text and all(map(is_rowwise, expression.parts))


def is_comparison(expression: Expression) -> bool:
    """Whether an expression gives truth values, as ``{x > 10}``."""
    if expression.head == "I" and expression.only:
        return is_comparison(expression.only)
    return expression.sign in _COMPARISONS


def evaluate(expression: Expression, column: Callable[[str], Any]) -> Any:
    """Compute an expression row by row, on arrays and on expressions of lazy frames alike.

    Parameters
    ----------
    expression : Expression
        Arithmetic and functions of one value; see `is_rowwise`.
    column : callable
        Gives a column as an array or as an expression of narwhals.
    """
    if expression.kind == "name":
        return column(expression.head)
    if expression.value is not None:
        return float(expression.value)
    operands = [evaluate(part, column) for part in expression.parts]
    if expression.kind == "call" and expression.head != "I":
        return _called(expression.head.removeprefix("np."), operands[0])
    if len(operands) == 1:
        return -operands[0] if expression.sign == "-" else operands[0]
    value = _OPERATORS[expression.sign](*operands)
    if expression.sign in _COMPARISONS:
        # Spark does not calculate with truth values, and NumPy adds them as "or".
        in_frame = isinstance(value, nw.Expr)
        return nw.when(value).then(1).otherwise(0) if in_frame else np.multiply(value, 1)
    return value


def _called(function: str, inner: Any) -> Any:
    if not isinstance(inner, nw.Expr):
        return getattr(np, function)(inner)
    return inner.log(_BASES[function]) if function in _BASES else getattr(inner, function)()
