"""The record behind `Moments`: sums of products of stored columns within groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.columns import Monomial

#: Totals by group: int64 for whole numbers, float64 for others.
Totals: TypeAlias = NDArray[Any]
#: Totals of whole numbers in one table stay below this, so that floats hold them exactly. Those of
#: tables added up may exceed it, and are then moved to other pivots as integers.
INTEGER_LIMIT = 2**50


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """Sums of products of stored columns within each group.

    With ``X`` the stored columns (the constant, scores, products of scores), a group's sums are
    the elements of ``X_j'X_j``.

    Attributes
    ----------
    groups : ndarray of object, shape (J,)
        Labels of the groups, sorted: whole numbers as int; where numbers and text are mixed, all as
        text, and refused where two of them would read alike.
    n : ndarray of int64, shape (J,)
        Complete rows of each group.
    sums : mapping of Monomial to ndarray, shape (J,)
        Sums of products; int64 where only whole numbers are multiplied, and then exact.
    monomials : tuple of Monomial
        The columns of ``X``, the constant first.
    pivots : mapping of str to float
        What was taken off each float column before it was multiplied.
    group_name : str
        Column of the grouping factor, or empty.
    complete : tuple of str
        Columns on which rows had to be complete, sorted.
    levels : mapping of str to tuple of str
        Levels of each categorical column, of which the first has no dummy, and of each column of
        truth values, which has none.
    smallest_cell : ndarray of int64, shape (J,), or None
        Rows of the smallest cell of each group: of a column with few distinct values, or of
        several such columns that are multiplied. None where they were not counted, as the sums
        alone cannot tell.
    n_dropped : int
        Rows left out because a value was missing.
    withheld_groups, withheld_rows : int
        Left out when the sums were written to be shared, as groups or cells were too small.
    minimum_rows : int
        Groups and cells with fewer rows were left out; 0 when none was.
    units : mapping of group to unit, or None
        Which unit above it each group belongs to, where that was asked for.
    unit_name : str
        Column of the units, or empty.
    """

    groups: NDArray[np.object_]
    n: NDArray[np.int64]
    sums: Mapping[Monomial, Totals]
    monomials: tuple[Monomial, ...]
    pivots: Mapping[str, float]
    group_name: str
    complete: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    smallest_cell: NDArray[np.int64] | None = None
    n_dropped: int = 0
    withheld_groups: int = 0
    withheld_rows: int = 0
    minimum_rows: int = 0
    units: Mapping[Any, Any] | None = None
    unit_name: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Stored columns, each once."""
        return tuple(dict.fromkeys(name for key in self.monomials for name in key))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``X`` besides the constant, products written ``x1:x2``."""
        return tuple(":".join(key) for key in self.monomials if key)


@lru_cache(maxsize=256)
def movable(monomials: tuple[Monomial, ...]) -> frozenset[str]:
    """Columns that can be shifted without leaving the span of the monomials."""
    known = set(monomials)
    fixed = {n for key in known for i, n in enumerate(key) if key[:i] + key[i + 1 :] not in known}
    return frozenset({name for key in known for name in key} - fixed)


def plain_label(value: Any) -> Any:
    """Return a label as a plain Python object, whole numbers as int."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, (float, Decimal)) and value == value // 1 else value


def label_text(value: Any) -> str:
    """Return a level as text: whole numbers without a point."""
    return str(plain_label(value))


def level_value(level: str) -> float | int:
    """Return the number or truth value that a level stands for."""
    if level in ("True", "False"):
        return int(level == "True")
    return float(level) if {*level} & set(".einf") or len(level) > 20 else int(level)
