"""Yes-or-no outcomes: how often intervals hold the truth, and the time against `glmer` and `glmm`.

    python -m benchmarks.binary                     # 1,000 cohorts at each of two designs
    python -m benchmarks.binary --replicates 50
    python -m benchmarks.binary --speed-only

Thirty groups of forty rows, and the paper's 21 caseloads; a predictor, and a random intercept of
variance .27 on the log-odds scale. Results go to benchmarks/results/binary.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.special import expit  # noqa: E402
from scipy.stats import norm  # noqa: E402

from multilevel import fit_binary  # noqa: E402
from pwp_lib.truth import Truth  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "binary.json"
VARIANCE, INTERCEPT, SLOPE = 0.27, -0.48, 0.4
FORMULA = "y ~ x + (1 | g)"
#: glmer's own time, without starting R and reading the rows.
GLMER = """
suppressMessages(library(lme4))
d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
fit <- function() glmer(y ~ x + (1 | g), d, family = binomial, nAGQ = 15)
f <- fit()
times <- if (nrow(d) > 1e5) 1 else 5
t <- system.time(for (i in seq_len(times)) fit())
cat(sum(t[1:2]) / times, -2 * as.numeric(logLik(f)), VarCorr(f)$g[1])
"""


def simulate(caseloads: np.ndarray, rng: np.random.Generator, values: int = 3) -> pd.DataFrame:
    """Rows of a cohort, the predictor of so many values."""
    g = np.repeat(np.arange(len(caseloads)), caseloads)
    x = rng.integers(0, values, len(g)) - (values - 1) / 2
    x = x / ((values**2 - 1) / 12) ** 0.5
    eta = INTERCEPT + SLOPE * x + rng.normal(0, VARIANCE**0.5, len(caseloads))[g]
    return pd.DataFrame({"y": (rng.random(len(g)) < expit(eta)).astype(int), "x": x, "g": g})


def truths() -> dict[str, float]:
    """What the intervals are to hold."""
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    p, weights = expit(INTERCEPT + VARIANCE**0.5 * z), weights / weights.sum()
    mean = p @ weights
    return {
        "variance": VARIANCE,
        "median odds ratio": float(np.exp((2 * VARIANCE) ** 0.5 * norm.ppf(0.75))),
        "VPC, latent": VARIANCE / (VARIANCE + np.pi**2 / 3),
        "VPC, probability": float((p - mean) ** 2 @ weights / (mean * (1 - mean))),
    }


def coverage(caseloads: np.ndarray, replicates: int, seed: int) -> dict[str, Any]:
    """Share of cohorts in which each interval holds the truth, with its Monte Carlo error."""
    rng, held, estimates = np.random.default_rng(seed), [], []
    for _ in range(replicates):
        fit = fit_binary(FORMULA, simulate(caseloads, rng))
        found = {
            "variance": fit.profile_interval(),
            "median odds ratio": fit.median_odds_ratio(),
            "VPC, latent": fit.vpc(),
            "VPC, probability": fit.vpc("probability", at={"x": 0.0}),
        }
        held.append({k: found[k].lower <= truth <= found[k].upper for k, truth in truths().items()})
        estimates.append(fit.variance)
    share = pd.DataFrame(held).mean()
    return {
        "groups": len(caseloads),
        "rows": int(caseloads.sum()),
        "mean variance": round(float(np.mean(estimates)), 4),
        "singular fits": round(float(np.mean(np.array(estimates) == 0)), 4),
        "coverage": share.round(4).to_dict(),
        "se": np.sqrt(share * (1 - share) / replicates).round(4).to_dict(),
    }


def processor_time(call: Callable[[], Any], times: int) -> float:
    """Mean seconds of processor time of a call, the first one left out."""
    call()
    begun = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun) / times


def speed(frame: pd.DataFrame, peers: bool) -> dict[str, Any]:
    """Seconds of processor time of one fit, and the deviance, by library."""
    times = 1 if len(frame) > 100_000 else 20
    ours = fit_binary(FORMULA, frame)
    out: dict[str, Any] = {
        "ours": {
            "cpu": processor_time(lambda: fit_binary(FORMULA, frame), times),
            "deviance": ours.deviance,
        }
    }
    if not peers:
        return out
    if find_spec("glmm") is not None:
        import glmm

        def fit() -> Any:
            return glmm.fit(frame, FORMULA, family="binomial", nagq=15)

        out["glmm"] = {"cpu": processor_time(fit, times), "deviance": -2 * fit().loglik}
    if shutil.which("Rscript") is not None:
        with tempfile.TemporaryDirectory() as folder:
            script, rows = Path(folder) / "glmer.R", Path(folder) / "rows.csv"
            script.write_text(GLMER)
            frame.to_csv(rows, index=False)
            said = subprocess.run(
                ["Rscript", str(script), str(rows)], capture_output=True, text=True, check=True
            )
        cpu, deviance, _ = map(float, said.stdout.split())
        out["glmer"] = {"cpu": cpu, "deviance": deviance}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed-only", action="store_true")
    asked = parser.parse_args()
    held: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    caseloads = np.array(Truth.one_measure().caseloads)
    rng = np.random.default_rng(asked.seed)
    held["speed"] = {
        "date": date.today().isoformat(),
        "software": {n: version(n) for n in ("pwp-lib", "numpy", "scipy")},
        "1,122/21": speed(simulate(caseloads, rng, 28), True),
        "1 million/5,000": speed(simulate(np.full(5_000, 200), rng, 28), False),
    }
    print(json.dumps(held["speed"], indent=1), flush=True)
    RESULTS.write_text(json.dumps(held, indent=1) + "\n")
    if asked.speed_only:
        return
    designs = {"30 groups of 40": np.full(30, 40), "21 caseloads": caseloads}
    held["coverage"] = {
        "replicates": asked.replicates,
        "date": date.today().isoformat(),
        "truth": {name: round(value, 4) for name, value in truths().items()},
        "designs": {},
    }
    for name, sizes in designs.items():
        found = coverage(sizes, asked.replicates, asked.seed)
        held["coverage"]["designs"][name] = found
        print(name, json.dumps(found, indent=1), flush=True)
        RESULTS.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
