"""The study file: TOML that says what the columns are, who is included and how it is analysed.

A study file is optional: columns with usual names are recognised without one. It is read strictly,
so that a misspelt key is an error rather than a rule that silently does not hold. One list of keys
is what it is read and written by.
"""

import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from multilevel.errors import InputError
from pwp_lib.measures import MEASURES, Measure
from pwp_report.read.raw import did_you_mean, headings_listed, shown_name
from pwp_report.recognise import CODES, ROLES, guess_roles
from pwp_report.study import NEEDED, ScoreColumns, Study, columns_of_others
from pwp_report.wording import QUESTIONS, listed, refusal, render

#: Beyond any number that a study file could mean.
_FAR = 10**10
_CHOICES = ("keep", "leave_out")


class _Key(NamedTuple):
    """One key of a study file: where it stands, what it may hold, and the comment beside it.

    ``kind`` is what the value is; ``example`` is written as a comment where there is no value.
    """

    section: str
    name: str
    kind: str
    allowed: Sequence[str] = ()
    low: float = 0
    high: float = _FAR
    note: str = ""
    example: str = ""


_DATA: dict[str, dict[str, Any]] = listed("study_keys.toml")
_ROLES = _DATA.pop("roles")
_DATA["file"]["answered"]["allowed"] = [*QUESTIONS]
_MEASURE_KEYS = tuple(_Key("measure", name, **key) for name, key in _DATA.pop("measure").items())
_KEYS = tuple(_Key(part, k, **v) for part, keys in _DATA.items() for k, v in keys.items())
_SECTIONS = ("columns", "measures", *_CHOICES, "codes", *filter(None, _DATA))
_COLUMN_KEYS = tuple(
    _Key("columns", r, "filled" if r in NEEDED else "text", note="name the column") for r in _ROLES
)
_CODE_KEYS = tuple(_Key("codes", name, "texts") for name in CODES)


class _Section:
    """One table of the file, read strictly: without `keys`, any key is one."""

    def __init__(self, values: Any, name: str, file: Path, keys: Sequence[str] | None) -> None:
        self.name, self.file = name, file
        if not isinstance(values, dict):
            raise self.error("must be a table", f"write it as [{name}]")
        self.values: dict[str, Any] = values
        for key in self.values:
            if not shown_name(key):
                where = f"[{name}]" if name else "the study file"
                raise refusal("key_without_name", file=file, where=where)
            if keys is not None and key not in keys:
                raise self.error("is not known", _hint(key, keys), key)

    def error(self, problem: str, hint: str, key: str = "") -> InputError:
        place = ".".join(part for part in (self.name, shown_name(key)) if part)
        return InputError(f"{place} {problem}", hint=hint, file=self.file)

    def read(self, keys: Sequence[_Key]) -> dict[str, Any]:
        """Read the values of those keys that stand here."""
        readers: dict[str, Callable[[Any, _Key], Any]] = {"flag": self._flag}
        readers |= dict.fromkeys(("text", "filled"), self._text)
        readers |= dict.fromkeys(("words", "texts"), self._texts)
        readers |= dict.fromkeys(("whole", "size", "number", "number or false"), self._number)
        there = [key for key in keys if key.name in self.values]
        return {k.name: readers[k.kind](self.values[k.name], k) for k in there}

    def _text(self, value: Any, key: _Key) -> str:
        if not isinstance(value, str):
            raise self.error("must be text", 'quote it, as in "closed"', key.name)
        if key.kind == "filled" and not shown_name(value):
            raise self.error("is empty", f"{key.note}, or remove the line", key.name)
        if key.allowed and value not in key.allowed and not (key.example and value == ""):
            raise self.error("has an unknown value", f"known: {', '.join(key.allowed)}", key.name)
        return value

    def _texts(self, value: Any, key: _Key) -> tuple[str, ...]:
        items = [value] if isinstance(value, str | int | float) else value
        if not isinstance(items, list) or any(isinstance(i, dict | list) for i in items):
            raise self.error("must be a list", 'write it as ["one", "two"]', key.name)
        texts = tuple(str(i) for i in items)
        choice = ", ".join(key.allowed) if key.kind == "words" else key.note
        if strange := [t for t in texts if key.allowed and t not in key.allowed]:
            hint = did_you_mean(strange[0], key.allowed) or f"known are {choice}"
            raise self.error("has an unknown entry", hint, key.name)
        if key.kind == "words" and not texts:
            raise self.error("is empty", f"give one or more of {choice}", key.name)
        return texts

    def _number(self, value: Any, key: _Key) -> float | None:
        if key.kind == "size" and value == "":
            raise self.error("is empty", 'give a number, or write "quarter"', key.name)
        # TOML has no empty value: these say that there is none.
        if (key.kind, value) == ("size", "quarter") or (value is False and "false" in key.kind):
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not key.low <= value <= key.high:
            far = key.high >= _FAR
            span = f"of {key.low:,} or more" if far else f"from {key.low:,} to {key.high:,}"
            raise self.error(f"must be a number {span}", "correct it", key.name)
        if key.kind in ("whole", "size") and value % 1:
            raise self.error("must be a whole number", "correct it", key.name)
        return int(value) if key.kind in ("whole", "size") else value

    def _flag(self, value: Any, key: _Key) -> bool:
        if not isinstance(value, bool):
            raise self.error("must be true or false", "correct it", key.name)
        return value


def _names(section: str) -> tuple[str, ...]:
    return tuple(k.name for k in (*_KEYS, *_COLUMN_KEYS, *_CODE_KEYS) if k.section == section)


def _hint(key: str, keys: Sequence[str]) -> str:
    """Say what a key that is not known here may have been meant to be."""
    role = next(iter(guess_roles([key], _names("columns"))), "") if "columns" in keys else ""
    home = next((s for s in _SECTIONS if key in _names(s)), "columns" if role else "")
    if home and "columns" in keys:
        return f"did you mean {role or key} under [{home}]?"
    return did_you_mean(key, keys) or f"known are {', '.join(keys)}"


def read_study(path: str | Path) -> Study:
    r"""Read a study file.

    Parameters
    ----------
    path : path

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If it is no TOML, or has a key or a value that is not known.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "study.toml"
    >>> _ = file.write_text('seed = 7\n[measures.phq9]\npre = "First"\npost = "Last"\n')
    >>> study = read_study(file)
    >>> study.seed, study.measures[0].pre
    (7, 'First')
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise refusal("no_such_study_file", file=place) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        row = int(line[1]) if line else len(text.splitlines())
        raise refusal("study_file_not_toml", file=place, row=row) from None
    except (OSError, UnicodeDecodeError, ValueError):
        raise refusal("study_file_unreadable", file=place) from None
    return _study(content, place)


def _study(content: dict[str, Any], place: Path) -> Study:
    top = _Section(content, "", place, ("version", *_names(""), *_SECTIONS))
    if top.read([_Key("", "version", "whole", low=1)]).get("version", 1) != 1:
        raise top.error("is of a later version", "update pwp-lib", "version")
    values = top.read([k for k in _KEYS if not k.section])
    names = [n for n in _SECTIONS if n not in ("measures", *_CHOICES)]
    parts = {n: _Section(content.get(n, {}), n, place, _names(n)) for n in names}
    for name, part in parts.items():
        values |= part.read([k for k in _KEYS if k.section == name])
    if not _is_date_format(values.get("date_format", "")):
        hint = 'write it as in "%d/%m/%Y"'
        raise parts["file"].error("is not the form of a date", hint, "date_format")
    for name in _CHOICES:
        part = _Section(content.get(name, {}), name, place, None)
        values[name] = part.read([_Key(name, column, "texts") for column in part.values])
    columns = {k: v.strip() for k, v in parts["columns"].read(_COLUMN_KEYS).items()}
    codes = parts["codes"].read(_CODE_KEYS)
    codes = {k: tuple(c.strip().lower() for c in v) for k, v in codes.items()}
    return Study(
        # An empty name of a role says that a column is not to be used, whatever its name.
        columns=columns,
        codes={**CODES, **codes},
        measures=_measures(content.get("measures", {}), place),
        several_stated="several" in values,
        **values,
    )


def _is_date_format(form: str) -> bool:
    moment = dt.datetime(2021, 12, 31, 23, 58)
    with suppress(ValueError):
        return not form or dt.datetime.strptime(moment.strftime(form), form).date() == moment.date()
    return False


def _measures(values: Any, place: Path) -> tuple[ScoreColumns, ...]:
    outer = _Section(values, "measures", place, None)
    found = []
    for name, entry in outer.values.items():
        keys = [k.name for k in _MEASURE_KEYS]
        part = _Section(entry, f"measures.{shown_name(name)}", place, keys)
        columns = part.read(_MEASURE_KEYS[:4])
        if ("pre" in columns) != ("post" in columns):
            named, other = ("pre", "post") if "pre" in columns else ("post", "pre")
            raise part.error(f"names a column for {named} and none for {other}", f"add {other}")
        found.append(ScoreColumns(_measure(name, part), **columns))
    return tuple(found)


def _measure(name: str, part: _Section) -> Measure:
    known, changes = MEASURES.get(name), part.read(_MEASURE_KEYS[4:])
    blank = {"label": name, "cutoff": None, "reliable_change": None, "source": "the study file"}
    if known is None and not {"minimum", "maximum", "higher_is_worse"} <= set(changes):
        hint = f"give minimum, maximum and higher_is_worse, or use one of {', '.join(MEASURES)}"
        raise part.error("is not a measure of the library", hint)
    try:
        return replace(known, **changes) if known else Measure(name, **{**blank, **changes})
    except InputError as error:
        raise InputError(error.problem, hint=error.hint, file=part.file) from None


# --- Writing --------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
    # JSON is written as TOML is, but for what is not there, and for a sign that no one sees.
    text = json.dumps(False if value is None else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


def write_study(study: Study, headings: Sequence[str] = ()) -> str:
    """Write a study as a commented study file, saying what was guessed.

    Parameters
    ----------
    study : Study
        As completed from a file; what was not recognised is left as a comment to fill in.
    headings : sequence of str, optional
        The file's columns, to be listed for whoever fills in.

    Returns
    -------
    str
        TOML that `read_study` reads back as the same study.
    """
    roles = ROLES[study.level or "patient"]
    return render(
        "study.toml.j2",
        study=study,
        # What a row is, is not sure where no measure was recognised.
        values=vars(study) | ({} if study.measures else {"level": ""}),
        all_keys=_KEYS,
        measure_keys=_MEASURE_KEYS,
        roles=_ROLES,
        needed=NEEDED,
        left=[r for r in roles if r not in {*study.columns, *study.without}],
        listed=headings_listed(headings),
        named=columns_of_others(study, headings),
        toml=_toml,
    )
