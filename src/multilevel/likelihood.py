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
from multilevel.lanes import WIDTH, product, side_by_side, total, zero_lanes, zeros
from multilevel.small import cholesky, copy, invert_lower
from multilevel.tiers import compiled, folded, inner


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
    """Lower-triangular factor of a covariance that may be singular; no diagonal is negative."""
    values, vectors = np.linalg.eigh(g)
    upper = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1]
    return np.asarray(upper.T * np.where(np.diagonal(upper) < 0.0, -1.0, 1.0))


# -- the deviance ------------------------------------------------------------------------------


class Workspace(NamedTuple):
    """Room for what one evaluation fills, so that no evaluation asks for memory.

    Of lanes, a group in each: of every block the factor `K` with the inverse of its diagonal, and
    `Y` beside it; three matrices of the same shape for one block; sums over blocks. Of plain
    numbers: the total, its factor and its inverse; sums over groups.
    """

    both: Any
    block: Any
    sums: Any
    parts: Any
    total: Array
    low: Array
    white: Array
    terms: Array


class Design(NamedTuple):
    """One design of a stack: of lanes `R` and `U` beside it, eight groups a block."""

    both: Any
    within: Array
    n: float
    dof: float
    shift: float
    reml: bool


@folded  # type: ignore[untyped-decorator]
def one_design(arrays: Any, r: Any) -> Any:
    """Take a design out of a stack's arrays."""
    both, within, numbers, reml = arrays
    known = numbers[0, r], numbers[1, r], numbers[2, r]
    return Design(side_by_side(both)[r], within[r], known[0], known[1], known[2], reml)


@folded  # type: ignore[untyped-decorator]
def workspace(arrays: Any) -> Any:
    """Make room for the evaluations of one design."""
    (blocks, q, both), width = arrays[0].shape[1:4], arrays[1].shape[1]
    elements, totals = q * (q + 1) // 2, zeros((3, width, width))
    return Workspace(
        zero_lanes((blocks, q, both)),
        zero_lanes((3, q, both)),
        zero_lanes((width, width)),
        zero_lanes((elements, width * width + elements + 1)),
        *(totals[0], totals[1], totals[2]),
        zeros((elements, width * width + elements + 1)),
    )


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
    given, found, bulk, sums = design.both, space.both, space.block[0], space.sums
    blocks, q, both = given.shape
    for w in range(both - q):
        for v in range(w + 1):
            sums[w, v] = 0.0
    log_det, log_part = 0.0, 1.0
    for j in range(blocks):
        for i in range(q):
            for m in range(q):
                value = given[j, i, 0] * factor[0, m]
                for t in range(1, q):
                    value += given[j, i, t] * factor[t, m]
                bulk[i, m] = value
        for i in range(q):
            for m in range(i + 1):
                value = bulk[i, 0] * bulk[m, 0] + (1.0 if i == m else 0.0)
                for t in range(1, q):
                    value += bulk[i, t] * bulk[m, t]
                for t in range(m):
                    value -= found[j, i, t] * found[j, m, t]
                if i > m:
                    found[j, i, m] = value * found[j, m, m]
            pivot = math.sqrt(max(value, 1.0))
            log_part *= product(pivot)
            over = 1.0 / pivot
            found[j, i, i] = over
            for w in range(q, both):
                value = given[j, i, w]
                for t in range(i):
                    value -= found[j, i, t] * found[j, t, w]
                found[j, i, w] = value * over
            for w in range(q, both):
                for v in range(q, w + 1):
                    sums[w - q, v - q] += found[j, i, w] * found[j, i, v]
        if log_part > 1e100:  # One logarithm serves many groups.
            log_det += 2.0 * math.log(log_part)
            log_part = 1.0
    for w in range(both - q):
        for v in range(w + 1):
            space.total[w, v] = design.within[w, v] + total(sums[w, v])
    log_det += 2.0 * math.log(log_part)
    p, low, dof = both - q - 1, space.low, design.dof
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
    given, found, white = design.both, space.both, space.white
    x, c = space.block[1], space.block[2]
    q, both = x.shape
    for i in range(q):
        for m in range(q):
            value = given[j, i, m]
            for t in range(i):
                value -= found[j, i, t] * x[t, m]
            x[i, m] = value * found[j, i, i]
    for i in range(q):
        for m in range(q):
            value = x[0, i] * x[0, m]
            for t in range(1, q):
                value += x[t, i] * x[t, m]
            c[i, m] = value
        for w in range(q, both):
            value = x[0, i] * found[j, 0, w]
            for t in range(1, q):
                value += x[t, i] * found[j, t, w]
            c[i, w] = value
    for i in range(q):
        for w in range(q, both):
            value = c[i, q] * white[w - q, 0]
            for v in range(q + 1, w + 1):
                value += c[i, v] * white[w - q, v - q]
            x[i, w] = value


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
    bent, pure, c = space.block[0], space.block[1], space.block[2]
    parts, terms = space.parts, space.terms
    q, width = len(c), len(space.low)
    first, bends, slope = 0 if design.reml else width - 1, width * width, parts.shape[1] - 1
    invert_lower(space.low, space.white)
    for a in range(len(places)):
        for w in range(first * width, slope + 1):
            parts[a, w] = 0.0
    for j in range(len(space.both)):
        _block(design, space, j)
        for i in range(q):
            for m in range(q):
                taken = pure[i, q + width - 1] * pure[m, q + width - 1] * weight
                for w in range(q + first, q + width - 1):
                    taken += pure[i, w] * pure[m, w]
                bent[i, m] = taken * 2.0 - c[i, m]
        for a in range(len(places)):
            i, m = places[a, 0], places[a, 1]
            for w in range(first, width):
                for v in range(w + 1):
                    s, t = q + w, q + v
                    parts[a, w * width + v] += pure[i, s] * pure[m, t] + pure[m, s] * pure[i, t]
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


@compiled(2_000)  # type: ignore[untyped-decorator]
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
    designs, count = factors.shape[:2]
    out, space = zeros((2, designs, count)), workspace(arrays)
    for r in range(designs):
        design = one_design(arrays, r)
        for s in range(count):
            out[0, r, s] = evaluate(design, factors[r, s], space)
            out[1, r, s] = space.low[-1, -1] ** 2
    return out[0], out[1]


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
    values, vectors = np.linalg.eigh(g)
    factors = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    blocks, white, gamma, hessian = _pieces(stack.arrays, factors, places(stack.q), determinants)
    shape, q = (len(blocks), blocks.shape[1] * WIDTH, *blocks.shape[2:4]), stack.q
    whole = blocks.transpose(0, 1, 4, 2, 3).reshape(shape)[:, : stack.root.shape[1]]
    root, last = white[:, :-1, :-1], white[:, -1]
    beta = -last[:, :-1] / last[:, -1:]
    e = (whole[..., q:] @ last[:, None, :, None])[..., 0] / last[:, -1, None, None]
    inverse, squares = root.swapaxes(1, 2) @ root, last[:, -1] ** -2.0
    return Pieces(whole[..., :q], whole[..., q:-1], e, inverse, beta, squares, gamma, hessian)


@compiled(10_000)  # type: ignore[untyped-decorator]
def _pieces(arrays: Any, factors: Any, places: Any, determinants: Any) -> Any:
    (designs, _, q, _, _), k, width = arrays[0].shape, len(places), arrays[1].shape[1]
    white, gamma = zeros((designs, width, width)), zeros((designs, q, q))
    hessian, space = zeros((designs, k, k)), workspace(arrays)
    blocks = zeros(arrays[0].shape)
    out = side_by_side(blocks)
    for r in range(designs):
        design = one_design(arrays, r)
        evaluate(design, factors[r], space)
        weight = 0.0 if determinants else design.dof
        covariance_hessian(design, space, weight, places, gamma[r], hessian[r])
        copy(space.white, white[r])
        for j in range(len(space.both)):
            _block(design, space, j)
            copy(space.block[2], out[r, j])
    return blocks, white, gamma, hessian
