"""Entries of own data: dates, times, words and codes, as systems and people write them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, patients_of

from multilevel.errors import InputError
from pwp_report.check import check_study_data
from pwp_report.study_file import read_study

_FORMS = [
    "%Y-%m-%d", "%Y-%m-%d 00:00:00.000", "%Y-%m-%d 09:30", "%Y-%m-%dT09:30:00Z", "%Y/%m/%d",
    "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y 9:30 PM", "%d-%b-%y", "%d-%b-%Y", "%d %B %Y", "%B %d, %Y",
    "%Y%m%d", "%Y-%m-%dT09:30:00+01:00", "%d/%m/%y",
]  # fmt: skip


@pytest.mark.neighbours
@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("other", ["%Y-%m-%d", ""])
def test_dates_as_systems_and_people_write_them(form: str, other: str, tmp_path: Path) -> None:
    days = pd.to_datetime(SESSIONS["CareContDate"])
    texts = days.dt.strftime(form)
    if other:
        texts = texts.where(SESSIONS.index % 3 > 0, days.dt.strftime(other))
    backwards = SESSIONS.assign(CareContDate=texts)[::-1]
    expected = patients_of(checked(tmp_path, SESSIONS))
    pd.testing.assert_frame_equal(patients_of(checked(tmp_path, backwards)), expected)


def test_day_numbers_of_a_spreadsheet_are_dates(tmp_path: Path) -> None:
    days = (pd.to_datetime(SESSIONS["CareContDate"]) - pd.Timestamp("1899-12-30")).dt.days
    found = patients_of(checked(tmp_path, SESSIONS.assign(CareContDate=days)[::-1]))
    pd.testing.assert_frame_equal(found, patients_of(checked(tmp_path, SESSIONS)))


def test_a_wrong_date_is_one_problem_and_not_three(tmp_path: Path) -> None:
    check = checked(tmp_path, SESSIONS.assign(CareContDate="soon"))
    assert [p.kind for p in check.problems] == ["something that is not a date"]


@pytest.mark.parametrize("form", ["%", "%Q", "d/m/Y", "%H:%M", "%m"])
def test_a_bad_form_of_dates_is_one_sentence(form: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f'[file]\ndate_format = "{form}"\n', encoding="utf-8")
    with pytest.raises(InputError, match="date_format is not the form of a date"):
        read_study(tmp_path / "s.toml")


@pytest.mark.parametrize("never", ["9999-12-31", "31/12/9999", "2999-12-31 00:00:00", ""])
def test_a_discharge_that_never_comes_is_none(never: str, tmp_path: Path) -> None:
    frame = FRAME.assign(ServDischDate=[never, "2021-03-05"] * 40)
    status = patients_of(checked(tmp_path, frame)).set_index("patient_id")["status"]
    assert status[["p0", "p1"]].tolist() == ["in_treatment", "closed"]


def test_the_time_decides_between_two_sessions_of_a_day(tmp_path: Path) -> None:
    one_day = SESSIONS.assign(CareContDate="2021-03-05", time=["9:00", "10:30", "16:45"] * 80)
    found = patients_of(checked(tmp_path, one_day[::-1]))
    pd.testing.assert_frame_equal(found, patients_of(checked(tmp_path, SESSIONS)))
    problems = checked(tmp_path, one_day.drop(columns="time")).problems
    assert any("name their time as time under [columns]" in p.hint for p in problems)


def test_words_that_are_not_known_are_counted(tmp_path: Path) -> None:
    words = ["kam"] * 24 + ["5"] * 216
    check = checked(tmp_path, SESSIONS.assign(AttendOrDNACode=words))
    assert any("10% of the entries of column AttendOrDNACode" in r for r in check.remarks)
    assert not any("kam" in r for r in check.remarks)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("word", "means"),
    [
        *[
            (w, "in_treatment")
            for w in (
                "Still in treatment",
                "In therapy",
                "ongoing",
                "Open",
                "active",
                "Current",
            )
        ],
        *[
            (w, "in_treatment")
            for w in ("Treatment ongoing", "In progress", "still open", "Not yet discharged")
        ],
        ("Planned ending", "closed"),
        ("Mutually agreed completion of treatment", "closed"),
        ("Dropped out of treatment (unscheduled discontinuation)", "dropped_out"),
        ("Unplanned ending", "dropped_out"),
    ],
)
def test_words_for_how_a_case_stands(word: str, means: str, tmp_path: Path) -> None:
    status = [word if i % 3 else "Completed" for i in range(len(FRAME))]
    check = checked(tmp_path, FRAME.assign(status=status))
    assert not list(check.problems)
    others = checked(tmp_path, FRAME.assign(status=status), '[inclusion]\nstatus = ["closed"]\n')
    left = len(patients_of(others)) / len(patients_of(check))
    assert (left < 0.5) == (means == "in_treatment")
    people = patients_of(check)
    dropped = people["dropped_out"].mean() if "dropped_out" in people else 0.0
    assert (dropped > 0.5) == (means == "dropped_out")


def test_neither_open_nor_closed_is_left_out_and_empty_is_not_closed(tmp_path: Path) -> None:
    frame = FRAME.assign(status=["closed", "Waiting", "", "open"] * 20)
    assert len(patients_of(checked(tmp_path, frame))) == 60
    check = checked(tmp_path, frame, '[inclusion]\nstatus = ["closed"]\n')
    assert len(patients_of(check)) == 20


@pytest.mark.parametrize("asked", ["gender", "Sex"])
def test_the_case_mix_calls_a_gender_as_the_table_of_categories_does(
    asked: str, tmp_path: Path
) -> None:
    codes = [["1", "2", "0", "X", "9"][i % 5] for i in range(len(FRAME))]
    frame = FRAME.assign(Sex=codes)
    people = patients_of(checked(tmp_path, frame, f'[case_mix]\nadjust = ["{asked}"]\n'))
    assert set(people["mix_0"].dropna()) == {"male", "female"}
    assert people["mix_0"].equals(people["gender"])
    assert people["mix_0"].isna().sum() == 3 * len(FRAME) // 5


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("Prefer not to say", False),
        ("Not disclosed", False),
        ("Declined to answer", False),
        ("Not Known (not recorded)", False),
        ("undisclosed", False),
        ("Non-binary", True),
        ("Transgender", True),
        ("Other", True),
    ],
)
def test_who_did_not_say_has_no_other_gender(word: str, other: bool, tmp_path: Path) -> None:
    frame = FRAME.assign(gender=[word] * 9 + ["Female"] * (len(FRAME) - 9))
    found = patients_of(checked(tmp_path, frame))["gender"]
    assert (found == "other").sum() == 9 * other
    assert found.isna().sum() == 9 * (not other)


@pytest.mark.parametrize(
    ("columns", "left", "enough"),
    [
        (["Band", "Resilience scale"], "Band", "yes"),
        (["Band", "Office"], "Band, Office", "no"),
        (["Years of experience", "Age"], "", "yes"),
    ],
)
def test_what_a_table_of_therapists_has_that_is_not_used_is_named(
    columns: list[str], left: str, enough: str, tmp_path: Path
) -> None:
    staff = pd.DataFrame({"Therapist": sorted(FRAME["therapist_id"].unique())})
    staff = staff.assign(**{c: range(len(staff)) for c in columns})
    staff.to_csv(tmp_path / "staff.csv", index=False)
    FRAME.to_csv(tmp_path / "own.csv", index=False)
    check = check_study_data(tmp_path / "own.csv", therapists=tmp_path / "staff.csv")
    said = [r for r in check.remarks if r.startswith("of the table of therapists")]
    assert [r.split("used: ")[1].split(";")[0] for r in said] == [left] * bool(left)
    steps = check.enough.set_index("step").loc["therapists' own scales"]
    assert (steps["has"] != "0") == (enough == "yes")


def test_gender_in_other_languages_is_no_other_gender(tmp_path: Path) -> None:
    codes = ["w", "m", "d", "weiblich", "Männlich", "Vrouw", "homme", "Frau"]
    frame = FRAME.assign(gender=codes * (len(FRAME) // 8))
    found = patients_of(checked(tmp_path, frame))["gender"].iloc[:8].tolist()
    want = ["female", "male", "other", "female", "male", "female", "male", "female"]
    assert found == want
