"""Sums of products of columns within groups, exactly for whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .polynomial import Monomial

__all__ = ["INTEGER_LIMIT", "Sums", "choose_pivot", "demoted", "grouped_sums"]

#: Totals of whole numbers stay below this, so that int64 never overflows.
INTEGER_LIMIT = 2**62


@dataclass(frozen=True)
class Sums:
    """Grouped sums of products, as they come from any source.

    Attributes
    ----------
    groups : ndarray of object, shape (J,)
        Labels, sorted.
    n : ndarray of int64, shape (J,)
        Complete rows of each group.
    sums : mapping of Monomial to ndarray, shape (J,)
        int64 where all columns hold whole numbers, else float64.
    pivots : mapping of str to float
        What was taken off each float column before it was multiplied.
    n_dropped : int
        Rows left out because a value was missing.
    """

    groups: NDArray[np.object_]
    n: NDArray[np.int64]
    sums: Mapping[Monomial, NDArray[np.int64] | NDArray[np.float64]]
    pivots: Mapping[str, float]
    n_dropped: int = 0


def choose_pivot(mean: float, spread: float) -> float:
    """A short number near the mean, so that taking it off costs no digits."""
    if not np.isfinite(mean):
        return 0.0
    step = 2.0 ** np.floor(np.log2(spread)) if spread > 0 else 2.0**-20
    return float(np.round(mean / step) * step)


def demoted(
    keys: Sequence[Monomial], largest: Mapping[str, float], integers: set[str], rows: int
) -> set[str]:
    """Columns of whole numbers whose products could overflow and are summed as floats."""
    floats: set[str] = set()
    for key in keys:
        while key and all(n in integers and n not in floats for n in key):
            bound = float(rows)
            for name in key:
                bound *= max(1.0, largest[name])
            if bound < INTEGER_LIMIT:
                break
            floats.add(max(key, key=lambda n: largest[n]))
    return floats


def grouped_sums(
    codes: NDArray[np.int64],
    n_groups: int,
    columns: Mapping[str, NDArray[np.int64] | NDArray[np.float64]],
    keys: Sequence[Monomial],
) -> tuple[NDArray[np.int64], dict[Monomial, NDArray[np.int64] | NDArray[np.float64]]]:
    """Rows and sums of products within each group.

    Parameters
    ----------
    codes : ndarray of int, shape (N,)
        Group of each row, 0 to `n_groups` - 1.
    n_groups : int
    columns : mapping of str to ndarray, shape (N,)
        int64 for whole numbers, float64 (pivot taken off) for others.
    keys : sequence of Monomial
        Products to be summed.

    Returns
    -------
    n : ndarray of int64, shape (n_groups,)
    sums : dict of Monomial to ndarray, shape (n_groups,)
    """
    n = np.bincount(codes, minlength=n_groups).astype(np.int64)
    if len(codes) and np.any(codes[1:] < codes[:-1]):
        order = np.argsort(codes, kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
    filled = np.flatnonzero(n)
    starts = np.concatenate(([0], np.cumsum(n[filled])[:-1])).astype(np.intp)
    products: dict[Monomial, NDArray[np.int64] | NDArray[np.float64]] = {}
    sums: dict[Monomial, NDArray[np.int64] | NDArray[np.float64]] = {}
    for key in sorted(keys, key=len):
        values = _product(key, columns, products)
        total = np.zeros(n_groups, dtype=np.int64 if values is None else values.dtype)
        if values is None:
            total[:] = n
        elif len(filled):
            total[filled] = np.add.reduceat(values, starts)
        sums[key] = total
    return n, sums


def _product(
    key: Monomial,
    columns: Mapping[str, NDArray[np.int64] | NDArray[np.float64]],
    known: dict[Monomial, NDArray[np.int64] | NDArray[np.float64]],
) -> NDArray[np.int64] | NDArray[np.float64] | None:
    """Values of a product, from the largest one that was already multiplied."""
    if not key:
        return None
    if len(key) == 1:
        return columns[key[0]]
    for i in range(len(key)):
        rest = key[:i] + key[i + 1 :]
        if rest in known:
            break
    else:
        rest, i = key[1:], 0
    base = known.get(rest)
    if base is None:
        base = _product(rest, columns, known)
    values = base * columns[key[i]]  # type: ignore[operator]
    if len(key) == 2:
        known[key] = values
    return values  # type: ignore[no-any-return]
