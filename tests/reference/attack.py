"""Rows and formulas for ``attack.R``, the same for Python's tests.

Formulas are put together at random of what lme4 and the engine both read: truth values, categories
of text and of numbers, centred and scaled terms, arithmetic, products in any order, random terms.
Run as ``python attack.py FOLDER`` to write rows and formulas.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

#: Groups, rows of a group from and to, what scores are far from, share of values missing.
FRAMES = {
    "plain": (14, 8, 30, 0.0, 0.0),
    "far": (9, 5, 40, 2014.0, 0.0),
    "few": (5, 6, 20, 0.0, 0.1),
    "many": (40, 2, 9, -40.0, 0.05),
}
SINGLE = [
    "x", "z", "flag", "up", "a", "b", "C(code)", "scale(x)", "scale(z)", "I(x > 13)", "C(flag)",
    "I(z - x)", "I(x / 10)", "log(w)", "I(w ** 2)", "scale(log(w))", "w", "C(up)",
]  # fmt: skip
RANDOM = [
    "1", "1", "1", "1 + x", "x", "0 + x", "1 + scale(x)", "1 + z", "1 + x + z", "0 + x + z",
    "1 + log(w)", "1 + I(x / 10)", "scale(z)", "1 + up", "0 + b", "1 + b", "0 + C(flag)",
]  # fmt: skip


def rows(name: str) -> pd.DataFrame:
    """Rows of one frame."""
    groups, low, high, far, missing = FRAMES[name]
    rng = np.random.default_rng([771_200, *name.encode()])
    g = np.repeat(np.arange(groups), rng.integers(low, high + 1, size=groups))
    n = len(g)
    frame = pd.DataFrame(
        {
            "g": g,
            "s": g % 3,
            "x": rng.integers(1, 28, n),
            "z": np.round(rng.normal(40, 9, n) + far, 2),
            "w": np.round(rng.lognormal(0, 0.5, n), 3),
            "a": rng.choice(["lo", "mid", "hi"], n),
            "b": rng.choice(["p", "q"], n),
            "code": rng.choice([1, 2, 9], n),
            "flag": rng.random(n) < 0.4,
        }
    )
    frame["up"] = frame["z"] > frame["z"].mean() + rng.normal(0, 3, n)
    u = rng.normal(size=(groups, 2)) * (2.0, 0.15)
    y = far + 4 + 0.5 * frame["x"] + frame["flag"] + u[g, 0] + u[g, 1] * frame["x"]
    frame["y"] = np.round(y + rng.normal(0, 3, n), 2)
    # All of a row: R scales a column by every row that has it, the engine by those analysed.
    lost = rng.random(n) < missing
    numbers = ["x", "z", "w", "y"]
    frame[numbers] = frame[numbers].astype(float).mask(np.repeat(lost[:, None], 4, axis=1))
    return frame


def formulas() -> list[tuple[str, str, str]]:
    """Frame, method and formula of each case."""
    rng = np.random.default_rng(771_201)
    found: dict[tuple[str, str, str], None] = {}
    while len(found) < 260:
        parts = []
        for _ in range(rng.integers(1, 4)):
            one, two, three = rng.choice(SINGLE, 3, replace=False)
            kinds = (one, one, f"{one}:{two}", f"{one} * {two}", f"{one} / {two}",
                     f"({one} + {two}) ** 2", f"{one}:{two}:{three}")  # fmt: skip
            parts.append(kinds[rng.integers(len(kinds))])
        constant = rng.choice(["1 + ", "", "0 + "], p=[0.2, 0.55, 0.25])
        bar = f"({rng.choice(RANDOM)} | g)"
        if rng.random() < 0.15:
            bar = "(1 | s/g)" if rng.random() < 0.5 else f"(1 | s) + {bar}"
        name, method = str(rng.choice(list(FRAMES))), str(rng.choice(["ML", "REML"]))
        found[name, method, f"y ~ {constant}{' + '.join(parts)} + {bar}"] = None
    return list(found)


def main(folder: Path) -> None:
    """Write rows and formulas to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FRAMES:
        rows(name).to_csv(folder / f"attack_{name}.csv", index=False)
    cases = pd.DataFrame(formulas(), columns=["frame", "method", "formula"])
    cases.to_csv(folder / "attack_formulas.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
