"""Lazy frames as a source of sums: Polars, DuckDB, Dask, Spark. Only grouped sums are collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np

from ..errors import InputError
from .accumulate import Sums, choose_pivot, demoted
from .evaluate import evaluate, label
from .recipe import Block, Dummy, Recipe, Value

__all__ = ["LazySource"]

#: Columns made here; a user's column of such a name would be shadowed.
_OK, _GROUP, _ROWS = "__complete", "__group", "__rows"


class LazySource:
    """A table that is computed elsewhere, in pieces.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    """

    def __init__(self, frame: nw.LazyFrame[Any]) -> None:
        self.frame = frame
        self.schema = frame.collect_schema()

    @property
    def columns(self) -> Sequence[str]:
        """Names of all columns."""
        return self.schema.names()

    def is_number(self, column: str) -> bool:
        """Whether a column holds numbers or truth values."""
        dtype = self.schema[column]
        if dtype.is_temporal():
            raise InputError(
                "dates cannot be used as they are", column=column, mend="turn them into numbers"
            )
        return bool(dtype.is_numeric() or dtype == nw.Boolean)

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        dtype = self.schema[column]
        if isinstance(dtype, nw.Enum):
            return tuple(dtype.categories)
        found = self.frame.filter(self._present([column])).select(column).unique().collect()
        return tuple(label(v) for v in sorted(found[column].to_list()))

    def block_labels(self, component: str, needed: Sequence[str]) -> tuple[str, ...]:
        """Refuse what only formulae can evaluate, since that takes all rows at once."""
        raise InputError(
            f"{component} cannot be computed row by row, and this table is not in memory",
            mend="collect it into a pandas or Polars frame first",
        )

    def summed(self, recipe: Recipe) -> Sums:
        """Return sums of the recipe's products within groups over complete rows."""
        used = {name for key in recipe.keys for name in key}
        names = [n for n in recipe.variables if n in used]
        marked = self.frame.with_columns(self._present(recipe.needed).alias(_OK))
        rows, ranges = self._scan(marked, recipe, names)
        pivots = _pivots(ranges, recipe, rows)
        floats = {n for n in names if n in pivots}
        values = {
            n: self._expression(n, recipe).cast(nw.Float64 if n in floats else nw.Int64)
            - (nw.lit(pivots[n]) if pivots.get(n) else 0)
            for n in names
        }
        group = self._group(recipe.group)
        keys = [key for key in recipe.keys if key]
        table = marked.filter(nw.col(_OK)).select(
            group.alias(_GROUP), *(values[n].alias(f"__v{i}") for i, n in enumerate(names))
        )
        place = {n: nw.col(f"__v{i}") for i, n in enumerate(names)}
        products = table.select(
            _GROUP,
            *(_product([place[n] for n in key]).alias(f"__s{k}") for k, key in enumerate(keys)),
        )
        sums = products.group_by(_GROUP).agg(
            nw.len().alias(_ROWS), *(nw.col(f"__s{k}").sum() for k in range(len(keys)))
        )
        # Sums of whole numbers come back wider, or as decimals, from some engines.
        kinds = [nw.Float64 if floats & set(key) else nw.Int64 for key in keys]
        found = self._collect(
            sums.select(_GROUP, _ROWS, *(nw.col(f"__s{k}").cast(t) for k, t in enumerate(kinds)))
        )
        return _assembled(found, recipe, keys, pivots, rows)

    def _present(self, columns: Sequence[str]) -> nw.Expr:
        """Whether every column has a value."""
        present = nw.lit(True)
        for column in columns:
            here = ~nw.col(column).is_null()
            if self.schema[column].is_float():
                here = here & ~nw.col(column).fill_null(0.0).is_nan()
            present = present & here
        return present

    def _expression(self, name: str, recipe: Recipe) -> nw.Expr:
        """The stored column as an expression in the columns of the table."""
        source = recipe.variables[name]
        if isinstance(source, Dummy):
            if self.is_number(source.column):
                return (nw.col(source.column) == float(source.level)).cast(nw.Int64)
            return (nw.col(source.column).cast(nw.String) == source.level).cast(nw.Int64)
        if isinstance(source, Block):  # refused before anything is summed
            raise InputError(f"{source.component} needs a frame in memory")
        return _as_number(source, self.schema)

    def _group(self, group: str) -> nw.Expr:
        if not group:
            return nw.lit("all")
        column = nw.col(group)
        dtype = self.schema[group]
        return column.cast(nw.String) if dtype in (nw.Categorical, nw.Enum) else column

    def _scan(
        self, marked: nw.LazyFrame[Any], recipe: Recipe, names: Sequence[str]
    ) -> tuple[int, dict[str, dict[str, float]]]:
        """Look once at rows and ranges, which decide what can be summed as whole numbers."""
        facts: list[nw.Expr] = [nw.len().alias(_ROWS)]
        for i, name in enumerate(names):
            if isinstance(recipe.variables[name], Dummy):
                continue
            value = nw.when(nw.col(_OK)).then(self._expression(name, recipe).cast(nw.Float64))
            facts += [
                value.min().alias(f"low{i}"),
                value.max().alias(f"high{i}"),
                value.mean().alias(f"mean{i}"),
                (value - value.round()).abs().max().alias(f"part{i}"),
            ]
        row = self._collect(marked.select(*facts)).rows(named=True)[0]
        ranges: dict[str, dict[str, float]] = {}
        for i, name in enumerate(names):
            if isinstance(recipe.variables[name], Dummy):
                ranges[name] = {"low": 0.0, "high": 1.0, "mean": 0.0, "part": 0.0}
                continue
            ranges[name] = {k: _number(row[f"{k}{i}"]) for k in ("low", "high", "mean", "part")}
            if not all(np.isfinite(v) for v in ranges[name].values()):
                raise InputError("a value is infinite or undefined", column=name)
        return int(row[_ROWS]), ranges

    def _collect(self, frame: nw.LazyFrame[Any]) -> nw.DataFrame[Any]:
        """Run the query; its messages are not passed on, since they may hold values."""
        try:
            return frame.collect()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the table could not be read ({type(error).__name__})",
                mend="check that every column holds one kind of value, and that logs and "
                "divisions are defined in every row",
            ) from None


def _as_number(source: Value, schema: nw.Schema) -> nw.Expr:
    def column(name: str) -> nw.Expr:
        found = nw.col(name)
        if schema[name].is_float():
            return found
        whole = schema[name].is_integer() or schema[name] == nw.Boolean
        return found.cast(nw.Int64 if whole else nw.Float64)

    value: nw.Expr = evaluate(source.expression, column)
    return value


def _number(value: Any) -> float:
    """A fact about a column that may have no value at all."""
    return 0.0 if value is None else float(value)


def _product(parts: Sequence[nw.Expr]) -> nw.Expr:
    product = parts[0]
    for part in parts[1:]:
        product = product * part
    return product


def _pivots(ranges: dict[str, dict[str, float]], recipe: Recipe, rows: int) -> dict[str, float]:
    """Pivots of the columns that are summed as floats."""
    largest = {n: max(abs(r["low"]), abs(r["high"])) for n, r in ranges.items()}
    integers = {n for n, r in ranges.items() if r["part"] == 0 and largest[n] < 2**53}
    floats = demoted(recipe.keys, largest, integers, rows)
    movable = recipe.movable
    return {
        n: choose_pivot(r["mean"], (r["high"] - r["low"]) / 6) if n in movable else 0.0
        for n, r in ranges.items()
        if n not in integers or n in floats
    }


def _assembled(
    found: nw.DataFrame[Any],
    recipe: Recipe,
    keys: Sequence[tuple[str, ...]],
    pivots: dict[str, float],
    rows: int,
) -> Sums:
    """Put groups in order, whatever order they came in."""
    labels = [_label(v) for v in found[_GROUP].to_list()]
    order = sorted(range(len(labels)), key=lambda i: labels[i])
    groups = np.empty(len(labels), dtype=object)
    groups[:] = [labels[i] for i in order]
    n = np.asarray(found[_ROWS].to_numpy(), dtype=np.int64)[order]
    sums: dict[tuple[str, ...], Any] = {(): n} if () in recipe.keys else {}
    for k, key in enumerate(keys):
        sums[key] = np.asarray(found[f"__s{k}"].to_numpy())[order]
    return Sums(groups, n, sums, pivots, rows - int(n.sum()))


def _label(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
