"""Figures of a fitted multilevel model: its lines, its shrinkage, its residuals, its variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import axes_or_new, legend_below, need, styled
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["shrinkage_plot", "vpc_curve"]

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
def vpc_curve(
    curve: pd.DataFrame,
    ax: Axes | None = None,
    *,
    x: str | None = None,
    measure: str = "",
    label: str = "",
    at: float | None = None,
    xlabel: str = "",
) -> Axes:
    """Draw the therapist effect by severity before treatment, with an interval if there is one.

    Parameters
    ----------
    curve : DataFrame
        With the predictor (column `x`, the first column, or the index), ``vpc`` as a proportion,
        and if known ``lower`` and ``upper``.
    ax : Axes, optional
        Axes that hold another measure's curve already are welcome.
    x : str, optional
    measure, label : str
        Short name for the colour, and the name in the legend.
    at : float, optional
        A score to mark, such as the mean.
    xlabel : str

    Returns
    -------
    Axes
    """
    need(curve, ["vpc"], "a curve of the therapist effect")
    first = curve.columns[0] if curve.columns[0] != "vpc" else None
    column = x or first
    scores = (curve[column] if column else curve.index.to_series()).to_numpy(dtype=float)
    ax = axes_or_new(ax)
    colour = style.measure_colour(measure)
    if {"lower", "upper"} <= set(curve.columns):
        ax.fill_between(scores, curve["lower"], curve["upper"], color=colour, alpha=0.18, lw=0)
    ax.plot(scores, curve["vpc"], color=colour, label=label or None)
    if at is not None:
        value = float(np.interp(at, scores, curve["vpc"]))
        ax.plot([at], [value], marker=style.measure_marker(measure), color=colour, markersize=8)
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ax.set_ylim(bottom=0)
    ax.set(ylabel="Therapist effect", xlabel=xlabel or ax.get_xlabel() or "Score before treatment")
    if label:
        ax.legend()
    low = curve["vpc"].to_numpy()
    return remember(
        ax,
        f"{label + ': curve' if label else 'Curve'} of the therapist effect by score before "
        f"treatment, from {100 * low[0]:.1f}% at {plain(scores[0])} to {100 * low[-1]:.1f}% at "
        f"{plain(scores[-1])}, lowest {100 * low.min():.1f}%, highest {100 * low.max():.1f}%.",
    )


def _crossings(value: np.ndarray, above: np.ndarray, limit: float) -> list[float]:
    """Where the profile crosses the limit, by linear interpolation."""
    out = []
    for i in np.flatnonzero(np.diff(above <= limit)):
        share = (limit - above[i]) / (above[i + 1] - above[i])
        out.append(float(value[i] + share * (value[i + 1] - value[i])))
    return out
