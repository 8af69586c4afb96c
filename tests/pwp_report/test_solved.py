"""All that a run publishes, taken together: no count under five can be solved for."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from solver import Attacker, Sum, by_label, less, plus

from pwp_lib.cohort import Cohort, FlowStep, Provenance
from pwp_lib.description import describe_sample
from pwp_lib.measures import GAD7, PHQ9, Measure
from pwp_lib.outcomes import completeness_by_therapist, national_outcomes, summarise_outcomes
from pwp_report import report
from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.methods import first_page, methods_and_results
from pwp_report.missing import last_scores
from pwp_report.release import release_results
from pwp_report.release_parts import OTHERS_TOGETHER
from pwp_report.released import ReleasedResults
from pwp_report.report_figures import draw_all
from pwp_report.study import Study

POLICY = DisclosurePolicy()
MEASURES = (PHQ9, GAD7)
#: Whether a case, the direction of a reliable change, whether below the cut-off at the end.
CELLS = [(c, d, r) for c in (0, 1) for d in (-1, 0, 1) for r in ((0, 1) if c else (0,))]
COUNTS = {
    "n": lambda c, d, r: True,
    "n_case_pre": lambda c, d, r: c == 1,
    "n_improved": lambda c, d, r: d == 1,
    "n_deteriorated": lambda c, d, r: d == -1,
    "n_recovered": lambda c, d, r: r == 1,
    "n_rcsi": lambda c, d, r: r == 1 and d == 1,
}


def people(seed: int) -> pd.DataFrame:
    """Patients of 12 to 22 therapists; few have a rare gender, got worse or lack a score."""
    rng = np.random.default_rng(seed)
    loads = rng.integers(6, 60, rng.integers(12, 23))
    who = np.repeat(np.arange(len(loads)), loads)
    size, table = len(who), {}
    for m in MEASURES:
        top, effect = m.maximum, rng.normal(0, 0.08, len(loads))[who]
        pre = np.clip(rng.normal(0.6 * top, 0.17 * top, size).round(), 0, top)
        post = np.clip((top * effect + 0.4 * pre + rng.normal(0, 0.13 * top, size)).round(), 0, top)
        table[m.pre] = np.where(rng.random(size) < rng.choice([0, 0.004]), np.nan, pre)
        table[m.post] = np.where(rng.random(size) < rng.choice([0.005, 0.02, 0.15]), np.nan, post)
    gender = rng.choice(["female", "male"], size)
    gender[rng.choice(size, rng.integers(1, 5), replace=False)] = "other"
    age = np.where(rng.random(size) < rng.choice([0.003, 0.05]), np.nan, rng.integers(18, 80, size))
    names = {
        "patient_id": [f"P{i}" for i in range(size)],
        "therapist_id": [f"T{k:02d}" for k in who],
        "service_id": [f"S{k % 4}" for k in who],
    }
    return pd.DataFrame(names | table | {"gender": gender, "age": age})


def analysed(rows: pd.DataFrame, whole: bool = False) -> Analysis:
    """What is counted of these patients; if the `whole` is asked for, the models as well."""
    both = {m.name: rows[[m.pre, m.post]].notna().all(axis=1) for m in MEASURES}
    left, flow = rows, [FlowStep("all patients", len(rows), rows["therapist_id"].nunique(), 4, 0)]
    for m in MEASURES:
        kept = left[both[m.name].loc[left.index]]
        sizes = len(kept), kept["therapist_id"].nunique(), 4
        flow.append(FlowStep(f"a score on {m.label}", *sizes, len(left) - len(kept)))
        left = kept
    patients = left.reset_index(drop=True)
    eligible = rows[rows["therapist_id"].isin(patients["therapist_id"])]
    table = completeness_by_therapist(eligible, MEASURES).reset_index()
    source = Provenance(False, "own.csv")
    cohort = Cohort(patients, None, None, MEASURES, source, tuple(flow), table, eligible)
    if whole:
        return analyse(cohort, engines=("ml",), sensitivity=False)
    by = {m.name: summarise_outcomes(patients, m, by="therapist_id") for m in MEASURES}
    nobody: dict[str, Any] = {"measures": {}, "rates": (), "predictors": None, "groups": None}
    return Analysis(
        cohort=cohort,
        seed=1,
        draws=1,
        flow=pd.DataFrame([vars(step) for step in flow]),
        sample=describe_sample(patients, None),
        completeness=table.set_index("therapist_id"),
        last_scores=last_scores(eligible, MEASURES, list(by["phq9"].index)),
        outcomes=pd.concat({m.name: summarise_outcomes(patients, m) for m in MEASURES}).droplevel(
            1
        ),
        outcomes_by_therapist=by,
        national=national_outcomes(patients, MEASURES).rename({"all": "analysed"}),
        not_done={},
        **nobody,
    )


def _cells(rows: pd.DataFrame, m: Measure) -> pd.DataFrame:
    """In which cell each patient is, worked out here."""
    case = (rows[m.pre] >= m.cutoff).astype(int)
    gain = rows[m.pre] - rows[m.post]
    change = np.sign(gain) * (gain.abs() >= m.reliable_change)
    after = case * (rows[m.post] < m.cutoff)
    return pd.DataFrame({"c": case, "d": change.astype(int), "r": after.astype(int)})


class Run:
    """Released tables, the truth behind them, and what an attacker makes of them."""

    def __init__(self, rows: pd.DataFrame, released: ReleasedResults) -> None:
        self.rows, self.tables = rows, {k: t.frame for k, t in released.tables.items()}
        scored = rows[[c for m in MEASURES for c in (m.pre, m.post)]].notna()
        self.complete = rows[scored.all(axis=1)]
        self.eligible = rows[rows["therapist_id"].isin(self.complete["therapist_id"])]
        shown = set(self.tables["outcomes_by_therapist"]["therapist"]) - {OTHERS_TOGETHER}
        therapists = rows["therapist_id"].unique()
        self.unit = {t: t if t in shown else OTHERS_TOGETHER for t in therapists}
        self.units = sorted(set(self.eligible["therapist_id"].map(self.unit)))

    def truth(self) -> dict[Any, float]:
        """Every unknown: cells of patients analysed, and who lacks which score, by therapist."""
        out: dict[Any, float] = {}
        ids = self.complete["therapist_id"].map(self.unit)
        for m in MEASURES:
            cells = _cells(self.complete, m).assign(u=ids)
            found = cells.groupby(["u", "c", "d", "r"]).size()
            for u in self.units:
                out |= {(u, m.name, x): float(found.get((u, *x), 0)) for x in CELLS}
        ids = self.eligible["therapist_id"].map(self.unit)
        has = [self.eligible[[m.pre, m.post]].notna().all(axis=1) for m in MEASURES]
        began = [self.eligible[m.pre].notna() for m in MEASURES]
        for u in self.units:
            mine = ids == u
            # Those with one measure alone, and those with neither.
            out |= {(u, "one", 0): float((mine & has[0] & ~has[1]).sum())}
            out |= {(u, "one", 1): float((mine & has[1] & ~has[0]).sum())}
            out |= {(u, "none"): float((mine & ~has[0] & ~has[1]).sum())}
        for i, m in enumerate(MEASURES):
            out[m.name, "no first"] = float((~began[i]).sum())
        assert len(self.rows) == len(self.eligible)  # or the flow has patients of its own
        for v in ("age", "gender"):
            out[v, "missing"] = float(self.complete[v].isna().sum())
        return out

    def count(self, m: Measure, what: str, units: list[str]) -> Sum:
        rule = COUNTS[what]
        return {(u, m.name, x): 1.0 for u in units for x in CELLS if rule(*x)}

    def both(self, units: list[str], i: int) -> Sum:
        """Patients with a first and a last score on a measure."""
        return plus(self.count(MEASURES[0], "n", units), {(u, "one", i): 1.0 for u in units})

    def everybody(self, units: list[str]) -> Sum:
        parts = [("one", 0), ("one", 1), ("none",)]
        rest = {(u, *p): 1.0 for u in units for p in parts}
        return plus(self.count(MEASURES[0], "n", units), rest)

    def attack(self) -> tuple[Attacker, list[tuple[str, Sum]]]:
        """Read the tables as an attacker does, and list all counts that must not be solved."""
        a, targets = Attacker(self.truth()), []
        groups = {"all": self.units} | {u: [u] for u in self.units}
        for u in self.units:  # one person has one number of patients, on both measures
            sizes = [self.count(m, "n", [u]) for m in MEASURES]
            a.learns(less(*sizes), 0, 0)
        for label, units in groups.items():
            exact = a.of(self.count(PHQ9, "n", units))
            a.learns(self.count(PHQ9, "n", units), exact, exact)
            for m in MEASURES:
                table = "outcomes" if label == "all" else "outcomes_by_therapist"
                where = {"measure": m.label} | ({} if label == "all" else {"therapist": label})
                row = by_label(self.tables[table], **where)
                for what in list(COUNTS)[1:]:
                    some = self.count(m, what, units)
                    a.sees(some, row[what])
                    targets.append((f"{label} {m.name} {what}", some))
                targets += self._rests(label, m, units)
            targets += self._completeness(a, label, units)
        targets += self._totals(a)
        return a, targets

    def _rests(self, label: str, m: Measure, units: list[str]) -> list[tuple[str, Sum]]:
        count, out = {w: self.count(m, w, units) for w in COUNTS}, []
        for whole, *parts in (("n", "n_case_pre", "n_improved", "n_deteriorated"),
                              ("n_case_pre", "n_recovered"), ("n_recovered", "n_rcsi"),
                              ("n_improved", "n_rcsi")):  # fmt: skip
            out += [(f"{label} {m.name} {whole} {p}", less(count[whole], count[p])) for p in parts]
        return out

    def _completeness(self, a: Attacker, label: str, units: list[str]) -> list[tuple[str, Sum]]:
        people, whole = self.everybody(units), self.count(PHQ9, "n", units)
        targets = [(f"{label} incomplete", less(people, whole))]
        for i, m in enumerate(MEASURES):
            targets.append((f"{label} lacks {m.name}", less(people, self.both(units, i))))
            targets.append((f"{label} {m.name} alone", less(self.both(units, i), whole)))
        if label == "all":
            return targets
        row = by_label(self.tables["completeness"], therapist=label)
        a.sees(people, row["eligible"])
        a.sees(whole, row["complete"])
        frame = self.tables.get("completeness_by_measure", pd.DataFrame(columns=["measure"]))
        for i, m in enumerate(MEASURES):
            if (frame["measure"] == m.label).any():
                row = by_label(frame, measure=m.label, therapist=label)
                a.sees(people, row["eligible"])
                a.sees(self.both(units, i), row["complete"])
        return targets

    def _totals(self, a: Attacker) -> list[tuple[str, Sum]]:
        """Flow, last scores and the sample: of all patients."""
        people, targets = self.everybody(self.units), []
        steps = self.tables["flow"].to_dict("records")
        left = [people, self.both(self.units, 0), self.count(PHQ9, "n", self.units)]
        for i, step in enumerate(steps):
            a.sees(left[i], step["patients"])
            if i:
                gone = less(left[i - 1], left[i])
                a.sees(gone, step["excluded"])
                if step["excluded"] != 0:
                    targets.append((f"excluded {i}", gone))
        frame = self.tables.get("last_scores", pd.DataFrame(columns=["measure"]))
        for i, m in enumerate(MEASURES):
            if (frame["measure"] == m.label).any():
                row, first = by_label(frame, measure=m.label), {(m.name, "no first"): -1.0}
                began, last = plus(people, first), self.both(self.units, i)
                a.sees(began, row["first"])
                a.sees(last, row["last"])
                a.sees(less(began, last), row["lacking"])
                targets.append((f"lacking {m.name}", less(began, last)))
        for row in self.tables["sample"].to_dict("records"):
            if row["of whom"] == "patients" and (row["variable"], "missing") in a.truth:
                missing: Sum = {(row["variable"], "missing"): 1.0}
                a.sees(missing, row["missing"])
                a.sees(less(self.count(PHQ9, "n", self.units), missing), row["n"])
                if row["missing"] != 0:
                    targets.append((f"missing {row['variable']}", missing))
        return targets


def _run(rows: pd.DataFrame, whole: bool = False) -> Run:
    analysis = analysed(rows, whole)
    return Run(rows, release_results(analysis, POLICY))


@pytest.mark.parametrize(
    ("seed", "whole"),
    [
        (0, False),
        (1, False),
        *(pytest.param(s, True, marks=pytest.mark.nightly) for s in range(10)),
    ],
)
def test_no_count_under_five_can_be_solved_for(seed: int, whole: bool) -> None:
    attacker, targets = _run(people(seed), whole).attack()
    small = [name for name, some in targets if attacker.of(some) < 5]
    assert len(small) > 20
    assert attacker.solved(targets) == []


def test_the_attacker_solves_what_is_told() -> None:
    """Told how many got worse of all, and of every other therapist: those of the last one."""
    run = _run(people(0))
    attacker, targets = run.attack()
    units = [u for u in run.units if attacker.of(run.count(PHQ9, "n_deteriorated", [u])) < 5]
    for group in [run.units, *([u] for u in run.units if u != units[0])]:
        some = run.count(PHQ9, "n_deteriorated", group)
        attacker.learns(some, attacker.of(some), attacker.of(some))
    assert f"{units[0]} phq9 n_deteriorated" in attacker.solved(targets)


def _published(analysis: Analysis, released: ReleasedResults) -> dict[str, Any]:
    drawn = draw_all(analysis, released)
    text = methods_and_results(analysis, Study(), released)
    return {
        "first page": first_page(analysis, Study(), released),
        "text": text,
        "figures": drawn,
        "page": report._page(analysis, Study(), released, drawn, text),
        "results": report.results(analysis, Study(), released, text),
    }


@pytest.fixture(scope="module")
def modelled() -> tuple[Analysis, ReleasedResults]:
    analysis = analyse(analysed(people(2)).cohort, engines=("ml",), sensitivity=False)
    return analysis, release_results(analysis, POLICY)


def test_what_is_drawn_and_written_knows_no_count_but_the_released_ones(modelled) -> None:
    """Page, paths of pictures, hidden text and JSON are the same when exact counts are gone."""
    analysis, released = modelled
    counts = ("flow", "sample", "completeness", "outcomes", "outcomes_by_therapist", "national")
    gone: Any = dict.fromkeys([*counts, "last_scores", "groups", "predictors"])
    ids = analysis.cohort.patients[["therapist_id", "service_id"]].drop_duplicates()
    cohort = replace(analysis.cohort, patients=ids, eligible=None, completeness=None)
    blind = replace(analysis, cohort=cohort, rates=(), **gone)
    before, after = (_published(a, released) for a in (analysis, blind))
    for part in before:
        assert before[part] == after[part], part


def test_a_run_holds_tables_figures_text_and_the_page_alone(modelled, tmp_path: Path) -> None:
    analysis, released = modelled
    run = report.write_run(analysis, Study(), POLICY, tmp_path)
    names = {p.relative_to(run).parts[0] for p in run.rglob("*") if p.is_file()}
    assert names == {"tables", "figures", "methods.txt", "results.json", "report.html"}
    assert {p.stem for p in (run / "tables").iterdir()} == set(released.tables)
    # The page leads to nothing but these, and its pictures are those of the folder.
    page = (run / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:href|src|download|data)="([^"#][^"]*)"', page)
    pictures = [f.read_bytes() for f in (run / "figures").iterdir()]
    for link in links:
        kind, _, code = link.partition(";base64,")
        if code:
            assert kind == "data:image/svg+xml"
            assert b64decode(code) in pictures
        else:
            assert (run / link).resolve().is_relative_to(run.resolve()), link[:60]
            assert (run / link).exists(), link[:60]
