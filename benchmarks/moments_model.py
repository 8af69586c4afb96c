"""The model in PyMC from moments, for the calibration of nutpie and a check on the priors.

A correlated intercept and slope and the same priors as the Gibbs sampler. The likelihood is
written in moments, which for a normal model hold all that the rows do, so that moments of another
data set can be put in without compiling again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from multilevel.design import DesignMoments
from multilevel.gibbs import standardise
from multilevel.gibbs_kernel import Sums
from multilevel.priors import Prior, PriorValues, as_prior

Array = np.ndarray


def pymc_model(
    design: DesignMoments,
    prior: str | Prior,
    estimates: tuple[Array, float],
    *,
    centred: bool = False,
) -> Any:
    """Build the model; `estimates` are those that MLwiN's prior is built on.

    Variables ``delta`` (the fixed effects in orthonormal columns), ``chol`` or ``sd``, ``sigma``
    and ``u``; the data are moments in standard form and can be set anew. Centred, the random
    effects themselves are sampled, not standardised ones.
    """
    values = as_prior(prior).resolve(design, *estimates)
    return _build(standardise(design), design, values, centred)


def _build(moments: Sums, design: DesignMoments, prior: PriorValues, centred: bool) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    columns, n_groups, q = moments.right.shape
    with pm.Model() as model:
        zz, right = pm.Data("zz", moments.zz), pm.Data("right", moments.right)
        rr = pm.Data("rr", moments.rr)
        n, guess = pm.Data("n", float(design.n_total)), np.sqrt(moments.rr / design.n_total)
        sigma = pm.HalfFlat("sigma", initval=guess)
        delta = pm.Flat("delta", shape=columns - 1)
        chol = _covariance(prior, guess, q)
        if centred:
            u = pm.MvNormal("u", mu=np.zeros(q), chol=chol, shape=(n_groups, q))
        else:
            u = pm.Deterministic("u", pm.Normal("z", shape=(n_groups, q)) @ chol.T)
        by_fixed = (right[:-1] * delta[:, None, None]).sum(axis=0)
        fitted = (zz * u[:, None, :]).sum(axis=2) + 2 * by_fixed - 2 * right[-1]
        sse = rr + (delta**2).sum() + (fitted * u).sum()
        pm.Potential("likelihood", -n * pt.log(sigma) - 0.5 * sse / sigma**2)
        s2 = sigma**2
        pm.Potential(
            "residual_prior",
            -(prior.residual_shape + 1) * pt.log(s2) - prior.residual_rate / s2 + pt.log(sigma),
        )
    return model


def _covariance(prior: PriorValues, guess: float, q: int) -> Any:
    """Cholesky factor of the random terms' covariance matrix, under any of the priors.

    PyMC's own half-normal SDs and LKJ correlations are the base; a potential adds what the prior
    wanted differs by. It is zero for half-normal SDs with uniform correlations.
    """
    import pymc as pm
    import pytensor.tensor as pt

    wanted = prior.half > 0
    scale = np.where(wanted, np.sqrt(0.5 / np.where(wanted, prior.half, 1.0)), guess)
    base = pm.HalfNormal.dist(sigma=scale, shape=q)
    if q == 1:
        sd = pm.HalfNormal("sd", sigma=scale, shape=1)
        chol = pt.diag(sd)
    else:
        chol, _, sd = pm.LKJCholeskyCov("chol", n=q, eta=1.0, sd_dist=base)
    log_diagonal = pt.log(pt.diagonal(chol)).sum()
    log_sd = pt.log(sd).sum()
    inner = pt.linalg.solve_triangular(chol, prior.scale, lower=True)
    trace = pt.diagonal(pt.linalg.solve_triangular(chol, inner.T, lower=True)).sum()
    log_prior = (
        -(prior.df + q + 1) * log_diagonal
        - 0.5 * trace
        + 2 * prior.power * (log_diagonal - log_sd)
        - (prior.half * sd**2).sum()
    )
    base_log = -0.5 * ((sd / scale) ** 2).sum()
    pm.Potential("covariance_prior", log_prior + q * log_sd - base_log)
    return chol


def to_parameters(posterior: Any, moments: Sums) -> dict[str, Array]:
    """Turn what `pymc_model` samples into the model's parameters; leading axes stay."""
    n_terms = moments.right.shape[2]
    if n_terms == 1:
        cov = posterior["sd"].to_numpy()[..., None] ** 2
    else:
        chol = posterior["chol"].to_numpy()
        low = np.zeros((*chol.shape[:-1], n_terms, n_terms))
        low[..., *np.tril_indices(n_terms)] = chol
        cov = low @ low.swapaxes(-1, -2)
    return {
        "beta": moments.least_squares + posterior["delta"].to_numpy() @ moments.back.T,
        "random_covariance": cov,
        "residual_variance": posterior["sigma"].to_numpy() ** 2,
        "u": posterior["u"].to_numpy(),
    }
