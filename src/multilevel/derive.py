"""From sums of stored columns to the cross-products of a model's columns.

What does not depend on the numbers (which product of stored columns goes where, times what) is
worked out once for a formula, as a `Recipe`; a table or its moments then fill in their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.columns import Columns, Monomial, Polynomial, Writer, dummy, monomial, multiply
from multilevel.design import Array, DesignMoments, movable_columns
from multilevel.errors import InputError
from multilevel.expression import Expression, names_in
from multilevel.formula import Formula, parse_formula
from multilevel.plan import Named, canonical, nearest
from multilevel.record import INTEGER_LIMIT, Record, Totals, movable

#: Products of stored columns by their places among the sums, each with the unknowns that it is
#: multiplied by and a weight.
Weighted: TypeAlias = list[tuple[int, tuple[int, ...], float]]

#: More random terms than this on one grouping factor are refused.
MAX_RANDOM_TERMS = 3
#: A variance this small a part of the mean square is rounding: the column is constant.
_SAME_IN_EVERY_ROW = 1e-12
#: A weight this small a part of what was added up to it is rounding: the pivots cancel.
_CANCELLED = 1e-13
#: A sum of squares this small a part of what was added up to it has too few digits left.
_LOST = 1e-10


def derive(record: Record, formula: Formula) -> DesignMoments:
    """Cross-products of a formula's columns, raw and about their means.

    Raises
    ------
    InputError
        When a column or a product was not stored, naming it.
    """
    if formula.above:
        raise InputError("a formula of three levels is for fit_mixed", hint="keep one factor")
    rows = int(record.n.sum())
    if not rows:
        why = "no row has a value in every column needed"
        raise InputError(why, hint=f"check {', '.join(record.complete)} for missing values")
    if formula.group and formula.group != record.group_name:
        raise InputError(
            f"these moments are grouped by {record.group_name or 'nothing'}, not by {formula.group}"
        )
    single = not formula.group
    pivots, table = _near_means(record, rows)
    if single:
        table = table.sum(axis=1, keepdims=True)
    means = table.sum(axis=1) / rows
    recipe = _recipe_for(record, formula)
    columns = recipe.columns
    weights = _matrix(recipe.terms, _unknowns(recipe, means.tolist(), pivots, rows))
    weights[_cancelled(recipe, weights, table)] = 0.0
    centres, (raw, centred) = _crosses(recipe, weights, table, means)
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
        polynomials=_polynomials(recipe, weights, pivots),
        means={
            name: pivots.get(name, 0.0) + (float(means[i]) if i >= 0 else math.nan)
            for name, i in recipe.variables
        },
        centres=tuple(centres.tolist()),
        centred=centred,
    )


class Flat(NamedTuple):
    """Weighted products as arrays, for many rows at once.

    Attributes
    ----------
    shape : (int, int)
        Rows, and products that there are.
    rows, places : ndarray of int, shape (T,)
        Where each weight goes; one place may be met several times.
    by : ndarray of int, shape (T, d)
        Unknowns that each is multiplied by; -1 for none.
    weights : ndarray of shape (T,)
    """

    shape: tuple[int, int]
    rows: NDArray[np.intp]
    places: NDArray[np.intp]
    by: NDArray[np.intp]
    weights: NDArray[Any]


def _flat(rows: Sequence[Weighted], width: int) -> Flat:
    """Lay weighted products out as arrays."""
    terms = [(row, place, by, w) for row, some in enumerate(rows) for place, by, w in some]
    depth = max((len(by) for _, _, by, _ in terms), default=0)
    return Flat(
        (len(rows), width),
        np.array([row for row, _, _, _ in terms], dtype=np.intp),
        np.array([place for _, place, _, _ in terms], dtype=np.intp),
        np.array([[*by, *[-1] * (depth - len(by))] for _, _, by, _ in terms], dtype=np.intp),
        np.array([weight for *_, weight in terms]),
    )


class Recipe(NamedTuple):
    """How a formula's columns come from sums, whatever the numbers.

    Attributes
    ----------
    columns : Columns
    monomials : tuple of Monomial, length t
        Products of stored columns that the columns of the model are made of.
    places : ndarray of int, shape (t * t,)
        Where the product of each pair of them is among the sums; -1 for zeros.
    terms : Flat
        Each column in these monomials, by their places.
    moments : list of list of Weighted
        For each unknown, the mean that tells it; for a spread, the mean square of what is not
        constant too.
    variables : list of (str, int)
        Stored columns, and where their sums are; -1 where they were stored in products alone.
    movable : list of int
        Positions of the columns from which a constant can be taken.
    """

    columns: Columns
    monomials: tuple[Monomial, ...]
    places: NDArray[np.intp]
    terms: Flat
    moments: list[list[Weighted]]
    variables: list[tuple[str, int]]
    movable: list[int]


def _recipe_for(record: Record, formula: Formula) -> Recipe:
    """Find a formula's recipe, without levels that no row has: they would be columns of zeros."""
    observed = []
    for factor, levels in record.levels.items():
        dummies = [(dummy(factor, level),) for level in levels[1:]]
        if all(key in record.sums for key in dummies):
            counts = [int(record.sums[key].sum()) for key in dummies]
            counts = [int(record.n.sum()) - sum(counts), *counts]
            levels = tuple([lv for lv, n in zip(levels, counts, strict=True) if n > 0])
        observed.append((factor, levels))
    stored = tuple(record.levels.items())
    return _recipe(formula.text, tuple(record.sums), record.monomials, stored, tuple(observed))


@lru_cache(maxsize=256)
def _pivoted(monomials: tuple[Monomial, ...], levels: Named) -> tuple[str, ...]:
    """Columns from which a pivot may be taken: those that can move and are no dummies."""
    dummies = {dummy(factor, level) for factor, known in levels for level in known}
    return tuple(sorted(movable(monomials) - dummies))


@lru_cache(maxsize=256)
def _recipe(
    text: str, keys: tuple[Monomial, ...], stored: tuple[Monomial, ...], levels: Named, seen: Named
) -> Recipe:
    """Work a formula out in what is stored; refuses what is not, naming it."""
    columns = _columns(text, stored, levels, seen)
    factors = {dummy(factor, level): factor for factor, known in levels for level in known}
    place = {key: i for i, key in enumerate(keys)}

    def find(one: Monomial, other: Monomial) -> int:
        reduced = canonical(monomial(one + other), factors)
        if reduced is not None and reduced not in place:
            absent = next((k for k in (other, one) if k not in stored), one + other)
            raise InputError(
                "this product is not in the moments",
                column=":".join(monomial(absent)),
                hint="store the columns that it is made of and their product",
            )
        return -1 if reduced is None else place[reduced]

    def weighted(polynomial: Polynomial) -> Weighted:
        return [(find(key, ()), by, w) for (key, by), w in polynomial.items() if w]

    used = (key for p in columns.polynomials for (key, _), weight in p.items() if weight)
    monomials = tuple(dict.fromkeys(((), *used)))
    places = [find(one, other) for one, other in product(monomials, monomials)]
    moments = []
    for unknown in columns.unknowns:
        of = dict(unknown.of)
        bare = {key: weight for key, weight in of.items() if key[0]}
        squares = [multiply(of, of), multiply(bare, bare)] if unknown.kind == "scale" else [of]
        moments.append([weighted(polynomial) for polynomial in squares])
    variables = sorted({name for key in monomials for name in key})
    terms = [
        [(monomials.index(key), by, weight) for (key, by), weight in p.items() if weight]
        for p in columns.polynomials
    ]
    return Recipe(
        columns,
        monomials,
        np.array(places, dtype=np.intp),
        _flat(terms, len(monomials)),
        moments,
        [(name, place.get((name,), -1)) for name in variables],
        movable_columns(columns.names, columns.fixed, columns.random),
    )


def _columns(text: str, stored: tuple[Monomial, ...], levels: Named, seen: Named) -> Columns:
    """Columns of a formula in what is stored; refuses what is not, naming it."""
    formula = parse_formula(text)
    used = set(map(str, formula.predictors))
    names = frozenset(name for key in stored for name in key)
    for factor, found in seen:
        if factor in used and len(found) < 2:
            why = "this category has one level only among the rows analysed"
            raise InputError(why, column=factor, hint="leave it out")

    def refuse(factor: Expression) -> InputError:
        for name in names_in(factor):
            if str(Expression("name", name)) not in names:
                hint = nearest(name, names) or "store it, or fit from rows"
                return InputError("this column is not in the moments", column=name, hint=hint)
        return InputError(
            f"{factor} cannot be derived from moments",
            column=str(factor),
            hint="make the moments from the frame with this formula",
        )

    # Truth values are stored as numbers, categories as dummies.
    truths = names.intersection(factor for factor, _ in levels)
    known, present = ({f: v for f, v in some if f not in truths} for some in (levels, seen))
    pivoted = _pivoted(stored, levels)
    writer = Writer(lambda e: str(e) in names, refuse, present, known, pivoted, truths)
    columns = writer.model(formula)
    if len(columns.random) > MAX_RANDOM_TERMS:
        raise InputError(
            f"the random part has {len(columns.random)} columns and {MAX_RANDOM_TERMS} are offered",
            hint="leave some out of the bracket: a category brings one column a level",
        )
    return columns


def _matrix(terms: Flat, unknowns: Sequence[float], kind: Any = float) -> Array:
    """Weight of each product in each row."""
    numbers = np.array([*unknowns, 1], dtype=kind)
    found: Array = np.zeros(terms.shape, dtype=kind)
    np.add.at(found, (terms.rows, terms.places), terms.weights * numbers[terms.by].prod(axis=1))
    return found


def _unknowns(
    recipe: Recipe, means: Sequence[float], pivots: Mapping[str, float], rows: int
) -> list[float]:
    """Find the numbers that only the data tell."""
    found: list[float] = []
    for unknown, sums in zip(recipe.columns.unknowns, recipe.moments, strict=True):
        parts = [[means[i] * w * math.prod(found[u] for u in by) for i, by, w in s] for s in sums]
        value, *bare = map(sum, parts)
        if unknown.kind == "pivot":
            value = pivots.get(unknown.name, 0.0)
        elif unknown.kind == "scale":
            if value <= _SAME_IN_EVERY_ROW * bare[0]:
                why = f"{unknown.name} cannot be computed: what is scaled is the same in every row"
                raise InputError(why, hint="leave it out")
            value = math.sqrt((1.0 - 1.0 / rows) / value)
        found.append(value)
    return found


def _polynomials(
    recipe: Recipe, weights: Array, pivots: Mapping[str, float]
) -> tuple[dict[Monomial, float], ...]:
    """Write the columns in the stored columns themselves, not less their pivots."""
    steps = {name: -pivot for name, pivot in pivots.items() if pivot}
    into, moves = _moves(recipe.monomials, tuple(steps))
    change = _matrix(moves, list(steps.values()))
    raw, size = weights @ change, np.abs(weights) @ np.abs(change)
    raw[np.abs(raw) <= _CANCELLED * size] = 0.0
    return tuple([{k: w for k, w in zip(into, row, strict=True) if w} for row in raw.tolist()])


def _cancelled(recipe: Recipe, weights: Array, table: Array) -> NDArray[np.bool_]:
    """Tell columns that are zero in every row but for rounding.

    The dummy of a first level is one less all the others: so where no row has a combination of
    levels, its squares are what is left of far larger sums.
    """
    by, sums = np.array([weights, np.abs(weights)]), np.array([table, np.abs(table)]).sum(axis=2)
    products = sums[:, recipe.places].reshape(2, by.shape[2], -1)
    squares, size = ((by @ products) * by).sum(axis=2)
    return np.asarray(squares <= _LOST * size)


def _crosses(recipe: Recipe, weights: Array, table: Array, means: Array) -> tuple[Array, Array]:
    """Centres of the columns, and their cross-products raw and about them, (2, J, m, m)."""
    size, terms = weights.shape
    centres, bare, moved = np.zeros(size), weights.copy(), recipe.movable
    centres[moved] = (weights @ means[recipe.places[:terms]])[moved]
    bare[:, 0] -= centres  # the constant is the first monomial
    both = np.array([weights, bare])
    half = both.reshape(2 * size, terms) @ table[recipe.places].reshape(terms, -1)
    cross = (both[:, None] @ half.reshape(2, size, terms, -1)).transpose(0, 3, 1, 2)
    return centres, np.ascontiguousarray((cross + cross.swapaxes(2, 3)) / 2)


def _near_means(record: Record, rows: int) -> tuple[dict[str, float], Array]:
    """Take sums around pivots near the means, so that centring costs no digits; zeros come last.

    Pivots stay as stored; whole numbers, stored around zero, get one.
    """
    pivots, keys, table = dict(record.pivots), tuple(record.sums), _table(record.sums)
    totals = table.sum(axis=1)
    for name in _pivoted(record.monomials, tuple(record.levels.items())):
        if name not in pivots:
            pivots[name] = float(round(totals[keys.index((name,))] / rows))
    table = _moved(keys, table, record.pivots, pivots).astype(float, copy=False)
    return pivots, np.concatenate([table, np.zeros((1, table.shape[1]))])


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
        All of them, in the order given; those without a column that moves as they are.
    """
    moving = {name for name, pivot in new.items() if pivot != old.get(name, 0.0)}
    moved = _moved(tuple(sums), _table(sums), old, new)
    return {k: sums[k] if moving.isdisjoint(k) else v for k, v in zip(sums, moved, strict=True)}


def _table(sums: Mapping[Monomial, Totals]) -> Array:
    """Put sums in a table of floats; of Python's integers where floats would not hold them."""
    table = np.array([*sums.values()], dtype=float)
    if np.abs(table).max(initial=0.0) < INTEGER_LIMIT:
        return table
    large = [v.dtype.kind == "i" and (np.abs(v) >= INTEGER_LIMIT).any() for v in sums.values()]
    return np.array([*sums.values()], dtype=object) if any(large) else table


def _moved(
    keys: tuple[Monomial, ...], table: Array, old: Mapping[str, float], new: Mapping[str, float]
) -> Array:
    """Take the rows of a table of sums around new pivots."""
    steps = {name: pivot - old.get(name, 0.0) for name, pivot in new.items()}
    # Whole steps first: on whole numbers they are exact, and what is left is small.
    whole = {name: float(round(step)) for name, step in steps.items()}
    for part in (whole, {name: step - whole[name] for name, step in steps.items()}):
        taken = {name: -step for name, step in part.items() if step}
        if taken:
            kind, by = table.dtype, list(taken.values())
            if kind.hasobject:
                by = [int(u) if u.is_integer() else u for u in by]
            _, moves = _moves(keys, tuple(taken))
            table = (_matrix(moves, by, kind) @ table).astype(float, copy=False)
    return table


@lru_cache(maxsize=256)
def _moves(keys: tuple[Monomial, ...], names: tuple[str, ...]) -> tuple[tuple[Monomial, ...], Flat]:
    """Write products of ``x + u`` out, `u` one unknown a name: in which products, and how."""
    into = {key: place for place, key in enumerate(keys)}
    moves: list[Weighted] = []
    for key in keys:
        terms: Weighted = []
        for taken in product(*((False, True) if name in names else (False,) for name in key)):
            rest = tuple([name for name, t in zip(key, taken, strict=True) if not t])
            gone = tuple([names.index(name) for name, t in zip(key, taken, strict=True) if t])
            terms.append((into.setdefault(rest, len(into)), gone, 1))
        moves.append(terms)
    return tuple(into), _flat(moves, len(into))
