"""The one way to a table in a file, whatever the file is: its first bytes say, not its name."""

import re
from pathlib import Path

from multilevel.errors import InputError
from pwp_report.read.columnar import read_duckdb, read_labelled, read_parquet, read_sqlite
from pwp_report.read.excel import read_excel
from pwp_report.read.raw import RawTable
from pwp_report.read.text import read_text
from pwp_report.wording import OTHER_FILES, refusal

#: Formats 117 and later name themselves; those from 104 on begin with their number, the order of
#: bytes, and a one.
_STATA = rb"<stata_dta>|[\x68-\x73][\x01\x02]\x01"


def read_table(path: str | Path, *, table: str | None = None) -> RawTable:
    r"""Read a file, whatever it is.

    Parameters
    ----------
    path : path
        CSV (comma, semicolon, tab or bar; UTF-8, UTF-16, Windows-1252 and others), Excel (.xlsx),
        Parquet, SPSS (.sav), Stata (.dta), a DuckDB or an SQLite database.
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
    >>> raw.delimiter, raw.frame.columns.tolist(), raw.notes[0]
    (';', ['id', 'score'], 'text in cp1252, semicolon between columns')
    """
    place = Path(path)
    head = _first_bytes(place)
    if head.startswith(b"SQLite format 3\x00"):
        return read_sqlite(place, table)
    if head[8:12] == b"DUCK":
        return read_duckdb(place, table)
    if head.startswith(b"PK\x03\x04"):
        return read_excel(place, table)
    for form, kind in ((rb"\$FL", "SPSS"), (_STATA, "Stata")):
        if re.match(form, head):
            return read_labelled(place, kind)
    if table is not None:
        raise refusal("no_tables_here", file=place)
    if head.startswith(b"PAR1"):
        return read_parquet(place)
    for magic, (problem, hint) in OTHER_FILES.items():
        if head.lstrip().lower().decode("latin-1").startswith(magic):
            raise InputError(problem, hint=hint, file=place)
    return read_text(place)


def _first_bytes(place: Path) -> bytes:
    if place.is_dir():
        raise refusal("folder", file=place)
    if place.exists() and not place.is_file():
        # A pipe would be waited for without end, and cannot be read twice.
        raise refusal("pipe_or_device", file=place)
    try:
        with place.open("rb") as source:
            head = source.read(4096)
    except FileNotFoundError:
        raise refusal("no_such_file", file=place) from None
    except (OSError, ValueError):
        raise refusal("file_closed_to_us", file=place) from None
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise refusal("empty_file", file=place)
    return head
