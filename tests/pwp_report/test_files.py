from __future__ import annotations

import codecs
import sqlite3
import struct
import sys
from pathlib import Path

import bad_files
import numpy as np
import pandas as pd
import pyreadstat
import pytest

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_lib.measures import GAD7, PHQ9
from pwp_report.check import check_study_data
from pwp_report.problems import Problems
from pwp_report.read.cells import read_dates, read_numbers, read_scores
from pwp_report.read.raw import shown_name
from pwp_report.read.table import read_table

FRAME = bad_files.good_frame()


def load_study_data(path: Path) -> tuple[Cohort | None, Problems]:
    check = check_study_data(path)
    return check.cohort, check.problems


def _scores(path: Path) -> pd.DataFrame:
    cohort, problems = load_study_data(path)
    assert not problems, list(problems)
    assert cohort is not None
    people = cohort.patients.set_index("patient_id").loc[FRAME["patient_id"]]
    return people[["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]].reset_index(drop=True)


EXPECTED = FRAME[["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]].astype("int64")


@pytest.mark.neighbours
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]
)
def test_any_usual_delimiter_and_encoding(delimiter: str, encoding: str, tmp_path: Path) -> None:
    frame = FRAME.assign(therapist_id=FRAME["therapist_id"] + " Müller, é")
    text = frame.to_csv(index=False, sep=delimiter, lineterminator="\r\n")
    (tmp_path / "own.csv").write_bytes(text.encode(encoding))
    raw = read_table(tmp_path / "own.csv")
    assert raw.delimiter == delimiter
    assert raw.frame["therapist_id"].str.endswith(" Müller, é").all()
    pd.testing.assert_frame_equal(_scores(tmp_path / "own.csv"), EXPECTED)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end(end: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(FRAME.to_csv(index=False, lineterminator=end).encode())
    pd.testing.assert_frame_equal(_scores(tmp_path / "own.csv"), EXPECTED)


def test_mark_in_big_endian(tmp_path: Path) -> None:
    text = FRAME.to_csv(index=False).encode("utf-16-be")
    (tmp_path / "own.csv").write_bytes(codecs.BOM_UTF16_BE + text)
    pd.testing.assert_frame_equal(_scores(tmp_path / "own.csv"), EXPECTED)


def test_quoted_line_breaks_and_delimiters(tmp_path: Path) -> None:
    frame = FRAME.assign(note='said "yes",\nthen; left')
    frame.to_csv(tmp_path / "own.csv", index=False)
    raw = read_table(tmp_path / "own.csv")
    assert (raw.frame["note"] == 'said "yes",\nthen; left').all()
    assert raw.rows.tolist() == list(range(2, len(FRAME) + 2))


def test_decimal_commas(tmp_path: Path) -> None:
    frame = FRAME.assign(core10_pre=FRAME["phq9_pre"] + 0.5, core10_post=FRAME["phq9_post"] + 0.3)
    frame.to_csv(tmp_path / "own.csv", index=False, sep=";", decimal=",")
    cohort, problems = load_study_data(tmp_path / "own.csv")
    assert not problems
    assert cohort is not None
    assert [m.name for m in cohort.measures] == ["phq9", "gad7", "core10"]
    assert (cohort.patients["core10_pre"] % 1 == 0.5).all()


def test_blank_lines_keep_the_row_numbers_of_a_spreadsheet(tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).splitlines()
    lines[10] = lines[10].replace(",", ",x", 3)
    text = "\n".join([*lines[:5], "", ",,,,,,,,", *lines[5:]])
    (tmp_path / "own.csv").write_text(text)
    _, problems = load_study_data(tmp_path / "own.csv")
    assert problems.items[0].rows == (13,)
    assert "2 blank lines left out" in read_table(tmp_path / "own.csv").notes


def test_spreadsheet_hint_and_trailing_delimiters(tmp_path: Path) -> None:
    lines = [line + ";;" for line in FRAME.to_csv(index=False, sep=";").splitlines()]
    (tmp_path / "own.csv").write_text("sep=;\n" + "\n".join(lines))
    pd.testing.assert_frame_equal(_scores(tmp_path / "own.csv"), EXPECTED)
    assert read_table(tmp_path / "own.csv").rows[0] == 3


def test_excel_parquet_duckdb_and_sqlite(tmp_path: Path) -> None:
    import duckdb

    FRAME.to_excel(tmp_path / "own.xlsx", index=False)
    FRAME.astype({"phq9_pre": "int16", "service_id": "category"}).to_parquet(
        tmp_path / "own.parquet"
    )
    frame = FRAME
    with duckdb.connect(str(tmp_path / "own.duckdb")) as base:
        base.register("frame", frame)
        base.execute("create table outcomes as select * from frame")
    with sqlite3.connect(tmp_path / "own.db") as base:
        FRAME.to_sql("outcomes", base, index=False)
    base.close()
    before = sorted(p.name for p in tmp_path.iterdir())
    kinds = {
        "own.xlsx": "Excel", "own.parquet": "Parquet", "own.duckdb": "DuckDB", "own.db": "SQLite",
    }  # fmt: skip
    for name, kind in kinds.items():
        assert read_table(tmp_path / name).kind == kind
        pd.testing.assert_frame_equal(_scores(tmp_path / name), EXPECTED)
    # Reading leaves nothing behind: no journal, no lock.
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_kind_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "own.csv")
    assert read_table(tmp_path / "own.csv").kind == "Parquet"


def test_sheet_or_table_can_be_named(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "own.xlsx") as book:
        FRAME.to_excel(book, sheet_name="data", index=False)
        FRAME.head(3).to_excel(book, sheet_name="other", index=False)
    assert len(read_table(tmp_path / "own.xlsx", table="data").frame) == len(FRAME)
    with pytest.raises(InputError, match="no table of that name"):
        read_table(tmp_path / "own.xlsx", table="none")


def test_header_guard_acts_before_parsing(tmp_path: Path, monkeypatch) -> None:
    import csv

    (tmp_path / "own.csv").write_bytes(b"a," * 100_000 + b"b\n1\n")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(csv, "reader", never)
    with pytest.raises(InputError, match="more than 5,000 columns"):
        read_table(tmp_path / "own.csv")


def test_a_table_shows_no_row_when_printed(tmp_path: Path) -> None:
    FRAME.assign(note=bad_files.SECRET).to_csv(tmp_path / "own.csv", index=False)
    assert repr(read_table(tmp_path / "own.csv")) == "<CSV own.csv: 80 rows, 10 columns>"


def test_names_are_shown_without_control_characters() -> None:
    assert shown_name("a\x1b[31mb\n") == "a [31mb"
    assert len(shown_name("x" * 10_000)) == 40


def test_native_numbers_and_codes() -> None:
    read = read_numbers(pd.Series([12.0, 99.0, np.nan]), codes=["99"])
    assert read.values.tolist()[0] == 12
    assert read.kinds.isna().all()
    assert read_scores(pd.Series([5, 22]), GAD7).kinds.tolist()[1] == "range"
    words = pd.Series(["NULL", "n/a", "", "7"], dtype="str")
    assert read_scores(words, PHQ9).values.notna().tolist() == [False, False, False, True]


def test_dates_take_one_form_for_a_column() -> None:
    day_first = read_dates(pd.Series(["03/04/2021", "04/05/2021"], dtype="str"))
    assert day_first.values.dt.month.tolist() == [4, 5]
    stated = read_dates(pd.Series(["03/04/2021"], dtype="str"), fmt="%m/%d/%Y")
    assert stated.values.dt.month.tolist() == [3]
    stamps = read_dates(pd.Series(pd.to_datetime(["2021-03-04"])))
    assert stamps.values.dt.day.tolist() == [4]


def test_what_was_understood_is_said(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "own.csv", index=False, sep=";")
    said = " | ".join(check_study_data(tmp_path / "own.csv").understood)
    assert "text in utf-8, semicolon between columns" in said
    assert "PHQ-9 is in phq9_pre and phq9_post (recognised by its name)" in said
    assert "no column was recognised that says whether a case is closed" in said


# --- SPSS and Stata -------------------------------------------------------------------------------

LABELS = {"gender": {1.0: "Male", 2.0: "Female"}, "phq9_post": {99.0: "Not recorded"}}


def _write_labelled(place: Path, frame: pd.DataFrame) -> None:
    write = pyreadstat.write_sav if place.suffix in (".sav", ".zsav") else pyreadstat.write_dta
    options = {"row_compress": True} if place.suffix == ".zsav" else {}
    write(frame, place, variable_value_labels=LABELS, **options)


@pytest.mark.parametrize("ending", ["sav", "zsav", "dta"])
def test_labels_of_values_are_read_where_every_value_has_one(ending: str, tmp_path: Path) -> None:
    frame = bad_files.good_frame()
    missing = frame.index % 20 == 3
    coded = frame.assign(
        gender=1.0 + frame.index % 2,
        phq9_post=frame["phq9_post"].astype(float).mask(missing, 99.0),
    )
    _write_labelled(tmp_path / f"own.{ending}", coded)
    check = check_study_data(tmp_path / f"own.{ending}")
    assert check.cohort is not None, [p.problem for p in check.problems]
    words = coded["gender"].map(LABELS["gender"]).str.lower()
    expected = frame.assign(gender=words, phq9_post=frame["phq9_post"].mask(missing))
    expected.to_csv(tmp_path / "own.csv", index=False)
    same = check_study_data(tmp_path / "own.csv").cohort
    assert same is not None
    pd.testing.assert_frame_equal(check.cohort.patients, same.patients)
    assert len(same.patients) == len(frame) - missing.sum()


def _old_stata(frame: pd.DataFrame, form: int) -> bytes:
    """Write a Stata file of a format before 113, of which no package writes any more."""
    texts = frame.map(lambda entry: str(entry).encode())
    widths = [int(texts[c].map(len).max()) for c in frame]
    one_name = 9 if form < 110 else 33
    n_label, n_format = (32 if form < 108 else 81), (7 if form < 105 else 12)
    kinds = bytes(w + (0 if form > 110 else 0x7F) for w in widths)
    parts = [
        struct.pack("<BBBBhi", form, 2, 1, 0, frame.shape[1], len(frame)),
        bytes(n_label),
        bytes(18 if form > 104 else 0),
        kinds,
        *(c.encode()[: one_name - 1].ljust(one_name, b"\0") for c in frame),
        bytes(2 * (frame.shape[1] + 1)),
        *(f"%{w}s".encode().ljust(n_format, b"\0") for w in widths),
        bytes((one_name + n_label) * frame.shape[1]),
        bytes((5 if form > 109 else 3) if form > 104 else 0),
    ]
    rows = texts.itertuples(index=False)
    parts += [cell.ljust(w, b"\0") for row in rows for cell, w in zip(row, widths, strict=True)]
    return b"".join(parts)


@pytest.mark.neighbours
@pytest.mark.parametrize("form", [104, 105, 108, 110, 111, 113, 114, 115, 117, 118, 119])
def test_stata_files_of_all_formats_are_read(form: int, tmp_path: Path) -> None:
    short = {"patient_id": "clientid", "therapist_id": "pwp"}
    frame = bad_files.good_frame()[[*short, *EXPECTED]].rename(columns=short)
    frame = frame.rename(columns={c: c.replace("post", "end") for c in EXPECTED})
    place = tmp_path / "own.dta"
    if form < 113:
        place.write_bytes(_old_stata(frame, form))
    elif form in (113, 115):
        pyreadstat.write_dta(frame, place, version={113: 8, 115: 12}[form])
    else:
        frame.to_stata(place, write_index=False, version=form)
    assert (form < 117) == (place.read_bytes()[0] == form)
    read = check_study_data(place).required().patients
    frame.to_csv(tmp_path / "own.csv", index=False)
    pd.testing.assert_frame_equal(read, check_study_data(tmp_path / "own.csv").required().patients)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"g\x02\x01\x00", "a Stata file of a version before 4"),
        (b"r\x02\x01\x00", "the Stata file is damaged"),
        (b"ASCII SPSS PORT FILE", "a portable SPSS file"),
        (bytes(12) + b"\xc2\xea\x81\x60", "a SAS file"),
        (b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!", "a SAS transport file"),
        (b"\x00\x01\x00\x00Standard ACE DB", "an Access database"),
        (b"ARROW1\x00\x00", "an Arrow or Feather file"),
        (b"RDX3\nX\n", "a file of R"),
    ],
)
def test_a_file_of_another_package_is_called_what_it_is(
    head: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "own.dat").write_bytes(head + bytes(range(256)))
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "own.dat")


def test_headings_that_begin_as_old_stata_files_do_are_text(tmp_path: Path) -> None:
    for letter in "ghijklmnopqrs":
        (tmp_path / "own.csv").write_text(f"{letter},b,c\n1,2,3\n")
        assert read_table(tmp_path / "own.csv").kind == "CSV"
    (tmp_path / "own.csv").write_text("rdx,arrow1,c\n1,2,3\n")


def test_dates_of_stata_and_labels_of_pandas_are_read(tmp_path: Path) -> None:
    sessions = bad_files.session_frame().drop(columns="note")
    sessions.to_csv(tmp_path / "own.csv", index=False)
    dated = sessions.assign(CareContDate=pd.to_datetime(sessions["CareContDate"]))
    dated.to_stata(tmp_path / "own.dta", write_index=False, version=118)
    read = [check_study_data(tmp_path / f"own.{e}").cohort for e in ("csv", "dta")]
    assert read[0] is not None
    assert read[1] is not None
    pd.testing.assert_frame_equal(read[0].patients, read[1].patients)


@pytest.mark.parametrize("ending", ["sav", "dta"])
def test_without_the_extra_one_sentence_says_what_to_install(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_labelled(tmp_path / f"own.{ending}", bad_files.good_frame())
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(InputError, match=r"needs the package pyreadstat.*pip install pyreadstat"):
        read_table(tmp_path / f"own.{ending}")


def test_columns_of_a_workbook_that_nobody_filled_are_empty_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [None, None], "d": [None, None]})
    frame.to_excel(tmp_path / "own.xlsx", index=False)
    frame.to_csv(tmp_path / "own.csv", index=False)
    read = [read_table(tmp_path / f"own.{e}").frame for e in ("xlsx", "csv")]
    pd.testing.assert_frame_equal(*read)
