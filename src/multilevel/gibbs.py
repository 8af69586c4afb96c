"""Gibbs sampling of the multilevel model, from sums within groups.

Each iteration draws fixed and random effects jointly (the random ones integrated out, then drawn
given the fixed); stretches random effects and their covariance matrix together, which moves a
small variance along where plain Gibbs sampling crawls (a step of generalised Gibbs sampling, Liu
and Sabatti, 2000, Biometrika 87, 353-369); and draws the residual variance and the covariance
matrix. Under inverse-Wishart and inverse-gamma priors that last draw is exact; under priors on
standard deviations it is a proposal, accepted with a probability that the prior alone decides
(see `priors`). Nothing but cross-products within groups is used, so an iteration costs the same
for a thousand rows and for ten million.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs_kernel import Belief, Draws, Noise, Sums, run_chain
from multilevel.identify import design_stack
from multilevel.priors import PriorValues

__all__ = ["Standard", "check_proper", "run_chains", "standardise"]

Array = NDArray[np.float64]

#: Random numbers drawn at a time, which bounds the memory beyond the result.
BLOCK = 4_000_000
#: Draws of the random effects that would take more bytes than this are thinned.
KEEP_BYTES = 2**28
#: An eigenvalue of a share of variance below this is zero.
ZERO = 1e-9


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
    """Rewrite moments for the sampler, the random terms raw, as priors are."""
    stack = design_stack(design, reml=False)
    scale, z_root, p = float(stack.scale[0]), stack.z_root[0], stack.p
    inner = z_root @ stack.root[0].swapaxes(-1, -2)
    shared = inner @ stack.outer[0]
    return Standard(
        zz=inner @ inner.swapaxes(-1, -2),
        zx=np.ascontiguousarray(shared[..., :p]),
        zr=scale * shared[..., p],
        rr=float(design.n_total) * scale**2,
        least_squares=stack.ols[0],
        back=np.linalg.inv(stack.x_root[0]).T,
    )


def check_proper(moments: Standard, prior: PriorValues, n_rows: int) -> None:
    """Refuse a flat prior under which the posterior is no distribution.

    Far out, where the SDs of some random terms dwarf all else, those terms' effects are as good
    as fixed, and the likelihood falls as the SD to the power of minus (effects less fixed terms
    that they could stand for). With flat SDs the integral is finite if that number exceeds the
    number of the terms: for a random intercept, groups less fixed terms between groups of two
    or more.

    Raises
    ------
    InputError
        If the posterior of the SDs, or of the residual SD near zero, does not integrate.
    """
    n_effects, n_between = _between(moments)
    if prior.residual_rate == 0 and n_rows - n_effects - len(moments.back) + n_between < 1:
        raise InputError(
            "fixed and random terms leave no residual, and the prior of the residual variance "
            "does not keep it from zero",
            hint="give Prior(residual=(shape, rate)) with a positive rate",
        )
    flat = [k for k, half in enumerate(prior.half) if half == 0 and prior.df < 0]
    for size in range(1, len(flat) + 1):
        for terms in combinations(flat, size):
            n_effects, n_between = _between(moments, list(terms))
            if n_effects - n_between <= size:
                raise InputError(
                    f"flat SDs of random terms leave no proper posterior: {n_effects} effects of "
                    f"groups less {n_between} fixed terms that differ between groups only are "
                    f"not more than {size}",
                    hint="take a half-normal prior, or leave out terms between groups",
                )


def _between(moments: Standard, terms: list[int] | None = None) -> tuple[int, int]:
    """Count the random effects that data can tell, and the fixed terms that they could stand for.

    A fixed term counts if nothing of it is left within groups once the random terms are out.
    """
    chosen = slice(None) if terms is None else terms
    zz, zx = moments.zz[:, chosen][:, :, chosen], moments.zx[:, chosen]
    size = np.sqrt(np.diagonal(zz, axis1=1, axis2=2).max(axis=0))
    zz, zx = zz / np.outer(size, size), zx / size[:, None]
    inverse = np.linalg.pinv(zz, rcond=ZERO, hermitian=True)
    within = np.eye(zx.shape[2]) - np.einsum("jqp,jqr,jrk->pk", zx, inverse, zx)
    n_effects = int(np.linalg.matrix_rank(zz, tol=ZERO * zz.max(), hermitian=True).sum())
    return n_effects, int((np.linalg.eigvalsh(within) < ZERO).sum())


def _belief(moments: Standard, prior: PriorValues) -> Belief:
    """Rewrite the prior in the coordinates of the sampler."""
    weighted = prior.fixed_precision[:, None] * moments.back
    return Belief(
        precision=np.ascontiguousarray(moments.back.T @ weighted),
        shift=weighted.T @ (prior.fixed_mean - moments.least_squares),
        df=prior.df,
        scale=np.ascontiguousarray(prior.scale, dtype=float),
        residual_rate=prior.residual_rate,
        power=prior.power,
        half=prior.half,
    )


class _Stream:
    """Random numbers of one chain, the same however they are cut into blocks."""

    def __init__(self, seed: np.random.SeedSequence, normals: int, df: Array) -> None:
        generators = [np.random.default_rng(s) for s in seed.spawn(4)]
        self._normal, self._chi2, self._uniform, self.start = generators
        self._width, self._df = normals, df

    def block(self, size: int) -> Noise:
        log_uniform = -self._uniform.standard_exponential((size, 2))
        chi2 = self._chi2.chisquare(self._df, (size, len(self._df)))
        return Noise(self._normal.standard_normal((size, self._width)), chi2, log_uniform)


def run_chains(
    moments: Standard,
    prior: PriorValues,
    start: tuple[Array, float],
    *,
    n_rows: int,
    draws: int,
    burn_in: int,
    chains: int,
    seed: int,
) -> tuple[Draws, Array]:
    """Run the chains, each from a start of its own.

    Returns
    -------
    Draws
        With a leading axis of chains. Draws of the random effects are thinned evenly where they
        would take more than 256 MiB.
    ndarray of shape (chains,)
        Shares of proposed covariance matrices that were accepted.
    """
    n_groups, q, p = moments.zx.shape
    df = np.append(n_rows + 2 * prior.residual_shape, n_groups + prior.df - np.arange(q))
    width = p + n_groups * q + q + q * (q - 1) // 2
    streams = [_Stream(s, width, df) for s in np.random.SeedSequence(seed).spawn(chains)]
    every = -(-chains * draws * n_groups * q * 8 // KEEP_BYTES)
    out = Draws(
        fixed=np.empty((chains, draws, p)),
        covariance=np.empty((chains, draws, q, q)),
        residual_variance=np.empty((chains, draws)),
        effects=np.empty((chains, -(-draws // every), n_groups, q)),
    )
    right = np.array([*moments.zx.transpose(2, 0, 1), moments.zr])
    sums, belief = Sums(moments.zz, right, moments.rr), _belief(moments, prior)
    cov, s2 = _dispersed(_inside(start), streams)
    accepted = np.zeros(chains)
    size = max(min(BLOCK // (p + n_groups * q + 3 * q + 4), burn_in + draws), 1)
    for c, stream in enumerate(streams):
        written = Draws(*(array[c] for array in out))
        for first in range(-burn_in, draws, size):
            noise = stream.block(min(size, draws - first))
            s2[c], moved = run_chain(
                cov[c], float(s2[c]), sums, belief, noise, first, every, written
            )
            accepted[c] += moved
    return out, accepted / (burn_in + draws)


def _dispersed(start: tuple[Array, float], streams: list[_Stream]) -> tuple[Array, Array]:
    """Start the first chain at the estimate and the others around it, or R-hat would be blind."""
    cov = np.repeat(start[0][None], len(streams), axis=0)
    s2 = np.full(len(streams), start[1])
    for c, stream in enumerate(streams[1:], start=1):
        factor = np.exp(stream.start.normal(size=1 + cov.shape[1]))
        cov[c] *= np.sqrt(np.outer(factor[1:], factor[1:]))
        s2[c] *= factor[0] ** 0.25
    return cov, s2


def _inside(start: tuple[Array, float]) -> tuple[Array, float]:
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
