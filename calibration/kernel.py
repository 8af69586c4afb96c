"""The compiled search over scores after treatment: state, moves and losses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .histograms import furthest, odd
from .models import fit_intercept, fit_slope, ols_rss, residuals, standard_errors

__all__ = ["KEPT", "Given", "State", "Tolerance", "apply"]

Real = NDArray[np.float64]
Whole = NDArray[np.int64]

#: Correlation of the two measures' post scores given both pre scores (as normal quantiles).
COPULA = 0.74
#: What a standard deviation beyond 2.5 costs the therapist furthest out.
FURTHEST = 40.0
#: What the figures may lose in all for each to be inside its interval: at its end one loses more.
KEPT = 2.0


class Given(NamedTuple):
    """What does not change while post scores move. Leading dimension 2: the measure.

    `xtx` (2, 21, 4, 4), `xtx_total` (2, 4, 4) and `rows` (2, N, 4): cross-products and rows of the
    design; `pre` (2, N); `therapist` (N), `first` (22): its first row; `by_score`, `place` (2, N):
    patients of each therapist by own pre score, and their places there; `cluster` (21); `scale`
    (2, 3): maximum, cut-off, reliable change; `table`, `quantile` (2, 28, 28): minus log
    probability and normal quantile of each post score given the pre score; `order` (2, 21):
    therapists from best to worst; `excludes` (2, 21); `cases` (2, 21); `position` (21): composite
    rank; `rank_r` (2); `sd_pre` (2, 4) of the clusters and of all; `pre_sums` (2, 3, 3): patients,
    sum and sum of squares of centred pre scores; `wants` (2, 3, 3): counts by cluster;
    `target`, `half` (2, 17): the figures and half a printed unit.
    """

    xtx: Real
    xtx_total: Real
    rows: Real
    pre: Whole
    therapist: Whole
    first: Whole
    by_score: Whole
    place: Whole
    cluster: Whole
    scale: Whole
    table: Real
    quantile: Real
    order: Whole
    excludes: Whole
    cases: Real
    position: Real
    rank_r: Real
    sd_pre: Real
    pre_sums: Real
    wants: Real
    target: Real
    half: Real


class State(NamedTuple):
    """What moves change in place.

    `post` (2, N); `xty` (2, 21, 4), `yty` (2), `squares` (2, 21): sums of squares by therapist;
    `hist` (2, 10, 56): post scores of all, changes by cluster, changes of all, post scores of
    cases, post scores by cluster, changes of cases; `counts` (2, 3, 3): improved, deteriorated,
    recovered by cluster; `recovered` (2, 21); `sums` (2, 3, 5): of the change, its square, the
    post score, its product with the centred pre score, its square; `cross` (1): of the product
    of the two changes.
    """

    post: Whole
    xty: Real
    yty: Real
    squares: Real
    hist: Real
    counts: Real
    recovered: Real
    sums: Real
    cross: Real


class Tolerance(NamedTuple):
    """How far a figure may stray for a loss of 1, this round."""

    figures: Real
    counts: float
    rank: float
    residual: float
    smooth: float


@njit(cache=True)
def apply(given, state, m, i, new):  # type: ignore[no-untyped-def]
    """Set one post score and update everything that depends on it."""
    old = state.post[m, i]
    if old == new:
        return
    j = given.therapist[i]
    c = given.cluster[j]
    top, cut, rel = given.scale[m, 0], given.scale[m, 1], given.scale[m, 2]
    step = float(new - old)
    for p in range(4):
        state.xty[m, j, p] += step * given.rows[m, i, p]
    squares = float(new * new - old * old)
    state.yty[m] += squares
    state.squares[m, j] += squares
    x = given.pre[m, i]
    d_old, d_new = x - old, x - new
    state.counts[m, 0, c] += int(d_new >= rel) - int(d_old >= rel)
    state.counts[m, 1, c] += int(d_new <= -rel) - int(d_old <= -rel)
    hist = state.hist[m]
    if x >= cut:
        r = int(d_new >= rel and new < cut) - int(d_old >= rel and old < cut)
        state.counts[m, 2, c] += r
        state.recovered[m, j] += r
        hist[5, old] -= 1.0
        hist[5, new] += 1.0
        hist[9, d_old + top] -= 1.0
        hist[9, d_new + top] += 1.0
    for k in (0, 6 + c):
        hist[k, old] -= 1.0
        hist[k, new] += 1.0
    for k in (4, 1 + c):
        hist[k, d_old + top] -= 1.0
        hist[k, d_new + top] += 1.0
    sums = state.sums[m, c]
    sums[0] -= step
    sums[1] += float(d_new * d_new - d_old * d_old)
    sums[2] += step
    sums[3] += step * given.rows[m, i, 1]
    sums[4] += squares
    state.cross[0] -= step * (given.pre[1 - m, i] - state.post[1 - m, i])
    state.post[m, i] = new


@njit(cache=True)
def patient(given, m, i, own, other):  # type: ignore[no-untyped-def]
    """Minus the log density of one patient's post scores.

    The smooth shape of the own measure, a normal copula between the two, and an extra cost of
    large deteriorations, so that none stands alone.
    """
    a, b = given.pre[m, i], given.pre[1 - m, i]
    x, y = given.quantile[m, a, own], given.quantile[1 - m, b, other]
    s = given.table[m, a, own]
    s += (COPULA**2 * (x * x + y * y) - 2.0 * COPULA * x * y) / (2.0 * (1.0 - COPULA**2))
    large = (-10 if m == 0 else -8) - (a - own)
    if large > 0:
        s += (large / 3.0) ** 2
    return s


@njit(cache=True)
def _crossed(n, sx, sxx, sy, sxy, syy):  # type: ignore[no-untyped-def]
    """Centred sums of squares and products."""
    return sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n


@njit(cache=True)
def ancova(x, s):  # type: ignore[no-untyped-def]
    """F of upper against lower on the post score, own pre score held constant."""
    n = x[0, 0] + x[2, 0]
    a = _crossed(n, x[0, 1] + x[2, 1], x[0, 2] + x[2, 2], s[0, 2] + s[2, 2],
                 s[0, 3] + s[2, 3], s[0, 4] + s[2, 4])  # fmt: skip
    u = _crossed(x[0, 0], x[0, 1], x[0, 2], s[0, 2], s[0, 3], s[0, 4])
    w = _crossed(x[2, 0], x[2, 1], x[2, 2], s[2, 2], s[2, 3], s[2, 4])
    reduced = a[2] - a[1] * a[1] / a[0]
    product = u[1] + w[1]
    full = u[2] + w[2] - product * product / (u[0] + w[0])
    return (reduced - full) / (full / (n - 3.0))


@njit(cache=True)
def rank_correlation(rate, position):  # type: ignore[no-untyped-def]
    """Spearman's correlation of rates (high is rank 1, ties at their mean) with positions."""
    k = rate.shape[0]
    rank = np.ones(k)
    for i in range(k):
        for j in range(k):
            if j != i:
                if rate[j] > rate[i] + 1e-12:
                    rank[i] += 1.0
                elif rate[j] > rate[i] - 1e-12:
                    rank[i] += 0.5
    x = rank - rank.mean()
    y = position - position.mean()
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


@njit(cache=True)
def outside(x, target, half, tolerance):  # type: ignore[no-untyped-def]
    """Squared distance beyond 85% of the rounding interval, in tolerances."""
    d = abs(x - target) - 0.85 * half
    return (d / tolerance) ** 2 if d > 0.0 else 0.0


@njit(cache=True)
def plain_loss(given, state, tol, m, figure, seen):  # type: ignore[no-untyped-def]
    """Lose what needs no model: figures 11 to 16, counts, correlations (to `seen`)."""
    n = 1122.0
    sums = state.sums[m]
    total = sums[:, 0].sum()
    figure[11] = total / n
    figure[12] = np.sqrt((sums[:, 1].sum() - total * total / n) / (n - 1.0))
    figure[13] = figure[11] / given.sd_pre[m, 3]
    figure[14] = sums[0, 0] / given.pre_sums[m, 0, 0] / given.sd_pre[m, 0]
    figure[15] = sums[2, 0] / given.pre_sums[m, 2, 0] / given.sd_pre[m, 2]
    figure[16] = ancova(given.pre_sums[m], sums)
    s = 0.0
    for k in range(11, 17):
        s += outside(figure[k], given.target[m, k], given.half[m, k], tol.figures[k])
    for k in range(3):
        for c in range(3):
            s += ((state.counts[m, k, c] - given.wants[m, k, c]) / tol.counts) ** 2
    seen[1] = rank_correlation(state.recovered[m] / given.cases[m], given.position)
    s += outside(seen[1], given.rank_r[m], 0.005, tol.rank)
    other = state.sums[1 - m]
    total2 = other[:, 0].sum()
    sd2 = np.sqrt((other[:, 1].sum() - total2 * total2 / n) / (n - 1.0))
    seen[0] = (state.cross[0] - total * total2 / n) / ((n - 1.0) * figure[12] * sd2)
    return s + (max(0.0, abs(seen[0] - 0.70) - 0.02) / 0.005) ** 2


@njit(cache=True)
def smooth_loss(given, state, m):  # type: ignore[no-untyped-def]
    """Implausible histograms, and a therapist whose patients look like nobody's."""
    hist = state.hist[m]
    top, cut, rel = given.scale[m, 0], given.scale[m, 1], given.scale[m, 2]
    better, worse = top + rel, top - rel + 1
    s = odd(hist[0], top, cut, cut) + odd(hist[5], top, cut, cut)
    s += odd(hist[4], 2 * top, better, worse) + odd(hist[9], 2 * top, better, worse)
    for c in range(3):
        s += 0.5 * odd(hist[1 + c], 2 * top, better, worse) + 0.5 * odd(hist[6 + c], top, cut, cut)
    far = furthest(given.xtx[m, :, 0, 0], state.xty[m, :, 0], state.squares[m])
    return s + FURTHEST * max(0.0, far - 2.5) ** 2


@njit(cache=True)
def _residual_loss(given, tol, m, u, conditional, comparative):  # type: ignore[no-untyped-def]
    """Therapists in their order, and the right intervals excluding zero.

    An interval that excludes zero must do so with either standard error, one that does not with
    neither.
    """
    s = 0.0
    for k in range(20):
        d = u[given.order[m, k]] - u[given.order[m, k + 1]] + 0.012
        if d > 0.0:
            s += (d / tol.residual) ** 2
    for j in range(21):
        side = given.excludes[m, j]
        if side == 0:
            d = abs(u[j]) - 1.96 * conditional[j] + 0.02
        else:
            d = 1.96 * comparative[j] + 0.02 - side * u[j]
        if d > 0.0:
            s += (d / tol.residual) ** 2
    return s


@njit(cache=True)
def model_loss(given, state, tol, m, figure, g, g1, tight):  # type: ignore[no-untyped-def]
    """Lose what needs the models. `g` and `g1` are warm starts and are moved to the solution."""
    n = 1122
    xtx, xty, yty = given.xtx[m], state.xty[m], state.yty[m]
    beta, a, se = np.zeros(4), np.zeros((4, 4)), np.zeros(4)
    u, conditional, comparative = np.zeros(21), np.zeros(21), np.zeros(21)
    total = np.zeros(4)
    for j in range(21):
        for p in range(4):
            total[p] += xty[j, p]
    g1[0], dev1 = fit_intercept(xtx, xty, yty, n, g1[0])
    sigma2, dev2 = fit_slope(xtx, xty, yty, n, g, beta, a, tight)
    if not (np.isfinite(dev1) and np.isfinite(dev2)):
        return 1e12
    standard_errors(xtx, g, sigma2, n, a, se)
    figure[0] = n * np.log(ols_rss(given.xtx_total[m], total, yty) / n) - dev1
    figure[1] = dev1 - dev2
    figure[2], figure[3] = beta[0], se[0]
    figure[4], figure[5] = sigma2 * g[0], se[1]
    figure[6], figure[7] = beta[1], se[2]
    figure[8], figure[9] = sigma2 * g[2], se[3]
    figure[10] = 100.0 * g[0] / (g[0] + 1.0)
    s = 0.0
    for k in range(11):
        s += outside(figure[k], given.target[m, k], given.half[m, k], tol.figures[k])
    residuals(xtx, xty, g, sigma2, beta, a, u, conditional, comparative)
    return s + _residual_loss(given, tol, m, u, conditional, comparative)
