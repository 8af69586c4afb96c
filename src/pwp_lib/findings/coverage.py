"""How often intervals of the therapist effect hold the truth, by simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pwp_lib.engine.many import fit_many
from pwp_lib.engine.simulate import simulate_designs
from pwp_lib.engine.truth import Truth
from pwp_lib.errors import InputError
from pwp_lib.findings.precision import log_odds_interval, standard_error

__all__ = ["interval_coverage"]


def interval_coverage(
    therapists: Iterable[int],
    *,
    caseload: int = 50,
    vpc: float = 0.09,
    replicates: int = 400,
    level: float = 0.95,
    seed: int = 1,
) -> pd.DataFrame:
    """Coverage of two simple intervals, and power of the test, by number of therapists.

    Cohorts are simulated from a random-intercept truth and fitted by maximum likelihood with
    `fit_many`. Standard errors come from the expected information at the estimates.

    Parameters
    ----------
    therapists : iterable of int
    caseload : int
        Patients of each.
    vpc : float
        True therapist effect, above 0.
    replicates : int
        Cohorts for each number of therapists.
    level : float
        Of the intervals.
    seed : int

    Returns
    -------
    DataFrame
        One row a number of therapists: ``vpc`` (mean estimate), ``bias``, ``sd``, ``singular``
        (share), ``coverage_wald`` (estimate and standard errors), ``coverage_log_odds`` (the same
        on the log-odds scale; a singular fit counts as a miss) and ``power`` of the
        likelihood-ratio test, boundary allowed for, at 1 - `level`.

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
    rows = {}
    for count in therapists:
        truth = _intercept_only(count, caseload, vpc)
        simulated = simulate_designs(truth, replicates=replicates, seed=seed)
        design = simulated.design(slope=False)
        fits = fit_many(design, simulated.cross)
        single = _single_level_deviance(simulated.cross, len(simulated.names), truth.n_patients)
        rows[count] = _summary(
            fits.vpc, fits.singular, single - fits.deviance, caseload, count, vpc, level
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("therapists")


def _intercept_only(therapists: int, caseload: int, vpc: float) -> Truth:
    one = Truth.one_measure().with_therapists(therapists, caseload=caseload).with_vpc(vpc)
    covariance = np.zeros((2, 2))
    covariance[0, 0] = one.random_covariance[0][0]
    return replace(one, random_covariance=tuple(tuple(float(v) for v in row) for row in covariance))


def _single_level_deviance(
    cross: NDArray[np.float64], columns: int, patients: int
) -> NDArray[np.float64]:
    """-2 log-likelihood of the model without therapists, for each replicate."""
    total = cross.sum(axis=1)
    x, y = slice(0, columns - 1), columns - 1
    beta = np.linalg.solve(total[:, x, x], total[:, x, y, None])[..., 0]
    rss = total[:, y, y] - np.einsum("rp,rp->r", beta, total[:, x, y])
    deviance: NDArray[np.float64] = patients * (np.log(2 * np.pi * rss / patients) + 1)
    return deviance


def _summary(
    found: NDArray[np.float64],
    singular: NDArray[np.bool_],
    statistic: NDArray[np.float64],
    caseload: int,
    therapists: int,
    truth: float,
    level: float,
) -> dict[str, Any]:
    from scipy.stats import chi2, norm

    z = norm.ppf((1 + level) / 2)
    wald, log_odds = [], []
    n = np.full(therapists, float(caseload))
    for estimate, at_zero in zip(found, singular, strict=True):
        se = standard_error(n, float(estimate))
        lower, upper = log_odds_interval(float(estimate), se, level)
        wald.append(abs(estimate - truth) <= z * se)
        log_odds.append(not at_zero and lower <= truth <= upper)
    # Half chi2(0) + half chi2(1): a p-value of 5% is the upper 10% point of chi2(1).
    critical = chi2.isf(2 * (1 - level), 1)
    return {
        "vpc": float(found.mean()),
        "bias": float(found.mean() - truth),
        "sd": float(found.std(ddof=1)),
        "singular": float(singular.mean()),
        "coverage_wald": float(np.mean(wald)),
        "coverage_log_odds": float(np.mean(log_odds)),
        "power": float((statistic > critical).mean()),
    }
