"""Own data: from a file and a study to a cohort, or to a list of all that has to be mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, FlowStep, Provenance, read_cohort
from pwp_lib.measures import Measure
from pwp_lib.schema import THERAPIST_FIELDS, parse_table
from pwp_report.inclusion import Included, apply_rules, completeness, enough_for
from pwp_report.read.files import RawTable, read_table, shown_name
from pwp_report.read.problems import Problem, ProblemList, Problems
from pwp_report.read.reader import Reader, score_columns
from pwp_report.recognise import THERAPIST_NAMES, plain
from pwp_report.study import ScoreColumns, Study, complete_study, read_study

if TYPE_CHECKING:
    import os

__all__ = ["Check", "check_study_data", "load_study_data"]

#: What stands in the place of an identifier where a row is made of the others.
_TOTALS = ("total", "totals", "grand total", "sum", "mean", "average", "overall")


@dataclass(frozen=True)
class Check:
    """What a file holds, what is wrong with it, and what could be done with it.

    Attributes
    ----------
    study : Study
        As completed from the file.
    problems : Problems
    understood : tuple of str
        How the file was read, in sentences.
    rules : DataFrame
        By rule of inclusion: patients excluded in turn, and if the rule stood alone.
    flow : tuple of FlowStep
    completeness : DataFrame
        By therapist; see `pwp_report.inclusion.completeness`. The index holds identifiers.
    first_rows : Series of int
        By therapist, the row of the file where they first stand: how the holder of the file can
        find a therapist who is not named.
    enough : DataFrame
        By step of the analysis: needed, found, enough.
    cohort : Cohort or None
        ``None`` if there are problems.
    """

    study: Study
    problems: Problems
    understood: tuple[str, ...]
    rules: pd.DataFrame
    flow: tuple[FlowStep, ...]
    completeness: pd.DataFrame
    first_rows: pd.Series
    enough: pd.DataFrame
    cohort: Cohort | None


def load_study_data(
    file: str | os.PathLike[str],
    study: Study | str | os.PathLike[str] | None = None,
    therapists: str | os.PathLike[str] | None = None,
) -> tuple[Cohort | None, Problems]:
    """Read own data into a cohort.

    Parameters
    ----------
    file : path
        One row a patient or one row a session; any format that `read_table` knows.
    study : Study or path, optional
    therapists : path, optional
        A table of therapists and their scales.

    Returns
    -------
    cohort : Cohort or None
    problems : Problems
        Everything that has to be mended; empty if there is a cohort.

    Raises
    ------
    InputError
        If a file cannot be read as a table at all.

    Examples
    --------
    >>> from pwp_lib.cohort import PACKAGED
    >>> cohort, problems = load_study_data(PACKAGED / "patients.csv")
    >>> len(problems), cohort.provenance.synthetic
    (0, True)
    """
    check = check_study_data(file, study, therapists)
    return check.cohort, check.problems


def check_study_data(
    file: str | os.PathLike[str],
    study: Study | str | os.PathLike[str] | None = None,
    therapists: str | os.PathLike[str] | None = None,
) -> Check:
    """Read own data, and say everything about it at once.

    Parameters are those of `load_study_data`.

    Returns
    -------
    Check
    """
    given = study if isinstance(study, Study) else Study() if study is None else read_study(study)
    raw = read_table(file, table=given.table or None)
    done = complete_study(given, list(raw.frame.columns), raw.name)
    found = ProblemList(raw.rows)
    reader = Reader(raw, done, found)
    patients = reader.patients()
    if reader.second_header:
        second = Problem("the row looks like a second header", "delete it", "", "names of columns")
        found.drop_row(int(raw.rows[0]))
        found.items.insert(0, replace(second, rows=(int(raw.rows[0]),), count=1))
    _totals(patients, raw, found)
    measures = [s.measure for s in done.measures]
    included = apply_rules(patients, done, measures)
    if not found.items:
        _feasible(included, measures, found, done)
    table = None
    if therapists is not None:
        table = _therapists(therapists, included.patients, found)
    problems = Problems(raw.name, tuple(found.sorted()))
    cohort = None if problems else _cohort(raw, included, measures, table)
    return Check(
        study=done,
        problems=problems,
        understood=(*_understood(raw, done), *reader.notes),
        rules=included.rules,
        flow=included.flow,
        completeness=completeness(included.eligible, measures),
        first_rows=_first_rows(patients, raw),
        enough=enough_for(
            included.patients,
            measures,
            therapist_table=table is not None,
            caseload=done.caseload,
            cluster_size=done.cluster_size,
        ),
        cohort=cohort,
    )


def _totals(patients: pd.DataFrame, raw: RawTable, found: ProblemList) -> None:
    """Name a row of sums for what it is, in the place of a score too high for each column."""
    names = patients["patient_id"].astype("str").str.lower().str.strip(" :")
    where = names.isin(_TOTALS).reindex(range(len(raw.rows)), fill_value=False)
    for row in raw.rows[where.to_numpy()]:
        found.drop_row(int(row))
    found.add("the row looks like a total, not a patient", "delete it", "", "a word", where)


def _first_rows(patients: pd.DataFrame, raw: RawTable) -> pd.Series:
    known = patients[patients["therapist_id"].notna()].drop_duplicates("therapist_id")
    positions = known.index.to_numpy(dtype=int)
    return pd.Series(raw.rows[positions], index=pd.Index(known["therapist_id"]), name="first_row")


def _feasible(
    included: Included, measures: Sequence[Measure], found: ProblemList, study: Study
) -> None:
    """Note what no model can be fitted to: said here, before anything is computed."""
    people = included.patients
    therapist = study.columns["therapist_id"]
    if people.empty:
        last = next((s for s in included.flow if s.patients == 0), included.flow[-1])
        found.add(
            f"no patient is left after the rule: {last.rule}",
            "relax the rule in a study file, or check the columns that it uses",
        )
        return
    loads = people["therapist_id"].value_counts()
    if len(loads) < 2:
        found.add(
            "there is only one therapist, and a therapist effect needs two or more",
            "add the patients of other therapists", therapist,
        )  # fmt: skip
    elif int(loads.max()) < 2:
        found.add(
            "every therapist has one patient only, so patients and therapists cannot be told apart",
            "add patients, or check that the column identifies therapists", therapist,
        )  # fmt: skip
    elif len(people) < len(loads) + 5:
        found.add(
            "there are too few patients for a model",
            "add patients: five more than therapists at the least", therapist,
        )  # fmt: skip
    for entry in study.measures:
        _varies(people, entry, found)
    if "service_id" in people and not found.items:
        services = people.groupby("therapist_id")["service_id"].transform("nunique")
        where = (services > 1).reindex(range(len(found.rows)), fill_value=False)
        found.add(
            "this therapist has patients in two services",
            "give each therapist one service, or one identifier a service; or leave services out: "
            'service_id = "" under [columns] in a study file',
            study.columns["service_id"], "another service", where,
        )  # fmt: skip


def _varies(people: pd.DataFrame, entry: ScoreColumns, found: ProblemList) -> None:
    m = entry.measure
    pre, post = people[m.pre], people[m.post]
    for values, column in ((pre, entry.pre or entry.score), (post, entry.post or entry.score)):
        if values.nunique() < 2:
            found.add(
                "all scores are equal, so nothing can be estimated",
                "check whether this is the right column", column,
            )  # fmt: skip
            return
    if bool((pre == post).all()):
        found.add(
            "every last score equals the first, so nothing can be estimated",
            "check whether the two columns are the same", entry.post or entry.score,
        )  # fmt: skip


def _therapists(
    path: str | os.PathLike[str], people: pd.DataFrame, found: ProblemList
) -> pd.DataFrame | None:
    raw = read_table(path)
    names: dict[str, str] = {}
    for column in raw.frame.columns:
        for field, known in THERAPIST_NAMES.items():
            if plain(column) in known and field not in names.values():
                names[column] = field
                break
    frame = raw.frame.rename(columns=names)
    table, problems = parse_table(frame[list(names.values())], THERAPIST_FIELDS)
    back = {field: column for column, field in names.items()}
    if problems:
        first = problems[0]
        raise InputError(
            first.problem,
            hint=first.hint,
            file=raw.name,
            row=None if first.row is None else int(raw.rows[first.row - 2]),
            column=shown_name(back.get(first.column or "", first.column or "")) or None,
        )
    unknown = ~people["therapist_id"].isin(table["therapist_id"])
    found.add(
        f"this therapist has no row in {raw.name}", "add one, or correct this",
        "therapist_id", "another therapist",
        unknown.reindex(range(len(found.rows)), fill_value=False),
    )  # fmt: skip
    return table[table["therapist_id"].isin(people["therapist_id"])]


def _cohort(
    raw: RawTable, included: Included, measures: Sequence[Measure], table: pd.DataFrame | None
) -> Cohort:
    people = included.patients.drop(
        columns=["n_therapists", "assessment", "one_to_one", "order"], errors="ignore"
    )
    people["sessions"] = (
        people["sessions"].where(people["sessions"] >= 1) if "sessions" in people else pd.NA
    )
    synthetic = "synthetic" in people and bool(people["synthetic"].str.lower().eq("true").all())
    cohort = read_cohort(
        people.reset_index(drop=True),
        therapists=None if table is None else table.reset_index(drop=True),
        measures=measures,
        provenance=Provenance(synthetic=synthetic, source=raw.name),
        flow=included.flow,
    )
    return replace(cohort, flow=included.flow, completeness=included.completeness(measures))


def _understood(raw: RawTable, study: Study) -> tuple[str, ...]:
    said = [f"{raw.name} is {_kind(raw)}: {len(raw.frame):,} rows, {raw.frame.shape[1]} columns"]
    said += list(raw.notes)
    said.append(f"a row is a {study.level}")
    for role, column in study.columns.items():
        how = "recognised by its name" if role in study.guessed else "as the study file says"
        said.append(f"{role} is column {shown_name(column)} ({how})")
    for entry in study.measures:
        how = (
            "recognised by its name"
            if entry.measure.name in study.guessed
            else "as the study file says"
        )
        columns = " and ".join(shown_name(c) for _, c in score_columns(entry, study.level))
        said.append(f"{entry.measure.label} is in {columns} ({how})")
    used = {*study.columns.values(), *(c for s in study.measures for c in (s.pre, s.post, s.score))}
    unused = [c for c in raw.frame.columns if c not in used and c != "synthetic"]
    if unused:
        few = ", ".join(shown_name(c) or "one without a name" for c in unused[:8])
        more = f" and {len(unused) - 8:,} more" if len(unused) > 8 else ""
        said.append(f"not used: {few}{more}")
    if study.level == "session":
        said.append("scores before and after are those of the first and the last attended session")
    for role, what in (
        ("sessions", "the number of sessions"),
        ("status", "whether a case is closed"),
        ("mode", "whether sessions were one-to-one"),
    ):
        absent = role not in study.columns and not (role == "status" and "ended" in study.columns)
        if absent and not (role == "sessions" and study.level == "session"):
            said.append(f"no column was recognised that says {what}, so no rule on it applies")
    return tuple(said)


def _kind(raw: RawTable) -> str:
    article = "an" if raw.kind[0] in "AEIOU" else "a"
    return f"{article} {raw.kind} file"
