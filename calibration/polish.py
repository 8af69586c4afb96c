"""The last steps: many moves foretold by their first derivatives, few tried.

Near the end one random move in ten millions brings every figure inside its interval. The figures
are smooth in the scores, so the effect of each unit step is worked out once, that of four steps
together is foretold by adding, and only what promises to help is computed exactly. What is
taken is decided by the exact losses: the figures must gain, and plausibility lose little.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernel import KEPT, apply, model_loss, outside, patient, plain_loss, smooth_loss

__all__ = ["polish"]

#: Steps taken together, and pairs of steps drawn for each table of effects.
MOST, PAIRS = 4, 200_000
#: What four steps may cost in plausibility (in nats).
COST = 5.0


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
def _attempt(given, state, tol, m, chosen, size, who, step, now, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Try steps exactly; take them if the exact losses say so. Returns the three losses."""
    was = np.zeros(MOST, np.int64)
    trial, trial_g, trial_g1 = np.zeros(17), g.copy(), g1.copy()
    energy = 0.0
    for q in range(size):
        i = who[chosen[q]]
        was[q] = state.post[m, i]
        other = state.post[1 - m, i]
        new = was[q] + step[chosen[q]]
        energy += patient(given, m, i, new, other) - patient(given, m, i, was[q], other)
        apply(given, state, m, i, new)
    plain = plain_loss(given, state, tol, m, trial, seen)
    smooth = tol.smooth * smooth_loss(given, state, m)
    model = model_loss(given, state, tol, m, trial, trial_g, trial_g1, 1e-9)
    if plain + model < now[0] + now[2] and energy + smooth - now[1] < COST:
        g[:] = trial_g
        g1[:] = trial_g1
        figure[:] = trial
        now[0], now[1], now[2] = plain, smooth, model
        return True
    for q in range(size - 1, -1, -1):
        apply(given, state, m, who[chosen[q]], was[q])
    return False


@njit(cache=True)
def _pairs(effect, used, first, second, rng):  # type: ignore[no-untyped-def]
    """Draw pairs of steps, and give their order by their joint effect on the first figure."""
    joint = np.empty(first.shape[0])
    for p in range(first.shape[0]):
        first[p] = rng.integers(0, used)
        second[p] = rng.integers(0, used)
        joint[p] = effect[first[p], 0] + effect[second[p], 0]
    order = np.argsort(joint)
    return order, joint[order]


@njit(cache=True)
def _foretell(given, tol, m, figure, effect, chosen, bound):  # type: ignore[no-untyped-def]
    """Foretold loss of the figures after the chosen steps; stops once beyond `bound`."""
    s = 0.0
    for k in range(17):
        x = figure[k]
        for q in range(MOST):
            x += effect[chosen[q], k]
        s += outside(x, given.target[m, k], given.half[m, k], tol.figures[k])
        if s > bound:
            break
    return s


@njit(cache=True)
def _distinct(who, chosen):  # type: ignore[no-untyped-def]
    for q in range(MOST):
        for r in range(q):
            if who[chosen[q]] == who[chosen[r]]:
                return False
    return True


@njit(cache=True)
def polish(given, state, tol, m, sweeps, looks, rng, g, g1, figure, seen):  # type: ignore[no-untyped-def]
    """Improve the figures of measure `m` until all fit or `sweeps` tables of effects are used up.

    A pair of steps is drawn; among pairs sorted by their effect on the first figure those that
    complete it are looked at, no more than `looks` in a sweep. Returns the loss of the figures and
    how often steps were taken.
    """
    n = 2 * state.post.shape[1]
    who, step, effect = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 17))
    first, second = np.zeros(PAIRS, np.int64), np.zeros(PAIRS, np.int64)
    chosen, now = np.zeros(MOST, np.int64), np.zeros(3)
    now[0] = plain_loss(given, state, tol, m, figure, seen)
    now[1] = tol.smooth * smooth_loss(given, state, m)
    now[2] = model_loss(given, state, tol, m, figure, g, g1, 1e-10)
    taken = 0
    for sweep in range(sweeps):
        if now[0] + now[2] <= KEPT:
            break
        used = _effects(given, state, tol, m, g, g1, figure, seen, who, step, effect)
        order, joint = _pairs(effect, used, first, second, rng)
        # First a great gain, so that few steps are needed; then what can be had.
        bound = (0.1, 0.5, 0.9)[sweep % 3] * (now[0] + now[2])
        seen_pairs = 0
        found = False
        while seen_pairs < looks and not found:
            p = rng.integers(0, PAIRS)
            chosen[0], chosen[1] = first[p], second[p]
            gap = given.target[m, 0] - figure[0] - effect[first[p], 0] - effect[second[p], 0]
            at = np.searchsorted(joint, gap - given.half[m, 0])
            seen_pairs += 1
            while at < PAIRS and joint[at] < gap + given.half[m, 0]:
                chosen[2], chosen[3] = first[order[at]], second[order[at]]
                at += 1
                seen_pairs += 1
                if _foretell(given, tol, m, figure, effect, chosen, bound) > bound:
                    continue
                if _distinct(who, chosen) and _attempt(
                    given, state, tol, m, chosen, MOST, who, step, now, g, g1, figure, seen
                ):
                    found = True
                    taken += 1
                    break
    now[0] = plain_loss(given, state, tol, m, figure, seen)
    now[2] = model_loss(given, state, tol, m, figure, g, g1, 1e-10)
    return now[0] + now[2], taken
