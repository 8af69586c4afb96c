"""Excel workbooks: the one sheet that holds the data, read cell by cell."""

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_report.read import raw
from pwp_report.wording import refusal, remark, worded

#: A workbook that unpacks to more than this, or whose texts do, is a mistake or an attack.
_LARGEST, _LARGEST_TEXTS = 1 << 30, 1 << 28
#: A formula whose result was never stored; one whose result is an empty text says that it is text.
_NO_RESULT = re.compile(
    rb'<c (?![^>]*t="str")[^>]*><f(?:[^>]*/>|[^>]*>[^<]*</f>)(?:<v></v>|<v ?/>)?</c>'
)
_MERGED = re.compile(rb'<mergeCell [^>]*ref="[A-Z]+(\d+):[A-Z]+(\d+)"')
_HIDDEN = re.compile(rb'<row [^>]*hidden="(?:1|true)"')
Row = tuple[int, tuple[Any, ...]]


def read_excel(place: Path, sheet: str | None = None) -> raw.RawTable:
    """Read one sheet of an .xlsx workbook, from its header on."""
    import openpyxl

    _check_archive(place)
    try:
        # openpyxl warns of styles and extensions that it drops; none bears on values.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            how = {"read_only": True, "data_only": True, "keep_links": False}
            with closing(openpyxl.load_workbook(place, **how)) as book:
                chosen = _choose(book, sheet, place)
                rows, said = _trimmed(list(_rows(chosen, place)))
                said += _check_cells(place, chosen._worksheet_path, rows[0][0])
    except InputError:
        raise
    except Exception:  # a damaged workbook fails in any of a dozen ways, none of them of interest
        raise refusal("excel_damaged", file=place) from None
    return _table(rows, said, place, f"the sheet read is {raw.shown_name(chosen.title)}")


def _check_archive(place: Path) -> None:
    try:
        with zipfile.ZipFile(place) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        raise refusal("excel_incomplete", file=place) from None
    if "xl/workbook.xml" not in sizes:
        raise refusal("not_a_workbook", file=place)
    if sum(sizes.values()) > _LARGEST or sizes.get("xl/sharedStrings.xml", 0) > _LARGEST_TEXTS:
        raise refusal("workbook_too_large", file=place)


def _check_cells(place: Path, part: str, header: int) -> list[str]:
    """Refuse what would be read as empty cells, though it looks filled; count hidden rows."""
    with zipfile.ZipFile(place) as archive:
        text = archive.read(part)
    merged = any(int(last) >= header for _, last in _MERGED.findall(text))
    wrong = {"merged_cells": merged, "formulas_without_results": _NO_RESULT.search(text)}
    if said := [worded(key) for key, found in wrong.items() if found]:
        problems, hints = (", and ".join(words) for words in zip(*said, strict=True))
        raise InputError(problems, hint=hints, file=place)
    hidden = len(_HIDDEN.findall(text))
    return [remark("rows_hidden", count=hidden)] * bool(hidden)


def _choose(book: Any, wanted: str | None, place: Path) -> Any:
    """Choose the sheet that is named, or the only one with a table in it."""
    filled = {s.title: n for s in book.worksheets if (n := max(map(_filled, _top(s)), default=0))}
    tables = [name for name, widest in filled.items() if widest >= raw.WIDE]
    names = list(filled) if wanted or not tables else tables
    return book[raw.choose_table(names, wanted, "workbook", place)]


def _top(sheet: Any) -> Iterator[tuple[Any, ...]]:
    # The size that a workbook states is at times wrong, and rows beyond it would be lost.
    sheet.reset_dimensions()
    return islice(sheet.iter_rows(values_only=True), raw.DEEPEST)


def _filled(cells: Sequence[Any]) -> int:
    return sum(cell is not None for cell in cells)


def _rows(sheet: Any, place: Path) -> Iterator[Row]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if filled := [i for i, cell in enumerate(cells) if cell is not None]:
            raw.check_width(filled[-1] + 1, place)
            yield number, cells[: filled[-1] + 1]


def _trimmed(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Leave out titles above the header and notes below the table, and say so."""
    first, last = raw.header_at([_filled(cells) for _, cells in rows[: raw.DEEPEST]]), len(rows)
    while last - first > 2 and _filled(rows[last - 1][1]) == 1:
        last -= 1
    above = raw.said_of_rows(first and rows[first][0] - 1, "above the header")
    return rows[first:last], above + raw.said_of_rows(len(rows) - last, "below the table")


def _table(rows: list[Row], said: list[str], place: Path, note: str) -> raw.RawTable:
    (top, header), *records = rows
    width = max(len(cells) for _, cells in rows)
    texts = pd.DataFrame([[*map(_text, cells)] for _, cells in records], dtype="str")
    names = [*header, *[None] * (width - len(header))]
    frame = raw.name_columns(texts.reindex(columns=range(width)).astype("str"), names, place, top)
    numbers = np.array([number for number, _ in records], dtype=np.int64)
    return raw.RawTable(place.name, "Excel", frame, numbers, notes=(note,), remarks=tuple(said))


def _text(cell: Any) -> str | None:
    """Write a cell as text: whole numbers without a point, dates in ISO form."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        return cell.strftime("%Y-%m-%d") if cell.time() == dt.time() else cell.isoformat(" ")
    return None if cell is None else str(cell)
