from __future__ import annotations

import arviz as az
import numpy as np
import pytest

from multilevel.diagnostics import decimals, effective_sample_size, quantile_error, r_hat


def autoregression(chains: int, draws: int, rho: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(chains, draws))
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    return x


CHAINS = [
    (4, 1_000, 0.0),
    (4, 1_000, 0.9),
    (1, 2_501, 0.5),
    (3, 999, -0.4),
    (2, 400, 0.99),
    (1, 5_000, -0.9),
]


@pytest.mark.parametrize(("chains", "draws", "rho"), CHAINS)
def test_effective_sample_sizes_are_arviz_s(chains: int, draws: int, rho: float) -> None:
    x = np.exp(autoregression(chains, draws, rho, seed=3))
    assert effective_sample_size(x) == pytest.approx(float(az.ess(x, method="bulk")), rel=1e-9)
    for prob in (0.025, 0.5, 0.975):
        expected = float(az.ess(x, method="quantile", prob=prob))
        assert effective_sample_size(x, prob=prob) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("chains", "draws", "rho"), CHAINS)
def test_quantile_errors_are_arviz_s(chains: int, draws: int, rho: float) -> None:
    x = np.exp(autoregression(chains, draws, rho, seed=4))
    for prob in (0.025, 0.5, 0.975):
        expected = float(az.mcse(x, method="quantile", prob=prob))
        assert quantile_error(x, prob) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0])
def test_r_hat_is_arviz_s(shift: float) -> None:
    x = autoregression(4, 500, 0.6, seed=5)
    x[0] += shift
    assert r_hat(x) == pytest.approx(float(az.rhat(x, method="rank")), rel=1e-9)


def test_r_hat_of_one_chain_compares_its_halves() -> None:
    x = autoregression(1, 2_000, 0.2, seed=6)[0]
    drifting = x + np.linspace(0, 4, len(x))
    assert r_hat(x) < 1.01
    assert r_hat(drifting) > 1.5


def test_r_hat_sees_chains_that_differ_in_spread_only() -> None:
    x = autoregression(4, 1_000, 0.0, seed=7)
    x[0] *= 5
    assert r_hat(x) > 1.05


def test_effective_size_of_an_autoregression_is_the_theory_s() -> None:
    x = autoregression(4, 20_000, 0.8, seed=8)
    assert effective_sample_size(x) == pytest.approx(80_000 * 0.2 / 1.8, rel=0.15)


def test_a_constant_has_no_diagnostics() -> None:
    x = np.ones((2, 100))
    assert np.isnan(r_hat(x))
    assert np.isnan(effective_sample_size(x))
    assert np.isnan(quantile_error(x, 0.5))
    assert np.isnan(r_hat([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.5, 0), (0.05, 1), (0.0501, 0), (0.005, 2), (3.0, 0), (0.0, 6), (float("nan"), 0)],
)
def test_decimals_end_where_the_error_begins(error: float, expected: int) -> None:
    assert decimals(error) == expected


def test_decimals_can_be_capped() -> None:
    assert decimals(1e-9, most=3) == 3
