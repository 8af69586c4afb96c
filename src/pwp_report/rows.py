"""Which rows of a file are read: a study may keep some, leave some out, and drop repeated ones."""

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from pwp_lib.cohort import FlowStep
from pwp_report.read.cells import read_codes, read_words, repeated, same_name
from pwp_report.read.raw import RawTable, said_of_rows, shown_name
from pwp_report.recognise import WORDS, of_nobody, of_second_therapist, speaks_of
from pwp_report.study import Study, column_not_there, unused
from pwp_report.wording import refusal, remark

#: Who has a number that may begin anew in each service.
_NUMBERED = ("patient_id", "person_id", "therapist_id")
#: The share of identifiers in a second service from which patients have hardly moved.
_MANY = 0.1
#: Of a column that may be of services: its entries at the most, and the share of therapists with
#: rows under several of them.
_MOST_SERVICES, _SEVERAL = 200, 0.25
#: Entries of a column of kinds of contacts, or of years, at the most.
_MOST_KINDS = 12
#: The number of a therapist, and what stands in the entries of a column of time.
_NUMBER, _YEAR = r"^[A-Za-z]{0,3}[ ._-]?0*(\d{1,4})$", r"(?:19|20)\d\d"


def choose_rows(raw: RawTable, study: Study) -> tuple[RawTable, tuple[FlowStep, ...], list[str]]:
    """Leave out the rows that a study does not want.

    Parameters
    ----------
    raw : RawTable
    study : Study
        As completed from the file's columns.

    Returns
    -------
    raw : RawTable
        With the rows that are left.
    flow : tuple of FlowStep
        Who stands in the rows of the file, and in those left after each choice.
    remarks : list of str
    """
    said: list[str] = []
    if study.numbers_restart:
        raw, several = _apart_by_service(raw, study)
        said += [remark("numbers_restarted", count=several)] * bool(several)
    if study.drop_repeated_rows:
        again = repeated(raw.frame)
        said += said_of_rows(int(again.sum()), "with the same entries as one above")
        raw = _rows(raw, ~again)
    people = _people(raw.frame, study)
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
    return _rows(raw, met_all), tuple(flow), said


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
    people = _people(raw.frame, study)
    persons = people["person_id"].fillna(people["patient_id"])
    most = people["patient_id"].groupby(persons).nunique().nlargest(4).sum()
    return 5 * int(most // 5 + 1)


def _rows(raw: RawTable, where: pd.Series) -> RawTable:
    at = where.to_numpy(dtype=bool)
    return replace(raw, frame=raw.frame[at].reset_index(drop=True), rows=raw.rows[at])


def _people(frame: pd.DataFrame, study: Study) -> pd.DataFrame:
    roles = [r for r in (*_NUMBERED, "service_id") if r in study.columns]
    ids = pd.DataFrame({r: read_codes(frame[study.columns[r]], study.missing_of(r)) for r in roles})
    return ids.mask(ids.apply(of_nobody))


def columns_to_ask_about(raw: RawTable, study: Study) -> dict[str, str]:
    """Find by question the first column without a use that it is about; empty if there is none.

    Of columns of services and of what therapists belong to it is not asked where services are
    named already, of groups where groups are, and of treatments where the column is adjusted for or
    decides on rows.
    """
    who, known = _people(raw.frame, study), {*study.columns, *study.without}
    left = [c for c in unused(study, [*raw.frame]) if c not in study.set_aside]
    of_place = partial(speaks_of, "place")
    free = [c for c in left if c not in {*study.adjust, *study.keep, *study.leave_out}]
    # A column of services with one entry alone tells none apart.
    told = raw.frame.get(study.columns.get("service_id", ""), pd.Series()).nunique() > 1
    told = told or "service_id" in study.without
    services = sorted(left, key=of_place, reverse=True) * (not told)
    above = [c for c in free if of_place(c) or speaks_of("above", c)] * ("service_id" not in known)
    groups = [c for c in left if not (of_place(c) or speaks_of("no_group", c))]
    groups *= "group_id" not in known
    treatments = [c for c in free if speaks_of("treatment", c)]
    scored = raw.frame[[s.score for s in study.measures if s.score]].notna().any(axis=1)
    few = [c for c in free if 1 < raw.frame[c].nunique() <= _MOST_KINDS]
    kinds = few * (study.counts_every_row and study.scores != "recorded")
    stages = few * (study.level == "session" and "contact_kind" not in known)
    asked = {
        "services_not_named": (c for c in services if _of_services(raw.frame[c], who)),
        "above_not_named": (c for c in above if _one_each(raw.frame[c], who, 3)),
        "apart_by_column": (c for c in treatments if _one_each(raw.frame[c], who, 2)),
        "groups_not_named": (c for c in groups if _of_groups(raw.frame[c], who)),
        "second_therapist": (c for c in free if of_second_therapist(c)),
        "contacts_not_named": (c for c in kinds if _of_contacts(raw.frame[c], scored)),
        "follow_ups_not_named": (c for c in stages if _of_stages(raw.frame[c])),
        "trainees_by_year": (c for c in few if _of_years(raw.frame[c], who)),
    }
    return {question: next(columns, "") for question, columns in asked.items()}


def _of_services(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column may be of services which number their own therapists.

    Under several of its entries stand the labels of many therapists; its heading is of places, or
    the numbers of therapists begin anew under each entry.
    """
    if not 1 < labels.nunique() <= _MOST_SERVICES:
        return False
    rows = pd.crosstab(who["therapist_id"], labels)
    several = ((rows > 1).sum(axis=1) > 1).mean() >= _SEVERAL
    return bool(several) and (speaks_of("place", str(labels.name)) or _begin_anew(rows))


def _one_each(labels: pd.Series, who: pd.DataFrame, least: int) -> bool:
    """Whether nearly every therapist has one entry, and each entry two or more on average.

    A row in twenty under another, as of somebody who stood in, does not count.
    """
    rows = pd.crosstab(who["therapist_id"], labels)
    alone = rows.max(axis=1) >= 0.95 * rows.sum(axis=1)
    return bool(alone.mean() > 0.9 and least <= rows.shape[1] <= len(rows) / 2)


def _of_groups(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column may be of groups of patients who are treated together.

    More entries than there are therapists, of some patients each, who stay in theirs; and of half
    as many further therapists or fewer than as many patients would have if chance had put them
    together. A family may be of one or two.
    """
    heading = str(labels.name)
    # Groups may be numbered anew by each therapist; years are not.
    if speaks_of("group", heading) and not labels.astype("str").str.contains(_YEAR).any():
        labels = labels.astype("str").where(labels.notna()) + who["therapist_id"]
    therapists, least = who["therapist_id"].nunique(), 1.2 if speaks_of("family", heading) else 2
    if not 0 < therapists < labels.nunique() < len(who) / least:
        return False
    rows = who[["patient_id", "therapist_id"]].assign(group=labels).dropna().drop_duplicates()
    sizes = rows.groupby("group").nunique()
    chance = therapists * (1 - (1 - 1 / therapists) ** sizes["patient_id"])
    apart = (sizes["therapist_id"] - 1).sum() < (chance - 1).sum() / 2
    stay = rows.groupby("patient_id")["group"].nunique().eq(1).mean() > 0.9
    small = least < 2 and sizes["patient_id"].mean() > least
    return bool(apart and stay and (small or 3 <= sizes["patient_id"].median() <= 30))


def _of_contacts(labels: pd.Series, scored: pd.Series) -> bool:
    """Whether rows with some entries of a column have scores, and those with the others none."""
    rows = scored.groupby(labels).agg(["mean", "size"])
    parts = [rows["size"][w].sum() / len(labels) for w in (rows["mean"] > 0.9, rows["mean"] < 0.1)]
    return bool(min(parts) > 0.1 and sum(parts) > 0.9)


def _of_stages(labels: pd.Series) -> bool:
    """Whether some entries of a column speak of a follow-up, and others do not."""
    entries = pd.Series(labels.dropna().unique(), dtype="str").str.lower()
    return entries.str.contains(WORDS["later"]).nunique() > 1


def _of_years(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column is of years, and most trainees who have numbers stand under several."""
    trainee = who["therapist_id"].str.fullmatch(WORDS["trainee"]).fillna(False).astype(bool)
    years = labels[trainee].groupby(who["therapist_id"]).nunique()
    several = len(years) > 1 and (years > 1).mean() > 0.5
    return bool(several and labels.astype("str").str.contains(_YEAR).mean() > 0.9)


def _begin_anew(rows: pd.DataFrame) -> bool:
    """Whether the therapists under each entry are number one and on, to an end of their own.

    Of a number beyond that end many rows would stand there if the column were of anything else but
    a time: of years, later therapists have higher numbers.
    """
    numbers = pd.to_numeric(rows.index.to_series().str.extract(_NUMBER, expand=False)).dropna()
    of_time = rows.columns.astype("str").str.contains(_YEAR).any()
    if of_time or len(numbers) < 0.9 * len(rows) or numbers.duplicated().any():
        return False
    rows = rows.loc[numbers.index]
    last = rows.gt(0).mul(numbers, axis=0).max()
    beyond = rows.sum() * [rows[numbers > n].to_numpy().sum() for n in last] / rows.to_numpy().sum()
    ends = (beyond > 10).mean() >= 0.5 and last.nunique() > 2
    return bool(ends and (rows.gt(0).sum() / last > 0.8).mean() > 0.9)


def _met(raw: RawTable, column: str, entries: Any, section: str, said: list[str]) -> pd.Series:
    """Which rows have one of the entries, or have none of them; an empty entry is ""."""
    if column not in raw.frame:
        raise column_not_there(f"under [{section}]", column, list(raw.frame.columns), raw.name)
    text = read_words(raw.frame[column]).fillna("")
    wanted = {" ".join(entry.split()).lower() for entry in entries}
    if absent := len(wanted - set(text.unique())):
        said.append(f"{absent} entries under [{section}] of {shown_name(column)} stand in no row")
    return text.isin(wanted) == (section == "keep")


def _apart_by_service(raw: RawTable, study: Study) -> tuple[RawTable, int]:
    """Put the service before each number, where every service counts from one again.

    And count the therapists' numbers that stand in several.
    """
    if "service_id" not in study.columns:
        raise refusal("restart_without_services", file=raw.name)
    ids = _people(raw.frame, study)
    place = ids["service_id"] + " "
    numbers = {study.columns[role]: ids[role] for role in _NUMBERED if role in ids}
    # A word for nobody stays one.
    whole = {c: (place + n).where(n.notna(), raw.frame[c]) for c, n in numbers.items()}
    several = ids.groupby("therapist_id")["service_id"].nunique() > 1
    return replace(raw, frame=raw.frame.assign(**whole)), int(several.sum())
