"""Six service downloads from which a cohort is recovered exactly.

The downloads are what services send: one row a session, each in its own columns, codes, dates and
encoding, with rows that are repeated, sessions not attended, and patients whom the rules of
inclusion take out: in groups, seen once, without a last score, without an assessment, or of one of
two therapists who withdrew. Everything in them beyond the cohort is drawn from the seed.

Run as ``python -m calibration.extracts`` from the root: it writes the packaged downloads.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.systems import SYSTEMS, System
from pwp_lib.cohort import PACKAGED, Cohort, load_cohort

__all__ = ["make_extracts"]

#: The paper's period: from the start in the service to the end of February 2011.
START, END = dt.date(2010, 1, 11), dt.date(2011, 2, 28)


@dataclass
class _Case:
    """A patient to be written out, in the cohort or not."""

    number: int
    therapist: str
    scores: list[dict[str, float | None]]
    age: int
    gender: str | None
    ethnicity: str | None
    closed: bool
    group: bool = False
    assessed: bool = True
    attended: bool = True


def _between(first: float, last: float, n: int, top: int, rng: np.random.Generator) -> list[Any]:
    """Scores of the sessions between the first and the last; some were not asked for."""
    line = np.linspace(first, last, n) + rng.normal(0, 2, n)
    middle = np.clip(np.round(line), 0, top)
    return [None if rng.random() < 0.1 else float(v) for v in middle[1:-1]]


def _scores(
    row: Mapping[Any, Any], cohort: Cohort, rng: np.random.Generator
) -> list[dict[str, float | None]]:
    n = int(row["sessions"])
    columns = {}
    for m in cohort.measures:
        pre, post = float(row[m.pre]), float(row[m.post])
        columns[m.name] = [pre, *_between(pre, post, n, int(m.maximum), rng), post]
    return [{name: values[i] for name, values in columns.items()} for i in range(n)]


def _included(people: pd.DataFrame, cohort: Cohort, rng: np.random.Generator) -> list[_Case]:
    return [
        _Case(
            number=0,
            therapist=row["therapist_id"],
            scores=_scores(row, cohort, rng),
            age=int(row["age"]),
            gender=row["gender"] if isinstance(row["gender"], str) else None,
            ethnicity=row["ethnicity"] if isinstance(row["ethnicity"], str) else None,
            closed=row["status"] == "closed",
        )
        for row in people.to_dict("records")
    ]


#: Who is written out and falls at a rule, as a share of the patients who do not.
_FALLING = {"once": 0.22, "unscored": 0.14, "group": 0.08, "unassessed": 0.02, "never": 0.05}


def _excluded(cases: list[_Case], withdrawn: list[str], rng: np.random.Generator) -> list[_Case]:
    """Make up patients whom a rule takes out, in the likeness of those whom none does."""
    made = [
        _falling(cases[int(rng.integers(len(cases)))], why, rng)
        for why, share in _FALLING.items()
        for _ in range(max(1, round(share * len(cases))))
    ]
    for therapist in withdrawn:
        for _ in range(int(rng.integers(9, 25))):
            like = cases[int(rng.integers(len(cases)))]
            made.append(_copy(like, therapist=therapist, scores=_shaken(like.scores, rng)))
    return made


def _copy(case: _Case, **changes: Any) -> _Case:
    return _Case(**{**vars(case), **changes})


def _shaken(
    scores: list[dict[str, float | None]], rng: np.random.Generator
) -> list[dict[str, float | None]]:
    """Shift scores a little, so that nobody is in the downloads twice."""
    tops = {"phq9": 27, "gad7": 21}
    return [
        {
            m: None if v is None else float(np.clip(v + rng.integers(-3, 4), 0, tops[m]))
            for m, v in session.items()
        }
        for session in scores
    ]


def _falling(like: _Case, why: str, rng: np.random.Generator) -> _Case:
    scores = _shaken(like.scores, rng)
    if why == "once":
        return _copy(like, scores=scores[:1], closed=bool(rng.random() < 0.9))
    if why == "never":
        empty = [dict.fromkeys(scores[0]) for _ in range(int(rng.integers(1, 3)))]
        return _copy(like, scores=empty, attended=False, closed=True)
    if why == "unscored":
        gaps = list(scores[-1]) if rng.random() < 0.6 else [str(rng.choice(list(scores[-1])))]
        end = {m: None if m in gaps else v for m, v in scores[-1].items()}
        return _copy(like, scores=[*scores[:-1], end])
    if why == "group":
        return _copy(like, scores=scores, group=True)
    return _copy(like, scores=scores, assessed=False)


def _days(n: int, rng: np.random.Generator) -> list[dt.date]:
    """Days of n sessions, one to three weeks apart, Monday to Friday, within the period."""
    gaps = np.concatenate([[0], rng.choice([7, 7, 7, 8, 9, 14, 14, 21], n - 1)])
    span, room = int(gaps.sum()), (END - START).days
    while span > room - 7:
        gaps[int(gaps.argmax())] -= 1
        span -= 1
    first = START + dt.timedelta(days=int(rng.integers(0, room - span - 2)))
    days = [first + dt.timedelta(days=int(g)) for g in np.cumsum(gaps)]
    kept: list[dt.date] = []
    for day in days:
        moved = day + dt.timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))
        kept.append(moved if not kept or moved > kept[-1] else kept[-1] + dt.timedelta(days=1))
    return kept


class _Writer:
    """Rows of one download."""

    def __init__(
        self, system: System, key: Mapping[str, str], cohort: Cohort, rng: np.random.Generator
    ) -> None:
        self.system, self.key, self.rng = system, key, rng
        self.measures = [m.name for m in cohort.measures]
        self.rows: list[dict[str, str]] = []

    def pick(self, words: tuple[str, ...]) -> str:
        # The first word is the usual one; the rarer ones have to be known all the same.
        return words[0] if self.rng.random() < 0.7 else str(self.rng.choice(list(words)))

    def absent(self) -> str:
        return self.pick(("", *self.system.missing[:1]))

    def when(self, day: dt.date) -> str:
        time = dt.time(int(self.rng.integers(9, 17)), int(self.rng.choice([0, 30])))
        return dt.datetime.combine(day, time).strftime(self.system.date_format)

    def write(self, case: _Case) -> None:
        s, rng = self.system, self.rng
        missed = int(rng.poisson(0.2 * len(case.scores))) if case.attended else 0
        days = _days(len(case.scores) + missed, rng)
        skipped = set(rng.permutation(np.arange(1, len(days)))[:missed].tolist())
        person = self.person(case, days)
        visit = iter(case.scores)
        mode = s.other["mode"] if case.group else s.codes["one_to_one"]
        for i, day in enumerate(days):
            came = case.attended and i not in skipped
            scores = next(visit) if came or not case.attended else {}
            first = i == 0 and case.assessed
            row = {
                **person,
                s.columns["date"]: self.when(day),
                s.columns["attended"]: self.pick(
                    s.codes["attended"] if came else s.other["attended"]
                ),
                s.columns["kind"]: self.pick(s.codes["assessment"] if first else s.other["kind"]),
                s.columns["mode"]: self.pick(mode),
            }
            for name in self.measures:
                value = scores.get(name)
                row[s.scores[name]] = self.absent() if value is None else f"{value:.0f}"
            self.rows.append(row)

    def person(self, case: _Case, days: list[dt.date]) -> dict[str, str]:
        s, columns = self.system, self.system.columns
        row = {
            columns["patient"]: s.patient.format(k=case.number),
            columns["therapist"]: self.key[case.therapist],
            columns["gender"]: self.pick(s.codes[case.gender]) if case.gender else self.absent(),
            columns["ethnicity"]: (
                self.pick(s.ethnicity[case.ethnicity])
                if case.ethnicity
                else self.pick(("", *s.missing[1:]))
            ),
        }
        if "age" in columns:
            row[columns["age"]] = str(case.age)
        else:
            row[columns["birth"]] = self.born(case.age, days[0]).strftime(s.date_format)
        if "ended" in columns:
            over = days[-1] + dt.timedelta(days=int(self.rng.integers(0, 15)))
            row[columns["ended"]] = self.when(over) if case.closed else ""
        else:
            words = s.codes["closed"] if case.closed else s.other["status"]
            row[columns["status"]] = self.pick(words)
        return row

    def born(self, age: int, day: dt.date) -> dt.date:
        """Draw a birthday that makes somebody so old on that day and not a year older soon."""
        latest = dt.date(day.year - age, day.month, min(day.day, 28))
        return latest - dt.timedelta(days=int(self.rng.integers(1, 200)))

    def frame(self) -> pd.DataFrame:
        s = self.system
        rows = pd.DataFrame(self.rows)
        order = [*s.columns.values(), *s.scores.values()]
        rows = rows[order].assign(**s.extra, synthetic="TRUE")
        again = self.rng.random(len(rows)) < s.repeated
        rows = pd.concat([rows, rows[again]])
        # Downloads come in the order of entry, roughly that of time, not in that of patients.
        when = pd.to_datetime(rows[s.columns["date"]], format=s.date_format)
        return (
            rows.assign(_when=when)
            .sort_values(["_when", s.columns["patient"]], kind="stable")
            .drop(columns="_when")
        )


def _numbers(cases: list[_Case], extra: list[_Case], rng: np.random.Generator) -> None:
    """Give numbers under which the patients of the cohort keep its order."""
    everybody = len(cases) + len(extra)
    drawn = np.sort(rng.choice(90_000, everybody, replace=False) + 1)
    mine = np.sort(rng.permutation(everybody)[: len(cases)])
    for case, i in zip(cases, mine, strict=True):
        case.number = int(drawn[i])
    rest = np.setdiff1d(np.arange(everybody), mine)
    for case, i in zip(extra, rng.permutation(rest), strict=True):
        case.number = int(drawn[i])


def _toml(service: str, system: System, key: Mapping[str, str], withdrawn: list[str]) -> str:
    """Write the map of a service."""

    def texts(values: tuple[str, ...] | list[str]) -> str:
        return "[" + ", ".join(json.dumps(v, ensure_ascii=False) for v in values) + "]"

    def table(name: str, values: Mapping[str, Any]) -> list[str]:
        lines = ["", f"[{name}]"]
        for k, v in values.items():
            shown = json.dumps(v, ensure_ascii=False) if isinstance(v, str) else texts(v)
            lines.append(f"{json.dumps(k, ensure_ascii=False)} = {shown}")
        return lines

    lines = [
        f"# How service {service} writes its download. Synthetic, as the download is.",
        f'service = "{service}"',
        f"file = {json.dumps(system.file)}",
        f"title = {json.dumps(system.title)}",
        f"date_format = {json.dumps(system.date_format)}",
        f"missing = {texts(system.missing)}",
        f"withdrawn = {texts([key[w] for w in withdrawn])}",
        *table("columns", system.columns),
        *table("scores", system.scores),
        *table("codes", system.codes),
        *table("ethnicity", system.ethnicity),
        "",
        "# The key that links the service's codes to the study's; a third party holds it.",
        *table("therapists", {key[t]: t for t in sorted(key) if t not in withdrawn})[1:],
    ]
    return "\n".join(lines) + "\n"


def _readme(seed: int) -> str:
    """Describe the downloads and their columns in Markdown."""
    lines = [
        "# Six synthetic service downloads",
        "",
        "**Every row is invented. No row describes a person, and no service is a real one.**",
        "",
        f"Made from the packaged cohort with seed {seed}; licence: CC0 1.0. A row is a session.",
        "`s1.toml` and so on say how each service writes; chapter 1 reads them all.",
        "Every file has a column `synthetic`, TRUE in every row.",
    ]
    meaning = {
        "patient": "patient, in the service's own numbering",
        "therapist": "therapist, as coded by the service's data manager",
        "date": "date of the session",
        "attended": "whether the session was attended",
        "kind": "assessment or treatment",
        "mode": "one-to-one or group",
        "age": "age in years",
        "birth": "date of birth",
        "gender": "gender",
        "ethnicity": "ethnic group",
        "status": "whether the case is closed",
        "ended": "date of discharge, empty while in treatment",
    }
    for service, s in SYSTEMS.items():
        lines += ["", f"## {s.file}: service {service}, {s.title}", ""]
        lines += ["| column | what it holds |", "|---|---|"]
        lines += [f"| `{column}` | {meaning[role]} |" for role, column in s.columns.items()]
        lines += [f"| `{column}` | score on {name} |" for name, column in s.scores.items()]
        lines += [f"| `{column}` | the same in every row |" for column in s.extra]
    return "\n".join([*lines, ""])


def make_extracts(cohort: Cohort, folder: Path, seed: int = 1) -> Path:
    """Write six downloads and their maps, from which chapter 1 gives the cohort back.

    Parameters
    ----------
    cohort : Cohort
        Synthetic, with services S1 to S6 and the columns of the packaged cohort.
    folder : Path
        Made if it does not exist.
    seed : int

    Returns
    -------
    Path
        The folder, with a manifest written last.
    """
    if not cohort.provenance.synthetic:
        raise ValueError("only a synthetic cohort is written as downloads")
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for i, (service, system) in enumerate(SYSTEMS.items()):
        rng = np.random.default_rng([seed, i])
        people = cohort.patients[cohort.patients["service_id"] == service]
        withdrawn = ["withdrawn"] if service in ("S2", "S4") else []
        staff = [*sorted(people["therapist_id"].unique()), *withdrawn]
        codes = rng.permutation(np.arange(1, len(staff) + 1))
        key = {
            t: system.therapist.format(k=k, letter=chr(64 + k))
            for t, k in zip(staff, codes.tolist(), strict=True)
        }
        cases = _included(people, cohort, rng)
        extra = _excluded(cases, withdrawn, rng)
        _numbers(cases, extra, rng)
        writer = _Writer(system, key, cohort, rng)
        for case in [*cases, *extra]:
            writer.write(case)
        text = writer.frame().to_csv(index=False, sep=system.separator, lineterminator="\r\n")
        files = {
            system.file: text.encode(system.encoding),
            f"{service.lower()}.toml": _toml(service, system, key, withdrawn).encode(),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)
            digest = hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
            hashes[name] = {"sha256": digest}
    (folder / "README.md").write_text(_readme(seed), encoding="utf-8", newline="\n")
    manifest = {"schema_version": 1, "synthetic": True, "seed": seed, "files": hashes}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    make_extracts(load_cohort(), PACKAGED / "extracts")
