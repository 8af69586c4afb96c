"""Figures of a fitted multilevel model: its lines, its shrinkage, its residuals, its variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multilevel.errors import InputError
from pwp_lib.numbers import count, listing, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import axes_or_new, finite, legend_below, need, styled
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "profile_likelihood",
    "residual_qq",
    "residuals_by_fitted",
    "shrinkage_plot",
    "vpc_curve",
]

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
def residual_qq(
    residuals: ArrayLike, ax: Axes | None = None, *, label: str = "Residuals", measure: str = ""
) -> Axes:
    """Draw standardised residuals against the quantiles of the normal distribution.

    Parameters
    ----------
    residuals : array_like
        Of patients or of therapists, standardised (for therapists by the diagnostic SE).
    ax : Axes, optional
    label : str
        Title, such as ``"Patients"`` or ``"Therapists"``.
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    from scipy.stats import norm

    values = np.sort(finite(residuals))
    if not len(values):
        raise InputError("there is no residual to draw")
    ax = axes_or_new(ax, 4.6, 4.4)
    expected = norm.ppf((np.arange(1, len(values) + 1) - 0.5) / len(values))
    ends = np.array([min(values[0], expected[0]), max(values[-1], expected[-1])])
    ax.plot(ends, ends, color=style.MUTED, linewidth=1)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), MANY)).astype(int))
    ax.scatter(
        expected[shown], values[shown], s=34 if len(values) <= 100 else 10, alpha=0.8,
        color=style.measure_colour(measure), linewidths=0,
    )  # fmt: skip
    ax.set(xlabel="Expected if normal", ylabel="Standardised residual", title=label)
    off = np.abs(values - expected)
    return remember(
        ax,
        f"Normal quantile plot, {label}: {len(values):,} standardised residuals from "
        f"{plain(values[0])} to {plain(values[-1])}; the largest distance from the line of "
        f"normality is {plain(off.max())}.",
    )


@styled
def residuals_by_fitted(
    fitted: ArrayLike, residuals: ArrayLike, ax: Axes | None = None, *, measure: str = ""
) -> Axes:
    """Draw patients' residuals against their fitted scores, with mean and SD in ten slices.

    Parameters
    ----------
    fitted, residuals : array_like of shape (N,)
    ax : Axes, optional
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    x, y = np.asarray(fitted, dtype=float), np.asarray(residuals, dtype=float)
    if x.shape != y.shape or not len(x):
        raise InputError("fitted scores and residuals must be of the same, positive length")
    ax = axes_or_new(ax, style.PAGE_WIDTH, 4.2)
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), MANY)).astype(int))
    colour = style.measure_colour(measure)
    ax.scatter(x[shown], y[shown], s=9, color=colour, alpha=0.35, linewidths=0)
    ax.axhline(0, color=style.INK, linewidth=1)
    slices = np.array_split(np.argsort(x, kind="stable"), min(10, len(x)))
    mid = np.array([x[s].mean() for s in slices])
    mean, sd = np.array([y[s].mean() for s in slices]), np.array([y[s].std() for s in slices])
    ax.errorbar(
        mid, mean, yerr=sd, color=style.INK, fmt="o", markersize=5, capsize=0, linewidth=1.6,
        label="mean ± SD in ten slices",
    )  # fmt: skip
    ax.set(xlabel="Fitted score", ylabel="Residual (points)")
    legend_below(ax, 1)
    return remember(
        ax,
        f"Scatter plot of {len(x):,} residuals against fitted scores; from the lowest to the "
        f"highest tenth of fitted scores the residuals' SD goes from {plain(sd[0])} to "
        f"{plain(sd[-1])} and their mean from {plain(mean[0])} to {plain(mean[-1])}.",
    )


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


@styled
def profile_likelihood(
    profile: pd.DataFrame,
    *,
    measure: str = "",
) -> Axes:
    """Draw the deviance as the therapist effect is held at each of many values, and its interval.

    Parameters
    ----------
    profile : DataFrame
        The ``profile`` of a `ProfileInterval`: ``vpc``, a share, and ``rise``, the deviance above
        its least. The 95% interval is where it is below that quantile of chi-square on one degree
        of freedom.
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    from scipy.stats import chi2

    need(profile, ["vpc", "rise"], "a profile likelihood")
    ordered = profile.dropna().sort_values("vpc")
    value = ordered["vpc"].to_numpy(dtype=float)
    above = (ordered["rise"] - ordered["rise"].min()).to_numpy(dtype=float)
    limit, colour = float(chi2.ppf(0.95, 1)), style.measure_colour(measure)
    (ax,) = style.new_axes()
    inside = above <= limit
    ax.fill_between(value, 0, above, where=inside, color=colour, alpha=0.15, lw=0)
    ax.plot(value, above, color=colour)
    ax.axhline(limit, color=style.INK, linestyle="--", linewidth=1.2)
    ax.text(1, limit, "95%", transform=ax.get_yaxis_transform(), ha="right", va="bottom")
    ax.set(xlabel="Therapist effect", ylabel="Deviance above its least", ylim=(0, limit * 2.6))
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ends = [f"{plain(100 * v, 1)}%" for v in _crossings(value, above, limit)]
    best = f"{plain(100 * value[above.argmin()], 1)}%"
    return remember(
        ax,
        f"Profile likelihood of the therapist effect, least deviance at {best}"
        + (f", crossing the 95% limit at {listing(ends)}." if ends else "."),
    )


def _crossings(value: np.ndarray, above: np.ndarray, limit: float) -> list[float]:
    """Where the profile crosses the limit, by linear interpolation."""
    out = []
    for i in np.flatnonzero(np.diff(above <= limit)):
        share = (limit - above[i]) / (above[i + 1] - above[i])
        out.append(float(value[i] + share * (value[i + 1] - value[i])))
    return out
