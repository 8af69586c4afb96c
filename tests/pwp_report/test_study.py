from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import bad_files
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_lib.measures import PHQ9
from pwp_report.analysis import _completeness
from pwp_report.check import check_study_data
from pwp_report.disclosure import DisclosurePolicy, aggregate_small, is_safe_group
from pwp_report.inclusion import apply_rules, enough_for
from pwp_report.problems import Problems
from pwp_report.recognise import ROLES, guess_roles, guess_scores
from pwp_report.sessions import choose_therapist, reduce_sessions
from pwp_report.study import ScoreColumns, Study, complete_study, recognise_study
from pwp_report.study_file import read_study, write_study

FRAME = bad_files.good_frame()


def _file(folder: Path, frame: pd.DataFrame, name: str = "own.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def load_study_data(*given: Any) -> tuple[Cohort | None, Problems]:
    check = check_study_data(*given)
    return check.cohort, check.problems


def _study(folder: Path, text: str) -> Study:
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return read_study(folder / "study.toml")


def test_national_names_are_recognised() -> None:
    columns = [
        "PathwayID", "Person_ID", "CarePersLocalId", "OrgID_Provider", "PHQ9_FirstScore",
        "PHQ9_LastScore", "GAD_FirstScore", "GAD_LastScore", "TreatmentCareContact_Count",
        "Age_ReferralRequest_ReceivedDate", "Gender", "Validated_EthnicCategory", "ServDischDate",
    ]  # fmt: skip
    roles = guess_roles(columns, ROLES["patient"])
    assert roles["patient_id"] == "PathwayID"
    assert roles["therapist_id"] == "CarePersLocalId"
    assert roles["sessions"] == "TreatmentCareContact_Count"
    assert roles["ended"] == "ServDischDate"
    assert guess_scores(columns) == {
        "phq9": {"pre": "PHQ9_FirstScore", "post": "PHQ9_LastScore"},
        "gad7": {"pre": "GAD_FirstScore", "post": "GAD_LastScore"},
    }
    sessions = guess_roles(["CareContDate", "AttendOrDNACode", "AppType"], ROLES["session"])
    assert sessions == {
        "date": "CareContDate", "attended": "AttendOrDNACode", "contact_kind": "AppType",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pre", "post"),
    [("PHQ-9 start", "PHQ-9 end"), ("first_phq9", "last_phq9"), ("phq_pre", "phq_post"),
     ("PHQ9 Total Baseline", "PHQ9 Total Final"), ("phq9_t1", "phq9_t2")],
)  # fmt: skip
def test_usual_names_of_scores(pre: str, post: str) -> None:
    assert guess_scores([pre, post])["phq9"] == {"pre": pre, "post": post}


@pytest.mark.parametrize(
    ("patient", "therapist", "service", "sessions"),
    [
        ("person", "pwp", "ccg", "sessions"),
        ("caseid", "thid", "Sub-ICB", "Treatment_Sessions"),
        ("Person_ID", "Th ID", "ICB code", "No of treatment sessions"),
        ("Person no", "Staff no", "Borough", "Therapy sessions"),
    ],
)
def test_names_of_other_exports_are_recognised(
    patient: str, therapist: str, service: str, sessions: str
) -> None:
    names = [patient, therapist, service, sessions, "imd_score", "person_hours", "thighs"]
    found = guess_roles(names, ROLES["patient"])
    wanted = ("patient_id", "therapist_id", "service_id", "sessions")
    assert found == dict(zip(wanted, names[:4], strict=True))


def test_names_of_a_hand_made_export_are_recognised() -> None:
    columns = ["Case No", "Therapist Name", "Team", "No. of sessions", "Age", "Sex"]
    assert guess_roles(columns, ROLES["patient"]) == {
        "patient_id": "Case No", "therapist_id": "Therapist Name", "service_id": "Team",
        "sessions": "No. of sessions", "age": "Age", "gender": "Sex",
    }  # fmt: skip
    assert guess_roles(["CareProfLocalID"], ROLES["session"])["therapist_id"] == "CareProfLocalID"


def test_the_study_file_names_what_was_not_recognised(tmp_path: Path) -> None:
    frame = FRAME.rename(columns={"therapist_id": "Who", "sessions": "Meetings"})
    study = recognise_study(Study(), list(frame.columns))
    text = write_study(study)
    assert '# therapist_id = "?"  # needed' in text
    assert '# sessions = "?"' in text
    # The comments, followed to the letter.
    text = re.sub(r"# therapist_id = .*", 'therapist_id = "Who"', text)
    text = text.replace('# sessions = "?"', 'sessions = "Meetings"')
    check = check_study_data(_file(tmp_path, frame), _study(tmp_path, text))
    assert not check.problems
    assert check.cohort.patients["sessions"].notna().all()


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    frame = FRAME.assign(Meetings=5, **{f"x{i}": 1 for i in range(8)})
    said = check_study_data(_file(tmp_path, frame)).understood
    assert "not used: Meetings, x0, x1, x2, x3, x4, x5, x6 and 1 more" in said
    closed = "no column was recognised that says whether a case is closed, so no rule on it applies"
    assert closed in said


def test_a_row_of_totals_is_called_one(tmp_path: Path) -> None:
    total = FRAME.tail(1).astype(object).assign(patient_id="Total", therapist_id="")
    total[["phq9_pre", "phq9_post"]] = 900
    check = check_study_data(_file(tmp_path, pd.concat([FRAME, total])))
    assert [(p.rows, p.hint[:9]) for p in check.problems] == [((len(FRAME) + 2,), "delete it")]
    assert "total" in check.problems.items[0].problem


def test_whose_patient_somebody_of_several_therapists_is_is_said(tmp_path: Path) -> None:
    frame = bad_files.session_frame()
    plain = check_study_data(_file(tmp_path, frame)).rules["rule"].tolist()
    assert "a therapist is recorded" in plain
    who, whose = (frame[c] for c in ("CarePersLocalId", "PathwayID"))
    last = frame.index[whose == whose.iloc[0]][-1]
    frame.loc[last, "CarePersLocalId"] = next(t for t in who if t != who.iloc[0])
    rules = check_study_data(_file(tmp_path, frame)).rules["rule"].tolist()
    rule = "(of several, which some patients had, the one with most sessions)"
    assert f"a therapist is recorded {rule}" in rules


@pytest.mark.parametrize(
    ("moved", "tied", "said"),
    [
        (12, 6, ("10", "5")),
        (12, 4, ("10", "some")),
        (12, 9, ("10", "nearly all")),
        (4, 0, ("some", "")),
        (4, 1, ("some",) * 2),
        (37, 3, ("nearly all", "some")),
    ],
)
def test_how_many_had_several_therapists_is_rounded_or_withheld(
    moved: int, tied: int, said: tuple[str, str]
) -> None:
    """By hand: of 40 with four sessions each, so many have two with another, so many one."""
    lines = [
        (f"p{i}", "B" if s < (2 if i < tied else 1) * (i < moved) else "A", s)
        for i in range(40)
        for s in range(4)
    ]
    rows = pd.DataFrame(lines, columns=["patient_id", "therapist_id", "order"])
    people = reduce_sessions(rows.assign(attended=True, phq9=9.0), ["phq9"])
    study = Study(level="session", measures=(ScoreColumns(PHQ9),))
    flow = apply_rules(people, study, []).flow
    rule = next(s.rule for s in flow if s.rule.startswith("a therapist is recorded"))
    assert f"which {said[0]} patients had" in rule
    assert ("equally many" in rule) == (tied > 0)
    assert not tied or f"as {said[1]} of these patients had, the later" in rule


def test_no_column_serves_two_roles() -> None:
    roles = guess_roles(["id", "therapist", "date"], ROLES["session"])
    assert len(set(roles.values())) == len(roles)


def test_written_study_reads_back_as_the_same(tmp_path: Path) -> None:
    for frame in (FRAME, bad_files.session_frame()):
        check = check_study_data(_file(tmp_path, frame))
        again = _study(tmp_path, write_study(check.study))
        assert dict(again.columns) == dict(check.study.columns)
        assert again.measures == check.study.measures
        fields = (
            "level",
            "several",
            "minimum_sessions",
            "status",
            "codes",
            "seed",
            "minimum_shown",
        )
        assert all(getattr(again, f) == getattr(check.study, f) for f in fields)
        assert "guessed" in write_study(check.study)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_any_title_and_column_survives_writing(title: str, column: str) -> None:
    import tomllib

    text = write_study(Study(title=title, columns={"patient_id": column}, level="patient"))
    content = tomllib.loads(text)
    assert content["title"] == title
    assert content["columns"]["patient_id"] == column


def test_own_measure_is_defined_in_the_study(tmp_path: Path) -> None:
    study = _study(
        tmp_path,
        "[measures.mood]\n"
        'pre = "a"\npost = "b"\nlabel = "Mood"\nminimum = 0\nmaximum = 50\n'
        "cutoff = false\nreliable_change = 7\nhigher_is_worse = false\n",
    )
    frame = FRAME.assign(a=FRAME["phq9_pre"] + 10, b=FRAME["phq9_post"] + 10)
    cohort, problems = load_study_data(_file(tmp_path, frame), study)
    assert not problems
    assert cohort is not None
    (measure,) = cohort.measures
    assert (measure.label, measure.cutoff, measure.reliable_change) == ("Mood", None, 7)
    assert not measure.higher_is_worse


def test_library_measure_is_changed_in_the_study(tmp_path: Path) -> None:
    study = _study(tmp_path, "[measures.phq9]\nreliable_change = 5\n")
    check = check_study_data(_file(tmp_path, FRAME), study)
    assert [s.measure.reliable_change for s in check.study.measures] == [5]


def test_missing_codes_of_the_study_are_obeyed(tmp_path: Path) -> None:
    frame = FRAME.astype(object)
    frame.loc[[0, 1], "phq9_post"] = 99
    frame.loc[2, "gad7_pre"] = "Refused"
    path = _file(tmp_path, frame)
    assert len(load_study_data(path)[1]) == 2
    study = _study(tmp_path, '[file]\nmissing = ["99", "Refused"]\n')
    check = check_study_data(path, study)
    assert not check.problems
    counted = [r for r in check.remarks if "stand for nothing or nobody" in r]
    assert [r.split("column ")[1].split(" ")[0] for r in counted] == ["phq9_post", "gad7_pre"]
    assert [r.split(": ")[1] for r in counted] == ["99 2", "Refused 1"]
    # Two of them for the one measure, one for the other.
    assert [s.excluded for s in check.flow[-2:]] == [2, 1]


def test_rules_are_counted_in_turn_and_alone(tmp_path: Path) -> None:
    frame = FRAME.astype({"phq9_post": object}).assign(sessions=5, status="closed")
    frame.loc[:4, "sessions"] = 1
    frame.loc[3:6, "status"] = "open"
    frame.loc[:0, "phq9_post"] = ""
    frame.loc[7, "therapist_id"] = ""
    study = _study(tmp_path, '[inclusion]\nstatus = ["closed"]\nminimum_sessions = 2\n')
    check = check_study_data(_file(tmp_path, frame), study)
    rules = check.rules.set_index("rule")
    assert rules["excluded"].tolist() == [1, 5, 2, 0, 0]
    assert rules["excluded_alone"].tolist() == [1, 5, 4, 1, 0]
    assert [s.patients for s in check.flow] == [80, 79, 74, 72, 72, 72]
    assert check.flow[-1].patients == len(check.cohort.patients)


def test_completeness_counts_the_eligible(tmp_path: Path) -> None:
    frame = FRAME.astype({"phq9_post": object})
    frame.loc[[0, 1, 2], "phq9_post"] = ""
    check = check_study_data(_file(tmp_path, frame))
    kept = _completeness(check.cohort)
    assert kept.loc["t0"].tolist() == [10, 7, 0.7]
    frame.loc[frame["therapist_id"] == "t1", "phq9_post"] = ""
    kept = _completeness(check_study_data(_file(tmp_path, frame)).cohort)
    assert "t1" not in kept.index


def test_ages_and_caseloads(tmp_path: Path) -> None:
    study = _study(tmp_path, "[inclusion]\nminimum_age = 30\nmaximum_age = 60\n")
    check = check_study_data(_file(tmp_path, FRAME), study)
    assert check.cohort.patients["age"].between(30, 60).all()
    small = FRAME.drop(index=range(6))
    study = _study(tmp_path, "[inclusion]\nminimum_patients = 8\n")
    check = check_study_data(_file(tmp_path, small), study)
    assert check.flow[-1].therapists == 7


def test_sessions_become_patients(tmp_path: Path) -> None:
    path = _file(tmp_path, bad_files.session_frame().sample(frac=1, random_state=1))
    cohort, problems = load_study_data(path)
    assert not problems
    people = cohort.patients.set_index("patient_id").loc[FRAME["patient_id"]]
    for column in ("phq9_pre", "phq9_post", "gad7_pre", "gad7_post"):
        assert (people[column].to_numpy() == FRAME[column].to_numpy()).all()
    assert (people["sessions"] == 3).all()


def test_only_attended_sessions_count(tmp_path: Path) -> None:
    frame = bad_files.session_frame().astype({"PHQ9": object})
    last = frame["CareContDate"] == frame["CareContDate"].max()
    frame.loc[last & (frame["PathwayID"] == "p0"), "AttendOrDNACode"] = "3"
    frame.loc[last & (frame["PathwayID"] == "p1"), "PHQ9"] = ""
    check = check_study_data(_file(tmp_path, frame))
    people = check.cohort.patients.set_index("patient_id")
    assert people.loc["p0", "sessions"] == 2
    assert "p1" not in people.index
    assert [s.excluded for s in check.flow[-2:]] == [1, 0]


@pytest.mark.parametrize(
    ("rule", "expected"), [("most_sessions", "y"), ("first", "x"), ("last", "z"), ("exclude", None)]
)
def test_a_patient_of_several_follows_the_rule(rule: str, expected: str | None) -> None:
    seen = pd.DataFrame({"patient_id": ["a"] * 4, "therapist_id": ["x", "y", "y", "z"]})
    chosen = choose_therapist(seen, rule).loc["a"]
    assert chosen["therapist_id"] == expected or (expected is None and pd.isna(chosen.iloc[0]))
    assert chosen["n_therapists"] == 3


def test_equally_many_sessions_go_to_the_later_therapist() -> None:
    seen = pd.DataFrame({"patient_id": ["a"] * 4, "therapist_id": ["x", "y", "y", "x"]})
    assert choose_therapist(seen).at["a", "therapist_id"] == "x"
    with pytest.raises(InputError, match="not known"):
        choose_therapist(seen, "any")


def test_excluding_patients_of_several_is_a_rule_of_the_flow(tmp_path: Path) -> None:
    frame = bad_files.session_frame()
    frame.loc[1, "CarePersLocalId"] = "t5"
    study = _study(tmp_path, '[therapists]\nseveral = "exclude"\n')
    check = check_study_data(_file(tmp_path, frame), study)
    rules = check.rules.set_index("rule")["excluded"]
    assert rules["one therapist throughout"] == 1
    assert rules["a therapist is recorded"] == 0


@pytest.mark.parametrize(
    ("rule", "kept"), [("most_sessions", "t7"), ("first", "t0"), ("last", "t7")]
)
def test_repeated_patients_of_a_patient_file_follow_a_stated_rule(
    rule: str, kept: str, tmp_path: Path
) -> None:
    again = FRAME.iloc[[4]].assign(therapist_id="t7", sessions=40, service_id="s1")
    dated = [again.assign(started="02/05/2021"), FRAME.assign(started="2021-04-01")]
    path = _file(tmp_path, pd.concat(dated))
    study = _study(tmp_path, f'[therapists]\nseveral = "{rule}"\n')
    cohort, problems = load_study_data(path, study)
    assert not problems
    people = cohort.patients.set_index("patient_id")
    assert people.loc["p4", "therapist_id"] == kept
    assert len(people) == len(FRAME)


def test_reduction_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    n = 400
    rows = pd.DataFrame(
        {
            "patient_id": rng.integers(0, 60, n).astype(str),
            "therapist_id": rng.choice(list("xyz"), n),
            "order": rng.permutation(n),
            "attended": rng.random(n) < 0.8,
            "phq9": np.where(rng.random(n) < 0.9, rng.integers(0, 28, n), np.nan),
        }
    )
    table = reduce_sessions(rows, ["phq9"]).set_index("patient_id")
    for patient, mine in rows.groupby("patient_id"):
        seen = mine[mine["attended"]].sort_values("order")
        assert table.loc[patient, "sessions"] == len(seen)
        if len(seen):
            first, last = seen["phq9"].iloc[0], seen["phq9"].iloc[-1]
            found = table.loc[patient, ["phq9_pre", "phq9_post"]].astype(float)
            np.testing.assert_array_equal(found, [first, last])


def test_therapists_table_is_read_and_must_name_all(tmp_path: Path) -> None:
    path = _file(tmp_path, FRAME)
    table = pd.DataFrame({"Therapist": [f"t{i}" for i in range(8)], "CD-RISC": range(70, 78)})
    cohort, problems = load_study_data(path, None, _file(tmp_path, table, "staff.csv"))
    assert not problems
    assert cohort.therapists["resilience"].tolist() == list(range(70, 78))
    _, problems = load_study_data(path, None, _file(tmp_path, table.head(7), "staff.csv"))
    assert "no row in staff.csv" in str(problems.first())
    bad = table.astype(object)
    bad.loc[2, "CD-RISC"] = bad_files.SECRET
    with pytest.raises(InputError, match=r"staff.csv, row 4, column CD-RISC"):
        load_study_data(path, None, _file(tmp_path, bad, "staff.csv"))


def test_status_gender_and_discharge_are_understood(tmp_path: Path) -> None:
    frame = FRAME.assign(Gender=["1", "2"] * 40, ServDischDate=["2021-01-01", ""] * 40)
    cohort, _ = load_study_data(_file(tmp_path, frame))
    assert cohort.patients["gender"].value_counts().to_dict() == {"male": 40, "female": 40}
    assert cohort.patients["status"].value_counts().to_dict() == {"closed": 40, "in_treatment": 40}


ONE = Study(measures=(ScoreColumns(PHQ9),))


def test_enough_is_said_for_every_step() -> None:
    people = FRAME[FRAME["therapist_id"].isin(["t0", "t1", "t2"])]
    table = enough_for(people, ONE, DisclosurePolicy(), scales=False).set_index("step")
    assert table.loc["outcomes by patient", "enough"] == "yes"
    assert table.loc["upper and lower group", "enough"] == "no"
    assert table.loc["ranks over two measures", "enough"] == "no"
    # One of 12 has too few: two join them, so that nobody there can be told.
    people = pd.DataFrame({"therapist_id": np.repeat([*"abcdefghijkl"], [21] * 11 + [19])})
    table = enough_for(people, ONE, DisclosurePolicy(), scales=False).set_index("step")
    assert table.loc["therapists shown one by one", "has"] == "9"
    assert table.loc["upper and lower group", "enough"] == "perhaps"


@pytest.mark.neighbours
@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize(
    "sizes", [[60] * 9, [60] * 10, [21] * 11 + [19], [60] * 5 + [9] * 7, [25] * 40, [5] * 20]
)
def test_check_and_report_say_the_same_of_the_two_groups(sizes: list[int], active: bool) -> None:
    """Whoever is of a group: what check calls sure is shown in every order, and never what not."""
    loads = pd.Series(sizes, index=[f"t{i}" for i in range(len(sizes))])
    people = pd.DataFrame({"therapist_id": np.repeat(loads.index, sizes)})
    table = enough_for(people, ONE, DisclosurePolicy(active), scales=False)
    said = table.set_index("step").loc["upper and lower group", "enough"]
    policy, size = DisclosurePolicy(active), max(2, int(len(sizes) / 4 + 0.5))
    alone, shown = aggregate_small(loads, policy)[0], set()
    for seed in range(200):
        ranked = np.random.default_rng(seed).permutation(loads.index)
        ends = [[t for t in end if t in alone] for end in (ranked[:size], ranked[-size:])]
        shown.add(all(is_safe_group(loads[end], policy) for end in ends))
    assert said == {(True,): "yes", (False,): "no", (False, True): "perhaps"}[(*sorted(shown),)]


def test_study_is_strict_about_its_values(tmp_path: Path) -> None:
    for text, said in (
        ("[inclusion]\nminimum_sessions = 1.5\n", "whole number"),
        ("[inclusion]\none_to_one = 1\n", "true or false"),
        ("[file]\nmissing = {a = 1}\n", "must be a list"),
        ("measures = 3\n", "must be a table"),
        ("[disclosure]\nminimum_shown = 2\n", "must be a number of 10 or more"),
    ):
        with pytest.raises(InputError, match=said):
            _study(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('therapist = ""', "therapist is not known; did you mean therapist_id under [columns]?"),
        ("missing = [99]", "missing is not known; did you mean missing under [file]?"),
        ('[columns]\ntherapist_id = ""', "columns.therapist_id is empty; name the column,"),
        ('[columns]\npatient_id = " "', "columns.patient_id is empty; name the column, or remove"),
        ('"" = 3', "a key in the study file has no name; name it."),
        ('[columns]\n"" = "age"', "a key in [columns] has no name; name it."),
        ('[measures.""]\nminimum = 0\nmaximum = 3', "a key in [measures] has no name; name it."),
        ("[measures]\n' ' = 3", "a key in [measures] has no name; name it."),
        ('[measures.phq9]\npre = ""\npost = "b"', "measures.phq9.pre is empty; name the column"),
        ('[measures.phq9]\npre = "a"', "names a column for pre and none for post; add post."),
        ('[measures.phq9]\npost = "a"', "names a column for post and none for pre; add pre."),
        ('[measures.phq9]\nlabel = ""', "measures.phq9.label is empty; say it in words, or"),
        (
            '[measures.phq9]\ncutoff = ""',
            "measures.phq9.cutoff must be a number from -1,000,000 to 1,000,000",
        ),
        ('[file]\nanswered = ["score_stands_out"]', "did you mean scores_stand_out?"),
        ('[file]\nanswered = ["all"]', "known are names of questions"),
        ("engines = []", "engines is empty; give one or more of ml, gibbs."),
        ("[inclusion]\nstatus = []", "inclusion.status is empty; give one or more of closed, in_"),
        ('cluster_size = ""', 'cluster_size is empty; give a number, or write "quarter".'),
        ('seed = ""', "seed must be a number from 0 to 4,294,967,295; correct it."),
        ("title = 'a'\n= 3", "row 2: the study file is not valid TOML; write a name"),
        ("seed =  # later", "row 1: the study file is not valid TOML; write a name"),
        ("seed = 1\ntitle = ", "row 2: the study file is not valid TOML; write a name"),
        ("[columns]\npatient_id = ID", "row 2: the study file is not valid TOML; write a name"),
        ("seed = 1\nseed = 2", "row 2: the study file is not valid TOML; write a name"),
        ("[file]\n[file]", "row 2: the study file is not valid TOML; write a name"),
        ("[columns", "row 1: the study file is not valid TOML; write a name"),
        ('title = """', "row 1: the study file is not valid TOML"),
    ],
)
def test_an_empty_key_or_value_is_one_clear_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        _study(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("study.toml")


def test_an_empty_name_of_a_column_that_is_not_needed_leaves_it_out(tmp_path: Path) -> None:
    study = _study(tmp_path, '[columns]\nservice_id = ""\n')
    check = check_study_data(_file(tmp_path, FRAME), study)
    assert not check.problems
    assert "service_id" not in check.study.columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[measures.phq9]\n[measures.core10]\n", "no columns with the scores of core10 were rec"),
        (
            "[measures.x]\nminimum = 0\nmaximum = 9\nhigher_is_worse = true",
            "no columns with the scores of x were recognised",
        ),
        ('[file]\nlevel = "session"', "no measure with a score by session was recognised"),
    ],
)
def test_a_measure_that_is_asked_for_is_not_left_out_in_silence(
    tmp_path: Path, text: str, said: str
) -> None:
    study = _study(tmp_path, text)
    with pytest.raises(InputError) as caught:
        check_study_data(_file(tmp_path, FRAME), study)
    assert said in str(caught.value)


def test_study_that_names_a_misspelt_column_is_told_the_nearest() -> None:
    study = Study(columns={"patient_id": "PathwayId"})
    with pytest.raises(InputError, match="did you mean PathwayID"):
        complete_study(study, ["PathwayID", "t", "phq9_pre", "phq9_post"], "own.csv")
    left = replace(study, columns={})
    with pytest.raises(InputError, match="identifies the therapist"):
        complete_study(left, ["PathwayID", "t", "phq9_pre", "phq9_post"], "own.csv")


@pytest.mark.parametrize("word", ["", "NULL", "Null", "n/a", "N/A", "unknown", "Not known", "nan"])
def test_a_word_for_no_therapist_is_a_patient_without_one(word: str, tmp_path: Path) -> None:
    frame = FRAME.assign(therapist_id=[word] * 10 + [*FRAME["therapist_id"][10:]])
    check = check_study_data(_file(tmp_path, frame))
    assert not check.problems
    assert check.cohort is not None
    assert check.rules.set_index("rule")["excluded"]["a therapist is recorded"] == 10
    assert set(check.cohort.patients["therapist_id"]) == {f"t{j}" for j in range(1, 8)}


def test_a_code_that_the_study_file_lists_is_no_therapist(tmp_path: Path) -> None:
    frame = FRAME.assign(therapist_id=["-9"] * 10 + [*FRAME["therapist_id"][10:]])
    path = _file(tmp_path, frame)
    assert [p.count for p in check_study_data(path).problems] == [10]
    check = check_study_data(path, _study(tmp_path, '[file]\nmissing = ["-9"]\n'))
    assert not check.problems
    assert check.rules.set_index("rule")["excluded"]["a therapist is recorded"] == 10


@pytest.mark.parametrize(
    ("others", "warned"), [([1, 2, 3, 4, 5, 6, 7], True), ([98, 100, 97, 96, 95, 94, 93], False)]
)
def test_99_may_be_a_therapist_and_is_named_where_it_stands_alone(
    others: list[int], warned: bool, tmp_path: Path
) -> None:
    names = np.repeat([99, *others], 10)
    check = check_study_data(_file(tmp_path, FRAME.assign(therapist_id=names)))
    assert check.cohort is not None
    assert check.cohort.patients["therapist_id"].nunique() == 8
    notes = [line for line in check.understood if "for missing" in line]
    assert len(notes) == warned
    where = [line for line in check.understood if "may be a code: first in row 2" in line]
    assert len(where) == warned
    assert all("99" not in line for line in [*notes, *where])


@pytest.mark.parametrize("session", [False, True])
def test_a_written_study_file_says_what_each_column_is(session: bool, tmp_path: Path) -> None:
    frame = bad_files.session_frame() if session else FRAME
    check = check_study_data(_file(tmp_path, frame))
    lines = write_study(check.study).split("[columns]")[1].split("\n[")[0].splitlines()[1:]
    roles = [line for line in lines if " = " in line]
    assert len(roles) == len(ROLES["session" if session else "patient"])
    for line in roles:
        assert len(line.split("  # ")[1].split("; guessed")[0]) > 5, line
