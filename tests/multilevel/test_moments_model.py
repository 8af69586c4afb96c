"""The PyMC model that calibrates nutpie has the density of the engine's priors and of the rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from prior_density import log_density
from scipy import stats

from benchmarks.moments_model import pymc_model
from multilevel.design import DesignMoments
from multilevel.gibbs import standardise
from multilevel.priors import Prior

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def invented_rows() -> Rows:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(12), 15)
    x = rng.normal(1, 2, len(g))
    u = rng.multivariate_normal([0, 0], [[1.5, 0.2], [0.2, 0.3]], 12)
    return 1 + 0.5 * x + u[g, 0] + u[g, 1] * x + rng.normal(0, 2, len(g)), x, g


def invented_design(random: list[str]) -> DesignMoments:
    y, x, g = invented_rows()
    return DesignMoments.from_arrays(y, {"Intercept": np.ones(len(y)), "x": x}, random, g)


@pytest.mark.parametrize(
    ("random", "prior"),
    [
        (["Intercept"], Prior("mlwin")),
        (["Intercept", "x"], Prior("mlwin")),
        (["Intercept", "x"], Prior("half-normal", scale=[2.0, 0.7], lkj=2.0)),
        pytest.param(["Intercept", "x"], Prior("flat-sd"), marks=pytest.mark.nightly),
    ],
    ids=["intercept mlwin", "slope mlwin", "slope half-normal", "slope flat-sd"],
)
def test_the_density_is_that_of_rows_and_prior(random: list[str], prior: Prior) -> None:
    """PyMC's log density from moments = normal density of the rows + that of effects + priors."""
    y, x, g = invented_rows()
    design, q = invented_design(random), len(random)
    estimates = (np.eye(q), 4.0)
    model = pymc_model(design, prior, estimates, centred=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS", UserWarning)
        density = model.compile_fn(model.logp(jacobian=False), mode="FAST_COMPILE")
    values = prior.resolve(design, *estimates)
    moments = standardise(design)
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
        ours += float(log_density(values, cov, sigma**2)) + np.log(sigma)
        ours += sum((q - i) * np.log(low[i, i]) for i in range(q))
        differences.append(float(density(point)) - ours)
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)
