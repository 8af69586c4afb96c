"""Patients with a case mix, for `case_mix.R` and for the tests of the report.

``python case_mix.py FOLDER`` writes them there as CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd


def make() -> pd.DataFrame:
    """Give patients of 24 services: what their areas are like explains most of what differs."""
    rng = np.random.default_rng(17)
    loads = rng.integers(14, 30, 96)
    who = np.repeat(np.arange(96), loads)
    service, n = who % 24, len(who)
    area = rng.normal(25, 8, 24).round(1)[service]
    gender = rng.choice(["f", "m", "nb", "x"], n, p=[0.6, 0.365, 0.028, 0.007])
    income = rng.normal(30_000, 9_000, n).round()
    pre = np.clip(rng.normal(15, 4.5, n).round(), 0, 27)
    last = 3 + 0.5 * pre + 0.12 * (area - 25) - 0.00006 * (income - 30_000) + 1.5 * (gender == "nb")
    last += rng.normal(0, 0.5, 24)[service] + rng.normal(0, 1, 96)[who] + rng.normal(0, 4, n)
    return pd.DataFrame(
        {
            "patient_id": np.arange(n),
            "therapist_id": [f"T{i:02d}" for i in who],
            "service_id": [f"S{i:02d}" for i in service],
            "phq9_pre": pre.astype(int),
            "phq9_post": np.clip(last, 0, 27).round().astype(int),
            "area": area,
            "gender": gender,
            "income": pd.Series(income).mask(rng.random(n) < 0.06),
        }
    )


if __name__ == "__main__":
    make().to_csv(Path(sys.argv[1]) / "case_mix.csv", index=False)
