"""lme4-style formulas: what the user wrote, as terms.

The syntax tree comes from formulae; the algebra of terms is done here, because formulae lets
through what has another meaning in lme4, such as ``(1 | g) + (0 + x | g)``, or ``y ~ x | g``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from itertools import combinations
from typing import Any

from multilevel.errors import InputError
from multilevel.expression import Call, Expression, Name, Number, names_in, read_expression

__all__ = ["MAX_RANDOM_TERMS", "Formula", "Term", "parse_formula"]

#: Signs that R has and formulae's parser has not.
_OTHER_SIGNS = {
    "%": "write a:b for a %in% b",
    "^": "write {x ** 2} for a power, and (a + b) ** 2 for products of terms",
}
#: Functions that mean something else in R, or nothing here.
_OTHER_CALLS = {
    "offset": "an offset is not estimated: take it off the response, as in {y - x} ~ ...",
    "factor": "write C(x)",
    "as.factor": "write C(x)",
    "T": "write C(x), and give the order of the levels with levels= or by the column's type",
    "S": "write C(x), and give the order of the levels with levels= or by the column's type",
}
#: More random terms than this on one grouping factor are refused.
MAX_RANDOM_TERMS = 3


@dataclass(frozen=True)
class Term:
    """One term of a formula: a product of components; the constant has none.

    Attributes
    ----------
    factors : tuple of Expression
        What is multiplied, in the order written.
    """

    factors: tuple[Expression, ...]

    @cached_property
    def name(self) -> str:
        """As written, and as printed in tables; the constant is ``Intercept``."""
        return ":".join(map(str, self.factors)) or "Intercept"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the term uses."""
        return tuple(dict.fromkeys(n for f in self.factors for n in names_in(f)))


@dataclass(frozen=True)
class Formula:
    """A formula taken apart.

    Attributes
    ----------
    text : str
        As written.
    response : Term
    fixed : tuple of Term
        Terms of the fixed part, in order; the constant comes first unless it was taken out.
    random : tuple of Term
        Terms that vary between groups; empty for a single-level model.
    group : str
        Column of the grouping factor; empty for a single-level model.
    """

    text: str
    response: Term
    fixed: tuple[Term, ...]
    random: tuple[Term, ...] = ()
    group: str = ""

    @cached_property
    def predictors(self) -> tuple[Expression, ...]:
        """Components of the fixed and the random terms, each once."""
        terms = (*self.fixed, *self.random)
        return tuple(dict.fromkeys(factor for term in terms for factor in term.factors))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that the formula uses, the grouping factor left out."""
        factors = (*self.response.factors, *self.predictors)
        return tuple(dict.fromkeys(name for factor in factors for name in names_in(factor)))


@lru_cache(maxsize=512)
def parse_formula(text: str) -> Formula:
    """Read an lme4-style formula.

    Parameters
    ----------
    text : str
        Such as ``"y ~ center(x) * z + (1 + center(x) | g)"``. The fixed part may hold columns,
        ``center``, ``scale``, arithmetic in braces or ``I()``, ``a:b``, ``a * b``, ``a / b``,
        ``(a + b) ** 2``, ``C(x)``, and ``0 +`` or ``- 1`` for no constant. One bracket with a
        bar gives up to three correlated random terms on one grouping factor; none gives a
        single-level model.

    Returns
    -------
    Formula

    Raises
    ------
    InputError
        When the formula cannot be read, or asks for uncorrelated (``||``), nested, crossed or
        more than three random terms.

    Examples
    --------
    >>> f = parse_formula("y ~ center(x) * z + (1 + center(x) | g)")
    >>> [t.name for t in f.fixed]
    ['Intercept', 'center(x)', 'z', 'center(x):z']
    >>> [t.name for t in f.random], f.group
    (['Intercept', 'center(x)'], 'g')
    """
    response, right = _syntax(text)
    plain, bars = _split_bars(right)
    fixed = _right_side(plain)
    random, group = _random_part(bars)
    outcome = Term((read_expression(response),))
    _check_response(outcome, fixed + random)
    _refuse_other_meanings((outcome, *fixed, *random))
    if group and group in {c for t in (outcome, *fixed, *random) for c in t.columns}:
        raise InputError(
            f"{group} is the grouping factor and cannot be a predictor or the response as well"
        )
    if not fixed and not random:
        raise InputError("the formula has no term on its right side", hint="write y ~ 1 at least")
    return Formula(text, outcome, fixed, random, group)


def _syntax(text: str) -> tuple[Any, Any]:
    """Left and right side of the formula as syntax trees."""
    unquoted = re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "", text)
    if re.search(r"\|\s*\|", unquoted):
        raise InputError(
            "uncorrelated random terms (||) are not offered",
            hint="write (1 + x | g): the terms are then correlated, as in lme4",
        )
    if unquoted.count("~") != 1:
        raise InputError(
            "a formula has one ~ between response and predictors",
            hint='write for example "y ~ x + (1 | g)"',
        )
    for sign, advice in _OTHER_SIGNS.items():
        if sign in unquoted:
            raise InputError(f"the formula cannot be read: it holds {sign}", hint=advice)
    from formulae.parser import Parser
    from formulae.scanner import Scanner

    try:
        parser = Parser(Scanner(text).scan())
        tree = parser.parse()
        complete = parser.at_end()
    except Exception as error:  # formulae raises bare exceptions of several kinds
        raise InputError("the formula cannot be read", hint=_hint(str(error))) from None
    # formulae stops at the first thing it cannot place and says nothing of the rest.
    if not complete or type(tree).__name__ != "Binary" or tree.operator.kind != "TILDE":
        hint = "write the random part in brackets: (1 + x | g)" if "|" in text else None
        raise InputError("part of the formula cannot be read", hint=hint)
    return tree.left, tree.right


def _hint(message: str) -> str:
    return f"formulae says: {message.rstrip('.')}" if message else "check its brackets"


def _split_bars(node: Any) -> tuple[list[tuple[str, Any]], list[Any]]:
    """Signed summands of the right side without bars, and the bracketed bars."""
    plain: list[tuple[str, Any]] = []
    bars: list[Any] = []
    for sign, part in _summands(node, "+"):
        inner = part.expression if type(part).__name__ == "Grouping" else part
        if type(inner).__name__ == "Binary" and inner.operator.kind == "PIPE":
            if sign == "-":
                raise InputError("a random part can be added, not taken away")
            bars.append(inner)
        else:
            plain.append((sign, part))
    return plain, bars


def _summands(node: Any, sign: str) -> list[tuple[str, Any]]:
    kind = type(node).__name__
    if kind == "Binary" and node.operator.kind in ("PLUS", "MINUS"):
        own = "+" if node.operator.kind == "PLUS" else "-"
        return [*_summands(node.left, sign), _signed(own, node.right)]
    return [_signed(sign, node)]


def _signed(sign: str, node: Any) -> tuple[str, Any]:
    """Take off the sign that stands before a summand, as in ``0 + -1``."""
    if type(node).__name__ != "Unary":
        return sign, node
    flipped = {"+": "-", "-": "+"}[sign] if node.operator.kind == "MINUS" else sign
    return flipped, node.right


def _right_side(parts: Iterable[tuple[str, Any]]) -> tuple[Term, ...]:
    """Terms of a sum, the constant first unless it was taken out."""
    constant = Term(())
    terms: list[Term] = [constant]
    for sign, node in parts:
        zero = type(node).__name__ == "Literal" and node.value == 0
        for term in (constant,) if zero else _terms(node):
            adds = (sign == "+") != zero
            known = [t for t in terms if _same(t, term)]
            if adds and not known:
                terms.append(term)
            elif not adds:
                terms = [t for t in terms if t not in known]
    if constant in terms:
        terms.remove(constant)
        terms.insert(0, constant)
    return tuple(terms)


def _same(one: Term, other: Term) -> bool:
    """``a:b`` and ``b:a`` are one term."""
    return set(one.factors) == set(other.factors)


def _unique(terms: Iterable[Term]) -> list[Term]:
    out: list[Term] = []
    for term in terms:
        if not any(_same(term, t) for t in out):
            out.append(term)
    return out


def _times(one: Term, other: Term) -> Term:
    return Term(tuple(dict.fromkeys((*one.factors, *other.factors))))


def _terms(node: Any) -> list[Term]:
    """Terms that a node of the right side stands for."""
    kind = type(node).__name__
    if kind == "Grouping":
        return _terms(node.expression)
    if kind == "Literal":
        if node.value == 1:
            return [Term(())]
        raise InputError(
            f"{node.value} on its own is not a term", hint="only 1, 0 and -1 have a meaning"
        )
    if kind == "Binary" and node.operator.kind in _ALGEBRA:
        if node.operator.kind == "STAR_STAR":
            return _power(node)
        return _unique(_ALGEBRA[node.operator.kind](_terms(node.left), _terms(node.right)))
    if kind == "Binary" and node.operator.kind == "PIPE":
        raise InputError("a random part stands alone, added to the others", hint="write + (1 | g)")
    if kind in ("Variable", "QuotedName", "Call"):
        return [Term((read_expression(node),))]
    raise InputError("part of the formula cannot be read", hint="put arithmetic in braces: {x - 1}")


def _star(a: list[Term], b: list[Term]) -> list[Term]:
    return [*a, *b, *(_times(x, y) for x in a for y in b)]


def _slash(a: list[Term], b: list[Term]) -> list[Term]:
    """Expand ``(a + b) / c`` to ``a + b + a:b:c``, as in R."""
    whole = reduce(_times, a, Term(()))
    return [*a, *(_times(whole, y) for y in b)]


_ALGEBRA: dict[str, Any] = {
    "PLUS": lambda a, b: [*a, *b],
    "MINUS": lambda a, b: [x for x in a if not any(_same(x, y) for y in b)],
    "COLON": lambda a, b: [_times(x, y) for x in a for y in b],
    "STAR": _star,
    "SLASH": _slash,
    "STAR_STAR": None,
}


def _power(node: Any) -> list[Term]:
    base = _terms(node.left)
    power = getattr(node.right, "value", None)
    if not isinstance(power, int) or not 1 <= power <= 6:
        raise InputError("a power in a formula is a whole number from 1 to 6")
    if len(base) == 1:
        name = base[0].name
        raise InputError(
            f"{name} ** {power} means {name} in a formula",
            hint=f"write {{{name} ** {power}}} for the power",
        )
    sizes = range(1, power + 1)
    return _unique(reduce(_times, chosen) for size in sizes for chosen in combinations(base, size))


def _random_part(bars: list[Any]) -> tuple[tuple[Term, ...], str]:
    """Random terms and their grouping factor."""
    if not bars:
        return (), ""
    groups = [_grouping_factor(bar.right) for bar in bars]
    if len(set(groups)) > 1:
        raise InputError(
            f"there are two grouping factors, {groups[0]} and {groups[1]}, and one is offered",
            hint="keep one, and bring the other in as a fixed effect",
        )
    if len(bars) > 1:
        raise InputError(
            "two random parts on one factor mean uncorrelated terms, which are not offered",
            hint=f"write one bracket, (1 + x | {groups[0]})",
        )
    terms = _right_side(_summands(bars[0].left, "+"))
    if not terms:
        raise InputError("the random part has no term", hint=f"write (1 | {groups[0]})")
    if len(terms) > MAX_RANDOM_TERMS:
        raise InputError(
            f"{len(terms)} random terms are asked for and {MAX_RANDOM_TERMS} are offered",
            hint="leave some out of the bracket",
        )
    return terms, groups[0]


def _grouping_factor(node: Any) -> str:
    kind = type(node).__name__
    if kind == "Grouping":
        return _grouping_factor(node.expression)
    if kind in ("Variable", "QuotedName"):
        expression = read_expression(node)
        if isinstance(expression, Name):
            return expression.name
    operator = getattr(getattr(node, "operator", None), "kind", "")
    if operator in ("SLASH", "COLON"):
        raise InputError(
            "nested grouping factors are not offered",
            hint="keep one factor right of the bar, and bring the other in as a fixed effect",
        )
    if operator in ("PLUS", "STAR"):
        raise InputError("one grouping factor is offered", hint="keep one right of the bar")
    raise InputError("right of the bar stands one column, the grouping factor")


def _check_response(response: Term, predictors: tuple[Term, ...]) -> None:
    if isinstance(response.factors[0], Number) or not response.columns:
        raise InputError("left of the ~ stands the response, a column of the data")
    if any(_same(response, t) for t in predictors):
        raise InputError(f"{response.name} is the response and cannot be a predictor as well")


def _refuse_other_meanings(terms: Iterable[Term]) -> None:
    """Refuse calls that would not be what R makes of them."""
    calls = [f for t in terms for f in t.factors if isinstance(f, Call)]
    for call in calls:
        if call.function in _OTHER_CALLS:
            raise InputError(f"{call} is not offered", hint=_OTHER_CALLS[call.function])
        if call.function == "C" and not isinstance(call.only, Name):
            raise InputError(
                f"{call} is not offered: C takes one column, and its first level is the reference",
                hint=_OTHER_CALLS["T"],
            )
