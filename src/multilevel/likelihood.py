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

from multilevel.design import Array as Array
from multilevel.design import coordinates
from multilevel.identify import Stack as Stack
from multilevel.lanes import WIDTH, product, side_by_side, total
from multilevel.small import cholesky, compiled, copy, folded, inner, invert_lower


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

    Of lanes, a group in each: the factor `K` with the inverse of its diagonal, and `Y`, eight
    groups a block; what one block needs; sums over blocks. Of plain numbers: the totals, their
    factor and its inverse; sums over groups. Of two or three dimensions all, as each number of
    dimensions takes time to compile.
    """

    k: Any
    y: Any
    bulk: Any
    x: Any
    c: Any
    rows: Any
    pure: Any
    sums: Any
    parts: Any
    total: Array
    low: Array
    white: Array
    terms: Array


class Design(NamedTuple):
    """One design of a stack, of lanes the first two: eight groups a block."""

    root: Any
    outer: Any
    within: Array
    groups: int
    n: float
    dof: float
    shift: float
    reml: bool


@folded  # type: ignore[untyped-decorator]
def one_design(arrays: Any, r: Any) -> Any:
    """Take a design out of a stack's arrays."""
    root, outer, within, n, dof, shift, reml = arrays
    groups, q, width = outer.shape[1:]
    # Lanes that no group fills stay zero, and add nothing to any sum.
    roots = np.zeros(((groups + WIDTH - 1) // WIDTH, q, q, WIDTH))
    outers = np.zeros((len(roots), q, width, WIDTH))
    for j in range(groups):
        for i in range(q):
            for m in range(q):
                roots[j // WIDTH, i, m, j % WIDTH] = root[r, j, i, m]
            for m in range(width):
                outers[j // WIDTH, i, m, j % WIDTH] = outer[r, j, i, m]
    design = within[r], groups, n[r], dof[r], shift[r], reml
    return Design(side_by_side(roots), side_by_side(outers), *design)


@folded  # type: ignore[untyped-decorator]
def workspace(groups: Any, q: Any, width: Any) -> Any:
    """Make room for the evaluations of one design."""
    blocks, elements = (groups + WIDTH - 1) // WIDTH, q * (q + 1) // 2
    entries = width * width + elements + 1
    small = side_by_side(np.zeros((3, q, q, WIDTH)))
    wide = side_by_side(np.zeros((2, q, width, WIDTH)))
    totals = np.zeros((3, width, width))
    return Workspace(
        side_by_side(np.zeros((blocks, q, q, WIDTH))),
        side_by_side(np.zeros((blocks, q, width, WIDTH))),
        *(small[0], small[1], small[2], wide[0], wide[1]),
        side_by_side(np.zeros((width, width, WIDTH))),
        side_by_side(np.zeros((elements, entries, WIDTH))),
        *(totals[0], totals[1], totals[2]),
        np.zeros((elements, entries)),
    )


@folded  # type: ignore[untyped-decorator]
def _sums(design: Any, factor: Any, space: Any) -> Any:
    """Fill `K` and ``Y = K^-1 U`` of each group and the total; the log determinant."""
    root, outer, k, y = design.root, design.outer, space.k, space.y
    bulk, sums = space.bulk, space.sums
    blocks, q, width = outer.shape
    for w in range(width):
        for v in range(w + 1):
            sums[w, v] = 0.0
    log_det, log_part = 0.0, 1.0
    for j in range(blocks):
        for i in range(q):
            for m in range(q):
                value = root[j, i, 0] * factor[0, m]
                for t in range(1, q):
                    value += root[j, i, t] * factor[t, m]
                bulk[i, m] = value
        for i in range(q):
            for m in range(i + 1):
                value = bulk[i, 0] * bulk[m, 0] + (1.0 if i == m else 0.0)
                for t in range(1, q):
                    value += bulk[i, t] * bulk[m, t]
                for t in range(m):
                    value -= k[j, i, t] * k[j, m, t]
                if i > m:
                    k[j, i, m] = value * k[j, m, m]
            pivot = math.sqrt(max(value, 1.0))
            log_part *= product(pivot)
            over = 1.0 / pivot
            k[j, i, i] = over
            for w in range(width):
                value = outer[j, i, w]
                for t in range(i):
                    value -= k[j, i, t] * y[j, t, w]
                y[j, i, w] = value * over
            for w in range(width):
                for v in range(w + 1):
                    sums[w, v] += y[j, i, w] * y[j, i, v]
        if log_part > 1e100:  # One logarithm serves many groups.
            log_det += 2.0 * math.log(log_part)
            log_part = 1.0
    for w in range(width):
        for v in range(w + 1):
            space.total[w, v] = design.within[w, v] + total(sums[w, v])
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
def _block(design: Any, space: Any, j: Any) -> None:
    """Fill eight groups' ``Z'V^-1 Z``, ``Z'V^-1 [X, y]``, and the latter with the whole made pure.

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
            value = x[0, i] * x[0, m]
            for t in range(1, q):
                value += x[t, i] * x[t, m]
            c[i, m] = value
        for w in range(width):
            value = x[0, i] * y[j, 0, w]
            for t in range(1, q):
                value += x[t, i] * y[j, t, w]
            rows[i, w] = value
            value = rows[i, 0] * white[w, 0]
            for v in range(1, w + 1):
                value += rows[i, v] * white[w, v]
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
    c, pure, bent, parts, terms = space.c, space.pure, space.bulk, space.parts, space.terms
    q, width = pure.shape
    first, bends, slope = 0 if design.reml else width - 1, width * width, parts.shape[1] - 1
    invert_lower(space.low, space.white)
    for a in range(len(places)):
        for w in range(first * width, slope + 1):
            parts[a, w] = 0.0
    for j in range(len(space.k)):
        _block(design, space, j)
        for i in range(q):
            for m in range(q):
                taken = pure[i, width - 1] * pure[m, width - 1] * weight
                for w in range(first, width - 1):
                    taken += pure[i, w] * pure[m, w]
                bent[i, m] = taken * 2.0 - c[i, m]
        for a in range(len(places)):
            i, m = places[a, 0], places[a, 1]
            for w in range(first, width):
                for v in range(w + 1):
                    parts[a, w * width + v] += pure[i, w] * pure[m, v] + pure[m, w] * pure[i, v]
            for b in range(a + 1):
                s, t = places[b, 0], places[b, 1]
                parts[a, bends + b] += bent[t, i] * c[m, s] + bent[t, m] * c[i, s]
                parts[a, bends + b] += bent[s, i] * c[m, t] + bent[s, m] * c[i, t]
            parts[a, slope] += c[i, m] - bent[i, m]
    for a in range(len(places)):
        for w in range(first * width, slope + 1):
            terms[a, w] = total(parts[a, w])
        i, m = places[a, 0], places[a, 1]
        gradient[i, m] = gradient[m, i] = 0.5 * terms[a, slope]
        for b in range(a + 1):
            value = terms[a, bends + b]
            for w in range(first, width):
                size = weight if w == width - 1 else 1.0
                for v in range(w * width, w * width + w + 1):
                    both = size * terms[a, v] * terms[b, v]
                    value -= both if v == w * width + w else 2.0 * both
            half = (0.5 if i == m else 1.0) * (0.5 if places[b, 0] == places[b, 1] else 1.0)
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
    found = _pieces(stack.arrays, lower_factor(g), places(stack.q), determinants)
    blocks, white, gamma, hessian = found
    shape = len(blocks), blocks.shape[1] * WIDTH, *blocks.shape[2:4]
    whole = np.moveaxis(blocks, -1, 2).reshape(shape)
    c, rows = np.split(whole[:, : stack.root.shape[1]], [stack.q], axis=-1)
    root, last = white[:, :-1, :-1], white[:, -1]
    beta = -last[:, :-1] / last[:, -1:]
    e = (rows @ last[:, None, :, None])[..., 0] / last[:, -1, None, None]
    inverse = root.swapaxes(1, 2) @ root
    return Pieces(c, rows[..., :-1], e, inverse, beta, last[:, -1] ** -2.0, gamma, hessian)


@compiled  # type: ignore[untyped-decorator]
def _pieces(arrays: Any, factors: Any, places: Any, determinants: Any) -> Any:
    designs, groups, q, width = arrays[1].shape
    white, gamma = np.zeros((designs, width, width)), np.zeros((designs, q, q))
    hessian = np.zeros((designs, len(places), len(places)))
    space = workspace(groups, q, width)
    blocks = np.zeros((designs, len(space.k), q, q + width, WIDTH))
    out = side_by_side(blocks)
    for r in range(designs):
        design = one_design(arrays, r)
        evaluate(design, factors[r], space)
        weight = 0.0 if determinants else design.dof
        covariance_hessian(design, space, weight, places, gamma[r], hessian[r])
        copy(space.white, white[r])
        for j in range(len(space.k)):
            _block(design, space, j)
            for i in range(q):
                for m in range(q):
                    out[r, j, i, m] = space.c[i, m]
                for m in range(width):
                    out[r, j, i, q + m] = space.rows[i, m]
    return blocks, white, gamma, hessian
