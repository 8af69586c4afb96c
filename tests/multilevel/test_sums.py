"""Grouped sums: exact for whole numbers, around pivots for others."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from multilevel.derive import around
from multilevel.formula import parse_formula
from multilevel.memory import choose_pivots, grouped_sums, plan_for
from multilevel.moments import Moments
from multilevel.sources import open_table

KEYS = ((), ("x",), ("y",), ("x", "x"), ("x", "y"), ("x", "y", "z"), ("x", "x", "z", "z"))


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_one_pass_sums_every_product(kind: Any) -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 40, 30_000)
    columns = {name: rng.integers(0, 28, 30_000).astype(kind) for name in "xyz"}
    sums = grouped_sums(codes, 41, columns, KEYS)
    assert tuple(sums) == KEYS
    for key in KEYS:
        product = np.prod([columns[name].astype(float) for name in key], axis=0)
        weights = np.broadcast_to(product, len(codes))
        direct = np.bincount(codes, weights=weights, minlength=41)
        np.testing.assert_array_equal(sums[key], direct)
        whole = not key or np.dtype(kind).kind in "iu"
        assert sums[key].dtype == (np.int64 if whole else np.float64)
    assert sums[()][40] == 0


def test_products_of_large_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(2)
    codes, x = rng.integers(0, 5, 50_000), rng.integers(-(10**6), 10**6, 50_000)
    sums = grouped_sums(codes, 5, {"x": x}, ((), ("x",), ("x", "x")))
    for j in range(5):
        assert sums[("x", "x")][j] == sum(v * v for v in x[codes == j].tolist())


def test_no_rows_give_zeros() -> None:
    none = np.array([], dtype=np.int64)
    sums = grouped_sums(none, 2, {"x": none}, ((), ("x",)))
    assert sums[()].tolist() == sums[("x",)].tolist() == [0, 0]


def test_a_pivot_is_taken_off_before_multiplying() -> None:
    codes, x = np.array([0, 0, 1]), np.array([2013.25, 2014.25, 2014.0])
    sums = grouped_sums(codes, 2, {"x": x}, (("x",), ("x", "x")), {"x": 2014.0})
    assert sums[("x",)].tolist() == [-0.5, 0.0]
    assert sums[("x", "x")].tolist() == [0.625, 0.0]


def pivots_of(sizes: dict[str, float], integers: set[str], rows: int) -> dict[str, float]:
    frame = pd.DataFrame({"y": [1, 2], "x": [1, 2]})
    plan = plan_for(parse_formula("y ~ {x ** 2}"), open_table(frame))
    return choose_pivots(plan, sizes, integers, rows, lambda _: (2013.4, 0.7))


def test_columns_whose_products_could_overflow_become_floats() -> None:
    assert pivots_of({"x": 27.0, "y": 21.0}, {"x", "y"}, 10**9) == {}
    assert set(pivots_of({"x": 2.0**31, "y": 21.0}, {"x", "y"}, 1000)) == {"x"}
    assert set(pivots_of({"x": 2.0**31, "y": 21.0}, {"y"}, 1000)) == {"x"}


@pytest.mark.parametrize("mean", [2013.4, -3.2e-5, 41.0])
@pytest.mark.parametrize("spread", [0.7, 1e-6, 0.0])
def test_a_pivot_is_near_the_mean_and_costs_no_digits(mean: float, spread: float) -> None:
    rng = np.random.default_rng(1)
    values = mean + spread * rng.normal(size=200) + 1e-9
    frame = pd.DataFrame({"y": values, "g": [1, 2] * 100})
    pivot = Moments.for_formula("y ~ 1 + (1 | g)", frame).pivots["y"]
    assert abs(pivot - mean) <= max(2 * spread, 2.0**-20)
    taken = [Fraction(value) - Fraction(pivot) for value in values.tolist()]
    assert [Fraction(rest) for rest in (values - pivot).tolist()] == taken


@pytest.mark.parametrize("step", [7, 10**6, 2.5])
def test_sums_move_to_another_pivot_as_if_the_column_had(step: float) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 4, 300)
    columns = {name: rng.integers(0, 28, 300) for name in "xyz"}
    keys = (*KEYS, ("z",), ("x", "z"), ("y", "z"), ("z", "z"), ("x", "z", "z"), ("x", "x", "z"))
    moved = around(grouped_sums(codes, 4, columns, keys), {}, {"x": step, "z": 3.0})
    direct = grouped_sums(
        codes, 4, {"x": columns["x"] - step, "y": columns["y"], "z": columns["z"] - 3}, keys
    )
    for key in keys:
        np.testing.assert_allclose(moved[key], direct[key], rtol=1e-12)
        if step == 7:  # no product exceeds what floats hold exactly
            np.testing.assert_array_equal(moved[key], direct[key])
