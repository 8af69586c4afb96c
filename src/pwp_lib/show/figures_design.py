"""Figures of studies yet to be made, and of programs compared: precision, allocation, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pwp_lib.numbers import plain
from pwp_lib.show import style
from pwp_lib.show._drawing import need, several, styled
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["benchmark_ratios", "precision_map", "rank_bands"]


@styled
def precision_map(
    table: pd.DataFrame,
    *,
    label: str = "power",
    design: tuple[float, float] | None = None,
) -> Axes:
    """Draw power by number of therapists and of patients each, as a labelled map.

    Parameters
    ----------
    table : DataFrame
        ``therapists``, ``patients`` (each), and ``power``.
    label : str
        What it is, as the title.
    design : tuple of float, optional
        Therapists and patients each of a design to mark, such as the paper's.

    Returns
    -------
    Axes
    """
    need(table, ["therapists", "patients", "power"], "a map of precision")
    grid = table.pivot_table(index="patients", columns="therapists", values="power").sort_index()
    z = grid.to_numpy(dtype=float)
    therapists, patients = grid.columns.to_numpy(dtype=float), grid.index.to_numpy(dtype=float)
    (ax,) = style.new_axes(style.PAGE_WIDTH, 1.6 + 0.46 * len(grid))
    ax.imshow(z, origin="lower", aspect="auto", cmap="GnBu", alpha=0.92)
    _label_cells(ax, z)
    ax.set_xticks(np.arange(z.shape[1]), [plain(t) for t in therapists])
    ax.set_yticks(np.arange(z.shape[0]), [plain(p) for p in patients])
    ax.set(xlabel="Therapists", ylabel="Patients of each", title=label)
    ax.grid(visible=False)
    if design is not None:
        x = np.interp(design[0], therapists, np.arange(z.shape[1]))
        y = np.interp(design[1], patients, np.arange(z.shape[0]))
        ax.plot(
            x,
            y,
            "o",
            markersize=30,
            markerfacecolor="none",
            markeredgecolor="#FFB000",
            markeredgewidth=2.4,
        )
        ax.set_xlabel("Therapists (ring: the paper's design)")
    best = int(np.nanargmax(z))
    row, column = divmod(best, z.shape[1])
    return remember(
        ax,
        f"Map of {label} by {z.shape[1]} numbers of therapists and {z.shape[0]} of "
        f"patients each, from {plain(100 * np.nanmin(z), 1)}% to "
        f"{plain(100 * np.nanmax(z), 1)}%; best with {plain(therapists[column])} "
        f"therapists of {plain(patients[row])} patients.",
    )


def _label_cells(ax: Axes, z: np.ndarray) -> None:
    low, high = np.nanmin(z), np.nanmax(z)
    places = 0 if 100 * high >= 20 else 1  # neighbours among small percentages must differ
    for (row, column), v in np.ndenumerate(z):
        if np.isnan(v):
            continue
        share = (v - low) / (high - low) if high > low else 0.0
        text = f"{100 * v:.{places}f}"
        ax.text(
            column, row, text, ha="center", va="center", fontsize=10,
            color="white" if share > 0.62 else style.INK,
        )  # fmt: skip


@styled
def benchmark_ratios(table: pd.DataFrame) -> Axes:
    """Draw how many times as long other programs take, on a logarithmic scale.

    Parameters
    ----------
    table : DataFrame
        ``task``, ``peer`` and ``ratio`` (the peer's time over ours).

    Returns
    -------
    Axes
    """
    from matplotlib.ticker import LogLocator

    need(table, ["task", "peer", "ratio"], "a chart of benchmarks")
    (ax,) = style.new_axes(style.PAGE_WIDTH, 1.0 + 0.36 * len(table))
    y = np.arange(len(table))
    faster = table["ratio"].to_numpy(dtype=float) >= 1
    colours = np.where(faster, style.measure_colour("phq9"), style.measure_colour("gad7"))
    left = np.minimum(table["ratio"], 1.0)
    ax.barh(y, np.maximum(table["ratio"], 1.0) - left, left=left, color=colours, height=0.7)
    ax.axvline(1, color=style.INK, linewidth=1.2)
    ax.set_xscale("log")
    # Every second power of ten: the labels of all of them run into one another.
    ax.xaxis.set_major_locator(LogLocator(base=100.0, numticks=5))
    ax.xaxis.set_major_formatter(lambda v, _: f"{_times(v)}×")
    for at, ratio in enumerate(table["ratio"]):
        ax.annotate(
            f"{_times(ratio)}×", (max(ratio, 1.0), at), (5, 0), textcoords="offset points",
            va="center", fontsize=9.5,
        )  # fmt: skip
    ax.margins(x=0.14)
    ax.set_yticks(y, [f"{t}: {p}" for t, p in zip(table["task"], table["peer"], strict=True)])
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="Time taken, as a multiple of pwp_lib's")
    ax.grid(visible=False, axis="y")
    told = "; ".join(f"{t}, {p} {_times(r)} times" for t, p, r in
                     zip(table["task"], table["peer"], table["ratio"], strict=True))  # fmt: skip
    return remember(ax, f"Time taken by other programs against ours: {told}.")


@styled
def rank_bands(table: pd.DataFrame) -> list[Axes]:
    """Draw ranks of simulation-based calibration against simultaneous bands, a panel a model.

    Parameters
    ----------
    table : DataFrame
        ``case``, ``quantity``, ``at``, ``difference`` (distribution function less the uniform
        one), ``lower`` and ``upper`` (the bands).

    Returns
    -------
    list of Axes
    """
    columns = ["case", "quantity", "at", "difference", "lower", "upper"]
    need(table, columns, "a plot of ranks")
    cases = list(dict.fromkeys(table["case"]))
    drawn = several(None, len(cases), style.WIDE, 3.6, sharex=True, sharey=True)
    for ax, case in zip(drawn, cases, strict=True):
        lines = table[table["case"] == case].groupby("quantity", sort=False)
        outside = []
        for name, rows in lines:
            beyond = (rows["difference"] < rows["lower"]) | (rows["difference"] > rows["upper"])
            outside += [str(name)] * bool(beyond.any())
            colour = style.measure_colour("gad7" if beyond.any() else "phq9")
            ax.plot(rows["at"], rows["difference"], color=colour, linewidth=1, alpha=0.8)
        ax.fill_between(rows["at"], rows["lower"], rows["upper"], color=style.MUTED, alpha=0.25)
        ax.axhline(0, color=style.MUTED, linewidth=1)
        ax.set(title=str(case).replace(", ", ",\n"), xlabel="Rank, as a share")
        told = f"outside the bands: {', '.join(outside)}" if outside else "all inside the bands"
        remember(ax, f"Ranks of {len(lines)} quantities, {case}: {told}.")
    drawn[0].set_ylabel("Share below, less expected")
    return drawn


def _times(ratio: float) -> str:
    """Write three figures, and thousands in full."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
