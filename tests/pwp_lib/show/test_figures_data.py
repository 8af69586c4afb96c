"""Figures of the cohort: what is drawn, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Box

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from multilevel.errors import InputError
from pwp_lib.measures import GAD7, PHQ9
from pwp_lib.show import figures, style


def few_patients() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "phq9_pre": [20, 15, 10, 12, 5, 8],
            "phq9_post": [8, 9, 10, 18, 4, 9],
            "gad7_pre": [14, 12, 8, 10, 3, 8],
            "gad7_post": [4, 12, 7, 14, 3, 2],
        }
    )


def test_flow_names_every_rule_and_who_is_left() -> None:
    steps = [
        Box(rule="referred", patients=100, therapists=5, services=2, excluded=0),
        Box(rule="two sessions or more", patients=60, therapists=1, services=1, excluded=40),
    ]
    ax = figures.flow_diagram(steps)
    words = [t.get_text() for t in ax.texts]
    assert "Referred" in words
    assert "60 patients, 1 therapist, 1 service" in words
    assert "40\nleft out" in words
    assert len(ax.patches) == 2
    assert "At the end 60 patients, 1 therapist, 1 service." in figures.describe(ax)


def test_distributions_count_every_patient_and_mark_the_cut_off() -> None:
    first, second = figures.score_distributions(few_patients(), [PHQ9, GAD7])
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("PHQ-9", "GAD-7")
    heights = [p.get_height() for p in first.patches if hasattr(p, "get_height")]
    assert sum(heights) == 6
    assert first.lines[0].get_xdata()[0] == 9.5
    assert "6 patients before (mean 11.7)" in figures.describe(first)


def test_a_measure_without_cut_off_has_no_line() -> None:
    (ax,) = figures.score_distributions(few_patients(), replace(PHQ9, cutoff=None))
    assert not ax.lines
    assert "cut-off" not in figures.describe(ax)


def test_change_histogram_agrees_with_its_counts() -> None:
    ax = figures.change_histogram(few_patients(), PHQ9)
    assert sum(p.get_height() for p in ax.patches) == 6
    words = " ".join(t.get_text() for t in ax.texts)
    assert "2 reliably better\n(33.3%)" in words
    assert "1 reliably worse\n(16.7%)" in words
    unsure = [p for p in ax.patches if p.get_height() and abs(p.get_x() + 0.5) < 6]
    grey = style.CLUSTER_COLOURS["middle"]
    assert {to_hex(p.get_facecolor()).upper() for p in unsure} <= {grey, grey + "E6"}


def test_change_is_taken_from_outcomes_when_they_are_given() -> None:
    ax = figures.change_histogram(pd.DataFrame({"change": [1.0, 3.0, np.nan]}), PHQ9)
    assert "mean 2 points" in figures.describe(ax)


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


def test_bars_stand_from_largest_to_smallest() -> None:
    ax = figures.caseload_bars(pd.Series({"a": 8, "b": 197, "c": 30}))
    assert [p.get_height() for p in ax.patches] == [197, 30, 8]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["b", "c", "a"]


def test_the_users_axes_are_used_and_kept() -> None:
    mine = Figure().subplots()
    assert figures.caseload_bars(pd.Series({"a": 8, "b": 9}), mine) is mine


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="the column n"):
        figures.outcomes_by_therapist(pd.DataFrame({"change": [1.0]}))
    with pytest.raises(InputError, match="phq9_post"):
        figures.change_histogram(pd.DataFrame({"phq9_pre": [1]}), PHQ9)


def test_as_many_axes_as_measures() -> None:
    with pytest.raises(InputError, match="2 axes are needed and 1 were given"):
        figures.score_distributions(few_patients(), [PHQ9, GAD7], [Figure().subplots()])


def test_a_figure_that_is_not_ours_has_no_sentence() -> None:
    assert figures.describe(Figure().subplots()) == ""
