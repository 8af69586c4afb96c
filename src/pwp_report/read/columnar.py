"""Parquet, SPSS and Stata files, and tables of DuckDB and SQLite databases, for reading alone."""

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import pathname2url

import numpy as np
import pandas as pd
import pyarrow as pa

from multilevel.errors import InputError
from pwp_lib.schema import MISSING
from pwp_report.read.raw import RawTable, check_width, choose_table, name_columns
from pwp_report.recognise import NOBODY
from pwp_report.wording import refusal

#: A view can go on without end; no table of patients has so many rows.
_MOST_ROWS = 5_000_000


def read_parquet(place: Path) -> RawTable:
    """Read a Parquet file."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(place) as source:
            check_width(source.metadata.num_columns, place)
            table = source.read()
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, NotImplementedError):
        raise refusal("parquet_damaged", file=place) from None
    return _from_arrow(table, place, "Parquet")


def read_labelled(place: Path, kind: str) -> RawTable:
    """Read an SPSS or a Stata file, with the labels of values where every value has one."""
    try:
        import pyreadstat
    except ImportError:
        raise refusal("no_pyreadstat", file=place, kind=kind) from None
    read = pyreadstat.read_sav if kind == "SPSS" else pyreadstat.read_dta
    try:
        frame, meta = read(place)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError):
        raise refusal("labelled_damaged", file=place, kind=kind) from None
    labelled = {c: _by_labels(frame[c], ls) for c, ls in meta.variable_value_labels.items()}
    table = pa.Table.from_pandas(frame.assign(**labelled), preserve_index=False)
    return _from_arrow(table, place, kind)


def _by_labels(values: pd.Series, labels: dict[Any, str]) -> pd.Series:
    """Give a label for each value; or, where some values have none, values less those missing."""
    words = values.map(labels)
    if words.notna().equals(values.notna()):
        return words.astype("str")
    return values.mask(words.str.strip().str.lower().isin([*NOBODY, *map(str.lower, MISSING)]))


def _from_arrow(table: Any, place: Path, kind: str) -> RawTable:
    series = {i: _plain(column) for i, column in enumerate(table.columns)}
    return _raw(pd.DataFrame(series), list(table.column_names), place, kind)


def _plain(column: Any) -> pd.Series:
    """One column in a plain pandas type: codes become text, decimals floats."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_boolean(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        column = column.cast(pa.string())
    elif pa.types.is_nested(kind):
        # Lists and records are no entries: where the column is used, each is named as text.
        column = pa.array(["(nested)"] * len(column), pa.string())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = pa.array([None] * len(column), pa.string())
    return pd.Series(column.to_pandas(date_as_object=False))


def _raw(frame: pd.DataFrame, names: list[str], place: Path, kind: str) -> RawTable:
    if len(frame) > _MOST_ROWS:
        raise refusal("table_endless", file=place, most_rows=_MOST_ROWS)
    named = name_columns(frame, names, place)
    # A database has no header row, but users look at it in a viewer that shows one.
    return RawTable(place.name, kind, named, np.arange(1, len(named) + 1))


def read_duckdb(place: Path, table: str | None) -> RawTable:
    """Read a table of a DuckDB database."""
    import duckdb

    try:
        # External access off: a view in a database from elsewhere could read other files.
        closed = {"enable_external_access": "false"}
        with closing(duckdb.connect(str(place), read_only=True, config=closed)) as base:
            tables = "select table_name from information_schema.tables order by table_name"
            found = base.execute(tables).fetchall()
            name = choose_table([str(row[0]) for row in found], table, "database", place)
            every = f"select * from {_quoted(name)}"
            check_width(len(base.execute(f"{every} limit 0").description), place)
            result = base.sql(f"{every} limit {_MOST_ROWS + 1}").to_arrow_table()
    except duckdb.Error:
        raise refusal("duckdb_unreadable", file=place) from None
    return _from_arrow(result, place, "DuckDB")


def read_sqlite(place: Path, table: str | None) -> RawTable:
    """Read a table of an SQLite database."""
    import sqlite3

    # Immutable: SQLite would otherwise leave journal files beside the database.
    address = f"file:{pathname2url(str(place.resolve()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as base:
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            tables = "select name from sqlite_master where type in ('table', 'view') order by name"
            found = [str(n) for (n,) in base.execute(tables) if not n.startswith("sqlite_")]
            name = choose_table(found, table, "database", place)
            cursor = base.execute(f"select * from {_quoted(name)}")
            names = [str(column[0]) for column in cursor.description]
            check_width(len(names), place)
            rows = cursor.fetchmany(_MOST_ROWS + 1)
    except sqlite3.Error:
        raise refusal("sqlite_unreadable", file=place) from None
    # Text throughout: a column of SQLite may hold any type in any row.
    frame = pd.DataFrame(rows, columns=range(len(names)), dtype=object)
    blobs = frame.map(lambda entry: isinstance(entry, bytes))
    return _raw(frame.mask(blobs).astype("str"), names, place, "SQLite")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
