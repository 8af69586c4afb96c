"""Data sets by seed for ``satterthwaite.R`` and ``spread.R``, the same for Python's tests.

Run as ``python references_data.py FOLDER`` to write them as CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

#: Seed, groups, rows of a group from and to, SD of intercepts and slopes.
UNEVEN_GROUPS = {
    "few": (1, 6, 4, 12, 1.5, 0.8),
    "small": (2, 12, 2, 8, 1.0, 0.5),
    "wide": (3, 25, 3, 40, 0.8, 0.4),
}
#: Delta of the residual SD, 1.5 * v ** delta or 1.5 * exp(delta * v), with v the predictor.
SPREAD_TRUTH = {"power": (11, 0.6), "exp": (12, 0.12)}


def uneven_groups(name: str) -> pd.DataFrame:
    """Rows of groups of unlike size, with a predictor of the rows (x) and of the groups (w)."""
    seed, groups, low, high, intercept, slope = UNEVEN_GROUPS[name]
    rng = np.random.default_rng(771_000 + seed)
    sizes = rng.integers(low, high + 1, size=groups)
    g = np.repeat(np.arange(groups), sizes)
    x = np.round(rng.normal(0, 1, len(g)), 3)
    w = np.round(rng.normal(0, 1, groups), 3)[g]
    u = rng.normal(size=(groups, 2)) * (intercept, slope)
    y = 3 + 0.5 * x + 0.4 * w + u[g, 0] + u[g, 1] * x + rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "x": x, "w": w, "y": np.round(y, 3)})


def uneven_spread(name: str) -> pd.DataFrame:
    """Rows whose residual SD follows a power, or the exponential, of the predictor v."""
    seed, delta = SPREAD_TRUTH[name]
    rng = np.random.default_rng(771_000 + seed)
    sizes = rng.integers(10, 50, size=15)
    g = np.repeat(np.arange(15), sizes)
    v = np.round(rng.uniform(1, 20, len(g)), 2)
    sd = 1.5 * (v**delta if name == "power" else np.exp(delta * v))
    u = rng.normal(size=(15, 2)) * (1.5, 0.15)
    y = 2 + 0.5 * v + u[g, 0] + u[g, 1] * (v - 10) + sd * rng.normal(size=len(g))
    return pd.DataFrame({"g": g, "v": v, "y": np.round(y, 3)})


def main(folder: Path) -> None:
    """Write every set to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in UNEVEN_GROUPS:
        uneven_groups(name).to_csv(folder / f"groups_{name}.csv", index=False)
    for name in SPREAD_TRUTH:
        uneven_spread(name).to_csv(folder / f"spread_{name}.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
