"""Simulation-based calibration of the samplers under proper priors.

    python -m benchmarks.sbc                      # Gibbs, 1,000 replicates of each model
    python -m benchmarks.sbc --engine nuts        # nutpie, as many as asked for

Parameters come from the prior, data from the model, draws from the posterior; the rank of each
parameter among its draws is then uniform if the sampler is right (Talts and others, 2018,
arXiv:1804.06788). The ranks' distribution function is judged against simultaneous 95% bands
(Sailynoja, Burkner and Vehtari, 2022, Statistics and Computing 32, 32), which here are simulated.
Results are written to benchmarks/results/sbc_<engine>.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pwp_lib.engine.design import DesignMoments
from pwp_lib.engine.gibbs import gibbs_draws, standardise
from pwp_lib.engine.priors import Prior

RESULTS = Path(__file__).parent / "results"
CASELOADS = [134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26]
#: Draws that a parameter is ranked among.
KEPT = 199
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
COMMON: dict[str, Any] = {"residual": (5.0, 16.0), "fixed": (0.0, 2.0)}
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
    """Parameters from the prior and data given them, the predictor always the same."""
    g = np.repeat(np.arange(21), CASELOADS)
    x = np.random.default_rng(0).normal(size=len(g))
    cov, s2 = case.draw(rng), 16.0 / rng.gamma(5.0)
    beta = rng.normal(0, 2.0, 2)
    u = rng.normal(size=(21, len(cov))) @ np.linalg.cholesky(cov).T
    z = np.column_stack([np.ones(len(g)), x])[:, : len(cov)]
    y = beta[0] + beta[1] * x + (z * u[g]).sum(axis=1) + rng.normal(0, np.sqrt(s2), len(g))
    columns = {"Intercept": np.ones(len(g)), "x": x}
    design = DesignMoments.from_arrays(y, columns, case.random, g)
    return design, flatten(beta, cov, s2, u)


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


def gibbs_ranks(case: Case, replicates: int, seed: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Ranks of the truth among thinned Gibbs draws."""
    rng, thin = np.random.default_rng(seed), 30
    ranks: dict[str, list[int]] = {}
    for k in range(replicates):
        design, truth = simulate(case, rng)
        d = gibbs_draws(
            design, draws=KEPT * thin, burn_in=500, seed=k, prior=case.prior,
            start=(np.eye(len(case.random)), 4.0),
        )  # fmt: skip
        parts = (d.beta, d.random_covariance, d.residual_variance, d.u)
        drawn = flatten(*(a[0, ::thin] for a in parts))
        for name, value in truth.items():
            ranks.setdefault(name, []).append(int((drawn[name] < value).sum()))
    return {k: np.array(v) for k, v in ranks.items()}, {"thinned by": thin}


def nuts_ranks(case: Case, replicates: int, seed: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """Ranks of the truth among thinned draws of nutpie, the model compiled once."""
    import nutpie

    from pwp_lib.engine.nuts import pymc_model

    rng, thin, diverging = np.random.default_rng(seed), 8, 0
    compiled, ranks = None, {}
    for k in range(replicates):
        design, truth = simulate(case, rng)
        m, q = standardise(design), len(case.random)
        compiled = compiled or nutpie.compile_pymc_model(pymc_model(design, case.prior))
        compiled = compiled.with_data(zr=m.zr, rr=m.rr, least_squares=m.least_squares)
        trace = nutpie.sample(
            compiled, draws=KEPT * thin, tune=500, chains=1, cores=1, seed=k, progress_bar=False
        )
        post = {n: v.to_numpy()[0, ::thin] for n, v in trace.posterior.data_vars.items()}
        diverging += int(trace.sample_stats.diverging.sum())
        if q == 1:
            cov = post["sd"][:, :, None] ** 2
        else:
            low = np.zeros((KEPT, q, q))
            low[:, *np.tril_indices(q)] = post["chol"]
            cov = low @ low.swapaxes(1, 2)
        beta = m.least_squares + post["delta"] @ m.back.T
        drawn = flatten(beta, cov, post["sigma"] ** 2, post["u"])
        for name, value in truth.items():
            ranks.setdefault(name, []).append(int((drawn[name] < value).sum()))
    kept = {"thinned by": thin, "divergent draws": diverging}
    return {n: np.array(v) for n, v in ranks.items()}, kept


class Bands:
    """Simultaneous bands for the distribution function of uniform ranks, by simulation."""

    def __init__(self, replicates: int, seed: int = 1, simulated: int = 4_000) -> None:
        self.n = replicates
        self.points = np.linspace(0.01, 0.99, 99) + 1e-9
        rng = np.random.default_rng(seed)
        worst = [
            self.tail(rng.integers(0, KEPT + 1, replicates)) for _ in range(simulated)
        ]  # smallest pointwise two-sided probability of each
        self.worst = np.sort(worst)

    def counts(self, ranks: Array) -> Array:
        u = (np.asarray(ranks) + 1) / (KEPT + 1)
        return (u[:, None] <= self.points).sum(axis=0)

    def tail(self, ranks: Array) -> float:
        p = np.floor(self.points * (KEPT + 1)) / (KEPT + 1)
        c = self.counts(ranks)
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
    parser.add_argument("--engine", choices=["gibbs", "nuts"], default="gibbs")
    parser.add_argument("--replicates", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    bands = Bands(asked.replicates)
    out: dict[str, Any] = {
        "engine": asked.engine, "replicates": asked.replicates, "draws ranked among": KEPT,
        "seed": asked.seed, "date": date.today().isoformat(),
        "software": {n: version(n) for n in ("pwp-lib", "numpy", "numba", "pymc", "nutpie")},
        "cases": {},
    }  # fmt: skip
    ranks_of = gibbs_ranks if asked.engine == "gibbs" else nuts_ranks
    for case in CASES:
        begun = time.perf_counter()
        ranks, more = ranks_of(case, asked.replicates, asked.seed)
        quantities = judge(ranks, bands)
        out["cases"][case.name] = more | {
            "seconds": round(time.perf_counter() - begun, 1),
            "smallest p_value, times the number of quantities": round(
                min(1.0, len(quantities) * min(v["p_value"] for v in quantities.values())), 4
            ),
            "quantities": quantities,
        }
        print(case.name, {k: v["p_value"] for k, v in quantities.items()}, more)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"sbc_{asked.engine}.json"
    path.write_text(json.dumps(out, indent=1) + "\n")
    print("written:", path.name)


if __name__ == "__main__":
    main()
