"""Rows and formulas for ``codings.R``, the same for Python's tests.

Run as ``python codings.py FOLDER`` to write both as CSV.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

#: What a formula's fixed part is made of: categories, numbers and products of them.
PARTS = ["a", "b", "C(code)", "x", "a:b", "a:x", "b:C(code)", "C(code):x", "a:b:x"]


def rows() -> pd.DataFrame:
    """Rows with three categories, of text and of numbers, that are not balanced."""
    rng = np.random.default_rng(771_100)
    frame = pd.DataFrame(
        {
            "g": np.repeat(np.arange(12), 20),
            "x": rng.integers(1, 27, 240),
            "a": rng.choice(["lo", "mid", "hi"], 240, p=[0.5, 0.3, 0.2]),
            "b": rng.choice(["p", "q"], 240),
            "code": rng.choice([1, 2, 9], 240),
        }
    )
    frame["y"] = np.round(
        5 + 0.5 * frame["x"] + 2 * (frame["a"] == "hi") * (frame["b"] == "q")
        - 0.3 * frame["x"] * (frame["code"] == 9)
        + rng.normal(size=12)[frame["g"]] + rng.normal(0, 2, 240), 2
    )  # fmt: skip
    return frame


def formulas() -> list[str]:
    """Up to three parts, in this order and turned round, with a constant and without."""
    chosen = [c for size in (1, 2, 3) for c in combinations(PARTS, size)]
    sides = [" + ".join(parts[::turn]) for parts in chosen for turn in (1, -1)]
    return [f"{constant} + {side}" for side in dict.fromkeys(sides) for constant in ("1", "0")]


def main(folder: Path) -> None:
    """Write rows and formulas to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows().to_csv(folder / "codings_rows.csv", index=False)
    (folder / "codings_formulas.txt").write_text("\n".join(formulas()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
