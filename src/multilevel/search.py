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

import math
from functools import cache
from itertools import product as every
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.likelihood import (
    Array,
    Stack,
    covariance_hessian,
    deviances,
    evaluate,
    lower_factor,
    one_design,
    places,
    workspace,
)
from multilevel.small import compiled, congruent, copy, diagonalise, folded, inner

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


# -- compiled: Newton's method --------------------------------------------------------------------


class Ends(NamedTuple):
    """Runs of Newton's method, one a row: where they start, then where they end.

    Attributes
    ----------
    axes : ndarray of shape (S, q, q)
        Orthonormal basis, in rows, in which the elements of the factor are.
    theta, free : ndarray of shape (S, k)
        Elements, and one where an element may move.
    trial, step, gradient : ndarray of shape (S, k)
    hessian : ndarray of shape (S, k, k)
    g, gamma : ndarray of shape (S, q, q)
        Relative covariance, and the derivatives by it.
    deviance, expected : ndarray of shape (S,)
        With the decrease that was still expected.
    steps : ndarray of int, shape (S,)
    """

    axes: Array
    theta: Array
    free: Array
    trial: Array
    step: Array
    gradient: Array
    hessian: Array
    g: Array
    gamma: Array
    deviance: Array
    expected: Array
    steps: NDArray[np.int64]


def _runs(axes: Array, theta: Array, free: Array) -> Ends:
    """Make runs that are to start from these elements."""
    (count, k), q = theta.shape, axes.shape[-1]
    lines = np.zeros((3, count, k))
    squares, ends = np.zeros((2, count, q, q)), np.zeros((2, count))
    steps = np.zeros(count, dtype=np.int64)
    hessian, (g, gamma), (deviance, expected) = np.zeros((count, k, k)), squares, ends
    trial, step, slope = lines
    return Ends(axes, theta, free, trial, step, slope, hessian, g, gamma, deviance, expected, steps)


class _Room(NamedTuple):
    """Small matrices that Newton's method fills; before them places of elements, and ones."""

    places: NDArray[np.intp]
    one: Array
    lower: Array
    factor: Array
    half: Array
    turned: Array
    inside: Array
    link: Array
    bend: Array
    vectors: Array


@folded  # type: ignore[untyped-decorator]
def _room(q: Any, places: Any) -> Any:
    a, b = np.zeros((4, q, q)), np.zeros((4, len(places), len(places)))
    return _Room(places, np.eye(q), a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3])


@folded  # type: ignore[untyped-decorator]
def _step(ends: Any, s: Any, radius: Any, room: Any) -> Any:
    """Fill the step with absolute curvatures inside the trust radius; its expected gain."""
    turned, vectors, k = room.bend, room.vectors, ends.theta.shape[1]
    copy(ends.hessian[s], turned)
    diagonalise(turned, vectors, k)
    largest, gain, length = 0.0, 0.0, 0.0
    for t in range(k):
        ends.step[s, t] = 0.0
        largest = max(largest, abs(turned[t, t]))
    for t in range(k):
        size, along = max(abs(turned[t, t]), 1e-9 * largest + 1e-300), 0.0
        for m in range(k):
            along += vectors[t, m] * ends.gradient[s, m]
        for m in range(k):
            ends.step[s, m] -= vectors[t, m] * along / size
        gain += 0.5 * along * along / size
    for t in range(k):
        length += ends.step[s, t] * ends.step[s, t]
    shrink = radius / max(math.sqrt(length), 1e-300)
    for t in range(k):
        ends.step[s, t] *= min(1.0, shrink)
    return gain


@folded  # type: ignore[untyped-decorator]
def _factor(axes: Any, theta: Any, places: Any, room: Any) -> None:
    """Fill the factor that a run's elements stand for, in its axes and in those of the design."""
    low, factor = room.lower, room.factor
    for t in range(len(places)):
        low[places[t, 0], places[t, 1]] = theta[t]
    for r in range(len(low)):
        for j in range(len(low)):
            factor[r, j] = 0.0
            for i in range(j, len(low)):
                factor[r, j] += axes[i, r] * low[i, j]


@folded  # type: ignore[untyped-decorator]
def _derivatives(ends: Any, s: Any, places: Any, room: Any) -> None:
    """Fill gradient and Hessian by the elements of the factor from those by the covariance."""
    axes, factor, link, bend = ends.axes[s], room.factor, room.link, room.bend
    q, k = len(factor), len(places)
    congruent(axes, ends.gamma[s], room.half)
    for t in range(k):
        i, j, slope = places[t, 0], places[t, 1], 0.0
        for m in range(q):
            slope += room.half[i, m] * room.lower[m, j]
        ends.gradient[s, t] = 2.0 * slope * ends.free[s, t]
        for a in range(k):
            r, c = places[a, 0], places[a, 1]
            link[t, a] = axes[i, r] * factor[c, j] + axes[i, c] * factor[r, j]
    congruent(link, room.inside, bend)
    for t in range(k):
        for m in range(k):
            value = bend[t, m]
            if places[t, 1] == places[m, 1]:
                value += 2.0 * room.half[places[t, 0], places[m, 0]]
            if ends.free[s, t] * ends.free[s, m] == 0.0:
                value = 1.0 if t == m else 0.0
            ends.hessian[s, t, m] = value


@inner  # type: ignore[untyped-decorator]
def _newton(design: Any, space: Any, ends: Any, s: Any, room: Any, tolerance: Any) -> None:
    """Minimise the deviance of a design from the start of one run.

    Parameters
    ----------
    design : Design
    space : Workspace
    ends : Ends
    s : int
        Which run.
    room : _Room
    tolerance : float
        Expected decrease in deviance at which to stop.
    """
    places, k = room.places, len(room.places)
    here, radius, length, expected = math.inf, 1.0, 0.0, math.inf
    ends.steps[s] = 0
    for t in range(k):
        ends.trial[s, t] = ends.theta[s, t]
    for turn in range(_STEPS):
        _factor(ends.axes[s], ends.trial[s], places, room)
        found = evaluate(design, room.factor, space)
        # The deviance itself is known to about its last digits only.
        better = found < math.inf and (turn == 0 or found <= here + 4e-15 * (abs(here) + design.n))
        if better:
            here, radius = found, max(radius, 2.0 * length)
            for t in range(k):
                ends.theta[s, t] = ends.trial[s, t]
            covariance_hessian(design, space, design.dof, places, ends.gamma[s], room.inside)
            _derivatives(ends, s, places, room)
        else:
            radius = length / 4.0
        if turn > 0 and (expected < _LAST or (not better and expected < 1e-8)):
            break
        expected = _step(ends, s, radius, room)
        if not expected > tolerance:
            break
        ends.steps[s] += 1
        length = 0.0
        for t in range(k):
            ends.trial[s, t] = ends.theta[s, t] + ends.step[s, t]
            length += ends.step[s, t] * ends.step[s, t]
        length = math.sqrt(length)
    ends.deviance[s], ends.expected[s] = here, expected
    _factor(ends.axes[s], ends.theta[s], places, room)
    congruent(room.factor, room.one, ends.g[s])


@compiled  # type: ignore[untyped-decorator]
def _minimise(arrays: Any, rows: Any, ends: Any, places: Any, least: Any) -> None:
    groups, q, width = arrays[1].shape[1:]
    space, room = workspace(groups, q, width), _room(q, places)
    for s in range(len(rows)):
        _newton(one_design(arrays, rows[s]), space, ends, s, room, least)


def minimise(
    stack: Stack, rows: Any, basis: Array, theta: Array, free: Array, least: float = _TOLERANCE
) -> Ends:
    """Apply Newton's method from these elements, each run to a design; all in one basis."""
    axes = np.array(np.broadcast_to(basis.T, (len(rows), stack.q, stack.q)), order="C")
    ends = _runs(axes, np.array(theta, order="C"), np.array(free, order="C"))
    _minimise(stack.arrays, rows, ends, places(stack.q), least)
    return ends


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
    out = np.empty((len(stack.n), len(table) + 3, stack.q, stack.q))
    out[:, :-3] = table
    # lme4 starts from one in raw units.
    raw = np.asarray(np.linalg.qr(stack.z_root, mode="r")).swapaxes(1, 2)
    out[:, -3], out[:, -2], out[:, -1] = raw, 0.1 * raw, 10.0 * raw
    return out


@folded  # type: ignore[untyped-decorator]
def _features(factor: Any, room: Any, features: Any) -> None:
    """Fill what tells starts apart: logs of standard deviations to some base, and correlations.

    Neighbours differ by less than one in each.
    """
    square = room.half
    congruent(factor, room.one, square)
    for a in range(len(features)):
        i, m = room.places[a, 0], room.places[a, 1]
        if i == m:
            features[a] = 0.5 * math.log(square[i, i] + 1e-300) / math.log(_NEIGHBOUR)
        else:
            features[a] = square[i, m] / math.sqrt(square[i, i] * square[m, m] + 1e-300)


@folded  # type: ignore[untyped-decorator]
def _next(left: Any, wanted: Any, most: Any, lowest: Any) -> Any:
    """Position of the start to follow next, the lowest that is wanted; -1 where there is none.

    After those that are wanted anyway, a start that lies below the best end.
    """
    pick, under = -1, -1
    for s in range(left.shape[1]):
        if left[1, s] <= most and (pick < 0 or left[0, s] < left[0, pick]):
            pick = s
        if left[1, s] < 2.0 and (under < 0 or left[0, s] < left[0, under]):
            under = s
    if wanted and pick >= 0:
        return pick
    return under if under >= 0 and left[0, under] < lowest - _SAME else -1


@folded  # type: ignore[untyped-decorator]
def _screen(design: Any, space: Any, room: Any, starts: Any, features: Any) -> Any:
    """Deviances of all starts; one where a neighbour has been followed, two where it has itself."""
    left = np.zeros((2, len(features)))
    for s in range(len(features)):
        _features(starts[s], room, features[s])
        left[0, s] = evaluate(design, starts[s], space)
    return left


@folded  # type: ignore[untyped-decorator]
def _lay_start(ends: Any, s: Any, start: Any, room: Any) -> None:
    """Let a run begin at a start."""
    copy(room.one, ends.axes[s])
    for t in range(len(room.places)):
        ends.free[s, t] = 1.0
        ends.theta[s, t] = start[room.places[t, 0], room.places[t, 1]]


@folded  # type: ignore[untyped-decorator]
def _note(ends: Any, s: Any, found: Any, r: Any, pick: Any, left: Any, features: Any) -> None:
    """Note where a start led: deviance, steps, and the best end's covariance."""
    g, lowest, steps, starts = found
    starts[r, pick], left[1, pick] = ends.deviance[s], 2.0
    for other in range(len(features)):
        near = left[1, other] == 0.0
        for t in range(features.shape[1]):
            near = near and abs(features[other, t] - features[pick, t]) < 1.0
        if near:
            left[1, other] = 1.0
    if ends.deviance[s] < lowest[r]:
        lowest[r], steps[r] = ends.deviance[s], ends.steps[s]
        copy(ends.g[s], g[r])


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


@folded  # type: ignore[untyped-decorator]
def _lay_face(ends: Any, s: Any, order: Any, rank: Any, places: Any, room: Any, g: Any) -> None:
    """Let a run begin on a face, or inside, next to a covariance."""
    q, values, axes = len(g), room.half, room.turned
    copy(g, values)
    diagonalise(values, axes, q)
    for i in range(q):
        for m in range(q):
            ends.axes[s, i, m] = axes[q - 1 - order[i], m]
    for t in range(len(places)):
        i, j = places[t, 0], places[t, 1]
        value = values[q - 1 - order[i], q - 1 - order[i]]
        ends.free[s, t] = 1.0 if j < rank else 0.0
        start = i == j and j < rank and value > 0.0
        ends.theta[s, t] = math.sqrt(value) if start else 0.0


@folded  # type: ignore[untyped-decorator]
def _one(design: Any, space: Any, room: Any, found: Any, r: Any, runs: Any, first: Any) -> None:
    """Follow the starts of a design, if there are any, and polish the best end on every face."""
    candidates, ends, places, orders, ranks = runs
    few, last = candidates.shape[2] > 1 and design.groups <= _FEW_GROUPS, first + len(ranks) - 1
    features, s, turn = np.zeros((candidates.shape[1], len(places))), first, 0
    left = _screen(design, space, room, candidates[r], features)
    while s < last or turn >= 0:
        pick = -1
        if turn >= 0:
            pick = _next(left, few or turn < _FOLLOWED, 1.0 if few else 0.0, found[1][r])
            turn += 1
        if pick >= 0:
            _lay_start(ends, last, candidates[r, pick], room)
        else:
            s, turn = first if turn >= 0 else s + 1, -1
            _lay_face(ends, s, orders[s - first], ranks[s - first], places, room, found[0][r])
        at = last if pick >= 0 else s
        _newton(design, space, ends, at, room, _LOOSE if pick >= 0 else _TOLERANCE)
        if pick >= 0:
            _note(ends, last, found, r, pick, left, features)


@compiled  # type: ignore[untyped-decorator]
def _search(arrays: Any, rows: Any, found: Any, runs: Any) -> None:
    groups, q, width = arrays[1].shape[1:]
    space, room = workspace(groups, q, width), _room(q, runs[2])
    for row in range(len(rows)):
        design, first = one_design(arrays, rows[row]), row * len(runs[4])
        _one(design, space, room, found, rows[row], runs, first)


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


def _settle(stack: Stack, found: Optimum, row: int, ends: Ends, first: int) -> bool:
    """Take the best face of one design, or its inside; where there is none, a place to go on."""
    q, ranks, n = stack.q, _faces(stack.q)[1].tolist(), float(stack.n[row])
    reached = ends.deviance[first : first + len(ranks)].tolist()
    lowest = min(reached)
    slack = 1e-10 + 1e-13 * (abs(lowest) + n)
    for face, rank in enumerate(ranks):
        if not reached[face] <= lowest + slack:
            continue
        end, least = first + face, np.nan
        found.g[row] = g = ends.g[end]
        if rank < q:
            least, direction = _inward(g, ends.gamma[end], rank)
            if least < -_DESCENT * n:
                inside, below = _walk_inside(stack, row, g, direction)
                if below < lowest - slack:
                    found.g[row] = inside
                    return False
                continue
        elif q:
            found.on_boundary[row] = min(reached[:-1])
        found.inward[row], found.rank[row] = least, rank
        _record(found, row, n, ends, end)
        return True
    return False


def _record(found: Optimum, row: int, n: float, ends: Ends, end: int) -> None:
    """Write a design's optimum, and whether it is certain to be one."""
    lowest, free = float(ends.deviance[end]), int(ends.free[end].sum())
    # Elements that may move come first.
    curvature = np.linalg.eigvalsh(ends.hessian[end, :free, :free])
    found.curvature[row, :free] = curvature
    found.gradient_norm[row] = max(map(abs, ends.gradient[end].tolist()), default=0.0)
    found.steps[row] += ends.steps[end]
    bends, followed = curvature.tolist(), float(found.deviance[row])
    found.converged[row] = (
        ends.expected[end] < 1e-8
        and math.isfinite(lowest)
        and min(bends, default=0.0) >= -1e-7 * max(bends, default=1.0)
        and not followed < lowest - 1e-7 - 1e-13 * (abs(lowest) + n)
    )
    found.deviance[row] = lowest


def solve(stack: Stack) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    """
    candidates, designs, q = _candidates(stack), len(stack.n), stack.q
    start = np.zeros((designs, q, q)), np.full(designs, np.inf)
    nan, bends = np.full((3, designs), np.nan), np.full((designs, len(places(q))), np.nan)
    whole, converged = np.zeros((2, designs), dtype=np.intp), np.zeros(designs, dtype=np.bool_)
    starts = np.full(candidates.shape[:2], np.nan)
    found = Optimum(*start, whole[0], nan[0], bends, nan[1], nan[2], whole[1], converged, starts)
    _examine(stack, found, candidates)
    return found


def _examine(stack: Stack, found: Optimum, candidates: Array) -> None:
    """Follow starts; polish every design inside and on its faces, and leave what is no minimum."""
    q, rows = stack.q, np.arange(len(stack.n))
    faces, k = _faces(q), len(places(q))
    for _ in range(4 * q + 4):
        runs = len(rows) * len(faces[1])
        ends = _runs(np.zeros((runs, q, q)), *np.zeros((2, runs, k)))
        start = found.g, found.deviance, found.steps, found.starts
        _search(stack.arrays, rows, start, (candidates, ends, places(q), *faces))
        settled = [
            _settle(stack, found, row, ends, i * len(faces[1]))
            for i, row in enumerate(rows.tolist())
        ]
        rows, candidates = rows[~np.array(settled)], candidates[:, :0].copy()
        if not len(rows):
            return
