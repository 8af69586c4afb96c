"""Moments of several files or sites added up, and what of them may be shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

import pandas as pd
from numpy.typing import NDArray

from multilevel.columns import Monomial
from multilevel.derive import around
from multilevel.errors import InputError
from multilevel.record import INTEGER_LIMIT, Record, Totals

__all__ = ["MINIMUM_ROWS", "add_moments", "pool_moments", "withhold_small"]

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
        When there is nothing to add, or they do not fit together; see `add_moments`.

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
    return reduce(lambda a, b: add_moments(a, b, same_groups=same_groups), moments)


def add_moments(one: _Moments, other: _Moments, *, same_groups: bool = False) -> _Moments:
    """Add two sets of moments.

    Raises
    ------
    InputError
        When they hold other columns, levels, grouping factors or sets of columns on which rows
        were complete; and, unless told that it is one group, when a group is in both.
    """
    _check_alike(one, other)
    _check_groups(one.groups, other.groups, same_groups)
    pivots = _common_pivots(one, other)
    left, right = around(one.sums, one.pivots, pivots), around(other.sums, other.pivots, pivots)
    counted = one.smallest_cell is not None and other.smallest_cell is not None
    both = pd.concat([_table(one, left), _table(other, {key: right[key] for key in left})])
    _refuse_overflow(both.drop(columns="cell"))
    grouped = both.groupby(level=0)
    total = grouped.sum()
    return replace(
        one,
        groups=total.index.to_numpy(dtype=object),
        n=total["n"].to_numpy(),
        sums={key: total[i].to_numpy() for i, key in enumerate(left)},
        pivots=pivots,
        # A cell is no smaller than its parts.
        smallest_cell=grouped["cell"].min().to_numpy() if counted else None,
        n_dropped=one.n_dropped + other.n_dropped,
        withheld_groups=one.withheld_groups + other.withheld_groups,
        withheld_rows=one.withheld_rows + other.withheld_rows,
        minimum_rows=max(one.minimum_rows, other.minimum_rows),
        units=_joined(one, other),
    )


def _joined(one: Record, other: Record) -> Mapping[Any, Any] | None:
    """Units of the groups of both; a group of both is in one unit."""
    if one.units is None or other.units is None:
        return None
    units = {**one.units, **other.units}
    moved = sum(units[group] != unit for group, unit in one.units.items())
    if moved:
        raise InputError(
            f"{moved} of {one.group_name} {'is' if moved == 1 else 'are'} in another "
            f"{one.unit_name} in each of the moments",
            hint="give each an identifier of its own in each",
        )
    return units


def _check_alike(one: Record, other: Record) -> None:
    """Refuse what cannot be added, saying what differs."""
    for name in ("group_name", "unit_name"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            raise InputError(
                f"one is grouped by {mine or 'nothing'}, the other by {theirs or 'nothing'}",
                hint="make both with the same formula and the same units",
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


def _check_groups(one: NDArray[Any], other: NDArray[Any], same_groups: bool) -> None:
    """Refuse labels of two kinds, and groups in both unless they are the same."""
    if len({isinstance(label, str) for label in (*one, *other)}) > 1:
        raise InputError(
            "groups are numbered in one and named in the other",
            hint="use one kind of identifier",
        )
    shared = set(one.tolist()) & set(other.tolist()) - {"all"}
    if shared and not same_groups:
        raise InputError(
            f"{len(shared)} groups are in both moments",
            hint="give each site identifiers of its own or, if they are the same groups, say so: "
            "pool_moments([...], same_groups=True)",
        )


def _common_pivots(one: Record, other: Record) -> dict[str, float]:
    """Pivots for the sum: a column that is a float in either is one in the sum."""
    larger, smaller = (one, other) if one.n.sum() >= other.n.sum() else (other, one)
    return {**smaller.pivots, **larger.pivots}


def _table(record: Record, sums: Mapping[Monomial, Totals]) -> pd.DataFrame:
    """Rows, sums and smallest cells by group; the sums' columns are their places."""
    counts = {
        "n": record.n,
        "cell": record.n if record.smallest_cell is None else record.smallest_cell,
    }
    index = pd.Index(record.groups, dtype=object)
    return pd.DataFrame(counts | dict(enumerate(sums.values())), index)


def _refuse_overflow(sums: pd.DataFrame) -> None:
    """Refuse whole numbers that no longer fit when they are added."""
    whole = sums.loc[:, [kind.kind == "i" for kind in sums.dtypes]]
    if (whole.astype(float).abs().sum() >= 2 * INTEGER_LIMIT).any():
        raise InputError(
            "the sums are too large to be added exactly",
            hint="measure the column in larger units, or take a constant off it",
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
        not, or the minimum is no whole number of 1 or more.
    """
    if isinstance(minimum_rows, bool) or minimum_rows < 1:
        raise InputError("the minimum of rows is a whole number of 1 or more")
    if moments.smallest_cell is None:
        raise InputError(
            "whether these moments have small cells is not known",
            hint="make them from the rows again, or write them with share=False",
        )
    power = max((key.count(name) for key in moments.monomials for name in key), default=0)
    times = _TIMES_BY_POWER.get(power)
    small = moments.n < minimum_rows * (times or 1)
    small |= (moments.smallest_cell < minimum_rows) | (times is None)
    return replace(
        moments.kept(~small),
        withheld_groups=moments.withheld_groups + int(small.sum()),
        withheld_rows=moments.withheld_rows + int(moments.n[small].sum()),
        minimum_rows=max(moments.minimum_rows, minimum_rows),
    )
