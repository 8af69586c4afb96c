"""A catalogue of bad files: each builder writes one, and says what its one sentence must mention.

The files are made, not kept, so that what is wrong with each stands here to be read.
"""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd

SECRET = "Zaphod"  # stands in cells that no message may repeat


@dataclass(frozen=True)
class BadFile:
    name: str
    build: Callable[[Path], Path]
    says: str
    study: str = ""


def good_frame(therapists: int = 8, patients: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = therapists * patients
    pre = rng.integers(8, 27, n)
    anxious = rng.integers(6, 21, n)
    return pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(n)],
            "therapist_id": np.repeat([f"t{j}" for j in range(therapists)], patients),
            "service_id": np.repeat([f"s{j % 2}" for j in range(therapists)], patients),
            "phq9_pre": pre,
            "phq9_post": np.clip(pre - rng.integers(-2, 12, n), 0, 27),
            "gad7_pre": anxious,
            "gad7_post": np.clip(anxious - rng.integers(-2, 10, n), 0, 21),
            "sessions": rng.integers(2, 12, n),
            "age": rng.integers(18, 80, n),
        }
    )


def session_frame() -> pd.DataFrame:
    people = good_frame()
    rows = []
    for i, person in enumerate(people.itertuples(index=False)):
        for k in range(3):
            share = k / 2
            rows.append(
                {
                    "PathwayID": person.patient_id,
                    "CarePersLocalId": person.therapist_id,
                    "CareContDate": f"2021-03-{1 + 7 * k:02d}",
                    "AttendOrDNACode": "5",
                    "AppType": "01" if k == 0 else "02",
                    "PHQ9": round(person.phq9_pre * (1 - share) + person.phq9_post * share),
                    "GAD7": round(person.gad7_pre * (1 - share) + person.gad7_post * share),
                    "note": SECRET if i == 0 else "",
                }
            )
    return pd.DataFrame(rows)


def _text(frame: pd.DataFrame, **kwargs: Any) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n", **kwargs))


def _csv(change: Callable[[pd.DataFrame], pd.DataFrame | None], **kwargs: Any):
    def build(folder: Path) -> Path:
        frame = good_frame().astype(object)
        changed = change(frame)
        path = folder / "bad.csv"
        path.write_text(_text(frame if changed is None else changed, **kwargs), encoding="utf-8")
        return path

    return build


def _cell(row: int, column: str, value: object):
    def change(frame: pd.DataFrame) -> None:
        frame.loc[row - 2, column] = value

    return _csv(change)


def _column(column: str, value: object):
    def change(frame: pd.DataFrame) -> None:
        frame[column] = value

    return _csv(change)


def _bytes(name: str, content: bytes | Callable[[], bytes]):
    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content() if callable(content) else content)
        return path

    return build


def _edit(edit: Callable[[str], str], encoding: str = "utf-8"):
    return _bytes("bad.csv", lambda: edit(_text(good_frame())).encode(encoding))


def _sessions(change: Callable[[pd.DataFrame], pd.DataFrame | None]):
    def build(folder: Path) -> Path:
        frame = session_frame().astype(object)
        changed = change(frame)
        path = folder / "bad.csv"
        path.write_text(_text(frame if changed is None else changed), encoding="utf-8")
        return path

    return build


# --- Excel, databases, Parquet --------------------------------------------------------------------


def _excel(fill: Callable[[Any], None]):
    def build(folder: Path) -> Path:
        book = openpyxl.Workbook()
        fill(book)
        path = folder / "bad.xlsx"
        book.save(path)
        return path

    return build


def _put(sheet: Any, frame: pd.DataFrame, above: int = 0) -> None:
    for _ in range(above):
        sheet.append(["Outcomes of the service"])
    sheet.append(list(frame.columns))
    for row in frame.itertuples(index=False):
        sheet.append([v.item() if isinstance(v, np.generic) else v for v in row])


def _merged(book: Any) -> None:
    _put(book.active, good_frame())
    book.active.merge_cells("A2:A4")


def _titled(book: Any) -> None:
    _put(book.active, good_frame(), above=1)


def _two_sheets(book: Any) -> None:
    _put(book.active, good_frame())
    _put(book.create_sheet("again"), good_frame())


def _excel_date(book: Any) -> None:
    _put(book.active, good_frame())
    book.active["D5"] = pd.Timestamp("2021-03-05").to_pydatetime()


def _excel_text(book: Any) -> None:
    _put(book.active, good_frame())
    book.active["E7"] = SECRET


def _formula(book: Any) -> None:
    _put(book.active, good_frame())
    book.active["D3"] = "=D2+1"  # openpyxl stores no result, as other exports do not


def _hidden_sheet(book: Any) -> None:
    _put(book.active, good_frame())
    hidden = book.create_sheet("old")
    _put(hidden, good_frame())
    hidden.sheet_state = "hidden"


def _chart_sheet(book: Any) -> None:
    book.create_chartsheet("chart")


def _pipe(folder: Path) -> Path:
    path = folder / "bad.csv"
    os.mkfifo(path)
    return path


def _header_only(book: Any) -> None:
    book.active.append(list(good_frame().columns))


def _truncated_excel(folder: Path) -> Path:
    whole = io.BytesIO()
    good_frame().to_excel(whole, index=False)
    path = folder / "bad.xlsx"
    path.write_bytes(whole.getvalue()[:3000])
    return path


def _zip(folder: Path) -> Path:
    path = folder / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", _text(good_frame()))
    return path


def _broken_workbook(folder: Path) -> Path:
    path = folder / "bad.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    return path


def _sqlite(tables: dict[str, pd.DataFrame]):
    def build(folder: Path) -> Path:
        path = folder / "bad.sqlite"
        with sqlite3.connect(path) as base:
            base.execute("create table zero (x)")
            for name, frame in tables.items():
                frame.to_sql(name, base, index=False)
            if "zero" not in tables:
                base.execute("drop table zero")
            base.commit()
        base.close()
        return path

    return build


def _duckdb(folder: Path) -> Path:
    import duckdb

    path = folder / "bad.duckdb"
    frame = good_frame()
    with duckdb.connect(str(path)) as base:
        base.register("frame", frame)
        base.execute("create table one as select * from frame")
        base.execute("create table two as select * from frame")
    return path


def _damaged_duckdb(folder: Path) -> Path:
    path = folder / "bad.duckdb"
    path.write_bytes(b"\0" * 8 + b"DUCK" + b"\x01" * 5000)
    return path


def _parquet(frame: Callable[[], pd.DataFrame], keep: float = 1.0):
    def build(folder: Path) -> Path:
        path = folder / "bad.parquet"
        frame().to_parquet(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return path

    return build


def _wide_parquet() -> pd.DataFrame:
    return pd.DataFrame(np.zeros((1, 6000)), columns=[f"c{i}" for i in range(6000)])


# --- Changes to the frame -------------------------------------------------------------------------


def _repeat(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[4]]])


def _conflict(frame: pd.DataFrame) -> pd.DataFrame:
    again = frame.iloc[[4]].assign(phq9_post=0)
    return pd.concat([frame, again])


def _two_therapists(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[4]].assign(therapist_id="t7")])


def _moved(frame: pd.DataFrame) -> None:
    frame.loc[3, "service_id"] = "s9"


def _drop(*columns: str):
    return _csv(lambda frame: frame.drop(columns=list(columns)))


def _rename(**names: str):
    return _csv(lambda frame: frame.rename(columns=names))


def _swap_scores(frame: pd.DataFrame) -> None:
    frame["phq9_pre"] = [f"{v}%" for v in frame["phq9_pre"]]


def _lines(edit: Callable[[list[str]], list[str]]):
    return _edit(lambda text: "\n".join(edit(text.splitlines())) + "\n")


_HTML = "<html><body>table</body></html>"
_STUDY = '[columns]\npatient_id = "patient_id"\n'

CATALOGUE: list[BadFile] = [
    # What is no table at all.
    BadFile("a folder", lambda f: f, "folder"),
    BadFile("no such file", lambda f: f / "none.csv", "no such file"),
    BadFile("empty file", _bytes("bad.csv", b""), "empty"),
    BadFile("spaces only", _bytes("bad.csv", b"  \n \n\n"), "empty"),
    BadFile("mark only", _bytes("bad.csv", b"\xef\xbb\xbf"), "empty"),
    BadFile("zeros only", _bytes("bad.csv", b"\0" * 500), "empty"),
    BadFile("header only", _lines(lambda x: x[:1]), "header and no rows"),
    BadFile("header without line end", _bytes("bad.csv", b"patient_id,therapist_id,phq9_pre"),
            "header and no rows"),
    BadFile("pdf", _bytes("bad.csv", b"%PDF-1.7 rest"), "PDF"),
    BadFile("gzip", _bytes("bad.csv.gz", lambda: gzip.compress(b"a,b\n1,2\n")), "compressed"),
    BadFile("zip", _zip, "archive"),
    BadFile("old excel", _bytes("bad.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 600), "Excel"),
    BadFile("spss", _bytes("bad.sav", b"$FL2@(#) SPSS DATA FILE"), "SPSS"),
    BadFile("picture", _bytes("bad.csv", b"\x89PNG\r\n\x1a\n" + b"\0" * 50), "picture"),
    BadFile("web page", _bytes("bad.csv", _HTML.encode()), "web page"),
    BadFile("doctype", _bytes("bad.xls", b"<!DOCTYPE html><table></table>"), "web page"),
    BadFile("xml", _bytes("bad.csv", b"<?xml version='1.0'?><a/>"), "XML"),
    BadFile("rich text", _bytes("bad.csv", b"{\\rtf1 text}"), "word processor"),
    BadFile("random bytes", _bytes("bad.csv", lambda: bytes(range(256)) * 20), "not a text file"),
    BadFile("zeros behind the table",
            _bytes("bad.csv", lambda: _text(good_frame()).encode() + b"\0" * 200), "text file"),
    BadFile("zero in a cell",
            _bytes("bad.csv", lambda: _text(good_frame()).replace("p3,", "p\0,").encode()),
            "text file"),
    BadFile("control characters", _bytes("bad.csv", b"\x01\x02\x03\x04" * 99 + b"\n1,2\n"),
            "not a text file"),
    BadFile("prose", _bytes("bad.csv", b"Please find the data attached.\nRegards\n"),
            "three columns"),
    BadFile("json", _bytes("bad.csv", b'{"patient": 1}\n{"patient": 2}\n'), "three columns"),
    # The header.
    BadFile("header of a hundred thousand names",
            _bytes("bad.csv", lambda: b",".join(b"c%d" % i for i in range(100_000)) + b"\n1\n"),
            "more than 5,000 columns"),
    BadFile("endless first line", _bytes("bad.csv", b"x" * 1_200_000), "columns"),
    BadFile("wide semicolons", _bytes("bad.csv", b";" * 9000 + b"\n1;2\n"), "columns"),
    BadFile("no header", _lines(lambda x: x[1:]), "values rather than names"),
    BadFile("no header, one column", _bytes("bad.csv", b"12\n13\n14\n"), "values rather than"),
    BadFile("two header rows", _lines(lambda x: [x[0], x[0], *x[1:]]), "second header"),
    BadFile("units below the header",
            _lines(lambda x: [x[0], "id,id,id,score,score,score,score,n,years", *x[1:]]),
            "second header"),
    BadFile("title above the header", _lines(lambda x: ["Outcomes 2021", *x]), "header"),
    BadFile("title row with commas", _lines(lambda x: ["Outcomes,,,,,,,,", *x]), "title"),
    BadFile("same name twice", _rename(gad7_pre="phq9_pre"), "same name"),
    BadFile("nameless column", _rename(age=""), "no name"),
    BadFile("only delimiters", _bytes("bad.csv", b",,,\n,,,\n"), "empty"),
    BadFile("patient column missing", _drop("patient_id"), "patient"),
    BadFile("therapist column missing", _drop("therapist_id"), "therapist"),
    BadFile("therapist column misspelt", _rename(therapist_id="theraqist"), "therapist"),
    BadFile("no post scores", _drop("phq9_post", "gad7_post"), "phq9"),
    BadFile("no scores", _drop("phq9_pre", "phq9_post", "gad7_pre", "gad7_post"), "measure"),
    BadFile("pre and post misspelt",
            _rename(phq9_pre="pq9a", phq9_post="pq9b", gad7_pre="gd1", gad7_post="gd2"), "measure"),
    BadFile("one column", _csv(lambda f: f[["patient_id"]]), "three columns"),
    BadFile("two columns", _csv(lambda f: f[["patient_id", "therapist_id"]]), "three columns"),
    BadFile("header quote left open", _edit(lambda t: '"' + t), "quotation"),
    # Delimiters, quotes, ends.
    BadFile("delimiter changes midway",
            _lines(lambda x: [*x[:20], *[line.replace(",", ";") for line in x[20:]]]), "row 21"),
    BadFile("header comma, rows semicolon",
            _lines(lambda x: [x[0], *[line.replace(",", ";") for line in x[1:]]]), "row 2"),
    BadFile("spaces as delimiter", _edit(lambda t: t.replace(",", "  ")), "three columns"),
    BadFile("colon as delimiter", _edit(lambda t: t.replace(",", ":")), "three columns"),
    BadFile("a cell too many", _lines(lambda x: [*x[:9], x[9] + ",1", *x[10:]]), "row 10"),
    BadFile("a cell too few",
            _lines(lambda x: [*x[:9], x[9].rsplit(",", 1)[0], *x[10:]]), "row 10"),
    BadFile("last line cut off", _edit(lambda t: t[: t.rstrip().rindex(",", 0, -3)]), "cell"),
    BadFile("comma in an unquoted cell",
            _lines(lambda x: [*x[:4], x[4].replace("t0", "t,0"), *x[5:]]), "row 5"),
    BadFile("quote left open", _lines(lambda x: [*x[:4], '"' + x[4], *x[5:]]), "quotation"),
    BadFile("text after a quote", _lines(lambda x: [*x[:4], '"a"b' + x[4], *x[5:]]), "row 5"),
    BadFile("endless cell", _lines(lambda x: [*x[:4], "x" * 200_000 + x[4], *x[5:]]), "row 5"),
    BadFile("total below the table", _lines(lambda x: [*x, "Total,,,1200,,,,,"]), "row 82"),
    BadFile("remark below the table", _lines(lambda x: [*x, "Source: the service"]), "row 82"),
    # Encodings.
    BadFile("broken utf-16", _bytes("bad.csv", lambda: _text(good_frame()).encode("utf-16")[:-1]),
            "encoding"),
    BadFile("utf-16 mark on latin text",
            _bytes("bad.csv", lambda: b"\xff\xfe" + _text(good_frame()).encode()[:-1]), "bad.csv"),
    BadFile("utf-8 mark and wrong bytes",
            _bytes("bad.csv", lambda: b"\xef\xbb\xbf" + _text(good_frame()).encode() + b"\xff\xfe"),
            "encoding"),
    # Scores.
    BadFile("score above the scale", _cell(5, "phq9_pre", 28), "row 5, column phq9_pre"),
    BadFile("score below the scale", _cell(6, "phq9_post", -2), "row 6, column phq9_post"),
    BadFile("anxiety above the scale", _cell(7, "gad7_post", 22), "row 7, column gad7_post"),
    BadFile("99 for missing", _cell(8, "phq9_post", 99), "code for missing"),
    BadFile("-9 for missing", _cell(8, "gad7_pre", -9), "code for missing"),
    BadFile("-1 for missing", _cell(8, "gad7_pre", -1), "code for missing"),
    BadFile("999 for missing", _cell(8, "phq9_pre", 999), "code for missing"),
    BadFile("text in a score", _cell(9, "phq9_pre", SECRET), "this is text"),
    BadFile("dash in a score", _cell(9, "phq9_pre", "-"), "this is text"),
    BadFile("question mark in a score", _cell(9, "gad7_post", "?"), "this is text"),
    BadFile("DNA in a score", _cell(9, "phq9_post", "DNA"), "this is text"),
    BadFile("percentage", _cell(10, "phq9_pre", "45%"), "percentage"),
    BadFile("column of percentages", _csv(_swap_scores), "percentage"),
    BadFile("date in a score", _cell(11, "phq9_pre", "2021-03-05"), "a date"),
    BadFile("british date in a score", _cell(11, "gad7_pre", "05/03/2021"), "a date"),
    BadFile("month in a score", _cell(11, "gad7_pre", "03-Mar"), "a date"),
    BadFile("fraction", _cell(12, "phq9_pre", 12.5), "not whole"),
    BadFile("decimal comma beside decimal points",
            _csv(lambda f: f.assign(phq9_pre=["12.0", "12,5", *f["phq9_pre"][2:]])), "comma"),
    BadFile("infinity", _cell(13, "phq9_pre", "inf"), "this is text"),
    BadFile("hexadecimal", _cell(13, "phq9_pre", "0x1F"), "this is text"),
    BadFile("digits of another script", _cell(13, "phq9_pre", "１２"), "this is text"),
    BadFile("underscored number", _cell(13, "phq9_pre", "1_2"), "this is text"),
    BadFile("score out of its maximum", _cell(13, "phq9_pre", "5/27"), "a date"),
    BadFile("truth for a score", _cell(13, "phq9_pre", "TRUE"), "this is text"),
    BadFile("two numbers in a cell", _cell(13, "phq9_pre", "12 / 27"), "this is"),
    BadFile("huge number", _cell(13, "phq9_pre", "1e300"), "outside the scale"),
    BadFile("formula left in a cell", _cell(14, "phq9_pre", "=D2+1"), "this is text"),
    BadFile("spreadsheet error", _cell(14, "phq9_pre", "#REF!"), "this is text"),
    BadFile("script in a score", _cell(14, "phq9_pre", "<script>alert(1)</script>"), "text"),
    BadFile("escape sequences in a score", _cell(14, "phq9_pre", "\x1b[31mred"), "text"),
    BadFile("ten thousand characters in a score", _cell(14, "phq9_pre", "x" * 10_000), "text"),
    BadFile("sum of items missing", _column("phq9_post", ""), "empty"),
    BadFile("column of NULL", _column("gad7_pre", "NULL"), "empty"),
    BadFile("column of n/a", _column("gad7_post", "n/a"), "empty"),
    BadFile("column of text", _column("gad7_post", SECRET), "bad.csv"),
    BadFile("all scores equal", _column("phq9_pre", 12), "scores are equal"),
    BadFile("all last scores equal", _column("phq9_post", 5), "scores are equal"),
    BadFile("no change", _csv(lambda f: f.assign(phq9_post=f["phq9_pre"])), "equals the first"),
    BadFile("no score at both ends", _csv(lambda f: f.assign(
        phq9_pre=[v if i % 2 else "" for i, v in enumerate(f["phq9_pre"])],
        phq9_post=["" if i % 2 else v for i, v in enumerate(f["phq9_post"])])),
        "no patient is left"),
    # Identifiers.
    BadFile("patient identifier missing", _cell(15, "patient_id", ""), "row 15"),
    BadFile("patient identifier NULL", _cell(15, "patient_id", "NULL"), "row 15"),
    BadFile("no therapist anywhere", _column("therapist_id", ""), "no patient is left"),
    BadFile("therapist n/a throughout", _column("therapist_id", "n/a"), "no patient is left"),
    BadFile("one therapist", _column("therapist_id", "t1"), "only one therapist"),
    BadFile("one patient each",
            _csv(lambda f: f.assign(therapist_id=f["patient_id"])), "one patient only"),
    BadFile("almost one patient each",
            _csv(lambda f: f.assign(therapist_id=[f"t{max(i, 2)}" for i in range(len(f))])),
            "too few patients"),
    BadFile("one row", _lines(lambda x: x[:2]), "one therapist"),
    BadFile("two rows", _lines(lambda x: [x[0], x[1], x[-1]]), "one patient only"),
    BadFile("repeated row", _csv(_repeat), "same entries"),
    BadFile("conflicting rows", _csv(_conflict), "other entries"),
    BadFile("patient with two therapists", _csv(_two_therapists), "another therapist"),
    BadFile("all patients the same", _column("patient_id", "p1"), "row above"),
    BadFile("whole table twice", _csv(lambda f: pd.concat([f, f])), "same entries"),
    BadFile("therapist in two services", _csv(_moved), "two services"),
    # Other columns.
    BadFile("text in sessions", _cell(5, "sessions", SECRET), "row 5, column sessions"),
    BadFile("negative sessions", _cell(5, "sessions", -1), "row 5, column sessions"),
    BadFile("dates in sessions", _column("sessions", "2021-03-05"), "a date"),
    BadFile("age of a year", _cell(5, "age", 1987), "row 5, column age"),
    BadFile("date of birth in age", _cell(5, "age", "01/02/1987"), "a date"),
    BadFile("one session each", _column("sessions", 1), "no patient is left"),
    BadFile("unknown status", _csv(lambda f: f.assign(status="limbo")), "closed or in_treatment"),
    BadFile("group sessions only", _csv(lambda f: f.assign(mode="group")), "one-to-one"),
    # Excel.
    BadFile("merged cells", _excel(_merged), "merged"),
    BadFile("title in excel", _excel(_titled), "title"),
    BadFile("two sheets", _excel(_two_sheets), "several sheets"),
    BadFile("empty workbook", _excel(lambda book: None), "empty"),
    BadFile("excel header only", _excel(_header_only), "header and no rows"),
    BadFile("excel made a date", _excel(_excel_date), "row 5, column phq9_pre"),
    BadFile("text in excel", _excel(_excel_text), "row 7, column phq9_post"),
    BadFile("formula without its result", _excel(_formula), "formulas without their results"),
    BadFile("hidden sheet", _excel(_hidden_sheet), "several sheets"),
    BadFile("chart sheet", _excel(_chart_sheet), "Excel"),
    BadFile("truncated excel", _truncated_excel, "damaged"),
    BadFile("broken workbook", _broken_workbook, "damaged"),
    # Databases and Parquet.
    BadFile("truncated parquet", _parquet(good_frame, 0.6), "damaged"),
    BadFile("parquet without end", _parquet(good_frame, 0.99), "damaged"),
    BadFile("parquet of no rows", _parquet(lambda: good_frame().iloc[:0]), "no rows"),
    BadFile("parquet far too wide", _parquet(_wide_parquet), "5,000 columns"),
    BadFile("parquet with text for a score",
            _parquet(lambda: good_frame().assign(phq9_pre=SECRET)), "text"),
    BadFile("parquet with dates for a score",
            _parquet(lambda: good_frame().assign(phq9_pre=pd.Timestamp("2021-01-01"))), "a date"),
    BadFile("parquet with infinite scores",
            _parquet(lambda: good_frame().assign(phq9_pre=np.inf)), "outside the scale"),
    BadFile("parquet with lists for scores",
            _parquet(lambda: good_frame().assign(phq9_pre=[[9, 8]] * 80)), "text"),
    BadFile("parquet with records for patients",
            _parquet(lambda: good_frame().assign(patient_id=[{"a": SECRET}] * 80)), "row above"),
    BadFile("parquet with yes and no for a score",
            _parquet(lambda: good_frame().assign(phq9_pre=good_frame()["phq9_pre"] > 12)), "text"),
    BadFile("parquet with categories for a score", _parquet(lambda: good_frame().assign(
        phq9_pre=pd.Categorical(["low", "high"] * 40))), "text"),
    BadFile("parquet with bytes for patients", _parquet(lambda: good_frame().assign(
        patient_id=[b"\xff%d" % i for i in range(80)])), "an entry is missing"),
    BadFile("parquet of durations",
            _parquet(lambda: good_frame().assign(phq9_pre=pd.Timedelta("9D"))), "row 2"),
    BadFile("sqlite without tables", _sqlite({}), "no table"),
    BadFile("sqlite with two tables", _sqlite({"a": good_frame(), "b": good_frame()}), "several"),
    BadFile("sqlite of no rows", _sqlite({"a": good_frame().iloc[:0]}), "no rows"),
    BadFile("damaged sqlite", _bytes("bad.db", b"SQLite format 3\0" + b"\x07" * 4000), "SQLite"),
    BadFile("duckdb with two tables", _duckdb, "several tables"),
    BadFile("damaged duckdb", _damaged_duckdb, "DuckDB"),
    # Sessions.
    BadFile("sessions without order", _sessions(lambda f: f.drop(columns="CareContDate")), "order"),
    BadFile("session with a wrong date",
            _sessions(lambda f: f.assign(CareContDate=[SECRET, *f["CareContDate"][1:]])), "row 2"),
    BadFile("session without a date",
            _sessions(lambda f: f.assign(CareContDate=["", *f["CareContDate"][1:]])), "row 2"),
    BadFile("nobody attended", _sessions(lambda f: f.assign(AttendOrDNACode="3")), "attended"),
    BadFile("no assessment", _sessions(lambda f: f.assign(AppType="02")), "assessment"),
    BadFile("session twice", _sessions(lambda f: pd.concat([f, f.iloc[[0]]])), "same entries"),
    BadFile("session score out of range",
            _sessions(lambda f: f.assign(PHQ9=[77, *f["PHQ9"][1:]])), "row 2, column PHQ9"),
    BadFile("session without patient",
            _sessions(lambda f: f.assign(PathwayID=["", *f["PathwayID"][1:]])), "row 2"),
    # Study files.
    BadFile("study is no toml", _csv(lambda f: None), "TOML", "columns = [["),
    BadFile("study with unknown key", _csv(lambda f: None), "did you mean seed", "sede = 1"),
    BadFile("study with unknown section", _csv(lambda f: None), "not known", "[rules]\na = 1"),
    BadFile("study names no such column", _csv(lambda f: None), "not there",
            '[columns]\npatient_id = "pat"\n'),
    BadFile("study with text for a number", _csv(lambda f: None), "number", 'seed = "one"'),
    BadFile("study with a negative seed", _csv(lambda f: None), "seed", "seed = -1"),
    BadFile("study with an unknown engine", _csv(lambda f: None), "engines", 'engines = ["magic"]'),
    BadFile("study with an unknown rule", _csv(lambda f: None), "several",
            '[therapists]\nseveral = "any"\n'),
    BadFile("study with an unknown measure", _csv(lambda f: None), "not a measure",
            '[measures.mood]\npre = "phq9_pre"\npost = "phq9_post"\n'),
    BadFile("study with an upside-down scale", _csv(lambda f: None), "minimum",
            '[measures.mood]\nminimum = 9\nmaximum = 1\npre = "phq9_pre"\npost = "phq9_post"\n'),
    BadFile("study with a table for text", _csv(lambda f: None), "must be", "[title]\na = 1"),
    BadFile("study that excludes everybody", _csv(lambda f: None), "no patient is left",
            "[inclusion]\nminimum_age = 120\n"),
    BadFile("study with one column for two things", _csv(lambda f: None), "row above",
            '[columns]\npatient_id = "age"\ntherapist_id = "age"\n'),
    BadFile("study with one column for both ends", _csv(lambda f: None), "equals the first",
            '[measures.phq9]\npre = "phq9_pre"\npost = "phq9_pre"\n'),
    BadFile("study with no number for a number", _csv(lambda f: None), "caseload must be a number",
            "[disclosure]\ncaseload = nan\n"),
    BadFile("study with an endless scale", _csv(lambda f: None), "maximum must be a number",
            '[measures.mood]\nminimum = 0\nmaximum = inf\npre = "phq9_pre"\npost = "phq9_post"\n'),
    BadFile("study with a number for a column", _csv(lambda f: None), "must be text",
            "[columns]\npatient_id = 3\n"),
    BadFile("study of a later version", _csv(lambda f: None), "later version", "version = 9"),
    BadFile("study asks for a sheet of a text file", _csv(lambda f: None), "text file",
            '[file]\ntable = "Sheet1"\n'),
]  # fmt: skip
if hasattr(os, "mkfifo"):
    CATALOGUE.append(BadFile("a pipe", _pipe, "pipe"))
