"""Small designs by seed for ``satterthwaite_many.R``, the same for Python's tests.

Run as ``python satterthwaite_many.py FOLDER`` to write them as one CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FORMULAS = [
    "y ~ x + w + (1 | g)",
    "y ~ x + w + (1 + x | g)",
    "y ~ x * w + (1 | g)",
    "y ~ x * w + (1 + x | g)",
    "y ~ w + (1 | g)",
    "y ~ x + c + (1 | g)",
    "y ~ 0 + x + w + (0 + x | g)",
    "y ~ x + v + w + (1 | g)",
]
SEEDS = range(96)


def case(seed: int) -> tuple[str, str, pd.DataFrame]:
    """Formula, method and rows: x, v and c of the rows, w of the groups."""
    rng = np.random.default_rng([771_300, seed])
    groups = int(rng.integers(5, 26))
    sizes = rng.integers(2, rng.integers(4, 30), size=groups)
    g = np.repeat(np.arange(groups), sizes)
    x, v = np.round(rng.normal(rng.normal(), 1.0, (2, len(g))), 3)
    w = np.round(rng.normal(size=groups), 3)[g]
    u = rng.normal(size=(groups, 2)) * rng.uniform(0.3, 1.5, 2)
    y = 3 + 0.5 * x + 0.4 * w + u[g, 0] + u[g, 1] * x + rng.normal(size=len(g))
    kinds = rng.choice(["p", "q", "r"], len(g))
    rows = pd.DataFrame({"g": g, "x": x, "v": v, "w": w, "c": kinds, "y": np.round(y, 3)})
    return FORMULAS[seed % len(FORMULAS)], ("REML", "ML")[seed // 8 % 2], rows


def main(folder: Path) -> None:
    """Write every design to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    every = []
    for seed in SEEDS:
        formula, method, rows = case(seed)
        every.append(rows.assign(seed=seed, formula=formula, method=method))
    pd.concat(every).to_csv(folder / "satterthwaite_many_rows.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
