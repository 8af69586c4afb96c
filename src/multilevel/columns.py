"""Terms of a formula as columns of a model: polynomials in stored columns.

A monomial is a sorted tuple of stored columns, ``("x", "x", "z")`` for x squared times z. What
only the data tell (the pivots around which sums were taken, means, spreads) stands in a
polynomial as the number of an unknown. So a formula is worked out once, which monomials it needs
does not depend on the data, and a table only has to fill in its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations, product
from typing import Literal, NamedTuple, TypeAlias

from multilevel.errors import InputError
from multilevel.expression import Expression, is_comparison
from multilevel.formula import Formula, Term

Monomial: TypeAlias = tuple[str, ...]
#: Weights of products: of stored columns, and of unknowns, by their numbers.
Polynomial: TypeAlias = dict[tuple[Monomial, tuple[int, ...]], float]
NamedPolynomials: TypeAlias = list[tuple[str, Polynomial]]
Levels: TypeAlias = Mapping[str, tuple[str, ...]]

#: Beyond this the squares of a term would not be held exactly, nor would anybody read them.
MAX_DEGREE = 6
_CONSTANT: tuple[Monomial, tuple[int, ...]] = ((), ())


class Unknown(NamedTuple):
    """A number that only the data tell.

    Attributes
    ----------
    kind : {"pivot", "mean", "scale"}
        What was taken off a stored column; the mean of a polynomial; one over the standard
        deviation of one whose mean is zero.
    name : str
        The column, or the component as written.
    of : tuple of (monomial, unknowns, weight)
        The polynomial; empty for a pivot.
    """

    kind: Literal["pivot", "mean", "scale"]
    name: str
    of: tuple[tuple[tuple[Monomial, tuple[int, ...]], float], ...] = ()


class Columns(NamedTuple):
    """The columns of a model.

    Attributes
    ----------
    names : tuple of str, length m
        The response is the last.
    fixed, random : tuple of int
        Positions of the parts.
    polynomials : tuple of Polynomial, length m
        In the stored columns less their pivots.
    unknowns : tuple of Unknown
        Each depends on earlier ones at most.
    """

    names: tuple[str, ...]
    fixed: tuple[int, ...]
    random: tuple[int, ...]
    polynomials: tuple[Polynomial, ...]
    unknowns: tuple[Unknown, ...]


def monomial(names: Iterable[str]) -> Monomial:
    """Return the key of a product of columns, whatever their order."""
    return tuple(sorted(names))


def multiply(one: Polynomial, other: Polynomial) -> Polynomial:
    """Product of two polynomials."""
    whole: Polynomial = {}
    for (a, u), x in one.items():
        for (b, v), y in other.items():
            key = monomial(a + b), tuple(sorted(u + v))
            whole[key] = whole.get(key, 0.0) + x * y
    return whole


def _add(one: Polynomial, other: Polynomial, weight: float = 1.0) -> Polynomial:
    return one | {key: one.get(key, 0.0) + weight * value for key, value in other.items()}


def _degree(polynomial: Polynomial) -> int:
    return max((len(key) for key, _ in polynomial), default=0)


def dummy(factor: str, level: str) -> str:
    """Name of the column that is 1 where a factor has this level."""
    return f"{factor}[{level}]"


@dataclass
class Writer:
    """Writes terms as columns.

    Attributes
    ----------
    is_stored : callable
        Whether an expression is a stored column of its own.
    refuse : callable
        Makes the error for a component that is no polynomial in stored columns.
    levels : mapping of str to tuple of str
        Levels of each categorical component that rows have; the first is the reference.
    stored_levels : mapping of str to tuple of str
        Levels with which the dummies were stored: the first has none of its own.
    pivoted : collection of str
        Stored columns that have had a pivot taken off.
    truths : frozenset of str
        Stored columns of truth values. They and comparisons are numbers here; R takes them for
        categories.
    """

    is_stored: Callable[[Expression], bool]
    refuse: Callable[[Expression], InputError]
    levels: Levels
    stored_levels: Levels
    pivoted: Collection[str] = ()
    truths: frozenset[str] = frozenset()
    _unknowns: dict[Unknown, int] = field(default_factory=dict)

    def model(self, formula: Formula) -> Columns:
        """Columns of a formula.

        Raises
        ------
        InputError
            When a term needs what is not stored, naming it.
        """
        self.truths = self.truths.union(map(str, filter(is_comparison, formula.predictors)))
        fixed, random = self.side(formula.fixed), self.side(formula.random)
        response = self._component(formula.response.factors[0], {})
        columns: dict[str, Polynomial] = {}
        for name, polynomial in (*fixed, *random, *response):
            if columns.setdefault(name, polynomial) != polynomial:
                raise InputError("two columns have one name", column=name, hint="rename a level")
        places = {name: i for i, name in enumerate(columns)}
        return Columns(
            tuple(columns),
            tuple(range(len(fixed))),
            tuple(places[name] for name, _ in random),
            tuple(columns.values()),
            tuple(self._unknowns),
        )

    def side(self, terms: Sequence[Term]) -> NamedPolynomials:
        """Columns of one side of a formula, in order, each with its name."""
        codings = self._codings(terms)
        columns: NamedPolynomials = []
        for term in terms:
            for coding in codings[term]:
                parts = [
                    self._component(factor, coding)
                    for factor in term.factors
                    if str(factor) in coding or not self._is_category(str(factor))
                ]
                for chosen in product(*parts):
                    whole = reduce(multiply, [p for _, p in chosen], {_CONSTANT: 1.0})
                    columns.append((":".join(n for n, _ in chosen) or "Intercept", whole))
        return columns

    def _is_category(self, name: str) -> bool:
        return name in self.levels or name in self.truths

    def _component(self, factor: Expression, coding: Mapping[str, bool]) -> NamedPolynomials:
        """Columns of one component: one for a number, one a level for a category."""
        name = str(factor)
        if name in self.levels:
            levels = self.levels[name] if coding[name] else self.levels[name][1:]
            return [(dummy(name, level), self._dummy(name, level)) for level in levels]
        if (polynomial := self._expand(factor)) is None:
            raise self.refuse(factor)
        return [(name, polynomial)]

    def _dummy(self, factor: str, level: str) -> Polynomial:
        """Write the dummy of a level; that of the first is one less all the others."""
        first, *others = self.stored_levels[factor]
        if level != first:
            return {((dummy(factor, level),), ()): 1.0}
        return {_CONSTANT: 1.0} | {((dummy(factor, other),), ()): -1.0 for other in others}

    def _written(self, unknown: Unknown) -> Polynomial:
        """Write an unknown, by its number."""
        return {((), (self._unknowns.setdefault(unknown, len(self._unknowns)),)): 1.0}

    def _expand(self, expression: Expression) -> Polynomial | None:
        """Write an expression as a polynomial, or None when it is not one in what is stored."""
        if isinstance(expression.value, str):
            return None
        if expression.value is not None:
            return {_CONSTANT: float(expression.value)}
        if self.is_stored(expression):
            name = str(expression)
            pivot = self._written(Unknown("pivot", name)) if name in self.pivoted else {}
            return {((name,), ()): 1.0} | pivot
        if not expression.sign:
            return self._call(expression)
        operands = [self._expand(part) for part in expression.parts]
        known = [operand for operand in operands if operand is not None]
        return _combine(expression.sign, known) if len(known) == len(operands) else None

    def _call(self, call: Expression) -> Polynomial | None:
        if call.head not in ("I", "center", "scale", "standardize") or call.only is None:
            return None
        inner = self._expand(call.only)
        if inner is None or call.head == "I":
            return inner
        if 2 * _degree(inner) > MAX_DEGREE:
            return None
        # The constant cancels; taking it out first saves the digits that it would cost.
        bare = {key: weight for key, weight in inner.items() if key[0]}
        centred = _add(bare, self._written(Unknown("mean", str(call), tuple(bare.items()))), -1.0)
        if call.head == "center":
            return centred
        # The standard deviation is R's, by rows less one; formulae's is by rows.
        scale = Unknown("scale", str(call), tuple(centred.items()))
        return multiply(centred, self._written(scale))

    def _codings(self, terms: Sequence[Term]) -> dict[Term, list[dict[str, bool]]]:
        """Which categories keep all their levels, in the columns of each term.

        The rule is R's: terms of few components come first; a category loses its first level where
        an earlier term holds all else of its term. Without a constant the first category keeps it.
        Where R's columns would repeat earlier ones, only what is new is written.
        """
        found: dict[Term, list[dict[str, bool]]] = {}
        before: list[frozenset[str]] = []
        spanned: set[frozenset[str]] = set()
        constant = any(not term.factors for term in terms)
        for term in sorted(terms, key=lambda t: len(t.factors)):
            categories = [name for name in map(str, term.factors) if self._is_category(name)]
            names = frozenset(map(str, term.factors))
            whole = [n for n in categories if not any(names - {n} <= other for other in before)]
            if categories and not constant:
                whole, constant = whole or categories, True
            sizes = range(len(whole) + 1)
            spans = [names.difference(left) for n in sizes for left in combinations(whole, n)]
            new = [span for span in spans if span not in spanned]
            found[term] = [{name: name in whole for name in categories}]
            if len(new) < len(spans):
                found[term] = [{n: False for n in categories if n in span} for span in new[::-1]]
            self._refuse_truths(found[term], categories)
            before.append(names)
            spanned.update(new)
        return found

    def _refuse_truths(self, codings: list[dict[str, bool]], categories: list[str]) -> None:
        """Refuse both levels of truth values, or none in some of a term's columns."""
        for name in self.truths.intersection(categories):
            if any(coding.get(name, True) for coding in codings):
                raise InputError(
                    "R makes two columns of truth values here, as nothing else in the formula "
                    "spans the constant",
                    column=name,
                    hint=f"write C({name}) for both, or {{{name} * 1}} for one",
                )


def _combine(symbol: str, operands: list[Polynomial]) -> Polynomial | None:
    """Arithmetic on polynomials; None where the result is not one."""
    left, right = ({}, *operands)[-2:]  # a sign alone is applied to nothing and what follows it
    if symbol in "+-":
        return _add(left, right, 1.0 if symbol == "+" else -1.0)
    result: Polynomial = {}
    constant = right[_CONSTANT] if right.keys() == {_CONSTANT} else 0.0
    if symbol == "*":
        result = multiply(left, right)
    elif symbol == "/" and constant:
        result = {key: weight / constant for key, weight in left.items()}
    elif symbol == "**" and constant in range(1, MAX_DEGREE + 1):
        result = reduce(multiply, [left] * int(constant))
    return result if result and _degree(result) <= MAX_DEGREE else None
