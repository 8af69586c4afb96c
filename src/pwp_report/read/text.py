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
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_report.read.raw import WIDEST, RawTable, check_width, name_columns

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
    header, start = _first_record(records, place)
    start += int(hint)
    plain = None if start > 1 else _at_once(text, delimiter, len(header))
    if plain is None:
        plain, rows, blank = _row_by_row(records, len(header), start, place)
    else:
        rows, blank = np.arange(2, 2 + len(plain), dtype=np.int64), 0
    frame = name_columns(plain, header, place, start)
    notes = [f"text in {encoding}, {_NAMES.get(delimiter, 'comma')} between columns"]
    if blank:
        notes.append(f"{blank:,} blank lines left out")
    return RawTable(place.name, "CSV", frame, rows, delimiter, encoding, tuple(notes))


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
    """Elect the delimiter that gives most rows as many cells as the header."""
    hint = re.match(r"\ufeff?sep=(.)\r?\n", sample)
    if hint:
        return True, hint.group(1)
    best, delimiter = (0.0, 1), ","
    for candidate in _NAMES:
        try:
            reader = csv.reader(io.StringIO(sample, newline=""), delimiter=candidate)
            records = [r for r in islice(reader, 200) if any(r)]
        except csv.Error:
            continue
        if not records or len(records[0]) < 2:
            continue
        widths = Counter(len(r) for r in records)
        score = (widths[len(records[0])] / len(records), len(records[0]))
        if score > best:
            best, delimiter = score, candidate
    return False, delimiter


def _first_record(records: Iterator[list[str]], place: Path) -> tuple[list[str], int]:
    try:
        for number, record in enumerate(records, start=1):
            if any(cell.strip() for cell in record):
                return record, number
    except csv.Error:
        problem = "the header has a quotation mark that is not closed"
        hint = "correct the quotation marks"
        raise InputError(problem, hint=hint, file=place, row=1) from None
    raise InputError("the file is empty", hint="export it again", file=place)


def _at_once(text: str, delimiter: str, width: int) -> pd.DataFrame | None:
    """Read a file without quotation marks and blank lines in one go, and no other file."""
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow import csv as fast

    if '"' in text or "\0" in text or text.count("\r") != text.count("\r\n"):
        return None
    names = [str(i) for i in range(width)]
    parse = fast.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False)
    try:
        table = fast.read_csv(
            pa.BufferReader(text.encode()),
            read_options=fast.ReadOptions(column_names=names, skip_rows=1),
            parse_options=parse,
            convert_options=fast.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:
        return None  # a ragged row, or bytes that are no text: reading row by row says which
    lengths = [compute.binary_length(c) for c in table.columns]
    longest = max((compute.max(n).as_py() or 0 for n in lengths), default=0)
    filled = reduce(compute.add, lengths)
    if not table.num_rows or longest > csv.field_size_limit() or not compute.min(filled).as_py():
        return None
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _row_by_row(
    records: Iterator[list[str]], width: int, start: int, place: Path
) -> tuple[pd.DataFrame, NDArray[np.int64], int]:
    """Read records one after the other, so that a bad one can be named by its row."""
    import pyarrow as pa

    rows: list[int] = []
    blank = 0

    def filled() -> Iterator[list[str]]:
        nonlocal blank
        number = start
        try:
            for number, record in enumerate(records, start=start + 1):
                if len(record) == width and any(record):
                    rows.append(number)
                    yield record
                elif any(record):
                    raise _ragged(len(record), width, number, place)
                else:
                    blank += 1
        except csv.Error:
            raise InputError(
                "a quotation mark is not closed, or a cell is far too long",
                hint="correct the quotation marks from this row on",
                file=place,
                row=number + 1,
            ) from None

    names, source = [str(i) for i in range(width)], filled()
    pieces = []
    while block := list(islice(source, _CHUNK)):
        columns = [pa.array(c, pa.string()) for c in zip(*block, strict=True)]
        pieces.append(pa.Table.from_arrays(columns, names=names))
    if not pieces:
        raise InputError("there is a header and no rows", hint="export it again", file=place)
    frame = pa.concat_tables(pieces).to_pandas()
    return frame, np.array(rows, dtype=np.int64), blank


def _ragged(cells: int, width: int, number: int, place: Path) -> InputError:
    what = "1 cell" if cells == 1 else f"{cells} cells"
    problem = f"the row has {what} where the header has {width}"
    hint = "check the delimiter and the quotation marks here, and whether the file is complete"
    if width == 1:
        problem = "the header is one cell and this row has more"
        hint = "delete what stands above the header, or check the delimiter"
    return InputError(problem, hint=hint, file=place, row=number)
