"""The paper's three models, refitted exactly from per-therapist cross-products, compiled.

The columns are the constant, the own centred pre score ``a``, the other centred pre score ``b``
and ``a * b``; intercept and slope on ``a`` vary between therapists. ``xtx`` (J, 4, 4) does not
change while post scores move, so a move costs one update of ``xty`` (J, 4) and ``yty``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["fit_intercept", "fit_slope", "ols_rss", "residuals", "standard_errors"]


@njit(cache=True)
def solve(a, b, x):  # type: ignore[no-untyped-def]
    """Solve ``a x = b`` for a small symmetric positive matrix, destroying `a`; -1 if singular."""
    k = b.shape[0]
    for i in range(k):
        for j in range(i + 1):
            s = a[i, j]
            for m in range(j):
                s -= a[i, m] * a[j, m]
            if i == j:
                if s <= 0.0:
                    return -1
                a[i, i] = np.sqrt(s)
            else:
                a[i, j] = s / a[j, j]
    for i in range(k):
        s = b[i]
        for m in range(i):
            s -= a[i, m] * x[m]
        x[i] = s / a[i, i]
    for i in range(k - 1, -1, -1):
        s = x[i]
        for m in range(i + 1, k):
            s -= a[m, i] * x[m]
        x[i] = s / a[i, i]
    return 0


@njit(cache=True)
def ols_rss(xtx_total, xty_total, yty):  # type: ignore[no-untyped-def]
    """Residual sum of squares of the single-level model."""
    a = xtx_total.copy()
    x = np.empty(4)
    solve(a, xty_total, x)
    s = yty
    for i in range(4):
        s -= x[i] * xty_total[i]
    return s


@njit(cache=True)
def _gls_intercept(xtx, xty, yty, g, beta):  # type: ignore[no-untyped-def]
    """GLS at a relative intercept variance `g`: coefficients, weighted rss, log determinant."""
    groups = xtx.shape[0]
    a = np.zeros((4, 4))
    b = np.zeros(4)
    c = yty
    logdet = 0.0
    for j in range(groups):
        d = 1.0 + g * xtx[j, 0, 0]
        w = g / d
        logdet += np.log(d)
        t = xty[j, 0]
        c -= w * t * t
        for p in range(4):
            b[p] += xty[j, p] - w * xtx[j, 0, p] * t
            for q in range(p + 1):
                a[p, q] += xtx[j, p, q] - w * xtx[j, 0, p] * xtx[j, 0, q]
    solve(a, b, beta)
    rss = c
    for p in range(4):
        rss -= beta[p] * b[p]
    return rss, logdet


@njit(cache=True)
def fit_intercept(xtx, xty, yty, n_total, g):  # type: ignore[no-untyped-def]
    """Maximise over the relative variance, started at `g`: variance, profiled deviance.

    Newton's method with the derivative of the profiled score (rss treated through its own
    first derivative, its second through the Gauss-Newton term), which converges in a few steps.
    """
    groups = xtx.shape[0]
    beta = np.zeros(4)
    rss = 0.0
    logdet = 0.0
    for _ in range(30):
        rss, logdet = _gls_intercept(xtx, xty, yty, g, beta)
        s1 = 0.0
        s2 = 0.0
        q1 = 0.0
        q2 = 0.0
        for j in range(groups):
            d = 1.0 + g * xtx[j, 0, 0]
            k = xtx[j, 0, 0] / d
            e = xty[j, 0]
            for p in range(4):
                e -= xtx[j, 0, p] * beta[p]
            e /= d
            s1 += k
            s2 += k * k
            q1 += e * e
            q2 += e * e * k
        sigma2 = rss / n_total
        score = s1 - q1 / sigma2
        curve = -s2 + 2.0 * q2 / sigma2 - q1 * q1 / (sigma2 * sigma2 * n_total)
        if curve <= 0.0:
            curve = s2
        step = score / curve
        step = min(max(step, -2.0 * g), 0.7 * g)
        g -= step
        if abs(step) < 1e-6 * g:
            break
    rss, logdet = _gls_intercept(xtx, xty, yty, g, beta)
    return g, n_total * np.log(rss / n_total) + logdet


@njit(cache=True)
def _inverse_factor(c00, c01, c11, g00, g01, g11):  # type: ignore[no-untyped-def]
    """``(I + C G)^-1`` and its determinant's inverse, elementwise."""
    m00 = 1.0 + c00 * g00 + c01 * g01
    m01 = c00 * g01 + c01 * g11
    m10 = c01 * g00 + c11 * g01
    m11 = 1.0 + c01 * g01 + c11 * g11
    det = m00 * m11 - m01 * m10
    return m11 / det, -m01 / det, -m10 / det, m00 / det, det


@njit(cache=True)
def _gls_slope(xtx, xty, yty, g, a, beta):  # type: ignore[no-untyped-def]
    """GLS at the relative covariance `g` (3): coefficients, weighted rss, log determinant."""
    groups = xtx.shape[0]
    b = np.zeros(4)
    a[:, :] = 0.0
    c = yty
    logdet = 0.0
    for j in range(groups):
        x = xtx[j]
        f00, f01, f10, f11, det = _inverse_factor(x[0, 0], x[0, 1], x[1, 1], g[0], g[1], g[2])
        logdet += np.log(det)
        m00 = g[0] * f00 + g[1] * f10
        m01 = g[0] * f01 + g[1] * f11
        m11 = g[1] * f01 + g[2] * f11
        t0 = xty[j, 0]
        t1 = xty[j, 1]
        c -= m00 * t0 * t0 + 2.0 * m01 * t0 * t1 + m11 * t1 * t1
        for p in range(4):
            v0 = m00 * x[0, p] + m01 * x[1, p]
            v1 = m01 * x[0, p] + m11 * x[1, p]
            b[p] += xty[j, p] - v0 * t0 - v1 * t1
            for q in range(p + 1):
                a[p, q] += x[p, q] - v0 * x[0, q] - v1 * x[1, q]
    work = a.copy()
    solve(work, b, beta)
    rss = c
    for p in range(4):
        rss -= beta[p] * b[p]
    return rss, logdet


@njit(cache=True)
def _score_information(xtx, xty, g, beta, sigma2, n_total, score, info):  # type: ignore[no-untyped-def]
    """Profiled score and expected information of the relative covariance (3 elements)."""
    score[:] = 0.0
    info[:, :] = 0.0
    total = np.zeros(3)
    for j in range(xtx.shape[0]):
        x = xtx[j]
        f00, f01, f10, f11, _ = _inverse_factor(x[0, 0], x[0, 1], x[1, 1], g[0], g[1], g[2])
        e0 = xty[j, 0]
        e1 = xty[j, 1]
        for p in range(4):
            e0 -= x[0, p] * beta[p]
            e1 -= x[1, p] * beta[p]
        h0 = f00 * e0 + f01 * e1
        h1 = f10 * e0 + f11 * e1
        k00 = f00 * x[0, 0] + f01 * x[0, 1]
        k01 = f00 * x[0, 1] + f01 * x[1, 1]
        k11 = f10 * x[0, 1] + f11 * x[1, 1]
        total[0] += k00
        total[1] += 2.0 * k01
        total[2] += k11
        score[0] += k00 - h0 * h0 / sigma2
        score[1] += 2.0 * (k01 - h0 * h1 / sigma2)
        score[2] += k11 - h1 * h1 / sigma2
        info[0, 0] += k00 * k00
        info[1, 0] += 2.0 * k00 * k01
        info[1, 1] += 2.0 * (k00 * k11 + k01 * k01)
        info[2, 0] += k01 * k01
        info[2, 1] += 2.0 * k01 * k11
        info[2, 2] += k11 * k11
    for p in range(3):
        for q in range(p + 1):
            info[p, q] -= total[p] * total[q] / n_total


@njit(cache=True)
def fit_slope(xtx, xty, yty, n_total, g, beta, a, tolerance):  # type: ignore[no-untyped-def]
    """Fisher scoring on the relative covariance `g`, in place: sigma2, profiled deviance.

    `beta` and `a` (the weighted cross-products) are left at the solution. The determinant is
    kept positive by halving; ``inf`` is returned where the maximum lies on the boundary.
    """
    score = np.zeros(3)
    info = np.zeros((3, 3))
    step = np.zeros(3)
    rss, logdet = _gls_slope(xtx, xty, yty, g, a, beta)
    for _ in range(60):
        sigma2 = rss / n_total
        _score_information(xtx, xty, g, beta, sigma2, n_total, score, info)
        if solve(info, score, step) < 0:
            return sigma2, np.inf
        shrink = 1.0
        for _halving in range(20):
            g0 = g[0] - shrink * step[0]
            g1 = g[1] - shrink * step[1]
            g2 = g[2] - shrink * step[2]
            if g0 > 0.0 and g0 * g2 - g1 * g1 > 1e-9:
                break
            shrink *= 0.5
        else:
            return sigma2, np.inf
        g[0] = g0
        g[1] = g1
        g[2] = g2
        rss, logdet = _gls_slope(xtx, xty, yty, g, a, beta)
        gain = shrink * abs(score[0] * step[0] + score[1] * step[1] + score[2] * step[2])
        if gain < tolerance:
            break
    return rss / n_total, n_total * np.log(rss / n_total) + logdet


@njit(cache=True)
def standard_errors(xtx, g, sigma2, n_total, a, out):  # type: ignore[no-untyped-def]
    """Fill in standard errors of intercept, its variance, slope and its variance (expected).

    `a` is the weighted cross-product matrix at `g`; `out` has length 4.
    """
    work = a.copy()
    unit = np.zeros(4)
    x = np.zeros(4)
    unit[0] = 1.0
    solve(work, unit, x)
    out[0] = np.sqrt(sigma2 * x[0])
    work[:, :] = a
    unit[0] = 0.0
    unit[1] = 1.0
    solve(work, unit, x)
    out[2] = np.sqrt(sigma2 * x[1])
    info = np.zeros((4, 4))
    for j in range(xtx.shape[0]):
        m = xtx[j]
        f00, f01, f10, f11, _ = _inverse_factor(m[0, 0], m[0, 1], m[1, 1], g[0], g[1], g[2])
        k00 = f00 * m[0, 0] + f01 * m[0, 1]
        k01 = f00 * m[0, 1] + f01 * m[1, 1]
        k11 = f10 * m[0, 1] + f11 * m[1, 1]
        info[0, 0] += k00 * k00
        info[1, 0] += 2.0 * k00 * k01
        info[1, 1] += 2.0 * (k00 * k11 + k01 * k01)
        info[2, 0] += k01 * k01
        info[2, 1] += 2.0 * k01 * k11
        info[2, 2] += k11 * k11
        # Z'V^-2 Z = F K' where K = F C is symmetric
        info[3, 0] += k00 * f00 + k01 * f01
        info[3, 1] += 2.0 * (f10 * k00 + f11 * k01)
        info[3, 2] += f10 * k01 + f11 * k11
        info[3, 3] += m[0, 0] - 2.0 + f00 * f00 + 2.0 * f01 * f10 + f11 * f11
    scale = 1.0 / (2.0 * sigma2 * sigma2)
    work4 = np.zeros(4)
    for which in range(2):
        position = 0 if which == 0 else 2
        m4 = info * scale
        work4[:] = 0.0
        work4[position] = 1.0
        solve(m4, work4, x)
        out[1 + 2 * which] = np.sqrt(x[position])


@njit(cache=True)
def residuals(xtx, xty, g, sigma2, beta, a, u, conditional, comparative):  # type: ignore[no-untyped-def]
    """Intercept residuals with conditional and comparative standard errors, in place."""
    work = np.zeros((4, 4))
    v = np.zeros(4)
    x = np.zeros(4)
    for j in range(xtx.shape[0]):
        m = xtx[j]
        f00, f01, f10, f11, _ = _inverse_factor(m[0, 0], m[0, 1], m[1, 1], g[0], g[1], g[2])
        m00 = g[0] * f00 + g[1] * f10
        m01 = g[0] * f01 + g[1] * f11
        e0 = xty[j, 0]
        e1 = xty[j, 1]
        for p in range(4):
            e0 -= m[0, p] * beta[p]
            e1 -= m[1, p] * beta[p]
            v[p] = m00 * m[0, p] + m01 * m[1, p]
        u[j] = m00 * e0 + m01 * e1
        conditional[j] = np.sqrt(sigma2 * m00)
        work[:, :] = a
        solve(work, v, x)
        extra = 0.0
        for p in range(4):
            extra += v[p] * x[p]
        comparative[j] = np.sqrt(sigma2 * (m00 + extra))
