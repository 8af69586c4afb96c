"""Sums of products of columns within groups, exactly for whole numbers."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.polynomial import Monomial

__all__ = ["INTEGER_LIMIT", "Sums", "choose_pivot", "demoted", "grouped_sums", "largest_value"]

#: A column, whole numbers or not.
Column: TypeAlias = NDArray[Any]
#: Totals by group: int64 for whole numbers, float64 for others.
Totals: TypeAlias = NDArray[Any]
#: Rows multiplied at a time: a handful of such columns fits in a processor's second cache.
BLOCK_ROWS = 2**14
#: Importing numba and fetching its cached code takes about half a second, which this many rows
#: are needed to win back; below it the kernel serves only where numba is loaded already.
COMPILED_FROM_ROWS = 10_000_000
#: Beyond this the fourth power of a value is no number any more.
FLOAT_LIMIT = 1e75
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
    sums: Mapping[Monomial, Totals]
    pivots: Mapping[str, float]
    n_dropped: int = 0


def choose_pivot(mean: float, spread: float) -> float:
    """Pick a short number near the mean, so that taking it off costs no digits."""
    if not np.isfinite(mean):
        return 0.0
    step = 2.0 ** np.floor(np.log2(spread)) if spread > 0 else 2.0**-20
    return float(np.round(mean / step) * step)


def largest_value(values: Column) -> float:
    """Return the largest size of any value; nought without rows."""
    return max(abs(float(values.max(initial=0))), abs(float(values.min(initial=0))))


def demoted(
    keys: Sequence[Monomial], largest: Mapping[str, float], integers: set[str], rows: int
) -> set[str]:
    """Columns of whole numbers whose products could overflow and are summed as floats."""
    for name, size in largest.items():
        if size > FLOAT_LIMIT:
            raise InputError(
                "its values are too large to be multiplied",
                column=name,
                hint="measure it in larger units",
            )
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
    columns: Mapping[str, Column],
    keys: Sequence[Monomial],
    pivots: Mapping[str, float] | None = None,
) -> tuple[NDArray[np.int64], dict[Monomial, Totals]]:
    """Sum rows and products within each group.

    Parameters
    ----------
    codes : ndarray of int, shape (N,)
        Group of each row, 0 to `n_groups` - 1.
    n_groups : int
    columns : mapping of str to ndarray, shape (N,)
        Any integer type for whole numbers, any floating type for others.
    keys : sequence of Monomial
        Products to be summed.
    pivots : mapping of str to float, optional
        What to take off a column before it is multiplied; such columns are summed as floats.

    Returns
    -------
    n : ndarray of int64, shape (n_groups,)
    sums : dict of Monomial to ndarray, shape (n_groups,)
        int64 where only whole numbers are multiplied, else float64.
    """
    pivots = pivots or {}
    chains = chained(keys)
    floats = {n for n, v in columns.items() if n in pivots or v.dtype.kind == "f"}
    sums: dict[Monomial, Totals] = {
        key: np.zeros(n_groups, dtype=float if floats & set(key) else np.int64) for key in keys
    }
    n = np.bincount(codes, minlength=n_groups).astype(np.int64)
    if () in sums:
        sums[()] = n
    kernel = compiled_kernel(len(codes))
    # The kernel multiplies whole numbers as floats, which hold them exactly up to here.
    if kernel is not None and not floats and _reach(columns, keys) < 2**43:
        kernel(codes, n, columns, chains, sums)
        return n, sums
    order = None
    if np.any(codes[1:] < codes[:-1]):
        # NumPy sorts 16-bit whole numbers by radix, six times as fast as wider ones.
        narrow = codes.astype(np.uint16) if n_groups <= 2**16 else codes
        order = np.argsort(narrow, kind="stable")
    for start in range(0, len(codes), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS) if order is None else order[start:][:BLOCK_ROWS]
        block = {
            name: values[rows].astype(np.int64)
            if name not in floats
            else values[rows].astype(float) - pivots.get(name, 0.0)
            for name, values in columns.items()
        }
        _add_block(codes[rows], block, chains, sums)
    return n, sums


def _reach(columns: Mapping[str, Column], keys: Sequence[Monomial]) -> int:
    """Bound of the products, over all rows."""
    largest = {name: int(largest_value(values)) for name, values in columns.items()}
    return max((math.prod(largest[name] for name in key) for key in keys), default=0)


def chained(keys: Sequence[Monomial]) -> list[tuple[Monomial, Monomial, str]]:
    """Order products so that each is one column times a product made before.

    Returns triples of the product, the earlier product (empty for a column itself) and the
    column; products that only serve others are among them.
    """
    chain: dict[Monomial, tuple[Monomial, Monomial, str]] = {}

    def visit(key: Monomial) -> None:
        if not key or key in chain:
            return
        shorter = [key[:i] + key[i + 1 :] for i in range(len(key))]
        base = next((k for k in shorter if k in chain), shorter[-1])
        visit(base)
        chain[key] = (key, base, key[_left_out(key, base)])

    for key in sorted(keys, key=lambda k: (len(k), k)):
        visit(key)
    return list(chain.values())


def _left_out(key: Monomial, base: Monomial) -> int:
    return next((i for i in range(len(base)) if key[i] != base[i]), len(base))


def _add_block(
    codes: NDArray[np.int64],
    block: Mapping[str, Column],
    chains: Sequence[tuple[Monomial, Monomial, str]],
    sums: dict[Monomial, Totals],
) -> None:
    """Add the products of some rows, sorted by group, to the totals."""
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    groups = codes[starts]
    products: dict[Monomial, Column] = {}
    for key, base, name in chains:
        values = block[name] if not base else products[base] * block[name]
        products[key] = values
        if key in sums:
            sums[key][groups] += np.add.reduceat(values, starts)


def compiled_kernel(rows: int) -> Callable[..., None] | None:
    """Return the compiled one-pass sum where numba is there and its start-up pays."""
    if rows < COMPILED_FROM_ROWS and "numba" not in sys.modules:
        return None
    if rows < BLOCK_ROWS or importlib.util.find_spec("numba") is None:
        return None
    from multilevel.accumulate_kernel import add_all

    return add_all
