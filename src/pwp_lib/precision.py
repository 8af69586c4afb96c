"""How precisely a therapist effect can be known, by therapists and caseload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.errors import InputError

__all__ = [
    "Precision",
    "precision",
    "precision_grid",
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
        Probability that the one-way F test at `alpha` finds the therapists to differ; exact for
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
    if sizes.size < 2 or (sizes < 1).any() or sizes.sum() <= sizes.size:
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
    level: float = 0.95,
    alpha: float = 0.05,
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
    level : float
        Of the interval.
    alpha : float
        Of the test.

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
    lower, upper = log_odds_interval(vpc, se, level)
    shrink = n * vpc / (n * vpc + 1 - vpc)
    return Precision(
        vpc=float(vpc),
        therapists=n.size,
        patients=int(n.sum()),
        se=se,
        lower=lower,
        upper=upper,
        power=_power(n, vpc, alpha),
        reliability_smallest=float(shrink.min()),
        reliability_largest=float(shrink.max()),
    )


def log_odds_interval(vpc: float, se: float, level: float) -> tuple[float, float]:
    """Delta method on the log-odds of the therapist effect, which keeps the bounds shares."""
    if vpc == 0:
        return 0.0, np.nan
    from scipy.special import expit, logit
    from scipy.stats import norm

    half = norm.ppf((1 + level) / 2) * se / (vpc * (1 - vpc))
    return float(expit(logit(vpc) - half)), float(expit(logit(vpc) + half))


def _power(n: NDArray[np.float64], vpc: float, alpha: float) -> float:
    """Of the one-way F test.

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
    critical = f_distribution.isf(alpha, j - 1, total - j)
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
    rows: list[dict[str, Any]] = []
    counts, sizes = list(therapists), list(caseloads)
    for effect in np.atleast_1d(np.asarray(vpc, dtype=float)):
        for count in counts:
            for size in sizes:
                one = precision(size, float(effect), therapists=count)
                rows.append(
                    {
                        "therapists": count,
                        "patients": size,
                        "total_patients": one.patients,
                        "vpc": one.vpc,
                        "se": one.se,
                        "lower": one.lower,
                        "upper": one.upper,
                        "power": one.power,
                        "reliability": one.reliability_smallest,
                    }
                )
    return pd.DataFrame(rows)
