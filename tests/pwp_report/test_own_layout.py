"""What stands around and among the rows of a table that are patients."""

from __future__ import annotations

from pathlib import Path

import file_builders
import openpyxl
import pandas as pd
import pytest
from checking import FRAME, checked, patients_of

from multilevel.errors import InputError
from pwp_report.check import check_study_data

pytestmark = pytest.mark.neighbours


@pytest.mark.parametrize(
    "word", ["Total", "Sub-total", "Subtotal:", "Grand Total", "Median", "Average", "Count", "N",
             "Page 1 of 3", "Printed 3 May 2021", "Source: the service", "Team A total"],
)  # fmt: skip
def test_totals_and_footers_are_told_from_patients(word: str, tmp_path: Path) -> None:
    row = FRAME.tail(1).astype(object).assign(patient_id=word, phq9_pre=900, therapist_id="")
    check = checked(tmp_path, pd.concat([FRAME, row]))
    (problem,) = check.problems
    assert problem.rows == (82,)
    assert problem.hint.startswith("delete it, or list its entry under [leave_out]")
    left = checked(tmp_path, pd.concat([FRAME, row]), f'[leave_out]\npatient_id = ["{word}"]\n')
    pd.testing.assert_frame_equal(patients_of(left), patients_of(checked(tmp_path, FRAME)))


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
    assert len(patients_of(check)) == len(FRAME)
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
    pd.testing.assert_frame_equal(patients_of(check), patients_of(checked(tmp_path, FRAME)))
    said = " ".join(check.remarks)
    assert "above the header left out" in said
    assert ("below the table left out" in said) == bool(below)


@pytest.mark.parametrize("last", ["p79,t7", "p79", 'p79,t7,"14', "p79,t7,14,"])
def test_a_row_that_was_cut_is_not_taken_for_a_note(last: str, tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).splitlines()
    (tmp_path / "own.csv").write_text("\n".join([*lines[:-1], last]), encoding="utf-8")
    with pytest.raises(InputError, match="row 81"):
        check_study_data(tmp_path / "own.csv")


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
