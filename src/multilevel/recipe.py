"""What is to be summed: columns, products of them, and which rows count."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Protocol, TypeAlias

from multilevel.errors import InputError
from multilevel.expression import Call, Expression, Name, Number, Operation, names_in
from multilevel.formula import Formula
from multilevel.polynomial import Monomial, Terms, downset, expand, monomial
from multilevel.terms import Vocabulary, dummy, factor_key, term_columns

__all__ = [
    "ELEMENTWISE",
    "Block",
    "Dummy",
    "Recipe",
    "Schema",
    "Value",
    "nearest",
    "recipe_for_columns",
    "recipe_for_formula",
    "stored_as_column",
]

#: Functions of one value, which any kind of frame can compute row by row.
ELEMENTWISE = ("log", "log2", "log10", "exp", "sqrt", "abs")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


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

    component: str
    position: int


Source: TypeAlias = Value | Dummy | Block


class Schema(Protocol):
    """What is known of a data source before anything is summed."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of all columns."""

    def is_number(self, column: str) -> bool:
        """Whether a column holds numbers; the others are categories."""

    def levels(self, column: str) -> tuple[str, ...]:
        """Levels of a category, declared or found, in order."""

    def block_labels(self, component: str, needed: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns that formulae makes of a component."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a source has to know to sum.

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
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[Monomial, ...]:
        """All products of two monomials, without those known to repeat or to be nought."""
        dummies = {n: s.column for n, s in self.variables.items() if isinstance(s, Dummy)}
        found: dict[Monomial, None] = {}
        for a, b in combinations_with_replacement(self.monomials, 2):
            key = canonical(monomial(a + b), dummies)
            if key is not None:
                found[key] = None
        return tuple(found)

    @property
    def movable(self) -> frozenset[str]:
        """Columns from which a pivot can be taken: what else that needs is stored too."""
        return movable(self.monomials) - {
            n for n, s in self.variables.items() if isinstance(s, Dummy)
        }


def movable(monomials: Iterable[Monomial]) -> frozenset[str]:
    """Columns that can be shifted without leaving the span of the monomials."""
    known = set(monomials)
    names = {name for key in known for name in key}
    fixed = {
        name for key in known for i, name in enumerate(key) if key[:i] + key[i + 1 :] not in known
    }
    return frozenset(names - fixed)


def canonical(key: Monomial, dummies: Mapping[str, str]) -> Monomial | None:
    """Reduce: a dummy squared is itself; two of one factor multiply to nought (None)."""
    if not any(name in dummies for name in key):
        return key
    mine = {name for name in key if name in dummies}
    if len({dummies[name] for name in mine}) < len(mine):
        return None
    return monomial([*mine, *(name for name in key if name not in dummies)])


def nearest(name: str, columns: Iterable[str]) -> str | None:
    """Guess the column that was meant."""
    close = difflib.get_close_matches(name, [str(c) for c in columns], n=1, cutoff=0.4)
    return close[0] if close else None


def check_columns(needed: Iterable[str], schema: Schema) -> None:
    """Refuse names that the data do not have."""
    for name in needed:
        if name not in schema.columns:
            close = nearest(name, schema.columns)
            raise InputError(
                "this column is not in the data",
                column=name,
                hint=f"the nearest name is {close}" if close else "check its name",
            )


def stored_as_column(expression: Expression) -> bool:
    """Whether an expression is no polynomial but can be computed row by row, as ``log(x)``."""
    if isinstance(expression, Call):
        one = len(expression.arguments) == 1 and not expression.keywords
        name = expression.function.removeprefix("np.")
        return one and name in ELEMENTWISE and _rowwise(expression.arguments[0])
    if isinstance(expression, Operation) and len(expression.operands) == 2:
        right = expression.operands[1]
        whole = isinstance(right, Number) and right.value in range(1, 7)
        special = (
            expression.symbol in _COMPARISONS
            or (expression.symbol == "/" and any(names_in(right)))
            or (expression.symbol == "**" and not whole)
        )
        return special and all(map(_rowwise, expression.operands))
    return False


def _rowwise(expression: Expression) -> bool:
    if isinstance(expression, Name):
        return True
    if isinstance(expression, Number):
        return not isinstance(expression.value, str)
    if isinstance(expression, Operation):
        return all(map(_rowwise, expression.operands))
    known = expression.function == "I" or stored_as_column(expression)
    return known and len(expression.arguments) == 1 and _rowwise(expression.arguments[0])


def recipe_for_formula(
    formula: Formula, schema: Schema, levels: Mapping[str, Sequence[str]] | None = None
) -> Recipe:
    """Find what a formula needs, and nothing more.

    Raises
    ------
    InputError
        For a column that is not there, text where a number is needed, or a grouping factor that
        is also a predictor.
    """
    needed = formula.columns + ((formula.group,) if formula.group else ())
    check_columns(needed, schema)
    maker = _Collector(schema, dict(levels or {}), formula.columns)
    everything = (formula.response, *formula.fixed, *formula.random)
    for term in everything:
        for factor in term.factors:
            maker.visit(factor, response=term is formula.response)
    words = Vocabulary(maker.lookup, lambda _: 1.0, maker.levels, maker.levels, maker.blocks)
    found: set[Monomial] = set()
    for side in ((formula.response,), formula.fixed, formula.random):
        for _, terms in term_columns(side, words):
            found.update(terms)
    return Recipe(
        maker.variables,
        _ordered(downset(found)),
        formula.group,
        tuple(sorted(needed)),
        maker.levels,
        maker.blocks,
    )


def recipe_for_columns(
    columns: Sequence[str],
    group: str,
    schema: Schema,
    levels: Mapping[str, Sequence[str]] | None = None,
    complete: Sequence[str] = (),
) -> Recipe:
    """Find what ``columns`` say: names, and products written ``x1:x2``, just these."""
    maker = _Collector(schema, dict(levels or {}), ())
    found: set[Monomial] = {()}
    names: dict[str, None] = {}
    for column in columns:
        parts = column.split(":") if column not in schema.columns else [column]
        check_columns(parts, schema)
        names.update(dict.fromkeys(parts))
        product: list[Monomial] = [()]
        for part in parts:
            maker.visit(Name(part))
            stored = [(dummy(part, lv),) for lv in maker.levels.get(part, ())[1:]] or [(part,)]
            product = [monomial(a + b) for a in product for b in stored]
        found.update(product)
    needed = {*names, *complete, *([group] if group else [])}
    check_columns(sorted(needed), schema)
    return Recipe(maker.variables, _ordered(found), group, tuple(sorted(needed)), maker.levels, {})


def _ordered(monomials: Iterable[Monomial]) -> tuple[Monomial, ...]:
    return tuple(sorted(monomials, key=lambda m: (len(m), m)))


class _Collector:
    """Collects stored columns while the components of a formula are visited."""

    def __init__(
        self, schema: Schema, levels: dict[str, Sequence[str]], needed: Sequence[str]
    ) -> None:
        self.schema = schema
        self.given = levels
        self.needed = needed
        self.variables: dict[str, Source] = {}
        self.levels: dict[str, tuple[str, ...]] = {}
        self.blocks: dict[str, tuple[str, ...]] = {}

    def lookup(self, expression: Name | Call | Operation) -> Terms | None:
        """Return the expression as a stored column, which it becomes if it can."""
        name = str(expression)
        if name in self.variables:
            return {(name,): 1.0}
        if isinstance(expression, Name) and not self.schema.is_number(name):
            raise InputError("numbers are needed here and this column holds none", column=name)
        if isinstance(expression, Name) or stored_as_column(expression):
            for column in names_in(expression):
                if not self.schema.is_number(column):
                    raise InputError(
                        "numbers are needed here and this column holds none", column=column
                    )
            self.variables[name] = Value(expression)
            return {(name,): 1.0}
        return None

    def visit(self, factor: Expression, *, response: bool = False) -> None:
        """Make sure that a component can be had, by one way or another."""
        name = str(factor)
        category = factor_key(factor)
        if isinstance(factor, Name) and not self.schema.is_number(name) and not response:
            category = name
        if category is not None and not response:
            self._add_levels(name, category)
        elif expand(factor, self.lookup, lambda _: 1.0) is None:
            if response:
                raise InputError(f"{name} cannot be a response: a single number is needed")
            labels = self.schema.block_labels(name, self.needed)
            self.blocks[name] = labels
            for position, label in enumerate(labels):
                self.variables[label] = Block(name, position)

    def _add_levels(self, factor: str, column: str) -> None:
        given = self.given.get(factor, self.given.get(column))
        found = self.schema.levels(column)
        levels = tuple(map(str, given)) if given else found
        if not levels:
            raise InputError("this column holds no value", column=column)
        if not set(found) <= set(levels) or len(set(levels)) < len(levels):
            raise InputError(
                "the levels given are not all those of this column, each once", column=column
            )
        self.levels[factor] = levels
        for level in levels[1:]:
            self.variables[dummy(factor, level)] = Dummy(column, level)
