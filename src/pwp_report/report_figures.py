"""Figures of the report, drawn from released tables alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure, known_measures
from pwp_lib.profiling import funnel_limits, overdispersion
from pwp_lib.show import figures, style
from pwp_lib.show._drawing import MOST_ROWS
from pwp_lib.show.alt import describe, remember
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.release_parts import OTHERS_TOGETHER
from pwp_report.released import ReleasedResults
from pwp_report.table_words import phrase

#: Of fewer therapists a funnel shows nothing.
_LEAST_POINTS = 5
_BOUNDS, _PLACES = ["estimate", "lower", "upper"], ["rank", "lower", "upper"]


@dataclass(frozen=True)
class Drawn:
    """A figure, with what it shows in words."""

    name: str
    caption: str
    alt: str
    svg: bytes


def _drawn(name: str, caption: str, axes: Any) -> Drawn:
    """Keep a figure, without a date, so that a second run gives the same bytes."""
    import matplotlib.pyplot as plt

    listed, sink = list(np.atleast_1d(axes)), io.BytesIO()
    with style.context():
        listed[0].figure.savefig(sink, format="svg", metadata={"Date": None}, bbox_inches="tight")
    alt = describe(listed)
    plt.close(listed[0].figure)
    return Drawn(name, caption, alt, sink.getvalue())


def draw_all(analysis: Analysis, released: ReleasedResults) -> dict[str, Drawn]:
    """Draw every figure for which there is a released table.

    Returns
    -------
    dict of str to Drawn
        By name.
    """
    with known_measures(analysis.cohort.measures):
        drawn = list(_caterpillar(analysis, released))
        for result in analysis.measures.values():
            drawn += _of_measure(result, released)
    return {d.name: d for d in drawn}


def _by_therapist(released: ReleasedResults, name: str) -> pd.DataFrame | None:
    frame = released.frame(name)
    if frame is None:
        return None
    alone = frame[frame["therapist"] != OTHERS_TOGETHER].set_index("therapist")
    return alone if len(alone) else None


def _caterpillar(analysis: Analysis, released: ReleasedResults) -> Iterator[Drawn]:
    tables = {name: _by_therapist(released, f"residuals_{name}") for name in analysis.measures}
    frames = {n: t for n, t in tables.items() if t is not None and t["rank"].notna().any()}
    if not frames:
        return
    ranks = pd.concat([f["rank"].astype(float) for f in frames.values()], axis=1).mean(axis=1)
    axes = figures.caterpillar_plot(frames, order=list(ranks.sort_values(kind="stable").index))
    apart = [
        f"{int((f['lower'].gt(0) | f['upper'].lt(0)).sum()):,} of {len(f):,} on "
        f"{analysis.measures[name].measure.label}"
        for name, f in frames.items()
    ]
    whose = (
        "Each therapist's residual"
        if len(ranks) <= MOST_ROWS
        else f"Residuals of the first and the last {MOST_ROWS // 2} therapists, each"
    )
    caption = phrase("captions", "caterpillar", whose=whose, apart=", ".join(apart))
    # The caption says who is at the top: a longer label than this leaves a picture of few.
    axes[0].set_ylabel("Therapist (caseload)")
    yield _drawn("caterpillar", caption, axes)


def _of_measure(result: MeasureResult, released: ReleasedResults) -> Iterator[Drawn]:
    """Draw what there is once a measure."""
    name, label = result.measure.name, result.measure.label
    yield from _funnels(result, released)
    table = _by_therapist(released, f"residuals_{name}")
    if table is not None and table["rank"].notna().any() and len(table) <= MOST_ROWS:
        places = table[["rank", "rank_lower", "rank_upper"]].set_axis(_PLACES, axis=1).astype(float)
        ax = figures.rank_interval_plot(places, places=released.therapists)
        caption = phrase("captions", "rank_intervals", label=label)
        yield _drawn(f"rank_intervals_{name}", caption, ax)
    frame = released.frame(f"by_service_{name}")
    if frame is not None:
        services = frame.set_index("service").assign(rank=range(1, len(frame) + 1))
        axes = figures.caterpillar_plot({name: services}, order=list(services.index))
        axes[0].set_ylabel("Service (patients)")
        note = released.tables[f"by_service_{name}"].note
        yield _drawn(
            f"services_{name}", phrase("captions", "services", label=label, note=note), axes
        )
    frame = released.frame(f"one_less_{name}")
    if frame is not None and len(frame) > 1:
        half = MOST_ROWS // 2
        ends = frame if len(frame) <= MOST_ROWS else pd.concat([frame[:half], frame[-half:]])
        shares = ends.set_index("therapist")[["vpc"]].set_axis(["estimate"], axis=1) / 100
        ax = figures.sensitivity_panel(shares, measure=name)
        yield _drawn(f"one_less_{name}", phrase("captions", "one_less", label=label), ax)
    frame = released.frame(f"sensitivity_{name}")
    if frame is not None and frame["vpc"].notna().any():
        shares = frame[frame["vpc"].notna()].set_index("analysis")[["vpc", "lower", "upper"]] / 100
        ax = figures.sensitivity_panel(shares.set_axis(_BOUNDS, axis=1), measure=name)
        yield _drawn(f"sensitivity_{name}", phrase("captions", "sensitivity", label=label), ax)


def _funnels(result: MeasureResult, released: ReleasedResults) -> Iterator[Drawn]:
    """Draw each therapist's own rate and mean, unshrunken, against the limits of chance."""
    measure = result.measure
    each = _by_therapist(released, "outcomes_by_therapist")
    if each is not None:
        shown, everybody = (
            frame.loc[frame["measure"] == measure.label, ["n_case_pre", "n_rcsi"]]
            .apply(pd.to_numeric, errors="coerce")
            .dropna()
            for frame in (each, released.tables["outcomes"].frame)
        )
        if len(shown) >= _LEAST_POINTS and len(everybody):
            n, rate = shown["n_case_pre"], shown["n_rcsi"] / shown["n_case_pre"]
            target = float((everybody["n_rcsi"] / everybody["n_case_pre"]).iloc[0])
            base = released.policy.base
            moved = 100 * ((shown["n_rcsi"] + base // 2) / (n - base // 2) - rate).max()
            note = phrase("captions", "funnel_rounded", base=base, move=moved)
            note *= released.policy.active
            yield _funnel("funnel", measure, released, n, rate.clip(upper=1), target, note=note)
    table = _by_therapist(released, f"residuals_{measure.name}")
    if table is not None and len(table) >= _LEAST_POINTS:
        own = "departure_case_mix" if "departure_case_mix" in table else "departure"
        gain, given = -measure.sign * table[own], phrase("captions", own)
        sd = float(released.tables[f"variances_{measure.name}"].frame["estimate"].iloc[-1]) ** 0.5
        yield _funnel("funnel_mean", measure, released, table["n"], gain, 0, sd, given=given)


def _funnel(
    name: str,
    measure: Measure,
    released: ReleasedResults,
    n: pd.Series,
    figure: pd.Series,
    target: float,
    sd: float | None = None,
    note: str = "",
    given: str = "",
) -> Drawn:
    """Draw one funnel, and say in its caption who lies outside and how overdispersed it is."""
    import matplotlib.pyplot as plt

    policy, unit = released.policy, 100 if sd is None else 1
    sizes = np.unique(np.linspace(n.min(), n.max(), 200).astype(int))
    # Who lies outside does so by the smallest caseload that the rounded one can stand for.
    fewest = [policy.bounds(k)[0] for k in n]
    limits, own = funnel_limits(target, sizes, sd=sd), funnel_limits(target, fewest, sd=sd)
    outside = {}
    with style.context():
        _, ax = plt.subplots(figsize=(7, 4.5))
        ax.scatter(n, unit * figure, s=26, alpha=0.5, zorder=3)
        ax.axhline(unit * target, color="0.5", linewidth=1, label="all")
        for where, level, line in (("inner", "95", "--"), ("outer", "99.8", "-")):
            ends = [f"lower_{level}", f"upper_{level}"]
            ax.plot(sizes, unit * limits[ends], line, color="0.5", label=[f"{level}%", "_"])
            low, high = own[ends].to_numpy().T
            outside[where] = int(((figure < low) | (figure > high)).sum())
        x, y = (phrase("captions", f"{name}_{axis}", label=measure.label) for axis in "xy")
        ax.set(xlabel=x, ylabel=y)
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    spread = sd or max(target * (1 - target), 1e-12) ** 0.5
    told: dict[str, Any] = {"label": measure.label, "given": given, **outside}
    told |= {"n": len(n), "all": released.therapists}
    told |= {"chance": 0.05 * len(n), "rare": 0.002 * len(n)}
    told["phi"] = overdispersion((figure - target) * np.sqrt(n) / spread)
    caption = phrase("captions", name, **told) + note
    if not note:  # From rounded counts nobody can be said to lie beyond a line.
        caption += phrase("captions", "funnel_points" + "_rounded" * policy.active, **told)
    remember(ax, f"Funnel plot of {len(n):,} therapists. {caption}")
    return _drawn(f"{name}_{measure.name}", caption, ax)
