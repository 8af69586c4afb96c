"""The last steps: many moves foretold by their first derivatives, few tried.

Near the end one random move in ten millions brings every figure inside its interval. The figures
are smooth in the scores, so the effect of each unit step is worked out once, those of two to four
steps together are foretold by adding, and only what promises to help is computed exactly. What is
taken is decided by the exact losses, as in `kernel.anneal`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernel import (
    _outside,
    _patient,
    apply,
    model_loss,
    plain_loss,
    smooth_loss,
)

__all__ = ["polish"]

MOST = 4


@njit(cache=True)
def _figure_loss(given, tol, m, figure):  # type: ignore[no-untyped-def]
    s = 0.0
    for k in range(17):
        s += _outside(figure[k], given.target[m, k], given.half[m, k], tol.figures[k])
    return s


@njit(cache=True)
def _keeps_counts(given, state, m, i, new):  # type: ignore[no-untyped-def]
    """Whether a step leaves improvement, deterioration and recovery of the patient as they are."""
    old, x = state.post[m, i], given.pre[m, i]
    top, cut, rel = given.scale[m, 0], given.scale[m, 1], given.scale[m, 2]
    if new < 0 or new > top:
        return False
    if (x - new >= rel) != (x - old >= rel) or (x - new <= -rel) != (x - old <= -rel):
        return False
    return x < cut or x - old < rel or (new < cut) == (old < cut)


@njit(cache=True)
def _effects(given, state, tol, m, g, g1, figure, seen, who, step, effect):  # type: ignore[no-untyped-def]
    """Effect on the figures of every unit step that keeps the counts; how many there are."""
    trial, trial_g, trial_g1 = np.zeros(17), np.zeros(3), np.zeros(1)
    used = 0
    for i in range(state.post.shape[1]):
        for sign in (-1, 1):
            old = state.post[m, i]
            if not _keeps_counts(given, state, m, i, old + sign):
                continue
            apply(given, state, m, i, old + sign)
            trial_g[:] = g
            trial_g1[:] = g1
            plain_loss(given, state, tol, m, trial, seen)
            model_loss(given, state, tol, m, trial, trial_g, trial_g1, 1e-8)
            apply(given, state, m, i, old)
            who[used], step[used] = i, sign
            for k in range(17):
                effect[used, k] = trial[k] - figure[k]
            used += 1
    return used


@njit(cache=True)
def _attempt(given, state, tol, m, chosen, size, who, step, now, rng, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Try steps exactly; take them if the exact losses say so. Returns the three losses."""
    was = np.zeros(MOST, np.int64)
    trial, trial_g, trial_g1 = np.zeros(17), g.copy(), g1.copy()
    energy = 0.0
    for q in range(size):
        i = who[chosen[q]]
        was[q] = state.post[m, i]
        other = state.post[1 - m, i]
        new = was[q] + step[chosen[q]]
        energy += _patient(given, m, i, new, other) - _patient(given, m, i, was[q], other)
        apply(given, state, m, i, new)
    plain = plain_loss(given, state, tol, m, trial, seen)
    smooth = tol.smooth * smooth_loss(given, state, m)
    model = model_loss(given, state, tol, m, trial, trial_g, trial_g1, 1e-9)
    bar = now[0] + now[1] + now[2] - np.log(rng.random())
    if plain + smooth + model + energy < bar and plain + model < now[0] + now[2]:
        g[:] = trial_g
        g1[:] = trial_g1
        figure[:] = trial
        now[0], now[1], now[2] = plain, smooth, model
        return True
    for q in range(size - 1, -1, -1):
        apply(given, state, m, who[chosen[q]], was[q])
    return False


@njit(cache=True)
def polish(given, state, tol, m, sweeps, looks, rng, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Improve the figures of measure `m` until all fit or `sweeps` tables of effects are used up.

    Each sweep looks at no more than `looks` combinations. Returns loss of the figures and how
    often steps were taken.
    """
    n = 2 * state.post.shape[1]
    who, step, effect = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 17))
    chosen, foretold, now = np.zeros(MOST, np.int64), np.zeros(17), np.zeros(3)
    now[0] = plain_loss(given, state, tol, m, figure, seen)
    now[1] = tol.smooth * smooth_loss(given, state, m)
    now[2] = model_loss(given, state, tol, m, figure, g, g1, 1e-10)
    taken = 0
    for _sweep in range(sweeps):
        if now[0] + now[2] <= 0.0:
            break
        used = _effects(given, state, tol, m, g, g1, figure, seen, who, step, effect)
        loss = _figure_loss(given, tol, m, figure)
        for _look in range(looks):
            size = rng.integers(1, MOST + 1)
            for q in range(size):
                chosen[q] = rng.integers(0, used)
            foretold[:] = figure
            for q in range(size):
                for k in range(17):
                    foretold[k] += effect[chosen[q], k]
            if _figure_loss(given, tol, m, foretold) > 0.7 * loss:
                continue
            distinct = True
            for q in range(size):
                for r in range(q):
                    distinct = distinct and who[chosen[q]] != who[chosen[r]]
            if distinct and _attempt(given, state, tol, m, chosen, size, who, step, now, rng, g,
                                     g1, figure, seen):  # fmt: skip
                taken += 1
                break
    now[0] = plain_loss(given, state, tol, m, figure, seen)
    now[2] = model_loss(given, state, tol, m, figure, g, g1, 1e-10)
    return now[0] + now[2], taken
