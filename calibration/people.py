"""Numbers of people that have the paper's means and SDs to the digits printed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pwp_lib.simulate_people import quantiles

__all__ = ["even_out", "exact_numbers"]


def exact_numbers(
    n: int,
    mean: float,
    sd: float,
    low: float,
    high: float,
    rng: np.random.Generator,
    step: float = 1.0,
) -> NDArray[np.float64]:
    """Draw numbers as `pwp_lib.simulate_people.numbers_with` does, then nudged to mean and SD.

    Examples
    --------
    >>> x = exact_numbers(1122, 41, 14.23, 16, 92, np.random.default_rng(1))
    >>> round(float(x.mean())), round(float(x.std(ddof=1)), 2), int(x.min()), int(x.max())
    (41, 14.23, 16, 92)
    """
    grid = quantiles(n, mean, sd, low, high, step)
    if n >= 10:
        grid = _nudge(grid, mean / step, sd / step, rng)
    return rng.permutation(grid) * step


def _nudge(
    x: NDArray[np.float64], mean: float, sd: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Move single numbers by one while it brings mean and SD nearer; the ends stay."""
    n, low, high = len(x), x.min(), x.max()
    total, squares = x.sum(), float(x @ x)

    def miss(total: float, squares: float) -> float:
        variance = (squares - total**2 / n) / (n - 1)
        return float(abs(total / n - mean) + abs(variance**0.5 - sd))

    best, idle = miss(total, squares), 0
    for i, by in zip(rng.integers(1, n - 1, 20_000), rng.choice([-1.0, 1.0], 20_000), strict=True):
        idle += 1
        if best < 1e-3 or idle > 1_000:
            break
        moved = x[i] + by
        if not low <= moved <= high:
            continue
        new_total, new_squares = total + by, squares + moved**2 - x[i] ** 2
        new = miss(new_total, new_squares)
        if new < best:
            x[i], total, squares, best, idle = moved, new_total, new_squares, new, 0
    return x


def even_out(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    low: float,
    high: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Swap values between therapists until their means span `low` to `high`, when rounded."""
    sums = np.bincount(codes, weights=values)
    n = np.bincount(codes)

    def miss(means: NDArray[np.float64]) -> float:
        outside = np.clip(low - means, 0, None).sum() + np.clip(means - high, 0, None).sum()
        ends = max(abs(means.min() - low) - 0.4, 0) + max(abs(means.max() - high) - 0.4, 0)
        return float(outside + ends)

    best = miss(sums / n)
    for i, k in rng.integers(0, len(values), (20_000, 2)):
        if best == 0:
            break
        if codes[i] == codes[k]:
            continue
        by = values[k] - values[i]
        sums[codes[i]] += by
        sums[codes[k]] -= by
        new = miss(sums / n)
        if new <= best:
            values[i], values[k], best = values[k], values[i], new
        else:
            sums[codes[i]] -= by
            sums[codes[k]] += by
    return values
