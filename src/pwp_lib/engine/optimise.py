"""The minimum of the profiled deviance, its boundary included, and the proof that it is one.

The search is Newton's method on the elements of the relative covariance factor, with the
absolute values of the curvatures and a trust radius, from several starts. The deviance is even
in the diagonal elements, so nothing has to be constrained; a variance of nil or a correlation of
one is a point where an element is nil. Such a point is then polished on its face of the boundary
and accepted only if the derivative of the deviance in every direction that leads inside is not
negative; where it is, the search goes on from inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pwp_lib.engine.likelihood import (
    Array,
    Stack,
    coordinates,
    derivatives,
    dual,
    evaluate,
    factor,
)

__all__ = ["Optimum", "boundary_deviance", "newton", "solve"]

#: Newton stops when the decrease that it can still expect in the deviance is below this ...
_TOLERANCE = 1e-20
#: ... or after the step that follows an expected decrease below this: no digit is left to gain.
_LAST = 1e-12
#: Enough to tell which start is best; the best is polished afterwards.
_LOOSE = 1e-7
#: A relative variance (in standardised units) below this may be nil: its face is tried.
_NEAR = 1e-4
#: A derivative into the interior counts as negative beyond this, per patient.
_DESCENT = 1e-9
#: Newton steps allowed from one start.
_STEPS = 100


@dataclass(frozen=True)
class Optimum:
    """What the search found for each of `R` designs.

    Attributes
    ----------
    g : ndarray of shape (R, q, q)
        Relative covariance, in the stack's standardised random terms.
    deviance : ndarray of shape (R,)
    rank : ndarray of int, shape (R,)
        Rank of `g`; below `q` the fit is singular.
    gradient_norm : ndarray of shape (R,)
        Largest absolute derivative by the free elements of the factor.
    curvature : ndarray of shape (R, k)
        Eigenvalues of the Hessian by the free elements, NaN for those that are not free.
    inward : ndarray of shape (R,)
        Least derivative of the deviance in a direction that leads inside from the boundary;
        NaN where the optimum is inside.
    converged : ndarray of bool, shape (R,)
    iterations : ndarray of int, shape (R,)
        Newton steps of the start that won.
    starts : ndarray of shape (R, S)
        Deviance that each start reached.
    """

    g: Array
    deviance: Array
    rank: NDArray[np.intp]
    gradient_norm: Array
    curvature: Array
    inward: Array
    converged: NDArray[np.bool_]
    iterations: NDArray[np.intp]
    starts: Array


@dataclass
class _Path:
    """Where Newton's method stands for each design; written in place as the search goes."""

    theta: Array
    deviance: Array
    gradient: Array
    hessian: Array
    radius: Array
    expected: Array
    steps: NDArray[np.intp]
    stalled: NDArray[np.bool_]


def _square(theta: Array, q: int) -> Array:
    root = factor(theta, q)
    out: Array = root @ root.swapaxes(-1, -2)
    return out


def _measure(stack: Stack, theta: Array, free: Array) -> tuple[Array, Array, Array]:
    """Deviance, gradient and Hessian, with the elements that are not free held still."""
    at = evaluate(stack, _square(theta, stack.q))
    gradient, hessian, _ = derivatives(stack, at, theta)
    held = (1.0 - free)[:, :, None] * np.eye(free.shape[-1])
    hessian = hessian * free[:, :, None] * free[:, None, :] + held
    return at.deviance, gradient * free, hessian


def _step(gradient: Array, hessian: Array, radius: Array) -> tuple[Array, Array]:
    """Newton step with absolute curvatures inside the trust radius, and its expected gain."""
    values, vectors = np.linalg.eigh(hessian)
    size = np.abs(values)
    size = np.maximum(size, 1e-9 * size.max(axis=-1, keepdims=True) + 1e-300)
    along = (vectors.swapaxes(-1, -2) @ gradient[..., None])[..., 0]
    step = -(vectors @ (along / size)[..., None])[..., 0]
    expected = 0.5 * (along**2 / size).sum(axis=-1)
    length = np.sqrt((step**2).sum(axis=-1))
    shrink = np.minimum(1.0, radius / np.maximum(length, 1e-300))
    return step * shrink[:, None], expected


def newton(stack: Stack, theta: Array, free: Array, tolerance: float = _TOLERANCE) -> _Path:
    """Minimise over the free elements of the factor from one start for each design.

    Parameters
    ----------
    stack : Stack
        `R` designs.
    theta : ndarray of shape (R, k)
        Elements of the factors to start from.
    free : ndarray of shape (R, k)
        One where an element may move, nil where it is held.
    tolerance : float
        Expected decrease in deviance at which to stop.
    """
    rows = len(stack)
    deviance, gradient, hessian = _measure(stack, theta, free)
    path = _Path(
        theta=theta.copy(),
        deviance=deviance,
        gradient=gradient,
        hessian=hessian,
        radius=np.full(rows, 1.0),
        expected=np.full(rows, np.inf),
        steps=np.zeros(rows, dtype=np.intp),
        stalled=np.zeros(rows, dtype=bool),
    )
    live, part, part_free = np.arange(rows), stack, free
    for _ in range(_STEPS):
        step, expected = _step(path.gradient[live], path.hessian[live], path.radius[live])
        path.expected[live] = expected
        going = (expected > tolerance) & ~path.stalled[live]
        if not going.any():
            break
        if not going.all():
            live, step = live[going], step[going]
            part, part_free = part.take(np.flatnonzero(going)), part_free[going]
        _advance(path, part, part_free, live, step)
    return path


def _advance(path: _Path, part: Stack, free: Array, live: NDArray[np.intp], step: Array) -> None:
    """Try one step for each live design; keep those that lower the deviance."""
    trial = path.theta[live] + step
    deviance, gradient, hessian = _measure(part, trial, free)
    # The deviance itself is known to about its last digits only.
    blur = 4e-15 * (np.abs(path.deviance[live]) + part.n)
    better = np.isfinite(deviance) & (deviance <= path.deviance[live] + blur)
    length = np.sqrt((step**2).sum(axis=-1))
    expected = path.expected[live]
    path.stalled[live] = (~better & (expected < 1e-8)) | (expected < _LAST)
    grown = np.maximum(path.radius[live], 2.0 * length)
    path.radius[live] = np.where(better, grown, length / 4.0)
    path.steps[live] += 1
    won = live[better]
    path.theta[won], path.deviance[won] = trial[better], deviance[better]
    path.gradient[won], path.hessian[won] = gradient[better], hessian[better]


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
    """Best points of a grid over the one relative standard deviation, shape (R, 2, 1)."""
    grid = np.concatenate([np.geomspace(0.02, 20.0, 13)])
    rows = len(stack)
    spread = stack.take(np.repeat(np.arange(rows), len(grid)))
    at = evaluate(spread, np.tile(grid**2, rows)[:, None, None])
    deviance = at.deviance.reshape(rows, -1)
    walled = np.pad(deviance, ((0, 0), (1, 1)), constant_values=np.inf)
    lowest = (deviance <= walled[:, :-2]) & (deviance <= walled[:, 2:])
    ranked = np.argsort(np.where(lowest, deviance, np.inf), axis=1, kind="stable")[:, :2]
    second = np.isfinite(np.take_along_axis(np.where(lowest, deviance, np.inf), ranked, 1))
    ranked[:, 1] = np.where(second[:, 1], ranked[:, 1], ranked[:, 0])
    return grid[ranked][..., None]


def _candidates(stack: Stack, thorough: bool) -> Array:
    """Return the starts of each design, shape (R, S, k)."""
    rows, q = len(stack), stack.q
    if q == 1:
        both = _grid(stack)
        return both if thorough else both[:, :1]
    starts = _starts(q)
    every = np.broadcast_to(starts, (rows, *starts.shape))
    if thorough:
        return every
    spread = stack.take(np.repeat(np.arange(rows), len(starts)))
    at = evaluate(spread, _square(np.tile(starts, (rows, 1)), q))
    order = np.argsort(at.deviance.reshape(rows, -1), axis=1, kind="stable")[:, :2]
    return np.take_along_axis(every, order[..., None], axis=1)


def solve(stack: Stack, *, thorough: bool = True) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    thorough : bool
        Search from every start rather than from the two that look best.
    """
    rows, q = len(stack), stack.q
    if q == 0:
        return _nothing_random(stack)
    candidates = _candidates(stack, thorough)
    count = candidates.shape[1]
    spread = stack.take(np.repeat(np.arange(rows), count))
    theta = candidates.reshape(rows * count, -1)
    path = newton(spread, theta, np.ones_like(theta), _LOOSE)
    starts = path.deviance.reshape(rows, count)
    best = starts.argmin(axis=1) + count * np.arange(rows)
    g = _square(path.theta[best], q)
    state = _Settled(stack, g, path.deviance[best], path.steps[best])
    state.examine()
    return state.result(starts)


def boundary_deviance(stack: Stack, g: Array) -> float:
    """Lowest deviance found on the boundary, for one design whose optimum lies inside.

    Each principal axis of the optimum in turn is held at nil and the rest minimised over.
    """
    q = stack.q
    places = coordinates(q)
    free = np.array([[float(j < q - 1) for _, j in places]])
    lowest = np.inf
    for dropped in range(q):
        values, basis = _principal(g)
        order = [*(i for i in range(q) if i != dropped), dropped]
        theta = np.zeros((1, len(places)))
        on = [t for t, (i, j) in enumerate(places) if i == j]
        theta[0, on] = np.sqrt(values[0, order])
        theta[0, on[-1]] = 0.0
        path = newton(stack.rotate(basis[:, :, order]), theta, free)
        lowest = min(lowest, float(path.deviance[0]))
    return lowest


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


class _Settled:
    """The best point of each design while the boundary is examined."""

    def __init__(
        self, stack: Stack, g: Array, deviance: Array, iterations: NDArray[np.intp]
    ) -> None:
        self.stack, self.g, self.deviance, self.iterations = stack, g, deviance, iterations
        rows, k = len(stack), len(coordinates(stack.q))
        self.rank = np.full(rows, stack.q, dtype=np.intp)
        self.inward = np.full(rows, np.nan)
        self.gradient_norm = np.full(rows, np.nan)
        self.curvature = np.full((rows, k), np.nan)
        self.expected = np.full(rows, np.inf)

    def examine(self) -> None:
        """Polish every point inside or on its face, and leave faces that are no minimum."""
        todo = np.arange(len(self.stack))
        for _ in range(2 * self.stack.q + 2):
            escaped = self._pass(todo)
            if not len(escaped):
                return
            todo = escaped

    def _pass(self, todo: NDArray[np.intp]) -> NDArray[np.intp]:
        """Settle the designs `todo`; return those that had to leave a face."""
        q = self.stack.q
        left: list[NDArray[np.intp]] = []
        values, basis = _principal(self.g[todo])
        open_ = np.ones(len(todo), dtype=bool)
        for rank in range(q):
            near = open_ & (values[:, rank] < _NEAR)
            if not near.any():
                continue
            rows = todo[near]
            kept, escaping = self._face(rows, values[near], basis[near], rank)
            left.append(rows[escaping])
            open_[np.flatnonzero(near)[kept | escaping]] = False
        if open_.any():
            self._inside(todo[open_], values[open_], basis[open_])
        return np.concatenate(left) if left else np.zeros(0, dtype=np.intp)

    def _polish(
        self, rows: NDArray[np.intp], values: Array, basis: Array, rank: int
    ) -> tuple[Stack, _Path, Array]:
        """Newton in principal axes, with the axes beyond `rank` held at nil."""
        q = self.stack.q
        turned = self.stack.take(rows).rotate(basis)
        places = coordinates(q)
        free = np.broadcast_to(
            np.array([float(j < rank) for _, j in places]), (len(rows), len(places))
        )
        theta = np.zeros((len(rows), len(places)))
        on = [t for t, (i, j) in enumerate(places) if i == j]
        theta[:, on] = np.sqrt(np.maximum(values, 0.0)) * (np.arange(q) < rank)
        return turned, newton(turned, theta, free), free

    def _face(
        self, rows: NDArray[np.intp], values: Array, basis: Array, rank: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Polish on the face of this rank; say which stay there and which must leave it."""
        turned, path, free = self._polish(rows, values, basis, rank)
        slack = 1e-11 * np.maximum(self.stack.n[rows], 1.0) ** 0.5 + 1e-10
        as_low = path.deviance <= self.deviance[rows] + slack
        root = factor(path.theta, self.stack.q)
        g = root @ root.swapaxes(-1, -2)
        gamma = dual(turned, evaluate(turned, g))
        least, direction = _inward(gamma, root, rank)
        inner = least >= -_DESCENT * self.stack.n[rows]
        kept, escaping = as_low & inner, as_low & ~inner
        if kept.any():
            self._record(rows[kept], g[kept], basis[kept], path, kept, free, rank)
            self.inward[rows[kept]] = least[kept]
        if escaping.any():
            self._leave(
                rows[escaping],
                turned.take(np.flatnonzero(escaping)),
                basis[escaping],
                g[escaping],
                direction[escaping],
            )
        return kept, escaping

    def _inside(self, rows: NDArray[np.intp], values: Array, basis: Array) -> None:
        """Polish in principal axes with everything free."""
        q = self.stack.q
        _, path, free = self._polish(rows, values, basis, q)
        every = np.ones(len(rows), dtype=bool)
        self._record(rows, _square(path.theta, q), basis, path, every, free, q)
        self.inward[rows] = np.nan

    def _record(
        self,
        rows: NDArray[np.intp],
        g: Array,
        basis: Array,
        path: _Path,
        which: NDArray[np.bool_],
        free: Array,
        rank: int,
    ) -> None:
        self.g[rows] = basis @ g @ basis.swapaxes(-1, -2)
        self.deviance[rows] = path.deviance[which]
        self.rank[rows] = rank
        self.gradient_norm[rows] = np.abs(path.gradient[which]).max(axis=-1)
        self.expected[rows] = path.expected[which]
        moves = free[0] > 0
        self.curvature[rows] = np.nan
        if moves.any():
            block = path.hessian[which][:, moves][:, :, moves]
            self.curvature[rows, : int(moves.sum())] = np.linalg.eigvalsh(block)
        else:
            self.gradient_norm[rows], self.expected[rows] = 0.0, 0.0

    def _leave(
        self, rows: NDArray[np.intp], turned: Stack, basis: Array, g: Array, direction: Array
    ) -> None:
        """Walk inside from a face along the direction that descends, then search again."""
        q = self.stack.q
        lengths = np.geomspace(1e-5, 1.0, 16)
        push = direction[..., :, None] * direction[..., None, :]
        trials = g[:, None] + lengths[:, None, None] * push[:, None]
        spread = turned.take(np.repeat(np.arange(len(rows)), len(lengths)))
        at = evaluate(spread, trials.reshape(-1, q, q))
        best = at.deviance.reshape(len(rows), -1).argmin(axis=1)
        start = trials[np.arange(len(rows)), best]
        values, axes = _principal(start)
        inner = turned.rotate(axes)
        places = coordinates(q)
        theta = np.zeros((len(rows), len(places)))
        on = [t for t, (i, j) in enumerate(places) if i == j]
        theta[:, on] = np.sqrt(np.maximum(values, 1e-12))
        path = newton(inner, theta, np.ones_like(theta))
        found = axes @ _square(path.theta, q) @ axes.swapaxes(-1, -2)
        self.g[rows] = basis @ found @ basis.swapaxes(-1, -2)
        self.deviance[rows] = path.deviance
        self.iterations[rows] += path.steps

    def result(self, starts: Array) -> Optimum:
        """Gather what was found, and say whether it is a minimum."""
        curved = np.where(np.isnan(self.curvature), np.inf, self.curvature)
        top = np.nanmax(np.where(np.isnan(self.curvature), 0.0, self.curvature), axis=-1)
        convex = curved.min(axis=-1) >= -1e-7 * np.maximum(top, 1.0)
        converged = (self.expected < 1e-8) & convex & np.isfinite(self.deviance)
        return Optimum(
            g=self.g,
            deviance=self.deviance,
            rank=self.rank,
            gradient_norm=self.gradient_norm,
            curvature=self.curvature,
            inward=self.inward,
            converged=converged,
            iterations=self.iterations,
            starts=starts,
        )


def _principal(g: Array) -> tuple[Array, Array]:
    """Eigenvalues, largest first, and eigenvectors of a stack of covariances."""
    values, vectors = np.linalg.eigh(g)
    return values[..., ::-1], vectors[..., ::-1]


def _inward(gamma: Array, root: Array, rank: int) -> tuple[Array, Array]:
    """Least derivative inside from a face, (R,), and its direction, (R, q).

    Inside leads whatever adds variance in a direction that the covariance lacks.
    """
    q = gamma.shape[-1]
    full = np.linalg.svd(root[..., :rank], full_matrices=True)[0] if rank else None
    lacking = full[..., rank:] if full is not None else np.broadcast_to(np.eye(q), gamma.shape)
    values, vectors = np.linalg.eigh(lacking.swapaxes(-1, -2) @ gamma @ lacking)
    return values[..., 0], (lacking @ vectors[..., :1])[..., 0]
