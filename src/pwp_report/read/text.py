"""CSV in any usual delimiter and encoding. Nothing is guessed silently: see `RawTable.notes`.

Cells are handed on as text; what they mean is decided later, so that a score that is no number can
be named by row and column. The delimiter is elected here rather than by DuckDB's ``sniff_csv``:
that reads UTF-8 files by their path alone, so a file in another encoding would need a decoded copy
of patients' rows on disk. Records are read by Arrow, which hands over those that are ragged.
"""

import codecs
import csv
import io
import re
from collections import Counter
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pwp_report.read import raw
from pwp_report.wording import refusal

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "^": "caret"}
_SAMPLE = 1 << 20


def read_text(place: Path) -> raw.RawTable:
    """Read a text file with a delimiter between its columns."""
    text, encoding = _decoded(place)
    sample = text[:_SAMPLE]
    _guard_header(sample, place)
    hint, delimiter = _dialect(sample)
    # A mark inside a cell may be an inch, or not belong there: the slow reader knows.
    other = rf'[^\r\n"{re.escape(delimiter)}]'
    if text.count('"') % 2 or re.search(f'{other}"{other}', text):
        _refuse_quotes(text, delimiter, place)
    records = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    try:
        first = list(islice(records, int(hint), raw.DEEPEST + int(hint)))
    except csv.Error:
        raise refusal("quotes_not_closed", file=place, row=records.line_num) from None
    at = raw.header_at([_filled(record) for record in first])
    header = first[at] if first else []
    if not _filled(header):
        raise refusal("empty_file", file=place)
    top = at + 1 + int(hint)
    whole, odd = _body(text, delimiter, top, len(header), place)
    plain = whole.dropna(how="all")
    last = len(plain)
    while last > 2 and plain.iloc[last - 1].count() == 1:
        last -= 1
    above = raw.said_of_rows(sum(map(_filled, first[:at])) and at, "above the header")
    below = raw.said_of_rows(odd + len(plain) - last, "below the table")
    rows = plain.index[:last].to_numpy()
    frame = raw.name_columns(plain.iloc[:last].reset_index(drop=True), header, place, top)
    form = f"text in {encoding}, {_NAMES.get(delimiter, 'comma')} between columns"
    blank, remarks = len(whole) - len(plain), (*above, *below)
    notes = (form, *[f"{blank:,} blank lines left out"] * (blank > 0))
    return raw.RawTable(place.name, "CSV", frame, rows, delimiter, notes, remarks)


def _decoded(place: Path) -> tuple[str, str]:
    """Give the text and the name of its encoding."""
    content = place.read_bytes()
    encoding = _marked_encoding(content, place)
    try:
        return content.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError as error:
        if encoding:
            raise refusal("encoding_broken", file=place) from None
        encoding = _legacy_encoding(content[max(0, error.start - 20_000) : error.start + 20_000])
        return content.decode(encoding, "replace"), encoding


def _marked_encoding(content: bytes, place: Path) -> str:
    """Give the encoding that the first bytes tell, empty if they tell none."""
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32"}
    marks |= dict.fromkeys([codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE], "utf-16")
    for mark in [m for m in marks if content.startswith(m)]:
        return marks[mark]
    head = content[:_SAMPLE]
    if b"\x00" not in head:
        return ""
    # Text in UTF-16 without a mark has a zero in every second byte.
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if zeros.count(0) > 0.4 * len(zeros):
            return name
    raise refusal("not_text", file=place)


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
    line, *more = re.split(r"[\r\n]", sample.lstrip("\r\n\ufeff"), maxsplit=1)
    endless = not more and len(line) >= _SAMPLE - 1
    raw.check_width(raw.WIDEST + 1 if endless else 1 + max(line.count(d) for d in _NAMES), place)
    if sum(c < " " and c not in "\t\r\n\f" for c in sample[:4096]) > 8:
        raise refusal("not_text", file=place)


def _dialect(sample: str) -> tuple[bool, str]:
    """Elect the delimiter that gives most rows equally many cells."""
    if hint := re.match(r"\ufeff?sep=(.)\r?\n", sample):
        return True, hint.group(1)
    scores = {",": (0.0, 1)}
    for delimiter in _NAMES:
        with suppress(csv.Error):
            reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
            widths = Counter(len(r) for r in islice(reader, 200) if any(r))
            for width, count in widths.most_common(1):
                if width > 1:
                    scores[delimiter] = (count / widths.total(), width)
    return False, max(scores, key=scores.__getitem__)


def _filled(record: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in record)


def _body(text: str, delimiter: str, top: int, width: int, place: Path) -> tuple[pd.DataFrame, int]:
    """Read the records below the header, by their rows, and count the notes below them."""
    import pyarrow as pa
    import pyarrow.csv as arrow

    names = list(map(str, range(width)))
    texts = dict.fromkeys(names, pa.string())
    lines = {"newlines_in_values": True, "ignore_empty_lines": False}
    odd: list[Any] = []

    def skip(row: Any) -> str:
        odd.append(row)
        return "skip"

    try:
        table = arrow.read_csv(
            pa.BufferReader(text.encode()),
            # Rows are numbered by one thread alone.
            arrow.ReadOptions(column_names=names, use_threads=False),
            arrow.ParseOptions(delimiter=delimiter, invalid_row_handler=skip, **lines),
            arrow.ConvertOptions(column_types=texts, null_values=[""], strings_can_be_null=True),
        )
    except pa.ArrowInvalid:
        # A row is longer than a block: a mark that is not closed, or a cell without end.
        raise refusal("quotes_not_closed", file=place, row=None) from None
    frame = table.to_pandas(types_mapper={pa.string(): pd.StringDtype(na_value=np.nan)}.get)
    rows = np.arange(1, len(frame) + len(odd) + 1)
    frame = frame.set_axis(np.delete(rows, [row.number - 1 for row in odd])).loc[top + 1 :]
    odd = [row for row in odd if row.number > top]
    end = frame.index.max() if len(frame) else 0
    if ragged := [row for row in odd if row.number < end or not _is_note(row.text, delimiter)]:
        more = f" ({len(ragged) - 1:,} more such rows)" if len(ragged) > 1 else ""
        first, cells = ragged[0], ragged[0].actual_columns
        what = f"{cells} cell" + "s" * (cells != 1)
        raise refusal("ragged", file=place, row=first.number, what=what, width=width, more=more)
    return frame, len(odd)


def _refuse_quotes(text: str, delimiter: str, place: Path) -> None:
    """Name the row where a quotation mark is not closed, or a cell does not end."""
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row = 1
    try:
        for _ in records:
            row += 1
    except csv.Error:
        raise refusal("quotes_not_closed", file=place, row=row) from None


def _is_note(text: str, delimiter: str) -> bool:
    """Whether a ragged row is a sentence below the table, not a row that was cut."""
    record = next(csv.reader([text], delimiter=delimiter))
    return _filled(record) < raw.WIDE and " " in record[0].strip()
