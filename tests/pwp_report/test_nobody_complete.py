"""Therapists of whom no patient has every score: their patients are counted all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checking import checked

from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.methods import first_page
from pwp_report.release import release_results

EACH, THERAPISTS = 20, 45


def frame_without(gone: int, lacking: float) -> pd.DataFrame:
    """So many therapists never asked for a last score; some patients of the others lack it too."""
    rng = np.random.default_rng(gone)
    who = np.repeat(np.arange(THERAPISTS), EACH)
    pre = rng.integers(8, 28, len(who)).astype(float)
    post = np.clip(pre - 5 + rng.normal(0, 4, len(who)).round(), 0, 27)
    post[(who < gone) | (rng.random(len(who)) < lacking)] = np.nan
    names = {
        "patient_id": [f"P{i}" for i in range(len(who))],
        "therapist_id": [f"T{k}" for k in who],
    }
    return pd.DataFrame({**names, "phq9_pre": pre, "phq9_post": post})


def analysed(folder: Path, frame: pd.DataFrame, study: str = "") -> tuple[Analysis, str]:
    check = checked(folder, frame, study)
    analysis = analyse(check.required(), engines=("ml",), sensitivity=False)
    page = first_page(analysis, check.study, release_results(analysis, DisclosurePolicy()))
    return analysis, " ".join(page)


@pytest.mark.parametrize(("gone", "who"), [(0, ""), (1, "Some"), (4, "Some"), (7, "7")])
@pytest.mark.parametrize("active", [True, False])
def test_their_patients_are_among_those_who_could_have_every_score(
    gone: int, who: str, active: bool, tmp_path: Path
) -> None:
    frame = frame_without(gone, 0.1)
    analysis, page = analysed(tmp_path, frame)
    rates = release_results(analysis, DisclosurePolicy(active)).frame("rates")
    row = rates[rates["outcome"] == "Every score recorded"].iloc[0]
    share = 100 * frame["phq9_post"].notna().mean()
    assert row["n"] == EACH * THERAPISTS
    assert row["percent"] == pytest.approx(share, abs=1)
    assert f"{share:.0f}% of those who meet the other rules have every score" in page
    words = f"{who} of their therapists have no patient who is analysed"
    assert words in page if gone else "of their therapists have no patient" not in page


@pytest.mark.parametrize("gone", [3, 6])
def test_small_caseloads_that_the_study_leaves_out_are_counted_too(
    gone: int, tmp_path: Path
) -> None:
    """They have every score, and are not analysed: who could be is of the flow before that rule."""
    frame = frame_without(0, 0.1)
    small = frame.groupby("therapist_id").cumcount() < 8
    frame = frame[small | ~frame["therapist_id"].isin([f"T{k}" for k in range(gone)])]
    analysis, page = analysed(tmp_path, frame, "[inclusion]\nminimum_patients = 12\n")
    assert analysis.cohort.caseloads().size == THERAPISTS - gone
    rates = release_results(analysis, DisclosurePolicy(active=False)).frame("rates")
    row = rates[rates["outcome"] == "Every score recorded"].iloc[0]
    assert row["n"] == len(frame)
    assert row["percent"] == round(100 * frame["phq9_post"].notna().mean(), 1)
    assert "of their therapists have no patient who is analysed" in page
