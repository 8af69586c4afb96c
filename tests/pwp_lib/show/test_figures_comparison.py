"""Figures that compare, and those of designs: what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pwp_lib.show import figures


def rates() -> pd.DataFrame:
    return pd.DataFrame(
        {"yes_upper": [129, 98], "n_upper": [278, 189], "yes_lower": [104, 82],
         "n_lower": [548, 389], "chi2": [68.5, 56.2]},
        index=pd.Index(["improvement", "rcsi"], name="outcome"),
    )  # fmt: skip


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
