"""Columns that frames hold in ways of their own: the same answer in every frame, or words."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multilevel import DesignMoments, InputError, fit_mixed

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


def test_text_that_no_encoding_holds_is_refused_wherever_it_stands() -> None:
    """Such text is what a file read in the wrong encoding leaves; no table could show it."""
    text = pd.Series([f"\ud800{v:02}" for v in G // 3], dtype=object)
    names = pd.Index(["a", "b", "c", "\ud800", "\udcff"], dtype=object)
    category = pd.Categorical.from_codes(G // 3, names)
    for formula, held in (
        ("y ~ x + (1 | z)", text),
        ("y ~ x + (1 | z)", category),
        ("y ~ x + (1 | z)", pl.Series(text.tolist(), dtype=pl.Object)),
        ("y ~ z + (1 | g)", text),
        ("y ~ z + (1 | g)", category),
        ("y ~ x + (1 | z/g)", text),
        ("y ~ x + (1 | z) + (1 | g)", text),
    ):
        table = pl.from_pandas(ROWS).with_columns(z=held) if isinstance(held, pl.Series) else None
        with pytest.raises(InputError, match=r"column [zg]: its text cannot be written"):
            fit_mixed(formula, ROWS.assign(z=held) if table is None else table)
    with pytest.raises(InputError, match="column group: its text cannot be written"):
        DesignMoments.from_arrays(Y, {"Intercept": np.ones(len(Y))}, ["Intercept"], text)


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


MISSING = {"g": np.where(np.arange(len(G)) % 7 == 0, np.nan, G), "x": X * 1.0, "y": Y * 1.0}
MISSING["x"][5:9], MISSING["y"][20:31] = np.nan, np.nan
FORMULAS = [
    "y ~ x + (1 | g)",
    "y ~ C(x) + (1 | g)",
    "{y > 1} ~ x + (1 | g)",
    "y ~ {x > 3} + (1 | g)",
]


@pytest.mark.neighbours
@pytest.mark.parametrize("column", MISSING)
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("relation", [False, True])
def test_nan_in_a_parquet_file_is_missing_as_in_memory(
    column: str, formula: str, kind: str, relation: bool, tmp_path: Path
) -> None:
    """The statistics of a file leave NaN out, and DuckDB then says that there is none."""
    rows = {n: pa.array(ROWS[n].to_numpy()) for n in ROWS} | {column: MISSING[column].astype(kind)}
    table, path = pa.table(rows), tmp_path / "rows.parquet"
    pq.write_table(table, path)
    fit = fit_mixed(formula, duckdb.read_parquet(str(path)) if relation else path)
    near = fit_mixed(formula, table)
    assert fit.n == near.n == np.isfinite(MISSING[column]).sum()
    assert fit.n_groups == near.n_groups
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-8)


def test_what_is_infinite_in_a_parquet_file_is_not_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({**ROWS, "y": np.append(Y[1:], np.inf)}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="column y: a value is infinite"):
        fit_mixed("y ~ x + (1 | g)", tmp_path / "rows.parquet")


STAMP = datetime.datetime(2014, 1, 1)
TIMES: dict[str, Callable[[int], Any]] = {
    "days": lambda k: STAMP.date() + datetime.timedelta(k),
    "stamps": lambda k: STAMP + datetime.timedelta(k),
    "stamps of a zone": lambda k: (STAMP + datetime.timedelta(k)).replace(tzinfo=datetime.UTC),
    "times": lambda k: datetime.time(k),
    "spans": datetime.timedelta,
}


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("missing", [False, True])
def test_dates_and_times_are_labels_in_every_frame(kind: str, missing: bool) -> None:
    labels = [None if missing and i < 2 else TIMES[kind](g) for i, g in enumerate(G.tolist())]
    columns: dict[str, Any] = {"x": X, "y": Y, "z": labels}
    objects = pd.Series(labels, dtype=object)
    near = fit_mixed("y ~ x + (1 | g)", ROWS[2:] if missing else ROWS).deviance
    for table in (
        pd.DataFrame(columns),
        pd.DataFrame({**columns, "z": objects}),
        pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
        pl.DataFrame(columns),
        pl.DataFrame(columns).lazy(),
        pa.table(columns),
        duckdb.from_arrow(pa.table(columns)),
    ):
        fit = fit_mixed("y ~ x + (1 | z)", table)
        assert fit.n_groups == 12
        assert fit.deviance == pytest.approx(near, abs=1e-8)
        with pytest.raises(InputError, match="column z: dates cannot be used as they are"):
            fit_mixed("y ~ z + (1 | x)", table)


OBJECTS: dict[str, Callable[[int], Any]] = {
    **TIMES,
    "text": str,
    "unsigned": lambda k: 2**64 - 1 - k,
    "tuples": lambda k: (k, "a"),
    "fractions": lambda k: Fraction(1, 1 + k),
    "of two kinds": lambda k: k if k % 2 else str(k),
}


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("missing", ["", None, float("nan"), pd.NA, pd.NaT], ids=repr)
def test_objects_in_a_frame_of_polars_are_those_of_pandas(kind: str, missing: Any) -> None:
    complete = isinstance(missing, str)
    labels = [OBJECTS[kind](g) if g or complete else missing for g in G.tolist()]
    frame = pl.DataFrame({"x": X, "y": Y, "g": G, "z": pl.Series(labels, dtype=pl.Object)})
    near = fit_mixed(
        "y ~ x + (1 | z)",
        pd.DataFrame({"x": X, "y": Y, "z": pd.Series(labels, dtype=object)}),
    )
    for table in (frame, frame.lazy()):
        fit = fit_mixed("y ~ x + (1 | z)", table)
        assert fit.design.groups.tolist() == near.design.groups.tolist()
        assert fit.n_groups == 12 - (not complete)
        assert fit.deviance == pytest.approx(near.deviance, abs=1e-9)
        for formula in ("y ~ x + (1 | z/g)", "y ~ x + (1 | z) + (1 | g)"):
            with pytest.raises(InputError, match="labels of three levels are objects of Python"):
                fit_mixed(formula, table)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=repr)
def test_numbers_and_categories_held_as_objects_are_those_of_pandas(missing: Any) -> None:
    for held in (X.tolist(), [f"L{v % 3}" for v in X]):
        objects = [missing, *held[1:]]
        pandas = ROWS.assign(z=pd.Series(objects, dtype=object))
        near = fit_mixed("y ~ z + (1 | g)", pandas)
        frame = pl.from_pandas(ROWS).with_columns(z=pl.Series(objects, dtype=pl.Object))
        for table in (frame, frame.lazy()):
            fit = fit_mixed("y ~ z + (1 | g)", table)
            assert fit.fixed.index.tolist() == near.fixed.index.tolist()
            assert (fit.n, fit.deviance) == (len(Y) - 1, pytest.approx(near.deviance, abs=1e-9))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("least", [2.0**53, 2.0**60, -(2.0**70)])
def test_labels_that_floats_have_rounded_are_refused(frame: str, least: float) -> None:
    """A missing value makes floats of a column of whole numbers: two labels may have become one."""
    table = FRAMES[frame](ROWS.assign(z=least + 2.0**20 * G))
    with pytest.raises(InputError, match="column z: floats have rounded its labels"):
        fit_mixed("y ~ x + (1 | z)", table)
    assert (
        fit_mixed("y ~ x + (1 | z)", FRAMES[frame](ROWS.assign(z=2**53 - 12.0 + G))).n_groups == 12
    )


HOLDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "polars lazy": lambda columns: pl.DataFrame(columns).lazy(),
    "arrow": pa.table,
    "duckdb": lambda columns: duckdb.from_arrow(pa.table(columns)),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("formula", ["y ~ x + (1 | u/z)", "y ~ x + (1 | u) + (1 | z)"])
def test_nan_is_no_label_of_three_levels(holder: str, formula: str) -> None:
    """Where a frame tells NaN from missing it became a group in each unit that had one."""
    labels, units = G / 7, G // 3
    labels[[3, 40, 90]] = np.nan
    near = fit_mixed("y ~ x + (1 | u/g)", ROWS.assign(u=units).drop(index=[3, 40, 90]))
    fit: Any = fit_mixed(formula, HOLDERS[holder]({"x": X, "y": Y, "z": labels, "u": units}))
    assert (fit.n, len(fit.residuals(level="z"))) == (len(Y) - 3, 12)
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-7)


#: What cannot be written behind the label of a unit.
NOT_WRITTEN = {(holder, "spans") for holder in ("polars", "polars lazy", "duckdb")}
NOT_WRITTEN |= {(holder, "bytes") for holder in HOLDERS}


@pytest.mark.neighbours
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("kind", [*TIMES, "bytes"])
def test_labels_of_three_levels_are_right_or_refused_in_words(holder: str, kind: str) -> None:
    """Bytes that are no text, and spans of time in Polars, raised what their engines raise."""
    made = TIMES.get(kind, lambda k: bytes([k, 255 - k]))
    columns = {"x": X, "y": Y, "z": [made(g) for g in G.tolist()], "u": G // 3}
    near = fit_mixed("y ~ x + (1 | u/g)", ROWS.assign(u=G // 3)).deviance
    for formula in ("y ~ x + (1 | u/z)", "y ~ x + (1 | u) + (1 | z)"):
        table = HOLDERS[holder](columns)
        if "/" in formula and (holder, kind) in NOT_WRITTEN:
            with pytest.raises(InputError, match="that labels are numbers or text"):
                fit_mixed(formula, table)
            continue
        fit: Any = fit_mixed(formula, table)
        assert fit.deviance == pytest.approx(near, abs=1e-7)
        assert len(fit.residuals(level="z")) == 12
