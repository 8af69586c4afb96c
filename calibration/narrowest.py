"""How narrow a posterior interval of the therapist effect could be, whatever the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError

__all__ = ["NarrowestInterval", "narrowest_interval"]

Floats: TypeAlias = NDArray[np.float64]
#: Points of the grid over the logarithm of the therapists' variance, and its reach either way.
_POINTS, _REACH = 600, 4.0


@dataclass(frozen=True)
class NarrowestInterval:
    """The narrowest interval found, and the cohort that gives it.

    Attributes
    ----------
    lower, upper : float
        Bounds of the 95% interval of the therapist effect, shares.
    sd : float
        Standard deviation that the bounds imply on the log-odds scale.
    caseloads : ndarray, shape (J,)
    departures : ndarray, shape (J,)
        Absolute departures of the therapists' means from the average line, in points.
    """

    lower: float
    upper: float
    sd: float
    caseloads: Floats
    departures: Floats

    def table(self) -> pd.DataFrame:
        """Return the interval as one row, shares."""
        return pd.DataFrame({"lower": [self.lower], "upper": [self.upper], "sd": [self.sd]})


def narrowest_interval(
    caseloads: Sequence[float],
    between: float,
    residual: float,
    *,
    any_caseloads: bool = False,
    starts: int = 10,
    seed: int = 1,
) -> NarrowestInterval:
    """Search all cohorts with one maximum-likelihood estimate for the narrowest interval.

    In a random-intercept model the posterior of the therapists' variance depends on the patients
    only through how far each therapist's mean departs from the average line. All departures are
    tried whose maximum-likelihood estimate of the variance is `between`; the prior is the one that
    MLwiN's default gives the intercept's variance in a random-slope model, inverse gamma with shape
    one half and scale `between`. The average line and `residual` are taken as known, which as a
    rule makes the interval narrower. What is found is the narrowest met, not a proof.

    Parameters
    ----------
    caseloads : sequence of float, length J
        Patients of each therapist.
    between, residual : float
        Variance between therapists (its maximum-likelihood estimate) and within, in squared points.
    any_caseloads : bool
        Whether the caseloads may change too, if number, total, standard deviation, least and most
        stay as they are.
    starts : int
        Searches from random departures; the narrowest interval counts.
    seed : int

    Raises
    ------
    InputError
        If there are fewer than two therapists, or a caseload or a variance is not positive.

    Examples
    --------
    >>> found = narrowest_interval([50] * 21, between=2.8, residual=29.0)
    >>> round(found.lower, 3), round(found.upper, 3)
    (0.051, 0.18)
    """
    n = np.asarray(caseloads, dtype=float)
    if n.ndim != 1 or len(n) < 2 or not (n > 0).all():
        raise InputError("the caseloads must be two or more positive numbers")
    if not (between > 0 and residual > 0):
        raise InputError("both variances must be positive")
    rng = np.random.default_rng(seed)
    found = [_search(n, between, residual, any_caseloads, rng) for _ in range(starts)]
    reached = [r for r in found if r.success]
    if not reached:
        raise InputError("no search came to an end", hint="ask for more starts.")
    best = min(reached, key=lambda r: float(r.fun))
    squares = best.x[: len(n)]
    sizes = best.x[len(n) :] if any_caseloads else n
    (low, high), _ = _bounds(squares, sizes, between, residual)
    share = 1 / (1 + residual / np.exp([low, high]))
    departures = np.sqrt(np.maximum(squares, 0.0))
    return NarrowestInterval(float(share[0]), float(share[1]), float(best.fun), sizes, departures)


def _search(
    n: Floats, between: float, residual: float, free: bool, rng: np.random.Generator
) -> Any:
    """One search from random departures: over these, and over the caseloads where they are free."""
    from scipy.optimize import minimize

    k = len(n)
    start = (between + residual / n) * rng.gamma(0.5, 2.0, k)
    limits = [(0.0, np.inf)] * k
    if free:
        start = np.concatenate([start, np.clip(n * rng.uniform(0.7, 1.3, k), n.min(), n.max())])
        limits += [(n.min(), n.max())] * k

    def width(z: Floats) -> tuple[float, Floats]:
        (low, high), (below, above) = _bounds(z[:k], z[k:] if free else n, between, residual)
        return (high - low) / 3.92, (above - below)[: len(z)] / 3.92

    held = {
        "type": "eq",
        "fun": partial(_held, n, between, residual),
        "jac": partial(_held_slopes, n, between, residual),
    }
    return minimize(
        width, start, jac=True, bounds=limits, constraints=[held], method="SLSQP",
        options={"maxiter": 1_000, "ftol": 1e-9},
    )  # fmt: skip


def _bounds(
    squares: Floats, n: Floats, between: float, residual: float
) -> tuple[Floats, tuple[Floats, Floats]]:
    """Quantiles .025 and .975 of the log variance, and their slopes in squares and caseloads."""
    x = np.linspace(np.log(between) - _REACH, np.log(between) + _REACH, _POINTS)
    v = np.exp(x)[:, None] + residual / n
    log_density = -0.5 * (np.log(v) + squares / v).sum(axis=1) - 0.5 * x - between / np.exp(x)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    below = np.cumsum(density) - density / 2
    by_caseload = (0.5 / v - 0.5 * squares / v**2) * residual / n**2
    slopes = np.hstack([-0.5 / v, by_caseload])
    each = density[:, None] * (slopes - density @ slopes)
    moved = np.cumsum(each, axis=0) - each / 2
    found, gradients = [], []
    for p in (0.025, 0.975):
        at = float(np.interp(p, below, x))
        i = int(np.searchsorted(x, at))
        share = (at - x[i - 1]) / (x[i] - x[i - 1])
        here = (1 - share) * moved[i - 1] + share * moved[i]
        slope = (below[i] - below[i - 1]) / (x[i] - x[i - 1])
        found.append(at)
        gradients.append(-here / slope)
    return np.array(found), (gradients[0], gradients[1])


def _held(given: Floats, between: float, residual: float, z: Floats) -> Floats:
    """Return what must be nil: the likelihood's slope; the caseloads' total and spread."""
    k = len(given)
    n = z[k:] if len(z) > k else given
    v = between + residual / n
    score = float((z[:k] / v**2 - 1 / v).sum())
    if n is given:
        return np.array([score])
    total, squared = n.sum() / given.sum() - 1, (n**2).sum() / (given**2).sum() - 1
    return np.array([score, total, squared])


def _held_slopes(given: Floats, between: float, residual: float, z: Floats) -> Floats:
    k = len(given)
    n = z[k:] if len(z) > k else given
    v = between + residual / n
    score = 1 / v**2
    if n is given:
        return score[None, :]
    by_caseload = (2 * z[:k] / v**3 - 1 / v**2) * residual / n**2
    none = np.zeros(k)
    return np.array([
        np.concatenate([score, by_caseload]),
        np.concatenate([none, np.full(k, 1 / given.sum())]),
        np.concatenate([none, 2 * n / (given**2).sum()]),
    ])  # fmt: skip


def table() -> pd.DataFrame:
    """Set what the printed intervals imply beside the narrowest found, as the chapter shows it."""
    from pwp_lib.cohort import load_cohort
    from pwp_lib.published import published_figure

    cohort = load_cohort()
    caseloads = cohort.patients["therapist_id"].value_counts().tolist()
    found = {}
    for measure in cohort.measures:
        between = published_figure(f"models.{measure.name}.intercept_variance").value
        effect = published_figure(f"models.{measure.name}.vpc").value / 100
        bounds = np.array(
            [published_figure(f"mcmc.{measure.name}.vpc_{b}").value for b in ("lower", "upper")]
        )
        low, high = bounds / 100 + np.array([-0.0005, 0.0005])  # as wide as the rounding allows
        within = between * (1 - effect) / effect
        found[measure.label] = {
            "printed, at widest": np.log(high / (1 - high) / (low / (1 - low))) / (2 * 1.96),
            "narrowest, these caseloads": narrowest_interval(caseloads, between, within).sd,
            "narrowest, any caseloads": narrowest_interval(
                caseloads, between, within, any_caseloads=True
            ).sd,
        }
    return pd.DataFrame(found).T.rename_axis("measure")


if __name__ == "__main__":
    table().to_csv(Path(__file__).with_suffix(".csv"), float_format="%.6f")
