"""The deviance of a random-intercept logistic model by adaptive Gauss-Hermite quadrature.

Rows that share group and predictors are one cell. In each group the integral over the random
intercept is taken at nodes around its mode, scaled by the curvature there. The gradient is that
of the sum as computed, mode and scale moving with the parameters; the Hessian is Louis's (1982,
JRSS B 44, 226-233): the mean curvature of the complete data plus the variance of their scores.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multilevel.tiers import compiled, loose

Array = NDArray[np.float64]

#: Nodes of Gauss-Hermite quadrature beyond these add nothing.
MOST_NODES = 300
#: As far from a mode, in standard deviations by the curvature there, lie even nodes: of a group
#: without a success the integrand is ten times as wide on one side.
_REACH = 30.0
#: The Hessian is taken with as many nodes at least: with one there is no variance of scores.
FEW_NODES = 9
#: Cells whose groups are worked on at a time.
_BLOCK = 16_000
#: Log odds beyond these are as good as certain.
EDGE = 300.0
#: Newton stops when the decrease in deviance that it can still expect is below this.
_TOLERANCE = 1e-14


@dataclass(frozen=True)
class Cells:
    """Counts by group and pattern of predictors, sorted by group.

    Attributes
    ----------
    group : ndarray of int, shape (C,)
        Code of each cell's group, from 0 without gaps.
    x : ndarray of shape (C, p)
        Predictors.
    trials, successes : ndarray of shape (C,)
    """

    group: NDArray[np.int64]
    x: Array
    trials: Array
    successes: Array

    def sums(self, values: Array) -> Array:
        """Add up within groups, along the first axis."""
        return np.asarray(np.add.reduceat(values, self.begin[:-1], axis=0))

    @cached_property
    def begin(self) -> NDArray[np.int64]:
        """Where each group's cells begin, and where the last one's end."""
        return np.flatnonzero(np.diff(self.group, prepend=-1, append=-1))


@dataclass(frozen=True)
class Point:
    """The deviance at some parameters.

    Attributes
    ----------
    theta : ndarray of shape (p + 1,)
        Fixed coefficients and the standard deviation of the random intercept, of either sign.
    modes, precision : ndarray of shape (J,)
        Mode of each group's standard normal intercept, and the curvature there.
    deviance : float
        Without the binomial constants.
    slope, bend : ndarray of shape (p + 1,) and (p + 1, p + 1)
        Its first and second derivatives.
    """

    theta: Array
    modes: Array
    precision: Array
    deviance: float
    slope: Array
    bend: Array


@cache
def _rule(nodes: int) -> Array:
    """Nodes for a standard normal scale, and the logs of what their heights are multiplied by.

    Many nodes are evenly spaced: where groups lie far apart the integrand is smooth on the scale of
    log odds alone, and errors of such a sum fall with the exponential of their number, Gauss's not.
    """
    if nodes > MOST_NODES:
        even = np.linspace(-_REACH, _REACH, nodes)
        return np.array([even, 0.0 * even + np.log((even[1] - even[0]) / np.sqrt(2.0 * np.pi))])
    x, w = np.polynomial.hermite.hermgauss(nodes)
    return np.array([np.sqrt(2.0) * x, np.log(w) + x**2 - 0.5 * np.log(np.pi)])


def measure(cells: Cells, theta: Array, nodes: int, start: Array) -> Point:
    """Deviance and its derivatives at some parameters.

    Parameters
    ----------
    cells : Cells
    theta : ndarray of shape (p + 1,)
    nodes : int
        One is Laplace's approximation.
    start : ndarray of shape (J,)
        Where to look for the modes first.
    """
    eta, groups = cells.x @ theta[:-1], len(start)
    # Given the parameters groups are independent: cores work side by side on blocks of them. Sums
    # are added up in one order whatever their number.
    some = max(1, _BLOCK * MOST_NODES // max(nodes, MOST_NODES) * groups // len(eta))
    blocks = [slice(first, first + some) for first in range(0, groups, some)]
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        parts = [*cores.map(partial(_measure, cells, theta, nodes, eta, start.copy()), blocks)]
    *places, totals, slopes, bends = zip(*parts, strict=True)
    modes, precision = map(np.concatenate, places)
    deviance, slope, bend = (-2.0 * sum(v[1:], v[0]) for v in (totals, slopes, bends))
    if nodes < FEW_NODES:
        bend = measure(cells, theta, FEW_NODES, modes).bend
    return Point(theta, modes, precision, deviance, slope, bend)


def _measure(
    cells: Cells, theta: Array, nodes: int, eta: Array, modes: Array, own: slice
) -> tuple[Any, ...]:
    """Of some groups, what `measure` says of all: with the log-likelihood for the deviance."""
    begin, modes, size = cells.begin[own.start : own.stop + 1], modes[own], len(theta)
    columns, sigma = (begin, cells.x, cells.trials, cells.successes, eta), float(theta[-1])
    sums, at, share = (np.zeros((len(modes), k)) for k in (2 + 2 * size, nodes, nodes))
    scores, bend = np.zeros((size, len(modes), nodes)), np.zeros((size, size))
    room = *np.empty((3, nodes)), np.empty((np.diff(begin).max(), nodes))
    _integrate(columns, sigma, _rule(nodes), room, (modes, sums, at, share, scores, bend))
    left, weight, skew = sums[:, :3].T
    precision = 1.0 + sigma**2 * weight
    # How modes and logs of scales move with the parameters.
    moved = np.column_stack([-sigma * sums[:, 3 : 2 + size], left - sigma * modes * weight])
    moved /= precision[:, None]
    last = 2.0 * sigma * weight + sigma**2 * skew * modes
    curved = np.column_stack([sigma**2 * sums[:, 2 + size : -1], last])
    curved += sigma**3 * skew[:, None] * moved
    stretched = -0.5 * curved / precision[:, None]
    pull = share * (sigma * scores[-1] - at)
    scores[-1] *= at
    weighted = share * scores
    mean = weighted.sum(axis=2)
    slope = mean.sum(axis=1) + moved.T @ pull.sum(axis=1)
    slope += stretched.T @ (1.0 + (pull * (at - modes[:, None])).sum(axis=1))
    bend += np.tril(bend, -1).T - mean @ mean.T
    bend += weighted.reshape(size, -1) @ scores.reshape(size, -1).T
    return modes, precision, float(sums[:, -1].sum()), slope, bend


@compiled(0)  # type: ignore[untyped-decorator]
@loose  # type: ignore[untyped-decorator]
def _integrate(cells: Any, sigma: Any, rule: Any, room: Any, out: Any) -> None:
    """Integrate each group over its intercept.

    Parameters
    ----------
    cells : tuple of ndarray
        Where each group's cells begin and the last one's end; predictors; trials; successes; log
        odds of the fixed part, overwritten by those at the modes.
    sigma : float
    rule : ndarray of shape (2, K)
    room : tuple of ndarray
        To be overwritten: three of shape (K,) and (most cells of a group, K).
    out : tuple of ndarray
        To be filled, all but the first from zeros: modes, (J,), from where to look first; at them,
        (J, 4 + 2 p), successes less expected ones, their variance and its derivative by the log
        odds, the last two with each predictor, and the log of the integral; intercepts at the
        nodes, (J, K), and the nodes' shares of the integral; at each node, (p + 1, J, K), successes
        less expected ones, with each predictor and alone; (p + 1, p + 1), less the mean curvature
        given the intercepts, its lower triangle.
    """
    (begin, x, trials, successes, eta), (modes, sums, at, share, scores, bend) = cells, out
    (shift, odds, rest, spread), nodes, p = room, at.shape[1], x.shape[1]
    for j in range(len(modes)):
        first, end = begin[j], begin[j + 1]
        for _ in range(1_000):
            slope, curve = -modes[j], 1.0
            for c in range(first, end):
                chance = 1.0 / (1.0 + np.exp(-eta[c] - sigma * modes[j]))
                slope += sigma * (successes[c] - trials[c] * chance)
                curve += sigma * sigma * trials[c] * chance * (1.0 - chance)
            step = slope / curve
            # Over two log odds the curvature changes by a factor that no longer step survives.
            modes[j] += step / max(1.0, 0.5 * abs(sigma * step))
            # The next step would be the square of this one.
            if abs(step) <= 1e-8:
                break
        for c in range(first, end):
            eta[c] = min(max(eta[c] + sigma * modes[j], -EDGE), EDGE)
            chance = 1.0 / (1.0 + np.exp(-eta[c]))
            weight = trials[c] * chance * (1.0 - chance)
            skew = weight * (1.0 - 2.0 * chance)
            sums[j, 0] += successes[c] - trials[c] * chance
            sums[j, 1] += weight
            sums[j, 2] += skew
            for m in range(p):
                sums[j, 3 + m] += weight * x[c, m]
                sums[j, 3 + p + m] += skew * x[c, m]
        scale = 1.0 / np.sqrt(1.0 + sigma * sigma * sums[j, 1])
        for k in range(nodes):
            at[j, k] = modes[j] + scale * rule[0, k]
            shift[k] = min(max(sigma * scale * rule[0, k], -EDGE), EDGE)
            odds[k] = np.exp(shift[k])
            share[j, k] = rule[1, k] - 0.5 * at[j, k] ** 2
        for c in range(first, end):
            own = np.exp(eta[c])
            for k in range(nodes):
                grown = 1.0 + own * odds[k]
                share[j, k] += successes[c] * (eta[c] + shift[k]) - trials[c] * np.log(grown)
                expected = trials[c] * (1.0 - 1.0 / grown)
                spread[c - first, k] = expected / grown
                rest[k] = successes[c] - expected
                scores[p, j, k] += rest[k]
            for m in range(p):
                for k in range(nodes):
                    scores[m, j, k] += x[c, m] * rest[k]
        most, whole = -np.inf, 0.0
        for k in range(nodes):
            most = max(most, share[j, k])
        for k in range(nodes):
            share[j, k] = np.exp(share[j, k] - most)
            whole += share[j, k]
        sums[j, -1] = most + np.log(whole * scale)
        for k in range(nodes):
            share[j, k] /= whole
        for c in range(first, end):
            alone, once = 0.0, 0.0
            for k in range(nodes):
                weight = share[j, k] * spread[c - first, k]
                alone += weight
                once += weight * at[j, k]
                bend[p, p] -= weight * at[j, k] ** 2
            for m in range(p):
                bend[p, m] -= once * x[c, m]
                for i in range(m + 1):
                    bend[m, i] -= alone * x[c, m] * x[c, i]


def minimise(cells: Cells, theta: Array, nodes: int, modes: Array, held: bool) -> Point:
    """Newton's method with absolute curvatures; the standard deviation stays where it is held."""
    here, free = measure(cells, theta, nodes, modes), len(theta) - held
    for _ in range(100):
        values, axes = np.linalg.eigh(here.bend[:free, :free])
        size = np.maximum(np.abs(values), 1e-10 * np.abs(values).max())
        along = axes.T @ here.slope[:free]
        if 0.5 * float((along**2 / size).sum()) <= _TOLERANCE:
            break
        step = np.zeros_like(here.theta)
        step[:free] = -axes @ (along / size)
        # No step takes the standard deviation far beyond what is known.
        step /= max(1.0, abs(step[-1]) / (0.5 + abs(here.theta[-1])))
        for halving in 0.5 ** np.arange(30):
            trial = measure(cells, here.theta + halving * step, nodes, here.modes)
            if trial.deviance <= here.deviance + 1e-13 * abs(here.deviance):
                break
        else:
            break
        here = trial
    return here
