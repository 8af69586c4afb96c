"""Figures of models, posteriors and ranks: what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from multilevel.errors import InputError
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


def test_two_curves_share_axes_and_both_are_described() -> None:
    curve = pd.DataFrame({"phq9_pre": [0, 10, 20], "vpc": [0.05, 0.08, 0.2]})
    other = pd.DataFrame({"vpc": [0.04, 0.3]}, index=pd.Index([0, 21], name="gad7_pre"))
    ax = figures.vpc_curve(curve, measure="phq9", label="PHQ-9", at=15)
    assert figures.vpc_curve(other, ax, measure="gad7", label="GAD-7") is ax
    marker = ax.lines[1]
    assert marker.get_ydata()[0] == pytest.approx(0.14)
    told = figures.describe(ax)
    assert "from 5.0% at 0 to 20.0% at 20" in told
    assert "GAD-7: curve" in told
    assert ax.get_ylim()[0] == 0


# -- posteriors ------------------------------------------------------------------------------------


def lognormal_draws() -> np.ndarray:
    return np.exp(np.random.default_rng(2).normal(np.log(0.1), 0.3, (2, 4_000)))


def test_density_marks_median_interval_and_the_papers() -> None:
    draws = lognormal_draws()
    ax = figures.posterior_density(draws, measure="phq9", published=(0.097, 0.058, 0.174))
    low, mid, high = (100 * v for v in np.quantile(draws, [0.025, 0.5, 0.975]))
    words = [t.get_text() for t in ax.texts]
    # The bounds have larger Monte Carlo errors than the median, and so fewer decimals.
    assert f"ours {mid:.1f}% ({low:.0f}% to {high:.0f}%)" in words
    assert "paper 9.7% (5.8% to 17.4%)" in words
    x, y = ax.lines[0].get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=0.02)
    assert x.min() > 0


def test_draws_that_do_not_vary_have_no_density() -> None:
    with pytest.raises(InputError, match="do not vary"):
        figures.posterior_density(np.full(100, 0.1))
    with pytest.raises(InputError, match="do not vary"):
        figures.autocorrelation_plot(np.full(100, 0.1))
    with pytest.raises(InputError, match="finite"):
        figures.trace_plot([0.1, np.nan, 0.2])


def test_autocorrelation_of_a_known_chain() -> None:
    rng, chain = np.random.default_rng(3), np.zeros(20_000)
    for i, step in enumerate(rng.normal(size=19_999), start=1):
        chain[i] = 0.8 * chain[i - 1] + step
    ax = figures.autocorrelation_plot(chain, lags=20)
    heights = [p.get_height() for p in ax.patches]
    assert len(heights) == 21
    assert heights[0] == pytest.approx(1)
    assert heights[1] == pytest.approx(0.8, abs=0.02)
    assert heights[3] == pytest.approx(0.512, abs=0.03)


def test_trace_has_a_line_for_each_chain() -> None:
    assert len(figures.trace_plot(lognormal_draws()).lines) == 2


def test_priors_are_compared_with_the_paper_last() -> None:
    frame = pd.DataFrame({"median": [0.1], "lower": [0.05], "upper": [0.2]}, index=["flat"])
    ax = figures.prior_comparison(frame, published=(0.097, 0.058, 0.174))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["flat", "the paper"]
    drawn = figures.prior_comparison({"one": lognormal_draws(), "two": lognormal_draws()})
    assert len(drawn.lines) == 2
    assert ax.get_xlim()[0] == 0


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


def test_filled_markers_are_those_clear_of_the_average() -> None:
    (ax,) = figures.caterpillar_plot(five())
    filled = [line.get_markerfacecolor() != "white" for line in ax.lines[1:]]
    assert filled == [True, False, False, False, True]
    assert "beyond zero: a better than the average and e worse" in figures.describe(ax)


def test_nobody_who_differs_is_said() -> None:
    wide = five().assign(lower=-9.0, upper=9.0)
    assert "none of them clear of zero" in figures.describe(figures.caterpillar_plot(wide))


def test_ranks_against_ranks() -> None:
    ranks = pd.DataFrame({"rank_gad7": [1, 2, 3, 5, 4], "rank_phq9": [1, 2, 3, 4, 5]}, index=NAMES)
    ax = figures.rank_rank_plot(ranks.assign(cluster=CLUSTERS))
    assert "PHQ-9" in ax.get_xlabel()
    assert "rank correlation 0.90" in figures.describe(ax)
    with pytest.raises(InputError, match="exactly two"):
        figures.rank_rank_plot(ranks[["rank_gad7"]])


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


def test_probabilities_fill_the_strip() -> None:
    table = pd.DataFrame(
        {"rank": [1, 2], "p_upper": [0.97, 0.4], "p_lower": [0.0, 0.35]}, index=["a", "b"]
    )
    ax = figures.cluster_probability_strip(table)
    widths = np.array([p.get_width() for p in ax.patches]).reshape(3, 2)
    assert widths.sum(axis=0) == pytest.approx([1, 1])
    assert "1 in the upper and 0 in the lower" in figures.describe(ax)


def many(total: int = 1_000) -> pd.DataFrame:
    at = np.linspace(-5, 5, total)
    return pd.DataFrame(
        {
            "n": 30, "residual": at, "lower": at - 1, "upper": at + 1, "rank": np.arange(total) + 1,
            "p_upper": np.linspace(1, 0, total), "p_lower": np.linspace(0, 1, total), "change": at,
        },
        index=pd.Index([f"T{i:04d}" for i in range(total)], name="therapist_id"),
    ).sample(frac=1, random_state=1)  # fmt: skip


@pytest.mark.parametrize("total", [80, 81, 1_000])
def test_of_many_therapists_both_ends_are_drawn_and_it_is_said(total: int) -> None:
    table = many(total)
    drawn = {
        "caterpillar": figures.caterpillar_plot({"phq9": table, "gad7": table})[0],
        "intervals": figures.rank_interval_plot(table.drop(columns=["lower", "upper"]).assign(
            lower=table["rank"], upper=table["rank"])),
        "strip": figures.cluster_probability_strip(table),
        "dots": figures.outcomes_by_therapist(table),
    }  # fmt: skip
    said = f"Drawn are the first and the last 40 of {total:,} therapists."
    for name, ax in drawn.items():
        names = [t.get_text()[:5] for t in ax.get_yticklabels()]
        half = sorted(table.index)[:40] + sorted(table.index)[-40:]
        assert names == (sorted(table.index) if total == 80 else half), name
        assert (said in figures.describe(ax)) == (total > 80), name
        assert ("last 40 of" in ax.get_ylabel()) == (total > 80), name
        assert ax.figure.get_size_inches()[1] < 21


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
