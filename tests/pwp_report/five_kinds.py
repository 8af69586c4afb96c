"""Five files unlike each other in format, level, measures and size, and how each is to be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Array = Any


def _scores(
    rng: np.random.Generator,
    who: Array,
    pre: tuple[float, float],
    top: int,
    sd: float,
    extra: Any = 0,
) -> tuple[Array, Array]:
    first = np.clip(rng.normal(*pre, len(who)).round(), 0, top)
    effect = rng.normal(0, 0.3 * sd, who.max() + 1)[who]
    last = 0.6 * pre[0] + 0.6 * (first - pre[0]) + effect + extra
    return first, np.clip((last + rng.normal(0, sd, len(who))).round(), 0, top)


def contacts(folder: Path) -> Path:
    """One row a contact, tabs, UTF-16, days first, in no order; and a table of therapists."""
    rng = np.random.default_rng(101)
    who = rng.choice(26, 500, p=rng.dirichlet(np.full(26, 3.0)))
    (p, q), (a, b) = _scores(rng, who, (15, 4.5), 27, 5), _scores(rng, who, (13, 4), 21, 4)
    rows = []
    for i, t in enumerate(who):
        last, day = int(rng.poisson(4)), date(2024, 4, 1) + timedelta(int(rng.integers(0, 300)))
        for s in range(last + 1):
            came = s in (0, last) or rng.random() < 0.7
            part = s / max(last, 1)
            two = [round(x[i] + part * (y[i] - x[i])) if came else "" for x, y in ((p, q), (a, b))]
            kind = "Attended" if came else rng.choice(["DNA", "Cancelled by patient"])
            rows.append((f"R{10_000 + i}", f"C-{t + 11}", f"{day:%d.%m.%Y}", kind, *two))
            day += timedelta(int(rng.integers(6, 16)))
    names = [
        "ReferralRef",
        "Clinician",
        "Appt date",
        "Attendance status",
        "PHQ9 total",
        "GAD7 total",
    ]
    frame = pd.DataFrame(rows, columns=names).sample(frac=1, random_state=1)
    frame.to_csv(folder / "contacts.txt", sep="\t", index=False, encoding="utf-16")
    staff = {
        "therapist_id": [f"C-{t + 11}" for t in range(26)],
        "age": rng.integers(24, 65, 26),
        "resilience": rng.integers(40, 100, 26),
    }
    pd.DataFrame(staff).to_csv(folder / "therapists.csv", index=False)
    return folder / "contacts.txt"


def counselling(folder: Path) -> Path:
    """Stata, CORE-10, few therapists; a tenth without a last score, ages missing too."""
    import pyreadstat

    rng = np.random.default_rng(103)
    who = rng.integers(0, 12, 260)
    p, q = _scores(rng, who, (21, 6), 40, 6.5)
    columns = {"client": np.arange(260) + 1, "counsellor": who + 1, "core10_start": p}
    frame = pd.DataFrame(columns | {"core10_end": q, "sex": rng.choice([1, 2], 260)})
    frame["core10_end"] = frame["core10_end"].mask(rng.random(260) < 0.1)
    age = rng.integers(18, 60, 260).astype(float)
    frame["age"] = np.where(rng.random(260) < 0.12, np.nan, age)
    labels = {"sex": {1: "Male", 2: "Female"}}
    pyreadstat.write_dta(frame, folder / "counselling.dta", variable_value_labels=labels)
    return folder / "counselling.dta"


def clinic(folder: Path) -> Path:
    """SPSS, the ORS, where higher is better and scores have decimals, some of the last missing."""
    import pyreadstat

    rng = np.random.default_rng(104)
    who = rng.integers(0, 19, 640)
    p = np.clip(rng.normal(19, 7, 640).round(1), 0, 40)
    effect = rng.normal(0, 2, 19)[who]
    q = np.clip((26 + 0.5 * (p - 19) + effect + rng.normal(0, 7, 640)).round(1), 0, 40)
    q[rng.random(640) < 0.08] = np.nan
    columns = {"id": np.arange(640) + 1.0, "therapist": who + 1.0, "ors_intake": p, "ors_final": q}
    labels = {"therapist": {i + 1.0: f"Therapist {chr(65 + i)}" for i in range(19)}}
    pyreadstat.write_sav(pd.DataFrame(columns), folder / "clinic.sav", variable_value_labels=labels)
    return folder / "clinic.sav"


def outcomes(folder: Path) -> Path:
    """Excel, the data on the second sheet under a title; last scores missing, some dropped out."""
    rng = np.random.default_rng(102)
    who = rng.choice(34, 1_500, p=rng.dirichlet(np.full(34, 4.0)))
    decile = rng.integers(1, 11, 1_500)
    p, q = _scores(rng, who, (15, 4.5), 27, 5, 0.25 * (5 - decile))
    a, b = _scores(rng, who, (13, 4), 21, 4)
    frame = pd.DataFrame(
        {
            "patient_id": np.arange(1_500) + 5_000,
            "Practitioner": [f"PWP{t:02d}" for t in who],
            "Site": [f"Site {chr(65 + t % 8)}" for t in who],
            "PHQ-9 first": p,
            "PHQ-9 last": np.where(rng.random(1_500) < 0.12, np.nan, q),
            "GAD-7 first": a,
            "GAD-7 last": b,
            "Sessions attended": rng.integers(1, 14, 1_500),
        }
    )
    frame["Deprivation decile"] = np.where(rng.random(1_500) < 0.1, np.nan, decile)
    work = np.array(["Employed", "Unemployed", "Retired"])
    frame["Employment"] = work[rng.choice(3, 1_500, p=[0.6, 0.3, 0.1])]
    ends = ["Completed treatment", "Dropped out"]
    frame["Status"] = rng.choice(ends, 1_500, p=[0.8, 0.2])
    with pd.ExcelWriter(folder / "outcomes.xlsx") as book:
        about = pd.DataFrame({"About": ["Extract of 3 November"]})
        about.to_excel(book, sheet_name="Read me", index=False)
        frame.to_excel(book, sheet_name="Episodes", index=False, startrow=3)
        book.sheets["Episodes"].cell(1, 1, "Talking therapies: episodes closed in 2025")
    return folder / "outcomes.xlsx"


def region(folder: Path) -> Path:
    """Parquet, thirty-two services, each with an index of its area; some without last scores."""
    rng = np.random.default_rng(105)
    who = rng.choice(160, 8_000, p=rng.dirichlet(np.full(160, 6.0)))
    service = rng.normal(0, 0.9, 32)[who % 32]
    p, q = _scores(rng, who, (15, 4.5), 27, 5, service)
    a, b = _scores(rng, who, (13, 4), 21, 4)
    ids = {"pseudo_id": rng.permutation(8_000), "therapist_id": who, "service_id": who % 32}
    scores = {"phq9_pre": p, "phq9_post": q, "gad7_pre": a, "gad7_post": b}
    frame = pd.DataFrame(ids | scores | {"n_sessions": rng.integers(2, 15, 8_000)})
    area = (24 + 6 * service + rng.normal(0, 9, 32)[who % 32]).round(1)
    frame["imd"], frame["age"] = area, rng.integers(18, 85, 8_000)
    frame["gender"] = rng.choice(["female", "male"], 8_000, p=[0.65, 0.35])
    gone = rng.random(8_000) < 0.03 + 0.004 * frame["phq9_pre"]
    frame["phq9_post"] = frame["phq9_post"].mask(gone)
    frame.to_parquet(folder / "region.parquet")
    return folder / "region.parquet"


MAKERS: dict[str, Callable[[Path], Path]] = {
    m.__name__: m for m in (contacts, counselling, clinic, outcomes, region)
}

#: What a study file says of them: between them, all that can be asked.
STUDIES = {
    "contacts": "engines = ['ml', 'gibbs']\ncluster_size = 4\n[disclosure]\nminimum_shown = 12\n"
    "[leave_out]\n'Attendance status' = ['Cancelled by patient']\n",
    "counselling": "engines = ['ml']\n[case_mix]\nadjust = ['sex', 'age']\n"
    "[disclosure]\nminimum_shown = 15\n",
    "clinic": "engines = ['ml']\n"
    "[measures.ors]\nlabel = 'ORS'\npre = 'ors_intake'\npost = 'ors_final'\nminimum = 0\n"
    "maximum = 40\ninteger = false\ncutoff = 25\nreliable_change = 6\nhigher_is_worse = false\n",
    "outcomes": "engines = ['ml']\n[case_mix]\nadjust = ['Deprivation decile', 'Employment']\n"
    "missing_covariates = 'drop'\n",
    "region": "engines = ['ml']\n[case_mix]\nadjust = ['imd', 'age', 'gender']\n"
    "therapist_mean = true\n",
}
#: By measure: cut-off, reliable change, and 1 where a higher score is worse.
SCALES = {"phq9": (10, 6, 1), "gad7": (8, 4, 1), "core10": (11, 6, 1), "ors": (25, 6, -1)}


#: What is adjusted for, by file.
COVARIATES = {
    "counselling": ["sex", "age"],
    "outcomes": ["Deprivation decile", "Employment"],
    "region": ["imd", "age", "gender"],
}
_NAMES = {
    "counselling": {"counsellor": "t", "core10_start": "core10_pre", "core10_end": "core10_post"},
    "clinic": {"therapist": "t", "ors_intake": "ors_pre", "ors_final": "ors_post"},
    "outcomes": {
        **{"Practitioner": "t", "Site": "service", "Sessions attended": "sessions"},
        **{"PHQ-9 first": "phq9_pre", "PHQ-9 last": "phq9_post"},
        **{"GAD-7 first": "gad7_pre", "GAD-7 last": "gad7_post"},
    },
    "region": {"therapist_id": "t", "service_id": "service", "n_sessions": "sessions"},
}


def read_alone(name: str, file: Path) -> pd.DataFrame:
    """Read a file by pandas alone: one row a patient, ``t``, two scores a measure, what else."""
    if name == "contacts":
        rows = pd.read_csv(file, sep="\t", encoding="utf-16")
        rows = rows[rows["Attendance status"] == "Attended"]
        rows = rows.assign(day=pd.to_datetime(rows["Appt date"], format="%d.%m.%Y"))
        by = rows.sort_values("day").groupby("ReferralRef")
        out = {"t": by["Clinician"].first(), "sessions": by.size()}
        for m, column in (("phq9", "PHQ9 total"), ("gad7", "GAD7 total")):
            out |= {f"{m}_pre": by[column].first(), f"{m}_post": by[column].last()}
        return pd.DataFrame(out).reset_index(drop=True)
    if name == "counselling":
        rows = pd.read_stata(file, convert_categoricals=False)
        rows["sex"] = rows["sex"].map({1: "Male", 2: "Female"})
    elif name == "clinic":
        import pyreadstat

        rows = pyreadstat.read_sav(file)[0]
    elif name == "outcomes":
        rows = pd.read_excel(file, sheet_name="Episodes", skiprows=3)
        rows = rows.assign(closed=True, dropped_out=rows["Status"] == "Dropped out")
    else:
        rows = pd.read_parquet(file)
    return rows.rename(columns=_NAMES[name])
