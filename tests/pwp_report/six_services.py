"""Six files as services and networks have them, each made with what should come of it.

Each maker writes a file and gives the one edit of the study file that its owner has to make (what
``pwp check --write-study`` wrote, with one line changed), and the patients that are to be analysed,
worked out here with pandas alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd


@dataclass(frozen=True)
class Service:
    """A file, the edit of its study file (from, to), and who should be left with which scores."""

    file: Path
    edit: tuple[str, str] | None
    expected: pd.DataFrame


def _people(
    seed: int, n: int, therapists: int, scale: tuple[float, float] = (0, 27)
) -> pd.DataFrame:
    """Scores of patients whose therapists differ, as whole numbers on a scale."""
    rng = np.random.default_rng(seed)
    low, high = scale
    t = rng.integers(0, therapists, n)
    pre = rng.normal(low + 0.6 * (high - low), 0.18 * (high - low), n)
    effect = rng.normal(0, 0.06 * (high - low), therapists)
    post = pre - 0.22 * (high - low) + effect[t] + rng.normal(0, 0.15 * (high - low), n)
    return pd.DataFrame(
        {"t": t, "pre": pre.clip(low, high).round(), "post": post.clip(low, high).round()}
    )


def _kept(patient: pd.Series, therapist: pd.Series, **scores: pd.Series) -> pd.DataFrame:
    table = pd.DataFrame({"patient_id": patient, "therapist_id": therapist, **scores})
    return table.astype(dict.fromkeys(scores, float)).reset_index(drop=True)


def trust(folder: Path) -> Service:
    """A trust's patients: national field names, a word for waiting, persons with two courses."""
    phq, gad = _people(1, 900, 30), _people(2, 900, 30, (0, 21))
    frame = pd.DataFrame(
        {
            "PathwayID": [f"W{i:05d}" for i in range(900)],
            "Person_ID": [f"N{i // 2:05d}" for i in range(900)],
            "CarePersLocalId": [f"PWP{t:02d}" for t in phq["t"]],
            "OrgID_Provider": [f"R{t % 3}" for t in phq["t"]],
            "PHQ9_FirstScore": phq["pre"].astype(int),
            "PHQ9_LastScore": phq["post"].astype(int).astype(object),
            "GAD_FirstScore": gad["pre"].astype(int),
            "GAD_LastScore": gad["post"].astype(int),
            "TreatmentCareContact_Count": np.arange(900) % 9,
            "Referral Status": np.where(np.arange(900) % 10 == 7, "Bounced", "Discharged"),
        }
    )
    frame.loc[frame.index % 13 == 5, "PHQ9_LastScore"] = ""
    frame.to_csv(folder / "trust.csv", index=False)
    met = (frame["TreatmentCareContact_Count"] >= 2) & (frame["Referral Status"] == "Discharged")
    left = frame[met & (frame["PHQ9_LastScore"] != "")]
    expected = _kept(
        left["PathwayID"],
        left["CarePersLocalId"],
        phq9_pre=left["PHQ9_FirstScore"],
        phq9_post=left["PHQ9_LastScore"],
        gad7_pre=left["GAD_FirstScore"],
        gad7_post=left["GAD_LastScore"],
    )
    return Service(folder / "trust.csv", ('neither = ["waiting"', 'neither = ["bounced"'), expected)


def contacts(folder: Path) -> Service:
    """Contacts, one a row and in no order, some of them twice, some missed."""
    rng = np.random.default_rng(3)
    phq = _people(4, 300, 12)
    rows = []
    for i, (t, pre, post) in enumerate(phq.itertuples(index=False)):
        for k, score in enumerate((pre, (pre + post) // 2, post)):
            day = pd.Timestamp("2022-01-03") + pd.Timedelta(days=7 * k + i % 90)
            rows.append((f"c{i}", f"s{int(t)}", f"{day:%d/%m/%Y}", "5", int(score)))
        if i % 4 == 0:  # did not come, and answered at home
            rows.append((f"c{i}", f"s{int(t)}", "31/12/2022", "3", 27))
    names = ["Episode ID", "Staff ID", "Contact date", "AttendOrDNACode", "PHQ-9"]
    frame = pd.DataFrame(rows, columns=names)
    frame = pd.concat([frame, frame[frame.index % 40 == 1]])
    frame.iloc[rng.permutation(len(frame))].to_csv(folder / "contacts.csv", index=False, sep="\t")
    ids = pd.Series([f"c{i}" for i in range(300)])
    expected = _kept(ids, phq["t"].map("s{}".format), phq9_pre=phq["pre"], phq9_post=phq["post"])
    drop = ("drop_repeated_rows = false", "drop_repeated_rows = true")
    return Service(folder / "contacts.csv", drop, expected)


def workbook(folder: Path) -> Service:
    """A workbook with a merged title, notes below, a second sheet, and dates in true cells."""
    phq = _people(5, 240, 10)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Outcomes"
    sheet.append(["Outcomes of the counselling team"])
    sheet.merge_cells("A1:E1")
    sheet.append([])
    sheet.append(["Client ID", "Counsellor", "PHQ9 at assessment", "PHQ9 at discharge", "End date"])
    for i, (t, pre, post) in enumerate(phq.itertuples(index=False)):
        day = pd.Timestamp("2023-02-01") + pd.Timedelta(days=i)
        sheet.append([i + 1, f"Counsellor {'ABCDEFGHIJ'[int(t)]}", int(pre), int(post), day])
    sheet.append(["Printed from the team's system on Friday"])
    book.create_sheet("Notes").append(["Ask Pat about these"])
    book.save(folder / "team.xlsx")
    expected = _kept(
        pd.Series(range(1, 241)).astype(str),
        phq["t"].map(lambda t: f"Counsellor {'ABCDEFGHIJ'[t]}"),
        phq9_pre=phq["pre"],
        phq9_post=phq["post"],
    )
    return Service(folder / "team.xlsx", None, expected)


def network(folder: Path) -> Service:
    """A research network: CORE-OM as means of items, in decimals, and OQ-45."""
    core, oq = _people(6, 500, 25, (0, 34)), _people(7, 500, 25, (0, 180))
    frame = pd.DataFrame(
        {
            "uid": np.arange(1, 501),
            "Therapist": core["t"].map("T{:03d}".format),
            "preCORE": (core["pre"] * 4 / 34).round(2),
            "postCORE": (core["post"] * 4 / 34).round(2),
            "OQ45.2 pre": oq["pre"].astype(int),
            "OQ45.2 post": oq["post"].astype(int),
        }
    )
    frame.to_csv(folder / "network.csv", index=False)
    expected = _kept(
        frame["uid"].astype(str),
        frame["Therapist"],
        core_om_pre=frame["preCORE"],
        core_om_post=frame["postCORE"],
        oq45_pre=frame["OQ45.2 pre"],
        oq45_post=frame["OQ45.2 post"],
    )
    return Service(
        folder / "network.csv", ("maximum = 40\ncutoff = 10", "maximum = 4\ncutoff = 1"), expected
    )


def small(folder: Path) -> Service:
    """A service of eight therapists with three to forty patients, and some not yet allocated."""
    loads = [3, 6, 9, 14, 17, 24, 33, 40]
    names = ["Ann", "Bob", "Cat", "Dee", "Eve", "Fay", "Gus", "Hal"]
    phq = _people(8, sum(loads) + 4, 8)
    staff = [*np.repeat(names, loads), *["Unallocated"] * 4]
    frame = pd.DataFrame(
        {
            "Patient Identifier": [f"{i:04d}" for i in range(len(staff))],
            "Allocated To": [s.upper() if i % 5 == 2 else s for i, s in enumerate(staff)],
            "First PHQ9 Score": phq["pre"].astype(int),
            "Most Recent PHQ9 Score": phq["post"].astype(int),
        }
    )
    frame.to_csv(folder / "small.csv", index=False)
    left = frame.iloc[:-4]
    expected = _kept(
        left["Patient Identifier"],
        pd.Series(staff[:-4]),
        phq9_pre=left["First PHQ9 Score"],
        phq9_post=left["Most Recent PHQ9 Score"],
    )
    return Service(folder / "small.csv", None, expected)


def clinic(folder: Path) -> Service:
    """A German clinic: semicolons, decimal commas, umlauts, Windows' code page."""
    phq = _people(9, 200, 9)
    names = ["Müller", "Jäger", "Groß", "Özdemir", "Böhm", "Weiß", "Kühn", "Schäfer", "Löwe"]
    frame = pd.DataFrame(
        {
            "Fallnummer": np.arange(7001, 7201),
            "Therapeut": phq["t"].map(lambda t: names[t]),
            "PHQ9 pre": phq["pre"].map(lambda s: f"{s:.1f}".replace(".", ",")),
            "PHQ9 post": phq["post"].map(lambda s: f"{s:.1f}".replace(".", ",")),
        }
    )
    frame.to_csv(folder / "klinik.csv", index=False, sep=";", encoding="cp1252")
    expected = _kept(
        frame["Fallnummer"].astype(str),
        frame["Therapeut"],
        phq9_pre=phq["pre"],
        phq9_post=phq["post"],
    )
    named = ('# patient_id = "?"', 'patient_id = "Fallnummer"')
    return Service(folder / "klinik.csv", named, expected)


SERVICES: tuple[Callable[[Path], Service], ...] = (
    trust,
    contacts,
    workbook,
    network,
    small,
    clinic,
)
