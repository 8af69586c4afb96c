"""Tables of whatever kind the user has, and their sums."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd
from narwhals.exceptions import DuplicateError

from multilevel.errors import InputError
from multilevel.formula import Formula
from multilevel.lazy import LazyTable
from multilevel.memory import Table
from multilevel.record import Record


def sum_formula(
    formula: Formula,
    data: Any,
    levels: Mapping[str, Sequence[str]] | None = None,
    *,
    cells: bool = False,
) -> Record:
    """Return sums that hold just what a formula needs.

    Parameters
    ----------
    formula : Formula
    data : frame or path
        A frame of any kind that narwhals knows, or the path of a Parquet file.
    levels : mapping of str to sequence of str, optional
        All levels of a categorical column, the reference first.
    cells : bool
        Count the cells of columns with few distinct values too, which sharing needs.
    """
    with open_table(data) as table:
        return table.sums(formula, levels, cells)


@contextmanager
def open_table(data: Any) -> Iterator[Table | LazyTable]:
    """Make a table of whatever the user has.

    Raises
    ------
    InputError
        When it is no table, or its file cannot be read.
    """
    if isinstance(data, (str, Path)):
        with _open_file(Path(data)) as table:
            yield table
        return
    if isinstance(data, pd.DataFrame) and data.columns.is_unique:
        yield Table(data, list(data.columns))
        return
    with warnings.catch_warnings():
        # narwhals announces that its Dask support moves to another package.
        warnings.filterwarnings("ignore", "Dask support is moving out", FutureWarning)
        try:
            frame = nw.from_native(data)
        except TypeError:
            raise InputError(
                "this is no table that can be read",
                hint="give a pandas, Polars, Arrow, DuckDB, Dask or Spark frame, or the path of "
                "a Parquet file",
            ) from None
        except DuplicateError:
            raise InputError("two columns of the table have one name", hint="rename one") from None
        if isinstance(frame, nw.LazyFrame):
            yield LazyTable(frame)
        else:
            yield Table(frame, frame.columns)


@contextmanager
def _open_file(path: Path) -> Iterator[LazyTable]:
    import duckdb

    if not path.exists():
        raise InputError("there is no such file", file=path, hint="check its folder and name")
    if path.suffix.lower() not in (".parquet", ".pq"):
        raise InputError(
            "only Parquet files are read by their path, as reading text means guessing",
            file=path,
            hint="read it with pwp_report.read_table, or with pandas, and give the table",
        )
    with duckdb.connect() as connection:
        try:
            relation = connection.read_parquet(str(path))
        except duckdb.Error:
            # DuckDB's own message may quote the file.
            raise InputError("the file cannot be read", file=path, hint="is it complete?") from None
        yield LazyTable(nw.from_native(relation))
