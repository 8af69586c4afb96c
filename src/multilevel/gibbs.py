"""The multilevel model by Gibbs sampling, from moments.

Each iteration draws fixed and random effects jointly (the random ones integrated out, then drawn
given the fixed); stretches random effects and their covariance matrix together, which moves a
small variance along where plain Gibbs sampling crawls (a step of generalised Gibbs sampling, Liu
and Sabatti, 2000, Biometrika 87, 353-369); and draws the residual variance and the covariance
matrix. Under inverse-Wishart and inverse-gamma priors that last draw is exact; under priors on
standard deviations it is a proposal, accepted with a probability that the prior alone decides
(see `priors`). Nothing but per-therapist cross-products is used, so an iteration costs the same
for a thousand patients and for ten million.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.partition import random_row
from multilevel.posterior import GibbsDraws, variance_partition
from multilevel.priors import Prior, PriorValues, as_prior

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gibbs_draws", "sample_posterior"]

Array = NDArray[np.float64]
Start = tuple[ArrayLike, float]

#: Random numbers drawn at a time, which bounds the memory beyond the result.
BLOCK = 4_000_000
#: Draws of the random effects are not kept where they would take more bytes than this.
KEEP_BYTES = 2**30


@dataclass(frozen=True)
class Standard:
    """Moments with orthonormal fixed columns and the response about its least-squares fit.

    Subtractions between large sums are then done once, here, not at every iteration.
    ``beta = least_squares + back @ delta`` for the ``delta`` that the sampler draws.
    """

    zz: Array
    zx: Array
    zr: Array
    rr: float
    least_squares: Array
    back: Array


def standardise(design: DesignMoments) -> Standard:
    """Rewrite moments for the sampler; fixed terms that are not independent are an error."""
    x, z, y = list(design.fixed), list(design.random), design.response
    total = design.total
    gram = total[np.ix_(x, x)]
    size = np.sqrt(np.diag(gram))
    try:
        low = np.linalg.cholesky(gram / np.outer(size, size))
    except np.linalg.LinAlgError:
        low = np.zeros((len(x), len(x)))
    if not (np.diag(low) > 1e-7).all():
        raise InputError("the fixed terms are not linearly independent", hint="leave one out")
    back = np.linalg.inv(low).T / size[:, None]
    beta = back @ (back.T @ total[x, y])
    # One more step of least squares: the first one's rounding error goes.
    beta = beta + back @ (back.T @ (total[x, y] - gram @ beta))
    cross = design.cross
    zx = cross[:, z][:, :, x]
    rr = total[y, y] - 2 * beta @ total[x, y] + beta @ gram @ beta
    return Standard(
        zz=np.ascontiguousarray(cross[:, z][:, :, z]),
        zx=np.ascontiguousarray(zx @ back),
        zr=np.ascontiguousarray(cross[:, z, y] - zx @ beta),
        rr=float(max(rr, 0.0)),
        least_squares=beta,
        back=back,
    )


def maximum_likelihood(design: DesignMoments) -> tuple[Array, float]:
    """Estimates that start the chain and that MLwiN's prior is built on."""
    from multilevel.mixed import fit_design

    fit = fit_design(design, "ML")
    return fit.random_covariance.to_numpy(dtype=float), float(fit.residual_variance)


def _check(design: DesignMoments, draws: int, burn_in: int, chains: int) -> None:
    q, n_groups = len(design.random), len(design.groups)
    if q == 0:
        raise InputError(
            "the model has no random term, so there is no therapist effect to sample",
            hint="add one, as (1 | therapist_id)",
        )
    if n_groups < q + 2:
        raise InputError(
            f"{n_groups} therapists are too few to sample {q} random term(s)",
            hint=f"{q + 2} or more are needed",
        )
    if draws < 1 or burn_in < 0 or chains < 1:
        raise InputError("draws and chains must be 1 or more, and burn_in 0 or more")


def _kernel_moments(moments: Standard) -> tuple[Array, Array, float]:
    """Arrange moments for the sampler: fixed columns first, then the response; therapists last."""
    right = np.concatenate([moments.zx, moments.zr[:, :, None]], axis=2)
    zz = np.ascontiguousarray(moments.zz.transpose(1, 2, 0))
    return zz, np.ascontiguousarray(right.transpose(2, 1, 0)), moments.rr


def _kernel_prior(
    moments: Standard, prior: PriorValues
) -> tuple[Array, Array, float, Array, float, float, Array]:
    """Rewrite the prior in the coordinates of the sampler."""
    weighted = prior.fixed_precision[:, None] * moments.back
    precision = np.ascontiguousarray(moments.back.T @ weighted)
    shift = weighted.T @ (prior.fixed_mean - moments.least_squares)
    scale = np.ascontiguousarray(prior.scale, dtype=float)
    return precision, shift, prior.df, scale, prior.residual_rate, prior.power, prior.half


class _Stream:
    """Random numbers of one chain, the same however they are cut into blocks."""

    def __init__(self, seed: np.random.SeedSequence, normals: int, df: Array) -> None:
        self._normal, self._chi2, self._uniform, start = map(np.random.default_rng, seed.spawn(4))
        self._width, self._df = normals, df
        self.start = start

    def block(self, size: int) -> tuple[Array, Array, Array]:
        log_uniform = -self._uniform.standard_exponential((size, 2))
        chi2 = self._chi2.chisquare(self._df, (size, len(self._df)))
        return self._normal.standard_normal((size, self._width)), chi2, log_uniform


def _run(
    moments: Standard, prior: PriorValues, start: tuple[Array, float],
    streams: list[_Stream], draws: int, burn_in: int, keep: bool,
) -> tuple[tuple[Array, ...], Array, bool]:  # fmt: skip
    """Run all chains; their output arrays, the shares accepted, and whether compiled."""
    chains, (n_groups, q, p) = len(streams), moments.zx.shape
    out = (
        np.empty((chains, draws, p)), np.empty((chains, draws, q, q)), np.empty((chains, draws)),
        np.empty((chains, draws if keep else 0, n_groups, q)),
        np.zeros((chains, q, n_groups)), np.zeros((chains, q, n_groups)),
    )  # fmt: skip
    cov, s2 = _dispersed(start, streams)
    accepted = np.zeros(chains)
    kernel, compiled = _kernel()
    given = _kernel_moments(moments), _kernel_prior(moments, prior)
    size = max(min(BLOCK // (p + n_groups * q + 3 * q + 4), burn_in + draws), 1)
    for c, stream in enumerate(streams):
        written = tuple(o[c] for o in out)
        for first in range(-burn_in, draws, size):
            block = stream.block(min(size, draws - first))
            s2[c], moved = kernel(cov[c], float(s2[c]), *given, block, first, written)
            accepted[c] += moved
    return out, accepted / (burn_in + draws), compiled


def _dispersed(start: tuple[Array, float], streams: list[_Stream]) -> tuple[Array, Array]:
    """Start the first chain at the estimate and the others around it, or R-hat would be blind."""
    cov = np.repeat(np.asarray(start[0], float)[None], len(streams), axis=0)
    s2 = np.full(len(streams), float(start[1]))
    for c, stream in enumerate(streams[1:], start=1):
        factor = np.exp(stream.start.normal(size=1 + cov.shape[1]))
        cov[c] *= np.sqrt(np.outer(factor[1:], factor[1:]))
        s2[c] *= factor[0] ** 0.25
    return cov, s2


def _kernel() -> tuple[Callable[..., tuple[float, int]], bool]:
    """Return the sampler's loop, and whether it is the compiled one."""
    try:
        from multilevel.gibbs_kernel import run_chain as compiled
    except ImportError:
        from multilevel.gibbs_arrays import run_chain

        return run_chain, False
    return compiled, True


def _inside(start: tuple[Array, float], prior: PriorValues) -> tuple[Array, float]:
    """Move a start off the boundary: a chain cannot begin with a singular covariance matrix."""
    cov, s2 = np.array(start[0], dtype=float), float(start[1])
    q = len(cov)
    sds = np.sqrt(np.maximum(np.diag(cov), 1e-4 * s2 * np.ones(q)))
    correlation = cov / np.outer(sds, sds)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    if (np.diag(cov) >= sds**2).all() and values[0] > 1e-3:
        return cov, s2
    lifted = (vectors * np.maximum(values, 1e-3)) @ vectors.T
    return lifted * np.outer(sds, sds), s2


def _software(compiled: bool) -> dict[str, str]:
    from importlib.metadata import version

    used = {"python": platform.python_version(), "numpy": np.__version__}
    if compiled:
        used["numba"] = version("numba")
    return {"pwp_lib": version("pwp-lib")} | used


def gibbs_draws(
    design: DesignMoments,
    *,
    draws: int = 25_000,
    burn_in: int = 500,
    chains: int = 1,
    seed: int = 1,
    prior: str | Prior = "mlwin",
    start: Start | None = None,
    keep_effects: bool | None = None,
) -> GibbsDraws:
    """Sample the posterior of a model with random terms.

    Parameters
    ----------
    design : DesignMoments
        Moments of the model's columns.
    draws, burn_in, chains : int
        Iterations kept of each chain, discarded before them, and chains. The first chain starts
        at the maximum-likelihood estimate, as MLwiN does, the others around it.
    seed : int
        The same seed gives the same draws.
    prior : str or Prior
        ``"mlwin"``, ``"flat-sd"``, ``"half-normal"`` or a `Prior`.
    start : tuple of (ndarray of shape (q, q), float), optional
        Covariance matrix and residual variance in place of the maximum-likelihood estimates.
    keep_effects : bool, optional
        Whether to keep every draw of the random effects. By default they are kept while they
        take less than 1 GiB; their means and SDs always are.

    Returns
    -------
    GibbsDraws

    Raises
    ------
    InputError
        If there is no random term, or there are fewer than two therapists more than random terms.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> g = np.repeat(np.arange(20), 30)
    >>> y = rng.normal(size=20)[g] + rng.normal(scale=3, size=600)
    >>> d = DesignMoments.from_arrays(y, {"Intercept": np.ones(600)}, ["Intercept"], g)
    >>> gibbs_draws(d, draws=1_000, start=([[1.0]], 9.0)).vpc.shape
    (1, 1000)
    """
    _check(design, draws, burn_in, chains)
    moments = standardise(design)
    ml = (np.asarray(start[0], float), float(start[1])) if start else maximum_likelihood(design)
    values = as_prior(prior).resolve(design, *ml)
    n_groups, q, p = moments.zx.shape
    df = np.append(design.n_total + 2 * values.residual_shape, n_groups + values.df - np.arange(q))
    width = p + n_groups * q + q + q * (q - 1) // 2
    streams = [_Stream(s, width, df) for s in np.random.SeedSequence(seed).spawn(chains)]
    bytes_needed = chains * draws * n_groups * q * 8
    keep = bytes_needed <= KEEP_BYTES if keep_effects is None else keep_effects
    out, acceptance, compiled = _run(
        moments, values, _inside(ml, values), streams, draws, burn_in, keep
    )
    delta, cov, s2, u, total, squares = out
    mean = total.sum(axis=0).T / (chains * draws)
    notes = values.notes if keep or keep_effects is False else (*values.notes, _NOT_KEPT)
    return GibbsDraws(
        beta=moments.least_squares + delta @ moments.back.T,
        random_covariance=cov,
        residual_variance=s2,
        u=u,
        effects_mean=mean,
        effects_sd=np.sqrt(np.maximum(squares.sum(axis=0).T / (chains * draws) - mean**2, 0.0)),
        vpc=variance_partition(cov, s2, random_row(design, None)),
        design=design,
        prior=values,
        seed=seed,
        burn_in=burn_in,
        acceptance=acceptance,
        software=_software(compiled),
        notes=notes,
    )


_NOT_KEPT = (
    "Draws of the random effects would take more than 1 GiB and were not kept; their means and "
    "standard deviations were."
)


def sample_posterior(
    formula: str,
    data: Any,
    *,
    draws: int = 25_000,
    burn_in: int = 500,
    chains: int = 1,
    seed: int = 1,
    engine: Literal["gibbs", "nuts"] = "gibbs",
    prior: str | Prior = "mlwin",
) -> Any:
    """Sample the posterior of a multilevel model, as ArviZ InferenceData.

    Parameters
    ----------
    formula : str
        As in lme4; ``(1 + x | g)`` is a correlated intercept and slope.
    data : frame, Moments or DesignMoments
        Patients' rows, or moments of them.
    draws, burn_in, chains, seed : int
        See `gibbs_draws`. With ``engine="nuts"`` `burn_in` is the number of tuning steps.
    engine : {"gibbs", "nuts"}
        Gibbs sampling from moments, or the same model in PyMC, sampled by nutpie.
    prior : str or Prior
        ``"mlwin"``, ``"flat-sd"``, ``"half-normal"`` or a `Prior`; the same in both engines.

    Returns
    -------
    arviz.InferenceData
        Variables beta, random_covariance, residual_variance, u and vpc (the therapist effect with
        every variable at its mean). The attributes record prior, seed, burn-in and software.
    """
    from multilevel.moments import design_moments

    design = design_moments(formula, data)
    if engine == "gibbs":
        return gibbs_draws(
            design, draws=draws, burn_in=burn_in, chains=chains, seed=seed, prior=prior
        ).to_inference_data()
    if engine != "nuts":
        raise InputError(f"no engine is called {engine!r}", hint='use "gibbs" or "nuts"')
    from multilevel.nuts import nuts_posterior

    return nuts_posterior(
        design, draws=draws, tune=burn_in, chains=chains, seed=seed, prior=prior
    )  # fmt: skip
