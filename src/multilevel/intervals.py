"""Intervals for the therapist effect: profile likelihood and parametric bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.information import component_names
from multilevel.likelihood import Array, Stack, coordinates
from multilevel.many import ManyFits, fit_many
from multilevel.newton import newton
from multilevel.partition import random_row
from multilevel.replicate import replicate_moments

if TYPE_CHECKING:
    from multilevel.mixed import MixedFit

__all__ = ["BootstrapInterval", "ProfileInterval", "bootstrap_interval", "profile_interval"]

#: Relative therapist variances searched: the variance partition coefficient from 1e-9 to 1 - 1e-9.
_LEAST, _MOST = 1e-9, 1e9


@dataclass(frozen=True)
class ProfileInterval:
    """Profile-likelihood interval for the variance partition coefficient at the mean.

    Attributes
    ----------
    estimate, lower, upper : float
        The lower bound is nil where no therapist effect at all fits well enough.
    level : float
    profile : DataFrame
        The curve to draw: vpc, and the rise in deviance when it is held there.
    """

    estimate: float
    lower: float
    upper: float
    level: float
    profile: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return the interval as a table of one row."""
        values = {"estimate": self.estimate, "lower": self.lower, "upper": self.upper}
        return pd.DataFrame([{**values, "level": self.level}], index=pd.Index(["vpc"]))


@dataclass(frozen=True)
class BootstrapInterval:
    """Parametric-bootstrap intervals for the therapist effect and the variance components.

    Attributes
    ----------
    intervals : DataFrame
        By quantity (vpc, then the components): estimate, mean, se, lower, upper (percentiles) and
        lower_corrected, upper_corrected (bias-corrected percentiles).
    level : float
    draws : DataFrame
        The quantities in every replicate.
    singular, failed : int
        Replicates whose fit was singular, and those without a certified fit, left out.
    seed : int
    """

    intervals: pd.DataFrame
    level: float
    draws: pd.DataFrame
    singular: int
    failed: int
    seed: int

    @property
    def lower(self) -> float:
        """Lower percentile of the variance partition coefficient."""
        return float(self.intervals["lower"].iloc[0])

    @property
    def upper(self) -> float:
        """Upper percentile of the variance partition coefficient."""
        return float(self.intervals["upper"].iloc[0])

    def table(self) -> pd.DataFrame:
        """Return the intervals as a table with one row a quantity."""
        return self.intervals


class _Profile:
    """The deviance minimised with the therapist variance at a point held, over the rest."""

    def __init__(self, fit: MixedFit, row: Array) -> None:
        q = fit.stack.q
        along = np.linalg.solve(fit.stack.z_root[0], row)
        self.size = float(along @ along)
        basis = np.linalg.qr(np.column_stack([along, np.eye(q)]))[0][:, :q]
        self.stack: Stack = fit.stack.rotate(basis[None])
        self.found = basis.T @ fit.optimum.g[0] @ basis
        self.places = coordinates(q)

    def __call__(self, relative: Array) -> Array:
        """Deviance at each held relative variance, shape (S,)."""
        held = np.sqrt(np.asarray(relative, dtype=float) / self.size)
        count, k = len(held), len(self.places)
        best = np.full(count, np.inf)
        nil = held == 0.0
        free = np.ones((count, k))
        free[:, 0] = 0.0
        for t, (i, j) in enumerate(self.places):
            if j == 0 and i > 0:
                # Without variance in the first direction there is nothing to covary with.
                free[nil, t] = 0.0
        stack = self.stack.take(np.zeros(count, dtype=np.intp))
        for theta in self._starts(held):
            path = newton(stack, np.where(free > 0, theta, theta * 0.0) + self._held(held), free)
            best = np.minimum(best, path.deviance)
        return best

    def _held(self, held: Array) -> Array:
        out = np.zeros((len(held), len(self.places)))
        out[:, 0] = held
        return out

    def _starts(self, held: Array) -> list[Array]:
        """Start from the optimum with its correlations kept, and from no correlation."""
        values, vectors = np.linalg.eigh(self.found)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        upper: Array = np.linalg.qr(root.T)[1]
        upper = upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
        near = np.array([upper[j, i] for i, j in self.places])
        apart = np.array([0.3 * float(i == j) for i, j in self.places])
        near = near + 1e-3 * (apart > 0)
        return [np.tile(start, (len(held), 1)) for start in (near, apart)]


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError("the level of an interval lies between 0 and 1", hint="give 0.95")


def profile_interval(fit: MixedFit, level: float) -> ProfileInterval:
    """Profile-likelihood interval for the variance partition coefficient at the mean.

    Parameters
    ----------
    fit : MixedFit
        With at least one random term.
    level : float
    """
    from scipy.stats import chi2

    _check_level(level)
    if not fit.design.random:
        raise InputError("the model has no random term, so there is no therapist effect")
    row = random_row(fit.design, None)
    profile = _Profile(fit, row)
    relative = float(row @ fit.ingredients.relative @ row)
    ceiling = fit.deviance + float(chi2.ppf(level, 1))
    lower, upper = _lower(profile, relative, ceiling), _upper(profile, relative, ceiling)
    curve = _curve(profile, relative, lower, upper, fit.deviance)
    bounds = (relative / (1 + relative), lower / (1 + lower), upper / (1 + upper))
    return ProfileInterval(*bounds, level, curve)


def _crossing(profile: _Profile, inside: float, outside: float, ceiling: float) -> float:
    """Where the profile meets the ceiling between a point below it and one above it."""
    from scipy.optimize import brentq

    def above(log_relative: float) -> float:
        return float(profile(np.array([np.exp(log_relative)]))[0]) - ceiling

    return float(np.exp(brentq(above, np.log(inside), np.log(outside), xtol=1e-10, rtol=1e-12)))


def _lower(profile: _Profile, relative: float, ceiling: float) -> float:
    if relative <= _LEAST or profile(np.zeros(1))[0] <= ceiling:
        return 0.0
    steps = relative * 4.0 ** -np.arange(1.0, 16.0)
    outside = steps[np.argmax(profile(steps) > ceiling)]
    return _crossing(profile, min(outside * 4.0, relative), outside, ceiling)


def _upper(profile: _Profile, relative: float, ceiling: float) -> float:
    inside = max(relative, _LEAST)
    outside = inside
    while profile(np.array([outside]))[0] <= ceiling and outside < _MOST:
        inside, outside = outside, outside * 4.0
    return _crossing(profile, inside, outside, ceiling)


def _curve(
    profile: _Profile, relative: float, lower: float, upper: float, deviance: float
) -> pd.DataFrame:
    """Rise in deviance over the coefficient, from a little below to a little above the bounds."""
    at = relative / (1 + relative)
    low, high = lower / (1 + lower), upper / (1 + upper)
    wide = high - low
    grid = np.linspace(max(low - 0.1 * wide, 0.0), min(high + 0.1 * wide, 1 - 1e-6), 60)
    shares = np.unique(np.append(grid, at))
    rise = profile(shares / (1.0 - shares)) - deviance
    return pd.DataFrame({"vpc": shares, "rise": np.maximum(rise, 0.0)})


def bootstrap_interval(fit: MixedFit, level: float, draws: int, seed: int) -> BootstrapInterval:
    """Parametric-bootstrap intervals, from responses simulated at the level of moments.

    Parameters
    ----------
    fit : MixedFit
        With at least one random term.
    level : float
    draws : int
        Replicates.
    seed : int
    """
    _check_level(level)
    if draws < 20:
        raise InputError("too few bootstrap draws for an interval", hint="take 999 or more")
    row = random_row(fit.design, None)
    if not len(row):
        raise InputError("the model has no random term, so there is no therapist effect")
    cross = replicate_moments(
        fit.design,
        fit.coefficients,
        fit.random_covariance.to_numpy(),
        fit.residual_variance,
        draws,
        np.random.default_rng(seed),
    )
    fits = fit_many(fit.design, cross, method=fit.method, point=row)
    good = fits.converged
    if not good.any():
        raise InputError("no bootstrap replicate could be fitted")
    table = _quantities(fits, component_names(fit.design))
    covariance = fit.random_covariance.to_numpy()
    components = [covariance[i, j] for i, j in coordinates(len(row))]
    estimates = np.array([fit.vpc(), *components, fit.residual_variance])
    intervals = _percentiles(table[good], estimates, level)
    return BootstrapInterval(
        intervals, level, table[good], int(fits.singular[good].sum()), int((~good).sum()), seed
    )


def _quantities(fits: ManyFits, names: tuple[str, ...]) -> pd.DataFrame:
    places = coordinates(len(fits.random_names))
    columns = [fits.vpc, *(fits.random_covariance[:, i, j] for i, j in places)]
    columns.append(fits.residual_variance)
    return pd.DataFrame(dict(zip(("vpc", *names), columns, strict=True)))


def _percentiles(draws: pd.DataFrame, estimates: Array, level: float) -> pd.DataFrame:
    """Percentile and bias-corrected percentile bounds of every quantity."""
    from scipy.stats import norm

    tails = np.array([0.5 - level / 2.0, 0.5 + level / 2.0])
    values = draws.to_numpy()
    count = len(values)
    below = (values < estimates).mean(axis=0) + (values == estimates).mean(axis=0) / 2.0
    shift = norm.ppf(np.clip(below, 0.5 / count, 1.0 - 0.5 / count))
    corrected = norm.cdf(2.0 * shift[:, None] + norm.ppf(tails))
    plain = np.quantile(values, tails, axis=0)
    moved = np.array([np.quantile(values[:, i], corrected[i]) for i in range(values.shape[1])])
    columns = {
        "estimate": estimates,
        "mean": values.mean(axis=0),
        "se": values.std(axis=0, ddof=1),
        "lower": plain[0],
        "upper": plain[1],
        "lower_corrected": moved[:, 0],
        "upper_corrected": moved[:, 1],
    }
    return pd.DataFrame(columns, index=pd.Index(draws.columns, name="quantity"))
