"""This library and the floor, timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd

from benchmarks.data import ONE, TWO
from benchmarks.simulated import simulate_designs
from benchmarks.timing import per_call, spent
from multilevel.fit import fit_mixed
from multilevel.many import fit_many
from multilevel.moments import Moments
from multilevel.posterior import sample_posterior
from multilevel.sources import design_moments
from pwp_lib.truth import Truth


@numba.njit(cache=True)
def one_pass(y: Any, x: Any, g: Any, therapists: int) -> Any:
    """Count, sums and sums of products by therapist: what no fit can do without."""
    out = np.zeros((therapists, 6), dtype=np.int64)
    for i in range(len(y)):
        a, b, row = np.int64(y[i]), np.int64(x[i]), out[g[i]]
        row[0] += 1
        row[1] += a
        row[2] += b
        row[3] += a * a
        row[4] += a * b
        row[5] += b * b
    return out


def _both(data: Any) -> list[Any]:
    """Both models from rows or from moments held, formula and columns included."""
    fits = [fit_mixed(f, data) for f in (ONE, TWO)]
    for fit in fits:
        _ = fit.deviance, fit.ingredients, fit.coefficients
    return fits


def _straight(frame: pd.DataFrame) -> list[Any]:
    """Both models from the frame, each with the proof that its optimum is one."""
    return [fit.certificate for fit in (fit_mixed(f, frame) for f in (ONE, TWO))]


def floor(frame: pd.DataFrame, therapists: int) -> dict[str, float]:
    """One compiled pass over coded columns."""
    y, x, g = (frame[c].to_numpy() for c in ("y", "x", "g"))
    one_pass(y[:9], x[:9], g[:9], therapists)
    calls = max(1, 2_000_000 // len(y))
    return per_call(lambda: one_pass(y, x, g, therapists), calls)[0]


def fits(frame: pd.DataFrame) -> dict[str, Any]:
    """Both models from rows (moments included), and from moments held."""
    small = len(frame) < 100_000
    _both(frame[:2_000] if small else frame[frame["g"] < 50])
    from_rows, found = per_call(lambda: _both(Moments.for_formula(TWO, frame)), 10 if small else 1)
    straight, _ = per_call(lambda: _straight(frame), 10 if small else 1)
    held = Moments.for_formula(TWO, frame)
    from_moments, _ = per_call(lambda: _both(held), 20 if small else 1)
    return {
        "from rows": from_rows,
        "from the frame": straight,
        "from moments": from_moments,
        "deviance": [f.deviance for f in found],
        "vpc": [f.vpc() for f in found],
        "singular": [f.singular for f in found],
    }


def sampling(frame: pd.DataFrame) -> dict[str, Any]:
    """25,000 Gibbs iterations of both models."""
    out = {}
    for name, formula in (("intercept", ONE), ("slope", TWO)):
        design = design_moments(formula, frame)
        sample_posterior(design, draws=10)
        times, drawn = spent(lambda d=design: sample_posterior(d, draws=25_000), repeats=5)
        got = drawn.interval()
        out[name] = times | {
            "draws": 25_000, "ess": got.ess, "ess per cpu second": got.ess / times["cpu"],
            "median": got.median, "mcse": got.mcse, "prior": drawn.prior.name,
            "scale": drawn.prior.scale.tolist(),
        }  # fmt: skip
    return out


def thousand_cohorts() -> dict[str, Any]:
    """A thousand simulated cohorts of the paper's shape, both models, simulation included."""

    def work() -> float:
        simulated = simulate_designs(Truth.one_measure(), replicates=1_000, seed=1)
        done = [fit_many(simulated.design(slope=slope), simulated.cross) for slope in (False, True)]
        return float(np.mean([f.converged.mean() for f in done]))

    times, converged = spent(work, repeats=2)
    return times | {"converged": converged}


def parquet(path: Path) -> dict[str, Any]:
    """Both models from a Parquet file in a process of its own, with the memory that it took."""
    code = (
        "import sys, time, json, re, pathlib\n"
        "from benchmarks.ours import _both\n"
        "from benchmarks.data import TWO\n"
        "from multilevel.moments import Moments\n"
        "c, w = time.process_time(), time.perf_counter()\n"
        "fits = _both(Moments.for_formula(TWO, sys.argv[1]))\n"
        "t = {'cpu': time.process_time() - c, 'wall': time.perf_counter() - w}\n"
        # Not getrusage: its peak is inherited from the process that started this one.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024\n"
        "print(json.dumps(t | {'peak MiB': round(peak), 'deviance': [f.deviance for f in fits]}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
