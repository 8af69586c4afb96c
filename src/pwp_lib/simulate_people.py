"""Who the simulated patients and therapists are: ages, sessions, services, scales.

The scores come from :mod:`pwp_lib.simulate`. What stands here is drawn to quotas, so that a
cohort of the paper's size has the paper's percentages and ranges whatever the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv

__all__ = [
    "ETHNICITIES",
    "numbers_with",
    "quantiles",
    "quota",
    "simulate_patients_details",
    "simulate_therapists",
]

#: Shares of the paper's p. 11, which sum to 99.7%; the rest, .2% to .4% with its roundings, are
#: called "Other", our own word.
ETHNICITIES: Mapping[str | None, float] = {
    "Caucasian": 0.658,
    "Asian": 0.028,
    "Black Caribbean or African": 0.007,
    "Mixed": 0.011,
    "Other": 0.0035,
    None: 0.293,
}
#: Therapist scales: mean, SD, least, most, and correlation with effectiveness. The means and SDs
#: are our own; so are the correlations, apart from their signs for resilience (higher in more
#: effective therapists) and supervisors' experientiality (lower), which the paper found.
SCALES: Mapping[str, tuple[float, float, int, int, float]] = {
    "ego_strength": (243, 22, 64, 320, 0.15),
    "rationality": (72, 9, 20, 100, 0.05),
    "experientiality": (69, 9, 20, 100, -0.10),
    "resilience": (76, 8, 0, 100, 0.65),
    "supervisor_rationality": (74, 9, 20, 100, 0.20),
    "supervisor_experientiality": (66, 9, 20, 100, -0.70),
}
#: Of 21 supervisors 17 took part (p. 10).
SUPERVISORS_TAKING_PART = 17 / 21


def quota(n: int, shares: Mapping[Any, float], rng: np.random.Generator) -> NDArray[np.object_]:
    """Give labels in fixed shares, shuffled; the counts are rounded by largest remainder.

    Parameters
    ----------
    n : int
    shares : mapping of label to share
        Scaled to sum to 1.
    rng : Generator

    Returns
    -------
    ndarray of object, shape (n,)

    Examples
    --------
    >>> sorted(quota(5, {"a": 0.6, "b": 0.4}, np.random.default_rng(1)))
    ['a', 'a', 'a', 'b', 'b']
    """
    weights = np.array(list(shares.values()))
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    short = n - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return rng.permutation(np.repeat(np.array([*shares], dtype=object), counts))


def numbers_with(
    n: int,
    mean: float,
    sd: float,
    low: float,
    high: float,
    rng: np.random.Generator,
    step: float = 1.0,
) -> NDArray[np.float64]:
    """Draw numbers with about a given mean and SD, and with a given least and most.

    Quantiles of a beta distribution on the range, rounded to the grid.

    Parameters
    ----------
    n : int
    mean, sd, low, high : float
    rng : Generator
        For the order.
    step : float

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> x = numbers_with(1122, 41, 14.23, 16, 92, np.random.default_rng(1))
    >>> round(float(x.mean())), round(float(x.std(ddof=1))), int(x.min()), int(x.max())
    (41, 14, 16, 92)
    """
    return rng.permutation(quantiles(n, mean, sd, low, high, step)) * step


def quantiles(
    n: int, mean: float, sd: float, low: float, high: float, step: float
) -> NDArray[np.float64]:
    """Lay the quantiles of such a distribution on the grid, in steps, with both ends."""
    share, spread = (mean - low) / (high - low), (sd / (high - low)) ** 2
    size = max(share * (1 - share) / spread - 1, 0.05)
    at = (np.arange(n) + 0.5) / n
    values = low + (high - low) * betaincinv(share * size, (1 - share) * size, at)
    ends = np.ceil(low / step), np.floor(high / step)
    grid: NDArray[np.float64] = np.clip(np.round(values / step), *ends)
    if n >= 10:
        grid[0], grid[-1] = ends
    return grid


def simulate_patients_details(
    n: int,
    rng: np.random.Generator,
    *,
    age: NDArray[np.float64] | None = None,
    numbers: Callable[..., NDArray[np.float64]] = numbers_with,
) -> pd.DataFrame:
    """Give patients sessions, age, gender, ethnicity and status in the paper's proportions.

    Parameters
    ----------
    n : int
        Patients.
    rng : Generator
    age : ndarray of shape (n,), optional
        If it is not to be drawn.
    numbers : callable
        What draws numbers with a mean and an SD, as `numbers_with` does.

    Returns
    -------
    DataFrame
        Columns ``sessions, age, gender, ethnicity, status``. The share in treatment (a quarter)
        is our own; the paper does not print it.
    """
    age = numbers(n, 41, 14.23, 16, 92, rng) if age is None else age
    return pd.DataFrame(
        {
            "sessions": numbers(n, 5, 2.88, 2, 21, rng).astype(int),
            "age": age.astype(int),
            "gender": quota(n, {"female": 0.647, "male": 0.353}, rng),
            "ethnicity": quota(n, ETHNICITIES, rng),
            "status": quota(n, {"closed": 0.75, "in_treatment": 0.25}, rng),
        }
    )


def simulate_therapists(
    ids: Sequence[str],
    effectiveness: NDArray[np.float64],
    n_services: int,
    rng: np.random.Generator,
    *,
    numbers: Callable[..., NDArray[np.float64]] = numbers_with,
) -> pd.DataFrame:
    """Give therapists their services, scales and supervisors' ratings.

    Parameters
    ----------
    ids : sequence of str, length J
    effectiveness : ndarray of shape (J,)
        Higher is more effective; resilience and supervisors' experientiality go with it.
    n_services : int
    rng : Generator
    numbers : callable
        As for `simulate_patients_details`.

    Returns
    -------
    DataFrame
        One row a therapist. Supervisors who did not take part leave both ratings missing; they are
        never those of the most or the least effective quarter.
    """
    j = len(ids)
    services = np.resize([f"S{i + 1}" for i in range(n_services)], j)
    order = np.argsort(np.argsort(-effectiveness, kind="stable"), kind="stable")
    table = pd.DataFrame(
        {
            "therapist_id": list(ids),
            "service_id": rng.permutation(services),
            "gender": quota(j, {"female": 16 / 21, "male": 5 / 21}, rng),
            "age": numbers(j, 29.91, 7.6, 23, 52, rng, step=0.1).round(1),
            "years_experience": numbers(j, 3.5, 4.0, 0, 17, rng, step=0.5),
        }
    )
    sd = effectiveness.std()
    z = (effectiveness - effectiveness.mean()) / (sd if sd > 0 else 1.0)
    for name, (mean, spread, low, high, r) in SCALES.items():
        score = mean + spread * (r * z + np.sqrt(1 - r**2) * rng.standard_normal(j))
        table[name] = np.clip(np.round(score), low, high)
    missing = j - round(j * SUPERVISORS_TAKING_PART)
    quarter = max(round(j / 4), 1)
    middle = np.flatnonzero((order >= quarter) & (order < j - quarter))
    absent = rng.permutation(middle)[:missing]
    table.loc[absent, ["supervisor_rationality", "supervisor_experientiality"]] = np.nan
    return table
