"""The minimum of the profiled deviance, its boundary included, and the proof that it is one.

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

from dataclasses import dataclass
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
from multilevel.small import compiled, diagonalise

__all__ = ["Certificate", "Optimum", "certify", "minimise", "solve"]

#: Newton stops when the decrease that it can still expect in the deviance is below the first of
#: these, or after the step that follows an expected decrease below the second: no digit is left.
_TOLERANCE, _LAST = 1e-20, 1e-12
#: Enough to tell which start is best; the best is polished afterwards.
_LOOSE = 1e-7
#: Newton steps allowed from one start.
_STEPS = 100
#: Starts that are followed to their end.
_FOLLOWED = 3
#: With so few groups a skewed predictor easily makes several minima of several random terms, and
#: following a start costs little: all are.
_FEW_GROUPS = 12
#: With more groups than this, three starts are enough.
_MANY_GROUPS = 600
#: Starts whose standard deviations differ by less than this factor are neighbours.
_NEIGHBOUR = np.log(8.0)
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
        Deviance that each start which was followed reached.
    screened : int
        Starts whose deviance was looked at.
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
    screened: int


# -- compiled: the deviance at many factors, Newton's method from many starts ------------------


class Ends(NamedTuple):
    """Where Newton's method ended, by run: elements, derivatives, steps."""

    theta: Array
    deviance: Array
    gradient: Array
    hessian: Array
    gamma: Array
    expected: Array
    steps: NDArray[np.int64]


@compiled  # type: ignore[untyped-decorator]
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


# -- starts ------------------------------------------------------------------------------------


@cache
def _starts(q: int, many_groups: bool) -> Array:
    """Lower-triangular factors to start from, shape (S, q, q), in standardised units."""
    if many_groups:
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
    raw = np.linalg.cholesky(stack.z_root.swapaxes(1, 2) @ stack.z_root)
    sizes = np.array([1.0, 0.1, 10.0])[:, None, None]
    return np.concatenate([shared, raw[:, None] * sizes], axis=1)


def _distinct(candidates: Array, deviance: Array) -> NDArray[np.intp]:
    """Positions of the lowest candidates that are no neighbours, shape (R, 3), best first."""
    rows = np.arange(len(deviance))
    square = candidates @ candidates.swapaxes(-1, -2)
    size = np.sqrt(np.maximum(np.diagonal(square, axis1=-2, axis2=-1), 1e-300))
    correlation = square / (size[..., :, None] * size[..., None, :])
    log_size = np.log(size)
    left = deviance.copy()
    chosen = np.zeros((len(deviance), _FOLLOWED), dtype=np.intp)
    for place in range(_FOLLOWED):
        best = left.argmin(axis=1)
        spent = np.isinf(left[rows, best])
        best = np.where(spent, chosen[:, 0], best)
        chosen[:, place] = best
        close = np.abs(log_size - log_size[rows, best][:, None]).max(axis=-1) < _NEIGHBOUR
        turn = np.abs(correlation - correlation[rows, best][:, None]).max(axis=(-2, -1))
        left[close & (turn < 1.0)] = np.inf
    return chosen


def _elements(factors: Array) -> Array:
    """Elements of lower-triangular factors, column by column."""
    row, col = places(factors.shape[-1]).T
    return np.ascontiguousarray(factors[..., row, col])


def _square(theta: Array, q: int) -> Array:
    """Relative covariances, shape (..., q, q), from the elements of their factors, (..., k)."""
    factor = np.zeros((*theta.shape[:-1], q, q))
    row, col = places(q).T
    factor[..., row, col] = theta
    out: Array = factor @ factor.swapaxes(-1, -2)
    return out


def _follow(stack: Stack) -> tuple[Array, Array, NDArray[np.intp], Array, int]:
    """Best end of the starts: covariance, deviance, its steps, all ends, how many were screened."""
    q, rows = stack.q, np.arange(len(stack.n))
    candidates = np.ascontiguousarray(_candidates(stack))
    screened = deviances(stack.arrays, candidates)[0]
    few = q > 1 and stack.root.shape[1] <= _FEW_GROUPS
    chosen = screened.argsort(axis=1) if few else _distinct(candidates, screened)
    best = np.full(len(stack.n), np.inf)
    theta = np.zeros((len(stack.n), len(coordinates(q))))
    steps = np.zeros(len(stack.n), dtype=np.intp)
    reached = []
    while len(rows):
        count = chosen.shape[1]
        screened[rows[:, None], chosen] = np.inf
        runs = np.repeat(rows, count)
        start = _elements(candidates[runs, chosen.ravel()])
        ends = minimise(stack, runs, np.eye(q), start, np.ones_like(start), _LOOSE)
        column = np.full((len(stack.n), count), np.nan)
        column[rows] = ends.deviance.reshape(-1, count)
        reached.append(column)
        win = np.arange(len(rows)) * count + column[rows].argmin(axis=1)
        lower = ends.deviance[win] < best[rows]
        best[rows[lower]], theta[rows[lower]] = ends.deviance[win[lower]], ends.theta[win[lower]]
        steps[rows[lower]] = ends.steps[win[lower]]
        # A start that lies below the best end is followed as well.
        rows = np.flatnonzero(screened.min(axis=1) < best - _SAME)
        chosen = screened[rows].argmin(axis=1)[:, None]
    return _square(theta, q), best, steps, np.hstack(reached), candidates.shape[1]


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
    return np.array([*orders, list(range(q))]), np.array([*ranks, q])


class _Polished(NamedTuple):
    """Every face and the inside of each design, polished: arrays with leading axes (R, F)."""

    basis: Array
    free: Array
    ends: Ends


def _polish(stack: Stack, rows: NDArray[np.intp], g: Array) -> _Polished:
    """Polish the designs `rows` from their covariances `g`, (n, q, q), on each face and inside."""
    q = stack.q
    orders, ranks = _faces(q)
    values, vectors = np.linalg.eigh(g)
    values, vectors = np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]
    basis = np.moveaxis(vectors[:, :, orders], 2, 1)
    row, col = places(q).T
    held = col >= ranks[:, None]
    theta = np.zeros((len(rows), len(ranks), len(row)))
    theta[..., row == col] = np.sqrt(values[:, orders])
    theta[:, held] = 0.0
    free = np.broadcast_to(1.0 - held, theta.shape)
    shape = (len(rows) * len(ranks), -1)
    which = np.repeat(rows, len(ranks))
    flat = free.reshape(shape)
    ends = minimise(stack, which, basis.reshape(-1, q, q), theta.reshape(shape), flat)
    by_face = (a.reshape(len(rows), len(ranks), *a.shape[1:]) for a in ends)
    return _Polished(basis, free, Ends(*by_face))


def _inward(polished: _Polished, row: int, face: int, rank: int) -> tuple[float, Array]:
    """Least derivative inside from a face, and its direction in the design's own basis.

    Inside leads whatever adds variance in a direction that the covariance lacks.
    """
    q = polished.basis.shape[-1]
    lacking = np.linalg.eigh(_square(polished.ends.theta[row, face], q))[1][:, : q - rank]
    inside = lacking.T @ polished.ends.gamma[row, face] @ lacking
    values, vectors = np.linalg.eigh(inside)
    return float(values[0]), polished.basis[row, face] @ lacking @ vectors[:, 0]


def _walk_inside(stack: Stack, row: int, g: Array, direction: Array) -> tuple[Array, float]:
    """Lowest of some covariances inside from a face, along a direction, and its deviance."""
    sizes = np.geomspace(1e-6, 10.0, 22)
    trials = g + sizes[:, None, None] * np.outer(direction, direction)
    one = tuple(a[row : row + 1] if isinstance(a, np.ndarray) else a for a in stack.arrays)
    deviance = deviances(one, lower_factor(trials)[None])[0][0]
    best = int(deviance.argmin())
    return trials[best], float(deviance[best])


class _Settled(NamedTuple):
    """The best point of one design, by the names of `Optimum`."""

    g: Array
    deviance: float
    rank: int
    gradient_norm: float
    curvature: Array
    inward: float
    on_boundary: float
    expected: float
    steps: int


def _unsettled(g: Array, deviance: float, expected: float) -> _Settled:
    """Where nothing is known of the derivatives."""
    k = len(coordinates(len(g)))
    nan = float("nan")
    slope = nan if k else 0.0
    return _Settled(g, deviance, len(g), slope, np.full(k, nan), nan, nan, expected, 0)


def _settle(stack: Stack, polished: _Polished, i: int, row: int) -> _Settled | Array:
    """Best face of one design, or its inside; a covariance to go on from where there is none."""
    deviance = polished.ends.deviance[i]
    lowest = float(deviance.min())
    slack = 1e-10 + 1e-13 * (abs(lowest) + float(stack.n[row]))
    for face, rank in enumerate(_faces(stack.q)[1].tolist()):
        if deviance[face] > lowest + slack:
            continue
        basis, least = polished.basis[i, face], np.nan
        g: Array = basis @ _square(polished.ends.theta[i, face], stack.q) @ basis.T
        if rank < stack.q:
            least, direction = _inward(polished, i, face, rank)
            if least < -_DESCENT * float(stack.n[row]):
                inside, reached = _walk_inside(stack, row, g, direction)
                if reached < lowest - slack:
                    return inside
                continue
        return _record(polished, i, face, g, rank, least)
    return g


def _record(polished: _Polished, i: int, face: int, g: Array, rank: int, least: float) -> _Settled:
    ends, moves = polished.ends, polished.free[i, face] > 0
    curvature = np.full(len(moves), np.nan)
    block = ends.hessian[i, face][np.ix_(moves, moves)]
    curvature[: int(moves.sum())] = np.linalg.eigvalsh(block)
    return _Settled(
        g=g,
        deviance=ends.deviance[i, face],
        rank=rank,
        gradient_norm=np.abs(ends.gradient[i, face]).max(initial=0.0),
        curvature=curvature,
        inward=least,
        on_boundary=ends.deviance[i, :-1].min() if rank == len(g) else np.nan,
        expected=ends.expected[i, face],
        steps=ends.steps[i, face],
    )


def solve(stack: Stack) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    """
    if stack.q == 0:
        g = np.zeros((len(stack.n), 0, 0))
        reached, screened = deviances(stack.arrays, g[:, None])[0], 1
        steps = np.zeros(len(stack.n), dtype=np.intp)
        settled = [_unsettled(*of, 0.0) for of in zip(g, reached[:, 0], strict=True)]
    else:
        g, deviance, steps, reached, screened = _follow(stack)
        settled = [_unsettled(*of, np.inf) for of in zip(g, deviance, strict=True)]
        _examine(stack, g, settled)
    arrays: dict[str, Any] = {
        name: np.array(values)
        for name, values in zip(_Settled._fields, zip(*settled, strict=True), strict=True)
    }
    curvature, lowest = arrays["curvature"], arrays["deviance"]
    none = np.isnan(curvature)
    least = np.where(none, np.inf, curvature).min(axis=-1, initial=np.inf)
    most = np.where(none, 0.0, curvature).max(axis=-1, initial=1.0)
    slack = 1e-7 + 1e-13 * (np.abs(lowest) + stack.n)
    arrays["converged"] = (
        (arrays.pop("expected") < 1e-8)
        & (least >= -1e-7 * most)
        & np.isfinite(lowest)
        & (np.nanmin(reached, axis=1) >= lowest - slack)
    )
    arrays["steps"] = arrays["steps"] + steps
    return Optimum(**arrays, starts=reached, screened=screened)


def _examine(stack: Stack, g: Array, settled: list[_Settled]) -> None:
    """Polish every design inside and on its faces, and leave what is no minimum."""
    todo = list(range(len(stack.n)))
    for _ in range(4 * stack.q + 4):
        polished = _polish(stack, np.array(todo), g[todo])
        left = []
        for i, row in enumerate(todo):
            found = _settle(stack, polished, i, row)
            if isinstance(found, _Settled):
                settled[row] = found
            else:
                g[row] = found
                left.append(row)
        todo = left
        if not todo:
            return


# -- the proof ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """Why the optimum is believed to be one.

    Derivatives are by the elements of the relative covariance factor, in standardised random
    terms turned to their principal axes, so that they mean the same in all units.

    Attributes
    ----------
    deviance : float
        At the optimum.
    gradient_norm : float
        Largest absolute derivative of the deviance by a free element.
    curvature : tuple of float
        Eigenvalues of the Hessian by the free elements; all positive at a minimum.
    rank, terms : int
        Rank of the covariance of the random terms, and how many there are.
    inward : float
        On the boundary, the least derivative of the deviance in any direction that leads inside;
        not negative at a minimum. NaN where the optimum is inside.
    steps : int
        Newton steps of the start that won.
    starts : tuple of float
        Deviance that each start which was followed reached.
    screened : int
        Starts whose deviance was looked at.
    on_boundary : float
        Lowest deviance found on the boundary when the optimum is inside, NaN otherwise.
    """

    deviance: float
    gradient_norm: float
    curvature: tuple[float, ...]
    rank: int
    terms: int
    inward: float
    steps: int
    starts: tuple[float, ...]
    screened: int
    on_boundary: float

    @property
    def best_other(self) -> float:
        """Lowest deviance above the optimum at which a start that was followed stopped, or NaN."""
        return min((v for v in self.starts if v > self.deviance + _SAME), default=float("nan"))

    @property
    def boundary(self) -> str:
        """How the boundary was examined, in a sentence."""
        if not self.terms:
            return "There is no random term, so there is no boundary."
        if self.rank == self.terms:
            return (
                "The optimum lies inside: the covariance of the random terms has full rank. The "
                f"lowest deviance found on the boundary is {self.on_boundary:.3f}, higher by "
                f"{self.on_boundary - self.deviance:.3g}."
            )
        return (
            f"The optimum lies on the boundary (rank {self.rank} of {self.terms}): it was polished "
            "there, and in every direction that leads inside the deviance rises (least derivative "
            f"{self.inward:.3g})."
        )


def certify(found: Optimum) -> Certificate:
    """Certificate of the optimum of one design, alone in its stack."""
    curvature = found.curvature[0]
    return Certificate(
        deviance=float(found.deviance[0]),
        gradient_norm=float(found.gradient_norm[0]),
        curvature=tuple(float(v) for v in curvature[~np.isnan(curvature)]),
        rank=int(found.rank[0]),
        terms=found.g.shape[-1],
        inward=float(found.inward[0]),
        steps=int(found.steps[0]),
        starts=tuple(float(v) for v in found.starts[0]),
        screened=found.screened,
        on_boundary=float(found.on_boundary[0]),
    )
