"""Moments of several files or services added up, and what of them may be shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multilevel.accumulate import INTEGER_LIMIT, Totals
from multilevel.errors import InputError
from multilevel.polynomial import Monomial
from multilevel.shifting import around

if TYPE_CHECKING:
    from multilevel.moments import Moments

__all__ = ["MINIMUM_CASELOAD", "add_moments", "pool_moments", "withhold_small"]

#: Below this caseload a therapist is withheld from moments that are shared. Eight patients'
#: whole-number scores can be worked back from their moments; around twelve it stops.
MINIMUM_CASELOAD = 20


def pool_moments(moments: Sequence[Moments], *, same_therapists: bool = False) -> Moments:
    """Add the moments of any number of files or services.

    Parameters
    ----------
    moments : sequence of Moments
    same_therapists : bool
        Whether a label that occurs in more than one is the same therapist. Unless this is said,
        such labels are refused.

    Returns
    -------
    Moments
        What one set of moments over all the rows would be.

    Raises
    ------
    InputError
        When there is nothing to add, or they do not fit together; see `add_moments`.

    Examples
    --------
    >>> import pandas as pd
    >>> from pwp_lib import Moments
    >>> a = Moments.for_formula("y ~ 1 + (1 | g)", pd.DataFrame({"y": [1, 2], "g": ["a", "a"]}))
    >>> b = Moments.for_formula("y ~ 1 + (1 | g)", pd.DataFrame({"y": [5, 7], "g": ["b", "b"]}))
    >>> pool_moments([a, b]).table()
               n   y  y:y
    therapist
    a          2   3    5
    b          2  12   74
    """
    if not moments:
        raise InputError("there are no moments to pool")
    return reduce(lambda a, b: add_moments(a, b, same_therapists=same_therapists), moments)


def add_moments(one: Moments, other: Moments, *, same_therapists: bool = False) -> Moments:
    """Add two sets of moments.

    Raises
    ------
    InputError
        When they hold other columns, levels, grouping factors or sets of columns on which rows
        were complete; when one holds columns that depend on the data they were made from; and,
        unless told that it is one therapist, when a therapist is in both.
    """
    _check_alike(one, other)
    _check_therapists(one.groups, other.groups, same_therapists)
    pivots = _common_pivots(one, other)
    left, right = around(one.sums, one.pivots, pivots), around(other.sums, other.pivots, pivots)
    labels = sorted({*one.groups.tolist(), *other.groups.tolist()})
    groups = np.empty(len(labels), dtype=object)
    groups[:] = labels
    place = {label: i for i, label in enumerate(labels)}
    at = [np.array([place[g] for g in m.groups], dtype=np.intp) for m in (one, other)]
    sums = {
        key: _added(len(labels), at, (left[key], right[key]), any(n in pivots for n in key))
        for key in one.sums
    }
    return replace(
        one,
        groups=groups,
        n=_added(len(labels), at, (one.n, other.n), False),
        sums=sums,
        pivots=pivots,
        n_dropped=one.n_dropped + other.n_dropped,
        withheld_therapists=one.withheld_therapists + other.withheld_therapists,
        withheld_patients=one.withheld_patients + other.withheld_patients,
        minimum_caseload=max(one.minimum_caseload, other.minimum_caseload),
    )


def _check_alike(one: Moments, other: Moments) -> None:
    """Refuse what cannot be added, saying what differs."""
    if one.group_name != other.group_name:
        raise InputError(
            f"one is grouped by {one.group_name or 'nothing'}, "
            f"the other by {other.group_name or 'nothing'}",
            hint="make both with the same formula",
        )
    if one.blocks or other.blocks:
        name = next(iter({**one.blocks, **other.blocks}))
        raise InputError(
            f"{name} depends on the data it was made from, so such moments do not add up",
            hint="leave it out, or fit from all the rows together",
        )
    if dict(one.levels) != dict(other.levels):
        names = sorted({*one.levels, *other.levels})
        name = next(n for n in names if one.levels.get(n) != other.levels.get(n))
        raise InputError(
            "its levels differ between the moments",
            column=name,
            hint=f'give both levels={{"{name}": [...]}} when they are made',
        )
    for what, mine, theirs in (
        ("is stored in only one of the moments", one.columns, other.columns),
        ("had to be present in the rows of only one of the moments", one.complete, other.complete),
    ):
        if set(mine) != set(theirs):
            name = sorted(set(mine) ^ set(theirs))[0]
            raise InputError(f"this column {what}", column=name, hint="make both alike")


def _check_therapists(
    one: NDArray[np.object_], other: NDArray[np.object_], same_therapists: bool
) -> None:
    """Refuse labels of two kinds, and therapists in both unless they are the same."""
    kinds = {isinstance(label, str) for label in (*one, *other)}
    if len(kinds) > 1:
        raise InputError(
            "therapists are numbered in one and named in the other",
            hint="use one kind of identifier",
        )
    shared = set(one.tolist()) & set(other.tolist()) - {"all"}
    if shared and not same_therapists:
        raise InputError(
            f"{len(shared)} therapists are in both moments",
            hint="give services identifiers of their own, or, if each is one person, say so: "
            "pool_moments([...], same_therapists=True)",
        )


def _common_pivots(one: Moments, other: Moments) -> dict[str, float]:
    """Pivots for the sum: a column that is a float in either is one in the sum."""
    larger, smaller = (one, other) if one.n.sum() >= other.n.sum() else (other, one)
    return {**smaller.pivots, **larger.pivots}


def _added(
    size: int, at: Sequence[NDArray[np.intp]], parts: Sequence[Totals], is_float: bool
) -> Totals:
    """Totals by group of the union of groups; refuses whole numbers that would overflow."""
    kind = float if is_float or any(p.dtype.kind == "f" for p in parts) else np.int64
    total: Totals = np.zeros(size, dtype=kind)
    for place, part in zip(at, parts, strict=True):
        total[place] += part
    reach = sum(float(np.abs(p.astype(float)).sum()) for p in parts)
    if kind is np.int64 and reach >= 2 * INTEGER_LIMIT:
        raise InputError(
            "the sums are too large to be added exactly",
            hint="measure the column in larger units, or take a constant off it",
        )
    return total


def withhold_small(moments: Moments, minimum_caseload: int = MINIMUM_CASELOAD) -> Moments:
    """Leave out therapists whose patients could be worked back from their moments.

    A therapist is withheld whose caseload is below the minimum, and also one with a category
    (any column of noughts and ones) that fewer patients than that, but at least one, are in or
    out of: sums over such a cell are as telling as those of a small caseload.

    Parameters
    ----------
    moments : Moments
    minimum_caseload : int
        At least 1.

    Returns
    -------
    Moments
        With the numbers of therapists and patients withheld added to its record.
    """
    if isinstance(minimum_caseload, bool) or minimum_caseload < 1:
        raise InputError("the minimum caseload is a whole number of 1 or more")
    small = moments.n < minimum_caseload
    for cell in _cells(moments):
        small |= (cell > 0) & (cell < minimum_caseload)
    keep = ~small
    return replace(
        moments,
        groups=moments.groups[keep],
        n=moments.n[keep],
        sums={key: values[keep] for key, values in moments.sums.items()},
        withheld_therapists=moments.withheld_therapists + int(small.sum()),
        withheld_patients=moments.withheld_patients + int(moments.n[small].sum()),
        minimum_caseload=max(moments.minimum_caseload, minimum_caseload),
    )


def _cells(moments: Moments) -> list[NDArray[np.int64]]:
    """Patients in each cell that columns of noughts and ones, crossed as stored, make."""
    counts = _binary_counts(moments.sums, set(_dummies(moments)))
    cells: list[NDArray[np.int64]] = []
    for key in counts:
        for inside in product((True, False), repeat=len(key)):
            cell = _cell_count(key, inside, counts, moments.n)
            if cell is not None:
                cells.append(cell)
    for factor, levels in moments.levels.items():
        dummies = [counts.get(frozenset({f"{factor}[{level}]"})) for level in levels[1:]]
        known = [d for d in dummies if d is not None]
        if len(known) == len(dummies):
            cells.append(moments.n - np.sum([*known, np.zeros_like(moments.n)], axis=0))
    return cells


def _dummies(moments: Moments) -> list[str]:
    return [f"{f}[{level}]" for f, levels in moments.levels.items() for level in levels[1:]]


def _binary_counts(
    sums: Mapping[Monomial, Totals], dummies: set[str]
) -> dict[frozenset[str], NDArray[np.int64]]:
    """How many rows are 1 in all of some columns of noughts and ones."""
    binary = set(dummies)
    for key, values in sums.items():
        square = sums.get((*key, *key))
        # Whole numbers equal their squares in total only if each is nought or one.
        if len(key) != 1 or square is None or values.dtype.kind != "i":
            continue
        if np.array_equal(values, square):
            binary.add(key[0])
    return {
        frozenset(key): values.astype(np.int64)
        for key, values in sums.items()
        if key and set(key) <= binary
    }


def _cell_count(
    key: frozenset[str],
    inside: tuple[bool, ...],
    counts: Mapping[frozenset[str], NDArray[np.int64]],
    n: NDArray[np.int64],
) -> NDArray[np.int64] | None:
    """Rows that are 1 in some columns and 0 in the others, or None if it cannot be told."""
    ones = {name for name, one in zip(sorted(key), inside, strict=True) if one}
    noughts = sorted(key - ones)
    total = np.zeros_like(n)
    for size in range(len(noughts) + 1):
        for chosen in combinations(noughts, size):
            cell = frozenset({*ones, *chosen})
            found: Any = n if not cell else counts.get(cell)
            if found is None:
                return None
            total = total + (-1) ** size * found
    return total
