"""Eight numbers at once: what a processor does side by side, for eight groups.

A number of lanes has eight parts; arithmetic, `math.sqrt` and mixing with plain numbers mean the
same in each of them. To Python it is an array of eight; what numba makes of the same names is in
`lowering`, and its digits are the same.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

#: Parts of a number.
WIDTH = 8


class _Eights:
    """What Python takes for an array of lanes; a number is an array of its eight parts."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, array.shape[:-1]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: Any) -> Any:
        part = self.array[place]
        return _Eights(part) if part.ndim > 1 else part.copy()

    def __setitem__(self, place: Any, value: Any) -> None:
        self.array[place] = value


def _pairs(operation: Callable[..., Any], parts: Any) -> Any:
    while len(parts) > 1:
        parts = operation(parts[::2], parts[1::2])
    return parts[0]


def _max(one: Any, other: Any) -> Any:
    return np.where(one < other, other, one)[()]


def _log(value: Any) -> Any:
    """Logarithm by the C library, whose last digit is the compiler's and not always NumPy's."""
    return np.float64(math.log(value)) if value > 0.0 else np.log(value)


#: An array of floats, eight along the last axis, viewed as one of lanes.
side_by_side = _Eights
#: Makes an array of zeros by its shape.
zeros = np.zeros


def zero_lanes(shape: tuple[int, ...]) -> Any:
    """Make an array of lanes, all zero."""
    return _Eights(np.zeros((*shape, WIDTH)))


#: Sum, and product, of the parts.
total, product = partial(_pairs, operator.add), partial(_pairs, operator.mul)
#: What these names mean where functions that could be compiled are interpreted.
INTERPRETED = {
    "math": SimpleNamespace(**{**vars(math), "sqrt": np.sqrt, "log": _log}),
    "max": _max,
}
