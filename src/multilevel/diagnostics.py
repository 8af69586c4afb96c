"""Has the chain told enough? R-hat, effective sample sizes and Monte Carlo errors.

Rank-normalised split R-hat and bulk effective sample size after Vehtari, Gelman, Simpson,
Carpenter and Burkner (2021), Bayesian Analysis 16, 667-718, in NumPy; ArviZ gives the same
figures, and the tests hold the two together.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["decimals", "effective_sample_size", "quantile_error", "r_hat"]

Array = NDArray[np.float64]


def _chains(draws: ArrayLike) -> Array:
    x = np.asarray(draws, dtype=float)
    return x[None, :] if x.ndim == 1 else x


def _split(x: Array) -> Array:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _rank_normal(x: Array) -> Array:
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(x, method="average").reshape(x.shape)
    z: Array = ndtri((ranks - 0.375) / (x.size + 0.25))
    return z


def _plain_r_hat(x: Array) -> float:
    n = x.shape[1]
    within = float(x.var(axis=1, ddof=1).mean())
    between = float(x.mean(axis=1).var(ddof=1))
    return math.sqrt(((n - 1) / n * within + between) / within)


def r_hat(draws: ArrayLike) -> float:
    """Rank-normalised split R-hat: near 1 when chains, and halves of a chain, agree.

    Parameters
    ----------
    draws : array_like of shape (chains, draws) or (draws,)
        One quantity. A single chain is compared with itself, half against half.

    Returns
    -------
    float
        The larger of the bulk's and the tails' R-hat; NaN for a constant or with under 4 draws.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> round(r_hat(rng.normal(size=(4, 1000))), 2)
    1.0
    """
    x = _chains(draws)
    if x.shape[1] < 4 or np.ptp(x) == 0:
        return math.nan
    split = _split(x)
    folded = np.abs(split - np.median(split))
    return max(_plain_r_hat(_rank_normal(split)), _plain_r_hat(_rank_normal(folded)))


def _autocovariance(x: Array) -> Array:
    n = x.shape[1]
    size = 1 << (2 * n - 1).bit_length()
    f = np.fft.rfft(x - x.mean(axis=1, keepdims=True), size)
    cov: Array = np.fft.irfft(f * np.conj(f), size)[:, :n] / n
    return cov


def _plain_ess(x: Array) -> float:
    """Effective size of chains that are already split: Geyer's initial monotone sequence."""
    m, n = x.shape
    acov = _autocovariance(x)
    within = float(acov[:, 0].mean()) * n / (n - 1)
    pooled = within * (n - 1) / n
    if m > 1:
        pooled += float(x.mean(axis=1).var(ddof=1))
    rho = 1.0 - (within - acov.mean(axis=0)) / pooled
    rho[0] = 1.0
    last = max((n - 3) // 2, 0)
    pairs = rho[: 2 * last + 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    last = int(negative[0]) if len(negative) else last
    kept = np.minimum.accumulate(pairs[:last])
    tail = max(rho[2 * last], 0.0)
    tau = max(-1.0 + 2.0 * float(kept.sum()) + float(tail), 1.0 / math.log10(m * n))
    return float(m * n / tau)


def effective_sample_size(draws: ArrayLike, *, prob: float | None = None) -> float:
    """How many independent draws the chains are worth.

    Parameters
    ----------
    draws : array_like of shape (chains, draws) or (draws,)
        One quantity.
    prob : float, optional
        For a quantile, its probability; the bulk (rank-normalised draws) when left out.

    Returns
    -------
    float
        NaN for a constant or with under 4 draws.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> effective_sample_size(rng.normal(size=1000)) > 700
    True
    """
    x = _chains(draws)
    if x.shape[1] < 4 or np.ptp(x) == 0:
        return math.nan
    if prob is None:
        return _plain_ess(_rank_normal(_split(x)))
    below = (x <= np.quantile(x, prob)).astype(float)
    return _plain_ess(_split(below)) if np.ptp(below) > 0 else math.nan


def quantile_error(draws: ArrayLike, prob: float) -> float:
    """Monte Carlo standard error of a quantile of one quantity's draws.

    Half the width of the central 68% of the beta distribution of the quantile's probability,
    given its effective sample size, carried over to the ordered draws.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> round(quantile_error(rng.normal(size=10_000), 0.5), 2)  # sqrt(pi / 2) / 100 in theory
    0.01
    """
    from scipy.special import betaincinv

    x = _chains(draws)
    ess = effective_sample_size(x, prob=prob)
    if math.isnan(ess):
        return math.nan
    ends = betaincinv(ess * prob + 1, ess * (1 - prob) + 1, [0.1586553, 0.8413447])
    ordered = np.sort(x, axis=None)
    low = ordered[max(math.floor(ends[0] * x.size) - 1, 0)]
    high = ordered[min(math.ceil(ends[1] * x.size), x.size) - 1]
    return float(high - low) / 2


def decimals(error: float, most: int = 6) -> int:
    """Decimals that a Monte Carlo error allows: half a unit of the last is no less than it.

    Parameters
    ----------
    error : float
        Monte Carlo standard error, in the unit printed.
    most : int
        Never more decimals than these.

    Returns
    -------
    int
        Zero or more; zero where the error is not known.

    Examples
    --------
    >>> decimals(0.05), decimals(0.06), decimals(0.0004)
    (1, 0, 3)
    """
    if not math.isfinite(error):
        return 0
    if error <= 0:
        return most
    return min(max(math.floor(-math.log10(2 * error) + 1e-9), 0), most)
