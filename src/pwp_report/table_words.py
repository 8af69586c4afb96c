"""Headings and entries of the released tables, as a reader of a page should see them.

The tables' files and the JSON keep the library's own names, which programs rely on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pwp_lib.measures import Measure
from pwp_report.released import ReleasedTable

__all__ = ["entries", "for_page", "headings", "measure_words"]

#: A table with more rows than this is cut on a page.
_CUT, _ENDS = 400, 100
#: By table; what stands under "every" holds in all where the table itself says nothing else.
_HEADINGS: Mapping[str, Mapping[str, str]] = tomllib.loads(
    Path(__file__).with_name("headings.toml").read_text(encoding="utf-8")
)
#: Entries of columns that hold names.
_ENTRIES: Mapping[str, Mapping[str, str]] = {
    "check": {
        f"patients at the {end}, after": f"share of patients at the {end}, after"
        for end in ("minimum", "maximum")
    },
}


def measure_words(measures: Sequence[Measure]) -> dict[str, str]:
    """Headings that name a measure."""
    return {
        name: text
        for m in measures
        for name, text in ((f"rank_{m.name}", f"rank, {m.label}"), (m.pre, f"{m.label} before"))
    }


def headings(table: ReleasedTable) -> dict[str, str]:
    """Headings by column.

    Examples
    --------
    >>> frame = pd.DataFrame({"n": [21], "rank_phq9": [1]})
    >>> words = {"rank_phq9": "rank, PHQ-9"}
    >>> headings(ReleasedTable("sample", "Ranks", frame, words=words))
    {'n': 'number', 'rank_phq9': 'rank, PHQ-9'}
    """
    known = {**_HEADINGS["every"], **_HEADINGS.get(table.name, {}), **table.words}
    return {str(c): known.get(str(c), str(c).replace("_", " ")) for c in table.frame.columns}


def entries(frame: pd.DataFrame) -> pd.DataFrame:
    """Put words in place of names, and of probabilities that round to nothing.

    Examples
    --------
    >>> entries(pd.DataFrame({"predictor": ["ego_strength"]}))["predictor"].tolist()
    ['ego strength']
    """
    named: dict[str, pd.Series] = {
        column: frame[column].map(lambda v, words=words: words.get(v, v))
        for column, words in _ENTRIES.items()
        if column in frame
    }
    if "predictor" in frame:
        named["predictor"] = frame["predictor"].str.replace("_", " ")
    if {"check", "value"} <= {*frame}:
        small = frame["check"].str.fullmatch(r".*\bp") & (
            pd.to_numeric(frame["value"], errors="coerce") < 0.001
        )
        named["value"] = frame["value"].astype(object).mask(small, "< .001")
    return frame.assign(**named)


def for_page(table: ReleasedTable, whole: str) -> tuple[pd.DataFrame, str]:
    """Entries in words, of a very long table both ends alone, and the note that says so.

    Parameters
    ----------
    table : ReleasedTable
    whole : str
        Which file holds all rows.
    """
    frame, note = entries(table.frame), table.note
    if len(frame) > _CUT:
        cut = f"The first and the last {_ENDS} of {len(frame):,} rows; {whole} holds all."
        note = f"{note} {cut}".strip()
        frame = pd.concat([frame.iloc[:_ENDS], frame.iloc[-_ENDS:]])
    return frame, note
