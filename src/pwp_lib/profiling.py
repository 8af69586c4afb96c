"""Fair profiles of therapists: funnel limits, reliability, rankability and percentiles of rank.

A funnel plot shows **unshrunken** rates or means against limits that allow for chance alone.
Shrunken residuals do not belong in one: they have paid for chance already.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.draws import tail_of
from multilevel.errors import InputError
from multilevel.fit import MixedFit
from multilevel.partition import random_row
from pwp_lib.models import two_level
from pwp_lib.ranking import rank_uncertainty

__all__ = ["funnel_limits", "overdispersion", "patients_needed", "rankability", "therapist_profile"]


def funnel_limits(
    target: float,
    sizes: ArrayLike,
    *,
    sd: float | None = None,
    levels: Sequence[float] = (0.95, 0.998),
    dispersion: float = 1.0,
) -> pd.DataFrame:
    """Limits within which rates or means lie by chance, by number of patients.

    Parameters
    ----------
    target : float
        Rate of all, a share from 0 to 1; or their mean.
    sizes : array_like of int
        Numbers of patients.
    sd : float, optional
        SD of patients within therapists: limits of means. Without it, limits of rates.
    levels : sequence of float
        Shares of therapists that chance leaves within the limits.
    dispersion : float
        Limits are widened by its root; see `overdispersion`. One widens nothing.

    Returns
    -------
    DataFrame
        Indexed by size: ``lower_95``, ``upper_95`` and so on, in the units of `target`.

    Raises
    ------
    InputError
        If a rate is not a share, a size is no whole number from 1 on, a level does not lie between
        0 and 1, or an SD or a dispersion is negative.

    Notes
    -----
    Rates have the exact binomial limits, interpolated between whole numbers of patients, of
    Spiegelhalter (2005), Statistics in Medicine 24, 1185-1202; means the normal ones. Upper limits
    of rates are those of the opposite outcome, so that no tail holds more than it should.

    Examples
    --------
    >>> funnel_limits(0.5, [20, 80], levels=[0.95]).round(2).values.tolist()
    [[0.26, 0.74], [0.38, 0.62]]
    >>> funnel_limits(6.0, [25], sd=5.0, levels=[0.95]).round(2).values.tolist()
    [[4.04, 7.96]]
    """
    from scipy.stats import norm

    n = np.atleast_1d(np.asarray(sizes, dtype=float))
    whole = ((n >= 1) & (n <= 1e9) & (n % 1 == 0)).all()
    if not whole or not all(0 <= x < np.inf for x in (abs(target), dispersion, sd or 0)):
        raise InputError("sizes are whole numbers from 1, an SD and a dispersion not negative")
    if sd is None and not 0 <= target <= 1:
        raise InputError("a rate is a share from 0 to 1", hint="34% is 0.34")
    table = pd.DataFrame(index=pd.Index(n.astype(int), name="n"))
    for level in levels:
        tail = tail_of(level)
        if sd is None:
            ends = _lower_limit(target, n, tail), 1 - _lower_limit(1 - target, n, tail)
        else:
            half = sd * norm.isf(tail) / np.sqrt(n)
            ends = target - half, target + half
        for name, end in zip(("lower", "upper"), ends, strict=True):
            table[f"{name}_{100 * level:g}"] = target + np.sqrt(dispersion) * (end - target)
    return table.clip(0, 1) if sd is None else table


def _lower_limit(rate: float, n: NDArray[np.float64], tail: float) -> NDArray[np.float64]:
    """Interpolate the number of patients at which the distribution function reaches `tail`."""
    from scipy.stats import binom

    count = binom.ppf(tail, n, rate)
    above = binom.cdf(count, n, rate)
    step = np.maximum(binom.pmf(count, n, rate), np.finfo(float).tiny)
    limit: NDArray[np.float64] = np.clip((count - (above - tail) / step) / n, 0, 1)
    return limit


def overdispersion(z: ArrayLike) -> float:
    """How much further apart therapists are than chance has it: the mean square of z.

    Parameters
    ----------
    z : array_like
        Each therapist's figure less the target, in standard errors; for observed and expected
        counts ``log(O / E) * sqrt(E)``. Nobody is trimmed.

    Returns
    -------
    float
        About 1 where there is nothing but chance.

    Examples
    --------
    >>> o = np.array([100, 150, 180, 80, 120, 225])
    >>> e = np.array([108, 112, 165, 95, 100, 220])
    >>> round(overdispersion(np.log(o / e) * np.sqrt(e)), 6)
    2.948033
    """
    known = np.asarray(z, dtype=float)
    if not np.isfinite(known := known[~np.isnan(known)]).all() or not known.size:
        raise InputError("the figures are not finite numbers, or there is none")
    return float(np.square(known).mean())


def patients_needed(between: float, within: float, reliability: float = 0.7) -> float:
    """Patients of a therapist whose mean is this reliable; infinite where nobody differs.

    Parameters
    ----------
    between, within : float
        Variance between therapists, and of patients within one.
    reliability : float
        Share of the variance of observed means that is real.

    Examples
    --------
    >>> patients_needed(4.0, 36.0)
    21.0
    """
    if not (0 < reliability < 1 and 0 <= between < np.inf and 0 <= within < np.inf):
        raise InputError("a reliability lies between 0 and 1, and no variance is negative")
    odds = reliability / (1 - reliability)
    return float(np.ceil(round(odds * within / between, 9))) if between > 0 else float("inf")


def rankability(between: float, squared_errors: ArrayLike) -> float:
    """Share of the differences in rank that is not chance.

    Variance between therapists over itself and the median squared standard error of therapists'
    unshrunken figures (Lingsma et al. 2009, BMC Medical Research Methodology 9, 53).

    Parameters
    ----------
    between : float
    squared_errors : array_like
        One a therapist: the variance within over the number of patients.

    Examples
    --------
    >>> round(rankability(4.0, [36 / 10, 36 / 20, 36 / 90]), 2)
    0.69
    """
    errors = np.asarray(squared_errors, dtype=float)
    if not (0 <= between < np.inf and errors.size and (errors >= 0).all()):
        raise InputError("variances are numbers, none of them negative, one or more of the errors")
    return between / (between + float(np.median(errors))) if between > 0 else 0.0


def therapist_profile(
    fit: MixedFit, *, higher_is_worse: bool = True, size: int | None = None, seed: int = 1
) -> pd.DataFrame:
    """How reliable each therapist's figure is, and where they may stand.

    Parameters
    ----------
    fit : MixedFit
        With a random intercept.
    higher_is_worse : bool
        Direction of the scale.
    size : int, optional
        Of the upper and the lower group; see `cluster_size`.
    seed : int
        Of the joint draws of the effects; see `rank_uncertainty`.

    Returns
    -------
    DataFrame
        By therapist, best first: ``n``; ``departure``, the unshrunken mean of the patients' last
        scores less what the fixed part expects; ``reliability``, n over n + within / between, at
        the mean first score; ``expected_rank``, the mean rank over the draws, with ``rank_lower``
        and ``rank_upper``; ``percentile``, the probability, in percent, that a colleague drawn at
        random does better (Lingsma et al. 2009); ``p_upper`` and ``p_lower``, probabilities of the
        upper and the lower group.

    Examples
    --------
    >>> from pwp_lib import fit_mixed, load_cohort, model_formula
    >>> fit = fit_mixed(model_formula("phq9"), load_cohort().patients)
    >>> table = therapist_profile(fit)
    >>> table.loc["T20", ["n", "expected_rank"]].round(1).tolist()
    [134.0, 1.9]
    """
    design = spread.plain if (spread := two_level(fit).spread) else fit.design
    drawn = rank_uncertainty(fit, seed=seed, higher_is_worse=higher_is_worse, size=size)
    size_of = np.sqrt(np.diagonal(design.total)[list(design.random)] / design.n_total)
    elsewhere = (np.abs(random_row(design, None)) > 1e-6 * size_of)[1:].any()
    if design.random_names[0] != "Intercept" or elsewhere:
        problem = "the bracket has no intercept where its predictors have their means"
        raise InputError(problem, hint="write center(x), and {center(x) ** 2} for its square")
    means = design.cross[:, design.names.index("Intercept")] / design.n[:, None]
    departure = means[:, design.response] - means[:, list(design.fixed)] @ fit.coefficients
    found = pd.DataFrame({"n": design.n, "departure": departure}, design.groups).loc[drawn.index]
    n, share = found["n"], fit.vpc()
    return found.assign(
        reliability=n * share / (1 + (n - 1) * share),
        expected_rank=drawn["mean_rank"],
        rank_lower=drawn["lower"],
        rank_upper=drawn["upper"],
        percentile=100 * (drawn["mean_rank"] - 0.5) / len(drawn),
        p_upper=drawn["p_upper"],
        p_lower=drawn["p_lower"],
    )
