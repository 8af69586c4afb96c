"""Rows that are no sessions: one a member of staff, one a measure; and several of one day."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, patients_of

from pwp_lib.outcomes import patient_national_outcomes
from pwp_report.commands.pooling import _COUNTED
from pwp_report.sessions import choose_therapist
from pwp_report.wording import SEVERAL

#: Every patient has three sessions and one therapist.
_PEOPLE = SESSIONS["PathwayID"].nunique()
_SHUFFLED = {"frac": 1, "random_state": 1}


def _by_staff(people: int = _PEOPLE) -> pd.DataFrame:
    """Give so many patients' sessions to a second therapist as well, in rows in any order."""
    names = sorted(SESSIONS["CarePersLocalId"].unique())
    two = SESSIONS["PathwayID"].isin(SESSIONS["PathwayID"].unique()[:people])
    after = dict(zip(names, [*names[1:], names[0]], strict=True))
    second = SESSIONS[two].assign(CarePersLocalId=SESSIONS["CarePersLocalId"].map(after))
    return pd.concat([SESSIONS, second]).sample(**_SHUFFLED)


def _by_measure() -> pd.DataFrame:
    """Give every session a row of another measure, in rows in any order."""
    other = SESSIONS.assign(Scale="B", PHQ9=(SESSIONS["PHQ9"].astype(int) + 9) % 28)
    return pd.concat([SESSIONS.assign(Scale="A"), other]).sample(**_SHUFFLED)


def test_a_session_of_two_members_of_staff_is_one_session(tmp_path: Path) -> None:
    check = checked(tmp_path, _by_staff())
    plain = patients_of(checked(tmp_path, SESSIONS)).set_index("patient_id")
    found = patients_of(check).set_index("patient_id").loc[plain.index]
    same = ["phq9_pre", "phq9_post", "sessions"]
    pd.testing.assert_frame_equal(found[same], plain[same])
    assert any(f"{len(SESSIONS)} rows fewer" in r for r in check.remarks)
    (rule,) = (r for r in check.rules["rule"] if r.startswith("a therapist is recorded"))
    assert "a session of several therapists, as nearly all of the patients had, counts once" in rule


def test_one_session_of_two_members_of_staff_is_not_two(tmp_path: Path) -> None:
    first = SESSIONS.drop_duplicates("PathwayID")["PathwayID"].iloc[0]
    once = _by_staff().query("PathwayID != @first or CareContDate == CareContDate.min()")
    assert first not in set(patients_of(checked(tmp_path, once))["patient_id"])


@pytest.mark.parametrize(
    ("kinds", "treated"),
    [(("01", "02", "02"), 2), (("01", "01", "02"), 1), (("03", "02", "04"), 2),
     (("3", "5", "2"), 3), (("assessment", "assessment and treatment", "review"), 1),
     (("1", "4", "2"), 1)],
)  # fmt: skip
def test_a_course_is_finished_by_its_sessions_of_treatment(
    kinds: tuple[str, ...], treated: int, tmp_path: Path
) -> None:
    """By the national definition two appointments of treatment; the rule counts sessions of all."""
    turn = SESSIONS.groupby("PathwayID").cumcount()
    frame = SESSIONS.assign(AppType=turn.map(dict(enumerate(kinds))))
    found = patients_of(checked(tmp_path, frame, "[inclusion]\nassessment = false\n"))
    assert (found["treated"] == treated).all()
    assert (found["sessions"] == 3).all()
    scores = dict.fromkeys(("gad7_pre", "gad7_post"), found["phq9_pre"])
    flags = patient_national_outcomes(found.assign(**scores))
    assert (flags["finished"] == (treated >= 2)).all()


def test_two_sessions_of_a_day_with_one_therapist_stay_two(tmp_path: Path) -> None:
    last = SESSIONS.groupby("PathwayID").tail(1)
    twice = pd.concat([SESSIONS, last]).assign(AppType="02")
    study = '[columns]\nage = "Age"\n'
    twice["Age"] = [30] * len(SESSIONS) + [31] * len(last)
    found = patients_of(checked(tmp_path, twice, study + "[inclusion]\nassessment = false\n"))
    assert (found["sessions"] == 4).all()


@pytest.mark.parametrize("people", [_PEOPLE, 10, 4])
def test_ties_that_the_order_of_rows_decides_are_counted_and_asked_about(
    people: int, tmp_path: Path
) -> None:
    check = checked(tmp_path, _by_staff(people))
    asked = [q for q in check.study.questions if "order of the rows in the file decides" in q]
    (rule,) = (r for r in check.rules["rule"] if r.startswith("a therapist is recorded"))
    said = {_PEOPLE: "nearly all", 10: "10", 4: "some"}[people]
    assert f"of several, which {said} patients had" in rule
    assert f"(for {said} of the patients the order of the rows in the file decides)" in rule
    assert [q.split(" the patients")[0] for q in asked] == [f"of {said} of"] * (people > 4)


def test_a_later_session_decides_a_tie_and_not_the_rows() -> None:
    seen = pd.DataFrame({"patient_id": "a", "therapist_id": list("yx"), "order": [2, 1]})
    for rows in (seen, seen[::-1]):
        chosen = choose_therapist(rows).loc["a"]
        assert chosen.tolist() == ["y", 2, True, False]
        assert choose_therapist(rows.assign(order=1)).at["a", "by_rows"]
        assert not choose_therapist(rows.assign(order=1), "exclude").at["a", "by_rows"]


@pytest.mark.parametrize("rule", ["most_sessions", "first"])
def test_dates_decide_between_two_rows_of_a_patient(rule: str, tmp_path: Path) -> None:
    names = sorted(FRAME["therapist_id"].unique())
    after = dict(zip(names, [*names[1:], names[0]], strict=True))
    dated = FRAME.assign(started="2021-04-01")
    second = dated.assign(started="2021-05-01", therapist_id=FRAME["therapist_id"].map(after))
    study = f'[therapists]\nseveral = "{rule}"\n'
    for rows in (pd.concat([dated, second]), pd.concat([second, dated])):
        check = checked(tmp_path, rows, study)
        own = patients_of(check).set_index("patient_id")["therapist_id"]
        right = (dated if rule == "first" else second).set_index("patient_id")["therapist_id"]
        assert own.to_dict() == right.to_dict()
        assert not check.study.questions


@pytest.mark.neighbours
@pytest.mark.parametrize("column", ["phq9_post", "gad7_pre", "gender", "age"])
def test_rows_of_one_patient_that_are_two_courses_are_not_one(column: str, tmp_path: Path) -> None:
    """Steps of a referral, each with scores of its own: most sessions would drop half of them."""
    names = sorted(FRAME["therapist_id"].unique())
    other = dict(zip(names, [*names[1:], names[0]], strict=True))
    plain = FRAME.drop(columns="service_id").assign(gender=["female", "male"] * (len(FRAME) // 2))
    people = plain.assign(started="2021-04-01", sessions=6)
    step = people.head(7).assign(started="2021-09-01", sessions=2)
    step["therapist_id"] = step["therapist_id"].map(other)
    rules = {r: f'[therapists]\nseveral = "{r}"\n' for r in ("most_sessions", "last", "exclude")}
    for again, apart in ((step, 0), (step.assign(**{column: _another(step[column])}), 7)):
        both = pd.concat([people, again], ignore_index=True)
        problems = checked(tmp_path, both, rules["most_sessions"]).problems
        assert [p.count for p in problems] == [14] * (apart > 0)
        last = checked(tmp_path, both, rules["last"])
        said = [r for r in last.remarks if "whose last row is another" in r]
        assert [r.split()[0] for r in said] == ["7"] * (apart > 0)
        kept = patients_of(last).set_index("patient_id").loc[again["patient_id"], column]
        assert kept.tolist() == again[column].tolist()
        assert not checked(tmp_path, both, rules["exclude"]).problems


def _another(values: pd.Series) -> pd.Series:
    if values.name == "gender":
        return values.map({"female": "male", "male": "female"}).fillna("male")
    return (values + 1).where(values < 20, values - 1)


def test_a_row_for_each_measure_stops_until_it_is_settled(tmp_path: Path) -> None:
    frame = _by_measure()
    (problem,) = checked(tmp_path, frame).problems
    assert problem.count == len(frame)
    assert "differ: Scale)" in problem.hint
    assert "nearly all of the patients" in problem.problem
    plain = patients_of(checked(tmp_path, SESSIONS))
    kept = patients_of(checked(tmp_path, frame, '[keep]\nScale = ["A"]\n'))
    pd.testing.assert_frame_equal(kept, plain)
    stated = "[sessions]\nrows_in_order = true\n"
    assert not checked(tmp_path, frame, stated).problems


def test_few_days_with_two_scores_are_a_question_with_their_number(tmp_path: Path) -> None:
    for people, said in ((0, []), (4, ["some"])):
        last = SESSIONS.groupby("PathwayID").tail(1).head(people)
        again = last.assign(PHQ9=(last["PHQ9"].astype(int) + 9) % 28)
        check = checked(tmp_path, pd.concat([SESSIONS, again]))
        assert [q.split(" of the patients")[0].split()[-1] for q in check.study.questions] == said


@pytest.mark.parametrize("drop", ["false", "true"])
def test_a_repeated_row_names_the_column_in_which_it_differs(drop: str, tmp_path: Path) -> None:
    study = f"[file]\ndrop_repeated_rows = {drop}\n"
    for frame in (FRAME, SESSIONS):
        named = frame.assign(Scale="A", note="1")
        rows = pd.concat([named, named.head(9).assign(Scale="B")])
        rows = pd.concat([rows, rows.head(2)]) if drop == "true" else rows
        (problem,) = checked(tmp_path, rows, study).problems
        assert problem.count == 9
        assert problem.problem.endswith("in columns that are not: Scale")
        assert "drop_repeated_rows" not in problem.hint


def test_rows_that_a_study_leaves_out_are_said_beside_all_rows(tmp_path: Path) -> None:
    frame = FRAME.assign(Team=["North"] * 24 + ["South"] * (len(FRAME) - 24))
    said = checked(tmp_path, frame, '[leave_out]\nTeam = ["north"]\n').understood[0]
    assert f"{len(FRAME)} rows" in said
    assert f"{len(FRAME) - 24} of the rows are used, and the study file leaves 24 out" in said
    assert "out" not in checked(tmp_path, frame).understood[0]


def test_scores_with_words_in_brackets_are_no_second_header(tmp_path: Path) -> None:
    ends = {c: FRAME[c].astype(str) + " (mild)" for c in ("phq9_pre", "phq9_post")}
    study = '[measures.phq9]\npre = "phq9_pre"\npost = "phq9_post"\n'
    problems = [*checked(tmp_path, FRAME.assign(**ends), study).problems]
    assert [(p.kind, p.count) for p in problems] == [("a number with words in brackets", 80)] * 2
    assert all("keep the number alone" in p.hint for p in problems)
    words = FRAME.astype(str)
    words.loc[0, ["phq9_pre", "phq9_post"]] = "moderate"
    assert all("header" not in p.problem for p in checked(tmp_path, words, study).problems)


def test_headings_of_files_of_another_shape_are_recognised(tmp_path: Path) -> None:
    for patient in ("ReferralRequestID", "Pseudo_Person_ID", "Young person", "Member ID"):
        for therapist in ("Staff name", "Facilitator"):
            names = {
                "patient_id": patient,
                "therapist_id": therapist,
                "sessions": "Contacts attended",
            }
            frame = FRAME.rename(columns=names).drop(columns=["service_id", "age"], errors="ignore")
            extra = {"Locality": "A", "Age (yrs)": "30", "Outcome of treatment": "Completed"}
            columns = checked(tmp_path, frame.assign(**extra)).study.columns
            roles = {"service_id": "Locality", "age": "Age (yrs)", "status": "Outcome of treatment"}
            assert {**roles, **names}.items() <= columns.items()


def test_a_row_for_each_measure_of_a_patient_names_the_column(tmp_path: Path) -> None:
    scores = {c: (FRAME[c] + 9) % 28 for c in ("phq9_pre", "phq9_post")}
    rows = pd.concat([FRAME.assign(Scale="A"), FRAME.assign(Scale="B", **scores)])
    (problem,) = checked(tmp_path, rows.assign(note="1")).problems
    assert problem.problem == "this patient stands in a row above with other entries"
    assert "differ: Scale)" in problem.hint
    kept = checked(tmp_path, rows, '[keep]\nScale = ["A"]\n')
    pd.testing.assert_frame_equal(patients_of(kept), patients_of(checked(tmp_path, FRAME)))


def test_counts_in_the_words_of_a_rule_make_no_other_rule() -> None:
    several = SEVERAL["most_sessions"]
    plain = re.sub(_COUNTED, "", several.format("10"))
    more = [SEVERAL[name] for name in ("tied", "by_rows", "joined", "sessions_unknown")]
    for said in ("some", "nearly all", "1,010"):
        words = [w.format(said) for w in (several, *more)]
        assert re.sub(_COUNTED, "", "".join(words)) == plain
    assert re.sub(_COUNTED, "", "2 sessions or more") == "2 sessions or more"


@pytest.mark.parametrize(
    ("unknown", "said"), [(0, ""), (3, "some"), (20, "20"), (78, "nearly all")]
)
def test_the_rule_on_sessions_says_of_whom_it_is_not_known(
    unknown: int, said: str, tmp_path: Path
) -> None:
    numbers = FRAME["sessions"].where(FRAME.index >= unknown)
    check = checked(tmp_path, FRAME.assign(sessions=numbers))
    (rule,) = [step.rule for step in check.flow if "sessions or more" in step.rule]
    more = f" (for {said} patients in the file it is not known how many)"
    assert rule == "2 sessions or more" + more * bool(unknown)
