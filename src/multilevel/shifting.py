"""Sums of products taken around another pivot, exactly where they are whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multilevel.accumulate import INTEGER_LIMIT, Totals
from multilevel.polynomial import Monomial

__all__ = ["around", "moved_sums"]


def around(
    sums: Mapping[Monomial, Totals], old: Mapping[str, float], new: Mapping[str, float]
) -> dict[Monomial, Totals]:
    """Take sums around new pivots.

    Parameters
    ----------
    sums : mapping of Monomial to ndarray, shape (J,)
    old : mapping of str to float
        Pivots that were taken off; nought for columns left out.
    new : mapping of str to float
        Pivots wanted. Every product that the move needs must be among the sums.

    Returns
    -------
    dict of Monomial to ndarray, shape (J,)
        int64 where all sums concerned are whole numbers and so are the moves.
    """
    steps = {name: pivot - old.get(name, 0.0) for name, pivot in new.items()}
    # Whole steps first: on whole numbers they are exact, and what is left is small.
    whole = {name: round(step) for name, step in steps.items() if round(step)}
    moved = moved_sums(sums, whole)
    rest = {name: step - round(step) for name, step in steps.items() if step != round(step)}
    return moved_sums(moved, rest)


def moved_sums(
    sums: Mapping[Monomial, Totals], steps: Mapping[str, float]
) -> dict[Monomial, Totals]:
    """Return sums of products of ``x - step``, all of them, in the order given."""
    if not steps:
        return dict(sums)
    return {key: _moved(key, sums, steps) for key in sums}


def _moved(key: Monomial, sums: Mapping[Monomial, Totals], steps: Mapping[str, float]) -> Totals:
    if not any(name in steps for name in key):
        return sums[key]
    parts: list[tuple[float, Totals]] = []
    for taken in product(*((False, True) if name in steps else (False,) for name in key)):
        rest = tuple(n for n, t in zip(key, taken, strict=True) if not t)
        weight: float = 1
        for name, t in zip(key, taken, strict=True):
            weight *= -steps[name] if t else 1
        parts.append((weight, sums[rest]))
    if all(isinstance(w, int) and part.dtype.kind == "i" for w, part in parts):
        return _exact_total(parts)
    total: NDArray[np.float64] = np.sum([w * p.astype(float) for w, p in parts], axis=0)
    return total


def _exact_total(parts: Sequence[tuple[Any, Totals]]) -> Totals:
    """Add weighted whole numbers without rounding before the end."""
    bound = sum(abs(w) * int(np.abs(p).max(initial=0)) for w, p in parts)
    if bound < INTEGER_LIMIT:
        whole: Totals = np.zeros(len(parts[0][1]), dtype=np.int64)
        for weight, part in parts:
            whole += weight * part
        return whole
    big = sum(w * p.astype(object) for w, p in parts)
    fits = max(map(abs, big), default=0) < INTEGER_LIMIT
    return np.asarray(big, dtype=np.int64 if fits else float)
