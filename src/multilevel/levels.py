"""Formulas of three levels, and which group belongs to which unit above it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.moments import Moments, design_moments
from multilevel.record import Record

__all__ = ["Levels", "Nesting", "levels_of", "nested_design"]

#: A random part in brackets: terms, a bar, and what they vary over.
_BAR = re.compile(r"\(((?:[^()|]|\([^()]*\))+)\|([^()|]+)\)")
#: Between the labels of a unit and of a group that counts within it.
_WITHIN = " / "


class Levels(NamedTuple):
    """The random part of a formula of three levels.

    Attributes
    ----------
    factors : tuple of str
        The grouping factors, as written.
    terms : tuple of str
        What varies over each.
    within : bool
        Whether the formula says ``unit/group``, so that a label counts within its unit.
    fixed : str
        The formula without its random part.
    """

    factors: tuple[str, str]
    terms: tuple[str, str]
    within: bool
    fixed: str

    def two_levels(self, group: int) -> str:
        """Write the formula with one grouping factor alone."""
        return f"{self.fixed} + ({self.terms[group]} | {self.factors[group]})"


class Nesting(NamedTuple):
    """Which group is in which unit.

    Attributes
    ----------
    name : str
        The factor of the units.
    labels : ndarray of shape (S,)
        Labels of the units, in order.
    codes : ndarray of int, shape (J,)
        Position of each group's unit.
    """

    name: str
    labels: NDArray[np.object_]
    codes: NDArray[np.intp]


def levels_of(formula: str) -> Levels | None:
    """Take a formula of three levels apart; None where it has fewer.

    Raises
    ------
    InputError
        If more than the intercept is to vary over units that hold groups.

    Examples
    --------
    >>> levels_of("y ~ x + (1 | site/g)").factors
    ('site', 'g')
    >>> levels_of("y ~ x + (1 | site) + (1 + x | g)").two_levels(1)
    'y ~ x + (1 + x | g)'
    """
    bars = [(m[1].strip(), m[2].strip()) for m in _BAR.finditer(formula)]
    fixed = re.sub(r"\s*\+\s*(?=\+|$)", "", _BAR.sub("", formula)).strip()
    slash = re.fullmatch(r"(\w+)\s*/\s*(\w+)", bars[0][1]) if len(bars) == 1 else None
    if slash:
        if bars[0][0] != "1":
            raise InputError(
                "terms that vary over units and over groups alike are not offered",
                hint=f"write (1 | {slash[1]}) + ({bars[0][0]} | {slash[2]})",
            )
        return Levels((slash[1], slash[2]), ("1", "1"), True, fixed)
    if len(bars) == 2 and bars[0][1] != bars[1][1] and all(f.isidentifier() for _, f in bars):
        return Levels((bars[0][1], bars[1][1]), (bars[0][0], bars[1][0]), False, fixed)
    return None


def nested_design(
    levels: Levels, data: Any, units: Mapping[Any, Any] | None = None
) -> tuple[DesignMoments, Nesting]:
    """Find the groups' moments, and the unit of each group.

    Parameters
    ----------
    levels : Levels
    data : frame or Moments
    units : mapping of group to unit, optional
        Needed for `Moments`, which do not hold it.

    Raises
    ------
    InputError
        If a group is in two units, or neither factor is nested in the other.
    """
    if isinstance(data, Record | Moments):
        if units is None:
            raise InputError(
                "moments do not say which group is in which unit",
                hint="give units= as a mapping of group to unit",
            )
        outer, inner = (0, 1) if levels.terms[0] == "1" else (1, 0)
        pairs = pd.DataFrame(units.items(), columns=["group", "unit"])
    else:
        frame, pairs = _with_pairs(levels, data)
        outer, inner = (0, 1) if levels.within else _order(levels, pairs)
        pairs = pairs.set_axis(["group", "unit"] if inner == 0 else ["unit", "group"], axis=1)
        data = frame
        if levels.within:
            pairs["group"] = pairs["unit"].astype(str) + _WITHIN + pairs["group"].astype(str)
            both = [nw.col(f).cast(nw.String) for f in levels.factors]
            data = frame.with_columns(
                nw.concat_str(both, separator=_WITHIN).alias(levels.factors[1])
            )
        data = data.to_native()
    if levels.terms[outer] != "1":
        raise InputError(
            "more than the intercept varies over the units above the groups",
            hint=f"write (1 | {levels.factors[outer]})",
        )
    design = design_moments(levels.two_levels(inner), data)
    unit_of = pairs.drop_duplicates().set_index("group")["unit"]
    codes, labels = pd.factorize(unit_of.reindex(design.groups), sort=True)
    if (codes < 0).any():
        raise InputError("a group has no unit", hint="give units= one for each group")
    return design, Nesting(levels.factors[outer], np.asarray(labels, dtype=object), codes)


def _with_pairs(levels: Levels, data: Any) -> tuple[Any, pd.DataFrame]:
    """Give the rows that have both labels, and each pair of labels once."""
    try:
        frame = nw.from_native(data)
    except TypeError:
        raise InputError("the data are no table", hint="give a frame, or moments") from None
    names = frame.collect_schema().names()
    for factor in levels.factors:
        if factor not in names:
            raise InputError("the column is missing", hint="add it", column=factor)
    frame = frame.filter(*(~nw.col(f).is_null() for f in levels.factors))
    pairs = frame.select(*levels.factors).unique()
    collected = pairs.collect() if isinstance(pairs, nw.LazyFrame) else pairs
    return frame, collected.to_pandas()


def _order(levels: Levels, pairs: pd.DataFrame) -> tuple[int, int]:
    """Which factor is the upper one: the other's groups have one unit each."""
    counts = [pairs.groupby(f, observed=True).size() for f in levels.factors]
    nested = [bool((count == 1).all()) for count in counts]
    if nested[1]:
        return 0, 1
    if nested[0]:
        return 1, 0
    upper, group = levels.factors
    crossed = int((pairs.groupby(group, observed=True).size() > 1).sum())
    raise InputError(
        f"{crossed} of {group} {'is' if crossed == 1 else 'are'} in more than one of {upper}",
        hint=f"write (1 | {upper}/{group}), which takes each as another in each {upper}",
    )
