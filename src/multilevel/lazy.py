"""Lazy frames (Polars, DuckDB, Dask, Spark) as tables of which only grouped sums are collected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import mul
from typing import Any

import narwhals as nw

from multilevel.design import refuse_unwritable
from multilevel.errors import InputError
from multilevel.expression import Expression, evaluate, names_in
from multilevel.memory import choose_pivots, recorded, smallest_cells, sorted_labels
from multilevel.plan import FLOATS_END, Dummy, Plan, Source, kind_of, rounded
from multilevel.record import Record, label_text, level_value, plain_label

#: Types of whole numbers that other engines' frames would round.
_WIDE = (nw.Int128, nw.UInt128)


class LazyTable:
    """A table that is computed elsewhere, in pieces.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    """

    def __init__(self, frame: nw.LazyFrame[Any]) -> None:
        self.frame = frame
        self.schema = frame.collect_schema()
        self.columns: Sequence[str] = self.schema.names()
        # Named so that it shadows none of the table's columns.
        self._group = "by".rjust(max(map(len, self.columns), default=0) + 3, "_")

    def kind(self, column: str) -> str:
        """Return ``number``, ``truth`` or ``category``."""
        return kind_of(self.schema[column], column)

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        dtype = self.schema[column]
        if isinstance(dtype, nw.Enum):
            return tuple(dtype.categories)
        if dtype.is_nested():
            raise InputError("numbers or text are needed, of one kind", column=column)
        present = self.frame.filter(self.present([column]))
        with in_words():
            text = nw.col(column).cast(nw.String).alias("text")
            found = present.select(nw.col(column).alias("level"), text).unique().collect()
            levels = tuple(label_text(v) for v in sorted(found["level"].to_list()))
        # Rows are compared by the text that the engine makes of them.
        if self.kind(column) == "category" and set(levels) != set(found["text"].to_list()):
            raise InputError("numbers or text are needed, of one kind", column=column)
        return levels

    def summed(self, plan: Plan, cells: bool) -> Record:
        """Return sums of the plan's products within groups over complete rows."""
        complete = self.frame.filter(self.present(plan.needed))
        with in_words():
            rows = int(self.frame.select(nw.len()).collect().item())
            pivots = self._pivots(plan, complete, rows)
            found = self._grouped(plan, complete, pivots)
            # Groups come in any order.
            labels = self._read(found[self._group].to_list(), plan.group)
            refuse_unwritable(labels, plan.group)
            groups, order = sorted_labels(labels, plan.group)
            sums = {k: found[f"s{i}"].to_numpy()[order] for i, k in enumerate(plan.keys)}
            smallest = self._smallest_cells(plan, complete) if cells else None
            pivots = {name: float(pivot) for name, pivot in pivots.items()}
            return recorded(plan, groups, sums, pivots, smallest, rows)

    def _grouped(
        self, plan: Plan, complete: nw.LazyFrame[Any], pivots: Mapping[str, float]
    ) -> nw.DataFrame[Any]:
        """Collect sums of each group, those of the keys of the plan named by their places."""
        values = []
        for i, name in enumerate(plan.variables):
            value = self._expression(plan.variables[name]) - pivots.get(name, 0)
            # The type comes last, because Dask and pandas cannot make missing values whole.
            values.append(value.cast(nw.Float64 if name in pivots else nw.Int64).alias(f"v{i}"))
        table = complete.select(self._labels(plan.group).alias(self._group), *values)
        place = {n: nw.col(f"v{i}") for i, n in enumerate(plan.variables)}
        products = [reduce(mul, (place[n] for n in key), nw.lit(1)) for key in plan.keys]
        named = [product.alias(f"s{k}") for k, product in enumerate(products)]
        grouped = table.select(self._group, *named).group_by(self._group)
        found = grouped.agg(*(nw.col(f"s{k}").sum() for k in range(len(products))))
        # Sums of whole numbers come back wider, or as decimals, from some engines.
        whole = [pivots.keys().isdisjoint(key) for key in plan.keys]
        typed = [nw.col(f"s{k}").cast(nw.Int64 if w else nw.Float64) for k, w in enumerate(whole)]
        return found.select(self._group, *typed).collect()

    def present(self, columns: Sequence[str]) -> nw.Expr:
        """Whether every column has a value."""
        present = nw.lit(True)
        for column in columns:
            value = nw.col(column)
            present = present & ~value.is_null()
            if self.schema[column].is_float():
                # Asked for NaN in a Parquet file, DuckDB goes by statistics that leave it out.
                present = present & (value.is_finite() | (value.abs() == math.inf))
        return present

    def _expression(self, source: Source) -> nw.Expr:
        """Write a stored column as an expression in the columns of the table."""
        if not isinstance(source, Dummy):
            return evaluate(source, self._number_column)  # type: ignore[no-any-return]
        column, kind = nw.col(source.column), self.kind(source.column)
        if kind == "truth":
            hit = column if source.level == "True" else ~column
        elif kind == "number":
            hit = column == level_value(source.level)
        else:
            hit = column.cast(nw.String) == source.level
        return nw.when(hit).then(1).otherwise(0)

    def _number_column(self, name: str) -> nw.Expr:
        found, dtype = nw.col(name), self.schema[name]
        if dtype.is_float():
            return found
        return found.cast(nw.Int64 if dtype.is_integer() or dtype == nw.Boolean else nw.Float64)

    def _labels(self, group: str) -> nw.Expr:
        if not group:
            return nw.lit("all")
        as_text = isinstance(self.schema[group], (nw.Categorical, nw.Enum, *_WIDE))
        return nw.col(group).cast(nw.String) if as_text else nw.col(group)

    def _pivots(self, plan: Plan, complete: nw.LazyFrame[Any], rows: int) -> dict[str, float]:
        """Look once at ranges, which decide what can be summed as whole numbers.

        What is taken off numbers that floats would round first is a whole number of Python.
        """
        own = {n: s for n, s in plan.variables.items() if isinstance(s, Expression)}
        inner = {of for s in own.values() if s.kind != "name" for of in names_in(s)}
        looked_at = own | {str(e): e for e in (Expression("name", of) for of in sorted(inner))}
        facts: list[nw.Expr] = []
        for source in looked_at.values():
            value = self._expression(source).cast(nw.Float64)
            facts += [value.min(), value.max(), value.mean(), (value - value.round()).abs().max()]
        named = [fact.alias(f"f{i}") for i, fact in enumerate(facts)]
        row = iter(complete.select(*named).collect().rows()[0])
        sizes, whole, far = dict.fromkeys(plan.variables, 1.0), set(plan.variables), set[str]()
        centres: dict[str, tuple[float, float]] = {}
        for name, source in looked_at.items():
            # No value at all gives None.
            low, high, mean, rest = (float(next(row) or 0.0) for _ in range(4))
            size = max(-low, high) if math.isfinite(low + high + mean + rest) else math.inf
            if source.kind == "name" and FLOATS_END <= size < math.inf:
                dtype = self.schema[source.head]
                if dtype.is_decimal() or (dtype.is_integer() and source.head in inner):
                    raise rounded(source.head)
                # Differences have to be whole numbers of 64 bits too.
                if dtype.is_integer() and high - low < 2**62:
                    far.add(name)
            # Rounding may take the mean of numbers that lie close together out of their range.
            centres[name] = min(max(mean, low), high), (high - low) / 6
            if name in own:
                sizes[name] = size
            if rest or size >= FLOATS_END:
                whole.discard(name)
        pivots = choose_pivots(plan, sizes, whole, rows, centres.__getitem__)
        return {name: int(p) if name in far else p for name, p in pivots.items()}

    def _read(self, labels: Iterable[Any], group: str) -> list[Any]:
        """Read wide numbers, which came as text."""
        wide = bool(group) and isinstance(self.schema[group], _WIDE)
        return [int(v) if wide else v for v in labels]

    def _smallest_cells(self, plan: Plan, complete: nw.LazyFrame[Any]) -> dict[Any, int]:
        """Rows of the smallest cell of each group; see `Record`."""
        told = {name: self._expression(source) for name, source in plan.variables.items()}
        told |= {name: nw.col(name) for name in plan.dummies.values()}
        named = [told[name].alias(short) for name, short in plan.cells.items()]
        table = complete.select(self._labels(plan.group).alias(self._group), *named)
        found = smallest_cells(plan, table, self._group)
        labels = self._read(found, plan.group)
        return dict(zip(map(plain_label, labels), found.values(), strict=True))


@contextmanager
def in_words() -> Iterator[None]:
    """Pass no message of another engine on, since it may hold values."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the table could not be read ({type(error).__name__})",
            hint="check that every column holds one kind of value, that whole numbers are below "
            "2 ** 63, that labels are numbers or text, and that logs and divisions are defined",
        ) from None
