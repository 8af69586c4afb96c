"""Files as they come: CSV in any usual delimiter and encoding, Excel, Parquet, DuckDB, SQLite.

What a file is, its first bytes say, not its name. Nothing is guessed silently: what was understood
is in `RawTable.notes`. Cells are handed on as text (or as the numbers that the file holds); what
they mean is decided later, so that a score that is no number can be named by row and column.

The delimiter is elected here, in twenty lines, rather than by DuckDB's ``sniff_csv``: that reads
UTF-8 files by their path alone, so a file in another encoding would need a decoded copy of
patients' rows on disk, and its answer has no row to name when a row is ragged. DuckDB reads its
own tables, charset-normalizer names encodings, openpyxl and pyarrow read theirs.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.schema import WIDEST

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["RawTable", "read_table", "shown_name"]

_DELIMITERS = (",", ";", "\t", "|", "^")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "^": "caret"}
_SAMPLE = 1 << 20
_CHUNK = 50_000
#: First bytes of files that are often sent by mistake, and what to do with each.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "this is a PDF", "ask for the data as CSV or Excel"),
    (b"\x1f\x8b", "this is a compressed file", "unpack it first"),
    (b"7z\xbc\xaf", "this is a compressed file", "unpack it first"),
    (
        b"\xd0\xcf\x11\xe0",
        "this is an old or password-protected Excel file",
        "open it in Excel and save it as .xlsx without a password, or as CSV",
    ),
    (b"$FL2", "this is an SPSS file", "export it as CSV"),
    (b"\x89PNG", "this is a picture", "name the file with the data"),
    (b"{\\rtf", "this is a word processor's file", "export the data as CSV"),
    (b"<html", "this is a web page", "export the data as CSV"),
    (b"<!doc", "this is a web page", "export the data as CSV"),
    (b"<?xml", "this is an XML file", "export the data as CSV"),
)


@dataclass(frozen=True)
class RawTable:
    """A table as it stood in the file.

    Attributes
    ----------
    name : str
        The file's name, without its folder.
    kind : str
        ``"CSV"``, ``"Excel"``, ``"Parquet"``, ``"DuckDB"`` or ``"SQLite"``.
    frame : DataFrame
        One row a record. Text columns are trimmed, with empty cells missing.
    rows : ndarray of int, shape (N,)
        The row of each record as a spreadsheet counts it: the header is row 1.
    delimiter, encoding : str
        Of a CSV file.
    notes : tuple of str
        What was understood, in words.
    """

    name: str
    kind: str
    frame: pd.DataFrame
    rows: NDArray[np.int64]
    delimiter: str = ""
    encoding: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Never the rows: a notebook prints this unasked.
        return f"<{self.kind} {self.name}: {len(self.frame):,} rows, {self.frame.shape[1]} columns>"


def shown_name(name: object) -> str:
    """Write a column's name so that it can be printed: no control characters, 40 at most."""
    text = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    return text if len(text) <= 40 else text[:37] + "..."


def read_table(path: str | os.PathLike[str], *, table: str | None = None) -> RawTable:
    r"""Read a file, whatever it is.

    Parameters
    ----------
    path : path
        CSV (comma, semicolon, tab or bar; UTF-8, UTF-16, Windows-1252 and others), Excel (.xlsx),
        Parquet, a DuckDB or an SQLite database.
    table : str, optional
        The sheet or the table, where the file has several.

    Returns
    -------
    RawTable

    Raises
    ------
    InputError
        If the file cannot be read as a table with a header.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "scores.csv"
    >>> _ = file.write_bytes("id;score\r\nMüller;12,5\r\n".encode("cp1252"))
    >>> raw = read_table(file)
    >>> raw.delimiter, raw.encoding, raw.frame.columns.tolist()
    (';', 'cp1252', ['id', 'score'])
    """
    place = Path(path)
    head = _first_bytes(place)
    from pwp_report.read import databases

    if head.startswith(b"PAR1"):
        return databases.read_parquet(place)
    if head.startswith(b"SQLite format 3\x00"):
        return databases.read_sqlite(place, table)
    if head[8:12] == b"DUCK":
        return databases.read_duckdb(place, table)
    if head.startswith(b"PK\x03\x04"):
        from pwp_report.read.spreadsheets import read_excel

        return read_excel(place, table)
    for magic, problem, hint in _OTHERS:
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            raise InputError(problem, hint=hint, file=place)
    if table is not None:
        raise InputError(
            "a sheet or table was named, but this is a text file",
            hint="leave the name out",
            file=place,
        )
    return _read_csv(place)


def _first_bytes(place: Path) -> bytes:
    if place.is_dir():
        raise InputError("this is a folder", hint="name the file in it", file=place)
    if place.exists() and not place.is_file():
        # A pipe would be waited for without end, and cannot be read twice.
        raise InputError("this is a pipe or a device", hint="save the data in a file", file=place)
    try:
        with place.open("rb") as source:
            head = source.read(4096)
    except FileNotFoundError:
        raise InputError(
            "there is no such file", hint="check its name and folder", file=place
        ) from None
    except (OSError, ValueError):
        raise InputError(
            "the file cannot be opened", hint="close it elsewhere, or ask for access", file=place
        ) from None
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise InputError("the file is empty", hint="export it again", file=place)
    return head


# --- Encoding -------------------------------------------------------------------------------------


def _encoding(place: Path) -> str:
    with place.open("rb") as source:
        head = source.read(_SAMPLE)
        for mark, name in (
            (codecs.BOM_UTF8, "utf-8-sig"),
            (codecs.BOM_UTF32_LE, "utf-32"),
            (codecs.BOM_UTF16_LE, "utf-16"),
            (codecs.BOM_UTF16_BE, "utf-16"),
        ):
            if head.startswith(mark):
                return name
        if b"\x00" in head:
            # Text in UTF-16 without a mark has a zero in every second byte.
            for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
                if zeros.count(0) > 0.4 * len(zeros):
                    return name
            raise InputError("this is not a text file", hint="export it as CSV", file=place)
        source.seek(0)
        odd = _first_bad_byte(source)
        if odd is None:
            return "utf-8"
        source.seek(max(0, odd - 20_000))
        return _legacy_encoding(source.read(40_000))


def _first_bad_byte(source: BinaryIO) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    while block := source.read(_SAMPLE):
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            return position + error.start
        position += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return max(0, position - 4)
    return None


def _legacy_encoding(sample: bytes) -> str:
    import charset_normalizer

    candidates = ["cp1252", "cp1250", "iso8859_15", "mac_roman", "cp850"]
    best = charset_normalizer.from_bytes(sample, cp_isolation=candidates).best()
    if best is not None and best.encoding in candidates[1:]:
        # A few accents do not tell one Western code page from another: prefer the common one
        # unless it cannot hold the bytes.
        try:
            sample.decode("cp1252")
        except UnicodeDecodeError:
            return best.encoding
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


# --- CSV ------------------------------------------------------------------------------------------


def _read_csv(place: Path) -> RawTable:
    encoding = _encoding(place)
    try:
        with place.open("r", encoding=encoding, newline="") as source:
            sample = source.read(_SAMPLE)
            _guard_header(sample, place)
            hint, delimiter = _dialect(sample)
            source.seek(0)
            records = csv.reader(source, delimiter=delimiter, strict=True)
            if hint:
                next(records)
            header, start = _first_record(records, place)
            start += int(hint)
            plain = None if start > 1 else _at_once(place, encoding, delimiter, len(header))
            if plain is None:
                frame, rows, blank = _collect(records, header, start, place)
            else:
                frame = name_columns(plain, header, place)
                rows, blank = np.arange(2, 2 + len(frame), dtype=np.int64), 0
    except UnicodeError:
        raise InputError(
            "the file is not valid in its own encoding",
            hint="save it again as UTF-8",
            file=place,
        ) from None
    word = _NAMES.get(delimiter, "comma")
    notes = [f"text in {encoding}, {word} between columns"]
    if blank:
        notes.append(f"{blank:,} blank lines left out")
    return RawTable(place.name, "CSV", frame, rows, delimiter, encoding, tuple(notes))


def _guard_header(sample: str, place: Path) -> None:
    """Refuse an absurd header before anything is parsed: it would cost memory for nothing."""
    end = re.search(r"[\r\n]", sample.lstrip("\r\n\ufeff"))
    line = sample if end is None else sample.lstrip("\r\n\ufeff")[: end.start()]
    if max(line.count(d) for d in _DELIMITERS) >= WIDEST or (end is None and len(line) >= _SAMPLE):
        raise InputError(
            f"the header has more than {WIDEST:,} columns",
            hint="check the delimiter, or turn the table so that rows are patients",
            file=place,
        )
    controls = sum(1 for c in sample[:4096] if c < " " and c not in "\t\r\n\f")
    if controls > 8:
        raise InputError("this is not a text file", hint="export it as CSV", file=place)


def _dialect(sample: str) -> tuple[bool, str]:
    """Elect the delimiter that gives most rows as many cells as the header."""
    hint = re.match(r"\ufeff?sep=(.)\r?\n", sample)
    if hint:
        return True, hint.group(1)
    best, delimiter = (0.0, 1), ","
    for candidate in _DELIMITERS:
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
        raise InputError(
            "the header has a quotation mark that is not closed",
            hint="correct the quotation marks",
            file=place,
            row=1,
        ) from None
    raise InputError("the file is empty", hint="export it again", file=place)


def _at_once(place: Path, encoding: str, delimiter: str, width: int) -> pd.DataFrame | None:
    """Read a file without quotation marks and blank lines in one go, and no other file."""
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow import csv as fast

    text = place.read_bytes()
    if encoding not in ("utf-8", "utf-8-sig"):
        text = text.decode(encoding).encode("utf-8")
    if b'"' in text or b"\0" in text or text.count(b"\r") != text.count(b"\r\n"):
        return None
    names = [str(i) for i in range(width)]
    try:
        table = fast.read_csv(
            pa.BufferReader(text),
            read_options=fast.ReadOptions(column_names=names, skip_rows=1),
            parse_options=fast.ParseOptions(
                delimiter=delimiter, quote_char=False, ignore_empty_lines=False
            ),
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


def _collect(
    records: Iterator[list[str]], header: list[str], start: int, place: Path
) -> tuple[pd.DataFrame, NDArray[np.int64], int]:
    import pyarrow as pa

    width = len(header)
    pieces: list[list[pa.Array]] = []
    rows: list[int] = []
    block: list[list[str]] = []
    number, blank = start, 0
    while True:
        number += 1
        try:
            record = next(records)
        except StopIteration:
            break
        except csv.Error:
            raise InputError(
                "a quotation mark is not closed, or a cell is far too long",
                hint="correct the quotation marks from this row on",
                file=place,
                row=number,
            ) from None
        if not any(record):
            blank += 1
            continue
        if len(record) != width:
            raise _ragged(len(record), width, number, place)
        block.append(record)
        rows.append(number)
        if len(block) == _CHUNK:
            pieces.append([pa.array(c, pa.string()) for c in zip(*block, strict=True)])
            block = []
    if block:
        pieces.append([pa.array(c, pa.string()) for c in zip(*block, strict=True)])
    if not pieces:
        raise InputError("there is a header and no rows", hint="export it again", file=place)
    columns = [pa.chunked_array(list(parts)) for parts in zip(*pieces, strict=True)]
    frame = pa.Table.from_arrays(columns, names=[str(i) for i in range(width)]).to_pandas()
    return name_columns(frame, header, place, start), np.array(rows, dtype=np.int64), blank


def _ragged(cells: int, width: int, number: int, place: Path) -> InputError:
    if width == 1:
        return InputError(
            "the header is one cell and this row has more",
            hint="delete what stands above the header, or check the delimiter",
            file=place,
            row=number,
        )
    what = "1 cell" if cells == 1 else f"{cells} cells"
    return InputError(
        f"the row has {what} where the header has {width}",
        hint="check the delimiter and the quotation marks here, and whether the file is complete",
        file=place,
        row=number,
    )


# --- The header, whatever the file ----------------------------------------------------------------


def name_columns(frame: pd.DataFrame, header: list[str], place: Path, row: int = 1) -> pd.DataFrame:
    """Trim text and name the columns, or say what is wrong with the header."""
    frame = frame.set_axis(range(frame.shape[1]), axis=1)
    columns: dict[str, pd.Series] = {}
    names = [_clean(h) for h in header]
    _check_names(names, place, row)
    for i, name in enumerate(names):
        values = _trimmed(frame[i])
        if not name:
            if values.notna().any():
                raise InputError(
                    f"column {i + 1} has entries and no name",
                    hint="name it in the header, or remove it",
                    file=place,
                    row=row,
                )
            continue
        columns[name] = values
    return pd.DataFrame(columns)


def _clean(name: object) -> str:
    text = "" if name is None else str(name)
    return re.sub(r"\s+", " ", text.replace("\ufeff", "").replace("\u200b", "")).strip()


def _check_names(names: list[str], place: Path, row: int) -> None:
    filled = [n for n in names if n]
    if len(names) > WIDEST:
        raise InputError(
            f"the header has more than {WIDEST:,} columns",
            hint="turn the table so that rows are patients",
            file=place,
        )
    if len(names) > 2 and len(filled) == 1:
        raise InputError(
            "only one column has a name, as if a title stood above the header",
            hint="delete what stands above the header",
            file=place,
            row=row,
        )
    # Names are not shown here: without a header they are the first patient's values.
    values = [n for n in filled if re.fullmatch(r"[-+]?[\d.,/: ]+%?", n)]
    if filled and len(values) * 3 >= len(filled):
        raise InputError(
            "the first row holds values rather than names",
            hint="put a row with the names of the columns at the top",
            file=place,
            row=row,
        )
    for position, name in enumerate(names):
        if name and name in names[:position]:
            raise InputError(
                "two columns have the same name",
                hint="rename or remove one of them",
                file=place,
                row=row,
                column=shown_name(name),
            )


def _trimmed(values: pd.Series) -> pd.Series:
    if not (pd.api.types.is_string_dtype(values) or pd.api.types.is_object_dtype(values)):
        return values
    text = values.astype("str").str.strip()
    return text.mask(text == "")
