"""One chain of the Gibbs sampler, compiled. Imported only where numba is installed.

`gibbs_arrays.run_chains` does the same in whole arrays, takes the same random numbers, drawn
beforehand, and so gives the same chain up to rounding. Therapists are the last axis here, so that
the compiler works on several at once; the other axes have one to three entries, or as many as
there are fixed effects.
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
#: Sums may be reordered, which is what lets them run several therapists at a time.
jit = njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")


@jit  # type: ignore[untyped-decorator]
def _cholesky(m: Array, low: Array, floor: float) -> None:
    for i in range(m.shape[0]):
        for j in range(i + 1):
            s = m[i, j]
            for k in range(j):
                s -= low[i, k] * low[j, k]
            low[i, j] = np.sqrt(max(s, floor)) if i == j else s / low[j, j]


@jit  # type: ignore[untyped-decorator]
def _invert_lower(low: Array, t: Array) -> None:
    for i in range(low.shape[0]):
        t[i, i] = 1.0 / low[i, i]
        for j in range(i):
            s = 0.0
            for k in range(j, i):
                s -= low[i, k] * t[k, j]
            t[i, j] = s * t[i, i]


@jit  # type: ignore[untyped-decorator]
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


@jit  # type: ignore[untyped-decorator]
def _log_weight(cov: Array, log_det: float, power: float, half: Array) -> float:
    """Log of what the prior holds beyond its inverse-Wishart part (see `priors`)."""
    w = power * log_det
    for i in range(cov.shape[0]):
        w -= power * np.log(cov[i, i]) + half[i] * cov[i, i]
    return w


@jit  # type: ignore[untyped-decorator]
def _factor(c: float, inv: Array, zz: Array, low: Array) -> None:
    """Cholesky factors of every therapist's precision; their diagonals are kept inverted."""
    q, n_groups = zz.shape[0], zz.shape[2]
    for i in range(q):
        for j in range(i + 1):
            for g in range(n_groups):
                low[i, j, g] = zz[i, j, g] * c + inv[i, j]
            for k in range(j):
                for g in range(n_groups):
                    low[i, j, g] -= low[i, k, g] * low[j, k, g]
            for g in range(n_groups):
                low[i, j, g] = (
                    1.0 / np.sqrt(low[i, i, g]) if i == j else low[i, j, g] * low[j, j, g]
                )


@jit  # type: ignore[untyped-decorator]
def _forward(c: float, right: Array, low: Array, out: Array) -> None:
    """Solve every therapist's lower-triangular system for ``c`` times the columns of `right`."""
    q, columns, n_groups = right.shape
    for m in range(columns):
        for i in range(q):
            for g in range(n_groups):
                out[i, m, g] = right[i, m, g] * c
            for k in range(i):
                for g in range(n_groups):
                    out[i, m, g] -= low[i, k, g] * out[k, m, g]
            for g in range(n_groups):
                out[i, m, g] *= low[i, i, g]


@jit  # type: ignore[untyped-decorator]
def _eliminate(a: Array, h: Array, delta: Array) -> None:
    """Take the random effects out of the fixed part's precision `h` and its shift `delta`."""
    q, columns, n_groups = a.shape
    p = columns - 1
    for i in range(q):
        for m in range(p):
            s = 0.0
            for g in range(n_groups):
                s += a[i, m, g] * a[i, p, g]
            delta[m] -= s
            for k in range(m + 1):
                s = 0.0
                for g in range(n_groups):
                    s += a[i, m, g] * a[i, k, g]
                h[m, k] -= s


@jit  # type: ignore[untyped-decorator]
def _draw_normal(h: Array, chol: Array, delta: Array, normals: Array, floor: float) -> None:
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


@jit  # type: ignore[untyped-decorator]
def _draw_effects(a: Array, low: Array, delta: Array, normals: Array, u: Array) -> None:
    """Draw the random effects given the fixed ones."""
    q, columns, n_groups = a.shape
    for i in range(q - 1, -1, -1):
        for g in range(n_groups):
            u[i, g] = a[i, columns - 1, g] + normals[i * n_groups + g]
        for m in range(columns - 1):
            for g in range(n_groups):
                u[i, g] -= a[i, m, g] * delta[m]
        for k in range(i + 1, q):
            for g in range(n_groups):
                u[i, g] -= low[k, i, g] * u[k, g]
        for g in range(n_groups):
            u[i, g] *= low[i, i, g]


@jit  # type: ignore[untyped-decorator]
def _products(
    zz: Array, right: Array, delta: Array, u: Array, outer: Array, inner: Array, scatter: Array
) -> None:
    """Sum u'(zz)u by element, u'(response left by the fixed part), and uu'."""
    q, columns, n_groups = right.shape
    for i in range(q):
        for k in range(i + 1):
            s, t = 0.0, 0.0
            for g in range(n_groups):
                both = u[i, g] * u[k, g]
                s += both * zz[i, k, g]
                t += both
            outer[i, k] = s
            outer[k, i] = s
            scatter[i, k] = t
            scatter[k, i] = t
        s = 0.0
        for g in range(n_groups):
            s += u[i, g] * right[i, columns - 1, g]
        for m in range(columns - 1):
            t = 0.0
            for g in range(n_groups):
                t += u[i, g] * right[i, m, g]
            s -= t * delta[m]
        inner[i] = s


@jit  # type: ignore[untyped-decorator]
def _stretch_weight(
    stretch: Array, df: float, scale: Array, inv: Array, half: Array, cov: Array
) -> float:
    """Log of the prior's part in stretching effects and covariance matrix together."""
    w = 0.0
    for i in range(len(stretch)):
        w -= (df + 1.0) * np.log(abs(stretch[i])) + half[i] * cov[i, i] * stretch[i] ** 2
        for k in range(len(stretch)):
            w -= 0.5 * scale[i, k] * inv[i, k] / (stretch[i] * stretch[k])
    return w


@jit  # type: ignore[untyped-decorator]
def _bend(
    stretch: Array, inner: Array, outer: Array, u: Array, scatter: Array, cov: Array
) -> float:
    """Stretch effects, their cross-products and their covariance; their part of the SSE."""
    q, n_groups = u.shape
    sse = 0.0
    for i in range(q):
        for g in range(n_groups):
            u[i, g] *= stretch[i]
        sse -= 2.0 * stretch[i] * inner[i]
        for k in range(q):
            both = stretch[i] * stretch[k]
            sse += both * outer[i, k]
            scatter[i, k] *= both
            cov[i, k] *= both
    return sse


@jit  # type: ignore[untyped-decorator]
def _draw_covariance(
    scatter: Array, normals: Array, chi2: Array, chol: Array, t: Array, wish: Array, new: Array
) -> float:
    """Inverse-Wishart draw with scale `scatter`, by Bartlett's factor; its log determinant."""
    q = scatter.shape[0]
    _cholesky(scatter, chol, 1e-300)
    log_det = 0.0
    for i in range(q):
        t[i, i] = 1.0 / np.sqrt(chi2[i])
        log_det += 2.0 * np.log(chol[i, i] * t[i, i])
        for j in range(i):
            s = 0.0
            for k in range(j, i):
                s -= normals[i * (i - 1) // 2 + k] * t[k, j]
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


@jit  # type: ignore[untyped-decorator]
def run_chain(
    cov: Array, s2: float, moments: tuple[Array, Array, float],
    prior: tuple[Array, Array, float, Array, float, float, Array],
    random: tuple[Array, Array, Array], first: int,
    out: tuple[Array, Array, Array, Array, Array, Array],
) -> tuple[float, int]:  # fmt: skip
    """Run the chain over the given random numbers.

    Draws are written from the iteration at which ``first`` plus its number is not negative.
    `cov` is overwritten and the last residual variance returned, so that the next block of
    random numbers goes on where this one ended; with it the covariance matrices accepted.
    """
    zz, right, rr = moments
    precision, shift, df, scale, residual_rate, power, half = prior
    normals, chi2, log_unif = random
    deltas, covs, s2s, us, total_u, total_u2 = out
    q, columns, n_groups = right.shape
    p, end = columns - 1, columns - 1 + q * n_groups
    low, a, u = (
        np.zeros((q, q, n_groups)),
        np.zeros((q, columns, n_groups)),
        np.zeros((q, n_groups)),
    )
    h, h_low, delta = np.zeros((p, p)), np.zeros((p, p)), np.zeros(p)
    inv, chol, t, new = np.zeros((4, q, q))
    outer, scatter, wish = np.zeros((3, q, q))
    inner, stretch, ones, accepted = np.zeros(q), np.zeros(q), np.ones(q), 0
    for it in range(normals.shape[0]):
        _cholesky(cov, chol, 1e-300)
        _invert_lower(chol, t)
        _gram(t, inv)
        delta[:], h[:] = shift, precision
        for i in range(p):
            h[i, i] += 1.0 / s2
        _factor(1.0 / s2, inv, zz, low)
        _forward(1.0 / s2, right, low, a)
        _eliminate(a, h, delta)
        _draw_normal(h, h_low, delta, normals[it, :p], PIVOT / s2)
        _draw_effects(a, low, delta, normals[it, p:end], u)
        _products(zz, right, delta, u, outer, inner, scatter)
        stretch[:], wish[:] = inner / s2, outer / s2
        _draw_normal(wish, chol, stretch, normals[it, end : end + q], 1e-300)
        weight = _stretch_weight(stretch, df, scale, inv, half, cov)
        if not log_unif[it, 0] <= weight - _stretch_weight(ones, df, scale, inv, half, cov):
            stretch[:] = 1.0
        sse = rr + np.sum(delta * delta) + _bend(stretch, inner, outer, u, scatter, cov)
        log_det = 0.0
        for i in range(q):
            log_det -= 2.0 * np.log(t[i, i] / abs(stretch[i]))
        s2 = (max(sse, 0.0) + 2.0 * residual_rate) / chi2[it, 0]
        weight = _log_weight(cov, log_det, power, half)
        scatter += scale
        log_det = _draw_covariance(
            scatter, normals[it, end + q :], chi2[it, 1:], chol, t, wish, new
        )
        if log_unif[it, 1] <= _log_weight(new, log_det, power, half) - weight:
            cov[:] = new
            accepted += 1
        row = first + it
        if row >= 0:
            deltas[row], covs[row], s2s[row] = delta, cov, s2
            total_u += u
            total_u2 += u * u
            if us.shape[0] > 0:
                us[row] = u.T
    return s2, accepted
