"""Rows of a model, for what sums within groups cannot serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.derive import derive
from multilevel.design import Array, DesignMoments, value_of
from multilevel.errors import InputError
from multilevel.formula import parse_formula
from multilevel.memory import Table, plan_for
from multilevel.record import Record
from multilevel.sources import open_table


class ModelRows(NamedTuple):
    """Complete rows of a model.

    Attributes
    ----------
    design : DesignMoments
        Their cross-products.
    columns : ndarray of shape (N, m)
        Columns of the design, centred already.
    codes : ndarray of int, shape (N,)
        Which of the design's groups each row belongs to.
    further : mapping of str to ndarray, shape (N,)
        Other columns asked for.
    """

    design: DesignMoments
    columns: Array
    codes: NDArray[np.int64]
    further: Mapping[str, NDArray[Any]]


def model_rows(formula: str, data: Any, further: Sequence[str], purpose: str) -> ModelRows:
    """Read the rows of a model that have every value, in the formula and in further columns.

    Parameters
    ----------
    formula : str
    data : frame
        In memory.
    further : sequence of str
        Columns of numbers beside those of the formula.
    purpose : str
        What needs the rows, for messages.

    Raises
    ------
    InputError
        For stored moments, frames that are not in memory, or a further column that is missing
        or holds no numbers.
    """
    if isinstance(data, (Record, DesignMoments)):
        raise InputError(f"{purpose} needs rows, not stored moments", hint="give the table")
    parsed = parse_formula(formula)
    table = open_table(data)
    if not isinstance(table, Table):
        raise InputError(f"{purpose} needs its rows in memory", hint="collect the table first")
    for name in further:
        if name not in table.columns or table.kind(name) == "category":
            raise InputError(f"{purpose} needs a column of numbers", column=name)
    plan = plan_for(parsed, table)
    plan = replace(plan, needed=tuple(sorted({*plan.needed, *further})))
    design = derive(table.summed(plan, False), parsed)
    codes, values, raw = table.rows(plan, further)
    columns = [np.broadcast_to(value_of(p, values), len(codes)) for p in design.polynomials]
    return ModelRows(design, np.column_stack(columns), codes, raw)
