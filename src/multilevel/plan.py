"""What is to be summed for a formula: columns, products of them, and which rows count."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple, TypeAlias

import narwhals as nw

from multilevel.columns import Monomial, Writer, dummy, monomial
from multilevel.errors import InputError
from multilevel.expression import Expression, names_in, stored_as_column
from multilevel.formula import parse_formula
from multilevel.record import movable

#: A numeric column with this many distinct values or fewer has cells like a category's.
FEW_VALUES = 10
#: From here on floats do not hold every whole number.
FLOATS_END = 2**53

#: Products of all pairs of so many columns take seconds; of more, memory that few have.
MOST_LEVELS = 500

Pairs: TypeAlias = tuple[tuple[str, str], ...]
Named: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


class Dummy(NamedTuple):
    """1 where a category has a level, 0 elsewhere."""

    column: str
    level: str


#: How a stored column comes about: a level of a category, or what is computed row by row.
Source: TypeAlias = Expression | Dummy


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
        Levels of each categorical component, and of stored truth values.
    """

    variables: Mapping[str, Source]
    monomials: tuple[Monomial, ...]
    group: str
    needed: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]

    @cached_property
    def dummies(self) -> dict[str, str]:
        """Stored columns that stand for a level, each with the category's column."""
        return {n: s.column for n, s in self.variables.items() if isinstance(s, Dummy)}

    @cached_property
    def keys(self) -> tuple[Monomial, ...]:
        """All products of two monomials, without those known to repeat or to be zero."""
        pairs = combinations_with_replacement(self.monomials, 2)
        found = (canonical(monomial(a + b), self.dummies) for a, b in pairs)
        return tuple(dict.fromkeys(key for key in found if key is not None))

    @cached_property
    def movable(self) -> frozenset[str]:
        """Columns from which a pivot can be taken: what else that needs is stored too."""
        return movable(self.monomials).difference(self.dummies)

    @cached_property
    def cells(self) -> dict[str, str]:
        """What may have small cells (categories, and stored columns of numbers), in short."""
        told = dict.fromkeys(self.dummies.get(name, name) for name in self.variables)
        return {name: f"c{i}" for i, name in enumerate(told)}


def kind_of(dtype: nw.dtypes.DType, column: str) -> str:
    """Return ``number``, ``truth`` or ``category`` for a column's type."""
    if dtype.is_temporal():
        raise InputError("dates cannot be used as they are", column=column, hint="give numbers")
    return "truth" if dtype == nw.Boolean else "number" if dtype.is_numeric() else "category"


def rounded(column: str) -> InputError:
    """Make the error for a column whose numbers are too large to be calculated with exactly."""
    return InputError(
        "its numbers reach 2 ** 53, from where on they would be rounded",
        column=column,
        hint="take a constant off them in the table, or hold them in whole numbers of 64 bits and "
        "use the column as it is or in center()",
    )


def canonical(key: Monomial, dummies: Mapping[str, str]) -> Monomial | None:
    """Reduce: a dummy squared is itself; two of one factor multiply to zero (None)."""
    mine = {name for name in key if name in dummies}
    if not mine:
        return key
    if len({dummies[name] for name in mine}) < len(mine):
        return None
    return monomial([*mine, *(name for name in key if name not in dummies)])


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Guess the column that was meant, as advice."""
    close = difflib.get_close_matches(name, [str(n) for n in names], n=1, cutoff=0.4)
    return f"the nearest name is {close[0]}" if close else None


def refuse_unknown(needed: Iterable[str], columns: Collection[str]) -> None:
    """Refuse names that the data do not have."""
    for name in needed:
        if name not in columns:
            hint = nearest(name, columns) or "check its name"
            raise InputError("this column is not in the data", column=name, hint=hint)


@lru_cache(maxsize=512)
def categories(text: str, kinds: Pairs) -> Pairs:
    """Categorical components with their columns.

    Parameters
    ----------
    text : str
        The formula.
    kinds : tuple of (column, kind)
    """
    kind = dict(kinds)
    factors: dict[str, str] = {}
    for factor in parse_formula(text).predictors:
        if factor.head == "C" and factor.only and factor.only.kind == "name":
            factors[str(factor)] = factor.only.head
        elif factor.kind == "name" and kind[factor.head] == "category":
            factors[str(factor)] = factor.head
    return tuple(factors.items())


@lru_cache(maxsize=256)
def formula_plan(text: str, group: str, kinds: Pairs, levels: Named) -> Plan:
    """Find what a formula needs, and nothing more.

    Parameters
    ----------
    text, group : str
        The formula, and its grouping factor or nothing.
    kinds : tuple of (column, kind)
    levels : tuple of (component, tuple of str)
        Levels of what `categories` says is categorical.

    Raises
    ------
    InputError
        For text where a number is needed, and functions that are not known.
    """
    formula, kind = parse_formula(text), dict(kinds)
    told = [column for _, column in categories(text, kinds)]
    if twice := [column for column in told if told.count(column) > 1]:
        raise InputError("it stands both alone and in C()", column=twice[0], hint="choose one")
    if long := [factor for factor, found in levels if len(found) > MOST_LEVELS]:
        problem = f"a category of more than {MOST_LEVELS} levels is not read"
        raise InputError(problem, column=long[0], hint="may it be the grouping factor?")
    variables: dict[str, Source] = {
        dummy(factor, level): Dummy(column, level)
        for (factor, column), (_, known) in zip(categories(text, kinds), levels, strict=True)
        for level in known[1:]
    }

    def is_stored(expression: Expression) -> bool:
        if expression.kind != "name" and not stored_as_column(expression):
            return False
        for name in names_in(expression):
            if kind[name] == "category":
                raise InputError("numbers are needed here and this column holds none", column=name)
        variables.setdefault(str(expression), expression)
        return True

    def refuse(factor: Expression) -> InputError:
        if factor == formula.response.factors[0]:
            return InputError(f"{factor} cannot be a response: a single number is needed")
        return InputError(
            f"{factor} is not known here",
            hint="use center(x), scale(x), log, exp, sqrt, abs, arithmetic in braces, as {y - x}, "
            "or C(x) for a category, of one column whose first level is the reference; make other "
            "columns first",
        )

    columns = {str(Expression("name", name)): name for name in formula.columns}
    truths = frozenset(name for name, column in columns.items() if kind[column] == "truth")
    writer = Writer(is_stored, refuse, dict(levels), dict(levels), truths=truths)
    whole = [key for p in writer.model(formula).polynomials for key, _ in p]
    # With a product everything that divides it.
    parts = {p for key in whole for size in range(len(key) + 1) for p in combinations(key, size)}
    monomials = tuple(sorted({(), *parts}, key=lambda m: (len(m), m)))
    needed = tuple(sorted({*formula.columns, *filter(None, [group])}))
    # Another formula that is derived from the sums has to know them too.
    known = dict(levels) | dict.fromkeys(truths.intersection(variables), ("False", "True"))
    return Plan(variables, monomials, group, needed, known)
