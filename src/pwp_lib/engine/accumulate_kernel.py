"""The grouped sum in one compiled pass over whole numbers; imported only where numba is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .polynomial import Monomial

__all__ = ["add_all"]


@numba.njit(cache=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _pass(
    codes: NDArray[Any],
    table: NDArray[Any],
    bases: NDArray[np.int64],
    names: NDArray[np.int64],
    totals: NDArray[np.int64],
) -> None:
    rows, chain = len(codes), len(bases)
    products = np.empty(chain + 1, dtype=np.int64)
    products[chain] = 1
    for row in range(rows):
        group = codes[row]
        for k in range(chain):
            value = products[bases[k]] * np.int64(table[row, names[k]])
            products[k] = value
            totals[group, k] += value


def add_all(
    codes: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
    chains: Sequence[tuple[Monomial, Monomial, str]],
    sums: dict[Monomial, NDArray[Any]],
) -> None:
    """Add all products to the totals, rows in any order."""
    order = {key: i for i, (key, _, _) in enumerate(chains)}
    used = list(dict.fromkeys(name for _, _, name in chains))
    kind = np.result_type(*(columns[name].dtype for name in used)) if used else np.int64
    table = np.empty((len(codes), len(used)), dtype=kind)
    for i, name in enumerate(used):
        table[:, i] = columns[name]
    groups = int(codes.max(initial=-1)) + 1
    totals = np.zeros((groups, len(chains)), dtype=np.int64)
    bases = np.array([order.get(base, len(chains)) for _, base, _ in chains], dtype=np.int64)
    names = np.array([used.index(name) for _, _, name in chains], dtype=np.int64)
    _pass(codes, table, bases, names, totals)
    for key, i in order.items():
        if key in sums:
            sums[key][:groups] += totals[:, i]
