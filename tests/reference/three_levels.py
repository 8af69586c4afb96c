"""Data sets of three levels, and what lme4 makes of them: `python tests/reference/three_levels.py`.

Simulated ones are made again from their seed; of `mlmRev::Chem97` (pupils in schools in local
authorities) and `mlmRev::egsingle` (occasions in children in schools) the moments of the groups are
kept. Run with R, lme4 and mlmRev it writes ``three_levels.csv`` and ``three_levels_*.parquet``.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
#: Units, groups in each, SD of the units: 2, 6 and 30 units, a third of them without variance.
SHAPES = [(6, 4, 1.0), (30, 5, 1.5), (12, 3, 0.5), (6, 4, 0.0), (2, 10, 1.0), (30, 5, 0.3),
          (2, 12, 0.0), (30, 3, 0.0)]  # fmt: skip


def simulated(k: int) -> pd.DataFrame:
    """Make the data of one shape."""
    units, each, sd = SHAPES[k]
    rng = np.random.default_rng([17, k])
    unit_of = np.repeat(np.arange(units), each)
    n = rng.integers(5, 30, len(unit_of))
    group = np.repeat(np.arange(len(unit_of)), n)
    unit = unit_of[group]
    x = rng.normal(size=len(group)).round(3)
    level = rng.normal(size=units)[unit] * sd + rng.normal(size=len(n))[group]
    slope = 0.5 + 0.4 * rng.normal(size=len(n))[group]
    y = (3 + level + slope * x + rng.normal(size=len(group)) * 3).round(3)
    return pd.DataFrame(
        {"y": y, "x": x, "unit": [f"U{u:02d}" for u in unit], "g": [f"G{g:03d}" for g in group]}
    )


#: Units, groups in each, rows of each, SD of the units, SD of the slopes: few, tiny, uneven.
UNEVEN = [
    *((2, (1, 9), (2, 40), 1.0, 0.4), (3, (2, 4), (3, 6), 0.0, 0.4)),
    *((4, (1, 12), (2, 9), 2.0, 0.0), (5, (1, 2), (3, 30), 0.5, 1.0)),
    *((40, (1, 3), (3, 5), 1.0, 0.4), (15, (2, 3), (2, 3), 0.7, 0.0)),
    *((8, (3, 4), (60, 90), 0.1, 0.1), (6, (1, 30), (4, 8), 1.0, 0.4)),
    *((60, (2, 2), (3, 4), 0.0, 0.0), (3, (20, 30), (4, 9), 0.3, 0.2)),
    *((10, (2, 9), (2, 25), 3.0, 2.0), (20, (1, 5), (3, 12), 0.4, 0.3)),
    *((7, (2, 6), (5, 15), 0.0, 1.0), (25, (2, 8), (3, 9), 1.0, 0.5)),
]


def uneven(k: int) -> pd.DataFrame:
    """Make the data of an uneven shape: a skewed predictor, and codes that units share."""
    units, groups, rows, sd, slope_sd = UNEVEN[k]
    rng = np.random.default_rng([18, k])
    unit_of = np.repeat(np.arange(units), rng.integers(groups[0], groups[1] + 1, units))
    n = rng.integers(rows[0], rows[1] + 1, len(unit_of))
    # Of two units or tiny groups the largest is many times the rest.
    n[0] *= 5
    group = np.repeat(np.arange(len(unit_of)), n)
    unit = unit_of[group]
    x = rng.lognormal(0.0, 0.8, size=len(group)).round(3)
    level = rng.normal(size=units)[unit] * sd + rng.normal(size=len(n))[group]
    slope = 0.5 + slope_sd * rng.normal(size=len(n))[group]
    y = (40 + level + slope * x + rng.normal(size=len(group)) * 2).round(3)
    order = rng.permutation(len(y))
    names = {"unit": [f"U{u:02d}" for u in unit], "g": [f"G{g:03d}" for g in group]}
    return pd.DataFrame({"y": y, "x": x, **names}).iloc[order].reset_index(drop=True)


def main() -> None:
    from multilevel.moments import Moments

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k in range(len(SHAPES)):
            simulated(k).to_csv(folder / f"simulated_{k}.csv", index=False)
        for k in range(len(UNEVEN)):
            uneven(k).to_csv(folder / f"uneven_{k}.csv", index=False)
        script = ["Rscript", str(HERE / "three_levels.R"), str(folder), str(HERE)]
        subprocess.run(script, check=True)
        for data, response, predictor, unit, group in (
            ("chem97", "score", "gcsecnt", "lea", "school"),
            ("egsingle", "math", "year", "schoolid", "childid"),
        ):
            rows = pd.read_csv(folder / f"{data}.csv", dtype={unit: "str", group: "str"})
            moments = Moments.for_formula(f"{response} ~ {predictor} + (1 | {group})", rows)
            moments.write(HERE / f"three_levels_{data}.parquet", share=False)
            units = rows[[group, unit]].drop_duplicates()
            units.to_parquet(HERE / f"three_levels_{data}_units.parquet", index=False)


if __name__ == "__main__":
    main()
