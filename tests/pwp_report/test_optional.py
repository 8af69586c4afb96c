"""Measures that patients may lack: what is told of those who lack one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from checking import FRAME, checked, patients_of
from solver import Attacker, Sum, less
from test_solved import (
    CELLS,
    COUNTS,
    MEASURES,
    POLICY,
    THREE,
    _cells,
    cohort_of,
    counted,
    people,
)

from pwp_lib.cohort import Cohort, FlowStep, Provenance
from pwp_lib.measures import GAD7, PHQ9, Measure
from pwp_lib.outcomes import completeness_by_therapist, national_outcomes
from pwp_report.analysis import Analysis, analyse
from pwp_report.case_mix import CaseMix
from pwp_report.every_score import completeness
from pwp_report.rates import rates_asked
from pwp_report.release import release_results
from pwp_report.release_parts import OTHERS_TOGETHER
from pwp_report.released import ReleasedResults


def _rows(seed: int, share: float, lacking: float = 0.03) -> pd.DataFrame:
    """Patients of whom a share lacks the last GAD-7, and a few the last PHQ-9."""
    rows, rng = people(seed), np.random.default_rng(seed)
    for m, some in ((PHQ9, lacking), (GAD7, share)):
        full = rows[[m.pre, m.post]].fillna(8)
        rows[[m.pre, m.post]] = full
        rows[m.post] = full[m.post].mask(rng.random(len(rows)) < some)
    return rows


def _cohort(rows: pd.DataFrame, required: Sequence[Measure]) -> Cohort:
    flow = [FlowStep("all patients", len(rows), rows["therapist_id"].nunique(), 4, 0)]
    left = rows
    for m in required:
        kept = left[left[[m.pre, m.post]].notna().all(axis=1)]
        sizes = len(kept), kept["therapist_id"].nunique(), 4
        flow.append(FlowStep(f"a score on {m.label}", *sizes, len(left) - len(kept)))
        left = kept
    eligible = rows[rows["therapist_id"].isin(left["therapist_id"])]
    source, patients = Provenance(False, "own.csv"), left.reset_index(drop=True)
    return Cohort(patients, None, None, MEASURES, source, tuple(flow), eligible)


def _counted(cohort: Cohort) -> Analysis:
    scores = [c for m in MEASURES for c in (m.pre, m.post)]
    kinds = {"analysed": cohort.patients.dropna(subset=scores), "published": cohort.eligible}
    lines = [national_outcomes(p, MEASURES).rename({"all": k}) for k, p in kinds.items()]
    found = counted(cohort)
    return Analysis(**{**vars(found), "national": pd.concat(lines)})


class _Run:
    """What an attacker makes of the tables: numbers of therapists rounded, those of all exact."""

    def __init__(self, rows: pd.DataFrame, released: ReleasedResults, required: set[str]) -> None:
        self.tables = {k: t.frame for k, t in released.tables.items()}
        shown = {*self.tables["outcomes_by_therapist"]["therapist"]} - {OTHERS_TOGETHER}
        unit = rows["therapist_id"].map(lambda t: t if t in shown else OTHERS_TOGETHER)
        self.units, has = sorted({*unit}), {
            m.name: rows[[m.pre, m.post]].notna().all(axis=1) for m in MEASURES
        }  # fmt: skip
        kinds = Counter(zip(unit, has["phq9"], has["gad7"], strict=True))
        self.kinds = [(p, g) for p in (True, False) for g in (True, False)]
        truth: dict[Any, float] = {
            (u, "has", *k): float(kinds[u, *k]) for u in self.units for k in self.kinds
        }
        self.analysed = [k for k in self.kinds if all(
            h for m, h in zip(MEASURES, k, strict=True) if m.name in required)]  # fmt: skip
        # Every score is of the measures that are required; where none is, of one at least.
        self.whole = self.analysed if required else self.kinds[:-1]
        left = np.all([has[name] for name in required] or [[True] * len(rows)], axis=0)
        for m in MEASURES:
            mine = has[m.name] & left
            cells = map(tuple, _cells(rows[mine], m)[["c", "d", "r"]].to_numpy())
            found = Counter((u, *x) for u, x in zip(unit[mine], cells, strict=True))
            truth |= {(u, m.name, x): float(found[u, *x]) for u in self.units for x in CELLS}
        self.attacker = Attacker(truth)

    def count(self, m: Measure, what: str, units: Sequence[str]) -> Sum:
        return {(u, m.name, x): 1.0 for u in units for x in CELLS if COUNTS[what](*x)}

    def has(self, units: Sequence[str], kinds: Sequence[tuple[bool, bool]]) -> Sum:
        return {(u, "has", *k): 1.0 for u in units for k in kinds}

    def targets(self) -> list[tuple[str, Sum]]:
        a, out = self.attacker, []
        for label, units in {"all": self.units, **{u: [u] for u in self.units}}.items():
            everybody = self.has(units, self.kinds)
            for i, m in enumerate(MEASURES):
                frame = self.tables["outcomes_by_therapist"]
                frame = self.tables["outcomes"] if label == "all" else frame
                (row,) = frame[(frame["measure"] == m.label)
                               & ((label == "all") | (frame.get("therapist") == label))
                               ].to_dict("records")  # fmt: skip
                size = self.count(m, "n", units)
                a.learns(less(size, self.has(units, [k for k in self.analysed if k[i]])), 0, 0)
                if label == "all":
                    a.learns(size, a.of(size), a.of(size))
                if not all(k[i] for k in self.analysed):
                    lacking = less(self.has(units, self.analysed), size)
                    out.append((f"{label} lacks {m.name}", lacking))
                for what in COUNTS:
                    a.sees(some := self.count(m, what, units), row[what])
                    out += [(f"{label} {m.name} {what}", some)]
                    out += [(f"{label} {m.name} not {what}", less(size, some))] * (what != "n")
                for whole, part in (("n_case_pre", "n_recovered"), ("n_recovered", "n_rcsi"),
                                    ("n_improved", "n_rcsi")):  # fmt: skip
                    rest = less(self.count(m, whole, units), self.count(m, part, units))
                    out += [(f"{label} {m.name} {whole} less {part}", rest)]
                table = self.tables.get(
                    "completeness_by_measure", pd.DataFrame(columns=["measure"])
                )
                for mine in table[table["measure"] == m.label].to_dict("records"):
                    if mine["therapist"] == label:
                        a.sees(everybody, mine["eligible"])
                        a.sees(self.has(units, [k for k in self.kinds if k[i]]), mine["complete"])
            table = self.tables.get("completeness", pd.DataFrame(columns=["therapist"]))
            for mine in table[table["therapist"] == label].to_dict("records"):
                a.sees(everybody, mine["eligible"])
                a.sees(self.has(units, self.whole), mine["complete"])
            there = [k for k in self.kinds if a.of(self.has(self.units, [k]))]
            out += [(f"{label} has {k}", self.has(units, [k])) for k in there]
            lacking = [k for k in self.kinds if k not in self.whole]
            out += [(f"{label} incomplete", self.has(units, lacking))]
        return out + self._totals()

    def _totals(self) -> list[tuple[str, Sum]]:
        a, everybody = self.attacker, self.has(self.units, self.kinds)
        analysed = self.has(self.units, self.analysed)
        a.learns(analysed, a.of(analysed), a.of(analysed))
        last = self.tables["flow"].to_dict("records")[-1]
        a.sees(analysed, last["patients"])
        if len(self.tables["flow"]) > 1:
            a.sees(less(everybody, analysed), last["excluded"])
        a.sees(everybody, self.tables["flow"]["patients"].iloc[0])
        for i, m in enumerate(MEASURES):
            there = self.tables["last_scores"]
            for row in there[there["measure"] == m.label].to_dict("records"):
                both = self.has(self.units, [k for k in self.kinds if k[i]])
                a.sees(everybody, row["first"])
                a.sees(both, row["last"])
                a.sees(less(everybody, both), row["lacking"])
        national = self.tables["national"].to_dict("records")
        a.sees(self.has(self.units, [(True, True)]), national[0]["n"])
        a.sees(everybody, national[1]["n"])
        # Whoever is a case by the national definitions is one on either, if both are there.
        clear = {("all", "clear"): 1.0}
        a.truth["all", "clear"] = self.clear
        a.place["all", "clear"] = len(a.place)
        cases = less(self.has(self.units, [(True, True)]), clear)
        a.sees(cases, national[0]["n_case"])
        for m in MEASURES:
            none = less(self.count(m, "n", self.units), self.count(m, "n_case_pre", self.units))
            a.learns(less(none, clear), 0, np.inf)
        return [("all clear", clear), ("national cases", cases)]


def _attack(rows: pd.DataFrame, required: Sequence[Measure]) -> tuple[_Run, ReleasedResults]:
    released = release_results(_counted(_cohort(rows, required)), POLICY)
    made = _Run(rows, released, {m.name for m in required})
    both = rows[[c for m in MEASURES for c in (m.pre, m.post)]].notna().all(axis=1)
    some = rows[both]
    made.clear = float(np.all([some[m.pre] < m.cutoff for m in MEASURES], axis=0).sum())  # type: ignore[attr-defined]
    return made, released


@pytest.mark.neighbours
@pytest.mark.parametrize("required", [(PHQ9,), ()], ids=["one", "none"])
@pytest.mark.parametrize(
    ("seed", "share"),
    [
        (2, 0.1),
        pytest.param(0, 0.03, marks=pytest.mark.nightly),
        *(
            pytest.param(s, p, marks=pytest.mark.nightly)
            for s in (1, *range(3, 8))
            for p in (0.03, 0.1, 0.3)
        ),
    ],
)
def test_who_lacks_a_measure_that_is_not_required_is_not_told(
    seed: int, share: float, required: Sequence[Measure]
) -> None:
    """It ended in a sum whose parts exceed it, or with nearly every count withheld."""
    made, released = _attack(_rows(seed, share), required)
    targets = made.targets()
    assert sum(made.attacker.of(some) < 5 for _, some in targets) > 20
    assert made.attacker.solved(targets) == []
    frame = released.tables["outcomes_by_therapist"].frame
    assert (frame.astype(object) == "*").to_numpy().mean() < 0.25


def test_a_measure_that_took_the_place_of_another_withholds_nothing_of_the_others() -> None:
    """Nobody had both, so that "every score" was of nobody, and nearly every count withheld."""
    rows, half = _rows(0, 0.1, 0.1), np.arange(len(people(0, THREE))) % 2 == 0
    rows[["pcl5_pre", "pcl5_post"]] = people(0, THREE)[["pcl5_pre", "pcl5_post"]].fillna(40)
    rows.loc[half, ["gad7_pre", "gad7_post"]] = np.nan
    rows.loc[~half, ["pcl5_pre", "pcl5_post"]] = np.nan
    left = rows[rows[["phq9_pre", "phq9_post"]].notna().all(axis=1)]
    both, alone = (
        replace(cohort_of(rows, (PHQ9,)), measures=some, patients=left.reset_index(drop=True))
        for some in (THREE, (PHQ9,))
    )
    labels = [*left.groupby("therapist_id").groups]
    eligible = rows[rows["therapist_id"].isin(labels)]
    table = completeness(eligible, left, THREE)
    pd.testing.assert_frame_equal(table, completeness_by_therapist(eligible, [PHQ9]))
    found, less = (release_results(counted(c), POLICY).tables for c in (both, alone))
    one, other = (t["outcomes"].frame.query("measure == 'PHQ-9'") for t in (found, less))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other, check_dtype=False)
    pd.testing.assert_frame_equal(found["completeness"].frame, less["completeness"].frame)
    (asked,) = (a for (a,) in rates_asked(both, CaseMix()) if a.rate == "complete")
    assert (asked.of, asked.rows["yes"].sum()) == ("PHQ-9", len(left))


@pytest.mark.nightly
def test_a_case_on_a_third_measure_is_none_by_the_national_definitions() -> None:
    """More cases on the PCL-5 than on the pair were taken for a sum that does not add up."""
    rows = people(0, THREE)
    rows = rows.assign(phq9_pre=rows["phq9_pre"] // 3, gad7_pre=rows["gad7_pre"] // 3, pcl5_pre=60)
    cohort = cohort_of(rows, THREE)
    outcomes = release_results(counted(cohort), POLICY).tables["outcomes"].frame
    cases = outcomes.set_index("measure")["n_case_pre"]
    either = np.any([cohort.patients[m.pre] >= m.cutoff for m in MEASURES], axis=0)
    assert cases[THREE[2].label] > either.sum() + 20


@pytest.mark.parametrize("lacking", [0, 1, 4, 5])
def test_a_measure_that_fewer_than_five_lack_is_one_that_all_must_have(
    lacking: int, tmp_path: Path
) -> None:
    """Standard errors tell the number of patients on each measure, and so how few lack one."""
    gaps = FRAME["gad7_post"].astype(object).mask(FRAME.index < lacking, "")
    study = "[measures.phq9]\n[measures.gad7]\nrequired = false\n"
    check = checked(tmp_path, FRAME.assign(gad7_post=gaps), study)
    few = 0 < lacking < 5
    assert len(patients_of(check)) == len(FRAME) - lacking * few
    assert any("GAD-7" in rule for rule in check.rules["rule"]) == few


def _analysed(rows: pd.DataFrame, **asked: Any) -> ReleasedResults:
    found = analyse(_cohort(rows, (PHQ9,)), engines=("ml",), sensitivity=False, **asked)
    return release_results(found, POLICY)


@pytest.mark.nightly
def test_who_has_few_patients_on_a_measure_is_shown_with_others_on_it() -> None:
    """A residual was shown, as of no patients, and the departure was those few patients' own."""
    rows = _rows(0, 0.0, 0.0)
    who = rows["therapist_id"].value_counts().index[0]
    few = rows.index[rows["therapist_id"] == who][2:]
    rows.loc[few, "gad7_post"] = np.nan
    released = _analysed(rows, optional=["gad7"])
    frames = {m.name: released.tables[f"residuals_{m.name}"].frame for m in MEASURES}
    assert [who in {*f["therapist"]} for f in frames.values()] == [True, False]
    assert all((f["n"] >= 20).all() for f in frames.values())
    for frame in frames.values():
        departure = frame["departure"].dropna().astype(float)
        assert (departure == departure.round(1)).all()
    assert any("Of each therapist it is not told" in line for line in released.withheld)


@pytest.mark.neighbours
@pytest.mark.parametrize("missing", ["category", "drop"])
def test_services_of_fewer_patients_than_there_are_are_not_shown(missing: str) -> None:
    """Beside a run that adjusts for nothing they told of the few who are left out."""
    rows = _rows(0, 0.0, 0.0)
    number = rows["therapist_id"].str[1:].astype(int)
    kind = pd.Series(np.where(number % 2, "a", "b"), rows.index).mask(rows.index < 3)
    rows = rows.assign(service_id="S" + (number % 6).astype(str), mix_0=kind)
    rows["phq9_post"] = (rows["phq9_post"] + 2 * (number % 6)).clip(0, 27)
    tables = _analysed(rows, case_mix=CaseMix(("kind",), missing)).tables
    assert "services" in tables
    assert ("by_service_phq9" in tables) == (missing == "category")
