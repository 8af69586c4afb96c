"""Which patients each run was of, kept beside the key, so that two that differ by few are noticed.

What differs between two reports, or files of moments, of nearly the same patients is told by
comparing them, whatever either withholds. Of each run there are kept, by therapist, the number of
patients who could be analysed, and of those with scores on each measure, and sums of their digests
in buckets. Whoever is in one run alone, or has other scores there, changes the sum of one bucket:
as many differ as patients do, fewer of many. Of runs of other measures the numbers of those who
could be analysed and of those with a score are compared too. All of it is covered by a pad from
the key, used once: who does not hold the key sees names of runs and measures and random bytes. Keys
in one folder know of each other's runs.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import shake_256
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_report.ledger import DisclosurePolicy
from pwp_report.pseudonyms import open_key
from pwp_report.wording import refusal

_BUCKETS = 64
#: The name, among those of sums, of nothing: it is in a run that was meant despite earlier ones.
_DESPITE = "despite"
#: Buckets as they were that would be missed, if none is.
_TELLING = 7.0
#: Columns of patients: by how many patients their therapist differs from an earlier run.
CHANGED = "changed_"
#: Names in the mark of two measures. Of more, how many have the scores of some of them, as a run of
#: those tells, tells with rounded counts how few have the others.
_PAIR = 3
#: Nobody, where that is a number under the threshold as any other.
_NONE = 1e-9
#: By measure, and without a name of all who could be analysed: a row a therapist, with a digest of
#: the label, sums by bucket and the number of patients.
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
    found = _digests(rows.astype(dict.fromkeys(rows, "float64") | dict.fromkeys(people, "str")))
    codes, labels = pd.factorize(_digests(rows["therapist_id"].astype("str")))
    sums = np.zeros((len(labels), _BUCKETS + 2), dtype=np.uint64)
    np.add.at(sums, (codes, found % _BUCKETS + 1), found)
    sums[:, 0], sums[:, -1] = labels, np.bincount(codes, minlength=len(labels))
    return sums


def _digests(rows: pd.DataFrame | pd.Series) -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(rows, index=False), dtype=np.uint64)


def compared(
    cohort: Cohort, key: Path, policy: DisclosurePolicy, despite: bool
) -> tuple[Cohort, Mark]:
    """Compare a cohort with earlier runs, unless told that it is meant `despite` them.

    Returns
    -------
    cohort : Cohort
        With columns of patients that say by how many their therapist differs from earlier runs,
        of runs and measures where any differs by few, or that some differ by more. Patients of
        therapists who are gone count for the one with the fewest: those with whom they were shown
        are still there.
    mark : Mark

    Raises
    ------
    InputError
        If an earlier run was of the same patients but for fewer than the threshold; or, of three
        measures or more, was of the same patients of a therapist, but of others with scores.
    """
    mark = mark_of(cohort)
    apart, run = nearest(mark, key)
    if despite:
        return cohort, mark
    if apart < policy.threshold:
        raise refusal("run_differs_by_few", run=run, threshold=policy.threshold)
    loads, made = cohort.caseloads().sort_values(), cohort.patients.copy(deep=False)
    labels = _digests(loads.index.to_series().astype("str"))
    for name, names, changes in _earlier(mark, key, _DESPITE):
        same = changes[0].index[~changes[0].any(axis=1)]
        more = any(c["more"].reindex(same, fill_value=0).any() for c in changes[1:])
        if more and len(max(mark.keys(), names, key=len)) > _PAIR:
            raise refusal("run_of_other_measures", run=name)
        for change in map(_apart, changes):
            mine = change.reindex(labels, fill_value=0.0).set_axis(loads.index)
            mine.iloc[0] += change.drop(labels, errors="ignore").sum()
            # Of other measures it is told, where nobody lacks a score, that nobody does.
            mine += _NONE * (mark.keys() != names and mine.any())
            if mine.between(0, policy.threshold, "neither").any():
                made[f"{CHANGED}{len(made.columns)}"] = made["therapist_id"].map(mine)
            elif mine.any():
                made[f"{CHANGED}by_more"] = np.inf
    return replace(cohort, patients=made), mark


def changes_by_therapist(patients: pd.DataFrame) -> pd.DataFrame:
    """By how many patients each therapist differs from earlier runs, a column a run and measure."""
    return patients.groupby("therapist_id")[[*patients.filter(like=CHANGED)]].first()


def differ_by_few(changes: pd.DataFrame, who: Sequence[Any], policy: DisclosurePolicy) -> bool:
    """Whether the patients of these therapists together differ by few from an earlier run."""
    return bool(changes.loc[[*who]].sum().between(0, policy.threshold, "neither").any())


def nearest(mine: Mark, key: Path) -> tuple[float, str]:
    """How many patients the nearest run differs by, and its name; infinity if there is none.

    Not those before a run of the same patients: they were compared with that.
    """
    earlier = ((c.sum(), name) for name, _, changes in _earlier(mine, key) for c in changes)
    apart = ((float(_apart(total.to_frame().T).iloc[0]), name) for total, name in earlier)
    return min((each for each in apart if each[0]), default=(np.inf, ""))


def _earlier(mine: Mark, key: Path, has: str = "") -> Iterator[tuple[str, set[str], list[Any]]]:
    """Earlier runs, of what, and what changed since, up to one of the same patients with a name."""
    for register in key.expanduser().parent.glob("*.runs"):
        for name, old in _runs(register):
            if _of_others(mine[""], old[""]):
                continue
            changes = [_change(mine[k], old[k]) for k in mine if k in old]
            same = mine.keys() <= old.keys() and not any(c.to_numpy().any() for c in changes)
            if same and has in old:
                break
            if mine.keys() != old.keys() - {_DESPITE}:
                # Those who could be analysed less those with a score are those who lack it.
                ends = [*((mine[k], old[""]) for k in mine), *((old[k], mine[""]) for k in old)]
                changes += [_change(*two).assign(unlike=0) for two in ends if len(two[0])]
            yield name, old.keys() - {_DESPITE}, changes


def _of_others(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> bool:
    """Whether no patient of one run was in the other, as far as buckets tell.

    They tell it where, were half of the patients the same, many buckets would be as they were: of
    a therapist with very many patients none would. Nobody is in two runs without a therapist in
    common; of patients or therapists with other labels in each nobody can know.
    """
    both = pd.Index(one[:, 0]).intersection(pd.Index(other[:, 0]))
    a, b = (pd.DataFrame(x[:, 1:], x[:, 0]).loc[both].to_numpy() for x in (one, other))
    least, most = np.sort([a[:, -1], b[:, -1]], axis=0).astype(float)
    telling = (least / 2 * np.exp(-most / _BUCKETS)).sum() > _TELLING or not len(both)
    return bool(telling) and not ((a == b) & (a > 0))[:, :-1].any()


def _change(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> pd.DataFrame:
    """By digest of the therapist: buckets that differ, and by how many patients they are more."""
    labels = pd.Index(one[:, 0]).union(pd.Index(other[:, 0]))
    both = (pd.DataFrame(x[:, 1:], x[:, 0]).reindex(labels, fill_value=0) for x in (one, other))
    a, b = (frame.to_numpy(np.int64) for frame in both)
    unlike = np.count_nonzero(a[:, :-1] != b[:, :-1], axis=1)
    return pd.DataFrame({"unlike": unlike, "more": a[:, -1] - b[:, -1]}, labels)


def _apart(change: pd.DataFrame) -> pd.Series:
    """Patients in one run who are not in the other, of those in the larger of the two."""
    more = np.abs(change["more"])
    return pd.Series(np.maximum(more, (change["unlike"] + more) / 2))


def _runs(register: Path) -> Iterator[tuple[str, Mark]]:
    """Read the runs of a register, the latest first; a line that a full disk has cut is none."""
    lines: list[str] = []
    # Of runs under a key that is gone, or is none, nobody can say anything.
    with suppress(InputError):
        if (place := register.with_suffix("")).is_file():
            key, lines = open_key(place), register.read_text(encoding="utf-8").splitlines()
    for line in reversed(lines):
        # Lines of before sums by therapist have no sizes, and cannot be compared.
        if line.endswith('"]') and "{" in line:
            name, sizes, once, text = json.loads(line)
            sums = np.frombuffer(bytes.fromhex(text), dtype="<u8")
            sums = (sums ^ _pad(key, once, len(sums))).reshape(-1, _BUCKETS + 2)
            parts = np.split(sums, np.cumsum([*sizes.values()])[:-1])
            yield name, dict(zip(sizes, parts, strict=True))


def _pad(key: bytes, once: str, size: int) -> NDArray[np.uint64]:
    return np.frombuffer(shake_256(key + bytes.fromhex(once)).digest(8 * size), dtype="<u8")


def keep(mine: Mark, key: Path, name: str, despite: bool = False) -> None:
    """Add a run to the register beside a key, and whether it was meant despite earlier ones."""
    place, once, sums = key.expanduser(), token_hex(16), np.concatenate([*mine.values()]).ravel()
    sizes = {k: len(v) for k, v in mine.items()} | ({_DESPITE: 0} if despite else {})
    text = (sums ^ _pad(open_key(place), once, len(sums))).astype("<u8").tobytes().hex()
    line = json.dumps([name, sizes, once, text])
    with place.with_name(f"{place.name}.runs").open("a", encoding="utf-8") as out:
        out.write("\n" + line)
