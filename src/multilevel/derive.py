"""From stored sums to the cross-products of a model's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.expression import Call, Expression, Name, Operation, names_in
from multilevel.formula import MAX_RANDOM_TERMS, Formula
from multilevel.polynomial import Monomial, Terms, expand, monomial, shift
from multilevel.recipe import canonical, movable, nearest
from multilevel.shifting import around
from multilevel.terms import Vocabulary, dummy, term_columns

if TYPE_CHECKING:
    from multilevel.moments import Moments

__all__ = ["Shifted", "derive"]

Array = NDArray[np.float64]


def derive(moments: Moments, formula: Formula) -> DesignMoments:
    """Cross-products of a formula's columns; see `Moments.design`."""
    if formula.group and formula.group != moments.group_name:
        raise InputError(
            f"these moments are grouped by {moments.group_name or 'nothing'}, "
            f"not by {formula.group}"
        )
    shifted = moments._shifted
    columns, fixed, random = _columns(formula, _vocabulary(moments, shifted, formula))
    single = not formula.group
    cross = shifted.cross(list(columns.values()))
    raw = tuple(shift(terms, shifted.pivots) for terms in columns.values())
    used = sorted({name for terms in raw for key in terms for name in key})
    return DesignMoments(
        groups=np.array(["all"], dtype=object) if single else moments.groups,
        n=moments.n.sum(keepdims=True) if single else moments.n,
        cross=cross.sum(axis=0, keepdims=True) if single else cross,
        names=tuple(columns),
        fixed=fixed,
        random=random,
        response=len(columns) - 1,
        group_name=formula.group,
        formula=formula.text,
        polynomials=raw,
        means={name: shifted.variable_mean(name) for name in used},
    )


def _columns(
    formula: Formula, words: Vocabulary
) -> tuple[dict[str, Terms], tuple[int, ...], tuple[int, ...]]:
    """Columns of a model by name, the response last, and where its parts stand."""
    columns = dict(term_columns(formula.fixed, words))
    fixed = tuple(range(len(columns)))
    random = term_columns(formula.random, words)
    if len(random) > MAX_RANDOM_TERMS:
        raise InputError(
            f"the random part has {len(random)} columns and {MAX_RANDOM_TERMS} are offered",
            hint="a category brings one column a level: let it be a fixed effect",
        )
    for name, terms in random:
        columns.setdefault(name, terms)
    places = tuple(list(columns).index(name) for name, _ in random)
    return columns | dict(term_columns((formula.response,), words)), fixed, places


def _vocabulary(moments: Moments, shifted: Shifted, formula: Formula) -> Vocabulary:
    """Say what terms may be made of; refuse what was not stored, naming it."""
    observed = {
        factor: _observed_levels(factor, levels, shifted)
        for factor, levels in moments.levels.items()
    }

    def lookup(expression: Name | Call | Operation) -> Terms | None:
        name = str(expression)
        if name in shifted.names:
            return {(name,): 1.0, (): float(shifted.pivots.get(name, 0.0))}
        return None

    words = Vocabulary(lookup, shifted.mean, observed, moments.levels, moments.blocks)
    for term in (formula.response, *formula.fixed, *formula.random):
        for factor in term.factors:
            _check(factor, words, moments)
    return words


def _observed_levels(factor: str, levels: Sequence[str], shifted: Shifted) -> tuple[str, ...]:
    """Levels that at least one patient has: the others would give columns of noughts."""
    if any((dummy(factor, level),) not in shifted.sums for level in levels[1:]):
        return tuple(levels)
    counts = [float(shifted.sums[(dummy(factor, level),)].sum()) for level in levels[1:]]
    first = float(shifted.rows) - sum(counts)
    return tuple(lv for lv, n in zip(levels, [first, *counts], strict=True) if n > 0)


def _check(factor: Expression, words: Vocabulary, moments: Moments) -> None:
    """Name the column that is missing from the moments."""
    levels = words.levels.get(str(factor))
    if levels is not None and len(levels) < 2:
        raise InputError(
            "this category has one level only among the rows analysed",
            column=str(factor),
            hint="leave it out",
        )
    if levels is not None or str(factor) in words.blocks:
        return
    if expand(factor, words.lookup, lambda _: 1.0) is not None:
        return
    for name in dict.fromkeys(names_in(factor)):
        if words.lookup(Name(name)) is None:
            close = nearest(name, moments.variables)
            raise InputError(
                "this column is not in the moments",
                column=name,
                hint=f"the nearest name is {close}" if close else "store it, or fit from a frame",
            )
    raise InputError(
        f"{factor} cannot be derived from moments",
        column=str(factor),
        hint="make the moments from the frame with this formula",
    )


@dataclass(frozen=True)
class Shifted:
    """Sums around pivots near the means, so that centring costs no digits."""

    moments: Moments

    @cached_property
    def names(self) -> frozenset[str]:
        """Columns that occur in some stored product."""
        return frozenset(self.moments.variables)

    @cached_property
    def rows(self) -> int:
        """Complete rows in all."""
        return int(self.moments.n.sum())

    @cached_property
    def dummies(self) -> dict[str, str]:
        """The factor of each dummy."""
        return {
            dummy(factor, level): factor
            for factor, levels in self.moments.levels.items()
            for level in levels[1:]
        }

    @cached_property
    def pivots(self) -> dict[str, float]:
        """Pivot of each column: as stored, or near the mean for whole numbers."""
        pivots = dict(self.moments.pivots)
        can_move = movable(self.moments.monomials) - set(self.dummies) - set(pivots)
        for name in can_move:
            total = self.moments.sums.get((name,))
            if total is not None and self.rows:
                pivots[name] = float(round(int(total.sum()) / self.rows))
        return pivots

    @cached_property
    def sums(self) -> dict[Monomial, Array]:
        """Sums of products of ``x - pivot``, floats."""
        moved = around(self.moments.sums, self.moments.pivots, self.pivots)
        return {key: values.astype(float) for key, values in moved.items()}

    def product_sum(self, key: Monomial) -> Array | None:
        """Return sums of a product: noughts for two levels of one factor, None if not stored."""
        reduced = canonical(key, self.dummies)
        if reduced is None:
            return np.zeros(len(self.moments.n))
        return self.sums.get(reduced)

    def mean(self, terms: Terms) -> float:
        """Pooled mean of a polynomial in the shifted columns."""
        total = 0.0
        for key, value in terms.items():
            if value == 0.0:
                continue
            sums = self.product_sum(key)
            if sums is None:
                raise _not_stored(key)
            total += value * float(sums.sum())
        return total / self.rows

    def variable_mean(self, name: str) -> float:
        """Pooled mean of a column, NaN where it was stored in products alone."""
        if (name,) not in self.sums:
            return float("nan")
        return float(self.pivots.get(name, 0.0)) + self.mean({(name,): 1.0})

    def cross(self, columns: Sequence[Terms]) -> Array:
        """Cross-products of polynomials, shape (J, m, m)."""
        used = list(dict.fromkeys(k for terms in columns for k, v in terms.items() if v))
        weights = np.array([[terms.get(key, 0.0) for key in used] for terms in columns])
        grid = np.zeros((len(self.moments.n), len(used), len(used)))
        for a, left in enumerate(used):
            for b, right in enumerate(used[: a + 1]):
                sums = self.product_sum(monomial(left + right))
                if sums is None:
                    stored = self.moments.monomials
                    absent = next((k for k in (right, left) if k not in stored), left + right)
                    raise _not_stored(monomial(absent))
                grid[:, a, b] = grid[:, b, a] = sums
        cross: Array = weights @ grid @ weights.T
        return (cross + cross.transpose(0, 2, 1)) / 2


def _not_stored(key: Monomial) -> InputError:
    return InputError(
        "this product is not in the moments",
        column=":".join(key),
        hint="store the columns that it is made of and their product",
    )
