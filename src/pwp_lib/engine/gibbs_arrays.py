"""The Gibbs sampler in whole arrays, all chains at once: what runs where numba is not installed.

The steps and the random numbers are those of `gibbs_kernel`, and so are the draws, up to rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["run_chains"]

Array = NDArray[np.float64]


def _log_weight(cov: Array, log_det: Array, power: float, half: Array) -> Array:
    diagonal = np.diagonal(cov, axis1=1, axis2=2)
    weight: Array = power * (log_det - np.log(diagonal).sum(axis=1)) - diagonal @ half
    return weight


def _draw_covariance(scatter: Array, normals: Array, chi2: Array) -> tuple[Array, Array]:
    """Inverse-Wishart draws, one a chain, and their log determinants."""
    q = scatter.shape[1]
    factor = np.zeros_like(scatter)
    rows, cols = np.tril_indices(q, -1)
    factor[:, rows, cols] = normals[:, normals.shape[1] - len(rows) :]
    factor[:, range(q), range(q)] = np.sqrt(chi2)
    chol = np.linalg.cholesky(scatter)
    half = chol @ np.linalg.inv(factor).transpose(0, 2, 1)
    ends = np.diagonal(chol, axis1=1, axis2=2) / np.sqrt(chi2)
    return half @ half.transpose(0, 2, 1), 2.0 * np.log(ends).sum(axis=1)


def _draw_fixed(h: Array, shift: Array, normals: Array) -> Array:
    """Draws from normals with precisions `h` and shifts `shift`, one a chain."""
    inv = np.linalg.inv(np.linalg.cholesky(h))
    inner = (inv @ shift[..., None])[..., 0] + normals
    draws: Array = (inv.transpose(0, 2, 1) @ inner[..., None])[..., 0]
    return draws


def run_chains(
    cov: Array, s2: Array, moments: tuple[Array, Array, Array, float],
    prior: tuple[Array, Array, Array, float, float, Array],
    random: tuple[Array, Array, Array], first: int,
    out: tuple[Array, Array, Array, Array, Array, Array],
) -> NDArray[np.int64]:  # fmt: skip
    """Run all chains over the given random numbers; see `gibbs_kernel.run_chain`.

    The first axis of every array of state, random numbers and output is the chain. `cov` and
    `s2` are overwritten. Returns the accepted covariance matrices of each chain.
    """
    zz, zx, zr, rr = moments
    precision, shift, scale, residual_rate, power, half = prior
    normals, chi2, log_unif = random
    deltas, covs, s2s, us, total_u, total_u2 = out
    n_chains, (n_groups, q, p) = len(cov), zx.shape
    rhs, eye = np.concatenate([zx, zr[..., None]], axis=2), np.eye(p)
    accepted = np.zeros(n_chains, dtype=np.int64)
    for it in range(normals.shape[1]):
        weight = _log_weight(cov, np.linalg.slogdet(cov)[1], power, half)
        inv_s2 = 1.0 / s2[:, None, None, None]
        low = np.linalg.cholesky(zz * inv_s2 + np.linalg.inv(cov)[:, None])
        inv_low = np.linalg.inv(low)
        ab = (inv_low @ (rhs * inv_s2)).reshape(n_chains, n_groups * q, p + 1)
        gram = ab[..., :p].transpose(0, 2, 1) @ ab
        h = precision + eye * inv_s2[:, 0] - gram[..., :p]
        delta = _draw_fixed(h, shift - gram[..., p], normals[:, it, :p])
        inner = ab[..., p] - (ab[..., :p] @ delta[..., None])[..., 0]
        inner += normals[:, it, p : p + n_groups * q]
        inner = inner.reshape(n_chains, n_groups, q, 1)
        u = (inv_low.transpose(0, 1, 3, 2) @ inner)[..., 0]
        fitted = np.einsum("gij,cgj->cgi", zz, u) + 2.0 * (zx @ delta[:, None, :, None])[..., 0]
        sse = rr + (delta * delta).sum(axis=1) + ((fitted - 2.0 * zr) * u).sum(axis=(1, 2))
        s2[:] = (np.maximum(sse, 0.0) + 2.0 * residual_rate) / chi2[:, it, 0]
        new, log_det = _draw_covariance(
            scale + u.transpose(0, 2, 1) @ u, normals[:, it], chi2[:, it, 1:]
        )
        move = log_unif[:, it] <= _log_weight(new, log_det, power, half) - weight
        cov[move] = new[move]
        accepted += move
        row = first + it
        if row >= 0:
            deltas[:, row], covs[:, row], s2s[:, row] = delta, cov, s2
            total_u += u
            total_u2 += u * u
            if us.shape[1]:
                us[:, row] = u
    return accepted
