"""Own data: from a file and a study to a cohort, or to a list of all that has to be corrected."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pwp_lib.cohort import Cohort, FlowStep, Provenance, finished
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.inclusion import Included, apply_rules, enough_for
from pwp_report.patients import PatientReader, score_columns
from pwp_report.problems import Problems
from pwp_report.questions import asked_of_scores, columns_to_ask_about, left_out_undated
from pwp_report.read.cells import read_codes, read_numbers, read_words, same_name
from pwp_report.read.raw import RawTable, headings_listed, shown_name
from pwp_report.read.table import read_table
from pwp_report.recognise import guess_roles, guess_therapist_columns, role_of_attendance
from pwp_report.rows import choose_rows, least_shown
from pwp_report.study import NEEDED, Study, asked_of_headings, complete_study, unused
from pwp_report.study_file import read_study
from pwp_report.wording import RELAX, Question, refusal, remark, render

#: Used by the rules of inclusion and not kept with the patients.
_FOR_RULES = ("n_therapists", "tied", "by_rows", "joined", "assessment", "one_to_one", "order")
#: Columns of a table of therapists that are text; the others are numbers from zero, up to:
_THERAPIST_TEXT = ("therapist_id", "service_id", "gender")
_THERAPIST_MOST = {"age": 100, "years_experience": 80}


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
    remarks : tuple of str
        What is worth a look and stops nothing; among ``understood`` too.
    rules : DataFrame
        By rule of inclusion: patients excluded in turn, and if the rule stood alone.
    flow : tuple of FlowStep
    enough : DataFrame
        By step of the analysis: needed, found, enough.
    cohort : Cohort or None
        ``None`` if there are problems.
    """

    study: Study
    problems: Problems
    understood: tuple[str, ...]
    remarks: tuple[str, ...]
    rules: pd.DataFrame
    flow: tuple[FlowStep, ...]
    enough: pd.DataFrame
    cohort: Cohort | None

    def required(self) -> Cohort:
        """Give the cohort, or raise the first problem if there is none."""
        if self.cohort is None:
            raise self.problems.first()
        return self.cohort


def check_study_data(
    file: str | Path, study: Study | str | Path | None = None, therapists: str | Path | None = None
) -> Check:
    """Read own data into a cohort, and say everything about it at once.

    Parameters
    ----------
    file : path
        One row a patient or one row a session; any format that `read_table` knows.
    study : Study or path, optional
    therapists : path, optional
        A table of therapists and their scales.

    Returns
    -------
    Check

    Raises
    ------
    InputError
        If a file cannot be read as a table at all.

    Examples
    --------
    >>> from pwp_lib.cohort import PACKAGED
    >>> check = check_study_data(PACKAGED / "patients.csv")
    >>> len(check.problems), check.cohort.provenance.synthetic
    (0, True)
    """
    given = study if isinstance(study, Study) else Study() if study is None else read_study(study)
    whole = read_table(file, table=given.table or None)
    remarks = [*whole.remarks]
    given = _own_number(given, whole, remarks)
    done = complete_study(given, [*whole.frame], whole.name)
    done = _with_persons(whole, done, remarks)
    remarks += asked_of_headings(given, done, [*whole.frame])
    raw, chosen = choose_rows(whole, done, remarks)
    used, rows = len(raw.frame), len(whole.frame)
    # Of fewer rows a tenth could be of fewer than the threshold.
    out = round(1 - used / rows, 1) * (rows >= 10 * done.threshold)
    done = replace(done, perhaps=columns_to_ask_about(raw, done), rows_out=out)
    remarks += [remark(key, column=shown_name(c)) for key, c in done.perhaps.items() if c]
    remarks += left_out_undated(whole, raw, done)
    found = Problems(raw.name, raw.rows)
    patients = PatientReader(raw, done, found, remarks).patients()
    _refuse_attendance(raw, given, done, found)
    done = _leave_out_empty(given, done, patients, remarks)
    included = apply_rules(patients, done, chosen)
    if not found:
        _feasible(included, found, done)
    table = _therapists(therapists, included.patients, done, found, remarks)
    scales = table is not None and bool({*table} - {*_THERAPIST_TEXT})
    recorded = " that were recorded" * (done.scores == "recorded")
    remarks += [remark("every_row_attended", recorded=recorded)] * done.counts_every_row
    remarks += [] if found else asked_of_scores(patients, included.patients, done)
    together = included.patients.get("one_to_one", pd.Series()).eq(False).sum() >= done.threshold
    known = {"group_id"} & {*done.columns, *done.without} or done.perhaps["groups_not_named"]
    remarks += [remark("groups_of_mode")] * bool(together and not known)
    cohort = None if found else _cohort(raw, included, done, table)
    remarks += [remark("synthetic")] * bool(cohort and cohort.provenance.synthetic)
    policy = done.policy(cohort is None or not cohort.provenance.synthetic)
    done = _with_counts(done, patients, included.patients, policy)
    words = {"raw": raw, "study": done, "rows": rows, "unused": _unused(raw, done)}
    asked = tuple(r for r in remarks if isinstance(r, Question))
    settled = tuple(q for q in asked if q.key in done.answered)
    done = replace(done, questions=tuple(q for q in asked if q not in settled), settled=settled)
    understood = render("understood.txt.j2", shown=shown_name, columns=score_columns, **words)
    return Check(
        study=done,
        problems=found,
        understood=(*filter(None, understood.split("\n")), *remarks),
        remarks=tuple(remarks),
        rules=included.rules,
        flow=included.flow,
        enough=enough_for(included.patients, done, policy, scales=scales),
        cohort=cohort,
    )


def _own_number(given: Study, raw: RawTable, said: list[str]) -> Study:
    """Take a heading such as Case for the patient's number where each row has its own entry."""
    free = [c for c in map(str, raw.frame) if c not in given.columns.values()]
    column = guess_roles(free, ("own_number",)).get("own_number", "")
    known = "patient_id" in {*given.columns, *guess_roles(free, ("patient_id",))}
    if known or not column or raw.frame[column].isna().any() or not raw.frame[column].is_unique:
        return given
    said.append(remark("own_number", column=shown_name(column)))
    columns = {**given.columns, "patient_id": column}
    return replace(given, columns=columns, guessed=(*given.guessed, "patient_id"))


def _refuse_attendance(raw: RawTable, given: Study, study: Study, found: Problems) -> None:
    """Note columns that look like attendance where every row would count as attended.

    What never differs within a patient or within a therapist describes them, and no session.
    """
    if not study.counts_every_row or "attended" in given.columns:
        return
    whose = [raw.frame[study.columns[role]] for role in NEEDED]
    for column in [c for c in _unused(raw, study) if c not in {*study.keep, *study.leave_out}]:
        words = read_words(raw.frame[column], study.missing)
        role, filled = role_of_attendance(column, words), words.fillna("")
        if role and all(filled.groupby(who).nunique().max() > 1 for who in whose):
            found.add("attendance_not_stated", column, role=role, shown=shown_name(column))


def _unused(raw: RawTable, study: Study) -> list[str]:
    return [c for c in unused(study, [*raw.frame]) if c not in {*study.adjust, "synthetic"}]


def _leave_out_empty(given: Study, study: Study, patients: pd.DataFrame, said: list[str]) -> Study:
    """Leave out measures that were recognised, not asked for, and that most patients lack."""
    free = [e.measure for e in study.measures if not given.measures]
    out = [m for m in free if patients[[m.pre, m.post]].isna().mean().max() > 0.5]
    kept = tuple(e for e in study.measures if e.measure not in out)
    if not kept:
        return study
    said += [remark("measure_mostly_missing", label=m.label, name=m.name) for m in out]
    return replace(study, measures=kept)


def _with_persons(raw: RawTable, study: Study, said: list[str]) -> Study:
    """Find a column of persons that shows that some have several courses, or the reverse."""
    rest = [c for c in raw.frame.columns if c not in study.columns.values()]
    guess = guess_roles(rest, ("patient_id",)).get("patient_id")
    other = study.columns.get("person_id", guess)
    if other is None or "person_id" in study.without:
        return study
    both = study.columns["patient_id"], other
    names = dict(zip(("patient", "person"), map(shown_name, both), strict=True))
    own, theirs = (read_codes(raw.frame[c], study.missing).nunique() for c in both)
    if theirs >= own:
        said += [remark("several_courses", **names)] * (theirs > own)
        return study
    guessed = (*study.guessed, *["person_id"] * (other == guess))
    done = replace(study, columns={**study.columns, "person_id": other}, guessed=guessed)
    least = least_shown(raw, done)
    said.append(remark("courses_of_persons", least=least, **names))
    return replace(done, threshold=least)


def _with_counts(
    study: Study, patients: pd.DataFrame, people: pd.DataFrame, policy: DisclosurePolicy
) -> Study:
    """Keep with the study the counts of patients that sentences tell, as they may be said."""
    had = int((patients.get("n_therapists", pd.Series()) > 1).sum())
    tied = int((patients.get("tied", pd.Series()) > 0).sum())
    several = study.some(had, len(patients)) * (had > len(patients) / 10)
    own, theirs = len(people), people.get("person_id", people["patient_id"]).nunique()
    more = policy.count(own - theirs)
    of = (f"{(policy.count(own) or 0) - more:,}" if more else "nearly as many") * (own > theirs)
    # Of a few nothing is said: that there are any would be told.
    open_ = int(people.get("status", pd.Series()).eq("in_treatment").sum())
    study = replace(study, unfinished=study.some(open_, own) * (open_ >= study.threshold))
    return replace(study, people=of, several_had=several, tied=study.some(tied, had))


def _feasible(included: Included, found: Problems, study: Study) -> None:
    """Note what no model can be fitted to: said here, before anything is computed."""
    people, therapist = included.patients, study.columns["therapist_id"]
    if people.empty:
        rule = next((s for s in included.flow if s.patients == 0), included.flow[-1]).rule
        how = next(words for part, words in RELAX.items() if part in rule)
        found.add("nobody_left", rule=rule, how=how)
        return
    loads = people["therapist_id"].value_counts()
    if len(loads) < 2:
        found.add("one_therapist", therapist)
    elif int(loads.max()) < 2:
        found.add("one_patient_each", therapist)
    elif len(people) < len(loads) + 5:
        found.add("too_few_patients", therapist)
    for entry in study.measures:
        pre, post = people[entry.measure.pre], people[entry.measure.post]
        first, last = entry.pre or entry.score, entry.post or entry.score
        if alike := [c for c, values in ((first, pre), (last, post)) if values.nunique() < 2]:
            found.add("scores_equal", alike[0])
        elif bool((pre == post).all()):
            found.add("ends_equal", last)
    if "service_id" in people and not found:
        services = people.groupby("therapist_id")["service_id"].transform("nunique")
        key, most = "two_services" if services.max() == 2 else "many_services", int(services.max())
        found.add(key, study.columns["service_id"], services > 1, most=most)


def _therapists(
    path: str | Path | None, people: pd.DataFrame, study: Study, found: Problems, said: list[str]
) -> pd.DataFrame | None:
    """Read the table of therapists as the patients' file is; say which columns are not used."""
    if path is None:
        return None
    raw = read_table(path)
    columns = guess_therapist_columns([*map(str, raw.frame)])
    if "therapist_id" not in columns:
        raise refusal("therapist_column_not_found", file=raw.name)
    mine, table = Problems(raw.name, raw.rows), pd.DataFrame(index=raw.frame.index)
    for role, column in columns.items():
        if role in _THERAPIST_TEXT:
            table[role] = read_codes(raw.frame[column], study.missing)
            continue
        read = read_numbers(raw.frame[column], study.missing, study.decimal or None)
        read = read.within(0, _THERAPIST_MOST.get(role, float("inf")))
        mine.add_kinds("a number is needed", column, read.kinds)
        table[role] = read.values
    name, therapist = columns["therapist_id"], table["therapist_id"]
    mine.add("missing_entry", name, therapist.isna())
    mine.add("repeated_therapist", name, therapist.dropna().map(same_name).duplicated())
    if mine:
        raise mine.first()
    spelt = {same_name(t): t for t in people["therapist_id"].dropna().unique()}
    table["therapist_id"] = therapist = therapist.map(lambda t: spelt.get(same_name(t), t))
    unknown = people["therapist_id"].notna() & ~people["therapist_id"].isin(therapist)
    found.add("unknown_therapist", study.columns["therapist_id"], unknown, file=raw.name)
    if left := [c for c in map(str, raw.frame) if c not in columns.values()]:
        said.append(remark("scales_not_used", columns=headings_listed(left)))
    return table[therapist.isin(people["therapist_id"])]


def _cohort(raw: RawTable, included: Included, study: Study, table: pd.DataFrame | None) -> Cohort:
    """Build the cohort from what has been read and checked."""
    marks = included.patients.get("synthetic", pd.Series(""))
    people = _without_rules(included.patients)
    if "sessions" in people:
        people["sessions"] = people["sessions"].where(people["sessions"] >= 1)
    return Cohort(
        patients=finished(people, ["therapist_id", "patient_id"]),
        therapists=None if table is None else finished(table, ["therapist_id"]),
        segments=None,
        measures=tuple(s.measure for s in study.measures),
        provenance=Provenance(synthetic=bool(marks.str.lower().eq("true").all()), source=raw.name),
        flow=included.flow,
        eligible=_without_rules(included.eligible),
    )


def _without_rules(people: pd.DataFrame) -> pd.DataFrame:
    return people.drop(columns=[*_FOR_RULES, "synthetic"], errors="ignore")
