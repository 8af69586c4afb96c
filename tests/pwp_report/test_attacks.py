"""Attacks on the newer tables over generated data: sums, ends, percentages, means, pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attacks import audit

from pwp_lib.cohort import Cohort, FlowStep, Provenance
from pwp_lib.description import describe_sample
from pwp_lib.measures import PHQ9
from pwp_lib.outcomes import completeness_by_therapist, summarise_outcomes
from pwp_report import report
from pwp_report.analysis import Analysis, analyse
from pwp_report.case_mix import CaseMix, case_mix_rows
from pwp_report.disclosure import (
    DisclosurePolicy,
    Relation,
    aggregate_small,
    release_counts,
)
from pwp_report.missing import last_scores
from pwp_report.patient_counts import EVERYBODY, OTHERS, Count, Group, Kind, PatientCounts, Whose
from pwp_report.release_parts import services_shown
from pwp_report.study import Study

POLICY = DisclosurePolicy()
COUNTS = ["n", "n_case_pre", "n_improved", "n_deteriorated", "n_recovered", "n_rcsi"]


#: A third of the cohorts at every change, all of them at night.
SEEDS = [pytest.param(seed, marks=pytest.mark.nightly if seed >= 4 else ()) for seed in range(12)]


def _cohort(seed: int, least: int = 6, therapists: int = 0) -> Cohort:
    """Ten to sixteen therapists; few patients deteriorate, and some last scores are missing."""
    rng = np.random.default_rng(seed)
    loads = rng.integers(least, 45, therapists or rng.integers(10, 17))
    who = np.repeat(np.arange(len(loads)), loads)
    pre = np.clip(rng.normal(14, 5, len(who)), 0, 27).round()
    effect = rng.normal(0, 2.5, len(loads))[who]
    post = np.clip(0.5 * pre + effect + rng.normal(0, 4, len(who)), 0, 27).round()
    everybody = pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(len(who))],
            "therapist_id": [f"T{k:02d}" for k in who],
            "phq9_pre": pre,
            "phq9_post": np.where(rng.random(len(who)) < rng.choice([0.01, 0.15]), np.nan, post),
        }
    )
    patients = everybody.dropna().reset_index(drop=True)
    lost = len(everybody) - len(patients)
    flow = (
        FlowStep("all patients", len(everybody), len(loads), 1, 0),
        FlowStep("a last score", len(patients), len(loads), 1, lost),
    )
    source = Provenance(False, "own.csv")
    return Cohort(patients, None, None, (PHQ9,), source, flow, everybody)


def _counted(cohort: Cohort) -> Analysis:
    """What is counted of a cohort, without its models; ends by the mean change."""
    patients, measures = cohort.patients, cohort.measures
    assert cohort.eligible is not None
    by = summarise_outcomes(patients, PHQ9, by="therapist_id")
    order, k = by["mean_change"].sort_values().index, len(by) // 3
    places = ["lower"] * k + ["middle"] * (len(by) - 2 * k) + ["upper"] * k
    parts: dict[str, Any] = {
        "flow": pd.DataFrame([vars(step) for step in cohort.flow]),
        "sample": describe_sample(patients, None),
        "completeness": completeness_by_therapist(cohort.eligible, measures),
        "last_scores": last_scores(cohort.eligible, measures, [*by.index]),
        "outcomes": pd.concat({"phq9": summarise_outcomes(patients, PHQ9)}).droplevel(1),
        "outcomes_by_therapist": {"phq9": by},
        "groups": pd.Series(places, order),
    }
    nothing: dict[str, Any] = {"national": None, "measures": {}, "rates": (), "predictors": None}
    return Analysis(cohort=cohort, seed=1, draws=1, not_done={}, **parts, **nothing)


def _released(seed: int) -> tuple[Analysis, PatientCounts, dict[str, Group]]:
    """What is counted of a cohort, its released counts, and whose they are."""
    cohort = _cohort(seed)
    analysis = _counted(cohort)
    alone, together = aggregate_small(cohort.caseloads(), POLICY)
    counts = PatientCounts.of_analysis(analysis, alone, together, POLICY)
    groups = {g: Group(Whose.THERAPIST, g) for g in alone}
    return analysis, counts, groups | ({"others": OTHERS} if together else {})


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_over_therapists_give_no_count_away(seed: int) -> None:
    _, counts, members = _released(seed)
    rows = {"all": EVERYBODY, **members}
    kinds = {c: Kind(Count(c), "phq9") for c in COUNTS}
    shown = pd.DataFrame({c: {r: counts.shown(g, k) for r, g in rows.items()}
                          for c, k in kinds.items()})  # fmt: skip
    truth = pd.DataFrame({c: {r: float(counts.cells[g][counts.same.get(k, k)])
                              for r, g in rows.items()} for c, k in kinds.items()})  # fmt: skip
    known = shown.stack().dropna()
    assert (known % 5 == 0).all()
    assert (known >= 5).all()
    relations = [Relation(("all", c), tuple((t, c) for t in members)) for c in COUNTS]
    for row in rows:
        parts = ((row, "n_improved"), (row, "n_deteriorated"))
        relations.append(Relation((row, "n"), parts, exhaustive=False))
        for whole_of, part in (("n", "n_case_pre"), ("n_case_pre", "n_recovered"),
                               ("n_recovered", "n_rcsi"), ("n_improved", "n_rcsi")):  # fmt: skip
            relations.append(Relation((row, whole_of), ((row, part),), exhaustive=False))
    attacked = audit(shown, relations, truth=truth)
    assert attacked["safe"].all(), attacked[~attacked["safe"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_who_lacks_a_last_score_cannot_be_counted_below_five(seed: int) -> None:
    """Totals before and after, their difference, and the numbers of patients that are known."""
    analysis, counts, _ = _released(seed)
    assert analysis.last_scores is not None
    lacking = int(analysis.last_scores.at["phq9", "lacking"])
    if not lacking:
        return
    first, last, less = (
        counts.shown(EVERYBODY, Kind(c, "phq9")) for c in (Count.first, Count.last, Count.lacking)
    )
    # The patients analysed are those with a last score, and their number is taken to be known.
    exact = len(analysis.cohort.patients)
    least, most = (0, 10_000) if np.isnan(less) else POLICY.bounds(less)
    low, high = (0, np.inf) if np.isnan(first) else POLICY.bounds(first)
    least = max(least, 1)  # where nobody lacked one there would be no row
    fits = [k for k in range(int(least), int(min(most, 10_000)) + 1) if low <= exact + k <= high]
    assert lacking in fits
    assert len(fits) > 1 or lacking >= 5
    assert np.isnan(less) or less >= 5
    assert np.isnan(last) or last % 5 == 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Reports of one file, and of the same with one patient less."""
    cohort, runs = _cohort(3, least=25, therapists=20), []
    for drop in (0, 1):
        number = cohort.patients["therapist_id"].str[1:].astype(int)
        gender = np.where(cohort.patients.index % 3, "f", "m")
        patients = cohort.patients.assign(service_id="S" + (number % 5).astype(str), mix_0=gender)
        patients = patients.iloc[drop:].reset_index(drop=True)
        one_less = Cohort(patients, None, None, cohort.measures, cohort.provenance, cohort.flow[:1])
        analysis = analyse(one_less, draws=200, sensitivity=False, cluster_size=4,
                           case_mix=CaseMix(("gender",)))  # fmt: skip
        folder = tmp_path_factory.mktemp("pair") / f"run{drop}"
        runs.append(report.write_run(analysis, Study(), POLICY, folder))
    return runs


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["clusters"])
def test_means_of_two_runs_tell_no_score_of_the_patient_between_them(
    pair: list[Path], name: str
) -> None:
    """With the number of patients known, a mean still fits several sums, so no score follows."""
    cohort = _cohort(3, least=25, therapists=20)
    gone = cohort.patients.iloc[0]
    tables = [pd.read_csv(run / "tables" / f"{name}.csv") for run in pair]
    assert not tables[0]["mean_post"].astype(str).eq("*").any()
    for before, after in zip(*(t.to_dict("records") for t in tables), strict=True):
        for column in ("mean_pre", "mean_post", "mean_change"):
            # The number of patients is taken to be known: how far the sum could lie, in both.
            assert len(str(before[column]).partition(".")[2]) <= 1
            sums = 2 * 0.05 * (before["n"] + after["n"])
            assert sums > 10, (column, gone.therapist_id)


@pytest.mark.nightly
def test_rates_of_two_runs_move_by_no_less_than_five_patients(pair: list[Path]) -> None:
    """A rate, and a rate of the model, fits five numbers of patients or more, in both runs."""
    for run in pair:
        rates = pd.read_csv(run / "tables" / "rates.csv")
        assert len(rates)
        for row in rates.to_dict("records"):
            assert row["n"] % 5 == 0
            yes = [k for k in range(0, int(row["n"]) + 1, 5) if round(100 * k / row["n"]) ==
                   pytest.approx(row["percent"], abs=1e-9)]  # fmt: skip
            assert yes  # worked out from two rounded counts, each of which five stand for
            for column in [c for c in rates if c.startswith("per_hundred") and row[c] == row[c]]:
                step = next(s for s in (5, 2, 1) if row[column] % s == 0)
                assert step * row["n"] >= 100 * 5, column


def test_services_and_case_mix_of_two_runs_tell_of_no_group_of_few(pair: list[Path]) -> None:
    before, after = ({t.stem: pd.read_csv(t) for t in (run / "tables").glob("*.csv")}
                     for run in pair)  # fmt: skip
    for services in (before["by_service_phq9"], after["by_service_phq9"]):
        assert (services["n"] % 5 == 0).all()
        assert (services["therapists"] >= 3).all()
        # With more decimals the width tells the caseloads of those who are not shown.
        ends = 10 * services[["lower", "upper"]].to_numpy()
        assert ends == pytest.approx(ends.round(), abs=1e-9)
    assert before["adjusted"]["adjusted_for"].tolist() == after["adjusted"]["adjusted_for"].tolist()
    # Shares of variance to one decimal, and no number of patients of a category.
    assert not {c for c in before["adjusted"] if c.startswith("n")}
    tenths = 10 * before["adjusted"].select_dtypes("float")
    assert (tenths - tenths.round()).abs().max().max() < 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_no_service_is_shown_beside_a_rest_of_few(seed: int) -> None:
    """What is left of a service, or of all services, without what is shown is a safe group."""
    cohort = _cohort(seed, least=int(np.random.default_rng(seed).integers(3, 22)))
    number = cohort.patients["therapist_id"].str[1:].astype(int)
    patients = cohort.patients.assign(service_id="S" + (number % (2 + seed % 4)).astype(str))
    analysis = replace(_counted(cohort), cohort=replace(cohort, patients=patients))
    alone, _ = aggregate_small(cohort.caseloads(), POLICY)
    shown, hidden = services_shown(analysis.cohort.patients, alone, POLICY)
    assert len(shown) + hidden == patients["service_id"].nunique()
    loads = patients.groupby(["service_id", "therapist_id"]).size()
    rests = [loads[s].drop(alone, errors="ignore") for s in shown.index]
    if hidden:
        left = loads[~loads.index.get_level_values(0).isin(shown.index)]
        # Those shown together, less those of them in services that are shown.
        rests += [left, left.drop(alone, level=1, errors="ignore")]
    for rest in [r for r in rests if len(r)]:
        # Each of them takes out their own: two others are left, of twenty patients or more.
        assert len(rest) >= 3
        assert rest.sum() - rest.max() >= POLICY.smallest_caseload


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("missing", ["category", "drop"])
def test_no_term_of_the_case_mix_is_of_few_patients(seed: int, missing: str) -> None:
    """Whatever an adjusted model is given, each category that it tells apart has twenty."""
    rng = np.random.default_rng(seed)
    sizes = [200, *rng.integers(1, 40, 6)]
    words = pd.Series(np.repeat(["a", "b", "c", "d", "e", "f", "g"], sizes))
    words = words.mask(rng.random(len(words)) < rng.choice([0.0, 0.01, 0.2]))
    patients = pd.DataFrame({"mix_0": words, "therapist_id": rng.choice([*"ABCDE"], len(words))})
    for frame in (patients, patients.iloc[:-1]):
        found = case_mix_rows(frame, CaseMix(("origin",), missing))
        terms = found.rows[[*found.terms]]
        # Those in no category have the others' mean, and no term of their own.
        known = terms[terms.isin([0.0, 1.0]).all(axis=1)]
        apart = known.groupby(list(terms)).size() if len(terms.columns) else pd.Series([len(frame)])
        assert apart.min() >= 20
        assert len(apart) == len(terms.columns) + 1
        rest = terms.drop(known.index)
        assert rest.to_numpy() == pytest.approx(np.tile(known.mean(), (len(rest), 1)))


NUMBERS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "ages": lambda rng, k: rng.integers(18, 80, 200),
    "skewed": lambda rng, k: rng.gamma(1.5, 1, 200),
    "nearly all none": lambda rng, k: np.where(np.arange(200) < k, rng.integers(1, 40, 200), 0),
    "one far out": lambda rng, k: np.where(np.arange(200) < 1, 9_999.0, rng.integers(18, 80, 200)),
    "four far out": lambda rng, k: np.where(np.arange(200) < 4, -500.0, rng.normal(0, 9, 200)),
    "many none": lambda rng, k: np.where(np.arange(200) < 60, rng.integers(1, 40, 200), 0),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", NUMBERS)
def test_no_coefficient_of_a_number_is_of_few(kind: str, seed: int) -> None:
    """Left out of any four patients, a coefficient is moved by less than what four alone make."""
    rng = np.random.default_rng(seed)
    values = pd.Series(NUMBERS[kind](rng, int(rng.integers(7, 20)))).sample(frac=1, random_state=1)
    patients = pd.DataFrame({"mix_0": values.to_numpy(), "therapist_id": [*"ABCDE"] * 40})
    found = case_mix_rows(patients, CaseMix(("number",), "category"))
    assert bool(found.terms) == (kind in ("ages", "skewed", "many none"))
    assert bool(found.terms) != any("is not adjusted for" in said for said in found.said)
    if found.terms:
        x = found.rows["term_mix_0"] - found.rows["term_mix_0"].mean()
        assert (x**2).nlargest(4).sum() < 0.5 * (x**2).sum()
        assert (x != x.mode()[0]).sum() >= 20


def test_pictures_and_json_hold_nothing_that_the_tables_do_not(pair: list[Path]) -> None:
    run = pair[0]
    for picture in (run / "figures").glob("*.svg"):
        text = re.sub(r"(?s)<style.*?</style>|<metadata.*?</metadata>|<[^>]+>", " ",
                      picture.read_text(encoding="utf-8"))  # fmt: skip
        assert not re.search(r"P\d+\b", text), picture.name
    small = re.compile(r'"n[a-z_]*": ?[1-4]\b')
    assert not small.search((run / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("left", range(20, 31))
@pytest.mark.parametrize("out", [1, 2, 3, 4])
def test_who_knows_that_a_rule_excluded_somebody_cannot_count_them(left: int, out: int) -> None:
    """A zero is shown as zero: a mark in its place says one at least, and no more than that."""
    frame = pd.DataFrame({"n": [left + out, left, out]}, index=["before", "left", "out"])
    whole, *parts = ((row, "n") for row in frame.index)
    relation = Relation(whole, tuple(parts))
    found = release_counts(frame, [relation], POLICY, known=[parts[0]], not_zero=[parts[1]])
    assert pd.isna(found.at["out", "n"])
    before = found.at["before", "n"]
    low, high = (0, np.inf) if pd.isna(before) else POLICY.bounds(before)
    fits = [k for k in range(1, 5) if low <= left + k <= high]
    assert out in fits
    assert len(fits) > 1
