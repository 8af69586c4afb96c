"""Simulation-based calibration of the samplers under proper priors of the variances.

    python -m benchmarks.sbc                      # Gibbs, 1,000 replicates of each model
    python -m benchmarks.sbc --engine nuts        # nutpie, the same

Parameters come from the prior, data from the model, draws from the posterior; the rank of each
parameter among its draws is then uniform if the sampler is right (Talts and others, 2018,
arXiv:1804.06788). The fixed effects, whose priors are flat, are zero: data moved by a fixed effect
move its posterior by as much, so that the ranks are the same for any. The ranks' distribution
function is judged against simultaneous 95% bands (Sailynoja, Burkner and Vehtari, 2022, Statistics
and Computing 32, 32), which here are simulated.
Results are written to benchmarks/results/sbc_<engine>.json.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

from multilevel.design import DesignMoments
from multilevel.posterior import sample_posterior
from multilevel.priors import Prior

RESULTS = Path(__file__).parent / "results"
CASELOADS = [134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26]
#: Draws that a parameter is ranked among.
KEPT = 99
Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """A model with a proper prior, and how to draw a covariance matrix from that prior."""

    name: str
    random: tuple[str, ...]
    prior: Prior
    draw: Callable[[np.random.Generator], Array]


def _half_normal(rng: np.random.Generator) -> Array:
    s = np.abs(rng.normal(0, [1.0, 0.5]))
    r = 2 * rng.beta(2, 2) - 1
    return np.array([[s[0] ** 2, r * s[0] * s[1]], [r * s[0] * s[1], s[1] ** 2]])


WISHART = np.array([[2.0, 0.3], [0.3, 0.5]])
COMMON: dict[str, Any] = {"residual": (5.0, 16.0)}
CASES = (
    Case(
        "random intercept, inverse-gamma(3, 1)",
        ("Intercept",),
        Prior("inverse-wishart", df=6, scale=2.0, **COMMON),
        lambda rng: np.array([[1.0 / rng.gamma(3.0)]]),
    ),
    Case(
        "random slope, inverse-Wishart(6)",
        ("Intercept", "x"),
        Prior("inverse-wishart", df=6, scale=WISHART, **COMMON),
        lambda rng: stats.invwishart.rvs(6, WISHART, random_state=rng),
    ),
    Case(
        "random slope, half-normal SDs, LKJ(2)",
        ("Intercept", "x"),
        Prior("half-normal", scale=[1.0, 0.5], lkj=2.0, **COMMON),
        _half_normal,
    ),
)


def simulate(case: Case, rng: np.random.Generator) -> tuple[DesignMoments, dict[str, float]]:
    """Variances from the prior and data given them, the predictor always the same."""
    g = np.repeat(np.arange(21), CASELOADS)
    x = np.random.default_rng(0).normal(size=len(g))
    cov, s2 = case.draw(rng), 16.0 / rng.gamma(5.0)
    u = rng.normal(size=(21, len(cov))) @ np.linalg.cholesky(cov).T
    z = np.column_stack([np.ones(len(g)), x])[:, : len(cov)]
    y = (z * u[g]).sum(axis=1) + rng.normal(0, np.sqrt(s2), len(g))
    columns = {"Intercept": np.ones(len(g)), "x": x}
    design = DesignMoments.from_arrays(y, columns, case.random, g)
    return design, flatten(np.zeros(2), cov, s2, u)


def flatten(beta: Array, cov: Array, s2: Any, u: Array) -> dict[str, Any]:
    """Quantities whose ranks are looked at; leading axes are draws."""
    out = {
        "intercept": beta[..., 0],
        "slope": beta[..., 1],
        "intercept variance": cov[..., 0, 0],
        "residual variance": s2,
        "therapist effect": cov[..., 0, 0] / (cov[..., 0, 0] + s2),
        "effect of the largest caseload": u[..., 16, 0],
        "effect of the smallest caseload": u[..., 15, 0],
    }
    if cov.shape[-1] > 1:
        out["slope variance"] = cov[..., 1, 1]
        out["covariance"] = cov[..., 1, 0]
    return out


Sampled = Callable[[DesignMoments, int, int], dict[str, Array]]


def gibbs_sampler(case: Case) -> Sampled:
    """Draws of this library's sampler, by data set, seed and number of draws."""

    def sample(design: DesignMoments, seed: int, draws: int) -> dict[str, Array]:
        d = sample_posterior(design, draws=draws, seed=seed, prior=case.prior)
        parts = (d.beta, d.random_covariance, d.residual_variance, d.u)
        return flatten(*(a[0] for a in parts))

    return sample


def nuts_sampler(case: Case) -> Sampled:
    """Draws of nutpie, the model compiled once and given each data set's moments."""
    import nutpie

    from benchmarks.moments_model import pymc_model, to_parameters
    from multilevel.gibbs import standardise

    first, _ = simulate(case, np.random.default_rng(0))
    compiled = nutpie.compile_pymc_model(
        pymc_model(first, case.prior, (np.eye(len(case.random)), 4.0))
    )

    def sample(design: DesignMoments, seed: int, draws: int) -> dict[str, Array]:
        m = standardise(design)
        given = compiled.with_data(right=m.right, rr=m.rr)
        trace = nutpie.sample(
            given, draws=draws, tune=500, chains=1, cores=1, seed=seed, progress_bar=False
        )
        found = to_parameters(trace.posterior, m)
        beta, cov = found["beta"][0], found["random_covariance"][0]
        drawn = flatten(beta, cov, found["residual_variance"][0], found["u"][0])
        return drawn | {DIVERGENT: trace.sample_stats.diverging.to_numpy()[0]}

    return sample


def independent(
    sample: Sampled, design: DesignMoments, seed: int, first: int
) -> tuple[dict[str, Array], dict[str, float]]:
    """`KEPT` nearly independent draws: a chain as long as its slowest quantity needs, thinned.

    With effective draws twice those kept, neighbours correlate by about exp(-4) = .02. A chain too
    short for that is thrown away and run anew, longer by what was missing.
    """
    draws = first
    for _ in range(8):
        drawn = sample(design, seed, draws)
        diverging = int(drawn.pop(DIVERGENT, np.zeros(1)).sum())
        least = min(float(array_stats.ess(v[None])) for v in drawn.values())
        if least >= 2 * KEPT:
            break
        draws = int(draws * min(max(2.4 * KEPT / max(least, 1.0), 1.3), 8))
    kept = np.linspace(0, draws - 1, KEPT).round().astype(int)
    told = {"draws": draws, "least effective": least, "divergent": diverging}
    return {k: v[kept] for k, v in drawn.items()}, told


def ranks_among_draws(
    case: Case, engine: str, replicates: int, seed: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Ranks of the truth among thinned draws, and what the chains were like."""
    rng, sample = np.random.default_rng(seed), SAMPLERS[engine](case)
    ranks: dict[str, list[int]] = {}
    chains: list[dict[str, float]] = []
    for k in range(replicates):
        design, truth = simulate(case, rng)
        drawn, told = independent(sample, design, k, FIRST[engine])
        chains.append(told)
        for name, value in truth.items():
            ranks.setdefault(name, []).append(int((drawn[name] < value).sum()))
    columns = {name: np.array([c[name] for c in chains]) for name in chains[0]}
    return {k: np.array(v) for k, v in ranks.items()}, {
        "draws, median": int(np.median(columns["draws"])),
        "draws, most": int(columns["draws"].max()),
        "least effective draws": round(float(columns["least effective"].min())),
        "chains too short": int((columns["least effective"] < 2 * KEPT).sum()),
        "divergent draws": int(columns["divergent"].sum()),
    }


SAMPLERS = {"gibbs": gibbs_sampler, "nuts": nuts_sampler}
#: Draws that a chain starts with.
FIRST = {"gibbs": 3_000, "nuts": 1_000}
DIVERGENT = "divergent"


class Bands:
    """Simultaneous bands for the distribution function of uniform ranks, by simulation."""

    def __init__(self, replicates: int, seed: int = 1, simulated: int = 4_000) -> None:
        self.n = replicates
        self.points = np.linspace(0.01, 0.99, 99) + 1e-9
        self.expected = np.floor(self.points * (KEPT + 1)) / (KEPT + 1)
        rng = np.random.default_rng(seed)
        worst = [
            self.tail(rng.integers(0, KEPT + 1, replicates)) for _ in range(simulated)
        ]  # smallest pointwise two-sided probability of each
        self.worst = np.sort(worst)

    def envelope(self, level: float = 0.95) -> tuple[Array, Array]:
        """Bounds that hold the whole distribution function of uniform ranks with this probability.

        Each point's two-sided probability is the one that the worst points of uniform ranks stay
        above in `level` of the simulations.
        """
        each = np.quantile(self.worst, 1 - level) / 2
        bounds = stats.binom.ppf([[each], [1 - each]], self.n, self.expected) / self.n
        return bounds[0], bounds[1]

    def counts(self, ranks: Array) -> Array:
        u = (np.asarray(ranks) + 1) / (KEPT + 1)
        return (u[:, None] <= self.points).sum(axis=0)

    def tail(self, ranks: Array) -> float:
        c, p = self.counts(ranks), self.expected
        low, high = stats.binom.cdf(c, self.n, p), stats.binom.sf(c - 1, self.n, p)
        return float(2 * np.minimum(low, high).min())

    def p_value(self, ranks: Array) -> float:
        """Probability of a worst point as bad as this one, were the ranks uniform."""
        return float((self.worst <= self.tail(ranks)).mean())


def judge(ranks: dict[str, Array], bands: Bands) -> dict[str, Any]:
    """Simultaneous p-value of every quantity, with its ranks in 20 bins for a picture."""
    edges = np.linspace(0, KEPT + 1, 21)
    return {
        name: {
            "p_value": round(bands.p_value(r), 4),
            "inside_bands": bands.p_value(r) > 0.05,
            "histogram": np.histogram(r, edges)[0].tolist(),
            "ecdf": (bands.counts(r) / bands.n).round(4).tolist(),
        }
        for name, r in ranks.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=list(SAMPLERS), default="gibbs")
    parser.add_argument("--replicates", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cases", type=int, nargs="+", choices=range(len(CASES)), default=[0, 1, 2]
    )
    asked = parser.parse_args()
    bands = Bands(asked.replicates)
    out: dict[str, Any] = {
        "engine": asked.engine, "replicates": asked.replicates, "draws ranked among": KEPT,
        "at": bands.expected.round(4).tolist(),
        "bands": [b.round(4).tolist() for b in bands.envelope()],
        "seed": asked.seed, "date": date.today().isoformat(),
        "software": {n: version(n) for n in ("pwp-lib", "numpy", "numba", "pymc", "nutpie")},
        "cases": {},
    }  # fmt: skip
    path = RESULTS / f"sbc_{asked.engine}.json"
    RESULTS.mkdir(exist_ok=True)
    if path.exists():  # models that this run leaves alone keep what a run like it found
        before = json.loads(path.read_text())
        if all(before.get(k) == out[k] for k in ("replicates", "draws ranked among", "seed")):
            out["cases"] = before["cases"]
    for case in (CASES[i] for i in asked.cases):
        begun = time.perf_counter()
        ranks, more = ranks_among_draws(case, asked.engine, asked.replicates, asked.seed)
        quantities = judge(ranks, bands)
        out["cases"][case.name] = more | {
            "seconds": round(time.perf_counter() - begun, 1),
            "smallest p_value, times the number of quantities": round(
                min(1.0, len(quantities) * min(v["p_value"] for v in quantities.values())), 4
            ),
            "quantities": quantities,
        }
        print(case.name, {k: v["p_value"] for k, v in quantities.items()}, more, flush=True)
        text = json.dumps(out, indent=1)
        # One line a list: a picture's hundred points are not read one by one.
        text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
        path.write_text(text + "\n")
    print("written:", path.name)


if __name__ == "__main__":
    main()
