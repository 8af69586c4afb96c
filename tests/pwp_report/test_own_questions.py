"""Questions that a file leaves open: each is said by the check, and kept for the report."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, patients_of
from question_frames import (
    ADJUST,
    FREE,
    IMD,
    Q,
    baselines,
    blocks,
    clinics,
    coded,
    filled_in,
    groups,
    is_asked,
    later,
    means_of_items,
    messages,
    named,
    on_another_scale,
    one_day,
    points,
    referrals,
    renamed,
    restarting,
    supervisors,
    swapped,
    trainees,
    two_courses,
    two_of_staff,
    unrelated,
)
from test_wording import WORDS

from pwp_report.check import Check
from pwp_report.study_file import write_study
from pwp_report.table_words import phrase
from pwp_report.wording import Question

#: By kind of question, a file that raises it and a study.
RAISED: dict[str, tuple[pd.DataFrame, str]] = {
    "labels_alike": (renamed("Kerr, Jo", "Jo Kerr"), ""),
    "gender_codes": (FRAME.assign(gender=["k", "p"] * (len(FRAME) // 2)), ""),
    "lone_code": (FRAME.replace({"therapist_id": {FRAME["therapist_id"].iloc[0]: "99"}}), ""),
    "words_unknown": (
        SESSIONS.assign(AttendOrDNACode=["5"] * (len(SESSIONS) - 9) + ["moved"] * 9),
        "",
    ),
    "scores_not_used": (
        FRAME.rename(columns={"phq9_pre": "Score (PHQ9)", "phq9_post": "End (PHQ9)"}),
        '[measures.gad7]\npre = "gad7_pre"\npost = "gad7_post"\n',
    ),
    "services_not_named": (clinics("Clinic site"), ""),
    "covariates_tell": (
        FRAME.assign(IMD=pd.cut(FRAME["phq9_post"].astype(float), 3, labels=["x", "y", "z"])),
        ADJUST,
    ),
    "groups_not_named": (groups(), ""),
    "apart_by_column": (FRAME.assign(Arm=FRAME["therapist_id"].isin(["t0", "t1", "t2"])), ""),
    "numbers_as_codes": (coded(1), '[case_mix]\nadjust = ["Problem"]\n'),
    "contacts_not_named": (messages(), ""),
    "trainees_by_year": (trainees(), ""),
    "long_gaps": (later(20, 200), ""),
    "follow_ups_not_named": (points(), ""),
    "one_row_left": (points(), '[keep]\nPoint = ["Baseline", "End of therapy"]\n'),
    "left_out_undated": (baselines(40), '[keep]\nevent = ["session"]\n'),
    "status_missing": (FRAME.assign(Status=["Completed", ""] * (len(FRAME) // 2)), ""),
    "modes_not_named": (FRAME.assign(Format=["Individual", "PMP group"] * (len(FRAME) // 2)), ""),
    "scored_unseen": (FRAME.assign(sessions=[0, 5, 6, 7] * (len(FRAME) // 4)), ""),
    "names_restarted": (
        named(clinics("service_id")),
        "[file]\nnumbers_restart = true\n",
    ),
    "therapists_missing": (blocks(3), ""),
    "scores_unrelated": (unrelated(), ""),
    "scale_of_some": (on_another_scale(["t1", "t5"]), Q),
    "missing_on_scale": (FRAME, '[file]\nmissing = ["9"]\n'),
    "sessions_begin_again": (two_courses(30), ""),
    "scores_copied": (filled_in("pre", 20), ""),
    "scores_stand_out": (filled_in("zero", 20), ""),
    "labels_joined": (FRAME.replace({"therapist_id": {"t3": "t1 / t2"}}), ""),
    "second_therapist": (FRAME.assign(**{"Therapist 2": "t1"}), ""),
    "several_courses": (referrals(), '[columns]\npatient_id = "Client"\n'),
    "above_not_named": (FREE.assign(Supervisor=supervisors(3)), ""),
    "named_otherwise": (
        FRAME.assign(Age=FRAME["therapist_id"].str[1:].astype(int) + 20),
        '[columns]\ntherapist_id = "Age"\n',
    ),
    "groups_of_mode": (
        FRAME.assign(mode=["group", "individual"] * (len(FRAME) // 2)),
        "[inclusion]\none_to_one = false\n",
    ),
    "numbers_restart_perhaps": (restarting(), ""),
    "means_of_items": (means_of_items(), ""),
    "worse_on_average": (swapped(), ""),
    "sessions_tied": (one_day(), ""),
    "therapist_by_rows": (two_of_staff(), ""),
    "number_far_off": (FRAME.assign(IMD=["99", *IMD[1:]]), ADJUST),
    "numbers_as_categories": (FRAME.assign(IMD=["Z", *IMD[1:]]), ADJUST),
}


def test_an_example_stands_here_of_every_kind_of_question() -> None:
    assert RAISED.keys() == WORDS["questions"].keys()


@pytest.mark.parametrize("kind", RAISED)
def test_a_question_that_the_study_file_answers_is_open_no_longer(
    kind: str, tmp_path: Path
) -> None:
    frame, study = RAISED[kind]
    asked = checked(tmp_path, frame, study).study.questions
    mine = [q for q in asked if q.key == kind]
    answers = f'[file]\nanswered = ["{kind}"]\n'
    both = study.replace("[file]\n", answers) if "[file]" in study else answers + study
    done = checked(tmp_path, frame, both).study
    assert mine
    assert list(done.settled) == mine
    assert list(done.questions) == [q for q in asked if q.key != kind]


@pytest.mark.parametrize("kind", RAISED)
def test_what_the_check_asks_is_kept_for_the_report(kind: str, tmp_path: Path) -> None:
    frame, study = RAISED[kind]
    check = checked(tmp_path, frame, study)
    words = max(WORDS["questions"][kind].split("{"), key=len).partition("}")[2]
    assert [q for q in check.study.questions if words in q]
    # They stand on the first page: no row of the file, and no count of few.
    assert not any(re.search(r"\brow \d|\{count|\{row", q) for q in check.study.questions)
    assert "{count" not in WORDS["questions"][kind]
    assert "{row" not in WORDS["questions"][kind]
    assert check.study.questions == tuple(r for r in check.remarks if isinstance(r, Question))


@pytest.mark.parametrize(("moved", "had"), [(4, ""), (8, ""), (12, "10"), (78, "nearly all")])
def test_how_many_had_several_therapists_is_kept_where_they_are_over_a_tenth(
    moved: int, had: str, tmp_path: Path
) -> None:
    last = SESSIONS.groupby("PathwayID").tail(1).head(moved).index
    others = SESSIONS["CarePersLocalId"].mask(SESSIONS.index.isin(last), "t-other")
    check = checked(tmp_path, SESSIONS.assign(CarePersLocalId=others))
    assert check.study.several_had == had
    # Of as many sessions with either, as each of these patients has two.
    by = SESSIONS.groupby("PathwayID")["CarePersLocalId"]
    ties = int((by.transform("size").loc[last] == 2).sum())
    assert check.study.tied == check.study.some(ties, moved)


def _own_assessor(rule: str, tmp_path: Path) -> Check:
    """Each patient is assessed by somebody else, but one patient, who is only assessed."""
    rows = SESSIONS[(SESSIONS["PathwayID"] != "p0") | (SESSIONS["AppType"] == "01")]
    whose = rows["CarePersLocalId"].mask(rows["AppType"] == "01", "an assessor")
    study = f'[therapists]\nseveral = "{rule}"\n[inclusion]\nminimum_sessions = 0\n'
    return checked(tmp_path, rows.assign(CarePersLocalId=whose), study)


@pytest.mark.parametrize("rule", ["most_sessions", "first", "last", "exclude"])
def test_who_only_assessed_is_not_one_of_several_therapists(rule: str, tmp_path: Path) -> None:
    check = _own_assessor(rule, tmp_path)
    assert check.cohort is not None
    found = check.cohort.patients.set_index("patient_id")["therapist_id"].drop(
        "p0", errors="ignore"
    )
    first = SESSIONS.drop_duplicates("PathwayID").set_index("PathwayID")["CarePersLocalId"]
    assert len(found) > 60
    assert (found == first[found.index]).all()
    assert check.study.several_had == check.study.tied == ""
    assert not any("throughout" in step.rule and step.excluded for step in check.flow)


def test_numbers_that_restart_are_told_and_no_longer_asked_about(tmp_path: Path) -> None:
    frame = FRAME.assign(service_id=["north", "south"] * (len(FRAME) // 2))
    check = checked(tmp_path, frame, "[file]\nnumbers_restart = true\n")
    assert [r for r in check.remarks if "each counts as a therapist of its own in each" in r]
    assert not check.study.questions


@pytest.mark.parametrize(("strange", "share"), [(4, "some"), (60, "25%")])
def test_a_question_tells_no_count_that_would_be_withheld(
    strange: int, share: str, tmp_path: Path
) -> None:
    codes = ["5"] * (240 - strange) + ["moved"] * strange
    check = checked(tmp_path, SESSIONS.iloc[:240].assign(AttendOrDNACode=codes))
    assert [q.split(" of the entries")[0] for q in check.study.questions] == [share]


@pytest.mark.parametrize("heading", ["Depression Score (PHQ9)", "PHQ-9 change", "Mood PHQ_9"])
def test_a_column_named_after_a_measure_that_is_not_used_is_asked_about(
    heading: str, tmp_path: Path
) -> None:
    gad = FRAME.drop(columns=["phq9_pre", "phq9_post"]).assign(**{heading: FRAME["phq9_pre"]})
    study = '[measures.gad7]\npre = "gad7_pre"\npost = "gad7_post"\n'
    (said,) = checked(tmp_path, gad, study).study.questions
    assert said.startswith(f"columns are named after PHQ-9, which is not used: {heading};")
    assert "[measures.phq9]" in said
    assert not checked(tmp_path, FRAME.assign(note="PHQ9", **{heading: 1})).study.questions


def test_headings_that_other_services_use_are_recognised(tmp_path: Path) -> None:
    names = {"patient_id": "URN", "therapist_id": "Seen By"}
    for ending in ("Ending", "How it ended", "end_code"):
        frame = FRAME.rename(columns=names).assign(**{ending: "Planned ending"})
        columns = checked(tmp_path, frame).study.columns
        right = {"patient_id": "URN", "therapist_id": "Seen By", "status": ending}
        assert right.items() <= columns.items()


@pytest.mark.parametrize(
    "frame",
    [
        clinics("Org"),
        clinics("Org").assign(service_id="Trust").iloc[:, [*range(8), 9, 8]],
        clinics("ServiceName2", (5, 5)),
        clinics("Ort"),
        clinics("x7", of="T-0"),
        clinics("Ort").replace({"therapist_id": {"14": "Unallocated"}}),
    ],
    ids=["heading", "one trust", "two of one size", "numbers", "letters", "some of nobody"],
)
def test_labels_that_begin_anew_in_services_which_nobody_named_are_asked_about(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    column = str(frame.columns[-1])
    check = checked(tmp_path, frame)
    (said,) = check.study.questions
    assert f"column {column}, which is not used" in said
    assert "service_id under [columns] and set numbers_restart = true" in said
    line = f'# service_id = "{column}"  # the service, clinic or team: perhaps this column'
    assert "service_id" in frame or line in write_study(check.study)
    named = f'[columns]\nservice_id = "{column}"\n[file]\nnumbers_restart = true\n'
    told = checked(tmp_path, frame, named)
    therapists = frame.groupby(["therapist_id", column]).ngroups
    therapists -= frame["therapist_id"].eq("Unallocated").any()
    assert patients_of(told)["therapist_id"].nunique() == therapists
    assert not any("not used" in q for q in told.study.questions)
    assert not checked(tmp_path, frame, '[columns]\nservice_id = ""\n').study.questions


def test_what_is_spread_over_therapists_and_is_no_place_is_not_asked_about(tmp_path: Path) -> None:
    frame = clinics("Ort").drop(columns="Ort")
    n, number = range(len(frame)), frame["therapist_id"].astype(int)
    others = {
        "arm": [i % 2 for i in n],
        "kind": [f"k{i % 7}" for i in n],
        "GP practice": [f"p{i % 11}" for i in n],
        # Of later years, therapists with higher numbers.
        "begun": [2016 + (t + i % 5) // 4 for i, t in zip(n, number, strict=True)],
    }
    assert checked(tmp_path, frame.assign(**others)).study.questions == ()


def test_what_is_said_of_pseudonyms_holds_where_numbers_restart(tmp_path: Path) -> None:
    frame = clinics("service_id").replace({"service_id": {f"place {i}": f"p{i}" for i in range(5)}})
    study = "[file]\nnumbers_restart = {}\n"
    for restart, said in {"true": "has another pseudonym", "false": "the same pseudonym"}.items():
        understood = checked(tmp_path, frame, study.format(restart)).understood
        (line,) = [line for line in understood if "number 1 of another service" in line]
        assert said in line
    withheld = phrase("withheld", "runs", threshold=5)
    assert "or services are in one file and numbers_restart = true" in withheld


@pytest.mark.parametrize(
    ("sizes", "of", "doubted"),
    [((4,) * 15, "", True), ((4,) * 12, "", False), ((4,) * 15, "T", False)],
    ids=["so many each", "fewer", "letters"],
)
def test_so_many_patients_of_numbers_without_a_gap_are_doubted(
    sizes: tuple[int, ...], of: str, doubted: bool, tmp_path: Path
) -> None:
    """Fifteen services of four therapists each, of which the file has no column."""
    rows = clinics("Site", sizes, of)
    frame = rows.drop(columns="Site")
    words = "therapists are numbered from 1 to 4, with 180 patients each in the mean"
    check = checked(tmp_path, frame)
    assert any(line.startswith(words) for line in check.understood) == doubted
    assert not check.study.questions
    gaps = frame.assign(therapist_id=frame["therapist_id"].replace(f"{of}4", f"{of}17"))
    assert not any("numbered from" in line for line in checked(tmp_path, gaps).understood)
    named = rows.rename(columns={"Site": "service_id"})
    study = "[file]\nnumbers_restart = true\n"
    assert not any("numbered from" in line for line in checked(tmp_path, named, study).understood)


def test_a_code_for_missing_is_asked_about_where_numbers_restart(tmp_path: Path) -> None:
    frame = clinics("service_id").replace({"therapist_id": {"14": "77"}})
    study = "[file]\nnumbers_restart = true\n"
    for restarts in (study, ""):
        rows = (
            frame
            if restarts
            else frame.assign(therapist_id=frame["service_id"] + "x").replace(
                {"therapist_id": {"place 2x": "77"}}
            )
        )
        check = checked(tmp_path, rows, restarts)
        assert any("often stands for missing" in q for q in check.study.questions)


@pytest.mark.parametrize(
    ("heading", "n", "study", "asked"),
    [
        ("Supervisor", 3, "", True),
        ("Area team", 4, "", True),
        ("Team leader", 4, "", True),
        ("Line manager", 3, "", True),
        ("Supervision hours", 3, "", False),
        ("Case manager", 3, "", False),
        ("Favourite colour", 3, "", False),
        ("Supervisor", 2, "", False),  # of two nothing can be told
        ("Supervisor", 10, "", False),  # each therapist has one of their own, or nearly
        ("Supervisor", 3, '[columns]\nservice_id = ""\n', False),
        ("Supervisor", 3, '[columns]\nservice_id = "Supervisor"\n', False),
    ],
)
def test_who_therapists_belong_to_is_asked_about_where_no_service_is_named(
    heading: str, n: int, study: str, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, FREE.assign(**{heading: supervisors(n)}), study)
    assert bool(check.study.perhaps["above_not_named"]) == asked
    assert any("who supervises or leads them" in q for q in check.study.questions) == asked


def test_therapists_who_change_between_supervisors_are_under_none(tmp_path: Path) -> None:
    turn = FRAME.groupby("therapist_id").cumcount() % 3
    check = checked(tmp_path, FREE.assign(Supervisor="S" + turn.astype("str")))
    assert not check.study.perhaps["above_not_named"]


@pytest.mark.parametrize(
    ("role", "heading", "known"),
    [
        ("therapist_id", "Age", "age"),
        ("therapist_id", "Team", "service_id"),
        ("service_id", "Gender", "gender"),
        ("therapist_id", "Practitioner", ""),
        ("therapist_id", "Who saw them", ""),
        ("service_id", "Supervisor", ""),
    ],
)
def test_a_heading_that_is_known_as_something_else_is_asked_about(
    role: str, heading: str, known: str, tmp_path: Path
) -> None:
    frame = FRAME.assign(**{heading: FRAME["therapist_id"].str[1:]})
    check = checked(tmp_path, frame, f'[columns]\n{role} = "{heading}"\n')
    asked = [q for q in check.study.questions if "and that heading is known as" in q]
    assert [f"known as {known}:" in q for q in asked] == [True] * bool(known)


@pytest.mark.parametrize(("n", "asked"), [(3, False), (30, True), (78, True)])
def test_sessions_that_are_counted_anew_are_asked_about(
    n: int, asked: bool, tmp_path: Path
) -> None:
    rows = two_courses(n)
    assert is_asked(checked(tmp_path, rows), "begin again") == asked
    # Told as courses of persons nothing is open.
    course = rows["PathwayID"] + "-" + rows["CareContDate"].str[:4]
    named = rows.rename(columns={"PathwayID": "Client ID"}).assign(**{"Course ID": course})
    check = checked(tmp_path, named)
    assert not is_asked(check, "begin again")
    assert check.study.columns["person_id"] == "Client ID"


def test_sessions_counted_without_those_missed_do_not_begin_again(tmp_path: Path) -> None:
    rows = SESSIONS.assign(AttendOrDNACode=["5", "3", "5"] * (len(SESSIONS) // 3))
    came = rows["AttendOrDNACode"] == "5"
    number = came.groupby(rows["PathwayID"]).cumsum()
    assert not is_asked(checked(tmp_path, rows.assign(**{"Session no": number})), "begin again")


@pytest.mark.parametrize(
    ("heading", "by_therapist", "study", "asked"),
    [
        ("Arm", True, "", True),
        ("Treatment type", True, "", True),
        ("Therapy", True, "", True),
        ("Intensity", True, "", True),
        ("Arm", False, "", False),  # therapists work in both
        ("Treatment weeks", True, "", False),
        ("Favourite", True, "", False),
        ("Arm", True, '[case_mix]\nadjust = ["Arm"]\n', False),
        ("Arm", True, '[keep]\nArm = ["CBT"]\n', False),
    ],
)
def test_a_treatment_that_therapists_do_not_share_is_asked_about(
    heading: str, by_therapist: bool, study: str, asked: bool, tmp_path: Path
) -> None:
    turn = FRAME["therapist_id"].str[1:].astype(int) if by_therapist else FRAME.index
    arm = ["CBT" if i % 2 else "GSH" for i in turn]
    check = checked(tmp_path, FRAME.assign(**{heading: arm}), study)
    assert is_asked(check, "each therapist stands under one entry") == asked


@pytest.mark.parametrize(
    ("codes", "study", "women"),
    [
        (["0", "1"], "", None),  # which is which?
        (["1", "2"], "", "2"),
        (["0", "1"], '[codes]\nfemale = ["1"]\nmale = ["0"]\n', "1"),
        (["0", "1"], '[codes]\nfemale = ["0"]\nmale = ["1"]\n', "0"),
        (["0", "1", "2", "2"], "", None),
    ],
)
def test_nought_and_one_are_no_gender_until_their_list_is_given(
    codes: list[str], study: str, women: str | None, tmp_path: Path
) -> None:
    gender = pd.Series(codes * 40)[: len(FRAME)]
    check = checked(tmp_path, FRAME.assign(gender=gender), study)
    assert is_asked(check, "not known to mean female or male") == (women is None)
    found = patients_of(check)["gender"]
    if women is not None:
        assert (found == "female").sum() == (gender == women).sum()
    elif "2" not in codes:
        assert set(found) == {"other"}


@pytest.mark.parametrize(
    ("slip", "rows", "asked"),
    [
        ("Tom Ainsly", 3, True),
        ("Tom Ainsley", 3, False),
        ("Tom Ainsly", 5, False),
        ("Ann Lee", 3, False),
    ],
)
def test_a_name_of_few_rows_one_letter_off_is_asked_about(
    slip: str, rows: int, asked: bool, tmp_path: Path
) -> None:
    names = FRAME["therapist_id"].replace(
        {"t0": "Tom Ainsley", "t1": "Mary Okafor", "t2": "Kim Burr"}
    )
    names = names.mask(FRAME.index < rows, slip)
    check = checked(tmp_path, FRAME.assign(therapist_id=names))
    assert is_asked(check, "one letter") == asked


@pytest.mark.parametrize(
    ("label", "asked"), [("t1 / t2", True), ("t1&t2", True), ("t1 and t2", True), ("t1 / x", False)]
)
def test_a_label_of_two_therapists_is_asked_about(label: str, asked: bool, tmp_path: Path) -> None:
    check = checked(tmp_path, FRAME.replace({"therapist_id": {"t3": label}}))
    assert is_asked(check, "is made of two others") == asked


@pytest.mark.parametrize(
    ("heading", "asked"),
    [("Therapist 2", True), ("Second clinician", True), ("Co-therapist", True), ("Room 2", False)],
)
def test_a_column_of_second_therapists_is_asked_about(
    heading: str, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, FRAME.assign(**{heading: "t1"}))
    assert is_asked(check, "headed as of a further therapist") == asked


@pytest.mark.parametrize("half", [True, False])
def test_dates_of_which_a_spreadsheet_turned_half_are_refused(half: bool, tmp_path: Path) -> None:
    day = pd.to_datetime(SESSIONS["CareContDate"]) + pd.to_timedelta(
        3 * pd.factorize(SESSIONS["PathwayID"])[0], unit="D"
    )
    text = day.dt.strftime("%d/%m/%Y")
    turned = day.dt.strftime("%Y-%d-%m").where(half & (day.dt.day <= 12), text)
    check = checked(tmp_path, SESSIONS.assign(CareContDate=turned))
    assert bool(check.problems) == half
    assert all("a spreadsheet has exchanged" in p.problem for p in check.problems)
