"""Lazy frames (Polars, DuckDB, Dask, Spark) as tables of which only grouped sums are collected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import mul
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.expression import Call, evaluate
from multilevel.formula import Formula
from multilevel.memory import choose_pivots, plan_for, smallest_cells, sorted_labels
from multilevel.plan import FEW_VALUES, Block, Dummy, Plan, Source, kind_of
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
        # Columns made here are named so that they shadow none of the table's.
        longest = max(map(len, self.columns), default=0)
        self._ok, self._group, self._rows = (f"{c:_>{longest + 5}}" for c in ("ok", "by", "rows"))

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
        present = self.frame.filter(self._present([column]))
        with _in_words():
            found = present.select(column).unique().collect()
            return tuple(label_text(v) for v in sorted(found[column].to_list()))

    def block_labels(self, component: Call, needed: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what only formulae can evaluate, since that takes all rows at once."""
        raise InputError(
            f"{component} cannot be computed row by row, and this table is not in memory",
            hint="collect it into a pandas or Polars frame first",
        )

    def sums(
        self, formula: Formula, levels: Mapping[str, Sequence[str]] | None, cells: bool
    ) -> Record:
        """Return sums that hold just what a formula needs; see `summed`."""
        return self.summed(plan_for(formula, self, levels), cells)

    def summed(self, plan: Plan, cells: bool) -> Record:
        """Return sums of the plan's products within groups over complete rows."""
        with _in_words():
            pivots = self._pivots(plan)
            return self._record(plan, self._grouped(plan, pivots), pivots, cells)

    def _grouped(self, plan: Plan, pivots: Mapping[str, float]) -> nw.DataFrame[Any]:
        """Collect rows, complete rows and sums of each group."""
        # Rows that are not complete are emptied, not left out, so that they can be counted.
        marked = self.frame.with_columns(self._present(plan.needed).alias(self._ok))
        values = [self._masked(n, plan, pivots).alias(f"v{i}") for i, n in enumerate(plan.summed)]
        table = marked.select(
            self._labels(plan.group).alias(self._group), nw.col(self._ok).cast(nw.Int64), *values
        )
        place = {n: nw.col(f"v{i}") for i, n in enumerate(plan.summed)}
        keys = [key for key in plan.keys if key]
        sums = [reduce(mul, (place[n] for n in key)).alias(f"s{k}") for k, key in enumerate(keys)]
        found = (
            table.select(self._group, self._ok, *sums)
            .group_by(self._group)
            .agg(
                nw.len().alias(self._rows),
                nw.col(self._ok).sum(),
                *(nw.col(f"s{k}").sum() for k in range(len(keys))),
            )
        )
        # Sums of whole numbers come back wider, or as decimals, from some engines.
        kinds = [nw.Float64 if set(pivots) & set(key) else nw.Int64 for key in keys]
        typed = [nw.col(f"s{k}").cast(kind) for k, kind in enumerate(kinds)]
        counts = nw.col(self._rows, self._ok).cast(nw.Int64)
        return found.select(self._group, counts, *typed).collect()

    def _masked(self, name: str, plan: Plan, pivots: Mapping[str, float]) -> nw.Expr:
        """Write a stored column, its pivot taken off, and zero in rows that are not complete."""
        value = self._expression(plan.variables[name])
        if pivots.get(name):
            value = value - pivots[name]
        # The type comes last, because Dask and pandas cannot make missing values whole.
        kind = nw.Float64 if name in pivots else nw.Int64
        return nw.when(nw.col(self._ok)).then(value).otherwise(0).cast(kind)

    def _present(self, columns: Sequence[str]) -> nw.Expr:
        """Whether every column has a value."""
        present = nw.lit(True)
        for column in columns:
            here = ~nw.col(column).is_null()
            if self.schema[column].is_float():
                here = here & ~nw.col(column).fill_null(0.0).is_nan()
            present = present & here
        return present

    def _expression(self, source: Source) -> nw.Expr:
        """Write a stored column as an expression in the columns of the table."""
        if isinstance(source, Block):  # refused before anything is summed
            raise InputError(f"{source.component} needs a frame in memory")
        if not isinstance(source, Dummy):
            value: nw.Expr = evaluate(source, self._number_column)
            return value
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
        whole = dtype.is_integer() or dtype == nw.Boolean
        return found.cast(nw.Int64 if whole else nw.Float64)

    def _labels(self, group: str) -> nw.Expr:
        if not group:
            return nw.lit("all")
        as_text = isinstance(self.schema[group], (nw.Categorical, nw.Enum, *_WIDE))
        return nw.col(group).cast(nw.String) if as_text else nw.col(group)

    def _pivots(self, plan: Plan) -> dict[str, float]:
        """Look once at ranges, which decide what can be summed as whole numbers."""
        marked = self.frame.with_columns(self._present(plan.needed).alias(self._ok))
        looked_at = [n for n in plan.summed if not isinstance(plan.variables[n], Dummy)]
        facts: list[nw.Expr] = [nw.len().alias(self._rows)]
        for i, name in enumerate(looked_at):
            value = self._expression(plan.variables[name]).cast(nw.Float64)
            value = nw.when(nw.col(self._ok)).then(value)
            facts += [
                value.min().alias(f"low{i}"),
                value.max().alias(f"high{i}"),
                value.mean().alias(f"mean{i}"),
                (value - value.round()).abs().max().alias(f"part{i}"),
            ]
        row = marked.select(*facts).collect().rows(named=True)[0]
        low, high, mean, part = (
            {n: _number(row[f"{fact}{i}"]) for i, n in enumerate(looked_at)}
            for fact in ("low", "high", "mean", "part")
        )
        sizes = {
            n: max(abs(low[n]), abs(high[n]))
            if all(map(math.isfinite, (low[n], high[n], mean[n], part[n])))
            else math.inf
            for n in looked_at
        }
        sizes |= {n: 1.0 for n in plan.summed if n not in sizes}
        whole = {n for n in plan.summed if not part.get(n) and sizes[n] < 2**53}
        spread = {n: (high[n] - low[n]) / 6 for n in looked_at}
        return choose_pivots(
            plan, sizes, whole, int(row[self._rows]), lambda n: (mean[n], spread[n])
        )

    def _record(
        self, plan: Plan, found: nw.DataFrame[Any], pivots: dict[str, float], cells: bool
    ) -> Record:
        """Put groups in order, whatever order they came in, without those that have no rows."""
        rows = int(_number(found[self._rows].sum()))
        found = found.filter(nw.col(self._ok) > 0)
        groups, order = sorted_labels(
            self._plain(found[self._group].to_list(), plan.group), plan.group
        )
        n = np.asarray(found[self._ok].to_numpy(), dtype=np.int64)[order]
        sums: dict[tuple[str, ...], NDArray[Any]] = {(): n}
        for k, key in enumerate(key for key in plan.keys if key):
            sums[key] = np.asarray(found[f"s{k}"].to_numpy())[order]
        smallest = self._smallest_cell(plan, groups.tolist(), n) if cells else None
        return Record(
            groups=groups,
            n=n,
            sums=sums,
            pivots=pivots,
            smallest_cell=smallest,
            n_dropped=rows - int(n.sum()),
            **plan.facts,
        )

    def _plain(self, labels: Iterable[Any], group: str) -> list[Any]:
        wide = bool(group) and isinstance(self.schema[group], _WIDE)
        return [int(v) if wide else plain_label(v) for v in labels]

    def _smallest_cell(
        self, plan: Plan, groups: list[Any], n: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Rows of the smallest cell of each group; see `Record`."""
        complete = self.frame.filter(self._present(plan.needed))
        sources = plan.variables
        values = [name for name in plan.summed if not isinstance(sources[name], Dummy)]
        cells = {s.column: nw.col(s.column) for s in sources.values() if isinstance(s, Dummy)}
        if values:
            numbers = [self._expression(sources[name]) for name in values]
            table = complete.select(*(v.alias(f"v{i}") for i, v in enumerate(numbers)))
            counted = table.select(*(nw.col(f"v{i}").n_unique() for i in range(len(values))))
            row = counted.collect().rows()[0]
            few = [v for v, count in zip(values, row, strict=True) if count <= FEW_VALUES]
            cells |= {name: self._expression(sources[name]) for name in few}
        short = {name: f"c{i}" for i, name in enumerate(cells)}
        parts = [value.alias(short[name]) for name, value in cells.items()]
        rows = complete.select(self._labels(plan.group).alias(self._group), *parts)
        crossings = [sorted(short[name] for name in c) for c in plan.crossings(cells)]
        found = smallest_cells(rows, crossings, self._group)
        plain = dict(zip(self._plain(found, plan.group), found.values(), strict=True))
        least = [plain.get(label, size) for label, size in zip(groups, n.tolist(), strict=True)]
        return np.array(least, dtype=np.int64)


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


def _number(value: Any) -> float:
    """Read a fact about a column that may have no value at all."""
    return 0.0 if value is None else float(value)
