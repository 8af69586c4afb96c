"""Polynomials in stored columns, and the sums of products that they need.

A monomial is a sorted tuple of column names, ``("x", "x", "z")`` for x squared times z; a
polynomial maps monomials to coefficients. Coefficients of zero are kept where they arise, so
that which monomials a formula needs does not depend on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from multilevel.expression import Call, Expression, Name, Number, Operation

Monomial: TypeAlias = tuple[str, ...]
Terms: TypeAlias = dict[Monomial, float]
#: The mean of a polynomial over all rows.
Mean: TypeAlias = Callable[[Terms], float]
#: A column as a polynomial, or None when it is not a number that is stored.
Lookup: TypeAlias = Callable[[Name | Call | Operation], "Terms | None"]

#: Beyond this the squares of a term would not be held exactly, nor would anybody read them.
MAX_DEGREE = 6
#: A variance this small a part of the mean square is rounding: the column is constant.
SAME_IN_EVERY_ROW = 1e-12


def monomial(names: Iterable[str]) -> Monomial:
    """Return the key of a product of columns, whatever their order."""
    return tuple(sorted(names))


def multiply(one: Mapping[Monomial, float], other: Mapping[Monomial, float]) -> Terms:
    """Product of two polynomials."""
    product: Terms = {}
    for a, x in one.items():
        for b, y in other.items():
            key = monomial(a + b)
            product[key] = product.get(key, 0.0) + x * y
    return product


def _add(one: Terms, other: Terms, weight: float = 1.0) -> Terms:
    total = dict(one)
    for key, value in other.items():
        total[key] = total.get(key, 0.0) + weight * value
    return total


def shift(terms: Mapping[Monomial, float], pivots: Mapping[str, float]) -> Terms:
    """Rewrite a polynomial in ``x - pivot`` as one in ``x``."""
    out: Terms = {}
    for key, value in terms.items():
        product: Terms = {(): value}
        for name in key:
            pivot = pivots.get(name, 0)
            product = multiply(product, {(name,): 1.0, (): -pivot} if pivot else {(name,): 1.0})
        out = _add(out, product)
    return out


def downset(monomials: Iterable[Monomial]) -> set[Monomial]:
    """Return the monomials and everything that divides them."""
    out: set[Monomial] = {()}
    todo = list(monomials)
    while todo:
        key = todo.pop()
        if key not in out:
            out.add(key)
            todo.extend(key[:i] + key[i + 1 :] for i in range(len(key)))
    return out


def expand(expression: Expression, lookup: Lookup, mean: Mean) -> Terms | None:
    """Write an expression as a polynomial, or None when it is not one in the columns known.

    Parameters
    ----------
    expression : Expression
    lookup : callable
        Gives the polynomial of a column, of a call or of an operation that is stored as a
        column, or None.
    mean : callable
        Gives the pooled mean of a polynomial, for ``center`` and ``scale``.
    """
    if isinstance(expression, Number):
        return None if isinstance(expression.value, str) else {(): float(expression.value)}
    stored = lookup(expression)
    if stored is not None or isinstance(expression, Name):
        return stored
    if isinstance(expression, Call):
        return _expand_call(expression, lookup, mean)
    operands = [expand(o, lookup, mean) for o in expression.operands]
    known = [o for o in operands if o is not None]
    return _combine(expression, known) if len(known) == len(operands) else None


def _expand_call(call: Call, lookup: Lookup, mean: Mean) -> Terms | None:
    if call.function not in ("I", "center", "scale", "standardize") or call.keywords:
        return None
    if len(call.arguments) != 1:
        return None
    inner = expand(call.arguments[0], lookup, mean)
    if inner is None or call.function == "I":
        return inner
    if len(next(iter(sorted(inner, key=len, reverse=True)))) * 2 > MAX_DEGREE:
        return None
    # The constant cancels; taking it out first saves the digits that it would cost.
    bare = {k: v for k, v in inner.items() if k} | {(): 0.0}
    centred = _add(bare, {(): -mean(bare)})
    if call.function == "center":
        return centred
    # The divisor is the number of rows, as in formulae (lme4 users know R's n - 1).
    square = mean(multiply(centred, centred))
    if square <= SAME_IN_EVERY_ROW * mean(multiply(bare, bare)):
        return None
    return {k: v / square**0.5 for k, v in centred.items()}


def _combine(operation: Operation, operands: list[Terms]) -> Terms | None:
    """Arithmetic on polynomials; None where the result is not one."""
    if len(operands) == 1:
        sign = {"+": 1.0, "-": -1.0}.get(operation.symbol)
        return None if sign is None else {k: sign * v for k, v in operands[0].items()}
    left, right = operands
    if operation.symbol in "+-":
        return _add(left, right, 1.0 if operation.symbol == "+" else -1.0)
    result: Terms | None = None
    if operation.symbol == "*":
        result = multiply(left, right)
    elif operation.symbol in ("/", "**") and set(right) == {()}:
        constant = right[()]
        if operation.symbol == "/" and constant:
            result = {k: v / constant for k, v in left.items()}
        elif operation.symbol == "**" and constant in range(1, MAX_DEGREE + 1):
            result = left
            for _ in range(int(constant) - 1):
                result = multiply(result, left)
    return result if result and max(map(len, result)) <= MAX_DEGREE else None
