from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from scipy import stats

from multilevel import nuts
from multilevel.design import DesignMoments
from multilevel.gibbs import gibbs_draws, maximum_likelihood
from multilevel.priors import Prior, as_prior
from pwp_lib import InputError

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def nuts_rows() -> Rows:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(12), 15)
    x = rng.normal(1, 2, len(g))
    u = rng.multivariate_normal([0, 0], [[1.5, 0.2], [0.2, 0.3]], 12)
    return 1 + 0.5 * x + u[g, 0] + u[g, 1] * x + rng.normal(0, 2, len(g)), x, g


def nuts_design(random: list[str]) -> DesignMoments:
    y, x, g = nuts_rows()
    return DesignMoments.from_arrays(y, {"Intercept": np.ones(len(y)), "x": x}, random, g)


@pytest.mark.parametrize(
    ("random", "prior"),
    [
        (["Intercept"], Prior("mlwin")),
        (["Intercept", "x"], Prior("mlwin", fixed=(1.0, [2.0, 3.0]))),
        (["Intercept", "x"], Prior("half-normal", scale=[2.0, 0.7], lkj=2.0)),
        pytest.param(["Intercept", "x"], Prior("flat-sd"), marks=pytest.mark.nightly),
    ],
    ids=["intercept mlwin", "slope mlwin", "slope half-normal", "slope flat-sd"],
)
def test_the_density_is_that_of_rows_and_prior(random: list[str], prior: Prior) -> None:
    """PyMC's log density from moments = normal density of the rows + that of effects + priors."""
    y, x, g = nuts_rows()
    design, q = nuts_design(random), len(random)
    model = nuts.pymc_model(design, prior, centred=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS", UserWarning)
        density = model.compile_fn(model.logp(jacobian=False), mode="FAST_COMPILE")
    values = prior.resolve(design, *maximum_likelihood(design))
    moments = nuts.standardise(design)
    rng, differences = np.random.default_rng(2), []
    for _ in range(4):
        low = np.tril(rng.normal(0, 0.4, (q, q)), -1) + np.diag(rng.uniform(0.5, 2, q))
        sigma, delta, u = rng.uniform(1, 3), rng.normal(0, 5, 2), rng.normal(size=(12, q))
        packed = np.where(np.eye(q, dtype=bool), np.log(np.abs(low) + 1e-300), low)
        point = {"sigma_log__": np.log(sigma), "delta": delta, "u": u}
        if q == 1:
            point["sd_log__"] = packed[0]
        else:
            point["chol_cholesky-cov-packed__"] = packed[np.tril_indices(q)]
        cov, beta = low @ low.T, moments.least_squares + moments.back @ delta
        mean = beta[0] + beta[1] * x + (np.column_stack([np.ones(len(y)), x])[:, :q] * u[g]).sum(1)
        ours = stats.norm.logpdf(y, mean, sigma).sum()
        ours += stats.multivariate_normal.logpdf(u, np.zeros(q), cov).sum()
        ours += float(values.log_density(cov, sigma**2)) + np.log(sigma)
        ours += sum((q - i) * np.log(low[i, i]) for i in range(q))
        ours -= 0.5 * (values.fixed_precision * (beta - values.fixed_mean) ** 2).sum()
        differences.append(float(density(point)) - ours)
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def test_a_model_without_therapists_is_refused_by_nuts() -> None:
    with pytest.raises(InputError, match="no random term"):
        nuts.pymc_model(nuts_design([]))


def test_only_known_noise_is_dropped() -> None:
    def record(message: str) -> logging.LogRecord:
        return logging.LogRecord("pymc", logging.WARNING, "", 0, message, (), None)

    assert not nuts._noise(record("Initializing NUTS using jitter+adapt_diag..."))
    assert nuts._noise(record("There were 12 divergences after tuning."))
    with nuts._quietly(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.warn("The rhat statistic is larger than 1.01", UserWarning, stacklevel=1)
    assert len(seen) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("centred", [False, True])
def test_nuts_and_gibbs_agree(centred: bool) -> None:
    design = nuts_design(["Intercept", "x"])
    prior = as_prior("half-normal")
    data = nuts.nuts_posterior(design, draws=1_000, chains=4, prior=prior, centred=centred)
    drawn = gibbs_draws(design, draws=50_000, prior=prior)
    post = data.posterior
    from multilevel.diagnostics import effective_sample_size

    pairs = {
        "vpc": (post.vpc, drawn.vpc),
        "residual": (post.residual_variance, drawn.residual_variance),
        "slope": (post.beta[..., 1], drawn.beta[..., 1]),
        "variance": (post.random_covariance[..., 0, 0], drawn.random_covariance[..., 0, 0]),
        "covariance": (post.random_covariance[..., 1, 0], drawn.random_covariance[..., 1, 0]),
        "effect": (post.u[..., 3, 1], drawn.u[..., 3, 1]),
    }
    for name, (a, b) in pairs.items():
        a, b = np.asarray(a), np.asarray(b)
        error = np.hypot(
            a.std() / np.sqrt(effective_sample_size(a)), b.std() / np.sqrt(effective_sample_size(b))
        )
        assert abs(a.mean() - b.mean()) < 4.5 * error, name
    assert post.attrs["prior"] == drawn.prior.name
    assert "nutpie" in post.attrs["software"]
    assert int(data.sample_stats.diverging.sum()) < 100


@pytest.mark.nightly
def test_bambi_is_labelled_as_uncorrelated() -> None:
    import pandas as pd

    y, x, g = nuts_rows()
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"T{v:02}" for v in g]})
    data = nuts.bambi_posterior("y ~ x + (1 + x | g)", frame, draws=200, tune=200, chains=2)
    assert "independent" in data.posterior.attrs["notes"]
    assert not [v for v in data.posterior.data_vars if "corr" in v]
