"""Profile-likelihood intervals: of a variance, and of the variance partition coefficient."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from multilevel.draws import tail_of
from multilevel.errors import InputError
from multilevel.likelihood import Array, lower_factor, places
from multilevel.newton import minimise
from multilevel.partition import random_row
from multilevel.solution import Solution

#: Relative variances searched: the partition coefficient from 1e-9 to 1 - 1e-9.
_LEAST, _MOST = 1e-9, 1e9
#: Standardised random terms whose square is no more are zero but for rounding.
_NOWHERE = 1e-16
#: Of the log of a variance, from its estimate outwards.
_STEP = math.log(4.0)

#: Deviance with a variance held.
Profile: TypeAlias = Callable[[float], float]


class Interval(NamedTuple):
    """An estimate with its profile-likelihood interval.

    Attributes
    ----------
    estimate, lower, upper : float
        The lower bound is zero where no variance at all fits well enough.
    level : float
    """

    estimate: float
    lower: float
    upper: float
    level: float

    def of(self, function: Callable[[float], float]) -> Interval:
        """Return estimate and bounds of something that grows with this."""
        return Interval._make((*map(function, self[:3]), self.level))

    def table(self) -> pd.DataFrame:
        """Return the interval as a table of one row."""
        return pd.DataFrame([self._asdict()])


def turned(z_root: Array, at: Array, shared: bool = True) -> tuple[Array, float]:
    """Axes of the random terms, the first along a point, and what it is squared.

    Raises
    ------
    InputError
        Where the groups' variance there is to be `shared` out, and is none whatever the fit.
    """
    size = float((along := np.linalg.solve(z_root, at)) @ along)
    if shared and not size > _NOWHERE:
        why = "at the predictors' means all groups are alike in this model: no share can be held"
        raise InputError(why, hint="add the intercept, (1 + x | g), or ask vpc(at=...) elsewhere")
    return np.linalg.qr(np.column_stack([along, np.eye(len(at))]))[0][:, : len(at)], size


def _profile(fit: Solution, at: Array) -> Profile:
    """Make the deviance, minimised with the random terms' variance at a point held."""
    q, (basis, size) = fit.stack.q, turned(fit.stack.z_root[0], at)
    row, col = places(q).T
    found = lower_factor(basis.T @ fit.optimum.g[0] @ basis)[row, col]
    # From the optimum with its correlations kept, from no correlation, and from large variances
    # along each direction, where a valley may lie that leads from none of these.
    plain, ends = 0.3 * (row == col), product((-10.0, 10.0), repeat=q - 1)
    far = (plain + np.append(0.0, end)[row] * (col == 0) for end in ends)
    starts = np.array([found + plain / 300.0, plain, *far])
    designs = np.zeros(len(starts), np.intp)

    def profile(relative: float) -> float:
        held, free = (relative / size) ** 0.5, np.ones(starts.shape)
        # Without variance in the first direction there is nothing to covary with.
        free[:, (col == 0) & (row > 0)] = held > 0.0
        free[:, 0] = 0.0
        theta = starts * free
        theta[:, 0] = held
        return float(minimise(fit.stack, designs, basis.T, theta, free)[0].min())

    return profile


def profile_interval(fit: Solution, level: float) -> Interval:
    """Profile-likelihood interval for the variance partition coefficient at the mean.

    Parameters
    ----------
    fit : MixedFit
        With at least one random term.
    level : float
    """
    if not fit.design.random:
        raise InputError("the model has no random term, so there is no variance partition")
    row = random_row(fit.design, None)
    relative = float(row @ fit.ingredients.relative @ row)
    return share_interval(_profile(fit, row), relative, fit.deviance, level)


def share_interval(profile: Profile, relative: float, deviance: float, level: float) -> Interval:
    """Interval of a share of variance.

    Parameters
    ----------
    profile : callable
        Deviance with the variance held at a multiple of the rest.
    relative, deviance : float
        At the optimum.
    level : float
    """
    bounds = profile_bounds(profile, relative, deviance, level)
    return Interval(relative, *bounds, level).of(lambda size: 1.0 - 1.0 / (1.0 + size))


def profile_bounds(
    profile: Profile, relative: float, deviance: float, level: float
) -> tuple[float, float]:
    """Where a profile of the deviance over a variance has risen to chi-square's quantile.

    Zero where it never does below the best value, infinite where it never does above.
    """
    from scipy.stats import chi2

    tail_of(level)
    root = math.sqrt(chi2.ppf(level, 1))

    @cache
    def above(log_relative: float) -> float:
        # The root of the rise is nearly straight, so that few steps find where it crosses.
        return math.sqrt(max(profile(math.exp(log_relative)) - deviance, 0.0)) - root

    inside = math.log(max(relative, _LEAST))
    zero = relative <= _LEAST or above(-math.inf) <= 0.0
    return 0.0 if zero else _bound(above, inside, -_STEP), _bound(above, inside, _STEP)


def _bound(above: Callable[[float], float], inside: float, step: float) -> float:
    """Step outwards until the profile is above its bound; then find where it crosses."""
    from scipy.optimize import brentq

    outside = inside
    while above(outside) <= 0.0:
        if outside > math.log(_MOST):
            return math.inf
        inside, outside = outside, outside + step
    return math.exp(brentq(above, inside, outside, xtol=1e-10, rtol=1e-12))
