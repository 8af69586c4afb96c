"""What the catalogue of bad files is made with: each builder writes a file into a folder."""

from __future__ import annotations

import io
import os
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd

SECRET = "Zaphod"  # stands in cells that no message may repeat


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


def text(frame: pd.DataFrame, **kwargs: Any) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n", **kwargs))


def csv(change: Callable[[pd.DataFrame], pd.DataFrame | None], **kwargs: Any):
    def build(folder: Path) -> Path:
        frame = good_frame().astype(object)
        changed = change(frame)
        path = folder / "bad.csv"
        path.write_text(text(frame if changed is None else changed, **kwargs), encoding="utf-8")
        return path

    return build


def cell(row: int, column: str, value: object):
    def change(frame: pd.DataFrame) -> None:
        frame.loc[row - 2, column] = value

    return csv(change)


def column(name: str, value: object):
    def change(frame: pd.DataFrame) -> None:
        frame[name] = value

    return csv(change)


def raw(name: str, content: bytes | Callable[[], bytes]):
    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content() if callable(content) else content)
        return path

    return build


def edit(change: Callable[[str], str]):
    return raw("bad.csv", lambda: change(text(good_frame())).encode())


def sessions(change: Callable[[pd.DataFrame], pd.DataFrame | None]):
    def build(folder: Path) -> Path:
        frame = session_frame().astype(object)
        changed = change(frame)
        path = folder / "bad.csv"
        path.write_text(text(frame if changed is None else changed), encoding="utf-8")
        return path

    return build


# --- Excel, databases, Parquet --------------------------------------------------------------------


def excel(fill: Callable[[Any], None]):
    def build(folder: Path) -> Path:
        book = openpyxl.Workbook()
        fill(book)
        path = folder / "bad.xlsx"
        book.save(path)
        return path

    return build


def put(sheet: Any, frame: pd.DataFrame, above: int = 0) -> None:
    for _ in range(above):
        sheet.append(["Outcomes of the service"])
    sheet.append(list(frame.columns))
    for row in frame.itertuples(index=False):
        sheet.append([v.item() if isinstance(v, np.generic) else v for v in row])


def merged(book: Any) -> None:
    put(book.active, good_frame())
    book.active.merge_cells("A2:A4")


def titled(book: Any) -> None:
    put(book.active, good_frame(), above=1)


def two_sheets(book: Any) -> None:
    put(book.active, good_frame())
    put(book.create_sheet("again"), good_frame())


def excel_date(book: Any) -> None:
    put(book.active, good_frame())
    book.active["D5"] = pd.Timestamp("2021-03-05").to_pydatetime()


def excel_text(book: Any) -> None:
    put(book.active, good_frame())
    book.active["E7"] = SECRET


def bare_formula(book: Any) -> None:
    put(book.active, good_frame())
    book.active["D3"] = "=D2+1"  # openpyxl stores no result, as other exports do not


def hidden_sheet(book: Any) -> None:
    put(book.active, good_frame())
    hidden = book.create_sheet("old")
    put(hidden, good_frame())
    hidden.sheet_state = "hidden"


def chart_sheet(book: Any) -> None:
    book.create_chartsheet("chart")


def pipe(folder: Path) -> Path:
    path = folder / "bad.csv"
    os.mkfifo(path)
    return path


def header_only(book: Any) -> None:
    book.active.append(list(good_frame().columns))


def truncated_excel(folder: Path) -> Path:
    whole = io.BytesIO()
    good_frame().to_excel(whole, index=False)
    path = folder / "bad.xlsx"
    path.write_bytes(whole.getvalue()[:3000])
    return path


def zipped(folder: Path) -> Path:
    path = folder / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", text(good_frame()))
    return path


def broken_workbook(folder: Path) -> Path:
    path = folder / "bad.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    return path


def sqlite(tables: dict[str, pd.DataFrame]):
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


def two_tables(folder: Path) -> Path:
    import duckdb

    path = folder / "bad.duckdb"
    frame = good_frame()
    with duckdb.connect(str(path)) as base:
        base.register("frame", frame)
        base.execute("create table one as select * from frame")
        base.execute("create table two as select * from frame")
    return path


def damaged_duckdb(folder: Path) -> Path:
    path = folder / "bad.duckdb"
    path.write_bytes(b"\0" * 8 + b"DUCK" + b"\x01" * 5000)
    return path


def parquet(frame: Callable[[], pd.DataFrame], keep: float = 1.0):
    def build(folder: Path) -> Path:
        path = folder / "bad.parquet"
        frame().to_parquet(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return path

    return build


def wide_parquet() -> pd.DataFrame:
    return pd.DataFrame(np.zeros((1, 6000)), columns=[f"c{i}" for i in range(6000)])


# --- Changes to the frame -------------------------------------------------------------------------


def repeat(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[4]]])


def conflict(frame: pd.DataFrame) -> pd.DataFrame:
    again = frame.iloc[[4]].assign(phq9_post=0)
    return pd.concat([frame, again])


def two_therapists(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[4]].assign(therapist_id="t7")])


def moved(frame: pd.DataFrame) -> None:
    frame.loc[3, "service_id"] = "s9"


def drop(*columns: str):
    return csv(lambda frame: frame.drop(columns=list(columns)))


def rename(**names: str):
    return csv(lambda frame: frame.rename(columns=names))


def swap_scores(frame: pd.DataFrame) -> None:
    frame["phq9_pre"] = [f"{v}%" for v in frame["phq9_pre"]]


def lines(change: Callable[[list[str]], list[str]]):
    return edit(lambda whole: "\n".join(change(whole.splitlines())) + "\n")
