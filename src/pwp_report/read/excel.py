"""Excel workbooks: the one sheet that holds the data, read cell by cell."""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_report.read.raw import WIDEST, RawTable, check_width, choose_table, name_columns

__all__ = ["read_excel"]

#: A workbook that unpacks to more than this is a mistake or an attack.
_LARGEST = 4 << 30
#: A formula whose result was never stored; one whose result is an empty text says that it is text.
_NO_RESULT = re.compile(
    rb'<c (?![^>]*t="str")[^>]*><f(?:[^>]*/>|[^>]*>[^<]*</f>)(?:<v></v>|<v ?/>)?</c>'
)


def read_excel(place: Path, sheet: str | None = None) -> RawTable:
    """Read one sheet of an .xlsx workbook."""
    _check_archive(place)
    import openpyxl

    try:
        with warnings.catch_warnings():
            # openpyxl warns of styles and extensions that it drops; none bears on values.
            warnings.simplefilter("ignore", UserWarning)
            book = openpyxl.load_workbook(place, read_only=True, data_only=True, keep_links=False)
            try:
                chosen = _choose(book, sheet, place)
                rows = list(_rows(chosen, place))
            finally:
                book.close()
    except InputError:
        raise
    except Exception:  # a damaged workbook fails in any of a dozen ways, none of them of interest
        raise InputError(
            "the Excel file is damaged", hint="save it again, or as CSV", file=place
        ) from None
    return _table(rows, place)


def _check_archive(place: Path) -> None:
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
            size = sum(info.file_size for info in archive.infolist())
            if "xl/workbook.xml" not in names:
                raise InputError(
                    "this is an archive or another program's file, not an Excel workbook",
                    hint="unpack it, or save the data as .xlsx or CSV",
                    file=place,
                )
            if size > _LARGEST:
                raise InputError(
                    "the workbook is too large", hint="save the data as CSV", file=place
                )
            for sheet in [n for n in names if n.startswith("xl/worksheets/sheet")]:
                _check_cells(archive, sheet, place)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        raise InputError(
            "the Excel file is damaged or not complete", hint="save it again", file=place
        ) from None


def _check_cells(archive: zipfile.ZipFile, name: str, place: Path) -> None:
    """Refuse what would be read as empty cells, though it looks filled in Excel."""
    tail = b""
    with archive.open(name) as sheet:
        while block := sheet.read(1 << 20):
            text = tail + block
            if b"<mergeCell " in text:
                raise InputError(
                    "the workbook has merged cells",
                    hint="unmerge them and fill every cell, or save the data alone as CSV",
                    file=place,
                )
            if _NO_RESULT.search(text):
                raise InputError(
                    "the workbook has formulas without their results",
                    hint="open it in Excel and save it, or save the data alone as CSV",
                    file=place,
                )
            tail = text[-10_000:]


def _choose(book: Any, wanted: str | None, place: Path) -> Any:
    sheets = {s.title: s for s in book.worksheets}
    filled = [n for n, s in sheets.items() if any(any(c is not None for c in r) for r in _top(s))]
    return sheets[choose_table(filled, wanted, "workbook", place)]


def _top(sheet: Any) -> Iterator[tuple[Any, ...]]:
    yield from sheet.iter_rows(max_row=5, max_col=50, values_only=True)


def _rows(sheet: Any, place: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    # openpyxl fills every row up to max_col: ask for no more columns than the sheet says it has.
    widest = min(sheet.max_column or WIDEST + 1, WIDEST + 1)
    for number, cells in enumerate(sheet.iter_rows(max_col=widest, values_only=True), start=1):
        filled = [i for i, cell in enumerate(cells) if cell is not None]
        if filled:
            row = cells[: filled[-1] + 1]
            check_width(len(row), place)
            yield number, row


def _table(rows: list[tuple[int, tuple[Any, ...]]], place: Path) -> RawTable:
    (top, header), *records = rows
    width = max(len(cells) for _, cells in rows)
    columns = {
        i: pd.Series(
            [_text(cells[i]) if i < len(cells) else None for _, cells in records], dtype="str"
        )
        for i in range(width)
    }
    names = [*header, *[None] * (width - len(header))]
    frame = name_columns(pd.DataFrame(columns), names, place, top)
    numbers = np.array([number for number, _ in records], dtype=np.int64)
    return RawTable(place.name, "Excel", frame, numbers, notes=("an Excel sheet",))


def _text(cell: Any) -> str | None:
    """Write a cell as text: whole numbers without a point, dates in ISO form."""
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        return cell.strftime("%Y-%m-%d") if cell.time() == dt.time() else cell.isoformat(" ")
    return str(cell)
