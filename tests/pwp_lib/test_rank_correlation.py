"""Spearman's exact p-value against a full enumeration of the orders, with and without ties."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from pwp_lib.ranking import rank_correlation

#: How often a value of either side repeats another, by the number of distinct values.
TIES = ["none", "first", "second", "both", "halves"]


@cache
def orders(n: int) -> NDArray[np.int8]:
    """Every order of so many places."""
    return np.array(list(permutations(range(n))), dtype=np.int8)


def enumerated(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Share of all orders with a correlation as far from zero, or farther."""
    first, second = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    seen = abs(first @ second) - 1e-9
    if len(a) < 10:
        return float(np.mean(np.abs(second[orders(len(a))] @ first) >= seen))
    # The last of the ten is given to each in turn.
    far = 0
    for last in range(10):
        others = np.delete(second, last)[orders(9)]
        far += int((np.abs(others @ first[:9] + second[last] * first[9]) >= seen).sum())
    return far / (10 * len(orders(9)))


def pair(seed: int, n: int, ties: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng([seed, n])
    a, b = rng.normal(size=(2, n))
    b += rng.choice([0.0, 0.8, -2.0]) * a
    if ties in ("first", "both"):
        a = np.round(a)
    if ties in ("second", "both"):
        b = np.round(b)
    if ties == "halves":
        a, b = (np.where(v > np.median(v), 1.0, 0.0) for v in (a, b))
    return a + 0.0, b + 0.0


CASES = [(seed, n, ties) for n in range(3, 10) for ties in TIES for seed in range(3)]
CASES += [(seed, 10, ties) for seed, ties in enumerate(TIES)]


@pytest.mark.neighbours
@pytest.mark.parametrize(("seed", "n", "ties"), CASES)
def test_the_p_value_is_the_share_of_all_orders(seed: int, n: int, ties: str) -> None:
    a, b = pair(seed, n, ties)
    if min(np.ptp(a), np.ptp(b)) == 0:
        assert np.isnan(rank_correlation(a, b).p_value)
        return
    found = rank_correlation(a, b)
    assert found.correlation == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-12)
    assert found.p_value == pytest.approx(enumerated(a, b), rel=1e-9)


def test_few_of_the_cases_do_not_vary() -> None:
    constant = [case for case in CASES if min(np.ptp(v) for v in pair(*case)) == 0]
    assert len(CASES) - len(constant) >= 80


@pytest.mark.parametrize("large", [np.inf, 1e308])
@pytest.mark.parametrize("n", [3, 5, 12])
def test_infinite_and_huge_values_are_ranked_as_any(large: float, n: int) -> None:
    """Their range would be no number."""
    a, b = np.arange(n) - 1.0, np.random.default_rng(n).permutation(n)
    wide = np.where(a == a.max(), large, np.where(a == a.min(), -large, a))
    assert rank_correlation(wide, b) == rank_correlation(a, b)
    assert np.isnan(rank_correlation(np.full(n, large), b).p_value)
