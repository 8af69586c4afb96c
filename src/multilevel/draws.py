"""Draws of one quantity, summed up: an interval and what the sampling leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.arguments import Checked
from multilevel.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PosteriorInterval(Checked):
    """Median and percentile interval of one quantity, with what the sampling leaves open.

    Attributes
    ----------
    median, lower, upper : float
    level : float
    mcse, mcse_lower, mcse_upper : float
        Monte Carlo standard errors of the median and of the bounds.
    ess, r_hat : float
        Bulk effective sample size; rank-normalised split R-hat, of a single chain between its
        halves (Vehtari and others, 2021, Bayesian Analysis 16, 667-718). NaN for a constant and
        for under eight draws.
    """

    median: float
    lower: float
    upper: float
    level: float
    mcse: float
    mcse_lower: float
    mcse_upper: float
    ess: float
    r_hat: float

    @classmethod
    def of(cls, draws: ArrayLike, level: float = 0.95) -> PosteriorInterval:
        """Interval of draws of shape (chains, draws).

        Examples
        --------
        >>> draws = np.random.default_rng(1).normal(10, 2, size=(4, 5_000))
        >>> found = PosteriorInterval.of(draws)
        >>> round(found.median), round(found.lower), round(found.upper)
        (10, 6, 14)
        """
        tail = tail_of(level)
        try:
            x = np.atleast_2d(np.asarray(draws, dtype=float))
        except (TypeError, ValueError):
            raise InputError("the draws are not numbers") from None
        if x.ndim != 2 or not x.size or np.isinf(x).any():
            raise InputError("finite draws of shape (chains, draws) are needed, one or more")
        probs = (0.5, tail, 1 - tail)
        median, lower, upper = map(float, np.quantile(x, probs))
        return cls(median, lower, upper, level, *_diagnostics(x, probs))


def tail_of(level: float) -> float:
    """Probability on either side of an interval of this level."""
    if not isinstance(level, (int, float)) or not 1e-6 <= level < 1:
        raise InputError("the level of an interval lies between 0 and 1", hint="use 0.95")
    return (1 - level) / 2


def _diagnostics(x: Array, probs: tuple[float, ...]) -> list[float]:
    """Monte Carlo errors of quantiles, bulk effective sample size and R-hat of one quantity."""
    from arviz_stats.base import array_stats as stats

    n_chains, n_draws = x.shape
    if n_draws < 8 or np.ptp(x) == 0:
        return [math.nan] * (len(probs) + 2)
    errors = [float(stats.mcse(x, method="quantile", prob=p)) for p in probs]
    half = n_draws // 2
    several = x if n_chains > 1 else np.stack([x[0, :half], x[0, n_draws - half :]])
    return [*errors, float(stats.ess(x)), float(stats.rhat(several))]
