"""A cohort: patients, therapists, coded interviews, where they come from and who was left out."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.measures import Measure, get_measure
from pwp_lib.schema import (
    SEGMENT_FIELDS,
    THERAPIST_FIELDS,
    WIDEST,
    Field,
    link_problems,
    parse_table,
    patient_fields,
)

__all__ = ["Cohort", "FlowStep", "Provenance", "load_cohort", "read_cohort"]

Table: TypeAlias = str | os.PathLike[str] | pd.DataFrame

Measures: TypeAlias = "str | Measure | Sequence[str | Measure]"

PACKAGED = Path(__file__).parent / "packaged"
MANIFEST_VERSION = 1
TABLES = ("patients", "therapists", "segments")
_ORDER = {"patients": ["therapist_id", "patient_id"], "therapists": ["therapist_id"]}


@dataclass(frozen=True)
class Provenance:
    """Where a cohort comes from.

    Attributes
    ----------
    synthetic : bool
        Whether every row is invented. Disclosure control is off only if it is.
    source : str
    note : str
    licence : str
    """

    synthetic: bool
    source: str
    note: str = ""
    licence: str = ""


@dataclass(frozen=True)
class FlowStep:
    """What a rule of inclusion left.

    Attributes
    ----------
    rule : str
    patients, therapists, services : int
        How many are left after the rule.
    excluded : int
        How many patients the rule took out.
    """

    rule: str
    patients: int
    therapists: int
    services: int
    excluded: int


@dataclass(frozen=True)
class Cohort:
    """Patients of several therapists, and what is known of the therapists.

    Attributes
    ----------
    patients : DataFrame
        One row a patient, in the order of therapist and patient: ``patient_id, therapist_id,
        service_id``, two columns a measure, ``sessions, age, gender, ethnicity, status``, and
        whatever else the file had. Own data need only the identifiers of patient and therapist and
        the scores.
    therapists : DataFrame or None
        One row a therapist: service, gender, age, experience and scales.
    segments : DataFrame or None
        One row a coded segment of an interview.
    measures : tuple of Measure
    provenance : Provenance
    flow : tuple of FlowStep
        How the cohort came about, rule by rule.
    eligible : DataFrame or None
        Patients who meet every rule but those on scores, with the columns of `patients`.
    """

    patients: pd.DataFrame
    therapists: pd.DataFrame | None
    segments: pd.DataFrame | None
    measures: tuple[Measure, ...]
    provenance: Provenance
    flow: tuple[FlowStep, ...] = ()
    eligible: pd.DataFrame | None = None

    def __repr__(self) -> str:
        # Says how much there is, never what: a notebook prints this unasked.
        kind = "synthetic cohort" if self.provenance.synthetic else "cohort"
        names = ", ".join(m.label for m in self.measures)
        return (
            f"<{kind}: {len(self.patients):,} patients of "
            f"{self.patients['therapist_id'].nunique():,} therapists; {names}>"
        )

    def measure(self, name: str | Measure) -> Measure:
        """Find the cohort's measure of that name.

        Raises
        ------
        InputError
            If the cohort does not have it.
        """
        own = {m.name: m for m in self.measures}
        wanted = name.name if isinstance(name, Measure) else name
        if wanted not in own:
            wanted = get_measure(str(wanted)).name
        if wanted not in own:
            raise InputError(f"the cohort has no measure {wanted}", hint=f"it has {', '.join(own)}")
        return own[wanted]

    def caseloads(self) -> pd.Series[int]:
        """Patients of each therapist, shape (J,), indexed by ``therapist_id``."""
        therapist = self.patients["therapist_id"]
        counts: pd.Series[int] = therapist.groupby(therapist).size().rename("caseload")
        return counts

    def flow_table(self) -> pd.DataFrame:
        """Show the flow, one row a rule."""
        columns = ["rule", "patients", "therapists", "services", "excluded"]
        return pd.DataFrame([asdict(s) for s in self.flow], columns=columns)

    def table(self) -> pd.DataFrame:
        """Count what there is, one row a kind of unit."""
        counts = {"patients": len(self.patients), "therapists": len(self.caseloads())}
        if "service_id" in self.patients.columns:
            counts["services"] = int(self.patients["service_id"].nunique())
        if self.segments is not None:
            counts["coded segments"] = len(self.segments)
        return pd.DataFrame({"count": counts})


def _as_table(
    source: Table | None, missing: Sequence[str]
) -> tuple[pd.DataFrame | None, Path | None, str]:
    """Give a table, its file, and the decimal mark that goes with the file's separator."""
    if source is None:
        return None, None, "."
    if isinstance(source, pd.DataFrame):
        frame, file, decimal = source, None, "."
    else:
        frame, file, decimal = _read_csv(source)
    if missing:
        frame = frame.mask(frame.isin([*missing]))
    return frame, file, decimal


def _read_csv(source: str | os.PathLike[str]) -> tuple[pd.DataFrame, Path, str]:
    """Read every cell as text; the index counts the rows below the header, empty ones too."""
    path = Path(source)
    hint = "save it as CSV in UTF-8, or read it with pandas and give the frame"
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline(1_000_000)
            separator = max(",;", key=header.count)
            if header.count(separator) > WIDEST:
                words = f"the header has more than {WIDEST:,} columns"
                raise InputError(words, hint="turn the table so that rows are patients", file=path)
        with warnings.catch_warnings():
            # Rows longer than the header would lose their last cells, with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                dtype="str",
                encoding="utf-8-sig",
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                skip_blank_lines=False,
            )
    except FileNotFoundError:
        raise InputError("there is no such file", hint="correct the path", file=path) from None
    except OSError:
        raise InputError("the file cannot be opened", hint="name a CSV file", file=path) from None
    except pd.errors.EmptyDataError:
        raise InputError("the file is empty", hint="export it again", file=path) from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning):
        raise InputError(
            "the file is no table of comma-separated text", hint=hint, file=path
        ) from None
    return frame, path, "," if separator == ";" else "."


def _chosen(measures: Measures) -> tuple[Measure, ...]:
    """Look the measures up; one alone need not be in a list."""
    given = [measures] if isinstance(measures, str | Measure) else list(measures)
    chosen = tuple(get_measure(m) for m in given)
    if not chosen:
        raise InputError("no measure is named", hint="name one, for instance phq9")
    if len({m.name for m in chosen}) < len(chosen):
        raise InputError("a measure is named twice", hint="name it once")
    return chosen


def _check_tables(
    sources: Sequence[Table | None],
    measures: tuple[Measure, ...],
    decimal: str | None,
    missing: Sequence[str],
) -> tuple[dict[str, pd.DataFrame | None], list[InputError]]:
    """Read a cohort's tables, and list everything that is wrong with them."""
    fields = (patient_fields(measures), THERAPIST_FIELDS, SEGMENT_FIELDS)
    tables: dict[str, pd.DataFrame | None] = {}
    files: list[Path | None] = []
    problems: list[InputError] = []
    for name, source, spec in zip(TABLES, sources, fields, strict=True):
        frame, file, mark = _as_table(source, missing)
        files.append(file)
        tables[name] = None
        if frame is not None:
            tables[name], found = parse_table(frame, spec, file, decimal or mark)
            problems += found if file or name == "patients" else [_of(name, p) for p in found]
    if not problems:
        people = tables["patients"]
        if people is None:
            raise InputError("no table of patients is given", hint="name its file")
        problems = link_problems(
            people, tables["therapists"], tables["segments"], (files[0], files[1], files[2])
        )
    return tables, problems


def _of(table: str, problem: InputError) -> InputError:
    """Name the table in a problem of a frame, which has no file."""
    return InputError(
        problem.problem,
        hint=problem.hint,
        file=f"the {table}' table",
        row=problem.row,
        column=problem.column,
    )


def read_cohort(
    patients: Table,
    therapists: Table | None = None,
    segments: Table | None = None,
    measures: Measures = ("phq9", "gad7"),
    provenance: Provenance | None = None,
    flow: Sequence[FlowStep] = (),
    *,
    decimal: str | None = None,
    missing: Sequence[str] = (),
) -> Cohort:
    """Read a cohort from files or frames, and check all of it.

    Patients without a score on every measure at both ends are left out, and the flow says how many.

    Parameters
    ----------
    patients : path or DataFrame
        CSV in UTF-8, or a frame from any reader. One row a patient; see `Cohort` for the
        columns. A column ``synthetic`` that is true in every row marks the data as invented.
    therapists, segments : path or DataFrame, optional
    measures : str, Measure or sequence of them
        Which measures the patients' table has.
    provenance : Provenance, optional
        Taken from the file if not given.
    flow : sequence of FlowStep, optional
        What happened before, if anything.
    decimal : {".", ","}, optional
        Decimal mark of the tables. If not given, it is a comma in files whose cells are separated
        by semicolons, and a point otherwise.
    missing : sequence of str, optional
        Entries that mean that there is none, beside the usual ones such as an empty cell or NA.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        For the first thing that is wrong, naming file, row, column and hint and no patient's value.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({
    ...     "patient_id": ["a", "b", "c"], "therapist_id": ["x", "x", "y"],
    ...     "phq9_pre": [12, 17, 9], "phq9_post": [6, None, 8]})
    >>> read_cohort(people, measures=["phq9"]).flow_table()[["patients", "excluded"]].values
    array([[3, 0], [2, 1]])
    """
    chosen = _chosen(measures)
    if decimal not in (None, ".", ","):
        raise InputError("the decimal mark must be a point or a comma", hint="correct decimal")
    tables, problems = _check_tables((patients, therapists, segments), chosen, decimal, missing)
    if problems:
        raise problems[0]
    present = {n: t for n, t in tables.items() if t is not None}
    marked = all(_is_marked_synthetic(t) for t in present.values())
    name = "a data frame" if isinstance(patients, pd.DataFrame) else Path(patients).name
    origin = provenance or Provenance(synthetic=marked, source=name)
    present["patients"], steps = _complete_cases(present["patients"], chosen, tuple(flow))
    present = {n: finished(t, _ORDER.get(n, ())) for n, t in present.items()}
    return Cohort(
        patients=present["patients"],
        therapists=present.get("therapists"),
        segments=present.get("segments"),
        measures=chosen,
        provenance=origin,
        flow=steps,
    )


def _is_marked_synthetic(table: pd.DataFrame) -> bool:
    if "synthetic" not in table.columns:
        return False
    return bool(table["synthetic"].astype("string").str.lower().eq("true").fillna(False).all())


def flow_step(rule: str, people: pd.DataFrame, excluded: int) -> FlowStep:
    """Count what a rule left."""
    services = people["service_id"].nunique() if "service_id" in people.columns else 0
    return FlowStep(
        rule, len(people), int(people["therapist_id"].nunique()), int(services), excluded
    )


def _complete_cases(
    people: pd.DataFrame, measures: Sequence[Measure], flow: tuple[FlowStep, ...]
) -> tuple[pd.DataFrame, tuple[FlowStep, ...]]:
    scores = [c for m in measures for c in (m.pre, m.post)]
    left = people[people[scores].notna().all(axis=1)]
    if left["therapist_id"].nunique() < 2:
        raise InputError(
            "fewer than two therapists have a patient with every score",
            hint="check the score columns for gaps",
        )
    start = flow or (flow_step("patients in the table", people, 0),)
    if len(left) == len(people):
        return left, start
    rule = "a score on every measure at both ends"
    return left, (*start, flow_step(rule, left, len(people) - len(left)))


def finished(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Drop the mark, sort, number the rows anew, and make whole columns integers."""
    table = table.drop(columns="synthetic", errors="ignore")
    if order:
        table = table.sort_values(list(order), kind="stable")
    table = table.reset_index(drop=True)
    floats = table.select_dtypes("float")
    whole = floats.columns[(floats.notna() & (floats % 1 == 0)).all()]
    return table.astype(dict.fromkeys(whole, "int64"))


def load_cohort(folder: str | os.PathLike[str] | None = None) -> Cohort:
    """Load the packaged synthetic cohort, or another that :func:`write_cohort` wrote.

    Parameters
    ----------
    folder : path, optional
        Where it is; the packaged cohort if not given.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        If a file is missing, or is not the one whose hash the manifest holds.

    Examples
    --------
    >>> load_cohort().provenance.synthetic
    True
    """
    home = PACKAGED if folder is None else Path(folder)
    manifest = verify_folder(home)
    if "patients.csv" not in manifest["files"] or not {"measures", "provenance"} <= {*manifest}:
        raise _unreadable(home / "manifest.json")
    measures = tuple(Measure(**m) for m in manifest["measures"])
    fields = (patient_fields(measures), THERAPIST_FIELDS, SEGMENT_FIELDS)
    tables = {
        name: _stored(home / f"{name}.csv", known)
        for name, known in zip(TABLES, fields, strict=True)
        if f"{name}.csv" in manifest["files"]
    }
    return Cohort(
        patients=tables["patients"],
        therapists=tables.get("therapists"),
        segments=tables.get("segments"),
        measures=measures,
        provenance=Provenance(**manifest["provenance"]),
        flow=tuple(FlowStep(**s) for s in manifest.get("flow", ())),
    )


def packaged(name: str) -> Path:
    """Find a file or folder that comes with the library, such as ``extracts``.

    Raises
    ------
    InputError
        If there is none of that name.

    Examples
    --------
    >>> sorted(p.name for p in packaged("extracts").glob("s1*"))
    ['s1.toml', 's1_national.csv']
    """
    path = PACKAGED / name
    if not path.exists():
        raise InputError(
            "no such file comes with the library", hint="name extracts, or a file in it"
        )
    return path


def _stored(path: Path, fields: Sequence[Field]) -> pd.DataFrame:
    """Read a table that `write_cohort` wrote; its hash has vouched for what is in it."""
    numbers = {f.name for f in fields if f.kind != "text"}
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\r\n").split(",")
    # Whole numbers without a gap come as integers, as `read_cohort` makes them.
    return pd.read_csv(
        path,
        dtype={name: "str" for name in names if name not in numbers},
        usecols=[name for name in names if name != "synthetic"],
        keep_default_na=False,
        na_values=[""],
    )


def _unreadable(path: Path) -> InputError:
    return InputError("this manifest cannot be read", hint="write the cohort again", file=path)


def verify_folder(home: Path) -> dict[str, Any]:
    """Read a folder's manifest, and check that every file in it has the hash that it holds."""
    path = home / "manifest.json"
    if not path.is_file():
        raise InputError("there is no manifest", hint="name a folder that has one", file=path)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        hashes = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
        if manifest["schema_version"] != MANIFEST_VERSION:
            raise _unreadable(path)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        raise _unreadable(path) from None
    for name, expected in hashes.items():
        _verify(home / name, expected)
    return manifest


def file_hash(path: Path) -> str:
    """SHA-256 of a text file, the same whichever line ends a version-control system gave it."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise InputError("there is no such file", hint="install the library again", file=path)
    if file_hash(path) != expected:
        raise InputError(
            "the file is not the one that the manifest describes",
            hint="restore it, or read it as your own with read_cohort",
            file=path,
        )
