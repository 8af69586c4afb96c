"""What makes a histogram look odd: roughness, second modes, steps, spikes, lone patients."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["apart", "bumps", "furthest", "odd", "rough", "spike", "step"]


@njit(cache=True)
def rough(h, low, high):  # type: ignore[no-untyped-def]
    """Squared second differences over what Poisson noise gives, summed, and their expectation."""
    s = 0.0
    expected = 0.0
    for k in range(low + 1, high):
        d = h[k - 1] - 2.0 * h[k] + h[k + 1]
        noise = h[k - 1] + 4.0 * h[k] + h[k + 1]
        s += d * d / (noise + 2.0)
        expected += noise / (noise + 2.0)
    return s, expected


@njit(cache=True)
def bumps(h, low, high):  # type: ignore[no-untyped-def]
    """Rises on the way down from the mode (three classes against three), over Poisson noise."""
    mode = low
    for k in range(low, high + 1):
        if h[k] > h[mode]:
            mode = k
    s = 0.0
    for k in range(mode + 2, high - 2):
        near = h[k] + h[k - 1] + h[k - 2]
        far = h[k + 1] + h[k + 2] + h[k + 3]
        if far > near:
            s += (far - near) ** 2 / (far + near + 2.0)
    for k in range(low + 2, mode - 3):
        near = h[k + 1] + h[k + 2] + h[k + 3]
        far = h[k] + h[k - 1] + h[k - 2]
        if far > near:
            s += (far - near) ** 2 / (far + near + 2.0)
    return s


@njit(cache=True)
def step(h, at):  # type: ignore[no-untyped-def]
    """Step between the classes `at` - 1 and `at` beyond that of a curve through both sides.

    In standard errors of Poisson counts; 0 for any curve of the second degree.
    """
    size = 1.5 * (h[at] - h[at - 1]) + 0.5 * (h[at - 2] - h[at + 1])
    return size / np.sqrt(2.25 * (h[at] + h[at - 1]) + 0.25 * (h[at - 2] + h[at + 1]) + 1.0)


@njit(cache=True)
def spike(h, at, inwards):  # type: ignore[no-untyped-def]
    """How far an end class stands above the line through its two neighbours, likewise; or 0."""
    a, b, c = h[at], h[at + inwards], h[at + 2 * inwards]
    return max(0.0, a - 2.0 * b + c) / np.sqrt(a + 4.0 * b + c + 1.0)


@njit(cache=True)
def apart(h, low, high):  # type: ignore[no-untyped-def]
    """Patients beyond two empty classes on either side of the mode."""
    mode = low
    for k in range(low, high + 1):
        if h[k] > h[mode]:
            mode = k
    lone = 0.0
    empty = 0
    for k in range(mode, high + 1):
        empty = empty + 1 if h[k] == 0.0 and empty < 2 else (empty if empty == 2 else 0)
        lone += h[k] if empty == 2 else 0.0
    empty = 0
    for k in range(mode, low - 1, -1):
        empty = empty + 1 if h[k] == 0.0 and empty < 2 else (empty if empty == 2 else 0)
        lone += h[k] if empty == 2 else 0.0
    return lone


@njit(cache=True)
def furthest(n, total, squares):  # type: ignore[no-untyped-def]
    """How far the oddest therapist's mean lies out, its own sampling error allowed for.

    From each therapist's number of patients, sum and sum of squares.
    """
    mean = total / n
    within = ((squares - total * mean) / (n - 1.0)).mean()
    error = within / n
    about = ((mean - mean.mean()) ** 2).sum() / (len(n) - 1.0)
    between = max(about - error.mean(), 0.0)
    return (np.abs(mean - mean.mean()) / np.sqrt(between + error)).max()


@njit(cache=True)
def odd(h, high, at, also):  # type: ignore[no-untyped-def]
    """Penalty of a histogram of the classes 0 to `high` with thresholds `at` and `also`.

    Roughness costs only beyond what Poisson counts show, and steps and spikes only beyond a
    standard error: a histogram is to look drawn from a smooth law, not smooth.
    """
    found, expected = rough(h, 0, high)
    s = max(0.0, found - expected) + 3.0 * bumps(h, 0, high) + 2.0 * apart(h, 0, high)
    s += max(0.0, abs(step(h, at)) - 1.0) ** 2 + max(0.0, abs(step(h, also)) - 1.0) ** 2
    return s + max(0.0, spike(h, 0, 1) - 1.0) ** 2 + max(0.0, spike(h, high, -1) - 1.0) ** 2
