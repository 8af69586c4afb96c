"""Moments of three levels: sums within groups, and which unit above it each belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.derive import derive
from multilevel.design import DesignMoments, refuse_unwritable
from multilevel.errors import InputError
from multilevel.formula import Formula
from multilevel.lazy import LazyTable, in_words
from multilevel.plan import refuse_unknown
from multilevel.record import Record, plain_label
from multilevel.sources import open_frame, sum_formula

#: Between the labels of a unit and of a group that counts within it.
_WITHIN = " / "


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


def nested_design(
    formula: Formula, data: Any, units: Mapping[Any, Any] | None = None
) -> tuple[DesignMoments, Nesting]:
    """Find the groups' moments, and the unit of each group.

    Parameters
    ----------
    formula : Formula
        Of three levels.
    data : frame or Moments
    units : mapping of group to unit, optional
        Needed for `Moments` that do not hold it.

    Raises
    ------
    InputError
        If a group is in two units, or neither factor is nested in the other.
    """
    record = data if isinstance(data, Record) else sum_levels(formula, data)
    if formula.above == record.group_name:
        formula = formula.turned()
    if units is None and record.unit_name == formula.above:
        units = record.units
    if units is None:
        raise InputError(
            f"these moments do not say which group is in which {formula.above}",
            hint="make them with units=, or give units= as a mapping of group to unit",
        )
    design = derive(record, replace(formula, above=""))
    unit_of = pd.Series(list(map(units.get, design.groups)), dtype=object)
    try:
        codes, known = pd.factorize(unit_of, sort=True)
    except TypeError:
        hint = "use numbers or text"
        raise InputError("labels cannot be sorted", column=formula.above, hint=hint) from None
    if (codes < 0).any():
        raise InputError("a group has no unit", hint="give units= one for each group")
    return design, Nesting(formula.above, np.asarray(known, dtype=object), codes)


@in_words()
def sum_levels(formula: Formula, data: Any, *, cells: bool = False) -> Record:
    """Return sums within groups, and the unit of each; see `multilevel.sources.sum_formula`.

    Rows without a unit are left out. Labels of groups that count within their unit are written
    behind the unit's.
    """
    factors = [formula.above, formula.group]
    frame, known, lost = _with_both(factors, data)
    pairs = pd.DataFrame({f: pd.Series(known[f].to_list(), dtype=object) for f in factors})
    for factor, labels in pairs.items():
        if len({isinstance(label, str) for label in labels}) > 1:
            raise InputError("labels are numbers and text", column=str(factor), hint="use one kind")
    if not formula.within and pairs[formula.group].duplicated().any():
        if pairs[formula.above].duplicated().any():
            # Neither is nested in the other.
            several = int(pairs[formula.group].value_counts().gt(1).sum())
            raise InputError(
                f"{several} of {formula.group} {'is' if several == 1 else 'are'} in more than one "
                f"of {formula.above}",
                hint=f"write (1 | {formula.above}/{formula.group}), which takes each as another "
                f"in each {formula.above}",
            )
        formula = formula.turned()
    unit, group = pairs[formula.above], pairs[formula.group]
    refuse_unwritable(unit, formula.above)
    labels = group
    if formula.within:
        both = nw.concat_str(*(nw.col(f).cast(nw.String) for f in factors), separator=_WITHIN)
        labels = known.select(both.alias(formula.group)).to_pandas()[formula.group]
        if group.duplicated().any():
            frame, group = frame.with_columns(both.alias(formula.group)), labels
    record = sum_formula(formula, frame.to_native(), cells=cells)
    found = pd.DataFrame({"label": labels.to_numpy(), "unit": unit.to_numpy()})
    found = found.set_index(pd.Index(group, dtype=object)).reindex(record.groups)
    return replace(
        record,
        groups=found["label"].to_numpy(dtype=object),
        units=dict(zip(found["label"], map(plain_label, found["unit"]), strict=True)),
        unit_name=formula.above,
        complete=tuple(sorted({*record.complete, formula.above})),
        n_dropped=record.n_dropped + lost,
    )


def _with_both(factors: list[str], data: Any) -> tuple[Any, nw.DataFrame[Any], int]:
    """Give the rows that have both labels, each pair once, and how many rows have not."""
    frame = open_frame(data)
    schema = frame.collect_schema()
    refuse_unknown(factors, schema.names())
    if frame.implementation.is_polars() and nw.Object in [schema[f] for f in factors]:
        raise InputError("labels of three levels are objects of Python", hint="make them text")
    pairs, lost = frame.lazy().select(*factors).unique().collect(), 0
    gone = ~LazyTable(frame.lazy()).present(factors)
    if len(pairs.filter(gone)):
        lost = int(frame.lazy().filter(gone).select(nw.len()).collect().item())
        frame, pairs = frame.filter(~gone), pairs.filter(~gone)
    return frame, pairs, lost
