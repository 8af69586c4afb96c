"""Own data as strangers have them: neighbours of what was once read wrongly, each generated."""

from __future__ import annotations

import re
from pathlib import Path

import bad_files
import file_builders
import openpyxl
import pandas as pd
import pytest
from running import run

from multilevel.errors import InputError
from pwp_report.check import Check, check_study_data
from pwp_report.disclosure import MARK, DisclosurePolicy, share_between
from pwp_report.study_file import read_study

FRAME = bad_files.good_frame()
SESSIONS = bad_files.session_frame().drop(columns="note")


def _check(folder: Path, frame: pd.DataFrame, study: str = "") -> Check:
    frame.to_csv(folder / "own.csv", index=False)
    (folder / "study.toml").write_text(study, encoding="utf-8")
    return check_study_data(folder / "own.csv", folder / "study.toml")


def _people(check: Check) -> pd.DataFrame:
    assert check.cohort is not None, [p.problem for p in check.problems]
    return check.cohort.patients


# --- Dates --------------------------------------------------------------------------------------

_FORMS = [
    "%Y-%m-%d", "%Y-%m-%d 00:00:00.000", "%Y-%m-%d 09:30", "%Y-%m-%dT09:30:00Z", "%Y/%m/%d",
    "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y 9:30 PM", "%d-%b-%y", "%d-%b-%Y", "%d %B %Y", "%B %d, %Y",
    "%Y%m%d", "%Y-%m-%dT09:30:00+01:00", "%d/%m/%y",
]  # fmt: skip


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("other", ["%Y-%m-%d", ""])
def test_dates_as_systems_and_people_write_them(form: str, other: str, tmp_path: Path) -> None:
    days = pd.to_datetime(SESSIONS["CareContDate"])
    texts = days.dt.strftime(form)
    if other:
        texts = texts.where(SESSIONS.index % 3 > 0, days.dt.strftime(other))
    backwards = SESSIONS.assign(CareContDate=texts)[::-1]
    expected = _people(_check(tmp_path, SESSIONS))
    pd.testing.assert_frame_equal(_people(_check(tmp_path, backwards)), expected)


def test_day_numbers_of_a_spreadsheet_are_dates(tmp_path: Path) -> None:
    days = (pd.to_datetime(SESSIONS["CareContDate"]) - pd.Timestamp("1899-12-30")).dt.days
    found = _people(_check(tmp_path, SESSIONS.assign(CareContDate=days)[::-1]))
    pd.testing.assert_frame_equal(found, _people(_check(tmp_path, SESSIONS)))


def test_a_wrong_date_is_one_problem_and_not_three(tmp_path: Path) -> None:
    check = _check(tmp_path, SESSIONS.assign(CareContDate="soon"))
    assert [p.kind for p in check.problems] == ["something that is not a date"]


@pytest.mark.parametrize("form", ["%", "%Q", "d/m/Y", "%H:%M", "%m"])
def test_a_bad_form_of_dates_is_one_sentence(form: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f'[file]\ndate_format = "{form}"\n', encoding="utf-8")
    with pytest.raises(InputError, match="date_format is not the form of a date"):
        read_study(tmp_path / "s.toml")


@pytest.mark.parametrize("never", ["9999-12-31", "31/12/9999", "2999-12-31 00:00:00", ""])
def test_a_discharge_that_never_comes_is_none(never: str, tmp_path: Path) -> None:
    frame = FRAME.assign(ServDischDate=[never, "2021-03-05"] * 40)
    status = _people(_check(tmp_path, frame)).set_index("patient_id")["status"]
    assert status[["p0", "p1"]].tolist() == ["in_treatment", "closed"]


def test_the_time_decides_between_two_sessions_of_a_day(tmp_path: Path) -> None:
    one_day = SESSIONS.assign(CareContDate="2021-03-05", time=["9:00", "10:30", "16:45"] * 80)
    found = _people(_check(tmp_path, one_day[::-1]))
    pd.testing.assert_frame_equal(found, _people(_check(tmp_path, SESSIONS)))
    remarks = _check(tmp_path, one_day.drop(columns="time")).remarks
    assert any("same day" in r for r in remarks)


# --- Words and codes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DNA", "DNA flag", "Did not attend", "Missed", "No show"])
@pytest.mark.parametrize(("yes", "no"), [("Y", "N"), ("1", "0"), ("Yes", ""), ("TRUE", "FALSE")])
def test_a_column_of_missed_sessions_is_not_attendance(
    name: str, yes: str, no: str, tmp_path: Path
) -> None:
    plain = SESSIONS.drop(columns="AttendOrDNACode")
    missed = plain.groupby("PathwayID").tail(1).assign(CareContDate="2021-06-01", PHQ9=27)
    both = pd.concat([plain.assign(**{name: no}), missed.assign(**{name: yes})])
    found = _people(_check(tmp_path, both))
    pd.testing.assert_frame_equal(found, _people(_check(tmp_path, plain)))


@pytest.mark.parametrize("code", ["5", "05", "5.0", " 5 ", "Attended", "SEEN", "6.00"])
def test_codes_of_attendance_however_written(code: str, tmp_path: Path) -> None:
    check = _check(tmp_path, SESSIONS.assign(AttendOrDNACode=code))
    assert len(_people(check)) == len(FRAME)
    assert not check.remarks


def test_words_that_are_not_known_are_counted(tmp_path: Path) -> None:
    words = ["kam"] * 24 + ["5"] * 216
    check = _check(tmp_path, SESSIONS.assign(AttendOrDNACode=words))
    assert any("10% of the entries of column AttendOrDNACode" in r for r in check.remarks)
    assert not any("kam" in r for r in check.remarks)


def test_neither_open_nor_closed_is_left_out_and_empty_is_not_closed(tmp_path: Path) -> None:
    frame = FRAME.assign(status=["closed", "Waiting", "", "open"] * 20)
    assert len(_people(_check(tmp_path, frame))) == 60
    check = _check(tmp_path, frame, '[inclusion]\nstatus = ["closed"]\n')
    assert len(_people(check)) == 20


# --- Who is one patient, one therapist ----------------------------------------------------------


@pytest.mark.parametrize("course", ["ReferralID", "PathwayID", "Episode ID", "CaseNo"])
@pytest.mark.parametrize("person", ["PatientID", "Client ID", "Person_ID", "NHS number"])
def test_a_course_of_treatment_comes_before_the_person(
    course: str, person: str, tmp_path: Path
) -> None:
    persons = [f"q{i // 2}" for i in range(len(FRAME))]
    frame = FRAME.rename(columns={"patient_id": course}).assign(**{person: persons})
    check = _check(tmp_path, frame)
    assert check.study.columns["patient_id"] == course
    assert len(_people(check)) == len(FRAME)
    assert any("several courses" in r for r in check.remarks)


@pytest.mark.parametrize(
    ("one", "another"),
    [("Smith J", "SMITH J"), ("Smith J", "Smith  J"), ("Smith J", "Smith\u00a0J"),
     ("Smith J", "Smith\u200b J"), ("007", "7"), ("12", "0012")],
)  # fmt: skip
def test_spellings_of_one_therapist_are_one(one: str, another: str, tmp_path: Path) -> None:
    names = [*[one] * 6, *[another] * 4, *FRAME["therapist_id"][10:]]
    found = _people(_check(tmp_path, FRAME.assign(therapist_id=names)))
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
        _people(_check(tmp_path, FRAME.assign(therapist_id=names)))["therapist_id"].nunique() == 9
    )


@pytest.mark.parametrize("word", ["Unallocated", "UNASSIGNED", "TBC", "Waiting list", "vacant"])
def test_nobody_is_no_therapist(word: str, tmp_path: Path) -> None:
    check = _check(tmp_path, FRAME.assign(therapist_id=[word] * 10 + [*FRAME["therapist_id"][10:]]))
    assert word not in set(_people(check)["therapist_id"])
    assert check.rules.set_index("rule")["excluded"]["a therapist is recorded"] == 10


@pytest.mark.parametrize("role", ["patient_id", "therapist_id"])
@pytest.mark.parametrize("number", ["1.23E+15", "4E+09", "9,87e+12"])
def test_identifiers_that_a_spreadsheet_shortened_are_a_problem(
    role: str, number: str, tmp_path: Path
) -> None:
    check = _check(tmp_path, FRAME.assign(**{role: [number, *FRAME[role][1:]]}))
    assert [(p.rows, p.column) for p in check.problems] == [((2,), role)]


def test_the_first_therapist_needs_a_date(tmp_path: Path) -> None:
    twice = pd.concat([FRAME, FRAME.iloc[[4]].assign(therapist_id="t7", service_id="s1")])
    with pytest.raises(InputError, match="needs a column of dates"):
        _check(tmp_path, twice, '[therapists]\nseveral = "first"\n')


# --- Headings, measures, scales -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("therapist_id", "therapst_id"), ("therapist_id", "thearpist_id"), ("sessions", "sesions"),
     ("service_id", "servicee_id"), ("sessions", "sessoins")],
)  # fmt: skip
def test_a_heading_one_letter_off_is_not_passed_over(
    right: str, wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=right):
        _check(tmp_path, FRAME.rename(columns={right: wrong}))


@pytest.mark.parametrize("score", ["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"])
def test_half_a_measure_stops_with_the_name_that_was_meant(score: str, tmp_path: Path) -> None:
    wrong = score.replace("_p", "_pp")
    with pytest.raises(InputError, match=f"did you mean {wrong}"):
        _check(tmp_path, FRAME.rename(columns={score: wrong}))


@pytest.mark.parametrize(
    ("pre", "post"),
    [("PHQ9 at assessment", "PHQ9 at discharge"), ("Pre-treatment PHQ-9", "Post-treatment PHQ-9"),
     ("PHQ9 Start of Treatment", "PHQ9 End of Treatment"), ("PHQ9 First Session", "PHQ9 Last"),
     ("First PHQ9 Score", "Most Recent PHQ9 Score"), ("PHQ_9_intake", "PHQ_9_termination")],
)  # fmt: skip
def test_headings_that_services_use(pre: str, post: str, tmp_path: Path) -> None:
    check = _check(tmp_path, FRAME.rename(columns={"phq9_pre": pre, "phq9_post": post}))
    assert _people(check)["phq9_pre"].sum() == FRAME["phq9_pre"].sum()
    assert _people(check)["phq9_post"].sum() == FRAME["phq9_post"].sum()


def test_means_of_items_exchanged_scores_and_empty_measures_are_asked_about(
    tmp_path: Path,
) -> None:
    mean = FRAME.assign(core_om_pre=FRAME["phq9_pre"] / 7, core_om_post=FRAME["phq9_post"] / 7)
    assert any("means of items" in r for r in _check(tmp_path, mean).remarks)
    exchanged = FRAME.rename(columns={"phq9_pre": "phq9_post", "phq9_post": "phq9_pre"})
    assert any("got worse on average on PHQ-9" in r for r in _check(tmp_path, exchanged).remarks)
    mostly = FRAME.assign(wsas_pre=20, wsas_post=[10 if i % 4 == 0 else "" for i in FRAME.index])
    check = _check(tmp_path, mostly)
    assert len(_people(check)) == len(FRAME)
    assert any("WSAS is not used: it is missing" in r for r in check.remarks)


# --- Rows that are no patients ------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["Total", "Sub-total", "Subtotal:", "Grand Total", "Median", "Average", "Count", "N",
             "Page 1 of 3", "Printed 3 May 2021", "Source: the service", "Team A total"],
)  # fmt: skip
def test_totals_and_footers_are_told_from_patients(word: str, tmp_path: Path) -> None:
    row = FRAME.tail(1).astype(object).assign(patient_id=word, phq9_pre=900, therapist_id="")
    check = _check(tmp_path, pd.concat([FRAME, row]))
    (problem,) = check.problems
    assert problem.rows == (82,)
    assert problem.hint.startswith("delete it, or list its entry under [leave_out]")
    left = _check(tmp_path, pd.concat([FRAME, row]), f'[leave_out]\npatient_id = ["{word}"]\n')
    pd.testing.assert_frame_equal(_people(left), _people(_check(tmp_path, FRAME)))


def _workbook(path: Path, above: int = 0, below: int = 0, hide: int = 0, merge: str = "") -> Path:
    book = openpyxl.Workbook()
    file_builders.put(book.active, FRAME, above=above)
    for _ in range(below):
        book.active.append(["Produced by the service"])
    for row in range(5, 5 + hide):
        book.active.row_dimensions[row].hidden = True
    if merge:
        book.active.merge_cells(merge)
    book.create_sheet("Notes").append(["how it was made"])
    book.save(path)
    return path


@pytest.mark.parametrize("above", [0, 1, 3])
@pytest.mark.parametrize("below", [0, 2])
@pytest.mark.parametrize("hide", [0, 4])
def test_titles_notes_and_hidden_rows_of_a_workbook(
    above: int, below: int, hide: int, tmp_path: Path
) -> None:
    merge = "A1:I1" if above else ""
    path = _workbook(tmp_path / "own.xlsx", above=above, below=below, hide=hide, merge=merge)
    check = check_study_data(path)
    assert len(_people(check)) == len(FRAME)
    said = " | ".join(check.remarks)
    assert (f"{above} row{'s' * (above > 1)} above the header left out" in said) == bool(above)
    assert any("the sheet read is " in s for s in check.understood)
    assert ("below the table" in said) == bool(below)
    assert (f"by a filter perhaps, and read: {hide}" in said) == bool(hide)


@pytest.mark.parametrize("titles", [0, 1, 2])
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_rows_above_a_header_are_counted_with_the_empty_ones(
    titles: int, empty: int, tmp_path: Path
) -> None:
    book = openpyxl.Workbook()
    book.active.title = "March"
    for row in range(titles):
        book.active.cell(row + 1, 1, "Outcomes of the service")
    for j, name in enumerate(FRAME.columns):
        for i, value in enumerate([name, *FRAME[name].tolist()]):
            book.active.cell(titles + empty + i + 1, j + 1, value)
    book.save(tmp_path / "own.xlsx")
    check = check_study_data(tmp_path / "own.xlsx")
    assert "the sheet read is March" in check.understood
    above = titles + empty
    said = f"{above} row{'s' * (above > 1)} above the header left out"
    assert (said in check.remarks) == bool(titles)


# --- Data lost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["same", "link", "dots"])
def test_no_command_writes_over_what_it_reads(way: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "m.parquet"
    FRAME.to_parquet(path)
    out = path
    if way == "link":
        out = tmp_path / "link.parquet"
        out.symlink_to(path)
    elif way == "dots":
        (tmp_path / "sub").mkdir()
        out = tmp_path / "sub" / ".." / "m.parquet"
    before = path.read_bytes()
    assert run("summarise", path, "--out", out, "--key", tmp_path / "keys" / "k") == 2
    assert "would replace a file that is read" in capsys.readouterr().err
    assert run("pool", path, path, "--out", out) == 2
    assert "would replace" in capsys.readouterr().err
    assert path.read_bytes() == before


# --- What stands around the table ---------------------------------------------------------------

_ABOVE = [
    ["Outcomes 2021"],
    ["Outcomes 2021,,,,,,,,"],
    ["Service: North, first half of 2021", "Printed on Monday"],
    ["Report", "", "Period,2021"],
    ["Outcomes 2021", ",,,,,,,,", "Team,North"],
]
_BELOW = [
    [],
    ["Source: the service"],
    ["Source: the service,,,,,,,,"],
    ["Source: the service, first half", "Not for circulation"],
    ["", "End of report"],
]


@pytest.mark.parametrize("above", _ABOVE)
@pytest.mark.parametrize("below", _BELOW)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_titles_and_notes_around_a_table_are_left_out(
    above: list[str], below: list[str], delimiter: str, tmp_path: Path
) -> None:
    table = FRAME.to_csv(index=False).splitlines()
    lines = [line.replace(",", delimiter) for line in [*above, *table, *below]]
    (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    check = check_study_data(tmp_path / "own.csv")
    pd.testing.assert_frame_equal(_people(check), _people(_check(tmp_path, FRAME)))
    said = " ".join(check.remarks)
    assert "above the header left out" in said
    assert ("below the table left out" in said) == bool(below)


@pytest.mark.parametrize("last", ["p79,t7", "p79", 'p79,t7,"14', "p79,t7,14,"])
def test_a_row_that_was_cut_is_not_taken_for_a_note(last: str, tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).splitlines()
    (tmp_path / "own.csv").write_text("\n".join([*lines[:-1], last]), encoding="utf-8")
    with pytest.raises(InputError, match="row 81"):
        check_study_data(tmp_path / "own.csv")


# --- Which rows and scores a study chooses ------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "entries", "left"),
    [("keep", '["north"]', 40), ("keep", '["North", "east"]', 60), ("leave_out", '["South"]', 60),
     ("leave_out", '["north", ""]', 40)],
)  # fmt: skip
def test_rows_are_kept_or_left_out_by_any_column(
    section: str, entries: str, left: int, tmp_path: Path
) -> None:
    frame = FRAME.assign(Team=["North", "South", "North", "East"] * 20)
    check = _check(tmp_path, frame, f"[{section}]\nTeam = {entries}\n")
    assert len(_people(check)) == left
    assert [s.patients for s in check.flow[:2]] == [80, left]
    with pytest.raises(InputError, match="did you mean Team"):
        _check(tmp_path, frame, f"[{section}]\nTeams = {entries}\n")


def test_repeated_rows_are_dropped_where_a_study_says_so(tmp_path: Path) -> None:
    twice = pd.concat([FRAME, FRAME.head(7)])
    check = _check(tmp_path, twice, "[file]\ndrop_repeated_rows = true\n")
    pd.testing.assert_frame_equal(_people(check), _people(_check(tmp_path, FRAME)))
    assert any(r.startswith("7 rows with the same entries") for r in check.remarks)


def test_numbers_that_begin_anew_in_each_service(tmp_path: Path) -> None:
    services = [FRAME.assign(service_id=s) for s in ("North", "South")]
    both = pd.concat(services)
    check = _check(tmp_path, both, "[file]\nnumbers_restart = true\n")
    assert len(_people(check)) == 2 * len(FRAME)
    assert _people(check)["therapist_id"].nunique() == 2 * FRAME["therapist_id"].nunique()


def test_the_last_recorded_score_and_follow_ups(tmp_path: Path) -> None:
    last = SESSIONS.groupby("PathwayID").tail(1)
    scores = [20 + i % 8 for i in range(len(last))]
    later = last.assign(CareContDate="2023-01-05", PHQ9=scores, AppType="follow-up")
    sessions = pd.concat([SESSIONS, later])
    plain = _people(_check(tmp_path, SESSIONS)).set_index("patient_id")
    check = _check(tmp_path, sessions)
    assert _people(check).set_index("patient_id")["phq9_post"].equals(plain["phq9_post"])
    assert any("follow-up sessions after the end" in r for r in check.remarks)
    counted = _people(_check(tmp_path, sessions, "[sessions]\nfollow_ups = true\n"))
    given = pd.Series(scores, [*later["PathwayID"]])
    assert counted.set_index("patient_id")["phq9_post"].sort_index().eq(given.sort_index()).all()
    gaps = SESSIONS.assign(PHQ9=SESSIONS["PHQ9"].astype(object))
    gaps.loc[last.index, "PHQ9"] = ""
    recorded = _people(_check(tmp_path, gaps, '[sessions]\nscores = "recorded"\n'))
    middle = SESSIONS.drop(index=last.index).groupby("PathwayID")["PHQ9"].last()
    found = recorded.set_index("patient_id")["phq9_post"].sort_index()
    assert found.tolist() == middle.sort_index().tolist()


def test_patients_may_lack_a_measure_that_is_not_required(tmp_path: Path) -> None:
    frame = FRAME.assign(gad7_post=FRAME["gad7_post"].astype(object))
    frame.loc[:19, "gad7_post"] = ""
    study = "[measures.phq9]\n[measures.gad7]\nrequired = {}\n"
    assert len(_people(_check(tmp_path, frame, study.format("false")))) == 80
    assert len(_people(_check(tmp_path, frame, study.format("true")))) == 60


def test_moments_on_other_scales_are_not_added(tmp_path: Path, capsys) -> None:
    for name, top in (("a", 27), ("b", 40)):
        big = pd.concat([FRAME] * 3).assign(patient_id=range(3 * len(FRAME)))
        big.assign(therapist_id=name + big["therapist_id"]).to_csv(tmp_path / f"{name}.csv")
        study = f"[measures.mood]\nminimum = 0\nmaximum = {top}\nhigher_is_worse = true\n"
        study += 'pre = "phq9_pre"\npost = "phq9_post"\n'
        (tmp_path / f"{name}.toml").write_text(study)
        out = tmp_path / "out" / f"{name}.parquet"
        out.parent.mkdir(exist_ok=True)
        key = tmp_path / "keys" / name
        data = pd.read_csv(tmp_path / f"{name}.csv").iloc[:, 1:]
        data.to_csv(tmp_path / f"{name}.csv", index=False)
        made = run("summarise", tmp_path / f"{name}.csv", "--out", out, "--key", key, "--study",
                   tmp_path / f"{name}.toml")  # fmt: skip
        assert made == 0, capsys.readouterr().err
    assert run("pool", tmp_path / "out" / "a.parquet", tmp_path / "out" / "b.parquet") == 2
    assert "another scale" in capsys.readouterr().err


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
    check = _check(tmp_path, one_each)
    assert any("numbers_restart" in r for r in check.remarks)
    assert not any("numbers_restart" in r for r in _check(tmp_path, frame).remarks)
    told = _check(tmp_path, one_each, "[file]\nnumbers_restart = true\n")
    assert len(_people(told)) == FRAME["patient_id"].nunique()
    assert not any("numbers_restart" in r for r in told.remarks)


def test_all_that_is_wrong_with_a_workbook_is_said_at_once(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in [list(FRAME.columns), *FRAME.astype(object).values.tolist()]:
        sheet.append(row)
    sheet["D3"] = "=1+1"
    sheet.merge_cells("B4:B5")
    book.save(tmp_path / "own.xlsx")
    with pytest.raises(InputError, match="merged cells, and the workbook has formulas") as said:
        check_study_data(tmp_path / "own.xlsx")
    assert "unmerge them" in str(said.value)
    assert "open it in Excel" in str(said.value)


def test_all_rows_that_do_not_fit_are_counted_at_once(tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).splitlines()
    for row in (5, 9, 30):
        lines[row] += ",1"
    (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"row 6: .*\(2 more such rows\)"):
        check_study_data(tmp_path / "own.csv")


@pytest.mark.parametrize("costly", ["phq9", "gad7"])
@pytest.mark.parametrize("end", ["pre", "post"])
def test_the_flow_says_which_measure_costs_which_patients(
    costly: str, end: str, tmp_path: Path
) -> None:
    gaps = FRAME[f"{costly}_{end}"].astype(object).mask(FRAME.index % 8 == 1, "")
    check = _check(tmp_path, FRAME.assign(**{f"{costly}_{end}": gaps}))
    label = {"phq9": "PHQ-9", "gad7": "GAD-7"}
    excluded = check.rules.set_index("rule")["excluded"]
    for name, words in label.items():
        assert excluded[f"a score on {words} at both ends"] == (10 if name == costly else 0)
    assert check.completeness.iloc[:, 0].sum() == len(FRAME)
    assert len(_people(check)) == 70


@pytest.mark.parametrize(("fewer", "warned"), [(0, False), (3, True)])
def test_moments_that_differ_by_few_patients_are_warned_about(
    fewer: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = pd.concat([FRAME.assign(patient_id=FRAME["patient_id"] + x) for x in "abc"])
    for i, frame in enumerate((people, people.iloc[fewer:])):
        frame.to_csv(tmp_path / "own.csv", index=False)
        out, key = tmp_path / "shared" / f"{i}.parquet", tmp_path / "key"
        out.parent.mkdir(exist_ok=True)
        assert run("summarise", tmp_path / "own.csv", "--out", out, "--key", key) == 0
    assert ("holds the same therapists with a few patients" in capsys.readouterr().err) == warned


# --- Attendance under other names -----------------------------------------------------------------


def _with_missed(heading: str, attended: list[str], not_attended: list[str]) -> pd.DataFrame:
    """Add a session to every patient that did not take place, with another score."""
    plain = SESSIONS.drop(columns="AttendOrDNACode")
    missed = plain.groupby("PathwayID").tail(1).assign(CareContDate="2021-06-01")
    missed["PHQ9"] = missed["PHQ9"].to_numpy()[::-1]
    said = [attended[i % len(attended)] for i in range(len(plain))]
    not_said = [not_attended[i % len(not_attended)] for i in range(len(missed))]
    return pd.concat([plain.assign(**{heading: said}), missed.assign(**{heading: not_said})])


@pytest.mark.parametrize(
    "heading",
    ["AttendCode", "Attend Code", "Attended or DNA", "Attendance code", "Attendance status",
     "AttOrDNA", "Attended?", "Appt. outcome", "Session attended", "Attended / DNA code"],
)  # fmt: skip
def test_headings_of_attendance_are_recognised(heading: str, tmp_path: Path) -> None:
    frame = _with_missed(heading, ["5", "6"], ["2", "3", "4", "7"])
    check = _check(tmp_path, frame)
    pd.testing.assert_frame_equal(_people(check), _people(_check(tmp_path, SESSIONS)))
    assert any("first and the last attended session" in s for s in check.understood)


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
    check = _check(tmp_path, frame)
    (problem,) = check.problems
    assert problem.column == heading
    assert f'write {role} = "{heading}" under [columns]' in problem.hint
    assert not any("attended session" in s for s in check.understood)
    stated = _people(_check(tmp_path, frame, f'[columns]\n{role} = "{heading}"\n'))
    pd.testing.assert_frame_equal(stated, _people(_check(tmp_path, SESSIONS)))
    every = _check(tmp_path, frame, '[columns]\nattended = ""\n')
    assert (_people(every)["sessions"] == 4).all()
    assert any("every row counts as one" in r for r in every.remarks)


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
    check = _check(tmp_path, plain.assign(**{heading: column}))
    pd.testing.assert_frame_equal(_people(check), _people(_check(tmp_path, SESSIONS)))
    said = " | ".join(check.understood)
    assert "every row counts as one" in said
    assert "attended" not in said.replace("AttendOrDNACode", "")


# --- What is not recognised, all of it ----------------------------------------------------------


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("therapist", [True, False])
@pytest.mark.parametrize("scores", [True, False])
def test_everything_that_is_not_recognised_is_named_at_once(
    patient: bool, therapist: bool, scores: bool, tmp_path: Path, capsys
) -> None:
    other = {
        **({} if patient else {"patient_id": "Who"}),
        **({} if therapist else {"therapist_id": "By"}),
        **(
            {} if scores else {"phq9_pre": "A", "phq9_post": "B", "gad7_pre": "C", "gad7_post": "D"}
        ),
    }
    FRAME.rename(columns=other).to_csv(tmp_path / "own.csv", index=False)
    written = tmp_path / "study.toml"
    code = run("check", tmp_path / "own.csv", "--write-study", written)
    assert (code == 0) == (not other)
    said = capsys.readouterr().err.rpartition("pwp: ")[2]
    problem = said.partition(": ")[2].split(" among")[0].split("; name")[0]
    for there, word in ((patient, "patient"), (therapist, "therapist"), (scores, "measure")):
        assert there == (word not in problem)
    text = written.read_text(encoding="utf-8")
    assert ('# patient_id = "?"  # needed' in text) != patient
    assert ('# therapist_id = "?"  # needed' in text) != therapist
    assert ("# No measure with" in text) != scores
    if other:
        heads = ", ".join(FRAME.rename(columns=other).columns)
        assert f"# The file has: {heads}\n" in text
        assert heads in said or (patient and therapist)


# --- Completeness in the terminal ---------------------------------------------------------------


@pytest.mark.parametrize(("eligible", "lacking"), [(12, 2), (22, 2), (22, 0), (12, 5), (60, 6),
                                                   (199, 1), (40, 30), (5, 0), (7, 4),
                                                   (5000, 1)])  # fmt: skip
def test_no_share_of_complete_courses_is_more_than_it_is(eligible: int, lacking: int) -> None:
    exact = 100 * (eligible - lacking) / eligible
    share = _share(eligible - lacking, eligible, DisclosurePolicy())
    if share == MARK:
        assert eligible - lacking < 5
        return
    low, _, high = str(share).partition(" to ")
    assert float(low) <= exact <= float(high)
    assert float(low) < 100
    openly = float(_share(eligible - lacking, eligible, DisclosurePolicy(active=False)))
    assert (openly == 100) == (lacking == 0)
    assert abs(openly - exact) <= 0.05 or openly == 99.9 < exact


def _share(complete: int, eligible: int, policy: DisclosurePolicy) -> float | str:
    return share_between(policy.count(complete), policy.count(eligible), policy)


def test_completeness_is_in_the_order_of_the_exact_shares(tmp_path: Path, capsys) -> None:
    lacking = {"t0": 1, "t1": 4, "t2": 0, "t3": 3, "t4": 2}
    nth = FRAME.groupby("therapist_id").cumcount()
    gone = nth < FRAME["therapist_id"].map(lacking).fillna(0)
    frame = FRAME.assign(phq9_post=FRAME["phq9_post"].mask(gone), synthetic="true")
    frame.to_csv(tmp_path / "own.csv", index=False)
    assert run("check", tmp_path / "own.csv") == 0
    table = capsys.readouterr().out.split("Completeness by")[1].split("Enough for")[0]
    assert re.findall(r"(\d+)%", table) == ["60", "70", "80", "90", "100", "100", "100", "100"]
