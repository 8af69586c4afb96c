"""How often intervals for the therapist effect hold the truth at 21 therapists.

    python -m benchmarks.coverage                 # 2,000 cohorts at each of three therapist effects
    python -m benchmarks.coverage --replicates 50

Cohorts of the paper's shape (caseloads, slopes, correlated intercept and slope), normal scores, a
known therapist effect at the mean pre score. Each is fitted with a random slope and every interval
is formed; the bootstrap's, which takes longest, on every fourth. On a tenth as many cohorts with a
random intercept alone: how often intervals hold the therapists' own effects. Results are written
to benchmarks/results/coverage.json, with the Monte Carlo error of every share.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks.replicate import replicate_moments
from benchmarks.simulated import simulate_designs
from multilevel.design import DesignMoments
from multilevel.fit import MixedFit, fit_design
from multilevel.many import fit_many
from multilevel.posterior import sample_posterior
from multilevel.priors import Prior
from pwp_lib.truth import Truth

RESULTS = Path(__file__).parent / "results"
EFFECTS = (0.02, 0.087, 0.20)
BOOTSTRAP, DRAWS = 199, 4_000
#: Bootstrap intervals are formed on one cohort in so many.
EVERY = 4
Interval = tuple[float, float]


def delta_method(fit: MixedFit) -> dict[str, Interval]:
    """Estimate and expected-information standard error, on the scale itself and on log odds."""
    names = list(fit.variance_se().index)
    between, within, v = fit.random_covariance.iloc[0, 0], fit.residual_variance, fit.vpc()
    gradient = np.zeros(len(names))
    gradient[0], gradient[-1] = within / (between + within) ** 2, -between / (between + within) ** 2
    covariance = fit.variance_covariance().to_numpy()
    se = float(np.sqrt(gradient @ np.nan_to_num(covariance) @ gradient))
    out = {"delta method": (v - 1.96 * se, v + 1.96 * se)}
    if 0 < v < 1:
        ends = np.log(v / (1 - v)) + 1.96 * se / (v * (1 - v)) * np.array([-1, 1])
        low, high = expit(ends)
        out["delta method, log odds"] = (float(low), float(high))
    else:
        out["delta method, log odds"] = (0.0, 0.0)
    return out


def bootstrap(design: DesignMoments, fit: MixedFit, seed: int) -> Interval:
    """Percentile interval of fits to responses drawn from the fit."""
    covariance, rng = fit.random_covariance.to_numpy(), np.random.default_rng(seed)
    truth = fit.coefficients, covariance, fit.residual_variance
    effects = fit_many(design, replicate_moments(design, *truth, BOOTSTRAP, rng)).vpc
    low, high = np.quantile(effects, [0.025, 0.975])
    return float(low), float(high)


def posterior(design: DesignMoments, fit: MixedFit, seed: int) -> dict[str, Interval]:
    """Percentile intervals under every prior."""
    start = (fit.random_covariance.to_numpy(dtype=float), fit.residual_variance)
    lifted = Prior("mlwin").resolve(design, *start).scale / 2
    priors = {
        "MLwiN's prior": Prior("mlwin"),
        "flat on SDs": Prior("flat-sd"),
        "half-normal on SDs": Prior("half-normal"),
        "inverse-Wishart(7), scale 7 times ML": Prior("inverse-wishart", df=7, scale=7 * lifted),
    }
    out = {}
    for name, prior in priors.items():
        drawn = sample_posterior(design, draws=DRAWS, seed=seed, prior=prior)
        low, high = np.quantile(drawn.vpc, [0.025, 0.975])
        out[f"Gibbs, {name}"] = (float(low), float(high))
    return out


def intervals(design: DesignMoments, seed: int) -> tuple[float, bool, dict[str, Interval]]:
    """Estimate, whether singular, and every interval of one cohort."""
    fit, out = fit_design(design), {}
    for method in ("ML", "REML"):
        profile = fit_design(design, method).profile_interval()
        out[f"profile likelihood, {method}"] = (profile.lower, profile.upper)
    if seed % EVERY == 0:
        out["bootstrap, percentile"] = bootstrap(design, fit, seed)
    out |= delta_method(fit) | posterior(design, fit, seed)
    return fit.vpc(), fit.singular, {k: (float(a), float(b)) for k, (a, b) in out.items()}


def effects_held(vpc: float, replicates: int, seed: int) -> dict[str, float]:
    """Share of therapists' own effects that 95% intervals hold, over cohorts and therapists."""
    caseloads = Truth.one_measure().caseloads
    g = np.repeat(np.arange(len(caseloads)), caseloads)
    rng = np.random.default_rng(seed)
    held: dict[str, list[float]] = {}
    for k in range(replicates):
        x, u = rng.normal(size=len(g)), rng.normal(scale=np.sqrt(vpc), size=len(caseloads))
        y = x + u[g] + rng.normal(scale=np.sqrt(1 - vpc), size=len(g))
        design = DesignMoments.from_arrays(y, {"Intercept": 0 * x + 1, "x": x}, ["Intercept"], g)
        fit = fit_design(design)
        tables = {f"{se} SE": fit.residuals(se=se) for se in ("conditional", "comparative")}
        for name, prior in (("MLwiN's prior", "mlwin"), ("flat on SDs", "flat-sd")):
            drawn = sample_posterior(design, draws=DRAWS, seed=k, prior=prior)
            tables[f"Gibbs, {name}"] = drawn.residuals()
        for name, table in tables.items():
            inside = (table["lower"] <= u) & (u <= table["upper"])
            held.setdefault(name, []).append(float(inside.mean()))
    return {name: round(float(np.mean(v)), 4) for name, v in held.items()}


def summarise(found: list[dict[str, Interval]], truth: float) -> dict[str, Any]:
    """Coverage, misses on either side and mean width of every interval."""
    out = {}
    for name in found[0]:
        low, high = np.array([f[name] for f in found if name in f]).T
        covered = float(np.mean((low <= truth) & (truth <= high)))
        out[name] = {
            "coverage": round(covered, 4),
            "se": round(float(np.sqrt(covered * (1 - covered) / len(low))), 4),
            "replicates": len(low),
            "truth below": round(float(np.mean(truth < low)), 4),
            "truth above": round(float(np.mean(truth > high)), 4),
            "mean width": round(float(np.mean(high - low)), 4),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    out: dict[str, Any] = {
        "replicates": asked.replicates, "therapists": 21, "patients": 1_122, "level": 0.95,
        "model": "random intercept and slope", "bootstrap replicates": BOOTSTRAP,
        "Gibbs draws": DRAWS, "bootstrap on one in": EVERY,
        "seed": asked.seed, "date": date.today().isoformat(),
        "software": {n: version(n) for n in ("pwp-lib", "numpy", "scipy", "numba")}, "effects": {},
    }  # fmt: skip
    for effect in EFFECTS:
        begun = time.perf_counter()
        truth = Truth.one_measure().with_vpc(effect)
        simulated = simulate_designs(truth, replicates=asked.replicates, seed=asked.seed)
        each = [intervals(simulated[k], k) for k in range(asked.replicates)]
        estimates = np.array([e[0] for e in each])
        out["effects"][f"{truth.vpc[0]:.3f}"] = {
            "mean estimate": round(float(estimates.mean()), 4),
            "singular fits": round(float(np.mean([e[1] for e in each])), 4),
            "seconds": round(time.perf_counter() - begun, 1),
            "intervals": summarise([e[2] for e in each], float(truth.vpc[0])),
            "therapists' effects held": effects_held(effect, asked.replicates // 10, asked.seed),
        }
        print(effect, json.dumps(out["effects"][f"{truth.vpc[0]:.3f}"], indent=1), flush=True)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "coverage.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
