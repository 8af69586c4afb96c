"""Neighbours of the faults in what is written: data lost, national counts, record, disclosure."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import bad_files
import numpy as np
import pandas as pd
import pytest
from running import run

from pwp_lib.cohort import Cohort
from pwp_lib.description import describe_sample
from pwp_report.analysis import Analysis, _Attempts, _national, analyse
from pwp_report.case_mix import CaseMix
from pwp_report.check import check_study_data
from pwp_report.disclosure import DisclosurePolicy, aggregate_small, is_safe_group
from pwp_report.pseudonyms import Pseudonyms, numbered, pseudonymise
from pwp_report.release import release_results
from pwp_report.release_parts import safe_sample
from pwp_report.report import results
from pwp_report.study_file import read_study

pytestmark = pytest.mark.neighbours

PEOPLE = bad_files.good_frame()
POLICY = DisclosurePolicy()


def _cohort(folder: Path, frame: pd.DataFrame, study: str = "") -> Cohort:
    frame.to_csv(folder / "own.csv", index=False)
    (folder / "study.toml").write_text(study, encoding="utf-8")
    cohort = check_study_data(folder / "own.csv", folder / "study.toml").cohort
    assert cohort is not None
    return cohort


# --- Data lost ------------------------------------------------------------------------------------


def _hard_link(given: Path) -> Path:
    other = given.with_name("other.parquet")
    os.link(given, other)
    return other


def _link(given: Path) -> Path:
    other = given.with_name("link.parquet")
    other.symlink_to(given)
    return other


def _link_of_a_link(given: Path) -> Path:
    other = given.with_name("second.parquet")
    other.symlink_to(_link(given))
    return other


def _linked_folder(given: Path) -> Path:
    other = given.parent.with_name("elsewhere")
    other.symlink_to(given.parent, target_is_directory=True)
    return other / given.name


def _dots(given: Path) -> Path:
    return given.parent / ".." / given.parent.name / given.name


def _from_here(given: Path) -> Path:
    return Path(os.path.relpath(given))


WAYS: dict[str, Callable[[Path], Path]] = {
    "the same": lambda given: given,
    "a hard link": _hard_link,
    "a link": _link,
    "a link of a link": _link_of_a_link,
    "through a linked folder": _linked_folder,
    "with dots": _dots,
    "from the working folder": _from_here,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", ["summarise", "pool"])
def test_an_input_is_never_replaced_whatever_it_is_called(
    way: str, command: str, tmp_path: Path
) -> None:
    given = tmp_path / "in" / "m.parquet"
    given.parent.mkdir()
    PEOPLE.to_parquet(given)
    before, out = given.read_bytes(), WAYS[way](given)
    first = [tmp_path / "none.parquet"] * (command == "pool")
    key = ["--key", tmp_path / "key"] * (command == "summarise")
    assert run(command, *first, given, "--out", out, *key) == 2
    assert given.read_bytes() == before
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("role", ["the data", "the study", "the key"])
@pytest.mark.parametrize("command", ["check", "analyse", "start"])
def test_nothing_is_written_where_another_file_is(role: str, command: str, tmp_path: Path) -> None:
    PEOPLE.to_csv(tmp_path / "own.csv", index=False)
    (tmp_path / "study.toml").write_text("seed = 2\n")
    (tmp_path / "key").write_text("0" * 64 + "\n")
    taken = tmp_path / {"the data": "own.csv", "the study": "study.toml", "the key": "key"}[role]
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    data, study = tmp_path / "own.csv", tmp_path / "study.toml"
    arguments: dict[str, list[str | Path]] = {
        "check": ["check", data, "--study", study, "--write-study", taken],
        "analyse": ["analyse", data, "--study", study, "--out", taken],
        "start": ["start", taken, "--data", data],
    }
    assert run(*arguments[command]) == 2
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("when", ["open", "write"])
@pytest.mark.parametrize("what", ["study", "key"])
def test_a_full_disk_leaves_no_empty_file(
    when: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PEOPLE.to_csv(tmp_path / "own.csv", index=False)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: Any, **__: Any) -> Any:
        raise full

    written = tmp_path / "written"
    if what == "study":
        monkeypatch.setattr(Path, "write_text" if when == "open" else "replace", fail)
        command: list[str | Path] = ["check", tmp_path / "own.csv", "--write-study", written]
    else:
        if when == "open":
            monkeypatch.setattr("os.open", fail)
        else:
            monkeypatch.setattr(Path, "write_text", fail)
        command = ["analyse", tmp_path / "own.csv", "--out", tmp_path / "out", "--key", written]
    assert run(*command) != 0
    assert {p.name for p in tmp_path.iterdir()} <= {"own.csv"}


# --- National definitions -------------------------------------------------------------------------


def _national_of(folder: Path, frame: pd.DataFrame, study: str = "") -> pd.DataFrame | None:
    cohort = _cohort(folder, frame, study)
    return _national(_Attempts(cohort, 1, 1, None, ("ml",), (), CaseMix(), {}))


def _by_hand(people: pd.DataFrame) -> dict[str, int]:
    """Both measures together, as published: who lacks a score has no outcome."""
    case = (people["phq9_pre"] >= 10) | (people["gad7_pre"] >= 8)
    below = (people["phq9_post"] < 10) & (people["gad7_post"] < 8)
    gains = people["phq9_pre"] - people["phq9_post"], people["gad7_pre"] - people["gad7_post"]
    better = (gains[0] >= 6) | (gains[1] >= 4)
    worse = (gains[0] <= -6) | (gains[1] <= -4)
    scored = people[["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]].notna().all(axis=1)
    flags = {
        "n_finished": pd.Series(True, index=people.index),
        "n_case": case,
        "n_recovery": case & below & scored,
        "n_reliable_improvement": better & ~worse & scored,
        "n_reliable_deterioration": worse & ~better & scored,
        "n_reliable_recovery": case & below & better & ~worse & scored,
    }
    return {"n": len(people), **{name: int(flag.sum()) for name, flag in flags.items()}}


def _varied(shift: int) -> pd.DataFrame:
    """Scores over the whole of both scales, so that every count is of some."""
    k = np.arange(len(PEOPLE))
    columns = {"phq9_pre": 28, "phq9_post": 28, "gad7_pre": 22, "gad7_post": 22}
    steps = {c: (k * (5 + 2 * j) + shift * (j + 3)) % top for j, (c, top) in
             enumerate(columns.items())}  # fmt: skip
    return PEOPLE.assign(**steps)


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("lacking", ["", "phq9_post", "gad7_post"])
def test_national_counts_are_those_worked_out_by_hand(
    shift: int, lacking: str, tmp_path: Path
) -> None:
    people = _varied(shift)
    if lacking:
        people[lacking] = people[lacking].astype(float).mask(people.index % 9 == 2)
    found = _national_of(tmp_path, people)
    assert found is not None
    whole = people.dropna()
    lines = [_by_hand(p) for p in ([whole, people] if lacking else [whole])]
    assert found[list(lines[0])].astype(int).to_dict("records") == lines


@pytest.mark.parametrize("other", ["phq9", "gad7"])
@pytest.mark.parametrize("instead", ["wsas", "core_om"])
def test_of_other_measures_there_are_no_national_definitions(
    other: str, instead: str, tmp_path: Path
) -> None:
    ends = {f"{other}_{end}": f"{instead}_{end}" for end in ("pre", "post")}
    assert _national_of(tmp_path, PEOPLE.rename(columns=ends)) is None


def test_a_third_measure_does_not_change_the_national_counts(tmp_path: Path) -> None:
    people = _varied(1).assign(wsas_pre=np.arange(80) % 41, wsas_post=np.arange(80) % 37)
    found = _national_of(tmp_path, people)
    assert found is not None
    assert found.iloc[0][list(_by_hand(people))].astype(int).to_dict() == _by_hand(people)


# --- Record ---------------------------------------------------------------------------------------

STUDIES = {
    "columns": '[columns]\nservice_id = ""\nage = ""\n',
    "codes": '[codes]\nattended = ["seen"]\n',
    "kept": '[keep]\nservice_id = ["s0"]\n',
    "left out": '[leave_out]\npatient_id = ["p3", "p9"]\n',
    "rules": "[inclusion]\nminimum_sessions = 3\nminimum_age = 20\n",
    "measures": '[measures.phq9]\npre = "phq9_pre"\npost = "phq9_post"\ncutoff = 11\n',
    "seed": 'seed = 7\nengines = ["ml"]\n',
    "who is shown": "[disclosure]\nminimum_shown = 15\n",
    "missing": '[file]\nmissing = ["27"]\n',
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    cohort = _cohort(tmp_path_factory.mktemp("record"), PEOPLE)
    return analyse(cohort, engines=("ml",), sensitivity=False)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("active", [True, False])
def test_results_hold_how_the_file_was_read(
    name: str, active: bool, small: Analysis, tmp_path: Path
) -> None:
    """The record is the study as it was completed; entries of rows that are kept are not told."""
    PEOPLE.to_csv(tmp_path / "own.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDIES[name], encoding="utf-8")
    study = check_study_data(tmp_path / "own.csv", tmp_path / "study.toml").study
    stated = read_study(tmp_path / "study.toml")
    policy = DisclosurePolicy(active=active)
    content = results(small, study, release_results(small, policy), [])
    record = json.loads(json.dumps(content, default=list))["study"]
    assert record["columns"]["therapist_id"] == "therapist_id"
    assert set(record["score_columns"]) == {m.measure.name for m in study.measures}
    assert record["without"] == [r for r, c in stated.columns.items() if not c]
    for part in ("seed", "minimum_sessions", "minimum_age", "minimum_shown", "engines", "missing"):
        told = getattr(stated, part)
        assert record[part] == (list(told) if isinstance(told, tuple) else told)
    assert record["codes"] == {k: list(v) for k, v in stated.codes.items()}
    for part in ("keep", "leave_out"):
        chosen = getattr(stated, part)
        assert record[part] == ([*chosen] if active else {k: [*v] for k, v in chosen.items()})


@pytest.mark.parametrize("key", range(8))
def test_the_rows_that_are_analysed_are_the_same_under_any_key(key: int, tmp_path: Path) -> None:
    cohort = _cohort(tmp_path, _varied(2))
    made = [numbered(pseudonymise(cohort, Pseudonyms(bytes([k]) * 32)))[0] for k in (key, 99)]
    pd.testing.assert_frame_equal(made[0].patients, made[1].patients)


# --- Disclosure -----------------------------------------------------------------------------------

LOADS = [
    [3, 6, 9, 14, 17, 24, 33, 40],
    [40, 40, 40, 3],
    [40, 40, 40, 3, 3],
    [90, 25, 25, 6, 6, 4],
    [200, 30, 12, 1, 1],
    [19, 19, 19],
    [20, 20, 20, 20],
    [60, 60, 5, 4, 4, 4, 4],
    [1000, 19, 19, 21, 22],
    [12, 300, 300, 300],
]


@pytest.mark.parametrize("loads", LOADS, ids=str)
def test_no_member_of_those_shown_together_can_take_out_another(loads: list[int]) -> None:
    """Whoever is in the sum takes out their own; two are left at least, of twenty patients."""
    series = pd.Series(loads, [f"T{i}" for i in range(len(loads))])
    alone, together = aggregate_small(series, POLICY)
    assert sorted([*alone, *together]) == sorted(series.index)
    assert (series[alone] >= 20).all()
    for member in together if len(together) < len(loads) else ():
        others = series[together].drop(member)
        assert len(others) >= 2
        assert others.sum() >= 20


@pytest.mark.parametrize("loads", LOADS, ids=str)
def test_a_safe_group_is_one_that_no_single_member_dominates(loads: list[int]) -> None:
    for size in (1, 2, 3):
        for some in combinations(loads, size):
            left = [sum(some) - own for own in some]
            assert is_safe_group(list(some), POLICY) == (size > 2 and min(left) >= 20)


@pytest.mark.parametrize("codes", [("0", "1"), ("1", "2"), ("f", "m"), ("A", "B")])
@pytest.mark.parametrize("few", [1, 4])
def test_a_category_of_few_is_in_no_table_whatever_its_code(
    codes: tuple[str, str], few: int, small: Analysis, tmp_path: Path
) -> None:
    """The mean and the SD of a code would tell how many have it."""
    tables = []
    for count in (few, few + 40):
        gender = np.where(PEOPLE.index < count, codes[0], codes[1])
        patients = _cohort(tmp_path, PEOPLE.assign(gender=gender)).patients
        table = describe_sample(patients).table().reset_index()
        tables.append(safe_sample(table, small, POLICY))
        assert not (tables[-1].astype(str) == str(count)).to_numpy().any()
    pd.testing.assert_frame_equal(*tables)


def test_there_are_eight_neighbours_or_more_of_each_kind() -> None:
    counts = {
        "data lost": 2 * len(WAYS) + 9 + 4,
        "national": 12 + 4 + 1,
        "record": 2 * len(STUDIES) + 8,
        "disclosure": 2 * len(LOADS) + 8 + 12,
    }
    assert min(counts.values()) >= 8


def test_a_role_stated_as_empty_stays_so_in_the_study_that_is_written(tmp_path: Path) -> None:
    PEOPLE.to_csv(tmp_path / "own.csv", index=False)
    for roles in (["service_id"], ["age", "sessions"], ["service_id", "age", "sessions"]):
        given, written = tmp_path / "given.toml", tmp_path / "written.toml"
        written.unlink(missing_ok=True)
        given.write_text("[columns]\n" + "".join(f'{r} = ""\n' for r in roles), encoding="utf-8")
        assert run("check", tmp_path / "own.csv", "--study", given, "--write-study", written) == 0
        first, again = (check_study_data(tmp_path / "own.csv", s) for s in (given, written))
        assert first.study.columns == again.study.columns
        assert not set(roles) & set(again.study.columns)
        assert {*again.study.without} == {*first.study.without} == {*roles}
