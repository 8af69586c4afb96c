"""Three levels: how often intervals hold the truth, and the time against `lmer`.

    python -m benchmarks.services                     # 2,000 cohorts at each of two designs
    python -m benchmarks.services --replicates 50
    OMP_NUM_THREADS=1 python -m benchmarks.services --speed-only

Thirty therapists of forty patients in ten services, and the paper's 21 caseloads in seven; a
predictor, services that account for 5% of the variance and therapists for 8%. Results go to
benchmarks/results/services.json, with the Monte Carlo error of every share.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from benchmarks.binary import processor_time
from multilevel import DesignMoments, fit_mixed
from multilevel.levels import Nesting
from multilevel.nested import fit_nested
from pwp_lib.truth import Truth

RESULTS = Path(__file__).parent / "results" / "services.json"
SHARES = {"service": 0.05, "therapist": 0.08}
FORMULA = "y ~ x + (1 | service) + (1 | therapist)"
LMER = """
suppressMessages(library(lme4))
d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
t <- system.time(f <- lmer(y ~ x + (1 | service) + (1 | therapist), d, REML = FALSE))
cat(sum(t[1:2]), sprintf("%.9f", -2 * as.numeric(logLik(f))))
"""


def simulate(service: np.ndarray, g: np.ndarray, rng: np.random.Generator) -> Any:
    """Give a predictor and a response of variance one, apart from the predictor's part."""
    sizes = np.sqrt([*SHARES.values(), 1 - sum(SHARES.values())])
    x, u = rng.normal(size=len(g)), rng.normal(size=service.max() + 1)
    level = sizes[0] * u[service] + sizes[1] * rng.normal(size=len(service))
    return x, 0.5 * x + level[g] + sizes[2] * rng.normal(size=len(g))


def coverage(caseloads: np.ndarray, services: int, replicates: int, seed: int) -> dict[str, Any]:
    """Share of cohorts in which each interval holds the truth.

    An interval holds a share if the deviance, with the share held there and all else at its best,
    has risen by less than chi-square's 95%.
    """
    rng, g = np.random.default_rng(seed), np.repeat(np.arange(len(caseloads)), caseloads)
    service = np.arange(len(caseloads)) * services // len(caseloads)
    nesting = Nesting("service", np.arange(services).astype(object), service)
    held, estimates = [], []
    for _ in range(replicates):
        x, y = simulate(service, g, rng)
        columns = {"Intercept": np.ones(len(g)), "x": x}
        design = DesignMoments.from_arrays(y, columns, ["Intercept"], g, group_name="therapist")
        row = {}
        for method in ("ML", "REML"):
            fit = fit_nested(design, nesting, method)
            for level, truth in SHARES.items():
                rise = fit.profile(level, truth) - fit.deviance
                row[f"{level}, {method}"] = rise <= chi2.isf(0.05, 1)
                if method == "ML":
                    estimates.append((level, fit.vpc(level)))
        held.append(row)
    share = pd.DataFrame(held).mean()
    found = pd.DataFrame(estimates, columns=["level", "share"]).groupby("level")["share"]
    return {
        "therapists": len(caseloads),
        "services": services,
        "patients": int(caseloads.sum()),
        "mean share, ML": found.mean().round(4).to_dict(),
        "share of zero, ML": found.agg(lambda v: (v == 0).mean()).round(4).to_dict(),
        "coverage": share.round(4).to_dict(),
        "se": np.sqrt(share * (1 - share) / replicates).round(4).to_dict(),
    }


def speed() -> dict[str, Any]:
    """Seconds of processor time of one fit to a million patients, and the deviance, by library."""
    rng = np.random.default_rng(1)
    service, g = np.arange(5_000) // 20, np.repeat(np.arange(5_000), 200)
    x, y = simulate(service, g, rng)
    frame = pd.DataFrame({"y": y.round(3), "x": x.round(3), "service": service[g], "therapist": g})
    fit = fit_mixed(FORMULA, frame)
    interval = {at: processor_time(partial(fit.profile_interval, at), 1) for at in SHARES}
    out: dict[str, Any] = {
        "ours": {
            "cpu": processor_time(lambda: fit_mixed(FORMULA, frame), 3),
            "deviance": fit.deviance,
            "profile interval": interval,
        }
    }
    if shutil.which("Rscript") is not None:
        with tempfile.TemporaryDirectory() as folder:
            script, rows = Path(folder) / "lmer.R", Path(folder) / "rows.csv"
            script.write_text(LMER)
            frame.to_csv(rows, index=False)
            said = subprocess.run(
                ["Rscript", str(script), str(rows)], capture_output=True, text=True, check=True
            )
        cpu, deviance = map(float, said.stdout.split())
        out["lme4"] = {"cpu": cpu, "deviance": deviance}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed-only", action="store_true")
    asked = parser.parse_args()
    held: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    made = {
        "date": date.today().isoformat(),
        "software": {n: version(n) for n in ("pwp-lib", "numpy", "scipy")},
    }
    held["speed"] = {**made, "1 million/5,000/250": speed()}
    print(json.dumps(held["speed"], indent=1), flush=True)
    RESULTS.write_text(json.dumps(held, indent=1) + "\n")
    if asked.speed_only:
        return
    designs = {
        "30 therapists of 40 in ten services": (np.full(30, 40), 10),
        "21 caseloads in seven services": (np.array(Truth.one_measure().caseloads), 7),
    }
    held["coverage"] = {"replicates": asked.replicates, **made, "truth": SHARES, "designs": {}}
    for name, (caseloads, services) in designs.items():
        found = coverage(caseloads, services, asked.replicates, asked.seed)
        held["coverage"]["designs"][name] = found
        print(name, json.dumps(found, indent=1), flush=True)
        RESULTS.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
