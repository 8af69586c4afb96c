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
    "chain_sentence",
    "cluster_members",
    "completeness",
    "differs_sentence",
    "posterior_sentence",
    "provenance_sentence",
    "rank_uncertainty_sentence",
    "sample_sentences",
    "scoreboard_sentence",
    "split_sample_sentence",
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
