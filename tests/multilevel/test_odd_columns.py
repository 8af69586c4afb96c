"""Columns that frames hold in ways of their own: the same answer in every frame, or words."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multilevel import InputError, fit_mixed

RNG = np.random.default_rng(5)
G = np.repeat(np.arange(12), 10)
X = RNG.integers(0, 9, len(G))
Y = X / 2 + RNG.normal(size=12)[G] + RNG.normal(size=len(G))
ROWS = pd.DataFrame({"g": G, "x": X, "y": Y})
DAYS = [datetime.date(2014, 1, 1) + datetime.timedelta(int(v)) for v in X]
PERIODS = pd.period_range("2014", periods=9, freq="D")[X]

DATES: dict[str, Any] = {
    "days": pd.Series(DAYS, dtype=object),
    "days with a gap": pd.Series([None, *DAYS[1:]], dtype=object),
    "periods": PERIODS,
    "periods as objects": pd.Series(PERIODS).astype(object),
    "stamps": pd.to_datetime(DAYS),
    "stamps as objects": pd.Series(pd.to_datetime(DAYS)).astype(object),
    "arrow": pd.Series(DAYS, dtype=pd.ArrowDtype(pa.date32())),
}


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ C(x) + (1 | g)", "x ~ y + (1 | g)"])
@pytest.mark.parametrize("kind", DATES)
def test_dates_of_any_kind_are_no_categories(kind: str, formula: str) -> None:
    with pytest.raises(InputError, match="column x: dates cannot be used as they are"):
        fit_mixed(formula, ROWS.assign(x=DATES[kind]))


@pytest.mark.parametrize("kind", ["days", "periods", "periods as objects"])
def test_days_and_periods_may_be_labels_of_groups(kind: str) -> None:
    fit = fit_mixed("y ~ 1 + (1 | x)", ROWS.assign(x=DATES[kind]))
    assert fit.deviance == pytest.approx(fit_mixed("y ~ 1 + (1 | x)", ROWS).deviance, abs=1e-9)


FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "nullable": lambda frame: frame.astype({"z": "Float64"}),
    "polars": pl.from_pandas,
    "polars lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "arrow": pa.Table.from_pandas,
    "duckdb": lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame)),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_zero_with_a_sign_is_the_same_label(frame: str, kind: str) -> None:
    odd = np.arange(len(G)) % 2 == 1
    signed = np.where(G > 0, G + 0.5, np.where(odd, 0.0, -0.0)).astype(kind)
    fit = fit_mixed("y ~ x + (1 | z)", FRAMES[frame](ROWS.assign(z=signed)))
    assert fit.n_groups == 12
    assert fit.deviance == pytest.approx(fit_mixed("y ~ x + (1 | g)", ROWS).deviance, abs=1e-9)


def test_text_that_no_encoding_holds_may_be_a_label_and_a_level() -> None:
    text = pd.Series([f"\ud800{v:02}" for v in G], dtype=object)
    fit = fit_mixed("y ~ x + (1 | z)", ROWS.assign(z=text))
    assert fit.deviance == pytest.approx(fit_mixed("y ~ x + (1 | g)", ROWS).deviance, abs=1e-9)
    levels = pd.Series([f"\ud800{v}" for v in X], dtype=object)
    by_level = fit_mixed("y ~ z + (1 | g)", ROWS.assign(z=levels))
    expected = fit_mixed("y ~ C(x) + (1 | g)", ROWS)
    assert by_level.deviance == pytest.approx(expected.deviance, abs=1e-9)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-100, 1e-76, 1e76, 1e160, 1e300])
@pytest.mark.parametrize("column", ["y", "x"])
@pytest.mark.parametrize("holder", ["pandas", "polars lazy"])
def test_values_whose_products_are_no_numbers_are_refused(
    holder: str, column: str, unit: float
) -> None:
    frame = ROWS.assign(**{column: unit * ROWS[column]})
    with pytest.raises(
        InputError, match=rf"column {column}: its values are too large or too small"
    ):
        fit_mixed("y ~ x + (1 | g)", FRAMES[holder](frame))


@pytest.mark.parametrize("unit", [1e-74, 1e-40, 1e40, 1e73])
def test_up_to_there_errors_keep_their_digits(unit: float) -> None:
    fit = fit_mixed("y ~ x + (1 | g)", ROWS.assign(y=unit * Y))
    near = fit_mixed("y ~ x + (1 | g)", ROWS)
    np.testing.assert_allclose(fit.fixed["se"] / unit, near.fixed["se"], rtol=1e-9)
    np.testing.assert_allclose(fit.variance_se() / unit / unit, near.variance_se(), rtol=1e-6)
