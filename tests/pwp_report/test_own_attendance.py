"""Which sessions took place, under whatever heading and code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, patients_of


@pytest.mark.neighbours
@pytest.mark.parametrize("name", ["DNA", "DNA flag", "Did not attend", "Missed", "No show"])
@pytest.mark.parametrize(("yes", "no"), [("Y", "N"), ("1", "0"), ("Yes", ""), ("TRUE", "FALSE")])
def test_a_column_of_missed_sessions_is_not_attendance(
    name: str, yes: str, no: str, tmp_path: Path
) -> None:
    plain = SESSIONS.drop(columns="AttendOrDNACode")
    missed = plain.groupby("PathwayID").tail(1).assign(CareContDate="2021-06-01", PHQ9=27)
    both = pd.concat([plain.assign(**{name: no}), missed.assign(**{name: yes})])
    found = patients_of(checked(tmp_path, both))
    pd.testing.assert_frame_equal(found, patients_of(checked(tmp_path, plain)))


@pytest.mark.parametrize("code", ["5", "05", "5.0", " 5 ", "Attended", "SEEN", "6.00"])
def test_codes_of_attendance_however_written(code: str, tmp_path: Path) -> None:
    check = checked(tmp_path, SESSIONS.assign(AttendOrDNACode=code))
    assert len(patients_of(check)) == len(FRAME)
    assert not check.remarks


def _with_missed(heading: str, attended: list[str], not_attended: list[str]) -> pd.DataFrame:
    """Add a session to every patient that did not take place, with another score."""
    plain = SESSIONS.drop(columns="AttendOrDNACode")
    missed = plain.groupby("PathwayID").tail(1).assign(CareContDate="2021-06-01")
    missed["PHQ9"] = missed["PHQ9"].to_numpy()[::-1]
    said = [attended[i % len(attended)] for i in range(len(plain))]
    not_said = [not_attended[i % len(not_attended)] for i in range(len(missed))]
    return pd.concat([plain.assign(**{heading: said}), missed.assign(**{heading: not_said})])


@pytest.mark.neighbours
@pytest.mark.parametrize(
    "heading",
    ["AttendCode", "Attend Code", "Attended or DNA", "Attendance code", "Attendance status",
     "AttOrDNA", "Attended?", "Appt. outcome", "Session attended", "Attended / DNA code"],
)  # fmt: skip
def test_headings_of_attendance_are_recognised(heading: str, tmp_path: Path) -> None:
    frame = _with_missed(heading, ["5", "6"], ["2", "3", "4", "7"])
    check = checked(tmp_path, frame)
    pd.testing.assert_frame_equal(patients_of(check), patients_of(checked(tmp_path, SESSIONS)))
    assert any("first and the last attended session" in s for s in check.understood)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("heading", "role", "attended", "not_attended"),
    [
        ("Kept", "attended", ["5", "6"], ["2", "3", "4", "7"]),
        ("Kept", "attended", ["05", "06"], ["02", "07"]),
        ("What happened", "attended", ["Attended", "Arrived late"], ["DNA", "Cancelled", "moved"]),
        ("Remark", "missed", [""], ["DNA", "did not attend"]),
        ("Came (seen today)", "attended", ["Y"], ["N"]),
        ("Client missed it", "missed", ["0"], ["1"]),
    ],
)
def test_a_column_that_looks_like_attendance_stops_until_it_is_settled(
    heading: str, role: str, attended: list[str], not_attended: list[str], tmp_path: Path
) -> None:
    frame = _with_missed(heading, attended, not_attended)
    check = checked(tmp_path, frame)
    (problem,) = check.problems
    assert problem.column == heading
    assert f'write {role} = "{heading}" under [columns]' in problem.hint
    assert not any("attended session" in s for s in check.understood)
    stated = patients_of(checked(tmp_path, frame, f'[columns]\n{role} = "{heading}"\n'))
    pd.testing.assert_frame_equal(stated, patients_of(checked(tmp_path, SESSIONS)))
    every = checked(tmp_path, frame, '[columns]\nattended = ""\n')
    assert (patients_of(every)["sessions"] == 4).all()
    assert any("every row counts as one" in r for r in every.remarks)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("heading", "by", "entries"),
    [
        ("Band", "CarePersLocalId", ["5", "6", "7"]),
        ("Employment", "PathwayID", ["2", "5"]),
        ("Step", "", ["2", "3"]),
        ("Homework done", "", ["Y", "N"]),
        ("Contact of course", "", ["1", "2", "3"]),
        ("Room", "", ["Blue", "Red", "DNA lab"]),
        ("Remark", "", ["", "", ""]),
    ],
)
def test_other_columns_of_sessions_stop_nothing(
    heading: str, by: str, entries: list[str], tmp_path: Path
) -> None:
    plain = SESSIONS.drop(columns="AttendOrDNACode")
    number = pd.factorize(plain[by])[0] if by else range(len(plain))
    column = [entries[i % len(entries)] for i in number]
    check = checked(tmp_path, plain.assign(**{heading: column}))
    pd.testing.assert_frame_equal(patients_of(check), patients_of(checked(tmp_path, SESSIONS)))
    said = " | ".join(check.understood)
    assert "every row counts as one" in said
    assert "attended" not in said.replace("AttendOrDNACode", "")
