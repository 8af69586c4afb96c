"""Figures to play with: plain SVG drawn by one small script, offline, with no server.

Each is a static picture with its alternative text, data beside it, and labelled controls that the
keyboard reaches. ``play.js`` shows the controls and redraws; without it, and in print, the static
picture stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.show import figures, style
from pwp_lib.show._drawing import both_ends, need
from pwp_lib.show.show import ShownFigure, _inline, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Control",
    "Playable",
    "play_caterpillar",
    "play_precision",
    "play_rank_overlap",
    "play_shrinkage",
]


@dataclass(frozen=True)
class Control:
    """A slider or a choice.

    Attributes
    ----------
    name : str
        Key that the script reads.
    label : str
        What it is, for the reader.
    value : float or str
        At the start.
    low, high, step : float
        Of a slider.
    unit : str
        Shown behind the slider's value.
    options : mapping of str to str
        Of a choice: value and text. A control with options is a choice.
    """

    name: str
    label: str
    value: float | str
    low: float = 0.0
    high: float = 1.0
    step: float = 1.0
    unit: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def to_html(self) -> str:
        """Return the control with its label."""
        if self.options:
            inner = "".join(
                f'<option value="{escape(k)}"{" selected" if k == self.value else ""}>'
                f"{escape(v)}</option>"
                for k, v in self.options.items()
            )
            return f'<label>{escape(self.label)}<select name="{self.name}">{inner}</select></label>'
        return (
            f'<label>{escape(self.label)}: <output data-for="{self.name}"'
            f' data-unit="{escape(self.unit)}">{self.value:g}{escape(self.unit)}</output>'
            f'<input type="range" name="{self.name}" min="{self.low:g}" max="{self.high:g}"'
            f' step="{self.step:g}" value="{self.value:g}"></label>'
        )


@dataclass(frozen=True)
class Playable:
    """A figure to play with, as it stands on a page.

    Attributes
    ----------
    kind : str
        Which drawing of ``play.js``.
    data : mapping
        What it draws.
    controls : tuple of Control
    still : ShownFigure
        The static picture.
    caption : str
        What to do, and what to see.
    """

    kind: str
    data: Mapping[str, Any] = field(repr=False)
    controls: tuple[Control, ...]
    still: ShownFigure = field(repr=False)
    caption: str = ""

    def to_html(self) -> str:
        """Return static picture, controls and data; the script does the rest."""
        controls = "".join(c.to_html() for c in self.controls)
        # "</" inside the data must not end the script element.
        data = json.dumps(self.data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        still = self.still.to_html().replace("<figure", "<div", 1)
        still = still.removesuffix("</figure>") + "</div>"
        caption = f"<figcaption>{_inline(self.caption)}</figcaption>" if self.caption else ""
        return (
            f'<figure class="pwp-play" data-play="{self.kind}">'
            f'<div class="pwp-static">{still}</div>'
            f'<div class="pwp-stage"><div class="pwp-controls">{controls}</div>'
            '<div class="pwp-plot"></div><p class="pwp-readout" role="status"></p></div>'
            f'<script type="application/json">{data}</script>{caption}</figure>'
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": f"[Figure: {self.still.alt}]"}


def _clean(values: Any, digits: int = 5) -> list[float | None]:
    """Numbers for JSON: short, and null for what is missing."""
    return [
        round(float(v), digits) if np.isfinite(float(v)) else None
        for v in np.asarray(values, dtype=float).ravel()
    ]


def _still(drawn: Axes | list[Axes]) -> ShownFigure:
    return figure(drawn)


def play_shrinkage(
    table: pd.DataFrame,
    between: float,
    within: float,
    *,
    caption: str = "",
) -> Playable:
    """Let raw means shrink as caseloads, the spread of therapists and the noise change.

    Parameters
    ----------
    table : DataFrame
        By therapist: ``n``, ``raw``, ``residual``, as `raw_and_shrunken` gives it.
    between, within : float
        Variance between therapists, and of patients within therapists.
    caption : str

    Raises
    ------
    InputError
        If a variance is not positive: nothing would be left to play with.
    """
    need(table, ["n", "raw", "residual"], "a shrinkage figure")
    if not (between > 0 and within > 0):
        raise InputError("both variances must be above zero for a shrinkage figure")
    names = [str(t) for t in table.index]
    data = {
        "names": names,
        "n": [int(n) for n in table["n"]],
        "raw": _clean(table["raw"], 4),
        "colour": [style.measure_colour("phq9")] * len(names),
    }
    controls = (
        Control("times", "Caseloads, times", 1, 0.2, 5, 0.1),
        Control("tau", "SD between therapists", round(between**0.5, 1), 0.1, 5, 0.1, " points"),
        Control("sigma", "SD between patients", round(within**0.5, 1), 1, 12, 0.1, " points"),
        Control("who", "Therapist", names[0], options={t: t for t in names}),
    )
    still = _still(figures.shrinkage_plot(table))
    return Playable("shrinkage", data, controls, still, caption)


def _colours(clusters: pd.Series | None, index: pd.Index) -> list[str]:
    if clusters is None:
        return [style.measure_colour("phq9")] * len(index)
    return [style.cluster_colour(str(c)) for c in clusters.reindex(index)]


def play_caterpillar(
    residuals: Mapping[str, pd.DataFrame],
    *,
    clusters: pd.Series | None = None,
    caption: str = "",
) -> Playable:
    """Point at a therapist to see caseload, residual and interval; choose measure and order.

    Of more than 80 therapists the first and the last 40 can be pointed at.

    Parameters
    ----------
    residuals : mapping of measure name to DataFrame
        `MixedFit.residuals()`: ``n``, ``residual``, ``lower``, ``upper``, ``rank``.
    clusters : Series of str, optional
    caption : str
    """
    measures: dict[str, dict[str, Any]] = {}
    for table in residuals.values():
        need(table, ["n", "residual", "lower", "upper", "rank"], "a caterpillar figure")
    first = style.measure_order(residuals)[0]
    shown = both_ends(residuals[first].sort_values("rank", kind="stable").index)
    shown = [t for t in residuals[first].index if t in set(shown)]
    for name in style.measure_order(residuals):
        frame = residuals[name].loc[shown]
        measures[name] = {
            "label": style.measure_label(name),
            **{k: _clean(frame[k], 3) for k in ("residual", "lower", "upper", "rank")},
        }
    frame = residuals[first].loc[shown]
    names = [str(t) for t in frame.index]
    of = [""] * len(names) if clusters is None else [str(c) for c in clusters.reindex(frame.index)]
    colour = [style.cluster_colour(c) if c else style.measure_colour(first) for c in of]
    data = {"names": names, "n": [int(n) for n in frame["n"]], "cluster": of, "colour": colour,
            "measures": measures}  # fmt: skip
    orders = {"residual": "residual", "caseload": "caseload", "name": "name"}
    controls = (
        Control("measure", "Measure", first, options={k: v["label"] for k, v in measures.items()}),
        Control("order", "Order by", "residual", options=orders),
        Control("who", "Therapist", names[0], options={t: t for t in names}),
    )
    still = _still(figures.caterpillar_plot(residuals, clusters=clusters))
    return Playable("caterpillar", data, controls, still, caption)


def play_rank_overlap(
    ranks: pd.DataFrame,
    residuals: pd.DataFrame,
    covariance: pd.DataFrame,
    *,
    clusters: pd.Series | None = None,
    caption: str = "",
) -> Playable:
    """Compare two therapists: how their rank intervals overlap, how probably one is the better.

    Of more than 80 therapists the first and the last 40 can be chosen.

    Parameters
    ----------
    ranks : DataFrame
        `rank_uncertainty`: by therapist, ``rank``, ``lower``, ``upper``.
    residuals : DataFrame
        `MixedFit.residuals()`.
    covariance : DataFrame
        `MixedFit.residual_covariance()`, J x J.
    clusters : Series of str, optional
    caption : str
    """
    from scipy.stats import norm

    rows = ranks.loc[both_ends(ranks.sort_values("rank", kind="stable").index)]
    u = residuals["residual"].reindex(rows.index).to_numpy(dtype=float)
    v = covariance.reindex(index=rows.index, columns=rows.index).to_numpy(dtype=float)
    spread = np.sqrt(np.maximum(np.add.outer(np.diag(v), np.diag(v)) - 2 * v, 0))
    gap = np.subtract.outer(u, u)
    with np.errstate(divide="ignore", invalid="ignore"):
        better = np.where(spread > 0, norm.cdf(-gap / np.where(spread > 0, spread, 1)), 0.5)
    names = [str(t) for t in rows.index]
    data = {
        "names": names,
        **{k: _clean(rows[k], 1) for k in ("rank", "lower", "upper")},
        "better": [_clean(row, 3) for row in better],
        "colour": _colours(clusters, rows.index),
    }
    choices = {t: t for t in names}
    controls = (
        Control("a", "One therapist", names[0], options=choices),
        Control("b", "Another therapist", names[len(names) // 2], options=choices),
    )
    still = _still(figures.rank_interval_plot(ranks, clusters=clusters))
    return Playable("overlap", data, controls, still, caption)


def play_precision(
    grid: pd.DataFrame, *, design: tuple[float, float] | None = None, caption: str = ""
) -> Playable:
    """Plan a study: power and the interval to expect, by therapists, patients and effect.

    Parameters
    ----------
    grid : DataFrame
        `precision_grid`: ``therapists, patients, vpc, lower, upper, power``, one row for each
        combination.
    design : tuple of float, optional
        Therapists and patients each of a design to start from, such as the paper's.
    caption : str
    """
    need(grid, ["therapists", "patients", "vpc", "lower", "upper", "power"], "a precision figure")
    axes = {k: sorted(grid[k].unique().tolist()) for k in ("vpc", "therapists", "patients")}
    full = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
    table = grid.set_index(list(axes)).reindex(full)
    if table[["lower", "upper", "power"]].isna().any(axis=None):
        raise InputError("the grid must hold every combination of therapists, patients and effect")
    data = {**axes, **{k: _clean(table[k], 4) for k in ("lower", "upper", "power")}}
    start = design or (axes["therapists"][len(axes["therapists"]) // 2],
                       axes["patients"][len(axes["patients"]) // 2])  # fmt: skip
    at = [_nearest(axes["therapists"], start[0]), _nearest(axes["patients"], start[1])]
    middle = len(axes["vpc"]) // 2
    data["start"] = [middle, *at]
    controls = (
        Control("t", "Therapists", at[0], 0, len(axes["therapists"]) - 1),
        Control("p", "Patients of each", at[1], 0, len(axes["patients"]) - 1),
        Control("v", "Therapist effect", middle, 0, len(axes["vpc"]) - 1),
    )
    rows = grid[grid["vpc"] == axes["vpc"][middle]]
    label = f"Power to find a therapist effect of {100 * axes['vpc'][middle]:g}% (%)"
    still = _still(figures.precision_map(rows, label=label, design=design))
    return Playable("precision", data, controls, still, caption)


def _nearest(values: Sequence[float], wanted: float) -> int:
    return int(np.argmin(np.abs(np.asarray(values, dtype=float) - wanted)))
