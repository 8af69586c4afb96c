"""The figure that sets one analysis beside others."""

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

__all__ = ["sensitivity_panel"]


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
