"""The permutation test whose size the coverage page states."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmarks.permutation import permute_therapists
from multilevel.errors import InputError


def test_permutation_test_by_hand() -> None:
    yes, n = np.array([9, 5, 4, 2, 1]), np.array([10, 20, 8, 9, 5])
    inside = np.array([True, True, False, False, False])

    def studentised(chosen: np.ndarray) -> float:
        rate = [yes[side].sum() / n[side].sum() for side in (chosen, ~chosen)]
        variance = sum(
            side.sum() / (side.sum() - 1) * ((yes - r * n)[side] ** 2).sum() / n[side].sum() ** 2
            for r, side in zip(rate, (chosen, ~chosen), strict=True)
        )
        return (rate[0] - rate[1]) / variance**0.5

    every = [studentised(np.isin(range(5), pair)) for pair in combinations(range(5), 2)]
    result = permute_therapists(yes, n, inside)
    assert result.difference == pytest.approx(14 / 30 - 7 / 22)
    assert result.p_value == np.mean(np.abs(every) >= abs(studentised(inside)) - 1e-12)
    assert (result.splits, result.exact) == (10, True)


def test_with_equal_caseloads_the_difference_itself_is_permuted() -> None:
    yes, n, inside = np.array([9, 5, 4, 2, 1, 7]), np.full(6, 10), np.arange(6) < 3
    splits = [np.isin(range(6), three) for three in combinations(range(6), 3)]
    every = [yes[split].sum() - yes[~split].sum() for split in splits]
    expected = np.mean(np.abs(every) >= abs(yes[inside].sum() - yes[~inside].sum()))
    assert permute_therapists(yes, n, inside).p_value == expected


BOOK = [11, 36, 39, 58, 134, 26, 72, 90, 163, 197]
APART = [197, 163, 134, 90, 72, 8, 9, 10, 11, 19]
SIZES = [
    *(BOOK, APART, APART[::-1], [200] * 5 + [20] * 5, [30] * 10),
    *([12, 250, 15, 240, 20] * 2, [400, 25, 25, 25, 25] + [60] * 5),
]


@pytest.mark.nightly
@pytest.mark.neighbours
@pytest.mark.parametrize("caseloads", SIZES)
@pytest.mark.parametrize("spread", [0.0, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("level", [0.0, -1.5, 1.0])
def test_the_permutation_test_keeps_its_size(
    caseloads: list[int], spread: float, level: float
) -> None:
    """Of 170 data sets without a difference, no more than .05 and three standard errors."""
    rng = np.random.default_rng([len(set(caseloads)), caseloads[0], int(10 * spread)])
    first = np.arange(10) < 5
    log_odds = level + spread * rng.normal(size=(170, 10))
    yes = rng.binomial(caseloads, 1 / (1 + np.exp(-log_odds)))
    p = [permute_therapists(row, caseloads, first).p_value for row in yes]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 170) ** 0.5


def test_a_cluster_where_every_therapist_has_the_same_rate_can_be_compared() -> None:
    same = permute_therapists([5, 5, 5, 5], [10] * 4, [True, True, False, False])
    assert (same.difference, same.p_value) == (0, 1)
    apart = permute_therapists([9, 9, 1, 1], [10] * 4, [True, True, False, False])
    assert apart.p_value == pytest.approx(2 / 6)
    alone = permute_therapists([9, 1, 2, 3], [10] * 4, [True, False, False, False])
    assert alone.p_value == pytest.approx(1 / 4)


def test_permutations_are_drawn_when_there_are_too_many() -> None:
    rng = np.random.default_rng(1)
    n = np.full(30, 20)
    yes = rng.binomial(20, 0.4, size=30)
    result = permute_therapists(yes, n, np.arange(30) < 15)
    assert not result.exact
    assert 0 < result.p_value <= 1
    assert result == permute_therapists(yes, n, np.arange(30) < 15)
    with pytest.raises(InputError, match="without a patient"):
        permute_therapists([1, 0], [3, 0], [False, True])


@pytest.mark.parametrize(
    ("yes", "n", "first"),
    [
        ([1, np.nan, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([1, None, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([1, 2, 3, 2], [4, np.nan, 6, 7], [1, 1, 0, 0]),
        ([1, 2, 3, 2], [4, np.inf, 6, 7], [1, 1, 0, 0]),
        ([9, 2, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([-1, 2, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([0.5, 2, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([1, 2, 3], [4, 5, 6, 7], [1, 1, 0, 0]),
        (["a", 2, 3, 2], [4, 5, 6, 7], [1, 1, 0, 0]),
        ([1, 2, 3, 2], [4, 5, 6, 7], [1, 1, 0]),
        ([1, 2, 3, 2], [4, 5, 6, 7], [1, None, 0, 0]),
        ([1, 2, 3, 2], [4, 5, 6, 7], [1, np.nan, 0, 0]),
        ([1, 2, 3, 2], [4, 5, 6, 7], [0.5, 1, 0, 0]),
    ],
)
def test_what_is_missing_or_impossible_has_no_p_value(yes: list, n: list, first: list) -> None:
    """A missing count gave a p-value of zero, and a missing cluster one of the two."""
    with pytest.raises(InputError, match=r"therapist"):
        permute_therapists(yes, n, first)
