"""Figures of the report, drawn from released tables alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.measures import known_measures
from pwp_lib.show import figures, style
from pwp_lib.show._drawing import MOST_ROWS
from pwp_lib.show.alt import describe
from pwp_report.analysis import Analysis
from pwp_report.release_parts import OTHERS_TOGETHER
from pwp_report.released import ReleasedResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "draw_all"]


@dataclass(frozen=True)
class Drawn:
    """A figure in both forms, with what it shows in words."""

    name: str
    caption: str
    alt: str
    svg: bytes
    png: bytes


def _saved(figure: Figure) -> tuple[bytes, bytes]:
    """Both forms, without a date, so that a second run gives the same bytes."""
    out = []
    with style.context():
        for form, metadata in (("svg", {"Date": None}), ("png", {"Software": "pwp_lib"})):
            sink = io.BytesIO()
            options: dict[str, Any] = {"dpi": 150} if form == "png" else {}
            figure.savefig(sink, format=form, metadata=metadata, bbox_inches="tight", **options)
            out.append(sink.getvalue())
    return out[0], out[1]


def _drawn(name: str, caption: str, axes: Any) -> Drawn:
    listed = list(axes) if isinstance(axes, list | tuple | np.ndarray) else [axes]
    svg, png = _saved(listed[0].figure)
    return Drawn(name, caption, describe(listed), svg, png)


def draw_all(analysis: Analysis, released: ReleasedResults) -> dict[str, Drawn]:
    """Draw every figure for which there is a released table.

    Returns
    -------
    dict of str to Drawn
        By name.
    """
    with known_measures(analysis.cohort.measures):
        drawn = [make(analysis, released) for make in (_caterpillar, _ranks, _sensitivity)]
    return {d.name: d for part in drawn for d in part}


def _by_therapist(released: ReleasedResults, name: str) -> pd.DataFrame | None:
    frame = released.frame(name)
    if frame is None:
        return None
    alone = frame[frame["therapist"] != OTHERS_TOGETHER].set_index("therapist")
    return alone if len(alone) else None


def _caterpillar(analysis: Analysis, released: ReleasedResults) -> list[Drawn]:
    frames = {
        name: table
        for name in analysis.measures
        if (table := _by_therapist(released, f"residuals_{name}")) is not None
    }
    if not frames:
        return []
    first = next(iter(frames.values()))
    order = list(_order(frames, first))
    ranks = released.frame("ranks")
    clusters = None if ranks is None else ranks.set_index("therapist")["cluster"]
    axes = figures.caterpillar_plot(frames, clusters=clusters, order=order)
    apart = [
        f"{int((f['lower'].gt(0) | f['upper'].lt(0)).sum()):,} of {len(f):,} on "
        f"{analysis.measures[name].measure.label}"
        for name, f in frames.items()
    ]
    whose = (
        "Each therapist's residual"
        if len(first) <= MOST_ROWS
        else f"Residuals of the first and the last {MOST_ROWS // 2} therapists, each"
    )
    caption = (
        f"{whose} with its 95% interval, most effective at the top. An interval that misses zero "
        f"differs from the average: {', '.join(apart)}."
    )
    return [_drawn("caterpillar", caption, axes)]


def _order(frames: Mapping[str, pd.DataFrame], first: pd.DataFrame) -> pd.Index:
    ranks = pd.concat([f["rank"] for f in frames.values()], axis=1).mean(axis=1)
    return ranks.reindex(first.index).sort_values(kind="stable").index


def _ranks(analysis: Analysis, released: ReleasedResults) -> list[Drawn]:
    out = []
    for name, result in analysis.measures.items():
        table = _by_therapist(released, f"residuals_{name}")
        if table is None or len(table) > MOST_ROWS:
            continue
        places = table[["rank"]].assign(lower=table["rank_lower"], upper=table["rank_upper"])
        ax = figures.rank_interval_plot(places, places=released.therapists)
        caption = (
            f"Rank of each therapist on {result.measure.label} with its 95% interval: how far up "
            "or down the same therapist could stand."
        )
        out.append(_drawn(f"rank_intervals_{name}", caption, ax))
    return out


def _sensitivity(analysis: Analysis, released: ReleasedResults) -> list[Drawn]:
    out = []
    for name, result in analysis.measures.items():
        table = released.frame(f"sensitivity_{name}")
        if table is None:
            continue
        kept = table[table["vpc"].notna()]
        if kept.empty:
            continue
        shares = kept.set_index("analysis")[["vpc", "lower", "upper"]] / 100
        ax = figures.sensitivity_panel(shares.rename(columns={"vpc": "estimate"}), measure=name)
        caption = f"The therapist effect on {result.measure.label} under other analyses."
        out.append(_drawn(f"sensitivity_{name}", caption, ax))
    return out
