"""Figures of models, posteriors and ranks: what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from pwp_lib.measures import Measure, known_measures
from pwp_lib.show import figures, style

NAMES = list("abcde")
CLUSTERS = pd.Series(["upper", "upper", "middle", "lower", "lower"], index=NAMES)


def five() -> pd.DataFrame:
    residual = np.array([-3.0, -1.0, 0.2, 1.0, 2.5])
    frame = pd.DataFrame({"n": [40, 8, 20, 12, 100], "residual": residual}, index=NAMES)
    return frame.assign(lower=residual - 1.5, upper=residual + 1.5)


# -- models ----------------------------------------------------------------------------------------


def test_shrinkage_moves_from_raw_to_residual() -> None:
    table = pd.DataFrame({"n": [8, 100], "raw": [3.0, -2.0], "residual": [1.0, -1.9]})
    ax = figures.shrinkage_plot(table)
    segments = ax.collections[0].get_segments()
    assert [s[:, 1].tolist() for s in segments] == [[3.0, 1.0], [-2.0, -1.9]]
    assert ax.get_xscale() == "log"
    assert "by 2 points on average among the smaller caseloads and by 0.1" in figures.describe(ax)


# -- posteriors ------------------------------------------------------------------------------------


def lognormal_draws() -> np.ndarray:
    return np.exp(np.random.default_rng(2).normal(np.log(0.1), 0.3, (2, 4_000)))


# -- ranks -----------------------------------------------------------------------------------------


def test_caterpillars_on_axes_of_their_own_keep_the_order_and_the_names() -> None:
    axes = style.new_axes(6, 8, rows=2)
    figures.caterpillar_plot({"phq9": five(), "gad7": five()}, axes)
    names = [[t.get_text() for t in ax.get_yticklabels()] for ax in axes]
    assert names[0] == names[1]
    assert all(ax.yaxis_inverted() for ax in axes)


def test_caterpillars_share_one_order_with_the_best_at_the_top() -> None:
    other = five().iloc[::-1] * 0.9
    axes = figures.caterpillar_plot({"gad7": other, "phq9": five()}, clusters=CLUSTERS)
    assert [a.get_title(loc="left") for a in axes] == ["PHQ-9", "GAD-7"]
    assert next(t.get_text() for t in axes[0].get_yticklabels()) == "a (40)"
    tops = [a.lines[1].get_xdata()[0] for a in axes]
    assert tops == pytest.approx([-3.0, -2.7])
    colour = to_hex(axes[0].lines[1].get_color()).upper()
    assert colour == style.CLUSTER_COLOURS["upper"]
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]


def test_who_is_on_one_measure_alone_has_a_line_there_and_a_caseload() -> None:
    axes = figures.caterpillar_plot({"phq9": five().iloc[1:], "gad7": five().iloc[:4]})
    labels = sorted(t.get_text() for t in axes[0].get_yticklabels())
    assert labels == ["a (40)", "b (8)", "c (20)", "d (12)", "e (100)"]
    assert all("residuals of 4 therapists" in figures.describe(ax) for ax in axes)


def test_filled_markers_are_those_clear_of_the_average() -> None:
    (ax,) = figures.caterpillar_plot(five())
    filled = [line.get_markerfacecolor() != "white" for line in ax.lines[1:]]
    assert filled == [True, False, False, False, True]
    assert "beyond zero: a better than the average and e worse" in figures.describe(ax)


def test_nobody_who_differs_is_said() -> None:
    wide = five().assign(lower=-9.0, upper=9.0)
    assert "none of them clear of zero" in figures.describe(figures.caterpillar_plot(wide))


def test_rank_intervals_and_whole_ticks() -> None:
    table = pd.DataFrame({"rank": [2, 1], "lower": [1, 1], "upper": [2, 2]}, index=["a", "b"])
    ax = figures.rank_interval_plot(table)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "a"]
    assert all(float(t).is_integer() for t in ax.get_xticks())
    assert "which span 2 to 2 ranks" in figures.describe(ax)


def test_ranks_among_therapists_who_are_not_drawn_lie_inside_the_axes() -> None:
    table = pd.DataFrame({"rank": [40, 56], "lower": [30, 48], "upper": [50, 56]}, index=["a", "b"])
    for ax in (figures.rank_interval_plot(table), figures.rank_interval_plot(table, places=60)):
        first, last = ax.get_xlim()
        assert first < 1
        assert last > 56
        assert max(ax.get_xticks()) == int(last)
    assert "Ranks of 2 therapists among 60 with" in figures.describe(ax)


def many(total: int = 1_000) -> pd.DataFrame:
    at = np.linspace(-5, 5, total)
    return pd.DataFrame(
        {
            "n": 30, "residual": at, "lower": at - 1, "upper": at + 1, "rank": np.arange(total) + 1,
            "p_upper": np.linspace(1, 0, total), "p_lower": np.linspace(0, 1, total), "change": at,
        },
        index=pd.Index([f"T{i:04d}" for i in range(total)], name="therapist_id"),
    ).sample(frac=1, random_state=1)  # fmt: skip


def test_of_many_therapists_beyond_zero_the_first_are_named() -> None:
    names = [f"T{i:02d}" for i in range(20)]
    frame = pd.DataFrame({"residual": -1.0, "lower": -2.0, "upper": -0.5}, index=names)
    told = figures.describe(figures.caterpillar_plot({"phq9": frame})[0])
    assert "T00, T01, T02, T03, T04, T05 and 14 more better than the average" in told
    assert "T07" not in told


def test_a_studys_own_measure_has_its_label() -> None:
    mood = Measure("mood", "Mood (own scale)", 0, 10, cutoff=5, reliable_change=2)
    assert style.measure_label("mood") == "MOOD"
    with known_measures([mood]):
        assert style.measure_label("mood") == "Mood"
