"""The same moments from every kind of table, missing values handled alike."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multilevel.errors import InputError
from multilevel.moments import Moments

PAPER = "post ~ center(pre) * center(gad) + (1 + center(pre) | g)"
FORMULAS = [
    PAPER,
    "post ~ scale(age) * s + log(age ** 2 + 1) + (1 | g)",
    "post ~ C(gad) + {pre > 10} + abs(age) + (0 + pre | g)",
    "post ~ {age / pre1} + sqrt(pre1) + log2(pre1) + log10(pre1) + exp({pre1 / 9})",
    "post ~ female + age",
]


def patients_with_gaps(n: int = 300, seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "post": rng.integers(0, 28, n),
            "pre": rng.integers(0, 28, n).astype(float),
            "gad": rng.integers(0, 12, n),
            "age": rng.normal(42, 13, n),
            "female": rng.integers(0, 2, n).astype(bool),
            "s": rng.choice(["S1", "S2", "S3"], n),
            "g": [f"T{i}" for i in rng.integers(0, 7, n)],
        }
    )
    frame["pre1"] = frame["pre"] + 1
    frame.loc[3, ["pre", "pre1"]] = np.nan
    frame.loc[5, "age"] = np.nan
    frame.loc[8, "g"] = None
    frame.loc[9, "s"] = None
    return frame


def dask_frame(frame: pd.DataFrame, folder: Path) -> Any:
    dd = pytest.importorskip("dask.dataframe")
    return dd.from_pandas(frame, npartitions=3)


def parquet_file(frame: pd.DataFrame, folder: Path) -> str:
    frame.to_parquet(folder / "patients.parquet")
    return str(folder / "patients.parquet")


def polars_with_nans(frame: pd.DataFrame, folder: Path) -> pl.LazyFrame:
    """In Polars NaN and null are two things; here they mean the same."""
    return pl.from_pandas(frame).lazy().with_columns(pl.col("pre", "age").fill_null(float("nan")))


MAKERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "polars": lambda f, _: pl.from_pandas(f),
    "polars lazy": lambda f, _: pl.from_pandas(f).lazy(),
    "polars NaN": polars_with_nans,
    "polars NaN eager": lambda f, p: polars_with_nans(f, p).collect(),
    "polars categories": lambda f, _: pl.from_pandas(f).cast({"g": pl.Categorical}),
    "arrow": lambda f, _: pa.Table.from_pandas(f),
    "arrow dictionary": lambda f, _: pa.Table.from_pandas(f.astype({"g": "category"})),
    "pandas object": lambda f, _: f.astype(object).where(f.notna(), None),
    "pandas nullable": lambda f, _: f.convert_dtypes(),
    "dask": dask_frame,
    "parquet": parquet_file,
}


@pytest.fixture(params=[*MAKERS, "duckdb"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    frame = patients_with_gaps()
    if request.param != "duckdb":
        yield MAKERS[request.param](frame, tmp_path)
        return
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        yield connection.sql("select * from frame")


def assert_same_moments(formula: str, table: Any) -> None:
    """Whole numbers to the bit, others to rounding, as from the frame in memory."""
    expected = Moments.for_formula(formula, patients_with_gaps())
    made = Moments.for_formula(formula, table)
    assert made.groups.tolist() == expected.groups.tolist()
    assert made.n_dropped == expected.n_dropped
    assert made.levels == expected.levels
    np.testing.assert_array_equal(made.n, expected.n)
    for key, values in expected.sums.items():
        if values.dtype.kind == "i":
            assert made.sums[key].dtype == np.int64
            np.testing.assert_array_equal(made.sums[key], values)
    want, got = expected.design(formula), made.design(formula)
    assert got.names == want.names
    scale = np.sqrt(np.diag(want.total))
    np.testing.assert_allclose(
        got.cross / np.outer(scale, scale), want.cross / np.outer(scale, scale), atol=1e-11
    )


def test_every_kind_of_table_gives_the_same_moments(table: Any) -> None:
    for formula in FORMULAS[:2]:
        assert_same_moments(formula, table)


@pytest.mark.nightly
def test_every_kind_of_table_gives_the_same_moments_for_other_formulas(table: Any) -> None:
    for formula in FORMULAS[2:]:
        assert_same_moments(formula, table)


def test_large_whole_numbers_do_not_overflow_in_lazy_tables(tmp_path: Path) -> None:
    frame = patients_with_gaps()[["post", "g"]].dropna()
    frame["x"] = 3_000_000_000 + np.arange(len(frame)) % 17
    formula = "post ~ center(x) + (1 | g)"
    want = Moments.for_formula(formula, frame).design(formula)
    for lazy in (pl.from_pandas(frame).lazy(), parquet_file(frame, tmp_path)):
        got = Moments.for_formula(formula, lazy).design(formula)
        scale = np.sqrt(np.diag(want.total))
        np.testing.assert_allclose(
            got.cross / np.outer(scale, scale), want.cross / np.outer(scale, scale), atol=1e-12
        )


def test_declared_levels_of_a_lazy_table_are_kept() -> None:
    kind = pl.Enum(["S0", "S1", "S2", "S3"])
    lazy = pl.from_pandas(patients_with_gaps()).lazy().cast({"s": kind})
    assert Moments.for_formula("post ~ s + (1 | g)", lazy).levels["s"] == ("S0", "S1", "S2", "S3")


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("post ~ prae", "nearest name is pre"),
        ("post ~ center(s)", "column s: numbers are needed"),
        ("post ~ log({pre - pre})", "undefined|could not be read"),
    ],
)
def test_lazy_tables_refuse_in_words(formula: str, words: str, tmp_path: Path) -> None:
    frame = patients_with_gaps()
    for lazy in (pl.from_pandas(frame).lazy(), parquet_file(frame, tmp_path)):
        with pytest.raises(InputError, match=words):
            Moments.for_formula(formula, lazy)


def test_dates_in_lazy_tables_are_refused() -> None:
    lazy = pl.from_pandas(patients_with_gaps().assign(day=pd.Timestamp("2014-01-01"))).lazy()
    with pytest.raises(InputError, match="column day: dates"):
        Moments.for_formula("post ~ day", lazy)


def test_files_that_cannot_be_read_are_refused_without_quoting_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: there is no such file"):
        Moments.for_formula(PAPER, tmp_path / "none.csv")
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(InputError, match="only Parquet"):
        Moments.for_formula(PAPER, tmp_path / "a.xlsx")
    (tmp_path / "a.parquet").write_text("secret")
    with pytest.raises(InputError, match=r"a\.parquet: the file cannot be read") as caught:
        Moments.for_formula(PAPER, tmp_path / "a.parquet")
    assert "secret" not in str(caught.value)
    patients_with_gaps().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"a\.csv: only Parquet .* pwp_report.read_table"):
        Moments.for_formula(PAPER, tmp_path / "a.csv")


def test_only_the_announcement_about_dask_is_silenced(tmp_path: Path) -> None:
    table = dask_frame(patients_with_gaps(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Moments.for_formula(PAPER, table)
        with pytest.raises(FutureWarning):
            warnings.warn("Dask support is moving out", FutureWarning, stacklevel=1)


MEASURE = """
import resource, sys
from pwp_lib import Moments
moments = Moments.for_formula(sys.argv[1], sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(int(moments.n.sum()), len(moments.groups), peak // 1024)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units")
def test_ten_million_patients_in_a_file_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "patients.parquet"
    with duckdb.connect() as connection:
        connection.sql(
            "select (random() * 27)::tinyint as post, (random() * 27)::tinyint as pre, "
            "(random() * 21)::tinyint as gad, (i // 500)::integer as g "
            "from range(10000000) t(i)"
        ).write_parquet(str(path))
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, PAPER, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, groups, megabytes = map(int, ran.stdout.split())
    assert (rows, groups) == (10_000_000, 20_000)
    assert megabytes < 1000


@pytest.mark.nightly
@pytest.mark.parametrize("formula", FORMULAS)
def test_dask_with_two_workers_gives_the_same_moments(formula: str, tmp_path: Path) -> None:
    dask = pytest.importorskip("dask")
    table = dask_frame(patients_with_gaps(), tmp_path)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert_same_moments(formula, table)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
    session = builder.config("spark.sql.shuffle.partitions", 4).getOrCreate()
    yield session
    session.stop()


@pytest.mark.nightly
@pytest.mark.parametrize("formula", FORMULAS)
def test_spark_with_two_workers_gives_the_same_moments(
    formula: str, spark: Any, tmp_path: Path
) -> None:
    table = spark.read.parquet(parquet_file(patients_with_gaps(), tmp_path)).repartition(3)
    assert_same_moments(formula, table)
