"""From whatever the user has (tables of any kind, files, moments) to sums and to a design."""

from __future__ import annotations

import warnings
from glob import escape
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd
from narwhals.exceptions import DuplicateError

from multilevel.derive import derive
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.formula import Formula, parse_formula
from multilevel.lazy import LazyTable
from multilevel.memory import Table, sum_table
from multilevel.record import Record


def design_moments(formula: str, data: Any) -> DesignMoments:
    """Cross-products of a model's columns from anything that a fit accepts.

    Parameters
    ----------
    formula : str
    data : frame, path of a Parquet file, Moments or DesignMoments
        Ready `DesignMoments` are handed back as they are, if they are of this formula.

    Returns
    -------
    DesignMoments

    Notes
    -----
    Rows with a missing value in any column of the formula, the grouping factor included, are
    left out; means for centring are taken over the rows that remain.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"y": [1, 2, 4, 4], "x": [0, 1, 2, 3], "g": list("aabb")})
    >>> d = design_moments("y ~ center(x) + (1 | g)", data)
    >>> d.names, d.n.tolist(), d.means["x"]
    (('Intercept', 'center(x)', 'y'), [2, 2], 1.5)
    """
    parsed = parse_formula(formula)
    # Cross-products of groups tell nothing of units above them.
    if not isinstance(data, DesignMoments) or parsed.above:
        return derive(data if isinstance(data, Record) else sum_formula(parsed, data), parsed)
    if data.formula and parse_formula(data.formula) != parsed:
        raise InputError(
            f"these cross-products were made for {data.formula}, not for {formula}",
            hint="give the table or its moments",
        )
    return data


def sum_formula(formula: Formula, data: Any, *, cells: bool = False) -> Record:
    """Return sums that hold just what a formula needs.

    Parameters
    ----------
    formula : Formula
    data : frame or path
        A frame of any kind that narwhals knows, or the path of a Parquet file.
    cells : bool
        Count the cells of columns with few distinct values too, which sharing needs.
    """
    return sum_table(open_table(data), formula, cells)


def open_table(data: Any) -> Table | LazyTable:
    """Make a table of whatever the user has.

    Raises
    ------
    InputError
        When it is no table, or its file cannot be read.
    """
    if isinstance(data, pd.DataFrame) and data.columns.is_unique:
        if isinstance(data.columns, pd.MultiIndex):
            raise InputError("columns have names of several levels", hint="give each one name")
        return Table(data, data.columns)
    frame = open_frame(data)
    return LazyTable(frame) if isinstance(frame, nw.LazyFrame) else Table(frame, frame.columns)


def open_frame(data: Any) -> nw.DataFrame[Any] | nw.LazyFrame[Any]:
    """Make a frame of narwhals of whatever the user has; refuses as `open_table` does."""
    with warnings.catch_warnings():
        # narwhals announces that its Dask support moves to another package.
        warnings.filterwarnings("ignore", "Dask support is moving out", FutureWarning)
        try:
            native = _file(data) if isinstance(data, (str, Path)) else data
            found: nw.DataFrame[Any] | nw.LazyFrame[Any] = nw.from_native(native)
        except TypeError:
            raise InputError(
                "this is no table that can be read",
                hint="give a pandas, Polars, Arrow, DuckDB, Dask or Spark frame, or the path of "
                "a Parquet file",
            ) from None
        except DuplicateError:
            raise InputError("two columns of the table have one name", hint="rename one") from None
    # Objects are in memory already, and Polars has no notion of which of them are missing.
    return found.lazy().collect() if nw.Object in found.collect_schema().dtypes() else found


def _file(given: str | Path) -> Any:
    """Rows of a Parquet file as a relation of DuckDB, which reads no more than it is asked for."""
    import duckdb

    path = Path(given)
    if not path.exists():
        raise InputError("there is no such file", file=path, hint="check its folder and name")
    if path.suffix.lower() not in (".parquet", ".pq"):
        raise InputError(
            "only Parquet files are read by their path, as reading text means guessing",
            file=path,
            hint="read it with pwp_report.read_table, or with pandas, and give the table",
        )
    try:
        # A name is no pattern, whatever characters it has.
        return duckdb.connect().read_parquet(escape(str(path.absolute())))
    except duckdb.Error:
        # DuckDB's own message may quote the file.
        raise InputError("the file cannot be read", file=path, hint="is it complete?") from None
