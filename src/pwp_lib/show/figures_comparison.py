"""Figures that compare: clusters, groups of therapists, themes, the paper and what we compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pwp_lib.numbers import count
from pwp_lib.show import style
from pwp_lib.show._drawing import (
    axes_or_new,
    need,
    styled,
    wrapped,
)
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sensitivity_panel", "theme_map"]


@styled
def theme_map(themes: pd.DataFrame, *, of: str = "people") -> Axes:
    """Draw which lower-order themes each cluster has, under their high-order themes.

    Parameters
    ----------
    themes : DataFrame
        ``high_order_theme``, ``lower_order_theme``, and for each cluster a count of the people
        who described it (``upper``, ``lower``) and whether it stays (``stays_<cluster>``): the
        table of `lower_order_themes`, for one role.
    of : str
        Who was interviewed, for the title.

    Returns
    -------
    Axes
    """
    clusters = ("upper", "lower")
    counts = [*clusters, *(f"stays_{c}" for c in clusters)]
    need(themes, ["high_order_theme", "lower_order_theme", *counts], "a theme map")
    highs = list(dict.fromkeys(themes["high_order_theme"]))
    lines: list[tuple[str, pd.Series | None]] = []
    for high in highs:
        lines.append((high, None))
        own = themes[themes["high_order_theme"] == high]
        lines += [(str(r["lower_order_theme"]), r) for _, r in own.iterrows()]
    (ax,) = style.new_axes(style.PAGE_WIDTH, 0.9 + 0.25 * len(lines))
    ax.set(xlim=(0, 10), ylim=(len(lines) - 0.3, -1.4))
    ax.set_axis_off()
    places = {c: 8.0 + 1.3 * k for k, c in enumerate(clusters)}
    for cluster, x in places.items():
        ax.text(x, -0.8, cluster, ha="center", fontsize=10, fontweight="bold")
    for y, (text, row) in enumerate(lines):
        _theme_line(ax, y, text, row, places)
    stays = {c: themes[f"stays_{c}"].astype(bool) for c in clusters}
    unique = {
        "upper": int((stays["upper"] & ~stays["lower"]).sum()),
        "lower": int((stays["lower"] & ~stays["upper"]).sum()),
    }
    return remember(
        ax,
        f"Theme map of {of}: {count(len(highs), 'high-order theme')} and "
        f"{count(len(themes), 'lower-order theme')}; "
        + " and ".join(f"{n} only in the {c} cluster" for c, n in unique.items())
        + ".",
    )


def _theme_line(
    ax: Axes, y: int, text: str, row: pd.Series | None, places: dict[str, float]
) -> None:
    if row is None:
        ax.text(0, y, text, va="center", fontsize=10.5, fontweight="bold")
        ax.axhline(y - 0.55, color=style.GRID, linewidth=1)
        return
    ax.text(0.35, y, text, va="center", fontsize=10)
    for cluster, x in places.items():
        n = row[cluster]
        if pd.isna(n) or n == 0:
            ax.text(x, y, "–", ha="center", va="center", color=style.MUTED)
            continue
        stays = bool(row[f"stays_{cluster}"])
        colour = style.cluster_colour(cluster)
        ax.scatter(
            [x], [y], s=175, color=colour if stays else "white", edgecolor=colour, linewidth=1.4
        )
        ax.text(
            x, y, f"{int(n)}", ha="center", va="center_baseline", fontsize=9,
            color="white" if stays else colour,
        )  # fmt: skip


@styled
def sensitivity_panel(
    table: pd.DataFrame,
    ax: Axes | None = None,
    *,
    measure: str = "",
) -> Axes:
    """Draw one estimate under several choices of analysis, one below another.

    Parameters
    ----------
    table : DataFrame
        One row a choice, indexed by its name, with ``estimate`` and if known ``lower``, ``upper``,
        as shares. The others are compared with the first.
    ax : Axes, optional
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    need(table, ["estimate"], "a sensitivity panel")
    ax = axes_or_new(ax, style.PAGE_WIDTH, 1.1 + 0.4 * len(table))
    colour, y = style.measure_colour(measure), np.arange(len(table))
    ax.axvline(float(table["estimate"].iloc[0]), color=style.INK, linestyle="--", linewidth=1.2)
    if {"lower", "upper"} <= set(table.columns):
        ax.hlines(y, table["lower"], table["upper"], color=colour, linewidth=2.4)
    # Not clipped: a point at zero lies on the axis, and half of it beyond.
    ax.plot(table["estimate"], y, "o", color=colour, markersize=8, linestyle="none", clip_on=False)
    ax.set_yticks(y, [wrapped(str(i), 30) for i in table.index])
    ax.set(ylim=(len(table) - 0.5, -0.5), xlabel="Therapist effect")
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ax.set_xlim(left=0)
    ax.grid(visible=False, axis="y")
    low, high = table["estimate"].min(), table["estimate"].max()
    return remember(
        ax,
        f"Therapist effect under {count(len(table), 'choice')} of analysis: estimates from "
        f"{100 * low:.1f}% to {100 * high:.1f}%.",
    )
