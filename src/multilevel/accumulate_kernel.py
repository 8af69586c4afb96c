"""The grouped sum in one compiled pass over whole numbers; imported only where numba is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from multilevel.accumulate import largest_value
from multilevel.polynomial import Monomial

__all__ = ["add_all"]

#: Rows multiplied at a time: few enough for a processor's caches.
_BLOCK = 256


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _by_group(
    codes: NDArray[Any], starts: NDArray[np.int64], column: NDArray[Any], sorted_: NDArray[Any]
) -> None:
    """Bring a column into the order of groups, by counting."""
    place = starts[:-1].copy()
    for row in range(len(codes)):
        group = codes[row]
        sorted_[place[group]] = column[row]
        place[group] += 1


# Sums may be taken in any order: they are of whole numbers that a float holds exactly.
@numba.njit(cache=True, fastmath={"reassoc"})  # type: ignore[untyped-decorator]
def _pass(
    table: NDArray[Any],
    starts: NDArray[np.int64],
    bases: NDArray[np.int64],
    names: NDArray[np.int64],
    totals: NDArray[np.int64],
) -> None:
    """Multiply and sum rows that lie in the order of groups.

    The first products are the columns themselves; each later one is a product made before
    times a column.
    """
    width, chain = len(table), len(bases)
    products = np.empty((chain, _BLOCK))
    for group in range(len(starts) - 1):
        for first in range(starts[group], starts[group + 1], _BLOCK):
            rows = min(_BLOCK, starts[group + 1] - first)
            for k in range(chain):
                product = products[k]
                total = 0.0
                if k < width:
                    column = table[k]
                    for row in range(rows):
                        product[row] = column[first + row]
                        total += product[row]
                else:
                    base, factor = products[bases[k]], products[names[k]]
                    for row in range(rows):
                        value = base[row] * factor[row]
                        product[row] = value
                        total += value
                totals[group, k] += np.int64(total)


def add_all(
    codes: NDArray[np.int64],
    n: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
    chains: Sequence[tuple[Monomial, Monomial, str]],
    sums: dict[Monomial, NDArray[Any]],
) -> None:
    """Add all products to the totals, rows in any order.

    Parameters
    ----------
    codes : ndarray of int, shape (N,)
    n : ndarray of int64, shape (J,)
        Rows of each group.
    columns : mapping of str to ndarray of int, shape (N,)
    chains : sequence of (product, earlier product, column)
        As `accumulate.chained` orders them.
    sums : dict of Monomial to ndarray of int64, shape (J,)
        Added to in place.
    """
    used = list(dict.fromkeys(name for _, _, name in chains))
    if not used or not len(codes):
        return
    starts = np.concatenate(([0], np.cumsum(n))).astype(np.int64)
    narrow = max(largest_value(columns[name]) for name in used) < 2**7
    table = np.empty((len(used), len(codes)), dtype=np.int8 if narrow else np.int64)
    _fill(table, codes, starts, [columns[name] for name in used])
    longer = [link for link in chains if link[1]]
    order: dict[Monomial, int] = {(name,): i for i, name in enumerate(used)}
    order |= {key: len(used) + i for i, (key, _, _) in enumerate(longer)}
    nowhere = [0] * len(used)
    bases = np.array(nowhere + [order[base] for _, base, _ in longer], dtype=np.int64)
    names = np.array(nowhere + [order[(name,)] for _, _, name in longer], dtype=np.int64)
    totals = np.zeros((len(n), len(order)), dtype=np.int64)
    _pass(table, starts, bases, names, totals)
    for key, i in order.items():
        if key in sums:
            sums[key] += totals[:, i]


def _fill(
    table: NDArray[Any],
    codes: NDArray[np.int64],
    starts: NDArray[np.int64],
    columns: Sequence[NDArray[Any]],
) -> None:
    """Lay columns as rows of a table, in the order of groups."""
    ordered = not np.any(codes[1:] < codes[:-1])
    for row, column in zip(table, columns, strict=True):
        if ordered:
            row[:] = column
        else:
            _by_group(codes, starts, column, row)
