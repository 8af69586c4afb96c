"""Optima on the boundary: polished on their face, and left when they are no minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multilevel.likelihood import Array, Stack, coordinates, dual, evaluate, factor
from multilevel.newton import Path, newton, square

__all__ = ["Optimum", "Settled", "boundary_deviance"]

#: A relative variance (in standardised units) below this may be nil: its face is tried.
_NEAR = 1e-4
#: A derivative into the interior counts as negative beyond this, per patient.
_DESCENT = 1e-9


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


def boundary_deviance(stack: Stack, g: Array) -> float:
    """Lowest deviance found on the boundary, for one design whose optimum lies inside.

    Each principal axis of the optimum in turn is held at nil and the rest minimised over.
    """
    q = stack.q
    places = coordinates(q)
    free = np.array([[float(j < q - 1) for _, j in places]])
    lowest = np.inf
    for dropped in range(q):
        values, basis = principal(g)
        order = [*(i for i in range(q) if i != dropped), dropped]
        theta = np.zeros((1, len(places)))
        on = [t for t, (i, j) in enumerate(places) if i == j]
        theta[0, on] = np.sqrt(values[0, order])
        theta[0, on[-1]] = 0.0
        path = newton(stack.rotate(basis[:, :, order]), theta, free)
        lowest = min(lowest, float(path.deviance[0]))
    return lowest


class Settled:
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
        values, basis = principal(self.g[todo])
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
    ) -> tuple[Stack, Path, Array]:
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
        self._record(rows, square(path.theta, q), basis, path, every, free, q)
        self.inward[rows] = np.nan

    def _record(
        self,
        rows: NDArray[np.intp],
        g: Array,
        basis: Array,
        path: Path,
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
        values, axes = principal(start)
        inner = turned.rotate(axes)
        places = coordinates(q)
        theta = np.zeros((len(rows), len(places)))
        on = [t for t, (i, j) in enumerate(places) if i == j]
        theta[:, on] = np.sqrt(np.maximum(values, 1e-12))
        path = newton(inner, theta, np.ones_like(theta))
        found = axes @ square(path.theta, q) @ axes.swapaxes(-1, -2)
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


def principal(g: Array) -> tuple[Array, Array]:
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
