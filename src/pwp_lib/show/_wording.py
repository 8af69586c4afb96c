"""Words that sentences share: numbers, p-values, lists, agreement in number."""

from __future__ import annotations

from math import isnan

from multilevel.diagnostics import decimals as decimals_allowed
from pwp_lib.show._drawing import count, listing, lower_first, plain
from pwp_lib.show.style import measure_label

__all__ = [
    "certain_percent",
    "count",
    "interval",
    "listing",
    "lower_first",
    "measure_label",
    "p_value",
    "percent",
    "plain",
    "share",
    "sign_fixed",
]


def sign_fixed(value: float, decimals: int) -> str:
    """Write a number with a fixed number of decimals and a true minus.

    Examples
    --------
    >>> sign_fixed(-1.25, 1), sign_fixed(-0.001, 2)
    ('−1.2', '0.00')
    """
    text = f"{value:,.{decimals}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "−")


def percent(value: float, decimals: int = 1) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.0874), percent(0.5, 0)
    ('8.7%', '50%')
    """
    return f"{sign_fixed(100 * value, decimals)}%"


def certain_percent(value: float, error: float, most: int = 1) -> str:
    """Write a share as a percentage, with no more decimals than its Monte Carlo error allows.

    Examples
    --------
    >>> certain_percent(0.0976, 0.0003), certain_percent(0.1858, 0.0012)
    ('9.8%', '19%')
    """
    return percent(value, min(decimals_allowed(100 * error), most))


def share(n: int, of: int) -> str:
    """Write a count with its percentage.

    Examples
    --------
    >>> share(775, 1122), share(0, 0)
    ('775 (69.1%)', '0')
    """
    return f"{n:,} ({percent(n / of)})" if of else f"{n:,}"


def p_value(p: float) -> str:
    """Write a p-value without its leading zero.

    Examples
    --------
    >>> p_value(0.0317), p_value(0.0000001), p_value(1.0), p_value(float("nan"))
    ('p = .032', 'p < .001', 'p = 1', 'p not defined')
    """
    if isnan(p):
        return "p not defined"
    if p < 0.001:
        return "p < .001"
    text = f"{p:.3f}"
    return "p = 1" if text == "1.000" else f"p = {text.removeprefix('0')}"


def interval(lower: float, upper: float, decimals: int = 1, unit: str = "") -> str:
    """Write the two ends of an interval.

    Examples
    --------
    >>> interval(-0.5, 1.25, 2, " points")
    '−0.50 to 1.25 points'
    """
    return f"{sign_fixed(lower, decimals)} to {sign_fixed(upper, decimals)}{unit}"
