"""Figures that rank therapists, and that show how little or much the ranks can bear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.measures import get_measure
from pwp_lib.numbers import count, listing
from pwp_lib.profiling import funnel_limits
from pwp_lib.show import style
from pwp_lib.show._drawing import (
    axes_or_new,
    both_ends,
    cluster_legend,
    clusters_of,
    left_out,
    need,
    several,
    styled,
    wrapped,
)
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["caterpillar_plot", "funnel_plot", "rank_interval_plot"]


@styled
def caterpillar_plot(
    residuals: pd.DataFrame | Mapping[str, pd.DataFrame],
    axes: Axes | Iterable[Axes] | None = None,
    *,
    clusters: pd.Series | None = None,
    order: Iterable[str] | None = None,
    labels: bool = True,
    of: int | None = None,
    unit: str = "therapist",
) -> list[Axes]:
    """Draw each therapist's residual with its 95% interval, best first, in one order for all.

    Of more than 80 therapists the first and the last 40 are drawn.

    Parameters
    ----------
    residuals : DataFrame, or mapping of measure name to DataFrame
        `MixedFit.residuals()`: one row a therapist, ``residual``, ``lower``, ``upper``, ``n``.
    axes : Axes or iterable of Axes, optional
        One for each measure.
    clusters : Series of str, optional
        Cluster by therapist; without it, whoever differs from the average is in full colour.
    order : iterable of str, optional
        Therapists, most effective first; left out, by the mean residual over the measures.
    labels : bool
        Whether therapists are named, with their caseload.
    of : int, optional
        How many there are, where `order` names both ends alone: a line then says so.
    unit : str
        What a row is, as the axis and the sentence for those who cannot see it call it.

    Returns
    -------
    list of Axes
        One for each measure, PHQ-9 before GAD-7.
    """
    frames = {"": residuals} if isinstance(residuals, pd.DataFrame) else dict(residuals)
    names = style.measure_order(frames)
    for name in names:
        need(frames[name], ["residual", "lower", "upper"], "a caterpillar plot")
    everybody = list(order) if order is not None else _by_mean(frames)
    ranked = both_ends(everybody)
    # Telephones: two measures stand side by side, and the figure then scrolls rather than shrinks.
    height = 1.0 + 0.23 * len(ranked)
    width = style.PAGE_WIDTH if len(names) == 1 else max(style.WIDE, 3 * len(names))
    drawn = several(axes, len(names), width, height, sharey=True)
    for ax, name in zip(drawn, names, strict=True):
        _caterpillar(ax, frames[name].reindex(ranked), name, clusters, unit)
    # Who has no residual on the first measure has a caseload on another.
    frame = reduce(pd.DataFrame.combine_first, (frames[name] for name in names)).reindex(ranked)
    # An inch holds about eleven letters, eight bold ones; names of therapists take theirs first.
    longest = max(map(len, _names(frame)), default=0) if labels else 0
    inches = max(1.5, (width - 0.08 * longest) / len(names))
    for ax in drawn:
        ax.set_title(wrapped(ax.get_title("left"), int(8 * inches)))
        ax.set_xlabel(wrapped(ax.get_xlabel(), int(11 * inches)))
    for ax in drawn:  # the user's axes need not share theirs
        ax.set_yticks(np.arange(len(ranked)), _names(frame) if labels else [""] * len(ranked))
        ax.set_ylim(len(ranked) - 0.3, -0.7)
    # A picture of few is lower than the sentence is long.
    title = wrapped(f"{unit.capitalize()} (caseload), most effective at the top", int(11 * height))
    drawn[0].set_ylabel(title if labels else "")
    for ax in drawn[::-1]:
        remember(ax, left_out(ax, len(everybody), named=ax is drawn[0]))
        if of is not None and len(everybody) < of:
            ax.axhline(len(everybody) // 2 - 0.5, color=style.INK, linestyle=":", linewidth=1.2)
    there = clusters_of(clusters, frame.index)
    cluster_legend(drawn[-1], there, loc="lower left", bbox_to_anchor=(0.0, 0.0), fontsize=9.5)
    return drawn


def _by_mean(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    means = pd.concat(
        [_sign(n) * f["residual"] / f["residual"].std() for n, f in frames.items()], axis=1
    )
    return list(means.mean(axis=1).sort_values(kind="stable").index)


def _sign(name: str) -> float:
    """Give 1 where a higher score is worse, as for a measure that is not known, else -1."""
    try:
        return get_measure(name).sign
    except InputError:
        return 1.0


def _names(frame: pd.DataFrame) -> list[str]:
    if "n" not in frame:
        return [str(t) for t in frame.index]
    return [f"{t} ({int(n)})" for t, n in zip(frame.index, frame["n"], strict=True)]


def _caterpillar(
    ax: Axes, frame: pd.DataFrame, name: str, clusters: pd.Series | None, unit: str
) -> None:
    y = np.arange(len(frame))
    differs = ((frame["lower"] > 0) | (frame["upper"] < 0)).to_numpy()
    of = clusters_of(clusters, frame.index)
    faint = style.CLUSTER_COLOURS["middle"]
    if clusters is None:
        colours = [style.measure_colour(name) if d else faint for d in differs]
    else:
        colours = [style.cluster_colour(c) for c in of]
    ax.axvline(0, color=style.INK, linewidth=1.2, zorder=1)
    ax.hlines(y, frame["lower"], frame["upper"], color=colours, linewidth=2.2)
    for at, (value, colour, cluster, off) in enumerate(
        zip(frame["residual"], colours, of, differs, strict=True)
    ):
        ax.plot(
            value, at, marker=style.CLUSTER_MARKERS.get(cluster, "o"), color=colour, markersize=7,
            markerfacecolor=colour if off else "white", markeredgewidth=1.5,
        )  # fmt: skip
    if name:
        ax.set_title(style.measure_label(name))
    side = "left" if _sign(name) > 0 else "right"
    ax.set_xlabel(f"Points from the average ({side}: better)")
    ax.grid(visible=False, axis="y")
    remember(ax, _caterpillar_sentence(frame, name, unit))


def _caterpillar_sentence(frame: pd.DataFrame, name: str, unit: str) -> str:
    what = f" on {style.measure_label(name)}" if name else ""
    below = [str(t) for t in frame.index[(frame["upper"] < 0).to_numpy()]]
    above = [str(t) for t in frame.index[(frame["lower"] > 0).to_numpy()]]
    better, worse = (below, above) if _sign(name) > 0 else (above, below)
    found = [
        f"{_first(who)} {word} than the average"
        for who, word in ((better, "better"), (worse, "worse"))
        if who
    ]
    outcome = f"beyond zero: {' and '.join(found)}" if found else "none of them clear of zero"
    drawn = count(int(frame["residual"].count()), unit)
    return f"Caterpillar plot{what}: residuals of {drawn} with 95% intervals, {outcome}."


def _first(names: list[str]) -> str:
    """List names, or of many the first: a listener does not want them all."""
    more = len(names) - 6
    return listing(names) if more <= 1 else listing([*names[:6], f"{more} more"])


def _rank_ticks(axis: Axis, size: int) -> None:
    """Mark whole ranks, the first and the last among them."""
    step = max(1, -(-size // 5))
    inner = [t for t in range(step, size, step) if size - t >= step / 2 and t > 1]
    axis.set_ticks(sorted({1, *inner, size}))


@styled
def rank_interval_plot(
    ranks: pd.DataFrame,
    ax: Axes | None = None,
    *,
    clusters: pd.Series | None = None,
    measure: str = "",
    places: int | None = None,
) -> Axes:
    """Draw each therapist's rank with the interval in which it may lie.

    Of more than 80 therapists the first and the last 40 are drawn.

    Parameters
    ----------
    ranks : DataFrame
        `rank_uncertainty`: by therapist, ``rank``, ``lower``, ``upper``.
    ax : Axes, optional
    clusters : Series of str, optional
    measure : str
        Short name, for colour and title.
    places : int, optional
        Therapists ranked, where not all of them are in the table.

    Returns
    -------
    Axes
    """
    need(ranks, ["rank", "lower", "upper"], "a plot of rank intervals")
    last = places or max(len(ranks), int(np.nanmax(ranks[["rank", "upper"]].to_numpy(float))))
    rows = ranks.loc[both_ends(ranks.sort_values("rank", kind="stable").index)]
    ax = axes_or_new(ax, style.PAGE_WIDTH, 1.0 + 0.23 * len(rows))
    of, y = clusters_of(clusters, rows.index), np.arange(len(rows))
    colours = [style.cluster_colour(c) if c else style.measure_colour(measure) for c in of]
    ax.hlines(y, rows["lower"], rows["upper"], color=colours, linewidth=4, alpha=0.45)
    for at, (rank, colour, cluster) in enumerate(zip(rows["rank"], colours, of, strict=True)):
        ax.plot(
            rank, at, marker=style.CLUSTER_MARKERS.get(cluster, "o"), color=colour, markersize=7
        )
    ax.set_yticks(y, [str(t) for t in rows.index])
    ax.set(ylim=(len(rows) - 0.3, -0.7), xlim=(0.3, last + 0.7))
    _rank_ticks(ax.xaxis, last)
    ax.set_xlabel("Rank (1: most effective), with 95% interval")
    if measure:
        ax.set_title(style.measure_label(measure))
    ax.grid(visible=False, axis="y")
    cluster_legend(ax, of, loc="lower left")
    note = left_out(ax, len(ranks))
    width = rows["upper"] - rows["lower"] + 1
    return remember(
        ax,
        f"Ranks of {count(len(rows), 'therapist')}"
        f"{f' among {last:,}' if last > len(rows) else ''} with 95% intervals, which span "
        f"{width.min():.0f} to {width.max():.0f} ranks, {width.median():.0f} in the median. {note}",
    )


@styled
def funnel_plot(
    n: pd.Series,
    own: pd.Series,
    target: float,
    ax: Axes | None = None,
    *,
    sd: float | None = None,
    untold: Sequence[float] = (),
    turned: bool = False,
) -> Axes:
    """Draw each therapist's own rate or mean against the limits of chance for so many patients.

    Parameters
    ----------
    n : Series of int
        Patients by therapist.
    own : Series of float
        Rates, drawn as percentages, or means; not drawn towards the average.
    target : float
        Rate or mean of all.
    ax : Axes, optional
    sd : float, optional
        SD of patients within therapists, of means; see `pwp_lib.funnel_limits`.
    untold : sequence of float, optional
        Patients of therapists whose rate is not shown: a tick each, at the foot.
    turned : bool
        Whether lower means are better: better is at the top, with the sign that a table has.

    Returns
    -------
    Axes
    """
    ax = axes_or_new(ax, 4.9, 3.8)  # legible on a telephone
    unit, sizes = 100 if sd is None else 1, np.unique(np.linspace(n.min(), n.max(), 200).round())
    limits = funnel_limits(target, sizes, sd=sd)
    ax.scatter(n, unit * own, s=26, alpha=0.5, zorder=3)
    ax.axhline(unit * target, color="0.5", linewidth=1, label="all")
    for level, line in (("95", "--"), ("99.8", "-")):
        ends = unit * limits[[f"lower_{level}", f"upper_{level}"]]
        ax.plot(sizes, ends, line, color="0.5", label=[f"{level}%", "_"])
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    if len(untold):
        ax.plot(untold, [0.02] * len(untold), "|", color="0.3", transform=ax.get_xaxis_transform())
    ax.yaxis.set_inverted(turned and sd is not None)
    return remember(ax, f"Funnel plot of {count(len(n), 'therapist')}.")
