"""Priors that outweigh the data, and priors that leave no posterior, by generated neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from multilevel.design import DesignMoments
from multilevel.draws import PosteriorInterval
from multilevel.errors import InputError
from multilevel.fit import fit_design
from multilevel.gibbs import check_proper, standardise
from multilevel.posterior import Posterior, sample_posterior
from multilevel.priors import Prior
from pwp_lib.grid import GridPosterior, grid_posterior

pytestmark = pytest.mark.neighbours


def strong_design(n_groups: int, seed: int, sd: float, random: tuple[str, ...]) -> DesignMoments:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), rng.integers(5, 60, n_groups))
    x = rng.normal(size=len(g))
    u = rng.normal(scale=[sd, 0.4 * sd], size=(n_groups, 2))[:, : len(random)]
    z = np.column_stack([np.ones_like(x), x])[:, : len(random)]
    y = 5 + x + (z * u[g]).sum(axis=1) + rng.normal(scale=5, size=len(g))
    return DesignMoments.from_arrays(y, {"Intercept": np.ones_like(x), "x": x}, random, g)


NIGHT = pytest.mark.nightly
STRONG = [
    *(Prior("half-normal", scale=s) for s in (0.003, 0.03, 0.1, 0.3, 1.0, 30.0)),
    *(Prior(kind, residual=(n, n)) for n in (50, 1_000, 20_000) for kind in ("flat-sd", "mlwin")),
    *(Prior("flat-sd", residual=(n, 200.0 * n)) for n in (50, 20_000)),
    *(Prior("inverse-wishart", df=df, scale=df * v) for df in (5, 1e3, 1e9) for v in (0.1, 9.0)),
    Prior("half-normal", scale=0.2, residual=(4_000, 4_000)),
]


@pytest.mark.parametrize("n_groups", [5, 21, *(pytest.param(n, marks=NIGHT) for n in (9, 40))])
@pytest.mark.parametrize("prior", STRONG, ids=str)
def test_sampler_and_grid_agree_under_strong_priors(prior: Prior, n_groups: int) -> None:
    design = strong_design(n_groups, n_groups, 2.2, ("Intercept",))
    drawn, grid = sample_posterior(design, draws=20_000, prior=prior), grid_posterior(design, prior)
    for name, x in (
        ("vpc", drawn.vpc),
        ("residual variance", drawn.residual_variance),
        ("group variance", drawn.random_covariance[..., 0, 0]),
    ):
        got = PosteriorInterval.of(x)
        assert got.ess > 400, name
        exact = grid.quantile(name, [0.5, 0.025, 0.975])
        found = np.array([got.median, got.lower, got.upper])
        errors = np.array([got.mcse, got.mcse_lower, got.mcse_upper])
        assert (np.abs(found - exact) < 4.5 * errors + 1e-6 * np.abs(exact)).all(), name


@pytest.mark.parametrize("scale", [[0.1, 0.05], [0.02, 5.0], [3.0, 0.01]], ids=str)
@pytest.mark.parametrize("lkj", [0.5, 1.0, 4.0])
def test_a_slope_under_a_tight_half_normal_moves(scale: list[float], lkj: float) -> None:
    """Far below the estimate a posterior SD is near its prior: four chains agree on it."""
    design = strong_design(21, 3, 2.2, ("Intercept", "x"))
    prior = Prior("half-normal", scale=scale, lkj=lkj)
    table = sample_posterior(design, draws=5_000, chains=4, prior=prior).table()
    assert table["r_hat"].max() < 1.02
    assert table["ess"].min() > 400


@pytest.mark.parametrize("random", [("Intercept",), ("Intercept", "x")])
@pytest.mark.parametrize("prior", ["mlwin", "flat-sd", "half-normal"])
def test_a_chain_starts_from_a_singular_estimate(random: tuple[str, ...], prior: str) -> None:
    design = strong_design(9, 2, 0.0, random)
    assert fit_design(design).singular
    drawn = sample_posterior(design, draws=500, prior=prior)
    assert np.isfinite(drawn.vpc).all()
    assert any("singular" in note for note in drawn.prior.notes) == (
        len(random) > 1 and prior == "mlwin"
    )


def between_design(n_groups: int, between: int, per_group: int, seed: int) -> DesignMoments:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), per_group)
    columns = {"Intercept": np.ones(len(g))}
    columns |= {f"z{k}": v[g] for k, v in enumerate(rng.normal(size=(between - 1, n_groups)))}
    if per_group > 1:
        columns["x"] = rng.normal(size=len(g))
    y = rng.normal(size=n_groups)[g] + rng.normal(scale=2, size=len(g))
    return DesignMoments.from_arrays(y, columns, ["Intercept"], g)


def bounds(posterior: Posterior | GridPosterior) -> np.ndarray:
    if isinstance(posterior, Posterior):
        return posterior.u.std(axis=(0, 1))
    return posterior.quantile("group variance", [0.025, 0.5, 0.975])


#: Proper, and all but flat on the log of the variance down to forty powers of ten below one.
TINY = Prior("inverse-wishart", df=1e-3, scale=1e-40)


@pytest.mark.parametrize("n_groups", [3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("spare", [1, 2, 3])
@pytest.mark.parametrize("work", [sample_posterior, grid_posterior])
def test_flat_sds_need_two_groups_more_than_terms_between(
    work: Callable[..., Any], spare: int, n_groups: int
) -> None:
    between = max(n_groups - spare, 1)
    design = between_design(n_groups, between, 12, seed=spare)
    if n_groups - between < 2:
        with pytest.raises(InputError, match="flat SDs of random terms leave no proper"):
            work(design, prior="flat-sd")
    else:
        assert np.isfinite(bounds(work(design, prior="flat-sd"))).all()
    assert np.isfinite(bounds(work(design, prior="half-normal"))).all()


def test_as_many_fixed_terms_between_as_groups_leave_nothing_to_sample() -> None:
    design = between_design(4, 4, 12, seed=1)
    for work in (sample_posterior, grid_posterior):
        with pytest.raises(InputError, match=r"flat SDs|nothing of the random term"):
            work(design, prior="flat-sd")


def test_two_groups_have_no_posterior_under_flat_sds() -> None:
    design = between_design(2, 1, 8, seed=1)
    with pytest.raises(InputError, match="2 effects of groups less 1 fixed"):
        grid_posterior(design, "flat-sd")
    assert 0 < grid_posterior(design, "half-normal").quantile("vpc", 0.5) < 1


def test_a_slope_of_a_predictor_of_groups_is_counted() -> None:
    """A random slope whose predictor differs between groups only is as fixed terms are."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(5), 20)
    x = rng.normal(size=5)[g]
    columns = {"Intercept": np.ones(100), "x": x, "w": rng.normal(size=5)[g]}
    y = rng.normal(size=100)
    design = DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g)
    with pytest.raises(InputError, match="flat SDs"):
        sample_posterior(design, draws=50, prior="flat-sd")


def test_a_residual_that_could_be_zero_is_refused() -> None:
    design = between_design(8, 1, 1, seed=3)
    priors = (Prior("half-normal", residual=(1, rate)) for rate in (0, 1))
    open_to_zero, kept_off = (prior.resolve(design, np.eye(1), 1.0) for prior in priors)
    with pytest.raises(InputError, match="leave no residual"):
        check_proper(standardise(design), open_to_zero, design.n_total)
    check_proper(standardise(design), kept_off, design.n_total)


def test_mass_spread_over_forty_powers_of_ten_is_kept() -> None:
    """Where a group variance is too small to matter the posterior is as its prior there."""
    grid = grid_posterior(between_design(8, 1, 12, seed=1), TINY)
    tau = np.exp(np.linspace(-110, -20, 200_001))
    prior = tau ** (-0.5 * TINY.df) * np.exp(-0.5 * TINY.scale / tau)
    below = prior[np.log(tau) < -50].sum() / prior.sum()
    found = grid.cdf("group variance", np.exp([-50, -20]))
    assert found[0] / found[1] == pytest.approx(below, abs=2e-3)


def test_a_posterior_beyond_the_grid_is_refused() -> None:
    design = strong_design(21, 1, 0.0, ("Intercept",))
    with pytest.raises(InputError, match="reaches beyond the grid"):
        grid_posterior(design, replace(TINY, scale=1e-200))
