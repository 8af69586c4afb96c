"""Where rows come from: frames in memory, lazy frames, and files larger than memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import narwhals as nw
from narwhals.exceptions import DuplicateError

from multilevel.eager import EagerSource
from multilevel.errors import InputError
from multilevel.lazy import LazySource

__all__ = ["MISSING_TEXTS", "Source", "open_source"]

Source: TypeAlias = EagerSource | LazySource

#: What stands for "no value" in a CSV file; the same as pandas takes.
MISSING_TEXTS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


@contextmanager
def open_source(data: Any) -> Iterator[Source]:
    """Make a source of whatever the user has.

    Parameters
    ----------
    data : frame or path
        A frame of any kind that narwhals knows, or the path of a CSV or Parquet file, which is
        read by DuckDB in pieces.

    Raises
    ------
    InputError
        When it is neither, or the file cannot be read.
    """
    if isinstance(data, (str, Path)):
        with _open_file(Path(data)) as source:
            yield source
        return
    with warnings.catch_warnings():
        # narwhals announces that its Dask support moves to another package.
        warnings.filterwarnings("ignore", "Dask support is moving out", FutureWarning)
        try:
            frame = nw.from_native(data)
        except TypeError:
            raise InputError(
                "this is no table that can be read",
                hint="give a pandas, Polars, Arrow, DuckDB, Dask or Spark frame, or a file's path",
            ) from None
        except DuplicateError:
            raise InputError("two columns of the table have one name", hint="rename one") from None
        yield LazySource(frame) if isinstance(frame, nw.LazyFrame) else EagerSource(frame)


@contextmanager
def _open_file(path: Path) -> Iterator[LazySource]:
    import duckdb

    if not path.exists():
        raise InputError("there is no such file", file=path, hint="check its folder and name")
    kind = "".join(path.suffixes[-2:]).lower()
    with duckdb.connect() as connection:
        try:
            if kind.endswith((".parquet", ".pq")):
                relation = connection.read_parquet(str(path))
            elif kind.endswith((".csv", ".csv.gz", ".tsv", ".txt")):
                relation = connection.read_csv(str(path), na_values=list(MISSING_TEXTS))
            else:
                raise InputError("only CSV and Parquet files are read here", file=path)
        except duckdb.Error:
            # DuckDB's own message may quote a line of the file.
            raise InputError("the file cannot be read", file=path, hint="is it complete?") from None
        yield LazySource(nw.from_native(relation))
