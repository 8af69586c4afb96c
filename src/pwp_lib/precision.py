"""How precisely a therapist effect can be known: by formula, and by simulation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.many import fit_many

__all__ = [
    "Precision",
    "SimulatedPrecision",
    "interval_coverage",
    "precision",
    "precision_grid",
    "simulate_precision",
]


@dataclass(frozen=True)
class Precision:
    """What a design can be expected to say of a therapist effect.

    Attributes
    ----------
    vpc : float
        The therapist effect supposed, as a share.
    therapists, patients : int
    se : float
        Standard error of the estimated therapist effect, from the expected information.
    lower, upper : float
        Where the 95% interval is expected to lie, built on the log-odds scale; of no use for an
        effect below its own standard error.
    power : float
        Probability that the one-way F test at .05 finds the therapists to differ; exact for
        equal caseloads, otherwise by the approximation of Satterthwaite.
    reliability_smallest, reliability_largest : float
        Share of a therapist's observed deviation that is real, for the smallest and the largest
        caseload: what a residual is shrunk by.
    """

    vpc: float
    therapists: int
    patients: int
    se: float
    lower: float
    upper: float
    power: float
    reliability_smallest: float
    reliability_largest: float

    def table(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([vars(self)])


def caseloads(therapists: int | None, caseload: ArrayLike) -> NDArray[np.float64]:
    """Patients of each therapist; refuse a design that cannot tell therapists from patients."""
    sizes = np.atleast_1d(np.asarray(caseload, dtype=float))
    if therapists is not None:
        if sizes.size != 1:
            raise InputError("give either a number of therapists or a list of caseloads")
        sizes = np.full(int(therapists), sizes[0])
    # Nothing compares with what is not a number, and so many are no caseload.
    if sizes.size < 2 or not ((sizes >= 1) & (sizes < 2**40)).all() or sizes.sum() <= sizes.size:
        raise InputError(
            "precision needs two therapists at least, one of them with several patients"
        )
    return sizes


def _expected_information(n: NDArray[np.float64], vpc: float) -> NDArray[np.float64]:
    """Of the variances between and within, summing to 1; ML, shape (2, 2)."""
    total = n * vpc + (1 - vpc)
    within = (n - 1) / (1 - vpc) ** 2
    bb = ((n / total) ** 2).sum()
    bw = (n / total**2).sum()
    ww = (within + 1 / total**2).sum()
    information: NDArray[np.float64] = np.array([[bb, bw], [bw, ww]]) / 2
    return information


def standard_error(n: NDArray[np.float64], vpc: float) -> float:
    """Give the standard error of the therapist effect from the expected information."""
    covariance = np.linalg.inv(_expected_information(n, vpc))
    gradient = np.array([1 - vpc, -vpc])
    return float(np.sqrt(gradient @ covariance @ gradient))


def precision(
    caseload: ArrayLike,
    vpc: float,
    *,
    therapists: int | None = None,
) -> Precision:
    """Precision and power of a therapist effect, without simulation.

    The random-intercept model; what the pre scores explain is taken as explained.

    Parameters
    ----------
    caseload : int or sequence of int
        Patients of each therapist, or of every one when `therapists` is given.
    vpc : float
        Therapist effect supposed, a share from 0 to below 1.
    therapists : int, optional

    Raises
    ------
    InputError
        If `vpc` is not a share or the design cannot tell therapists from patients.

    Examples
    --------
    >>> few = precision(53, 0.09, therapists=21)
    >>> many = precision(53, 0.09, therapists=84)
    >>> round(few.se, 3), round(few.se / many.se, 2)
    (0.03, 2.0)
    """
    n = caseloads(therapists, caseload)
    if not 0 <= vpc < 1:
        raise InputError("a therapist effect is a share from 0 to below 1", hint="8.7% is 0.087")
    se = standard_error(n, vpc)
    lower, upper = log_odds_interval(vpc, se)
    shrink = n * vpc / (n * vpc + 1 - vpc)
    return Precision(
        vpc=float(vpc),
        therapists=n.size,
        patients=int(n.sum()),
        se=se,
        lower=lower,
        upper=upper,
        power=_power(n, vpc),
        reliability_smallest=float(shrink.min()),
        reliability_largest=float(shrink.max()),
    )


def log_odds_interval(vpc: float, se: float) -> tuple[float, float]:
    """Form the 95% interval on the log-odds of the effect, which keeps the bounds shares."""
    if vpc == 0:
        return 0.0, np.nan
    from scipy.special import expit, logit
    from scipy.stats import norm

    half = norm.ppf(0.975) * se / (vpc * (1 - vpc))
    return float(expit(logit(vpc) - half)), float(expit(logit(vpc) + half))


def _power(n: NDArray[np.float64], vpc: float) -> float:
    """Compute the power of the one-way F test at .05.

    The mean square between therapists is a quadratic form of normal means; its first two moments
    are matched by a scaled chi-square. With equal caseloads that is no approximation.
    """
    from scipy.stats import f as f_distribution

    j, total = n.size, n.sum()
    # Sum of squares between therapists: z'Az, Cov(z) = diag(b + w/n), A = diag(n) - nn'/N.
    variance = vpc + (1 - vpc) / n
    # The traces of A Cov(z) and of its square, without a J x J matrix.
    weighted = n * variance
    mean = (weighted * (1 - n / total)).sum()
    square = (weighted**2 * (1 - 2 * n / total)).sum() + ((n * weighted).sum() / total) ** 2
    df = mean**2 / square
    scale = mean / (j - 1) / (1 - vpc)
    critical = f_distribution.isf(0.05, j - 1, total - j)
    return float(f_distribution.sf(critical / scale, df, total - j))


def precision_grid(
    therapists: Iterable[int], caseloads: Iterable[int], vpc: float | Sequence[float] = 0.09
) -> pd.DataFrame:
    """`precision` for every combination of therapists, equal caseload and therapist effect.

    Returns
    -------
    DataFrame
        ``therapists``, ``patients`` (of each), ``total_patients``, ``vpc``, ``se``, ``lower``,
        ``upper``, ``power`` and ``reliability``.

    Examples
    --------
    >>> grid = precision_grid([10, 40], [25], 0.05)
    >>> grid[["therapists", "patients"]].values.tolist()
    [[10, 25], [40, 25]]
    """
    therapists, caseloads, effects = list(therapists), list(caseloads), np.atleast_1d(vpc).tolist()
    if not (therapists and caseloads and effects):
        raise InputError("a grid needs one value of each at least")
    if min(*therapists, *caseloads) < 1:
        raise InputError("a design has one therapist at least, and one patient of each")
    rows = [
        {"therapists": count, "patients": size, "total_patients": one.patients, **vars(one)}
        | {"patients": size}
        for effect, count, size in product(effects, therapists, caseloads)
        for one in [precision(size, effect, therapists=count)]
    ]
    # All caseloads are equal: the smallest is any.
    table = pd.DataFrame(rows).drop(columns="reliability_largest")
    return table.rename(columns={"reliability_smallest": "reliability"})


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
        How often the estimate is zero.
    coverage_wald, coverage_log_odds, coverage_profile : float
        How often the truth lies in the 95% interval from the expected information (of no width
        where the estimate is zero), in the same on the log-odds scale (not defined, and counted as
        a miss, where the estimate is zero), and in the profile-likelihood interval.
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
    cross = _cohorts(n, vpc, replicates, np.random.default_rng(seed))
    fits = fit_many(_random_intercept(n), cross)
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
    therapists = list(therapists)
    if not 0 < vpc < 1 or not therapists:
        raise InputError("coverage needs therapists, and a true effect between 0 and 1")
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


def _cohorts(
    n: NDArray[np.float64], vpc: float, replicates: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Cross-products of the constant and normal scores, shape (replicates, therapists, 2, 2).

    Therapists' means are normal, and sums of squares about them chi-square, so that no patient
    has to be drawn.
    """
    shape = (replicates, n.size)
    mean = np.sqrt(vpc) * rng.standard_normal(shape)
    mean += np.sqrt((1 - vpc) / n) * rng.standard_normal(shape)
    within = 2 * (1 - vpc) * rng.standard_gamma((n - 1) / 2, size=shape)
    cross = np.array([[n + 0 * mean, n * mean], [n * mean, within + n * mean**2]])
    return cross.transpose(2, 3, 0, 1)


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
    by_patients = patients * (np.log(2 * np.pi * left / patients) + 1)
    deviance: NDArray[np.float64] = by_patients + np.log(spread).sum(axis=1)
    return deviance


def _information_coverage(
    n: NDArray[np.float64], estimates: NDArray[np.float64], vpc: float
) -> tuple[float, float]:
    """How often the two intervals from the expected information hold the truth."""
    above = estimates[estimates > 0]
    errors = np.array([standard_error(n, float(estimate)) for estimate in above])
    wald = np.abs(above - vpc) <= 1.96 * errors
    ends = [log_odds_interval(*pair) for pair in zip(above, errors, strict=True)]
    log_odds = [lower <= vpc <= upper for lower, upper in ends]
    at_zero = (vpc == 0) * (len(estimates) - len(above))
    return (int(wald.sum()) + at_zero) / len(estimates), sum(log_odds) / len(estimates)
