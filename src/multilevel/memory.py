"""Frames in memory (pandas, Polars, Arrow): sums of products in one compiled pass over the rows."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from numbers import Number
from typing import Any, TypeAlias, cast

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from multilevel import plan as plans
from multilevel.columns import Monomial
from multilevel.design import FLOAT_LIMIT, refuse_unwritable
from multilevel.errors import InputError
from multilevel.expression import evaluate
from multilevel.formula import Formula
from multilevel.plan import FEW_VALUES, FLOATS_END, Dummy, Plan, kind_of, rounded
from multilevel.record import INTEGER_LIMIT, Record, Totals, label_text, level_value, plain_label
from multilevel.tiers import compiled

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]
Mask: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int64]

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")
_DATES = ("date", "datetime", "datetime64", "period", "time", "timedelta", "timedelta64")
#: Rows summed at a time, which a processor keeps at hand.
_BLOCK = 8192
_OF_ONE_KIND = "numbers or text are needed, of one kind"


def plan_for(formula: Formula, table: Any) -> Plan:
    """Find what a formula needs of a table; plans are remembered.

    Raises
    ------
    InputError
        For a column that is not there, or text where a number is needed.
    """
    needed = (*formula.columns, formula.group) if formula.group else formula.columns
    if not all(map(table.columns.__contains__, needed)):
        plans.refuse_unknown(needed, table.columns)
    kinds = tuple([(name, table.kind(name)) for name in formula.columns])
    found = tuple([(name, table.levels(of)) for name, of in plans.categories(formula.text, kinds)])
    return plans.formula_plan(formula.text, formula.group, kinds, found)


def sum_table(table: Any, formula: Formula, cells: bool) -> Record:
    """Return sums that hold just what a formula needs, of a table in memory or a lazy one."""
    return cast(Record, table.summed(plan_for(formula, table), cells))


class Coded:
    """Labels, and which of them each row has.

    Parameters
    ----------
    labels : sequence
        Each once, in any order; some may have no row.
    codes : ndarray of int64, shape (N,)
        Position of each row's label, -1 where it is missing.
    """

    def __init__(self, labels: Sequence[Any], codes: Codes) -> None:
        self.labels, self.codes = labels, codes
        self._whole: tuple[NDArray[np.object_], NDArray[np.intp]] | None = None

    def ordered(self, counts: Array, column: str) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
        """Sort the labels that have rows, and say where each was.

        Parameters
        ----------
        counts : ndarray
            Rows of each label.
        column : str
            The grouping factor; empty where all rows are one group.
        """
        if counts.all() or not column:
            self._whole = self._whole or sorted_labels(self.labels, column)
            return self._whole[0].copy(), self._whole[1]
        here = np.flatnonzero(counts)
        groups, order = sorted_labels([self.labels[i] for i in here.tolist()], column)
        return groups, here[order]


#: Codes of text in Arrow's memory, by the identity of what holds it. That cannot be changed: a
#: column that is given other values holds another.
_REMEMBERED: dict[int, tuple[weakref.ref[Any], Coded]] = {}


def _coded_text(held: Any) -> Coded:
    """Code text in Arrow's memory, once for as long as it lives."""
    key = id(held)
    known = _REMEMBERED.get(key)
    if known is None or known[0]() is not held:
        found = held.dictionary_encode().combine_chunks()
        codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        forget = weakref.ref(held, lambda _: _REMEMBERED.pop(key, None))
        known = _REMEMBERED[key] = forget, Coded(found.dictionary.to_pylist(), codes)
    return known[1]


def _coded_range(values: Array) -> Coded | None:
    """Code whole numbers that lie close together by their distance from the least."""
    if values.dtype.kind not in "iu" or values.dtype == np.uint64 or not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    if high - low > len(values) // 4 + 64:
        return None
    return Coded(range(low, high + 1), values.astype(np.int64) - low)


def _held(series: nw.Series[Any]) -> Any:
    """Hold a column of Polars or Arrow as an array of pandas."""
    with suppress(pa.ArrowException):
        # Of objects Arrow would take where they are in memory.
        if series.dtype != nw.Object:
            values = series.to_arrow()
            if pa.types.is_dictionary(values.type):
                if pa.types.is_primitive(values.type.value_type):
                    return values.to_pandas()._values  # numbers, and yet categories
                values = values.cast(values.type.value_type)
            if pa.types.is_string_view(values.type):
                values = values.cast(pa.string())
            return pd.arrays.ArrowExtensionArray(values)
    return pd.Series(series.to_list(), dtype=object)._values


class Column:
    """A column of a frame in memory; what is made of it is made once.

    Parameters
    ----------
    name : str
    native : array of pandas or NumPy, or Series of narwhals
    """

    def __init__(self, name: str, native: Any) -> None:
        self.name, self.native = name, native
        #: The column as it is held, as an array of pandas or NumPy.
        self.values = values = _held(native) if isinstance(native, nw.Series) else native
        # Plain numbers are told without narwhals, which takes longer than a fit.
        if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
            kind = "truth" if values.dtype.kind == "b" else "number"
            numbers = values.astype(float) if values.dtype == np.float16 else values
            self.__dict__.update(typed=values, numbers=numbers, kind=kind)

    @cached_property
    def typed(self) -> Any:
        """The column, numbers held as objects turned into what they are."""
        values = self.values
        if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) not in _NUMBERS:
            return values
        try:
            # Types that have a place for missing values do not make floats of whole numbers.
            return pd.to_numeric(pd.Series(values), dtype_backend="numpy_nullable")._values
        except (TypeError, ValueError, OverflowError):
            raise InputError("numbers of one kind are needed", column=self.name) from None

    @cached_property
    def kind(self) -> str:
        """One of ``number``, ``truth`` and ``category``."""
        if isinstance(self.values.dtype, (pd.StringDtype, pd.CategoricalDtype)):
            return "category"
        # Told its type, pandas leaves text as it is that no encoding holds.
        series = nw.from_native(pd.Series(self.typed, dtype=self.typed.dtype), series_only=True)
        # Dates may be labels of groups; a table refuses them as anything else.
        return "category" if series.dtype.is_temporal() else kind_of(series.dtype, self.name)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        if self.kind != "category":
            values = self.numbers
            found = np.unique(values if self.missing is None else values[~self.missing])
            return tuple(map(label_text, found.tolist()))
        # By pandas and an Enum of Polars; a Categorical of Polars keeps what it has met.
        declared = self.values if hasattr(self.values.dtype, "categories") else self.native
        labels = getattr(declared.dtype, "categories", None)
        if labels is None:
            labels = self.coded.labels
            kinds = {str if isinstance(label, str) else type(label) for label in labels}
            if len(kinds) > 1 or any(issubclass(kind, Number) for kind in kinds):
                raise InputError(_OF_ONE_KIND, column=self.name)
            labels = sorted(labels)
        levels = tuple(map(label_text, labels))
        if len(set(levels)) < len(levels):
            raise InputError("two categories read alike", column=self.name)
        refuse_unwritable(levels, self.name)
        return levels

    @cached_property
    def numbers(self) -> Array:
        """Values of a column of numbers; those that are missing are zero or NaN."""
        values = self.typed
        if isinstance(values, np.ndarray):
            return values
        kind = np.dtype(getattr(values.dtype, "numpy_dtype", float))
        whole = kind.kind in "iub"
        missing = kind.type(0) if whole else np.nan
        found: Array = values.to_numpy(dtype=kind if whole else float, na_value=missing)
        # Decimals and objects may have had more digits.
        held = getattr(self.values.dtype, "numpy_dtype", self.values.dtype)
        if not whole and held.kind == "O" and _largest(found[np.isfinite(found)]) >= FLOATS_END:
            raise rounded(self.name)
        return found

    @cached_property
    def coded(self) -> Coded:
        """Labels and the code of each row, which may come with labels that no row has."""
        values = self.values
        try:
            if isinstance(values.dtype, pd.StringDtype) and values.dtype.storage == "pyarrow":
                return _coded_text(values._pa_array)
            if isinstance(values, np.ndarray) and (found := _coded_range(values)):
                return found
            floats = pd.api.types.is_float_dtype(values.dtype)
            codes, labels = pd.factorize(values + 0.0 if floats else values)  # zero has no sign
        except (TypeError, NotImplementedError, pa.ArrowException):
            raise InputError(_OF_ONE_KIND, column=self.name) from None
        refuse_unwritable(labels, self.name)
        return Coded(labels.tolist(), codes.astype(np.int64, copy=False))

    @cached_property
    def missing(self) -> Mask | None:
        """Which values are missing, or None where none is."""
        if self.kind == "category":
            gone = self.coded.codes < 0
        elif self.numbers.dtype.kind == "f":
            gone = np.isnan(self.numbers)
        elif isinstance(self.typed, np.ndarray):
            return None
        else:
            gone = np.asarray(self.typed.isna(), dtype=bool)
        return gone if gone.any() else None

    def has(self, level: str) -> Array:
        """Return 1 for each row with a level, 0 for others."""
        if self.kind != "category":
            return np.asarray(self.numbers == level_value(level), dtype=np.int8)
        hits = [label_text(label) == level for label in self.coded.labels]
        return np.array([*hits, False], dtype=np.int8)[self.coded.codes]


@dataclass(frozen=True, eq=False)
class Table:
    """A frame in memory: pandas, Polars or Arrow.

    Attributes
    ----------
    native : DataFrame of pandas or narwhals
    columns : collection of str
    known : dict of str to Column
        Columns looked at so far, so that each leaves the frame once.
    """

    native: Any
    columns: Collection[str]
    known: dict[str, Column] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Column:
        """Return a column."""
        if name not in self.known:
            # A Series of pandas for each column would take as long as summing a small table.
            array = getattr(self.native, "_get_column_array", None)
            place = self.native.columns.get_loc(name) if array else name
            self.known[name] = Column(name, array(place) if array else self.native[name])
        return self.known[name]

    def kind(self, column: str) -> str:
        """Return ``number``, ``truth`` or ``category``."""
        if pd.api.types.infer_dtype(self[column].values, skipna=True) in _DATES:
            return kind_of(nw.Date(), column)
        return self[column].kind

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels declared by the column's type, or those found, sorted."""
        return self[column].levels

    def summed(self, plan: Plan, cells: bool) -> Record:
        """Return sums of the plan's products within groups over complete rows."""
        keep = self._complete(plan)
        coded = self._coded(plan.group)
        codes = _kept(coded.codes, keep)
        columns = {name: self._values(name, plan, keep) for name in plan.variables}
        sizes = {name: _largest(values) for name, values in columns.items()}
        whole = {name for name, values in columns.items() if values.dtype.kind in "iu"}

        def centre(name: str) -> tuple[float, float]:
            first = float(columns[name][0])
            rest = _less(columns[name], first)
            return first + float(rest.mean()), float(rest.std())

        pivots = choose_pivots(plan, sizes, whole, len(codes), centre)
        sums = grouped_sums(codes, len(coded.labels), columns, plan.keys, pivots)
        groups, order = coded.ordered(sums[()], plan.group)
        sums = {key: values[order] for key, values in sums.items()}
        smallest = None
        if cells:
            told = {name: _kept(self[name].coded.codes, keep) for name in plan.dummies.values()}
            named = {short: (columns | told)[name] for name, short in plan.cells.items()}
            table = nw.from_dict({"group": codes, **named}, backend="pandas").lazy()
            found = smallest_cells(plan, table, "group")
            smallest = {g: found[c] for g, c in zip(groups, order.tolist(), strict=True) if found}
        return recorded(plan, groups, sums, pivots, smallest, len(self.native))

    def rows(self, plan: Plan, further: Sequence[str]) -> tuple[Codes, Arrays, Arrays]:
        """Group codes, the plan's stored columns and further ones, over complete rows."""
        keep = self._complete(plan)
        coded = self._coded(plan.group)
        codes = _kept(coded.codes, keep)
        counts = np.bincount(codes, minlength=len(coded.labels))
        codes = pd.Index(coded.ordered(counts, plan.group)[1]).get_indexer(pd.Index(codes))
        values = {n: _narrow(n, self._values(n, plan, keep)) for n in plan.variables}
        return codes, values, {n: _narrow(n, _kept(self[n].numbers, keep)) for n in further}

    def _complete(self, plan: Plan) -> Mask | None:
        """Which rows have every value, or None when all have."""
        gone = [m for m in (self[name].missing for name in plan.needed) if m is not None]
        return ~np.logical_or.reduce(gone) if gone else None

    def _values(self, name: str, plan: Plan, keep: Mask | None) -> Array:
        """Numbers of a stored column over the rows kept, whole ones in an integer type."""
        source = plan.variables[name]
        if isinstance(source, Dummy):
            return _kept(self[source.column].has(source.level), keep)
        if source.kind == "name":
            return _whole(_kept(self[source.head].numbers, keep))

        with np.errstate(all="ignore"):
            numbers = evaluate(source, lambda of: _narrow(of, _kept(self[of].numbers, keep)))
            return _whole(np.asarray(numbers))

    def _coded(self, group: str) -> Coded:
        """Labels and codes of the groups, one for all rows without a grouping factor."""
        return self[group].coded if group else Coded(["all"], np.zeros(len(self.native), np.int64))


def recorded(
    plan: Plan,
    groups: NDArray[np.object_],
    sums: Mapping[Monomial, Totals],
    pivots: Mapping[str, float],
    smallest: Mapping[Any, int] | None,
    rows: int,
) -> Record:
    """Put sums on record; `rows` counts those of the table, complete or not."""
    n, about = sums[()], (plan.monomials, pivots, plan.group, plan.needed, plan.levels)
    cells = None
    if smallest is not None:
        cells = np.array([smallest[group] for group in groups] if smallest else n, dtype=np.int64)
    return Record(groups, n, sums, *about, cells, rows - int(n.sum()))


def smallest_cells(plan: Plan, rows: nw.LazyFrame[Any], group: str) -> dict[Any, int]:
    """Rows of the smallest cell of each group; empty where nothing has few values.

    Parameters
    ----------
    plan : Plan
    rows : LazyFrame of narwhals
        Complete rows: the group, and the plan's `cells` under their short names.
    group : str
    """
    few, categories = plan.cells, set(plan.dummies.values())
    for part in (rows.head(1000), rows):  # a glance rules most out
        if not few:
            return {}
        counts = part.select(*(nw.col(short).n_unique() for short in few.values())).collect()
        found = zip(few.items(), counts.row(0), strict=True)
        few = {n: short for (n, short), k in found if k <= FEW_VALUES or n in categories}
    told = ({plan.dummies.get(name, name) for name in key} for key in plan.keys)
    crossings = {frozenset(names & few.keys()) for names in told}
    smallest: dict[Any, int] = {}
    for crossing in filter(None, crossings):
        cells = rows.group_by(group, *(few[n] for n in crossing)).agg(nw.len().alias("rows"))
        least = cells.group_by(group).agg(nw.col("rows").min()).collect()
        for label, size in least.iter_rows():
            smallest[label] = min(int(size), smallest.get(label, int(size)))
    return smallest


def _kept(values: Array, keep: Mask | None) -> Array:
    return values if keep is None else values[keep]


def _largest(values: Array) -> float:
    """Largest size of any value; zero without rows."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def _whole(values: Array) -> Array:
    """Return whole numbers in an integer type where int64 holds all of them exactly."""
    if values.dtype.kind in "iub":
        return values.astype(np.int8) if values.dtype.kind == "b" else values
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    exact = np.array_equal(integers, values) and np.abs(values).max(initial=0) < FLOATS_END
    return integers if exact else values.astype(np.float64, copy=False)


def _narrow(name: str, values: Array) -> Array:
    """Refuse whole numbers that arithmetic would round."""
    if values.dtype.kind in "iu" and _largest(values) >= FLOATS_END:
        raise rounded(name)
    return values if values.dtype.kind == "f" else values.astype(np.int64)  # int8 overflows


def _less(values: Array, pivot: float) -> Array:
    """Take a pivot off, by halves where floats would round the values first."""
    if abs(pivot) < FLOATS_END or values.dtype.kind == "f":
        return np.subtract(values, pivot, dtype=float)
    high, low = np.divmod(values, 2**32)
    over, under = divmod(int(pivot), 2**32)
    return (high - float(over)) * 2.0**32 + (low - float(under))


def sorted_labels(labels: Sequence[Any], column: str) -> tuple[Array, Array]:
    """Sort labels of groups, and say where each was.

    Numbers and text in one column are sorted as text, if that keeps all labels apart.
    """
    if any(isinstance(label, float) and abs(label) >= FLOATS_END for label in labels):
        raise InputError("floats have rounded its labels", column=column, hint="read them as text")
    found = [v if type(v) in (str, int) else plain_label(v) for v in labels]
    try:
        order = sorted(range(len(found)), key=found.__getitem__)
    except TypeError:
        found = list(map(str, found))
        order = sorted(range(len(found)), key=found.__getitem__)
    if len(set(found)) < len(found):
        why = "two labels of this column differ in kind and read alike"
        raise InputError(why, column=column, hint="use one kind of label, numbers or text")
    groups = np.fromiter((found[i] for i in order), dtype=object, count=len(found))
    return groups, np.array(order, dtype=np.intp)


def choose_pivots(
    plan: Plan,
    largest: Mapping[str, float],
    integers: set[str],
    rows: int,
    centre: Callable[[str], tuple[float, float]],
) -> dict[str, float]:
    """Pivots of the columns that are summed as floats; zero where none can be taken.

    Parameters
    ----------
    plan : Plan
    largest : mapping of str to float
        Largest size of any value of each column.
    integers : set of str
        Columns of whole numbers. Those whose products could overflow are summed as floats.
    rows : int
    centre : callable
        Mean and spread of a column.
    """
    for name, size in largest.items():
        if not math.isfinite(size):
            raise InputError("a value is infinite or undefined", column=name)
        if size > FLOAT_LIMIT or 0.0 < size < 1.0 / FLOAT_LIMIT:
            problem = "its values are too large or too small to be multiplied"
            raise InputError(problem, column=name, hint="measure it in other units")
    floats = set(largest) - integers
    # Mostly no product can overflow, whatever columns it is of.
    most = rows * max([1.0, *largest.values()]) ** max(map(len, plan.keys))
    for key in plan.keys if most >= INTEGER_LIMIT or floats else ():
        while key and not floats.intersection(key):
            if rows * math.prod([max(1.0, largest[n]) for n in key]) < INTEGER_LIMIT:
                break
            floats.add(max(key, key=largest.__getitem__))
    can_move = plan.movable if rows else ()
    return {n: _pivot(*centre(n)) if n in can_move else 0.0 for n in largest if n in floats}


def _pivot(mean: float, spread: float) -> float:
    """Pick a short number near the mean, so that taking it off costs no digits."""
    if not math.isfinite(mean):
        return 0.0
    least = max(spread, abs(mean) / FLOATS_END)
    step = 2.0 ** math.floor(math.log2(least)) if least else 1.0
    return float(round(mean / step) * step)


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
        Any integer type for whole numbers, any floating type for others. Sums of whole numbers
        stay below 2 to the 53, so that floats hold them exactly; see `choose_pivots`.
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
    names, bases, factors, places = _chain(keys)
    taken = [(columns[name], pivots.get(name)) for name in names]
    table = np.empty((len(names), min(len(codes), _BLOCK)))
    totals = np.zeros((n_groups, len(bases)))
    for start in range(0, len(codes), _BLOCK):
        part = codes[start : start + _BLOCK].view(np.uint64)
        for row, (values, pivot) in zip(table, taken, strict=True):
            row[: len(part)] = _less(values[start : start + _BLOCK], pivot or 0.0)
        _accumulate(part, table, bases, factors, totals)
    sums = totals.T[places]
    floats = {n for n, v in columns.items() if n in pivots or v.dtype.kind == "f"}
    if not floats:
        return dict(zip(keys, sums.astype(np.int64), strict=True))
    whole = map(floats.isdisjoint, keys)
    return {k: v.astype(np.int64) if w else v for k, v, w in zip(keys, sums, whole, strict=True)}


@lru_cache(maxsize=256)
def _chain(keys: tuple[Monomial, ...]) -> tuple[list[str], Array, Array, list[int]]:
    """Order products so that each is a column times a product made before.

    The columns needed, the earlier product and the column of each step, and the step of each
    key. Step zero is the product of nothing, 1.
    """
    names = sorted({name for key in keys for name in key})
    place: dict[Monomial, int] = {(): 0}
    steps = [(0, 0)]
    for part in (key[: i + 1] for key in keys for i in range(len(key))):
        if part not in place:
            place[part] = len(steps)
            steps.append((place[part[:-1]], names.index(part[-1])))
    # Unsigned, so that no place is looked at for being counted from the end.
    bases, factors = np.array(steps, dtype=np.uint64).T.copy()
    return names, bases, factors, [place[key] for key in keys]


@compiled(50_000)  # type: ignore[untyped-decorator]
def _accumulate(codes: Any, table: Any, bases: Any, factors: Any, totals: Any) -> None:
    """Multiply and add, row by row: each product is an earlier one times a column."""
    product = np.zeros(len(bases))
    product[0] = 1.0
    for row in range(len(codes)):
        group = codes[row]
        totals[group, 0] += product[0]
        for k in range(1, len(bases)):
            product[k] = product[bases[k]] * table[factors[k], row]
            totals[group, k] += product[k]
