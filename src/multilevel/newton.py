"""Newton's method on the elements of the relative covariance factor, compiled.

It takes the absolute values of the curvatures, inside a trust radius. The deviance is even in the
diagonal elements, so nothing has to be constrained; an element that is held at zero keeps a run on
the boundary.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from multilevel.design import Array
from multilevel.identify import Stack
from multilevel.likelihood import covariance_hessian, evaluate, one_design, places, workspace
from multilevel.small import compiled, congruent, copy, diagonalise, folded, inner

#: Newton stops when the decrease that it can still expect in the deviance is below the first of
#: these, or after the step that follows an expected decrease below the second: no digit is left.
TOLERANCE, _LAST = 1e-20, 1e-12
#: Newton steps allowed from one start.
_STEPS = 100


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
    deviance, expected, steps : ndarray of shape (S,)
        With the decrease that was still expected, and how many steps were taken.
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
    steps: Array


@folded  # type: ignore[untyped-decorator]
def make_ends(axes: Any, theta: Any, free: Any) -> Any:
    """Make runs that are to start from these elements."""
    (count, k), q = theta.shape, axes.shape[-1]
    lines, squares, ends = np.zeros((3, count, k)), np.zeros((2, count, q, q)), np.zeros((3, count))
    rest = squares[0], squares[1], ends[0], ends[1], ends[2]
    hessian = np.zeros((count, k, k))
    return Ends(axes, theta, free, lines[0], lines[1], lines[2], hessian, *rest)


class Room(NamedTuple):
    """Small matrices to be filled; before them places of elements, and ones."""

    places: NDArray[np.intp]
    one: Array
    lower: Array
    factor: Array
    half: Array
    turned: Array
    spare: Array
    inside: Array
    link: Array
    bend: Array
    vectors: Array


@folded  # type: ignore[untyped-decorator]
def make_room(q: Any, places: Any) -> Any:
    """Make it."""
    a, b = np.zeros((6, q, q)), np.zeros((4, len(places), len(places)))
    for i in range(q):
        a[0, i, i] = 1.0
    return Room(places, a[0], a[1], a[2], a[3], a[4], a[5], b[0], b[1], b[2], b[3])


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
def newton(design: Any, space: Any, ends: Any, s: Any, room: Any, tolerance: Any) -> None:
    """Minimise the deviance of a design from the start of one run.

    Parameters
    ----------
    design : Design
    space : Workspace
    ends : Ends
    s : int
        Which run.
    room : Room
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
def _minimise(arrays: Any, rows: Any, start: Any, places: Any, least: Any) -> Any:
    ends, (groups, q, width) = make_ends(start[0], start[1], start[2]), arrays[1].shape[1:]
    space, room = workspace(groups, q, width), make_room(q, places)
    for s in range(len(rows)):
        newton(one_design(arrays, rows[s]), space, ends, s, room, least)
    return ends


def minimise(
    stack: Stack, rows: Any, basis: Array, theta: Array, free: Array, least: float = TOLERANCE
) -> Ends:
    """Apply Newton's method from these elements, each run to a design; all in one basis."""
    axes = np.array(np.broadcast_to(basis.T, (len(rows), stack.q, stack.q)), order="C")
    start = axes, np.array(theta, order="C"), np.array(free, order="C")
    return cast(Ends, _minimise(stack.arrays, rows, start, places(stack.q), least))
