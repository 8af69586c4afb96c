"""Sentences whose truth depends on the data: a result in, a string out.

A sentence holds for whatever data it is given: a singular fit, one measure, eight therapists or
fifty-six, nobody who differs from the average. `pwp_lib.show.show.text` puts it on a page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import (
    certain_percent,
    count,
    listing,
    p_value,
    percent,
    plain,
    share,
    sign_fixed,
)
from pwp_lib.outcomes import OUTCOMES
from pwp_lib.show._drawing import lower_first
from pwp_lib.show.style import measure_label

__all__ = [
    "NOT_REPORTED",
    "ancova_sentence",
    "boundary_note",
    "chain_sentence",
    "change_sentence",
    "cluster_members",
    "completeness",
    "differs_sentence",
    "likelihood_ratio_sentence",
    "mann_whitney_sentence",
    "outcome_rates",
    "posterior_sentence",
    "provenance_sentence",
    "rank_uncertainty_sentence",
    "rates_by_therapist",
    "sample_sentences",
    "scales_sentence",
    "scoreboard_sentence",
    "slope_sentence",
    "split_sample_sentence",
    "therapist_effect_sentence",
    "variance_sentence",
]

NOT_REPORTED = "not reported"
SIGNIFICANT = 0.05


def provenance_sentence(provenance: Any) -> str:
    """Say whether the data are synthetic, and where they come from.

    Parameters
    ----------
    provenance : Provenance
        With ``synthetic`` and ``source``.
    """
    source = str(getattr(provenance, "source", "") or "").rstrip(".")
    if provenance.synthetic:
        told = f" Source: {source}." if source else ""
        return f"These data are synthetic: no real patient, therapist or service is in them.{told}"
    return f"These data come from {source}." if source else "The source of these data is not given."


def sample_sentences(patients: pd.DataFrame, therapists: pd.DataFrame | None = None) -> str:
    """Describe the sample in words, as far as the columns allow.

    Parameters
    ----------
    patients : DataFrame
        With ``therapist_id``, and if known ``service_id``, ``age``, ``gender``, ``sessions``.
    therapists : DataFrame, optional
    """
    n, j = len(patients), patients["therapist_id"].nunique()
    where = ""
    if _known(patients, "service_id"):
        where = f" in {count(patients['service_id'].nunique(), 'service')}"
    out = [f"The sample is {count(n, 'patient')} of {count(j, 'therapist')}{where}."]
    if _known(patients, "age"):
        out.append(f"Patients' mean age was {_mean_sd(patients['age'])} years.")
    if _known(patients, "gender"):
        out.append(_women(patients["gender"], "patients"))
    if _known(patients, "sessions"):
        out.append(f"They attended {_mean_sd(patients['sessions'])} sessions on average.")
    if therapists is not None and _known(therapists, "gender"):
        seen = therapists[therapists["therapist_id"].isin(patients["therapist_id"])]
        out.append(_women(seen["gender"], "therapists"))
    return " ".join(out)


def _known(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def _mean_sd(values: pd.Series) -> str:
    known = pd.to_numeric(values).dropna()
    spread = f"SD {known.std():.2f}, " if len(known) > 1 else ""
    return f"{known.mean():.2f} ({spread}{plain(known.min())} to {plain(known.max())})"


def _women(gender: pd.Series, who: str) -> str:
    known = gender.dropna()
    n = int((known == "female").sum())
    missing = len(gender) - len(known)
    rest = f" whose gender is recorded ({missing:,} are not)" if missing else ""
    verb = "was" if n == 1 else "were"
    return f"Of the {len(known):,} {who}{rest}, {share(n, len(known))} {verb} female."


def completeness(table: pd.DataFrame) -> str:
    """Tell how complete scores are, over all and by therapist.

    Parameters
    ----------
    table : DataFrame
        `completeness_by_therapist`: ``total`` and ``complete`` by therapist.
    """
    total, complete = int(table["total"].sum()), int(table["complete"].sum())
    if complete == total:
        return f"All {count(total, 'patient')} have every score."
    rates = (table["complete"] / table["total"]).dropna()
    if rates.min() == rates.max():
        return f"{share(complete, total)} of {total:,} patients have every score."
    lowest = [str(t) for t in rates.index[rates == rates.min()]]
    return (
        f"{share(complete, total)} of {total:,} patients have every score; by therapist the share "
        f"goes from {percent(rates.min())} ({listing(lowest)}) to {percent(rates.max())}."
    )


def change_sentence(summary: pd.DataFrame | pd.Series, measure: Any) -> str:
    """Tell how much patients changed: mean, SD, effect size.

    Parameters
    ----------
    summary : DataFrame of one row, or Series
        `summarise_outcomes`: ``n``, ``mean_change``, ``sd_change``, ``effect_size``.
    measure : Measure or str
    """
    row = summary.iloc[0] if isinstance(summary, pd.DataFrame) else summary
    change, label = float(row["mean_change"]), measure_label(measure)
    if round(change, 2) == 0:
        moved = "did not change on average"
    else:
        word = "improved" if change > 0 else "deteriorated"
        moved = f"{word} by {abs(change):.2f} points on average"
    spread = f" (SD {row['sd_change']:.2f})" if pd.notna(row.get("sd_change")) else ""
    size = row.get("effect_size")
    effect = f", a pre-post effect size of {sign_fixed(size, 2)}" if pd.notna(size) else ""
    return f"On {label} the {int(row['n']):,} patients {moved}{spread}{effect}."


def outcome_rates(summary: pd.DataFrame | pd.Series, measure: Any) -> str:
    """Tell reliable improvement, deterioration, caseness and recovery of all patients.

    Parameters
    ----------
    summary : DataFrame of one row, or Series
        `summarise_outcomes`: ``n``, ``n_improved``, ``n_deteriorated``, ``n_case_pre``,
        ``n_rcsi``; what is missing for want of a threshold is left out.
    measure : Measure or str
    """
    row = summary.iloc[0] if isinstance(summary, pd.DataFrame) else summary
    n, label, out = int(row["n"]), measure_label(measure), []
    if pd.notna(row.get("n_improved")):
        out.append(
            f"On {label}, {share(int(row['n_improved']), n)} of {count(n, 'patient')} improved "
            f"reliably and {share(int(row['n_deteriorated']), n)} deteriorated reliably."
        )
    cases = row.get("n_case_pre")
    if pd.notna(cases):
        out.append(f"Before treatment {share(int(cases), n)} reached caseness on {label}.")
        if not int(cases):
            out.append("Without cases before treatment no recovery rate is defined.")
        elif pd.notna(row.get("n_rcsi")):
            out.append(
                f"Of those, {share(int(row['n_rcsi']), int(cases))} improved reliably and were "
                "below the cut-off at the end."
            )
    return " ".join(out) or f"{label} has no thresholds, so no rates are given."


def rates_by_therapist(table: pd.DataFrame, column: str, label: str) -> str:
    """Tell over what range a rate goes between therapists.

    Parameters
    ----------
    table : DataFrame
        One row a therapist.
    column : str
        A column of shares.
    label : str
        What the rate is, such as ``"caseness on PHQ-9"``.
    """
    known = table[column].dropna()
    if known.empty:
        return f"No therapist has a defined rate of {label}."
    without = len(table) - len(known)
    rest = f"; for {count(without, 'therapist')} it is not defined" if without else ""
    return (
        f"By therapist, {label} goes from {percent(known.min())} to {percent(known.max())} "
        f"(median {percent(known.median())}){rest}."
    )


def likelihood_ratio_sentence(test: Any, added: str = "a random intercept for therapists") -> str:
    """Say whether a larger model fits better.

    Parameters
    ----------
    test : LikelihoodRatioTest
    added : str
        What the larger model has more.
    """
    statistic = max(float(test.statistic), 0.0)
    found = f"χ²({test.df}) = {statistic:,.3f}, {p_value(test.p_value)}"
    both = test.p_value_boundary
    if not np.isnan(both) and p_value(both) != p_value(test.p_value):
        found += f"; {p_value(both)} with regard to the boundary"
    if test.p_value < SIGNIFICANT:
        return f"Adding {added} improves the fit ({found})."
    if not np.isnan(both) and both < SIGNIFICANT:
        return (
            f"Whether {added} improves the fit depends on the test: only with regard to the "
            f"boundary is it significant ({found})."
        )
    return f"Adding {added} does not improve the fit beyond chance ({found})."


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


def posterior_sentence(interval: Any, measure: Any = "") -> str:
    """Say median and interval of the therapist effect, with no more decimals than are certain.

    Parameters
    ----------
    interval : PosteriorInterval
        Shares and their Monte Carlo errors, from `Posterior.interval`.
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    mid = certain_percent(interval.median, interval.mcse)
    low = certain_percent(interval.lower, interval.mcse_lower)
    high = certain_percent(interval.upper, interval.mcse_upper)
    return (
        f"The posterior median of the therapist effect{on} is {mid}, with a "
        f"{plain(100 * interval.level, 1)}% interval from {low} to {high}."
    )


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


def differs_sentence(residuals: pd.DataFrame, measure: Any = "") -> str:
    """Name the therapists whose interval excludes the average.

    Parameters
    ----------
    residuals : DataFrame
        `MixedFit.residuals()`: ``residual``, ``lower``, ``upper`` by therapist.
    measure : Measure or str
        Tells the direction of the scale, too; lower is better where it does not.
    """
    on = f" on {measure_label(measure)}" if measure else ""
    low = [str(t) for t in residuals.index[(residuals["upper"] < 0).to_numpy()]]
    high = [str(t) for t in residuals.index[(residuals["lower"] > 0).to_numpy()]]
    better, worse = (low, high) if getattr(measure, "higher_is_worse", True) else (high, low)
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


_FIGURES = {
    "effect_size": "effect size",
    "improvement": "rate of reliable improvement",
    "deterioration": "rate of reliable deterioration",
    "rcsi": "rate of reliable and clinically significant improvement",
    "caseness": "rate of caseness",
}


def ancova_sentence(result: Any, measure: Any = "") -> str:
    """Say how two clusters' scores after treatment compare at equal scores before.

    Parameters
    ----------
    result : Ancova
    measure : Measure or str
        Left out, the result's own.
    """
    label, (first, second) = measure_label(measure or result.measure), result.clusters
    found = (
        f"F({result.df[0]}, {result.df[1]:,}) = {result.statistic:.1f}, {p_value(result.p_value)}"
    )
    if np.isnan(result.p_value) or result.p_value >= SIGNIFICANT:
        return (
            f"At equal {label} scores before treatment the {first} and the {second} cluster do "
            f"not differ beyond chance afterwards ({found}, patients taken as independent)."
        )
    way = "lower" if result.difference < 0 else "higher"
    return (
        f"At equal {label} scores before treatment, patients of the {first} cluster end "
        f"{abs(result.difference):.2f} points {way} than those of the {second} cluster ({found}, "
        "patients taken as independent)."
    )


def split_sample_sentence(result: Any, measure: Any, figure: str = "effect_size_upper") -> str:
    """Say how much a figure shrinks when other patients than those compared choose the clusters.

    Parameters
    ----------
    result : SplitSample
    measure : Measure or str
    figure : str
        A row of ``result.table()`` about one cluster, such as ``"rcsi_lower"``.
    """
    name = getattr(measure, "name", measure)
    row = result.table().loc[(name, figure)]
    same, other = float(row["same_patients"]), float(row["other_patients"])
    kind, _, cluster = figure.rpartition("_")
    words = f"{_FIGURES.get(kind, kind.replace('_', ' '))} of the {cluster} cluster"
    rate = kind in OUTCOMES
    write = percent if rate else (lambda v: sign_fixed(v, 2))
    low, high = write(float(row["lower_quartile"])), write(float(row["upper_quartile"]))
    way = "goes"
    if write(same) != write(other):
        way = "falls" if other < same else "rises"
    return (
        f"On {measure_label(measure)} the {words} {way} from {write(same)}, where clusters are "
        f"chosen and compared on the same patients, to {write(other)} (quartiles {low} to {high}) "
        "on patients who had no part in the choice."
    )


def mann_whitney_sentence(row: pd.Series) -> str:
    """Say what a Mann-Whitney test of one scale finds, and what the paper prints, if given.

    Parameters
    ----------
    row : Series
        A row of `compare_scales`: ``label, rater, U, p_value, higher_in, reported`` and the
        counts ``n_<cluster>``.
    """
    label = str(row["label"])
    sizes = {str(k)[2:]: int(v) for k, v in row.items() if str(k).startswith("n_")}
    if np.isnan(row["p_value"]):
        empty = listing(c for c, n in sizes.items() if not n)
        return f"{label} cannot be tested: no therapist of the {empty} cluster has a score."
    numbers = " against ".join(str(n) for n in sizes.values())
    found = f"U = {row['U']:g}, {p_value(row['p_value'])}, {numbers}, exact"
    side = row["higher_in"]
    if row["p_value"] < SIGNIFICANT and side:
        text = f"{label} is higher in the {side} cluster ({found})"
    else:
        text = f"{label} does not differ between the clusters beyond chance ({found})"
    if "reported" not in row:
        return f"{text}."
    reported = str(row["reported"])
    paper = "the paper does not report this test" if reported == NOT_REPORTED else (
        f"the paper reports {reported}"
    )  # fmt: skip
    return f"{text}; {paper}."


def scales_sentence(table: pd.DataFrame) -> str:
    """Say how many tests of scales were made, and what is left when their number is counted.

    Parameters
    ----------
    table : DataFrame
        `compare_scales`: ``p_value`` and ``p_holm`` by scale.
    """
    tests = table.dropna(subset=["p_value"])
    if tests.empty:
        return "No scale could be tested."
    one = int((tests["p_value"] < SIGNIFICANT).sum())
    all_ = int((tests["p_holm"] < SIGNIFICANT).sum())
    chance = 1 - (1 - SIGNIFICANT) ** len(tests)
    return (
        f"Of {count(len(tests), 'test')}, {one} {'is' if one == 1 else 'are'} significant taken "
        f"one at a time and {all_} when their number is counted (Holm). Were there no difference "
        f"anywhere, and were the tests independent, one or more of {len(tests)} would come out "
        f"significant with a probability of up to {percent(chance, 0)}."
    )


def scoreboard_sentence(board: pd.DataFrame) -> str:
    """Say how many of the paper's figures a cohort reproduces.

    Parameters
    ----------
    board : DataFrame
        `scoreboard`: ``quantity``, ``state``.
    """
    state = board["state"].value_counts()
    yes, no, rest = (int(state.get(s, 0)) for s in ("match", "no match", "not testable"))
    if not yes + no:
        return "None of the paper's figures can be tested on this cohort."
    verb = "matches" if yes == 1 else "match"
    text = f"Of {count(yes + no, 'figure')} of the paper that can be tested, {yes:,} {verb}"
    if no:
        names = [lower_first(str(q)) for q in board.loc[board["state"] == "no match", "quantity"]]
        # A handful is named; a longer list belongs in the table.
        named = f" ({'; '.join(names)})" if no <= 5 else ""
        text += f" and {no:,} {'does' if no == 1 else 'do'} not{named}"
    tail = f"; {rest:,} more cannot be tested" if rest else ""
    return f"{text}{tail}."
