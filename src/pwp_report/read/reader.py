"""Columns of a file to columns of a cohort, with every problem noted on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.measures import Measure
from pwp_lib.schema import no_identifiers
from pwp_report.read.cells import (
    KINDS,
    MISSING_CODES,
    ReadColumn,
    read_codes,
    read_dates,
    read_numbers,
    read_scores,
)
from pwp_report.read.files import RawTable
from pwp_report.read.problems import ProblemList
from pwp_report.sessions import choose_therapist, reduce_sessions
from pwp_report.study import ScoreColumns, Study

__all__ = ["Reader", "score_columns"]

_NOT_STATED = ("unknown", "not known", "not stated", "not recorded")


class Reader:
    """Columns of the file to columns of a cohort, with every problem noted on the way.

    What is worth a look and need not be mended is in ``notes``.
    """

    def __init__(self, raw: RawTable, study: Study, found: ProblemList) -> None:
        self.raw, self.study, self.found = raw, study, found
        self.frame = raw.frame
        self.codes = set(study.missing)
        self.second_header = False
        self.notes: list[str] = []

    def patients(self) -> pd.DataFrame:
        """Read every column, and bring the rows to one a patient."""
        out = pd.DataFrame({"patient_id": self._identifier("patient_id")})
        out["therapist_id"] = self._identifier("therapist_id")
        self._lone_code(out["therapist_id"])
        if "service_id" in self.study.columns:
            out["service_id"] = self._identifier("service_id")
        if "ethnicity" in self.study.columns:
            out["ethnicity"] = self._text("ethnicity")
        for role, low, high in (("sessions", 0, 1000), ("age", 0, 130)):
            if role in self.study.columns:
                out[role] = self._number(role, low, high)
        if "gender" in self.study.columns:
            out["gender"] = self._gender()
        if {"status", "ended"} & set(self.study.columns):
            out["status"] = self._status()
        if "mode" in self.study.columns:
            out["one_to_one"] = self._means("mode", "one_to_one")
        scores = self._scores()
        out = pd.concat([out, scores], axis=1)
        whole = self._by_session(out) if self.study.level == "session" else self._once_each(out)
        return self._marked(whole)

    def _marked(self, patients: pd.DataFrame) -> pd.DataFrame:
        if "synthetic" in self.frame:
            patients["synthetic"] = self.frame["synthetic"].astype("str").loc[patients.index]
        return patients

    def _cells(self, role: str) -> pd.Series:
        return self.frame[self.study.columns[role]]

    def _text(self, role: str) -> pd.Series:
        return read_codes(self._cells(role), self.codes)

    def _identifier(self, role: str) -> pd.Series:
        """Read who or where: a word for nobody is missing, a code for it has to be mended."""
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

    def _missing(self, values: pd.Series, role: str) -> None:
        kind = KINDS["missing"]
        self.found.add(
            "an entry is missing", kind.hint, self.study.columns[role], kind.text, values.isna()
        )

    def _number(self, role: str, low: float, high: float) -> pd.Series:
        read = read_numbers(self._cells(role), self.codes, self.study.decimal or None)
        outside = read.values.notna() & ~read.values.between(low, high)
        kinds = read.kinds.mask(outside, "range")
        need = f"a number from {low:g} to {high:g} is needed"
        self._note(self.study.columns[role], need, kinds)
        return read.values.mask(outside)

    def _note(self, column: str, need: str, kinds: pd.Series) -> None:
        for key in kinds.dropna().unique():
            kind = KINDS[key]
            self.found.add(
                f"{need}, and this is {kind.text}", kind.hint, column, kind.text, kinds == key
            )

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
            return pd.Series(
                np.where(ended, "closed", "in_treatment"), index=ended.index, dtype="str"
            )
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
                read = read_scores(
                    self.frame[column], entry.measure, self.codes, self.study.decimal or None
                )
                reads[name] = (column, entry.measure, read)
        second = self._second_header([read for _, _, read in reads.values()])
        values = {}
        for name, (column, measure, read) in reads.items():
            kinds = read.kinds.mask(second)
            self._note(column, f"{measure.range_text} is needed", kinds)
            values[name] = read.values
            if not bool(read.values.notna().any()) and not bool(kinds.notna().any()):
                self.found.add(
                    "the column is empty",
                    "check whether this is the right column",
                    column,
                    "nothing",
                )
        return pd.DataFrame(values)

    def _second_header(self, reads: Sequence[ReadColumn]) -> pd.Series:
        """Recognise a second row of names: text in every score of the first record."""
        where = pd.Series(False, index=self.frame.index)
        if len(self.frame) > 1 and all(r.kinds.iloc[0] == "text" for r in reads):
            where.iloc[0] = self.second_header = True
        return where

    def _once_each(self, patients: pd.DataFrame) -> pd.DataFrame:
        again = patients["patient_id"].notna() & patients["patient_id"].duplicated()
        if not again.any():
            return patients
        if self.study.several_stated:
            patients = self._one_therapist(patients)
            again = (patients["patient_id"].duplicated() & patients["patient_id"].notna()).reindex(
                self.frame.index, fill_value=False
            )
        same = patients.duplicated().reindex(self.frame.index, fill_value=False)
        first = patients.drop_duplicates("patient_id").set_index("patient_id")["therapist_id"]
        moved = patients["therapist_id"] != patients["patient_id"].map(first)
        moved = moved.reindex(self.frame.index, fill_value=False)
        column = self.study.columns["patient_id"]
        self.found.add(
            "this patient stands in a row above with the same entries",
            "remove one of the rows", column, "a repeated row", again & same,
        )  # fmt: skip
        self.found.add(
            "this patient stands in a row above with another therapist",
            "say under [therapists] in a study file which to take: several = \"most_sessions\", "
            "\"first\", \"last\" or \"exclude\"",
            column, "a repeated patient", again & moved & ~same,
        )  # fmt: skip
        self.found.add(
            "this patient stands in a row above with other entries",
            "keep the right row, or use an identifier of the course of treatment",
            column, "a conflicting row", again & ~same & ~moved,
        )  # fmt: skip
        return patients.drop_duplicates("patient_id")

    def _one_therapist(self, patients: pd.DataFrame) -> pd.DataFrame:
        rule = self.study.several
        if rule == "most_sessions" and "sessions" not in patients:
            raise InputError(
                "the rule most_sessions needs a column of sessions",
                hint="name it under [columns], or choose first, last or exclude",
                file=self.raw.name,
            )
        weighed = patients.rename(columns={"sessions": "weight"})
        chosen, count = choose_therapist(weighed, rule)
        own = patients["patient_id"].map(chosen)
        patients = patients.assign(n_therapists=patients["patient_id"].map(count).fillna(0))
        if rule == "exclude":
            keep = own.notna() | ~patients["patient_id"].duplicated()
        else:
            keep = (patients["therapist_id"] == own) | own.isna()
        return patients[keep]

    def _by_session(self, sessions: pd.DataFrame) -> pd.DataFrame:
        study = self.study
        if "date" in study.columns:
            role, read = (
                "date",
                read_dates(self._cells("date"), self.codes, study.date_format or None),
            )
        else:
            role, read = "session_number", read_numbers(self._cells("session_number"), self.codes)
        self._note(study.columns[role], "the order of sessions is needed", read.kinds)
        self._missing(read.values.mask(read.wrong, read.values.dropna().min()), role)
        sessions["order"] = read.values
        sessions["attended"] = (
            self._means("attended", "attended").fillna(False).astype(bool)
            if "attended" in study.columns
            else True
        )
        if "contact_kind" in study.columns:
            kinds = self._means("contact_kind", "assessment")
            sessions["assessment"] = kinds.fillna(False).astype(bool)
        if "one_to_one" in sessions:
            sessions["one_to_one"] = sessions["one_to_one"].fillna(True).astype(bool)
        repeated = sessions.duplicated() & sessions["patient_id"].notna()
        self.found.add(
            "the session stands in a row above with the same entries",
            "remove one of the rows", "", "a repeated row", repeated,
        )  # fmt: skip
        if not sessions["attended"].any():
            self.found.add(
                "no session was attended",
                "say under [codes] in the study file what means attended",
                study.columns.get("attended", ""),
                "another code",
            )
        names = [s.measure.name for s in study.measures]
        known = sessions[sessions["patient_id"].notna()]
        return reduce_sessions(known, names, study.several)


def score_columns(entry: ScoreColumns, level: str) -> list[tuple[str, str]]:
    """Name the columns of a measure: what it becomes, and what the file calls it."""
    if level == "session":
        return [(entry.measure.name, entry.score)]
    return [(entry.measure.pre, entry.pre), (entry.measure.post, entry.post)]
