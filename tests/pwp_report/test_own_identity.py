"""Who is one patient, one course and one therapist in own data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, patients_of
from question_frames import named
from running import run

from multilevel.errors import InputError
from pwp_report.check import check_study_data
from pwp_report.pseudonyms import Pseudonyms, pseudonymise
from pwp_report.register import compared

KEY = bytes(range(32))


@pytest.mark.neighbours
@pytest.mark.parametrize("course", ["ReferralID", "PathwayID", "Episode ID", "CaseNo"])
@pytest.mark.parametrize("person", ["PatientID", "Client ID", "Person_ID", "NHS number"])
def test_a_course_of_treatment_comes_before_the_person(
    course: str, person: str, tmp_path: Path
) -> None:
    persons = [f"q{i // 2}" for i in range(len(FRAME))]
    frame = FRAME.rename(columns={"patient_id": course}).assign(**{person: persons})
    check = checked(tmp_path, frame)
    assert check.study.columns["patient_id"] == course
    assert len(patients_of(check)) == len(FRAME)
    assert any("several courses" in r for r in check.remarks)


@pytest.mark.parametrize(
    ("one", "another"),
    [("Smith J", "SMITH J"), ("Smith J", "Smith  J"), ("Smith J", "Smith\u00a0J"),
     ("Smith J", "Smith\u200b J"), ("007", "7"), ("12", "0012")],
)  # fmt: skip
def test_spellings_of_one_therapist_are_one(one: str, another: str, tmp_path: Path) -> None:
    names = [*[one] * 6, *[another] * 4, *FRAME["therapist_id"][10:]]
    found = patients_of(checked(tmp_path, FRAME.assign(therapist_id=names)))
    assert found["therapist_id"].value_counts()[one] == 10
    assert found["therapist_id"].nunique() == 8
    staff = tmp_path / "staff.csv"
    table = pd.DataFrame({"therapist_id": [another, *[f"t{i}" for i in range(1, 8)]]})
    table.assign(resilience="70,5").to_csv(staff, index=False, sep=";")
    FRAME.assign(therapist_id=names).to_csv(tmp_path / "own.csv", index=False)
    cohort = check_study_data(tmp_path / "own.csv", None, staff).cohort
    assert cohort is not None
    assert cohort.therapists is not None
    assert (cohort.therapists["resilience"] == 70.5).all()


def test_codes_of_letters_and_digits_keep_their_capitals(tmp_path: Path) -> None:
    names = [*["aB1"] * 5, *["AB1"] * 5, *FRAME["therapist_id"][10:]]
    assert (
        patients_of(checked(tmp_path, FRAME.assign(therapist_id=names)))["therapist_id"].nunique()
        == 9
    )


@pytest.mark.parametrize(
    "word", ["Unallocated", "UNASSIGNED", "TBC", "Waiting list", "vacant", "Onbekend", "#N/B"]
)
def test_nobody_is_no_therapist(word: str, tmp_path: Path) -> None:
    check = checked(
        tmp_path, FRAME.assign(therapist_id=[word] * 10 + [*FRAME["therapist_id"][10:]])
    )
    assert word not in set(patients_of(check)["therapist_id"])
    assert check.rules.set_index("rule")["excluded"]["a therapist is recorded"] == 10
    told = "in column therapist_id these entries stand for nothing or nobody, in so many rows each"
    assert f"{told}: {word} 10" in check.remarks


@pytest.mark.parametrize("role", ["patient_id", "therapist_id"])
@pytest.mark.parametrize("number", ["1.23E+15", "4E+09", "9,87e+12"])
def test_identifiers_that_a_spreadsheet_shortened_are_a_problem(
    role: str, number: str, tmp_path: Path
) -> None:
    check = checked(tmp_path, FRAME.assign(**{role: [number, *FRAME[role][1:]]}))
    assert [(p.rows, p.column) for p in check.problems] == [((2,), role)]


def test_the_first_therapist_needs_a_date(tmp_path: Path) -> None:
    twice = pd.concat([FRAME, FRAME.iloc[[4]].assign(therapist_id="t7", service_id="s1")])
    with pytest.raises(InputError, match="needs a column of dates"):
        checked(tmp_path, twice, '[therapists]\nseveral = "first"\n')


def test_numbers_that_begin_anew_in_each_service(tmp_path: Path) -> None:
    services = [FRAME.assign(service_id=s) for s in ("North", "South")]
    both = pd.concat(services)
    check = checked(tmp_path, both, "[file]\nnumbers_restart = true\n")
    assert len(patients_of(check)) == 2 * len(FRAME)
    assert patients_of(check)["therapist_id"].nunique() == 2 * FRAME["therapist_id"].nunique()


@pytest.mark.parametrize("level", ["patient", "session"])
def test_numbers_that_restart_in_each_service_are_remarked_on_and_told_apart(
    level: str, tmp_path: Path
) -> None:
    frame = FRAME if level == "patient" else SESSIONS.assign(service=SESSIONS["CarePersLocalId"])
    person, staff, service = (
        ("patient_id", "therapist_id", "service_id")
        if level == "patient"
        else ("PathwayID", "CarePersLocalId", "service")
    )
    north = frame[service].isin(sorted(frame[service].unique())[::2])
    numbers = frame[person].groupby(north).transform(lambda p: pd.factorize(p)[0])
    restarting = frame.assign(**{person: numbers, service: north.map({True: "N", False: "S"})})
    one_each = restarting.assign(**{staff: restarting[service] + frame[staff]})
    check = checked(tmp_path, one_each)
    assert any("numbers_restart" in r for r in check.remarks)
    assert not any("numbers_restart" in r for r in checked(tmp_path, frame).remarks)
    told = checked(tmp_path, one_each, "[file]\nnumbers_restart = true\n")
    assert len(patients_of(told)) == FRAME["patient_id"].nunique()
    assert not any("numbers_restart" in r for r in told.remarks)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Dr A", "Dr A (trainee)", True),
        ("Dr A", "Dr A [2]", True),
        ("Dr. A", "Dr A", True),
        ("Smith, J", "Smith J", True),
        ("Smith-Jones", "Smith Jones", True),
        ("DrA", "Dr A", True),
        ("T-01", "T 01", True),
        ("aB1", "AB1", True),
        ("O'Neill", "ONeill", True),
        ("Müller K.", "Müller K", True),
        ("Kerr, Jo", "Jo Kerr", True),
        ("O'Hara, Jo (B7)", "Jo OHara", True),
        ("North East 2", "East North 2", True),
        ("Renée Dubois", "Renee Dubois", True),
        ("Müller, Jürg", "Muller Jurg", True),
        ("Kerr, Jo", "Jo Kerrs", False),
        ("1.2", "2.1", False),
        ("Dr A", "Dr B", False),
        ("1.1", "11", False),
        ("1-1", "11", False),
        ("T01", "T1", False),
        ("Smith J", "Smith JA", False),
    ],
)
@pytest.mark.parametrize("role", ["therapist_id", "service_id"])
def test_labels_that_nearly_agree_are_two_and_remarked_on(
    one: str, other: str, alike: bool, role: str, tmp_path: Path
) -> None:
    frame = FRAME.assign(service_id=FRAME["therapist_id"])
    names = sorted(frame["therapist_id"].unique())
    frame[role] = frame[role].replace({names[0]: one, names[1]: other})
    check = checked(tmp_path, frame)
    said = [r for r in check.remarks if "differ from another by no more than capitals" in r]
    assert len(said) == alike
    assert patients_of(check)[role].nunique() == len(names)
    rows = {int(frame.index[frame[role] == label][0]) + 2 for label in (one, other)}
    for remark in said:
        assert remark.startswith(f"{role}: ")
        assert one not in remark
    where = [r for r in check.remarks if "the first in row" in r]
    assert len(where) == alike
    assert all(int(r.split("the first in row ")[1]) in rows for r in where)
    # A row of the file is for who has it, not for a page.
    assert not [q for q in check.study.questions if "row " in q]


@pytest.mark.parametrize("share", [1.0, 0.99])
def test_a_file_that_goes_without_control_says_so(share: float, tmp_path: Path) -> None:
    made = FRAME.assign(synthetic="True")
    made.loc[made.index[int(share * len(made)) :], "synthetic"] = "False"
    said = [r for r in checked(tmp_path, made).understood if "disclosure control is not" in r]
    assert len(said) == (share == 1.0)
    assert all("pwp analyse" in r for r in said)


def test_a_count_that_is_shown_is_of_five_people_where_some_have_several_courses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Seven courses have no last score: those of four people.
    persons = ["a", "a", "b", "b", "c", "c", "d", *[f"q{i}" for i in range(7, len(FRAME))]]
    lost = FRAME["phq9_post"].mask(FRAME.index < 7)
    frame = FRAME.rename(columns={"patient_id": "Episode ID"}).assign(phq9_post=lost)
    for people, shown in ((None, "5"), (persons, "*")):
        frame = frame if people is None else frame.assign(**{"Client ID": people})
        frame.to_csv(tmp_path / "own.csv", index=False)
        assert run("check", tmp_path / "own.csv") == 0
        lines = capsys.readouterr().out.splitlines()
        (rule,) = [line for line in lines if "a score on PHQ-9 at both ends" in line]
        assert rule.replace("│", " ").split()[-2:] == [shown, shown]
    assert any("counts below 10 are withheld" in line for line in lines)
    assert any("(*: 1 to 9)" in line for line in lines)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("courses", [[1] * 20, [2, 2, 2, 2, 2, 1], [7, 2, 2, 2, 1, 1], [3] * 9])
def test_fewer_courses_than_are_shown_may_be_of_four_people_and_no_more_are(
    courses: list[int], restart: bool, tmp_path: Path
) -> None:
    people = [f"q{i}" for i, n in enumerate(courses) for _ in range(n)]
    people += [f"r{i}" for i in range(len(people), len(FRAME))]
    frame = FRAME.assign(**{"Client ID": people}).rename(columns={"patient_id": "Episode ID"})
    study = ""
    if restart:  # the same numbers once more, in another service, are other people
        two = frame.assign(service_id="one"), frame.assign(service_id="two")
        frame, study = pd.concat(two), "[file]\nnumbers_restart = true\n"
    check = checked(tmp_path, frame, study)
    most = sum(sorted(courses * (1 + restart))[-4:])  # of any four people
    assert most < check.study.threshold <= most + 5
    policy = check.study.policy(active=True)
    assert policy.smallest_caseload >= 2 * policy.threshold
    extra = (1 + restart) * sum(n - 1 for n in courses)
    said = {0: ""}.get(extra, "nearly as many" if extra < policy.threshold else None)
    if said is None:
        total = policy.count(len(frame)) - policy.count(extra)
        said = f"{total:,}"
    assert check.study.people == said
    # Persons are known to what compares runs, and to nothing after it.
    (key := tmp_path / "a.key").write_text("ab" * 32 + "\n")
    assert "person_id" not in compared(check.required(), key, policy, False)[0].patients


@pytest.mark.parametrize(("services", "words"), [(2, "in two services"), (3, "some stand in 3")])
def test_who_stands_in_several_services_is_told_what_each_remedy_counts(
    services: int, words: str, tmp_path: Path
) -> None:
    frame = FRAME.assign(service_id=[f"s{i % services}" for i in range(len(FRAME))])
    (problem,) = checked(tmp_path, frame).problems
    assert words in problem.problem
    assert "counts" in problem.hint
    assert 'service_id = ""' in problem.hint
    told = checked(tmp_path, frame, "[file]\nnumbers_restart = true\n")
    n = FRAME["therapist_id"].nunique()
    assert patients_of(told)["therapist_id"].nunique() == services * n
    assert not told.study.questions
    (asked,) = checked(tmp_path, named(frame), "[file]\nnumbers_restart = true\n").study.questions
    assert asked.key == "names_restarted"
    (said,) = (r for r in told.remarks if "in several services" in r)
    assert said.startswith(f"{n} labels of therapists stand in several services, and each counts")


@pytest.mark.parametrize(("moved", "stands"), [(0, False), (2, False), (8, False), (9, True)])
def test_who_changed_service_may_count_for_the_one_with_most(
    moved: int, stands: bool, tmp_path: Path
) -> None:
    """Of eighty patients; more than a tenth elsewhere is no change of a few."""
    number = FRAME["therapist_id"].str[1:].astype(int)
    services = pd.Series(np.where(number < 4, "North", "South"))
    turn = FRAME.groupby("therapist_id").cumcount()
    first = FRAME.index[turn < 2][:moved]
    services[first] = services[first].map({"North": "South", "South": "North"})
    frame = FRAME.assign(service_id=services)
    assert bool(checked(tmp_path, frame).problems) == (moved > 0)
    check = checked(tmp_path, frame, '[therapists]\nseveral_services = "most_patients"\n')
    assert bool(check.problems) == stands
    if not stands:
        people = patients_of(check)
        assert (people.groupby("therapist_id")["service_id"].nunique() == 1).all()
        assert sorted(people["service_id"].value_counts()) == [40, 40]
        said = {0: "none", 2: "some", 8: "10"}[moved]
        assert [r for r in check.remarks if r.endswith(f"were in another: {said}")]


def test_the_documented_look_up_finds_the_names_of_the_report(tmp_path: Path) -> None:
    names = ["CARA DUNN", "Cara Dunn", "cara dunn ", "Al Day"]
    labels = [names[i % 4] for i in range(len(FRAME))]
    services = ["Castle Street", "Harbour"] * (len(FRAME) // 2)
    frame = FRAME.assign(therapist_id=labels, service_id=services)
    frame.to_csv(tmp_path / "outcomes.csv", index=False)
    (tmp_path / "study.toml").write_text("[file]\nnumbers_restart = true\n", encoding="utf-8")
    page = (Path(__file__).parents[2] / "book" / "adapting.md").read_text(encoding="utf-8")
    (code,) = [c for c in page.split("```python\n") if "pseudonym.key" in c]
    lines = code.split("```")[0].strip().splitlines()
    (tmp_path / "pseudonym.key").write_text(KEY.hex(), encoding="ascii")
    script = "\n".join([*lines[:-1], f"found = {lines[-1]}"])
    for name in ("outcomes.csv", "study.toml", "pseudonym.key"):
        script = script.replace(f'"{name}"', repr(str(tmp_path / name)))
    told: dict[str, Any] = {}
    exec(script, told)
    cohort = check_study_data(tmp_path / "outcomes.csv", tmp_path / "study.toml").required()
    shown = pseudonymise(cohort, Pseudonyms(KEY)).patients["therapist_id"].unique()
    assert set(told["found"].values()) == set(shown)
    assert len(shown) == len(told["found"]) == 3
