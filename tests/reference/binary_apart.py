"""Groups that lie far apart on a predictor, by seed, for ``binary_apart.R`` and Python's tests.

Run as ``python binary_apart.py FOLDER`` to write them as one CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

SEEDS = range(84)


def case(seed: int) -> tuple[float, pd.DataFrame]:
    """Distance of neighbouring groups, and rows: y depends on x within the groups."""
    rng = np.random.default_rng([771_500, seed])
    apart = float((0, 1, 3, 10, 30, 100, 300)[seed % 7])
    groups, size = int(rng.integers(4, 13)), int(rng.integers(6, 26))
    slope, wide = rng.choice([0.3, 1.0, 2.0]), rng.choice([0.5, 1.0, 3.0])
    g = np.repeat(np.arange(groups), size)
    level = apart * rng.permutation(groups)[g]
    x = np.round(level + rng.normal(0, wide, len(g)), 3)
    odds = slope * (x - level) + rng.normal(0, 1, groups)[g]
    y = (rng.random(len(g)) < 1 / (1 + np.exp(-odds))).astype(int)
    return apart, pd.DataFrame({"g": g, "x": x, "y": y})


def main(folder: Path) -> None:
    """Write every set to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    every = []
    for seed in SEEDS:
        apart, rows = case(seed)
        every.append(rows.assign(seed=seed, apart=apart))
    pd.concat(every).to_csv(folder / "binary_apart_rows.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
