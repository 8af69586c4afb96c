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
    percent,
    plain,
    share,
)
from pwp_lib.show.style import measure_label

__all__ = [
    "NOT_REPORTED",
    "chain_sentence",
    "cluster_members",
    "completeness",
    "differs_sentence",
    "posterior_sentence",
    "provenance_sentence",
    "rank_uncertainty_sentence",
]

NOT_REPORTED = "not reported"


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
