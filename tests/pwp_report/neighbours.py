"""Neighbours of every kind of own data that was once read wrongly: each file, and what is right.

The right answer is worked out here, with pandas from the table that the file was made of: patients
with their therapist and scores, or the sentence with which the file is refused, and besides what
has to be remarked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bad_files
import file_builders
import numpy as np
import openpyxl
import pandas as pd

__all__ = ["VARIANTS", "Variant"]

PEOPLE = bad_files.good_frame()
CONTACTS = bad_files.session_frame().drop(columns="note")
SCORES = ["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]
WHO, STAFF, WHEN = "PathwayID", "CarePersLocalId", "CareContDate"


@dataclass(frozen=True)
class Variant:
    """A file (a table, or what writes one), its study, and the answer.

    ``expected`` are patients with their columns; empty if the file is ``refused`` with these words.
    ``remark`` is part of what has to be said besides.
    """

    kind: str
    name: str
    source: pd.DataFrame | Callable[[Path], Path]
    expected: pd.DataFrame = field(default_factory=pd.DataFrame)
    refused: str = ""
    remark: str = ""
    study: str = ""

    def write(self, folder: Path) -> Path:
        if isinstance(self.source, pd.DataFrame):
            self.source.to_csv(folder / "own.csv", index=False)
            return folder / "own.csv"
        return self.source(folder)


def _right(frame: pd.DataFrame = PEOPLE, **changes: Any) -> pd.DataFrame:
    return frame[["patient_id", "therapist_id", *SCORES]].assign(**changes)


def _book(fill: Callable[[Any], None]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        book = openpyxl.Workbook()
        fill(book)
        book.save(folder / "own.xlsx")
        return folder / "own.xlsx"

    return write


def _text(change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        plain = PEOPLE.to_csv(index=False)
        (folder / "own.csv").write_bytes(change(plain).encode(encoding))
        return folder / "own.csv"

    return write


# --- Meaning turned round -----------------------------------------------------------------------


def _meaning() -> Iterator[Variant]:
    kind = "meaning"
    plain = CONTACTS.drop(columns="AttendOrDNACode")
    missed = plain.groupby(WHO).tail(1).assign(**{WHEN: "2021-06-01", "PHQ9": 27, "GAD7": 21})
    for name, yes, no in (
        ("Not attended", "Yes", "No"),
        ("DNA (Y/N)", "Y", "N"),
        ("Client DNA", "1", "0"),
        ("Non-attendance", "TRUE", "FALSE"),
        ("Cancelled", "Y", "N"),
        ("Absent", "yes", ""),
    ):
        both = pd.concat([plain.assign(**{name: no}), missed.assign(**{name: yes})])
        yield Variant(kind, f"missed: {name}", both, _right())
    for name, yes, no in (
        ("Attended?", "Y", "N"),
        ("Attendance", "Attended", "DNA"),
        ("Attendance status", "Present", "Absent"),
        ("Attendance outcome", "Kept", "Did not attend"),
        ("Appointment status", "Attended", "Cancelled by client"),
        ("Was seen", "True", "False"),
    ):
        both = pd.concat([plain.assign(**{name: yes}), missed.assign(**{name: no})])
        yield Variant(kind, f"attended: {name}", both, _right())
    swapped = PEOPLE.rename(columns={"gad7_pre": "gad7_post", "gad7_post": "gad7_pre"})
    yield Variant(
        kind, "exchanged ends", swapped,
        _right(gad7_pre=PEOPLE["gad7_post"], gad7_post=PEOPLE["gad7_pre"]),
        remark="patients got worse on average on GAD-7",
    )  # fmt: skip


# --- Scale --------------------------------------------------------------------------------------


def _scale() -> Iterator[Variant]:
    kind = "scale"
    pre, post = PEOPLE["phq9_pre"], PEOPLE["phq9_post"]
    for name, top in (("core_om", 4), ("oq45", 4), ("pcl5", 4)):
        frame = PEOPLE.assign(
            **{f"{name}_pre": (pre * top / 27).round(2), f"{name}_post": (post * top / 27).round(2)}
        )
        if name == "core_om":
            right = _right(core_om_pre=frame["core_om_pre"], core_om_post=frame["core_om_post"])
            yield Variant(kind, "means of items", frame, right, remark="means of items")
        else:
            yield Variant(kind, f"means of items, {name}", frame, refused="not whole")
    for name, factor in (("percent", 100 / 27), ("tenfold", 10)):
        frame = PEOPLE.assign(phq9_pre=(pre * factor).round(), phq9_post=(post * factor).round())
        yield Variant(kind, f"phq9 in {name}", frame, refused="outside the scale")
    comma = PEOPLE.astype(dict.fromkeys(SCORES, str))
    for s in SCORES:
        comma[s] += ",0"
    yield Variant(kind, "decimal commas of whole scores", comma, _right())
    point = PEOPLE.astype(dict.fromkeys(SCORES, float))
    yield Variant(kind, "decimal points of whole scores", point, _right())
    for low, high in ((0, 40), (0, 27), (-5, 30)):
        study = (
            f"[measures.mood]\nminimum = {low}\nmaximum = {high}\nhigher_is_worse = false\n"
            'pre = "phq9_pre"\npost = "phq9_post"\n'
        )
        right = PEOPLE[["patient_id", "therapist_id"]].assign(mood_pre=pre, mood_post=post)
        yield Variant(kind, f"own measure from {low} to {high}", PEOPLE, right, study=study)
    unstated = '[measures.mood]\nminimum = 0\nmaximum = 27\npre = "phq9_pre"\npost = "phq9_post"\n'
    yield Variant(kind, "own measure without a direction", PEOPLE, refused="higher_is_worse",
                  study=unstated)  # fmt: skip


# --- Words and codes ----------------------------------------------------------------------------


def _words() -> Iterator[Variant]:
    kind = "words"
    for word in ("5.0", "05", " 6 ", "ATTENDED", "Seen on time", "Arrived", "Completed", "Yes"):
        yield Variant(kind, f"attended: {word}", CONTACTS.assign(AttendOrDNACode=word), _right())
    few = ["kept it"] * 3 + ["5"] * 237
    frame = CONTACTS.assign(AttendOrDNACode=few)
    yield Variant(
        kind, "a word that is not known", frame, _right(PEOPLE.iloc[1:]),
        remark="some of the entries of column AttendOrDNACode",
    )  # fmt: skip
    for word in ("Closed", "DISCHARGED", "Completed treatment", "Treatment completed", "Ended"):
        yield Variant(kind, f"status: {word}", PEOPLE.assign(status=word), _right())
    for word in ("Zurück", "7", "pending review"):
        frame = PEOPLE.assign(status=["closed", word] * 40)
        yield Variant(kind, f"status: {word}", frame, refused="another word")
    half = PEOPLE.assign(status=["closed", ""] * 40)
    yield Variant(
        kind, "an empty status is not closed", half, _right(PEOPLE.iloc[::2]),
        study='[inclusion]\nstatus = ["closed"]\n',
    )  # fmt: skip
    for wrong in ("phq9_prre", "phq9_pree", "phq_9_per"):
        frame = PEOPLE.rename(columns={"phq9_pre": wrong})
        yield Variant(kind, f"half a measure: {wrong}", frame, refused=f"did you mean {wrong}")
    for right, wrong in (("therapist_id", "theropist_id"), ("service_id", "sevice_id")):
        frame = PEOPLE.rename(columns={right: wrong})
        yield Variant(kind, f"one letter off: {wrong}", frame, refused=right)


# --- Who is one patient, course, therapist ------------------------------------------------------


def _courses() -> Iterator[Variant]:
    kind = "who"
    person = [f"q{i // 2}" for i in range(80)]
    for course, owner in (
        ("Referral number", "NHS Number"),
        ("Referral_ID", "Patient ID"),
        ("Course ID", "Client number"),
        ("Spell ID", "Patient ID"),
    ):
        frame = PEOPLE.rename(columns={"patient_id": course}).assign(**{owner: person})
        yield Variant(kind, f"{course} before {owner}", frame, _right(), remark="several courses")
    for role in ("patient_id", "therapist_id"):
        frame = PEOPLE.assign(**{role: ["5.4E+12", *PEOPLE[role][1:]]})
        yield Variant(kind, f"{role} shortened", frame, refused="last digits are lost")


def _spellings() -> Iterator[Variant]:
    kind = "who"
    for name, change in {
        "zero-width space": lambda t: t[:1] + "\u200b" + t[1:],
        "no-break space": lambda t: "\u00a0" + t,
        "two spaces": lambda t: t + "  ",
        "byte-order mark": lambda t: "\ufeff" + t,
    }.items():
        spelt = [change(t) if i % 3 else t for i, t in enumerate(PEOPLE["therapist_id"])]
        yield Variant(kind, f"{name} in a name", PEOPLE.assign(therapist_id=spelt), _right())
    patients = [f"{p}\u200b" for p in PEOPLE["patient_id"]]
    yield Variant(
        kind, "zero-width space after each number", PEOPLE.assign(patient_id=patients), _right()
    )
    names = PEOPLE["therapist_id"].map({f"t{i}": n for i, n in enumerate("ABCDEFGH")}) + " Smith"
    mixed = [n.upper() if i % 4 == 3 else n for i, n in enumerate(names)]
    yield Variant(
        kind, "capitals", PEOPLE.assign(therapist_id=mixed), _right(therapist_id=names),
        remark="capitals or leading zeros",
    )  # fmt: skip


def _numbers() -> Iterator[Variant]:
    kind = "who"
    numbers = PEOPLE["therapist_id"].str[1:].astype(int) + 1
    zeros = [f"{n:03d}" if i % 4 == 3 else f"{n}" for i, n in enumerate(numbers)]
    yield Variant(
        kind, "leading zeros", PEOPLE.assign(therapist_id=zeros),
        _right(therapist_id=numbers.astype(str)),
    )  # fmt: skip
    floats = [f"{n}.0" if i % 4 == 3 else f"{n}" for i, n in enumerate(numbers)]
    yield Variant(
        kind, "numbers with .0", PEOPLE.assign(therapist_id=floats),
        _right(therapist_id=numbers.astype(str)),
    )  # fmt: skip
    number = CONTACTS[WHO].str[1:]
    pointed = CONTACTS.assign(**{WHO: np.where(CONTACTS.index % 3, number, number + ".0")})
    yield Variant(kind, "patients' numbers with .0", pointed,
                  _right(patient_id=PEOPLE["patient_id"].str[1:]))  # fmt: skip


def _whose() -> Iterator[Variant]:
    kind = "who"
    for word in (
        "Unallocated",
        "Not Allocated",
        "n/a",
        "TBC",
        "Pending",
        "No therapist",
        "To be assigned",
    ):
        staff = [word] * 10 + [*PEOPLE["therapist_id"][10:]]
        frame = PEOPLE.assign(therapist_id=staff)
        yield Variant(kind, f"nobody: {word}", frame, _right(PEOPLE.iloc[10:]))
    again = PEOPLE.iloc[:8].assign(therapist_id="t7", service_id="s1")
    for rule, day in (("first", "2020-01-01"), ("last", "2022-12-31")):
        dated = pd.concat(
            [again.assign(started=day), PEOPLE.assign(started="01/06/2021")], ignore_index=True
        )
        staff = np.where(np.arange(80) < 8, "t7", PEOPLE["therapist_id"])
        study = f'[therapists]\nseveral = "{rule}"\n'
        yield Variant(kind, f"the {rule} therapist by date", dated[::-1],
                      _right(therapist_id=staff), study=study)  # fmt: skip
    restart = pd.concat([PEOPLE.assign(service_id=s) for s in ("N", "S")])
    right = _right(restart)
    for role in ("patient_id", "therapist_id"):
        right[role] = restart["service_id"] + " " + restart[role]
    yield Variant(kind, "numbers restart", restart, right, study="[file]\nnumbers_restart = true\n")


# --- Selection ----------------------------------------------------------------------------------


def _chosen_rows() -> Iterator[Variant]:
    kind = "selection"
    team = PEOPLE.assign(Team=["North", "south", "East ", ""] * 20)
    for section, entries, which in (
        ("keep", '["north"]', [0]),
        ("keep", '["NORTH", "South"]', [0, 1]),
        ("keep", '["east"]', [2]),
        ("leave_out", '["north", ""]', [1, 2]),
        ("leave_out", '"South"', [0, 2, 3]),
    ):
        right = _right(PEOPLE[PEOPLE.index % 4 == which[0]])
        if len(which) > 1:
            right = _right(PEOPLE[(PEOPLE.index % 4).isin(which)])
        study = f"[{section}]\nTeam = {entries}\n"
        yield Variant(kind, f"{section} {entries}", team, right, study=study)
    score = PEOPLE.assign(Band=[3, 3.0, 7, 7] * 20)
    yield Variant(kind, "keep a number", score, _right(PEOPLE[PEOPLE.index % 4 < 2]),
                  study="[keep]\nBand = [3]\n")  # fmt: skip
    twice = pd.concat([PEOPLE, PEOPLE.iloc[::9]])
    yield Variant(kind, "repeated rows dropped", twice, _right(),
                  study="[file]\ndrop_repeated_rows = true\n", remark="same entries")  # fmt: skip
    yield Variant(kind, "repeated rows asked about", twice, refused="with the same entries")


def _chosen_measures() -> Iterator[Variant]:
    kind = "selection"
    gaps = PEOPLE.astype({"gad7_post": object})
    gaps.loc[gaps.index % 5 == 0, "gad7_post"] = ""
    both = "[measures.phq9]\n[measures.gad7]\nrequired = {}\n"
    full = _right(gaps.assign(gad7_post=pd.to_numeric(gaps["gad7_post"], errors="coerce")))
    yield Variant(kind, "an optional measure", gaps, full, study=both.format("false"))
    yield Variant(kind, "a required measure", gaps, _right(PEOPLE[PEOPLE.index % 5 > 0]),
                  study=both.format("true"))  # fmt: skip
    empty = gaps.assign(wsas_pre=[9 if i % 9 == 0 else "" for i in range(80)], wsas_post="")
    yield Variant(kind, "a measure hardly anybody has", empty.assign(gad7_post=PEOPLE["gad7_post"]),
                  refused="column is empty")  # fmt: skip
    rare = PEOPLE.assign(
        wsas_pre=[9 if i % 9 == 0 else "" for i in range(80)],
        wsas_post=[5 if i % 9 == 0 else "" for i in range(80)],
    )
    yield Variant(kind, "a measure that few have", rare, _right(), remark="WSAS is not used")


def _rules() -> Iterator[Variant]:
    kind = "selection"
    for least, most in ((30, 50), (18, 65)):
        right = _right(PEOPLE[PEOPLE["age"].between(least, most)])
        study = f"[inclusion]\nminimum_age = {least}\nmaximum_age = {most}\n"
        yield Variant(kind, f"aged {least} to {most}", PEOPLE, right, study=study)
    for fewest in (3, 5):
        right = _right(PEOPLE[PEOPLE["sessions"] >= fewest])
        study = f"[inclusion]\nminimum_sessions = {fewest}\n"
        yield Variant(kind, f"{fewest} sessions or more", PEOPLE, right, study=study)
    few = PEOPLE.drop(index=range(6))
    yield Variant(kind, "five patients of a therapist or more", few, _right(PEOPLE.iloc[10:]),
                  study="[inclusion]\nminimum_patients = 5\n")  # fmt: skip
    alone = CONTACTS.drop(CONTACTS.groupby(WHO).tail(2).index[:20])
    yield Variant(kind, "two sessions or more", alone, _right(PEOPLE.iloc[10:]))


def _chosen_sessions() -> Iterator[Variant]:
    kind, last = "selection", CONTACTS.groupby(WHO).tail(1)
    blank = CONTACTS.astype({"PHQ9": object})
    blank.loc[last.index, "PHQ9"] = ""
    middle = CONTACTS.drop(index=last.index).groupby(WHO, sort=False)["PHQ9"].last()
    yield Variant(kind, "the last recorded score", blank, _right(phq9_post=middle.to_numpy()),
                  study='[sessions]\nscores = "recorded"\n')  # fmt: skip
    moved = CONTACTS.copy()
    first = moved.groupby(WHO).head(1).index[:6]
    moved.loc[first, STAFF] = "t6"
    yield Variant(kind, "patients of several left out", moved, _right(PEOPLE.iloc[6:]),
                  study='[therapists]\nseveral = "exclude"\n')  # fmt: skip
    yield Variant(kind, "most sessions of several", moved, _right())
    yield Variant(kind, "the first of several", moved,
                  _right(therapist_id=np.where(PEOPLE.index < 6, "t6", PEOPLE["therapist_id"])),
                  study='[therapists]\nseveral = "first"\n')  # fmt: skip
    doubled = pd.concat([CONTACTS, CONTACTS.iloc[::7]])
    yield Variant(kind, "repeated sessions dropped", doubled, _right(),
                  study="[file]\ndrop_repeated_rows = true\n", remark="same entries")  # fmt: skip
    later = last.assign(**{WHEN: "2023-01-05", "PHQ9": 1, "GAD7": 2})
    for word in ("Follow-up", "follow up", "FU", "3 month follow-up", "1 month follow up"):
        frame = pd.concat([CONTACTS, later.assign(AppType=word)])
        yield Variant(kind, f"left out: {word}", frame, _right(), remark="follow-up sessions")
    for heading in ("Appt type", "Appointment Type", "Session type"):
        frame = pd.concat([CONTACTS, later.assign(AppType="follow-up")])
        frame = frame.rename(columns={"AppType": heading})
        yield Variant(kind, f"left out by {heading}", frame, _right(), remark="follow-up sessions")


# --- Rows that are no patients ------------------------------------------------------------------


def _no_patients() -> Iterator[Variant]:
    kind = "no patients"
    for word in ("Total:", "TOTALS", "Sub total", "Mean", "Std dev", "Min", "Max", "Sum",
                 "Number of patients", "Team B Subtotal", "Overall mean", "%", "Averages",
                 "Summe"):  # fmt: skip
        row = PEOPLE.tail(1).astype(object).assign(patient_id=word, therapist_id="", phq9_pre=900)
        yield Variant(
            kind, f"a row called {word}", pd.concat([PEOPLE, row]), refused="not a patient"
        )
    inside = PEOPLE.tail(1).astype(object).assign(patient_id="", therapist_id="Total", phq9_pre=14)
    yield Variant(kind, "a total in another column", pd.concat([PEOPLE, inside]),
                  refused="not a patient")  # fmt: skip
    quiet = PEOPLE.tail(1).astype(object).assign(patient_id="Average", therapist_id="", phq9_pre=14)
    yield Variant(kind, "an average within the scale", pd.concat([PEOPLE, quiet]),
                  refused="not a patient")  # fmt: skip
    for name, above, below in (
        ("a title", "Outcomes 2021\n", ""),
        ("a title and a blank line", "Outcomes 2021\n\n", ""),
        ("three lines of title", "Outcomes\nTeam North\n1 April to 31 March\n", ""),
        ("a note below", "", "Printed on 3 May 2021\n"),
        ("a blank line and a note", "", "\nEnd of report\n"),
    ):
        yield Variant(kind, name, _text(lambda t, a=above, b=below: a + t + b), _right(),
                      remark="left out")  # fmt: skip

    def hidden(book: Any) -> None:
        file_builders.put(book.active, PEOPLE)
        for row in (3, 9, 17):
            book.active.row_dimensions[row].hidden = True

    yield Variant(
        kind, "hidden rows", _book(hidden), _right(), remark="by a filter perhaps, and read: 3"
    )


# --- Dates and times ----------------------------------------------------------------------------


def _dates() -> Iterator[Variant]:
    kind = "dates"
    days = pd.to_datetime(CONTACTS[WHEN])
    for form in ("%d/%m/%Y %H:%M:%S", "%d-%m-%Y", "%Y%m%d", "%d %b %Y", "%A %d %B %Y", "%d.%m.%y",
                 "%Y-%m-%dT%H:%M:%S.000Z", "%d/%m/%Y 12:00 AM", "%b %d %Y 12:00AM",
                 "%d-%b-%Y %H:%M", "%dth %B %Y"):  # fmt: skip
        frame = CONTACTS.assign(**{WHEN: days.dt.strftime(form)})
        yield Variant(kind, form, frame[::-1], _right())
    month_first = CONTACTS.assign(**{WHEN: days.dt.strftime("%m/%d/%Y")})
    yield Variant(kind, "month first", month_first[::-1], refused="not a date")
    yield Variant(kind, "month first, said so", month_first[::-1], _right(),
                  study='[file]\ndate_format = "%m/%d/%Y"\n')  # fmt: skip

    def cells(book: Any) -> None:
        sheet = book.active
        sheet.append(list(CONTACTS))
        for i, row in enumerate(CONTACTS.astype(object).values.tolist()):
            day = pd.Timestamp(row[2]).to_pydatetime()
            sheet.append([*row[:2], day if i % 2 else f"{day:%d/%m/%Y}", *row[3:]])

    yield Variant(kind, "true dates among texts", _book(cells), _right())
    for never in ("9999-12-31", "31/12/9999", "2999-12-31", "0001-01-01", "01/01/1900"):
        frame = PEOPLE.assign(ServDischDate=["2021-05-01", never] * 40)
        yield Variant(kind, f"never: {never}", frame, _right(PEOPLE.iloc[::2]),
                      study='[inclusion]\nstatus = ["closed"]\n')  # fmt: skip
    one_day = CONTACTS.assign(**{WHEN: "05/03/2021"})
    for name, times in (("24 hours", ["9:00", "13:30", "16:45"]),
                        ("AM and PM", ["9:00 AM", "1:30 PM", "4:45 pm"]),
                        ("four digits", ["0900", "1330", "1645"])):  # fmt: skip
        frame = one_day.assign(**{"Appointment time": times * 80})
        yield Variant(kind, f"times: {name}", frame[::-1], _right())


# --- Refusals of reasonable files ---------------------------------------------------------------


def _headings() -> Iterator[Variant]:
    kind = "headings"
    for pre, post in (
        ("PHQ9 at assessment", "PHQ9 at discharge"),
        ("Pre-treatment PHQ-9", "Post-treatment PHQ-9"),
        ("PHQ9 Start of Treatment", "PHQ9 End of Treatment"),
        ("PHQ9 First Session", "PHQ9 Last Session"),
        ("First PHQ9 Score", "Most Recent PHQ9 Score"),
        ("PHQ_9_intake", "PHQ_9_termination"),
        ("PHQ-9 (first)", "PHQ-9 (last)"),
        ("PHQ9_Pre_Score", "PHQ9_Post_Score"),
        ("Initial PHQ 9", "Final PHQ 9"),
        ("PHQ9 baseline total", "PHQ9 end point total"),
        ("PHQ-9 admission", "PHQ-9 closure"),
    ):
        frame = PEOPLE.rename(columns={"phq9_pre": pre, "phq9_post": post})
        yield Variant(kind, pre, frame, _right())
    for pre, post, says in (
        ("PHQ9 Score 1", "PHQ9 Score 2", "which is the first and which the last"),
        ("PHQ9 A", "PHQ9 B", "which is the first and which the last"),
        ("PHQ 9 2021", "PHQ 9 2022", "which is the first and which the last"),
        ("phq9 session 1", "phq9 final session", "did you mean phq9 session 1"),
        ("PHQ9 (T0)", "PHQ9 (T1)", "did you mean PHQ9 (T0)"),
    ):
        frame = PEOPLE.rename(columns={"phq9_pre": pre, "phq9_post": post})
        yield Variant(kind, f"{pre} and {post}", frame, refused=says)
    for role, headings in {
        "therapist_id": ["Case Manager", "PrimaryWorker", "PWP Name", "Allocated To",
                         "Clinician ID",
                         "Responsible Clinician", "Practitioner code", "Worker", "Key worker"],
        "patient_id": ["Unique ID", "UID", "Patient Identifier", "Client Ref", "Record number",
                       "Pseudonymised ID", "Study ID"],
    }.items():  # fmt: skip
        for heading in headings:
            yield Variant(kind, heading, PEOPLE.rename(columns={role: heading}), _right())
    for name, change, encoding in (
        ("semicolons", lambda t: t.replace(",", ";"), "cp1252"),
        ("tabs in UTF-16", lambda t: t.replace(",", "\t"), "utf-16"),
        ("bars", lambda t: t.replace(",", "|"), "utf-8-sig"),
        ("carriage returns alone", lambda t: t.replace("\n", "\r"), "utf-8"),
        ("sep=", lambda t: "sep=;\n" + t.replace(",", ";"), "utf-8"),
        ("quoted throughout",
         lambda t: "\n".join(f'"{line}"'.replace(",", '","') for line in t.splitlines()), "utf-8"),
    ):  # fmt: skip
        yield Variant(kind, name, _text(change, encoding), _right())


MAKERS = (
    *(_meaning, _scale, _words),
    *(_courses, _spellings, _numbers, _whose),
    *(_chosen_rows, _chosen_measures, _rules, _chosen_sessions),
    *(_no_patients, _dates, _headings),
)
VARIANTS = [variant for make in MAKERS for variant in make()]
