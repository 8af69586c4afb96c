"""Moments that are shared: scales that differ, and what two files, or a total, tell of few."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checking import FRAME
from running import run
from scipy.optimize import Bounds, LinearConstraint, milp

from multilevel.moments import Moments


def test_moments_on_other_scales_are_not_added(tmp_path: Path, capsys) -> None:
    for name, top in (("a", 27), ("b", 40)):
        big = pd.concat([FRAME] * 3).assign(patient_id=range(3 * len(FRAME)))
        big.assign(therapist_id=name + big["therapist_id"]).to_csv(tmp_path / f"{name}.csv")
        study = f"[measures.mood]\nminimum = 0\nmaximum = {top}\nhigher_is_worse = true\n"
        study += 'pre = "phq9_pre"\npost = "phq9_post"\n'
        (tmp_path / f"{name}.toml").write_text(study)
        out = tmp_path / "out" / f"{name}.parquet"
        out.parent.mkdir(exist_ok=True)
        key = tmp_path / f"keys of {name}" / "key"
        data = pd.read_csv(tmp_path / f"{name}.csv").iloc[:, 1:]
        data.to_csv(tmp_path / f"{name}.csv", index=False)
        made = run("summarise", tmp_path / f"{name}.csv", "--out", out, "--key", key, "--study",
                   tmp_path / f"{name}.toml")  # fmt: skip
        assert made == 0, capsys.readouterr().err
    assert run("pool", tmp_path / "out" / "a.parquet", tmp_path / "out" / "b.parquet") == 2
    assert "another scale" in capsys.readouterr().err


def _people(seed: int) -> pd.DataFrame:
    """Therapists with 12 to 60 patients each, whole scores on two measures."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(9), rng.integers(12, 60, 9))
    scores = {
        c: rng.integers(0, 22, len(who))
        for m in ("phq9", "gad7")
        for c in (f"{m}_pre", f"{m}_post")
    }
    ids = {"patient_id": [f"P{i}" for i in range(len(who))], "therapist_id": [f"T{k}" for k in who]}
    return pd.DataFrame(ids | scores)


def _summarised(folder: Path, people: pd.DataFrame, name: str, *more: str) -> int:
    people.to_csv(folder / "own.csv", index=False)
    (folder / "shared").mkdir(exist_ok=True)
    out = folder / "shared" / f"{name}.parquet"
    return run("summarise", folder / "own.csv", "--out", out, "--key", folder / "key", *more)


def _told(folder: Path) -> list[int]:
    """Of how many patients any two files of moments, one taken from the other, tell the sums."""
    files = [Moments.read(f) for f in sorted((folder / "shared").glob("*.parquet"))]
    told = []
    for one, other in combinations(files, 2):
        both = one.table().add_suffix(" one").join(other.table(), how="inner")
        apart = both["n"] - both["n one"]
        told += apart[apart != 0].abs().tolist()
    return told


CHANGES: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "some of one gone": lambda p, k: p.drop(p.index[p["therapist_id"] == "T1"][:k]),
    "some of each gone": lambda p, k: p.drop(
        [i for _, mine in p.groupby("therapist_id") for i in mine.index[:k]]
    ),
    "some of each added": lambda p, k: pd.concat(
        [p, p.groupby("therapist_id").head(k).assign(patient_id=lambda f: "new" + f["patient_id"])]
    ),
    "one gone whole": lambda p, k: p[p["therapist_id"] != f"T{k % 9}"],
    "scores changed": lambda p, k: p.assign(phq9_post=p["phq9_post"].where(p.index >= k, 27)),
    "a score missing": lambda p, k: p.assign(gad7_post=p["gad7_post"].where(p.index >= k)),
}


@pytest.mark.neighbours
@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("k", [0, 1, 3, 4, 8, 12])
def test_two_files_of_moments_tell_of_no_fewer_than_five(kind: str, k: int, tmp_path: Path) -> None:
    """Refused, whether few of all or few of one therapist, unless said to be meant."""
    people = _people(k)
    changed = CHANGES[kind](people, k)
    assert _summarised(tmp_path, people, "a") == 0
    code = _summarised(tmp_path, changed, "b")
    assert min(_told(tmp_path), default=5) >= 5
    few_at_once = kind != "one gone whole" and 0 < k < 5
    assert code == (2 if few_at_once else 0)
    assert _summarised(tmp_path, changed, "b", "--despite-earlier-run") == 0
    # What was meant once is a file like another: the same again is no new one.
    assert _summarised(tmp_path, changed, "c") == 0


@pytest.mark.parametrize("seed", range(4))
def test_who_is_left_out_of_moments_is_no_group_of_few(seed: int, tmp_path: Path) -> None:
    """What a total of all patients is more than the moments is of three therapists or more."""
    people = _people(seed)
    few = people["therapist_id"].isin(["T0"])
    people = people[~few | (people.groupby("therapist_id").cumcount() < 3)]
    assert _summarised(tmp_path, people, "a") == 0
    made = Moments.read(tmp_path / "shared" / "a.parquet")
    loads = people.groupby("therapist_id").size()
    assert made.withheld_rows == len(people) - made.n.sum()
    assert made.withheld_groups == len(loads) - len(made.groups) >= 3
    assert made.withheld_rows >= 20


def _solved(n: int, total: int, squares: int, scores: pd.Series) -> list[int]:
    """Scores that one to four patients have, in whatever way `n` whole scores make these sums."""
    top, there = np.arange(28), np.bincount(scores, minlength=28)
    sums = LinearConstraint(np.vstack([top**0, top, top**2]), *[[n, total, squares]] * 2)
    found = []
    for score in np.flatnonzero((there > 0) & (there < 5)):
        ends = [milp(sign * (top == score), constraints=sums, bounds=Bounds(0, n),
                     integrality=top**0).fun for sign in (1.0, -1.0)]  # fmt: skip
        if round(ends[0]) == round(-ends[1]):
            found.append(int(score))
    return found


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(12))
def test_no_score_of_few_follows_from_the_sums_of_a_therapist(seed: int, tmp_path: Path) -> None:
    """Therapists nearly all of whose patients end at the floor: what the others have."""
    rng, people = np.random.default_rng(seed), _people(seed)
    chance = people["therapist_id"].map(dict(zip([f"T{k}" for k in range(9)], [
        .01, .05, .1, .2, .3, .5, .8, 1, 1], strict=True)))  # fmt: skip
    few = rng.geometric(0.3, len(people)).clip(1, 27)
    people["gad7_post"] = np.where(rng.random(len(people)) < chance, few, 0).clip(0, 21)
    assert _summarised(tmp_path, people, "a") == 0
    made = Moments.read(tmp_path / "shared" / "a.parquet").table()
    sums = {(n, s, q) for n, s, q in made[["n", "gad7_post", "gad7_post:gad7_post"]].to_numpy()}
    solved = {}
    for therapist, mine in people.groupby("therapist_id")["gad7_post"]:
        three = (len(mine), int(mine.sum()), int((mine**2).sum()))
        found = _solved(*three, mine)
        solved[therapist] = found
        assert three not in sums or not found, therapist
    assert any(solved.values())  # or the attack is none
