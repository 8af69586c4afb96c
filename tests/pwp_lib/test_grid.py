from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.priors import Prior
from pwp_lib.grid import GridPosterior, grid_posterior


def small_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(6), [3, 5, 4, 7, 2, 6])
    x = rng.normal(size=len(g))
    return rng.normal(size=6)[g] + 0.5 * x + rng.normal(scale=1.5, size=len(g)), x, g


def small_design() -> DesignMoments:
    y, x, g = small_rows()
    return DesignMoments.from_arrays(y, {"Intercept": np.ones(len(y)), "x": x}, ["Intercept"], g)


def mean(grid: GridPosterior, quantity: str) -> float:
    """Mean of a quantity over the nodes."""
    residual = np.exp(grid.log_residual)
    group = np.exp(grid.log_ratio)[:, None] * residual
    values = {
        "vpc": group / (group + residual), "group variance": group, "residual variance": residual
    }  # fmt: skip
    return float((grid.mass * values[quantity]).sum())


LOG_TAU, LOG_SIGMA = np.linspace(-14, 9, 185), np.linspace(-1.5, 4, 56)


@pytest.fixture(scope="module")
def brute_likelihood() -> np.ndarray:
    """Log likelihood of the variances from the rows themselves, fixed effects integrated out."""
    y, x, g = small_rows()
    fixed = np.column_stack([np.ones(len(y)), x])
    tau, sigma = np.exp(LOG_TAU)[:, None, None, None], np.exp(LOG_SIGMA)[None, :, None, None]
    out = np.empty((len(LOG_TAU), len(LOG_SIGMA)))
    for i, t in enumerate(tau):
        v = t * (g[:, None] == g) + sigma[0] * np.eye(len(y))
        vi = np.linalg.inv(v)
        h = fixed.T @ vi @ fixed
        r = y - (np.linalg.solve(h, (fixed.T @ vi @ y)[..., None])[..., 0] @ fixed.T)
        quadratic = np.einsum("ki,kij,kj->k", r, vi, r)
        out[i] = -0.5 * (np.linalg.slogdet(v)[1] + np.linalg.slogdet(h)[1] + quadratic)
    return out


@pytest.mark.parametrize("prior", ["mlwin", "flat-sd"])
def test_the_grid_is_what_brute_integration_over_rows_gives(
    prior: str, brute_likelihood: np.ndarray
) -> None:
    tau, sigma = np.exp(LOG_TAU)[:, None], np.exp(LOG_SIGMA)[None]
    if prior == "mlwin":
        log = stats.invgamma.logpdf(tau, 0.001, scale=0.001)
        log = log + stats.invgamma.logpdf(sigma, 0.001, scale=0.001)
    else:
        log = -0.5 * np.log(tau) - 0.5 * np.log(sigma)
    log = log + brute_likelihood + np.log(tau) + np.log(sigma)
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    grid = grid_posterior(small_design(), prior)
    cumulative = np.cumsum(mass.sum(axis=1)) - 0.5 * mass.sum(axis=1)
    for value in (0.05, 0.5, 2.0):
        expected = np.interp(np.log(value), LOG_TAU, cumulative)
        assert grid.cdf("group variance", value) == pytest.approx(expected, abs=2e-3)
    assert mean(grid, "vpc") == pytest.approx((mass * (tau / (tau + sigma))).sum(), abs=2e-4)
    assert mean(grid, "residual variance") == pytest.approx((mass * sigma).sum(), rel=1e-3)


def test_quantiles_invert_the_distribution_function() -> None:
    grid = grid_posterior(small_design(), "half-normal")
    probs = np.array([0.01, 0.025, 0.5, 0.9, 0.975])
    for name in ("vpc", "group variance", "residual variance"):
        assert grid.cdf(name, grid.quantile(name, probs)) == pytest.approx(probs, abs=1e-4)


@pytest.mark.nightly
def test_a_finer_grid_changes_nothing() -> None:
    coarse = grid_posterior(small_design(), "flat-sd")
    fine = grid_posterior(small_design(), "flat-sd", size=(4_001, 801))
    for name in ("vpc", "group variance", "residual variance"):
        probs = [0.025, 0.5, 0.975]
        np.testing.assert_allclose(
            coarse.quantile(name, probs), fine.quantile(name, probs), rtol=3e-4
        )
        assert mean(coarse, name) == pytest.approx(mean(fine, name), rel=3e-4)


def test_the_prior_enters_through_its_density() -> None:
    """Posterior odds under two priors differ by the ratio of the priors and nothing else."""
    design = small_design()
    flat, half = (
        grid_posterior(design, "flat-sd"),
        grid_posterior(design, Prior("half-normal", 0.7)),
    )
    ratio = np.exp(flat.log_ratio[:, None] + flat.log_residual)
    mass = flat.mass * np.exp(-ratio / (2 * 0.7**2))
    expected = (mass * ratio).sum() / mass.sum()
    assert mean(half, "group variance") == pytest.approx(expected, rel=1e-4)


def test_half_normal_mean_against_quadrature() -> None:
    """With a prior so tight that the data cannot speak, the posterior is the prior."""
    grid = grid_posterior(small_design(), Prior("half-normal", 1e-3))
    expected = integrate.quad(lambda s: s**2 * stats.halfnorm.pdf(s, scale=1e-3), 0, 0.02)[0]
    assert mean(grid, "group variance") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9, 1e-20])
def test_a_prior_however_tight_is_the_posterior(scale: float) -> None:
    """The variance is that of a half-normal SD: no scale is too small for the grid."""
    grid = grid_posterior(small_design(), Prior("half-normal", scale))
    probs = [0.025, 0.5, 0.975]
    found = grid.quantile("group variance", probs)
    assert found == pytest.approx(stats.halfnorm.ppf(probs, scale=scale) ** 2, rel=2e-3)


def test_no_share_where_all_groups_are_alike_at_the_means() -> None:
    y, x, g = small_rows()
    columns = {"Intercept": np.ones(len(y)), "x": x - x.mean()}
    grid = grid_posterior(DesignMoments.from_arrays(y, columns, ["x"], g), "flat-sd")
    for ask in (grid.cdf, grid.quantile):
        with pytest.raises(InputError, match="at the means all groups are alike"):
            ask("vpc", 0.5)
    assert 0 < grid.quantile("group variance", 0.5) < 5


@pytest.mark.parametrize("size", [(1, 1), (100, 401), (2_001, 0)])
def test_so_few_nodes_are_no_grid(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="ask for 101 or more each way"):
        grid_posterior(small_design(), size=size)


def test_two_random_terms_are_refused() -> None:
    y, x, g = small_rows()
    columns = {"Intercept": np.ones(len(y)), "x": x}
    with pytest.raises(InputError, match="one random term"):
        grid_posterior(DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g))
    with pytest.raises(InputError, match="give vpc or group variance or residual variance"):
        grid_posterior(small_design()).cdf("icc", 0.1)
