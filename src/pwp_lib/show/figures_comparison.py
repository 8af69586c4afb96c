"""Figures that compare: clusters, groups of therapists, themes, the paper and what we compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pwp_lib.numbers import count
from pwp_lib.outcomes import OUTCOMES
from pwp_lib.show import style
from pwp_lib.show._drawing import (
    axes_or_new,
    cluster_legend,
    legend_below,
    need,
    several,
    styled,
    wrapped,
)
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "cluster_comparison",
    "scoreboard_picture",
    "sensitivity_panel",
    "theme_map",
]


def _long_rates(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Turn results of `compare_rates` into one row a measure, outcome and cluster."""
    labels = {name: outcome.label for name, outcome in OUTCOMES.items()}
    rows = [
        (measure, labels.get(str(key), str(key)), cluster, row[f"yes_{cluster}"], row[column])
        for measure, table in tables.items()
        for key, row in table.iterrows()
        for column in table.columns
        if str(column).startswith("n_") and (cluster := str(column)[2:])
    ]
    return pd.DataFrame(rows, columns=["measure", "outcome", "cluster", "count", "n"])


@styled
def cluster_comparison(
    tables: Mapping[str, pd.DataFrame], axes: Axes | Iterable[Axes] | None = None
) -> list[Axes]:
    """Draw rates by cluster with Wilson intervals.

    Parameters
    ----------
    tables : mapping of measure name to DataFrame
        The result of `compare_rates` for each measure.
    axes : Axes or iterable of Axes, optional
        One for each measure.

    Returns
    -------
    list of Axes
        One for each measure, PHQ-9 before GAD-7.
    """
    table = _long_rates(tables)
    names = style.measure_order(table["measure"])
    outcomes = list(dict.fromkeys(table["outcome"]))
    width = style.PAGE_WIDTH if len(names) == 1 else style.WIDE
    height = 1.4 + 0.27 * len(outcomes) * table["cluster"].nunique()
    drawn = several(axes, len(names), width, height, sharey=True)
    for ax, name in zip(drawn, names, strict=True):
        _cluster_rates(ax, table[table["measure"] == name], outcomes)
        ax.set_title(style.measure_label(name))
    right = max(ax.get_xlim()[1] for ax in drawn)
    for ax in drawn:  # the user's axes need not share theirs
        ax.set_yticks(np.arange(len(outcomes)), outcomes)
        ax.set(ylim=(len(outcomes) - 0.5, -0.5), xlim=(-0.02, right))
    cluster_legend(drawn[0], table["cluster"])
    legend = drawn[0].get_legend()
    if legend is not None and axes is None:
        # Beneath both panels, so that it takes no width from either.
        legend.remove()
        drawn[0].figure.legend(
            handles=list(legend.legend_handles), loc="outside lower center", ncols=4
        )
    return drawn


def _cluster_rates(ax: Axes, rows: pd.DataFrame, outcomes: list[str]) -> None:
    from statsmodels.stats.proportion import proportion_confint

    present = [c for c in style.CLUSTERS if c in set(rows["cluster"])]
    offsets = dict(zip(present, np.linspace(-0.26, 0.26, len(present)), strict=True))
    told: dict[str, list[str]] = {o: [] for o in outcomes}
    for _, row in rows.iterrows():
        if row["cluster"] not in offsets or row["n"] <= 0:
            continue
        y = outcomes.index(row["outcome"]) + offsets[row["cluster"]]
        colour, rate = style.CLUSTER_COLOURS[row["cluster"]], row["count"] / row["n"]
        ends = proportion_confint(row["count"], row["n"], method="wilson")
        ax.hlines(y, *ends, color=colour, linewidth=2.4)
        ax.plot(rate, y, marker=style.CLUSTER_MARKERS[row["cluster"]], color=colour, markersize=8)
        told[row["outcome"]].append(f"{row['cluster']} {100 * rate:.1f}%")
    for line in range(1, len(outcomes)):
        ax.axhline(line - 0.5, color=style.GRID, linewidth=1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ax.set_xlabel("Patients, with 95% interval")
    ax.grid(visible=False, axis="y")
    label = style.measure_label(rows["measure"].iloc[0])
    lines = "; ".join(f"{o} {', '.join(c)}" for o, c in told.items() if c)
    remember(ax, f"Rates by cluster on {label}: {lines}.")


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
def scoreboard_picture(board: pd.DataFrame) -> Axes:
    """Draw each computed figure on the scale of the paper's rounding: within the band it matches.

    Parameters
    ----------
    board : DataFrame
        `scoreboard`: ``published``, ``computed``, ``rounding`` (half a unit of the last printed
        digit; 0 for counts), ``state``; and ``topic``, by which the rows are grouped.

    Returns
    -------
    Axes
    """
    columns = ["topic", "published", "computed", "rounding", "state"]
    need(board, columns, "a picture of the scoreboard")
    group = board["topic"]
    tested = board["state"].isin(["match", "no match"])
    off = _in_roundings(board[tested])
    matches = board.loc[tested, "state"] == "match"
    names = list(dict.fromkeys(group[tested]))
    (ax,) = style.new_axes(style.PAGE_WIDTH, 1.5 + 0.62 * len(names))
    ax.axvspan(-1, 1, color="#E3F0EC", zorder=0, label="rounds to the printed figure")
    _scoreboard_points(ax, off.clip(-4, 4), group[tested], matches, names)
    tally = matches.groupby(group[tested]).agg(["sum", "size"])
    labels = [f"{name}\n{tally.loc[name, 'sum']} of {tally.loc[name, 'size']}" for name in names]
    ax.set_yticks(np.arange(len(names)), labels, fontsize=9.5)
    ax.set(xlim=(-4.4, 4.4), ylim=(len(names) - 0.4, -0.6))
    ax.set_xticks([-4, -2, -1, 0, 1, 2, 4], ["≤ −4", "−2", "−1", "0", "1", "2", "≥ 4"])
    ax.set_xlabel("Ours less the paper's, in units of its rounding")
    ax.grid(visible=False, axis="y")
    legend_below(ax, 3)
    return remember(
        ax,
        f"Scoreboard: {int(matches.sum())} of {count(len(matches), 'figure')} that can be tested "
        f"round to what the paper prints; {int((~tested).sum())} cannot be tested.",
    )


def _in_roundings(rows: pd.DataFrame) -> pd.Series:
    """Ours less the paper's, in units of the rounding; what is exact counts from the band's edge.

    A bound such as p < .001, and a statement, either holds (0) or does not (far out).
    """
    gap = rows["computed"].astype(float) - rows["published"].astype(float)
    unit = rows["rounding"].astype(float)
    exact = np.where(gap == 0, 0.0, np.sign(gap) * 4.0)
    off = pd.Series(np.where(unit > 0, gap / unit.where(unit > 0, 1.0), exact), index=rows.index)
    bound = rows["relation"] != "=" if "relation" in rows else unit == 0
    return off.mask(bound & (rows["state"] == "match"), 0.0).fillna(4.0)


def _scoreboard_points(
    ax: Axes, off: pd.Series, group: pd.Series, matches: pd.Series, names: list[str]
) -> None:
    for state, marker, colour, label in (
        (True, "o", style.CLUSTER_COLOURS["upper"], "match"),
        (False, "X", style.CLUSTER_COLOURS["lower"], "no match"),
    ):
        label_once: str | None = label
        for y, name in enumerate(names):
            x = off[(group == name) & (matches == state)].to_numpy(dtype=float)
            if not len(x):
                continue
            height = (np.arange(len(x)) % 7 - 3) * 0.09
            ax.scatter(
                x, y + height, marker=marker, s=22 if state else 40, color=colour, linewidths=0,
                alpha=0.8, label=label_once, zorder=3,
            )  # fmt: skip
            label_once = None


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
