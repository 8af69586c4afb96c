"""Figures that compare, and those of designs: what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pwp_lib.show import figures, style


def rates() -> pd.DataFrame:
    return pd.DataFrame(
        {"yes_upper": [129, 98], "n_upper": [278, 189], "yes_lower": [104, 82],
         "n_lower": [548, 389], "chi2": [68.5, 56.2]},
        index=pd.Index(["improvement", "rcsi"], name="outcome"),
    )  # fmt: skip


def test_rates_come_as_the_comparison_gives_them() -> None:
    axes = figures.cluster_comparison({"gad7": rates(), "phq9": rates()})
    assert [a.get_title(loc="left") for a in axes] == ["PHQ-9", "GAD-7"]
    told = figures.describe(axes)
    assert "Reliable improvement upper 46.4%, lower 19.0%" in told
    assert len(axes[0].lines) - 1 == 4


def test_a_cluster_without_patients_is_left_out() -> None:
    table = rates().assign(n_lower=0, yes_lower=0)
    (ax,) = figures.cluster_comparison({"phq9": table})
    assert "lower" not in figures.describe(ax)


def themes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "high_order_theme": ["Organised", "Organised", "Supervision"],
            "lower_order_theme": ["Plans", "Keeps to protocol", "Brings questions"],
            "upper": [4, 3, 1],
            "lower": [0, 3, 4],
            "stays_upper": [True, True, False],
            "stays_lower": [False, True, True],
        }
    )


def test_theme_map_counts_people_and_says_what_is_unique() -> None:
    ax = figures.theme_map(themes(), of="therapists")
    words = [t.get_text() for t in ax.texts]
    assert {"Organised", "Plans", "–", "4"} <= set(words)
    assert words.count("–") == 1
    told = figures.describe(ax)
    assert "2 high-order themes and 3 lower-order themes" in told
    assert "1 only in the upper cluster and 1 only in the lower cluster" in told


def board() -> pd.DataFrame:
    rows = [
        ("models.a", "models", "=", 8.7, 8.72, 0.05, "match"),
        ("models.b", "models", "=", 8.7, 9.7, 0.05, "no match"),
        ("people.n", "people", "=", 21.0, 21.0, 0.0, "match"),
        ("people.m", "people", "=", 21.0, 20.0, 0.0, "no match"),
        ("people.p", "people", "<", 0.001, 1e-9, 0.0, "match"),
        ("people.x", "people", "=", 3.0, np.nan, 0.0, "not testable"),
    ]
    columns = ["id", "topic", "relation", "published", "computed", "rounding", "state"]
    return pd.DataFrame(rows, columns=columns)


def test_scoreboard_places_figures_on_the_rounding() -> None:
    ax = figures.scoreboard_picture(board())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["models\n1 of 2", "people\n2 of 3"]
    x = np.concatenate([c.get_offsets()[:, 0] for c in ax.collections])
    # 0.02 over a rounding of 0.05; a count and a bound that hold; two far out.
    assert sorted(np.round(x, 6)) == [-4, 0, 0, pytest.approx(0.4), 4]
    assert "3 of 5 figures that can be tested" in figures.describe(ax)
    assert "1 cannot be tested" in figures.describe(ax)


def test_sensitivity_compares_with_the_first_row() -> None:
    table = pd.DataFrame({"estimate": [0.087, 0.1], "lower": [0.05, 0.06], "upper": [0.17, 0.2]})
    ax = figures.sensitivity_panel(table.set_axis(["main", "REML"]))
    assert ax.lines[0].get_xdata()[0] == 0.087
    assert "estimates from 8.7% to 10.0%" in figures.describe(ax)


def test_precision_map_labels_every_cell() -> None:
    grid = pd.DataFrame(
        [(t, p, 0.01 * t) for t in (10, 20, 30) for p in (5, 50)],
        columns=["therapists", "patients", "power"],
    )
    ax = figures.precision_map(grid, design=(15, 50))
    assert sorted({t.get_text() for t in ax.texts}) == ["10", "20", "30"]
    assert len(ax.texts) == 6
    ring = ax.lines[0]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.5, 1.0)
    assert "from 10% to 30%" in figures.describe(ax)


def test_allocation_has_a_panel_for_each_way() -> None:
    truth = np.array([-1.0, 0, 1])
    table = pd.DataFrame(
        {
            "truth": np.tile(truth, 2),
            "residual": np.concatenate([truth, [1.0, -1, 1]]),
            "allocation": ["at random"] * 3 + ["by difficulty"] * 3,
        }
    )
    axes = figures.allocation_plot(table)
    assert [a.get_title(loc="left") for a in axes] == ["at random", "by difficulty"]
    assert [a.texts[0].get_text() for a in axes] == ["r = 1.00", "r = 0.00"]


def test_benchmarks_say_who_is_slower() -> None:
    table = pd.DataFrame({"task": ["fit", "fit"], "peer": ["A", "B"], "ratio": [24.0, 0.5]})
    ax = figures.benchmark_ratios(table)
    assert [t.get_text() for t in ax.texts] == ["24×", "0.5×"]
    assert ax.get_xscale() == "log"
    assert "fit, A 24 times; fit, B 0.5 times" in figures.describe(ax)


def test_ranks_outside_their_bands_are_told() -> None:
    at = [0.25, 0.5, 0.75]
    lines = {("A", "good"): [0.0, 0.01, 0.0], ("A", "bad"): [0.0, 0.2, 0.0], ("B", "fine"): [0] * 3}
    table = pd.concat(
        pd.DataFrame({"case": c, "quantity": q, "at": at, "difference": d})
        for (c, q), d in lines.items()
    ).assign(lower=-0.05, upper=0.05)
    told = [figures.describe(ax) for ax in figures.rank_bands(table)]
    assert "outside the bands: bad." in told[0]
    assert "all inside the bands" in told[1]


def test_every_public_figure_is_exported_and_named() -> None:
    assert all(callable(getattr(figures, name)) for name in figures.__all__)
    assert figures.__all__ == sorted(figures.__all__)


def test_clusters_on_axes_of_their_own_keep_the_order_and_the_names() -> None:
    first, second = (
        pd.DataFrame({"yes_upper": yes, "n_upper": 10}, index=["first", "second"])
        for yes in ([1, 5], [9, 9])
    )
    rates = {"phq9": first, "gad7": second}
    axes = figures.cluster_comparison(rates, style.new_axes(6, 6, rows=2, sharex=True))
    assert [[t.get_text() for t in ax.get_yticklabels()] for ax in axes] == [
        ["first", "second"]
    ] * 2
    assert all(ax.yaxis_inverted() for ax in axes)
    # Nothing is cut off at the right, in whichever panel it lies.
    assert all(ax.get_xlim()[1] >= 0.98 for ax in axes)
