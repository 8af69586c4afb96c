"""What the check asks about sessions, their dates and who held them, and how it reads labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, completeness_of, patients_of
from question_frames import (
    MANY,
    baselines,
    blocks,
    families,
    is_asked,
    later,
    messages,
    points,
    trainees,
)

from multilevel.errors import InputError
from pwp_report.recognise import of_nobody

_KEEP = '[keep]\nActivity = ["Review"]\n'
_RECORDED = '[sessions]\nscores = "recorded"\n'


@pytest.mark.parametrize(
    ("one", "other", "asked"),
    [
        ("Karen Whyte", "K Whyte", True),
        ("Karen M. Whyte", "K. M. Whyte", True),
        ("Karen Whyte", "J Whyte", False),
        ("Karen Whyte", "K White", False),
        ("Karen Whyte", "Whyte", True),  # a further word
        ("Unit 1 A", "U 2 A", False),
    ],
)
def test_a_name_and_its_initials_are_asked_about(
    one: str, other: str, asked: bool, tmp_path: Path
) -> None:
    frame = MANY.replace({"therapist_id": {"t1": one, "t2": other}})
    assert is_asked(checked(tmp_path, frame), "labels that differ from another") == asked


@pytest.mark.parametrize(
    ("entries", "study", "asked"),
    [
        (["Individual", "Pain group"], "", True),
        (["one-to-one", "Online groups", ""], "", True),
        (["Individual", "Pain group"], "[inclusion]\none_to_one = false\n", False),
        (["Individual", "Pain group"], '[columns]\nmode = "Format"\n', False),
        (["Individual", "Couple"], "", False),
        (["Group A", "Group B"], "", False),
    ],
)
def test_a_mode_that_is_not_named_is_asked_about(
    entries: list[str], study: str, asked: bool, tmp_path: Path
) -> None:
    frame = MANY.assign(Format=[entries[i % len(entries)] for i in range(len(MANY))])
    assert is_asked(checked(tmp_path, frame, study), "speak of a group") == asked


@pytest.mark.parametrize(
    ("blank", "study", "asked", "open_"),
    [
        (0, "", False, ""),
        (8, "", False, ""),
        (80, "", True, ""),
        (80, '[inclusion]\nstatus = ["closed"]\n', False, ""),
        (80, '[codes]\nin_treatment = ["here"]\n', True, "80"),
    ],
)
def test_an_empty_status_is_asked_about_and_who_is_in_treatment_is_said(
    blank: int, study: str, asked: bool, open_: str, tmp_path: Path
) -> None:
    words = ["Closed - completed treatment"] * len(MANY)
    words[:blank] = [""] * blank
    words[-80:] = ["here" if open_ else "Closed"] * 80
    check = checked(tmp_path, MANY.assign(Status=words), study)
    assert is_asked(check, "no entry that says whether their case is closed") == asked
    assert check.study.unfinished == open_


def test_endings_of_closed_cases_are_known_by_what_follows(tmp_path: Path) -> None:
    words = ["Closed - planned ending", "Discharged: dropped out", "closed"]
    frame = MANY.assign(Status=[words[i % 3] for i in range(len(MANY))])
    people = patients_of(checked(tmp_path, frame))
    assert (people["status"] == "closed").all()
    assert people["dropped_out"].mean() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize(("undated", "asked"), [(0, False), (5, False), (40, True)])
def test_scores_without_a_date_that_are_left_out_are_asked_about(
    undated: int, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, baselines(undated), '[leave_out]\nevent = ["baseline"]\n')
    assert is_asked(check, "have scores and no entry in CareContDate") == asked


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize(("study", "asked"), [("", True), (_KEEP, False), (_RECORDED, False)])
def test_rows_that_have_no_scores_and_are_of_another_kind_are_asked_about(
    every: int, study: str, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, messages(every), study)
    assert is_asked(check, "no sessions of treatment") == asked


@pytest.mark.parametrize("seed", range(10))
def test_a_column_that_tells_nothing_of_scores_is_not(seed: int, tmp_path: Path) -> None:
    kinds = np.random.default_rng(seed).choice(["phone", "video"], len(messages()))
    check = checked(tmp_path, messages().assign(Activity=kinds))
    assert not is_asked(check, "no sessions of treatment")


def test_sessions_known_to_be_missed_need_no_scores(tmp_path: Path) -> None:
    missed = SESSIONS.groupby("PathwayID").tail(1).assign(AttendOrDNACode="3", PHQ9="", GAD7="")
    both = pd.concat([SESSIONS, missed.assign(CareContDate="2021-06-01")])
    told = both.assign(Kind=both["PHQ9"].eq("").map({True: "none", False: "held"}))
    assert not is_asked(checked(tmp_path, told), "no sessions of treatment")


@pytest.mark.parametrize(
    ("label", "years", "asked"),
    [
        ("TR{}", 3, True),
        ("Trainee {}", 2, True),
        ("student-0{}", 4, True),
        ("TR{}", 1, False),
        ("T{}", 3, False),
        ("Trainer {}", 3, False),
    ],
)
def test_trainees_who_stand_under_several_years_are_asked_about(
    label: str, years: int, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, trainees(label, years))
    assert is_asked(check, "numbered anew each year") == asked


def test_trainees_with_the_year_in_their_label_are_not(tmp_path: Path) -> None:
    frame = trainees()
    own = frame.assign(therapist_id=frame["therapist_id"] + " " + frame["Year"])
    assert not is_asked(checked(tmp_path, own), "numbered anew each year")


@pytest.mark.parametrize(
    ("n", "days", "after", "study", "asked"),
    [
        (20, 200, 2, "", True),
        (20, 400, 3, "", True),
        (4, 400, 2, "", False),  # of a handful of patients
        (80, 150, 2, "", False),
        (80, 400, 1, "", False),  # who waited for treatment after an assessment
    ],
)
def test_sessions_that_lie_far_apart_are_asked_about(
    n: int, days: int, after: int, study: str, asked: bool, tmp_path: Path
) -> None:
    assert is_asked(checked(tmp_path, later(n, days, after), study), "half a year") == asked


def test_nothing_is_asked_of_dates_while_some_are_not_read(tmp_path: Path) -> None:
    frame = later(20, 200)
    assert is_asked(checked(tmp_path, frame), "half a year")
    frame.loc[frame.index[-1], "CareContDate"] = "13/13/2021"
    check = checked(tmp_path, frame)
    assert check.problems
    assert not [r for r in check.remarks if "half a year" in r]


def test_days_and_months_exchanged_lie_far_apart(tmp_path: Path) -> None:
    """A session a week for ten weeks, of patients who begin on any day of a year."""
    rows = pd.DataFrame([(p, s) for p in range(60) for s in range(10)], columns=["p", "s"])
    day = pd.Timestamp("2022-01-03") + pd.to_timedelta(6 * rows["p"] + 7 * rows["s"], unit="D")
    other = pd.Series([d.replace(month=d.day, day=d.month) if d.day <= 12 else d for d in day])
    frame = pd.DataFrame({"PathwayID": "p" + rows["p"].astype("str")})
    frame["CarePersLocalId"] = "t" + (rows["p"] % 6).astype("str")
    frame["PHQ9"] = (20 - rows["s"] + rows["p"] % 5).astype("str")
    for dates, asked in ((day, False), (other, True)):
        file = frame.assign(CareContDate=dates.dt.strftime("%d/%m/%Y"), Attended="yes")
        assert is_asked(checked(tmp_path, file), "exchanged days and months") == asked


def test_one_person_at_two_addresses_is_asked_about(tmp_path: Path) -> None:
    names = [
        "ann.lee",
        "bo.kerr",
        "cy.dunn",
        "di.ford",
        "ed.gale",
        "flo.hay",
        "gus.ives",
        "hal.joy",
    ]
    whose = FRAME["therapist_id"].str[1:].astype(int).map(lambda i: names[i % 8])
    at = pd.Series(np.where(FRAME.index % 2, "@old.org", "@new.nhs.uk"))
    one = checked(tmp_path, FRAME.assign(therapist_id=whose + "@old.org"))
    two = checked(tmp_path, FRAME.assign(therapist_id=whose + at))
    assert not is_asked(one, "after an @")
    assert is_asked(two, "after an @")


@pytest.mark.parametrize(
    ("label", "nobody"),
    [
        ("Vacant post", True),
        ("LOCUM", True),
        ("left service", True),
        ("duty.worker@north.nhs.uk", True),
        ("duty_team", True),
        ("n/a", False),  # which is read as missing
        ("Locumba, A", False),
        ("A. Banks", False),
    ],
)
def test_words_for_nobody_are_known_in_an_address_too(label: str, nobody: bool) -> None:
    assert of_nobody(pd.Series([label, None])).tolist() == [nobody, False]


def test_a_patient_may_have_the_number_that_means_missing_elsewhere(tmp_path: Path) -> None:
    numbered = FRAME.assign(patient_id=range(60, 60 + len(FRAME)))
    numbered["phq9_post"] = numbered["phq9_post"].mask(FRAME.index == 3, 99)
    check = checked(tmp_path, numbered, '[file]\nmissing = ["99"]\n')
    assert not check.problems
    assert "99" in set(patients_of(check)["patient_id"])
    assert len(patients_of(check)) == len(FRAME) - 1


@pytest.mark.parametrize(
    ("code", "asked"), [("9", True), ("12", True), ("27", False), ("99", False)]
)
def test_a_code_for_missing_that_is_a_score_like_others_is_asked_about(
    code: str, asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, FRAME, f'[file]\nmissing = ["{code}"]\n')
    assert is_asked(check, "is listed as missing") == asked


def test_a_code_that_stands_where_scores_are_missing_is_not(tmp_path: Path) -> None:
    """Nought, of a quarter of the patients, on a scale on which hardly anybody ends there."""
    post = FRAME["phq9_post"].clip(lower=3).mask(FRAME.index % 4 == 0, 0)
    check = checked(tmp_path, FRAME.assign(phq9_post=post), '[file]\nmissing = ["0"]\n')
    assert not is_asked(check, "0 is listed as missing, and stands among the scores of PHQ-9")


@pytest.mark.parametrize("change", [str.upper, str.title, lambda text: f" {text}  "])
def test_a_row_that_stands_twice_in_other_capitals_is_dropped_as_one(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    names = FRAME["therapist_id"].map(lambda t: "ann lee" if t == "t1" else "bo kerr")
    frame = FRAME.assign(therapist_id=names).drop(columns="service_id")
    again = frame.head(5).assign(therapist_id=frame["therapist_id"].head(5).map(change))
    twice = pd.concat([frame, again])
    found = checked(tmp_path, twice)
    assert [p.problem for p in found.problems] == [
        "this stands in a row above with the same entries"
    ]
    check = checked(tmp_path, twice, "[file]\ndrop_repeated_rows = true\n")
    assert len(patients_of(check)) == len(FRAME)


def test_rows_that_stand_twice_are_no_patients_of_several_therapists(tmp_path: Path) -> None:
    """Said at once, whatever the rule on several asks for."""
    twice = pd.concat([FRAME.drop(columns="sessions"), FRAME.drop(columns="sessions").head(3)])
    check = checked(tmp_path, twice, '[therapists]\nseveral = "most_sessions"\n')
    assert [p.problem for p in check.problems] == [
        "this stands in a row above with the same entries"
    ]


def test_sessions_known_as_follow_ups_are_not_unknown_words(tmp_path: Path) -> None:
    last = SESSIONS.groupby("PathwayID").tail(1)
    after = last.assign(AppType="6 month follow-up call", CareContDate="2021-11-01")
    kinds = pd.concat([SESSIONS, after])
    check = checked(tmp_path, kinds)
    assert any("80 follow-up sessions" in r for r in check.remarks)
    assert not is_asked(check, "AppType")


@pytest.mark.parametrize("heading", ["Point", "timepoint", "Wave label"])
@pytest.mark.parametrize(
    ("study", "asked"),
    [
        ("", True),
        ('[keep]\n{} = ["Baseline", "End of therapy"]\n', False),
        ('[leave_out]\n{} = ["Follow-up 6m"]\n', False),
        ('[columns]\ncontact_kind = ""\n', False),
        ('[file]\nset_aside = ["{}"]\n', False),
    ],
)
def test_rows_of_follow_ups_are_asked_about_whatever_their_heading(
    heading: str, study: str, asked: bool, tmp_path: Path
) -> None:
    quoted = f'"{heading}"' if " " in heading and "set_aside" not in study else heading
    check = checked(tmp_path, points(heading), study.format(quoted))
    assert is_asked(check, "speak of follow-ups") == asked


def test_who_lacks_the_row_of_the_end_counts_among_those_without_a_last_score(
    tmp_path: Path,
) -> None:
    keep = '[keep]\nPoint = ["Baseline", "End of therapy"]\n'
    rest = '[inclusion]\nminimum_sessions = 1\n[sessions]\nscores = "recorded"\n'
    alone, both = (checked(tmp_path, points(), keep + more) for more in ("", rest))
    assert is_asked(alone, "one row is left")
    assert not is_asked(both, "one row is left")
    assert int(completeness_of(alone)["complete"].sum()) == 60
    found = completeness_of(both)
    assert (int(found["eligible"].sum()), int(found["complete"].sum())) == (80, 60)


@pytest.mark.parametrize(("n", "asked"), [(1, False), (2, True), (5, True)])
def test_names_that_stand_in_the_first_row_of_a_block_alone_are_asked_about(
    n: int, asked: bool, tmp_path: Path
) -> None:
    assert is_asked(checked(tmp_path, blocks(n)), "no therapist stands beside") == asked


@pytest.mark.parametrize("stood_in", [0, 1, 3])
def test_arms_are_asked_about_though_somebody_stood_in(stood_in: int, tmp_path: Path) -> None:
    arm = MANY["therapist_id"].isin(["t0", "t1", "t2"])
    arm = arm.mask(MANY.groupby("therapist_id").cumcount() < stood_in, ~arm)
    check = checked(tmp_path, MANY.assign(Arm=arm.map({True: "a", False: "b"})))
    assert is_asked(check, "under one entry of column Arm alone")


@pytest.mark.parametrize(("size", "asked"), [(1, False), (2, True), (3, True), (5, True)])
def test_families_are_asked_about(size: int, asked: bool, tmp_path: Path) -> None:
    assert is_asked(checked(tmp_path, families(size)), "column Family case") == asked


def test_a_column_set_aside_is_asked_about_no_more(tmp_path: Path) -> None:
    study = '[file]\nset_aside = ["Therapist 2"]\n'
    frame = FRAME.assign(**{"Therapist 2": "t1"})
    assert is_asked(checked(tmp_path, frame), "headed as of a further therapist")
    assert not is_asked(checked(tmp_path, frame, study), "headed as of a further therapist")
    with pytest.raises(InputError, match="for set_aside that is not there"):
        checked(tmp_path, FRAME, study)


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("Kath", "Kath M"), True),
        (("Kath Brown", "Kath Brown Miles"), True),
        (("Smith", "Dr Smith"), True),
        (("Kath", "Katherine"), False),
        (("Kath Brown", "Kath Miles"), False),  # of whom nothing tells
        (("Team 1", "Team"), False),
    ],
)
def test_a_name_with_a_further_one_is_asked_about(
    names: tuple[str, str], asked: bool, tmp_path: Path
) -> None:
    others = {
        "t2": "Omar Nour",
        "t3": "Bea Lund",
        "t4": "Cy Dunn",
        "t5": "Di Ford",
        "t6": "Ed Gale",
    }
    known = {"t0": names[0], "t1": names[1], "t7": "Flo Hay", **others}
    check = checked(tmp_path, FRAME.assign(therapist_id=FRAME["therapist_id"].map(known)))
    assert is_asked(check, "a further word") == asked
