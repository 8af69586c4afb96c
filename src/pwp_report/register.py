"""Which patients each run was of, kept beside the key, so that two that differ by few are noticed.

What differs between two reports of nearly the same patients is told by comparing them, whatever
either withholds. No patient is named here: of each run there are their number, a sum over them,
and the smallest of their digests, which two runs share in proportion to the patients they share.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pwp_lib.cohort import Cohort

#: Digests kept of a run: of so many, those that two runs do not share tell how far they differ.
_KEPT = 256


class Mark(NamedTuple):
    """What is kept of a run's patients: their number, a sum over all of them, some digests."""

    patients: int
    whole: int
    few: list[int]


def mark_of(cohort: Cohort, key: bytes) -> Mark:
    """Digest the patients of a cohort, with their therapists and scores, under a key."""
    from pandas.util import hash_pandas_object

    columns = ["patient_id", "therapist_id", *(c for m in cohort.measures for c in (m.pre, m.post))]
    rows = cohort.patients[columns].astype({"patient_id": "str", "therapist_id": "str"})
    found = hash_pandas_object(rows, index=False, hash_key=key.hex()[:16]).to_numpy()
    return Mark(len(found), int(found.sum()), np.sort(found)[:_KEPT].tolist())


def near(key: Path, mine: Mark, fewer_than: int) -> str:
    """Name the latest run whose patients differ, by fewer than so many; empty if there is none.

    Or if the same patients were reported since.
    """
    register = key.expanduser().with_suffix(".runs")
    lines = register.read_text(encoding="utf-8").splitlines() if register.exists() else []
    # A line that a full disk has cut is passed over.
    for name, *kept in [json.loads(line) for line in reversed(lines) if line.endswith("]]")]:
        old = Mark(*kept)
        if old.whole == mine.whole:
            return ""
        # Who is in one alone, or has other scores there, is one digest, and lets in another.
        apart = max(abs(old.patients - mine.patients), len({*old.few} ^ {*mine.few}) / 2)
        if apart < fewer_than:
            return str(name)
    return ""


def keep(key: Path, name: str, mine: Mark) -> None:
    """Add a run to the register beside a key; without the key its digests tell nobody anything."""
    with key.expanduser().with_suffix(".runs").open("a", encoding="utf-8") as out:
        out.write("\n" + json.dumps([name, *mine]))
