"""Sentences of the first page that few reports have: each where its numbers say so, alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from test_methods import _page_with, _released

from pwp_lib.outcomes import OUTCOMES
from pwp_report.analysis import Analysis
from pwp_report.methods import first_page
from pwp_report.study import Study


@pytest.mark.parametrize("ends", [(31.0, 31.0), (24.0, 40.0)])
def test_where_nobody_differs_in_dropping_out_one_number_is_said(
    safe_analysis: Analysis, ends: tuple[float, float]
) -> None:
    row: dict[str, Any] = dict(zip(("per_hundred_low", "per_hundred_high"), ends, strict=True))
    row |= {"measure": "all measures", "adjusted_for": "nothing", "p_value_boundary": 0.5}
    row |= {f"per_hundred_{e}_{b}": 31.0 for e in ("low", "high") for b in ("lower", "upper")}
    row |= {"outcome": "Dropped out, of closed cases", "percent": 31.0, "per_hundred_median": 31.0}
    page = _page_with(safe_analysis, False, rates=[row])
    (said,) = (x for x in page.split("\n") if x.startswith("Dropping out"))
    assert "with a last score or without" in said
    alike = ends[0] == ends[1]
    none = "31 do, whoever their therapist is: no difference between therapists was found."
    assert (none in said) == alike
    assert ("at the 5th percentile" in said) != alike
    assert ("These differences cannot be told from chance" in said) != alike


@pytest.mark.parametrize(("share", "doubted"), [(19.9, False), (20.0, True), (43.4, True)])
def test_a_share_of_a_fifth_is_doubted(
    safe_analysis: Analysis, share: float, doubted: bool
) -> None:
    effect = {"measure": "PHQ-9", "vpc": share, "profile_lower": 12.0, "profile_upper": 59.0}
    page = _page_with(safe_analysis, False, therapist_effect=[effect])
    assert ("recorded the same measure on the same scale" in page) == doubted


@pytest.mark.parametrize("change", [4.2, -9.2])
def test_a_change_for_the_worse_is_no_improvement(safe_analysis: Analysis, change: float) -> None:
    outcomes = _released(safe_analysis).frame("outcomes")
    first, last = [20.0] * len(outcomes), [20.0 - change] * len(outcomes)
    rows = outcomes.assign(mean_pre=first, mean_post=last, mean_change=change)
    page = _page_with(safe_analysis, False, outcomes=rows.to_dict("records"))
    said = next(x for x in page.split("\n") if "the mean score went from" in x)
    assert ("a mean improvement of 4.2 points" in said) == (change > 0)
    assert ("a mean change for the worse of 9.2 points" in said) == (change < 0)
    assert "-9.2" not in page


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (Study(level="session"), True),
        (Study(level="patient"), False),
        (Study(level="session", columns={"attended": "Seen"}), False),
        (Study(level="session", keep={"Activity": ("Review",)}), False),
        (Study(level="session", leave_out={"Activity": ("Message",)}), False),
        (Study(level="session", scores="recorded"), False),
        (Study(level="session", without=("attended",)), False),  # as the study file says
    ],
)
def test_that_every_row_counts_as_a_session_is_said_where_nobody_said_so(
    safe_analysis: Analysis, study: Study, said: bool
) -> None:
    page = "\n".join(first_page(safe_analysis, study, _released(safe_analysis)))
    assert ("every row counts as one" in page) == said


@pytest.mark.parametrize(("share", "told"), [(0.9, True), (0.1, False)])
def test_that_one_rule_leaves_out_many_is_said(
    safe_analysis: Analysis, share: float, told: bool
) -> None:
    """Nine of ten of a service of couples, by the rule on one-to-one sessions."""
    first = _released(safe_analysis).frame("flow").head(1)
    begun = int(first["patients"].iloc[0])
    gone = int(share * begun)
    rule = first.assign(rule="one-to-one", excluded=gone, patients=begun - gone)
    page = _page_with(safe_analysis, False, flow=pd.concat([first, rule]).to_dict("records"))
    said = f"{gone:,} patients who meet the rules before it are left out by a rule: one-to-one."
    assert (said in page) == told


@pytest.mark.parametrize(("groups", "together"), [("a", True), ("each", False), ("none", False)])
@pytest.mark.parametrize("p", [0.3, 0.001])
def test_groups_of_one_each_are_none_and_differences_with_groups_in_them_are_judged(
    safe_analysis: Analysis, groups: str, together: bool, p: float
) -> None:
    people = safe_analysis.cohort.patients
    labels = {"a": "one", "each": people["patient_id"], "none": None}[groups]
    cohort = replace(safe_analysis.cohort, patients=people.assign(group_id=labels))
    row = {"measure": "PHQ-9", "outcome": OUTCOMES["rcsi"].label, "p_value_boundary": p}
    row |= {f"per_hundred_{n}": v for n, v in {"low": 20.0, "median": 30.0, "high": 40.0}.items()}
    row |= {"adjusted_for": "its own first score", "percent": 30.0}
    page = _page_with(replace(safe_analysis, cohort=cohort), False, rates=[row])
    assert ("Not that therapists answer for what the patients of a group have" in page) == together
    part = "what the patients of a group have in common is part of"
    assert (f"chance, although {part} them." in page) == (together and p > 0.025)
    assert (f"W{part[1:]} these differences." in page) == (together and p < 0.025)


@pytest.mark.parametrize("known", [True, False])
def test_that_patients_per_hundred_need_thresholds_is_said(
    safe_analysis: Analysis, known: bool
) -> None:
    reasons = {} if known else {"thresholds.phq9": "For PHQ-9 nothing says what is its cutoff."}
    analysis = replace(safe_analysis, not_done=reasons)
    page = _page_with(analysis, False, rates=[])
    said = "no figure in patients per hundred here: it takes a cut-off and a reliable change"
    assert (f"{said}, and PHQ-9 has not both." in page) != known


@pytest.mark.parametrize(
    ("status", "unfinished", "words"),
    [
        (("closed", "in_treatment"), "30", "Of these, 30 are still in treatment: their latest"),
        (("closed", "in_treatment"), "", "Whoever is still in treatment counts with the latest"),
        (("closed",), "", ""),
    ],
)
def test_what_the_last_score_of_an_open_case_is_stands_first(
    safe_analysis: Analysis, status: tuple[str, ...], unfinished: str, words: str
) -> None:
    """Of few nothing is counted: how many there are, or that there are any, would be told."""
    study, released = Study(status=status, unfinished=unfinished), _released(safe_analysis)
    people = safe_analysis.cohort.patients.assign(status="closed")
    analysis = replace(safe_analysis, cohort=replace(safe_analysis.cohort, patients=people))
    page = "\n".join(first_page(analysis, study, released)).partition("## The answer")[0]
    assert words in page
    assert ("still in treatment" in page) == bool(words)
