"""The studentised permutation of rates against SciPy's permutation test, every split looked at."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import permutation_test

from benchmarks.permutation import permute_therapists

Counts = NDArray[np.float64]


def data(seed: int) -> tuple[Counts, Counts, NDArray[np.bool_]]:
    """Successes, patients and cluster of four to nine therapists, their caseloads far apart."""
    rng = np.random.default_rng(seed)
    therapists = int(rng.integers(4, 10))
    n = rng.integers(3, 3 * 10 ** rng.integers(1, 3), size=therapists).astype(float)
    first = np.arange(therapists) < rng.integers(2, therapists - 1)
    if seed % 3 == 0:  # the larger caseloads in one cluster
        n = np.sort(n)[::-1]
    rate = 1 / (1 + np.exp(-rng.normal(rng.normal(), 0.7, size=therapists) - (seed % 2) * first))
    order = rng.permutation(therapists)
    return rng.binomial(n.astype(int), rate).astype(float)[order], n[order], first[order]


def far(yes: Counts, n: Counts) -> tuple[float, float]:
    """Rate of all patients of a cluster, and the variance of that ratio over its therapists."""
    rate = yes.sum() / n.sum()
    return rate, len(n) * np.var(yes - rate * n, ddof=1) / n.sum() ** 2


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(90))
def test_the_p_value_is_that_of_all_splits(seed: int) -> None:
    yes, n, first = data(seed)

    def statistic(one: Counts, other: Counts) -> float:
        a, b = one.astype(int), other.astype(int)
        (rate, variance), (lower, further) = far(yes[a], n[a]), far(yes[b], n[b])
        return abs(rate - lower) / max(variance + further, 1e-12) ** 0.5

    sides = np.flatnonzero(first), np.flatnonzero(~first)
    expected = permutation_test(
        sides, statistic, vectorized=False, n_resamples=10_000, alternative="greater"
    )
    found = permute_therapists(yes, n, first)
    assert found.exact
    assert found.splits == len(expected.null_distribution)
    assert found.difference == pytest.approx(
        yes[first].sum() / n[first].sum() - yes[~first].sum() / n[~first].sum()
    )
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(90))
def test_the_size_is_that_of_the_ways_to_allot_the_therapists(seed: int) -> None:
    """Allotted by chance, of all ways the share that has a p-value of so much is at most so much.

    Both shares are counted: the p-values' by the function, for each way in turn; the right ones
    by the places of the statistics of all ways among each other.
    """
    yes, n, first = data(seed)
    ways = [np.isin(range(len(n)), c) for c in combinations(range(len(n)), int(first.sum()))]
    sides = [(far(yes[way], n[way]), far(yes[~way], n[~way])) for way in ways]
    statistics = np.array([abs(a[0] - b[0]) / max(a[1] + b[1], 1e-12) ** 0.5 for a, b in sides])
    expected = (statistics >= statistics[:, None] * (1 - 1e-12)).mean(axis=1)
    found = np.array([permute_therapists(yes, n, way).p_value for way in ways])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    for level in found:
        assert np.mean(found <= level) <= level + 1e-12


def test_without_the_standard_error_other_p_values_come_out() -> None:
    """The cases tell the studentised difference from the plain one."""
    differ = 0
    for seed in range(90):
        yes, n, first = data(seed)
        plain = permutation_test(
            (np.flatnonzero(first), np.flatnonzero(~first)),
            lambda a, b, yes=yes, n=n: abs(
                yes[a.astype(int)].sum() / n[a.astype(int)].sum()
                - yes[b.astype(int)].sum() / n[b.astype(int)].sum()
            ),
            vectorized=False,
            n_resamples=10_000,
            alternative="greater",
        )
        differ += abs(plain.pvalue - permute_therapists(yes, n, first).p_value) > 1e-9
    assert differ > 45
