"""The texts: the first page, and methods and results by the guidance for multilevel models.

Words are in templates, numbers are released ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from pwp_lib.numbers import count, decimals, number, p_value, with_interval
from pwp_lib.profiling import patients_needed, rankability
from pwp_report.analysis import NONE, Analysis, MeasureResult
from pwp_report.case_mix import WITH_MIX
from pwp_report.disclosure import DisclosurePolicy, aggregate_small
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
    needed = [
        how_sure(r, released.policy) for r in analysis.measures.values() if r.ranked.vpc() > NONE
    ]
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
    text = render(
        "methods.txt.j2",
        **_told_to_all(analysis, study, released),
        results={r.measure.label: r for r in analysis.measures.values()},
        software=software(),
    )
    return [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]


def _records(released: ReleasedResults, name: str) -> list[dict[str, Any]]:
    frame: Any = released.frame(name)
    return [] if frame is None else list(frame.to_dict("records"))


def _told_to_all(analysis: Analysis, study: Study, released: ReleasedResults) -> dict[str, Any]:
    """Give what both texts say, and how they read a table and word an interval."""
    patients = analysis.cohort.patients
    services = int(patients["service_id"].nunique()) if "service_id" in patients else 0

    def told(row: Mapping[str, Any], name: str, unit: str = "", ends: str = "") -> str:
        low, high = (row.get(f"{ends or name}_{end}", np.nan) for end in ("lower", "upper"))
        places = places_of(name, [row[name], low, high])
        return with_interval(places, row[name], low, high, unit=unit, word="95% interval ")

    return {
        "patients": released.patients,
        "therapists": count(released.therapists, "therapist"),
        "where": f" in {count(services, 'service')}" if services else "",
        "rows": partial(_records, released),
        "told": told,
        "alike": lambda *some: [number(v, max(1, decimals(some)), missing="") for v in some],
        "p_value": p_value,
        "analysis": analysis,
        "study": study,
        "released": released,
    }


def how_sure(result: MeasureResult, policy: DisclosurePolicy) -> dict[str, Any]:
    """Tell the share that ranks rest on from none by its interval; who has a reliable figure.

    Of therapists who are shown one by one: of the others it would tell the caseloads.
    """
    between = float(result.ranked.random_covariance.to_numpy()[0, 0])
    n = result.residuals["n"].loc[lambda loads: aggregate_small(loads, policy)[0]]
    within = result.ranked.residual_variance
    least = patients_needed(between, within)
    lower = 0.0 if result.profile is None else result.profile.lower
    if result.with_mix is not None and result.adjusted is not None:
        lower = float(result.adjusted.set_index("adjusted_for")["vpc_lower"][WITH_MIX])
    return {
        "label": result.measure.label,
        "sure": lower > 0,
        "patients": f"{least:,.0f}",
        "enough": f"{int((n >= least).sum()):,}",
        "all": f"{len(n):,}",
        "rankability": f"{100 * rankability(between, within / n):.0f}" if len(n) else "0",
    }
