"""The results of the benchmarks as tables, for the book's page; nothing is run here.

Each function takes what a JSON file holds, and leaves out what a run left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
Found = dict[str, Any]

#: Keys of one size that hold peers, and the keys of a peer's ratio to this library.
_RATIOS = {
    "fits": (
        ("ratio, from the frame", "fit from the frame"),
        ("ratio, from rows", "fit from rows"),
        ("ratio, from moments", "fit from moments"),
    ),
    "samplers": (("ratio", "posterior"),),
}
_SPELT = {"jags": "JAGS", "pymc": "PyMC"}


def read(name: str) -> Found | None:
    """Read a file of results; None if there is none yet."""
    path = HERE / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _peers(results: Found) -> Iterator[tuple[str, str, str, Found]]:
    for size, found in results["sizes"].items():
        for part in _RATIOS:
            for peer, got in found.get(part, {}).items():
                yield size, part, _named(peer), got


def _named(peer: str) -> str:
    """Spell a peer's name as its makers do."""
    first, *rest = peer.split(", ")
    return ", ".join([_SPELT.get(first, first), *rest])


def ratios(results: Found) -> pd.DataFrame:
    """One row a comparison made: ``size``, ``task``, ``peer``, ``ratio``."""
    rows = [
        (size, task, peer, got[key])
        for size, part, peer, got in _peers(results)
        for key, task in _RATIOS[part]
        if key in got
    ]
    return pd.DataFrame(rows, columns=["size", "task", "peer", "ratio"])


def jobs(found: Found) -> pd.DataFrame:
    """One row a job: seconds, processor seconds, megabytes, cores, date."""
    table = pd.DataFrame.from_dict(found, orient="index").rename_axis("job")
    return table.drop(columns="load before").rename(
        columns={"wall": "seconds", "cpu": "processor seconds", "memory, MB": "MB"}
    )


def for_figure(results: Found, size: str) -> pd.DataFrame:
    """Take the ratios of one size, slowest peers first within each task."""
    table = ratios(results)
    table = table[table["size"] == size]
    return table.sort_values(["task", "ratio"], ascending=[True, False], ignore_index=True)


def agreement(results: Found) -> pd.DataFrame:
    """How far each peer's answers lie from this library's.

    For fits the largest difference of the two models: -2 log-likelihood above ours (negative where
    the peer's is lower) and therapist effect in percentage points. For samplers the posterior
    medians' difference in percentage points, and the Monte Carlo error of that difference.
    """
    rows = []
    for size, part, peer, got in _peers(results):
        if part == "fits" and "deviance above ours" in got:
            deviance = max(got["deviance above ours"], key=abs)
            effect = max(got["therapist effect, difference"], key=abs, default=np.nan)
            rows.append((size, peer, deviance, 100 * effect, None))
        elif part == "samplers" and "median, difference" in got:
            error = 100 * got["error of the difference"]
            rows.append((size, peer, None, 100 * got["median, difference"], error))
    columns = ["size", "peer", "deviance above ours", "therapist effect", "Monte Carlo error"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))


def own_times(results: Found) -> pd.DataFrame:
    """Processor seconds of this library by size, beside the floor."""
    rows = {}
    for size, found in results["sizes"].items():
        own = found["pwp_lib"]
        rows[size] = {
            "one pass over the rows": found["floor"]["cpu"],
            "fit from the frame": own.get("from the frame", {}).get("cpu", np.nan),
            "fit from rows": own["from rows"]["cpu"],
            "fit from moments": own["from moments"]["cpu"],
            "from rows, over one pass": own["from rows over floor"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("patients/therapists")


def _crossings(results: Found) -> list[str]:
    """Say between which sizes a peer that is quicker on few rows becomes the slower one."""
    table, said = ratios(results), []
    rows = table[table["task"].isin(["fit from the frame", "fit from rows"])]
    for (task, peer), part in rows.groupby(["task", "peer"], sort=False):
        x = np.log([results["sizes"][s].get("patients", np.nan) for s in part["size"]])
        y = np.log(part["ratio"].to_numpy(dtype=float))
        if y[0] < 0 < y[-1]:
            k = int(np.flatnonzero(y > 0)[0])
            at = np.exp(np.interp(0.0, y[k - 1 : k + 1], x[k - 1 : k + 1]))
            said.append(
                f"Counting a {task}, {peer} is quicker than this library on few patients and "
                "slower on many; between the sizes timed the two cross at about "
                f"{float(f'{at:.1g}'):,.0f} patients."
            )
    return said


def more_sentences(results: Found) -> list[str]:
    """Where peers cross this library; and this library alone: large files, a thousand cohorts."""
    said = _crossings(results)
    for size, found in results["sizes"].items():
        if "parquet" in found:
            took, (patients, therapists) = found["parquet"], size.split("/")
            said.append(
                f"Both models from a Parquet file of {patients} patients of {therapists} "
                f"therapists, reading included: {took['cpu']:.1f} processor seconds, and at most "
                f"{took['peak MiB']:,} MiB of memory for the whole process."
            )
    if "a thousand cohorts" in results:
        took = results["a thousand cohorts"]
        said.append(
            "A thousand cohorts of the paper's shape simulated and fitted with both models: "
            f"{took['cpu']:.1f} processor seconds; {100 * took['converged']:g}% of the fits "
            "converged."
        )
    return said


def left_out(results: Found) -> pd.DataFrame:
    """What was not run, or failed in part or whole: ``peer``, ``size``, ``reason``."""
    rows = []
    for size, part, peer, got in _peers(results):
        if not any(key in got for key, _ in _RATIOS[part]):
            rows.append((peer, size, str(got.get("left out", "gave no answer"))))
        elif got.get("failed"):
            rows.append((peer, size, "one of the two models failed; its time is counted"))
    return pd.DataFrame(rows, columns=["peer", "size", "reason"])


def made_with(results: Found) -> pd.DataFrame:
    """Date, versions and machine of each size."""
    rows = {
        size: {"date": found.get("date", ""), **found.get("on", {})}
        for size, found in results["sizes"].items()
    }
    return pd.DataFrame(rows).rename_axis("what")


def peer_versions(results: Found) -> pd.DataFrame:
    """Say which software each peer was: ``peer``, ``software``."""
    found: dict[str, str] = {}
    for _, _, peer, got in _peers(results):
        if "software" in got:
            found[peer] = str(got["software"])
    return pd.DataFrame(sorted(found.items()), columns=["peer", "software"])


def coverage(results: Found) -> pd.DataFrame:
    """One row an interval, two columns a true effect: how often it held the truth, in per cent.

    Beside each share stands its Monte Carlo standard error.
    """
    columns: dict[str, dict[str, float]] = {}
    for effect, found in results["effects"].items():
        title = f"truth {100 * float(effect):g}%"
        for head, key in ((title, "coverage"), (f"{title}, error", "se")):
            columns[head] = {
                kind: 100 * got[key] for kind, got in found["intervals"].items() if key in got
            }
    return pd.DataFrame(columns).rename_axis("interval")


def effects_held(results: Found) -> pd.DataFrame:
    """One row an interval, one column a true effect: per cent of therapists' effects held."""
    columns = {
        f"truth {100 * float(effect):g}%": found["therapists' effects held"]
        for effect, found in results["effects"].items()
    }
    return 100 * pd.DataFrame(columns).rename_axis("interval")


def promises(results: Found) -> pd.DataFrame:
    """One row a promise: how often it was kept or broken, in per cent, with the error of that."""
    rows = {
        name: {"per cent": 100 * got["share"], "error": 100 * got["se"]}
        for name, got in results["shares"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("what")


def designs_held(binary: Found, services: Found) -> pd.DataFrame:
    """One row an interval and a design: how often it held the truth, and the error, per cent."""
    rows = [
        (f"{prefix}{interval}", str(found[units]), 100 * held, 100 * found["se"][interval])
        for result, units, prefix in (
            (binary, "groups", "yes or no: "),
            (services, "therapists", "share of a "),
        )
        for found in result["coverage"]["designs"].values()
        for interval, held in found["coverage"].items()
    ]
    return pd.DataFrame(rows, columns=["interval", "therapists", "held", "error"])


def rank_distributions(results: Found) -> pd.DataFrame:
    """Each quantity's ranks against uniform ones, with simultaneous bands.

    Returns
    -------
    DataFrame
        One row a model, quantity and point: ``case``, ``quantity``, ``at``, and the distribution
        function less that of uniform ranks (``difference``) with the band's ``lower`` and
        ``upper``.
    """
    at, (lower, upper) = np.array(results["at"]), np.array(results["bands"])
    parts = [
        pd.DataFrame({"case": case, "quantity": name, "at": at, "difference": got["ecdf"] - at,
                      "lower": lower - at, "upper": upper - at})
        for case, found in results["cases"].items()
        for name, got in found["quantities"].items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def calibration(results: Found) -> pd.DataFrame:
    """One row a model: quantities, those outside their own 95% bands, and the adjusted p-value.

    For NUTS also how many draws diverged, over all data sets.
    """
    rows = {
        case: {
            "quantities": len(found["quantities"]),
            "outside their bands": sum(not q["inside_bands"] for q in found["quantities"].values()),
            "p_value": found["smallest p_value, times the number of quantities"],
        }
        for case, found in results["cases"].items()
    }
    if results["engine"] == "nuts":
        for case, found in results["cases"].items():
            rows[case]["divergent draws"] = found["divergent draws"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model and prior")
