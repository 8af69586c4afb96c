"""Random moves of scores after treatment, taken or not by what they cost.

Most moves change a likelihood ratio far more than its rounding allows, and that can be foretold
without a fit: at a maximum the derivative of a deviance with respect to a score is the score's
residual over the residual variance, twice. Only moves that pass are computed exactly.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernel import KEPT, apply, model_loss, outside, patient, plain_loss, smooth_loss
from .models import _gls_intercept, _gls_slope, _inverse_factor, solve

__all__ = ["anneal"]

#: How far foretelling a likelihood ratio may err, and what a move may gain in its histograms.
ERROR, GAIN = 0.0007, 12.0


@njit(cache=True)
def _coefficients(given, state, m, g, g1, out):  # type: ignore[no-untyped-def]
    """Fill in (3, 21, 4): each model's coefficients by therapist over its residual sum of squares.

    Fixed part plus therapist's residuals, at the relative variances of the last fit. Returns the
    three sums.
    """
    xtx, xty, yty = given.xtx[m], state.xty[m], state.yty[m]
    total, beta, a = np.zeros(4), np.zeros((3, 4)), np.zeros((4, 4))
    for p in range(4):
        total[p] = xty[:, p].sum()
    a[:, :] = given.xtx_total[m]
    solve(a, total, beta[0])
    rss0 = yty - (total * beta[0]).sum()
    rss1, _ = _gls_intercept(xtx, xty, yty, g1[0], beta[1])
    rss2, _ = _gls_slope(xtx, xty, yty, g, a, beta[2])
    for j in range(21):
        x = xtx[j]
        out[0, j] = beta[0] / rss0
        out[1, j] = beta[1]
        out[1, j, 0] += g1[0] * (xty[j, 0] - (x[0] * beta[1]).sum()) / (1.0 + g1[0] * x[0, 0])
        out[1, j] /= rss1
        f00, f01, f10, f11, _ = _inverse_factor(x[0, 0], x[0, 1], x[1, 1], g[0], g[1], g[2])
        e0, e1 = xty[j, 0] - (x[0] * beta[2]).sum(), xty[j, 1] - (x[1] * beta[2]).sum()
        m01 = g[0] * f01 + g[1] * f11
        out[2, j] = beta[2]
        out[2, j, 0] += (g[0] * f00 + g[1] * f10) * e0 + m01 * e1
        out[2, j, 1] += m01 * e0 + (g[1] * f01 + g[2] * f11) * e1
        out[2, j] /= rss2
    return rss0, rss1, rss2


@njit(cache=True)
def _derivatives(given, state, m, g, g1, lean, bend):  # type: ignore[no-untyped-def]
    """Fill in how both likelihood ratios move with each score, and with the sum of squares."""
    n = 1122.0
    c = np.zeros((3, 21, 4))
    rss0, rss1, rss2 = _coefficients(given, state, m, g, g1, c)
    bend[0], bend[1] = n / rss0 - n / rss1, n / rss1 - n / rss2
    for i in range(given.therapist.shape[0]):
        j = given.therapist[i]
        for k in range(2):
            s = 0.0
            for p in range(4):
                s += given.rows[m, i, p] * (c[k + 1, j, p] - c[k, j, p])
            lean[i, k] = 2.0 * n * s


@njit(cache=True)
def _foretold(given, state, tol, m, figure, lean, bend, size, who, new):  # type: ignore[no-untyped-def]
    """Loss of the two likelihood ratios that a move leads to, less what they lose now."""
    squares, first, second = 0.0, figure[0], figure[1]
    for q in range(size):
        i = who[q]
        old = state.post[m, i]
        squares += new[q] * new[q] - old * old
        first += lean[i, 0] * (new[q] - old)
        second += lean[i, 1] * (new[q] - old)
    first += bend[0] * squares
    second += bend[1] * squares
    target, half, tolerance = given.target[m], given.half[m], tol.figures
    s = outside(first, target[0], half[0] + ERROR, tolerance[0])
    s += outside(second, target[1], half[1] + ERROR, tolerance[1])
    for k in range(2):
        s -= outside(figure[k], target[k], half[k], tolerance[k])
    return s


@njit(cache=True)
def _opposite(given, state, m, small, rng, size, who, new):  # type: ignore[no-untyped-def]
    """Draw steps up and down in turn for the patients given; 0 if a score would leave its scale."""
    direction = 1 if rng.random() < 0.5 else -1
    for q in range(size):
        step = 1
        while step < small and rng.random() < 0.45:
            step += 1
        new[q] = state.post[m, who[q]] + direction * step
        direction = -direction
        if new[q] < 0 or new[q] > given.scale[m, 0]:
            return 0
    return size


@njit(cache=True)
def _propose(given, state, m, small, rng, who, new):  # type: ignore[no-untyped-def]
    """One to three patients and their new scores, drawn symmetrically; how many, 0 if invalid.

    A single step, opposite steps of two or three, or two patients of a therapist who swap.
    """
    n = state.post.shape[1]
    kind = rng.random()
    size = 1 if kind < 0.25 else (2 if kind < 0.8 else 3)
    for q in range(size):
        who[q] = rng.integers(0, n)
    if 0.25 <= kind < 0.4:
        j = given.therapist[who[0]]
        who[1] = rng.integers(given.first[j], given.first[j + 1])
        new[0], new[1] = state.post[m, who[1]], state.post[m, who[0]]
        return 2 if new[0] != new[1] else 0
    return _opposite(given, state, m, small, rng, size, who, new)


@njit(cache=True)
def _neighbour(given, m, i, reach, rng):  # type: ignore[no-untyped-def]
    """Draw a patient of the same therapist with a near score before treatment, or `i` itself."""
    at = given.place[m, i] + (1 + rng.integers(0, reach)) * (1 - 2 * rng.integers(0, 2))
    j = given.therapist[i]
    return given.by_score[m, at] if given.first[j] <= at < given.first[j + 1] else i


@njit(cache=True)
def _propose_within(given, state, m, rng, who, new):  # type: ignore[no-untyped-def]
    """Draw moves that hardly touch the models, symmetrically; how many patients, 0 if invalid.

    Pairs of patients of a therapist with about the same score before treatment: one or two pairs
    exchange their scores, or two pairs take opposite steps, so that therapists' sums stay.
    """
    kind = rng.random()
    size = 2 if kind < 0.1 else 4
    reach = 4 if kind >= 0.3 else 12
    for q in range(0, size, 2):
        who[q] = rng.integers(0, state.post.shape[1])
        who[q + 1] = _neighbour(given, m, who[q], reach, rng)
        new[q], new[q + 1] = state.post[m, who[q + 1]], state.post[m, who[q]]
    for q in range(size):
        for r in range(q):
            if who[r] == who[q]:
                return 0
    if kind < 0.3:
        return size
    one = 1 + (rng.random() < 0.3)
    other = 1 + (rng.random() < 0.3)
    for q in range(4):
        new[q] = state.post[m, who[q]] + (one if q < 2 else -other) * (1 - 2 * (q % 2))
        if new[q] < 0 or new[q] > given.scale[m, 0]:
            return 0
    return 4


@njit(cache=True)
def _exact(given, state, tol, m, size, who, new, bar, most, tight, now, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Make a move and take it back unless its exact losses pass; whether it stays.

    `now` holds the losses of the plain figures, the histograms and the models.
    """
    was, trial, trial_g, trial_g1 = np.zeros(4, np.int64), figure.copy(), g.copy(), g1.copy()
    for q in range(size):
        was[q] = state.post[m, who[q]]
    for q in range(size):
        apply(given, state, m, who[q], new[q])
    bar += now[0] + now[1] + now[2]
    plain = plain_loss(given, state, tol, m, trial, seen)
    smooth, model = np.inf, np.inf
    if plain <= most:
        smooth = tol.smooth * smooth_loss(given, state, m)
    if plain + smooth < bar:
        model = model_loss(given, state, tol, m, trial, trial_g, trial_g1, tight)
    if plain + smooth + model < bar and plain + model <= most:
        now[0], now[1], now[2] = plain, smooth, model
        g[:] = trial_g
        g1[:] = trial_g1
        figure[:] = trial
        return True
    for q in range(size - 1, -1, -1):
        apply(given, state, m, who[q], was[q])
    return False


@njit(cache=True)
def anneal(given, state, tol, m, moves, small, rng, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Propose `moves` moves on measure `m`; `small` is the largest step.

    With `small` 0 the figures are kept: what they lose together stays below `KEPT`, or does not
    grow. Returns the loss of the figures, that of the histograms, and how many moves were taken.
    """
    keep = small == 0
    who, new, now = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(3)
    lean, bend = np.zeros((state.post.shape[1], 2)), np.zeros(2)
    now[0] = plain_loss(given, state, tol, m, figure, seen)
    now[1] = tol.smooth * smooth_loss(given, state, m)
    now[2] = model_loss(given, state, tol, m, figure, g, g1, 1e-9)
    _derivatives(given, state, m, g, g1, lean, bend)
    taken = 0
    for _ in range(moves):
        if keep or rng.random() < 0.5:
            size = _propose_within(given, state, m, rng, who, new)
        else:
            size = _propose(given, state, m, small, rng, who, new)
        if size == 0:
            continue
        # The bar is drawn first: most proposals fall at what is foretold, before any fit.
        bar = -np.log(rng.random())
        if _foretold(given, state, tol, m, figure, lean, bend, size, who, new) > bar + GAIN:
            continue
        for q in range(size):
            i, old, other = who[q], state.post[m, who[q]], state.post[1 - m, who[q]]
            bar -= patient(given, m, i, new[q], other) - patient(given, m, i, old, other)
        if bar + GAIN < 0.0:
            continue
        most, tight = (max(now[0] + now[2], KEPT), 1e-8) if keep else (np.inf, 1e-6)
        if _exact(given, state, tol, m, size, who, new, bar, most, tight, now, g, g1, figure, seen):
            taken += 1
            _derivatives(given, state, m, g, g1, lean, bend)
    plain = plain_loss(given, state, tol, m, figure, seen)
    model = model_loss(given, state, tol, m, figure, g, g1, 1e-10)
    return plain + model, smooth_loss(given, state, m), taken
