"""Sums over the rows of a table: columns in memory in one compiled pass, lazy frames by theirs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import narwhals as nw
import numba
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.expression import Call, Name, evaluate
from multilevel.formula import Formula
from multilevel.lazy import LazyTable
from multilevel.plan import (
    FEW_VALUES,
    Block,
    Dummy,
    Plan,
    choose_pivots,
    kind_of,
    plan_columns,
    plan_formula,
)
from multilevel.polynomial import Monomial
from multilevel.record import Record, Totals, label_text, level_value, sorted_labels

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")


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
        return table.summed(plan_formula(formula, table, levels), cells)


def sum_columns(
    data: Any,
    columns: Sequence[str],
    group: str,
    complete: Sequence[str],
    levels: Mapping[str, Sequence[str]] | None,
) -> Record:
    """Return sums of the columns named and of their products, cells counted; see `sum_formula`."""
    with open_table(data) as table:
        return table.summed(plan_columns(columns, group, table, levels, complete), True)


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
        yield Table(data)
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
        yield LazyTable(frame) if isinstance(frame, nw.LazyFrame) else Table(data)


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


class Table:
    """A frame in memory: pandas, Polars or Arrow.

    Parameters
    ----------
    native : frame
    """

    def __init__(self, native: Any) -> None:
        self._native = native
        pandas = isinstance(native, pd.DataFrame)
        self.columns: Sequence[str] = list(native.columns) if pandas else self.frame.columns
        self._series: dict[str, nw.Series[Any]] = {}
        self._numbers: dict[str, tuple[Array, Mask | None]] = {}
        self._coded: dict[str, tuple[list[Any], NDArray[np.int64]]] = {}
        self._evaluated: dict[str, tuple[list[str], Array]] = {}

    @cached_property
    def frame(self) -> nw.DataFrame[Any]:
        """The frame as narwhals sees it; made late, as it takes longer than a small fit."""
        return nw.from_native(self._native, eager_only=True)

    def kind(self, column: str) -> str:
        """Return ``number``, ``truth`` or ``category``."""
        if isinstance(plain := self._plain(column), np.ndarray):
            return "truth" if plain.dtype.kind == "b" else "number"
        # The usual text of pandas is told without narwhals, which takes longer than a small fit.
        in_pandas = isinstance(self._native, pd.DataFrame)
        if in_pandas and isinstance(self._native[column].dtype, pd.StringDtype):
            return "category"
        return kind_of(self.series(column).dtype, column)

    def _plain(self, column: str) -> Array | None:
        """Return the values of a pandas column that is held as a NumPy array of numbers."""
        if column not in self._numbers and isinstance(self._native, pd.DataFrame):
            values = self._native[column]._values
            if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
                missing = np.isnan(values) if values.dtype.kind == "f" else None
                none = missing is None or not missing.any()
                self._numbers[column] = values, None if none else missing
        return self._numbers[column][0] if column in self._numbers else None

    def series(self, column: str) -> nw.Series[Any]:
        """Return a column, numbers or truth values held as objects turned into what they are."""
        if column not in self._series:
            series = self.frame[column]
            if series.dtype == nw.Object:
                native = series.to_native()
                if pd.api.types.infer_dtype(native, skipna=True) in _NUMBERS:
                    series = nw.from_native(_as_numbers(native, column), series_only=True)
            self._series[column] = series
        return self._series[column]

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        if self.kind(column) != "category":
            values, missing = self.numbers(column)
            found = np.unique(values if missing is None else values[~missing])
            return tuple(map(label_text, found.tolist()))
        series = self.series(column)
        declared = getattr(series.dtype, "categories", None)
        if declared is None and series.dtype == nw.Categorical:
            # Only pandas declares the levels of its categories; Polars keeps what it has met.
            declared = getattr(getattr(series.to_native(), "cat", None), "categories", None)
        if declared is not None:
            return tuple(map(str, declared))
        labels, _ = self.coded(column)
        kinds = {str if isinstance(label, str) else type(label) for label in labels}
        if len(kinds) > 1 or kinds & {complex}:
            raise InputError("numbers or text are needed, of one kind", column=column)
        return tuple(map(label_text, sorted(labels)))

    def block_labels(self, component: Call, needed: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the columns that formulae makes of a component."""
        return tuple(self._block(component, needed)[0])

    def numbers(self, column: str) -> tuple[Array, Mask | None]:
        """Values of a column of numbers, and which are missing."""
        if self._plain(column) is None and column not in self._numbers:
            series = self.series(column)
            missing = series.is_null()
            if series.dtype.is_float():
                missing = missing | series.is_nan().fill_null(False)
            gone = missing.to_numpy().astype(bool)
            filled = series.fill_null(0) if series.null_count() else series
            if series.dtype == nw.Boolean:
                filled = filled.cast(nw.Int8)
            elif series.dtype.is_decimal() or series.dtype in (nw.Int128, nw.UInt128):
                filled = filled.cast(nw.Float64)
            self._numbers[column] = np.asarray(filled.to_numpy()), gone if gone.any() else None
        return self._numbers[column]

    def coded(self, column: str) -> tuple[list[Any], NDArray[np.int64]]:
        """Labels of a column as they were met, and the code of each row, -1 where missing."""
        if column not in self._coded:
            try:
                pandas = isinstance(self._native, pd.DataFrame)
                source = self._native if pandas else self.frame
                self._coded[column] = _coded(source[column])
            except TypeError:
                raise InputError("numbers or text are needed, of one kind", column=column) from None
        return self._coded[column]

    def summed(self, plan: Plan, cells: bool) -> Record:
        """Return sums of the plan's products within groups over complete rows."""
        keep = self._complete(plan)
        groups, codes = self._groups(plan.group, keep)
        columns = {name: self._values(name, plan, keep) for name in plan.summed}
        largest = {name: _largest(values) for name, values in columns.items()}
        pivots = choose_pivots(
            plan,
            largest,
            {name for name, values in columns.items() if values.dtype.kind in "iu"},
            len(codes),
            lambda name: (float(columns[name].mean()), float(columns[name].std())),
        )
        sums = grouped_sums(codes, len(groups), columns, plan.keys, pivots)
        smallest = self._smallest_cell(plan, keep, columns, codes, sums[()]) if cells else None
        return plan.record(groups, sums, pivots, len(self._native), smallest)

    def rows(
        self, plan: Plan, further: Sequence[str]
    ) -> tuple[NDArray[np.int64], dict[str, Array], dict[str, Array]]:
        """Group codes, the plan's stored columns and further ones, over complete rows."""
        keep = self._complete(plan)
        codes = self._groups(plan.group, keep)[1]
        values = {name: self._values(name, plan, keep) for name in plan.variables}
        return codes, values, {name: _kept(self.numbers(name)[0], keep) for name in further}

    def _complete(self, plan: Plan) -> Mask | None:
        """Which rows have every value, or None when all have."""
        gone: Mask | None = None
        for column in plan.needed:
            missing = self._missing(column)
            if missing is not None and missing.any():
                gone = missing if gone is None else gone | missing
        return None if gone is None else ~gone

    def _missing(self, column: str) -> Mask | None:
        if self.kind(column) != "category":
            return self.numbers(column)[1]
        missing: Mask = self.coded(column)[1] < 0
        return missing

    def _values(self, name: str, plan: Plan, keep: Mask | None) -> Array:
        """Numbers of a stored column over the rows kept, whole ones in an integer type."""
        source = plan.variables[name]
        if isinstance(source, Dummy):
            return self._dummy(source, plan, keep)
        if isinstance(source, Block):
            return self._block(source.component, plan.needed)[1][:, source.position]
        if isinstance(source.expression, Name):
            return _whole(_kept(self.numbers(source.expression.name)[0], keep))

        def column(of: str) -> Array:
            # int8 would overflow in arithmetic.
            values = _kept(self.numbers(of)[0], keep)
            return values if values.dtype.kind == "f" else values.astype(np.int64)

        with np.errstate(all="ignore"):
            return _whole(np.asarray(evaluate(source.expression, column)))

    def _dummy(self, source: Dummy, plan: Plan, keep: Mask | None) -> Array:
        if self.kind(source.column) != "category":
            values = _kept(self.numbers(source.column)[0], keep)
            return np.asarray(values == level_value(source.level), dtype=np.int8)
        labels, codes = self.coded(source.column)
        hits = np.array([label_text(label) == source.level for label in labels] + [False])
        return np.asarray(_kept(hits[codes], keep), dtype=np.int8)

    def _groups(
        self, group: str, keep: Mask | None
    ) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        """Sorted labels and the code of each row kept."""
        if not group:
            rows = len(self._native) if keep is None else int(keep.sum())
            return np.array(["all"], dtype=object), np.zeros(rows, dtype=np.int64)
        exact = self.series(group).dtype if self.kind(group) == "number" else nw.String()
        if exact.is_float() or exact.is_integer():
            values = _kept(self.numbers(group)[0], keep)
            values = _whole(values) if values.dtype.kind == "f" else values
            if exact not in (nw.Int128, nw.UInt128) and self.frame[group].dtype != nw.Object:
                return _coded_numbers(values, group)
        labels, codes = self.coded(group)
        codes = _kept(codes, keep)
        present = np.flatnonzero(np.bincount(codes, minlength=len(labels)))
        groups, order = sorted_labels((labels[i] for i in present), group)
        rank = np.zeros(len(labels), dtype=np.int64)
        rank[present[order]] = np.arange(len(order))
        return groups, rank[codes]

    def _block(self, component: Call, needed: tuple[str, ...]) -> tuple[list[str], Array]:
        """Names and columns that formulae makes of a component over the complete rows."""
        if str(component) not in self._evaluated:
            from formulae import design_matrices

            gone = [m for c in needed if (m := self._missing(c)) is not None]
            rows = self.frame.select([c for c in needed if c in self.columns]).to_pandas()
            rows = rows[~np.any(gone, axis=0)] if gone else rows
            names = {"log": np.log, "exp": np.exp, "sqrt": np.sqrt, "np": np}
            try:
                # formulae prints what it does not expect, values among it.
                with redirect_stdout(io.StringIO()):
                    made = design_matrices(
                        f"1 + {component}",
                        rows.reset_index(drop=True),
                        env=0,
                        extra_namespace=names,
                    )
            except Exception:
                raise InputError(
                    f"{component} cannot be computed", hint="check its arguments"
                ) from None
            table = made.common.as_dataframe().drop(columns="Intercept")
            self._evaluated[str(component)] = list(table.columns), table.to_numpy(dtype=float)
        return self._evaluated[str(component)]

    def _smallest_cell(
        self,
        plan: Plan,
        keep: Mask | None,
        columns: Mapping[str, Array],
        groups: NDArray[np.int64],
        n: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Rows of the smallest cell of each group; see `Record`."""
        cells: dict[str, Array] = {}
        for name, source in plan.variables.items():
            if isinstance(source, Dummy) and self.kind(source.column) == "category":
                cells[source.column] = _kept(self.coded(source.column)[1], keep)
            elif isinstance(source, Dummy):
                cells[source.column] = _kept(self.numbers(source.column)[0], keep)
            elif name in columns and _has_few_values(columns[name]):
                cells[name] = columns[name]
        coded = {name: np.unique(v, return_inverse=True)[1] for name, v in cells.items()}
        smallest = n.copy()
        for crossing in plan.crossings(coded):
            place, width = groups, 1
            for name in crossing:
                levels = int(coded[name].max(initial=0)) + 1
                place, width = place * levels + coded[name], width * levels
            cell, size = np.unique(place, return_counts=True)
            np.minimum.at(smallest, cell // width, size)
        return smallest


def _as_numbers(native: pd.Series[Any], column: str) -> Any:
    """Return numbers held as objects in a type of numbers."""
    try:
        return pd.to_numeric(native)
    except (TypeError, ValueError, OverflowError):
        raise InputError("numbers of one kind are needed", column=column) from None


def _kept(values: Array, keep: Mask | None) -> Array:
    return values if keep is None else values[keep]


def _largest(values: Array) -> float:
    """Largest size of any value; zero without rows."""
    if not len(values):
        return 0.0
    return max(abs(float(values.max())), abs(float(values.min())))


def _has_few_values(values: Array) -> bool:
    few = len(np.unique(values[:1000])) <= FEW_VALUES
    return few and len(np.unique(values)) <= FEW_VALUES


def _whole(values: Array) -> Array:
    """Return whole numbers in an integer type where int64 holds all of them exactly."""
    if values.dtype.kind == "b":
        return values.astype(np.int8)
    if values.dtype.kind == "i":
        return values
    if values.dtype.kind == "u":
        too_large = values.dtype == np.uint64 and values.max(initial=0) >= 2**63
        return values.astype(float) if too_large else values
    values = values.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        if len(values) and not (values[0] == np.rint(values[0]) and abs(values[0]) < 2**53):
            return values
        integers = values.astype(np.int64)
    exact = np.array_equal(integers, values) and np.abs(values).max(initial=0) < 2**53
    return integers if exact else values


def _coded_numbers(values: Array, column: str) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Codes of numeric labels; without sorting the rows where they lie close together."""
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < max(1024, 4 * len(values)):
            shifted = (values - values.dtype.type(low)).astype(np.int64)
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            codes = (np.cumsum(present) - 1)[shifted]
            labels = (low + step for step in np.flatnonzero(present).tolist())
            return sorted_labels(labels, column)[0], codes
    found, codes = np.unique(values, return_inverse=True)
    return sorted_labels(found.tolist(), column)[0], codes


def _coded(series: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """Labels of a column and the code of each row, -1 where there is none."""
    if not isinstance(series, pd.Series):
        try:
            return _coded_by_arrow(series.to_arrow())
        except pa.ArrowException:
            series = pd.Series(series.to_list(), dtype=object)
    codes, labels = pd.factorize(series)
    return list(labels), codes.astype(np.int64)


def _coded_by_arrow(values: Any) -> tuple[list[Any], NDArray[np.int64]]:
    chunks = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    if not pa.types.is_dictionary(chunks.type):
        chunks = pc.dictionary_encode(chunks)
    encoded = chunks.unify_dictionaries().combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), codes


def grouped_sums(
    codes: NDArray[np.int64],
    n_groups: int,
    columns: Mapping[str, Array],
    keys: tuple[Monomial, ...],
    pivots: Mapping[str, float] | None = None,
) -> dict[Monomial, Totals]:
    """Sum products of columns within each group, in one pass over the rows.

    Parameters
    ----------
    codes : ndarray of int64, shape (N,)
        Group of each row, 0 to `n_groups` - 1.
    n_groups : int
    columns : mapping of str to ndarray, shape (N,)
        Any integer type for whole numbers, any floating type for others.
    keys : tuple of Monomial
        Products to be summed; the empty one counts rows.
    pivots : mapping of str to float, optional
        What to take off a column before it is multiplied; such columns are summed as floats.

    Returns
    -------
    dict of Monomial to ndarray, shape (n_groups,)
        In the order of `keys`; int64 where only whole numbers are multiplied, else float64.
    """
    pivots = pivots or {}
    floats = frozenset(n for n, v in columns.items() if n in pivots or v.dtype.kind == "f")
    found: dict[Monomial, Totals] = {}
    for wanted, names, bases, factors, places in _chains(keys, floats):
        exact = not floats.intersection(names)
        table = np.empty((len(names), len(codes)), dtype=np.int64 if exact else np.float64)
        for row, name in zip(table, names, strict=True):
            row[:] = columns[name]
            if pivots.get(name):
                np.subtract(row, pivots[name], out=row)
        totals = np.zeros((n_groups, len(bases)), dtype=table.dtype)
        _accumulate(codes, table, bases, factors, totals)
        by_key = np.ascontiguousarray(totals.T)
        found |= {key: by_key[place] for key, place in zip(wanted, places, strict=True)}
    return {key: found[key] for key in keys}


@lru_cache(maxsize=256)
def _chains(
    keys: tuple[Monomial, ...], floats: frozenset[str]
) -> list[tuple[list[Monomial], list[str], Array, Array, list[int]]]:
    """Order products so that each is a column times a product made before.

    Twice, for products of whole numbers alone and for the others: the products wanted, the
    columns they need, the earlier product and the column of each step, and where each wanted
    product is found. Step zero is the product of nothing, 1.
    """
    out = []
    for wanted in (
        [key for key in keys if not floats.intersection(key)],
        [key for key in keys if floats.intersection(key)],
    ):
        names = sorted({name for key in wanted for name in key})
        place: dict[Monomial, int] = {(): 0}
        steps = [(0, 0)]
        for part in (key[: i + 1] for key in wanted for i in range(len(key))):
            if part not in place:
                place[part] = len(steps)
                steps.append((place[part[:-1]], names.index(part[-1])))
        bases, factors = np.array(steps, dtype=np.int64).T.copy()
        if wanted:
            out.append((wanted, names, bases, factors, [place[key] for key in wanted]))
    return out


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _accumulate(
    codes: NDArray[np.int64], table: Array, bases: Array, factors: Array, totals: Array
) -> None:
    """Multiply and add, row by row: each product is an earlier one times a column."""
    product = np.ones(len(bases), dtype=table.dtype)
    for row in range(len(codes)):
        group = codes[row]
        totals[group, 0] += product[0]
        for k in range(1, len(bases)):
            product[k] = product[bases[k]] * table[factors[k], row]
            totals[group, k] += product[k]
