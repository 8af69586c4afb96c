"""Simulations that show how a therapist effect can mislead: allocation, chance, regression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design, fit_mixed
from pwp_lib.checks import patient_residuals
from pwp_lib.comparison import ancova, compare_rates
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import model_formula
from pwp_lib.ranking import composite_ranks

__all__ = [
    "ChanceComparison",
    "comparison_under_chance",
    "recovery_by_therapist",
    "regression_to_the_mean",
    "simulate_allocation",
]


#: A simulated allocation, in points: SD of first scores and of what is left of last ones, mean
#: last score, SD of the therapists' true effects; and the slope on the first score.
_PRE_SD, _NOISE_SD, _POST_MEAN, _THERAPIST_SD, _SLOPE = 6.4, 4.7, 8.7, 1.7, 0.55
_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class ChanceComparison:
    """Clusters compared when patients are dealt to therapists at random.

    Attributes
    ----------
    repeats : DataFrame
        One row a random deal and measure: adjusted ``difference`` (points, upper less lower), ``f``
        and the rates of reliable improvement in both clusters.
    observed : DataFrame
        The same figures under the allocation as it is; one row a measure.
    """

    repeats: pd.DataFrame
    observed: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Observed figures beside the mean and the 95th percentile under chance."""
        by_chance = self.repeats.groupby("measure", sort=False)
        f = by_chance["f"]
        return pd.DataFrame(
            {
                "difference_observed": self.observed["difference"],
                "difference_by_chance": by_chance["difference"].mean(),
                "f_observed": self.observed["f"],
                "f_by_chance": f.mean(),
                "f_by_chance_95": f.quantile(0.95),
                "share_p_below_05": by_chance["p_value"].apply(lambda p: float((p < 0.05).mean())),
            }
        )


def comparison_under_chance(
    patients: pd.DataFrame,
    measures: Iterable[str | Measure],
    *,
    repeats: int = 40,
    seed: int = 1,
) -> ChanceComparison:
    """Rank, choose and compare after dealing the patients to therapists at random.

    The caseloads stay as they are. Whatever difference appears between the clusters is made by the
    choice: no therapist differs from another.

    Parameters
    ----------
    patients : DataFrame
    measures : iterable of str or Measure
    repeats : int
        Random deals.
    seed : int

    Raises
    ------
    InputError
        If there are fewer than five therapists.
    """
    named = [m if isinstance(m, Measure) else get_measure(m) for m in measures]
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repeats):
        dealt = rng.permutation(patients["therapist_id"].to_numpy(dtype=object))
        rows.append(_chosen_and_compared(patients.assign(therapist_id=dealt), named))
    return ChanceComparison(
        repeats=pd.concat(rows, ignore_index=True),
        observed=_chosen_and_compared(patients, named).set_index("measure"),
    )


def _chosen_and_compared(patients: pd.DataFrame, measures: list[Measure]) -> pd.DataFrame:
    fits = {m.name: fit_mixed(model_formula(m, measures), patients) for m in measures}
    ranks = composite_ranks(fits, measures)
    rows = []
    for m in measures:
        test = ancova(patients, m, ranks)
        rates = compare_rates(patients, m, ranks).loc["improvement"]
        rows.append(
            {
                "measure": m.name,
                "difference": test.difference,
                "f": test.statistic,
                "p_value": test.p_value,
                "improved_upper": rates["rate_upper"],
                "improved_lower": rates["rate_lower"],
            }
        )
    return pd.DataFrame(rows)


def simulate_allocation(
    *,
    therapists: int = 40,
    caseload: int = 50,
    hidden: float = 2.5,
    seed: int = 1,
) -> pd.DataFrame:
    """Residuals against the truth, under three ways of allocating patients.

    Each patient has a first score and a hidden burden that also worsens the last score; the two
    correlate. Patients come to therapists at random, by first score (which the model adjusts for),
    or by hidden burden (which it cannot). Therapists and patients are the same in all three.

    Parameters
    ----------
    therapists, caseload : int
    hidden : float
        Points of last score that go with one SD of hidden burden.
    seed : int

    Returns
    -------
    DataFrame
        One row a therapist and allocation: ``allocation``, ``truth``, ``residual``, ``vpc``.

    Examples
    --------
    >>> table = simulate_allocation(seed=2)
    >>> correlation = table.groupby("allocation")[["truth", "residual"]].corr().iloc[0::2, 1]
    >>> bool(correlation["at random", "truth"] > correlation["by hidden burden", "truth"])
    True
    """
    if therapists < 3 or caseload < 2:
        raise InputError("a simulated allocation needs three therapists of two patients at least")
    rng = np.random.default_rng(seed)
    n = therapists * caseload
    burden = rng.normal(size=n)
    pre = _PRE_SD * (0.5 * burden + np.sqrt(0.75) * rng.normal(size=n))
    noise = rng.normal(scale=_NOISE_SD, size=n)
    truth = rng.normal(scale=_THERAPIST_SD, size=therapists)
    chance = rng.normal(size=n)
    orders = {
        "at random": chance,
        "by first score": pre + _PRE_SD * chance,
        "by hidden burden": burden + chance,
    }
    tables = []
    for name, key in orders.items():
        group = np.empty(n, dtype=np.int64)
        group[np.argsort(key)] = np.repeat(np.arange(therapists), caseload)
        post = _POST_MEAN + _SLOPE * pre + hidden * burden + truth[group] + noise
        columns = {"Intercept": np.ones(n), "pre": pre - pre.mean()}
        fit = fit_design(DesignMoments.from_arrays(post, columns, ["Intercept"], group))
        table = fit.residuals()[["residual"]].assign(allocation=name, vpc=fit.vpc())
        tables.append(table.assign(truth=truth[table.index.astype(int)]))
    found = pd.concat(tables, ignore_index=True)
    return found[["allocation", "truth", "residual", "vpc"]]


def regression_to_the_mean(
    measure: str | Measure = "phq9",
    *,
    mean: float = 10.0,
    sd: float = 6.5,
    retest: float = 0.7,
    n: int = 20_000,
    seed: int = 1,
) -> pd.DataFrame:
    """Change without any treatment in people who were chosen for a high first score.

    Everybody's two scores are drawn from one distribution; nothing happens in between. Those at or
    above the cut-off the first time are followed up, as patients are.

    Parameters
    ----------
    measure : str or Measure
        With a cut-off; scores are rounded and kept within its range.
    mean, sd : float
        Of the scores of everybody, patients and others.
    retest : float
        Correlation of the two scores.
    n : int
        People simulated.
    seed : int

    Returns
    -------
    DataFrame
        Two rows, ``everybody`` and ``chosen``: ``n``, ``mean_pre``, ``mean_post``, ``change`` and
        ``effect_size``.

    Raises
    ------
    InputError
        If the measure has no cut-off.

    Examples
    --------
    >>> table = regression_to_the_mean(seed=3)
    >>> bool(abs(table.loc["everybody", "change"]) < 0.2 < table.loc["chosen", "change"])
    True
    """
    m = measure if isinstance(measure, Measure) else get_measure(measure)
    if m.cutoff is None:
        raise InputError(f"{m.label} has no cut-off by which people could be chosen")
    rng = np.random.default_rng(seed)
    scores = rng.multivariate_normal([0, 0], [[1, retest], [retest, 1]], size=n) * sd + mean
    scores = np.clip(np.rint(scores), m.minimum, m.maximum)
    chosen = np.asarray(m.is_case(scores[:, 0]), dtype=bool)
    rows = {}
    for name, some in (("everybody", scores), ("chosen", scores[chosen])):
        change = m.improvement(some[:, 0], some[:, 1])
        rows[name] = {
            "n": len(some),
            "mean_pre": some[:, 0].mean(),
            "mean_post": some[:, 1].mean(),
            "change": change.mean(),
            "effect_size": change.mean() / some[:, 0].std(ddof=1),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("people")


def recovery_by_therapist(
    fit: MixedFit,
    patients: pd.DataFrame,
    measure: str | Measure,
) -> pd.DataFrame:
    """Turn a share of variance into patients: expected recoveries by the therapist's percentile.

    Every case is imagined with a therapist at each percentile of the fitted distribution of
    intercepts; the probability of a last score below the cut-off follows from the model's normal
    distribution. It describes caseloads, and is no promise of what a change of therapist would do.

    Parameters
    ----------
    fit : MixedFit
        With a random intercept.
    patients : DataFrame
        Those to whom the model was fitted.
    measure : str or Measure
        With a cut-off.

    Returns
    -------
    DataFrame
        By percentile of effectiveness, from 5 to 95 (better than 95% of therapists): ``intercept``
        (points relative to the average) and ``recovered_per_100`` cases.

    Raises
    ------
    InputError
        If the measure has no cut-off, or nobody is a case.
    """
    from scipy.stats import norm

    m = measure if isinstance(measure, Measure) else get_measure(measure)
    if m.cutoff is None:
        raise InputError(f"{m.label} has no cut-off, so recovery is not defined")
    patients = patients.reset_index(drop=True)  # two tables put together repeat their index
    expected = patient_residuals(fit, patients)["expected"]
    cases = np.asarray(m.is_case(patients.loc[expected.index, m.pre]), dtype=bool)
    if not cases.any():
        raise InputError("nobody was a case before, so nobody could recover")
    at = expected.to_numpy(dtype=float)[cases]
    # Scores are whole numbers: half a point below the cut-off parts recovered from not recovered.
    limit = m.cutoff - 0.5 * m.sign
    between = float(fit.random_covariance["Intercept"].loc["Intercept"]) ** 0.5
    rows = {}
    for percentile in _PERCENTILES:
        shift = -m.sign * between * float(norm.ppf(percentile / 100))
        chance = norm.cdf(m.sign * (limit - at - shift) / fit.residual_variance**0.5)
        rows[percentile] = {"intercept": shift, "recovered_per_100": 100 * float(chance.mean())}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("percentile")
