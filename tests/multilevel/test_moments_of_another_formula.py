"""A formula fitted from moments that another one made: as from the rows, or refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from multilevel import InputError, Moments, fit_mixed

RNG = np.random.default_rng(771_400)
N = 260
FRAME = pd.DataFrame(
    {
        "g": np.repeat(np.arange(13), 20),
        "x": RNG.integers(1, 27, N),
        "z": RNG.normal(2014, 6, N),
        "a": RNG.choice(["lo", "mid", "hi"], N),
        "b": RNG.choice(["p", "q"], N),
        "f": RNG.random(N) < 0.4,
        "t": RNG.random(N) < 0.6,
        "k": RNG.choice([1, 2, 9], N),
    }
)
FRAME["y"] = 3 + 0.4 * FRAME["x"] + FRAME["f"] * (FRAME["a"] == "hi") + RNG.normal(0, 2, N)
FRAME["y"] += RNG.normal(size=13)[FRAME["g"]]

MADE = [
    "a * f", "f * a", "a:f + a", "f * x * a", "a * x + f * t", "f * t * x", "C(f) * x + f",
    "x * z + f", "center(x) * scale(z) + a", "a * b * C(k)", "(a + b + f) ** 2", "{x > 13} * a + f",
]  # fmt: skip
FITTED = [
    "f:a", "a:f", "f + f:a", "a + a:f", "0 + f", "0 + a:f", "0 + a + a:f", "f", "f + t", "t * f",
    "f:t", "f:x", "x:f", "x + f:x", "f * x", "0 + f:x", "0 + x + f:x", "f / x", "a", "0 + a", "a:b",
    "b:a + a", "a / b", "C(k):a", "C(k) + a:C(k)", "x", "{x - 10} * f", "center(x):f + center(x)",
    "x:z", "z:x + z", "scale(x)", "scale(z):center(x)", "{x > 13}", "{x > 13}:a", "a + {x > 13}:a",
    "C(f)", "0 + C(f)", "C(f):x", "{f * 1}:a", "0 + {f * 1}", "f:a:x", "a * f + x", "1",
]  # fmt: skip
UNKNOWN = r"not in the moments|cannot be derived from moments"


def outcome(formula: str, data: object) -> tuple[str, float, pd.DataFrame | None]:
    """What is refused, or the deviance and the fixed part."""
    try:
        fit = fit_mixed(formula, data)
    except InputError as refusal:
        return refusal.problem, np.nan, None
    return "", fit.deviance, fit.fixed


ROWS = {fitted: outcome(f"y ~ {fitted} + (1 | g)", FRAME) for fitted in FITTED}


@pytest.mark.neighbours
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("way", ["at once", "file", "lazy frame", "two sites"])
def test_moments_give_what_rows_give_or_say_what_is_missing(
    made: str, way: str, tmp_path: Path
) -> None:
    formula = f"y ~ {made} + (1 | g)"
    if way == "two sites":
        parts = [FRAME.astype({"a": "category", "b": "category"})[side] for side in (
            FRAME["g"] < 6, FRAME["g"] >= 6)]  # fmt: skip
        one, two = (Moments.for_formula(formula, part) for part in parts)
        moments = one + two
    else:
        held = pl.from_pandas(FRAME).lazy() if way == "lazy frame" else FRAME
        moments = Moments.for_formula(formula, held)
    if way == "file":
        moments.write(tmp_path / "m.parquet", share=False)
        moments = Moments.read(tmp_path / "m.parquet")
    same = 0
    for fitted, (refused, deviance, table) in ROWS.items():
        found = outcome(f"y ~ {fitted} + (1 | g)", moments)
        if pd.Series(found[0]).str.contains(UNKNOWN).any():
            continue
        assert found[0] == refused, fitted
        if table is not None:
            assert found[1] == pytest.approx(deviance, abs=1e-7), fitted
            assert found[2] is not None
            pd.testing.assert_frame_equal(found[2], table, rtol=1e-6, atol=1e-8)
        same += 1
    assert same >= 3


def test_many_pairs_are_told() -> None:
    """Of all pairs, more than eighty are fitted and more than thirty refused as from rows."""
    fitted, refused = 0, 0
    for made in MADE:
        moments = Moments.for_formula(f"y ~ {made} + (1 | g)", FRAME)
        for formula, (problem, _, _) in ROWS.items():
            found, _, table = outcome(f"y ~ {formula} + (1 | g)", moments)
            fitted += table is not None
            refused += found == problem != ""
    assert fitted > 80
    assert refused > 30


def test_truth_values_in_one_file_and_numbers_in_another_are_not_added() -> None:
    formula = "y ~ f * x + (1 | g)"
    one = Moments.for_formula(formula, FRAME[FRAME["g"] < 6])
    two = Moments.for_formula(formula, FRAME[FRAME["g"] >= 6].astype({"f": int}))
    with pytest.raises(InputError, match="column f: its levels differ"):
        one + two
