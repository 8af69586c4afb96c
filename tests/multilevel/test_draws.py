from __future__ import annotations

import arviz as az
import numpy as np
import pytest

from multilevel.draws import PosteriorInterval
from multilevel.errors import InputError


def autoregression(chains: int, draws: int, rho: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(chains, draws))
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    return x


CHAINS = [(4, 1_000, 0.9), (1, 2_501, 0.5), (3, 999, -0.4), (2, 400, 0.99), (1, 5_000, -0.9)]


@pytest.mark.parametrize(("chains", "draws", "rho"), CHAINS)
def test_an_interval_s_errors_are_arviz_s(chains: int, draws: int, rho: float) -> None:
    x = np.exp(autoregression(chains, draws, rho, seed=3))
    got = PosteriorInterval.of(x)
    assert got.ess == pytest.approx(float(az.ess(x, method="bulk")), rel=1e-9)
    for error, prob in ((got.mcse_lower, 0.025), (got.mcse, 0.5), (got.mcse_upper, 0.975)):
        expected = float(az.mcse(x, method="quantile", prob=prob))
        assert error == pytest.approx(expected, rel=1e-9)
    if chains > 1:
        assert got.r_hat == pytest.approx(float(az.rhat(x, method="rank")), rel=1e-9)


def test_one_chain_is_compared_with_itself() -> None:
    x = autoregression(1, 2_000, 0.2, seed=6)[0]
    assert PosteriorInterval.of(x).r_hat < 1.01
    assert PosteriorInterval.of(x + np.linspace(0, 4, len(x))).r_hat > 1.5


def test_chains_that_differ_in_spread_only_are_seen() -> None:
    x = autoregression(4, 1_000, 0.0, seed=7)
    x[0] *= 5
    assert PosteriorInterval.of(x).r_hat > 1.05


@pytest.mark.parametrize("x", [np.ones((2, 100)), [1.0, 2.0, 3.0], [[1.0]]], ids=str)
def test_a_constant_or_a_few_draws_have_no_diagnostics(x: object) -> None:
    got = PosteriorInterval.of(x)  # type: ignore[arg-type]
    assert np.isnan([got.ess, got.r_hat, got.mcse, got.mcse_lower, got.mcse_upper]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.5, float("nan")])
def test_a_level_lies_between_0_and_1(level: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        PosteriorInterval.of([1.0, 2.0], level)
