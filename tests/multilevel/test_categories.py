"""Categories of any type against columns of 0 and 1 made by hand, or refused in words."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multilevel import DesignMoments, InputError, fit_design, fit_mixed

RNG = np.random.default_rng(77)
G = np.repeat(np.arange(7), [4, 9, 2, 15, 1, 7, 11])
X = RNG.integers(0, 20, len(G))
CODE = RNG.integers(0, 3, len(G))
Y = (3 + 0.5 * X + 2 * (CODE == 2) + RNG.normal(size=7)[G] + 2 * RNG.normal(size=len(G))).round(2)
ROWS = pd.DataFrame({"y": Y, "x": X, "g": G, "second": CODE == 1, "third": CODE == 2})
ROWS[["second", "third"]] = ROWS[["second", "third"]].astype(float)

LABELS: dict[str, list[Any]] = {
    "text": ["b", "a", "c"],
    "text with blanks": ["a", "a ", " a"],
    "empty text": ["", "nan", "NA"],
    "whole": [3, -5, 12],
    "wide": [2**60, 2**60 + 1, 2**60 + 2],
    "beyond any width": [10**20, 10**20 + 1, 10**21],
    "floats": [0.5, 1.5, 2.0],
    "whole floats": [1.0, 2.0, 3.0],
    "tiny and large": [1e30, 1e-30, 1.0],
    "infinite": [-np.inf, 0.0, np.inf],
    "decimals": [Decimal("1.0"), Decimal(2), Decimal("3.50")],
    "fractions": [Fraction(1, 3), Fraction(2, 3), Fraction(1)],
    "mixed": [1, "a", 2.0],
    "times": list(pd.date_range("2020-01-01", periods=3)),
    "days": [dt.date(2020, 1, day) for day in (1, 2, 3)],
    "periods": list(pd.period_range("2020-01", periods=3, freq="M")),
    "intervals": list(pd.interval_range(0, 3)),
    "spans": list(pd.to_timedelta([1, 2, 3], "h")),
    "identifiers": [uuid.UUID(int=k) for k in (1, 2, 3)],
    "bytes": [b"a", b"b", b"c"],
    "pairs": [("a", 1), ("b", 2), ("c", 3)],
}


def held(labels: list[Any], code: Any, ordered: bool = False) -> pd.Categorical:
    index = pd.Index(labels, tupleize_cols=False)
    return pd.Categorical.from_codes(code, index, ordered=ordered)


def _another(labels: list[Any]) -> Any:
    """One more label of a kind that no row has."""
    shown: dict[type, Any] = {
        str: "none", bytes: b"z", tuple: ("z", 0), dt.date: dt.date(2021, 1, 1),
        pd.Timestamp: pd.Timestamp(2021, 1, 1), pd.Timedelta: pd.Timedelta(days=9),
        uuid.UUID: uuid.UUID(int=9), pd.Interval: pd.Interval(8, 9),
        pd.Period: pd.Period("2021-01", "M"),
    }  # fmt: skip
    return shown.get(type(labels[0]), 77)


COLUMNS: dict[str, Callable[[list[Any]], pd.Categorical]] = {
    "as they are": lambda labels: held(labels, CODE),
    "ordered": lambda labels: held(labels, CODE, ordered=True),
    "missing": lambda labels: held(labels, np.where(np.arange(len(CODE)) % 11 == 4, -1, CODE)),
    "unused": lambda labels: held([_another(labels), *labels], CODE + 1),
}


def assert_same(found: Any, expected: Any) -> None:
    assert found.deviance == pytest.approx(expected.deviance, abs=1e-8)
    np.testing.assert_allclose(found.fixed["estimate"], expected.fixed["estimate"], rtol=1e-6)
    np.testing.assert_allclose(found.fixed["se"], expected.fixed["se"], rtol=1e-6)
    np.testing.assert_allclose(found.residuals(), expected.residuals(), rtol=1e-6, atol=1e-7)


@pytest.mark.neighbours
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("labels", LABELS)
def test_a_category_of_any_type_is_what_its_columns_by_hand_are(labels: str, column: str) -> None:
    frame = ROWS.assign(c=COLUMNS[column](LABELS[labels]))
    by_hand = fit_mixed("y ~ x + second + third + (1 | g)", frame[frame["c"].notna()])
    assert_same(fit_mixed("y ~ x + c + (1 | g)", frame), by_hand)


@pytest.mark.parametrize("alike", [[1, "1", 2], [1, 1.5, "1.5"], [True, "True", "b"]], ids=str)
def test_categories_that_read_alike_are_refused(alike: list[Any]) -> None:
    frame = ROWS.assign(c=held(alike, CODE))
    with pytest.raises(InputError, match="read alike"):
        fit_mixed("y ~ x + c + (1 | g)", frame)


DECIMAL = pd.ArrowDtype(pa.decimal256(50, 2))
#: Numbers that are held as something else.
ODD: dict[str, Any] = {
    "objects with a missing time": pd.Series([*X[:-1].tolist(), pd.NaT], dtype=object),
    "fractions": pd.Series([Fraction(int(v), 3) for v in X], dtype=object),
    "wide decimals": pd.Series([Decimal(int(v)) for v in X], dtype=DECIMAL),
    "numbers and truth values": pd.Series([True, *X[1:].tolist()], dtype=object),
}


@pytest.mark.parametrize("column", ODD)
def test_numbers_held_as_something_else_are_no_categories(column: str) -> None:
    with pytest.raises(InputError, match="of one kind"):
        fit_mixed("y ~ x + (1 | g)", ROWS.assign(x=ODD[column]))


def test_short_floats_and_objects_of_polars_are_numbers() -> None:
    expected = fit_mixed("y ~ x + (1 | g)", ROWS)
    assert_same(fit_mixed("y ~ x + (1 | g)", ROWS.assign(x=X.astype("float16"))), expected)
    objects = [pl.Series(name, ROWS[name].tolist(), dtype=pl.Object) for name in ("x", "g")]
    table = pl.from_pandas(ROWS).with_columns(*objects)
    assert_same(fit_mixed("y ~ x + (1 | g)", table), expected)
    text = pl.Series("c", [f"t{code}" for code in CODE], dtype=pl.Object)
    by_hand = fit_mixed("y ~ x + second + third + (1 | g)", ROWS)
    assert_same(fit_mixed("y ~ x + c + (1 | g)", table.with_columns(text)), by_hand)


def test_where_another_engine_writes_labels_otherwise_categories_are_refused() -> None:
    """Dask writes 2.0 where the level is 2: its rows would count as the level left out."""
    floats = ROWS.assign(c=held([0.5, 1.5, 2.0], CODE))
    wide = duckdb.connect()
    wide.register("rows", ROWS.assign(c=CODE))
    tables = (
        dd.from_pandas(floats, npartitions=3),
        wide.sql("select * replace (cast(c as bignum) as c) from rows"),
    )
    for table in tables:
        with pytest.raises(InputError, match="of one kind"):
            fit_mixed("y ~ x + c + (1 | g)", table)


def test_numbers_beyond_any_width_are_categories_in_every_frame() -> None:
    """Dask compares no float with a whole number of thirty digits."""
    frame = ROWS.assign(c=np.array([1e30, 1e-30, 1.0])[CODE])
    by_hand = fit_mixed("y ~ x + second + third + (1 | g)", ROWS)
    for table in (frame, dd.from_pandas(frame, npartitions=2), pl.from_pandas(frame).lazy()):
        found = fit_mixed("y ~ x + C(c) + (1 | g)", table)
        assert found.deviance == pytest.approx(by_hand.deviance, abs=1e-8)


def test_a_word_for_a_truth_value_is_a_column() -> None:
    frame = ROWS.assign(**{"True": Y - RNG.normal(size=len(G))})
    expected = fit_mixed("y ~ z + (1 | g)", frame.rename(columns={"True": "z"}))
    assert_same(fit_mixed("y ~ True + (1 | g)", frame), expected)
    with pytest.raises(InputError, match="column False: this column is not in the data"):
        fit_mixed("y ~ x + False + (1 | g)", frame)


def test_one_level_of_names_may_be_a_multiindex_no_more() -> None:
    names = pd.MultiIndex.from_arrays([ROWS.columns])
    with pytest.raises(InputError, match="names of several levels"):
        fit_mixed("y ~ x + (1 | g)", ROWS.set_axis(names, axis=1))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_category_of_many_levels_takes_little_memory(lazy: bool) -> None:
    """Of 150 levels the weights of all pairs of pairs would take eight gigabytes."""
    rng = np.random.default_rng(9)
    ward, g = np.arange(1_500) % 150, rng.integers(0, 12, 1_500)
    y = rng.normal(size=150)[ward] + rng.normal(size=12)[g] + rng.normal(size=1_500)
    rows = pd.DataFrame({"y": y, "g": g, "ward": ward})
    fit = fit_mixed("y ~ C(ward) + (1 | g)", pl.from_pandas(rows).lazy() if lazy else rows)
    # As R has it: the first level's mean, and how the others differ from it.
    dummies = (ward[:, None] == np.arange(150)).astype(float)
    dummies[:, 0] = 1.0
    names = ["Intercept", *map(str, range(1, 150))]
    columns = dict(zip(names, dummies.T, strict=True))
    near = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], g))
    assert fit.converged
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-6)
    np.testing.assert_allclose(fit.fixed, near.fixed, rtol=1e-5, atol=1e-8)


def test_an_identifier_as_a_category_is_refused_in_words() -> None:
    rows = pd.DataFrame({"y": np.arange(2_000) % 7, "g": np.arange(2_000) % 9})
    with pytest.raises(InputError, match=r"column C\(p\): a category of more than 500 levels"):
        fit_mixed("y ~ C(p) + (1 | g)", rows.assign(p=np.arange(2_000)))


@pytest.mark.parametrize(
    "formula",
    ["y ~ z + C(z) + (1 | g)", "y ~ z:C(z) + (1 | g)", "y ~ x + z + (1 + C(z) | g)"],
)
@pytest.mark.parametrize("holder", ["pandas", "polars", "polars lazy"])
def test_a_category_alone_and_in_c_is_refused(formula: str, holder: str) -> None:
    """Their columns repeat each other, which the sums of their products do not know."""
    rows = ROWS.assign(z=np.array(["a", "b", "c"])[CODE])
    table = rows if holder == "pandas" else pl.from_pandas(rows)
    with pytest.raises(InputError, match=r"column z: it stands both alone and in C\(\)"):
        fit_mixed(formula, table.lazy() if isinstance(table, pl.DataFrame) else table)
