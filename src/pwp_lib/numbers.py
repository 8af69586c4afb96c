"""Numbers, p-values, counts and lists as text: the one place where they are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "bare_p",
    "count",
    "decimals",
    "interval",
    "listing",
    "number",
    "p_value",
    "percent",
    "plain",
    "share",
    "sign_fixed",
    "with_interval",
]


def sign_fixed(value: float, decimals: int) -> str:
    """Write a number with a fixed number of decimals, a true minus and no minus before zero.

    Examples
    --------
    >>> sign_fixed(-1.25, 1), sign_fixed(-0.001, 2), sign_fixed(1122, 0)
    ('−1.2', '0.00', '1,122')
    """
    text = f"{value:,.{decimals}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "−")


def plain(value: float, decimals: int = 2) -> str:
    """Write a number with at most so many decimals: no trailing zeros, a true minus.

    Examples
    --------
    >>> plain(-0.50), plain(3.0), plain(-0.001)
    ('−0.5', '3', '0')
    """
    text = sign_fixed(value, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float, decimals: int = 1) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.0874), percent(0.5, 0)
    ('8.7%', '50%')
    """
    return f"{sign_fixed(100 * value, decimals)}%"


def share(n: int, of: int) -> str:
    """Write a count with its percentage.

    Examples
    --------
    >>> share(775, 1122), share(0, 0)
    ('775 (69.1%)', '0')
    """
    return f"{n:,} ({percent(n / of)})" if of else f"{n:,}"


def bare_p(p: float, missing: str = "–") -> str:
    """Write a p-value for a table: three decimals, no leading zero, no p.

    Examples
    --------
    >>> bare_p(0.0317), bare_p(1e-9), bare_p(1.0), bare_p(float("nan"))
    ('.032', '< .001', '1.000', '–')
    """
    if p != p:
        return missing
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def p_value(p: float, missing: str = "p not defined") -> str:
    """Write a p-value for a sentence.

    Examples
    --------
    >>> p_value(0.0317), p_value(0.0000001), p_value(1.0), p_value(float("nan"))
    ('p = .032', 'p < .001', 'p = 1', 'p not defined')
    """
    text = bare_p(p, "")
    if not text:
        return missing
    return f"p {text}" if text[0] == "<" else f"p = {'1' if text == '1.000' else text}"


def interval(lower: float, upper: float, decimals: int = 1, unit: str = "") -> str:
    """Write the two ends of an interval.

    Examples
    --------
    >>> interval(-0.5, 1.25, 2, " points")
    '−0.50 to 1.25 points'
    """
    return f"{sign_fixed(lower, decimals)} to {sign_fixed(upper, decimals)}{unit}"


def count(n: int, noun: str) -> str:
    """Write a count and its noun in agreement.

    Examples
    --------
    >>> count(1, "therapist"), count(2, "study"), count(1200, "patient")
    ('1 therapist', '2 studies', '1,200 patients')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def listing(items: Iterable[object]) -> str:
    """Write items as in a sentence.

    Examples
    --------
    >>> listing("abc"), listing(["a"]), listing([])
    ('a, b and c', 'a', '')
    """
    words = [str(i) for i in items]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def number(value: Any, decimals: int = 2, missing: str = "–") -> str:
    """Write the value of a table's cell: whole numbers, numbers, yes or no, text.

    Examples
    --------
    >>> number(1122), number(-0.5, 1), number(float("nan")), number(True), number("T01")
    ('1,122', '−0.5', '–', 'yes', 'T01')
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return missing
    if type(value).__name__ in {"bool", "bool_"}:
        return "yes" if value else "no"
    if not hasattr(value, "__float__"):
        return str(value)
    if value != value:
        return missing
    return sign_fixed(value, 0 if hasattr(value, "__index__") else decimals)


def decimals(values: Iterable[Any], most: int = 3) -> int:
    """Say how many decimals write numbers alike: as many as one of them needs, at most so many.

    Examples
    --------
    >>> decimals([2.5, 2.45, float("nan"), "*"]), decimals([3.0, 4.0001])
    (2, 0)
    """
    texts = [plain(v, most) for v in values if isinstance(v, float) and v == v]
    return max((len(t.partition(".")[2]) for t in texts), default=0)


def with_interval(places: int, *three: float, unit: str = "", word: str = "") -> str:
    """Write an estimate with its two bounds, without them where there are none, or none given.

    What would be written as 0 and is above it is under the smallest number of so many places.

    Examples
    --------
    >>> with_interval(1, 0.5, -1.0, 2.25), with_interval(0, 3.0, float("nan"), float("nan"))
    ('0.5 (−1.0 to 2.2)', '3')
    >>> with_interval(1, 1.0, 0.03, 3.0, unit="%", word="95% interval ")
    '1.0% (95% interval under 0.1 to 3.0)'
    >>> with_interval(1, 0.05)  # from 0.0482, say
    'under 0.1'
    """
    least = 10.0**-places
    # A released half of it may have been less: 0.0482 is released as 0.05, and is no 0.1.
    middle, low, high = (
        f"under {least:g}" if 0 < v <= least / 2 else number(v, places, "")
        for v in (*three, float("nan"), float("nan"))[:3]
    )
    return f"{middle}{unit}" * bool(middle) + f" ({word}{low} to {high})" * bool(low)
