"""Figures of the cohort and its outcomes, before any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import (
    axes_or_new,
    both_ends,
    left_out,
    lower_first,
    need,
    styled,
)
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["completeness_by_therapist", "outcomes_by_therapist"]


def _left(step: Any) -> str:
    return (
        f"{count(step.patients, 'patient')}, {count(step.therapists, 'therapist')}, "
        f"{count(step.services, 'service')}"
    )


@styled
def outcomes_by_therapist(
    summary: pd.DataFrame,
    column: str = "change",
    *,
    label: str = "",
    measure: str = "",
    reference: float | None = None,
) -> Axes:
    """Draw one outcome for each therapist as dots, the larger the caseload the larger the dot.

    Of more than 80 therapists the first and the last 40 are drawn.

    Parameters
    ----------
    summary : DataFrame
        One row a therapist, with ``n`` and `column`, as `summarise_outcomes` gives it.
    column : str
        The outcome.
    label : str
        What the axis says.
    measure : str
        Short name, for the colour.
    reference : float, optional
        A value to compare with, such as that of all patients together.

    Returns
    -------
    Axes
    """
    need(summary, [column, "n"], "outcomes by therapist")
    everybody = summary.dropna(subset=[column]).sort_values(column, ascending=True)
    rows = everybody.loc[both_ends(everybody.index)]
    (ax,) = style.new_axes(style.PAGE_WIDTH, 1.1 + 0.21 * len(rows))
    y, area = np.arange(len(rows)), 28 + 150 * rows["n"] / rows["n"].max()
    ax.scatter(
        rows[column],
        y,
        s=area,
        color=style.measure_colour(measure),
        edgecolor="white",
        linewidth=0.8,
        zorder=3,
    )
    if reference is not None:
        ax.axvline(reference, color=style.INK, linestyle="--", linewidth=1.2, zorder=1)
    ax.set_yticks(y, [f"{t} ({int(n)})" for t, n in zip(rows.index, rows["n"], strict=True)])
    ax.set(ylim=(-0.8, len(rows) - 0.2), xlabel=label or column.replace("_", " "))
    ax.set_ylabel("Therapist (caseload)")
    ax.grid(visible=False, axis="y")
    note, low, high = left_out(ax, len(everybody)), rows[column].min(), rows[column].max()
    return remember(
        ax,
        f"Dot plot of {lower_first(label or column.replace('_', ' '))} by therapist for "
        f"{count(len(everybody), 'therapist')}, from {plain(low)} to {plain(high)}, "
        f"median {plain(float(everybody[column].median()))}. {note}",
    )


@styled
def completeness_by_therapist(
    table: pd.DataFrame, ax: Axes | None = None, *, complete: str = "complete", total: str = "total"
) -> Axes:
    """Draw the share of each therapist's patients who have all scores.

    Parameters
    ----------
    table : DataFrame
        One row a therapist, with the counts `complete` and `total`.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    need(table, [complete, total], "completeness by therapist")
    share = (table[complete] / table[total]).sort_values()
    ax = axes_or_new(ax, style.PAGE_WIDTH, 1.1 + 0.21 * len(share))
    y = np.arange(len(share))
    ax.barh(y, np.ones(len(share)), color="#EDEFF2", height=0.72)
    ax.barh(y, share, color=style.measure_colour("phq9"), height=0.72)
    overall = float(table[complete].sum() / table[total].sum())
    ax.axvline(overall, color=style.INK, linestyle="--", linewidth=1.2)
    ax.set_yticks(y, [f"{t} ({int(table.loc[t, total])})" for t in share.index])
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
    ax.set(xlim=(0, 1), ylim=(-0.8, len(share) - 0.2), xlabel="Patients with complete scores")
    ax.set_ylabel("Therapist (patients)")
    ax.grid(visible=False, axis="y")
    return remember(
        ax,
        f"Bar chart of the share of patients with complete scores for "
        f"{count(len(share), 'therapist')}: {100 * overall:.0f}% over all, from "
        f"{100 * share.min():.0f}% to {100 * share.max():.0f}%.",
    )
