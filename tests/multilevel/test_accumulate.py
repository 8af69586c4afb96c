"""Grouped sums: exact for whole numbers, by NumPy and by the compiled pass alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multilevel.accumulate import (
    BLOCK_ROWS,
    chained,
    choose_pivot,
    compiled_kernel,
    demoted,
    grouped_sums,
)


@pytest.mark.parametrize("kind", [np.int8, np.int64])
def test_the_compiled_pass_gives_the_same_sums_to_the_bit(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    from multilevel import accumulate
    from multilevel.accumulate_kernel import add_all

    rng = np.random.default_rng(7)
    codes = rng.integers(0, 40, 30_000)
    columns = {name: rng.integers(-28, 28, 30_000).astype(kind) for name in "xyz"}
    keys = [(), ("x",), ("y",), ("x", "x"), ("x", "y"), ("x", "y", "z"), ("x", "x", "z", "z")]
    monkeypatch.setattr(accumulate, "compiled_kernel", lambda _: None)
    n, plain = grouped_sums(codes, 41, columns, keys)
    monkeypatch.setattr(accumulate, "compiled_kernel", lambda _: add_all)
    m, compiled = grouped_sums(codes, 41, columns, keys)
    np.testing.assert_array_equal(n, m)
    assert n[40] == 0
    for key in keys:
        np.testing.assert_array_equal(plain[key], compiled[key])
    direct = np.bincount(codes, weights=columns["x"].astype(float) * columns["y"], minlength=41)
    np.testing.assert_array_equal(plain[("x", "y")], direct)


@pytest.mark.parametrize("ordered", [True, False])
def test_sums_over_many_blocks_are_exact(ordered: bool) -> None:
    rng = np.random.default_rng(2)
    rows = 3 * BLOCK_ROWS + 17
    codes = rng.integers(0, 5, rows)
    codes = np.sort(codes) if ordered else codes
    x = rng.integers(-1000, 1000, rows)
    n, sums = grouped_sums(codes, 6, {"x": x}, [(), ("x",), ("x", "x")])
    assert n.tolist() == [int((codes == j).sum()) for j in range(6)]
    for j in range(6):
        assert sums[("x",)][j] == sum(x[codes == j].tolist())
        assert sums[("x", "x")][j] == sum(v * v for v in x[codes == j].tolist())


def test_no_rows_give_noughts() -> None:
    none = np.array([], dtype=np.int64)
    n, sums = grouped_sums(none, 2, {"x": none}, [(), ("x",)])
    assert n.tolist() == [0, 0]
    assert sums[("x",)].tolist() == [0, 0]


def test_a_pivot_is_taken_off_before_multiplying() -> None:
    codes = np.array([0, 0, 1])
    x = np.array([2013.25, 2014.25, 2014.0])
    _, sums = grouped_sums(codes, 2, {"x": x}, [("x",), ("x", "x")], {"x": 2014.0})
    assert sums[("x",)].tolist() == [-0.5, 0.0]
    assert sums[("x", "x")].tolist() == [0.625, 0.0]


def test_products_are_made_from_products_made_before() -> None:
    made: set[tuple[str, ...]] = {()}
    for key, base, column in chained([("x", "x", "z", "z"), ("y",), ("x", "z")]):
        assert base in made
        assert tuple(sorted((*base, column))) == key
        made.add(key)
    assert {("x", "x", "z", "z"), ("y",), ("x", "z")} <= made


def test_columns_whose_products_could_overflow_become_floats() -> None:
    keys = [("x",), ("y",), ("x", "y"), ("x", "x", "y", "y")]
    assert demoted(keys, {"x": 27.0, "y": 21.0}, {"x", "y"}, 10**9) == set()
    assert demoted(keys, {"x": 2.0**31, "y": 21.0}, {"x", "y"}, 1000) == {"x"}
    assert demoted(keys, {"x": 2.0**31, "y": 21.0}, {"y"}, 1000) == set()


@pytest.mark.parametrize(("mean", "spread"), [(2013.4, 0.7), (-3.2e-5, 1e-6), (41.0, 0.0)])
def test_a_pivot_is_near_the_mean_and_short(mean: float, spread: float) -> None:
    pivot = choose_pivot(mean, spread)
    assert abs(pivot - mean) <= max(spread, 2.0**-20)
    mantissa = float(np.frexp(pivot)[0])
    assert mantissa * 2**40 == int(mantissa * 2**40)


def test_few_rows_do_not_wait_for_numba() -> None:
    assert compiled_kernel(1000) is None
