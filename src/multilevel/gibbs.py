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

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np

from multilevel.design import Array, DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs_kernel import Belief, Draws, Noise, Sums, make_room, run_chain
from multilevel.identify import design_stack
from multilevel.priors import PriorValues

#: Random numbers drawn at a time, which bounds the memory beyond the result.
BLOCK = 500_000
#: Draws of the random effects that would take more bytes than this are thinned.
KEEP_BYTES = 2**28
#: An eigenvalue of a share of variance below this is zero.
ZERO = 1e-9


def standardise(design: DesignMoments) -> Sums:
    """Rewrite moments for the sampler, the random terms raw, as priors are."""
    stack = design_stack(design, reml=False)
    scale, z_root = float(stack.scale[0]), stack.z_root[0]
    inner = z_root @ stack.root[0].swapaxes(-1, -2)
    right = np.moveaxis(inner @ stack.outer[0], -1, 0).copy()
    right[-1] *= scale
    return Sums(
        zz=inner @ inner.swapaxes(-1, -2),
        right=right,
        rr=float(design.n_total) * scale**2,
        least_squares=stack.ols[0],
        back=np.linalg.inv(stack.x_root[0]).T.copy(),
    )


def check_proper(sums: Sums, prior: PriorValues, n_rows: int) -> None:
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
    n_effects, n_between = _between(sums, slice(None))
    if prior.residual_rate == 0 and n_rows - n_effects - len(sums.back) + n_between < 1:
        raise InputError(
            "fixed and random terms leave no residual, and the prior of the residual variance "
            "does not keep it from zero",
            hint="give Prior(residual=(shape, rate)) with a positive rate",
        )
    flat = [k for k, half in enumerate(prior.half) if half == 0 and prior.df < 0]
    for size in range(1, len(flat) + 1):
        for terms in combinations(flat, size):
            n_effects, n_between = _between(sums, list(terms))
            if n_effects - n_between <= size:
                raise InputError(
                    f"flat SDs of random terms leave no proper posterior: {n_effects} effects of "
                    f"groups less {n_between} fixed terms that differ between groups only are "
                    f"not more than {size}",
                    hint="take a half-normal prior, or leave out terms between groups",
                )


def _between(sums: Sums, terms: list[int] | slice) -> tuple[int, int]:
    """Count the random effects that data can tell, and the fixed terms that they could stand for.

    A fixed term counts if nothing of it is left within groups once the random terms are out.
    """
    zz, xz = sums.zz[:, terms][:, :, terms], sums.right[:-1, :, terms]
    size = np.sqrt(np.diagonal(zz, axis1=1, axis2=2).max(axis=0))
    zz, xz = zz / np.outer(size, size), xz / size
    inverse = np.linalg.pinv(zz, rcond=ZERO, hermitian=True)
    within = np.eye(len(xz)) - np.einsum("pjq,jqr,kjr->pk", xz, inverse, xz)
    n_effects = int(np.linalg.matrix_rank(zz, tol=ZERO * zz.max(), hermitian=True).sum())
    return n_effects, int((np.linalg.eigvalsh(within) < ZERO).sum())


def run_chains(
    sums: Sums,
    prior: PriorValues,
    start: tuple[Array, float],
    *,
    n_rows: int,
    draws: int,
    burn_in: int,
    chains: int,
    seed: int,
) -> Draws:
    """Run the chains, each from a start of its own.

    Returns
    -------
    Draws
        With a leading axis of chains. Draws of the random effects are thinned evenly where they
        would take more than 256 MiB.
    """
    columns, n_groups, q = sums.right.shape
    df = np.append(n_rows + 2 * prior.residual_shape, n_groups + prior.df - np.arange(q))
    width = columns - 1 + n_groups * q + q + q * (q - 1) // 2
    every = -(-chains * draws * n_groups * q * 8 // KEEP_BYTES)
    out = Draws(
        beta=np.empty((chains, draws, columns - 1)),
        random_covariance=np.empty((chains, draws, q, q)),
        residual_variance=np.empty((chains, draws)),
        u=np.empty((chains, -(-draws // every), n_groups, q)),
    )
    belief = Belief(prior.df, prior.scale, prior.residual_rate, prior.power, prior.half)
    room = make_room(columns, n_groups, q)
    # For a chain groups and terms stand in one row, where the terms make no difference.
    sums = sums._replace(right=sums.right.reshape(columns, -1))
    size = max(BLOCK // (width + q + 3), 1)
    for c, own in enumerate(np.random.SeedSequence(seed).spawn(chains)):
        # The same numbers however they are cut into blocks.
        *own_noise, apart = (np.random.default_rng(s) for s in own.spawn(4))
        given = own_noise, width, df
        # The first chain starts at the estimate, the others around it, or R-hat would be blind.
        factor = np.exp(apart.normal(size=1 + q)) if c else np.ones(1 + q)
        cov = start[0] * np.sqrt(np.outer(factor[1:], factor[1:]))
        s2 = float(start[1] * factor[0] ** 0.25)
        written = Draws(*(array[c] for array in out))
        counts = [min(size, draws - first) for first in range(-burn_in, draws, size)]
        # The next numbers are drawn while the chain runs over these.
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(_noise, *given, counts[0])
            for k, following in enumerate([*counts[1:], 0]):
                noise, coming = coming.result(), beside.submit(_noise, *given, following)
                first = k * size - burn_in
                s2 = run_chain(cov, s2, sums, belief, noise, first, every, written, room)
    return out


def _noise(sources: list[np.random.Generator], width: int, df: Array, count: int) -> Noise:
    """Draw the random numbers of some iterations."""
    normal, chi2, uniform = sources
    squares, logs = chi2.chisquare(df, (count, len(df))), -uniform.standard_exponential((count, 2))
    return Noise(normal.standard_normal((count, width)), squares, logs)
