"""Scores before treatment: integer pairs with the paper's cases, SDs and standard errors.

The standard errors of the mixed model depend on the scores before treatment and on the
variances alone, so they are fitted here, at the paper's variances, before any score after
treatment exists.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .histograms import odd
from .models import _gls_slope, standard_errors
from .targets import GAD7, PHQ9, MeasureTarget, TherapistPlan

__all__ = ["Real", "draw_before"]

Real = NDArray[np.float64]


def _pool(rng: np.random.Generator, plan: TherapistPlan) -> NDArray[np.int64]:
    """Draw initial integer pairs: a truncated bivariate normal, by therapist and caseness."""
    shape = np.array([[1.0, 0.74], [0.74, 1.0]])
    centre, spread = np.array([13.0, 12.6]), np.array([7.6, 8.2])
    pairs = np.zeros((int(plan.n.sum()), 2), dtype=np.int64)
    start = 0
    for j, n in enumerate(plan.n):
        rows: list[NDArray[np.int64]] = []
        left = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
        p, g = int(plan.cases[0, j]), int(plan.cases[1, j])
        both = min(p, g, max(p + g - n, round(0.63 * (p + g) / 1.457)))
        left[True, True], left[True, False] = both, p - both
        left[False, True], left[False, False] = g - both, n - p - g + both
        while sum(left.values()):
            z = rng.multivariate_normal(np.zeros(2), shape)
            x = np.rint(centre + spread * z).astype(np.int64)
            if (x < 0).any() or x[0] > PHQ9.maximum or x[1] > GAD7.maximum:
                continue
            key = (bool(x[0] >= PHQ9.cutoff), bool(x[1] >= GAD7.cutoff))
            if left[key]:
                left[key] -= 1
                rows.append(x)
        pairs[start : start + n] = rows
        start += n
    return pairs


@njit(cache=True)
def _predicted(xtx, centre, var, out, a):  # type: ignore[no-untyped-def]
    """Fill in the four standard errors at the variances `var` (sigma2, t00, t01, t11)."""
    g = np.array([var[1] / var[0], var[2] / var[0], var[3] / var[0]])
    beta = np.zeros(4)
    _gls_slope(xtx, np.zeros((xtx.shape[0], 4)), 1.0, g, a, beta)
    standard_errors(xtx, g, var[0], 1122, a, out)


@njit(cache=True)
def moments(own, other, therapist, groups):  # type: ignore[no-untyped-def]
    """Per-therapist cross-products of (1, own, other, own * other), scores already centred."""
    xtx = np.zeros((groups, 4, 4))
    row = np.zeros(4)
    for i in range(own.shape[0]):
        row[0], row[1], row[2], row[3] = 1.0, own[i], other[i], own[i] * other[i]
        for p in range(4):
            for q in range(4):
                xtx[therapist[i], p, q] += row[p] * row[q]
    return xtx


@njit(cache=True)
def _loss(pairs, therapist, mean, var, want, half, sd_want, hist, scale, out, lines):  # type: ignore[no-untyped-def]
    """Loss of the pre scores; `scale` widens the tolerances early on."""
    n = pairs.shape[0]
    centred = np.empty((2, n))
    for m in range(2):
        for i in range(n):
            centred[m, i] = pairs[i, m] - mean[m]
    s = 0.0
    a = np.zeros((4, 4))
    se = np.zeros(4)
    cross = np.zeros(3)
    for m in range(2):
        xtx = moments(centred[m], centred[1 - m], therapist, 21)
        _predicted(xtx, mean, var[m], se, a)
        for k in range(4):
            out[m, k] = se[k]
            d = max(0.0, abs(se[k] - want[m, k]) - 0.2 * half[m, k])
            s += (d / (0.1 * half[m, k] * scale)) ** 2
        cross[m] = np.sqrt(xtx[:, 1, 1].sum() / (n - 1))
        cross[2] += xtx[:, 1, 2].sum() / 2.0
        d = max(0.0, abs(cross[m] - sd_want[m, 0]) - 0.3 * sd_want[m, 1])
        s += (d / (sd_want[m, 1] * scale)) ** 2
        top, cut = (27, 10) if m == 0 else (21, 8)
        s += odd(hist[m, 3], top, cut, cut)
        for c in range(3):
            s += 0.5 * odd(hist[m, c], top, cut, cut)
    r = cross[2] / ((n - 1) * cross[0] * cross[1])
    d = max(0.0, abs(r - 0.71) - 0.01)
    s += (d / (0.005 * scale)) ** 2
    lines[0], lines[1], lines[2] = cross[0], cross[1], r
    return s


@njit(cache=True)
def _normal(p, g):  # type: ignore[no-untyped-def]
    """Minus the log density of the smooth shape that the pairs are drawn from."""
    x = (p - 13.0) / 7.6
    y = (g - 12.6) / 8.2
    return (x * x - 1.48 * x * y + y * y) / (2.0 * (1.0 - 0.74 * 0.74))


@njit(cache=True)
def _count(hist, c, score, by):  # type: ignore[no-untyped-def]
    hist[c, score] += by
    hist[3, score] += by


@njit(cache=True)
def _anneal(pairs, therapist, group, mean, var, want, half, sd_want, top, cut, rounds, moves, rng):  # type: ignore[no-untyped-def]
    """Balanced pairs of unit steps that keep both totals and every patient's caseness."""
    n = pairs.shape[0]
    hist = np.zeros((2, 4, 28))
    for i in range(n):
        for m in range(2):
            _count(hist[m], group[i], pairs[i, m], 1.0)
    out = np.zeros((2, 4))
    lines = np.zeros(3)
    for r in range(rounds):
        scale = max(1.0, 64.0 * 0.5**r)
        loss = _loss(pairs, therapist, mean, var, want, half, sd_want, hist, scale, out, lines)
        for _ in range(moves):
            m = rng.integers(0, 2)
            i = rng.integers(0, n)
            k = rng.integers(0, n)
            step = rng.integers(1, 4)
            x = pairs[i, m] + step
            y = pairs[k, m] - step
            if i == k or x > top[m] or y < 0:
                continue
            if (x >= cut[m]) != (pairs[i, m] >= cut[m]) or (y >= cut[m]) != (pairs[k, m] >= cut[m]):
                continue
            before = _normal(pairs[i, 0], pairs[i, 1]) + _normal(pairs[k, 0], pairs[k, 1])
            _count(hist[m], group[i], pairs[i, m], -1.0)
            _count(hist[m], group[k], pairs[k, m], -1.0)
            _count(hist[m], group[i], x, 1.0)
            _count(hist[m], group[k], y, 1.0)
            pairs[i, m], pairs[k, m] = x, y
            new = _loss(pairs, therapist, mean, var, want, half, sd_want, hist, scale, out, lines)
            change = new - loss + _normal(pairs[i, 0], pairs[i, 1])
            change += _normal(pairs[k, 0], pairs[k, 1]) - before
            if change <= 0.0 or rng.random() < np.exp(-change):
                loss = new
                continue
            pairs[i, m], pairs[k, m] = x - step, y + step
            _count(hist[m], group[i], x, -1.0)
            _count(hist[m], group[k], y, -1.0)
            _count(hist[m], group[i], x - step, 1.0)
            _count(hist[m], group[k], y + step, 1.0)
    loss = _loss(pairs, therapist, mean, var, want, half, sd_want, hist, 1.0, out, lines)
    return loss, out, lines


def variances(target: MeasureTarget) -> NDArray[np.float64]:
    """(sigma2, t00, t01, t11) that the paper's figures imply.

    The correlation of intercept and slope is not printed; these are the values that the two
    likelihood ratios and the slope variance lead to.
    """
    correlation = 0.60 if target is PHQ9 else 0.58
    t00, t11 = target.figures[4][0], target.figures[8][0]
    share = target.figures[10][0] / 100
    return np.array([t00 * (1 - share) / share, t00, correlation * np.sqrt(t00 * t11), t11])


def _fix_totals(pairs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Totals moved to the nearest to the wanted means, caseness kept."""
    totals = [round(t.pre_mean * len(pairs)) for t in (PHQ9, GAD7)]
    for m, target in enumerate((PHQ9, GAD7)):
        while (gap := totals[m] - pairs[:, m].sum()) != 0:
            i, step = rng.integers(len(pairs)), int(np.sign(gap))
            x = pairs[i, m] + step
            if 0 <= x <= target.maximum and (x >= target.cutoff) == (pairs[i, m] >= target.cutoff):
                pairs[i, m] = x
    return pairs


def draw_before(
    plan: TherapistPlan, seed: int, rounds: int = 10, moves: int = 30_000
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, object]]:
    """Scores before treatment, shape (1122, 2), the therapist of each row, and what was reached."""
    rng = np.random.default_rng([seed, 2])
    therapist = np.repeat(np.arange(len(plan.n)), plan.n)
    pairs = _fix_totals(_pool(rng, plan), rng)
    both = (PHQ9, GAD7)
    want = np.array([[t.figures[k][0] for k in (3, 5, 7, 9)] for t in both])
    half = np.array([[t.figures[k][1] for k in (3, 5, 7, 9)] for t in both])
    var = np.array([variances(t) for t in both])
    loss, out, lines = _anneal(
        pairs, therapist, plan.cluster[therapist], pairs.mean(axis=0), var, want, half,
        np.array([t.pre_sd for t in both]), np.array([t.maximum for t in both]),
        np.array([t.cutoff for t in both]), rounds, moves, rng,
    )  # fmt: skip
    return pairs, therapist, {"loss": loss, "se": out, "sd_sd_r": lines}
