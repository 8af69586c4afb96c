"""Five files unlike each other, for `own_files.R` and for the tests of the report.

``python own_files.py FOLDER`` writes them there as CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = ("two_measures", "one_measure", "missing", "services", "uneven")


def make(name: str) -> pd.DataFrame:
    """Give one of the five, the same each time."""
    k = NAMES.index(name)
    rng = np.random.default_rng(100 + k)
    therapists = (14, 9, 16, 24, 20)[k]
    loads = (
        rng.integers(4, 80, therapists) if name == "uneven" else rng.integers(25, 60, therapists)
    )
    who = np.repeat(np.arange(therapists), loads)
    n = len(who)
    frame = pd.DataFrame({"patient_id": np.arange(n), "therapist_id": [f"T{i:02d}" for i in who]})
    if name == "services":
        frame["service_id"] = [f"S{i % 6}" for i in who]
        frame["age"] = rng.integers(18, 75, n)
        frame["gender"] = rng.choice(["f", "m"], n)
    spread = 0.0 if name == "one_measure" else (2.5 if name == "uneven" else 1.6)
    for measure, top in (("phq9", 27), ("gad7", 21)):
        if name == "one_measure" and measure == "gad7":
            continue
        pre = np.clip(rng.normal(0.55 * top, 0.2 * top, n), 0, top).round()
        effect = rng.normal(0, spread * top / 27, therapists)[who]
        last = 0.1 * top + 0.45 * pre + effect + rng.normal(0, 0.17 * top, n)
        if name == "services":
            last += 0.03 * frame["age"] + rng.normal(0, 1, 6)[who % 6]
        frame[f"{measure}_pre"] = pre.astype(int)
        frame[f"{measure}_post"] = np.clip(last, 0, top).round()
    if name == "missing":
        gone = rng.random(n) < 0.01 * frame["phq9_pre"]
        frame.loc[gone, ["phq9_post", "gad7_post"]] = np.nan
    return frame


def make_therapists(name: str) -> pd.DataFrame:
    """Give the therapists of one of the five, with a scale and their age."""
    rng = np.random.default_rng(200 + NAMES.index(name))
    therapists = make(name)["therapist_id"].unique()
    scale = rng.integers(40, 100, len(therapists))
    age = rng.integers(24, 65, len(therapists))
    return pd.DataFrame({"therapist_id": therapists, "age": age, "resilience": scale})


if __name__ == "__main__":
    for file in NAMES:
        make(file).to_csv(Path(sys.argv[1]) / f"{file}.csv", index=False)
        make_therapists(file).to_csv(Path(sys.argv[1]) / f"{file}_therapists.csv", index=False)
