"""Lazy frames as a source of sums: Polars, DuckDB, Dask, Spark. Only grouped sums are collected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import narwhals as nw
import numpy as np

from multilevel.accumulate import Sums, choose_pivot, demoted
from multilevel.errors import InputError
from multilevel.evaluate import evaluate, label
from multilevel.expression import Name
from multilevel.recipe import Block, Dummy, Recipe, Value

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
                "dates cannot be used as they are", column=column, hint="turn them into numbers"
            )
        return bool(dtype.is_numeric() or dtype == nw.Boolean)

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        dtype = self.schema[column]
        if isinstance(dtype, nw.Enum):
            return tuple(dtype.categories)
        if dtype.is_nested():
            raise InputError("numbers or text are needed, of one kind", column=column)
        present = self.frame.filter(self._present([column]))
        with _in_words():
            found = present.select(column).unique().collect()
        return tuple(label(v) for v in sorted(found[column].to_list()))

    def block_labels(self, component: str, needed: Sequence[str]) -> tuple[str, ...]:
        """Refuse what only formulae can evaluate, since that takes all rows at once."""
        raise InputError(
            f"{component} cannot be computed row by row, and this table is not in memory",
            hint="collect it into a pandas or Polars frame first",
        )

    def summed(self, recipe: Recipe) -> Sums:
        """Return sums of the recipe's products within groups over complete rows."""
        with _in_words():
            return self._summed(recipe)

    def _summed(self, recipe: Recipe) -> Sums:
        used = {name for key in recipe.keys for name in key}
        names = [n for n in recipe.variables if n in used]
        if all(self._is_integer(recipe.variables[n]) for n in names):
            # Whole numbers by their type: one pass, whose own ranges say if it can be believed.
            with suppress(InputError), _in_words():  # DuckDB refuses to overflow
                found = self._grouped(recipe, names, {})
                if not _pivots(self._ranges(found, names), recipe, _rows(found)):
                    return _assembled(found, recipe, {})
        ranges = self._scan(recipe, names)
        pivots = _pivots(ranges, recipe, int(ranges.pop(_ROWS)["high"]))
        return _assembled(self._grouped(recipe, names, pivots), recipe, pivots)

    def _grouped(
        self, recipe: Recipe, names: Sequence[str], pivots: dict[str, float]
    ) -> nw.DataFrame[Any]:
        """Rows, complete rows, sums and ranges of each group."""
        # Rows that are not complete are emptied, not left out, so that they can be counted.
        marked = self.frame.with_columns(self._present(recipe.needed).alias(_OK))
        values = [self._masked(n, recipe, pivots).alias(f"__v{i}") for i, n in enumerate(names)]
        table = marked.select(
            self._group(recipe.group).alias(_GROUP), nw.col(_OK).cast(nw.Int64), *values
        )
        place = {n: nw.col(f"__v{i}") for i, n in enumerate(names)}
        keys = [key for key in recipe.keys if key]
        sums = [_product([place[n] for n in key]).alias(f"__s{k}") for k, key in enumerate(keys)]
        plain = [nw.col(f"__v{i}") for i in range(len(names))]
        found = (
            table.select(_GROUP, _OK, *plain, *sums)
            .group_by(_GROUP)
            .agg(
                nw.len().alias(_ROWS),
                nw.col(_OK).sum(),
                *(nw.col(f"__s{k}").sum() for k in range(len(keys))),
                *(value.min().alias(f"low{i}") for i, value in enumerate(plain)),
                *(value.max().alias(f"high{i}") for i, value in enumerate(plain)),
            )
        )
        # Sums of whole numbers come back wider, or as decimals, from some engines.
        kinds = [nw.Float64 if set(pivots) & set(key) else nw.Int64 for key in keys]
        typed = [nw.col(f"__s{k}").cast(kind) for k, kind in enumerate(kinds)]
        edges = [nw.col(f"{e}{i}") for i in range(len(names)) for e in ("low", "high")]
        return found.select(_GROUP, nw.col(_ROWS, _OK).cast(nw.Int64), *typed, *edges).collect()

    def _masked(self, name: str, recipe: Recipe, pivots: dict[str, float]) -> nw.Expr:
        """Write a stored column, its pivot taken off, and nought in rows that are not complete."""
        value = self._expression(name, recipe)
        if pivots.get(name):
            value = value - pivots[name]
        # The type comes last, because Dask and pandas cannot make missing values whole.
        return (
            nw.when(nw.col(_OK))
            .then(value)
            .otherwise(0)
            .cast(nw.Float64 if name in pivots else nw.Int64)
        )

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
        """Write the stored column as an expression in the columns of the table."""
        source = recipe.variables[name]
        if isinstance(source, Dummy):
            column = nw.col(source.column)
            if self.is_number(source.column):
                hit = column == float(source.level)
            else:
                hit = column.cast(nw.String) == source.level
            return nw.when(hit).then(1).otherwise(0)
        if isinstance(source, Block):  # refused before anything is summed
            raise InputError(f"{source.component} needs a frame in memory")
        return _as_number(source, self.schema)

    def _group(self, group: str) -> nw.Expr:
        if not group:
            return nw.lit("all")
        column = nw.col(group)
        dtype = self.schema[group]
        return column.cast(nw.String) if dtype in (nw.Categorical, nw.Enum) else column

    def _scan(self, recipe: Recipe, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Look once at rows and ranges, which decide what can be summed as whole numbers."""
        marked = self.frame.with_columns(self._present(recipe.needed).alias(_OK))
        facts: list[nw.Expr] = [nw.len().alias(_ROWS)]
        looked_at = [n for n in names if not isinstance(recipe.variables[n], Dummy)]
        for i, name in enumerate(looked_at):
            value = nw.when(nw.col(_OK)).then(self._expression(name, recipe).cast(nw.Float64))
            facts += [
                value.min().alias(f"low{i}"),
                value.max().alias(f"high{i}"),
                value.mean().alias(f"mean{i}"),
                (value - value.round()).abs().max().alias(f"part{i}"),
            ]
        row = marked.select(*facts).collect().rows(named=True)[0]
        ranges = {n: {"low": 0.0, "high": 1.0, "mean": 0.0, "part": 0.0} for n in names}
        ranges[_ROWS] = {"high": float(row[_ROWS])}
        for i, name in enumerate(looked_at):
            ranges[name] = {k: _number(row[f"{k}{i}"]) for k in ("low", "high", "mean", "part")}
            if not all(np.isfinite(v) for v in ranges[name].values()):
                raise InputError("a value is infinite or undefined", column=name)
        return ranges

    def _is_integer(self, source: Value | Dummy | Block) -> bool:
        """Whether the type of a stored column tells that it holds whole numbers."""
        if isinstance(source, Value) and isinstance(source.expression, Name):
            dtype = self.schema[source.expression.name]
            return bool(dtype.is_integer() or dtype == nw.Boolean)
        return isinstance(source, Dummy)

    def _ranges(
        self, found: nw.DataFrame[Any], names: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """Ranges of columns of whole numbers over all groups."""
        return {
            name: {
                "low": _number(found[f"low{i}"].min()),
                "high": _number(found[f"high{i}"].max()),
                "mean": 0.0,
                "part": 0.0,
            }
            for i, name in enumerate(names)
        }


@contextmanager
def _in_words() -> Iterator[None]:
    """Pass no message of another engine on, since it may hold values."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the table could not be read ({type(error).__name__})",
            hint="check that every column holds one kind of value, and that logs and "
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
    """Read a fact about a column that may have no value at all."""
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


def _rows(found: nw.DataFrame[Any]) -> int:
    return int(_number(found[_ROWS].sum()))


def _assembled(found: nw.DataFrame[Any], recipe: Recipe, pivots: dict[str, float]) -> Sums:
    """Put groups in order, whatever order they came in, without those that have no rows."""
    rows = _rows(found)
    found = found.filter(nw.col(_OK) > 0)
    labels = [_label(v) for v in found[_GROUP].to_list()]
    order = sorted(range(len(labels)), key=lambda i: labels[i])
    groups = np.empty(len(labels), dtype=object)
    groups[:] = [labels[i] for i in order]
    n = np.asarray(found[_OK].to_numpy(), dtype=np.int64)[order]
    sums: dict[tuple[str, ...], Any] = {(): n} if () in recipe.keys else {}
    for k, key in enumerate(key for key in recipe.keys if key):
        sums[key] = np.asarray(found[f"__s{k}"].to_numpy())[order]
    return Sums(groups, n, sums, pivots, rows - int(n.sum()))


def _label(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
