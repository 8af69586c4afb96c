"""The profiled deviance (ML and REML) of a two-level normal model, from sums within groups.

Compiled.

With `A` a group's cross-products of the random terms, ``A = R'R``, and ``U`` what the group's
other columns have in the space of the random terms, ``U'U = w' Z A^- Z' w``, all that the
likelihood needs of a relative covariance ``G = L L'`` of the random effects is the Cholesky
factor ``K`` of ``I + (R L)(R L)'`` in each group: the log determinant is ``2 log |K|``, and
products through the inverse covariance are those within groups plus ``Y'Y`` with ``Y = K^-1 U``.
Both parts are sums of squares, so that nothing cancels however large the variance of the random
effects is, or how few rows a group has.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.design import coordinates
from multilevel.identify import Array, Stack
from multilevel.small import add, cholesky, compiled, folded, inner, invert_lower

__all__ = [
    "Array",
    "Pieces",
    "Stack",
    "covariance_hessian",
    "deviances",
    "evaluate",
    "lower_factor",
    "one_design",
    "pieces",
    "places",
    "symmetric_basis",
    "workspace",
]


@cache
def symmetric_basis(q: int) -> Array:
    """Return the symmetric matrix that each element of a covariance stands for, (k, q, q)."""
    basis = np.zeros((len(coordinates(q)), q, q))
    for a, (i, j) in enumerate(coordinates(q)):
        basis[a, i, j] = basis[a, j, i] = 1.0
    return basis


@cache
def places(q: int) -> NDArray[np.intp]:
    """Row and column of each element of a factor with `q` rows, shape (k, 2)."""
    return np.array(coordinates(q), dtype=np.intp).reshape(-1, 2)


def lower_factor(g: Array) -> Array:
    """Lower-triangular factors of covariances that may be singular; no diagonal is negative."""
    if g.shape[-1] == 0:
        return g
    values, vectors = np.linalg.eigh(g)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    upper = np.linalg.qr(root.swapaxes(-1, -2))[1]
    sign = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)
    return np.ascontiguousarray((sign[..., None] * upper).swapaxes(-1, -2))


# -- the deviance ------------------------------------------------------------------------------


class Workspace(NamedTuple):
    """Room for what one evaluation fills, so that no evaluation asks for memory.

    By group, the factor `K` with the inverse of its diagonal, and `Y`; of the totals, the factor
    and its inverse; then what one group needs, and sums over groups. Of two or three dimensions
    all, as each number of dimensions takes time to compile.
    """

    k: Array
    y: Array
    total: Array
    low: Array
    white: Array
    bulk: Array
    x: Array
    c: Array
    rows: Array
    pure: Array
    paired: Array
    terms: Array


class Design(NamedTuple):
    """One design of a stack."""

    root: Array
    outer: Array
    within: Array
    n: float
    dof: float
    shift: float
    reml: bool


@folded  # type: ignore[untyped-decorator]
def one_design(arrays: Any, r: Any) -> Any:
    """Take a design out of a stack's arrays."""
    root, outer, within, n, dof, shift, reml = arrays
    return Design(root[r], outer[r], within[r], n[r], dof[r], shift[r], reml)


@folded  # type: ignore[untyped-decorator]
def workspace(groups: Any, q: Any, width: Any) -> Any:
    """Make room for the evaluations of one design."""
    return Workspace(
        np.zeros((groups, q, q)),
        np.zeros((groups, q, width)),
        np.zeros((width, width)),
        np.zeros((width, width)),
        np.zeros((width, width)),
        np.zeros((q, q)),
        np.zeros((q, q)),
        np.zeros((q, q)),
        np.zeros((q, width)),
        np.zeros((q, width)),
        np.zeros((q * q, q * q)),
        np.zeros((q * (q + 1) // 2, width, width)),
    )


@folded  # type: ignore[untyped-decorator]
def _sums(design: Any, factor: Any, space: Any) -> Any:
    """Fill `K` and ``Y = K^-1 U`` of each group and the total; the log determinant."""
    root, outer, within = design.root, design.outer, design.within
    k, y, total, bulk = space.k, space.y, space.total, space.bulk
    groups, q, width = outer.shape
    for w in range(width):
        for v in range(w + 1):
            total[w, v] = within[w, v]
    log_det, log_part = 0.0, 1.0
    for j in range(groups):
        for i in range(q):
            for m in range(q):
                value = 0.0
                for t in range(q):
                    value += root[j, i, t] * factor[t, m]
                bulk[i, m] = value
        for i in range(q):
            for m in range(i + 1):
                value = 1.0 if i == m else 0.0
                for t in range(q):
                    value += bulk[i, t] * bulk[m, t]
                for t in range(m):
                    value -= k[j, i, t] * k[j, m, t]
                if i > m:
                    k[j, i, m] = value * k[j, m, m]
            pivot = math.sqrt(1.0 if value < 1.0 else value)
            log_part *= pivot
            over = 1.0 / pivot
            k[j, i, i] = over
            for w in range(width):
                value = outer[j, i, w]
                for t in range(i):
                    value -= k[j, i, t] * y[j, t, w]
                y[j, i, w] = value * over
            for w in range(width):
                for v in range(w + 1):
                    total[w, v] += y[j, i, w] * y[j, i, v]
        if log_part > 1e100:  # One logarithm serves many groups.
            log_det += 2.0 * math.log(log_part)
            log_part = 1.0
    return log_det + 2.0 * math.log(log_part)


@inner  # type: ignore[untyped-decorator]
def evaluate(design: Any, factor: Any, space: Any) -> Any:
    """Deviance at the relative covariance ``factor factor'``; its parts are left in `space`.

    Parameters
    ----------
    design : Design
    factor : ndarray of shape (q, q)
    space : Workspace

    Returns
    -------
    float
        Infinite where it is not finite.
    """
    log_det = _sums(design, factor, space)
    p, low, dof = len(space.low) - 1, space.low, design.dof
    cholesky(space.total, low, 0.0)
    squares = low[p, p] * low[p, p]
    deviance = log_det + dof * (1.0 + math.log(2.0 * math.pi * squares / dof)) + design.shift
    if design.reml:
        for i in range(p):
            deviance += 2.0 * math.log(low[i, i])
    return deviance if math.isfinite(deviance) else math.inf


@folded  # type: ignore[untyped-decorator]
def _group(design: Any, space: Any, j: Any) -> None:
    """Fill a group's ``Z'V^-1 Z``, ``Z'V^-1 [X, y]``, and the latter with the whole made pure.

    Pure are columns times the inverse factor of the total: orthonormal, the last one the
    residual over the root of its squares.
    """
    root, k, y, white = design.root, space.k, space.y, space.white
    x, c, rows, pure = space.x, space.c, space.rows, space.pure
    q, width = rows.shape
    for i in range(q):
        for m in range(q):
            value = root[j, i, m]
            for t in range(i):
                value -= k[j, i, t] * x[t, m]
            x[i, m] = value * k[j, i, i]
    for i in range(q):
        for m in range(q):
            value = 0.0
            for t in range(q):
                value += x[t, i] * x[t, m]
            c[i, m] = value
        for w in range(width):
            value = 0.0
            for t in range(q):
                value += x[t, i] * y[j, t, w]
            rows[i, w] = value
            value = 0.0
            for v in range(w + 1):
                value += white[w, v] * rows[i, v]
            pure[i, w] = value


@inner  # type: ignore[untyped-decorator]
def covariance_hessian(
    design: Any, space: Any, weight: Any, places: Any, gradient: Any, hessian: Any
) -> None:
    """First and second derivatives of the deviance by the relative covariance.

    Parameters
    ----------
    design : Design
    space : Workspace
        As `evaluate` left it.
    weight : float
        Divisor of the residual variance; with zero the derivatives are those of the log
        determinants alone.
    places : ndarray of int, shape (k, 2)
    gradient : ndarray of shape (q, q)
        Overwritten; symmetric.
    hessian : ndarray of shape (k, k)
        Overwritten: by the elements of the covariance.
    """
    c, pure, paired, terms = space.c, space.pure, space.paired, space.terms
    q, width = pure.shape
    first = 0 if design.reml else width - 1
    invert_lower(space.low, space.white)
    for i in range(q):
        for m in range(q):
            gradient[i, m] = 0.0
            for a in range(q * q):
                paired[i * q + m, a] = 0.0
    for a in range(len(places)):
        for w in range(first, width):
            for v in range(w + 1):
                terms[a, w, v] = 0.0
    for j in range(len(space.k)):
        _group(design, space, j)
        for i in range(q):
            for m in range(q):
                taken = weight * pure[i, width - 1] * pure[m, width - 1]
                for w in range(first, width - 1):
                    taken += pure[i, w] * pure[m, w]
                gradient[i, m] += c[i, m] - taken
                for a in range(q):
                    for b in range(q):
                        paired[i * q + m, a * q + b] += (2.0 * taken - c[i, m]) * c[a, b]
        for a in range(len(places)):
            i, m = places[a, 0], places[a, 1]
            for w in range(first, width):
                for v in range(w + 1):
                    terms[a, w, v] += pure[i, w] * pure[m, v] + pure[m, w] * pure[i, v]
    _assembled(space, first, weight, places, hessian)


@folded  # type: ignore[untyped-decorator]
def _assembled(space: Any, first: Any, weight: Any, places: Any, hessian: Any) -> None:
    """Fill the Hessian from ``sum W x C`` and, by element, products of the pure columns."""
    paired, terms = space.paired, space.terms
    q, width = space.pure.shape
    for a in range(len(places)):
        i, m = places[a, 0], places[a, 1]
        for b in range(a + 1):
            s, t = places[b, 0], places[b, 1]
            value = paired[t * q + i, m * q + s] + paired[t * q + m, i * q + s]
            value += paired[s * q + i, m * q + t] + paired[s * q + m, i * q + t]
            for w in range(first, width):
                size = weight if w == width - 1 else 1.0
                for v in range(w + 1):
                    both = size * terms[a, w, v] * terms[b, w, v]
                    value -= both if v == w else 2.0 * both
            half = (0.5 if i == m else 1.0) * (0.5 if s == t else 1.0)
            hessian[a, b] = hessian[b, a] = half * value


@compiled  # type: ignore[untyped-decorator]
def deviances(arrays: Any, factors: Any) -> Any:
    """Evaluate each design at its factors.

    Parameters
    ----------
    arrays : tuple
        Those of a stack.
    factors : ndarray of shape (R, S, q, q)

    Returns
    -------
    deviance, residual_squares : ndarray of shape (R, S)
    """
    designs, count, q = factors.shape[:3]
    groups, width = arrays[1].shape[1], arrays[1].shape[3]
    out, squares = np.zeros((designs, count)), np.zeros((designs, count))
    space = workspace(groups, q, width)
    for r in range(designs):
        design = one_design(arrays, r)
        for s in range(count):
            out[r, s] = evaluate(design, factors[r, s], space)
            squares[r, s] = space.low[width - 1, width - 1] ** 2
    return out, squares


class Pieces(NamedTuple):
    """What everything but the search is computed from, for each of `R` designs.

    Attributes
    ----------
    c : ndarray of shape (R, J, q, q)
        ``Z' V^-1 Z`` of each group, with ``V`` relative to the residual variance.
    cx : ndarray of shape (R, J, q, p)
        ``Z' V^-1 X``.
    e : ndarray of shape (R, J, q)
        ``Z' V^-1 (y - X beta)``.
    inverse : ndarray of shape (R, p, p)
        ``(X' V^-1 X)^-1``.
    beta : ndarray of shape (R, p)
        Coefficients of the standardised fixed terms.
    squares : ndarray of shape (R,)
        ``(y - X beta)' V^-1 (y - X beta)``.
    gamma : ndarray of shape (R, q, q)
        Derivatives of the deviance by the relative covariance.
    hessian : ndarray of shape (R, k, k)
        Second derivatives.
    """

    c: Array
    cx: Array
    e: Array
    inverse: Array
    beta: Array
    squares: Array
    gamma: Array
    hessian: Array


def pieces(stack: Stack, g: Array, determinants: bool = False) -> Pieces:
    """Pieces of every design at its relative covariance, shape (R, q, q).

    With `determinants` the derivatives are those of the log determinants alone.
    """
    c, rows, white, gamma, hessian = _pieces(
        stack.arrays, lower_factor(g), places(stack.q), determinants
    )
    root, last = white[:, :-1, :-1], white[:, -1]
    beta = -last[:, :-1] / last[:, -1:]
    e = (rows @ last[:, None, :, None])[..., 0] / last[:, -1, None, None]
    inverse = root.swapaxes(1, 2) @ root
    return Pieces(c, rows[..., :-1], e, inverse, beta, last[:, -1] ** -2.0, gamma, hessian)


@compiled  # type: ignore[untyped-decorator]
def _pieces(arrays: Any, factors: Any, places: Any, determinants: Any) -> Any:
    designs, groups, q, width = arrays[1].shape
    c, rows = np.zeros((designs, groups, q, q)), np.zeros((designs, groups, q, width))
    white, gamma = np.zeros((designs, width, width)), np.zeros((designs, q, q))
    hessian = np.zeros((designs, len(places), len(places)))
    space = workspace(groups, q, width)
    for r in range(designs):
        design = one_design(arrays, r)
        evaluate(design, factors[r], space)
        weight = 0.0 if determinants else design.dof
        covariance_hessian(design, space, weight, places, gamma[r], hessian[r])
        add(white[r], 1.0, space.white)
        for j in range(groups):
            _group(design, space, j)
            add(c[r, j], 1.0, space.c)
            add(rows[r, j], 1.0, space.rows)
    return c, rows, white, gamma, hessian
