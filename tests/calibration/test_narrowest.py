"""How narrow an interval could be, against closed forms and another way to integrate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import approx_fprime

from calibration import narrowest
from calibration.narrowest import narrowest_interval
from multilevel.errors import InputError

BETWEEN, RESIDUAL = 2.8, 29.0
CASELOADS = [134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26]


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_effects_known_exactly_leave_an_inverse_gamma_posterior() -> None:
    found = narrowest_interval([1e9] * 21, BETWEEN, RESIDUAL, starts=2)
    # 21 squares that sum to 21 times the estimate, and a prior of shape one half.
    exact = stats.invgamma.ppf([0.025, 0.975], 11, scale=(21 + 2) * BETWEEN / 2)
    assert [found.lower, found.upper] == pytest.approx(exact / (exact + RESIDUAL), abs=5e-5)


def test_departures_found_have_the_estimate_and_their_interval_is_right() -> None:
    found = narrowest_interval(CASELOADS, BETWEEN, RESIDUAL, starts=4)
    error = RESIDUAL / found.caseloads

    def log_density(x: float) -> float:  # of the logarithm of the variance
        v = np.exp(x) + error
        likelihood = stats.norm.logpdf(found.departures, scale=np.sqrt(v)).sum()
        return float(likelihood + stats.invgamma.logpdf(np.exp(x), 0.5, scale=BETWEEN) + x)

    def score(v: np.ndarray) -> float:
        return float((found.departures**2 / v**2 - 1 / v).sum())

    assert score(BETWEEN + error) == pytest.approx(0, abs=1e-4)
    top = log_density(np.log(BETWEEN))
    mass = [
        quad(lambda x: np.exp(log_density(x) - top), -3, to, epsabs=1e-10)[0]
        for to in (np.log(f / (1 - f) * RESIDUAL) for f in (found.lower, found.upper))
    ]
    whole = quad(lambda x: np.exp(log_density(x) - top), -3, 5, epsabs=1e-10)[0]
    assert np.array(mass) / whole == pytest.approx([0.025, 0.975], abs=2e-4)
    assert found.sd == pytest.approx((logit(found.upper) - logit(found.lower)) / 3.92, abs=1e-9)
    assert found.table().shape == (1, 3)


def test_slopes_are_those_of_finite_differences() -> None:
    n = np.array(CASELOADS, dtype=float)
    squares = np.random.default_rng(1).gamma(1.0, 3.0, 21)
    z = np.concatenate([squares, n])

    def width(z: np.ndarray) -> float:
        (low, high), _ = narrowest._bounds(z[:21], z[21:], BETWEEN, RESIDUAL)
        return float(high - low)

    _, (below, above) = narrowest._bounds(squares, n, BETWEEN, RESIDUAL)
    assert above - below == pytest.approx(approx_fprime(z, width, 1e-4), abs=1e-6)
    for k in range(3):
        numeric = approx_fprime(
            z, lambda z, k=k: float(narrowest._held(n, BETWEEN, RESIDUAL, z)[k]), 1e-6
        )
        exact = narrowest._held_slopes(n, BETWEEN, RESIDUAL, z)[k]
        assert exact == pytest.approx(numeric, abs=1e-5)


def test_no_cohort_drawn_at_random_is_narrower() -> None:
    found = narrowest_interval(CASELOADS, BETWEEN, RESIDUAL, starts=8)
    v = BETWEEN + RESIDUAL / found.caseloads
    rng = np.random.default_rng(2)
    for _ in range(50):
        squares = v * rng.gamma(0.3, 1.0, 21)
        squares *= (1 / v).sum() / (squares / v**2).sum()  # to the same estimate
        (low, high), _ = narrowest._bounds(squares, found.caseloads, BETWEEN, RESIDUAL)
        assert (high - low) / 3.92 >= found.sd


def test_free_caseloads_keep_total_and_spread_and_are_no_wider() -> None:
    fixed = narrowest_interval(CASELOADS, BETWEEN, RESIDUAL, starts=4)
    free = narrowest_interval(CASELOADS, BETWEEN, RESIDUAL, any_caseloads=True, starts=8)
    assert free.caseloads.sum() == pytest.approx(sum(CASELOADS), rel=1e-6)
    assert free.caseloads.std() == pytest.approx(np.std(CASELOADS), rel=1e-5)
    assert free.caseloads.min() >= 8
    assert free.caseloads.max() <= 197
    assert free.sd < fixed.sd


@pytest.mark.parametrize(
    ("caseloads", "between", "residual", "words"),
    [
        ([5], 1, 1, "two or more"),
        ([5, 0], 1, 1, "two or more"),
        ([5, 5], 0, 1, "variances"),
        ([5, 5], 1, -1, "variances"),
        ([5, float("nan")], 1, 1, "two or more"),
    ],
)
def test_what_is_not_positive_is_refused(
    caseloads: list[float], between: float, residual: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        narrowest_interval(caseloads, between, residual)


@pytest.mark.nightly
def test_the_committed_table_is_what_the_search_finds() -> None:
    kept = pd.read_csv(Path(narrowest.__file__).with_suffix(".csv"), index_col="measure")
    pd.testing.assert_frame_equal(kept, narrowest.table(), atol=2e-6, rtol=0)
