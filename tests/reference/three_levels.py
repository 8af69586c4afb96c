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


def main() -> None:
    from multilevel.moments import Moments

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k in range(len(SHAPES)):
            simulated(k).to_csv(folder / f"simulated_{k}.csv", index=False)
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
