"""How long whole jobs take, and how much memory: the book, the tests, a report, the first fits.

    python -m benchmarks.jobs                              # all, some 15 minutes
    python -m benchmarks.jobs --jobs "report, 1,120 patients"

Each job is the command that a person types, in a process of its own. Clock and processor time count
its children; memory is that of its largest process. The book is built from an empty `_build`, after
installation. Results are written to benchmarks/results/jobs.json; jobs that a run leaves alone keep
what an earlier run found, with that run's date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.data import caseloads
from pwp_lib import load_cohort

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "jobs.json"
JOBS = (
    "book, from nothing",
    "book, again",
    "tests",
    "report, 1,120 patients",
    "report, a million patients",
    "one fit, nothing compiled",
    "a hundred fits, nothing compiled",
)
#: A model of the paper's, by a process that starts with it.
FIT = """
import sys
import pwp_lib as pwp
patients = pwp.load_cohort().patients
for _ in range(int(sys.argv[1])):
    pwp.fit_mixed("phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)", patients)
"""
#: Children of a process that has ended count for it; only POSIX systems say so.
KIB = 1024 if platform.system() == "Linux" else 1


def ordinary(folder: Path) -> Path:
    """The packaged cohort as a service's own file."""
    load_cohort().patients.to_csv(folder / "own.csv", index=False)
    return folder / "own.csv"


def million(folder: Path) -> Path:
    """A million patients with 5,000 therapists of fifty services, as Parquet.

    With all that a report reads: age, gender, deprivation that is the same throughout a service,
    sessions, status, and last scores of which one in twelve is missing.
    """
    rng = np.random.default_rng(1)
    therapist = np.repeat(np.arange(5_000), caseloads(1_000_000, 5_000, rng))
    service, size = therapist % 50, len(therapist)
    deprivation = rng.normal(25, 8, 50).round(1)
    between = rng.normal(0, 0.03, 50) + 0.02 * (deprivation - 25) / 8
    frame = pd.DataFrame(
        {
            "patient_id": np.arange(size),
            "therapist_id": therapist,
            "service_id": service,
            "age": rng.integers(18, 85, size),
            "gender": rng.choice(["female", "male", "non-binary"], size, p=[0.64, 0.35, 0.01]),
            "area_deprivation": deprivation[service],
            "sessions": rng.integers(2, 15, size),
            "status": rng.choice(["completed", "dropped out"], size, p=[0.75, 0.25]),
        }
    )
    for name, top in (("phq9", 27), ("gad7", 21)):
        pre = np.clip(rng.normal(0.55 * top, 0.22 * top, size).round(), 0, top)
        effect = top * (rng.normal(0, 0.06, 5_000)[therapist] + between[service])
        post = 0.15 * top + 0.5 * pre + effect + rng.normal(0, 0.2 * top, size)
        frame[f"{name}_pre"] = pre.astype(int)
        last = np.clip(post.round(), 0, top)
        frame[f"{name}_post"] = np.where(rng.random(size) < 1 / 12, np.nan, last)
    frame.to_parquet(folder / "own.parquet")
    return folder / "own.parquet"


def command(job: str, folder: Path) -> list[str]:
    """Give what a person types; a file that it needs is made first."""
    task = [sys.executable, str(ROOT / "tasks.py")]
    if job == "book, from nothing":
        subprocess.run([*task, "clean"], check=True, cwd=ROOT)
    if job.startswith("book"):
        return [*task, "book"]
    if "fit" in job:
        return [sys.executable, "-c", FIT, "1" if job.startswith("one") else "100"]
    if job == "tests":
        return [*task, "test"]
    file = ordinary(folder) if "1,120" in job else million(folder)
    pwp = [sys.executable, "-m", "pwp_report", "analyse", str(file)]
    pwp += ["--out", str(folder / "out"), "--key", str(folder / "key")]
    return pwp if "1,120" in job else [*pwp, "--adjust", "age,gender,area_deprivation"]


def timed(job: str) -> dict[str, Any]:
    """Run a job, and say what it took; one that fails stops the run."""
    with tempfile.TemporaryDirectory() as made:
        asked = command(job, Path(made))
        # The compiler finds an empty folder where it keeps its results.
        settings = {**os.environ, **({"NUMBA_CACHE_DIR": made} if "compiled" in job else {})}
        start = time.perf_counter()
        process = subprocess.Popen(asked, cwd=ROOT, env=settings, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{job}: exit code {os.waitstatus_to_exitcode(status)}")
    return {
        "wall": round(wall, 1),
        "cpu": round(used.ru_utime + used.ru_stime, 1),
        "memory, MB": round(used.ru_maxrss * KIB / 1e6),
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "date": date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    try:
        for job in parser.parse_args().jobs:
            found[job] = timed(job)
            print(job, found[job])
    finally:
        # Not before the end: the book is built anew when these results change.
        ordered = {name: found[name] for name in JOBS if name in found}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main()
