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

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.design import coordinates
from multilevel.identify import Array, Stack
from multilevel.small import add, cholesky, compiled, folded, gram, invert_lower, product

__all__ = [
    "Array",
    "Pieces",
    "Stack",
    "deviances",
    "evaluate",
    "lower_factor",
    "measure",
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
    """Room for what one evaluation fills, so that no evaluation asks for memory."""

    x: Array
    y: Array
    total: Array
    low: Array
    inverse: Array
    beta: Array


class Design(NamedTuple):
    """One design of a stack, its random terms turned to another orthonormal basis."""

    root: Array
    outer: Array
    within: Array
    n: float
    dof: float
    shift: float
    reml: bool


@compiled  # type: ignore[untyped-decorator]
def one_design(arrays: Any, r: Any, basis: Any) -> Any:
    """Take a design out of a stack's arrays, and turn its random terms."""
    root, outer, within, n, dof, shift, reml = arrays
    turned = np.zeros(root.shape[1:])
    for j in range(root.shape[1]):
        add(turned[j], 1.0, product(root[r, j], basis))
    return Design(turned, outer[r], within[r], n[r], dof[r], shift[r], reml)


@compiled  # type: ignore[untyped-decorator]
def workspace(groups: Any, q: Any, p: Any) -> Any:
    """Make room for the evaluations of one design."""
    return Workspace(
        np.zeros((groups, q, q)),
        np.zeros((groups, q, p + 1)),
        np.zeros((p + 1, p + 1)),
        np.zeros((p + 1, p + 1)),
        np.zeros((p, p)),
        np.zeros(p),
    )


@compiled  # type: ignore[untyped-decorator]
def _sums(design: Any, factor: Any, space: Any) -> Any:
    """Fill ``X = K^-1 R`` and ``Y = K^-1 U`` of each group and the total; the log determinant."""
    root, outer, within = design.root, design.outer, design.within
    x, y, total = space.x, space.y, space.total
    groups, q, width = outer.shape
    for w in range(width):
        for v in range(w + 1):
            total[w, v] = within[w, v]
    bulk, k = np.zeros((q, q)), np.zeros((q, q))
    log_det, log_part = 0.0, 1.0
    for j in range(groups):
        for i in range(q):
            for m in range(q):
                bulk[i, m] = 0.0
                for t in range(m, q):
                    bulk[i, m] += root[j, i, t] * factor[t, m]
        for i in range(q):
            for m in range(i + 1):
                value = 1.0 if i == m else 0.0
                for t in range(q):
                    value += bulk[i, t] * bulk[m, t]
                for t in range(m):
                    value -= k[i, t] * k[m, t]
                k[i, m] = np.sqrt(max(value, 1.0)) if i == m else value / k[m, m]
            log_part *= k[i, i]
            over = 1.0 / k[i, i]
            for m in range(q):
                value = root[j, i, m]
                for t in range(i):
                    value -= k[i, t] * x[j, t, m]
                x[j, i, m] = value * over
            for w in range(width):
                value = outer[j, i, w]
                for t in range(i):
                    value -= k[i, t] * y[j, t, w]
                y[j, i, w] = value * over
            for w in range(width):
                for v in range(w + 1):
                    total[w, v] += y[j, i, w] * y[j, i, v]
        if log_part > 1e100:  # One logarithm serves many groups.
            log_det += 2.0 * np.log(log_part)
            log_part = 1.0
    return log_det + 2.0 * np.log(log_part)


@compiled  # type: ignore[untyped-decorator]
def evaluate(design: Any, factor: Any, space: Any) -> Any:
    """Deviance at the relative covariance ``factor factor'``; its parts are left in `space`.

    Parameters
    ----------
    design : Design
    factor : ndarray of shape (q, q)
        Lower-triangular.
    space : Workspace

    Returns
    -------
    deviance, residual_squares : float
    """
    log_det = _sums(design, factor, space)
    p = len(space.beta)
    cholesky(space.total, space.low, 0.0)
    squares = space.low[p, p] ** 2
    dof = design.dof
    deviance = log_det + dof * (1.0 + np.log(2.0 * np.pi * squares / dof)) + design.shift
    if design.reml:
        for i in range(p):
            deviance += 2.0 * np.log(space.low[i, i])
    return deviance, squares


@folded  # type: ignore[untyped-decorator]
def _solve(space: Any) -> None:
    """Fill the coefficients and the inverse from the factor that `evaluate` left."""
    p = len(space.beta)
    root = np.zeros((p, p))
    invert_lower(space.low[:p, :p], root)
    gram(root, space.inverse)
    for i in range(p):
        space.beta[i] = 0.0
        for j in range(i, p):
            space.beta[i] += root[j, i] * space.low[p, j]


@folded  # type: ignore[untyped-decorator]
def _group(space: Any, j: Any, c: Any, rows: Any) -> None:
    """Fill a group's ``Z'V^-1 Z`` and ``Z'V^-1 [X, y - X beta]``."""
    x, y, beta = space.x[j], space.y[j], space.beta
    q, width = rows.shape
    for i in range(q):
        for m in range(q):
            c[i, m] = 0.0
            for t in range(q):
                c[i, m] += x[t, i] * x[t, m]
        for w in range(width):
            rows[i, w] = 0.0
            for t in range(q):
                rows[i, w] += x[t, i] * y[t, w]
        for w in range(width - 1):
            rows[i, width - 1] -= rows[i, w] * beta[w]


@compiled  # type: ignore[untyped-decorator]
def covariance_hessian(design: Any, space: Any, ratio: Any, places: Any, gradient: Any) -> Any:
    """First and second derivatives of the deviance by the relative covariance.

    Parameters
    ----------
    design : Design
    space : Workspace
        As `evaluate` left it.
    ratio : float
        Divisor of the residual variance over the residual squares; with zero the derivatives of
        the log determinants alone.
    places : ndarray of int, shape (k, 2)
    gradient : ndarray of shape (q, q)
        Overwritten; symmetric.

    Returns
    -------
    ndarray of shape (k, k)
        By the elements of the covariance.
    """
    _solve(space)
    groups, q, width = space.y.shape
    p, k, reml = width - 1, len(places), design.reml
    c, rows, shared = np.zeros((q, q)), np.zeros((q, width)), np.zeros((q, q))
    paired, terms = np.zeros((q, q, q, q)), np.zeros((k, width, width))
    for i in range(q):
        for m in range(q):
            gradient[i, m] = 0.0
    for j in range(groups):
        _group(space, j, c, rows)
        if reml:
            shared = product(product(rows[:, :p], space.inverse), rows[:, :p].T)
        for i in range(q):
            for m in range(q):
                square = ratio * rows[i, p] * rows[m, p]
                gradient[i, m] += c[i, m] - square - shared[i, m]
                weight = 2.0 * square - c[i, m] + 2.0 * shared[i, m]
                for a in range(q):
                    for b in range(q):
                        paired[i, m, a, b] += weight * c[a, b]
        for a in range(k):
            i, m = places[a]
            half = 0.5 if i == m else 1.0
            for w in range(0 if reml else p, width):
                for v in range(w + 1):
                    both = rows[i, w] * rows[m, v] + rows[m, w] * rows[i, v]
                    terms[a, w, v] += half * both
    return _assembled(paired, terms, space.inverse, ratio, design.dof, places)


@folded  # type: ignore[untyped-decorator]
def _assembled(paired: Any, terms: Any, inverse: Any, ratio: Any, dof: Any, places: Any) -> Any:
    """Hessian from ``sum Y x C`` and, by element, ``[X, e]' V^-1 Z E_a Z' V^-1 [X, e]``."""
    k, p = len(places), len(inverse)
    weights, moved = np.zeros((p + 1, p + 1)), np.zeros(terms.shape)
    weights[p, p] = ratio
    add(weights[:p, :p], 1.0, inverse)
    for a in range(k):
        for w in range(p + 1):
            for v in range(w):
                terms[a, v, w] = terms[a, w, v]
        add(moved[a], 1.0, product(weights, terms[a]))
    out = np.zeros((k, k))
    for a in range(k):
        i, m = places[a]
        for b in range(k):
            s, t = places[b]
            half = (0.5 if i == m else 1.0) * (0.5 if s == t else 1.0)
            out[a, b] = half * (
                paired[t, i, m, s] + paired[t, m, i, s] + paired[s, i, m, t] + paired[s, m, i, t]
            )
            out[a, b] += ratio**2 * (1.0 - 1.0 / dof) * terms[a, p, p] * terms[b, p, p]
            for w in range(p + 1):
                for v in range(p + 1):
                    out[a, b] -= moved[a, w, v] * moved[b, v, w]
    return out


@folded  # type: ignore[untyped-decorator]
def measure(
    design: Any,
    theta: Any,
    free: Any,
    places: Any,
    space: Any,
    gradient: Any,
    hessian: Any,
    gamma: Any,
) -> Any:
    """Fill gradient and Hessian by the elements of the factor; the deviance.

    Parameters
    ----------
    design : Design
    theta, free : ndarray of shape (k,)
        Elements, column by column, and one where an element may move.
    places : ndarray of int, shape (k, 2)
    space : Workspace
    gradient, hessian : ndarray of shape (k,) and (k, k)
        Overwritten; elements that are held have none.
    gamma : ndarray of shape (q, q)
        Overwritten by the derivatives by the relative covariance.
    """
    q, k = len(gamma), len(theta)
    factor, link = np.zeros((q, q)), np.zeros((k, k))
    for t in range(k):
        factor[places[t, 0], places[t, 1]] = theta[t]
    deviance, squares = evaluate(design, factor, space)
    inside = covariance_hessian(design, space, design.dof / squares, places, gamma)
    for a in range(k):
        r, c = places[a]
        for t in range(k):
            i, j = places[t]
            link[a, t] = (factor[c, j] if r == i else 0.0) + (factor[r, j] if c == i else 0.0)
    half, lean = product(inside, link), product(gamma, factor)
    for t in range(k):
        i, j = places[t]
        gradient[t] = 2.0 * lean[i, j] * free[t]
        for s in range(k):
            hessian[t, s] = 0.0
            for m in range(k):
                hessian[t, s] += link[m, t] * half[m, s]
            if places[s, 1] == j:
                hessian[t, s] += 2.0 * gamma[i, places[s, 0]]
            if free[t] * free[s] == 0.0:
                hessian[t, s] = 1.0 if s == t else 0.0
    return deviance


@compiled  # type: ignore[untyped-decorator]
def deviances(arrays: Any, factors: Any) -> Any:
    """Evaluate each design at its factors.

    Parameters
    ----------
    arrays : tuple
        Those of a stack.
    factors : ndarray of shape (R, S, q, q)
        Lower-triangular.

    Returns
    -------
    deviance, residual_squares : ndarray of shape (R, S)
    """
    designs, count, q = factors.shape[:3]
    groups, width = arrays[1].shape[1], arrays[1].shape[3]
    out, squares = np.zeros((designs, count)), np.zeros((designs, count))
    space = workspace(groups, q, width - 1)
    basis = np.eye(q)
    for r in range(designs):
        design = one_design(arrays, r, basis)
        for s in range(count):
            out[r, s], squares[r, s] = evaluate(design, factors[r, s], space)
            if not np.isfinite(out[r, s]):
                out[r, s] = np.inf
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
    found = _pieces(stack.arrays, lower_factor(g), places(stack.q), determinants)
    c, rows, *rest = found
    return Pieces(c, rows[..., :-1], rows[..., -1], *rest)


@compiled  # type: ignore[untyped-decorator]
def _pieces(arrays: Any, factors: Any, places: Any, determinants: Any) -> Any:
    designs, groups, q, width = arrays[1].shape
    p, k = width - 1, len(places)
    c, rows = np.zeros((designs, groups, q, q)), np.zeros((designs, groups, q, width))
    inverse, beta, squares = np.zeros((designs, p, p)), np.zeros((designs, p)), np.zeros(designs)
    gamma, hessian = np.zeros((designs, q, q)), np.zeros((designs, k, k))
    space = workspace(groups, q, p)
    for r in range(designs):
        design = one_design(arrays, r, np.eye(q))
        squares[r] = evaluate(design, factors[r], space)[1]
        ratio = 0.0 if determinants else design.dof / squares[r]
        add(hessian[r], 1.0, covariance_hessian(design, space, ratio, places, gamma[r]))
        add(inverse[r], 1.0, space.inverse)
        for w in range(p):
            beta[r, w] = space.beta[w]
        for j in range(groups):
            _group(space, j, c[r, j], rows[r, j])
    return c, rows, inverse, beta, squares, gamma, hessian
