"""The multilevel model in PyMC, sampled by nutpie; and bambi as it is.

The PyMC model has a correlated intercept and slope and the same priors as the Gibbs sampler. Its
likelihood is written in moments, which for a normal model hold all that the rows do, so its cost
does not grow with the number of patients and moments can be swapped without compiling again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs import Standard, maximum_likelihood, standardise
from multilevel.partition import random_row
from multilevel.posterior import inference_dims, variance_partition
from multilevel.priors import Prior, PriorValues, as_prior

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BAMBI_NOTE", "bambi_model", "bambi_posterior", "nuts_posterior", "pymc_model"]

Array = NDArray[np.float64]

BAMBI_NOTE = (
    "bambi reads (1 + x | g) as an intercept and a slope that are independent, and cannot be "
    "told otherwise: this is not the correlated model that the same formula means in lme4."
)
#: What PyTensor and PyMC log on every run and a reader need not see; nothing else is dropped.
NOISE = (
    "Using NumPy C-API based implementation for BLAS functions",
    "PyTensor could not link to a BLAS installation",
    "Initializing NUTS using",
    "Auto-assigning NUTS sampler",
)


def _noise(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NOISE)


@contextmanager
def _quietly() -> Iterator[None]:
    loggers = [logging.getLogger(n) for n in ("pymc", "pytensor", "pytensor.tensor.blas")]
    loggers += [logging.getLogger("pytensor.link.c.cmodule"), logging.getLogger("bambi")]
    for logger in loggers:
        logger.addFilter(_noise)
    try:
        with warnings.catch_warnings():
            # Without a BLAS PyTensor warns that large products are slow: there are none here.
            warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS", UserWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_noise)


def pymc_model(
    design: DesignMoments, prior: str | Prior = "half-normal", *, centred: bool = False
) -> Any:
    """Build the model in PyMC.

    Parameters
    ----------
    design : DesignMoments
        With one random term or several, correlated.
    prior : str or Prior
        As in `gibbs_draws`.
    centred : bool
        Whether the random effects themselves are sampled, or standardised ones. Centred gives
        more effective draws of the variances where every therapist has many patients, but
        divergences where a slope variance is near zero.

    Returns
    -------
    pymc.Model
        Variables ``delta`` (the fixed effects in orthonormal columns), ``chol`` or ``sd``,
        ``sigma`` and ``u``; the data are moments in standard form and can be set anew.
    """
    if not design.random:
        raise InputError("the model has no random term", hint="add one, as (1 | therapist_id)")
    values = as_prior(prior).resolve(design, *maximum_likelihood(design))
    with _quietly():
        return _build(standardise(design), design, values, centred)


def _build(moments: Standard, design: DesignMoments, prior: PriorValues, centred: bool) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    n_groups, q, p = moments.zx.shape
    with pm.Model() as model:
        zz, zx = pm.Data("zz", moments.zz), pm.Data("zx", moments.zx)
        zr, rr = pm.Data("zr", moments.zr), pm.Data("rr", moments.rr)
        n, guess = pm.Data("n", float(design.n_total)), np.sqrt(moments.rr / design.n_total)
        sigma = pm.HalfFlat("sigma", initval=guess)
        delta = pm.Flat("delta", shape=p)
        chol = _covariance(prior, guess, q)
        if centred:
            u = pm.MvNormal("u", mu=np.zeros(q), chol=chol, shape=(n_groups, q))
        else:
            u = pm.Deterministic("u", pm.Normal("z", shape=(n_groups, q)) @ chol.T)
        fitted = (zz * u[:, None, :]).sum(axis=2) + 2 * (zx * delta).sum(axis=2) - 2 * zr
        sse = rr + (delta**2).sum() + (fitted * u).sum()
        pm.Potential("likelihood", -n * pt.log(sigma) - 0.5 * sse / sigma**2)
        s2 = sigma**2
        pm.Potential(
            "residual_prior",
            -(prior.residual_shape + 1) * pt.log(s2) - prior.residual_rate / s2 + pt.log(sigma),
        )
        if prior.fixed_precision.any():
            off = pt.dot(pm.Data("back", moments.back), delta) - prior.fixed_mean
            off = off + pm.Data("least_squares", moments.least_squares)
            pm.Potential("fixed_prior", -0.5 * (prior.fixed_precision * off**2).sum())
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


def nuts_posterior(
    design: DesignMoments,
    *,
    draws: int = 1_000,
    tune: int = 500,
    chains: int = 4,
    seed: int = 1,
    prior: str | Prior = "half-normal",
    centred: bool = False,
) -> Any:
    """Sample the PyMC model with nutpie; see `sample_posterior`.

    Returns
    -------
    arviz.InferenceData
        Variables as from Gibbs sampling; ``sample_stats`` holds nutpie's, divergences included.
    """
    import nutpie

    ml = maximum_likelihood(design)
    values = as_prior(prior).resolve(design, *ml)
    with _quietly():
        moments = standardise(design)
        compiled = nutpie.compile_pymc_model(_build(moments, design, values, centred))
        trace = nutpie.sample(
            compiled, draws=draws, tune=tune, chains=chains, seed=seed, progress_bar=False
        )
    return _as_inference_data(trace, design, moments, values, seed, tune)


def to_parameters(posterior: Any, moments: Standard) -> dict[str, Array]:
    """Turn what `pymc_model` samples into the model's parameters; leading axes stay."""
    n_terms = moments.zx.shape[1]
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


def _as_inference_data(
    trace: Any, design: DesignMoments, moments: Standard, prior: PriorValues, seed: int, tune: int
) -> Any:
    import arviz as az

    draws = to_parameters(trace.posterior, moments)
    cov, s2 = draws["random_covariance"], draws["residual_variance"]
    draws["vpc"] = variance_partition(cov, s2, random_row(design, None))
    coords, dims = inference_dims(design)
    data = az.from_dict(draws, coords=coords, dims=dims)
    data.add_groups(sample_stats=trace.sample_stats)
    used = ("pwp-lib", "pymc", "nutpie", "pytensor")
    attributes = {
        "model": design.formula, "prior": prior.name, "seed": seed, "burn_in": tune,
        "software": "; ".join(f"{name} {version(name)}" for name in used),
        "notes": " ".join(prior.notes),
    }  # fmt: skip
    data.attrs.update(attributes)
    data.posterior.attrs.update(attributes)
    return data


def bambi_model(formula: str, data: pd.DataFrame, **options: Any) -> Any:
    """Build the model as bambi reads it: with independent random terms (see `BAMBI_NOTE`).

    Parameters
    ----------
    formula : str
    data : DataFrame
        The grouping factor must be text or categorical: bambi takes numbers for numbers. Text
        becomes categorical here, which bambi does too, but with a warning under pandas 3.
    options
        Passed on to ``bambi.Model``.
    """
    import bambi

    text: list[str] = list(data.select_dtypes("str").columns)
    with _quietly():
        return bambi.Model(formula, data.astype(dict.fromkeys(text, "category")), **options)


def bambi_posterior(
    formula: str,
    data: pd.DataFrame,
    *,
    draws: int = 1_000,
    tune: int = 1_000,
    chains: int = 4,
    seed: int = 1,
    centred: bool = False,
) -> Any:
    """Sample bambi's model, bambi's own priors, with nutpie; labelled as uncorrelated.

    Returns
    -------
    arviz.InferenceData
        bambi's own variables; the attribute ``notes`` holds `BAMBI_NOTE`.
    """
    model = bambi_model(formula, data, noncentered=not centred)
    with _quietly():
        trace = model.fit(
            draws=draws, tune=tune, chains=chains, random_seed=seed,
            inference_method="nutpie", progressbar=False,
        )  # fmt: skip
    note = {
        "model": formula, "seed": seed, "burn_in": tune, "prior": "bambi's defaults",
        "software": "; ".join(f"{n} {version(n)}" for n in ("bambi", "pymc", "nutpie")),
        "notes": BAMBI_NOTE,
    }  # fmt: skip
    trace.attrs.update(note)
    trace.posterior.attrs.update(note)
    return trace
