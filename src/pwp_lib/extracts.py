"""Raw service downloads to a cohort: one row a session, each service in its own words.

What a service calls its columns, how it writes a date and what its codes mean is said by a small
declarative map, one TOML file a service. The rest is the same for all: rows that are repeated are
counted once, sessions that were not attended are left out, scores are those of the first and the
last session attended, and the rules of inclusion are counted one by one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.cohort import PACKAGED, Cohort, Provenance, flow_step, read_cohort, verify_folder
from pwp_lib.measures import Measure, get_measure
from pwp_report.inclusion import Included, apply_rules, completeness
from pwp_report.read.cells import KINDS, ReadColumn, read_codes, read_dates, read_scores
from pwp_report.read.raw import RawTable
from pwp_report.read.table import read_table
from pwp_report.sessions import reduce_sessions
from pwp_report.study import Study

__all__ = [
    "ServiceMap",
    "describe_extracts",
    "extract_completeness",
    "load_extracts",
    "read_extracts",
    "read_map",
    "tidy_extract",
]

Folder: TypeAlias = "str | os.PathLike[str]"

_ROLES = (
    "patient", "therapist", "date", "attended", "kind", "mode", "age", "birth", "gender",
    "ethnicity", "status", "ended",
)  # fmt: skip
_REQUIRED = ("patient", "therapist", "date", "attended")
_CODES = ("attended", "assessment", "one_to_one", "female", "male", "closed")


@dataclass(frozen=True)
class ServiceMap:
    """How one service writes its download.

    Attributes
    ----------
    service : str
        The service's identifier in the cohort.
    file : str
        Name of the download.
    title : str
        What kind of system it comes from.
    date_format : str
        As :meth:`datetime.datetime.strptime` knows it.
    missing : tuple of str
        Entries that mean that there is none.
    columns : mapping of str to str
        The file's column for each role: ``patient, therapist, date, attended``; and, if it has
        them, ``kind`` (assessment or treatment), ``mode`` (one-to-one or group), ``age`` or
        ``birth``, ``gender``, ``ethnicity``, ``status`` or ``ended`` (a date of discharge).
    scores : mapping of str to str
        The file's column for each measure.
    codes : mapping of str to tuple of str
        What entries mean ``attended, assessment, one_to_one, female, male, closed``.
    ethnicity : mapping of str to tuple of str
        The entries that belong to each group.
    therapists : mapping of str to str
        The key: the study's identifier of each therapist's code in the service.
    withdrawn : tuple of str
        Codes of therapists who withdrew from the study.
    """

    service: str
    file: str
    title: str = ""
    date_format: str = "%Y-%m-%d"
    missing: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ethnicity: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    therapists: Mapping[str, str] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Show which column serves for what."""
        rows = {**self.columns, **{f"score on {m}": c for m, c in self.scores.items()}}
        return pd.DataFrame({"column": rows}).rename_axis("role")


def read_map(path: Folder) -> ServiceMap:
    """Read a service's map.

    Parameters
    ----------
    path : path
        A TOML file; see `ServiceMap` for what it holds.

    Raises
    ------
    InputError
        If it is no TOML, has a key that is not known, or lacks one that is needed.
    """
    place = Path(path)
    try:
        values = tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("there is no such file", hint="name a map", file=place) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InputError("the map is no TOML", hint="correct it", file=place) from None
    known = {f.name for f in fields(ServiceMap)}
    _strictly(values, known, "", place)
    _strictly(values.get("columns", {}), set(_ROLES), "columns", place)
    _strictly(values.get("codes", {}), set(_CODES), "codes", place)
    absent = [f"columns.{r}" for r in _REQUIRED if r not in values.get("columns", {})]
    absent += [k for k in ("service", "file", "scores", "therapists") if k not in values]
    if absent:
        raise InputError(f"{absent[0]} is missing", hint="add it to the map", file=place)
    for key in ("missing", "withdrawn"):
        values[key] = tuple(str(v) for v in values.get(key, ()))
    for key in ("codes", "ethnicity"):
        values[key] = {k: tuple(str(x) for x in v) for k, v in values.get(key, {}).items()}
    return ServiceMap(**values)


def _strictly(values: Any, known: set[str], section: str, place: Path) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{section} must be a table", hint=f"write [{section}]", file=place)
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            name = f"{section}.{key}" if section else key
            raise InputError(f"{name[:40]} is not known", hint=hint, file=place)


def _maps(maps: Folder | Sequence[ServiceMap] | None) -> list[ServiceMap]:
    if maps is None:
        maps = PACKAGED / "extracts"
    if isinstance(maps, str | os.PathLike):
        folder = Path(maps)
        found = sorted(folder.glob("*.toml"))
        if not found:
            raise InputError("there is no map in the folder", hint="add one", file=folder)
        return [read_map(p) for p in found]
    return list(maps)


class _Reader:
    """One download and its map."""

    def __init__(self, raw: RawTable, map_: ServiceMap, measures: Sequence[Measure]) -> None:
        self.raw, self.map, self.measures = raw, map_, measures
        wanted = [*map_.columns.values()]
        for measure in measures:
            if measure.name not in map_.scores:
                raise InputError(
                    f"the map of {map_.service} has no column for {measure.name}",
                    hint="add it under [scores]",
                )
            wanted.append(map_.scores[measure.name])
        for column in wanted:
            if column not in raw.frame.columns:
                near = get_close_matches(column, list(raw.frame.columns), n=1)
                hint = f"did you mean {near[0][:40]}?" if near else "correct the map"
                raise InputError("the column is missing", hint=hint, file=raw.name, column=column)
        self.frame = raw.frame.drop_duplicates()

    def error(self, row: Any, role: str, problem: str, hint: str) -> InputError:
        column = self.map.columns.get(role) or self.map.scores.get(role)
        line = int(self.raw.rows[int(row)])
        return InputError(problem, hint=hint, file=self.raw.name, row=line, column=column)

    def sound(self, read: ReadColumn, role: str) -> pd.Series[Any]:
        bad = read.kinds.dropna()
        if len(bad):
            kind = KINDS[bad.iloc[0]]
            raise self.error(bad.index[0], role, f"this is {kind.text}", kind.hint)
        return read.values

    def text(self, role: str) -> pd.Series[Any]:
        return read_codes(self.frame[self.map.columns[role]], self.map.missing)

    def dates(self, role: str) -> pd.Series[Any]:
        cells = self.frame[self.map.columns[role]]
        return self.sound(read_dates(cells, self.map.missing, self.map.date_format), role)

    def is_code(self, role: str, code: str) -> pd.Series[Any]:
        return self.text(role).isin(self.map.codes.get(code, ()))

    def recoded(self, role: str, groups: Mapping[str, Sequence[str]]) -> pd.Series[Any]:
        """Entries as groups; an entry that no group has is an error, an empty one is missing."""
        entries = self.text(role)
        group = entries.map({entry: g for g, listed in groups.items() for entry in listed})
        unknown = entries.notna() & group.isna()
        if bool(unknown.any()):
            raise self.error(
                unknown.idxmax(), role, "the map has no such code", "add it to the map"
            )
        return group.astype("str")

    def sessions(self) -> pd.DataFrame:
        map_, has = self.map, self.map.columns
        date = self.dates("date")
        patient, therapist = self.text("patient"), self.text("therapist")
        for role, values in (("patient", patient), ("therapist", therapist), ("date", date)):
            if bool(values.isna().any()):
                row = values.isna().idxmax()
                raise self.error(row, role, "an entry is missing", "fill it in")
        aside = {code: f"withdrawn {map_.service} {code}" for code in map_.withdrawn}
        known = therapist.map({**map_.therapists, **aside})
        if bool(known.isna().any()):
            row, what = known.isna().idxmax(), "this therapist is in no key"
            raise self.error(row, "therapist", what, "add the code to the map")
        table: dict[str, Any] = {
            "patient_id": map_.service + " " + patient,
            "therapist_id": known.astype("str"),
            "withdrawn": therapist.isin(map_.withdrawn),
            "service_id": map_.service,
            "order": date,
            "attended": self.is_code("attended", "attended"),
        }
        for measure in self.measures:
            cells = self.frame[map_.scores[measure.name]]
            read = read_scores(cells, measure, map_.missing)
            table[measure.name] = self.sound(read, measure.name)
        for role, name in (("kind", "assessment"), ("mode", "one_to_one")):
            if role in has:
                table[name] = self.is_code(role, name)
        return pd.DataFrame({**table, **self.person(date)})

    def person(self, date: pd.Series[Any]) -> dict[str, Any]:
        has, codes, found = self.map.columns, self.map.codes, {}
        if "birth" in has:
            birth = self.dates("birth")
            early = (date.dt.month * 100 + date.dt.day) < (birth.dt.month * 100 + birth.dt.day)
            found["age"] = date.dt.year - birth.dt.year - early
        elif "age" in has:
            found["age"] = pd.to_numeric(self.text("age"), errors="coerce")
        if "gender" in has:
            groups = {g: codes.get(g, ()) for g in ("female", "male")}
            found["gender"] = self.recoded("gender", groups)
        if "ethnicity" in has:
            found["ethnicity"] = self.recoded("ethnicity", self.map.ethnicity)
        if "ended" in has or "status" in has:
            closed = (
                self.dates("ended").notna() if "ended" in has else self.is_code("status", "closed")
            )
            found["status"] = closed.map({True: "closed", False: "in_treatment"})
        return found


def tidy_extract(
    raw: RawTable, map_: ServiceMap, measures: Sequence[str | Measure] = ("phq9", "gad7")
) -> pd.DataFrame:
    """Read one download's rows as the map says; repeated rows are left out.

    Parameters
    ----------
    raw : RawTable
        From :func:`pwp_report.read.table.read_table`.
    map_ : ServiceMap
    measures : sequence of str or Measure

    Returns
    -------
    DataFrame
        One row a session: ``patient_id, therapist_id, withdrawn, service_id, order`` (the date),
        ``attended``, a column of scores for each measure, and what else the map names.

    Raises
    ------
    InputError
        For the first entry that the map does not account for.
    """
    return _Reader(raw, map_, [get_measure(m) for m in measures]).sessions()


def load_extracts() -> dict[str, RawTable]:
    """Load the six packaged downloads as they came, by service.

    Examples
    --------
    >>> downloads = load_extracts()
    >>> list(downloads)
    ['S1', 'S2', 'S3', 'S4', 'S5', 'S6']
    >>> downloads["S1"].frame.columns[:2].tolist()
    ['PathwayID', 'CarePersLocalId']
    """
    home = PACKAGED / "extracts"
    verify_folder(home)
    return {m.service: read_table(home / m.file) for m in _maps(None)}


def _read_all(
    source: Folder | Mapping[str, RawTable] | None, maps: Sequence[ServiceMap]
) -> dict[str, RawTable]:
    if source is None:
        return load_extracts()
    if isinstance(source, Mapping):
        return dict(source)
    return {m.service: read_table(Path(source) / m.file) for m in maps}


def describe_extracts(
    source: Folder | Mapping[str, RawTable] | None = None,
    maps: Folder | Sequence[ServiceMap] | None = None,
    measures: Sequence[str | Measure] = ("phq9", "gad7"),
) -> pd.DataFrame:
    """Count what the downloads hold before any rule of inclusion.

    Parameters are those of :func:`read_extracts`.

    Returns
    -------
    DataFrame
        One row a service: ``system, delimiter, encoding, rows, repeated, not_attended, sessions,
        patients, therapists``.
    """
    chosen, raws = _downloads(source, maps)
    rows = {}
    for map_ in chosen:
        raw = raws[map_.service]
        sessions = tidy_extract(raw, map_, measures)
        rows[map_.service] = {
            "system": map_.title,
            "delimiter": raw.delimiter,
            "encoding": raw.encoding,
            "rows": len(raw.frame),
            "repeated": len(raw.frame) - len(sessions),
            "not_attended": int((~sessions["attended"]).sum()),
            "sessions": int(sessions["attended"].sum()),
            "patients": sessions["patient_id"].nunique(),
            "therapists": sessions["therapist_id"].nunique(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("service_id")


def _folder(source: Folder | Mapping[str, RawTable]) -> Folder | None:
    return None if isinstance(source, Mapping) else source


def read_extracts(
    source: Folder | Mapping[str, RawTable] | None = None,
    maps: Folder | Sequence[ServiceMap] | None = None,
    measures: Sequence[str | Measure] = ("phq9", "gad7"),
    therapists: pd.DataFrame | None = None,
    segments: pd.DataFrame | None = None,
) -> Cohort:
    """Read raw downloads into a cohort, counting who falls at each rule.

    Parameters
    ----------
    source : folder, or mapping of service to RawTable, optional
        The downloads; the packaged ones if not given.
    maps : folder, or sequence of ServiceMap, optional
        How each service writes; ``*.toml`` in the folder of the downloads if not given.
    measures : sequence of str or Measure
    therapists, segments : DataFrame, optional
        What was collected from therapists themselves; no service has it.

    Returns
    -------
    Cohort
        Patients are numbered anew, ``P0001`` and so on, in the order of therapist and of the
        service's own identifier: the identifiers of the services do not enter it.

    Raises
    ------
    InputError
        For the first entry that a map does not account for.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> read_extracts().patients.equals(load_cohort().patients)
    True
    """
    chosen, raws = _downloads(source, maps)
    scales = tuple(get_measure(m) for m in measures)
    included = _included(chosen, raws, scales)
    people = included.patients
    people = people.sort_values(["therapist_id", "patient_id"], kind="stable")
    width = max(4, len(str(len(people))))
    people["patient_id"] = [f"P{i + 1:0{width}d}" for i in range(len(people))]
    marked = all(_is_synthetic(r.frame) for r in raws.values())
    keep = [
        c
        for c in people.columns
        if c not in ("n_therapists", "assessment", "one_to_one", "withdrawn")
    ]
    cohort = read_cohort(
        people[keep],
        therapists,
        segments,
        measures=scales,
        provenance=Provenance(
            synthetic=marked,
            source=f"downloads of {len(chosen)} services",
            licence="CC0 1.0" if marked else "",
        ),
        flow=included.flow,
    )
    return replace(cohort, flow=included.flow, completeness=included.completeness(scales))


def _is_synthetic(frame: pd.DataFrame) -> bool:
    return "synthetic" in frame and bool(
        frame["synthetic"].astype("str").str.lower().eq("true").all()
    )


def extract_completeness(
    source: Folder | Mapping[str, RawTable] | None = None,
    maps: Folder | Sequence[ServiceMap] | None = None,
    measures: Sequence[str | Measure] = ("phq9", "gad7"),
) -> pd.DataFrame:
    """Count by therapist who has every score, of those who meet all other rules.

    Parameters are those of :func:`read_extracts`.

    Returns
    -------
    DataFrame
        Indexed by therapist: ``eligible, complete, share``.

    Examples
    --------
    >>> int(extract_completeness()["complete"].sum())
    1122
    """
    chosen, raws = _downloads(source, maps)
    scales = tuple(get_measure(m) for m in measures)
    return completeness(_included(chosen, raws, scales).eligible, scales)


def _downloads(
    source: Folder | Mapping[str, RawTable] | None, maps: Folder | Sequence[ServiceMap] | None
) -> tuple[list[ServiceMap], dict[str, RawTable]]:
    """Pair the maps with their downloads."""
    chosen = _maps(maps if maps is not None or source is None else _folder(source))
    raws = _read_all(source, chosen)
    for map_ in chosen:
        if map_.service not in raws:
            raise InputError(f"there is no download of {map_.service}", hint="add it")
    return chosen, raws


def _included(
    maps: Sequence[ServiceMap], raws: Mapping[str, RawTable], measures: Sequence[Measure]
) -> Included:
    """Go from sessions to patients, and apply the paper's rules (p. 10) in turn."""
    tidy = [tidy_extract(raws[m.service], m, measures) for m in maps]
    sessions = pd.concat(tidy, ignore_index=True)
    people = reduce_sessions(sessions, [m.name for m in measures])
    # Who never came has no session by which to tell the therapist: take the one booked.
    booked = sessions.drop_duplicates("patient_id").set_index("patient_id")
    key = people["patient_id"]
    people["therapist_id"] = people["therapist_id"].fillna(key.map(booked["therapist_id"]))
    people["service_id"] = key.map(booked["service_id"])
    left = people[~key.map(booked["withdrawn"]).astype(bool)]
    found = apply_rules(left, Study(), measures)
    flow = (
        flow_step("patients in the downloads", people, 0),
        flow_step("of therapists who did not withdraw", left, len(people) - len(left)),
        # The first step only counts again, and every row names a therapist.
        *(s for s in found.flow[1:] if s.rule != "a therapist is recorded"),
    )
    return replace(found, patients=found.patients.copy(), flow=flow)
