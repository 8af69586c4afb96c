"""From sums of stored columns to the cross-products of a model's columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments, movable_columns
from multilevel.errors import InputError
from multilevel.expression import Call, Name, Operation
from multilevel.formula import MAX_RANDOM_TERMS, Formula
from multilevel.plan import canonical
from multilevel.polynomial import Monomial, Terms, monomial, shift
from multilevel.record import Record, Totals, around, movable
from multilevel.terms import Vocabulary, dummy, term_columns

Array: TypeAlias = NDArray[np.float64]


def derive(record: Record, formula: Formula) -> DesignMoments:
    """Cross-products of a formula's columns, raw and about their means.

    Raises
    ------
    InputError
        When a column or a product was not stored, naming it.
    """
    if not record.n.sum():
        raise InputError(
            "no row has a value in every column needed",
            hint=f"check {', '.join(record.complete)} for missing values",
        )
    if formula.group and formula.group != record.group_name:
        raise InputError(
            f"these moments are grouped by {record.group_name or 'nothing'}, not by {formula.group}"
        )
    shifted = _Shifted(record)
    columns, fixed, random = _columns(formula, _vocabulary(record, shifted, formula))
    single = not formula.group
    polynomials = list(columns.values())
    names = tuple(columns)
    movable = movable_columns(names, names[: len(fixed)], [names[i] for i in random])
    centres = [shifted.mean(terms) if i in movable else 0.0 for i, terms in enumerate(polynomials)]
    cross = shifted.cross(polynomials, single)
    bare = [
        terms | {(): terms.get((), 0.0) - centre}
        for terms, centre in zip(polynomials, centres, strict=True)
    ]
    raw = tuple(shift(terms, shifted.pivots) for terms in polynomials)
    used = sorted({name for terms in raw for key in terms for name in key})
    return DesignMoments(
        groups=np.array(["all"], dtype=object) if single else record.groups,
        n=record.n.sum(keepdims=True) if single else record.n,
        cross=cross,
        names=names,
        fixed=fixed,
        random=random,
        response=len(columns) - 1,
        group_name=formula.group,
        formula=formula.text,
        polynomials=raw,
        means={name: shifted.variable_mean(name) for name in used},
        centres=tuple(centres),
        centred=shifted.cross(bare, single),
    )


def _columns(
    formula: Formula, words: Vocabulary
) -> tuple[dict[str, Terms], tuple[int, ...], tuple[int, ...]]:
    """Columns of a model by name, the response last, and where its parts stand."""
    fixed = term_columns(formula.fixed, words)
    random = term_columns(formula.random, words)
    response = term_columns((formula.response,), words)
    if len(random) > MAX_RANDOM_TERMS:
        raise InputError(
            f"the random part has {len(random)} columns and {MAX_RANDOM_TERMS} are offered",
            hint="a category brings one column a level: let it be a fixed effect",
        )
    columns: dict[str, Terms] = {}
    for name, terms in (*fixed, *random, *response):
        if columns.setdefault(name, terms) != terms:
            raise InputError(
                "two columns of the model have one name", column=name, hint="rename a level"
            )
    places = {name: i for i, name in enumerate(columns)}
    return columns, tuple(range(len(fixed))), tuple(places[name] for name, _ in random)


def _vocabulary(record: Record, shifted: _Shifted, formula: Formula) -> Vocabulary:
    """Say what terms may be made of; refuse what was not stored, naming it."""
    used = {str(f) for t in (*formula.fixed, *formula.random) for f in t.factors}
    observed: dict[str, tuple[str, ...]] = {}
    for factor, levels in record.levels.items():
        observed[factor] = _observed_levels(factor, levels, shifted)
        if factor in used and len(observed[factor]) < 2:
            raise InputError(
                "this category has one level only among the rows analysed",
                column=factor,
                hint="leave it out",
            )
    pivots, names = shifted.pivots, _variables(record.monomials)

    def lookup(expression: Name | Call | Operation) -> Terms | None:
        name = str(expression)
        return {(name,): 1.0, (): pivots.get(name, 0.0)} if name in names else None

    return Vocabulary(lookup, shifted.mean, observed, record.levels, record.blocks, pivots, names)


def _observed_levels(factor: str, levels: Sequence[str], shifted: _Shifted) -> tuple[str, ...]:
    """Levels that at least one row has: the others would give columns of zeros."""
    if any((dummy(factor, level),) not in shifted.totals for level in levels[1:]):
        return tuple(levels)
    counts = [shifted.totals[(dummy(factor, level),)] for level in levels[1:]]
    first = shifted.rows - sum(counts)
    return tuple(lv for lv, n in zip(levels, [first, *counts], strict=True) if n > 0)


@lru_cache(maxsize=256)
def _variables(monomials: tuple[Monomial, ...]) -> frozenset[str]:
    return frozenset(name for key in monomials for name in key)


@dataclass(frozen=True)
class _Shifted:
    """Sums around pivots near the means, so that centring costs no digits."""

    record: Record

    @cached_property
    def rows(self) -> int:
        """Complete rows in all."""
        return int(self.record.n.sum())

    @cached_property
    def dummies(self) -> dict[str, str]:
        """The factor of each dummy."""
        return {
            dummy(factor, level): factor
            for factor, levels in self.record.levels.items()
            for level in levels[1:]
        }

    @cached_property
    def pivots(self) -> dict[str, float]:
        """Pivot of each column: as stored, or near the mean for whole numbers."""
        pivots = dict(self.record.pivots)
        for name in movable(self.record.monomials) - set(self.dummies) - set(pivots):
            total = self.record.sums.get((name,))
            if total is not None:
                pivots[name] = float(round(int(total.sum()) / self.rows))
        return pivots

    @cached_property
    def sums(self) -> Mapping[Monomial, Totals]:
        """Sums of products of ``x - pivot``."""
        return around(self.record.sums, self.record.pivots, self.pivots)

    @cached_property
    def stacked(self) -> Array:
        """The sums one below the other, shape (K + 1, J), zeros last."""
        zeros = np.zeros(len(self.record.n))
        return np.array([*self.sums.values(), zeros], dtype=float)

    @cached_property
    def totals(self) -> dict[Monomial, float]:
        """Sums over all groups."""
        return dict(zip(self.sums, self.stacked.sum(axis=1).tolist(), strict=False))

    def mean(self, terms: Terms) -> float:
        """Pooled mean of a polynomial in the shifted columns."""
        total = 0.0
        for key, value in terms.items():
            if value:
                reduced = canonical(key, self.dummies)
                if reduced is not None and reduced not in self.totals:
                    raise _not_stored(key)
                total += value * self.totals[reduced] if reduced is not None else 0.0
        return total / self.rows

    def variable_mean(self, name: str) -> float:
        """Pooled mean of a column, NaN where it was stored in products alone."""
        if (name,) not in self.totals:
            return float("nan")
        return self.pivots.get(name, 0.0) + self.totals[(name,)] / self.rows

    def cross(self, columns: Sequence[Terms], single: bool) -> Array:
        """Cross-products of polynomials, shape (J, m, m), or (1, m, m) for one group."""
        used = tuple(dict.fromkeys(k for terms in columns for k, v in terms.items() if v))
        weights = np.array([[terms.get(key, 0.0) for key in used] for terms in columns])
        places = _places(used, tuple(self.sums), self.record.monomials, tuple(self.dummies.items()))
        stacked = self.stacked.sum(axis=1, keepdims=True) if single else self.stacked
        products = np.kron(weights, weights) @ stacked[places]
        size = len(columns)
        cross = np.ascontiguousarray(products.T).reshape(-1, size, size)
        return np.asarray((cross + cross.transpose(0, 2, 1)) / 2)


@lru_cache(maxsize=256)
def _places(
    used: tuple[Monomial, ...],
    keys: tuple[Monomial, ...],
    monomials: tuple[Monomial, ...],
    dummies: Iterable[tuple[str, str]],
) -> NDArray[np.intp]:
    """Where the product of each pair of monomials is among the sums; -1 for zeros."""
    factors, place = dict(dummies), {key: i for i, key in enumerate(keys)}
    found = []
    for left in used:
        for right in used:
            reduced = canonical(monomial(left + right), factors)
            if reduced is not None and reduced not in place:
                absent = next((k for k in (right, left) if k not in monomials), left + right)
                raise _not_stored(monomial(absent))
            found.append(-1 if reduced is None else place[reduced])
    return np.array(found, dtype=np.intp)


def _not_stored(key: Monomial) -> InputError:
    return InputError(
        "this product is not in the moments",
        column=":".join(key),
        hint="store the columns that it is made of and their product",
    )
