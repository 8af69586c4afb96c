"""Which patients each run was of, kept beside the key, so that two that differ by few are noticed.

What differs between two reports, or files of moments, of nearly the same patients is told by
comparing them, whatever either withholds. Of each run there are kept, by therapist, the number of
patients who could be analysed, and of those with scores on each measure, and sums of their digests
in buckets. Whoever is in one run alone, or has other scores there, changes the sum of one bucket:
as many differ as patients do, fewer of many. Of runs of other measures the numbers of those who
could be analysed and of those with a score are compared too. Where patients are courses of
persons all is kept by person as well, and so known in a run of persons. Sums of scores alone tell
the same patients under other numbers or labels; and since sums add up, what two or three earlier
runs leave of a new one, added to it or taken from it, is looked at too. Who was shown one by one
and who together is kept, so that no run shows one by one those whose figures, taken from those of
an earlier group, leave another's. All of it is covered by a pad from the key, used once: who does
not hold the key sees names of runs and measures and random bytes. Keys in one folder know of each
other's runs.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import shake_256
from itertools import chain, combinations, islice, product
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_lib.numbers import listing
from pwp_report.disclosure import DisclosurePolicy, aggregate_small, is_safe_group
from pwp_report.pseudonyms import open_key
from pwp_report.wording import refusal

_BUCKETS = 64
#: Names among those of sums: of nothing, in a run that was meant despite earlier ones; and how
#: those by person begin.
_DESPITE, _PERSONS = "despite", "by person "
#: And those of scores alone, whoever the patients and their therapists are said to be.
_SCORES = "scores of "
#: Buckets as they were that would be missed, if none is.
_TELLING = 7.0
#: Columns of patients: by how many patients their therapist differs from an earlier run; and
#: whether the therapist is shown only together.
CHANGED, TOGETHER = "changed_", "only_together"
#: Names in the mark of two measures. Of more, how many have the scores of some of them, as a run of
#: those tells, tells with rounded counts how few have the others.
_PAIR = 3
#: So many of the latest runs are taken together by twos and threes.
_LATEST = 20
#: Nobody, where that is a number under the threshold as any other.
_NONE = 1e-9
#: By measure, and without a name of all who could be analysed: a row a therapist, with a digest of
#: the label, sums by bucket and the number of patients.
Mark: TypeAlias = dict[str, NDArray[np.uint64]]
_Earlier: TypeAlias = tuple[str, Mark, Mark, list[pd.DataFrame], pd.Series]


def mark_of(cohort: Cohort) -> Mark:
    """Sum up who could be analysed, and who was on each measure, with which scores."""
    analysed, mark = cohort.patients, dict[str, Any]()
    everybody = analysed if cohort.eligible is None else cohort.eligible
    for who in analysed.columns.intersection(["patient_id", "person_id"]).sort_values():
        people, by = [who, "therapist_id"], _PERSONS * (who == "person_id")
        mark[by] = _sums(everybody[people], people)
        for m in cohort.measures:
            mark[by + m.name] = _sums(analysed[[*people, m.pre, m.post]].dropna(), people)
    for m in cohort.measures:
        scores = analysed[[m.pre, m.post]].dropna().assign(therapist_id="")
        mark[_SCORES + m.name] = _sums(scores, ["therapist_id"])
    return mark


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
        are still there. One is of whom nothing is shown because of an earlier group, as if few
        differed; and one of who is shown only together.
    mark : Mark

    Raises
    ------
    InputError
        If an earlier run was of the same patients but for fewer than the threshold, whatever they
        are called, or of all of them under other labels; if two or three earlier runs together
        leave fewer of this one; or if one, of three measures or more, was of the same patients of
        a therapist, but of others with scores.
    """
    mark = mark_of(cohort)
    apart, run = nearest(mark, key)
    if apart < policy.threshold and not despite:
        raise refusal("run_differs_by_few", run=run, threshold=policy.threshold)
    if not despite:
        _refuse_other_labels(mark, key, policy.threshold)
    earlier = [] if despite else [*_earlier(mark, key, _DESPITE)]
    some = set[Any]() if despite else _of_several(mark, key, policy.threshold)
    made = cohort.patients.drop(columns="person_id", errors="ignore")
    therapists = pd.Series(_digests(made["therapist_id"].astype("str")), made.index)
    # Of equally many patients always the same are shown together, whatever the order of rows.
    loads = therapists.value_counts().sort_index().sort_values(kind="stable")
    made = made.assign(**({f"{CHANGED}several": _NONE * therapists.isin(some)} if some else {}))
    for name, way, old, changes, _ in earlier:
        of = way.keys(), old.keys() - {_DESPITE}
        same = changes[0].index[~changes[0].any(axis=1)]
        more = any(c["more"].reindex(same, fill_value=0).any() for c in changes[1:])
        if more and len(max(of, key=len)) > _PAIR:
            raise refusal("run_of_other_measures", run=name)
        for change in map(_apart, changes):
            mine = change.reindex(loads.index, fill_value=0.0)
            mine.iloc[0] += change.drop(loads.index, errors="ignore").sum()
            # Of other measures it is told, where nobody lacks a score, that nobody does.
            mine += _NONE * (of[0] != of[1] and mine.any())
            if mine.between(0, policy.threshold, "neither").any():
                made[f"{CHANGED}{len(made.columns)}"] = therapists.map(mine)
            elif mine.any():
                made[f"{CHANGED}by_more"] = np.inf
    alone, together = aggregate_small(loads, policy)
    made[TOGETHER] = therapists.isin(together)
    if hidden := _hidden(loads, alone, [run for *_, run in earlier], policy):
        made[f"{CHANGED}{TOGETHER}"] = _NONE * therapists.isin(hidden)
    # Above 32 bits of the number who could be analysed: 1 for who is shown one by one, and for
    # together one more than the number of patients. All together are no group, and not shown.
    shown = dict((loads + 1) * bool(alone)) | dict.fromkeys(alone, 1) | dict.fromkeys(hidden, 0)
    mark[""][:, -1] |= np.array([shown.get(t, 0) for t in mark[""][:, 0]], np.uint64) << 32
    return replace(cohort, patients=made), mark


def _hidden(loads: Any, alone: list[Any], runs: list[Any], policy: DisclosurePolicy) -> set[Any]:
    """Who is not shown, one by one or together, since with earlier runs it would tell of others.

    Those together in a run, less all whom any run shows one by one, have to be a safe group, and
    so have those in one of two such groups alone.
    """
    groups, hidden = [run[run > 1] - 1 for run in runs], set[Any]()
    ever = {t for run in runs for t in run.index[run == 1]}

    def safe(group: pd.Series) -> bool:
        return is_safe_group(group.drop([*ever.union(alone) - hidden], errors="ignore"), policy)

    for group, therapist in product(groups, alone):
        hidden.update([therapist] * (therapist in group and not safe(group)))
    mine = loads.drop(alone)
    apart = [mine.combine_first(g)[mine.index.symmetric_difference(g.index)] for g in groups]
    unsafe = runs and alone and not all(safe(group) for group in (mine, *apart) if len(group))
    return hidden.union(mine.index if unsafe else [])


def joined(cohort: Cohort, columns: str = f"^{TOGETHER}") -> set[Any]:
    """Therapists who are shown only together: with `together$`, or are not for an earlier group."""
    return {*cohort.patients.loc[lambda p: p.filter(regex=columns).any(axis=1), "therapist_id"]}


def changes_by_therapist(patients: pd.DataFrame) -> pd.DataFrame:
    """By how many patients each therapist differs from earlier runs, a column a run and measure."""
    return patients.groupby("therapist_id")[[*patients.filter(like=CHANGED)]].first()


def differ_by_few(changes: pd.DataFrame, who: Sequence[Any], policy: DisclosurePolicy) -> bool:
    """Whether the patients of these therapists together differ by few from an earlier run."""
    return bool(changes.loc[[*who]].sum().between(0, policy.threshold, "neither").any())


def nearest(mark: Mark, key: Path) -> tuple[float, str]:
    """How many patients the nearest run differs by, and its name; infinity if there is none.

    Not those before a run of the same patients: they were compared with that.
    """
    earlier = ((_apart(c.sum()), name) for name, *_, cs, _ in _earlier(mark, key) for c in cs)
    return min((each for each in earlier if each[0]), default=(np.inf, ""))


def _of_several(mark: Mark, key: Path, threshold: int) -> set[Any]:
    """Say of which therapists two or three earlier runs leave few; refuse where of all.

    Each is added to this one or taken from it: of two runs that each leave out a therapist, and of
    one that leaves out both and a third, the patients of the third are left.
    """
    some, latest = set[Any](), [*islice(_earlier(mark, key, others=True), _LATEST)]
    for mine, k in {(id(m), k): (m, k) for _, m, *_ in latest for k in m}.values():
        runs = [(name, old[k]) for name, m, old, *_ in latest if m is mine and k in old]
        labels, (own, *others) = _aligned(mine[k], *[sums for _, sums in runs])
        for size, signs in ((n, s) for n in (2, 3) for s in product((1, -1), repeat=n)):
            for which in combinations(range(len(others)), size):
                left = _left(sum((s * others[i] for s, i in zip(signs, which, strict=True)), own))
                if 0 < _apart({n: v.sum() for n, v in left.items()}) < threshold:
                    names = listing([runs[i][0] for i in which])
                    raise refusal("runs_leave_few", runs=names, threshold=threshold)
                apart = _apart(left)
                some.update(labels[(apart > 0) & (apart < threshold)])
    return some


def _refuse_other_labels(mark: Mark, key: Path, threshold: int) -> None:
    """Refuse what a run had but for few, whoever the patients and their therapists are said to be.

    Or all of it, under labels that are new where others are gone: patients of several may stand
    under one then, who less those who are shown are another's. A measure may have another name.
    """
    mine = [sums for k, sums in mark.items() if k.startswith(_SCORES)]
    for name, old, _ in chain.from_iterable(map(_runs, key.expanduser().parent.glob("*.runs"))):
        theirs = [sums for k, sums in old.items() if k.startswith(_SCORES)]
        apart = [_apart(_change(*two).sum()) for two in product(mine, theirs)]
        now, then = ({*m[""][:, 0]} for m in (mark, old))
        if any(n < threshold and (n or (now - then and then - now)) for n in apart):
            raise refusal("run_of_other_labels", run=name)
        if 0 in apart:  # the others were compared with that
            break


def _earlier(mark: Mark, key: Path, has: str = "", others: bool = False) -> Iterator[_Earlier]:
    """Earlier runs, what this and each are, what changed since, and how therapists were shown.

    Of some of the same patients, unless runs of `others` are asked for as well. Up to one of the
    same patients with a name.
    """
    for mine, register in product(_ways(mark), key.expanduser().parent.glob("*.runs")):
        runs = ((name, way, shown) for name, old, shown in _runs(register) for way in _ways(old))
        for name, old, shown in runs:
            if not others and _of_others(mine[""], old[""]):
                continue
            changes = [_change(mine[k], old[k]) for k in mine if k in old]
            same = mine.keys() <= old.keys() and not any(c.to_numpy().any() for c in changes)
            if same and has in old:
                break
            if mine.keys() != old.keys() - {_DESPITE}:
                # Those who could be analysed less those with a score are those who lack it.
                ends = [*((mine[k], old[""]) for k in mine), *((old[k], mine[""]) for k in old)]
                changes += [_change(*two).assign(unlike=0) for two in ends if len(two[0])]
            # Of the same patients, with another least caseload, fewer or more of the smallest are
            # together: that tells of nobody.
            yield name, mine, old, changes, shown * (not same)


def _ways(mark: Mark) -> list[Mark]:
    """Tell what is by patient from what, where persons are known, is by person."""
    known = {k: v for k, v in mark.items() if not k.startswith(_SCORES)}
    own = {k: v for k, v in known.items() if not k.startswith(_PERSONS)}
    return [own, {k.removeprefix(_PERSONS): v for k, v in known.items()}][: 1 + (_PERSONS in mark)]


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
    labels, (a, b) = _aligned(one, other)
    return pd.DataFrame(_left(a - b), labels)


def _aligned(*sums: NDArray[np.uint64]) -> tuple[pd.Index, list[NDArray[np.int64]]]:
    """Give the therapists of all runs, and the sums of each in that order."""
    labels = pd.Index(np.unique(np.concatenate([s[:, 0] for s in sums])))
    frames = (pd.DataFrame(s[:, 1:], s[:, 0]).reindex(labels, fill_value=0) for s in sums)
    return labels, [frame.to_numpy(np.int64) for frame in frames]


def _left(sums: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Count by therapist the buckets in which something is left, and the patients."""
    return {"unlike": np.count_nonzero(sums[:, :-1], axis=1), "more": sums[:, -1]}


def _apart(change: Any) -> Any:
    """Patients in one run who are not in the other, of those in the larger of the two."""
    more = np.abs(change["more"])
    return np.maximum(more, (change["unlike"] + more) / 2)


def _runs(register: Path) -> Iterator[tuple[str, Mark, pd.Series]]:
    """Read the runs of a register, the latest first; a line that a full disk has cut is none.

    And how therapists were shown: of a line of before that was kept, nobody is known to have been.
    """
    lines: list[str] = []
    # Of runs under a key that is gone, or is none, nobody can say anything.
    with suppress(InputError):
        if (place := register.with_suffix("")).is_file():
            key, lines = open_key(place), register.read_text(encoding="utf-8").splitlines()
    for line in reversed(lines):
        # Lines of before sums by therapist have no sizes, and cannot be compared.
        if line.endswith('"]') and "{" in line:
            name, sizes, once, text = json.loads(line)
            sums = np.frombuffer(bytes.fromhex(text), "<u8") ^ _pad(key, once, len(text) // 16)
            parts = np.split(sums.reshape(-1, _BUCKETS + 2), np.cumsum([*sizes.values()])[:-1])
            mark = dict(zip(sizes, parts, strict=True))
            shown = pd.Series(mark[""][:, -1] >> 32, mark[""][:, 0])
            mark[""][:, -1] %= 2**32
            yield name, mark, shown


def _pad(key: bytes, once: str, size: int) -> NDArray[np.uint64]:
    return np.frombuffer(shake_256(key + bytes.fromhex(once)).digest(8 * size), dtype="<u8")


def keep(mine: Mark, key: Path, name: str, despite: bool = False) -> None:
    """Add a run to the register beside a key, and whether it was meant despite earlier ones."""
    place, once, sums = key.expanduser(), token_hex(16), np.concatenate([*mine.values()]).ravel()
    sizes = {k: len(v) for k, v in mine.items()} | ({_DESPITE: 0} if despite else {})
    text = (sums ^ _pad(open_key(place), once, len(sums))).astype("<u8").tobytes().hex()
    with place.with_name(f"{place.name}.runs").open("a", encoding="utf-8") as out:
        out.write("\n" + json.dumps([name, sizes, once, text]))
