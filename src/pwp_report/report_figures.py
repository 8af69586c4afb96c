"""Figures of the report, drawn from released tables alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure, known_measures
from pwp_lib.numbers import decimals, sign_fixed
from pwp_lib.profiling import funnel_limits, overdispersion
from pwp_lib.show import figures
from pwp_lib.show.alt import describe
from pwp_lib.show.show import as_svg, cut
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.case_mix import FIRST, WITH_MIX
from pwp_report.methods import how_sure
from pwp_report.release_parts import OTHERS_TOGETHER
from pwp_report.released import ReleasedResults
from pwp_report.table_words import phrase, written

#: Of fewer therapists a funnel shows nothing.
_LEAST_POINTS = 5
#: Rows of a picture: of more therapists or services, and of more choices, both ends alone.
_MOST, _MOST_CHOICES = 24, 14


@dataclass(frozen=True)
class Drawn:
    """A figure, with what it shows in words."""

    name: str
    caption: str
    alt: str
    svg: bytes


def _drawn(name: str, caption: str, axes: Any, alt: str = "") -> Drawn:
    """Keep a figure.

    What it shows is said in words of its own or, without such, of who drew it; never in those of
    the caption, which stands beside it.
    """
    return Drawn(name, caption, alt or describe(axes), as_svg(axes))


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


def _by_therapist(released: ReleasedResults, name: str) -> pd.DataFrame:
    """Rows of therapists who are shown one by one."""
    rows = released.frame(name)
    return rows[rows["therapist"] != OTHERS_TOGETHER].set_index("therapist") if len(rows) else rows


def _given(result: MeasureResult) -> str:
    """Say what residuals are adjusted for."""
    return FIRST if result.with_mix is None else WITH_MIX


def _ranks(residuals: pd.DataFrame) -> pd.Series:
    """Ranks as far as they are released: expected ones where some therapists are not shown."""
    return residuals.get("rank", residuals["expected_rank"]).astype(float)


def _doubts(results: Iterable[MeasureResult], released: ReleasedResults) -> str:
    """Say of which measures the order of therapists is hardly more than chance.

    It is where the interval of the share includes zero, or the rankability is under 30%.
    """
    found = (how_sure(r, released.policy) for r in results)
    little = [f for f in found if not f["sure"] or int(f["rankability"] or 100) < 30]
    return "".join(phrase("captions", "doubt" + "_sure" * f["sure"], **f) for f in little)


def _caterpillar(analysis: Analysis, released: ReleasedResults) -> Iterator[Drawn]:
    tables = {name: _by_therapist(released, f"residuals_{name}") for name in analysis.measures}
    frames = {n: t for n, t in tables.items() if len(t) and t["residual"].notna().any()}
    if not frames:
        return
    ranks = pd.concat(map(_ranks, frames.values()), axis=1).mean(axis=1)
    drawn = cut(ranks.sort_values(kind="stable").to_frame(), _MOST)
    axes = figures.caterpillar_plot(frames, order=list(drawn.index), of=len(ranks))
    missed = {n: int((f["lower"].gt(0) | f["upper"].lt(0)).sum()) for n, f in frames.items()}
    labels = {name: analysis.measures[name].measure.label for name in frames}
    apart = [f"{n:,} of {len(frames[name]):,} on {labels[name]}" for name, n in missed.items()]
    given = " or ".join(dict.fromkeys(_given(analysis.measures[name]) for name in frames))
    told = {"n": len(drawn), "all": released.therapists, "given": given}
    doubt = _doubts((analysis.measures[name] for name in frames), released)
    caption = doubt + phrase("captions", "caterpillar", apart=", ".join(apart), **told)
    # The caption says who is at the top: a longer label than this leaves a picture of few.
    axes[0].set_ylabel("Therapist\n(caseload)")
    yield _drawn("caterpillar", caption, axes)


def _of_measure(result: MeasureResult, released: ReleasedResults) -> Iterator[Drawn]:
    """Draw what there is once a measure."""
    name, label = result.measure.name, result.measure.label

    def drawn(key: str, axes: Any, n: int, of: int = released.therapists, **told: Any) -> Drawn:
        told |= {"label": label, "given": _given(result), "n": n, "all": of}
        caption, alt = (phrase(kind, key, **told) for kind in ("captions", "alts"))
        return _drawn(f"{key}_{name}", caption, axes, alt)

    yield from _funnels(result, released)
    table = _by_therapist(released, f"residuals_{name}")
    if 0 < len(table) <= _MOST and table["residual"].notna().any():
        places = table.assign(rank=_ranks(table))[["rank", "rank_lower", "rank_upper"]]
        places = places.set_axis(["rank", "lower", "upper"], axis=1).astype(float)
        ax = figures.rank_interval_plot(places, places=released.therapists)
        yield drawn("rank_intervals", ax, len(places), doubt=_doubts([result], released))
    if services := released.tables.get(f"by_service_{name}"):
        rows = cut(services.frame.set_index("service"), _MOST)
        order, of = list(rows.index), len(services.frame)
        axes = figures.caterpillar_plot({name: rows}, order=order, of=of, unit="service")
        axes[0].set_ylabel("Service\n(patients)")
        yield drawn("services", axes, len(rows), of, note=services.note)
    for key, what in (("one_less", "therapist"), ("sensitivity", "analysis")):
        frame = released.frame(f"{key}_{name}")
        if len(frame) and frame["vpc"].count() > 1:
            rows = cut(frame[frame["vpc"].notna()].set_index(what), _MOST_CHOICES)
            shares = rows[[c for c in ("vpc", "lower", "upper") if c in rows]] / 100
            ax = figures.sensitivity_panel(shares.rename(columns={"vpc": "estimate"}), measure=name)
            main, *others = rows["vpc"]  # the line of all therapists is none without one
            low, high = written(min(others), 1), written(max(others), 1)
            yield drawn(key, ax, len(others), main=written(main, 1), low=low, high=high)


def _funnels(result: MeasureResult, released: ReleasedResults) -> Iterator[Drawn]:
    """Draw each therapist's own rate and mean, unshrunken, against the limits of chance."""
    measure = result.measure
    each = _by_therapist(released, "outcomes_by_therapist")
    if len(each):
        n, improved, cases, of_cases = (
            pd.to_numeric(frame.loc[frame["measure"] == measure.label, column], errors="coerce")
            for frame in (each, released.tables["outcomes"].frame)
            for column in ("n_case_pre", "n_rcsi")
        )
        rate, target = (improved / n).clip(upper=1), (of_cases / cases).mean()
        if rate.count() >= _LEAST_POINTS and target >= 0:
            base = released.policy.base
            ends = ((improved + k) / (n - k) for k in (base // 2, -(base // 2)))
            moved = 100 * max((end.clip(upper=1) - rate).abs().max() for end in ends)
            rounded = phrase("captions", "funnel_rounded", base=base, move=moved)
            points = pd.DataFrame({"n": n, "own": rate}).dropna()
            told = {"note": rounded * released.policy.active, "untold": n[rate.isna()].dropna()}
            yield _funnel("funnel", measure, released, points, target=target, **told)
    table = _by_therapist(released, f"residuals_{measure.name}")
    if len(table) >= _LEAST_POINTS:
        points, given = table.assign(own=table["departure"]), _given(result)
        # Of the model that the departures are of, to as many decimals as variances have.
        sd = round(result.ranked.residual_variance, 3) ** 0.5
        yield _funnel("funnel_mean", measure, released, points, target=0, sd=sd, given=given)


def _funnel(
    name: str, measure: Measure, released: ReleasedResults, points: pd.DataFrame, **more: Any
) -> Drawn:
    """Draw one funnel, and say in its caption who lies outside and how overdispersed it is."""
    policy, n, figure = released.policy, points["n"], points["own"]
    target, sd, note = more["target"], more.get("sd"), more.get("note", "")
    # Who lies outside does so by the smallest caseload that the rounded one can stand for.
    limits = funnel_limits(target, [policy.bounds(k)[0] for k in n], sd=sd)
    outside = {}
    for where, level in (("inner", "95"), ("outer", "99.8")):
        low, high = limits[[f"lower_{level}", f"upper_{level}"]].to_numpy().T
        outside[where] = int(((figure < low) | (figure > high)).sum())
    untold = more.get("untold", pd.Series(dtype=float))
    ax = figures.funnel_plot(n, figure, target, sd=sd, untold=untold, turned=measure.sign > 0)
    note += phrase("captions", "funnel_untold", untold=len(untold)) * bool(len(untold))
    x, y = (phrase("captions", f"{name}_{axis}", label=measure.label) for axis in "xy")
    ax.set(xlabel=x, ylabel=y)
    spread = sd or max(target * (1 - target), 1e-12) ** 0.5
    told: dict[str, Any] = {"label": measure.label, **more, **outside, "n": len(n)}
    told |= {"all": released.therapists, "chance": 0.05 * len(n), "rare": 0.002 * len(n)}
    told["phi"] = overdispersion((figure - target) * np.sqrt(n) / spread)
    unit, places = (100, 0) if sd is None else (1, decimals(figure))  # means as released
    ends = figure.agg(["min", "max"])
    told["low"], told["high"] = (sign_fixed(unit * float(end), places) for end in ends)
    caption = phrase("captions", name, **told) + note
    if not note:  # From rounded counts nobody can be said to lie beyond a line.
        caption += phrase("captions", "funnel_points" + "_rounded" * policy.active, **told)
    return _drawn(f"{name}_{measure.name}", caption, ax, phrase("alts", name, **told))
