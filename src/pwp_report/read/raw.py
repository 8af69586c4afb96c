"""A table as it stood in its file, and how its header is understood."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pwp_report.wording import refusal

#: A wider header is no table of outcomes, and reading it would cost memory for nothing.
WIDEST = 5_000
#: Where the header may stand, and the filled cells that tell it from a title.
DEEPEST, WIDE = 20, 3


@dataclass(frozen=True)
class RawTable:
    """A table as it stood in the file.

    Attributes
    ----------
    name : str
        The file's name, without its folder.
    kind : str
        What the file is: ``"CSV"``, ``"Excel"``, ``"SPSS"`` and so on.
    frame : DataFrame
        One row a record. Text columns are trimmed, with empty cells missing.
    rows : ndarray of int, shape (N,)
        The row of each record as a spreadsheet counts it: the header is row 1.
    delimiter : str
        Of a CSV file.
    notes : tuple of str
        What was understood, in words.
    remarks : tuple of str
        What is worth a look, such as rows that a filter hides.
    """

    name: str
    kind: str
    frame: pd.DataFrame
    rows: NDArray[np.int64]
    delimiter: str = ""
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Never the rows: a notebook prints this unasked.
        return f"<{self.kind} {self.name}: {len(self.frame):,} rows, {self.frame.shape[1]} columns>"


def shown_name(name: object) -> str:
    """Write a column's name so that it can be printed: no control characters, 40 at most."""
    text = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    return text if len(text) <= 40 else text[:37] + "..."


def headings_listed(columns: Sequence[str]) -> str:
    """List the headings of a file, which are no entries, and not endlessly many."""
    more = f" and {len(columns) - 30:,} more" if len(columns) > 30 else ""
    return ", ".join(map(shown_name, columns[:30])) + more


def did_you_mean(name: str, known: Iterable[object], form: str = "did you mean {}?") -> str:
    """Ask whether the nearest of the known names is meant, in capitals or not; empty if none is.

    Examples
    --------
    >>> did_you_mean("IMD DECILE", ["age", "IMD decile"]), did_you_mean("x", ["age"])
    ('did you mean IMD decile?', '')
    """
    small = {str(k).lower(): shown_name(k) for k in known}
    return "".join(form.format(small[k]) for k in get_close_matches(name.lower(), small, n=1))


def check_width(width: int, place: Path) -> None:
    """Refuse a table with more columns than a table of outcomes can have."""
    if width > WIDEST:
        raise refusal("header_too_wide", file=place, widest=WIDEST)


def header_at(filled: Sequence[int]) -> int:
    """Find the header among the first rows, given how many cells of each are filled.

    It is the first that fills half as many as any, and three at least; titles fill fewer.

    Examples
    --------
    >>> header_at([1, 0, 2, 7, 7]), header_at([2, 2])
    (3, 0)
    """
    most = max(filled, default=0)
    least = max(WIDE, most / 2) if most >= WIDE else 1
    return next((i for i, n in enumerate(filled) if n >= least), 0)


def said_of_rows(count: int, where: str) -> list[str]:
    """Say that rows were left out; nothing of none."""
    return [f"{count:,} row{'s' * (count > 1)} {where} left out"] * bool(count)


def choose_table(names: Sequence[str], wanted: str | None, whole: str, place: Path) -> str:
    """Choose the table of a database or the sheet of a workbook that is meant.

    Parameters
    ----------
    names : sequence of str
        Those that hold data.
    wanted : str or None
        The one that the user named.
    whole : str
        What the file is, in words.
    place : Path
    """
    if wanted in names or (len(names) == 1 and not wanted):
        return wanted or names[0]
    key = ("no_such_table" if wanted else "several_tables") if names else "no_table"
    listed = ", ".join(shown_name(n) for n in names[:8]) + (" and more" if len(names) > 8 else "")
    raise refusal(key, file=place, whole=whole, listed=listed)


def name_columns(
    frame: pd.DataFrame, header: Sequence[object], place: Path, row: int = 1
) -> pd.DataFrame:
    """Trim text and name the columns, or say what is wrong with the header."""
    if frame.empty:
        raise refusal("header_alone", file=place)
    names = [_clean(h) for h in header]
    _check_names(names, place, row)
    table = frame.apply(_trimmed).set_axis(names, axis=1)
    if (lost := table.notna().any().to_numpy() & (table.columns == "")).any():
        raise refusal("column_without_name", file=place, row=row, number=lost.argmax() + 1)
    return table.drop(columns="", errors="ignore")


def _clean(name: object) -> str:
    text = "" if name is None else str(name)
    return re.sub(r"\s+", " ", text.replace("\ufeff", "").replace("\u200b", "")).strip()


def _check_names(names: list[str], place: Path, row: int) -> None:
    check_width(len(names), place)
    filled = [n for n in names if n]
    # Names are not shown here: without a header they are the first patient's values.
    values = [n for n in filled if re.fullmatch(r"[-+]?[\d.,/: ]+%?", n)]
    twice = next((n for i, n in enumerate(names) if n and n in names[:i]), "")
    if len(names) > 2 and len(filled) == 1:
        raise refusal("title_for_header", file=place, row=row)
    if filled and len(values) * 3 >= len(filled):
        raise refusal("values_for_names", file=place, row=row)
    if twice:
        raise refusal("same_name_twice", file=place, row=row, column=shown_name(twice))


def _trimmed(values: pd.Series) -> pd.Series:
    if not (pd.api.types.is_string_dtype(values) or pd.api.types.is_object_dtype(values)):
        return values
    text = values.astype("str").str.strip()
    return text.mask(text == "")
