"""Figures that compare, and those of designs: what is drawn, and what is said of it."""

from __future__ import annotations

import pandas as pd

from pwp_lib.show import figures


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
