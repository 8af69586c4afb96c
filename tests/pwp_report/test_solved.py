"""All that a run publishes, taken together: no count under five can be solved for."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from solver import Attacker, Sum, by_label, less, plus

from pwp_lib.cohort import Cohort, FlowStep, Provenance
from pwp_lib.description import describe_sample
from pwp_lib.measures import GAD7, PHQ9, Measure
from pwp_lib.measures import MEASURES as LISTED
from pwp_lib.outcomes import national_outcomes, summarise_outcomes
from pwp_report import report
from pwp_report.analysis import Analysis, _completeness, analyse
from pwp_report.case_mix import CaseMix
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
THREE = (*MEASURES, LISTED["pcl5"])
#: Whether a case, the direction of a reliable change, whether below the cut-off at the end; who
#: was below and is better is below, who was not and is worse is not.
ENDS = [(c, d, b) for c in (0, 1) for d in (-1, 0, 1) for b in (0, 1) if (c, d, b) not in (
    (0, 1, 0), (1, -1, 1))]  # fmt: skip
#: The same, but that whether below at the end counts of cases alone.
CELLS = sorted({(c, d, c * b) for c, d, b in ENDS})
COUNTS = {
    "n": lambda c, d, r: True,
    "n_case_pre": lambda c, d, r: c == 1,
    "n_improved": lambda c, d, r: d == 1,
    "n_deteriorated": lambda c, d, r: d == -1,
    "n_recovered": lambda c, d, r: r == 1,
    "n_rcsi": lambda c, d, r: r == 1 and d == 1,
}


def _better(d: int, e: int) -> bool:
    return max(d, e) == 1 and min(d, e) >= 0


#: Of both measures together, of patients with every score; all finished.
NATIONAL: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "n_case": lambda x, y: x[0] or y[0],
    "n_recovery": lambda x, y: (x[0] or y[0]) and x[2] and y[2],
    "n_reliable_improvement": lambda x, y: _better(x[1], y[1]),
    "n_reliable_deterioration": lambda x, y: _better(-x[1], -y[1]),
    "n_reliable_recovery": lambda x, y: (x[0] or y[0]) and x[2] and y[2] and _better(x[1], y[1]),
}


def people(seed: int, measures: Sequence[Measure] = MEASURES) -> pd.DataFrame:
    """Patients of 12 to 22 therapists; few have a rare gender, got worse or lack a score."""
    rng = np.random.default_rng(seed)
    loads = rng.integers(6, 60, rng.integers(12, 23))
    who = np.repeat(np.arange(len(loads)), loads)
    size, table = len(who), {}
    for m in measures:
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


def cohort_of(rows: pd.DataFrame, measures: Sequence[Measure] = MEASURES) -> Cohort:
    """Patients with every score of these measures, and what became of the others."""
    both = {m.name: rows[[m.pre, m.post]].notna().all(axis=1) for m in measures}
    left, flow = rows, [FlowStep("all patients", len(rows), rows["therapist_id"].nunique(), 4, 0)]
    for m in measures:
        kept = left[both[m.name].loc[left.index]]
        sizes = len(kept), kept["therapist_id"].nunique(), 4
        flow.append(FlowStep(f"a score on {m.label}", *sizes, len(left) - len(kept)))
        left = kept
    patients = left.reset_index(drop=True)
    eligible = rows[rows["therapist_id"].isin(patients["therapist_id"])]
    source = Provenance(False, "own.csv")
    return Cohort(patients, None, None, tuple(measures), source, tuple(flow), eligible)


def counted(cohort: Cohort) -> Analysis:
    """What is counted of these patients, without the models."""
    patients, measures = cohort.patients, cohort.measures
    assert cohort.eligible is not None
    by = {m.name: summarise_outcomes(patients, m, by="therapist_id") for m in measures}
    whole = pd.concat({m.name: summarise_outcomes(patients, m) for m in measures}).droplevel(1)
    national = None
    if {*MEASURES} <= {*measures}:
        kinds = {"analysed": patients, "published": cohort.eligible}
        national = pd.concat([national_outcomes(p, MEASURES).rename({"all": k})
                              for k, p in kinds.items()])  # fmt: skip
    nobody: dict[str, Any] = {"measures": {}, "rates": (), "predictors": None, "groups": None}
    return Analysis(
        cohort=cohort,
        seed=1,
        draws=1,
        flow=pd.DataFrame([vars(step) for step in cohort.flow]),
        sample=describe_sample(patients, None),
        completeness=_completeness(cohort),
        last_scores=last_scores(cohort.eligible, measures, list(by[measures[0].name].index)),
        outcomes=whole,
        outcomes_by_therapist=by,
        national=national,
        not_done={},
        **nobody,
    )


def analysed(rows: pd.DataFrame, whole: bool = False) -> Analysis:
    """What is counted of these patients; if the `whole` is asked for, the models as well."""
    cohort = cohort_of(rows)
    return analyse(cohort, engines=("ml",), sensitivity=False) if whole else counted(cohort)


def _cells(rows: pd.DataFrame, m: Measure) -> pd.DataFrame:
    """In which cell each patient is, worked out here."""
    case = (rows[m.pre] >= m.cutoff).astype(int)
    gain = rows[m.pre] - rows[m.post]
    change = np.sign(gain) * (gain.abs() >= m.reliable_change)
    below = (rows[m.post] < m.cutoff).astype(int)
    return pd.DataFrame({"c": case, "d": change.astype(int), "r": case * below, "b": below})


def choices(k: int) -> list[tuple[int, ...]]:
    """Every choice of some measures, none included, but all of them."""
    return [some for size in range(k) for some in combinations(range(k), size)]


class Base(NamedTuple):
    """Patients of one unit who stand in the same part: they may have all scores, or some."""

    unit: str
    part: str
    scored: bool
    has: list[tuple[int, ...]]


class Run:
    """Released tables, the truth behind them, and what an attacker makes of them.

    Of several runs, patients stand in parts: those in all of them, and those in one alone. Names
    of unknowns begin with the part and how its therapists are shown in each of the runs. Measures
    of the `pool` that are not the run's are those of another one.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        released: ReleasedResults,
        measures: Sequence[Measure] = MEASURES,
        pool: Sequence[Measure] = (),
    ) -> None:
        self.tables = {k: t.frame for k, t in released.tables.items()}
        self.measures, self.pool = tuple(measures), tuple(pool or measures)
        #: Where in the pool its measures are.
        self.own = [self.pool.index(m) for m in self.measures]
        scored = rows[[c for m in measures for c in (m.pre, m.post)]].notna().all(axis=1)
        shown = set(self.tables["outcomes_by_therapist"]["therapist"]) - {OTHERS_TOGETHER}
        unit = rows["therapist_id"].map(lambda t: t if t in shown else OTHERS_TOGETHER)
        self.rows = rows.assign(unit=unit, complete=scored, base=unit, part="all")
        self.units = sorted(set(unit))
        #: By base; there may be nobody in it.
        self.every = {u: Base(u, "all", True, choices(len(self.pool))) for u in self.units}

    def bases(self, units: Iterable[str], scored: bool = False) -> list[str]:
        units = set(units)
        return [b for b, of in self.every.items() if of.unit in units and of.scored >= scored]

    def parts(self, scored: bool = False) -> list[str]:
        return sorted({of.part for of in self.every.values() if of.scored >= scored})

    def truth(self) -> dict[Any, float]:
        """Every unknown: cells of patients analysed, and who lacks which score, by therapist."""
        out: dict[Any, float] = {}
        loads = self.rows[self.rows["complete"]].groupby("therapist_id").size()
        assert set(loads.index) == set(self.rows["therapist_id"])  # or the flow has its own
        for base, of in self.every.items():
            mine = self.rows[self.rows["base"] == base]
            for m in self.measures if of.scored else ():
                found = _cells(mine[mine["complete"]], m).groupby(["c", "d", "r"]).size()
                assert set(found.index) <= set(CELLS)
                out |= {(base, m.name, x): float(found.get(x, 0)) for x in CELLS}
            has = [mine[[m.pre, m.post]].notna().all(axis=1) for m in self.pool]
            for some in of.has:  # those with these measures and no other
                exactly = np.all([h == (i in some) for i, h in enumerate(has)], axis=0)
                out[base, "has", some] = float(exactly.sum())
        for part in self.parts():
            mine = self.rows[self.rows["part"] == part]
            for m in self.measures:
                out[part, m.name, "no first"] = float(mine[m.pre].isna().sum())
            some = mine[mine["complete"]]
            for v in ("age", "gender") if part in self.parts(True) else ():
                out[part, v, "missing"] = float(some[v].isna().sum())
            if {*MEASURES} <= {*self.measures}:
                out |= self._joint(part, mine)
        return out

    def _joint(self, part: str, mine: pd.DataFrame) -> dict[Any, float]:
        """Both measures together, of patients with both; and cases of those who lack one."""
        both = mine[[c for m in MEASURES for c in (m.pre, m.post)]].notna().all(axis=1)
        groups = dict.fromkeys(self._pairs(part), mine[both & ~mine["complete"]])
        if part in self.parts(True):
            groups |= {"joint": mine[mine["complete"]]}
        out: dict[Any, float] = {}
        for name, some in groups.items():
            ends = [list(map(tuple, _cells(some, m)[["c", "d", "b"]].to_numpy())) for m in MEASURES]
            found = Counter(zip(*ends, strict=True))
            out |= {(part, name, x, y): float(found[x, y]) for x in ENDS for y in ENDS}
            assert sum(found.values()) == len(some)
        left = mine[~both]
        case = np.any([(left[m.pre] >= m.cutoff) | left[m.pre].isna() for m in MEASURES], axis=0)
        return out | {(part, "other cases"): float(case.sum())}

    def _pairs(self, part: str) -> list[str]:
        """Name those who have both measures of the national definitions but lack another score.

        In a run without that measure they are analysed.
        """
        if len(self.pool) == len(MEASURES):
            return []
        return ["pair" if part in self.parts(True) else "joint"]

    def count(self, m: Measure, what: str, units: Iterable[str]) -> Sum:
        rule = COUNTS[what]
        return {(b, m.name, x): 1.0 for b in self.bases(units, True) for x in CELLS if rule(*x)}

    def both(self, units: list[str], *of: int) -> Sum:
        """Patients with a first and a last score on each of some measures; on none, everybody."""
        rest = [(b, "has", s) for b in self.bases(units) for s in self.every[b].has
                if {*of} <= {*s} and not self.scored_by(s)]  # fmt: skip
        return plus(self.count(self.measures[0], "n", units), dict.fromkeys(rest, 1.0))

    def scored_by(self, some: tuple[int, ...]) -> bool:
        """Whether who has these measures of the pool has all of this run."""
        return {*self.own} <= {*some}

    def total(self, *name: str) -> Sum:
        return {(part, *name): 1.0 for part in self.parts(name[-1] == "missing")}

    def attack(self, a: Attacker | None = None) -> tuple[Attacker, list[tuple[str, Sum]]]:
        """Read the tables as an attacker does, and list all counts that must not be solved."""
        a, targets = a or Attacker(self.truth()), []
        groups = {"all": self.units} | {u: [u] for u in self.units}
        for b in self.bases(self.units, True):
            # One person has one number of patients, on both measures, and in the other run.
            sizes: list[Sum] = [{(b, m.name, x): 1.0 for x in CELLS} for m in self.measures]
            a.learns(less(sizes[0], sizes[-1]), 0, 0)
            if own := [s for s in self.every[b].has if self.scored_by(s)]:
                a.learns(less(sizes[0], {(b, "has", s): 1.0 for s in own}), 0, 0)
        for label, units in groups.items():
            whole = self.count(self.measures[0], "n", units)
            held = self.tables["outcomes_by_therapist"].query("therapist == @label")["n"].eq("*")
            if held.any():  # no mean and no standard error tells their number
                a.learns(whole, POLICY.smallest_caseload, np.inf)
            else:
                a.learns(whole, a.of(whole), a.of(whole))
            for m in self.measures:
                table = "outcomes" if label == "all" else "outcomes_by_therapist"
                where = {"measure": m.label} | ({} if label == "all" else {"therapist": label})
                row = by_label(self.tables[table], **where)
                for what in list(COUNTS)[1:]:
                    some = self.count(m, what, units)
                    if row["n"] != "*":  # or nothing of the therapist is shown
                        a.sees(some, row[what])
                    targets.append((f"{label} {m.name} {what}", some))
                targets += self._rests(label, m, units)
            targets += self._completeness(a, label, units)
        targets += self._totals(a)
        if "national" in self.tables:
            targets += self._national(a)
        return a, targets

    def _national(self, a: Attacker) -> list[tuple[str, Sum]]:
        """Counts over both measures, whose sums are the counts on each."""
        analysed: list[Any] = []
        others: list[Any] = []
        for part in self.parts():
            pairs = [(part, name, x, y) for name in self._pairs(part) for x in ENDS for y in ENDS]
            some = [(b, "has", s) for b, of in self.every.items() if of.part == part
                    for s in of.has if {0, 1} <= {*s} and not self.scored_by(s)]  # fmt: skip
            a.learns(less(dict.fromkeys(pairs, 1.0), dict.fromkeys(some, 1.0)), 0, 0)
            others += pairs
            if part not in self.parts(True):
                continue
            mine = [b for b in self.bases(self.units, True) if self.every[b].part == part]
            analysed += [(part, "joint", x, y) for x in ENDS for y in ENDS]
            for i, m in enumerate(MEASURES):
                for c, d, r in CELLS:
                    cells: Sum = {(b, m.name, (c, d, r)): 1.0 for b in mine}
                    both: Sum = {(part, "joint", *xy): 1.0 for xy in product(ENDS, ENDS)
                                 if (xy[i][0], xy[i][1], c * xy[i][2]) == (c, d, r)}  # fmt: skip
                    a.learns(less(cells, both), 0, 0)
        people = self.both(self.units)
        whole, cases = self.count(PHQ9, "n", self.units), self.total("other cases")
        a.learns(less(less(people, whole), plus(cases, dict.fromkeys(others, 1.0))), 0, np.inf)
        targets = []
        for i, row in enumerate(self.tables["national"].to_dict("records")):
            n, those = (people, analysed + others) if i else (whole, analysed)
            a.sees(n, row["n"])
            a.sees(n, row["n_finished"])
            counts = {w: {name: 1.0 for name in those if rule(*name[-2:])}
                      for w, rule in NATIONAL.items()}  # fmt: skip
            counts["n_case"] = plus(counts["n_case"], cases if i else {})
            for what, some in counts.items():
                a.sees(some, row[what])
                if i == 0 or others or what == "n_case":
                    targets.append((f"national {what} {i}", some))
            targets.append((f"national no case {i}", less(n, counts["n_case"])))
        return targets

    def see_models(self, a: Attacker) -> None:
        """Note what is told of a yes-or-no outcome by its model, or by there being none.

        With 20 or more who have it, and who do not, figures of the model can tell its count nearly
        as it is; and the steps that rates are rounded to, whether those who could are 500 or more.
        """
        for yes, among in self._outcomes():
            k, n, no = a.of(yes), a.of(among), less(among, yes)
            if min(k, n - k) >= 20:
                a.learns(yes, k, k)
                steps = [0, 100, 250, 500, np.inf]
                ((low, high),) = ((s, t) for s, t in pairwise(steps) if s <= n < t)
                a.learns(among, low, high - 1)
            else:
                a.learns(yes if k < 20 else no, 0, 19)

    def _outcomes(self) -> list[tuple[Sum, Sum]]:
        out = []
        for m in self.measures:
            some = {what: self.count(m, what, self.units) for what in COUNTS}
            out += [(some["n_improved"], some["n"]), (some["n_deteriorated"], some["n"])]
            out += [(some["n_rcsi"], some["n_case_pre"])]
        ends = [(p, "joint", x, y) for p in self.parts() for x in ENDS for y in ENDS]
        both = {w: {e: 1.0 for e in ends if rule(*e[2:])} for w, rule in NATIONAL.items()}
        out += [(both[w], both["n_case"]) for w in ("n_recovery", "n_reliable_recovery")]
        worse = "n_reliable_deterioration"
        return [*out, *((both[w], some["n"]) for w in ("n_reliable_improvement", worse))]

    def _rests(self, label: str, m: Measure, units: list[str]) -> list[tuple[str, Sum]]:
        count, out = {w: self.count(m, w, units) for w in COUNTS}, []
        for whole, *parts in (("n", "n_case_pre", "n_improved", "n_deteriorated"),
                              ("n_case_pre", "n_recovered"), ("n_recovered", "n_rcsi"),
                              ("n_improved", "n_rcsi")):  # fmt: skip
            out += [(f"{label} {m.name} {whole} {p}", less(count[whole], count[p])) for p in parts]
        return out

    def _completeness(self, a: Attacker, label: str, units: list[str]) -> list[tuple[str, Sum]]:
        for of in (self.units, units):  # where nobody lacks a score, that is said
            people, whole = self.both(of), self.count(self.measures[0], "n", of)
            lacking = {"incomplete": less(people, whole)}
            for i, m in zip(self.own, self.measures, strict=True):
                lacking[f"lacks {m.name}"] = less(people, self.both(of, i))
                lacking[f"{m.name}, not all"] = less(self.both(of, i), whole)
            for s in choices(len(self.pool)):
                those = [(b, "has", s) for b in self.bases(of) if s in self.every[b].has]
                lacking[f"has {s} alone"] = dict.fromkeys(those, 1.0)
            if of is self.units:
                some = [name for name, one in lacking.items() if a.of(one)]
                nobody = [one for name, one in lacking.items() if name not in some]
                a.told |= {n for one in nobody for n, weight in one.items() if weight}
        targets = [(f"{label} {name}", lacking[name]) for name in some]
        if label == "all":
            # By therapist nothing is said where fewer than twenty of all lack a score.
            least = POLICY.smallest_caseload if "completeness" in self.tables else 0
            if "incomplete" in some:
                a.learns(lacking["incomplete"], least, np.inf if least else 19)
            return targets
        if "completeness" in self.tables:
            row = by_label(self.tables["completeness"], therapist=label)
            if "*" == row["eligible"] == row["complete"]:
                return targets
            a.sees(people, row["eligible"])
            a.sees(whole, row["complete"])
        frame = self.tables.get("completeness_by_measure", pd.DataFrame(columns=["measure"]))
        for i, m in zip(self.own, self.measures, strict=True):
            if (frame["measure"] == m.label).any():
                row = by_label(frame, measure=m.label, therapist=label)
                a.sees(people, row["eligible"])
                a.sees(self.both(units, i), row["complete"])
        return targets

    def _totals(self, a: Attacker) -> list[tuple[str, Sum]]:
        """Flow, last scores and the sample: of all patients."""
        people, targets = self.both(self.units), []
        steps = self.tables["flow"].to_dict("records")
        whole = self.count(self.measures[0], "n", self.units)
        left = [self.both(self.units, *self.own[:i]) for i in range(len(self.own) + 1)]
        for i, step in enumerate(steps):
            a.sees(left[i], step["patients"])
            if i:
                gone = less(left[i - 1], left[i])
                a.sees(gone, step["excluded"])
                if step["excluded"] != 0:
                    targets.append((f"excluded {i}", gone))
        frame = self.tables.get("last_scores", pd.DataFrame(columns=["measure"]))
        for i, m in zip(self.own, self.measures, strict=True):
            if (frame["measure"] == m.label).any():
                row, first = by_label(frame, measure=m.label), self.total(m.name, "no first")
                began, last = less(people, first), self.both(self.units, i)
                a.sees(began, row["first"])
                a.sees(last, row["last"])
                a.sees(less(began, last), row["lacking"])
                targets.append((f"lacking {m.name}", less(began, last)))
        for row in self.tables["sample"].to_dict("records"):
            if row["of whom"] == "patients" and row["variable"] in ("age", "gender"):
                missing = self.total(row["variable"], "missing")
                a.sees(missing, row["missing"])
                a.sees(less(whole, missing), row["n"])
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
        pytest.param(1, False, marks=pytest.mark.nightly),
        *(pytest.param(s, True, marks=pytest.mark.nightly) for s in range(10)),
    ],
)
def test_no_count_under_five_can_be_solved_for(seed: int, whole: bool) -> None:
    run = _run(people(seed), whole)
    attacker, targets = run.attack()
    small = [name for name, some in targets if attacker.of(some) < 5]
    assert len(small) > 20
    run.see_models(attacker)
    assert attacker.solved(targets) == []


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in range(1, 10))]
)
def test_who_lacks_which_of_two_measures_is_not_told(seed: int) -> None:
    """All, those with either measure alone and those with neither are whoever was eligible."""
    rows = people(seed)
    few = rows["therapist_id"].isin(rows["therapist_id"].unique()[:9])
    attacker, targets = _run(rows[few].reset_index(drop=True)).attack()
    assert sum("lacks" in name for name, _ in targets) > 8
    assert attacker.solved(targets) == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("seed", "most"),
    [(0, 9), *(pytest.param(s, k, marks=pytest.mark.nightly) for s in range(10) for k in (9, 99))],
)
def test_who_lacks_which_of_three_measures_is_not_told(seed: int, most: int) -> None:
    rows = people(seed, THREE)
    rows = rows[rows["therapist_id"].isin(rows["therapist_id"].unique()[:most])]
    released = release_results(counted(cohort_of(rows, THREE)), POLICY)
    attacker, targets = Run(rows, released, THREE).attack()
    assert sum("alone" in name for name, _ in targets) > 5
    assert attacker.solved(targets) == []


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("seed", "most", "lines"), [(0, 9, (0, 0)), (0, 99, (1, 0)), (2, 99, (1, 0)), (3, 99, (1, 2))]
)
def test_of_a_score_that_few_lack_no_table_says_by_therapist_who_has_it(
    seed: int, most: int, lines: tuple[int, int]
) -> None:
    """Nor of one that few have alone; few are 1 to 19 of all."""
    rows = people(seed)
    rows = rows[rows["therapist_id"].isin(rows["therapist_id"].unique()[:most])]
    released = release_results(counted(cohort_of(rows)), POLICY)
    tables = [released.tables.get(f"completeness{of}") for of in ("", "_by_measure")]
    some = [t.frame["therapist"] for t in tables if t is not None]
    assert [int((t == OTHERS_TOGETHER).sum()) for t in some] == [n for n in lines if n]
    assert any("says by therapist who has it" in line for line in released.withheld) == (seed < 3)


@pytest.mark.nightly
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
        "page": report._sections(analysis, released, drawn, text),
        "results": report.results(analysis, Study(), released, text),
    }


@pytest.fixture(scope="module")
def modelled() -> tuple[Analysis, ReleasedResults]:
    rows = people(2)
    number = rows["therapist_id"].str[1:].astype(int)
    rows = rows.assign(
        service_id="S" + (number % 6).astype(str), mix_0=np.where(number % 2, "a", "b")
    )
    rows["mix_0"] = rows["mix_0"].where(rows.index % 5 > 0, "c")
    asked = CaseMix(("kind",))
    analysis = analyse(cohort_of(rows), engines=("ml",), sensitivity=False, case_mix=asked)
    released = release_results(analysis, POLICY)
    assert {"rates", "services", "by_service_gad7", "adjusted", "case_mix"} <= {*released.tables}
    assert "of that model, with services as a level" in released.tables["case_mix"].note
    return analysis, released


@pytest.mark.nightly
def test_what_is_drawn_and_written_knows_no_count_but_the_released_ones(modelled) -> None:
    """Page, paths of pictures, hidden text and JSON are the same when exact counts are gone."""
    analysis, released = modelled
    counts = ("flow", "sample", "completeness", "outcomes", "outcomes_by_therapist", "national")
    gone: Any = dict.fromkeys([*counts, "last_scores", "groups", "predictors"])
    ids = analysis.cohort.patients[["therapist_id", "service_id"]].drop_duplicates()
    cohort = replace(analysis.cohort, patients=ids, eligible=None)
    alone = {*released.tables["residuals_phq9"].frame["therapist"]}
    results = {}
    for name, result in analysis.measures.items():
        # Nor are the caseloads of therapists known who are shown only together.
        table = result.residuals
        few = table.assign(n=table["n"].where(table.index.isin(alone), 19))
        profile = result.rank_uncertainty.assign(n=0)
        results[name] = replace(result, residuals=few, rank_uncertainty=profile, services={})
    blind = replace(analysis, cohort=cohort, rates=(), measures=results, **gone)
    before, after = (_published(a, released) for a in (analysis, blind))
    for part in before:
        assert before[part] == after[part], part


@pytest.mark.nightly
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
