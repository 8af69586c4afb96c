"""The minimum of the profiled deviance, its boundary included.

The search is Newton's method on the elements of the relative covariance factor, with the
absolute values of the curvatures and a trust radius. Some forty starts, at scales from a
thirtieth to thirty times the residual standard deviation and of both signs of correlation, are
screened by their deviance alone, and the best three that are no neighbours are followed; with a
dozen groups or fewer and several random terms, all are. The deviance is even in the diagonal
elements, so nothing has to be constrained; a variance of zero or a correlation of one is a point
where an element is zero. The best end is then polished inside and on every face of the boundary.
A face that is as low is taken if no direction that leads inside lowers the deviance; otherwise
the search goes on from there.

Every function works on a stack of designs; one fit is a stack of one.
"""

from __future__ import annotations

from functools import cache
from itertools import product as every
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.design import coordinates
from multilevel.likelihood import (
    Array,
    Stack,
    deviances,
    lower_factor,
    measure,
    one_design,
    places,
    workspace,
)
from multilevel.small import compiled, diagonalise, folded

__all__ = ["Optimum", "minimise", "solve"]

#: Newton stops when the decrease that it can still expect in the deviance is below the first of
#: these, or after the step that follows an expected decrease below the second: no digit is left.
_TOLERANCE, _LAST = 1e-20, 1e-12
#: Newton steps allowed from one start.
_STEPS = 100
#: Enough to tell which start is best; the best is polished afterwards.
_LOOSE = 1e-7
#: Starts that are followed to their end.
_FOLLOWED = 3
#: With so few groups a skewed predictor easily makes several minima of several random terms, and
#: following a start costs little: all are.
_FEW_GROUPS = 12
#: With more groups than this, three starts are enough.
_MANY_GROUPS = 600
#: Starts whose standard deviations differ by less than this factor are neighbours.
_NEIGHBOUR = 8.0
#: A derivative into the interior counts as negative beyond this, for each row.
_DESCENT = 1e-9
#: Optima whose deviances differ by less are one optimum.
_SAME = 1e-6


class Optimum(NamedTuple):
    """What the search found for each of `R` designs, in standardised random terms.

    Attributes
    ----------
    g : ndarray of shape (R, q, q)
        Relative covariance of the random effects.
    deviance : ndarray of shape (R,)
    rank : ndarray of int, shape (R,)
        Rank of `g`; below `q` the fit is singular.
    gradient_norm : ndarray of shape (R,)
        Largest absolute derivative by the free elements of the factor.
    curvature : ndarray of shape (R, k)
        Eigenvalues of the Hessian by the free elements, NaN for those that are held.
    inward : ndarray of shape (R,)
        Least derivative of the deviance in a direction that leads inside from the boundary; NaN
        where the optimum is inside.
    on_boundary : ndarray of shape (R,)
        Lowest deviance found on the boundary where the optimum is inside, NaN otherwise.
    steps : ndarray of int, shape (R,)
        Newton steps of the start that won.
    converged : ndarray of bool, shape (R,)
    starts : ndarray of shape (R, S)
        Deviance that each start reached, NaN for those that were screened but not followed.
    """

    g: Array
    deviance: Array
    rank: NDArray[np.intp]
    gradient_norm: Array
    curvature: Array
    inward: Array
    on_boundary: Array
    steps: NDArray[np.intp]
    converged: NDArray[np.bool_]
    starts: Array


# -- compiled: Newton's method from many starts ----------------------------------------------


class Ends(NamedTuple):
    """Where Newton's method ended, by run: elements, derivatives, steps."""

    theta: Array
    deviance: Array
    gradient: Array
    hessian: Array
    gamma: Array
    expected: Array
    steps: NDArray[np.int64]


@folded  # type: ignore[untyped-decorator]
def _step(gradient: Any, hessian: Any, radius: Any, step: Any) -> Any:
    """Fill the step with absolute curvatures inside the trust radius; its expected gain."""
    k = len(gradient)
    turned, axes = hessian.copy(), np.zeros((k, k))
    diagonalise(turned, axes)
    largest = 0.0
    for t in range(k):
        step[t] = 0.0
        largest = max(largest, abs(turned[t, t]))
    gain, length = 0.0, 0.0
    for t in range(k):
        size, along = max(abs(turned[t, t]), 1e-9 * largest + 1e-300), 0.0
        for s in range(k):
            along += axes[s, t] * gradient[s]
        for s in range(k):
            step[s] -= axes[s, t] * along / size
        gain += 0.5 * along**2 / size
    for t in range(k):
        length += step[t] ** 2
    shrink = min(1.0, radius / max(np.sqrt(length), 1e-300))
    for t in range(k):
        step[t] *= shrink
    return gain


@compiled  # type: ignore[untyped-decorator]
def _newton(
    arrays: Any, which: Any, basis: Any, theta: Any, free: Any, places: Any, tolerance: Any
) -> Any:
    """Minimise the deviance from many starts.

    Parameters
    ----------
    arrays : tuple
        Those of a stack.
    which : ndarray of int, shape (S,)
        The design of each run.
    basis : ndarray of shape (S, q, q)
        Orthonormal basis in which each run's elements are.
    theta, free : ndarray of shape (S, k)
        Elements to start from, moved in place, and one where an element may move.
    places : ndarray of int, shape (k, 2)
    tolerance : float
        Expected decrease in deviance at which to stop.
    """
    runs, k = theta.shape
    groups, q, width = arrays[1].shape[1:]
    out = Ends(
        theta,
        np.zeros(runs),
        np.zeros((runs, k)),
        np.zeros((runs, k, k)),
        np.zeros((runs, q, q)),
        np.zeros(runs),
        np.zeros(runs, dtype=np.int64),
    )
    space = workspace(groups, q, width - 1)
    step, trial = np.zeros(k), np.zeros(k)
    slope, bend, dual = np.zeros(k), np.zeros((k, k)), np.zeros((q, q))
    for s in range(runs):
        design = one_design(arrays, which[s], basis[s])
        here, radius = np.inf, 1.0
        for t in range(k):
            trial[t] = theta[s, t]
        length, out.expected[s] = 0.0, np.inf
        for turn in range(_STEPS):
            found = measure(design, trial, free[s], places, space, slope, bend, dual)
            # The deviance itself is known to about its last digits only.
            better = np.isfinite(found) and (
                turn == 0 or found <= here + 4e-15 * (abs(here) + design.n)
            )
            expected = out.expected[s]
            if better:
                here = found
                for t in range(k):
                    theta[s, t], out.gradient[s, t] = trial[t], slope[t]
                    for m in range(k):
                        out.hessian[s, t, m] = bend[t, m]
                for i in range(q):
                    for m in range(q):
                        out.gamma[s, i, m] = dual[i, m]
                radius = max(radius, 2.0 * length)
            else:
                radius = length / 4.0
            if turn > 0 and (expected < _LAST or (not better and expected < 1e-8)):
                break
            out.expected[s] = _step(out.gradient[s], out.hessian[s], radius, step)
            if not out.expected[s] > tolerance:
                break
            out.steps[s] += 1
            length = 0.0
            for t in range(k):
                trial[t] = theta[s, t] + step[t]
                length += step[t] ** 2
            length = np.sqrt(length)
        out.deviance[s] = here
    return out


def minimise(
    stack: Stack,
    which: NDArray[np.intp],
    basis: Array,
    theta: Array,
    free: Array,
    tolerance: float = _TOLERANCE,
) -> Any:
    """Apply Newton's method from these elements, each run in its own basis or all in one."""
    own = np.array(np.broadcast_to(basis, (len(which), stack.q, stack.q)), order="C")
    moved, may = np.array(theta, order="C"), np.array(free, order="C")
    return _newton(stack.arrays, which, own, moved, may, places(stack.q), tolerance)


# -- starts ------------------------------------------------------------------------------------


@cache
def _starts(q: int, many_groups: bool) -> Array:
    """Lower-triangular factors to start from, shape (S, q, q), in standardised units."""
    if many_groups or not q:
        # With many groups the deviance has one minimum for all practical purposes.
        return np.array([s * np.eye(q) for s in (0.1, 0.5, 2.0)])
    if q == 1:
        return np.geomspace(0.02, 50.0, 40)[:, None, None]
    if q == 2:
        sizes = list(every((0.03, 0.3, 3.0, 30.0), repeat=2))
        tilted, correlation = sizes, 0.8
    else:
        sizes = list(every((0.05, 0.7, 10.0), repeat=q))
        tilted, correlation = [(s,) * q for s in (0.05, 0.3, 2.0, 15.0)], 0.7
    made = [np.diag(s) for s in sizes]
    for size in tilted:
        for signs in every((1.0, -1.0), repeat=q - 1):
            square = correlation * np.outer((1.0, *signs), (1.0, *signs))
            np.fill_diagonal(square, 1.0)
            made.append(np.linalg.cholesky(square * np.outer(size, size)))
    return np.array(made)


def _candidates(stack: Stack) -> Array:
    """Factors to start each design from, shape (R, S, q, q): a table, and lme4's own start."""
    table = _starts(stack.q, stack.root.shape[1] > _MANY_GROUPS)
    shared = np.broadcast_to(table, (len(stack.n), *table.shape))
    # lme4 starts from one in raw units.
    raw = np.linalg.qr(stack.z_root).R.swapaxes(1, 2)
    sizes = np.array([1.0, 0.1, 10.0])[:, None, None]
    return np.concatenate([shared, raw[:, None] * sizes], axis=1)


@folded  # type: ignore[untyped-decorator]
def _correlation(factor: Any, i: Any, m: Any) -> Any:
    """Give the standard deviation of a row of a factor, and its correlation with another row."""
    own, other, both = 0.0, 0.0, 0.0
    for t in range(len(factor)):
        own += factor[i, t] ** 2
        other += factor[m, t] ** 2
        both += factor[i, t] * factor[m, t]
    return np.sqrt(own), both / np.sqrt(max(own * other, 1e-300))


@folded  # type: ignore[untyped-decorator]
def _are_neighbours(one: Any, other: Any) -> Any:
    """Whether the covariances of two factors have like variances and like correlations."""
    for i in range(len(one)):
        for m in range(i + 1):
            size, turn = _correlation(one, i, m)
            other_size, other_turn = _correlation(other, i, m)
            if max(size, other_size) >= _NEIGHBOUR * min(size, other_size):
                return False
            if abs(turn - other_turn) >= 1.0:
                return False
    return True


@compiled  # type: ignore[untyped-decorator]
def _distinct(candidates: Any, deviance: Any) -> Any:
    """Positions of the lowest candidates that are no neighbours, shape (R, 3), best first."""
    designs, count = deviance.shape
    chosen = np.zeros((designs, _FOLLOWED), dtype=np.int64)
    for r in range(designs):
        for place in range(_FOLLOWED):
            best = -1
            for s in range(count):
                wanted = best < 0 or deviance[r, s] < deviance[r, best]
                for before in range(place):
                    other = candidates[r, chosen[r, before]]
                    wanted = wanted and not _are_neighbours(candidates[r, s], other)
                if wanted:
                    best = s
            chosen[r, place] = max(best, 0) if place == 0 or best >= 0 else chosen[r, 0]
    return chosen


def _follow(stack: Stack, found: Optimum, candidates: Array) -> Array:
    """Follow the best starts of each design: deviance, steps and starts; the best end's elements.

    With few groups all are followed; and so is a start that lies below the best end.
    """
    row, col = places(stack.q).T
    screened = deviances(stack.arrays, candidates)[0]
    few = stack.q > 1 and stack.root.shape[1] <= _FEW_GROUPS
    chosen = screened.argsort(axis=1) if few else _distinct(candidates, screened)
    theta, rows = np.zeros((len(screened), len(row))), np.arange(len(screened))
    while len(rows):
        runs, which = np.repeat(rows, chosen.shape[1]), chosen.ravel()
        start = candidates[runs, which][:, row, col]
        ends = minimise(stack, runs, np.eye(stack.q), start, np.ones_like(start), _LOOSE)
        found.starts[runs, which], screened[runs, which] = ends.deviance, np.inf
        win = ends.deviance.reshape(chosen.shape).argmin(axis=1)
        win += np.arange(len(rows)) * chosen.shape[1]
        lower = ends.deviance[win] < found.deviance[rows]
        rows, win = rows[lower], win[lower]
        theta[rows], found.deviance[rows] = ends.theta[win], ends.deviance[win]
        found.steps[rows] = ends.steps[win]
        rows = np.flatnonzero(screened.min(axis=1) < found.deviance - _SAME)
        chosen = screened[rows].argmin(axis=1)[:, None]
    return theta


def _covariance(theta: Array, basis: Array) -> Array:
    """Relative covariances, shape (..., q, q), from their factors' elements in a basis."""
    factor = np.zeros(basis.shape)
    row, col = places(basis.shape[-1]).T
    factor[..., row, col] = theta
    root = basis @ factor
    out: Array = root @ root.swapaxes(-1, -2)
    return out


# -- inside and on the boundary ----------------------------------------------------------------


@cache
def _faces(q: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order of the principal axes, (F, q), and rank, (F,), of every face and, last, the inside.

    Lower ranks come first: all axes but the leading ones at zero; then each axis alone at zero.
    """
    orders = [list(range(q))] * (q - 1)
    ranks = list(range(q - 1))
    for dropped in range(q):
        orders.append([i for i in range(q) if i != dropped] + [dropped])
        ranks.append(q - 1)
    return np.array([*orders, list(range(q))], dtype=np.intp), np.array([*ranks, q])


class _Polished(NamedTuple):
    """Every face and the inside of each design, polished: arrays with leading axes (R, F)."""

    basis: Array
    free: Array
    ends: Ends


def _polish(stack: Stack, rows: NDArray[np.intp], g: Array) -> _Polished:
    """Polish the designs `rows` from their covariances `g`, (n, q, q), on each face and inside."""
    q, (orders, ranks) = stack.q, _faces(stack.q)
    values, vectors = np.linalg.eigh(g)
    basis = vectors[:, :, ::-1][:, :, orders].swapaxes(1, 2)
    row, col = places(q).T
    free = np.broadcast_to((col < ranks[:, None]).astype(float), (len(rows), len(ranks), len(row)))
    sizes = np.sqrt(np.maximum(values[:, ::-1], 0.0))[:, orders]
    theta = sizes[..., row] * (free * (row == col))
    which = np.repeat(rows, len(ranks))
    shape = (len(which), len(row))
    ends = minimise(
        stack, which, basis.reshape(len(which), q, q), theta.reshape(shape), free.reshape(shape)
    )
    return _Polished(
        basis, free, Ends(*(a.reshape(len(rows), len(ranks), *a.shape[1:]) for a in ends))
    )


def _inward(g: Array, gamma: Array, rank: int) -> tuple[float, Array]:
    """Least derivative inside from a face, and its direction.

    Inside leads whatever adds variance in a direction that the covariance lacks.
    """
    lacking = np.linalg.eigh(g)[1][:, : len(g) - rank]
    values, vectors = np.linalg.eigh(lacking.T @ gamma @ lacking)
    return float(values[0]), lacking @ vectors[:, 0]


def _walk_inside(stack: Stack, row: int, g: Array, direction: Array) -> tuple[Array, float]:
    """Lowest of some covariances inside from a face, along a direction, and its deviance."""
    sizes = np.geomspace(1e-6, 10.0, 22)
    trials = g + sizes[:, None, None] * np.outer(direction, direction)
    one = tuple(a[row : row + 1] if isinstance(a, np.ndarray) else a for a in stack.arrays)
    deviance = deviances(one, lower_factor(trials)[None])[0][0]
    best = int(deviance.argmin())
    return trials[best], float(deviance[best])


def _settle(stack: Stack, found: Optimum, row: int, polished: _Polished) -> bool:
    """Take the best face of one design, or its inside; where there is none, a place to go on."""
    ends, ranks, q, n = polished.ends, _faces(stack.q)[1], stack.q, float(stack.n[row])
    lowest = float(ends.deviance.min())
    slack = 1e-10 + 1e-13 * (abs(lowest) + n)
    for face in np.flatnonzero(ends.deviance <= lowest + slack).tolist():
        basis, rank, least = polished.basis[face], int(ranks[face]), np.nan
        found.g[row] = g = _covariance(ends.theta[face], basis)
        if rank < q:
            least, direction = _inward(g, basis @ ends.gamma[face] @ basis.T, rank)
            if least < -_DESCENT * n:
                inside, reached = _walk_inside(stack, row, g, direction)
                if reached < lowest - slack:
                    found.g[row] = inside
                    return False
                continue
        elif q:
            found.on_boundary[row] = ends.deviance[:-1].min()
        found.inward[row], found.rank[row] = least, rank
        _record(found, row, n, Ends(*(a[face] for a in ends)), polished.free[face] > 0)
        return True
    return False


def _record(found: Optimum, row: int, n: float, end: Any, moves: NDArray[np.bool_]) -> None:
    """Write a design's optimum, and whether it is certain to be one."""
    curvature = np.linalg.eigvalsh(end.hessian[moves][:, moves])
    lowest = found.deviance[row] = end.deviance
    found.curvature[row, : len(curvature)] = curvature
    found.gradient_norm[row] = np.abs(end.gradient).max(initial=0.0)
    found.steps[row] += end.steps
    slack = 1e-7 + 1e-13 * (abs(lowest) + n)
    found.converged[row] = (
        end.expected < 1e-8
        and np.isfinite(lowest)
        and (curvature >= -1e-7 * curvature.max(initial=1.0)).all()
        and not (found.starts[row] < lowest - slack).any()
    )


def solve(stack: Stack) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    """
    candidates, designs, q = _candidates(stack), len(stack.n), stack.q
    unknown = np.full((3, designs), np.nan)
    found = Optimum(
        g=np.zeros((designs, q, q)),
        deviance=np.full(designs, np.inf),
        rank=np.full(designs, q),
        gradient_norm=unknown[0],
        curvature=np.full((designs, len(coordinates(q))), np.nan),
        inward=unknown[1],
        on_boundary=unknown[2],
        steps=np.zeros(designs, dtype=np.intp),
        converged=np.zeros(designs, dtype=np.bool_),
        starts=np.full(candidates.shape[:2], np.nan),
    )
    theta = _follow(stack, found, candidates)
    found.g[:] = _covariance(theta, np.broadcast_to(np.eye(q), found.g.shape))
    _examine(stack, found)
    return found


def _examine(stack: Stack, found: Optimum) -> None:
    """Polish every design inside and on its faces, and leave what is no minimum."""
    rows = np.arange(len(stack.n))
    for _ in range(4 * stack.q + 4):
        basis, free, ends = _polish(stack, rows, found.g[rows])
        settled = [
            _settle(stack, found, row, _Polished(basis[i], free[i], Ends(*(a[i] for a in ends))))
            for i, row in enumerate(rows.tolist())
        ]
        rows = rows[~np.array(settled)]
        if not len(rows):
            return
