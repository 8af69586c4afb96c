"""What a cell holds: a number, a date, a word for missing, or something wrong.

Each distinct entry is looked at once, so that a million rows cost no more than their distinct
values. Entries themselves never leave this module; only their kind does.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure
from pwp_lib.schema import MISSING
from pwp_report.wording import listed

#: Forms of entries and of days, as names.toml lists them.
_CELLS: dict[str, Any] = listed("names.toml")["cells"]
#: What an entry that is no number may be; and the two forms of a number.
_FORMS = {kind: re.compile(form) for kind, form in _CELLS["forms"].items()}
_NUMBER, _COMMA = _FORMS.pop("number"), _FORMS["comma"]
#: Numbers that extracts use for "not recorded" where the scale cannot have them.
MISSING_CODES: tuple[int, ...] = tuple(_CELLS["missing_codes"])
#: Characters that no one sees.
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


class ReadColumn(NamedTuple):
    """A column as it was understood.

    Attributes
    ----------
    values : Series
        Numbers, dates or text; missing where empty, coded as missing, or wrong.
    kinds : Series
        Key of `KINDS` where the entry is wrong, missing elsewhere.
    """

    values: pd.Series
    kinds: pd.Series

    @property
    def wrong(self) -> pd.Series:
        """Which rows have to be corrected."""
        return self.kinds.notna()

    def within(self, low: float, high: float) -> "ReadColumn":
        """Take numbers that lie outside for wrong."""
        outside = self.values.notna() & ~self.values.between(low, high)
        return ReadColumn(self.values.mask(outside), self.kinds.mask(outside, "range"))


def read_numbers(
    cells: pd.Series, codes: Collection[str] = (), decimal: str | None = None
) -> ReadColumn:
    """Read a column of numbers.

    Parameters
    ----------
    cells : Series
        Text or numbers, shape (N,).
    codes : collection of str
        Entries that mean missing, besides the usual words.
    decimal : {".", ",", "", None}
        Where it is not given, accepts decimal commas where no entry has a decimal point.

    Examples
    --------
    >>> read = read_numbers(pd.Series(["12,5", " 7", "n/a", "45%", "03-Mar"], dtype="str"))
    >>> read.values.tolist()
    [12.5, 7.0, nan, nan, nan]
    >>> read.kinds.dropna().tolist()
    ['percentage', 'date']
    """
    if not (pd.api.types.is_string_dtype(cells) or pd.api.types.is_object_dtype(cells)):
        return _native_numbers(cells, codes)
    labels, distinct = pd.factorize(cells)
    texts = [str(t).strip() for t in distinct]
    points = any("." in t and _NUMBER.fullmatch(t) for t in texts)
    commas = decimal == "," or not (decimal or points)
    values = np.full(len(texts) + 1, np.nan)
    kinds: list[str | None] = [None] * (len(texts) + 1)
    for i, text in enumerate(texts):
        if text in MISSING or text in codes or text.casefold() in codes:
            continue
        number = text.replace(",", ".") if commas and _COMMA.fullmatch(text) else text
        if _NUMBER.fullmatch(number):
            values[i] = float(number)
        else:
            kinds[i] = next((kind for kind, form in _FORMS.items() if form.fullmatch(text)), "text")
    wrong = pd.Series(np.array(kinds, dtype=object)[labels], index=cells.index, dtype="str")
    return ReadColumn(pd.Series(values[labels], index=cells.index), wrong)


def _native_numbers(cells: pd.Series, codes: Collection[str]) -> ReadColumn:
    none = pd.Series(None, index=cells.index, dtype="str")
    if pd.api.types.is_datetime64_any_dtype(cells):
        return ReadColumn(pd.Series(np.nan, index=cells.index), none.mask(cells.notna(), "date"))
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    numbers = [float(c) for c in codes if _NUMBER.fullmatch(c)]
    endless = np.isinf(values)
    return ReadColumn(values.mask(values.isin(numbers) | endless), none.mask(endless, "range"))


def read_scores(
    cells: pd.Series, measure: Measure, codes: Collection[str] = (), decimal: str | None = None
) -> ReadColumn:
    """Read a column of scores, with what the measure allows.

    Examples
    --------
    >>> from pwp_lib.measures import PHQ9
    >>> read_scores(pd.Series(["12", "28", "99", "3.5"], dtype="str"), PHQ9).kinds.tolist()
    [nan, 'range', 'code', 'fraction']
    """
    read = read_numbers(cells, codes, decimal)
    inside = read.within(measure.minimum, measure.maximum)
    code = inside.values.isna() & read.values.isin(MISSING_CODES)
    broken = (inside.values % 1 > 0) & measure.integer
    kinds = inside.kinds.mask(code, "code").mask(broken, "fraction")
    return ReadColumn(inside.values.mask(broken), kinds)


def read_codes(cells: pd.Series, codes: Collection[str] = ()) -> pd.Series:
    """Read identifiers and categories: text without unseen characters, words for missing missing.

    Examples
    --------
    >>> read_codes(pd.Series([" Smith\u00a0 J", "n/a", "7"], dtype="str")).tolist()
    ['Smith J', nan, '7']
    """
    if pd.api.types.is_float_dtype(cells) and bool((cells.dropna() % 1 == 0).all()):
        # 7.0, stored so because a neighbour was missing, is the identifier 7.
        cells = cells.astype("Int64")
    text = cells.astype("str").str.strip()
    odd = text[text.str.contains("[^!-~]", na=False)]
    text.loc[odd.index] = odd.map({t: " ".join(_UNSEEN.sub("", t).split()) for t in odd.unique()})
    return text.mask(text.isin({"", *MISSING, *codes}))


def read_words(cells: pd.Series, codes: Collection[str] = ()) -> pd.Series:
    """Read entries that stand for something: small letters, and 5 for 5.0."""
    return read_codes(cells, codes).str.lower().str.replace(r"^(\d+)\.0+$", r"\1", regex=True)


def same_name(name: str) -> str:
    """Reduce an identifier so that two spellings of one name or number are equal.

    Codes of letters and digits keep their capitals, which may tell them apart.

    Examples
    --------
    >>> same_name("SMITH J") == same_name("Smith J"), same_name("007"), same_name("aB1")
    (True, '7', 'aB1')
    """
    name = re.sub(r"^(\d+)\.0+$", r"\1", name)
    if name.isdigit():
        return name.lstrip("0") or "0"
    return name if any(c.isdigit() for c in name) else name.casefold()


def repeated(frame: pd.DataFrame) -> pd.Series:
    """Tell rows with the entries of one above, whatever their capitals and spaces.

    Examples
    --------
    >>> repeated(pd.DataFrame({"who": ["Ann ", "ann", "Ben"]})).tolist()
    [False, True, False]
    """
    return frame.apply(read_words).duplicated()


def read_dates(cells: pd.Series, codes: Collection[str] = (), fmt: str | None = None) -> ReadColumn:
    """Read a column of dates, with a time or without: year first, day first, or a named month.

    Parameters
    ----------
    cells : Series
        Text, dates, or the day numbers of a spreadsheet.
    codes : collection of str
        Entries that mean missing. So do 9999-12-31 and its like.
    fmt : str, optional
        The one form that every entry has, as `datetime.strptime` knows it.

    Examples
    --------
    >>> read = read_dates(pd.Series(["03/04/2021", "25 Dec 2020 09:30", "soon"], dtype="str"))
    >>> read.values.dt.month.tolist(), read.kinds.dropna().tolist()
    ([4.0, 12.0, nan], ['not_date'])
    """
    none = pd.Series(None, index=cells.index, dtype="str")
    if pd.api.types.is_datetime64_any_dtype(cells):
        return ReadColumn(cells.dt.tz_localize(None), none)
    text = read_codes(cells, codes)
    text = text.mask(text.str.fullmatch(_CELLS["no_day"], na=False))
    labels, distinct = pd.factorize(text)
    pool = pd.Series(list(distinct), dtype="str")
    found = pd.to_datetime(pool, format=fmt, errors="coerce") if fmt else _moments_of(pool)
    filled = np.append(found.to_numpy(dtype="datetime64[us]"), np.datetime64("NaT"))
    values = pd.Series(filled[labels], index=cells.index)
    kinds = none.mask(values.isna() & text.notna(), "not_date")
    # Of days and months a spreadsheet has exchanged those that it could, and made dates of them.
    made, left = (pool.str.extract(p, expand=False).astype(float) for p in _CELLS["half_turned"])
    turned = min(made.count(), left.count()) > 4 and made.max() <= 12 < left.min()
    return ReadColumn(values, kinds.mask(np.append(made.notna() & turned, False)[labels], "turned"))


def _moments_of(pool: pd.Series) -> pd.Series:
    """Read each entry as a day and, where there is one, a time."""
    times = pool.str.extract(_CELLS["time"])
    seconds = times[0].str.replace(r"^(\d+:\d+)$", r"\1:00", regex=True)
    clock = pd.to_timedelta(seconds, errors="coerce")
    noon, half = pd.Timedelta(hours=12), times[1].str.lower()
    clock = clock.mask((half == "pm") & (clock < noon), clock + noon)
    clock = clock.mask((half == "am") & (clock >= noon), clock - noon)
    days = pool.str.replace(_CELLS["time"], "", regex=True).str.strip(" ,")
    days = days.str.replace(_CELLS["weekday"], "", regex=True)
    days = days.str.replace(r"[/. ,]+", "-", regex=True)
    best = pd.Series(pd.NaT, index=pool.index, dtype="datetime64[us]")
    for form in _CELLS["days"]:
        best = best.fillna(pd.to_datetime(days, format=form, errors="coerce").astype(best.dtype))
    # A spreadsheet counts days from the end of 1899; these are the years 1954 to 2119.
    serial = pd.to_numeric(pool.where(pool.str.fullmatch(r"[2-7]\d{4}(?:\.\d+)?")))
    best = best.fillna(pd.to_datetime(serial, unit="D", origin="1899-12-30").astype(best.dtype))
    return best + clock.fillna(pd.Timedelta(0))


def read_times(cells: pd.Series, codes: Collection[str] = ()) -> pd.Series:
    """Read times of day as what they add to the day; zero where there is none."""
    text = read_codes(cells, codes)
    text = text.fillna("0:00").str.replace(r"^(\d{1,2})[.:]?(\d{2})$", r"\1:\2", regex=True)
    return _moments_of("2000-01-01 " + text) - pd.Timestamp("2000-01-01")
