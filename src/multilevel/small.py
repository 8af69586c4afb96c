"""Algebra of small matrices, compiled.

Loops stand where NumPy has a word for them: its expressions, reshapings and assignments to whole
arrays take many seconds to compile, and a call of BLAS costs more than a product of 4 x 4.
"""

from __future__ import annotations

import math
from typing import Any

from multilevel.lanes import zeros
from multilevel.tiers import inner


@inner  # type: ignore[untyped-decorator]
def congruent(by: Any, square: Any, out: Any) -> None:
    """Fill ``by @ square @ by'``."""
    half = zeros((len(by), len(square)))
    for i in range(len(by)):
        for m in range(len(square)):
            for j in range(len(square)):
                half[i, m] += by[i, j] * square[j, m]
    for i in range(len(by)):
        for j in range(len(by)):
            out[i, j] = 0.0
            for m in range(len(square)):
                out[i, j] += half[i, m] * by[j, m]


@inner  # type: ignore[untyped-decorator]
def copy(matrix: Any, out: Any) -> None:
    """Fill with another matrix."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = matrix[i, j]


@inner  # type: ignore[untyped-decorator]
def cholesky(square: Any, low: Any, floor: Any) -> None:
    """Fill the lower-triangular factor; no pivot falls below the floor."""
    for i in range(square.shape[0]):
        for j in range(i + 1):
            value = square[i, j]
            for k in range(j):
                value -= low[i, k] * low[j, k]
            if i > j:
                low[i, j] = value / low[j, j]
            else:
                low[i, i] = math.sqrt(floor if value < floor else value)


@inner  # type: ignore[untyped-decorator]
def invert_lower(low: Any, out: Any) -> None:
    """Fill the inverse of a lower-triangular matrix; what is above the diagonal stays."""
    for i in range(low.shape[0]):
        out[i, i] = 1.0 / low[i, i]
        for j in range(i):
            value = 0.0
            for k in range(j, i):
                value -= low[i, k] * out[k, j]
            out[i, j] = value * out[i, i]


@inner  # type: ignore[untyped-decorator]
def gram(low: Any, out: Any) -> None:
    """Fill ``low' low`` for a lower-triangular matrix."""
    for i in range(low.shape[0]):
        for j in range(i + 1):
            value = 0.0
            for k in range(i, low.shape[0]):
                value += low[k, i] * low[k, j]
            out[i, j] = out[j, i] = value


@inner  # type: ignore[untyped-decorator]
def diagonalise(matrix: Any, axes: Any, k: Any) -> None:
    """Apply Jacobi's rotations in place: eigenvalues, least first, and eigenvectors in rows.

    Parameters
    ----------
    matrix : ndarray of shape (K, K)
        Its first `k` rows and columns are symmetric; diagonal afterwards.
    axes : ndarray of shape (K, K)
        Its first `k` rows and columns are overwritten.
    k : int
    """
    for i in range(k):
        for j in range(k):
            axes[i, j] = 1.0 if i == j else 0.0
    for _ in range(30):
        off, size = 0.0, 0.0
        for i in range(k):
            size += matrix[i, i] * matrix[i, i]
            for j in range(i):
                off += matrix[i, j] * matrix[i, j]
        if off <= 1e-30 * size:
            break
        for i in range(k):
            for j in range(i):
                if matrix[i, j] == 0.0:
                    continue
                # Two axes are turned so that the element between them is zero.
                half = 0.5 * (matrix[j, j] - matrix[i, i]) / matrix[i, j]
                tangent = 1.0 / (abs(half) + math.sqrt(half * half + 1.0))
                tangent = -tangent if half < 0 else tangent
                cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                for m in range(k):
                    a, b = matrix[m, i], matrix[m, j]
                    matrix[m, i], matrix[m, j] = cosine * a - sine * b, sine * a + cosine * b
                for m in range(k):
                    a, b = matrix[i, m], matrix[j, m]
                    matrix[i, m], matrix[j, m] = cosine * a - sine * b, sine * a + cosine * b
                    a, b = axes[i, m], axes[j, m]
                    axes[i, m], axes[j, m] = cosine * a - sine * b, sine * a + cosine * b
    for i in range(k):
        for j in range(i + 1, k):
            if matrix[j, j] < matrix[i, i]:
                matrix[i, i], matrix[j, j] = matrix[j, j], matrix[i, i]
                for m in range(k):
                    axes[i, m], axes[j, m] = axes[j, m], axes[i, m]
