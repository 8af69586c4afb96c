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

from multilevel.lanes import zeros
from multilevel.likelihood import Array, Stack, evaluate, one_design, places, workspace
from multilevel.newton import TOLERANCE, make_room, newton, one_run
from multilevel.small import congruent, copy, diagonalise
from multilevel.tiers import compiled, folded, inner

#: Enough to tell which start is best; the best is polished afterwards.
_LOOSE = 1e-7
#: Starts that are followed to their end.
_FOLLOWED = 3
#: With so few groups a skewed predictor easily makes several minima of several random terms, and
#: following a start costs little: all are.
_FEW_GROUPS = 12
#: With more groups than this, three starts are enough.
MANY_GROUPS = 600
#: Starts whose standard deviations differ by less than this factor are neighbours.
_NEIGHBOUR = 8.0
#: Of an optimum before it is found: deviance, rank, largest derivative, least derivative inside,
#: lowest deviance on the boundary, steps, and whether it is one.
_UNKNOWN = np.inf, 0.0, np.nan, np.nan, np.nan, 0.0, 0.0
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
def standard_starts(q: int, many_groups: bool) -> Array:
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


@inner  # type: ignore[untyped-decorator]
def _lay_usual(starts: Any, z_root: Any, rest: Any) -> None:
    """Fill the last three starts: lme4's, which is one in raw units, its tenth and its tenfold.

    One in raw units is ``z_root' z_root`` in standardised ones: its factor by Gram and Schmidt.
    """
    q, last = len(z_root), len(starts) - 3
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


@inner  # type: ignore[untyped-decorator]
def _features(square: Any, places: Any, features: Any) -> None:
    """Fill what tells starts apart: logs of standard deviations to some base, and correlations.

    Neighbours differ by less than one in each.
    """
    for a in range(len(features)):
        i, m = places[a, 0], places[a, 1]
        if i == m:
            features[a] = 0.5 * math.log(square[i, i] + 1e-300) / math.log(_NEIGHBOUR)
        else:
            features[a] = square[i, m] / math.sqrt(square[i, i] * square[m, m] + 1e-300)


@inner  # type: ignore[untyped-decorator]
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


@inner  # type: ignore[untyped-decorator]
def _note(pick: Any, left: Any, features: Any) -> None:
    """Note that a start has been followed, and which are its neighbours."""
    left[1, pick] = 2.0
    for other in range(len(features)):
        near = left[1, other] == 0.0
        for t in range(features.shape[1]):
            near = near and abs(features[other, t] - features[pick, t]) < 1.0
        if near:
            left[1, other] = 1.0


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
def _lay_face(run: Any, order: Any, rank: Any, room: Any, g: Any) -> None:
    """Let a run begin on a face, or inside, next to a covariance."""
    q, values, turned, places = len(g), room.half, room.factor, room.places
    copy(g, values)
    diagonalise(values, turned, q)
    for i in range(q):
        for m in range(q):
            run.axes[i, m] = turned[q - 1 - order[i], m]
    for t in range(len(places)):
        i, j = places[t, 0], places[t, 1]
        value = values[q - 1 - order[i], q - 1 - order[i]]
        run.free[t] = 1.0 if j < rank else 0.0
        run.theta[t] = math.sqrt(value) if i == j and j < rank and value > 0.0 else 0.0


@inner  # type: ignore[untyped-decorator]
def _inward(g: Any, gamma: Any, rank: Any, room: Any) -> Any:
    """Least derivative inside from a face; its direction is left in `room`.

    Inside leads whatever adds variance in a direction that the covariance lacks.
    """
    q, slopes, turn, axes = len(g), room.spare, room.factor, room.turned
    copy(g, room.half)
    diagonalise(room.half, axes, q)
    congruent(axes, gamma, slopes)
    diagonalise(slopes, turn, q - rank)
    least = slopes[0, 0]
    for m in range(q):
        slopes[0, m] = 0.0
        for i in range(q - rank):
            slopes[0, m] += turn[0, i] * axes[i, m]
    return least


@folded  # type: ignore[untyped-decorator]
def _settle(g: Any, facts: Any, runs: Any, ranks: Any, size: Any, n: Any, room: Any) -> Any:
    """Take the best face of a design, or its inside: its position; -1 for a place to go on.

    That lies inside from the best face, where `size` of variance is added; a face is passed over
    where none is.
    """
    lowest, edge, inside, (squares, ends) = math.inf, math.inf, len(ranks) - 1, runs
    for s in range(len(ranks)):
        edge = lowest
        lowest = min(lowest, ends[0, s])
    for s in range(len(ranks)):
        if not ends[0, s] <= lowest + 1e-10 + 1e-13 * (abs(lowest) + n):
            continue
        least = math.nan
        congruent(squares[s, 1], room.one, g)
        if s < inside:
            least = _inward(g, squares[s, 2], ranks[s], room)
            if least < -_DESCENT * n:
                for i in range(len(g)):
                    for m in range(len(g)):
                        g[i, m] += size * room.spare[0, i] * room.spare[0, m]
                if size > 0.0:
                    return -1
                continue
        elif inside:
            facts[4] = edge
        facts[3], facts[1] = least, ranks[s]
        return s
    return -1


@folded  # type: ignore[untyped-decorator]
def _record(facts: Any, curve: Any, run: Any, ends: Any, n: Any, room: Any) -> None:
    """Write a design's optimum, and whether it is certain to be one."""
    lowest, steepest, bends, rank = ends[0], 0.0, room.bend, int(facts[1])
    # Elements that may move come first: those of the leading columns.
    free = rank * len(room.one) - rank * (rank - 1) // 2
    for t in range(len(room.places)):
        steepest = max(steepest, abs(run.gradient[t]))
    copy(run.hessian, bends)
    diagonalise(bends, room.vectors, free)
    for t in range(free):
        curve[t] = bends[t, t]
    facts[2] = steepest
    facts[5] += ends[2]
    facts[6] = (
        ends[1] < 1e-8
        and math.isfinite(lowest)
        and (free == 0 or bends[0, 0] >= -1e-7 * bends[free - 1, free - 1])
        and not facts[0] < lowest - 1e-7 - 1e-13 * (abs(lowest) + n)
    )
    facts[0] = lowest


@compiled(2_000)  # type: ignore[untyped-decorator]
def _search(arrays: Any, z_root: Any, found: Any, starts: Any, places: Any, faces: Any) -> None:
    """Search design by design; with a table of no starts it begins at what was found.

    Follow starts; polish the best end inside and on every face, and go on from no minimum.
    """
    (every, facts, curves, reached), (orders, ranks, few) = found, faces
    q, k = arrays[0].shape[2], len(places)
    space, room, last = workspace(arrays), make_room(q, places), len(ranks) - 1
    squares, lines = zeros((last + 1, 3, q, q)), zeros((last + 1, 3, k))
    bends, ends = zeros((last + 1, k, k)), zeros((3, last + 1))
    features, left = zeros((len(starts), k)), zeros((2, len(starts)))
    for r in range(len(z_root)):
        design, g, fact = one_design(arrays, r), every[r], facts[r]
        if len(starts):
            _lay_usual(starts, z_root[r], room.half)
        for s in range(len(starts)):
            congruent(starts[s], room.one, room.half)
            _features(room.half, places, features[s])
            # Beside it stands one where a neighbour has been followed, two where it has itself.
            left[0, s], left[1, s] = evaluate(design, starts[s], space), 0.0
        pick, turn, face, tries, settled = 0, 0, -1, 0, -1
        # Newton's method is called at one place only, as each takes seconds to compile.
        while settled < 0 and tries < 4 * q + 4:
            if pick >= 0:
                wanted, most = few or turn < _FOLLOWED, 1.0 if few else 0.0
                pick, turn = _next(left, wanted, most, fact[0]), turn + 1
            face = face if pick >= 0 else face + 1
            slot, enough = (last, _LOOSE) if pick >= 0 else (face, TOLERANCE)
            run = one_run(squares, lines, bends, slot)
            if pick >= 0:
                copy(room.one, run.axes)
                for t in range(k):
                    run.free[t] = 1.0
                    run.theta[t] = starts[pick, places[t, 0], places[t, 1]]
            else:
                _lay_face(run, orders[face], ranks[face], room, g)
            here, expected, steps = newton(design, space, run, room, enough)
            ends[0, slot], ends[1, slot], ends[2, slot] = here, expected, steps
            if pick >= 0:
                _note(pick, left, features)
                reached[r, pick] = here
                if here < fact[0]:
                    fact[0], fact[5] = here, steps
                    congruent(run.factor, room.one, g)
            elif face == last:
                size = 10.0**-tries if tries < 4 * q + 3 else 0.0
                settled = _settle(g, fact, (squares, ends), ranks, size, design.n, room)
                face, tries = -1, tries + 1
        if settled >= 0:
            run = one_run(squares, lines, bends, settled)
            _record(fact, curves[r], run, ends[:, settled], design.n, room)


def solve(stack: Stack) -> Optimum:
    """Find the minimum of the deviance for every design of a stack.

    Parameters
    ----------
    stack : Stack
    """
    q, designs, groups, at = stack.q, len(stack.n), stack.root.shape[1], places(stack.q)
    table = standard_starts(q, groups > MANY_GROUPS)
    g, curves = np.zeros((designs, q, q)), np.full((designs, len(at)), np.nan)
    facts = np.full((designs, len(_UNKNOWN)), _UNKNOWN)
    starts = np.full((designs, len(table)), np.nan)
    found, faces = (g, facts, curves, starts), (*_faces(q), q > 1 and groups <= _FEW_GROUPS)
    _search(stack.arrays, stack.z_root, found, table.copy(), at, faces)
    deviance, rank, steepest, inward, edge, steps, converged = facts.T
    rest = steepest, curves, inward, edge, steps.astype(np.intp), converged > 0.0, starts
    return Optimum(g, deviance, rank.astype(np.intp), *rest)
