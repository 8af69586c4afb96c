"""A cohort: patients, therapists, coded interviews, where they come from and who was left out."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.measures import Measure, get_measure
from pwp_lib.schema import (
    SEGMENT_FIELDS,
    THERAPIST_FIELDS,
    link_problems,
    parse_table,
    patient_fields,
)
from pwp_report.read.table import read_table

__all__ = [
    "Cohort",
    "FlowStep",
    "Provenance",
    "check_tables",
    "load_cohort",
    "read_cohort",
    "write_cohort",
]

Table: TypeAlias = "str | os.PathLike[str] | pd.DataFrame"

Measures: TypeAlias = "str | Measure | Sequence[str | Measure]"

PACKAGED = Path(__file__).parent / "packaged"
MANIFEST_VERSION = 1
_TABLES = ("patients", "therapists", "segments")
_ORDER = {
    "patients": ["therapist_id", "patient_id"],
    "therapists": ["therapist_id"],
    "segments": [],
}


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
    completeness : DataFrame or None
        ``therapist_id``, ``total`` and ``complete``: of the patients who meet every other rule, how
        many have every score. ``None`` where nobody was left out for a missing score.
    """

    patients: pd.DataFrame
    therapists: pd.DataFrame | None
    segments: pd.DataFrame | None
    measures: tuple[Measure, ...]
    provenance: Provenance
    flow: tuple[FlowStep, ...] = ()
    completeness: pd.DataFrame | None = None

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
            wanted = get_measure(name).name
        if wanted not in own:
            raise InputError(f"the cohort has no measure {wanted}", hint=f"it has {', '.join(own)}")
        return own[wanted]

    def caseloads(self) -> pd.Series[int]:
        """Patients of each therapist, shape (J,), indexed by ``therapist_id``."""
        counts: pd.Series[int] = self.patients.groupby("therapist_id").size().rename("caseload")
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


def _as_table(source: Table | None) -> tuple[pd.DataFrame | None, Path | None]:
    if source is None or isinstance(source, pd.DataFrame):
        return source, None
    raw = read_table(source)
    # The index carries the rows of the file through to the messages: its first row is the header.
    return raw.frame.set_axis(pd.Index(raw.rows - 2), axis=0), Path(source)


def _chosen(measures: Measures) -> tuple[Measure, ...]:
    """Look the measures up; one alone need not be in a list."""
    given = [measures] if isinstance(measures, str | Measure) else list(measures)
    chosen = tuple(get_measure(m) for m in given)
    if not chosen:
        raise InputError("no measure is named", hint="name one, for instance phq9")
    if len({m.name for m in chosen}) < len(chosen):
        raise InputError("a measure is named twice", hint="name it once")
    return chosen


def check_tables(
    patients: Table,
    therapists: Table | None = None,
    segments: Table | None = None,
    measures: Measures = ("phq9", "gad7"),
) -> tuple[dict[str, pd.DataFrame | None], list[InputError]]:
    """Read a cohort's tables and list everything that is wrong with them, raising nothing for it.

    Parameters
    ----------
    patients, therapists, segments : path or DataFrame
        As in :func:`read_cohort`.
    measures : sequence of str or Measure

    Returns
    -------
    tables : dict of str to DataFrame or None
        The tables with their columns read as numbers or text.
    problems : list of InputError
        Each names file, row, column and hint. None if the tables make a cohort.

    Raises
    ------
    InputError
        If a file cannot be read at all.
    """
    chosen = _chosen(measures)
    fields = (patient_fields(chosen), THERAPIST_FIELDS, SEGMENT_FIELDS)
    tables: dict[str, pd.DataFrame | None] = {}
    files: list[Path | None] = []
    problems: list[InputError] = []
    for name, source, spec in zip(_TABLES, (patients, therapists, segments), fields, strict=True):
        frame, file = _as_table(source)
        files.append(file)
        tables[name] = None
        if frame is not None:
            tables[name], found = parse_table(frame, spec, file)
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
) -> Cohort:
    """Read a cohort from files or frames, and check all of it.

    Patients without a score on every measure at both ends are left out, and the flow says how many.

    Parameters
    ----------
    patients : path or DataFrame
        One row a patient; see `Cohort` for the columns. A column ``synthetic`` that is true in
        every row marks the data as invented.
    therapists, segments : path or DataFrame, optional
    measures : str, Measure or sequence of them
        Which measures the patients' table has.
    provenance : Provenance, optional
        Taken from the file if not given.
    flow : sequence of FlowStep, optional
        What happened before, if anything.

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
    tables, problems = check_tables(patients, therapists, segments, chosen)
    if problems:
        raise problems[0]
    present = {n: t for n, t in tables.items() if t is not None}
    marked = all(_is_marked_synthetic(t) for t in present.values())
    name = "a data frame" if isinstance(patients, pd.DataFrame) else Path(patients).name
    origin = provenance or Provenance(synthetic=marked, source=name)
    people, steps = _complete_cases(present["patients"], chosen, tuple(flow))
    present = {n: _finish(t, _ORDER[n]) for n, t in {**present, "patients": people}.items()}
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


def _finish(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
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
    paths = {name: home / f"{name}.csv" for name in _TABLES if f"{name}.csv" in manifest["files"]}
    if not {"patients", "measures", "provenance", "flow"} <= {*paths, *manifest}:
        raise _unreadable(home / "manifest.json")
    return read_cohort(
        paths["patients"],
        paths.get("therapists"),
        paths.get("segments"),
        measures=[Measure(**m) for m in manifest["measures"]],
        provenance=Provenance(**manifest["provenance"]),
        flow=[FlowStep(**s) for s in manifest["flow"]],
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
        known = manifest["schema_version"] == MANIFEST_VERSION
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        raise _unreadable(path) from None
    if not known:
        raise _unreadable(path)
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


def write_cohort(
    cohort: Cohort,
    folder: str | os.PathLike[str],
    *,
    made_by: Mapping[str, Any] | None = None,
) -> Path:
    """Write a synthetic cohort as files: three tables, a data dictionary and a manifest.

    Every table carries a last column ``synthetic``. The manifest, with the hash of each file, is
    written last: until then :func:`load_cohort` refuses a half-written folder.

    Parameters
    ----------
    cohort : Cohort
    folder : path
        Made if it does not exist; files of a former cohort are replaced.
    made_by : mapping, optional
        What made it (a seed, a version), kept in the manifest; must be JSON.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the cohort is not marked as synthetic: real patients' rows are not written.
    """
    from pwp_lib.dictionary import describe_cohort

    if not cohort.provenance.synthetic:
        raise InputError(
            "only a synthetic cohort is written as files", hint="keep patients' rows where they are"
        )
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    tables = {n: t for n in _TABLES if (t := getattr(cohort, n)) is not None}
    hashes = {}
    for name, table in tables.items():
        text = table.assign(synthetic="TRUE").to_csv(index=False, lineterminator="\n")
        path = _replace_text(home / f"{name}.csv", text)
        hashes[path.name] = {"sha256": file_hash(path), "rows": len(table)}
    _replace_text(home / "README.md", describe_cohort(cohort))
    manifest = {
        "schema_version": MANIFEST_VERSION,
        "synthetic": True,
        "provenance": asdict(cohort.provenance),
        "measures": [asdict(m) for m in cohort.measures],
        "flow": [asdict(s) for s in cohort.flow],
        "made_by": dict(made_by or {}),
        "files": hashes,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    _replace_text(home / "manifest.json", text)
    return home


def _replace_text(path: Path, text: str) -> Path:
    """Write a file beside its place and move it there, so that no half-written one is seen."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
