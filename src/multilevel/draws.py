"""Draws of one quantity, summed up: an interval and what the sampling leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.errors import InputError

__all__ = ["PosteriorInterval", "decimals", "tail_of"]

Array = NDArray[np.float64]


def decimals(error: float, most: int = 6) -> int:
    """Decimals that a Monte Carlo error allows: half a unit of the last is no less than it.

    Parameters
    ----------
    error : float
        Monte Carlo standard error, in the unit printed.
    most : int
        Never more decimals than these.

    Returns
    -------
    int
        Zero or more; zero where the error is not known.

    Examples
    --------
    >>> decimals(0.05), decimals(0.06), decimals(0.0004)
    (1, 0, 3)
    """
    if not math.isfinite(error):
        return 0
    if error <= 0:
        return most
    return min(max(math.floor(-math.log10(2 * error) + 1e-9), 0), most)


@dataclass(frozen=True)
class PosteriorInterval:
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

    @property
    def decimals(self) -> int:
        """Decimals that the largest of the three Monte Carlo errors allows."""
        return decimals(max(self.mcse, self.mcse_lower, self.mcse_upper))

    def __str__(self) -> str:
        d = self.decimals
        return f"{self.median:.{d}f} ({self.lower:.{d}f} to {self.upper:.{d}f})"

    def as_row(self) -> dict[str, float | int]:
        """Return the interval as one row of a table."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "level"}
        return row | {"decimals": self.decimals}

    @classmethod
    def of(cls, draws: ArrayLike, level: float = 0.95) -> PosteriorInterval:
        """Interval of draws of shape (chains, draws).

        Examples
        --------
        >>> draws = np.random.default_rng(1).normal(10, 2, size=(4, 5_000))
        >>> print(PosteriorInterval.of(draws))
        10.0 (6.1 to 13.9)
        """
        tail = tail_of(level)
        try:
            x = np.atleast_2d(np.asarray(draws, dtype=float))
        except (TypeError, ValueError):
            raise InputError("the draws are not numbers") from None
        if x.ndim != 2 or not x.size:
            raise InputError("draws of shape (chains, draws) are needed", hint="give one or more")
        probs = (0.5, tail, 1 - tail)
        median, lower, upper = map(float, np.quantile(x, probs))
        return cls(median, lower, upper, level, *_diagnostics(x, probs))


def tail_of(level: float) -> float:
    """Probability on either side of an interval of this level."""
    if not isinstance(level, (int, float)) or not 0 < level < 1:
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
