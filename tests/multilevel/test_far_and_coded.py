"""Responses far from zero without a constant, dictionaries of numbers, labels of odd kinds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from multilevel.moments import Moments

pytestmark = pytest.mark.neighbours


def rows_of(seed: int, far: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(8 + seed % 7), 6 + seed % 9)
    x = rng.normal(size=len(g))
    y = far + rng.normal(0, 4, len(g)) + rng.normal(0, 1.5, g.max() + 1)[g] * x
    return pd.DataFrame({"y": y, "x": x, "a": rng.choice(list("abc"), len(g)), "g": g})


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("far", [0.0, 300.0, 3e3, 1e4, 1e5, 1e6, 1e9])
@pytest.mark.parametrize("slope", ["0 + x", "1"])
def test_without_a_constant_a_deviance_is_right_or_refused(
    slope: str, far: float, seed: int
) -> None:
    """All levels of a category span the constant: the same model is fitted with one as well."""
    rows = rows_of(seed, far)
    known = fit_mixed(f"y ~ a*x + ({slope} | g)", rows).deviance
    formula = f"y ~ 0 + a*x + ({slope} | g)"
    if far < 1e5:
        with suppress(InputError):  # from 1e4 on it may be refused
            assert fit_mixed(formula, rows).deviance == pytest.approx(known, abs=2e-6)
            return
        assert far >= 1e4
    with pytest.raises(InputError, match="take a constant off"):
        fit_mixed(formula, rows)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["int64", "int8", "float64", "uint16", "int32"])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x*z + (1 | g)"])
def test_an_arrow_dictionary_of_numbers_is_the_category_that_it_is_in_pandas(
    formula: str, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = pd.Series(rng.choice([5, 1, 3], 96)).astype(kind)
    rows = rows_of(seed).head(96)
    rows = pd.DataFrame({"y": rows["y"], "z": rows["x"], "g": rows["g"]})
    rows["x"] = pd.Categorical(codes[: len(rows)], categories=[5, 1, 3])
    table = pa.Table.from_pandas(rows)
    assert pa.types.is_dictionary(table.schema.field("x").type)
    found, known = (fit_mixed(formula, frame) for frame in (table, rows))
    assert list(found.fixed.index) == list(known.fixed.index)
    assert found.deviance == known.deviance
    # As labels of groups they are what they are.
    grouped = table.set_column(2, "g", pa.array(rows["g"]).dictionary_encode())
    assert fit_mixed(formula, grouped).deviance == known.deviance


LABELS: dict[str, Any] = {
    "tuples": [("a", i) for i in range(6)],
    "nested": [("a", (i, "b")) for i in range(6)],
    "moments": list(pd.date_range("2021-01-01", periods=6, freq="37ns", tz="Europe/London")),
    "days": list(pd.date_range("2021-01-01", periods=6)),
    "text": [f"g{i}" for i in range(6)],
    "numbers": [2**62 + i for i in range(6)],
}


@pytest.mark.parametrize("kind", LABELS)
def test_what_is_written_can_be_read(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels = [label for label in LABELS[kind] for _ in range(5)]
    rows = pd.DataFrame({"y": rng.normal(size=30), "x": rng.normal(size=30)})
    rows["g"] = pd.Series(labels, dtype=object)
    kept = Moments.for_formula("y ~ x + (1 | g)", rows).write(tmp_path / "m.parquet", share=False)
    back = Moments.read(tmp_path / "m.parquet")
    assert len({*back.groups}) == 6
    assert back.n.tolist() == kept.n.tolist()
    if kind in ("text", "numbers"):
        assert back.groups.tolist() == kept.groups.tolist()
    known = fit_mixed("y ~ x + (1 | g)", rows)
    assert fit_mixed("y ~ x + (1 | g)", back).deviance == pytest.approx(known.deviance, abs=1e-9)


def test_a_level_next_to_nothing_is_none() -> None:
    rows = pd.DataFrame({"y": [1.0, 2, 3] * 3, "g": list("aaabbbccc")})
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_mixed("y ~ 1 + (1 | g)", rows).profile_interval(1e-16)
