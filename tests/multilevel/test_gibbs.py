from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from multilevel import gibbs, sample_posterior
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs_kernel import Draws, run_chain
from multilevel.priors import Prior
from pwp_lib.grid import GridPosterior, grid_posterior

CASELOADS = [134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26]


def paper_design(random: list[str], seed: int = 1, slope_variance: float = 0.013) -> DesignMoments:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(21), CASELOADS)
    x, w = rng.normal(0, 6.4, (2, len(g)))
    covariance = [
        [2.8, 0.1 if slope_variance else 0.0],
        [0.1 if slope_variance else 0.0, slope_variance],
    ]
    u = rng.multivariate_normal([0, 0], covariance, 21)
    y = 8.7 + 0.55 * x + 0.1 * w + u[g, 0] + u[g, 1] * x + rng.normal(0, 5.4, len(g))
    columns = {"Intercept": np.ones(len(g)), "x": x, "w": w, "x:w": x * w}
    return DesignMoments.from_arrays(y, columns, random, g)


INTERCEPT, SLOPE = ["Intercept"], ["Intercept", "x"]


def exact_effects(design: DesignMoments, grid: GridPosterior) -> tuple[np.ndarray, ...]:
    """Means and SDs of fixed and random effects: mixtures over the grid, each in closed form."""
    x, z, y = list(design.fixed), design.random[0], design.response
    zz, zx, zy = design.cross[:, z, z], design.cross[:, z][:, x], design.cross[:, z, y]
    ratio = np.exp(grid.log_ratio)[:, None]
    d = ratio / (1 + ratio * zz)
    inverse = np.linalg.inv(design.total[np.ix_(x, x)] - np.einsum("rj,ja,jb->rab", d, zx, zx))
    beta = np.einsum("rab,rb->ra", inverse, design.total[x, y] - (d * zy) @ zx)
    u = d * (zy - beta @ zx.T)
    mass, residual = grid.mass.sum(axis=1), (grid.mass * np.exp(grid.log_residual)).sum(axis=1)
    beta_mean, u_mean = mass @ beta, mass @ u
    carried = np.einsum("jp,rpk,jk->rj", zx, inverse, zx)
    beta_var = residual @ np.diagonal(inverse, axis1=1, axis2=2) + mass @ (beta - beta_mean) ** 2
    u_var = residual @ (d + d**2 * carried) + mass @ (u - u_mean) ** 2
    return beta_mean, np.sqrt(beta_var), u_mean, np.sqrt(u_var)


@pytest.mark.parametrize("prior", ["mlwin", "flat-sd", "half-normal"])
@pytest.mark.parametrize("seed", [1])
def test_a_random_intercept_agrees_with_the_exact_posterior(prior: str, seed: int) -> None:
    design = paper_design(INTERCEPT, seed)
    exact = grid_posterior(design, prior)
    drawn = sample_posterior(design, draws=60_000, prior=prior, seed=seed)
    got = drawn.table()
    for name, row in {"var(Intercept)": "group variance", "vpc": "vpc"}.items():
        for column, error, prob in (
            ("lower", "mcse_lower", 0.025),
            ("median", "mcse", 0.5),
            ("upper", "mcse_upper", 0.975),
        ):
            difference = got.loc[name, column] - exact.quantile(row, prob)
            assert abs(difference) < 4 * got.loc[name, error], (name, column)
    beta, beta_sd, effects, effects_sd = exact_effects(design, exact)
    assert (np.abs(drawn.beta.mean(axis=(0, 1)) - beta) < 5 * beta_sd / np.sqrt(60_000)).all()
    np.testing.assert_allclose(drawn.residuals()["residual"], effects, atol=0.02)
    np.testing.assert_allclose(drawn.u[0, :, :, 0].std(axis=0), effects_sd, rtol=0.02)


def test_a_boundary_cohort_agrees_with_the_exact_posterior() -> None:
    """Where the variance between groups is estimated at zero the chain is slow: a severe case."""
    rng = np.random.default_rng(6)
    y = rng.normal(size=400)
    g = np.arange(400) % 20
    design = DesignMoments.from_arrays(y, {"Intercept": np.ones(400)}, INTERCEPT, g)
    exact = grid_posterior(design, "flat-sd").quantile("vpc", [0.025, 0.5, 0.975])
    got = sample_posterior(design, draws=60_000, prior="flat-sd").interval()
    for value, truth, error in (
        (got.lower, exact[0], got.mcse_lower),
        (got.median, exact[1], got.mcse),
        (got.upper, exact[2], got.mcse_upper),
    ):
        assert abs(value - truth) < 4 * error
    assert got.ess > 10_000


def test_effects_too_large_to_keep_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample_posterior(paper_design(SLOPE), draws=50)
    monkeypatch.setattr(gibbs, "KEEP_BYTES", 50 * 21 * 2 * 8 // 4)
    thinned = sample_posterior(paper_design(SLOPE), draws=50)
    assert thinned.u.shape == (1, 13, 21, 2)
    np.testing.assert_array_equal(thinned.u, whole.u[:, ::4])
    kept = whole.u[0, ::4, :, 0].mean(axis=0)
    np.testing.assert_allclose(thinned.residuals()["residual"], kept, rtol=1e-12)
    assert thinned.residuals()["rank_upper"].max() == 21
    assert "u" not in thinned.to_arviz().posterior


def test_the_same_seed_gives_the_same_draws_however_they_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design = paper_design(SLOPE)
    whole = sample_posterior(design, draws=300, seed=5)
    assert (sample_posterior(design, draws=300, seed=5).beta == whole.beta).all()
    assert not (sample_posterior(design, draws=300, seed=6).beta == whole.beta).any()
    monkeypatch.setattr(gibbs, "BLOCK", 1_000)
    assert (sample_posterior(design, draws=300, seed=5).beta == whole.beta).all()


def test_the_chain_does_not_depend_on_units() -> None:
    """A response in tenths and a slope in tens: the same chain, rescaled."""
    design = paper_design(SLOPE)
    scale = np.array([1.0, 0.1, 1.0, 1.0, 10.0])
    means = design.means | {"x": 0.1 * design.means["x"]}
    cross = design.cross * np.outer(scale, scale)
    centred = design.centred * np.outer(scale, scale)
    centres = tuple(np.multiply(design.centres, scale).tolist())
    other = dataclasses.replace(design, cross=cross, means=means, centres=centres, centred=centred)
    one, two = (sample_posterior(d, draws=200, prior="flat-sd") for d in (design, other))
    np.testing.assert_allclose(two.vpc, one.vpc, rtol=1e-6)
    np.testing.assert_allclose(two.beta, one.beta * 10 / scale[:4], rtol=1e-6)


def test_chains_start_apart_and_meet() -> None:
    drawn = sample_posterior(paper_design(SLOPE), draws=4_000, burn_in=0, chains=4)
    first = drawn.random_covariance[:, 0, 0, 0]
    assert len(set(first)) == 4
    assert drawn.table()["r_hat"].max() < 1.01


def test_stretching_keeps_small_slope_variances_moving() -> None:
    drawn = sample_posterior(paper_design(SLOPE, seed=4, slope_variance=0.0), prior="flat-sd")
    assert drawn.table().loc["var(x)", "ess"] > 1_000


def test_the_variance_is_shared_out_at_the_mean_of_the_slope_s_predictor() -> None:
    design = paper_design(SLOPE)
    drawn = sample_posterior(design, draws=50)
    z = np.array([1.0, design.means["x"]])
    between = np.einsum("i,cdij,j->cd", z, drawn.random_covariance, z)
    np.testing.assert_allclose(drawn.vpc, between / (between + drawn.residual_variance))


def test_inference_data_names_everything_and_remembers_how_it_was_made() -> None:
    drawn = sample_posterior(paper_design(SLOPE), draws=30, burn_in=7, chains=2, seed=3)
    data = drawn.to_arviz()
    post = data.posterior
    assert set(post.data_vars) == {
        "beta", "random_covariance", "residual_variance", "u", "vpc"
    }  # fmt: skip
    assert post.beta.dims == ("chain", "draw", "term")
    assert post.u.dims == ("chain", "draw", "group", "random_term")
    np.testing.assert_array_equal(
        post.random_covariance.sel(random_term="x", random_term_other="Intercept"),
        drawn.random_covariance[..., 1, 0],
    )
    for attrs in (data.attrs, post.attrs):
        assert attrs["seed"] == 3
        assert attrs["burn_in"] == 7
        assert "inverse-Wishart(2)" in attrs["prior"]
        assert "numpy" in attrs["software"]


def test_an_interval_is_made_of_quantiles() -> None:
    drawn = sample_posterior(paper_design(SLOPE), draws=500)
    got = drawn.interval(0.9)
    expected = np.quantile(drawn.vpc, [0.5, 0.05, 0.95])
    np.testing.assert_allclose([got.median, got.lower, got.upper], expected)
    with pytest.raises(InputError, match="between 0 and 1"):
        drawn.interval(95)


def test_sampling_from_a_frame_and_a_formula() -> None:
    import pandas as pd

    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"g": [f"T{i % 12:02}" for i in range(240)], "x": rng.normal(size=240)})
    frame["y"] = frame["x"] + rng.normal(size=240)
    formula = "y ~ center(x) + (1 + center(x) | g)"
    drawn = sample_posterior(formula, frame, draws=40)
    data = drawn.to_arviz()
    assert drawn.residuals("center(x)").index.name == "g"
    assert data.posterior.u.dims == ("chain", "draw", "g", "random_term")
    assert list(data.posterior.term.values) == ["Intercept", "center(x)"]
    assert data.attrs["model"] == formula


def test_a_model_without_groups_is_refused() -> None:
    with pytest.raises(InputError, match="no random term"):
        sample_posterior(paper_design([]))


def test_too_few_groups_are_refused() -> None:
    y, g = np.arange(9.0), np.arange(9) % 3
    x = {"Intercept": np.ones(9), "x": y**2}
    with pytest.raises(InputError, match="3 groups are too few to sample 2"):
        sample_posterior(DesignMoments.from_arrays(y, x, SLOPE, g))


def test_dependent_fixed_terms_are_refused() -> None:
    y, g = np.random.default_rng(1).normal(size=60), np.arange(60) % 6
    x = {"Intercept": np.ones(60), "x": y**2, "w": 3 * y**2 - 1}
    design = DesignMoments.from_arrays(y, x, INTERCEPT, g)
    with pytest.raises(
        InputError, match="column w: the fixed terms before this one predict it exactly"
    ):
        sample_posterior(design)


@pytest.mark.parametrize(
    "bad",
    [
        {"draws": 0}, {"draws": 10.5}, {"burn_in": -1}, {"chains": 0}, {"seed": -1},
        {"seed": 1.5}, {"seed": None},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_lengths_and_seeds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"no draw|too small|of no kind"):
        sample_posterior(paper_design(INTERCEPT), **bad)


@pytest.mark.nightly
def test_a_second_process_does_not_compile_again() -> None:
    code = (
        "import time, numba, numpy as np\n"
        "from multilevel import gibbs_kernel as k\n"
        "t = time.process_time()\n"
        "from multilevel.design import DesignMoments\n"
        "from multilevel.posterior import sample_posterior\n"
        "g = np.arange(100) % 10\n"
        "d = DesignMoments.from_arrays(np.sin(g + np.arange(100.)), {'Intercept': np.ones(100)},"
        " ['Intercept'], g)\n"
        "t = time.process_time()\n"
        "sample_posterior(d, draws=10)\n"
        "print(sum(k.run_chain.compiled.stats.cache_hits.values()), time.process_time() - t)\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    hits, seconds = runs[1].stdout.split()
    assert int(hits) == 1
    assert float(seconds) < 2


def test_the_interval_is_the_last_row_of_the_table() -> None:
    drawn = sample_posterior(paper_design(SLOPE), draws=300)
    many = drawn.table()
    assert list(many.columns[:3]) == ["median", "lower", "upper"]
    assert many.iloc[-1].to_dict() | {"level": 0.95} == vars(drawn.interval())
    assert list(many.index[4:]) == [
        "var(Intercept)", "cov(Intercept, x)", "var(x)", "residual variance", "vpc"
    ]  # fmt: skip
    # Two ways to a median may differ in its last bit.
    covariance = np.median(drawn.random_covariance[0, :, 0, 1])
    assert many.loc["cov(Intercept, x)", "median"] == pytest.approx(covariance, rel=1e-15)
    assert many.loc["x:w", "median"] == pytest.approx(np.median(drawn.beta[0, :, 3]), rel=1e-15)


def test_what_is_drawn_is_called_as_in_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it goes to its field by name: arrays in another order are still where they belong."""
    turned = NamedTuple("turned", [(name, Any) for name in Draws._fields[::-1]])  # type: ignore[misc]
    usual = gibbs.run_chains
    expected = sample_posterior(paper_design(SLOPE), draws=20)
    monkeypatch.setattr(
        "multilevel.posterior.run_chains", lambda *a, **k: turned(**usual(*a, **k)._asdict())
    )
    found = sample_posterior(paper_design(SLOPE), draws=20)
    for name in (*Draws._fields, "vpc"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_no_order_of_memory_has_the_chain_compiled_once_more() -> None:
    scale = np.array([[2.0, 0.1], [0.1, 0.02]])
    for laid in (scale, np.asfortranarray(scale), np.repeat(scale, 2, axis=1)[:, ::2]):
        prior = Prior("inverse-wishart", df=3, scale=laid)
        sample_posterior(paper_design(SLOPE), draws=20, prior=prior)
    sample_posterior(paper_design(SLOPE, 2, 0.0), draws=20, prior="mlwin")
    assert len(run_chain.compiled.signatures) == 1
