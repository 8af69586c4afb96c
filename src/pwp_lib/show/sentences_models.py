"""Sentences about fitted models, posteriors, therapists and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import certain_percent, count, listing, p_value, percent, plain, sign_fixed
from pwp_lib.show.style import measure_label

__all__ = [
    "boundary_note",
    "chain_sentence",
    "cluster_members",
    "convergence_sentence",
    "differs_sentence",
    "likelihood_ratio_sentence",
    "posterior_sentence",
    "rank_correlation_sentence",
    "rank_uncertainty_sentence",
    "severity_sentence",
    "shrinkage_sentence",
    "slope_sentence",
    "therapist_effect_sentence",
    "variance_sentence",
]

SIGNIFICANT = 0.05


def likelihood_ratio_sentence(
    test: Any, added: str = "a random intercept for therapists", measure: Any = ""
) -> str:
    """Say whether a larger model fits better.

    Parameters
    ----------
    test : LikelihoodRatioTest
    added : str
        What the larger model has more.
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    statistic = max(float(test.statistic), 0.0)
    found = f"χ²({test.df}) = {statistic:,.3f}, {p_value(test.p_value)}"
    both = test.p_value_boundary
    if not np.isnan(both) and p_value(both) != p_value(test.p_value):
        found += f"; {p_value(both)} with regard to the boundary"
    if test.p_value < SIGNIFICANT:
        return f"Adding {added} improves the fit{on} ({found})."
    if not np.isnan(both) and both < SIGNIFICANT:
        return (
            f"Whether {added} improves the fit{on} depends on the test: only with regard to the "
            f"boundary is it significant ({found})."
        )
    return f"Adding {added} does not improve the fit{on} beyond chance ({found})."


def boundary_note(test: Any) -> str:
    """Say what the boundary does to a likelihood-ratio test of a variance."""
    if np.isnan(test.p_value_boundary) or test.p_value_boundary == test.p_value:
        return ""
    if p_value(test.p_value_boundary) == p_value(test.p_value):
        return (
            "A variance cannot be negative, so that the plain chi-square test is cautious; here "
            f"the mixture that respects the boundary gives {p_value(test.p_value)} as well."
        )
    return (
        "A variance cannot be negative, so that the plain chi-square test is cautious: the mixture "
        f"that respects the boundary gives {p_value(test.p_value_boundary)} in place of "
        f"{p_value(test.p_value)}."
    )


def convergence_sentence(fit: Any) -> str:
    """Say whether the optimum is certain, and whether the fit is singular.

    Parameters
    ----------
    fit : MixedFit
    """
    if not fit.converged:
        return (
            "The search for the optimum did not end with a certificate: these estimates must not "
            "be relied on."
        )
    if fit.singular:
        return (
            "The fit is singular: a variance between therapists is estimated as nil, or the "
            "correlation of intercept and slope as perfect, so that the data do not bear all the "
            "random terms."
        )
    return "The optimum is certified, and lies within the bounds of the variances."


def therapist_effect_sentence(fit: Any, measure: Any = "") -> str:
    """Say what share of the variance lies between therapists, at the mean score before treatment.

    Parameters
    ----------
    fit : MixedFit
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    effect = float(fit.vpc())
    if effect < 5e-7:
        return (
            f"The therapist effect{on} is estimated as nil: these data show no difference between "
            f"{count(fit.n_groups, 'therapist')} beyond what chance between patients brings."
        )
    if effect < 5e-4:
        return (
            f"The therapist effect{on} is estimated as below {percent(5e-4, 2)}: these data show "
            f"hardly any difference between {count(fit.n_groups, 'therapist')} beyond what chance "
            "between patients brings."
        )
    return (
        f"The therapist effect{on} is {percent(effect)}: of the variance in outcome that the "
        f"scores before treatment leave, this share lies between the "
        f"{count(fit.n_groups, 'therapist')}, for patients of average severity."
    )


def posterior_sentence(interval: Any, measure: Any = "", *, mark: float | None = None) -> str:
    """Say median and interval of the therapist effect, with no more decimals than are certain.

    Parameters
    ----------
    interval : PosteriorInterval
        Shares and their Monte Carlo errors, from `GibbsDraws.vpc_interval`.
    measure : Measure or str
    mark : float, optional
        The maximum likelihood estimate to set beside it.
    """
    on = f" on {measure_label(measure)}" if measure else ""
    mid = certain_percent(interval.median, interval.mcse)
    low = certain_percent(interval.lower, interval.mcse_lower)
    high = certain_percent(interval.upper, interval.mcse_upper)
    text = (
        f"The posterior median of the therapist effect{on} is {mid}, with a "
        f"{plain(100 * interval.level, 1)}% interval from {low} to {high}"
    )
    if mark is not None:
        there = "inside" if interval.lower <= mark <= interval.upper else "outside"
        text += f"; the maximum likelihood estimate, {percent(mark)}, lies {there} it"
    return f"{text}."


def chain_sentence(interval: Any) -> str:
    """Say how well a chain has mixed, from effective draws, R-hat and Monte Carlo error."""
    well = interval.ess >= 400 and (np.isnan(interval.r_hat) or interval.r_hat <= 1.01)
    verdict = (
        "The chain has mixed well"
        if well
        else "The chain has not mixed well enough to be relied on: draw more"
    )
    hat = "" if np.isnan(interval.r_hat) else f", R-hat {interval.r_hat:.3f}"
    return (
        f"{verdict} (effective draws {interval.ess:,.0f}{hat}, Monte Carlo error of the median "
        f"{plain(100 * interval.mcse, 3)} points)."
    )


def variance_sentence(fit: Any, measure: Any = "") -> str:
    """Say the variances between therapists with their standard errors, and whether they matter.

    Parameters
    ----------
    fit : MixedFit
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    errors, out = fit.variance_se(), []
    for k, name in enumerate(fit.random_covariance.index):
        value, se = float(fit.random_covariance.iloc[k, k]), float(errors[f"var({name})"])
        what = "intercept" if name == "Intercept" else "slope"
        if value <= 0:
            out.append(f"the {what} variance is nil")
            continue
        beyond = (
            "" if np.isnan(se) else (", beyond 1.96 of it" if value / se > 1.96 else
                                     ", within 1.96 of it")
        )  # fmt: skip
        error = "not defined" if np.isnan(se) else f"{se:.3f}"
        out.append(f"the {what} variance is {value:.3f} (standard error {error}{beyond})")
    if not out:
        return "The model has no random term."
    return (
        f"Between therapists{on}, {listing(out)}; within therapists the variance is "
        f"{fit.residual_variance:.3f}."
    )


def slope_sentence(fit: Any) -> str:
    """Say how intercepts and slopes go together."""
    names = list(fit.random_covariance.index)
    if len(names) < 2:
        return "The slope is the same for all therapists in this model."
    r = float(fit.random_correlation.iloc[0, 1])
    if np.isnan(r):
        return "A variance is nil, so that intercepts and slopes have no correlation."
    if abs(r) > 1 - 1e-4:
        return (
            f"Intercepts and slopes are estimated to correlate {sign_fixed(r, 2)}, the edge of "
            "what is possible: the fit is singular, and does not tell how they go together."
        )
    if abs(r) < 0.1:
        way = "a therapist's level says little about the slope"
    elif r > 0:
        way = "differences between therapists widen as severity rises"
    else:
        way = "differences between therapists narrow as severity rises"
    return f"Intercepts and slopes correlate {sign_fixed(r, 2)}: around average severity {way}."


def severity_sentence(curve: pd.DataFrame, variable: str | None = None) -> str:
    """Say how the therapist effect depends on severity before treatment.

    Parameters
    ----------
    curve : DataFrame
        `MixedFit.vpc_curve`: the variable, ``vpc``.
    variable : str, optional
        Its column; the first unless given.
    """
    name = variable or str(curve.columns[0])
    x, y = curve[name].to_numpy(dtype=float), curve["vpc"].to_numpy(dtype=float)
    least = int(y.argmin())
    if percent(y.min()) == percent(y.max()):
        return f"The therapist effect is {percent(y[0])} at every severity in this model."
    ends = f"{percent(y[0])} at a score of {plain(x[0])} and {percent(y[-1])} at {plain(x[-1])}"
    if 0 < least < len(y) - 1:
        return (
            f"The therapist effect is {ends}, and least, {percent(y[least])}, at a score of "
            f"{plain(x[least])}."
        )
    way = "rises" if y[-1] > y[0] else "falls"
    return f"The therapist effect {way} with severity: {ends}."


def shrinkage_sentence(table: pd.DataFrame) -> str:
    """Say how much residuals are shrunk, for the smallest and the largest caseload.

    Parameters
    ----------
    table : DataFrame
        `MixedFit.residuals()`: ``n`` and ``shrinkage``, the share that is kept.
    """
    kept = table["shrinkage"]
    if kept.max() <= 0:
        return "With a variance of nil every therapist's residual is nil."
    n = table["n"].to_numpy(dtype=int)
    small, large = int(n.argmin()), int(n.argmax())
    if n[small] == n[large]:
        return f"Each residual keeps {percent(float(kept.mean()), 0)} of the raw difference."
    return (
        f"{table.index[small]}, with {count(int(n[small]), 'patient')}, keeps "
        f"{percent(float(kept.iloc[small]), 0)} of the raw difference; {table.index[large]}, with "
        f"{n[large]:,}, keeps {percent(float(kept.iloc[large]), 0)}."
    )


def differs_sentence(
    residuals: pd.DataFrame, measure: Any = "", *, lower_is_better: bool = True
) -> str:
    """Name the therapists whose interval excludes the average.

    Parameters
    ----------
    residuals : DataFrame
        `MixedFit.residuals()`: ``residual``, ``lower``, ``upper`` by therapist.
    measure : Measure or str
    lower_is_better : bool
    """
    on = f" on {measure_label(measure)}" if measure else ""
    low = [str(t) for t in residuals.index[(residuals["upper"] < 0).to_numpy()]]
    high = [str(t) for t in residuals.index[(residuals["lower"] > 0).to_numpy()]]
    better, worse = (low, high) if lower_is_better else (high, low)
    n = len(residuals)
    if not better and not worse:
        return f"None of the {n} therapists differs from the average{on}: every interval holds it."
    parts = [
        f"{len(who)} {'is' if len(who) == 1 else 'are'} {word} than the average ({listing(who)})"
        for who, word in ((better, "better"), (worse, "worse"))
        if who
    ]
    rest = n - len(better) - len(worse)
    tail = f"; the other {rest} cannot be told from it" if rest > 1 else ""
    if rest == 1:
        tail = "; the other one cannot be told from it"
    return f"Of {count(n, 'therapist')}{on}, {listing(parts)}{tail}."


def rank_correlation_sentence(result: Any, first: str, second: str) -> str:
    """Say how far two rankings agree.

    Parameters
    ----------
    result : RankCorrelation, or float
    first, second : str
        What was ranked, such as ``"PHQ-9"`` and ``"GAD-7"``.
    """
    r = float(getattr(result, "correlation", result))
    if np.isnan(r):
        return f"Ranks by {first} and by {second} have no correlation: one of them does not vary."
    size = abs(r)
    word = (
        "almost the same order" if r >= 0.9
        else "much the same order" if r >= 0.7
        else "a similar order in part" if r >= 0.4
        else "opposite orders" if r <= -0.4
        else "orders that have little in common"
    )  # fmt: skip
    text = f"{size:.2f}".removeprefix("0")
    return (
        f"Ranks by {first} and by {second} correlate {'−' if r < 0 and text != '.00' else ''}"
        f"{text}: {word}."
    )


def cluster_members(ranks: pd.DataFrame) -> str:
    """Name the therapists of the upper and the lower cluster.

    Parameters
    ----------
    ranks : DataFrame
        `composite_ranks`: ``cluster`` by therapist, best first.
    """
    upper = [str(t) for t in ranks.index[ranks["cluster"] == "upper"]]
    lower = [str(t) for t in ranks.index[ranks["cluster"] == "lower"]]
    between = len(ranks) - len(upper) - len(lower)
    return (
        f"The upper cluster is {listing(upper)}; the lower cluster is {listing(lower)}; "
        f"{count(between, 'therapist')} {'lies' if between == 1 else 'lie'} between them."
    )


def rank_uncertainty_sentence(table: pd.DataFrame, measure: Any = "") -> str:
    """Say how wide the rank intervals are, and how sure membership of a cluster is.

    Parameters
    ----------
    table : DataFrame
        `rank_uncertainty`: ``lower``, ``upper``, and ``p_upper``, ``p_lower`` where defined.
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    width = table["upper"] - table["lower"] + 1
    text = (
        f"The 95% interval of a therapist's rank{on} spans {plain(float(width.median()), 1)} of "
        f"{len(table)} places in the median, {int(width.min())} at the narrowest and "
        f"{int(width.max())} at the widest."
    )
    if table["p_upper"].isna().all():
        return text
    upper, lower = (int((table[f"p_{c}"] > 0.95).sum()) for c in ("upper", "lower"))
    return (
        f"{text} With a probability above 95%, {_belong(upper)} to the upper cluster and "
        f"{_belong(lower)} to the lower."
    )


def _belong(n: int) -> str:
    return (
        "no therapist belongs"
        if not n
        else f"{count(n, 'therapist')} belong{'s' if n == 1 else ''}"
    )
