"""What a cohort's tables must hold, and each breach as one sentence without a patient's value.

A table is described by its fields. Numbers are read first, so that text in a number is told from a
number out of range; then pandera checks the typed table, and its findings are worded from the
description of the check. Pandera's own messages print the offending value and are never shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import normalize

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.plan import FLOATS_END
from pwp_lib.measures import Measure

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "SEGMENT_FIELDS",
    "STATUSES",
    "THERAPIST_FIELDS",
    "Field",
    "link_problems",
    "need_columns",
    "no_identifiers",
    "parse_table",
    "patient_fields",
]

STATUSES = ("closed", "in_treatment")
ROLES = ("pwp", "supervisor")
_SCALES = ["ego_strength", "rationality", "experientiality", "resilience"]
_SCALES += ["supervisor_rationality", "supervisor_experientiality"]
#: Entries that mean that there is none. Numbers such as 99 do not: a map has to name those.
MISSING = frozenset(
    [
        *("", ".", "NA", "na", "N/A", "N/a", "n/a", "#N/A", "<NA>", "NaN", "nan"),
        *("NULL", "Null", "null", "None", "none"),
    ]
)
#: A negative number, or signs alone: nobody is called so.
_NO_IDENTIFIER = r"-\d+([.,]\d+)?|[\W_]+"
#: Numbers that no table or file takes.
_ODD = (np.float16, np.longdouble, complex, np.complex64)
#: A wider header is no table of outcomes, and reading it would cost memory for nothing.
WIDEST = 5_000


@dataclass(frozen=True)
class Field:
    """One column: its name, what it may hold, and how that is said.

    Attributes
    ----------
    kind : {"text", "number", "whole"}
    minimum, maximum : float or None
        Both possible values; only for numbers.
    allowed : tuple of str
        The only words possible; empty if any is.
    required, unique, nullable : bool
    """

    name: str
    kind: Literal["text", "number", "whole"] = "text"
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    required: bool = False
    unique: bool = False
    nullable: bool = True

    @property
    def need(self) -> str:
        """What the column must hold, in words."""
        if self.allowed:
            return f"{' or '.join(self.allowed)} is needed"
        noun = {"text": "an entry", "number": "a number", "whole": "a whole number"}[self.kind]
        if self.minimum is not None and self.maximum is not None:
            return f"{noun} from {self.minimum:g} to {self.maximum:g} is needed"
        if self.minimum is not None:
            return f"{noun} of {self.minimum:g} or more is needed"
        return f"{noun} is needed"


def need_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Refuse what is no table, or lacks a column."""
    if not isinstance(frame, pd.DataFrame):
        raise InputError("a pandas DataFrame is needed", hint="convert the table")
    for column in columns:
        if column not in frame:
            hint = "add it, or choose another"
            raise InputError("the column is missing", hint=hint, column=column)
        values = frame[column]
        if values.ndim > 1 or isinstance(values.dtype, pd.SparseDtype) or values.dtype in _ODD:
            raise InputError("the column is of a kind that has no use here", column=column)
        if not values.iloc[:1].map(pd.api.types.is_hashable).all():
            raise InputError("the column holds lists", hint="give single values", column=column)


def same_labels(one: pd.Series[Any], other: pd.Series[Any] | pd.Index[Any]) -> None:
    """Refuse therapists whom two tables write in two ways, so that a join would lose them."""
    ids = [{*pd.Series(labels).dropna().unique()} for labels in (one, other)]
    rest = [{_plain(label) for label in mine - others} for mine, others in (ids, ids[::-1])]
    if rest[0] & rest[1]:
        raise InputError(
            "therapists are written in two ways",
            hint='is one of them "01" or "t1" where the other is 1 or "T1"?',
            column="therapist_id",
        )


def once_each(therapists: pd.DataFrame) -> None:
    """Refuse a table that is of therapists and has two rows for one."""
    need_columns(therapists, "therapist_id")
    if therapists["therapist_id"].duplicated().any():
        raise InputError("a therapist has more than one row", column="therapist_id")


def _plain(label: Any) -> str:
    """Reduce a label to what is left of it in another spelling."""
    text = normalize("NFKC", str(label)).casefold()
    return re.sub(r"[\s_]|(?<!\d)-|-(?!\d)|(?<!\d)0+(?=\d)", "", text)


def as_numbers(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns as floats, or refuse what is no number in them."""
    try:
        need_columns(frame, *columns)
        numbers: pd.DataFrame = frame[[*columns]].apply(pd.to_numeric).astype(float)
        if numbers.isin([float("inf"), float("-inf")]).any(axis=None):
            raise ValueError
        return numbers
    except (ValueError, TypeError, NotImplementedError):
        message = f"numbers are needed in {', '.join(columns)}"
        raise InputError(message, hint="correct what is none") from None


def no_identifiers(values: pd.Series[Any]) -> pd.Series[bool]:
    """Find entries of a column of identifiers that are codes for missing, such as -9 or ``?``.

    A number such as 99 is none of them: somebody may have it as a staff number.

    Examples
    --------
    >>> no_identifiers(pd.Series(["T1", "-9", "99", "?", None], dtype="str")).tolist()
    [False, True, False, True, False]
    """
    distinct = pd.Series(values.dropna().unique(), dtype="str")
    return values.isin(distinct[distinct.str.fullmatch(_NO_IDENTIFIER)])


def patient_fields(measures: Sequence[Measure]) -> tuple[Field, ...]:
    """Fields of the patients' table, for the measures that are used."""
    scores = tuple(
        Field(column, "whole" if m.integer else "number", m.minimum, m.maximum, required=True)
        for m in measures
        for column in (m.pre, m.post)
    )
    return (
        Field("patient_id", required=True, unique=True, nullable=False),
        Field("therapist_id", required=True, nullable=False),
        Field("service_id"),
        *scores,
        Field("sessions", "whole", minimum=1),
        Field("age", "number", minimum=0, maximum=130),
        Field("gender"),
        Field("ethnicity"),
        Field("status", allowed=STATUSES),
    )


THERAPIST_FIELDS: tuple[Field, ...] = (
    Field("therapist_id", required=True, unique=True, nullable=False),
    Field("service_id"),
    Field("gender"),
    Field("age", "number", minimum=16, maximum=100),
    Field("years_experience", "number", minimum=0, maximum=80),
    *(Field(scale, "number", minimum=0) for scale in _SCALES),
)

SEGMENT_FIELDS: tuple[Field, ...] = (
    Field("participant_id", required=True, nullable=False),
    Field("role", required=True, allowed=ROLES, nullable=False),
    Field("therapist_id", required=True, nullable=False),
    Field("coder", required=True, nullable=False),
    Field("high_order_theme", required=True, nullable=False),
    Field("lower_order_theme", required=True, nullable=False),
)


def _header_problems(
    columns: Sequence[str], fields: Sequence[Field], file: Path | None
) -> list[InputError]:
    if len(columns) > WIDEST:
        return [
            InputError(
                f"the header has more than {WIDEST:,} columns",
                hint="check the delimiter, or turn the table so that rows are patients",
                file=file,
            )
        ]
    wanted = [f.name for f in fields]
    problems = [
        InputError("the column appears twice", hint="keep one of them", file=file, column=name)
        for name in wanted
        # pandas calls the second of two equal names "name.1".
        if columns.count(name) > 1 or f"{name}.1" in columns
    ]
    spare = {c.strip().lower().replace(" ", "_"): c for c in columns if c not in wanted}
    for field in fields:
        if field.required and field.name not in columns:
            near = get_close_matches(field.name, list(spare), n=1, cutoff=0.7)
            meant = f"did you mean {spare[near[0]][:40]}? Rename it to {field.name}" if near else ""
            error = InputError(
                "the column is missing", hint=meant or "add it", file=file, column=field.name
            )
            problems.append(error)
    return problems


def _read_text(values: pd.Series[Any]) -> pd.Series[Any]:
    """Entries as trimmed text; an empty one is missing."""
    if pd.api.types.is_float_dtype(values):
        # Identifiers such as 7 that pandas turned into 7.0 because one entry was missing.
        numbers = values.dropna().astype(float)
        if bool((numbers % 1 == 0).all()):
            if numbers.abs().max() >= FLOATS_END:
                hint = "read the column as text"
                name = str(values.name)
                raise InputError("floats have rounded identifiers", hint=hint, column=name)
            values = values.astype("float64").astype("Int64")
    text = values.astype("string").str.strip()
    return text.mask(text.isin(MISSING)).astype("str")


def _read_numbers(values: pd.Series[Any], decimal: str) -> tuple[pd.Series[float], pd.Series[bool]]:
    """Numbers, and which entries were text."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_complex_dtype(values):
        # Dates too are read as text: pandas would make numbers of them.
        trimmed = values.astype("string").str.strip()
        values = trimmed.mask(trimmed.isin(MISSING))
        if decimal == ",":
            values = values.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(values, errors="coerce").astype("Float64")
    text = values.notna() & numbers.isna()
    return numbers.astype("float64"), text.astype(bool)


def _pandera_problems(
    frame: pd.DataFrame, fields: Sequence[Field], file: Path | None
) -> list[InputError]:
    """Word what pandera finds from the description of its checks."""
    import pandera.pandas as pa

    present = [f for f in fields if f.name in frame.columns]
    schema = pa.DataFrameSchema({f.name: _pandera_column(f) for f in present}, strict=False)
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as found:
        cases = found.failure_cases[["column", "check", "index"]]
    else:
        return []
    order = {f.name: i for i, f in enumerate(present)}
    worded = {f.name: {"not_nullable": "an entry is missing"} for f in present}
    keys = sorted(
        {
            (int(row.index_), order[row.column], str(row.check))
            for row in cases.rename(columns={"index": "index_"}).itertuples(index=False)
        }
    )
    names = list(order)
    return [
        InputError(
            worded[names[i]].get(check, check),
            hint="correct or clear it" if present[i].nullable else "correct it",
            file=file,
            row=row + 2,
            column=names[i],
        )
        for row, i, check in keys
    ]


def _pandera_column(field: Field) -> Any:
    import pandera.pandas as pa

    need = field.need
    checks: list[Any] = []
    if field.kind == "whole":
        checks.append(pa.Check(lambda s: s % 1 == 0, error=need))
    if field.minimum is not None:
        checks.append(pa.Check.ge(field.minimum, error=need))
    if field.maximum is not None:
        checks.append(pa.Check.le(field.maximum, error=need))
    if field.name.endswith("_id"):
        need = "an identifier is needed, and this looks like a code for missing"
        checks.append(pa.Check(lambda s: ~no_identifiers(s), error=need))
    if field.allowed:
        checks.append(pa.Check.isin(list(field.allowed), error=need))
    if field.unique:
        checks.append(
            pa.Check(
                lambda s: s.isna() | ~s.duplicated(keep="first"),
                error="this identifier has appeared in a row above; each needs a row of its own",
            )
        )
    return pa.Column(None, checks=checks, nullable=field.nullable)


def parse_table(
    frame: pd.DataFrame,
    fields: Sequence[Field],
    file: Path | None = None,
    decimal: str = ".",
) -> tuple[pd.DataFrame, list[InputError]]:
    """Read a table's columns as their fields say, and list what is wrong with it.

    Parameters
    ----------
    frame : DataFrame
        As it came; text is fine. From a file, the index holds positions: 0 is the file's row 2.
    fields : sequence of Field
    file : Path, optional
        For the messages.
    decimal : {".", ","}
        Decimal mark of numbers that came as text.

    Returns
    -------
    frame : DataFrame
        Known columns first, in the order of the fields, then the others; its index holds the
        positions of the rows that it was read from. Rows without any entry are left out.
    problems : list of InputError
        Every problem, in the order of the rows. The frame can be used only if there is none.
    """
    columns = [str(c) for c in frame.columns]
    problems = _header_problems(columns, fields, file)
    if problems:
        return frame, problems
    frame = frame.set_axis(columns, axis=1)
    if file is None:
        frame = frame.reset_index(drop=True)
    frame = frame.dropna(how="all")
    if frame.empty:
        what = "a header and no rows" if columns else "nothing"
        return frame, [InputError(f"the table has {what}", hint="fill it", file=file)]
    typed, problems = _typed(frame, fields, file, decimal)
    others = {c: frame[c] for c in columns if c not in typed}
    result = pd.DataFrame({**typed, **others}, index=frame.index)
    problems += _pandera_problems(result, fields, file)
    return result, sorted(problems, key=lambda p: p.row or 0)


def _typed(
    frame: pd.DataFrame, fields: Sequence[Field], file: Path | None, decimal: str
) -> tuple[dict[str, pd.Series[Any]], list[InputError]]:
    """Read each known column as text or numbers; text in a number is a problem."""
    typed: dict[str, pd.Series[Any]] = {}
    problems: list[InputError] = []
    for field in fields:
        if field.name not in frame.columns:
            continue
        if field.kind == "text":
            typed[field.name] = _read_text(frame[field.name])
            continue
        typed[field.name], text = _read_numbers(frame[field.name], decimal)
        problems.extend(
            InputError(
                f"{field.need}, and this is text",
                hint="correct or clear it",
                file=file,
                row=int(row) + 2,
                column=field.name,
            )
            for row in text.index[text]
        )
    return typed, problems


def link_problems(
    patients: pd.DataFrame,
    therapists: pd.DataFrame | None,
    segments: pd.DataFrame | None,
    files: tuple[Path | None, Path | None, Path | None] = (None, None, None),
) -> list[InputError]:
    """List what is wrong between tables: therapists in none, in two services, or one only."""
    problems: list[InputError] = []
    if therapists is not None:
        known = set(therapists["therapist_id"])
        where = files[1].name if files[1] else "the therapists' table"
        for table, file in ((patients, files[0]), (segments, files[2])):
            if table is not None:
                rows = table.index[~table["therapist_id"].isin(known)]
                problems += _each_row(
                    rows, f"this therapist has no row in {where}", "add one, or correct this", file
                )
    if "service_id" in patients.columns:
        first = patients["service_id"].groupby(patients["therapist_id"]).transform("first")
        moved = patients["service_id"].notna() & (patients["service_id"] != first)
        problems += _each_row(
            patients.index[moved],
            "this therapist belongs to another service in a row above",
            "give each therapist one identifier a service",
            files[0],
        )
    if patients["therapist_id"].nunique() < 2:
        problems.append(
            InputError(
                "there is only one therapist, and a therapist effect needs two or more",
                hint="add the patients of other therapists",
                file=files[0],
                column="therapist_id",
            )
        )
    return problems


def _each_row(rows: Iterable[Any], problem: str, hint: str, file: Path | None) -> list[InputError]:
    return [
        InputError(problem, hint=hint, file=file, row=int(row) + 2, column="therapist_id")
        for row in rows
    ]
