"""Headings and entries of the released tables, as a reader of a page should see them.

The tables' files and the JSON keep the library's own names, which programs rely on.
"""

from collections.abc import Iterable

import pandas as pd

from pwp_lib.numbers import bare_p, decimals, number, with_interval
from pwp_lib.show.show import cut
from pwp_report.released import ReleasedTable
from pwp_report.wording import in_words, listed

#: A table with more rows than this is cut on a page.
_CUT, _ENDS = 60, 10
#: By table; what stands under "every" holds in all where the table itself says nothing else.
_HEADINGS, _PHRASES = (listed(file) for file in ("headings.toml", "tables.toml"))


def phrase(kind: str, key: str, **values: object) -> str:
    """Give the title, note, caption or sentence of that key, empty where there is none.

    Examples
    --------
    >>> phrase("titles", "outcomes"), phrase("notes", "outcomes")
    ('Outcomes by measure', '')
    """
    return str(_PHRASES[kind].get(key, "")).format(**values)


def headings(table: ReleasedTable) -> dict[str, str]:
    """Headings by column, empty where it is not on the page; by measure if not by the whole name.

    Examples
    --------
    >>> frame = pd.DataFrame({"n": [21], "vpc_lower": [1]})
    >>> headings(ReleasedTable("sample", "Sample", frame))
    {'n': 'number', 'vpc_lower': 'vpc lower'}
    """
    # A measure's name may have an underscore of its own.
    mine = [h for name, h in _HEADINGS.items() if f"{table.name}_".startswith(f"{name}_")]
    known = {c: words for some in (_HEADINGS["every"], *mine) for c, words in some.items()}
    return {str(c): known.get(str(c), str(c).replace("_", " ")) for c in table.frame.columns}


def entries(frame: pd.DataFrame) -> pd.DataFrame:
    """Put words in place of names, and write the p-values among other figures.

    Examples
    --------
    >>> entries(pd.DataFrame({"predictor": ["ego_strength"]}))["predictor"].tolist()
    ['ego strength']
    """
    named = {c: frame[c].map(in_words) for c in ("predictor", "covariate") if c in frame}
    if {"check", "value"} <= {*frame}:
        values, p = frame["value"].astype(object), frame["check"].str.fullmatch(r".*\bp")
        written = values.map(lambda v: bare_p(v) if isinstance(v, float) else v)
        named["value"] = values.mask(p, written)
    return frame.assign(**named)


def places_of(name: str, values: Iterable[object], table: str = "") -> int:
    """How many decimals figures of that name have: as released or, of others, as one needs.

    Examples
    --------
    >>> places_of("vpc", [7.8, 0.04]), places_of("p_upper", [1.0, 0.0]), places_of("n", [2.5])
    (1, 2, 1)
    """
    known: dict[str, int] = _PHRASES["places"]
    return known.get(f"{table}.{name}", known.get(name, decimals(values)))


def written(cell: object, places: int) -> str:
    """Write a cell; what would be written as 0 and is above it is under the smallest number.

    Examples
    --------
    >>> [written(v, 1) for v in (0.0482, 0.05, 0.0, 2.5, float("nan"), "*", 1122)]
    ['under 0.1', 'under 0.1', '0.0', '2.5', '', '*', '1,122']
    """
    return with_interval(places, cell) if isinstance(cell, float) else number(cell, 0, "")


def for_page(table: ReleasedTable, whole: str) -> tuple[pd.DataFrame, str]:
    """Entries in words, of a very long table both ends alone, and the note that says so.

    Parameters
    ----------
    table : ReleasedTable
    whole : str
        Which file holds all rows.
    """
    frame, note = entries(table.frame), table.note
    # What is not on the page is in the file; a column without an entry says nothing.
    frame = frame[[c for c, words in headings(table).items() if words]].dropna(axis=1, how="all")
    frame = frame.loc[:, (frame.astype(object) != "").any()]
    if len(frame) > _CUT:
        *_, words = (t for name, t in _PHRASES["cut"].items() if table.name.startswith(name))
        note = f"{note} {words.format(n=_ENDS, all=len(frame))}; {whole} holds all."
        parts = frame.groupby("measure" if "measure" in frame else lambda _: 0, sort=False)
        frame = pd.concat([cut(rows, 2 * _ENDS, phrase("most", table.name)) for _, rows in parts])
    return frame, note.strip()
