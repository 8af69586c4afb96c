"""Speed against peers, in one run: ``python -m benchmarks``.

    python -m benchmarks                                  # all; minutes on an idle machine
    python -m benchmarks --sizes 1,122/21 6,111/56        # these sizes alone
    python -m benchmarks --sizes 1,122/21 --peers lme4 jags
    python -m benchmarks --sizes "1 million/5,000" --peers nlme --longest

Results go to benchmarks/results.json, which a page of the book reads. Sizes and peers that a run
leaves alone keep what an earlier run found, with that run's date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pandas as pd  # noqa: E402

from benchmarks import ours, peers  # noqa: E402
from benchmarks.data import SIZES, rows, write_binary  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
FITTERS = ("lme4", "nlme", "statsmodels", *peers.COMPILED)
SAMPLERS = ("jags", "pymc", "nutpie", "bambi", "brms")
#: Largest size at which each peer is run, and why it stops there.
MOST = {
    "lme4": (1_000_000, "minutes and many GB at 10 million; --longest"),
    "nlme": (10_000, "minutes at a million; --longest"),
    "statsmodels": (10_000, "minutes at a million; --longest"),
    "glmm": (1_000_000, "minutes at 10 million; --longest"),
    "mixedlm": (10_000, "minutes at a million; --longest"),
    "mixedlm-rs": (1_000_000, "minutes at 10 million; --longest"),
    "jags": (10_000, "its cost grows with the rows"),
    "pymc": (2_000, "its cost grows with the rows"),
    "nutpie": (2_000, "its cost grows with the rows"),
    "bambi": (2_000, "its cost grows with the rows"),
    "brms": (2_000, "its cost grows with the rows"),
}


def fitters(
    frame: pd.DataFrame, folder: Path, asked: set[str], own: dict[str, Any], longest: bool
) -> Any:
    """Maximum likelihood: ratios of processor time, and how far the deviance is from ours."""
    found: dict[str, Any] = {}
    for name in FITTERS:
        most, why = MOST[name]
        if name not in asked:
            continue
        if len(frame) > most and not longest:
            found[name] = {"left out": why}
            continue
        in_r: Callable[[], Any] = lambda n=name: peers.in_r(folder, n)  # noqa: E731
        if name == "statsmodels":
            got = peers.statsmodels(frame)
        else:
            got = peers.compiled(frame, name) if name in peers.COMPILED else in_r()
        if "cpu" in got:
            for start in ("from the frame", "from rows", "from moments"):
                got[f"ratio, {start}"] = got["cpu"] / own[start]["cpu"]
            pairs = zip(got["deviance"], own["deviance"], strict=False)
            got["deviance above ours"] = [a - b for a, b in pairs]
            pairs = zip(got["vpc"], own["vpc"], strict=False)
            got["therapist effect, difference"] = [a - b for a, b in pairs]
        found[name] = got
        print(f"  {name}: {_short(got)}", flush=True)
    return found


def samplers(frame: pd.DataFrame, folder: Path, asked: set[str], own: dict[str, Any]) -> Any:
    """Posterior draws: ratios of effective draws of the therapist effect a second."""
    scale = own["slope"]["scale"]
    works: dict[str, tuple[str, str, Callable[[], Any]]] = {
        "jags, intercept": ("jags", "intercept", lambda: peers.jags(folder, "intercept", [])),
        "jags, slope": ("jags", "slope", lambda: peers.jags(folder, "slope", scale)),
        "pymc, slope": ("pymc", "slope", lambda: peers.pymc(frame, 500)),
        "nutpie, slope": ("nutpie", "slope", lambda: peers.nutpie(frame, 500)),
        "bambi, slope (uncorrelated)": ("bambi", "slope", lambda: peers.bambi(frame, 500)),
        "brms, slope": ("brms", "slope", lambda: peers.brms(folder, 500)),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for label, (name, model, work) in works.items():
        most, why = MOST[name]
        if name not in asked:
            continue
        if len(frame) > most:
            found[label] = {"left out": why}
            continue
        got = work()
        if "ess per cpu second" in got:
            mine = own[model]
            got["ratio"] = mine["ess per cpu second"] / got["ess per cpu second"]
            got["median, difference"] = got["median"] - mine["median"]
            got["error of the difference"] = (got["mcse"] ** 2 + mine["mcse"] ** 2) ** 0.5
        found[label] = got
        print(f"  {label}: {_short(got)}", flush=True)
    return found


def _short(got: dict[str, Any]) -> str:
    if "left out" in got:
        return f"left out ({got['left out']})"
    keys = ("cpu", "ratio", *(f"ratio, from {s}" for s in ("the frame", "rows", "moments")))
    shown = {k: got[k] for k in (*keys, "deviance above ours", "ess per cpu second") if k in got}
    return ", ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {[f'{w:.2g}' for w in v]}"
        for k, v in shown.items()
    )


def run(size: str, asked: set[str], longest: bool) -> dict[str, Any]:
    """One size: the floor, this library, peers."""
    patients, therapists = SIZES[size]
    print(f"{size}: {patients:,} patients, {therapists:,} therapists", flush=True)
    frame = rows(patients, therapists)
    out: dict[str, Any] = {"patients": patients, "therapists": therapists}
    out["floor"] = ours.floor(frame, therapists)
    out["pwp_lib"] = own = ours.fits(frame)
    own["from rows over floor"] = own["from rows"]["cpu"] / out["floor"]["cpu"]
    print("  floor", out["floor"], "\n  pwp_lib", own, flush=True)
    small = patients < 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_binary(frame, folder)
        out["fits"] = fitters(frame, folder, asked, own, longest)
        if small:
            out["gibbs"] = ours.sampling(frame)
            print("  gibbs", out["gibbs"], flush=True)
            out["samplers"] = samplers(frame, folder, asked, out["gibbs"])
        else:
            frame.to_parquet(folder / "rows.parquet")
            del frame
            out["parquet"] = ours.parquet(folder / "rows.parquet")
            print("  parquet", out["parquet"], flush=True)
    return out


def machine() -> dict[str, str]:
    """What it ran on, without naming it."""
    packages = ("pwp-lib", "numpy", "scipy", "pandas", "numba", "statsmodels", "pymc", "nutpie")
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else ""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "python": platform.python_version(), "system": platform.system(), "processor": model,
        "cores": str(os.cpu_count()), "load at the end": load,
        "packages": "; ".join(f"{n} {version(n)}" for n in packages),
        "threads": "one for every library; ratios are of processor time",
    }  # fmt: skip


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Peers that this run left alone, or out, keep what they had."""
    for part in ("fits", "samplers"):
        if part in new:
            timed = {k: v for k, v in old.get(part, {}).items() if "left out" not in v}
            again = {k: v for k, v in new[part].items() if "left out" not in v or k not in timed}
            new[part] = old.get(part, {}) | again
    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--peers", nargs="*", choices=[*FITTERS, *SAMPLERS], default=[*FITTERS, *SAMPLERS]
    )
    parser.add_argument(
        "--longest", action="store_true", help="fits that take many minutes or much memory too"
    )
    asked = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sizes": {}}
    for size in asked.sizes:
        new = run(size, set(asked.peers), asked.longest) | {
            "date": date.today().isoformat(),
            "on": machine(),
        }
        kept["sizes"][size] = _merge(kept["sizes"].get(size, {}), new)
        if size == "1,122/21":
            kept["a thousand cohorts"] = ours.thousand_cohorts()
        kept["sizes"] = {k: kept["sizes"][k] for k in SIZES if k in kept["sizes"]}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print("written:", RESULTS.name)


if __name__ == "__main__":
    main()
