"""Figures of the cohort and its outcomes, before any model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import (
    MOST_ROWS,
    axes_or_new,
    both_ends,
    finite,
    left_out,
    lower_first,
    need,
    several,
    styled,
    wrapped,
)
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "caseload_bars",
    "change_histogram",
    "completeness_by_therapist",
    "flow_diagram",
    "outcomes_by_therapist",
    "score_distributions",
]


@styled
def flow_diagram(flow: Sequence[Any]) -> Axes:
    """Draw the flow of services, practitioners and patients through the inclusion rules.

    Parameters
    ----------
    flow : sequence of FlowStep
        Each with ``rule, patients, therapists, services, excluded``: what is left after the rule.

    Returns
    -------
    Axes
    """
    (ax,) = style.new_axes(style.PAGE_WIDTH, 0.5 + 1.05 * max(len(flow), 1))
    ax.set_axis_off()
    ax.set(xlim=(0, 10), ylim=(-len(flow) + 0.4, 0.6))
    for row, step in enumerate(flow):
        rule = str(step.rule)
        _flow_box(ax, 3.6, -row, 6.8, wrapped(rule[:1].upper() + rule[1:], 44), _left(step))
        if row + 1 < len(flow):
            ax.annotate("", (3.6, -row - 0.62), (3.6, -row - 0.36), arrowprops=_ARROW)
        if step.excluded:
            ax.annotate("", (7.75, -row), (7.0, -row), arrowprops=_ARROW)
            ax.text(7.85, -row, f"{step.excluded:,}\nleft out", va="center", fontsize=10)
    last = flow[-1] if flow else None
    return remember(
        ax,
        f"Flow diagram with {count(len(flow), 'step')}."
        + "".join(
            f" {s.rule}: {count(s.patients, 'patient')} left, {s.excluded:,} excluded."
            for s in flow
        )
        + (f" At the end {_left(last)}." if last else ""),
    )


_ARROW = {"arrowstyle": "-|>", "color": style.MUTED, "linewidth": 1.2}


def _left(step: Any) -> str:
    return (
        f"{count(step.patients, 'patient')}, {count(step.therapists, 'therapist')}, "
        f"{count(step.services, 'service')}"
    )


def _flow_box(ax: Axes, x: float, y: float, width: float, rule: str, left: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.36), width, 0.72, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="#F4F6F8", edgecolor=style.MUTED,
        )
    )  # fmt: skip
    ax.text(x, y + 0.13, rule, ha="center", va="center", fontsize=10, linespacing=1.1)
    ax.text(x, y - 0.22, left, ha="center", va="center", fontsize=10, fontweight="bold")


@styled
def score_distributions(
    patients: pd.DataFrame, measures: Any, axes: Iterable[Axes] | None = None
) -> list[Axes]:
    """Draw the scores before and after treatment as histograms, with the cut-off.

    Parameters
    ----------
    patients : DataFrame
        With ``<measure>_pre`` and ``<measure>_post``.
    measures : iterable of Measure, or one Measure
    axes : iterable of Axes, optional
        One for each measure.

    Returns
    -------
    list of Axes
        One for each measure.
    """
    given: list[Any] = list(measures) if isinstance(measures, Iterable) else [measures]
    drawn = several(
        axes, len(given), style.PAGE_WIDTH if len(given) == 1 else style.WIDE, 3.9, sharey=True
    )
    for ax, measure in zip(drawn, given, strict=True):
        need(patients, [measure.pre, measure.post], "a score distribution")
        pre, post = finite(patients[measure.pre]), finite(patients[measure.post])
        _two_histograms(ax, pre, post, measure)
        cut = "" if measure.cutoff is None else f"; the cut-off is {plain(measure.cutoff)}"
        remember(
            ax,
            f"Histograms of {measure.label} scores of {count(len(pre), 'patient')} before "
            f"(mean {pre.mean():.1f}) and after treatment (mean {post.mean():.1f}){cut}.",
        )
    drawn[0].set_ylabel("Patients")
    return drawn


def _two_histograms(ax: Axes, pre: Any, post: Any, measure: Any) -> None:
    width = max(1, round((measure.maximum - measure.minimum) / 30))
    bins = np.arange(measure.minimum - 0.5, measure.maximum + width, width)
    colour = style.measure_colour(measure.name)
    ax.hist(pre, bins=bins, color=colour, alpha=0.28, label="before")  # type: ignore[arg-type]
    ax.hist(post, bins=bins, histtype="step", color=colour, linewidth=2, label="after")  # type: ignore[arg-type]
    if measure.cutoff is not None:
        between = measure.cutoff - measure.sign / 2
        ax.axvline(between, color=style.INK, linestyle="--", linewidth=1.2)
        ax.annotate(
            f"cut-off {plain(measure.cutoff)}", (between, 1), (4, -2),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="top", fontsize=10,
        )  # fmt: skip
    ax.set(xlabel=f"{measure.label} score", title=measure.label)
    ax.grid(visible=False, axis="x")
    ax.margins(y=0.12)
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.92))


@styled
def change_histogram(patients: pd.DataFrame, measure: Any, ax: Axes | None = None) -> Axes:
    """Draw how much patients changed, positive for better, with the thresholds of reliable change.

    Parameters
    ----------
    patients : DataFrame
        With the measure's two columns, or the result of `patient_outcomes` with ``change``.
    measure : Measure
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = axes_or_new(ax)
    if "change" in patients:
        change = finite(patients["change"])
    else:
        need(patients, [measure.pre, measure.post], "a change histogram")
        change = finite(measure.improvement(patients[measure.pre], patients[measure.post]))
    bins = np.arange(np.floor(change.min()) - 0.5, np.ceil(change.max()) + 1.5)
    _, _, bars = ax.hist(change, bins=bins, color=style.measure_colour(measure.name), alpha=0.9)  # type: ignore[arg-type]
    sentence = f"Histogram of change in {measure.label}, mean {plain(change.mean(), 2)} points"
    if measure.reliable_change is not None:
        sentence += _mark_reliable(ax, bars, change, measure.reliable_change)
    ax.axvline(0, color=style.INK, linewidth=1)
    ax.grid(visible=False, axis="x")
    ax.set(xlabel=f"Points better on {measure.label} (negative: worse)", ylabel="Patients")
    ax.set_title(f"Change in {measure.label}")
    return remember(ax, f"{sentence}.")


def _mark_reliable(ax: Axes, bars: Any, change: Any, threshold: float) -> str:
    for bar in bars:
        middle = bar.get_x() + bar.get_width() / 2
        if abs(middle) < threshold:
            bar.set_facecolor(style.CLUSTER_COLOURS["middle"])
        elif middle < 0:
            bar.set_facecolor(style.WORSE)
    better, worse = int((change >= threshold).sum()), int((change <= -threshold).sum())
    ax.margins(y=0.2)
    for x, n, word, side in ((1, better, "better", "right"), (0.02, worse, "worse", "left")):
        ax.text(
            x, 0.99, f"{n:,} reliably {word}\n({100 * n / len(change):.1f}%)",
            transform=ax.transAxes, ha=side, va="top", fontsize=10,
        )  # fmt: skip
    return (
        f"; {100 * better / len(change):.1f}% of {count(len(change), 'patient')} reliably better, "
        f"{100 * worse / len(change):.1f}% reliably worse"
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


@styled
def caseload_bars(caseloads: pd.Series, ax: Axes | None = None) -> Axes:
    """Draw how many patients each therapist has, largest first.

    Parameters
    ----------
    caseloads : Series of int
        By therapist.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    n = caseloads.sort_values(ascending=False, kind="stable")
    ax = axes_or_new(ax, style.PAGE_WIDTH, 3.4)
    if len(n) <= MOST_ROWS:
        bars = ax.bar(np.arange(len(n)), n, color="#5F6B78", width=0.78)
        ax.set_xticks(np.arange(len(n)), [str(t) for t in n.index], rotation=90, fontsize=9)
    else:  # too many for a bar and a name each
        ax.stairs(n, np.arange(len(n) + 1) + 0.5, fill=True, color="#5F6B78")
    if len(n) <= 26:
        ax.bar_label(bars, fontsize=9, padding=2)
    ax.set(xlabel="Therapist" if len(n) <= MOST_ROWS else "Therapists", ylabel="Patients")
    ax.grid(visible=False, axis="x")
    return remember(
        ax,
        f"Bar chart of the caseloads of {count(len(n), 'therapist')}, from {n.min():,} to "
        f"{n.max():,} patients; the median is {plain(float(n.median()), 1)}.",
    )
