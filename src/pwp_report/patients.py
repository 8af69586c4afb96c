"""Columns of a file to one row a patient, each entry read once and every problem noted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.measures import Measure
from pwp_lib.schema import no_identifiers
from pwp_report.problems import Problems
from pwp_report.read.cells import (
    KINDS,
    MISSING_CODES,
    ReadColumn,
    read_codes,
    read_dates,
    read_numbers,
    read_scores,
)
from pwp_report.read.raw import RawTable
from pwp_report.sessions import choose_therapist, reduce_sessions
from pwp_report.study import ScoreColumns, Study

__all__ = ["PatientReader", "score_columns"]

_NOT_STATED = ("unknown", "not known", "not stated", "not recorded")
#: What stands in the place of an identifier where a row is made of the others.
_TOTALS = ("total", "totals", "grand total", "sum", "mean", "average", "overall")
#: Columns of numbers, and from where to where they can go.
_NUMBERS = {"sessions": (0, 1000), "age": (0, 130)}


def score_columns(entry: ScoreColumns, level: str) -> list[tuple[str, str]]:
    """Name the columns of a measure: what it becomes, and what the file calls it."""
    if level == "session":
        return [(entry.measure.name, entry.score)]
    return [(entry.measure.pre, entry.pre), (entry.measure.post, entry.post)]


class PatientReader:
    """Reads the columns that a study names, and brings the rows to one a patient.

    Parameters
    ----------
    raw : RawTable
    study : Study
        As completed from the file's columns.
    found : Problems
        Where problems are noted. What is worth a look and no problem goes to ``notes``.
    """

    def __init__(self, raw: RawTable, study: Study, found: Problems) -> None:
        self.raw, self.study, self.found = raw, study, found
        self.frame = raw.frame.reset_index(drop=True)
        self.codes = set(study.missing)
        self.notes: list[str] = []
        self.reads: list[ReadColumn] = []

    def patients(self) -> pd.DataFrame:
        """Read every column; the index of the result holds the position of each first row."""
        study, has = self.study, set(self.study.columns)
        out = pd.DataFrame({"patient_id": self._identifier("patient_id")})
        out["therapist_id"] = self._identifier("therapist_id")
        self._lone_code(out["therapist_id"])
        if "service_id" in has:
            out["service_id"] = self._identifier("service_id")
        out = pd.concat([out, self._scores()], axis=1)
        for role in [r for r in _NUMBERS if r in has]:
            out[role] = self._number(role, *_NUMBERS[role])
        if "gender" in has:
            out["gender"] = self._gender()
        if "ethnicity" in has:
            out["ethnicity"] = self._text("ethnicity")
        if {"status", "ended"} & has:
            out["status"] = self._status()
        if "mode" in has:
            out["one_to_one"] = self._means("mode", "one_to_one")
        self._second_header()
        self._totals(out["patient_id"])
        whole = self._by_session(out) if study.level == "session" else self._once_each(out)
        if "synthetic" in self.frame:
            whole["synthetic"] = self.frame["synthetic"].astype("str").loc[whole.index]
        return whole

    # --- Single columns ---------------------------------------------------------------------------

    def _cells(self, role: str) -> pd.Series:
        return self.frame[self.study.columns[role]]

    def _text(self, role: str) -> pd.Series:
        return read_codes(self._cells(role), self.codes)

    def _note(self, column: str, need: str, kinds: pd.Series) -> None:
        for key in kinds.dropna().unique():
            kind = KINDS[key]
            problem = f"{need}, and this is {kind.text}"
            self.found.add(problem, kind.hint, column, kind.text, kinds == key)

    def _missing(self, values: pd.Series, role: str) -> None:
        column, kind = self.study.columns[role], KINDS["missing"]
        self.found.add("an entry is missing", kind.hint, column, kind.text, values.isna())

    def _identifier(self, role: str) -> pd.Series:
        """Read who or where: a word for nobody is missing, a code for it has to be corrected."""
        text = self._text(role)
        words = [w for w in text.dropna().unique() if w.lower() in _NOT_STATED]
        text = text.mask(text.isin(words))
        if role == "patient_id":
            self._missing(text, role)
        coded = no_identifiers(text)
        kinds = pd.Series(None, index=text.index, dtype="str").mask(coded, "no_identifier")
        self._note(self.study.columns[role], "an identifier is needed", kinds)
        return text.mask(coded)

    def _lone_code(self, therapists: pd.Series) -> None:
        """Name a therapist 99 or 999 where no staff number stands beside it."""
        numbers = {str(n): n for n in MISSING_CODES if n > 0}
        there = set(therapists.dropna().unique())
        for name in sorted(numbers.keys() & there):
            if not {str(numbers[name] - 1), str(numbers[name] + 1)} & there:
                row = int(self.raw.rows[int((therapists == name).to_numpy().argmax())])
                self.notes.append(
                    f"the therapist of row {row} is a number that often stands for missing: if it "
                    "does so here, list it as missing under [file] in the study file"
                )

    def _number(self, role: str, low: float, high: float) -> pd.Series:
        read = read_numbers(self._cells(role), self.codes, self.study.decimal or None)
        outside = read.values.notna() & ~read.values.between(low, high)
        need = f"a number from {low:g} to {high:g} is needed"
        self._note(self.study.columns[role], need, read.kinds.mask(outside, "range"))
        return read.values.mask(outside)

    def _means(self, role: str, code: str) -> pd.Series:
        """Whether entries mean what the codes of that name say; missing where nothing is said."""
        text = self._text(role).str.lower()
        return text.isin(self.study.codes[code]).astype("boolean").mask(text.isna())

    def _gender(self) -> pd.Series:
        text = self._text("gender").str.lower()
        none = pd.Series(None, index=text.index, dtype="str")
        female, male = (text.isin(self.study.codes[g]) for g in ("female", "male"))
        unknown = text.isna() | text.isin(["9", "0", "x", "z", *_NOT_STATED])
        return none.mask(~unknown, "other").mask(female, "female").mask(male, "male")

    def _status(self) -> pd.Series:
        if "status" not in self.study.columns:
            # A date of discharge says that the case is closed; without one it is in treatment.
            ended = self._text("ended").notna()
            words = np.where(ended, "closed", "in_treatment")
            return pd.Series(words, index=ended.index, dtype="str")
        text = self._text("status").str.lower()
        status = pd.Series(None, index=text.index, dtype="str")
        for name in ("closed", "in_treatment"):
            status = status.mask(text.isin(self.study.codes[name]) | (text == name), name)
        self.found.add(
            "closed or in_treatment is needed, and this is another word",
            "correct it, or say what it means under [codes] in the study file",
            self.study.columns["status"],
            "another word",
            status.isna() & text.notna(),
        )
        return status

    def _scores(self) -> pd.DataFrame:
        reads: dict[str, tuple[str, Measure, ReadColumn]] = {}
        for entry in self.study.measures:
            for name, column in score_columns(entry, self.study.level):
                decimal = self.study.decimal or None
                read = read_scores(self.frame[column], entry.measure, self.codes, decimal)
                reads[name] = (column, entry.measure, read)
        for column, measure, read in reads.values():
            self._note(column, f"{measure.range_text} is needed", read.kinds)
            if not bool(read.values.notna().any()) and not bool(read.kinds.notna().any()):
                hint = "check whether this is the right column"
                self.found.add("the column is empty", hint, column, "nothing")
        self.reads = [read for _, _, read in reads.values()]
        return pd.DataFrame({name: read.values for name, (_, _, read) in reads.items()})

    # --- Rows that are no patients ----------------------------------------------------------------

    def _second_header(self) -> None:
        """Recognise a second row of names: text in every score of the first record."""
        if len(self.frame) > 1 and all(r.kinds.iloc[0] == "text" for r in self.reads):
            first = pd.Series(self.frame.index == 0, index=self.frame.index)
            problem = "the row looks like a second header"
            self.found.replace_rows(problem, "delete it", "names of columns", first)

    def _totals(self, names: pd.Series) -> None:
        """Name a row of sums for what it is, in the place of a score too high for each column."""
        totals = names.astype("str").str.lower().str.strip(" :").isin(_TOTALS)
        problem = "the row looks like a total, not a patient"
        self.found.replace_rows(problem, "delete it", "a word", totals)

    # --- One row a patient ------------------------------------------------------------------------

    def _once_each(self, patients: pd.DataFrame) -> pd.DataFrame:
        patient = patients["patient_id"]
        if not (patient.notna() & patient.duplicated()).any():
            return patients
        if self.study.several_stated:
            patients = self._one_therapist(patients)
            patient = patients["patient_id"]
        again = patient.notna() & patient.duplicated()
        same = again & patients.duplicated()
        first = patients.drop_duplicates("patient_id").set_index("patient_id")["therapist_id"]
        moved = again & ~same & (patients["therapist_id"] != patient.map(first))
        column = self.study.columns["patient_id"]
        above = "this patient stands in a row above with"
        rules = 'several = "most_sessions", "first", "last" or "exclude"'
        for entries, hint, kind, where in (
            ("the same entries", "remove one of the rows", "a repeated row", same),
            (
                "another therapist",
                f"say under [therapists] in a study file which to take: {rules}",
                "a repeated patient",
                moved,
            ),
            (
                "other entries",
                "keep the right row, or use an identifier of the course of treatment",
                "a conflicting row",
                again & ~same & ~moved,
            ),
        ):
            self.found.add(f"{above} {entries}", hint, column, kind, where)
        return patients.drop_duplicates("patient_id")

    def _one_therapist(self, patients: pd.DataFrame) -> pd.DataFrame:
        rule = self.study.several
        if rule == "most_sessions" and "sessions" not in patients:
            raise InputError(
                "the rule most_sessions needs a column of sessions",
                hint="name it under [columns], or choose first, last or exclude",
                file=self.raw.name,
            )
        chosen, count = choose_therapist(patients.rename(columns={"sessions": "weight"}), rule)
        patient = patients["patient_id"]
        own = patient.map(chosen)
        keep = (patients["therapist_id"] == own) | own.isna()
        if rule == "exclude":
            keep = own.notna() | ~patient.duplicated()
        return patients.assign(n_therapists=patient.map(count).fillna(0))[keep]

    def _by_session(self, sessions: pd.DataFrame) -> pd.DataFrame:
        study = self.study
        role = "date" if "date" in study.columns else "session_number"
        if role == "date":
            read = read_dates(self._cells(role), self.codes, study.date_format or None)
        else:
            read = read_numbers(self._cells(role), self.codes)
        self._note(study.columns[role], "the order of sessions is needed", read.kinds)
        self._missing(read.values.mask(read.wrong, read.values.dropna().min()), role)
        sessions["order"] = read.values
        sessions["attended"] = True
        if "attended" in study.columns:
            sessions["attended"] = self._means("attended", "attended").fillna(False).astype(bool)
        if "contact_kind" in study.columns:
            kinds = self._means("contact_kind", "assessment")
            sessions["assessment"] = kinds.fillna(False).astype(bool)
        if "one_to_one" in sessions:
            sessions["one_to_one"] = sessions["one_to_one"].fillna(True).astype(bool)
        problem = "the session stands in a row above with the same entries"
        repeated = sessions.duplicated() & sessions["patient_id"].notna()
        self.found.add(problem, "remove one of the rows", "", "a repeated row", repeated)
        if not sessions["attended"].any():
            hint = "say under [codes] in the study file what means attended"
            column = study.columns.get("attended", "")
            self.found.add("no session was attended", hint, column, "another code")
        names = [s.measure.name for s in study.measures]
        return reduce_sessions(sessions[sessions["patient_id"].notna()], names, study.several)
