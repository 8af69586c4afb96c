"""Whole numbers that floats do not hold: as exact as the same ones near zero, or refused."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multilevel import InputError, Moments, fit_binary, fit_mixed, pool_moments

RNG = np.random.default_rng(60)
G = np.repeat(np.arange(20), 15)
X = RNG.integers(-9, 10, len(G))
Y = 2 * X + RNG.integers(-5, 6, 20)[G] + RNG.integers(-6, 7, len(G))
NEAR = pd.DataFrame({"g": G, "x": X, "y": Y})

FORMULAS = (
    "y ~ center(x) + (1 | g)",
    "y ~ scale(x) + (1 + scale(x) | g)",
    "y ~ center(x) + {center(x) ** 2} + (1 | g)",
)
#: From where floats lose the last digit to the end of 64 bits, and what the numbers are held in.
FAR = {
    "2 ** 52": (2**52, "int64"),
    "2 ** 53": (2**53, "int64"),
    "-2 ** 53": (-(2**53) - 1, "int64"),
    "nanoseconds": (1_700_000_000_000_000_003, "int64"),
    "2 ** 60": (2**60 + 1, "int64"),
    "the least": (-(2**63) + 9, "int64"),
    "the largest": (2**63 - 10, "int64"),
    "unsigned": (2**63 + 12_345, "uint64"),
    "the largest unsigned": (2**64 - 10, "uint64"),
}


def held(step: int, kind: str) -> pd.DataFrame:
    return NEAR.assign(x=np.array([int(v) + step for v in X], dtype=kind))


def with_a_gap(frame: pd.DataFrame, kind: Any) -> pd.DataFrame:
    """Add a row without x, which leaves floats no place for the others."""
    values = pd.Series([*map(int, frame["x"]), None], dtype=kind)
    rows = pd.concat([frame, frame.tail(1)], ignore_index=True)
    return rows.assign(x=values)


def as_file(frame: pd.DataFrame, folder: Path) -> str:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path)
    return str(path)


IN_MEMORY: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "nullable": lambda frame: frame.convert_dtypes(),
    "objects": lambda frame: frame.astype({"x": object}),
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "arrow with a gap": lambda frame: pl.from_pandas(
        with_a_gap(frame, str(frame["x"].dtype).title().replace("Ui", "UI"))
    ).to_arrow(),
}
IN_MEMORY["nullable with a gap"] = lambda frame: with_a_gap(
    frame, str(frame["x"].dtype).title().replace("Ui", "UI")
)
ELSEWHERE: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "polars lazy": lambda frame, _: pl.from_pandas(frame).lazy(),
    "duckdb": lambda frame, _: duckdb.from_arrow(pa.Table.from_pandas(frame)),
    "hugeint": lambda frame, _: duckdb.from_arrow(pa.Table.from_pandas(frame)).project(
        "g, x::hugeint as x, y"
    ),
    "parquet": as_file,
    "dask": lambda frame, _: dd.from_pandas(frame, npartitions=3),
}
EXPECTED = {formula: fit_mixed(formula, NEAR) for formula in FORMULAS}


def assert_as_near_zero(formula: str, table: Any) -> None:
    fit, near = fit_mixed(formula, table), EXPECTED[formula]
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-7)
    np.testing.assert_allclose(fit.fixed["estimate"], near.fixed["estimate"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fit.random_covariance, near.random_covariance, rtol=1e-6, atol=1e-7)


@pytest.mark.neighbours
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("holder", IN_MEMORY)
def test_in_memory_they_are_as_exact_as_near_zero(holder: str, far: str, formula: str) -> None:
    assert_as_near_zero(formula, IN_MEMORY[holder](held(*FAR[far])))


@pytest.mark.neighbours
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("holder", ELSEWHERE)
def test_elsewhere_they_are_as_exact_or_refused(
    holder: str, far: str, formula: str, tmp_path: Path
) -> None:
    table = ELSEWHERE[holder](held(*FAR[far]), tmp_path)
    # As a float the largest is 2 ** 63, of which some engines make no whole number.
    edge = "largest" in far or "unsigned" in far
    try:
        assert_as_near_zero(formula, table)
    except InputError as error:
        if not edge or "below 2 ** 63" not in str(error):
            raise


def test_objects_with_a_missing_value_keep_their_digits() -> None:
    assert_as_near_zero(FORMULAS[0], with_a_gap(held(2**60 + 1, "int64"), object))


@pytest.mark.parametrize("kind", ["int64", "polars lazy"])
def test_numbers_over_all_of_64_bits_do_not_wrap(kind: str) -> None:
    """Their differences are no numbers of 64 bits, and floats hold these well enough."""
    wide = np.linspace(-(2.0**62.9), 2.0**62.9, 19)[X + 9]
    exact = fit_mixed(FORMULAS[0], NEAR.assign(x=wide))
    frame = NEAR.assign(x=wide.astype(np.int64) + 3)
    fit = fit_mixed(FORMULAS[0], pl.from_pandas(frame).lazy() if "lazy" in kind else frame)
    assert fit.deviance == pytest.approx(exact.deviance, abs=1e-9)


@pytest.mark.parametrize("step", [2**40, 2**49, 2**52, 2**60])
def test_moments_of_two_files_add_up(step: int) -> None:
    frame = held(step, "int64")
    parts = [Moments.for_formula(FORMULAS[0], frame[(G < 8) == low]) for low in (True, False)]
    assert_as_near_zero(FORMULAS[0], pool_moments(parts))


@pytest.mark.parametrize("holder", ["pandas", "polars lazy"])
@pytest.mark.parametrize("step", [2**53, 2**60])
def test_a_response_may_have_a_constant_taken_off_in_the_formula(holder: str, step: int) -> None:
    frame = NEAR.assign(y=Y + np.int64(step))
    table = frame if holder == "pandas" else pl.from_pandas(frame).lazy()
    fit = fit_mixed(f"{{y - {step}}} ~ center(x) + (1 | g)", table)
    assert fit.deviance == pytest.approx(EXPECTED[FORMULAS[0]].deviance, abs=1e-7)
    assert fit.fixed.loc["Intercept", "estimate"] == pytest.approx(
        EXPECTED[FORMULAS[0]].fixed.loc["Intercept", "estimate"], abs=1e-9
    )


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "x ~ y + (1 | g)"])
def test_where_nothing_is_left_to_tell_them_apart_they_are_refused(formula: str) -> None:
    for table in (held(2**60, "int64"), pl.from_pandas(held(2**60, "int64")).lazy()):
        with pytest.raises(InputError, match=r"column x: .* take a constant off"):
            fit_mixed(formula, table)


ARITHMETIC = ("log(x)", "{x > 5}", "{1 / x}", "abs(x)", "{x ** 7}")


@pytest.mark.parametrize("formula", [f"y ~ {term} + (1 | g)" for term in ARITHMETIC])
@pytest.mark.parametrize("kind", ["int64", "uint64", "Int64", object])
def test_arithmetic_row_by_row_that_would_round_them_is_refused(formula: str, kind: Any) -> None:
    frame = held(2**53, "int64").astype({"x": kind})
    for table in (frame, pl.from_pandas(frame.astype({"x": "int64"})).lazy()):
        with pytest.raises(InputError, match=r"column x: its numbers reach 2 \*\* 53"):
            fit_mixed(formula, table)


FROM_ROWS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "spread of it": lambda f: fit_mixed("y ~ 1 + (1 | g)", f, spread="power(x)"),
    "term beside a spread": lambda f: fit_mixed("y ~ center(x) + (1 | g)", f, spread="exp(g)"),
    "response of a spread": lambda f: fit_mixed("x ~ y + (1 | g)", f, spread="exp(y)"),
    "predictor of an outcome": lambda f: fit_binary("z ~ center(x) + (1 | g)", f),
    "trials": lambda f: fit_binary("z ~ 1 + (1 | g)", f, trials="x"),
}


@pytest.mark.parametrize("case", FROM_ROWS)
def test_what_is_computed_from_rows_refuses_them(case: str) -> None:
    frame = held(2**53, "int64").assign(z=(Y > 0).astype(int))
    with pytest.raises(InputError, match=r"column x: its numbers reach 2 \*\* 53"):
        FROM_ROWS[case](frame)


MIXED: dict[str, Callable[[], Any]] = {
    "decimals": lambda: NEAR.assign(x=[Decimal(int(v) + 2**60) for v in X]),
    "whole and other numbers": lambda: NEAR.assign(
        x=pd.Series([0.5, *(int(v) + 2**60 for v in X[1:])], dtype=object)
    ),
    "arrow decimals": lambda: pa.table(
        {"g": G, "y": Y, "x": pa.array([Decimal(int(v) + 2**60) for v in X])}
    ),
    "decimals of a database": lambda: duckdb.from_arrow(
        pa.Table.from_pandas(held(2**60, "int64"))
    ).project("g, x::decimal(38, 0) as x, y"),
}


@pytest.mark.parametrize("column", MIXED)
@pytest.mark.parametrize("formula", FORMULAS)
def test_what_only_floats_could_hold_is_refused(column: str, formula: str) -> None:
    with pytest.raises(InputError, match=r"column x: its numbers reach 2 \*\* 53"):
        fit_mixed(formula, MIXED[column]())


def test_a_number_of_the_formula_is_not_rounded() -> None:
    with pytest.raises(InputError, match="more digits"):
        fit_mixed(f"y ~ {{x - {2**60 + 1}}} + (1 | g)", held(2**60, "int64"))
