"""Two runs over the same therapists: no mean of who is shown only together follows from both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog
from test_solved import cohort_of, counted

from multilevel.errors import InputError
from pwp_lib.measures import PHQ9
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.pseudonyms import Pseudonyms, numbered, open_key, pseudonymise
from pwp_report.register import compared, keep
from pwp_report.release import release_results
from pwp_report.release_parts import OTHERS_TOGETHER

pytestmark = pytest.mark.neighbours

#: A mean known to less than this on either side follows from what was released.
PINNED = 1.0
Rows = pd.DataFrame
Pair = tuple[Rows, Rows]


def _rows(rng: np.random.Generator) -> Rows:
    """Patients of 9 to 16 therapists, of whom one to three have few; some caseloads are equal."""
    small = rng.integers(5, 20, rng.choice([1, 1, 2, 3]))
    large = rng.choice([*range(20, 33), 29, 29, 29], rng.integers(8, 13))
    who = rng.permutation(np.repeat(np.arange(len(small) + len(large)), [*small, *large]))
    pre = rng.integers(0, 28, len(who))
    names = {"patient_id": [f"P{i}" for i in range(len(who))], "service_id": "S", "gender": "f"}
    therapists = {"therapist_id": [f"T{k:02d}" for k in who], "age": 40.0}
    scores = {"phq9_pre": pre, "phq9_post": rng.integers(0, 28, len(who))}
    return pd.DataFrame(names | therapists | scores)


def _loads(rows: Rows) -> pd.Series:
    return rows["therapist_id"].map(rows["therapist_id"].value_counts())


def _of(rows: Rows, rng: np.random.Generator, most: int) -> np.ndarray:
    """Some of the therapists with few patients."""
    few = rows.loc[_loads(rows) < 20, "therapist_id"].unique()
    return rng.choice(few, min(most, len(few)), replace=False)


def _more_of(rows: Rows, who: np.ndarray, n: int) -> Rows:
    more = rows[rows["therapist_id"].isin(who)]
    more = more.groupby("therapist_id").sample(n, replace=True, random_state=1)
    names = [f"Q{i}" for i in range(len(more))]
    return pd.concat([rows, more.assign(patient_id=names)], ignore_index=True)


def _twenty_or_more(rows: Rows, rng: np.random.Generator) -> Pair:
    """The second run leaves out who has fewer than 20 patients."""
    return rows, rows[_loads(rows) >= 20]


def _grown(rows: Rows, rng: np.random.Generator) -> Pair:
    """One of the small has 13 patients more, and may be shown."""
    return rows, _more_of(rows, _of(rows, rng, 1), 13)


def _all_grown(rows: Rows, rng: np.random.Generator) -> Pair:
    return rows, _more_of(rows, _of(rows, rng, 9), int(rng.integers(5, 16)))


def _gone(rows: Rows, rng: np.random.Generator) -> Pair:
    return rows, rows[~rows["therapist_id"].isin(_of(rows, rng, int(rng.integers(1, 3))))]


def _large_gone(rows: Rows, rng: np.random.Generator) -> Pair:
    """Of those who completed the group one is gone, and another takes the place."""
    loads = rows["therapist_id"].value_counts()
    return rows, rows[rows["therapist_id"] != loads[loads >= 20].index[-1]]


def _fewer(rows: Rows, rng: np.random.Generator) -> Pair:
    """Two of those shown lose patients, and are shown together."""
    who = rng.choice(rows.loc[_loads(rows) >= 20, "therapist_id"].unique(), 2, replace=False)
    theirs = rows[rows["therapist_id"].isin(who)]
    return rows, rows.drop(theirs.groupby("therapist_id").head(int(rng.integers(5, 9))).index)


def _same(rows: Rows, rng: np.random.Generator) -> Pair:
    """Of the same patients, with another caseload to be shown alone."""
    return rows, rows


KINDS: dict[str, Callable[[Rows, np.random.Generator], Pair]] = {
    f.__name__.strip("_"): f
    for f in (_twenty_or_more, _grown, _all_grown, _gone, _large_gone, _fewer, _same)
}


class Told(NamedTuple):
    """What a run says: the means shown, by whose patients they are, and of whom nothing is."""

    rows: Rows
    means: dict[tuple[str, ...], float]
    withheld: list[str]
    everybody: float


def _released(rows: Rows, key: Path, policy: DisclosurePolicy, despite: bool) -> Told:
    """Under pseudonyms and numbers, as a run does it, and traced back."""
    cohort, mark = compared(cohort_of(rows, (PHQ9,)), key, policy, despite)
    names = Pseudonyms(open_key(key))
    traced = {v: str(k) for k, v in names.names(rows["therapist_id"].unique(), "T").items()}
    cohort, behind = numbered(pseudonymise(cohort, names))
    tables = release_results(counted(cohort), policy).tables
    keep(mark, key, "run")
    frame = tables["outcomes_by_therapist"].frame.set_index("therapist")
    listed = {t: traced[behind[t]] for t in frame.index.drop(OTHERS_TOGETHER, errors="ignore")}
    shown = frame["mean_pre"][frame["mean_pre"].map(lambda v: isinstance(v, float))]
    others = tuple(sorted({*rows["therapist_id"]} - {*listed.values()}))
    means = {(listed[t],) if t in listed else others: float(m) for t, m in shown.items()}
    alone = {who[0] for who in means if len(who) == 1}
    withheld = sorted({*rows["therapist_id"]} - alone)
    return Told(rows, means, withheld, float(tables["outcomes"].frame["mean_pre"].iloc[0]))


def _pinned(runs: list[Told], totals: bool = False) -> list[str]:
    """Whose mean in which run follows, to `PINNED`, from sums of means and known caseloads."""
    where = pd.concat([r.rows.assign(run=str(k)) for k, r in enumerate(runs)])
    part = where.groupby("patient_id")["run"].agg("".join)
    people = where.drop_duplicates("patient_id").set_index("patient_id")
    people = people.assign(part=part)
    units = people.groupby(["therapist_id", "part"]).agg(
        n=("run", "size"), total=("phq9_pre", "sum")
    )
    truth, limits, ends = units["total"].to_numpy(float), [], []

    def inside(who: tuple[str, ...], k: int) -> np.ndarray:
        mine = [t in who and str(k) in p for t, p in units.index]
        return np.array(mine, dtype=float)

    for k, run in enumerate(runs):
        said = [*run.means.items()]
        said += [(tuple(run.rows["therapist_id"].unique()), run.everybody)] * totals
        for who, mean in said:
            row = inside(who, k)
            n = row @ units["n"]
            assert abs(row @ truth - mean * n) <= 0.0501 * n
            limits += [row, -row]
            ends += [(mean + 0.05) * n, -(mean - 0.05) * n]
    bounds = [(0, 27 * n) for n in units["n"]]
    given = [(t, frozenset(r.rows.loc[r.rows["therapist_id"] == t, "patient_id"]))
             for r in runs for t in {*r.rows["therapist_id"]} - {*r.withheld}]  # fmt: skip
    out = []
    for k, run in enumerate(runs):
        for t in run.withheld:
            patients = frozenset(run.rows.loc[run.rows["therapist_id"] == t, "patient_id"])
            if (t, patients) not in given:
                row = inside((t,), k)
                ways = [
                    linprog(s * row, limits or None, ends or None, bounds=bounds) for s in (1, -1)
                ]
                low, high = ways[0].fun, -ways[1].fun
                if (high - low) / 2 < PINNED * (row @ units["n"]):
                    out.append(f"run {k}: {t}")
    return out


def _attacked(
    kind: str, back: bool, seed: int, folder: Path, despite: bool = False
) -> tuple[list[Told], list[str]] | None:
    """Both runs and who is pinned; none where the second is refused."""
    rng = np.random.default_rng(seed)
    pair, least = [*KINDS[kind](_rows(rng), rng)], [20, 26 if kind == "same" else 20]
    order = [1, 0] if back else [0, 1]
    open_key(key := folder / f"{kind}{back}{seed}" / "a.key")
    try:
        told = [_released(pair[i], key, DisclosurePolicy(smallest_caseload=least[i]), despite)
                for i in order]  # fmt: skip
    except InputError:
        return None
    return told, _pinned(told)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "seeds", [range(3), pytest.param(range(3, 30), marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_no_mean_of_who_is_withheld_follows_from_two_runs(
    kind: str, back: bool, seeds: range, tmp_path: Path
) -> None:
    found = [_attacked(kind, back, seed, tmp_path) for seed in seeds]
    made = [pair for pair in found if pair is not None]
    assert made
    assert [who for _, who in made if who] == []


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("kind", ["twenty_or_more", "grown"])
def test_it_follows_where_the_second_run_is_made_as_if_it_were_the_first(
    kind: str, back: bool, tmp_path: Path
) -> None:
    found = [_attacked(kind, back, seed, tmp_path, despite=True) for seed in range(6)]
    assert any(pair is not None and pair[1] for pair in found)


def test_what_does_not_tell_is_shown(tmp_path: Path) -> None:
    """The same run again, and one of whom all who were together stay so."""
    rows = _rows(np.random.default_rng(5))
    open_key(key := tmp_path / "a.key")
    first = _released(rows, key, DisclosurePolicy(), False)
    assert len(first.withheld) < len(first.means)
    again = _released(rows.sample(frac=1, random_state=1), key, DisclosurePolicy(), False)
    assert again.means == first.means
    # With another caseload to be shown alone more are together, and still shown so.
    wider = _released(rows, key, DisclosurePolicy(smallest_caseload=26), False)
    assert tuple(wider.withheld) in wider.means
    large = _loads(rows) > 31
    more = _more_of(rows, rows.loc[large, "therapist_id"].unique(), 5)
    later = _released(more, key, DisclosurePolicy(), False)
    assert later.means.keys() == first.means.keys()
