"""The minimum of the profiled deviance, its boundary included.

Some forty starts, at scales from a thirtieth to thirty times the residual standard deviation and of
both signs of correlation, are screened by their deviance alone, and the best three that are no
neighbours are followed by Newton's method; with a dozen groups or fewer and several random terms,
all are. A variance of zero or a correlation of one is a point where an element of the relative
covariance factor is zero. The best end is then polished inside and on every face of the boundary.
A face that is as low is taken if no direction that leads inside lowers the deviance; otherwise
the search goes on from there.

Compiled; a fit is a stack of one design.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product as every
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.likelihood import Array, Stack, evaluate, one_design, places, workspace
from multilevel.newton import TOLERANCE, make_ends, make_room, newton
from multilevel.small import compiled, congruent, copy, diagonalise, folded

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


# -- starts ------------------------------------------------------------------------------------


@cache
def _starts(q: int, many_groups: bool) -> Array:
    """Lower-triangular factors to start from, shape (S, q, q), in standardised units.

    The last three are left for lme4's own start.
    """
    if many_groups or not q:
        # With many groups the deviance has one minimum for all practical purposes.
        made = [s * np.eye(q) for s in (0.1, 0.5, 2.0)]
    elif q == 1:
        made = [np.array([[s]]) for s in np.geomspace(0.02, 50.0, 40)]
    else:
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
    return np.array([*made, *np.zeros((3, q, q))])


@folded  # type: ignore[untyped-decorator]
def _lay_usual(starts: Any, z_root: Any, room: Any) -> None:
    """Fill the last three starts: lme4's, which is one in raw units, its tenth and its tenfold.

    One in raw units is ``z_root' z_root`` in standardised ones: its factor by Gram and Schmidt.
    """
    q, last, rest = len(z_root), len(starts) - 3, room.half
    copy(z_root, rest)
    for j in range(q):
        square = 0.0
        for i in range(q):
            square += rest[i, j] * rest[i, j]
        for m in range(j, q):
            along = 0.0
            for i in range(q):
                along += rest[i, j] * rest[i, m]
            for i in range(q):
                rest[i, m] -= rest[i, j] * (along / square if m > j else 0.0)
            starts[last, m, j] = along / math.sqrt(square)
    for i in range(q):
        for j in range(i + 1):
            starts[last + 1, i, j] = 0.1 * starts[last, i, j]
            starts[last + 2, i, j] = 10.0 * starts[last, i, j]


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
def _note(ends: Any, s: Any, found: Any, r: Any, pick: Any, left: Any, features: Any) -> None:
    """Note where a start led: deviance, steps, and the best end's covariance."""
    found.starts[r, pick], left[1, pick] = ends.deviance[s], 2.0
    for other in range(len(features)):
        near = left[1, other] == 0.0
        for t in range(features.shape[1]):
            near = near and abs(features[other, t] - features[pick, t]) < 1.0
        if near:
            left[1, other] = 1.0
    if ends.deviance[s] < found.deviance[r]:
        found.deviance[r], found.steps[r] = ends.deviance[s], ends.steps[s]
        copy(ends.g[s], found.g[r])


# -- inside and on the boundary ----------------------------------------------------------------


@cache
def _faces(q: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order of the principal axes, (F, q), and rank, (F,), of every face and, last, the inside.

    Lower ranks come first: all axes but the leading ones at zero; then each axis alone at zero.
    """
    orders = [list(range(q))] * (q - 1)
    orders += [[i for i in range(q) if i != dropped] + [dropped] for dropped in range(q)]
    ranks = np.array([*range(q - 1), *[q - 1] * q, q])
    return np.array([*orders, list(range(q))], dtype=np.intp), ranks


@folded  # type: ignore[untyped-decorator]
def _lay_face(ends: Any, s: Any, order: Any, rank: Any, room: Any, g: Any) -> None:
    """Let a run begin on a face, or inside, next to a covariance."""
    q, values, axes, places = len(g), room.half, room.turned, room.places
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
def _inward(g: Any, gamma: Any, rank: Any, room: Any) -> Any:
    """Least derivative inside from a face; its direction is left in `room`.

    Inside leads whatever adds variance in a direction that the covariance lacks.
    """
    q, slopes, turn = len(g), room.spare, room.factor
    copy(g, room.half)
    diagonalise(room.half, room.turned, q)
    congruent(room.turned, gamma, slopes)
    diagonalise(slopes, turn, q - rank)
    least = slopes[0, 0]
    for m in range(q):
        slopes[0, m] = 0.0
        for i in range(q - rank):
            slopes[0, m] += turn[0, i] * room.turned[i, m]
    return least


@folded  # type: ignore[untyped-decorator]
def _settle(design: Any, room: Any, found: Any, r: Any, ends: Any, ranks: Any, size: Any) -> Any:
    """Take the best face of a design, or its inside; where there is none, a place to go on.

    That lies inside from the best face, where `size` of variance is added; a face is passed over
    where none is.
    """
    lowest, edge, inside, q = math.inf, math.inf, len(ranks) - 1, found.g.shape[1]
    for s in range(len(ranks)):
        edge = lowest
        lowest = min(lowest, ends.deviance[s])
    for s in range(len(ranks)):
        if not ends.deviance[s] <= lowest + 1e-10 + 1e-13 * (abs(lowest) + design.n):
            continue
        least = math.nan
        copy(ends.g[s], found.g[r])
        if s < inside:
            least = _inward(ends.g[s], ends.gamma[s], ranks[s], room)
            if least < -_DESCENT * design.n:
                for i in range(q):
                    for m in range(q):
                        found.g[r, i, m] += size * room.spare[0, i] * room.spare[0, m]
                if size > 0.0:
                    return False
                continue
        elif inside:
            found.on_boundary[r] = edge
        found.inward[r], found.rank[r] = least, ranks[s]
        _record(design, room, found, r, ends, s)
        return True
    return False


@folded  # type: ignore[untyped-decorator]
def _record(design: Any, room: Any, found: Any, r: Any, ends: Any, s: Any) -> None:
    """Write a design's optimum, and whether it is certain to be one."""
    lowest, steepest, bends, rank = ends.deviance[s], 0.0, room.bend, found.rank[r]
    # Elements that may move come first: those of the leading columns.
    free = rank * len(room.one) - rank * (rank - 1) // 2
    for t in range(len(room.places)):
        steepest = max(steepest, abs(ends.gradient[s, t]))
    copy(ends.hessian[s], bends)
    diagonalise(bends, room.vectors, free)
    for t in range(free):
        found.curvature[r, t] = bends[t, t]
    found.gradient_norm[r] = steepest
    found.steps[r] += ends.steps[s]
    found.converged[r] = (
        ends.expected[s] < 1e-8
        and math.isfinite(lowest)
        and (free == 0 or bends[0, 0] >= -1e-7 * bends[free - 1, free - 1])
        and not found.deviance[r] < lowest - 1e-7 - 1e-13 * (abs(lowest) + design.n)
    )
    found.deviance[r] = lowest


@folded  # type: ignore[untyped-decorator]
def _one(design: Any, space: Any, room: Any, found: Any, r: Any, runs: Any) -> None:
    """Follow starts; polish the best end inside and on every face, and go on from no minimum."""
    ends, starts, (orders, ranks) = runs
    last, q = len(ranks) - 1, len(room.one)
    few = q > 1 and design.groups <= _FEW_GROUPS
    features, left = np.zeros((len(starts), len(room.places))), np.zeros((2, len(starts)))
    for s in range(len(starts)):
        _features(starts[s], room, features[s])
        # Beside it stands one where a neighbour has been followed, two where it has itself.
        left[0, s] = evaluate(design, starts[s], space)
    pick, turn, s, tries, settled = 0, 0, -1, 0, False
    # Newton's method is called at one place only, as each takes seconds to compile.
    while not settled and tries < 4 * q + 4:
        if pick >= 0:
            wanted, most = few or turn < _FOLLOWED, 1.0 if few else 0.0
            pick, turn = _next(left, wanted, most, found.deviance[r]), turn + 1
        if pick >= 0:
            copy(room.one, ends.axes[last])
            for t in range(len(room.places)):
                ends.free[last, t] = 1.0
                ends.theta[last, t] = starts[pick, room.places[t, 0], room.places[t, 1]]
        else:
            s += 1
            _lay_face(ends, s, orders[s], ranks[s], room, found.g[r])
        at, enough = (last, _LOOSE) if pick >= 0 else (s, TOLERANCE)
        newton(design, space, ends, at, room, enough)
        if pick >= 0:
            _note(ends, last, found, r, pick, left, features)
        elif s == last:
            size = 10.0**-tries if tries < 4 * q + 3 else 0.0
            settled = _settle(design, room, found, r, ends, ranks, size)
            s, tries = -1, tries + 1


@compiled  # type: ignore[untyped-decorator]
def _search(arrays: Any, z_root: Any, found: Any, table: Any, places: Any, faces: Any) -> None:
    """Search design by design; with a table of no starts it begins at what was found."""
    (groups, q, width), k, runs = arrays[1].shape[1:], len(places), len(faces[1])
    space, room, starts = workspace(groups, q, width), make_room(q, places), table.copy()
    ends = make_ends(np.zeros((runs, q, q)), np.zeros((runs, k)), np.zeros((runs, k)))
    for r in range(len(z_root)):
        if len(starts):
            _lay_usual(starts, z_root[r], room)
        _one(one_design(arrays, r), space, room, found, r, (ends, starts, faces))


def solve(stack: Stack) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    """
    q, designs = stack.q, len(stack.n)
    table = _starts(q, stack.root.shape[1] > _MANY_GROUPS)
    start = np.zeros((designs, q, q)), np.full(designs, np.inf)
    nan, bends = np.full((3, designs), np.nan), np.full((designs, len(places(q))), np.nan)
    whole, converged = np.zeros((2, designs), dtype=np.intp), np.zeros(designs, dtype=np.bool_)
    starts = np.full((designs, len(table)), np.nan)
    found = Optimum(*start, whole[0], nan[0], bends, nan[1], nan[2], whole[1], converged, starts)
    _search(stack.arrays, stack.z_root, found, table, places(q), _faces(q))
    return found
