"""Designs by seed in which a search is easily caught in the wrong place.

Three to eight groups of three to ten rows, one to three random terms, predictors with long
tails. There are always more rows than random effects and further fixed terms, so that the
deviance has a minimum. ``tiny_designs_search.py`` finds it; ``tiny_designs.R`` asks lme4, with
the files that ``python tiny_designs.py FOLDER`` writes.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEEDS = range(5000)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Rows of one design.

    Attributes
    ----------
    y : ndarray of shape (N,)
    x : ndarray of shape (N, p)
        The fixed columns, the constant first.
    names : tuple of str, length p
    random : tuple of int
        Which of the fixed columns vary between groups.
    group : ndarray of int, shape (N,)
    method : str
        ``"ML"`` or ``"REML"``.
    """

    y: Array
    x: Array
    names: tuple[str, ...]
    random: tuple[int, ...]
    group: NDArray[np.int64]
    method: str


def predictor(rng: np.random.Generator, count: int) -> Array:
    """Return a column with long tails, sometimes far from zero, rounded so that text keeps it."""
    kind = rng.integers(4)
    if kind == 0:
        values = rng.lognormal(0.0, 1.0, count)
    elif kind == 1:
        values = rng.lognormal(0.0, 1.8, count)
    elif kind == 2:
        values = rng.standard_t(2, count)
    else:
        values = rng.standard_t(1, count)
    return np.round(values * rng.choice([0.3, 1.0, 5.0]) + rng.choice([0.0, 0.0, 3.0]), 3)


def design(seed: int) -> Design:
    """Return the design of a seed."""
    rng = np.random.default_rng(88_000_000 + seed)
    q = int(rng.integers(1, 4))
    further = int(rng.integers(0, 2)) if q > 1 else 1
    while True:
        sizes = rng.integers(3, 11, size=int(rng.integers(3, 9)))
        if sizes.sum() > q * len(sizes) + further + 1:
            break
    group = np.repeat(np.arange(len(sizes)), sizes)
    count = len(group)
    terms = q - 1 + further
    x = np.column_stack([np.ones(count), *(predictor(rng, count) for _ in range(terms))])
    # One in three single random terms is a slope.
    random = (1,) if q == 1 and rng.random() < 1 / 3 else tuple(range(q))
    z = x[:, random] / np.sqrt((x[:, random] ** 2).mean(axis=0))
    sd = np.exp(rng.uniform(np.log(0.1), np.log(6.0), q)) * (rng.random(q) < 0.75)
    effects = rng.normal(size=(len(sizes), q)) @ np.linalg.cholesky(_correlation(rng, q)).T * sd
    y = x @ rng.normal(0.0, 0.5, x.shape[1]) + (z * effects[group]).sum(axis=1)
    y = np.round(y + rng.normal(size=count), 3)
    names = ("Intercept", *(f"x{i + 1}" for i in range(terms)))
    return Design(y, x, names, random, group, "REML" if seed % 2 else "ML")


def _correlation(rng: np.random.Generator, q: int) -> Array:
    loadings = rng.normal(size=(q, q)) + rng.normal(size=(q, 1)) * rng.choice([0.0, 3.0])
    covariance = loadings @ loadings.T + 1e-6 * np.eye(q)
    scale = np.sqrt(np.diag(covariance))
    correlation: Array = covariance / np.outer(scale, scale)
    return correlation


def main(folder: Path) -> None:
    """Write the designs for lme4, and a list of them, to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "designs.csv").open("w", newline="", encoding="utf-8") as file:
        listed = csv.writer(file)
        listed.writerow(["seed", "method", "fixed", "random"])
        for seed in SEEDS:
            one = design(seed)
            fixed = " + ".join(("1", *one.names[1:]))
            random = " + ".join("1" if i == 0 else one.names[i] for i in one.random)
            random = random if 0 in one.random else f"0 + {random}"
            listed.writerow([seed, one.method, fixed, random])
            rows = np.column_stack([one.group, one.y, one.x[:, 1:]])
            header = ",".join(("g", "y", *one.names[1:]))
            np.savetxt(folder / f"{seed}.csv", rows, "%.10g", ",", header=header, comments="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
