"""Sums of products of columns within groups: what a fit needs of the data, and what adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.polynomial import Monomial, monomial

#: Totals by group: int64 for whole numbers, float64 for others.
Totals: TypeAlias = NDArray[Any]
#: Totals of whole numbers stay below this, so that int64 never overflows.
INTEGER_LIMIT = 2**62


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """Sums of products of stored columns within each group.

    With ``X`` the stored columns (the constant, scores, products of scores), a group's sums are
    the elements of ``X_j'X_j``.

    Attributes
    ----------
    groups : ndarray of object, shape (J,)
        Labels of the groups, sorted.
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
        Levels of each categorical column; the first has no dummy.
    blocks : mapping of str to tuple of str
        Columns that formulae made of a component, such as a spline. They depend on the data
        they were made from, so that such sums cannot be added.
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
    """

    groups: NDArray[np.object_]
    n: NDArray[np.int64]
    sums: Mapping[Monomial, Totals]
    monomials: tuple[Monomial, ...]
    pivots: Mapping[str, float]
    group_name: str
    complete: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    smallest_cell: NDArray[np.int64] | None = None
    n_dropped: int = 0
    withheld_groups: int = 0
    withheld_rows: int = 0
    minimum_rows: int = 0

    @property
    def variables(self) -> tuple[str, ...]:
        """Stored columns, each once."""
        return tuple(dict.fromkeys(name for key in self.monomials for name in key))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``X`` besides the constant, products written ``x1:x2``."""
        return tuple(":".join(key) for key in self.monomials if key)

    def kept(self, keep: NDArray[np.bool_]) -> Self:
        """Return the record of some of the groups."""
        cells = self.smallest_cell
        return replace(
            self,
            groups=self.groups[keep],
            n=self.n[keep],
            sums={key: values[keep] for key, values in self.sums.items()},
            smallest_cell=None if cells is None else cells[keep],
        )


def labels_array(labels: Iterable[Any]) -> NDArray[np.object_]:
    """Return labels as an array of objects, whatever they are."""
    found = list(labels)
    out = np.empty(len(found), dtype=object)
    out[:] = found
    return out


@lru_cache(maxsize=256)
def movable(monomials: tuple[Monomial, ...]) -> frozenset[str]:
    """Columns that can be shifted without leaving the span of the monomials."""
    known = set(monomials)
    fixed = {
        name for key in known for i, name in enumerate(key) if key[:i] + key[i + 1 :] not in known
    }
    return frozenset({name for key in known for name in key} - fixed)


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
    if not steps:
        return dict(sums)
    out = dict(sums)
    sizes = {key: int(np.abs(v).max(initial=0)) for key, v in sums.items() if v.dtype.kind == "i"}
    for key, parts in _expansions(tuple(sums), frozenset(steps)):
        weights = [_weight(taken, steps) for taken, _ in parts]
        values = [sums[rest] for _, rest in parts]
        if all(isinstance(w, int) for w in weights) and all(rest in sizes for _, rest in parts):
            bound = sum(abs(w) * sizes[r] for w, (_, r) in zip(weights, parts, strict=True))
            out[key] = _exact_total(weights, values, bound)
        else:
            out[key] = _total(weights, values)
    return out


@lru_cache(maxsize=256)
def _expansions(
    keys: tuple[Monomial, ...], names: frozenset[str]
) -> tuple[tuple[Monomial, tuple[tuple[Monomial, Monomial], ...]], ...]:
    """Each product that changes, as pairs of the pivots taken and the product that they weigh."""
    found = []
    for key in keys:
        if names & set(key):
            choices = product(*((False, True) if name in names else (False,) for name in key))
            parts = tuple(
                (
                    monomial(n for n, t in zip(key, taken, strict=True) if t),
                    monomial(n for n, t in zip(key, taken, strict=True) if not t),
                )
                for taken in choices
            )
            found.append((key, parts))
    return tuple(found)


def _weight(taken: Monomial, steps: Mapping[str, Any]) -> Any:
    weight = 1
    for name in taken:
        weight *= -steps[name]
    return weight


def _total(weights: list[Any], values: list[Totals]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.asarray(weights, dtype=float) @ np.asarray(values, dtype=float)
    return total


def _exact_total(weights: list[int], values: list[Totals], bound: int) -> Totals:
    """Add weighted whole numbers without rounding before the end."""
    if bound < INTEGER_LIMIT:
        whole: Totals = np.asarray(weights, dtype=np.int64) @ np.asarray(values)
        return whole
    big = np.asarray(weights, dtype=object) @ np.asarray(values, dtype=object)
    fits = max(map(abs, big), default=0) < INTEGER_LIMIT
    return np.asarray(big, dtype=np.int64 if fits else float)


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
    return float(level) if {*level} & set(".einf") else int(level)


def sorted_labels(labels: Iterable[Any], column: str) -> tuple[NDArray[np.object_], list[int]]:
    """Sort labels of groups, and say where each was.

    Numbers and text in one column are sorted as text, if that keeps all labels apart.
    """
    found = [plain_label(label) for label in labels]
    try:
        order = sorted(range(len(found)), key=found.__getitem__)
    except TypeError:
        found = list(map(str, found))
        order = sorted(range(len(found)), key=found.__getitem__)
    if len(set(found)) < len(found):
        raise InputError(
            "two labels of this column differ in kind and read alike",
            column=column,
            hint="use one kind of label, numbers or text",
        )
    return labels_array(found[i] for i in order), order
