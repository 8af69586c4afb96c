"""The texts: the first page, and methods and results by the guidance for multilevel models.

Words are in templates, numbers are released ones.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, decimals, number, p_value, with_interval
from pwp_lib.profiling import patients_needed, rankability
from pwp_report.analysis import NONE, Analysis, MeasureResult
from pwp_report.case_mix import WITH_MIX
from pwp_report.disclosure import DisclosurePolicy, aggregate_small
from pwp_report.inclusion import LEAST_THERAPISTS
from pwp_report.released import ReleasedResults
from pwp_report.study import Study
from pwp_report.table_words import places_of
from pwp_report.wording import render


def software() -> dict[str, str]:
    """Versions of what the numbers rest on."""
    return {name: version(name) for name in ("pwp-lib", "numpy", "scipy", "pandas", "matplotlib")}


def first_page(analysis: Analysis, study: Study, released: ReleasedResults) -> list[str]:
    """Write what a lead reads first: what was asked, the answer, what must not be concluded.

    Returns
    -------
    list of str
        Paragraphs; headings begin with ``## ``.
    """
    apart = [r for r in analysis.measures.values() if r.ranked.vpc() >= NONE]
    needed = [how_sure(r, released.policy) for r in apart]
    text = render("first_page.txt.j2", **_told_to_all(analysis, study, released), needed=needed)
    return [line.strip() for line in text.splitlines() if line.strip()]


def methods_and_results(analysis: Analysis, study: Study, released: ReleasedResults) -> list[str]:
    """Write the paragraphs of a paper's methods and results; every number is a released one.

    Parameters
    ----------
    analysis : Analysis
    study : Study
    released : ReleasedResults
    """
    text = render("methods.txt.j2", **_told_to_all(analysis, study, released))
    return [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]


def _told_to_all(analysis: Analysis, study: Study, released: ReleasedResults) -> dict[str, Any]:
    """Give what both texts say, and how they read a table and word an interval."""
    services = int(analysis.cohort.patients.get("service_id", pd.Series()).nunique())

    def told(row: Mapping[str, Any], name: str, unit: str = "", ends: str = "") -> str:
        low, high = (row.get(f"{ends or name}_{end}", np.nan) for end in ("lower", "upper"))
        places = places_of(name, [row[name], low, high])
        return with_interval(places, row[name], low, high, unit=unit, word="95% interval ")

    return {
        "therapists": count(released.therapists, "therapist"),
        "where": f" in {count(services, 'service')}" if services else "",
        "least": LEAST_THERAPISTS,
        "rows": cache(lambda name: released.frame(name).to_dict("records")),
        "told": told,
        "alike": lambda *some: [number(v, max(1, decimals(some)), missing="") for v in some],
        "p_value": p_value,
        "software": software(),
        "results": {r.measure.label: r for r in analysis.measures.values()},
        "analysis": analysis,
        "study": study,
        "released": released,
    }


def how_sure(result: MeasureResult, policy: DisclosurePolicy) -> dict[str, Any]:
    """Tell the share that ranks rest on from none by its interval; who has a reliable figure.

    Of all therapists. Nothing is said of fewer than five who are shown one by one, nor what would
    tell caseloads of the others: the median caseload is known where more than half are shown.
    """
    between = float(result.ranked.random_covariance.to_numpy()[0, 0])
    n, within = result.residuals["n"], result.ranked.residual_variance
    alone, together = aggregate_small(n, policy)
    known = len(alone) >= LEAST_THERAPISTS and len(together) <= (len(n) - 1) // 2
    least = patients_needed(between, within)
    ends = (0.0, 0.0) if result.profile is None else result.profile[1:3]
    if result.with_mix is not None and result.adjusted is not None:
        row: Any = result.adjusted.set_index("adjusted_for").loc[WITH_MIX]
        ends = float(row["vpc_lower"]), float(row["vpc_upper"])
    return {
        "label": result.measure.label,
        "sure": ends[0] > 0 and result.models.test_intercept.p_value_boundary < 0.05,
        "patients": f"{least:,.0f}" + _caseload_interval(*ends),
        "enough": _who_have(n, n[together], least, policy) * (len(alone) >= LEAST_THERAPISTS),
        "alone": len(alone),
        "all": f"{len(n):,}",
        "rankability": f"{100 * rankability(between, within / n):.0f}" if known else "",
    }


def _caseload_interval(lower: float, upper: float) -> str:
    """Say from which caseload a figure would be reliable at each end of the share's interval.

    Examples
    --------
    >>> _caseload_interval(0.05, 0.1), _caseload_interval(0.0, 0.1)
    (' (95% interval 21 to 45)', ' (95% interval 21 to any number)')
    """
    # As the shares stand on the page.
    least, most = (patients_needed(s, 1 - s) for s in (round(upper, 3), round(lower, 3)))
    end = "any number" if np.isinf(most) else f"{most:,.0f}"
    return f" (95% interval {least:,.0f} to {end})" if upper > 0 else ""


def _who_have(n: pd.Series, others: pd.Series, least: float, policy: DisclosurePolicy) -> str:
    """Say how many therapists have so many patients, or nothing; some are shown only together.

    It is rounded, and told where neither those who have them nor the rest are few, and where, less
    those shown one by one, it leaves open how many: or else none can, by the rule of who is shown.
    """
    has, few = (int((some >= least).sum()) for some in (n, others))
    if others.empty:
        return f"{has:,}"
    low, high = policy.bounds(policy.count(has))
    ends = max(low, has - few), min(high, has - few + len(others), len(n) - policy.threshold)
    known = others.max() < policy.smallest_caseload <= least or ends[0] < ends[1]
    told = known and min(has, len(n) - has, least) >= policy.threshold
    return f"about {policy.text(has)}" if told else ""
