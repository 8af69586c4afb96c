"""Formulas of three levels, and which group belongs to which unit above it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.derive import derive
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.formula import parse_formula
from multilevel.record import Record, plain_label
from multilevel.sources import sum_formula

__all__ = ["Levels", "Nesting", "levels_of", "nested_design", "sum_levels"]

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
        """Write the formula with one grouping factor alone; over the other the intercept varies."""
        if self.terms[1 - group] != "1":
            raise InputError(
                "more than the intercept varies over the units above the groups",
                hint=f"write (1 | {self.factors[1 - group]})",
            )
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


@lru_cache(maxsize=512)
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
        Needed for `Moments` that do not hold it.

    Raises
    ------
    InputError
        If a group is in two units, or neither factor is nested in the other.
    """
    record = data if isinstance(data, Record) else sum_levels(levels, data)
    outer = 0 if levels.factors[1] == record.group_name else 1
    if units is None and record.unit_name == levels.factors[outer]:
        units = record.units
    if units is None:
        raise InputError(
            f"these moments do not say which group is in which {levels.factors[outer]}",
            hint="make them with units=, or give units= as a mapping of group to unit",
        )
    design = derive(record, parse_formula(levels.two_levels(1 - outer)))
    unit_of = pd.Series(list(map(units.get, design.groups)), dtype=object)
    codes, known = pd.factorize(unit_of, sort=True)
    if (codes < 0).any():
        raise InputError("a group has no unit", hint="give units= one for each group")
    return design, Nesting(levels.factors[outer], np.asarray(known, dtype=object), codes)


def sum_levels(levels: Levels, data: Any, *, cells: bool = False) -> Record:
    """Return sums within groups, and the unit of each; see `multilevel.sources.sum_formula`.

    Rows without a unit are left out. Labels of groups that count within their unit are written
    behind the unit's.
    """
    frame, known, lost = _with_pairs(levels.factors, data)
    pairs = known.to_pandas()
    outer = 0 if levels.within else _outer(levels.factors, pairs)
    unit, group = (pairs[levels.factors[i]] for i in (outer, 1 - outer))
    labels = group
    if levels.within:
        labels = known.with_columns(_within(levels.factors)).to_pandas()[levels.factors[1]]
    if group.duplicated().any():
        frame, group = frame.with_columns(_within(levels.factors)), labels
    formula = parse_formula(levels.two_levels(1 - outer))
    record = sum_formula(formula, frame.to_native(), cells=cells)
    found = pd.DataFrame({"label": labels.to_numpy(), "unit": unit.to_numpy()}, group)
    found = found.reindex(record.groups)
    return replace(
        record,
        groups=found["label"].to_numpy(dtype=object),
        units=dict(zip(found["label"], map(plain_label, found["unit"]), strict=True)),
        unit_name=levels.factors[outer],
        complete=tuple(sorted({*record.complete, levels.factors[outer]})),
        n_dropped=record.n_dropped + lost,
    )


def _with_pairs(factors: tuple[str, str], data: Any) -> tuple[Any, nw.DataFrame[Any], int]:
    """Give the rows that have both labels, each pair once, and how many rows have not."""
    try:
        frame = nw.from_native(data)
    except TypeError:
        raise InputError("the data are no table", hint="give a frame, or moments") from None
    for factor in factors:
        if factor not in frame.collect_schema().names():
            raise InputError("the column is missing", hint="add it", column=factor)
    pairs, lost = frame.lazy().select(*factors).unique().collect(), 0
    gone = nw.any_horizontal(*(nw.col(f).is_null() for f in factors), ignore_nulls=False)
    if len(pairs.filter(gone)):
        lost = int(frame.lazy().filter(gone).select(nw.len()).collect().item())
        frame, pairs = frame.filter(~gone), pairs.filter(~gone)
    return frame, pairs, lost


def _within(factors: tuple[str, str]) -> nw.Expr:
    """Write the unit before the label of each group, for labels that restart in each unit."""
    both = [nw.col(f).cast(nw.String) for f in factors]
    return nw.concat_str(both, separator=_WITHIN).alias(factors[1])


def _outer(factors: tuple[str, str], pairs: pd.DataFrame) -> int:
    """Which factor is the upper one: the other's groups have one unit each."""
    several = [int(pairs[f].value_counts().gt(1).sum()) for f in factors]
    if 0 in several:
        return 0 if several[1] == 0 else 1
    raise InputError(
        f"{several[1]} of {factors[1]} {'is' if several[1] == 1 else 'are'} in more than one of "
        f"{factors[0]}",
        hint=f"write (1 | {factors[0]}/{factors[1]}), which takes each as another in each "
        f"{factors[0]}",
    )
