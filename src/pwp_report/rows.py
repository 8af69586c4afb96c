"""Which rows of a file are read: a study may keep some, leave some out, and drop repeated ones."""

from dataclasses import replace
from typing import Any

import pandas as pd

from pwp_lib.cohort import FlowStep
from pwp_report.read.cells import read_codes, read_words, repeated, same_name
from pwp_report.read.raw import RawTable, said_of_rows, shown_name
from pwp_report.recognise import of_nobody
from pwp_report.study import Study, column_not_there
from pwp_report.wording import refusal, remark

#: Who has a number that may begin anew in each service.
_NUMBERED = ("patient_id", "person_id", "therapist_id")
#: The share of identifiers in a second service from which patients have hardly moved.
_MANY = 0.1


def choose_rows(raw: RawTable, study: Study, said: list[str]) -> tuple[RawTable, list[FlowStep]]:
    """Leave out the rows that a study does not want.

    Parameters
    ----------
    raw : RawTable
    study : Study
        As completed from the file's columns.
    said : list of str
        What is worth a look is added to it.

    Returns
    -------
    raw : RawTable
        With the rows that are left.
    flow : list of FlowStep
        Who stands in the rows of the file, and in those left after each choice.
    """
    if study.numbers_restart:
        raw, several = _apart_by_service(raw, study)
        said += [remark("numbers_restarted", count=len(several))] * bool(len(several))
        names = several.str.contains(r"[^\W\d]{3}") & ~several.str.contains(r"\d")
        said += [remark("names_restarted")] * bool(len(several) and names.mean() > 0.5)
    if study.drop_repeated_rows:
        again = repeated(raw.frame)
        said += said_of_rows(int(again.sum()), "with the same entries as one above")
        raw = _rows(raw, ~again)
    people = people_of(raw.frame, study)
    if "service_id" in people and not study.numbers_restart:
        # Whether services seem to number their patients each from one.
        pairs = people.dropna().drop_duplicates(["patient_id", "service_id"])
        many = pairs["patient_id"].duplicated().mean() >= _MANY
        said += [remark("numbers_restart_perhaps")] * bool(many)
    met_all = pd.Series(True, index=raw.frame.index)
    flow = [_step("patients in the file", people)]
    for section, verb in (("keep", "keeps"), ("leave_out", "leaves out")):
        for column, entries in getattr(study, section).items():
            met_all &= _met(raw, column, entries, section, said)
            words = f"{shown_name(column)} as the study {verb}"
            flow.append(_step(words, people[met_all], flow[-1].patients))
    if not met_all.any():
        raise refusal("study_leaves_no_row", file=raw.name)
    return _rows(raw, met_all), flow


def _step(rule: str, rows: pd.DataFrame, before: int = 0) -> FlowStep:
    """Count who stands in the rows that are left: a patient may have several therapists there."""
    rows = rows.dropna(subset="patient_id")
    labels = [rows.get(r, pd.Series()).dropna().unique() for r in ("therapist_id", "service_id")]
    therapists, services = (len({*map(same_name, some)}) for some in labels)
    patients = rows["patient_id"].nunique()
    return FlowStep(rule, patients, therapists, services, max(0, before - patients))


def least_shown(raw: RawTable, study: Study) -> int:
    """Give the smallest count to show, so that five persons at least stand behind each.

    Four persons have no more courses of treatment than the four with most. Rounded up, since the
    number would tell how many they have.
    """
    raw = _apart_by_service(raw, study)[0] if study.numbers_restart else raw
    people = people_of(raw.frame, study)
    persons = people["person_id"].fillna(people["patient_id"])
    most = people["patient_id"].groupby(persons).nunique().nlargest(4).sum()
    return 5 * int(most // 5 + 1)


def _rows(raw: RawTable, where: pd.Series) -> RawTable:
    at = where.to_numpy(dtype=bool)
    return replace(raw, frame=raw.frame[at].reset_index(drop=True), rows=raw.rows[at])


def people_of(frame: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Read who each row is of: patient, person, therapist and service, where a column says so."""
    roles = [r for r in (*_NUMBERED, "service_id") if r in study.columns]
    ids = pd.DataFrame({r: read_codes(frame[study.columns[r]], study.missing_of(r)) for r in roles})
    return ids.mask(ids.apply(of_nobody))


def _met(raw: RawTable, column: str, entries: Any, section: str, said: list[str]) -> pd.Series:
    """Which rows have one of the entries, or have none of them; an empty entry is ""."""
    if column not in raw.frame:
        raise column_not_there(f"under [{section}]", column, list(raw.frame.columns), raw.name)
    text = read_words(raw.frame[column]).fillna("")
    wanted = {" ".join(entry.split()).lower() for entry in entries}
    if absent := len(wanted - set(text.unique())):
        said.append(f"{absent} entries under [{section}] of {shown_name(column)} stand in no row")
    return text.isin(wanted) == (section == "keep")


def _apart_by_service(raw: RawTable, study: Study) -> tuple[RawTable, pd.Index]:
    """Put the service before each number, where every service counts from one again.

    And give the therapists' numbers that stand in several.
    """
    if "service_id" not in study.columns:
        raise refusal("restart_without_services", file=raw.name)
    ids = people_of(raw.frame, study)
    place = ids["service_id"] + " "
    numbers = {study.columns[role]: ids[role] for role in _NUMBERED if role in ids}
    # A word for nobody stays one.
    whole = {c: (place + n).where(n.notna(), raw.frame[c]) for c, n in numbers.items()}
    several = ids.groupby("therapist_id")["service_id"].nunique() > 1
    return replace(raw, frame=raw.frame.assign(**whole)), several.index[several]
