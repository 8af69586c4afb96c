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
from pwp_lib.show._drawing import need
from pwp_lib.show.show import ShownFigure, _inline, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Control",
    "Playable",
    "play_precision",
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
