"""One chain of the Gibbs sampler, compiled. Imported only where numba is installed.

`gibbs_arrays.run_chains` does the same in whole arrays, takes the same random numbers, drawn
beforehand, and so gives the same chain up to rounding. Matrices here have one to three rows;
loops over them are what the compiler wants.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["run_chain"]

Array = NDArray[np.float64]

#: A pivot of the fixed part's precision never falls below this share of its scale: where a
#: therapist variance dwarfs the residual one, the subtraction that makes it loses its digits.
PIVOT = 1e-14


@njit(cache=True)  # type: ignore[untyped-decorator]
def _cholesky(m: Array, low: Array, floor: float) -> None:
    for i in range(m.shape[0]):
        for j in range(i + 1):
            s = m[i, j]
            for k in range(j):
                s -= low[i, k] * low[j, k]
            low[i, j] = np.sqrt(max(s, floor)) if i == j else s / low[j, j]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _invert_lower(low: Array, t: Array) -> None:
    for i in range(low.shape[0]):
        t[i, i] = 1.0 / low[i, i]
        for j in range(i):
            s = 0.0
            for k in range(j, i):
                s -= low[i, k] * t[k, j]
            t[i, j] = s * t[i, i]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gram(t: Array, out: Array) -> None:
    """Write t't for a lower-triangular t."""
    q = t.shape[0]
    for i in range(q):
        for j in range(i + 1):
            s = 0.0
            for k in range(i, q):
                s += t[k, i] * t[k, j]
            out[i, j] = s
            out[j, i] = s


@njit(cache=True)  # type: ignore[untyped-decorator]
def _log_weight(cov: Array, log_det: float, power: float, half: Array) -> float:
    """Log of what the prior holds beyond its inverse-Wishart part (see `priors`)."""
    w = power * log_det
    for i in range(cov.shape[0]):
        w -= power * np.log(cov[i, i]) + half[i] * cov[i, i]
    return w


@njit(cache=True)  # type: ignore[untyped-decorator]
def _eliminate(
    s2: float, inv: Array, zz: Array, zx: Array, zr: Array, low: Array, a: Array, b: Array,
    h: Array, delta: Array,
) -> None:  # fmt: skip
    """Take the random effects out of the fixed part's precision `h` and shift `delta`."""
    n_groups, q, p = zx.shape
    c = 1.0 / s2
    for g in range(n_groups):
        for i in range(q):
            for j in range(i):
                s = zz[g, i, j] * c + inv[i, j]
                for k in range(j):
                    s -= low[g, i, k] * low[g, j, k]
                low[g, i, j] = s * low[g, j, j]
            s = zz[g, i, i] * c + inv[i, i]
            for k in range(i):
                s -= low[g, i, k] * low[g, i, k]
            d = 1.0 / np.sqrt(s)
            low[g, i, i] = d  # the diagonal is kept inverted: one division, many uses
            s = zr[g, i] * c
            for k in range(i):
                s -= low[g, i, k] * b[g, k]
            b[g, i] = s * d
            for m in range(p):
                s = zx[g, i, m] * c
                for k in range(i):
                    s -= low[g, i, k] * a[g, k, m]
                a[g, i, m] = s * d
            for m in range(p):
                delta[m] -= a[g, i, m] * b[g, i]
                for k in range(m + 1):
                    h[m, k] -= a[g, i, m] * a[g, i, k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _draw_fixed(h: Array, chol: Array, delta: Array, normals: Array, floor: float) -> None:
    """Turn the shift in `delta` into a draw from the normal with precision `h`."""
    p = h.shape[0]
    _cholesky(h, chol, floor)
    for i in range(p):
        s = delta[i]
        for k in range(i):
            s -= chol[i, k] * delta[k]
        delta[i] = s / chol[i, i]
    for i in range(p - 1, -1, -1):
        s = delta[i] + normals[i]
        for k in range(i + 1, p):
            s -= chol[k, i] * delta[k]
        delta[i] = s / chol[i, i]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _draw_effects(
    zz: Array, zx: Array, zr: Array, low: Array, a: Array, b: Array, delta: Array,
    normals: Array, u: Array, scatter: Array,
) -> float:  # fmt: skip
    """Draw the random effects, add their cross-products to `scatter`; their part of the SSE."""
    n_groups, q, p = zx.shape
    sse = 0.0
    for g in range(n_groups):
        for i in range(q - 1, -1, -1):
            s = b[g, i] + normals[p + g * q + i]
            for m in range(p):
                s -= a[g, i, m] * delta[m]
            for k in range(i + 1, q):
                s -= low[g, k, i] * u[g, k]
            u[g, i] = s * low[g, i, i]
        for i in range(q):
            s = -2.0 * zr[g, i]
            for m in range(p):
                s += 2.0 * zx[g, i, m] * delta[m]
            for k in range(q):
                s += zz[g, i, k] * u[g, k]
                scatter[i, k] += u[g, i] * u[g, k]
            sse += s * u[g, i]
    return sse


@njit(cache=True)  # type: ignore[untyped-decorator]
def _draw_covariance(
    scatter: Array, normals: Array, chi2: Array, chol: Array, t: Array, wish: Array, new: Array
) -> float:
    """Inverse-Wishart draw with scale `scatter`, by Bartlett's factor; its log determinant."""
    q = scatter.shape[0]
    _cholesky(scatter, chol, 1e-300)
    log_det, col = 0.0, normals.shape[0] - q * (q - 1) // 2
    for i in range(q):
        t[i, i] = 1.0 / np.sqrt(chi2[i])
        log_det += 2.0 * np.log(chol[i, i] * t[i, i])
        for j in range(i):
            s = 0.0
            for k in range(j, i):
                s -= normals[col + i * (i - 1) // 2 + k] * t[k, j]
            t[i, j] = s * t[i, i]
    _gram(t, wish)
    for i in range(q):
        for j in range(i + 1):
            s = 0.0
            for k in range(i + 1):
                for m in range(j + 1):
                    s += chol[i, k] * wish[k, m] * chol[j, m]
            new[i, j] = s
            new[j, i] = s
    return log_det


@njit(cache=True)  # type: ignore[untyped-decorator]
def run_chain(
    cov: Array, s2: float, moments: tuple[Array, Array, Array, float],
    prior: tuple[Array, Array, Array, float, float, Array],
    random: tuple[Array, Array, Array], first: int,
    out: tuple[Array, Array, Array, Array, Array, Array],
) -> tuple[float, int]:  # fmt: skip
    """Run the chain over the given random numbers.

    Draws are written from the iteration at which ``first`` plus its number is not negative.
    `cov` is overwritten and the last residual variance returned, so that the next block of
    random numbers goes on where this one ended; with it the covariance matrices accepted.
    """
    zz, zx, zr, rr = moments
    precision, shift, scale, residual_rate, power, half = prior
    normals, chi2, log_unif = random
    deltas, covs, s2s, us, total_u, total_u2 = out
    n_groups, q, p = zx.shape
    low, a, b = np.zeros((n_groups, q, q)), np.zeros((n_groups, q, p)), np.zeros((n_groups, q))
    u, h, h_low, delta = np.zeros((n_groups, q)), np.zeros((p, p)), np.zeros((p, p)), np.zeros(p)
    inv, chol, t = np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q))
    new, scatter, wish, accepted = np.zeros((q, q)), np.zeros((q, q)), np.zeros((q, q)), 0
    for it in range(normals.shape[0]):
        _cholesky(cov, chol, 1e-300)
        _invert_lower(chol, t)
        _gram(t, inv)
        log_det = 0.0
        for i in range(q):
            log_det += 2.0 * np.log(chol[i, i])
        weight = _log_weight(cov, log_det, power, half)
        delta[:], h[:], scatter[:] = shift, precision, scale
        for i in range(p):
            h[i, i] += 1.0 / s2
        _eliminate(s2, inv, zz, zx, zr, low, a, b, h, delta)
        _draw_fixed(h, h_low, delta, normals[it], PIVOT / s2)
        sse = rr + np.sum(delta * delta)
        sse += _draw_effects(zz, zx, zr, low, a, b, delta, normals[it], u, scatter)
        s2 = (max(sse, 0.0) + 2.0 * residual_rate) / chi2[it, 0]
        log_det = _draw_covariance(scatter, normals[it], chi2[it, 1:], chol, t, wish, new)
        if log_unif[it] <= _log_weight(new, log_det, power, half) - weight:
            cov[:] = new
            accepted += 1
        row = first + it
        if row >= 0:
            deltas[row], covs[row], s2s[row] = delta, cov, s2
            total_u += u
            total_u2 += u * u
            if us.shape[0] > 0:
                us[row] = u
    return s2, accepted
