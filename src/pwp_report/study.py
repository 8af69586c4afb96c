"""The study file: what the columns are, which measures, who is included, how it is analysed.

A study file is TOML and optional: columns with usual names are recognised without one. It is
read strictly, so that a misspelt key is an error rather than a rule that silently does not hold.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from multilevel.errors import InputError
from pwp_lib.measures import MEASURES, Measure
from pwp_report.read.files import shown_name
from pwp_report.recognise import CODES, PATIENT_ROLES, SESSION_ROLES, guess_roles, guess_scores

if TYPE_CHECKING:
    import os

__all__ = ["ScoreColumns", "Study", "complete_study", "read_study", "recognise_study"]

ENGINES = ("ml", "reml", "gibbs", "nuts")
SEVERAL = ("most_sessions", "first", "last", "exclude")
_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "version", "title", "seed", "engines", "cluster_size", "file", "columns", "measures",
        "inclusion", "therapists", "codes", "disclosure",
    ),
    "file": ("level", "table", "decimal", "missing", "date_format"),
    "columns": tuple(dict.fromkeys((*PATIENT_ROLES, *SESSION_ROLES))),
    "inclusion": (
        "minimum_sessions", "assessment", "one_to_one", "status", "minimum_age", "maximum_age",
        "minimum_caseload",
    ),
    "therapists": ("several",),
    "codes": tuple(CODES),
    "disclosure": ("caseload",),
}  # fmt: skip
_NEEDED = {"patient_id": "patient", "therapist_id": "therapist"}
_MEASURE_KEYS = (
    "pre", "post", "score", "label", "minimum", "maximum", "cutoff", "reliable_change",
    "higher_is_worse", "integer", "kind",
)  # fmt: skip
#: Beyond any number that a study file could mean.
_FAR = 10**10


@dataclass(frozen=True)
class ScoreColumns:
    """A measure and the columns with its scores: ``pre`` and ``post``, or ``score`` by session."""

    measure: Measure
    pre: str = ""
    post: str = ""
    score: str = ""


@dataclass(frozen=True)
class Study:
    """How a file is to be read and analysed.

    Attributes
    ----------
    columns : mapping of str to str
        Name in the file by role.
    measures : tuple of ScoreColumns
    level : {"patient", "session", ""}
        What a row is; empty is decided by the columns.
    table, decimal, date_format : str
    missing : tuple of str
        Entries that mean missing, besides words such as NULL and n/a.
    minimum_sessions, minimum_caseload : int
    assessment, one_to_one : bool
        Whether an assessment must be among the sessions, and whether all must be one-to-one.
    status : tuple of str
    minimum_age, maximum_age : float or None
    several : str
        Who is a patient's therapist if there were several: the one with ``most_sessions`` (the
        later one of two with equally many), the ``first``, the ``last``, or ``exclude``.
    several_stated : bool
        Whether the study file says so itself.
    codes : mapping of str to tuple of str
    cluster_size : int or None
        ``None`` is a quarter of the therapists.
    seed : int
    engines : tuple of str
    caseload : int
        Therapists with fewer patients are shown only in aggregate.
    guessed : tuple of str
        Roles and measures that were recognised rather than stated.
    """

    title: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    measures: tuple[ScoreColumns, ...] = ()
    level: str = ""
    table: str = ""
    decimal: str = ""
    date_format: str = ""
    missing: tuple[str, ...] = ()
    minimum_sessions: int = 2
    minimum_caseload: int = 1
    assessment: bool = True
    one_to_one: bool = True
    status: tuple[str, ...] = ("closed", "in_treatment")
    minimum_age: float | None = None
    maximum_age: float | None = None
    several: str = "most_sessions"
    several_stated: bool = False
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CODES)
    cluster_size: int | None = None
    seed: int = 1
    engines: tuple[str, ...] = ("ml", "gibbs")
    caseload: int = 20
    guessed: tuple[str, ...] = ()


class _Section:
    """One table of the file, read strictly."""

    def __init__(self, values: Any, name: str, file: Path, keys: Sequence[str]) -> None:
        self.name, self.file = name, file
        if not isinstance(values, dict):
            raise self.error("must be a table", f"write it as [{name}]")
        self.values: dict[str, Any] = values
        for key in values:
            if not shown_name(key):
                where = f"[{name}]" if name else "the study file"
                raise InputError(f"a key in {where} has no name", hint="name it", file=file)
            if key not in keys:
                raise self.error("is not known", _hint(key, keys), key)

    def error(self, problem: str, hint: str, key: str = "") -> InputError:
        place = ".".join(part for part in (self.name, shown_name(key)) if part)
        return InputError(f"{place} {problem}", hint=hint, file=self.file)

    def text(self, key: str, allowed: Sequence[str] = (), default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error("must be text", 'write it in quotation marks, as in "closed"', key)
        if allowed and value not in (*allowed, default):
            raise self.error("has an unknown value", f"give one of {', '.join(allowed)}", key)
        return value

    def filled(self, key: str, what: str) -> str:
        """Read a text that may be left out, and says something where it stands."""
        value = self.text(key)
        if key in self.values and not shown_name(value):
            raise self.error("is empty", f"{what}, or remove the line", key)
        return value

    def texts(
        self, key: str, default: tuple[str, ...], allowed: Sequence[str] = ()
    ) -> tuple[str, ...]:
        value = self.values.get(key, default)
        items = [value] if isinstance(value, str | int | float) else value
        if not isinstance(items, list | tuple) or any(isinstance(i, dict | list) for i in items):
            raise self.error("must be a list", 'write it as ["one", "two"]', key)
        texts = tuple(str(i) for i in items)
        if allowed and not set(texts) <= set(allowed):
            raise self.error("has an unknown entry", f"known are {', '.join(allowed)}", key)
        if allowed and not texts:
            raise self.error("is empty", f"give one or more of {', '.join(allowed)}", key)
        return texts

    def number(self, key: str, default: float | None, low: float, high: float) -> float | None:
        value = self.values.get(key, default)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            span = f"from {low:,} to {high:,}" if high < _FAR else f"of {low:,} or more"
            raise self.error(f"must be a number {span}", "correct it", key)
        return value

    def whole(self, key: str, default: int, low: int, high: int = _FAR) -> int:
        value = self.number(key, default, low, high)
        if value is None or value % 1:
            raise self.error("must be a whole number", "correct it", key)
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error("must be true or false", "correct it", key)
        return value


def _hint(key: str, keys: Sequence[str]) -> str:
    """Say what a key that is not known here may have been meant to be."""
    role = next(iter(guess_roles([key], _KEYS["columns"])), "") if "columns" in keys else ""
    home = next((s for s, known in _KEYS.items() if s and key in known), "columns" if role else "")
    if home and "columns" in keys:
        return f"did you mean {role or key} under [{home}]?"
    near = get_close_matches(key, keys, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"


def read_study(path: str | os.PathLike[str]) -> Study:
    r"""Read a study file.

    Parameters
    ----------
    path : path

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
        raise InputError("there is no such study file", hint="check its name", file=place) from None
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(text, str(error), place) from None
    except (OSError, UnicodeDecodeError, ValueError):
        raise InputError(
            "the study file cannot be read", hint="save it as UTF-8 text", file=place
        ) from None
    return _study(content, place)


def _not_toml(text: str, said: str, place: Path) -> InputError:
    """Name the line, and what it lacks where that can be told."""
    found = re.search(r"at line (\d+)", said)
    row = int(found[1]) if found else len(text.splitlines())
    name, equals, value = text.splitlines()[row - 1].split("#")[0].partition("=")
    problem, hint = (
        "the study file is not valid TOML",
        "quote text, and write lists in square brackets",
    )
    if equals and not name.strip():
        problem, hint = (
            "the line has no name before its equals sign",
            "name what is set, or remove it",
        )
    elif equals and not value.strip():
        problem, hint = f"{shown_name(name)} has no value", "give it one, or remove the line"
    elif "overwrite" in said or "Cannot declare" in said:
        hint = "a name or a section stands twice: keep one"
    return InputError(problem, hint=hint, file=place, row=row)


def _study(content: dict[str, Any], place: Path) -> Study:
    top = _Section(content, "", place, _KEYS[""])
    parts = {
        name: _Section(content.get(name, {}), name, place, _KEYS[name])
        for name in _KEYS
        if name
        if name != ""
    }
    if top.whole("version", 1, 1) != 1:
        raise top.error("is of a later version", "update pwp-lib", "version")
    file, rules, codes = parts["file"], parts["inclusion"], parts["codes"]
    if content.get("cluster_size") == "":
        raise top.error("is empty", 'give a number, or write "quarter"', "cluster_size")
    for role in _NEEDED:
        parts["columns"].filled(role, "name the column")
    size = (
        None
        if content.get("cluster_size") in (None, "quarter")
        else top.whole("cluster_size", 1, 1)
    )
    return Study(
        title=top.text("title"),
        # An empty name of another role says that a column is not to be used, whatever its name.
        columns={k: parts["columns"].text(k).strip() for k in parts["columns"].values},
        measures=_measures(content.get("measures", {}), place),
        level=file.text("level", ("patient", "session")),
        table=file.text("table"),
        decimal=file.text("decimal", (".", ",")),
        date_format=file.text("date_format"),
        missing=file.texts("missing", ()),
        minimum_sessions=rules.whole("minimum_sessions", 2, 0),
        minimum_caseload=rules.whole("minimum_caseload", 1, 1),
        assessment=rules.flag("assessment", True),
        one_to_one=rules.flag("one_to_one", True),
        status=rules.texts("status", ("closed", "in_treatment"), ("closed", "in_treatment")),
        minimum_age=rules.number("minimum_age", None, 0, 130),
        maximum_age=rules.number("maximum_age", None, 0, 130),
        several=parts["therapists"].text("several", SEVERAL, "most_sessions"),
        several_stated="several" in parts["therapists"].values,
        codes={
            k: tuple(c.strip().lower() for c in codes.texts(k, default))
            for k, default in CODES.items()
        },
        cluster_size=size,
        seed=top.whole("seed", 1, 0, 2**32 - 1),
        engines=top.texts("engines", ("ml", "gibbs"), ENGINES),
        caseload=parts["disclosure"].whole("caseload", 20, 10),
    )


def _measures(values: Any, place: Path) -> tuple[ScoreColumns, ...]:
    outer = _Section(values, "measures", place, list(values) if isinstance(values, dict) else [])
    found = []
    for name, entry in outer.values.items():
        part = _Section(entry, f"measures.{shown_name(name)}", place, _MEASURE_KEYS)
        columns = {k: part.filled(k, "name the column") for k in ("pre", "post", "score")}
        if bool(columns["pre"]) != bool(columns["post"]):
            named, other = ("pre", "post") if columns["pre"] else ("post", "pre")
            raise part.error(f"names a column for {named} and none for {other}", f"add {other}")
        found.append(ScoreColumns(_measure(name, part), **columns))
    return tuple(found)


def _measure(name: str, part: _Section) -> Measure:
    known = MEASURES.get(name)
    if known is None and not {"minimum", "maximum"} <= set(part.values):
        raise part.error(
            "is not a measure of the library",
            f"give its minimum and maximum, or use one of {', '.join(MEASURES)}",
        )
    far = 10**6
    changes: dict[str, Any] = {}
    for key in ("minimum", "maximum"):
        if key in part.values:
            changes[key] = part.number(key, None, -far, far)
    for key in ("cutoff", "reliable_change"):
        if key in part.values:
            # TOML has no empty value: false says that there is none.
            none = part.values[key] is False
            changes[key] = None if none else part.number(key, None, -far, far)
    for key in ("higher_is_worse", "integer"):
        if key in part.values:
            changes[key] = part.flag(key, True)
    for key in ("label", "kind"):
        if key in part.values:
            changes[key] = part.filled(key, "say it in words")
    try:
        if known is not None:
            return replace(known, **changes)
        blank = {"label": name, "cutoff": None, "reliable_change": None}
        return Measure(name, **{**blank, "source": "the study file", **changes})
    except InputError as error:
        raise InputError(error.problem, hint=error.hint, file=part.file) from None


def complete_study(study: Study, columns: Sequence[str], file: str = "") -> Study:
    """Fill what the study leaves open by recognising column names, and see that it is enough.

    Parameters
    ----------
    study : Study
    columns : sequence of str
        The file's columns.
    file : str
        Its name, for messages.

    Raises
    ------
    InputError
        If the study names a column that the file does not have, or if patient, therapist or
        scores are not found.
    """
    done = recognise_study(study, columns, file)
    _require(study, done, columns, file)
    return done


def recognise_study(study: Study, columns: Sequence[str], file: str = "") -> Study:
    """Do what `complete_study` does, and leave open what is not recognised."""
    present = set(columns)
    named = [*study.columns.items()]
    named += [
        (f"measures.{m.measure.name}", c) for m in study.measures for c in (m.pre, m.post, m.score)
    ]
    for role, column in named:
        if column and column not in present:
            near = get_close_matches(column, list(present), n=1)
            hint = f"did you mean {shown_name(near[0])}?" if near else "correct the study file"
            raise InputError(
                f"the study file names a column for {role} that is not there",
                hint=hint, file=file or None, column=shown_name(column),
            )  # fmt: skip
    scores = _complete_scores(study, columns)
    level = study.level or ("patient" if any(s.pre and s.post for s in scores) else "session")
    wanted = PATIENT_ROLES if level == "patient" else SESSION_ROLES
    taken = {c for s in scores for c in (s.pre, s.post, s.score)} | set(study.columns.values())
    roles = guess_roles([c for c in columns if c not in taken], wanted)
    fresh = {r: c for r, c in roles.items() if r not in study.columns}
    stated = {s.measure.name for s in study.measures if s.pre or s.score}
    usable = tuple(s for s in scores if (s.pre and s.post if level == "patient" else s.score))
    return replace(
        study,
        level=level,
        columns=MappingProxyType({**fresh, **{r: c for r, c in study.columns.items() if c}}),
        measures=usable,
        guessed=(*fresh, *(s.measure.name for s in usable if s.measure.name not in stated)),
    )


def _complete_scores(study: Study, columns: Sequence[str]) -> list[ScoreColumns]:
    chosen = {s.measure.name: s for s in study.measures}
    pool = [s.measure for s in study.measures] or list(MEASURES.values())
    found = guess_scores(columns, pool)
    scores = []
    for measure in pool:
        mine = chosen.get(measure.name)
        if mine is not None and (mine.score or mine.pre or mine.post):
            scores.append(mine)
        elif measure.name in found:
            scores.append(ScoreColumns(measure, **found[measure.name]))
    return scores


def _require(given: Study, study: Study, columns: Sequence[str], file: str) -> None:
    if len(columns) < 3:
        raise InputError(
            "fewer than three columns were found, and patient, therapist and scores are needed",
            hint="check the delimiter, and whether this is the right file",
            file=file or None,
        )
    for role, what in _NEEDED.items():
        if role not in study.columns:
            raise InputError(
                f"no column that identifies the {what} was recognised",
                hint=f"name it as {role}, or under [columns] in a study file",
                file=file or None,
                column=role,
            )
    without = {m.measure.name for m in given.measures} - {m.measure.name for m in study.measures}
    if without:
        name = min(without)
        ends = "score" if study.level == "session" else "pre and post"
        raise InputError(
            f"no columns with the scores of {name} were recognised",
            hint=f"state {ends} under [measures.{name}] in the study file, or take it out",
            file=file or None,
        )
    if not study.measures and study.level == "session":
        raise InputError(
            "rows are sessions, and no measure with a score by session was recognised",
            hint='name the column phq9, or state it as score = "..." under [measures.phq9]',
            file=file or None,
        )
    if not study.measures:
        scores = _complete_scores(given, columns)
        half = next((s.measure.name for s in scores if s.pre or s.post), "phq9")
        need = f"{half}_pre and {half}_post"
        raise InputError(
            "no measure with a first and a last score was recognised",
            hint=f"name the columns {need}, or state them under [measures.{half}] in a study file",
            file=file or None,
        )
    if study.level == "session" and not {"date", "session_number"} & set(study.columns):
        raise InputError(
            "rows are sessions, and no column tells their order",
            hint="name one date or session_number",
            file=file or None,
        )
