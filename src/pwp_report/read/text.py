"""CSV in any usual delimiter and encoding. Nothing is guessed silently: see `RawTable.notes`.

Cells are handed on as text; what they mean is decided later, so that a score that is no number can
be named by row and column. The delimiter is elected here rather than by DuckDB's ``sniff_csv``:
that reads UTF-8 files by their path alone, so a file in another encoding would need a decoded copy
of patients' rows on disk, and its answer has no row to name when a row is ragged.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, compress, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_report.read.raw import (
    DEEPEST,
    WIDE,
    WIDEST,
    RawTable,
    check_width,
    header_at,
    name_columns,
    said_of_rows,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_text"]

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "^": "caret"}
_SAMPLE = 1 << 20
_CHUNK = 50_000
_NO_TEXT = "this is not a text file"


def read_text(place: Path) -> RawTable:
    """Read a text file with a delimiter between its columns."""
    text, encoding = _decoded(place)
    sample = text[:_SAMPLE]
    _guard_header(sample, place)
    hint, delimiter = _dialect(sample)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    if hint:
        next(records)
    blocks = _blocks(records, 1 + int(hint), place)
    row, first = next(blocks, (1, []))
    at = header_at([_filled(record) for record in first[:DEEPEST]])
    header = first[at] if first else []
    if not _filled(header):
        raise InputError("the file is empty", hint="export it again", file=place)
    plain, rows, blank, below = _body(
        chain([(row + at + 1, first[at + 1 :])], blocks), len(header), place
    )
    above = said_of_rows(sum(map(_filled, first[:at])) and at, "above the header")
    frame = name_columns(plain, header, place, row + at)
    notes = [f"text in {encoding}, {_NAMES.get(delimiter, 'comma')} between columns"]
    notes += [f"{blank:,} blank lines left out"] * bool(blank)
    remarks = (*above, *below)
    return RawTable(place.name, "CSV", frame, rows, delimiter, encoding, tuple(notes), remarks)


def _decoded(place: Path) -> tuple[str, str]:
    """Give the text and the name of its encoding."""
    content = place.read_bytes()
    encoding = _marked_encoding(content, place)
    try:
        return content.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError as error:
        if encoding:
            problem = "the file is not valid in its own encoding"
            raise InputError(problem, hint="save it again as UTF-8", file=place) from None
        around = content[max(0, error.start - 20_000) : error.start + 20_000]
    encoding = _legacy_encoding(around)
    return content.decode(encoding, "replace"), encoding


def _marked_encoding(content: bytes, place: Path) -> str:
    """Give the encoding that the first bytes tell, empty if they tell none."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return name
    head = content[:_SAMPLE]
    if b"\x00" not in head:
        return ""
    # Text in UTF-16 without a mark has a zero in every second byte.
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if zeros.count(0) > 0.4 * len(zeros):
            return name
    raise InputError(_NO_TEXT, hint="export it as CSV", file=place)


def _legacy_encoding(sample: bytes) -> str:
    """Prefer Windows-1252 unless it cannot hold the bytes: a few accents tell code pages apart."""
    import charset_normalizer

    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        candidates = ["cp1250", "iso8859_15", "mac_roman", "cp850"]
        best = charset_normalizer.from_bytes(sample, cp_isolation=candidates).best()
        return "latin-1" if best is None else best.encoding
    return "cp1252"


def _guard_header(sample: str, place: Path) -> None:
    """Refuse an absurd header before anything is parsed: it would cost memory for nothing."""
    lines = sample.lstrip("\r\n\ufeff")
    end = re.search(r"[\r\n]", lines)
    line = lines if end is None else lines[: end.start()]
    endless = end is None and len(line) >= _SAMPLE - 1
    check_width(WIDEST + 1 if endless else 1 + max(line.count(d) for d in _NAMES), place)
    if sum(c < " " and c not in "\t\r\n\f" for c in sample[:4096]) > 8:
        raise InputError(_NO_TEXT, hint="export it as CSV", file=place)


def _dialect(sample: str) -> tuple[bool, str]:
    """Elect the delimiter that gives most rows equally many cells."""
    hint = re.match(r"\ufeff?sep=(.)\r?\n", sample)
    if hint:
        return True, hint.group(1)
    best, delimiter = (0.0, 1), ","
    for candidate in _NAMES:
        try:
            reader = csv.reader(io.StringIO(sample, newline=""), delimiter=candidate)
            widths = Counter(len(r) for r in islice(reader, 200) if any(r))
        except csv.Error:
            continue
        for width, count in widths.most_common(1):
            score = (count / widths.total(), width)
            if width > 1 and score > best:
                best, delimiter = score, candidate
    return False, delimiter


def _filled(record: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in record)


def _blocks(
    records: Iterator[list[str]], row: int, place: Path
) -> Iterator[tuple[int, list[list[str]]]]:
    """Give many records at once, with the row of the first."""
    while True:
        block: list[list[str]] = []
        try:
            block.extend(islice(records, _CHUNK))
        except csv.Error:
            raise InputError(
                "a quotation mark is not closed, or a cell is far too long",
                hint="correct the quotation marks from this row on",
                file=place,
                row=row + len(block),
            ) from None
        if not block:
            return
        yield row, block
        row += len(block)


def _body(
    blocks: Iterable[tuple[int, list[list[str]]]], width: int, place: Path
) -> tuple[pd.DataFrame, NDArray[np.int64], int, list[str]]:
    """Read the records below the header; one that is ragged is named by its row."""
    import pyarrow as pa

    pieces, rows = [], []
    odd: list[tuple[int, list[str]]] = []
    blank = 0
    for first, block in blocks:
        filled = np.fromiter(map(any, block), bool, len(block))
        right = filled & (np.fromiter(map(len, block), int, len(block)) == width)
        odd += [(first + int(i), block[i]) for i in np.flatnonzero(filled & ~right)]
        blank += int((~filled).sum())
        rows.append(first + np.flatnonzero(right))
        columns = list(zip(*compress(block, right), strict=True)) or [()] * width
        pieces.append(
            pa.table([pa.array(c, pa.string()) for c in columns], list(map(str, range(width))))
        )
    at = np.concatenate(rows)
    for row, record in odd:
        if row < at[-1:].max(initial=0) or not _is_note(record):
            raise _ragged(len(record), width, row, place)
    frame = pa.concat_tables(pieces).to_pandas()
    last = len(frame)
    while last > 2 and _filled(list(frame.iloc[last - 1])) == 1:
        last -= 1
    below = said_of_rows(len(odd) + len(frame) - last, "below the table")
    return frame.iloc[:last], at[:last], blank, below


def _is_note(record: list[str]) -> bool:
    """Whether a ragged row is a sentence below the table, not a row that was cut."""
    return _filled(record) < WIDE and " " in record[0].strip()


def _ragged(cells: int, width: int, number: int, place: Path) -> InputError:
    what = "1 cell" if cells == 1 else f"{cells} cells"
    problem = f"the row has {what} where the header has {width}"
    hint = "check the delimiter and the quotation marks here, and whether the file is complete"
    return InputError(problem, hint=hint, file=place, row=number)
