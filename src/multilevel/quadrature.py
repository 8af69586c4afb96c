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
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Nodes beyond these add nothing, however far groups lie apart.
MOST_NODES = 300
#: The Hessian is taken with as many nodes at least: with one there is no variance of scores.
_HESSIAN_NODES = 9
#: Cells whose groups are worked on at a time.
_BLOCK = 16_000
#: Log odds beyond these are as good as certain.
_EDGE = 300.0
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
        return np.asarray(np.add.reduceat(values, self._begin, axis=0))

    @cached_property
    def _begin(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.diff(self.group, prepend=-1))

    @cached_property
    def blocks(self) -> list[tuple[slice, Cells]]:
        """Whole groups, some `_BLOCK` cells at a time, and where they stand among all."""
        columns = self.group, self.x, self.trials, self.successes
        some = max(1, _BLOCK * len(self._begin) // len(self.group))
        parts = zip(*(np.split(c, self._begin[some::some]) for c in columns), strict=True)
        return [(slice(g[0], g[-1] + 1), Cells(g - g[0], *rest)) for g, *rest in parts]


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
def _rule(nodes: int) -> tuple[Array, Array]:
    """Nodes for a standard normal scale, and the logs of what their heights are multiplied by."""
    x, w = np.polynomial.hermite.hermgauss(nodes)
    return np.sqrt(2.0) * x, np.log(w) + x**2 - 0.5 * np.log(np.pi)


def _modes(cells: Cells, eta: Array, sigma: float, start: Array) -> Array:
    """Most likely standard normal intercept of each group, by Newton's method."""
    from scipy.special import expit

    modes = start
    for _ in range(1_000):
        p = expit(eta + sigma * modes[cells.group])
        slope = sigma * cells.sums(cells.successes - cells.trials * p) - modes
        step = slope / (1.0 + sigma**2 * cells.sums(cells.trials * p * (1.0 - p)))
        # Over two log odds the curvature changes by a factor that no longer step survives.
        modes = modes + step / np.maximum(1.0, 0.5 * np.abs(sigma * step))
        # The next step would be the square of this one.
        if np.abs(step).max() <= 1e-8:
            break
    return modes


def measure(
    cells: Cells, theta: Array, nodes: int, start: Array, bend_nodes: int = _HESSIAN_NODES
) -> Point:
    """Deviance and its derivatives at some parameters.

    Parameters
    ----------
    cells : Cells
    theta : ndarray of shape (p + 1,)
    nodes : int
        One is Laplace's approximation.
    start : ndarray of shape (J,)
        Where to look for the modes first.
    bend_nodes : int
        Nodes that the second derivatives are taken with at least.
    """

    def work(block: tuple[slice, Cells]) -> tuple[Any, ...]:
        return _measure(block[1], theta, nodes, start[block[0]], bend_nodes)

    # Given the parameters groups are independent: in blocks, all their nodes stay in the cache,
    # and cores work side by side. Sums are added up in one order whatever their number.
    if len(cells.blocks) == 1:
        parts = [work(cells.blocks[0])]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as cores:
            parts = [*cores.map(work, cells.blocks)]
    modes, precision, *sums = zip(*parts, strict=True)
    total, slope, bend = (-2.0 * sum(each[1:], each[0]) for each in sums)
    return Point(theta, np.concatenate(modes), np.concatenate(precision), total, slope, bend)


def _measure(
    cells: Cells, theta: Array, nodes: int, start: Array, bend_nodes: int
) -> tuple[Any, ...]:
    """Modes and precisions, and the log-likelihood with its first and second derivatives."""
    eta, sigma = cells.x @ theta[:-1], float(theta[-1])
    modes = _modes(cells, eta, sigma, start)
    eta = np.clip(eta + sigma * modes[cells.group], -_EDGE, _EDGE)
    precision, moved, stretched = _motion(cells, eta, sigma, modes)
    z = _rule(nodes)[0] / np.sqrt(precision)[:, None]
    total, share, rest, bend = _heights(cells, eta, sigma, modes, precision, nodes)
    if nodes < bend_nodes:
        bend = _heights(cells, eta, sigma, modes, precision, bend_nodes)[3]
    at, within = modes[:, None] + z, cells.sums(rest)
    pull = share * (sigma * within - at)
    slope = moved.T @ pull.sum(axis=1) + stretched.T @ (1.0 + (pull * z).sum(axis=1))
    slope[:-1] += cells.x.T @ (share[cells.group] * rest).sum(axis=1)
    slope[-1] += (share * at * within).sum()
    return modes, precision, total, slope, bend


def _motion(cells: Cells, eta: Array, sigma: float, modes: Array) -> tuple[Array, Array, Array]:
    """Curvature at the modes, and how modes and logs of scales move, each (J, p + 1).

    Log odds `eta` are those at the modes.
    """
    from scipy.special import expit

    p = expit(eta)
    v = cells.trials * p * (1.0 - p)
    skew = v * (1.0 - 2.0 * p)
    weight, bend = cells.sums(v), cells.sums(skew)
    precision = 1.0 + sigma**2 * weight
    last = cells.sums(cells.successes - cells.trials * p) - sigma * modes * weight
    moved = np.column_stack([-sigma * cells.sums(v[:, None] * cells.x), last])
    moved /= precision[:, None]
    last = 2.0 * sigma * weight + sigma**2 * bend * modes
    curved = np.column_stack([sigma**2 * cells.sums(skew[:, None] * cells.x), last])
    curved += sigma**3 * bend[:, None] * moved
    return precision, moved, -0.5 * curved / precision[:, None]


def _heights(
    cells: Cells, eta: Array, sigma: float, modes: Array, precision: Array, nodes: int
) -> tuple[float, Array, Array, Array]:
    """Log-likelihood, shares of the nodes (J, K), rests (C, K), second derivatives."""
    z, weights = _rule(nodes)
    aside = z / np.sqrt(precision)[:, None]
    at, shift = modes[:, None] + aside, np.clip(sigma * aside, -_EDGE, _EDGE)
    own, trials, x = at[cells.group], cells.trials[:, None], cells.x
    # Odds as a product take no exponential of every cell at every node.
    grown = 1.0 + np.exp(eta)[:, None] * np.exp(shift)[cells.group]
    log = cells.sums(cells.successes * eta)[:, None] - cells.sums(trials * np.log(grown))
    logs = weights - 0.5 * at**2 + log + shift * cells.sums(cells.successes)[:, None]
    most = logs.max(axis=1, keepdims=True)
    each = most + np.log(np.exp(logs - most).sum(axis=1, keepdims=True))
    expected = trials * (1.0 - 1.0 / grown)
    share, rest = np.exp(logs - each), cells.successes[:, None] - expected
    v = share[cells.group] * expected / grown
    scores = np.stack([*(cells.sums(column[:, None] * rest) for column in x.T), cells.sums(rest)])
    scores[-1] *= at
    mean = (share * scores).sum(axis=2)
    bend = np.einsum("ijk,ljk->il", share * scores, scores) - mean @ mean.T
    bend[:-1, :-1] -= x.T @ (v.sum(axis=1)[:, None] * x)
    cross = x.T @ (v * own).sum(axis=1)
    bend[:-1, -1], bend[-1, :-1] = bend[:-1, -1] - cross, bend[-1, :-1] - cross
    bend[-1, -1] -= (v * own**2).sum()
    return float((each[:, 0] - 0.5 * np.log(precision)).sum()), share, rest, bend


def minimise(cells: Cells, theta: Array, nodes: int, modes: Array, held: bool) -> Point:
    """Newton's method with absolute curvatures; the standard deviation stays where it is held."""
    # Without a random intercept one node is exact for all that is free; the rest comes at the end.
    least = 1 if held and theta[-1] == 0.0 else _HESSIAN_NODES
    here, free = measure(cells, theta, nodes, modes, least), len(theta) - held
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
            trial = measure(cells, here.theta + halving * step, nodes, here.modes, least)
            if trial.deviance <= here.deviance + 1e-13 * abs(here.deviance):
                break
        else:
            break
        here = trial
    return here if least > 1 else measure(cells, here.theta, nodes, here.modes)
