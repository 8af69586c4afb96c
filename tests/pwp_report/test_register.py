"""Two reports of nearly the same patients: refused, unless said to be meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import run
from scipy.stats import chisquare

from pwp_lib.cohort import Cohort, Provenance, load_cohort
from pwp_lib.measures import GAD7, PHQ9, Measure
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.pseudonyms import open_key
from pwp_report.register import (
    Mark,
    changes_by_therapist,
    compared,
    differ_by_few,
    joined,
    keep,
    mark_of,
    nearest,
)
from pwp_report.runs import publish

pytestmark = pytest.mark.neighbours

PEOPLE = load_cohort().patients
SCORES = ["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]


@pytest.fixture(autouse=True)
def _nothing_analysed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is refused does not hang on what is found."""

    def written(analysis, study, policy, out, *_: object) -> Path:
        return publish(out, lambda work: (work / "report.html").write_text("a report"))

    monkeypatch.setattr("pwp_report.analysis.analyse", lambda *_, **__: None)
    monkeypatch.setattr("pwp_report.report.write_run", written)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("APPDATA", raising=False)


def _report(folder: Path, people: pd.DataFrame, out: str = "out", *more: str) -> int:
    people.to_csv(folder / "own.csv", index=False)
    return run("analyse", folder / "own.csv", "--out", folder / out, *more)


def _one_score_changed(people: pd.DataFrame, n: int) -> pd.DataFrame:
    last = people["phq9_post"].copy()
    last.iloc[:n] = 27 - last.iloc[:n]
    return people.assign(phq9_post=last)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda p: p, False),
        (lambda p: p.sample(frac=1, random_state=1), False),
        (lambda p: p.iloc[1:], True),
        (lambda p: p.iloc[4:], True),
        (lambda p: p.iloc[5:], False),
        (lambda p: p.iloc[19:], False),
        (lambda p: p.iloc[20:], False),
        (lambda p: _one_score_changed(p, 1), True),
        (lambda p: _one_score_changed(p, 300), False),
        (lambda p: p.assign(patient_id="x" + p["patient_id"].astype(str)), False),
    ],
)
@pytest.mark.parametrize("out", ["out", "elsewhere"])
def test_a_run_that_differs_by_fewer_than_five_patients_is_refused(
    change, refused: bool, out: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    capsys.readouterr()
    assert (_report(tmp_path, change(PEOPLE), out) == 2) == refused
    said = capsys.readouterr().err
    assert ("run out/run-0001 was of the same patients but for fewer than 5" in said) == refused
    assert (tmp_path / out / ("run-0001" if out != "out" else "run-0002")).is_dir() != refused


def test_it_is_made_all_the_same_when_said_to_be_meant(tmp_path: Path) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    assert _report(tmp_path, PEOPLE.iloc[2:], "out", "--despite-earlier-run") == 0
    # What was meant once is a run like another.
    assert _report(tmp_path, PEOPLE.iloc[2:]) == 0
    assert _report(tmp_path, PEOPLE.iloc[1:]) == 2


def test_without_control_nothing_is_kept_and_nothing_refused(tmp_path: Path) -> None:
    for people in (PEOPLE, PEOPLE.iloc[1:]):
        assert _report(tmp_path, people, "out", "--no-disclosure-control") == 0
    assert not list((tmp_path / "settings").rglob("*.runs"))


def test_the_register_names_nobody_and_lies_outside_the_results(tmp_path: Path) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    (register,) = (tmp_path / "settings").rglob("*.runs")
    text = register.read_text(encoding="utf-8")
    assert not any(str(p) in text for p in PEOPLE["therapist_id"].unique())
    for file in (tmp_path / "out").rglob("*.*"):
        assert "runs" not in file.suffix


def test_runs_under_another_key_in_the_folder_are_known(tmp_path: Path, capsys) -> None:
    keys = [("--key", tmp_path / "keys" / name) for name in ("a.key", "b.key")]
    assert _report(tmp_path, PEOPLE, "out", *keys[0]) == 0
    assert _report(tmp_path, PEOPLE.iloc[1:], "out", *keys[1]) == 2
    assert "run out/run-0001 was of the same patients" in capsys.readouterr().err
    # Without the key nobody can say, and nobody is stopped.
    (tmp_path / "keys" / "a.key").write_text("no key")
    (tmp_path / "keys" / "folder").mkdir()
    (tmp_path / "keys" / "folder.runs").write_text("no register")
    assert _report(tmp_path, PEOPLE.iloc[1:], "out", *keys[1]) == 0


def _study(folder: Path, text: str) -> str:
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return str(folder / "study.toml")


@pytest.mark.parametrize("lacking", [1, 4, 30])
def test_unlike_study_files_over_one_file_are_compared(lacking: int, tmp_path: Path) -> None:
    """One run on both measures, one on the PHQ-9: whoever lacks the other is in one alone."""
    without = PEOPLE["gad7_post"].astype(float)
    without.iloc[:lacking] = np.nan
    people = PEOPLE.assign(gad7_post=without)
    assert _report(tmp_path, people) == 0
    one = "[measures.phq9]\npre = 'phq9_pre'\npost = 'phq9_post'\n"
    refused = _report(tmp_path, people, "out", "--study", _study(tmp_path, one)) == 2
    assert refused == (lacking < 5)


def test_sums_of_who_has_every_score_are_compared_with_a_report_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of a therapist the report was of one patient more, whose scores the two together told."""
    lacks = PEOPLE["gad7_post"].astype(float).mask(~PEOPLE["therapist_id"].duplicated())
    people, both = PEOPLE.assign(gad7_post=lacks), "[measures.phq9]\n[measures.gad7]\n"
    study = _study(tmp_path, both + "required = false\n")
    assert _report(tmp_path, people, "out", "--study", study) == 0
    (sums := tmp_path / "sums").mkdir()
    asked = ("summarise", tmp_path / "own.csv", "--study", study, "--out", sums / "m.parquet")
    assert run(*asked) == 2
    assert "fewer than 5" in capsys.readouterr().err
    assert run(*asked, "--despite-earlier-run") == 0


@pytest.mark.parametrize("left_out", [1, 4, 30])
def test_unlike_rules_of_inclusion_are_compared(left_out: int, tmp_path: Path) -> None:
    people = PEOPLE.assign(place=["b"] * left_out + ["a"] * (len(PEOPLE) - left_out))
    assert _report(tmp_path, people) == 0
    rule = "[leave_out]\nplace = ['b']\n"
    refused = _report(tmp_path, people, "out", "--study", _study(tmp_path, rule)) == 2
    assert refused == (left_out < 5)


def _cohort(people: pd.DataFrame, measures: Sequence[Measure] = (PHQ9,)) -> Cohort:
    return Cohort(people, None, None, tuple(measures), Provenance(False, "own.csv"), ())


def _mark(people: pd.DataFrame, measures: Sequence[Measure] = (PHQ9,)) -> Mark:
    return mark_of(_cohort(people, measures))


def _people(size: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {c: rng.integers(0, 22, size) for c in SCORES}
    therapists = rng.integers(0, 40, size)
    names = {"patient_id": range(size), "therapist_id": [f"T{t}" for t in therapists]}
    return pd.DataFrame(names | columns)


@pytest.mark.parametrize("size", [60, 1_000, 50_000])
@pytest.mark.parametrize("less", [0, 1, 4, 5, 19, 50])
@pytest.mark.parametrize("more", [0, 3, 25])
def test_the_register_counts_who_is_in_one_run_alone(
    size: int, less: int, more: int, tmp_path: Path
) -> None:
    people, key = _people(size + 25), tmp_path / "a.key"
    open_key(key)
    keep(_mark(people.iloc[:size]), key, "first")
    apart, name = nearest(_mark(people.iloc[less : size + more]), key)
    # Two of some fifty patients may share a bucket, of under twenty hardly ever.
    assert max(less, more) - (3 if less + more > 24 else 1) <= apart or not less + more
    assert apart <= max(less, more) or (apart, less + more) == (np.inf, 0)
    assert name == ("first" if less + more else "")


@pytest.mark.parametrize("few", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("how", ["gone", "added", "changed"])
def test_whose_patients_differ_by_few_is_known_by_therapist(
    few: int, how: str, tmp_path: Path
) -> None:
    """One therapist by few, another by 20: of the first alone, and of both together, no and yes."""
    people, key, policy = _people(2_000), tmp_path / "a.key", DisclosurePolicy()
    open_key(key)
    one, other = (people.index[people["therapist_id"] == f"T{t}"] for t in (1, 2))
    rows = one[:few].append(other[:20])
    less, post = people.drop(rows), people["phq9_post"].mask(people.index.isin(rows), 27)
    before, now = {
        "gone": (people, less),
        "added": (less, people),
        "changed": (
            people,
            people.assign(phq9_post=post),
        ),
    }[how]
    keep(_mark(before), key, "first")
    cohort, _ = compared(_cohort(now), key, policy, False)
    changes = changes_by_therapist(cohort.patients)

    def told(*therapists: str) -> bool:
        return differ_by_few(changes, therapists, policy)

    assert told("T1") == told("T1", "T3") == (0 < few < 5)
    assert not told("T3")
    assert not told("T1", "T2")
    # Despite the first, and after that as then.
    assert not compared(_cohort(now), key, policy, True)[0].patients.filter(like="changed").size
    keep(_mark(now), key, "second", despite=True)
    again, _ = compared(_cohort(now), key, policy, False)
    assert not again.patients.filter(like="changed").size


def test_therapists_who_are_gone_count_for_those_they_were_shown_with(tmp_path: Path) -> None:
    """Shown together, three less one of two patients: what differs is the two."""
    people, key, policy = _people(2_000), tmp_path / "a.key", DisclosurePolicy()
    open_key(key)
    small = people.iloc[:2].assign(therapist_id="small", patient_id=["a", "b"])
    keep(_mark(pd.concat([people.iloc[9:], small])), key, "first")
    cohort, _ = compared(_cohort(people), key, policy, False)
    changes = changes_by_therapist(cohort.patients)
    assert differ_by_few(changes, [cohort.caseloads().idxmin()], policy)


def test_large_runs_of_equal_size_that_differ_by_hundreds_are_far_apart(tmp_path: Path) -> None:
    """The smallest 256 digests of a million often are the same where hundreds differ."""
    people, key = _people(200_000), tmp_path / "a.key"
    open_key(key)
    keep(_mark(people.iloc[300:]), key, "first")
    assert nearest(_mark(people.iloc[:-300]), key)[0] > 200


def test_scores_kept_as_whole_or_broken_numbers_are_the_same(tmp_path: Path) -> None:
    """Where one of a column is missing the others are no integers any longer."""
    people, key = _people(500), tmp_path / "a.key"
    open_key(key)
    keep(_mark(people), key, "first")
    floats = people.astype(dict.fromkeys(SCORES, "float64"))
    assert nearest(_mark(floats), key) == (np.inf, "")
    # A measure more is no difference; of one that few lack two numbers of patients tell how few.
    assert nearest(_mark(floats, (PHQ9, GAD7)), key)[0] == np.inf
    floats.loc[:4, "gad7_post"] = np.nan
    assert nearest(_mark(floats, (PHQ9, GAD7)), key)[0] == 5.0
    floats.loc[:3, "gad7_post"] = 0
    assert nearest(_mark(floats, (PHQ9, GAD7)), key) == (1.0, "first")
    floats.loc[4, "gad7_post"] = 0
    floats.loc[0, "phq9_post"] = np.nan
    assert nearest(_mark(floats, (PHQ9, GAD7)), key) == (1.0, "first")


def test_a_line_that_was_cut_hides_no_other(tmp_path: Path) -> None:
    people, key = _people(500), tmp_path / "a.key"
    open_key(key)
    keep(_mark(people), key, "first")
    register = tmp_path / "a.key.runs"
    register.write_text(register.read_text()[:-9])
    assert nearest(_mark(people.iloc[1:]), key) == (np.inf, "")
    keep(_mark(people), key, "second")
    assert nearest(_mark(people.iloc[1:]), key) == (1.0, "second")


def test_a_line_of_an_earlier_form_is_passed_over(tmp_path: Path) -> None:
    people, key = _people(500), tmp_path / "a.key"
    open_key(key)
    register = tmp_path / "a.key.runs"
    register.write_text('\n["results/run-0001", ["", "phq9"], "1d28f944", "355e53be5bacb7f8"]')
    assert nearest(_mark(people), key) == (np.inf, "")
    keep(_mark(people), key, "first")
    assert nearest(_mark(people.iloc[1:]), key) == (1.0, "first")


def test_without_the_key_the_register_is_random_bytes(tmp_path: Path) -> None:
    """Kept twice, the same patients share no more than chance; nobody's absence shows as a zero."""
    key = tmp_path / "a.key"
    open_key(key)
    for _ in range(2):
        keep(_mark(_people(30)), key, "run")
    lines = (tmp_path / "a.key.runs").read_text().split("\n")[1:]
    one, two = (np.frombuffer(bytes.fromhex(json.loads(x)[-1]), dtype=np.uint8) for x in lines)
    # Of each measure, and of all, a row a therapist; of the scores of each measure one.
    assert len(one) == 8 * 66 * (2 * _people(30)["therapist_id"].nunique() + 1)
    for drawn in (one, two, one ^ two):
        # As often each byte as any other: chi-square of 255 degrees of freedom.
        counts = np.bincount(drawn, minlength=256)
        assert chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("gone", [0, 1, 4, 5])
@pytest.mark.parametrize("how", ["teams", "one team", "services", "others", "numbers"])
def test_the_same_patients_under_other_labels_are_noticed(
    gone: int, how: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Teams, of which all but one therapist are shown; or the service before each number."""
    people = PEOPLE.drop(columns="service_id")
    codes = pd.factorize(people["therapist_id"])[0]
    again = {
        "teams": people.assign(therapist_id=[f"team {c // 3}" for c in codes]),
        # The others under their own labels.
        "one team": people.assign(
            therapist_id=people["therapist_id"].mask(codes < 3, "team of three")
        ),
        "services": people.assign(
            therapist_id="North " + people["therapist_id"],
            patient_id="North " + people["patient_id"].astype("str"),
        ),
        # The patients numbered anew, in another order.
        "numbers": people.sample(frac=1, random_state=2).assign(
            patient_id=[f"n{i}" for i in range(len(people))]
        ),
        # Other people of other therapists.
        "others": people.assign(
            therapist_id="X" + people["therapist_id"],
            **{
                c: people[c].sample(frac=1, random_state=i).to_numpy() for i, c in enumerate(SCORES)
            },
        ),
    }[how]
    assert _report(tmp_path, people) == 0
    capsys.readouterr()
    refused = how != "others" and gone < 5 and not (how == "numbers" and not gone)
    assert _report(tmp_path, again.iloc[gone:]) == (2 if refused else 0)
    assert ("under other labels or numbers" in capsys.readouterr().err) == refused
    assert _report(tmp_path, again.iloc[gone:], "out", "--despite-earlier-run") == 0


def _without(people: pd.DataFrame, *therapists: str) -> pd.DataFrame:
    return people[~people["therapist_id"].isin(therapists)]


@pytest.mark.parametrize(("last", "refused"), [(4, True), (5, False)])
def test_three_runs_that_leave_few_are_noticed(
    last: int, refused: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of two therapists in turn, and of both and a third: what is left are the third's patients."""
    people = PEOPLE
    a, b = people["therapist_id"].value_counts().index[:2]
    third = people.index[~people["therapist_id"].isin([a, b])][:last]
    people = people.assign(therapist_id=people["therapist_id"].mask(people.index.isin(third), "Z"))
    assert _report(tmp_path, people) == 0
    assert _report(tmp_path, _without(people, a)) == 0
    assert _report(tmp_path, _without(people, b)) == 0
    capsys.readouterr()
    assert _report(tmp_path, _without(people, a, b, "Z")) == (2 if refused else 0)
    said = capsys.readouterr().err
    assert ("with the runs" in said) == refused
    if refused:
        assert all(f"out/run-000{i}" in said for i in (1, 2, 3))
        more = ("--despite-earlier-run",)
        assert _report(tmp_path, _without(people, a, b, "Z"), "out", *more) == 0


@pytest.mark.parametrize("both", [0, 3, 8])
def test_a_run_of_two_parts_tells_who_is_in_neither(both: int, tmp_path: Path) -> None:
    """Two services, and all: whoever is in no service is left."""
    people = PEOPLE.reset_index(drop=True)
    odd = people["therapist_id"].rank(method="dense") % 2 == 1
    at = people.index[people["therapist_id"] == people["therapist_id"].iloc[0]][:both]
    assert _report(tmp_path, people[odd].drop(at, errors="ignore")) == 0
    assert _report(tmp_path, people[~odd].drop(at, errors="ignore")) == 0
    assert _report(tmp_path, people) == (2 if both == 3 else 0)


@pytest.mark.parametrize("few", [3, 30])
def test_of_a_therapist_too_three_runs_are_taken_together(few: int, tmp_path: Path) -> None:
    """All therapists lose many patients from run to run, one of them the same but for few."""
    people, key = _people(8_000), tmp_path / "a.key"
    open_key(key)
    turn = people.groupby("therapist_id").cumcount()
    one, two = turn < 50, turn.between(50, 99)
    three = turn.between(100, 99 + few) & (people["therapist_id"] == "T7")
    three |= turn.between(100, 150) & (people["therapist_id"] != "T7")
    for n, rows in enumerate((one & False, one, two)):
        keep(_mark(people[~rows]), key, f"run {n}")
    last = _cohort(people[~(one | two | three)])
    cohort, _ = compared(last, key, DisclosurePolicy(), False)
    changes = changes_by_therapist(cohort.patients)
    assert differ_by_few(changes, ["T7"], DisclosurePolicy()) == (few == 3)
    assert not differ_by_few(changes, ["T8"], DisclosurePolicy())


def _years(size: int, same: float, therapists: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patients of two years under the same therapists, of whom a share is in both."""
    both = _people(2 * size)
    names = [f"T{i % therapists}" for i in range(len(both))]
    both = both.assign(therapist_id=names)
    return both.iloc[:size], both.iloc[round(size * (1 - same)) :].iloc[:size]


@pytest.mark.parametrize(
    ("size", "therapists", "same", "known"),
    [
        (1_000, 40, 0.0, False),  # a second year, nobody of the first
        (8_000, 40, 0.0, False),
        (60, 6, 0.0, False),
        (1_000, 40, 0.5, True),
        (8_000, 40, 0.5, True),
        (60, 6, 0.5, True),
        (1_000, 40, 0.1, True),
        (20_000, 10, 0.0, True),  # of 2,000 patients of a therapist buckets cannot tell
        (20_000, 10, 0.5, True),
    ],
)
def test_a_run_of_other_people_says_nothing_of_this_one(
    size: int, therapists: int, same: float, known: bool, tmp_path: Path
) -> None:
    (before, now), key = _years(size, same, therapists), tmp_path / "a.key"
    open_key(key)
    keep(_mark(before), key, "first")
    cohort, _ = compared(_cohort(now), key, DisclosurePolicy(), False)
    assert bool(len(changes_by_therapist(cohort.patients).columns)) == known


def test_another_service_in_the_folder_of_the_key_says_nothing(tmp_path: Path) -> None:
    people, other = _people(1_000), _people(700, seed=2)
    for name in ("one", "two"):
        open_key(tmp_path / f"{name}.key")
    keep(_mark(people), tmp_path / "one.key", "first")
    other = other.assign(therapist_id="x" + other["therapist_id"])
    cohort, _ = compared(_cohort(other), tmp_path / "two.key", DisclosurePolicy(), False)
    assert not len(changes_by_therapist(cohort.patients).columns)


@pytest.mark.parametrize("same", [0.0, 0.5])
def test_who_is_compared_is_told_so(
    same: float, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before, now = _years(500, same)
    assert _report(tmp_path, before) == 0
    capsys.readouterr()
    assert _report(tmp_path, now) == 0
    said = capsys.readouterr().err
    assert ("much more is withheld than of a first run" in said) == bool(same)
    assert ("--despite-earlier-run" in said) == bool(same)


def _courses(persons: pd.DataFrame, again: Sequence[int]) -> pd.DataFrame:
    """The same persons by course: of some a second one, with other scores."""
    second = persons.iloc[[*again]].assign(phq9_post=lambda rows: (rows["phq9_post"] + 9) % 28)
    both = pd.concat([persons, second], ignore_index=True)
    return both.assign(person_id=both["patient_id"], patient_id=[f"c{i}" for i in range(len(both))])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("back", [False, True])
def test_a_run_by_person_and_one_by_course_are_of_the_same_people(
    seed: int, back: bool, tmp_path: Path
) -> None:
    rng, people, key = np.random.default_rng(seed), _people(1_500, seed), tmp_path / "a.key"
    open_key(key)
    again = {
        f"T{t}": rng.choice(np.flatnonzero(people["therapist_id"] == f"T{t}"), n, replace=False)
        for t, n in enumerate([0, 1, 2, 4, 9, 12])
    }
    courses = _courses(people, np.concatenate([*again.values()]))
    before, now = (courses, people) if back else (people, courses)
    keep(_mark(before), key, "first")
    cohort, mark = compared(_cohort(now), key, DisclosurePolicy(), False)
    changes = changes_by_therapist(cohort.patients)
    assert "person_id" not in cohort.patients
    for therapist, who in again.items():
        few = differ_by_few(changes, [therapist], DisclosurePolicy())
        assert few == (0 < len(who) < 5)
    # Without the persons they would be others.
    open_key(alone := tmp_path / "elsewhere" / "a.key")
    keep(_mark(before.drop(columns="person_id", errors="ignore")), alone, "first")
    other = now.drop(columns="person_id", errors="ignore")
    found, _ = compared(_cohort(other), alone, DisclosurePolicy(), False)
    assert not len(changes_by_therapist(found.patients).columns)
    # What is kept of both is compared by course as well, where persons were not known.
    keep(mark, key, "second")
    assert nearest(_mark(other.iloc[1:]), key) == (1.0, "second")


@pytest.mark.parametrize("more", [1, 4, 5, 40])
def test_a_run_by_course_with_few_courses_more_than_persons_is_refused(
    more: int, tmp_path: Path
) -> None:
    people, key = _people(1_500), tmp_path / "a.key"
    open_key(key)
    keep(_mark(people), key, "first")
    apart, _ = nearest(_mark(_courses(people, range(more))), key)
    assert (apart < 5) == (more < 5)


def test_a_line_without_who_was_shown_together_is_read(tmp_path: Path) -> None:
    """As lines were before: of nobody it says how they were shown."""
    people, key, policy = _people(900), tmp_path / "a.key", DisclosurePolicy()
    open_key(key)
    keep(_mark(people), key, "first")
    cohort, mark = compared(_cohort(people), key, policy, False)
    assert not len(changes_by_therapist(cohort.patients).columns)
    small = joined(cohort)
    loads = people["therapist_id"].value_counts()
    assert {*loads.index[loads < 20]} <= small < {*loads.index}
    keep(mark, key, "first")
    assert nearest(_mark(people.iloc[1:]), key) == (1.0, "first")
