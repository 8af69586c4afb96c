"""What looks odd in a cohort, in numbers, against cohorts that were fitted to nothing.

``python -m calibration.plausibility FOLDER ...`` prints a table: for each cohort the size of every
oddity, beside the range in which it lies in 95% of cohorts of `pwp_lib.simulate_cohort`, the
yardstick. A statistic beyond it is an oddity; how far the printed figures force it is worked out
in the chapter "How close did we get?".
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from pwp_lib.cohort import Cohort, load_cohort
from pwp_lib.measures import Measure

from .before import Real
from .histograms import apart, bumps, furthest, rough, spike, step

__all__ = ["oddities", "yardstick"]


def _counts(scores: pd.Series, low: int, high: int) -> Real:
    return np.bincount(scores.to_numpy().astype(int) - low, minlength=high - low + 1).astype(float)


def _furthest(patients: pd.DataFrame, column: str) -> float:
    """How far the oddest therapist's mean lies out, its own sampling error allowed for."""
    by = patients.astype({column: float}).groupby("therapist_id")[column]
    return float(furthest(*(by.agg(f).to_numpy(float) for f in ("size", "sum", _squares))))


def _squares(scores: pd.Series) -> float:
    return float((scores**2).sum())


def _of_measure(patients: pd.DataFrame, measure: Measure) -> dict[str, float]:
    if measure.cutoff is None or measure.reliable_change is None:
        raise ValueError("a measure without thresholds has no steps to look for")
    top, cut, rel = int(measure.maximum), int(measure.cutoff), int(measure.reliable_change)
    pre, post = patients[measure.pre], patients[measure.post]
    shapes = {
        "before": _counts(pre, 0, top),
        "after": _counts(post, 0, top),
        "after, cases": _counts(post[pre >= cut], 0, top),
        "change": _counts(pre - post, -top, top),
        "change, cases": _counts((pre - post)[pre >= cut], -top, top),
    }
    out: dict[str, float] = {}
    for name, h in shapes.items():
        thresholds = (top + rel, top - rel + 1) if "change" in name else (cut,)
        out[f"step at a threshold: {name}"] = max(abs(step(h, k)) for k in thresholds)
        out[f"second mode: {name}"] = bumps(h, 0, len(h) - 1)
        out[f"isolated: {name}"] = apart(h, 0, len(h) - 1)
        found, expected = rough(h, 0, len(h) - 1)
        out[f"rougher than chance: {name}"] = found / expected
        out[f"smoother than chance: {name}"] = expected / found
        if "change" not in name:
            out[f"spike at an end: {name}"] = max(spike(h, 0, 1), spike(h, top, -1))
    out["therapist furthest out: before"] = _furthest(patients, measure.pre)
    out["therapist furthest out: after"] = _furthest(patients, measure.post)
    return {f"{measure.label} {name}": value for name, value in out.items()}


def oddities(cohort: Cohort) -> pd.Series:
    """Size of every oddity of a cohort: steps and spikes in standard errors of Poisson counts."""
    found: dict[str, float] = {}
    for measure in cohort.measures:
        found |= _of_measure(cohort.patients, measure)
    return pd.Series(found)


def yardstick(cohorts: int = 100) -> pd.Series:
    """Value that 95 in 100 simulated cohorts do not exceed, by oddity."""
    from pwp_lib.simulate import simulate_cohort

    made = [oddities(simulate_cohort(seed=s, interviews=False)) for s in range(1, cohorts + 1)]
    return pd.concat(made, axis=1).quantile(0.95, axis=1)


if __name__ == "__main__":
    columns = {folder: oddities(load_cohort(Path(folder))) for folder in sys.argv[1:]}
    table = pd.DataFrame(columns).assign(yardstick=yardstick())
    beyond = table.drop(columns="yardstick").gt(table["yardstick"], axis=0)
    print(table.round(2).to_string())
    print("beyond the yardstick:", beyond.sum().to_dict())
