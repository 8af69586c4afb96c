"""Simulated cohorts by seed, the same for Python's tests and for lme4.

Scores are whole numbers, so that moments are exact. Run as ``python mixed_cohorts.py FOLDER`` to
write them as CSV for ``mixed_cohorts.R``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

SEEDS = range(200)
#: Caseloads of a cohort like the paper's: 1,122 patients of 21 therapists.
CASELOADS = (134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26)


def kind(seed: int) -> str:
    """120 cohorts of the paper's shape, 40 small ones, 40 with three random terms."""
    return "paper" if seed < 120 else "small" if seed < 160 else "three"


def random_terms(seed: int) -> tuple[str, ...]:
    """Return the terms that vary between therapists."""
    return ("Intercept", "x", "w") if kind(seed) == "three" else ("Intercept", "x")


def cohort(seed: int) -> dict[str, np.ndarray]:
    """Columns g, x, w and y of one cohort."""
    rng = np.random.default_rng(20140 + seed)
    if kind(seed) == "paper":
        sizes = np.array(CASELOADS)
    else:
        sizes = rng.integers(5, 25, size=8 if kind(seed) == "small" else 15)
    g = np.repeat(np.arange(len(sizes)), sizes)
    x = np.rint(rng.normal(13, 6, len(g)))
    w = np.rint(rng.normal(11, 5, len(g)))
    covariance = np.array([[2.8, 0.1, 0.05], [0.1, 0.013, 0.002], [0.05, 0.002, 0.012]])
    u = rng.multivariate_normal(np.zeros(3), covariance, size=len(sizes))
    mean = 8.7 + 0.55 * (x - 13) + 0.1 * (w - 11) + u[g, 0] + u[g, 1] * (x - 13)
    if kind(seed) == "three":
        mean = mean + u[g, 2] * (w - 11)
    return {"g": g, "x": x, "w": w, "y": np.rint(mean + rng.normal(0, 5.4, len(g)))}


def main(folder: Path) -> None:
    """Write every cohort to the folder."""
    for seed in SEEDS:
        columns = cohort(seed)
        with (folder / f"{seed}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(c.astype(int) for c in columns.values()), strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
