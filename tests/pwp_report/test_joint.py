"""Attacks on what is published: over several tables at once, and by statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attacks import audit

from pwp_lib.cohort import PACKAGED, Cohort, FlowStep, Provenance
from pwp_lib.measures import PHQ9
from pwp_report import report
from pwp_report.analysis import Analysis, analyse
from pwp_report.check import check_study_data
from pwp_report.disclosure import (
    MARK,
    DisclosurePolicy,
    Relation,
    release_counts,
)
from pwp_report.patient_counts import (
    EVERYBODY,
    Count,
    Group,
    Kind,
    PatientCounts,
    Whose,
    _add_categories,
)
from pwp_report.pseudonyms import Pseudonyms, pseudonymise
from pwp_report.release import release_results
from pwp_report.release_parts import OTHERS_TOGETHER, share_between
from pwp_report.study import Study

POLICY = DisclosurePolicy()
COUNTS = ["n", "n_case_pre", "n_improved", "n_deteriorated", "n_recovered", "n_rcsi"]
DETERIORATED = {"A": 4, "B": 7, "C": 7}


def _therapist(label: str, level: float, worse: int, each: int = 60) -> pd.DataFrame:
    """Patients of whom all but `worse` end about `level` points better than they began."""
    rng = np.random.default_rng(sum(map(ord, label)))
    pre = rng.integers(14, 24, each)
    post = np.clip(pre - level - rng.integers(-3, 4, each), 0, 27)
    post[:worse] = np.minimum(pre[:worse] + 6, 27)
    pre[:worse] = post[:worse] - 6
    return pd.DataFrame({"therapist_id": label, "phq9_pre": pre, "phq9_post": post})


def _linked_cohort() -> Cohort:
    """Of three therapists 4, 7 and 7 patients deteriorated.

    By itself the table by therapist may withhold the 4 alone, since nine others share the total.
    A sum of the three, shown as 20, is 18 or more; the others' 7 as 5, so 7 at most: 4.
    """
    people = [_therapist(t, 14.0, n) for t, n in DETERIORATED.items()]
    people += [_therapist(f"M{i}", 6.0, 20 + i) for i in range(6)]
    people += [_therapist(f"Z{i}", 0.0, 20) for i in range(3)]
    table = pd.concat(people, ignore_index=True)
    table["patient_id"] = [f"P{i}" for i in range(len(table))]
    flow = (FlowStep("all patients", len(table), 12, 1, 0),)
    return Cohort(table, None, None, (PHQ9,), Provenance(False, "own.csv"), flow)


@pytest.fixture(scope="module")
def linked() -> Analysis:
    return analyse(_linked_cohort(), draws=200, sensitivity=False)


@pytest.fixture(scope="module")
def run(linked: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_run(linked, Study(), POLICY, tmp_path_factory.mktemp("linked") / "out")


def _published(run: Path) -> tuple[pd.DataFrame, list[Relation]]:
    """Cells and sums as a reader of the files has them: nothing of the library's own."""
    tables = run / "tables"
    people = pd.read_csv(tables / "outcomes_by_therapist.csv", dtype=str)
    people = pd.concat([people, pd.read_csv(tables / "outcomes.csv", dtype=str)])
    people["therapist"] = people["therapist"].fillna("all")
    frame = people.set_index("therapist")[COUNTS]
    shown = frame.apply(lambda c: pd.to_numeric(c.replace(MARK, None)))
    single = [t for t in people["therapist"] if t not in ("all", OTHERS_TOGETHER)]
    relations = [Relation(("all", c), tuple((t, c) for t in single)) for c in COUNTS]
    for row in shown.index:
        parts = ((row, "n_improved"), (row, "n_deteriorated"))
        relations.append(Relation((row, "n"), parts, exhaustive=False))
        for whole, part in (("n", "n_case_pre"), ("n_case_pre", "n_recovered"),
                            ("n_recovered", "n_rcsi"), ("n_improved", "n_rcsi")):  # fmt: skip
            relations.append(Relation((row, whole), ((row, part),), exhaustive=False))
    return shown, relations


def test_the_cohort_is_as_constructed(linked: Analysis) -> None:
    found = linked.outcomes_by_therapist["phq9"]["n_deteriorated"]
    assert found[list(DETERIORATED)].to_dict() == DETERIORATED
    assert (found.drop(["A"]) >= 5).all()


def test_two_tables_each_safe_give_a_cell_away_together(linked: Analysis) -> None:
    """What joint control is for: one table at a time, the 4 could be read off."""
    found = linked.outcomes_by_therapist["phq9"][["n_deteriorated"]].astype(int)
    labels = list(found.index)
    found.loc["all"] = found.sum()
    total = Relation(("all", "n_deteriorated"), tuple((t, "n_deteriorated") for t in labels))
    alone = release_counts(found, [total])
    assert alone["n_deteriorated"].isna().sum() == 1
    assert audit(alone, [total], truth=found)["safe"].all()
    both = alone.copy()
    both.loc["upper"] = POLICY.count(sum(DETERIORATED.values()))
    link = Relation(("upper", "n_deteriorated"), tuple((t, "n_deteriorated") for t in "ABC"))
    attacked = audit(both, [total, link])
    assert attacked[["lower", "upper", "safe"]].values.tolist() == [[4, 4, False]]


def test_published_tables_together_give_no_cell_away(run: Path) -> None:
    shown, relations = _published(run)
    assert shown["n_deteriorated"].isna().any()
    attacked = audit(shown, relations)
    # The attacker of `audit` takes every withheld cell for a small one; those withheld to
    # protect others are larger, so bound them by nothing at all.
    attacked = audit(shown, relations, truth=_truth(shown))
    assert attacked["safe"].all()
    assert len(attacked) == shown.isna().to_numpy().sum()


def _truth(shown: pd.DataFrame) -> pd.DataFrame:
    exact = analyse(_linked_cohort(), draws=200, sensitivity=False)
    by = exact.outcomes_by_therapist["phq9"][COUNTS]
    return pd.concat([by, by.sum().to_frame("all").T]).loc[shown.index]


def _sides(sizes: list[int]) -> Analysis:
    """Three therapists at each end with so many patients, and four in the middle."""
    levels = [14.0] * 3 + [6.0] * 4 + [0.0] * 3
    people = [
        _therapist(f"T{i}", at, 10, n) for i, (at, n) in enumerate(zip(levels, sizes, strict=True))
    ]
    table = pd.concat(people, ignore_index=True)
    table["patient_id"] = [f"P{i}" for i in range(len(table))]
    flow = (FlowStep("all patients", len(table), 10, 1, 0),)
    cohort = Cohort(table, None, None, (PHQ9,), Provenance(False, "own.csv"), flow)
    return analyse(cohort, draws=200, sensitivity=False)


def test_the_upper_and_the_lower_group_are_those_of_pandas() -> None:
    analysis = _sides([60] * 10)
    assert analysis.groups is not None
    released = release_results(analysis, DisclosurePolicy(active=False))
    people = analysis.cohort.patients
    for end, members in analysis.ends([f"T{i}" for i in range(10)]).items():
        mine = people[people["therapist_id"].isin(members)]
        row = released.tables["clusters"].frame.set_index("cluster").loc[end]
        assert row["therapists"] == len(members) == 3
        assert row["n"] == 180
        gain = mine["phq9_pre"] - mine["phq9_post"]
        assert row["mean_post"] == pytest.approx(mine["phq9_post"].mean(), abs=0.005)
        assert row["effect_size"] == pytest.approx(gain.mean() / mine["phq9_pre"].std(), abs=0.005)
        rates = released.tables["nested_rates"].frame.set_index("outcome")
        improved = 100.0 * (gain >= 6).mean()
        assert rates.loc["Reliable improvement", f"rate_{end}"] == pytest.approx(improved, abs=0.05)
    apart = rates["rate_upper"] - rates["rate_lower"]
    assert rates["difference"].to_numpy() == pytest.approx(apart.to_numpy(), abs=1e-9)


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ([60] * 10, True),
        ([60, 60, 9, 60, 60, 60, 60, 60, 60, 60], False),  # two of the upper group are left
        ([60, 60, 60, 60, 60, 60, 60, 20, 20, 60], True),
        ([60] * 7 + [8, 8, 8], False),
    ],
)
def test_groups_of_fewer_than_three_therapists_are_withheld(sizes: list[int], shown: bool) -> None:
    released = release_results(_sides(sizes), POLICY)
    table = released.tables["clusters"].frame
    assert (set(table["mean_post"]) == {"*"}) != shown
    assert shown or set(table) == {"measure", "cluster", "mean_post"}
    assert "nested_rates" not in released.tables
    assert any("not compared" in line for line in released.withheld) != shown


@pytest.mark.nightly
def test_a_file_in_which_nobody_falls_at_a_rule_keeps_its_totals(tmp_path: Path) -> None:
    """Zeros in the flow once cost every count of the report."""
    people = pd.read_csv(PACKAGED / "patients.csv", comment="#").drop(columns="synthetic")
    people.to_csv(tmp_path / "own.csv", index=False)
    cohort = check_study_data(tmp_path / "own.csv").cohort
    assert cohort is not None
    assert (cohort.flow_table()["excluded"].fillna(0) == 0).all()
    found = release_results(analyse(cohort, draws=200, sensitivity=False), POLICY)
    totals = found.tables["outcomes"].frame[COUNTS]
    assert not (totals == MARK).to_numpy().any()
    complete = found.tables["completeness"].frame
    assert (complete["eligible"] == complete["complete"]).all()
    steps = found.tables["flow"].frame["patients"].tolist()
    assert set(steps) == {1120}
    assert found.tables["flow"].frame["excluded"].tolist()[1:] == [0] * (len(steps) - 1)


def _with_missing(folder: Path, missing: int) -> tuple[Analysis, pd.DataFrame]:
    """The packaged patients as own data, of whom each therapist's first lack a last score."""
    people = pd.read_csv(PACKAGED / "patients.csv", comment="#").drop(columns="synthetic")
    people["gad7_post"] = people["gad7_post"].where(
        people.groupby("therapist_id").cumcount() >= missing
    )
    people.to_csv(folder / "own.csv", index=False)
    cohort = check_study_data(folder / "own.csv").cohort
    assert cohort is not None
    done = pseudonymise(cohort, Pseudonyms(b"0123456789abcdef"))
    return analyse(report.safe_labels(done), draws=200, sensitivity=False), people


@pytest.mark.nightly
def test_the_completeness_told_is_that_before_patients_were_left_out(tmp_path: Path) -> None:
    """It once read 100% for every therapist of own data, whoever had been left out."""
    analysis, people = _with_missing(tmp_path, 9)
    true = people.groupby("therapist_id").size()
    assert sorted(analysis.completeness["eligible"]) == sorted(true[true > 9])
    assert (analysis.completeness["complete"] == analysis.completeness["eligible"] - 9).all()
    shown = release_results(analysis, POLICY).tables["completeness"].frame.set_index("therapist")
    whole = shown.loc[shown.index != OTHERS_TOGETHER]
    exact = analysis.completeness.loc[whole.index]
    assert [*whole["eligible"]] == [POLICY.count(n) for n in exact["eligible"]]
    ends = whole["share"].str.split(" to ", expand=True).astype(float)
    share = 100 * exact["complete"] / exact["eligible"]
    assert share.between(ends[0], ends[1]).all()
    assert (ends[0] < 100).all()


@pytest.mark.parametrize("eligible", range(20, 60))
def test_a_share_from_rounded_counts_is_never_a_bare_hundred(eligible: int) -> None:
    """20 of 22 once read 100%, since both are shown as 20."""
    for complete in range(max(5, eligible - 6), eligible + 1):
        shown = [POLICY.count(n) or 0 for n in (complete, eligible)]
        low, high = map(float, str(share_between(*shown, POLICY)).split(" to "))
        assert low <= 100 * complete / eligible <= high <= 100
        assert low < high


@pytest.mark.nightly
@pytest.mark.parametrize(
    "missing", [4, *(pytest.param(some, marks=pytest.mark.nightly) for some in (1, 2, 3))]
)
def test_few_incomplete_patients_of_a_therapist_cannot_be_told(
    tmp_path: Path, missing: int
) -> None:
    """The number with every score is known exactly; one more each of 42 is no longer 40."""
    analysis, _ = _with_missing(tmp_path, missing)
    shown = release_results(analysis, POLICY).tables["completeness"].frame.set_index("therapist")
    seen = 0
    for therapist, row in shown[shown.index != OTHERS_TOGETHER].iterrows():
        if row["eligible"] == MARK:
            continue
        low, high = POLICY.bounds(row["eligible"])
        complete = analysis.completeness.loc[therapist, "complete"]
        lacking = range(max(0, int(low - complete)), int(high - complete) + 1)
        assert len(lacking) > 1
        seen += 1
    assert seen


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        (EVERYBODY, Kind(Count.n, "phq_9")),
        (EVERYBODY, Kind(Count.n_finished, "phq9")),
        (EVERYBODY, Kind(Count.modelled, "phq9", "random slope")),
        (Group(Whose.THERAPIST, "upper"), Kind(Count.n, "phq9")),
        (Group(Whose.RULE, "1"), Kind(Count.patients)),
    ],
)
def test_a_count_that_nobody_put_in_is_an_error_not_a_withheld_one(
    linked: Analysis, group: Group, kind: Kind
) -> None:
    therapists = [str(t) for t in linked.cohort.caseloads().index]
    counts = PatientCounts.of_analysis(linked, therapists, [], POLICY)
    assert counts.shown(EVERYBODY, Kind(Count.n, "phq9")) == POLICY.count(720)
    with pytest.raises(LookupError):
        counts.shown(group, kind)


def test_a_therapist_may_be_called_like_a_group() -> None:
    """The counts of a therapist called "all" were once those of everybody."""
    names = {"A": "all", "B": "upper", "C": "others together", "M0": "rule 0"}
    cohort = _linked_cohort()
    therapist = cohort.patients["therapist_id"].replace(names)
    odd = replace(cohort, patients=cohort.patients.assign(therapist_id=therapist))
    off = DisclosurePolicy(active=False)
    released = release_results(analyse(odd, draws=200, sensitivity=False), off)
    found = released.tables["outcomes_by_therapist"].frame.set_index("therapist")
    assert found.loc[[*names.values()], "n"].tolist() == [60] * 4
    assert found.loc["all", "n_deteriorated"] == DETERIORATED["A"]
    assert released.tables["outcomes"].frame["n"].tolist() == [720]


@pytest.mark.parametrize("seed", range(40))
def test_few_of_a_gender_or_ethnicity_cannot_be_solved_for(seed: int) -> None:
    """Not from the exact number of all, what is shown rounded, and that nobody listed is none."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 4, 6, 11, 19, 20, 23, 57, 180], rng.integers(1, 7))
    names = [f"kind {i}" for i in range(len(sizes))]
    known = pd.Series(names).repeat(sizes)
    made = PatientCounts()
    made.put(EVERYBODY, Kind(Count.analysed), int(sizes.sum()))
    table = pd.DataFrame({"n": known.value_counts()})
    table = pd.concat({"ethnicity": table}, names=["variable", "category"])
    shape: Any = SimpleNamespace(sample=SimpleNamespace(patient_categories=table))
    _add_categories(made, shape, POLICY)
    cohort = SimpleNamespace(measures=(), patients=pd.DataFrame())
    made._release(SimpleNamespace(cohort=cohort), POLICY, [EVERYBODY])  # type: ignore[arg-type]
    cells = {k: n for k, n in made.cells[EVERYBODY].items() if k.count is Count.category}
    assert sum(cells.values()) == sizes.sum()
    assert sum(n < 20 for n in cells.values()) <= 1
    small = {k for k, n in cells.items() if n < 5}
    told = {k: made.shown(EVERYBODY, k) for k in cells}
    for kind in small:
        assert np.isnan(told[kind])
        # The others' least and most leave more than one number for it.
        least, most = 0.0, 0.0
        for other in cells.keys() - {kind}:
            hidden = np.isnan(told[other])
            low, high = (1.0, np.inf) if hidden else POLICY.bounds(told[other])
            least, most = least + low, most + high
        range_of = max(1, sizes.sum() - most), min(4, sizes.sum() - least)
        assert range_of[1] > range_of[0] or len(cells) == 1
