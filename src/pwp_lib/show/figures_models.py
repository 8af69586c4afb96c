"""Figures of a fitted multilevel model: its lines, its shrinkage, its residuals, its variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import legend_below, need, styled
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["shrinkage_plot"]

MANY = 5_000


@styled
def shrinkage_plot(table: pd.DataFrame) -> Axes:
    """Draw how each therapist's raw mean moves towards the average to become the residual.

    Parameters
    ----------
    table : DataFrame
        One row a therapist, with ``n``, ``raw`` (mean of the patients' residuals about the fixed
        part) and ``residual`` (the conditional mean of the random intercept).

    Returns
    -------
    Axes
    """
    need(table, ["n", "raw", "residual"], "a shrinkage plot")
    (ax,) = style.new_axes(style.PAGE_WIDTH, 4.4)
    colour = style.measure_colour("phq9")
    ax.axhline(0, color=style.INK, linestyle="--", linewidth=1.2)
    ax.vlines(table["n"], table["raw"], table["residual"], color=colour, linewidth=1.3)
    ax.scatter(table["n"], table["raw"], s=34, facecolor="white", edgecolor=colour, zorder=3)
    ax.scatter(table["n"], table["residual"], s=40, color=colour, zorder=4)
    ax.set_xscale("log")
    _plain_log_ticks(ax, table["n"])
    ax.set(xlabel="Caseload (logarithmic scale)", ylabel="Points from the average\n(below: better)")
    _hollow_and_filled(ax)
    small = table["n"] <= table["n"].median()
    moved = (table["raw"] - table["residual"]).abs()
    return remember(
        ax,
        f"Shrinkage plot of {count(len(table), 'therapist')}: the raw mean moves to the residual "
        f"by {plain(moved[small].mean())} points on average among the smaller caseloads and by "
        f"{plain(moved[~small].mean() if (~small).any() else 0.0)} among the larger.",
    )


def _plain_log_ticks(ax: Axes, n: pd.Series) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t >= n.min() / 2]
    ax.xaxis.set_major_locator(FixedLocator([t for t in ticks if t <= n.max() * 2]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
    ax.set_xlim(n.min() / 1.25, n.max() * 1.25)


def _hollow_and_filled(ax: Axes) -> None:
    from matplotlib.lines import Line2D

    hollow = Line2D(
        [], [], marker="o", linestyle="none", markerfacecolor="white",
        markeredgecolor=style.MUTED, label="raw mean",
    )  # fmt: skip
    filled = Line2D([], [], marker="o", linestyle="none", color=style.MUTED, label="residual")
    legend_below(ax, 2, handles=[hollow, filled])


@styled
def _crossings(value: np.ndarray, above: np.ndarray, limit: float) -> list[float]:
    """Where the profile crosses the limit, by linear interpolation."""
    out = []
    for i in np.flatnonzero(np.diff(above <= limit)):
        share = (limit - above[i]) / (above[i + 1] - above[i])
        out.append(float(value[i] + share * (value[i + 1] - value[i])))
    return out
