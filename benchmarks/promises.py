"""How often a test at .05 rejects what is true, and a profile interval holds the truth.

    python -m benchmarks.promises                  # 10,000 cohorts, some six minutes
    python -m benchmarks.promises --replicates 500

Cohorts of the paper's shape (21 therapists, their caseloads, the model's fixed part), normal
scores and a random intercept; for the rates, yes and no by therapist; for a residual spread that
grows with the first score, a random slope too. Results are written to
benchmarks/results/promises.json, with the Monte Carlo error of every share.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, norm, t

from benchmarks.permutation import permute_therapists
from benchmarks.simulated import SimulatedDesigns, simulate_designs
from multilevel.fit import fit_design, fit_mixed
from multilevel.many import fit_many
from pwp_lib.truth import Truth

RESULTS = Path(__file__).parent / "results"
EFFECTS = (0.02, 0.087, 0.20)
METHODS: tuple[Literal["ML", "REML"], ...] = ("ML", "REML")
Array = NDArray[np.float64]

#: Patients with a rate, of five therapists against five: the clusters of the packaged cohort, and
#: its largest against its smallest caseloads.
CASELOADS = {
    "caseloads of the packaged cohort's clusters": (11, 36, 39, 58, 134, 26, 72, 90, 163, 197),
    "five largest caseloads against five smallest": (197, 163, 134, 90, 72, 8, 9, 10, 11, 19),
}

#: What the packaged cohort has by maximum likelihood: a residual SD of
#: ``sigma * (score + 1) ** delta``, and therapists' intercepts (at the centre) and slopes.
POWER = "power(x + 1)"
SPREAD: dict[str, Any] = {
    "sigma": 1.0718,
    "delta": 0.6092,
    "centre": 12.7,
    "random covariance": np.array([[2.8849, 0.16196], [0.16196, 0.011592]]),
}
SCORES = (2, 8, 20)


def deviance_at(cross: Array, vpc: float, method: str) -> Array:
    """Deviance of each cohort with the therapist effect held, all else at its best.

    Parameters
    ----------
    cross : ndarray of shape (R, J, m, m)
        The constant first, the response last; a random intercept.
    vpc : float
    method : {"ML", "REML"}
    """
    n, ratio = cross[0, :, 0, 0], vpc / (1 - vpc)
    shrunk = ratio / (1 + n * ratio)
    sums = cross[:, :, 0, :]
    weighted = cross.sum(axis=1) - np.einsum("j,rja,rjb->rab", shrunk, sums, sums)
    x, xy, yy = weighted[:, :-1, :-1], weighted[:, :-1, -1], weighted[:, -1, -1]
    left = yy - (xy * np.linalg.solve(x, xy[..., None])[..., 0]).sum(axis=1)
    df = n.sum() - (x.shape[1] if method == "REML" else 0)
    deviance: Array = df * (np.log(2 * np.pi * left / df) + 1) + np.log1p(n * ratio).sum()
    return deviance + np.linalg.slogdet(x)[1] if method == "REML" else deviance


def share(hits: Array | NDArray[np.bool_]) -> dict[str, float]:
    """Share and its Monte Carlo standard error."""
    found = float(np.mean(hits))
    return {
        "share": round(found, 4),
        "se": round(float(np.sqrt(found * (1 - found) / len(hits))), 4),
    }


def cohorts(effect: float, replicates: int, seed: int) -> SimulatedDesigns:
    """Simulate cohorts with the paper's fixed part and a random intercept alone."""
    truth = Truth()
    within = truth.residual_covariance[0][0]
    covariance = np.zeros((4, 4))
    covariance[0, 0] = within * effect / (1 - effect)
    kept = replace(truth, random_covariance=tuple(map(tuple, covariance.tolist())))
    return simulate_designs(kept, replicates=replicates, seed=seed)


def profiles(replicates: int, seed: int) -> dict[str, Any]:
    """Size of the boundary test of the variance, and coverage of the 95% profile interval."""
    out: dict[str, Any] = {}
    for effect in (0.0, *EFFECTS):
        simulated = cohorts(effect, replicates, seed)
        for method in METHODS:
            fits = fit_many(simulated.design(slope=False), simulated.cross, method=method)
            statistic = deviance_at(simulated.cross, effect, method) - fits.deviance
            if effect:
                name = f"profile interval holds an effect of {effect:.1%}, {method}"
                out[name] = share(statistic <= chi2.isf(0.05, 1))
            else:
                name = f"boundary test of the intercept variance rejects, {method}"
                out[name] = share(statistic > chi2.isf(0.10, 1))
    return out


def predictors(replicates: int, seed: int) -> dict[str, Any]:
    """Size of the tests of a therapist-level predictor: by normal, and by t two ways."""
    simulated = cohorts(0.087, replicates, seed)
    design, old = simulated.design(slope=False), simulated.cross
    score = np.random.default_rng(seed).normal(size=old.shape[:2])
    m = old.shape[-1]
    cross = np.zeros((*old.shape[:2], m + 1, m + 1))
    cross[..., :m, :m] = old
    cross[..., m, :m] = cross[..., :m, m] = score[..., None] * old[..., 0, :]
    cross[..., m, m] = score**2 * old[..., 0, 0]
    # The response last, as everywhere.
    order = [*range(m - 1), m, m - 1]
    names = (*design.names[:-1], "predictor", design.names[-1])
    wider = replace(
        design,
        cross=cross[0][:, order][:, :, order],
        names=names,
        fixed=tuple(range(m)),
        response=m,
        polynomials=tuple({(): 1.0} if n == "Intercept" else {(n,): 1.0} for n in names),
        means={**design.means, "predictor": 0.0},
    )
    moved = cross[:, :, order][..., order]
    fits = fit_many(wider, moved, method="REML")
    at = fits.fixed_names.index("predictor")
    statistic = np.abs(fits.beta[:, at]) / np.sqrt(fits.beta_covariance[:, at, at])
    # Degrees of freedom are one fit's own, and a fit's record takes its time: a fifth will do.
    few = (fit_design(replace(wider, cross=one), "REML") for one in moved[::5])
    p = np.array([fit.satterthwaite().loc["predictor", "p_value"] for fit in few])
    title = "test of a therapist-level predictor rejects"
    return {
        f"{title}, normal": share(statistic > norm.isf(0.025)),
        f"{title}, t on therapists less two": share(statistic > t.isf(0.025, old.shape[1] - 2)),
        f"{title}, t by Satterthwaite": share(p < 0.05),
    }


def rates(replicates: int, seed: int) -> dict[str, Any]:
    """Size of the permutation test of a rate."""
    out, first = {}, np.arange(10) < 5
    for name, caseloads in CASELOADS.items():
        for spread in (0.0, 0.6):
            rng = np.random.default_rng(seed)
            chance = 1 / (1 + np.exp(-spread * rng.normal(size=(replicates, 10))))
            yes = rng.binomial(caseloads, chance)
            p = np.array([permute_therapists(row, caseloads, first).p_value for row in yes])
            title = f"permutation test of a rate rejects, {name}, SD of log odds {spread}"
            out[title] = share(p <= 0.05)
    return out


def spreads(replicates: int, seed: int) -> dict[str, Any]:
    """Coverage of what a residual spread leaves: delta, and the therapist effect at a score."""
    truth, rng = Truth.one_measure(), np.random.default_rng(seed)
    g = np.repeat(np.arange(len(truth.caseloads)), truth.caseloads)
    root = np.linalg.cholesky(SPREAD["random covariance"])
    held: dict[str, list[bool]] = {}
    for _ in range(replicates):
        x = np.clip(np.rint(rng.normal(truth.pre_mean[0], truth.pre_sd[0], len(g))), 0, 27)
        u = rng.normal(size=(len(truth.caseloads), 2)) @ root.T
        sd = SPREAD["sigma"] * (x + 1) ** SPREAD["delta"]
        away = x - SPREAD["centre"]
        y = 8.6 + 0.54 * away + u[g, 0] + u[g, 1] * away + sd * rng.normal(size=len(g))
        rows = pd.DataFrame({"y": y, "x": x, "g": g})
        for method in METHODS:
            fit = fit_mixed("y ~ center(x) + (1 + center(x) | g)", rows, method, spread=POWER)
            found = fit.spread
            assert found is not None
            inside = abs(found.delta - SPREAD["delta"]) <= norm.isf(0.025) * found.se
            held.setdefault(f"spread: interval of delta holds it, {method}", []).append(inside)
            curve = fit.vpc_curve("x", SCORES)
            for score, lower, upper in zip(SCORES, curve["lower"], curve["upper"], strict=True):
                name = f"spread: interval of the effect at a score of {score} holds it, {method}"
                held.setdefault(name, []).append(lower <= effect_at(score) <= upper)
    return {name: share(np.array(hits)) for name, hits in held.items()}


def effect_at(score: float) -> float:
    """Therapist effect at a score, as simulated by `spreads`."""
    along = np.array([1.0, score - SPREAD["centre"]])
    between = float(along @ SPREAD["random covariance"] @ along)
    return float(between / (between + (SPREAD["sigma"] * (score + 1) ** SPREAD["delta"]) ** 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    out = {
        "replicates": asked.replicates,
        "seed": asked.seed,
        "date": date.today().isoformat(),
        "software": {name: version(name) for name in ("pwp-lib", "numpy", "scipy")},
        "shares": {
            **profiles(asked.replicates, asked.seed),
            **predictors(asked.replicates, asked.seed),
            # A permutation test takes a hundred times as long as a fit.
            **rates(max(asked.replicates // 5, 1), asked.seed),
            **spreads(max(asked.replicates // 5, 1), asked.seed),
        },
    }
    print(json.dumps(out, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "promises.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
