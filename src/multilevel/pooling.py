"""Moments of several files or sites added up, and what of them may be shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.columns import Monomial
from multilevel.derive import around
from multilevel.errors import InputError
from multilevel.record import Record

#: Groups with fewer rows are withheld from moments that are shared. Eight rows of whole-number
#: scores can be worked back from two sums of each score; around twelve it stops.
MINIMUM_ROWS = 20
#: How many times as many rows are needed where squares or cubes of a column are stored too: four
#: and six sums of a score tell the scores of more rows. Eight tell those of any number that a
#: group has.
_TIMES_BY_POWER = {0: 1, 1: 1, 2: 2, 3: 10}

_Moments = TypeVar("_Moments", bound=Record)


def pool_moments(moments: Sequence[_Moments], *, same_groups: bool = False) -> _Moments:
    """Add the moments of any number of files or sites.

    Parameters
    ----------
    moments : sequence of Moments
    same_groups : bool
        Whether a label that occurs in more than one is the same group. Unless this is said,
        such labels are refused.

    Returns
    -------
    Moments
        What one set of moments over all the rows would be.

    Raises
    ------
    InputError
        When there is nothing to add; when they hold other columns, levels, grouping factors or
        sets of columns on which rows were complete; and, unless told that it is one group, when
        a group is in several.

    Examples
    --------
    >>> import pandas as pd
    >>> from multilevel import Moments
    >>> a = Moments.for_formula("y ~ 1 + (1 | g)", pd.DataFrame({"y": [1, 2], "g": ["a", "a"]}))
    >>> b = Moments.for_formula("y ~ 1 + (1 | g)", pd.DataFrame({"y": [5, 7], "g": ["b", "b"]}))
    >>> pool_moments([a, b]).table()
       n   y  y:y
    g
    a  2   3    5
    b  2  12   74
    """
    if not moments:
        raise InputError("there are no moments to pool")
    first = moments[0]
    for other in moments[1:]:
        _refuse_unlike(first, other)
    # A column that is a float in one is one in the sum; the pivots are those of the largest.
    pivots: dict[str, float] = {}
    for one in sorted(moments, key=lambda m: int(m.n.sum())):
        pivots |= one.pivots
    rows = pd.concat([_table(one, pivots, tuple(first.sums)) for one in moments])
    _refuse_groups(rows.index, same_groups or not first.group_name)
    # Whole numbers would overflow in silence.
    if (rows.select_dtypes("int64").astype(float).abs().sum() >= 2.0**63).any():
        why = "the sums are too large to be added exactly"
        raise InputError(why, hint="measure the column in larger units, or take a constant off it")
    grouped = rows.groupby(level=0)
    total = grouped.sum()
    counted = all(one.smallest_cell is not None for one in moments)
    return replace(
        first,
        groups=total.index.to_numpy(dtype=object),
        n=total["n"].to_numpy(),
        sums={key: total[i].to_numpy() for i, key in enumerate(first.sums)},
        pivots=pivots,
        # A cell is no smaller than its parts.
        smallest_cell=grouped["cell"].min().to_numpy() if counted else None,
        n_dropped=sum(one.n_dropped for one in moments),
        withheld_groups=sum(one.withheld_groups for one in moments),
        withheld_rows=sum(one.withheld_rows for one in moments),
        minimum_rows=max(one.minimum_rows for one in moments),
        units=_joined_units(moments),
    )


def _joined_units(moments: Sequence[Record]) -> Mapping[Any, Any] | None:
    """Units of all groups; a group that is in several of the moments is in one unit."""
    if any(one.units is None for one in moments):
        return None
    pairs = dict.fromkeys(pair for one in moments for pair in (one.units or {}).items())
    units = dict(pairs.keys())
    if moved := len(pairs) - len(units):
        raise InputError(
            f"{moved} of {moments[0].group_name} {'is' if moved == 1 else 'are'} in another "
            f"{moments[0].unit_name} in each of the moments",
            hint="give each an identifier of its own in each",
        )
    return units


def _refuse_unlike(one: Record, other: Record) -> None:
    """Refuse what cannot be added, naming the column in which they differ."""
    for (problem, mine), theirs in zip(_facts(one).items(), _facts(other).values(), strict=True):
        for name in sorted({*mine, *theirs}):
            if mine.get(name) != theirs.get(name):
                raise InputError(
                    problem,
                    column=name,
                    hint="make all with the same formula, the same units and the same categories, "
                    "declared by the column's type",
                )


def _facts(record: Record) -> dict[str, Mapping[str, Any]]:
    """Collect what has to be the same, by column, under what is said where it is not."""
    grouping = {record.group_name: "groups", record.unit_name: "units"}
    return {
        "only one of the moments is grouped by it": {k: v for k, v in grouping.items() if k},
        "its levels differ between the moments": record.levels,
        "it is stored in only one of the moments": dict.fromkeys(record.columns, True),
        "only one of the moments needed a value of it": dict.fromkeys(record.complete, True),
    }


def _refuse_groups(labels: pd.Index[Any], same_groups: bool) -> None:
    """Refuse labels of two kinds, and groups that are there twice unless they are the same."""
    if len({isinstance(label, str) for label in labels}) > 1:
        raise InputError("groups are numbered in one and named in the other", hint="use one kind")
    shared = labels[labels.duplicated()].nunique()
    if shared and not same_groups:
        raise InputError(
            f"{shared} groups are in both moments",
            hint="give each site identifiers of its own or, if they are the same groups, say so: "
            "pool_moments([...], same_groups=True)",
        )


def _table(record: Record, pivots: Mapping[str, float], keys: Sequence[Monomial]) -> pd.DataFrame:
    """Rows, smallest cells and sums around these pivots, the keys in order, by group."""
    sums = around(record.sums, record.pivots, pivots)
    cells = record.n if record.smallest_cell is None else record.smallest_cell
    columns = {"n": record.n, "cell": cells} | dict(enumerate(sums[key] for key in keys))
    return pd.DataFrame(columns, pd.Index(record.groups, dtype=object))


def kept(record: _Moments, keep: NDArray[np.bool_]) -> _Moments:
    """Return the moments of some of the groups."""
    cells, units, groups = record.smallest_cell, record.units, record.groups[keep]
    return replace(
        record,
        groups=groups,
        units=None if units is None else {group: units[group] for group in groups},
        n=record.n[keep],
        sums={key: values[keep] for key, values in record.sums.items()},
        smallest_cell=None if cells is None else cells[keep],
    )


def withhold_small(moments: _Moments, minimum_rows: int = MINIMUM_ROWS) -> _Moments:
    """Leave out groups whose rows could be worked back from their moments.

    A group is withheld that has fewer rows than the minimum, and also one in which fewer rows
    than that, but at least one, share a value of a column with few distinct values, or a
    combination of such columns that are multiplied: sums over such a cell are as telling as those
    of a small group. Where squares of a column are stored twice as many rows are needed, where
    cubes are ten times as many, and with higher powers every group is withheld.

    Parameters
    ----------
    moments : Moments
    minimum_rows : int
        At least 1.

    Returns
    -------
    Moments
        With the numbers of groups and rows withheld added to its record.

    Raises
    ------
    InputError
        When the cells were not counted, as moments read from a file of the first version have
        not.
    """
    if moments.smallest_cell is None:
        why = "whether these moments have small cells is not known"
        raise InputError(why, hint="make them from the rows again, or write them with share=False")
    power = max((key.count(name) for key in moments.monomials for name in key), default=0)
    times = _TIMES_BY_POWER.get(power, np.inf)
    small = (moments.n < minimum_rows * times) | (moments.smallest_cell < minimum_rows)
    return replace(
        kept(moments, ~small),
        withheld_groups=moments.withheld_groups + int(small.sum()),
        withheld_rows=moments.withheld_rows + int(moments.n[small].sum()),
        minimum_rows=max(moments.minimum_rows, minimum_rows),
    )
