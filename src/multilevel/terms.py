"""Terms of a formula as named columns, each a polynomial in stored columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from multilevel.errors import InputError
from multilevel.expression import Call, Expression, Name, names_in
from multilevel.formula import Term
from multilevel.polynomial import Lookup, Mean, Terms, expand, multiply


@dataclass(frozen=True)
class Vocabulary:
    """What terms may be made of.

    Attributes
    ----------
    lookup : callable
        Polynomial of a stored column, or None.
    mean : callable
        Pooled mean of a polynomial.
    levels : mapping of str to tuple of str
        Levels of each categorical component; the first is the reference.
    stored_levels : mapping of str to tuple of str
        Levels with which the dummies were stored: the first has none of its own.
    blocks : mapping of str to tuple of str
        Components evaluated beforehand, such as splines, and the columns they gave.
    pivots : mapping of str to float
        What was taken off the columns of those components.
    names : collection of str
        Stored columns, to guess which one was meant.
    truths : frozenset of str
        Components of truth values. They are numbers here; R takes them for categories.
    """

    lookup: Lookup
    mean: Mean
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stored_levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pivots: Mapping[str, float] = field(default_factory=dict)
    names: Collection[str] = ()
    truths: frozenset[str] = frozenset()


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Guess the column that was meant, as advice."""
    close = difflib.get_close_matches(name, [str(n) for n in names], n=1, cutoff=0.4)
    return f"the nearest name is {close[0]}" if close else None


def dummy(factor: str, level: str) -> str:
    """Name of the column that is 1 where a factor has this level."""
    return f"{factor}[{level}]"


def factor_key(expression: Expression) -> str | None:
    """Return the column behind ``C(x)``, or None for anything else."""
    if not isinstance(expression, Call) or expression.function != "C":
        return None
    return expression.only.name if isinstance(expression.only, Name) else None


def term_columns(terms: Sequence[Term], words: Vocabulary) -> list[tuple[str, Terms]]:
    """Columns of one side of a formula, in order, each with its name and polynomial.

    Raises
    ------
    InputError
        When a term needs a column that is not there, naming it.
    """
    codings = _codings(terms, words)
    columns: list[tuple[str, Terms]] = []
    for term in terms:
        for coding in codings.get(term.name, [{}]):
            parts = [
                _component(factor, coding, words)
                for factor in term.factors
                if not (str(factor) in words.levels or str(factor) in words.truths)
                or str(factor) in coding
            ]
            columns.extend(_multiplied(chosen) for chosen in product(*parts))
    return columns


def _multiplied(parts: tuple[tuple[str, Terms], ...]) -> tuple[str, Terms]:
    whole: Terms = {(): 1.0}
    for _, terms in parts:
        whole = multiply(whole, terms)
    return ":".join(name for name, _ in parts) or "Intercept", whole


def _component(
    factor: Expression, coding: Mapping[str, bool], words: Vocabulary
) -> list[tuple[str, Terms]]:
    """Columns of one component: one for a number, one a level for a category."""
    name = str(factor)
    if name in words.blocks:
        pivots = words.pivots
        return [(b, {(b,): 1.0, (): pivots.get(b, 0.0)}) for b in words.blocks[name]]
    if name in words.levels:
        levels = words.levels[name] if coding[name] else words.levels[name][1:]
        return [(dummy(name, level), _dummy_terms(name, level, words)) for level in levels]
    terms = expand(factor, words.lookup, words.mean)
    if terms is None:
        raise _not_derived(factor, words)
    return [(name, terms)]


def _not_derived(factor: Expression, words: Vocabulary) -> InputError:
    """Say why a component is no polynomial in what is stored."""
    for name in names_in(factor):
        if words.lookup(Name(name)) is None:
            hint = nearest(name, words.names) or "store it, or fit from rows"
            return InputError("this column is not in the moments", column=name, hint=hint)
    if expand(factor, words.lookup, lambda _: 1.0) is None:
        return InputError(
            f"{factor} cannot be derived from moments",
            column=str(factor),
            hint="make the moments from the frame with this formula",
        )
    return InputError(
        f"{factor} cannot be computed: what is scaled is the same in every row",
        hint="leave it out",
    )


def _dummy_terms(factor: str, level: str, words: Vocabulary) -> Terms:
    """Write the dummy of a level; that of the first is one less all the others."""
    stored = words.stored_levels[factor]
    if level != stored[0]:
        return {(dummy(factor, level),): 1.0}
    return {(): 1.0} | {(dummy(factor, other),): -1.0 for other in stored[1:]}


def _codings(terms: Sequence[Term], words: Vocabulary) -> dict[str, list[dict[str, bool]]]:
    """Which categories keep all their levels, so that no column repeats others.

    The rule is that of patsy and formulae; terms are compared within those that share their
    numeric components.
    """
    families: dict[frozenset[str], dict[str, list[str]]] = {}
    ordered = sorted(terms, key=lambda t: bool(t.factors))
    for term in ordered:
        names = [str(f) for f in term.factors]
        categories = [n for n in names if n in words.levels or n in words.truths]
        numbers = frozenset(names) - set(categories)
        families.setdefault(numbers, {})[term.name] = categories
    codings: dict[str, list[dict[str, bool]]] = {}
    for family in families.values():
        if any(family.values()):
            from formulae.contrasts import pick_contrasts

            # A term without categories spans what the others need not span again.
            lowest_first = dict(sorted(family.items(), key=lambda item: bool(item[1])))
            codings.update(pick_contrasts(lowest_first))
    for coding in (c for found in codings.values() for c in found):
        for name in words.truths & {name for name, whole in coding.items() if whole}:
            raise InputError(
                "R makes two columns of truth values here, as nothing else in the formula spans "
                "the constant",
                column=name,
                hint=f"write C({name}) for both, or {{{name} * 1}} for one",
            )
    return {name: found for name, found in codings.items() if any(found)}
