"""Columns of a file to one row a patient, each entry read once and every problem noted."""

import re
from collections.abc import Sequence
from unicodedata import category, normalize

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure
from pwp_lib.schema import no_identifiers
from pwp_report.case_mix import case_mix_columns, read_case_mix
from pwp_report.disclosure import DisclosurePolicy, percentage
from pwp_report.problems import Problems
from pwp_report.read import cells
from pwp_report.read.raw import RawTable, headings_listed, shown_name
from pwp_report.recognise import NOBODY, WORDS, in_short, of_nobody, one_edit
from pwp_report.sessions import OF_PERSONS, choose_therapist, main_services, reduce_sessions
from pwp_report.study import HANDFUL, NEEDED, ScoreColumns, Study, unused
from pwp_report.wording import refusal, remark

#: A label with fewer rows, of so many labels at most, may be another but for a letter.
_SLIPS, _COMPARED = 5, 300
#: Columns of numbers, and from where to where they can go.
_NUMBERS = {"sessions": (0, 1000), "age": (0, 130)}
#: The share of patients up to which a therapist's other service may count for the main one.
_ELSEWHERE = 0.1
_HALF_A_YEAR = pd.Timedelta(days=183)


def score_columns(entry: ScoreColumns, level: str) -> list[tuple[str, str]]:
    """Name the columns of a measure: what it becomes, and what the file calls it."""
    if level == "session":
        return [(entry.measure.name, entry.score)]
    return [(entry.measure.pre, entry.pre), (entry.measure.post, entry.post)]


def _bare(name: str) -> tuple[str, str]:
    """Reduce a label to its letters and digits, with words as they stand and in one order.

    What is in brackets often says a grade.

    Examples
    --------
    >>> _bare("O'Hara, Zoë (B7)")[1] == _bare("zoe ohara")[1], _bare("1.2") == _bare("2.1")
    (True, False)
    """
    # Marks on letters (of category Mn) are lost on the way from one system to another, and of an
    # address what follows the person changes with the employer.
    own = re.sub(r"(?<=\w)@[\w.-]+$", "", name.casefold())
    letters = (c for c in normalize("NFKD", own) if category(c) != "Mn")
    whole = re.sub(r"\(.*?\)|\[.*?\]|['’]", "", "".join(letters))
    # Between digits a point or a dash may tell two numbers apart.
    words = re.split(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", whole)
    return "".join(words), "".join(sorted(words))


class PatientReader:
    """Reads the columns that a study names, and brings the rows to one a patient.

    Parameters
    ----------
    raw : RawTable
    study : Study
        As completed from the file's columns.
    found : Problems
        Where problems are noted.
    notes : list of str
        What is worth a look and no problem is added to it.
    """

    def __init__(self, raw: RawTable, study: Study, found: Problems, notes: list[str]) -> None:
        self.raw, self.study, self.found, self.notes = raw, study, found, notes
        self.frame, self.codes = raw.frame, set(study.missing)
        self.scores: dict[str, cells.ReadColumn] = {}

    def patients(self) -> pd.DataFrame:
        """Read every column; the index of the result holds the position of each first row."""
        study, has = self.study, set(self.study.columns)
        out = pd.DataFrame({role: self._identifier(role) for role in NEEDED})
        self._lone_code(out["therapist_id"])
        if "person_id" in has:
            out["person_id"] = self._text("person_id").fillna(out["patient_id"])
        for place in sorted({"service_id", "group_id"} & has):
            out[place] = self._identifier(place)
        out = pd.concat([out, self._scores()], axis=1)
        readers = dict.fromkeys(_NUMBERS, self._number)
        readers |= {"gender": self._gender, "ethnicity": self._text}
        for role in [r for r in readers if r in has]:
            out[role] = readers[role](role)
        if {"status", "ended"} & has:
            out["status"] = self._status()
        if {"status"} & has:
            words = self._status_words()
            if (left := words.isin(study.codes["dropped_out"])).any():
                out["dropped_out"] = left
        columns = case_mix_columns(study, list(self.frame.columns), self.raw.name)
        mix, said = read_case_mix(self.frame, columns, study, self.raw.name)
        # What codes of gender mean is known, and which of them mean nothing.
        gender = study.columns.get("gender")
        coded = [n for n, c in zip(mix, columns.values(), strict=True) if c == gender]
        out = out.join(mix.assign(**{str(name): out["gender"] for name in coded}))
        self.notes += said
        if "mode" in has:
            # Where both are analysed, what matters is who was in a group.
            known = ("one_to_one", "group") if self.study.one_to_one else ("group", "one_to_one")
            means = self._means("mode", known[0], self.study.codes[known[1]])
            out["one_to_one"] = means == self.study.one_to_one
        self._say_what_is_missing()
        self._second_header()
        self._totals()
        whole = self._by_session(out) if study.level == "session" else self._once_each(out)
        if (count := int(whole.get("by_rows", pd.Series()).eq(True).sum())) > HANDFUL * len(whole):
            self._note("therapist_by_rows", some=self.study.some(count, len(whole)))
        if "service_id" in whole and self.study.several_services == "most_patients":
            main = main_services(whole)
            elsewhere = (main != whole["service_id"]) & whole["service_id"].notna()
            if elsewhere.mean() <= _ELSEWHERE:
                whole["service_id"] = main
                some = self.study.some(int(elsewhere.sum()), len(whole))
                self._note("counted_elsewhere", some=some or "none")
        if "synthetic" in self.frame:
            whole["synthetic"] = self.frame["synthetic"].astype("str").loc[whole.index]
        return whole

    def _note(self, key: str, **words: object) -> None:
        self.notes.append(remark(key, **words))

    # --- Single columns ---------------------------------------------------------------------------

    def _cells(self, role: str) -> pd.Series:
        return self.frame[self.study.columns[role]]

    def _dates(self, role: str) -> cells.ReadColumn:
        return cells.read_dates(self._cells(role), self.codes, self.study.date_format)

    def _session_numbers(self) -> cells.ReadColumn:
        return cells.read_numbers(self._cells("session_number"), self.codes)

    def _text(self, role: str) -> pd.Series:
        return cells.read_codes(self._cells(role), self.study.missing_of(role))

    def _say_what_is_missing(self) -> None:
        """Say in how many rows each code for missing stands, and each word for no therapist."""
        study, left = self.study, unused(self.study, [*self.frame])
        whose = [study.columns.get(role) for role in ("therapist_id", "service_id")]
        for column in [c for c in self.frame if c not in left or c in study.adjust]:
            rows = self.frame[column].value_counts()
            text = cells.read_codes(rows.index.to_series())
            known = text.isin(self.codes) | (of_nobody(text) & (column in whose))
            found = rows.groupby(text.where(known)).sum()
            if listed := ", ".join(f"{shown_name(entry)} {n:,}" for entry, n in found.items()):
                self._note("read_as_missing", column=shown_name(column), listed=listed)

    def _identifier(self, role: str) -> pd.Series:
        """Read who or where: a word for nobody is missing, a code for it has to be corrected."""
        text = self._text(role).str.replace(r"^(\d+)\.0+$", r"\1", regex=True)
        text = text.mask(of_nobody(text))
        if role == "patient_id":
            self.found.add("missing_entry", self.study.columns[role], text.isna())
        shortened = text.str.fullmatch(WORDS["shortened"], na=False)
        kinds = pd.Series(None, index=text.index, dtype="str")
        kinds = kinds.mask(no_identifiers(text), "no_identifier").mask(shortened, "scientific")
        self.found.add_kinds("an identifier is needed", self.study.columns[role], kinds)
        return (text if role == "patient_id" else self._one_spelling(text, role)).mask(
            kinds.notna()
        )

    def _one_spelling(self, text: pd.Series, role: str) -> pd.Series:
        """Take spellings that differ in capitals or leading zeros alone for one, and say so."""
        names = text.value_counts(sort=False).sort_values(ascending=False, kind="stable").index
        first = names.to_series().groupby(cells.same_name, sort=False).first().to_dict()
        if joined := len(names) - len(first):
            self._note("spellings_joined", role=role, count=joined)
        bare = pd.DataFrame(map(_bare, first.values()), index=[*first.values()])
        again = list(bare.index[bare.apply(pd.Series.duplicated).any(axis=1)])
        parts = {n: {*re.split(r"\s*(?:[/&+;]|\band\b)\s*", n)} for n in first.values()}
        if 1 < len(bare) <= _COMPARED:  # a slip of the pen has few rows
            few = bare[text.value_counts().reindex(bare.index) < _SLIPS][1]
            again += [a for a, own in few.items() if any(one_edit(own, o) for o in bare[1])]
            whole = [n for n, some in parts.items() if len(some) == 1 and not re.search(r"\d", n)]
            words = {n: {*re.findall(r"\w+", n.casefold())} for n in whole}
            again += [n for n, own in words.items() if any(own < o for o in words.values())]
            again += [n for n in whole if any(in_short(n, o) for o in whole)]
        if role == "therapist_id" and any(len(s) > 1 and s <= {*parts} for s in parts.values()):
            self._note("labels_joined", role=role)
        if again:
            self._note("labels_alike", role=role)
            self._note("alike", count=len(again), row=self.raw.rows[text.isin(again).argmax()])
        return text.map({name: first[cells.same_name(name)] for name in names}).astype("str")

    def _lone_code(self, therapists: pd.Series) -> None:
        """Name a therapist 99 or 999 where no staff number stands beside it."""
        # Where numbers restart the service stands before the number.
        therapists = therapists.str.replace(r".* (?=\d+$)", "", regex=True)
        there = set(therapists.dropna())
        for code in cells.MISSING_CODES:
            if str(code) in there and not {str(code - 1), str(code + 1)} & there:
                self._note("lone_code")
                self._note("lone_first", row=self.raw.rows[(therapists == str(code)).argmax()])

    def _number(self, role: str) -> pd.Series:
        low, high = _NUMBERS[role]
        read = cells.read_numbers(self._cells(role), self.codes, self.study.decimal or None)
        read, need = read.within(low, high), f"a number from {low:g} to {high:g} is needed"
        self.found.add_kinds(need, self.study.columns[role], read.kinds)
        return read.values

    def _means(self, role: str, code: str, others: Sequence[str] = ()) -> pd.Series:
        """Whether entries mean what the codes of that name say; missing where nothing is said.

        Entries of which neither these nor the `others` are known are counted in a note.
        """
        text = cells.read_words(self._cells(role), self.codes)
        means = text.isin(self.study.codes[code])
        strange = text.notna() & ~means & ~text.isin(others)
        if strange.any():
            share = percentage(*map(DisclosurePolicy().count, (strange.sum(), len(text))))
            percent = f"{share:.0f}%" if share else "some"
            column, means_not = shown_name(self.study.columns[role]), code.replace("_", " ")
            self._note("words_unknown", share=percent, column=column, code=code, what=means_not)
        return means.astype("boolean").mask(text.isna())

    def _gender(self, role: str) -> pd.Series:
        text = cells.read_words(self._cells(role), self.codes).fillna("x")
        female, male = (text.isin(self.study.codes[g]) for g in ("female", "male"))
        unknown = text.isin([*"90xz", *NOBODY]) | text.str.fullmatch(WORDS["not_said"])
        # Nought and one are no national codes: which is which, only their list can tell.
        if (text == "0").mean() > 0.2 and not (female | male)[text == "0"].any():
            unknown, female, male = ((x & ~text.isin(["0", "1"])) for x in (unknown, female, male))
        if (~unknown & ~female & ~male).mean() > 0.2:
            self._note("gender_codes", column=shown_name(self.study.columns[role]))
        return text.mask(unknown).mask(~unknown, "other").mask(female, "female").mask(male, "male")

    def _status_words(self) -> pd.Series:
        """Read statuses in small letters, without "closed -" before a word that is known."""
        text = cells.read_words(self._cells("status"), self.codes)
        bare = text.str.replace(r"^(?:closed|discharged)\W+", "", regex=True)
        kinds = "closed", "in_treatment", "neither", "dropped_out"
        known = [entry for kind in kinds for entry in (kind, *self.study.codes[kind])]
        return text.where(text.isin(known) | ~bare.isin(known), bare)

    def _status(self) -> pd.Series:
        role = "status" if "status" in self.study.columns else "ended"
        read = self._dates(role)
        ended = read.values.notna() | read.wrong
        if role == "ended" or read.values.count() > read.wrong.sum():
            # A date of discharge says that the case is closed; without one it is in treatment.
            return ended.map({True: "closed", False: "in_treatment"}).astype("str")
        text = self._status_words()
        codes, known = self.study.codes, ("closed", "in_treatment", "neither")
        means = {entry: name for name in known for entry in (name, *codes[name])}
        means |= dict.fromkeys(codes["dropped_out"], "closed")
        status = text.map(means).astype("str")
        strange = status.isna() & text.notna()
        words = text[strange].drop_duplicates().index
        told = {"count": len(words), "first": ", ".join(map(str, self.raw.rows[words[:6]]))}
        self.found.add("other_status", self.study.columns["status"], strange, **told)
        return status

    def _scores(self) -> pd.DataFrame:
        form = self.codes, self.study.decimal
        for entry in self.study.measures:
            for name, column in score_columns(entry, self.study.level):
                read = cells.read_scores(self.frame[column], entry.measure, *form)
                self.found.add_kinds(f"{entry.measure.range_text} is needed", column, read.kinds)
                if not bool(read.values.notna().any() or read.wrong.any()):
                    self.found.add("empty_column", column)
                self._missing_on_scale(column, entry.measure, read.values)
                self.scores[name] = read
        return pd.DataFrame({name: read.values for name, read in self.scores.items()})

    def _missing_on_scale(self, column: str, measure: Measure, scores: pd.Series) -> None:
        """Ask about codes for missing that look like any other score of the scale."""
        text = cells.read_codes(self.frame[column])
        there = pd.to_numeric(text[text.isin(self.codes)], errors="coerce").value_counts()
        for code, own in zip(there.index.to_numpy(float), there, strict=True):
            near = scores[(scores - code).abs() <= (measure.maximum - measure.minimum) / 7]
            if near.value_counts().max() >= own / 2:
                self._note("missing_on_scale", code=f"{code:g}", measure=measure)

    # --- Rows that are no patients ----------------------------------------------------------------

    def _second_header(self) -> None:
        """Recognise a second row of names: text in every score of the first record."""
        top, patient = self.frame.iloc[0].astype("str"), self.study.columns["patient_id"]
        # Numbers, dates and labels with digits are a patient's.
        known = top.str.match(r"\W*\d").any() or re.search(r"\d", top[patient])
        texts = all(read.kinds.iloc[0] == "text" for read in self.scores.values())
        if len(self.frame) > 1 and not known and texts:
            self.found.replace_rows("second_header", pd.Series(True, index=[0]))

    def _totals(self) -> None:
        """Name a row of sums or a footer for what it is, in the place of each entry in it."""
        text = self._text("patient_id").fillna(self._text("therapist_id")).str.lower()
        self.found.replace_rows("no_patient", text.str.fullmatch(WORDS["no_patient"], na=False))

    # --- One row a patient ------------------------------------------------------------------------

    def _once_each(self, patients: pd.DataFrame) -> pd.DataFrame:
        several = patients[~patients.duplicated()]["patient_id"].dropna().duplicated().any()
        if self.study.several_stated and several:
            patients = self._one_therapist(patients)
        patient = patients["patient_id"]
        again = patient.notna() & patient.duplicated()
        if not again.any():
            return patients
        same = again & patients.duplicated()
        self._repeated(patients, same)
        first = patients.drop_duplicates("patient_id").set_index("patient_id")["therapist_id"]
        moved = again & ~same & (patients["therapist_id"] != patient.map(first))
        column = self.study.columns["patient_id"]
        self.found.add("repeated_patient", column, moved)
        apart = self._apart(patients[patient.duplicated(keep=False)])
        self.found.add("conflicting_row", column, again & ~same & ~moved, columns=apart)
        return patients.drop_duplicates("patient_id")

    def _one_therapist(self, patients: pd.DataFrame) -> pd.DataFrame:
        rule = self.study.several
        if rule == "most_sessions" and "sessions" not in patients:
            raise refusal("most_sessions_without_sessions", file=self.raw.name)
        if "started" in self.study.columns:
            read = self._dates("started")
            self.found.add_kinds("a date is needed", self.study.columns["started"], read.kinds)
            patients = patients.assign(order=read.values).sort_values("order", kind="stable")
        elif rule in ("first", "last"):
            raise refusal("first_or_last_without_dates", file=self.raw.name, several=rule)
        chosen = choose_therapist(patients.rename(columns={"sessions": "weight"}), rule)
        patients = patients.join(chosen.rename(columns={"therapist_id": "own"}), on="patient_id")
        own = patients.pop("own")
        keep = (patients["therapist_id"] == own) | own.isna()
        if rule == "exclude":
            keep = own.notna() | ~patients["patient_id"].duplicated()
        else:
            self._other_courses(patients, keep)
        return patients[keep].fillna({"n_therapists": 0})

    def _other_courses(self, patients: pd.DataFrame, keep: pd.Series) -> None:
        """Name rows of a patient with another therapist and other scores: another course."""
        told = [c for c in map(str, patients) if c in self.scores or c.startswith(OF_PERSONS)]
        rows = patients[patients["n_therapists"] > 1]
        apart = rows.groupby("patient_id")[told].transform("nunique", dropna=False)
        other = apart.gt(1).any(axis=1)
        if self.study.several == "most_sessions":
            self.found.add("other_course", self.study.columns["patient_id"], other)
        elif count := int((other & ~keep.loc[rows.index]).sum()):
            self._note("courses_left_out", count=count, rule=self.study.several)

    def _repeated(self, rows: pd.DataFrame, again: pd.Series) -> None:
        """Note rows with the entries of one above: wholly, or in the columns that are used."""
        if not again.any():
            return
        several = rows[rows.duplicated(keep=False)]
        whole = cells.repeated(self.frame.loc[several.index]).reindex(rows.index, fill_value=False)
        column, apart = self.study.columns["patient_id"], self._apart(several)
        self.found.add("repeated_row", column, again & whole)
        self.found.add("repeated_but_for", column, again & ~whole, columns=apart)

    def _apart(self, rows: pd.DataFrame) -> str:
        """Name columns without a use whose entries differ between rows of a patient and a time."""
        keys = [rows[name] for name in ("patient_id", "order") if name in rows]
        left = self.frame.loc[rows.index, unused(self.study, [*self.frame])]
        differ = left.groupby(keys).nunique() > 1
        some = differ.any(axis=1).mean() / 2
        return headings_listed([str(c) for c in left if differ[c].mean() > some]) or "none"

    def _attended(self) -> pd.Series:
        if "attended" in self.study.columns:
            others = *WORDS["not_attended"], *self.study.codes["missed"]
            return self._means("attended", "attended", others).fillna(False).astype(bool)
        if "missed" in self.study.columns:
            return ~self._means("missed", "missed", WORDS["not_missed"]).fillna(False).astype(bool)
        return pd.Series(True, index=self.frame.index)

    def _by_session(self, sessions: pd.DataFrame) -> pd.DataFrame:
        study = self.study
        role = "date" if "date" in study.columns else "session_number"
        read = self._dates(role) if role == "date" else self._session_numbers()
        if {"date", "time"} <= {*study.columns}:  # to the minute where the file says so
            times = cells.read_times(self._cells("time"), self.codes)
            read = cells.ReadColumn(read.values + times, read.kinds)
        self.found.add_kinds("the order of sessions is needed", study.columns[role], read.kinds)
        self.found.add("missing_entry", study.columns[role], read.values.isna() & ~read.wrong)
        sessions["order"], sessions["attended"] = read.values, self._attended()
        if "contact_kind" in study.columns:
            self._contacts(sessions)
        if "one_to_one" in sessions:
            sessions["one_to_one"] = sessions["one_to_one"].fillna(True).astype(bool)
        repeated = sessions.duplicated() & sessions["patient_id"].notna() & ~read.wrong
        self._repeated(sessions, repeated)
        if not sessions["attended"].any():
            self.found.add("nobody_attended", study.columns.get("attended", ""))
        known = sessions[sessions["patient_id"].notna() & ~repeated]
        self._courses(known[known["attended"] & (not read.wrong.any())])
        how = [s.measure.name for s in study.measures], study.several, study.scores
        whole, turned = (reduce_sessions(rows, *how) for rows in (known, known[::-1]))
        if rows := int(whole["joined"].sum()):
            self._note("sessions_joined", count=rows)
        if not study.rows_in_order:
            self._same_day(known[known["attended"]], whole, turned)
        return whole

    def _contacts(self, sessions: pd.DataFrame) -> None:
        """Say which sessions assessed and treated; those after the end count only if asked for."""
        codes = self.study.codes
        text = cells.read_words(self._cells("contact_kind"), self.codes)
        later = text.isin(codes["follow_up"]) | text.str.contains(WORDS["later"], na=False)
        others = (*codes["treatment"], *text[later].unique())
        assessed = self._means("contact_kind", "assessment", others).fillna(False).astype(bool)
        alone = assessed & ~text.str.contains(WORDS["treated"], na=False)
        treated = ~alone & ~text.str.fullmatch(WORDS["review"]).eq(True)
        sessions["assessment"], sessions["treated"] = assessed, treated
        if later.any() and not self.study.follow_ups:
            self._note("follow_ups_left_out", count=int(later.sum()))
            sessions["attended"] &= ~later

    def _courses(self, attended: pd.DataFrame) -> None:
        """Ask where the numbers of sessions fall in the order of dates, or dates lie apart."""
        columns = self.study.columns
        if "date" not in columns:
            return
        rows, found = attended.sort_values("order", kind="stable"), {}
        if "session_number" in columns:
            numbers = self._session_numbers().values.loc[rows.index]
            found["sessions_begin_again"] = numbers.groupby(rows["patient_id"]).diff() < 0
        by_patient = rows.groupby("patient_id")["order"]
        # Whoever was assessed may have waited for treatment.
        found["long_gaps"] = (by_patient.diff() > _HALF_A_YEAR) & (by_patient.cumcount() > 1)
        of = rows["patient_id"].nunique()
        for key, where in found.items():
            if (count := rows["patient_id"][where].nunique()) > HANDFUL * of:
                column = shown_name(columns.get("session_number", ""))
                self._note(key, column=column, some=self.study.some(count, of))
                break

    def _same_day(self, held: pd.DataFrame, here: pd.DataFrame, there: pd.DataFrame) -> None:
        """Ask where first or last scores are others once the rows are turned round."""
        ends = [name for m in self.study.measures for name in (m.measure.pre, m.measure.post)]
        one, other = (t.set_index("patient_id")[ends].fillna(np.inf) for t in (here, there))
        changed = (one != other.loc[one.index]).any(axis=1)
        rows = held[held["patient_id"].map(changed).eq(True) & held["order"].notna()]
        rows = rows[rows.duplicated(["patient_id", "order"], keep=False)]
        count = rows["patient_id"].nunique()
        some = self.study.some(count, len(one))
        if count > HANDFUL * len(one):
            self.found.add("same_day", "", rows["attended"], some=some, columns=self._apart(rows))
        elif count:
            self._note("sessions_tied", some=some)
