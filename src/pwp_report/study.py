"""A study: what the columns are, which measures, who is included, how it is analysed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from multilevel.errors import InputError
from pwp_lib.measures import MEASURES, Measure
from pwp_report import recognise
from pwp_report.ledger import DisclosurePolicy
from pwp_report.read.raw import did_you_mean, headings_listed, shown_name
from pwp_report.wording import Question, refusal, remark

#: Roles without which nothing can be done, and what they identify.
NEEDED = {"patient_id": "patient", "therapist_id": "therapist"}
#: The share of patients up to which the order of the rows may decide. Days with two sessions by
#: chance are rarer by far, and rows that are no sessions (one a measure, one a member of staff)
#: make nearly all days so.
HANDFUL = 0.05


@dataclass(frozen=True)
class ScoreColumns:
    """A measure and the columns with its scores: ``pre`` and ``post``, or ``score`` by session.

    Patients without both scores of a measure that is ``required`` are left out.
    """

    measure: Measure
    pre: str = ""
    post: str = ""
    score: str = ""
    required: bool = True

    @property
    def names(self) -> list[str]:
        """The columns that are named, one or two."""
        return [c for c in (self.pre, self.post, self.score) if c]


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
    set_aside : tuple of str
        Columns without a use of which nothing is asked.
    answered : tuple of str
        Questions of ``pwp check``, by name, about what is as it should be.
    drop_repeated_rows : bool
        Whether a row with the same entries as one above is left out.
    numbers_restart : bool
        Whether patients and therapists are numbered anew in each service.
    keep, leave_out : mapping of str to tuple of str
        By column of the file, the entries whose rows are read, and those whose rows are not.
    scores : {"attended", "recorded"}
        Of sessions: scores of the first and last attended one, or the first and last recorded.
    rows_in_order : bool
        Whether sessions of one day stand in the file in the order in which they were.
    follow_ups : bool
        Whether sessions after the end of treatment count.
    minimum_sessions : int
    minimum_patients : int
        Therapists with fewer patients are left out.
    assessment, one_to_one : bool
        Whether an assessment must be among the sessions, and whether all must be one-to-one.
    status : tuple of str
    minimum_age, maximum_age : float or None
    several : str
        Who is a patient's therapist if there were several: the one with ``most_sessions`` (the
        later one of two with equally many), the ``first``, the ``last``, or ``exclude``.
    several_services : {"one", "most_patients"}
        Of therapists with patients in several: none are, or all count for the one with most.
    several_stated : bool
        Whether the study file says so itself.
    codes : mapping of str to tuple of str
    cluster_size : int or None
        ``None`` is a quarter of the therapists.
    seed : int
    engines : tuple of str
    adjust : tuple of str
        Covariates of the case mix, by role or by the name of their column.
    categories : tuple of str
        Those whose numbers are codes and no amounts.
    missing_covariates : {"category", "drop"}
        Whether patients without one are a category of their own, or left out of the adjustment.
    therapist_mean : bool
        Whether the therapist's mean first score is adjusted for too.
    minimum_shown : int
        Therapists with fewer patients are shown only in aggregate.
    threshold : int
        Counts below it are withheld: where persons have several courses of treatment, more than
        any four of them have, so that whatever count is shown is of five persons at least.
    people : str
        How many persons had the courses that are analysed, as it may be said; empty where each
        had one.
    several_had : str
        How many patients had several therapists, as it may be said, where a tenth or more had.
    tied : str
        Of how many of these two had equally many sessions, as it may be said.
    unfinished : str
        How many of those analysed are still in treatment, as it may be said.
    rows_out : float
        The share of the file's rows that the study leaves out, in tenths; zero of few rows.
    perhaps : mapping of str to str
        By question, the column without a use that it is about; empty where there is none.
    files : mapping of str to str
        SHA-256 by name of the files that were read, under disclosure control of the key and the
        file; for the record.
    guessed : tuple of str
        Roles and measures that were recognised rather than stated.
    without : tuple of str
        Roles that no column has, whatever its name: stated as ``""``.
    questions : tuple of Question
        What the file leaves open, to be answered by who knows it: what ``pwp check`` ends with.
    settled : tuple of Question
        What was asked, and answered in the study file.
    """

    title: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    measures: tuple[ScoreColumns, ...] = ()
    level: str = ""
    table: str = ""
    decimal: str = ""
    date_format: str = ""
    missing: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    drop_repeated_rows: bool = False
    numbers_restart: bool = False
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leave_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scores: str = "attended"
    follow_ups: bool = False
    rows_in_order: bool = False
    minimum_sessions: int = 2
    minimum_patients: int = 1
    assessment: bool = True
    one_to_one: bool = True
    status: tuple[str, ...] = ("closed", "in_treatment")
    minimum_age: float | None = None
    maximum_age: float | None = None
    several: str = "most_sessions"
    several_services: str = "one"
    several_stated: bool = False
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: recognise.CODES)
    cluster_size: int | None = None
    seed: int = 1
    engines: tuple[str, ...] = ("ml", "gibbs")
    adjust: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    missing_covariates: str = "category"
    therapist_mean: bool = False
    minimum_shown: int = 20
    threshold: int = DisclosurePolicy.threshold
    people: str = ""
    several_had: str = ""
    tied: str = ""
    unfinished: str = ""
    rows_out: float = 0.0
    perhaps: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    settled: tuple[Question, ...] = ()

    @property
    def counts_every_row(self) -> bool:
        """Whether rows are sessions and no column says which were attended: then all count."""
        return self.level == "session" and not {"attended", "missed"} & set(self.columns)

    def missing_of(self, role: str) -> list[str]:
        """Codes that mean missing in the column of a role; a number may be a patient's own."""
        own = role in ("patient_id", "person_id")
        return [code for code in self.missing if not (own and code.isdigit())]

    def some(self, n: int, of: int) -> str:
        """Write a count of patients in a sentence: in words where it or the others are too few.

        Empty where there are none.
        """
        if n < self.threshold:
            return "some" * (n > 0)
        return "nearly all" if of - n < self.threshold else self.policy(True).text(n)

    def policy(self, active: bool) -> DisclosurePolicy:
        """Give the rules of release."""
        least = max(self.minimum_shown, 2 * self.threshold * (self.threshold > 5))
        return DisclosurePolicy(active, self.threshold, smallest_caseload=least)


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
    for check in (_refuse_half_measures, _refuse_unclear_ends, _require, _refuse_misspelt):
        check(study, done, columns, file)
    return done


def unused(study: Study, columns: Sequence[str]) -> list[str]:
    """List the columns that are no role and no score."""
    used = {c for s in study.measures for c in s.names} | set(study.columns.values())
    return [c for c in columns if c not in used]


def _refuse_half_measures(given: Study, study: Study, columns: Sequence[str], file: str) -> None:
    """Stop where one score of a measure was recognised and its partner was not."""
    known = [] if given.measures or study.level != "patient" else _complete_scores(given, columns)
    for scores in [s for s in known if bool(s.pre) != bool(s.post)]:
        end, other = ("post", scores.pre) if scores.pre else ("pre", scores.post)
        left = [c for c in unused(study, columns) if c != other]
        meant = did_you_mean(other, left, " (did you mean {}?)")
        words: dict[str, Any] = {"measure": scores.measure, "end": end, "meant": meant}
        raise refusal("half_a_measure", file=file, column=shown_name(other), **words)


def _refuse_unclear_ends(given: Study, study: Study, columns: Sequence[str], file: str) -> None:
    """Stop where columns are named after a measure, and none says that it is first or last."""
    used = [] if given.measures else [s.measure for s in study.measures]
    for m in [m for m in MEASURES.values() if used and m not in used]:
        if len(named := recognise.named_after(unused(study, columns), m)) > 1:
            raise refusal("unclear_ends", file=file, measure=m, columns=headings_listed(named))


def columns_of_others(study: Study, columns: Sequence[str]) -> dict[Measure, list[str]]:
    """Find columns that no role has and that are named after a measure that is not used."""
    used, left = {s.measure.name for s in study.measures}, unused(study, columns)
    others = [m for name, m in MEASURES.items() if name not in used]
    return {m: there for m in others if (there := recognise.named_after(left, m, r".*(?<![a-z])"))}


def asked_of_headings(given: Study, study: Study, columns: Sequence[str]) -> list[str]:
    """Ask about columns that are named after a measure that is not used, or after another role."""
    named = columns_of_others(study, columns).items()
    said = [remark("scores_not_used", measure=m, columns=headings_listed(c)) for m, c in named]
    # One that is named for whom or where, and is known as something else.
    roles = [*recognise.ROLES["patient"], *recognise.ROLES["session"]]
    for role in ("therapist_id", "service_id", "group_id"):
        column = given.columns.get(role, "")
        known = "".join(recognise.guess_roles([column], [role, *roles]))
        if known not in ("", role, *given.columns):
            said += [remark("named_otherwise", column=shown_name(column), role=role, known=known)]
    return said


def _refuse_misspelt(given: Study, study: Study, columns: Sequence[str], file: str) -> None:
    """Stop where a heading that is not used misses a known one by a letter."""
    left = [r for r in recognise.ROLES[study.level] if r not in {*study.columns, *given.columns}]
    for column in unused(study, columns):
        if role := recognise.one_letter_off(column, left):
            raise refusal("heading_misspelt", file=file, column=shown_name(column), role=role)


def column_not_there(where: str, column: str, columns: Sequence[str], file: str = "") -> InputError:
    """Make the error for a column that the study names and the file lacks."""
    hint = did_you_mean(column, columns) or "correct the study file"
    return refusal("column_not_there", file=file, column=shown_name(column), where=where, hint=hint)


def recognise_study(study: Study, columns: Sequence[str], file: str = "") -> Study:
    """Do what `complete_study` does, and leave open what is not recognised."""
    scored = [(f"measures.{m.measure.name}", c) for m in study.measures for c in m.names]
    aside = [("set_aside", c) for c in study.set_aside]
    for role, column in [*study.columns.items(), *scored, *aside]:
        if column and column not in columns:
            raise column_not_there(f"for {role}", column, columns, file)
    scores = _complete_scores(study, columns)
    by_session = any(s.score for s in scores) and not any(s.pre or s.post for s in scores)
    level = study.level or ("session" if by_session else "patient")
    left = unused(replace(study, measures=tuple(scores)), columns)
    roles = recognise.guess_roles(left, recognise.ROLES[level])
    fresh = {r: c for r, c in roles.items() if r not in study.columns}
    usable = tuple(s for s in scores if (s.pre and s.post if level == "patient" else s.score))
    used = [c for s in usable for c in s.names]
    if len(used) > len({*used}):
        raise refusal("column_twice", file=file, column=shown_name(max(used, key=used.count)))
    named_so = [s.measure.name for s in usable if s not in study.measures]
    return replace(
        study,
        level=level,
        columns={**fresh, **{r: c for r, c in study.columns.items() if c}},
        measures=usable,
        without=(*study.without, *(r for r, c in study.columns.items() if not c)),
        guessed=(*study.guessed, *fresh, *named_so),
        adjust=tuple({**fresh, **study.columns}.get(n) or n for n in study.adjust),
    )


def _complete_scores(study: Study, columns: Sequence[str]) -> list[ScoreColumns]:
    """Give measures of the study, or all known, with columns; those not stated by their names."""
    asked = study.measures or tuple(map(ScoreColumns, MEASURES.values()))
    found: Mapping[str, Any] = recognise.guess_scores(columns, [s.measure for s in asked])
    scores = [s if s.names else replace(s, **found.get(s.measure.name, {})) for s in asked]
    return [s for s in scores if s.names]


def _require(given: Study, study: Study, columns: Sequence[str], file: str) -> None:
    """Say what is needed and was not recognised, all of it at once."""
    if len(columns) < 3:
        raise refusal("too_few_columns", file=file)
    listed = headings_listed(columns)
    lacking = {role: what for role, what in NEEDED.items() if role not in study.columns}
    if len(lacking) + (not study.measures) > 1:
        needs = [f"the {what}" for what in lacking.values()]
        needs += ["a score on a measure"] * (not study.measures)
        words = " or ".join([", ".join(needs[:-1]), needs[-1]])
        raise refusal("needs_not_found", file=file, needs=words, listed=listed)
    for role, what in lacking.items():
        raise refusal("role_not_found", file=file, column=role, what=what, role=role, listed=listed)
    without = {m.measure.name for m in given.measures} - {m.measure.name for m in study.measures}
    if without:
        name, ends = min(without), "score" if study.level == "session" else "pre and post"
        raise refusal("scores_not_found", file=file, name=name, ends=ends)
    if not study.measures:  # nor half of one: that was refused
        key = "no_measure_by_session" if study.level == "session" else "no_measure"
        raise refusal(key, file=file, name="phq9")
    if study.level == "session" and not {"date", "session_number"} & set(study.columns):
        raise refusal("no_order_of_sessions", file=file)
