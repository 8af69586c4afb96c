"""From sums of stored columns to the cross-products of a model's columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.columns import Columns, Monomial, Writer, dummy, monomial
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.expression import Expression, Name, names_in
from multilevel.formula import Formula, parse_formula
from multilevel.plan import Named, Pairs, canonical, nearest
from multilevel.record import INTEGER_LIMIT, Record, Totals, movable

Array: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = Mapping[Monomial, float]

#: A variance this small a part of the mean square is rounding: the column is constant.
_SAME_IN_EVERY_ROW = 1e-12


def derive(record: Record, formula: Formula) -> DesignMoments:
    """Cross-products of a formula's columns, raw and about their means.

    Raises
    ------
    InputError
        When a column or a product was not stored, naming it.
    """
    if not record.n.any():
        raise InputError(
            "no row has a value in every column needed",
            hint=f"check {', '.join(record.complete)} for missing values",
        )
    if formula.group and formula.group != record.group_name:
        raise InputError(
            f"these moments are grouped by {record.group_name or 'nothing'}, not by {formula.group}"
        )
    single = not formula.group
    sums = _sums(record, single)
    columns = _model(record, formula, sums)
    unknowns = _unknowns(columns, sums)
    centres, raw, centred = _crosses(columns, unknowns, sums)
    return DesignMoments(
        groups=np.array(["all"], dtype=object) if single else record.groups,
        n=record.n.sum(keepdims=True) if single else record.n,
        cross=raw,
        names=columns.names,
        fixed=columns.fixed,
        random=columns.random,
        response=len(columns.names) - 1,
        group_name=formula.group,
        formula=formula.text,
        polynomials=tuple([_filled(p.items(), unknowns) for p in columns.raw]),
        means={name: sums.variable_mean(name) for name in columns.variables},
        centres=centres,
        centred=centred,
    )


class _Sums(NamedTuple):
    """Sums around pivots near the means, so that centring costs no digits."""

    table: Array  # a row for each product, and zeros last; a column for each group
    totals: list[float]
    rows: int
    pivots: Mapping[str, float]
    keys: tuple[Monomial, ...]
    monomials: tuple[Monomial, ...]
    dummies: Pairs

    def places(self, left: tuple[Monomial, ...], right: tuple[Monomial, ...]) -> NDArray[np.intp]:
        """Where the product of each pair of monomials is among the sums."""
        return _places(left, right, self.keys, self.monomials, self.dummies)

    def mean(self, one: Weights, other: Weights) -> float:
        """Pooled mean of the product of two polynomials."""
        left, right = ({key: w for key, w in p.items() if w} for p in (one, other))
        places = self.places(tuple(left), tuple(right)).tolist()
        weights = product(left.values(), right.values())
        total = sum([self.totals[i] * x * y for i, (x, y) in zip(places, weights, strict=True)])
        return float(total) / self.rows

    def variable_mean(self, name: str) -> float:
        """Pooled mean of a column, NaN where it was stored in products alone."""
        if (name,) not in self.keys:
            return float("nan")
        return self.pivots.get(name, 0.0) + self.totals[self.keys.index((name,))] / self.rows


def _sums(record: Record, single: bool) -> _Sums:
    """Take a record's sums around pivots: as stored, or near the mean for whole numbers."""
    rows = int(record.n.sum())
    dummies = tuple([(dummy(f, lv), f) for f, levels in record.levels.items() for lv in levels[1:]])
    pivots = dict(record.pivots)
    for name in movable(record.monomials) - set(dict(dummies)) - set(pivots):
        if (name,) in record.sums:
            pivots[name] = float(round(int(record.sums[(name,)].sum()) / rows))
    sums = around(record.sums, record.pivots, pivots)
    table = np.array([*sums.values(), np.zeros(len(record.n))], dtype=float)
    if single:
        table = table.sum(axis=1, keepdims=True)
    totals = table.sum(axis=1).tolist()
    return _Sums(table, totals, rows, pivots, tuple(sums), record.monomials, dummies)


def _model(record: Record, formula: Formula, sums: _Sums) -> Columns:
    """Columns of the model, without levels that no row has: they would be columns of zeros."""
    observed = []
    for factor, levels in record.levels.items():
        keys = [(dummy(factor, level),) for level in levels[1:]]
        if all(key in sums.keys for key in keys):
            counts = [sums.totals[sums.keys.index(key)] for key in keys]
            counts = [sums.rows - sum(counts), *counts]
            levels = tuple([lv for lv, n in zip(levels, counts, strict=True) if n > 0])
        observed.append((factor, levels))
    return _columns(formula.text, record.monomials, tuple(observed), tuple(record.levels.items()))


@lru_cache(maxsize=256)
def _columns(text: str, monomials: tuple[Monomial, ...], observed: Named, levels: Named) -> Columns:
    """Columns of a formula in what is stored; refuses what is not, naming it."""
    formula = parse_formula(text)
    used = set(map(str, formula.predictors))
    names = frozenset(name for key in monomials for name in key)
    for factor, found in observed:
        if factor in used and len(found) < 2:
            raise InputError(
                "this category has one level only among the rows analysed",
                column=factor,
                hint="leave it out",
            )

    def refuse(factor: Expression) -> InputError:
        for name in names_in(factor):
            if str(Name(name)) not in names:
                hint = nearest(name, names) or "store it, or fit from rows"
                return InputError("this column is not in the moments", column=name, hint=hint)
        return InputError(
            f"{factor} cannot be derived from moments",
            column=str(factor),
            hint="make the moments from the frame with this formula",
        )

    known = Writer(lambda e: str(e) in names, refuse, dict(observed), dict(levels))
    return known.model(formula)


def _filled(
    terms: Iterable[tuple[tuple[Monomial, tuple[int, ...]], float]], unknowns: list[float]
) -> dict[Monomial, float]:
    """Put the numbers of the unknowns into a polynomial."""
    weights: dict[Monomial, float] = {}
    for (key, places), weight in terms:
        for place in places:
            weight *= unknowns[place]
        weights[key] = weights.get(key, 0.0) + weight
    return weights


def _unknowns(columns: Columns, sums: _Sums) -> list[float]:
    """Find the numbers that only the data tell."""
    found: list[float] = []
    for unknown in columns.unknowns:
        weights = _filled(unknown.of, found)
        if unknown.kind == "pivot":
            found.append(sums.pivots.get(unknown.name, 0.0))
        elif unknown.kind == "mean":
            found.append(sums.mean(weights, {(): 1.0}))
        else:
            square, bare = sums.mean(weights, weights), weights | {(): 0.0}
            if square <= _SAME_IN_EVERY_ROW * sums.mean(bare, bare):
                raise InputError(
                    f"{unknown.name} cannot be computed: what is scaled is the same in every row",
                    hint="leave it out",
                )
            found.append(1.0 / math.sqrt(square))
    return found


def _crosses(
    columns: Columns, unknowns: list[float], sums: _Sums
) -> tuple[tuple[float, ...], Array, Array]:
    """Centres of the columns, and their cross-products, (J, m, m), raw and about the centres."""
    filled = [_filled(p.items(), unknowns) for p in columns.polynomials]
    keys = tuple([k for k in columns.monomials if any(p.get(k) for p in filled)])
    weights = np.array([[p.get(key, 0.0) for key in keys] for p in filled])
    size, terms = weights.shape
    products = sums.table[sums.places(keys, keys)]
    bare, centres = weights.copy(), np.zeros(size)
    if columns.movable:
        moved, constant = list(columns.movable), keys.index(())
        means = products[constant::terms].sum(axis=1) / sums.rows
        centres[moved] = weights[moved] @ means
        bare[:, constant] -= centres
    both = np.array([weights, bare])
    pairs = both[:, :, None, :, None] * both[:, None, :, None, :]
    cross = (pairs.reshape(-1, terms * terms) @ products).T.reshape(-1, 2, size, size)
    cross = (cross + cross.swapaxes(2, 3)) / 2
    raw, centred = np.ascontiguousarray(cross.swapaxes(0, 1))
    return tuple(centres.tolist()), raw, centred


@lru_cache(maxsize=256)
def _places(
    left: tuple[Monomial, ...],
    right: tuple[Monomial, ...],
    keys: tuple[Monomial, ...],
    monomials: tuple[Monomial, ...],
    dummies: Pairs,
) -> NDArray[np.intp]:
    """Where the product of each pair of monomials is among the sums; -1 for zeros."""
    factors, place = dict(dummies), {key: i for i, key in enumerate(keys)}
    found = []
    for one, other in product(left, right):
        reduced = canonical(monomial(one + other), factors)
        if reduced is not None and reduced not in place:
            absent = next((k for k in (other, one) if k not in monomials), one + other)
            raise InputError(
                "this product is not in the moments",
                column=":".join(monomial(absent)),
                hint="store the columns that it is made of and their product",
            )
        found.append(-1 if reduced is None else place[reduced])
    return np.array(found, dtype=np.intp)


def around(
    sums: Mapping[Monomial, Totals], old: Mapping[str, float], new: Mapping[str, float]
) -> dict[Monomial, Totals]:
    """Take sums around new pivots.

    Parameters
    ----------
    sums : mapping of Monomial to ndarray, shape (J,)
    old : mapping of str to float
        Pivots that were taken off; zero for columns left out.
    new : mapping of str to float
        Pivots wanted. Every product that the move needs must be among the sums.

    Returns
    -------
    dict of Monomial to ndarray, shape (J,)
        int64 where all sums concerned are whole numbers and so are the moves.
    """
    steps = {name: pivot - old.get(name, 0.0) for name, pivot in new.items()}
    # Whole steps first: on whole numbers they are exact, and what is left is small.
    moved = _moved(sums, {name: round(step) for name, step in steps.items() if round(step)})
    rest = {name: step - round(step) for name, step in steps.items() if step != round(step)}
    return _moved(moved, rest)


def _moved(
    sums: Mapping[Monomial, Totals], steps: Mapping[str, int] | Mapping[str, float]
) -> dict[Monomial, Totals]:
    """Return sums of products of ``x - step``, all of them, in the order given."""
    out, values = dict(sums), list(sums.values())
    if not steps:
        return out
    keys, moves = _moves(tuple(sums), frozenset(steps))
    weights = np.zeros((len(keys), len(values)), dtype=object)
    for row, column, taken in moves:
        weights[row, column] += math.prod([-steps[name] for name in taken])
    whole = np.array([v.dtype.kind == "i" for v in values])
    exact = ~(weights[:, ~whole] != 0).any(axis=1)
    exact &= all(isinstance(step, int) for step in steps.values())
    found = iter(_exact(weights[exact][:, whole], [v for v in values if v.dtype.kind == "i"]))
    rounded = iter(weights[~exact].astype(float) @ np.array(values, dtype=float))
    for key, is_exact in zip(keys, exact.tolist(), strict=True):
        out[key] = next(found if is_exact else rounded)
    return out


@lru_cache(maxsize=256)
def _moves(
    keys: tuple[Monomial, ...], names: frozenset[str]
) -> tuple[list[Monomial], list[tuple[int, int, Monomial]]]:
    """Products that change; the row of each, a product it is made of, and the pivots taken."""
    changed = [key for key in keys if names & set(key)]
    found = []
    for row, key in enumerate(changed):
        for taken in product(*((False, True) if name in names else (False,) for name in key)):
            rest = monomial(n for n, t in zip(key, taken, strict=True) if not t)
            gone = monomial(n for n, t in zip(key, taken, strict=True) if t)
            found.append((row, keys.index(rest), gone))
    return changed, found


def _exact(weights: NDArray[np.object_], values: list[Totals]) -> list[Totals]:
    """Add weighted whole numbers without rounding before the end."""
    if not len(weights):
        return []
    sizes = [int(np.abs(v).max(initial=0)) for v in values]
    if (np.abs(weights) @ np.array(sizes, dtype=object)).max() < INTEGER_LIMIT:
        return list(weights.astype(np.int64) @ np.array(values))
    big = weights @ np.array(values, dtype=object)
    fits = [max(map(abs, row), default=0) < INTEGER_LIMIT for row in big]
    return [
        np.asarray(row, dtype=np.int64 if f else float) for row, f in zip(big, fits, strict=True)
    ]
