"""Files that leave a question open, and whether the check asks it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from checking import FRAME, SESSIONS

from pwp_report.check import Check

BOTH = ("phq9", "gad7")
#: Ten times as many patients.
MANY = pd.concat([FRAME.assign(patient_id=FRAME["patient_id"] + f"-{i}") for i in range(10)])
MANY = MANY.reset_index(drop=True)
ADJUST = '[case_mix]\nadjust = ["IMD"]\n'
IMD = [str(1 + i % 10) for i in range(len(FRAME))]


def means_of_items() -> pd.DataFrame:
    return FRAME.assign(**{f"core_om_{end}": FRAME[f"phq9_{end}"] / 7 for end in ("pre", "post")})


def renamed(one: str, other: str, role: str = "therapist_id") -> pd.DataFrame:
    names = sorted(FRAME["therapist_id"].unique())
    frame = FRAME.assign(service_id=FRAME["therapist_id"])
    return frame.assign(**{role: frame[role].replace({names[0]: one, names[1]: other})})


def swapped() -> pd.DataFrame:
    return FRAME.rename(columns={"phq9_pre": "phq9_post", "phq9_post": "phq9_pre"})


def one_day() -> pd.DataFrame:
    last = SESSIONS.groupby("PathwayID").tail(1).head(4)
    return pd.concat([SESSIONS, last.assign(PHQ9=(last["PHQ9"].astype(int) + 9) % 28)])


def two_of_staff() -> pd.DataFrame:
    return pd.concat([SESSIONS, SESSIONS.assign(CarePersLocalId="t-other")])


def restarting() -> pd.DataFrame:
    numbers = FRAME.groupby("therapist_id").cumcount()
    # Whoever says no word of services that restart has a patient in two rows.
    return FRAME.assign(service_id=FRAME["therapist_id"], patient_id=numbers)


def clinics(heading: str, sizes: tuple[int, ...] = (4, 9, 14, 6, 11), of: str = "") -> pd.DataFrame:
    """Services which number their own therapists from one, each with twelve patients."""
    who = [(s, t) for s, size in enumerate(sizes) for t in range(size) for _ in range(12)]
    rows = pd.concat([FRAME.drop(columns="service_id")] * 9, ignore_index=True).head(len(who))
    labels = {"patient_id": range(len(who)), "therapist_id": [f"{of}{t + 1}" for _, t in who]}
    return rows.assign(**labels, **{heading: [f"place {s}" for s, _ in who]})


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """Therapists with names in the place of numbers."""
    names = frame["therapist_id"].str.strip("t").astype(int).map(lambda n: f"Ada {chr(97 + n) * 3}")
    return frame.assign(therapist_id=names)


def groups() -> pd.DataFrame:
    """Each therapist's patients in sets of four."""
    turn = FRAME.groupby("therapist_id").cumcount() // 4
    return FRAME.assign(Course=FRAME["therapist_id"] + " " + turn.astype("str"))


def coded(seed: int, kinds: int = 8, tells: float = 4.0) -> pd.DataFrame:
    """Codes of which each tells something of its own, in no order."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(1, kinds + 1, len(MANY))
    own = rng.permutation(np.linspace(-tells, tells, kinds) * (-1) ** np.arange(kinds))
    posts = {f"{m}_post": (MANY[f"{m}_post"] + own[codes - 1]).round().clip(0, 21) for m in BOTH}
    return MANY.assign(Problem=codes, **posts)


def two_courses(n: int) -> pd.DataFrame:
    """So many patients come a second time, and their sessions are counted from one again."""
    number = SESSIONS.groupby("PathwayID").cumcount() + 1
    rows = SESSIONS.assign(**{"Session number": number}).drop(columns="AppType")
    again = rows[rows["PathwayID"].isin(rows["PathwayID"].unique()[:n])]
    later = again["CareContDate"].str.replace("2021", "2022")
    return pd.concat([rows, again.assign(CareContDate=later)])


def filled_in(how: str, n: int) -> pd.DataFrame:
    """Of so many patients the last scores are the first ones again, or nought."""
    frame, filled = FRAME.copy(), FRAME.index < n
    for m in BOTH:
        other = frame[f"{m}_pre"] if how == "pre" else 0
        frame[f"{m}_post"] = frame[f"{m}_post"].mask(filled, other)
    return frame


def referrals() -> pd.DataFrame:
    """Sessions of which every two courses are one client's."""
    rows = SESSIONS.rename(columns={"PathwayID": "Referral ID"})
    return rows.assign(Client="c" + (pd.factorize(rows["Referral ID"])[0] // 2).astype("str"))


def messages(every: int = 2) -> pd.DataFrame:
    """Sessions, and after every so many of them a message, which has no score."""
    rows = SESSIONS.drop(columns=["AttendOrDNACode", "AppType"]).assign(Activity="Review")
    sent = rows.iloc[::every].assign(Activity="Message", PHQ9="", GAD7="")
    later = sent["CareContDate"].str.replace("2021", "2022")
    return pd.concat([rows, sent.assign(CareContDate=later)])


def trainees(label: str = "TR{}", years: int = 3) -> pd.DataFrame:
    """Therapists who are trainees and numbered, each with patients of so many years."""
    who = FRAME["therapist_id"].str[1:].map(label.format)
    year = FRAME.groupby("therapist_id").cumcount() % years + 2021
    return FRAME.assign(therapist_id=who, Year=year.map(lambda y: f"{y}/{y % 100 + 1}"))


def later(n: int, days: int, after: int = 2) -> pd.DataFrame:
    """So many patients have four sessions, those after the first `after` so many days later."""
    rows = pd.concat([SESSIONS, SESSIONS], ignore_index=True)
    rows = rows.sort_values("PathwayID", kind="stable").reset_index(drop=True)
    turn = rows.groupby("PathwayID").cumcount()
    apart = turn * 7 + days * (turn >= after) * rows["PathwayID"].isin(
        rows["PathwayID"].unique()[:n]
    )
    dates = pd.Timestamp("2021-03-01") + pd.to_timedelta(apart, unit="D")
    return rows.assign(CareContDate=dates.dt.strftime("%Y-%m-%d"))


def points(heading: str = "Point") -> pd.DataFrame:
    """Points of assessment: baseline, end and follow-up, which the last twenty have not."""
    rows = SESSIONS.drop(columns=["AttendOrDNACode", "AppType"])
    words = ["Baseline", "End of therapy", "Follow-up 6m"]
    turn = rows.groupby("PathwayID").cumcount()
    rows = rows.assign(**{heading: turn.map(dict(enumerate(words)))})
    late = rows["PathwayID"].isin(rows["PathwayID"].unique()[-20:])
    return rows[~(late & (turn > 0))]


def baselines(undated: int) -> pd.DataFrame:
    """Sessions, and before them a baseline of each patient, so many of these without a date."""
    first = SESSIONS.drop_duplicates("PathwayID").reset_index(drop=True)
    date = first["CareContDate"].where(first.index >= undated)
    rows = [first.assign(event="baseline", CareContDate=date), SESSIONS.assign(event="session")]
    return pd.concat(rows, ignore_index=True)


def blocks(n: int) -> pd.DataFrame:
    """Names of therapists in every `n`-th row alone."""
    return FRAME.assign(therapist_id=FRAME["therapist_id"].mask(FRAME.index % n > 0))


def unrelated(seed: int = 0) -> pd.DataFrame:
    """Last scores of anybody else."""
    posts = {f"{m}_post": MANY[f"{m}_post"].sample(frac=1, random_state=seed) for m in BOTH}
    return MANY.assign(**{c: values.to_numpy() for c, values in posts.items()})


def simulated(rng: np.random.Generator, size: int, correlation: float) -> pd.DataFrame:
    """Patients of twenty therapists whose first and last scores correlate so."""
    first = rng.normal(size=size)
    last = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=size)
    ends = {"phq9_pre": 15 + 4 * first, "phq9_post": 11 + 4 * last}
    who = {
        "patient_id": np.arange(size) + 1000,
        "therapist_id": [f"t{i % 20}" for i in range(size)],
    }
    return pd.DataFrame(who | {c: np.clip(v.round(), 0, 27).astype(int) for c, v in ends.items()})


def on_another_scale(of: list[str], by: float = 9.0) -> pd.DataFrame:
    """These therapists write the scores as means of items."""
    here = MANY["therapist_id"].isin(of)
    scores = {c: (MANY[c] / by).round(1).where(here, MANY[c]) for c in ("phq9_pre", "phq9_post")}
    return MANY.rename(columns={c: f"q_{c[5:]}" for c in scores}).assign(
        **{f"q_{c[5:]}": values for c, values in scores.items()}
    )


#: A measure of whole scores that may be means of items.
Q = '[measures.q]\npre = "q_pre"\npost = "q_post"\nminimum = 0\nmaximum = 27\n'
Q += "higher_is_worse = true\ninteger = false\n"


def families(size: int) -> pd.DataFrame:
    """Cases of so many patients, each with one therapist."""
    case = (
        FRAME["therapist_id"]
        + "-"
        + (FRAME.groupby("therapist_id").cumcount() // size).astype("str")
    )
    return FRAME.assign(**{"Family case": case})


#: Without a column of services.
FREE = FRAME.drop(columns="service_id")


def supervisors(n: int) -> pd.Series:
    """Each therapist under one of so many supervisors."""
    return FRAME["therapist_id"].map(lambda t: f"S{int(t[1:]) % n}")


def is_asked(check: Check, words: str) -> bool:
    return any(words in q for q in check.study.questions)
