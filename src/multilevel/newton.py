"""Newton's method on the elements of the relative covariance factor, compiled.

It takes the absolute values of the curvatures, inside a trust radius. The deviance is even in the
diagonal elements, so nothing has to be constrained; an element that is held at zero keeps a run on
the boundary.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np

from multilevel.design import Array
from multilevel.identify import Stack
from multilevel.lanes import zeros
from multilevel.likelihood import covariance_hessian, evaluate, one_design, places, workspace
from multilevel.small import congruent, copy, diagonalise
from multilevel.tiers import compiled, folded

#: Newton stops when the decrease that it can still expect in the deviance is below the first of
#: these, or after the step that follows an expected decrease below the second: no digit is left.
TOLERANCE, _LAST = 1e-20, 1e-12
#: Newton steps allowed from one start.
_STEPS = 100


class Run(NamedTuple):
    """One run, or several, one a row.

    Attributes
    ----------
    axes : ndarray of shape (q, q)
        In rows.
    factor : ndarray of shape (q, q)
        Of the relative covariance in the design's axes; filled, as all that follows.
    gamma : ndarray of shape (q, q)
        Derivatives of the deviance by the relative covariance.
    theta, free : ndarray of shape (k,)
        Elements of the factor in the run's axes, and one where an element may move.
    gradient, hessian : ndarray of shape (k,) and (k, k)
        By these elements.
    """

    axes: Array
    factor: Array
    gamma: Array
    theta: Array
    free: Array
    gradient: Array
    hessian: Array


#: Places of elements, ones, and small matrices and vectors to be filled.
Room = namedtuple(
    "Room", "places one lower factor half turned spare inside link bend vectors trial step"
)


@folded  # type: ignore[untyped-decorator]
def make_room(q: Any, places: Any) -> Any:
    """Make it."""
    k = len(places)
    a, b, c = zeros((6, q, q)), zeros((4, k, k)), zeros((2, k))
    for i in range(q):
        a[0, i, i] = 1.0
    return Room(places, a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3], c[0], c[1])


@folded  # type: ignore[untyped-decorator]
def _step(run: Any, radius: Any, room: Any) -> Any:
    """Fill the step with absolute curvatures inside the trust radius; its expected gain."""
    turned, vectors, step, k = room.bend, room.vectors, room.step, len(room.step)
    copy(run.hessian, turned)
    diagonalise(turned, vectors, k)
    largest, gain, length = 0.0, 0.0, 0.0
    for t in range(k):
        step[t] = 0.0
        largest = max(largest, abs(turned[t, t]))
    for t in range(k):
        size, along = max(abs(turned[t, t]), 1e-9 * largest + 1e-300), 0.0
        for m in range(k):
            along += vectors[t, m] * run.gradient[m]
        for m in range(k):
            step[m] -= vectors[t, m] * along / size
        gain += 0.5 * along * along / size
    for t in range(k):
        length += step[t] * step[t]
    shrink = radius / max(math.sqrt(length), 1e-300)
    for t in range(k):
        step[t] *= min(1.0, shrink)
    return gain


@folded  # type: ignore[untyped-decorator]
def _factor(axes: Any, room: Any) -> None:
    """Fill the factor that elements stand for, in a run's axes and in those of the design."""
    low, factor, places = room.lower, room.factor, room.places
    for t in range(len(places)):
        low[places[t, 0], places[t, 1]] = room.trial[t]
    for r in range(len(low)):
        for j in range(len(low)):
            factor[r, j] = 0.0
            for i in range(j, len(low)):
                factor[r, j] += axes[i, r] * low[i, j]


@folded  # type: ignore[untyped-decorator]
def _derivatives(run: Any, room: Any) -> None:
    """Fill gradient and Hessian by the elements of the factor from those by the covariance."""
    axes, factor, places, link, bend = run.axes, room.factor, room.places, room.link, room.bend
    q, k = len(factor), len(places)
    congruent(axes, run.gamma, room.half)
    for t in range(k):
        i, j, slope = places[t, 0], places[t, 1], 0.0
        for m in range(q):
            slope += room.half[i, m] * room.lower[m, j]
        run.gradient[t] = 2.0 * slope * run.free[t]
        for a in range(k):
            r, c = places[a, 0], places[a, 1]
            link[t, a] = axes[i, r] * factor[c, j] + axes[i, c] * factor[r, j]
    congruent(link, room.inside, bend)
    for t in range(k):
        for m in range(k):
            value = bend[t, m]
            if places[t, 1] == places[m, 1]:
                value += 2.0 * room.half[places[t, 0], places[m, 0]]
            if run.free[t] * run.free[m] == 0.0:
                value = 1.0 if t == m else 0.0
            run.hessian[t, m] = value


@folded  # type: ignore[untyped-decorator]
def one_run(squares: Any, lines: Any, bends: Any, s: Any) -> Any:
    """Take a run out of what runs are in: the matrices, the lists, and the Hessians."""
    a, b = squares[s], lines[s]
    return Run(a[0], a[1], a[2], b[0], b[1], b[2], bends[s])


@folded  # type: ignore[untyped-decorator]
def newton(design: Any, space: Any, run: Any, room: Any, tolerance: Any) -> Any:
    """Minimise the deviance of a design from the start of one run.

    Parameters
    ----------
    design : Design
    space : Workspace
    run : Run
    room : Room
    tolerance : float
        Expected decrease in deviance at which to stop.

    Returns
    -------
    deviance, expected : float
        With the decrease that is still expected.
    steps : int
    """
    places, k = room.places, len(room.places)
    here, radius, length, expected, steps = math.inf, 1.0, 0.0, math.inf, 0
    for t in range(k):
        room.trial[t] = run.theta[t]
    for turn in range(_STEPS):
        _factor(run.axes, room)
        found = evaluate(design, room.factor, space)
        # The deviance itself is known to about its last digits only.
        better = found < math.inf and (turn == 0 or found <= here + 4e-15 * (abs(here) + design.n))
        if better:
            here, radius = found, max(radius, 2.0 * length)
            for t in range(k):
                run.theta[t] = room.trial[t]
            copy(room.factor, run.factor)
            covariance_hessian(design, space, design.dof, places, run.gamma, room.inside)
            _derivatives(run, room)
        else:
            radius = length / 4.0
        if turn > 0 and (expected < _LAST or (not better and expected < 1e-8)):
            break
        expected = _step(run, radius, room)
        if not expected > tolerance:
            break
        steps += 1
        length = 0.0
        for t in range(k):
            room.trial[t] = run.theta[t] + room.step[t]
            length += room.step[t] * room.step[t]
        length = math.sqrt(length)
    return here, expected, steps


@compiled(2_000)  # type: ignore[untyped-decorator]
def _minimise(arrays: Any, rows: Any, runs: Any, ends: Any, places: Any, least: Any) -> None:
    (squares, lines, bends), space = runs, workspace(arrays)
    room = make_room(squares.shape[2], places)
    for s in range(len(rows)):
        run = one_run(squares, lines, bends, s)
        found = newton(one_design(arrays, rows[s]), space, run, room, least)
        ends[0, s], ends[1, s], ends[2, s] = found


def minimise(
    stack: Stack, rows: Any, axes: Any, theta: Any, free: Any, least: float = TOLERANCE
) -> tuple[Array, Run]:
    """Apply Newton's method, each run to a design: deviances, and the runs.

    Parameters
    ----------
    stack : Stack
    rows : ndarray of int, shape (S,)
    axes : ndarray of shape (q, q) or (S, q, q)
        Orthonormal basis, in rows, in which the elements of the factor are.
    theta, free : ndarray of shape (S, k)
        Elements to start from, and one where an element may move.
    least : float
        Expected decrease in deviance at which to stop.
    """
    at, q, runs = places(stack.q), stack.q, len(rows)
    squares, lines = np.zeros((runs, 3, q, q)), np.empty((runs, 3, len(at)))
    squares[:, 0], lines[:, 0], lines[:, 1] = axes, theta, free
    bends, ends = np.empty((runs, len(at), len(at))), np.empty((3, runs))
    _minimise(stack.arrays, rows, (squares, lines, bends), ends, at, least)
    return ends[0], Run._make((*squares.swapaxes(0, 1), *lines.swapaxes(0, 1), bends))
