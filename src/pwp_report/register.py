"""Which patients each run was of, kept beside the key, so that two that differ by few are noticed.

What differs between two reports of nearly the same patients is told by comparing them, whatever
either withholds. Of each run there are kept the number of patients who could be analysed, and of
those with scores on each measure, and sums of their digests in buckets. Whoever is in one run
alone, or has other scores there, changes the sum of one bucket: as many differ as patients do, a
few less of many. All of it is covered by a pad from the key, used once: who does not hold the key
sees names of runs and measures and random bytes. Keys in one folder know of each other's runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from hashlib import shake_256
from pathlib import Path
from secrets import token_hex
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_report.pseudonyms import open_key

_BUCKETS = 1_024
#: By measure, and without a name of all who could be analysed: sums by bucket, last their number.
Mark: TypeAlias = dict[str, NDArray[np.uint64]]


def mark_of(cohort: Cohort) -> Mark:
    """Sum up who could be analysed, and who was on each measure, with which scores."""
    people, analysed = ["patient_id", "therapist_id"], cohort.patients
    everybody = analysed if cohort.eligible is None else cohort.eligible
    scores = {m.name: [m.pre, m.post] for m in cohort.measures}
    rows = {name: analysed[[*people, *two]].dropna() for name, two in scores.items()}
    return {name: _sums(r, people) for name, r in {"": everybody[people], **rows}.items()}


def _sums(rows: pd.DataFrame, people: list[str]) -> NDArray[np.uint64]:
    # Whole scores are integers or not as others in their column are missing.
    kinds = dict.fromkeys(rows, "float64") | dict.fromkeys(people, "str")
    found = pd.util.hash_pandas_object(rows.astype(kinds), index=False).to_numpy()
    sums = np.zeros(_BUCKETS + 1, dtype=np.uint64)
    np.add.at(sums, found % _BUCKETS, found)
    sums[-1] = len(found)
    return sums


def nearest(mine: Mark, key: Path) -> tuple[float, str]:
    """How many patients the nearest run differs by, and its name; infinity if there is none.

    Not those before a run of the same patients: they were compared with that.
    """
    found = (np.inf, "")
    for register in key.expanduser().parent.glob("*.runs"):
        for name, old in _runs(register):
            apart = [_apart(mine[k], old[k]) for k in mine.keys() & old.keys()]
            if not any(apart) and mine.keys() <= old.keys():
                break
            found = min(found, (min(filter(None, apart), default=np.inf), name))
    return found


def _apart(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Patients in one run who are not in the other, of those in the larger of the two."""
    return float(np.count_nonzero(a[:-1] != b[:-1]) + abs(int(a[-1]) - int(b[-1]))) / 2


def _runs(register: Path) -> Iterator[tuple[str, Mark]]:
    """Read the runs of a register, the latest first; a line that a full disk has cut is none."""
    lines: list[str] = []
    # Of runs under a key that is gone, or is none, nobody can say anything.
    with suppress(InputError):
        if (place := register.with_suffix("")).is_file():
            key, lines = open_key(place), register.read_text(encoding="utf-8").splitlines()
    for line in reversed(lines):
        if line.endswith('"]'):
            name, kinds, once, text = json.loads(line)
            sums = np.frombuffer(bytes.fromhex(text), dtype="<u8") ^ _pad(key, once, len(kinds))
            yield name, dict(zip(kinds, np.split(sums, len(kinds)), strict=True))


def _pad(key: bytes, once: str, kinds: int) -> NDArray[np.uint64]:
    drawn = shake_256(key + bytes.fromhex(once)).digest(8 * kinds * (_BUCKETS + 1))
    return np.frombuffer(drawn, dtype="<u8")


def keep(mine: Mark, key: Path, name: str) -> None:
    """Add a run to the register beside a key."""
    place, once = key.expanduser(), token_hex(16)
    covered = np.concatenate([*mine.values()]) ^ _pad(open_key(place), once, len(mine))
    line = json.dumps([name, [*mine], once, covered.astype("<u8").tobytes().hex()])
    with place.with_name(f"{place.name}.runs").open("a", encoding="utf-8") as out:
        out.write("\n" + line)
