"""Precision, power and coverage of a therapist effect, by simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.many import fit_many
from multilevel.replicate import replicate_moments
from pwp_lib.precision import caseloads, log_odds_interval, precision, standard_error

__all__ = ["SimulatedPrecision", "interval_coverage", "simulate_precision"]


@dataclass(frozen=True)
class SimulatedPrecision:
    """What a design does say of a therapist effect, by simulation.

    Attributes
    ----------
    vpc : float
        The therapist effect that is true, a share.
    therapists, patients, replicates : int
    estimates : ndarray of shape (replicates,)
        Maximum-likelihood estimates.
    bias, sd : float
        Mean estimate less the truth, and SD of the estimates.
    share_zero : float
        How often the estimate is nil.
    coverage_wald, coverage_log_odds, coverage_profile : float
        How often the truth lies in the 95% interval from the expected information (of no width
        where the estimate is nil), in the same on the log-odds scale (not defined, and counted as
        a miss, where the estimate is nil), and in the profile-likelihood interval.
    coverage_error : float
        Monte Carlo standard error of a coverage of 95% with so many replicates.
    power, power_boundary : float
        How often the likelihood-ratio test finds a therapist effect at .05: on chi-square with one
        degree of freedom, and on the mixture that regards the boundary.
    """

    vpc: float
    therapists: int
    patients: int
    replicates: int
    estimates: NDArray[np.float64]
    bias: float
    sd: float
    share_zero: float
    coverage_wald: float
    coverage_log_odds: float
    coverage_profile: float
    coverage_error: float
    power: float
    power_boundary: float

    def table(self) -> pd.DataFrame:
        """One row, without the estimates themselves."""
        return pd.DataFrame([{k: v for k, v in vars(self).items() if k != "estimates"}])


def simulate_precision(
    caseload: ArrayLike,
    vpc: float,
    *,
    therapists: int | None = None,
    replicates: int = 1_000,
    seed: int = 1,
) -> SimulatedPrecision:
    """Precision, power and coverage of a therapist effect, by simulation.

    Cohorts are drawn as moments and fitted in one go with `fit_many`, so that a thousand take a
    second. The model is the random-intercept one, normal at both levels.

    Parameters
    ----------
    caseload, vpc, therapists
        As for `precision`.
    replicates : int
    seed : int

    Raises
    ------
    InputError
        As `precision`.

    Examples
    --------
    >>> found = simulate_precision(50, 0.09, therapists=21, replicates=200)
    >>> found.power > 0.95, 0 < found.sd < 0.05
    (True, True)
    """
    from scipy.stats import chi2

    n = caseloads(therapists, caseload)
    expected = precision(n, vpc)
    roles = _random_intercept(n)
    rng = np.random.default_rng(seed)
    cross = replicate_moments(roles, [0.0], [[vpc]], 1.0 - vpc, replicates, rng)
    fits = fit_many(roles, cross)
    # At the estimate the profile equals the deviance; at zero it is the single-level model's.
    statistic = _profile_deviance(cross, 0.0) - fits.deviance
    at_truth = _profile_deviance(cross, vpc) - fits.deviance
    wald, log_odds = _information_coverage(n, fits.vpc, vpc)
    return SimulatedPrecision(
        vpc=expected.vpc,
        therapists=expected.therapists,
        patients=expected.patients,
        replicates=replicates,
        estimates=fits.vpc,
        bias=float(fits.vpc.mean() - vpc),
        sd=float(fits.vpc.std(ddof=1)),
        share_zero=float(fits.singular.mean()),
        coverage_wald=wald,
        coverage_log_odds=log_odds,
        coverage_profile=float((at_truth <= chi2.isf(0.05, 1)).mean()),
        coverage_error=float(np.sqrt(0.95 * 0.05 / replicates)),
        power=float((statistic > chi2.isf(0.05, 1)).mean()),
        power_boundary=float((statistic > chi2.isf(0.10, 1)).mean()),
    )


def interval_coverage(
    therapists: Iterable[int],
    *,
    caseload: int = 50,
    vpc: float = 0.09,
    replicates: int = 2_000,
    seed: int = 1,
) -> pd.DataFrame:
    """Coverage of simple 95% intervals, and power, by number of therapists.

    Parameters
    ----------
    therapists : iterable of int
    caseload : int
        Patients of each.
    vpc : float
        True therapist effect, above 0.
    replicates : int
        Cohorts for each number of therapists.
    seed : int

    Returns
    -------
    DataFrame
        One row a number of therapists, with the columns of `simulate_precision`.

    Raises
    ------
    InputError
        If the effect is not between 0 and 1.

    Examples
    --------
    >>> table = interval_coverage([8, 60], replicates=100)
    >>> bool(table.loc[60, "power"] >= table.loc[8, "power"])
    True
    """
    if not 0 < vpc < 1:
        raise InputError("coverage needs a true therapist effect between 0 and 1")
    found = [
        simulate_precision(caseload, vpc, therapists=n, replicates=replicates, seed=seed).table()
        for n in therapists
    ]
    return pd.concat(found).set_index("therapists")


def _random_intercept(n: NDArray[np.float64]) -> DesignMoments:
    """Lay out a random-intercept model for these caseloads; the response is a stand-in."""
    group = np.repeat(np.arange(n.size), n.astype(int))
    zero = np.zeros(group.size)
    return DesignMoments.from_arrays(zero, {"Intercept": zero + 1}, ["Intercept"], group)


def _profile_deviance(cross: NDArray[np.float64], vpc: float) -> NDArray[np.float64]:
    """Deviance of each replicate with the therapist effect held, the rest at its best."""
    n, total, squares = cross[..., 0, 0], cross[..., 0, 1], cross[..., 1, 1]
    ratio = vpc / (1 - vpc)
    spread = 1 + n * ratio
    weight, mean = n / spread, total / n
    centre = (weight * mean).sum(axis=1) / weight.sum(axis=1)
    within = (squares - n * mean**2).sum(axis=1)
    left = within + (weight * (mean - centre[:, None]) ** 2).sum(axis=1)
    patients = n.sum(axis=1)
    deviance: NDArray[np.float64] = patients * (np.log(2 * np.pi * left / patients) + 1) + np.log(
        spread
    ).sum(axis=1)
    return deviance


def _information_coverage(
    n: NDArray[np.float64], estimates: NDArray[np.float64], vpc: float
) -> tuple[float, float]:
    """How often the two intervals from the expected information hold the truth."""
    above = estimates[estimates > 0]
    errors = np.array([standard_error(n, float(estimate)) for estimate in above])
    wald = np.abs(above - vpc) <= 1.96 * errors
    ends = [log_odds_interval(*pair, 0.95) for pair in zip(above, errors, strict=True)]
    log_odds = [lower <= vpc <= upper for lower, upper in ends]
    at_zero = (vpc == 0) * (len(estimates) - len(above))
    return (int(wald.sum()) + at_zero) / len(estimates), sum(log_odds) / len(estimates)
