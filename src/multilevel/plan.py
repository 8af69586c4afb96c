"""What is to be summed for a formula: columns, products of them, and which rows count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import Protocol, TypeAlias

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.expression import (
    Call,
    Expression,
    Name,
    Operation,
    is_comparison,
    is_rowwise,
    names_in,
    stored_as_column,
)
from multilevel.formula import Formula, parse_formula
from multilevel.polynomial import Lookup, Monomial, Terms, downset, expand, monomial
from multilevel.record import INTEGER_LIMIT, Record, Totals, movable
from multilevel.terms import Vocabulary, dummy, factor_key, nearest, term_columns

#: A numeric column with this many distinct values or fewer has cells like a category's.
FEW_VALUES = 10
#: Transforms of a whole column that formulae computes.
_BLOCKS = ("bs", "poly")
#: Beyond this the fourth power of a value is no number any more.
_FLOAT_LIMIT = 1e75
_ONE_KIND = "numbers are needed here and this column holds none"


@dataclass(frozen=True)
class Value:
    """A column of the data, or an expression that is computed row by row."""

    expression: Expression


@dataclass(frozen=True)
class Dummy:
    """1 where a category has a level, 0 elsewhere."""

    column: str
    level: str


@dataclass(frozen=True)
class Block:
    """One column of a component, such as a spline, that only formulae can evaluate."""

    component: Call
    position: int


Source: TypeAlias = Value | Dummy | Block


class Schema(Protocol):
    """What is known of a table before anything is summed."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of all columns."""

    def kind(self, column: str) -> str:
        """Return ``number``, ``truth`` or ``category``."""

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels of a category, declared or found, in order."""

    def block_labels(self, component: Call, needed: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the columns that formulae makes of a component."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a table has to know to be summed.

    Attributes
    ----------
    variables : mapping of str to Source
        How each stored column comes about.
    monomials : tuple of Monomial
        The columns of ``X``, the constant first.
    group : str
        Grouping factor, or empty.
    needed : tuple of str
        Columns of the data that must be present in a row, sorted.
    levels : mapping of str to tuple of str
        Levels of each categorical component.
    blocks : mapping of str to tuple of str
        Columns of each component evaluated beforehand.
    """

    variables: Mapping[str, Source]
    monomials: tuple[Monomial, ...]
    group: str
    needed: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    blocks: Mapping[str, tuple[str, ...]]

    @cached_property
    def keys(self) -> tuple[Monomial, ...]:
        """All products of two monomials, without those known to repeat or to be zero."""
        dummies = {n: s.column for n, s in self.variables.items() if isinstance(s, Dummy)}
        pairs = combinations_with_replacement(self.monomials, 2)
        found = (canonical(monomial(a + b), dummies) for a, b in pairs)
        return tuple(dict.fromkeys(key for key in found if key is not None))

    @cached_property
    def summed(self) -> tuple[str, ...]:
        """Stored columns that occur in some product."""
        used = {name for key in self.keys for name in key}
        return tuple(name for name in self.variables if name in used)

    @cached_property
    def movable(self) -> frozenset[str]:
        """Columns from which a pivot can be taken: what else that needs is stored too."""
        dummies = {n for n, s in self.variables.items() if isinstance(s, Dummy)}
        return movable(self.monomials) - dummies

    def record(
        self,
        groups: NDArray[np.object_],
        sums: Mapping[Monomial, Totals],
        pivots: Mapping[str, float],
        rows: int,
        smallest_cell: NDArray[np.int64] | None,
    ) -> Record:
        """Return what was summed over the complete ones of some rows, as this plan says."""
        return Record(
            groups=groups,
            n=sums[()],
            sums=sums,
            pivots=pivots,
            group_name=self.group,
            complete=self.needed,
            smallest_cell=smallest_cell,
            n_dropped=rows - int(sums[()].sum()),
            **{name: getattr(self, name) for name in ("monomials", "levels", "blocks")},
        )

    def crossings(self, categories: Iterable[str]) -> set[frozenset[str]]:
        """Return sets of columns with few distinct values that some product multiplies."""
        behind = {n: s.column if isinstance(s, Dummy) else n for n, s in self.variables.items()}
        known = set(categories)
        return {frozenset(behind[name] for name in key) & known for key in self.keys} - {
            frozenset()
        }


def kind_of(dtype: nw.dtypes.DType, column: str) -> str:
    """Return ``number``, ``truth`` or ``category`` for a column's type."""
    if dtype.is_temporal():
        raise InputError(
            "dates cannot be used as they are", column=column, hint="turn them into numbers"
        )
    if dtype == nw.Boolean:
        return "truth"
    return "number" if dtype.is_numeric() else "category"


def canonical(key: Monomial, dummies: Mapping[str, str]) -> Monomial | None:
    """Reduce: a dummy squared is itself; two of one factor multiply to zero (None)."""
    if not dummies or not any(name in dummies for name in key):
        return key
    mine = {name for name in key if name in dummies}
    if len({dummies[name] for name in mine}) < len(mine):
        return None
    return monomial([*mine, *(name for name in key if name not in dummies)])


def _check_columns(needed: Iterable[str], schema: Schema) -> None:
    """Refuse names that the data do not have."""
    known = set(schema.columns)
    for name in needed:
        if name not in known:
            hint = nearest(name, schema.columns) or "check its name"
            raise InputError("this column is not in the data", column=name, hint=hint)


def plan_formula(
    formula: Formula, schema: Schema, levels: Mapping[str, Sequence[str]] | None = None
) -> Plan:
    """Find what a formula needs, and nothing more. Plans are remembered.

    Raises
    ------
    InputError
        For a column that is not there, or text where a number is needed.
    """
    _check_columns((*formula.columns, *((formula.group,) if formula.group else ())), schema)
    kinds = tuple((name, schema.kind(name)) for name in formula.columns)
    factors, blocks = _components(formula.text, kinds)
    found = tuple((f, _levels(f, column, schema, levels or {})) for f, column in factors)
    labels = tuple((c, schema.block_labels(c, formula.columns)) for c in blocks)
    return _plan(formula.text, kinds, factors, found, labels)


def plan_columns(
    columns: Sequence[str],
    group: str,
    schema: Schema,
    levels: Mapping[str, Sequence[str]] | None = None,
    complete: Sequence[str] = (),
) -> Plan:
    """Find what ``columns`` say: names, and products written ``x1:x2``, just these."""
    found: set[Monomial] = {()}
    names: dict[str, None] = {}
    variables: dict[str, Source] = {}
    known_levels: dict[str, tuple[str, ...]] = {}
    for column in columns:
        parts = [column] if column in schema.columns else column.split(":")
        _check_columns(parts, schema)
        names.update(dict.fromkeys(parts))
        product: list[Monomial] = [()]
        for part in parts:
            name = str(Name(part))
            stored: dict[str, Source] = {name: Value(Name(part))}
            if schema.kind(part) == "category":
                known_levels[name] = _levels(name, part, schema, levels or {})
                stored = {dummy(name, lv): Dummy(part, lv) for lv in known_levels[name][1:]}
            variables |= stored
            product = [monomial((*a, b)) for a in product for b in stored]
        found.update(product)
    needed = {*names, *complete, *([group] if group else [])}
    _check_columns(sorted(needed), schema)
    return Plan(variables, _ordered(found), group, tuple(sorted(needed)), known_levels, {})


def _ordered(monomials: Iterable[Monomial]) -> tuple[Monomial, ...]:
    return tuple(sorted(monomials, key=lambda m: (len(m), m)))


def _levels(
    factor: str, column: str, schema: Schema, given: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Levels of a component: those given, if they are all there are, or those found."""
    found = schema.levels(column)
    chosen = given.get(factor, given.get(column))
    levels = tuple(map(str, chosen)) if chosen else found
    if not levels:
        raise InputError("this column holds no value", column=column)
    if not set(found) <= set(levels) or len(set(levels)) < len(levels):
        raise InputError(
            "the levels given are not all those of this column, each once", column=column
        )
    return levels


_Kinds: TypeAlias = tuple[tuple[str, str], ...]
_Pairs: TypeAlias = tuple[tuple[str, str], ...]
_Labels: TypeAlias = tuple[tuple[Call, tuple[str, ...]], ...]


@lru_cache(maxsize=512)
def _components(text: str, kinds: _Kinds) -> tuple[_Pairs, tuple[Call, ...]]:
    """Categorical components with their columns, and components that need formulae."""
    formula, kind = parse_formula(text), dict(kinds)
    factors: dict[str, str] = {}
    blocks: dict[Call, None] = {}
    for term in (*formula.fixed, *formula.random):
        for factor in term.factors:
            category = factor_key(factor)
            if isinstance(factor, Name) and kind[factor.name] == "category":
                category = factor.name
            if category is not None:
                factors[str(factor)] = category
            elif expand(factor, _storable(kind), lambda _: 1.0) is None:
                blocks[_block(factor, kind)] = None
    response = formula.response.factors[0]
    if expand(response, _storable(kind), lambda _: 1.0) is None:
        raise InputError(f"{response} cannot be a response: a single number is needed")
    return tuple(factors.items()), tuple(blocks)


def _storable(kind: Mapping[str, str]) -> Lookup:
    """Return the lookup of components that can be stored as a column of their own."""

    def lookup(expression: Name | Call | Operation) -> Terms | None:
        if not isinstance(expression, Name) and not stored_as_column(expression):
            return None
        for column in names_in(expression):
            if kind[column] == "category":
                raise InputError(_ONE_KIND, column=column)
        return {(str(expression),): 1.0}

    return lookup


def _block(factor: Expression, kind: Mapping[str, str]) -> Call:
    known = isinstance(factor, Call) and factor.function in _BLOCKS and factor.arguments
    if not isinstance(factor, Call) or not known or not is_rowwise(factor.arguments[0]):
        raise InputError(
            f"{factor} is not known here",
            hint="use center, scale, C, log, exp, sqrt, abs, bs, poly, or arithmetic in braces",
        )
    for column in names_in(factor):
        if kind[column] == "category":
            raise InputError(_ONE_KIND, column=column)
    return factor


@lru_cache(maxsize=256)
def _plan(
    text: str,
    kinds: _Kinds,
    factors: _Pairs,
    levels: tuple[tuple[str, tuple[str, ...]], ...],
    labels: _Labels,
) -> Plan:
    formula, kind = parse_formula(text), dict(kinds)
    by_factor, blocks = dict(levels), {str(c): names for c, names in labels}
    variables: dict[str, Source] = {}
    for factor, column in factors:
        variables |= {dummy(factor, lv): Dummy(column, lv) for lv in by_factor[factor][1:]}
    for call, names in labels:
        variables |= {label: Block(call, i) for i, label in enumerate(names)}
    storable = _storable(kind)

    def lookup(expression: Name | Call | Operation) -> Terms | None:
        name = str(expression)
        if name in variables:
            return {(name,): 1.0}
        found = storable(expression)
        if found is not None:
            variables[name] = Value(expression)
        return found

    words = Vocabulary(
        lookup, lambda _: 1.0, by_factor, by_factor, blocks, truths=_truths(formula, kind)
    )
    monomials: set[Monomial] = set()
    for side in ((formula.response,), formula.fixed, formula.random):
        for _, terms in term_columns(side, words):
            monomials.update(terms)
    needed = formula.columns + ((formula.group,) if formula.group else ())
    return Plan(
        variables,
        _ordered(downset(monomials)),
        formula.group,
        tuple(sorted(needed)),
        by_factor,
        blocks,
    )


def _truths(formula: Formula, kind: Mapping[str, str]) -> frozenset[str]:
    """Components of truth values, which R takes for categories."""
    return frozenset(
        str(factor)
        for term in (*formula.fixed, *formula.random)
        for factor in term.factors
        if (isinstance(factor, Name) and kind[factor.name] == "truth") or is_comparison(factor)
    )


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
        if size > _FLOAT_LIMIT:
            raise InputError(
                "its values are too large to be multiplied",
                column=name,
                hint="measure it in larger units",
            )
    floats = set(largest) - integers
    for key in plan.keys:
        while key and not floats.intersection(key):
            if rows * math.prod(max(1.0, largest[n]) for n in key) < INTEGER_LIMIT:
                break
            floats.add(max(key, key=lambda n: largest[n]))
    can_move = plan.movable if rows else ()
    return {n: _pivot(*centre(n)) if n in can_move else 0.0 for n in largest if n in floats}


def _pivot(mean: float, spread: float) -> float:
    """Pick a short number near the mean, so that taking it off costs no digits."""
    if not math.isfinite(mean):
        return 0.0
    least = max(spread, abs(mean) * 2.0**-30)
    step = 2.0 ** math.floor(math.log2(least)) if least else 1.0
    return float(round(mean / step) * step)
