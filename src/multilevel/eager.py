"""Frames in memory as a source of sums: pandas, Polars, Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from multilevel.accumulate import Sums, choose_pivot, demoted, grouped_sums, largest_value
from multilevel.errors import InputError
from multilevel.evaluate import evaluate, label
from multilevel.expression import Name
from multilevel.recipe import Block, Dummy, Recipe, Value

__all__ = ["EagerSource"]

Array = NDArray[Any]


class EagerSource:
    """A frame in memory.

    Parameters
    ----------
    frame : narwhals.DataFrame
    """

    def __init__(self, frame: nw.DataFrame[Any]) -> None:
        self.frame = frame
        self._series: dict[str, nw.Series[Any]] = {}
        self._evaluated: dict[tuple[str, ...], tuple[list[str], Array]] = {}

    @property
    def columns(self) -> Sequence[str]:
        """Names of all columns."""
        return self.frame.columns

    def series(self, column: str) -> nw.Series[Any]:
        """Return a column, text that holds only numbers in an object column turned into numbers."""
        if column not in self._series:
            series = self.frame[column]
            if series.dtype == nw.Object:
                import pandas as pd

                native = series.to_native()
                if pd.api.types.infer_dtype(native, skipna=True) in _NUMBERS:
                    series = nw.from_native(pd.to_numeric(native), series_only=True)
            self._series[column] = series
        return self._series[column]

    def is_number(self, column: str) -> bool:
        """Whether a column holds numbers or truth values."""
        dtype = self.series(column).dtype
        if dtype.is_temporal():
            raise InputError(
                "dates cannot be used as they are", column=column, hint="turn them into numbers"
            )
        return bool(dtype.is_numeric() or dtype == nw.Boolean)

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        series = self.series(column)
        declared = getattr(series.dtype, "categories", None)
        if declared is None and series.dtype == nw.Categorical:
            # Only pandas declares the levels of its categories; Polars keeps what it has met.
            declared = getattr(getattr(series.to_native(), "cat", None), "categories", None)
        if declared is not None:
            return tuple(map(str, declared))
        try:
            unique = series.drop_nulls().unique().to_list()
            found = sorted(v for v in unique if v == v)
        except Exception:  # lists, records, text and numbers mixed: each library has its own
            raise InputError("numbers or text are needed, of one kind", column=column) from None
        return tuple(map(label, found))

    def block_labels(self, component: str, needed: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns that formulae makes of a component."""
        return tuple(self._blocks(component, needed)[0])

    def summed(self, recipe: Recipe) -> Sums:
        """Return sums of the recipe's products within groups over complete rows."""
        keep = self._complete(recipe.needed)
        groups, codes = self._groups(recipe.group, keep)
        names = {name for key in recipe.keys for name in key}
        columns = {n: self._values(n, recipe, keep) for n in recipe.variables if n in names}
        pivots = _pivots(columns, recipe, len(codes))
        n, sums = grouped_sums(codes, len(groups), columns, recipe.keys, pivots)
        return Sums(groups, n, sums, pivots, len(self.frame) - len(codes))

    def _complete(self, needed: Sequence[str]) -> NDArray[np.bool_] | None:
        """Which rows have every value, or None when all have."""
        keep: NDArray[np.bool_] | None = None
        for column in needed:
            series = self.series(column)
            missing = series.is_null()
            if series.dtype.is_float():
                missing = missing | series.is_nan().fill_null(False)
            if missing.any():
                present = ~missing.to_numpy().astype(bool)
                keep = present if keep is None else keep & present
        return keep

    def _array(self, column: str, keep: NDArray[np.bool_] | None) -> Array:
        """Numbers of a column over the rows kept, whole ones as int64."""
        series = self.series(column)
        filled = series.fill_null(0) if series.null_count() else series
        if series.dtype == nw.Boolean:
            filled = filled.cast(nw.Int8)
        elif series.dtype.is_decimal():
            filled = filled.cast(nw.Float64)
        values = np.asarray(filled.to_numpy())
        return values if keep is None else values[keep]

    def _values(self, name: str, recipe: Recipe, keep: NDArray[np.bool_] | None) -> Array:
        source = recipe.variables[name]
        if isinstance(source, Dummy):
            return self._dummy(source, keep)
        if isinstance(source, Block):
            rows = self._blocks(source.component, recipe.needed)[1]
            return rows[:, source.position]
        values = self._computed(source, keep)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError("a value is infinite or undefined", column=name)
        return whole(values)

    def _computed(self, source: Value, keep: NDArray[np.bool_] | None) -> Array:
        if isinstance(source.expression, Name):
            return self._array(source.expression.name, keep)

        def column(name: str) -> Array:
            # int8 would overflow in arithmetic.
            values = self._array(name, keep)
            return values if values.dtype.kind == "f" else values.astype(np.int64)

        with np.errstate(all="ignore"):
            return np.asarray(evaluate(source.expression, column))

    def _dummy(self, source: Dummy, keep: NDArray[np.bool_] | None) -> Array:
        series = self.series(source.column)
        if self.is_number(source.column):
            numbers = self._array(source.column, keep)
            return np.asarray(numbers == float(source.level), dtype=np.int8)
        hits = (series.cast(nw.String) == source.level).fill_null(False).to_numpy()
        found: Array = np.asarray(hits, dtype=np.int8)
        return found if keep is None else found[keep]

    def _groups(
        self, group: str, keep: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        """Sorted labels and the code of each row kept."""
        if not group:
            rows = len(self.frame) if keep is None else int(keep.sum())
            return np.array(["all"], dtype=object), np.zeros(rows, dtype=np.int64)
        if self.is_number(group):
            return _coded_numbers(self._array(group, keep))
        return _coded_text(self.series(group), keep)

    def _blocks(self, component: str, needed: Sequence[str]) -> tuple[list[str], Array]:
        """Evaluate a component over the complete rows, once."""
        key = (component, *needed)
        if key not in self._evaluated:
            self._evaluated[key] = self._by_formulae(component, needed)
        return self._evaluated[key]

    def _by_formulae(self, component: str, needed: Sequence[str]) -> tuple[list[str], Array]:
        """Names and columns that formulae makes of a component."""
        from formulae import design_matrices

        keep = self._complete(needed)
        columns = [c for c in needed if c in self.columns]
        rows = self.frame.select(columns).to_pandas()
        rows = (rows if keep is None else rows[keep]).reset_index(drop=True)
        names = {"log": np.log, "exp": np.exp, "sqrt": np.sqrt, "np": np}
        try:
            common = design_matrices(f"1 + {component}", rows, env=0, extra_namespace=names).common
        except Exception:
            raise InputError(
                f"{component} is not known here",
                hint="use center, scale, C, log, exp, sqrt, abs, or a transform that formulae has",
            ) from None
        table = common.as_dataframe().drop(columns="Intercept")
        return list(table.columns), table.to_numpy(dtype=float)


_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")


def whole(values: Array) -> Array:
    """Return whole numbers in an integer type where int64 holds all of them exactly."""
    if values.dtype.kind == "b":
        return values.astype(np.int8)
    if values.dtype.kind in "iu":
        too_large = values.dtype == np.uint64 and values.max(initial=0) >= 2**63
        return values.astype(float) if too_large else values
    values = values.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        if len(values) and not (values[0] == np.rint(values[0]) and abs(values[0]) < 2**53):
            return values
        integers = values.astype(np.int64)
    exact = np.array_equal(integers, values) and np.abs(values).max(initial=0) < 2**53
    return integers if exact else values


def _pivots(columns: Mapping[str, Array], recipe: Recipe, rows: int) -> dict[str, float]:
    """Pivots of the columns that are summed as floats; nought where none can be taken."""
    integers = {n for n, v in columns.items() if v.dtype.kind in "iu"}
    largest = {name: largest_value(values) for name, values in columns.items()}
    floats = demoted(recipe.keys, largest, integers, rows)
    movable = recipe.movable
    pivots: dict[str, float] = {}
    for name, values in columns.items():
        if name not in integers or name in floats:
            pivots[name] = 0.0
            if name in movable and rows:
                pivots[name] = choose_pivot(float(values.mean()), float(values.std()))
    return pivots


def _coded_numbers(values: Array) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Codes of numeric labels; without sorting the rows where they lie close together."""
    values = whole(values)
    if values.dtype.kind == "i" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < max(1024, 4 * len(values)):
            shifted = values - low
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            codes = (np.cumsum(present) - 1)[shifted]
            labels = np.flatnonzero(present) + low
            return np.array(labels.tolist(), dtype=object), codes
    labels, codes = np.unique(values, return_inverse=True)
    return np.array(labels.tolist(), dtype=object), codes


def _coded_text(
    series: nw.Series[Any], keep: NDArray[np.bool_] | None
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Codes of labels that are text, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Labels of several kinds in one column (Arrow refuses them) are taken as text.
    try:
        arrow = series.to_arrow()
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        arrow = series.cast(nw.String).to_arrow()
    chunks = pa.chunked_array([arrow]) if isinstance(arrow, pa.Array) else arrow
    if not pa.types.is_dictionary(chunks.type):
        chunks = pc.dictionary_encode(chunks)
    encoded = chunks.unify_dictionaries().combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    labels = encoded.dictionary.to_pylist()
    codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    codes = codes if keep is None else codes[keep]
    present = np.bincount(codes, minlength=len(labels)) > 0
    order = [i for i in sorted(range(len(labels)), key=lambda i: labels[i]) if present[i]]
    rank = np.zeros(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(order))
    names = np.empty(len(order), dtype=object)
    names[:] = [labels[i] for i in order]
    return names, rank[codes]
