"""Figures of the cohort: what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pwp_lib.show import figures


def few_patients() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "phq9_pre": [20, 15, 10, 12, 5, 8],
            "phq9_post": [8, 9, 10, 18, 4, 9],
            "gad7_pre": [14, 12, 8, 10, 3, 8],
            "gad7_post": [4, 12, 7, 14, 3, 2],
        }
    )


def test_outcomes_by_therapist_are_ordered_and_labelled_with_caseload() -> None:
    table = pd.DataFrame({"n": [8, 100, 20], "rate": [0.5, 0.2, np.nan]}, index=list("abc"))
    ax = figures.outcomes_by_therapist(table, "rate", reference=0.3)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b (100)", "a (8)"]
    sizes = ax.collections[0].get_sizes()
    assert sizes[0] > sizes[1]
    assert "2 therapists, from 0.2 to 0.5" in figures.describe(ax)


def test_completeness_gives_shares() -> None:
    table = pd.DataFrame({"complete": [5, 20], "total": [10, 20]}, index=["a", "b"])
    ax = figures.completeness_by_therapist(table)
    assert [p.get_width() for p in ax.patches[2:]] == [0.5, 1.0]
    assert "83% over all, from 50% to 100%" in figures.describe(ax)


def test_a_figure_that_is_not_ours_has_no_sentence() -> None:
    assert figures.describe(Figure().subplots()) == ""
