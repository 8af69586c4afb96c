"""lme4-style formulas: what the user wrote, as terms.

The syntax tree comes from formulae; the algebra of terms is done here, because formulae lets
through what has another meaning in lme4, such as ``(1 | g) + (0 + x | g)``, or ``y ~ x | g``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, reduce
from itertools import accumulate
from typing import Any

from multilevel.errors import InputError
from multilevel.expression import Expression, names_in, read_expression

#: Signs that formulae's parser has not, or alone.
_OTHER_SIGNS = {
    "%": "write a:b for a %in% b",
    "`": "a name stands between two of them and holds none itself: rename the column",
    "^": "write {x ** 2} for a power, and (a + b) ** 2 for products of terms",
}


@dataclass(frozen=True, eq=False)
class Term:
    """One term of a formula: a product of components; the constant has none.

    Attributes
    ----------
    factors : tuple of Expression
        What is multiplied, in the order written; ``a:b`` and ``b:a`` are one term.
    """

    factors: tuple[Expression, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and set(self.factors) == set(other.factors)

    def __hash__(self) -> int:
        return hash(frozenset(self.factors))

    @cached_property
    def name(self) -> str:
        """As written, and as printed in tables; the constant is ``Intercept``."""
        return ":".join(map(str, self.factors)) or "Intercept"


_CONSTANT = Term(())


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
    above : str
        Column of the units that hold the groups, over which the intercept varies too; empty but
        for three levels.
    within : bool
        Whether ``above/group`` was written, so that a label counts within its unit.
    """

    text: str = field(compare=False)
    response: Term
    fixed: tuple[Term, ...]
    random: tuple[Term, ...] = ()
    group: str = ""
    above: str = ""
    within: bool = False

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

    def turned(self) -> Formula:
        """Return the formula with its two grouping factors the other way round."""
        _refuse_slopes(self.random, self.group, self.above)
        return replace(self, group=self.above, above=self.group)


@lru_cache(maxsize=512)
def parse_formula(text: str) -> Formula:
    """Read an lme4-style formula.

    Parameters
    ----------
    text : str
        Such as ``"y ~ center(x) * z + (1 + center(x) | g)"``. The fixed part may hold columns,
        ``center``, ``scale``, arithmetic in braces or ``I()``, ``a:b``, ``a * b``, ``a / b``,
        ``(a + b) ** 2``, ``C(x)``, and ``0 +`` or ``- 1`` for no constant. One bracket with a
        bar gives correlated random terms on one grouping factor; none gives a
        single-level model; ``(1 | unit/g)`` or ``(1 | unit) + (1 + x | g)`` three levels.

    Returns
    -------
    Formula

    Raises
    ------
    InputError
        When the formula cannot be read, or asks for uncorrelated random terms (``||``) or for more
        than three levels.

    Examples
    --------
    >>> f = parse_formula("y ~ center(x) * z + (1 + center(x) | g)")
    >>> [t.name for t in f.fixed]
    ['Intercept', 'center(x)', 'z', 'center(x):z']
    >>> [t.name for t in f.random], f.group
    (['Intercept', 'center(x)'], 'g')
    >>> f = parse_formula("y ~ x + (1 | site/g)")
    >>> f.above, f.group
    ('site', 'g')
    """
    left, right = _syntax(text)
    parts = _summands(right, "+")
    bars = [(sign, part) for sign, part in parts if part.sign == "|"]
    if any(sign == "-" for sign, _ in bars):
        raise InputError("a random part can be added, not taken away")
    fixed = _right_side(one for one in parts if one not in bars)
    random, group, above, within = _random_part([part for _, part in bars])
    response = Term((left,))
    if not tuple(names_in(left)):
        raise InputError("left of the ~ stands the response, a column of the data")
    if response in (*fixed, *random):
        raise InputError(f"{response.name} is the response and cannot be a predictor as well")
    formula = Formula(text, response, fixed, random, group, above, within)
    if group in formula.columns:
        raise InputError(f"{group} is the grouping factor and can be nothing else in the formula")
    if not fixed and not random:
        raise InputError("the formula has no term on its right side", hint="write y ~ 1 at least")
    return formula


def _syntax(text: str) -> tuple[Expression, Expression]:
    """Left and right side of the formula."""
    unquoted = re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "", text)
    if re.search(r"\|\s*\|", unquoted):
        why = "uncorrelated random terms (||) are not offered"
        raise InputError(why, hint="write (1 + x | g): the terms are then correlated, as in lme4")
    if unquoted.count("~") != 1:
        why = "a formula has one ~ between response and predictors"
        raise InputError(why, hint='write for example "y ~ x + (1 | g)"')
    # What is read of a formula is nested as deep as it has signs, and Python goes so deep only.
    deep = max(accumulate((c == "(") - (c == ")") for c in unquoted))
    if deep + len(re.findall(r"[-+*/:]", unquoted)) > 200:
        raise InputError("a formula of more than 200 signs is not read", hint="leave terms out")
    for sign, advice in _OTHER_SIGNS.items():
        if sign in unquoted:
            raise InputError(f"the formula cannot be read: it holds {sign}", hint=advice)
    from formulae.parser import Parser
    from formulae.scanner import Scanner

    try:
        parser = Parser(Scanner(text).scan())
        tree = parser.parse()
    except Exception as error:  # formulae raises bare exceptions of several kinds
        said = str(error).rstrip(".")
        hint = f"formulae says: {said}" if said else "check its brackets"
        raise InputError("the formula cannot be read", hint=hint) from None
    # formulae stops at the first thing it cannot place and says nothing of the rest.
    if not parser.at_end() or type(tree).__name__ != "Binary" or tree.operator.kind != "TILDE":
        in_brackets = "write the random part in brackets: (1 + x | g)" if "|" in text else None
        raise InputError("part of the formula cannot be read", hint=in_brackets)
    # What stands left of the ~ is one number a row.
    return read_expression(tree.left, inside=True), read_expression(tree.right)


def _summands(side: Expression, sign: str) -> list[tuple[str, Expression]]:
    """Summands with their signs, those before them included, as in ``0 + -1``."""
    if side.sign not in ("+", "-"):
        return [(sign, side)]
    *before, last = side.parts
    if sign == "-" == side.sign:
        raise InputError("a difference is taken away", hint="take away one term after another")
    own = "-" if "-" in (sign, side.sign) else "+"
    return [*(s for part in before for s in _summands(part, sign)), *_summands(last, own)]


def _right_side(parts: Iterable[tuple[str, Expression]]) -> tuple[Term, ...]:
    """Terms of a sum, the constant first unless it was taken out."""
    terms = [_CONSTANT]
    for sign, part in parts:
        zero = part.value == 0
        join = _ALGEBRA["+" if (sign == "+") != zero else "-"]
        terms = list(dict.fromkeys(join(terms, [_CONSTANT] if zero else _terms(part))))
    return tuple(sorted(terms, key=lambda term: bool(term.factors)))


def _times(one: Term, other: Term) -> Term:
    return Term(tuple(dict.fromkeys((*one.factors, *other.factors))))


def _terms(part: Expression) -> list[Term]:
    """Terms that a part of the right side stands for."""
    if part.value == 1:
        return [_CONSTANT]
    if part.value is not None:
        raise InputError(f"{part.value} on its own is not a term", hint="only 1, 0 and -1 are")
    if not part.sign:
        return [Term((part,))]
    if part.sign == "|":
        raise InputError("a random part stands alone, added to the others", hint="write + (1 | g)")
    if len(part.parts) == 2 and part.sign == "**":
        return _power(*part.parts)
    if len(part.parts) == 2 and part.sign in _ALGEBRA:
        left, right = map(_terms, part.parts)
        return list(dict.fromkeys(_ALGEBRA[part.sign](left, right)))
    raise InputError("part of the formula cannot be read", hint="put arithmetic in braces: {x - 1}")


def _star(a: list[Term], b: list[Term]) -> list[Term]:
    """Expand ``a * b`` to ``a + b + a:b``."""
    return list(dict.fromkeys([*a, *b, *(_times(x, y) for x in a for y in b)]))


_ALGEBRA: dict[str, Any] = {
    "+": lambda a, b: [*a, *b],
    "-": lambda a, b: [x for x in a if x not in b],
    ":": lambda a, b: [_times(x, y) for x in a for y in b],
    "*": _star,
    # (a + b) / c is a + b + a:b:c, as in R.
    "/": lambda a, b: [*a, *(reduce(_times, [*a, y]) for y in b)],
}


def _power(below: Expression, above: Expression) -> list[Term]:
    base, power = _terms(below), above.value
    if not isinstance(power, int) or not 1 <= power <= 6:
        raise InputError("a power in a formula is a whole number from 1 to 6")
    if len(base) == 1:
        name = base[0].name
        why = f"{name} ** {power} means {name} in a formula"
        raise InputError(why, hint=f"write {{{name} ** {power}}} for the power")
    return reduce(_star, [base] * power)


def _random_part(bars: list[Expression]) -> tuple[tuple[Term, ...], str, str, bool]:
    """Random terms, their grouping factor, and the units above it: see `Formula`."""
    if not bars:
        return (), "", "", False
    parts = [(_right_side(_summands(bar.parts[0], "+")), bar.parts[1]) for bar in bars]
    if not all(terms for terms, _ in parts):
        raise InputError("the random part has no term", hint="write (1 | g)")
    within = len(parts) == 1 and parts[0][1].sign == "/"
    if within:
        parts = [(parts[0][0], factor) for factor in parts[0][1].parts]
    if any(factor.kind != "name" for _, factor in parts):
        why = "right of the bar stands one column, the grouping factor"
        raise InputError(why, hint="write (1 | unit/group) where groups are nested in units")
    groups = [factor.head for _, factor in parts]
    if len(set(groups)) < len(groups):
        why = "two random parts on one factor mean uncorrelated terms, which are not offered"
        raise InputError(why, hint=f"write one bracket, (1 + x | {groups[0]})")
    if len(parts) > 2:
        raise InputError("more than three levels are asked for", hint="keep two grouping factors")
    if len(parts) == 1:
        return parts[0][0], groups[0], "", False
    # The data may say that it is the other way round where each has but its intercept.
    upper = int([terms == (_CONSTANT,) for terms, _ in parts] == [False, True])
    _refuse_slopes(parts[upper][0], groups[upper], groups[1 - upper])
    return parts[1 - upper][0], groups[1 - upper], groups[upper], within


def _refuse_slopes(terms: tuple[Term, ...], above: str, below: str) -> None:
    if terms != (_CONSTANT,):
        why = "more than the intercept varies over the units above the groups"
        raise InputError(why, hint=f"write (1 | {above}), and (1 + x | {below}) beside it")
