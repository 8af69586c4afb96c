"""The minimum of the profiled deviance, its boundary included, and the proof that it is one.

The search is Newton's method on the elements of the relative covariance factor, with the
absolute values of the curvatures and a trust radius, from several starts. The deviance is even
in the diagonal elements, so nothing has to be constrained; a variance of nil or a correlation of
one is a point where an element is nil. Such a point is then polished on its face of the boundary
and accepted only if the derivative of the deviance in every direction that leads inside is not
negative; where it is, the search goes on from inside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from multilevel.boundary import Optimum, Settled
from multilevel.likelihood import Array, Stack, coordinates, evaluate
from multilevel.newton import LOOSE, deviances, newton, square

__all__ = ["Optimum", "solve"]

#: With more therapists than this, starts are told apart on half as many of them.
_LARGE = 600


def _starts(q: int) -> Array:
    """Factors to start from, shape (S, k): inside, near full correlation, and on the faces."""
    places = coordinates(q)
    diagonal = np.array([float(i == j) for i, j in places])
    starts = [0.3 * diagonal, 1.0 * diagonal]
    for sign in (1.0, -1.0):
        tilted = np.array([0.4 if j == 0 else 0.1 * (i == j) for i, j in places])
        tilted[[t for t, (i, j) in enumerate(places) if i > j]] *= sign
        starts.append(tilted)
    for term in range(q):
        alone = np.array([0.4 * float(i == j == term) for i, j in places])
        starts.append(alone)
    return np.array(starts)


def _grid(stack: Stack) -> Array:
    """Two lowest of the minima on a grid over the one relative standard deviation, (R, 2, 1)."""
    grid = np.geomspace(0.02, 20.0, 13)
    deviance = deviances(stack, np.broadcast_to(grid[:, None], (len(stack), len(grid), 1)))
    walled = np.pad(deviance, ((0, 0), (1, 1)), constant_values=np.inf)
    lowest = (deviance <= walled[:, :-2]) & (deviance <= walled[:, 2:])
    minima = np.where(lowest, deviance, np.inf)
    ranked = np.argsort(minima, axis=1, kind="stable")[:, :2]
    second = np.isfinite(np.take_along_axis(minima, ranked[:, 1:], 1))[:, 0]
    ranked[:, 1] = np.where(second, ranked[:, 1], ranked[:, 0])
    return grid[ranked][..., None]


def _candidates(stack: Stack, thorough: bool) -> Array:
    """Return the starts of each design, shape (R, S, k)."""
    if stack.q == 1:
        return _grid(stack)[:, : 2 if thorough else 1]
    starts = _starts(stack.q)
    every = np.broadcast_to(starts, (len(stack), *starts.shape))
    if thorough:
        return every
    order = np.argsort(deviances(stack, every), axis=1, kind="stable")[:, :2]
    return np.take_along_axis(every, order[..., None], axis=1)


def solve(stack: Stack, *, thorough: bool = True) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    thorough : bool
        Search from every start rather than from the two that look best.
    """
    q = stack.q
    if q == 0:
        return _nothing_random(stack)
    theta, starts, steps = _search(stack, thorough)
    state = Settled(stack, square(theta, q), starts.min(axis=1), steps)
    state.examine()
    return state.result(starts)


def _search(stack: Stack, thorough: bool) -> tuple[Array, Array, NDArray[np.intp]]:
    """Best end of all starts: its elements (R, k), every start's deviance (R, S), its steps."""
    rows, groups = len(stack), stack.inner.shape[1]
    if rows == 1 and groups > _LARGE and stack.q > 1:
        return _search_large(stack)
    candidates = _candidates(stack, thorough)
    count = candidates.shape[1]
    spread = stack.take(np.repeat(np.arange(rows), count))
    theta = candidates.reshape(rows * count, -1)
    path = newton(spread, theta, np.ones_like(theta), LOOSE)
    starts = path.deviance.reshape(rows, count)
    best = starts.argmin(axis=1) + count * np.arange(rows)
    return path.theta[best], starts, path.steps[best]


def _search_large(stack: Stack) -> tuple[Array, Array, NDArray[np.intp]]:
    """Search on some therapists first, then on all from every minimum found there.

    Starts that end together there, or in a point that is no minimum, need not be followed with
    all therapists: their deviance is evaluated where they ended.
    """
    every = stack.inner.shape[1] // (_LARGE // 2)
    some = stack.inner[:, ::every]
    share = some.shape[1] / stack.inner.shape[1]
    part = replace(
        stack,
        inner=some,
        coef=stack.coef[:, ::every],
        within=stack.within * share,
        n=stack.n * share,
    )
    starts = _starts(stack.q)
    count = len(starts)
    same = np.zeros(count, dtype=np.intp)
    path = newton(part.take(same), starts, np.ones_like(starts), LOOSE)
    ends = square(path.theta, stack.q)
    reached = np.array([float(evaluate(stack, g[None]).deviance[0]) for g in ends])
    curvature = np.linalg.eigvalsh(path.hessian)
    minimum = curvature[:, 0] > -1e-6 * curvature[:, -1]
    minimum[reached.argmin()] = True
    chosen: list[int] = []
    follows: dict[int, int] = {}
    for i in np.argsort(reached, kind="stable"):
        close = [np.abs(ends[i] - ends[j]).max() < 1e-2 * np.abs(ends[j]).max() for j in chosen]
        if any(close):
            follows[int(i)] = close.index(True)
        elif minimum[i]:
            follows[int(i)] = len(chosen)
            chosen.append(int(i))
    own = path.theta[chosen]
    full = newton(stack.take(same[chosen]), own, np.ones_like(own), LOOSE)
    for i, leader in follows.items():
        reached[i] = full.deviance[leader]
    best = int(full.deviance.argmin())
    return full.theta[[best]], reached[None], full.steps[[best]] + path.steps[[chosen[best]]]


def _nothing_random(stack: Stack) -> Optimum:
    rows = len(stack)
    nil = np.zeros((rows, 0, 0))
    empty = np.full(rows, np.nan)
    count = np.zeros(rows, dtype=np.intp)
    deviance = evaluate(stack, nil).deviance
    return Optimum(
        g=nil,
        deviance=deviance,
        rank=count,
        gradient_norm=np.zeros(rows),
        curvature=np.zeros((rows, 0)),
        inward=empty,
        converged=np.ones(rows, dtype=bool),
        iterations=count,
        starts=deviance[:, None],
    )
