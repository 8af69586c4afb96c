"""Expressions computed row by row, on arrays and on the expressions of lazy frames alike."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import narwhals as nw
import numpy as np

from multilevel.expression import Call, Expression, Name, Number

__all__ = ["evaluate", "label"]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow, "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_BASES = {"log": math.e, "log2": 2.0, "log10": 10.0}


def label(value: object) -> str:
    """Return a level as text: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def evaluate(expression: Expression, column: Callable[[str], Any]) -> Any:
    """Compute an expression row by row.

    Parameters
    ----------
    expression : Expression
        Arithmetic and functions of one value; see `recipe.stored_as_column`.
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
    if expression.symbol in _COMPARISONS and isinstance(value, nw.Expr):
        # Spark does not calculate with truth values.
        return nw.when(value).then(1).otherwise(0)
    return value


def _called(function: str, inner: Any) -> Any:
    if function == "I":
        return inner
    if function == "abs":
        return abs(inner) if isinstance(inner, (np.ndarray, float)) else inner.abs()
    if isinstance(inner, (np.ndarray, float)):
        return getattr(np, function)(inner)
    if function in _BASES:
        return inner.log(_BASES[function])
    return getattr(inner, function)()
