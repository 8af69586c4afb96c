"""The whole analysis as one result."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from pwp_lib.cohort import Cohort
from pwp_lib.measures import Measure, known_measures
from pwp_lib.models import fit_models
from pwp_lib.show import figures
from pwp_lib.show.alt import describe
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.release import release_results
from pwp_report.report import _not_done


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(Truth().with_therapists(12, caseload=30), seed=4)


@pytest.fixture(scope="module")
def analysis(cohort: Cohort) -> Analysis:
    return analyse(cohort, draws=500, sensitivity=False)


def quick(cohort: Cohort) -> Analysis:
    return analyse(cohort, draws=500, sensitivity=False)


def test_everything_is_done_on_a_whole_cohort(analysis: Analysis) -> None:
    assert set(analysis.not_done) >= {"sensitivity.phq9", "sensitivity.gad7"}
    assert sorted(analysis.measures) == ["gad7", "phq9"]
    assert analysis.predictors is not None
    assert analysis.national is not None
    asked = {(model.asked.rate, model.asked.measure) for model in analysis.rates}
    assert {("recovery", ""), ("rcsi", "phq9"), ("improvement", "gad7")} <= asked


def test_it_gathers_the_calls_of_the_chapters(cohort: Cohort, analysis: Analysis) -> None:
    models = {m.name: fit_models(cohort.patients, m, cohort.measures) for m in cohort.measures}
    for name, fitted in models.items():
        result = analysis.measures[name]
        assert result.vpc == pytest.approx(fitted.slope.vpc(), rel=1e-12)
        assert result.models.test_slope.statistic == pytest.approx(fitted.test_slope.statistic)


def test_table_has_both_intervals(analysis: Analysis) -> None:
    table = analysis.table()
    assert (table["profile_lower"] < table["vpc"]).all()
    assert (table["vpc"] < table["profile_upper"]).all()
    assert (table["lower"] < table["median"]).all()
    assert (table["median"] < table["upper"]).all()


@pytest.mark.nightly
def test_same_seed_same_result(cohort: Cohort, analysis: Analysis) -> None:
    again = quick(cohort)
    pd.testing.assert_frame_equal(again.table(), analysis.table())
    for name, result in again.measures.items():
        pd.testing.assert_frame_equal(
            result.rank_uncertainty, analysis.measures[name].rank_uncertainty
        )


def test_one_measure_alone(cohort: Cohort) -> None:
    one = replace(cohort, measures=cohort.measures[1:], therapists=None, segments=None)
    result = quick(one)
    assert list(result.measures) == ["gad7"]
    assert result.national is None
    assert {"national", "predictors"} <= set(result.not_done)


@pytest.mark.nightly
def test_four_therapists_have_models_but_no_clusters() -> None:
    few = simulate_cohort(Truth().with_therapists(4, caseload=40), seed=2)
    result = quick(few)
    assert result.measures["phq9"].rank_uncertainty["p_upper"].isna().all()
    assert result.measures["phq9"].models.intercept.n_groups == 4


def test_one_therapist_has_descriptions_only(cohort: Cohort) -> None:
    patients = cohort.patients[cohort.patients["therapist_id"] == "T01"]
    result = quick(replace(cohort, patients=patients))
    assert result.measures == {}
    assert {"models.phq9", "models.gad7"} <= set(result.not_done)
    assert result.outcomes.loc["phq9", "n"] == len(patients)


def test_a_measure_without_thresholds_and_with_high_scores_good(cohort: Cohort) -> None:
    patients = cohort.patients.rename(columns=lambda c: c.replace("phq9", "wellbeing"))
    for column in ("wellbeing_pre", "wellbeing_post"):
        patients[column] = 27 - patients[column]
    wellbeing = Measure("wellbeing", "Wellbeing", 0, 27, None, None, higher_is_worse=False)
    result = quick(replace(cohort, patients=patients, measures=(wellbeing,)))
    plain = quick(replace(cohort, measures=cohort.measures[:1]))
    ranks = (
        r.rank_uncertainty.index.tolist()
        for r in (result.measures["wellbeing"], plain.measures["phq9"])
    )
    assert next(ranks) == next(ranks)


def test_a_measure_without_a_therapist_effect_ranks_nobody(cohort: Cohort) -> None:
    """Every therapist gets the same patients, so nothing is left between therapists."""
    some = cohort.patients.head(30)
    copies = [some.assign(therapist_id=f"T{i:02d}") for i in range(8)]
    patients = pd.concat(copies, ignore_index=True)
    patients["patient_id"] = [f"P{i:04d}" for i in range(len(patients))]
    result = quick(replace(cohort, patients=patients))
    assert result.measures["phq9"].vpc == 0
    assert (result.measures["phq9"].rank_uncertainty["reliability"] == 0).all()


def test_the_sensitivity_panel_is_there_when_asked_for() -> None:
    small = simulate_cohort(Truth().with_therapists(5, caseload=20), seed=3)
    result = analyse(small, draws=500)
    panel = result.measures["phq9"].sensitivity
    assert panel is not None
    assert panel.rows["family"].eq("leave one out").sum() == 5


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("others", "told"), [(("core",), False), (("gad7", "wsas"), True), ((), False)]
)
def test_national_definitions_are_of_phq9_and_gad7(
    cohort: Cohort, others: tuple[str, ...], told: bool
) -> None:
    patients, measures = cohort.patients.copy(), [cohort.measures[0]]
    for name in others:
        if name != "gad7":
            patients[[f"{name}_pre", f"{name}_post"]] = patients[["gad7_pre", "gad7_post"]]
        measures.append(replace(cohort.measures[1], name=name, label=name))
    result = quick(replace(cohort, patients=patients, measures=tuple(measures)))
    assert (result.national is not None) == told
    assert told or "PHQ-9 with the GAD-7" in result.not_done["national"]
    if told:
        alone = quick(cohort)
        pd.testing.assert_frame_equal(result.national, alone.national)


@pytest.mark.parametrize("higher_is_worse", [True, False])
def test_a_caterpillar_says_which_side_is_better(higher_is_worse: bool) -> None:
    scale = Measure("odd", "Odd", 0, 40, None, None, higher_is_worse=higher_is_worse)
    table = pd.DataFrame(
        {"residual": [-3.0, 3.0], "lower": [-4.0, 2.0], "upper": [-2.0, 4.0]}, ["Ann", "Ben"]
    )
    with known_measures([scale]):
        axes = figures.caterpillar_plot({"odd": table})
        said = describe(list(axes))
    best = "Ann" if higher_is_worse else "Ben"
    assert f"{best} better than the average" in said
    side = "left" if higher_is_worse else "right"
    assert f"({side}: better)" in axes[0].get_xlabel()
    assert axes[0].get_yticklabels()[0].get_text() == best


@pytest.mark.neighbours
@pytest.mark.parametrize("most", [2, 3])
def test_with_many_services_the_reason_stands_where_a_fixed_effect_would(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwp_report.analysis._MOST_SERVICES", most)
    one = simulate_cohort(Truth.one_measure().with_therapists(9, caseload=15), seed=2)
    codes = pd.factorize(one.patients["therapist_id"])[0] % 3
    rows = one.patients.assign(service_id=[f"S{k}" for k in codes])
    result = analyse(replace(one, patients=rows), engines=["ml"])
    (found,) = result.measures.values()
    assert found.sensitivity is not None
    table = found.sensitivity.rows.set_index("analysis")
    assert (table.loc["Service as a fixed effect, REML", "vpc"] >= 0) == (most == 3)
    reason = _not_done(result, release_results(result, DisclosurePolicy())).get("service_fixed", "")
    assert ("takes 2 services or fewer" in reason) == (most == 2)
