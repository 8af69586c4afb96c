from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.measures import GAD7, MEASURES, PHQ9, Measure
from pwp_lib.outcomes import (
    national_outcomes,
    patient_national_outcomes,
    patient_outcomes,
    summarise_outcomes,
)
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth

BETTER = Measure("wellbeing", "Wellbeing", 0, 27, 18, 6, higher_is_worse=False)


@pytest.fixture(scope="module", name="people")
def _people():
    truth = Truth(caseloads=(30,) * 12, services=3)
    return simulate_cohort(truth, seed=4, interviews=False).patients


def _one(pre, post, measure="phq9"):
    return pd.DataFrame({f"{measure}_pre": [pre], f"{measure}_post": [post]})


@pytest.mark.parametrize(
    ("pre", "post", "improved", "deteriorated", "case", "recovered", "rcsi"),
    [
        (16, 9, True, False, True, True, True),
        (16, 10, True, False, True, False, False),  # improved, but 10 is still a case
        (15, 9, True, False, True, True, True),  # six points are enough
        (14, 9, False, False, True, True, False),  # recovered by five points only
        (10, 4, True, False, True, True, True),  # 10 is a case
        (9, 3, True, False, False, False, False),  # was no case
        (9, 15, False, True, False, False, False),
        (10, 15, False, False, True, False, False),
    ],
)
def test_the_papers_definitions_at_their_edges(
    pre, post, improved, deteriorated, case, recovered, rcsi
):
    row = patient_outcomes(_one(pre, post), PHQ9).iloc[0]
    assert row["change"] == pre - post
    assert (row["reliably_improved"], row["reliably_deteriorated"]) == (improved, deteriorated)
    assert (row["case_pre"], row["recovered"], row["rcsi"]) == (case, recovered, rcsi)


def test_a_scale_on_which_more_is_better_mirrors_one_on_which_less_is():
    # 27 - score turns the PHQ-9 round; everything but the scores themselves must be the same.
    rng = np.random.default_rng(1)
    down = pd.DataFrame(rng.integers(0, 28, (300, 2)), columns=["phq9_pre", "phq9_post"])
    up = (27 - down).set_axis(["wellbeing_pre", "wellbeing_post"], axis=1)
    a, b = patient_outcomes(down, "phq9"), patient_outcomes(up, BETTER)
    pd.testing.assert_frame_equal(a.drop(columns=["pre", "post"]), b.drop(columns=["pre", "post"]))


def test_decimals_that_reach_the_threshold_count():
    row = patient_outcomes(_one(3.03, 2.3, "mi"), "mi").iloc[0]
    assert row["reliably_improved"]


def test_missing_scores_are_missing_outcomes_not_failures():
    frame = pd.DataFrame({"phq9_pre": [16, np.nan, 16], "phq9_post": [9, 9, np.nan]})
    rows = patient_outcomes(frame, "phq9")
    assert rows["rcsi"].isna().tolist() == [False, True, True]
    assert rows["case_pre"].isna().tolist() == [False, True, False]
    summary = summarise_outcomes(frame, "phq9").iloc[0]
    assert (summary["n"], summary["n_rcsi"], summary["rcsi"]) == (1, 1, 1.0)
    assert np.isnan(summary["effect_size"])


def test_a_measure_without_thresholds_gives_change_and_no_rates():
    frame = pd.DataFrame({"wsas_pre": [20, 30], "wsas_post": [10, 25]})
    rows = patient_outcomes(frame, "wsas")
    assert rows["change"].tolist() == [10, 5]
    assert rows[["case_pre", "reliably_improved", "rcsi"]].isna().all(axis=None)
    summary = summarise_outcomes(frame, "wsas").iloc[0]
    assert summary["effect_size"] == pytest.approx(7.5 / np.std([20, 30], ddof=1))
    assert np.isnan(summary[["caseness", "improvement", "rcsi"]].astype(float)).all()


def test_a_cut_off_without_a_reliable_change_gives_recovery_only():
    frame = pd.DataFrame({"core_om_pre": [20.5, 12.0], "core_om_post": [9.5, 11.0]})
    summary = summarise_outcomes(frame, MEASURES["core_om"]).iloc[0]
    assert (summary["n_recovered"], summary["recovery"]) == (1, 0.5)
    assert np.isnan(summary["rcsi"])
    assert np.isnan(summary["n_improved"])


def test_a_therapist_without_cases_has_no_recovery_rate():
    frame = pd.DataFrame(
        {"therapist_id": ["a", "a", "b"], "phq9_pre": [16, 12, 5], "phq9_post": [4, 11, 4]}
    )
    table = summarise_outcomes(frame, "phq9", by="therapist_id")
    assert table.loc["a", "rcsi"] == 0.5
    assert np.isnan(table.loc["b", "rcsi"])
    assert table.loc["b", "caseness"] == 0


def test_groups_add_up_to_the_whole(people):
    whole = summarise_outcomes(people, GAD7).iloc[0]
    parts = summarise_outcomes(people, GAD7, by="therapist_id")
    counts = [c for c in parts.columns if c == "n" or c.startswith("n_")]
    pd.testing.assert_series_equal(
        parts[counts].sum().astype(float), whole[counts].astype(float), check_names=False
    )
    assert (parts["mean_change"] * parts["n"]).sum() / 360 == pytest.approx(whole["mean_change"])


def test_effect_size_is_mean_change_over_the_sd_before(people):
    row = summarise_outcomes(people, "phq9").iloc[0]
    change = people["phq9_pre"] - people["phq9_post"]
    assert row["effect_size"] == pytest.approx(change.mean() / people["phq9_pre"].std())


def test_any_labels_group_and_patients_without_one_are_left_out(people):
    labels = pd.Series(["x", "y", None] * 120, name="cluster")
    table = summarise_outcomes(people, "phq9", by=labels)
    assert table.index.tolist() == ["x", "y"]
    assert table.index.name == "cluster"
    assert table["n"].tolist() == [120, 120]


def test_order_of_the_patients_does_not_matter(people):
    shuffled = people.sample(frac=1, random_state=3)
    for by in (None, "therapist_id", "service_id"):
        pd.testing.assert_frame_equal(
            summarise_outcomes(people, "phq9", by), summarise_outcomes(shuffled, "phq9", by)
        )


@pytest.mark.nightly
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 27), st.integers(0, 27), st.integers(0, 21), st.integers(0, 21)),
        min_size=1,
        max_size=40,
    )
)
def test_what_must_hold_of_any_scores(rows):
    frame = pd.DataFrame(rows, columns=["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"])
    for measure in (PHQ9, GAD7):
        one = patient_outcomes(frame, measure)
        assert not (one["reliably_improved"] & one["reliably_deteriorated"]).any()
        assert (one["rcsi"] <= one["recovered"]).all()
        assert (one["rcsi"] <= one["reliably_improved"]).all()
    nation = patient_national_outcomes(frame)
    assert not (nation["reliably_improved"] & nation["reliably_deteriorated"]).any()
    assert (
        nation["reliably_recovered"] == (nation["recovered"] & nation["reliably_improved"])
    ).all()
    assert (nation["recovered"] <= nation["case"]).all()
    # A patient who recovers on both measures by the paper's definition recovers nationally.
    twice = patient_outcomes(frame, PHQ9)["rcsi"] & patient_outcomes(frame, GAD7)["rcsi"]
    assert (twice <= nation["reliably_recovered"]).all()


@pytest.mark.parametrize(
    ("phq", "gad", "case", "recovered", "improved", "deteriorated"),
    [
        ((16, 9), (12, 7), True, True, True, False),
        ((16, 9), (12, 8), True, False, True, False),  # still a case on anxiety
        ((9, 9), (12, 7), True, True, True, False),  # a case on anxiety alone
        ((9, 3), (7, 7), False, False, True, False),  # improved, never a case
        ((16, 9), (4, 7), True, True, True, False),  # three points worse are not reliable
        ((16, 9), (3, 7), True, True, False, False),  # one better, one worse: no reliable change
        ((10, 9), (8, 7), True, True, False, False),  # recovered, not reliably
        ((10, 16), (8, 8), True, False, False, True),
        ((10, 16), (12, 8), True, False, False, False),
    ],
)
def test_the_national_definitions_at_their_edges(phq, gad, case, recovered, improved, deteriorated):
    frame = pd.concat([_one(*phq), _one(*gad, "gad7")], axis=1)
    row = patient_national_outcomes(frame).iloc[0]
    assert (row["case"], row["recovered"]) == (case, recovered)
    assert (row["reliably_improved"], row["reliably_deteriorated"]) == (improved, deteriorated)
    assert row["reliably_recovered"] == (recovered and improved)


def test_only_finished_courses_count_nationally():
    one = pd.concat([_one(16, 4), _one(12, 3, "gad7")], axis=1)
    frame = pd.concat([one] * 4, ignore_index=True).assign(
        sessions=[2, 1, 5, 5], status=["closed", "closed", "in_treatment", None]
    )
    row = national_outcomes(frame).loc["all"]
    assert (row["n"], row["n_finished"], row["n_recovery"]) == (4, 1, 1)
    assert national_outcomes(one).loc["all", "n_finished"] == 1
    none = national_outcomes(frame.iloc[1:]).loc["all"]
    assert none["n_finished"] == 0
    assert np.isnan(none["recovery"])
    assert np.isnan(none["reliable_improvement"])


def test_a_disorder_specific_measure_can_take_the_place_of_the_gad7():
    frame = pd.concat([_one(16, 9), _one(60, 27, "oci")], axis=1)
    row = national_outcomes(frame, ("phq9", "oci")).loc["all"]
    assert row["reliable_recovery"] == 1.0


def test_national_groups_add_up(people):
    parts = national_outcomes(people, by="service_id")
    whole = national_outcomes(people).loc["all"]
    counts = [c for c in parts.columns if c == "n" or c.startswith("n_")]
    assert parts[counts].sum().tolist() == whole[counts].tolist()


def test_bad_requests_are_said_in_a_sentence(people):
    with pytest.raises(InputError, match="column oci_pre: the column is missing"):
        patient_outcomes(people, "oci")
    with pytest.raises(InputError, match="column ward: the column is missing"):
        summarise_outcomes(people, "phq9", by="ward")
    with pytest.raises(InputError, match="another length"):
        summarise_outcomes(people, "phq9", by=pd.Series(["a"]))
    with pytest.raises(InputError, match="two measures"):
        national_outcomes(people, ["phq9"])
    with pytest.raises(InputError, match="no cut-off or no reliable change"):
        national_outcomes(people, [PHQ9, replace(GAD7, reliable_change=None)])


@pytest.mark.parametrize("kind", ["polars", "a column", "text", "infinite"])
def test_what_is_no_frame_of_scores_is_refused(kind: str) -> None:
    scores = {"therapist_id": ["a", "b"], "phq9_pre": [10, 12], "phq9_post": [3, 4]}
    given = {
        "polars": pl.DataFrame(scores),
        "a column": pd.Series(scores["phq9_pre"]),
        "text": pd.DataFrame(scores | {"phq9_pre": ["low", "high"]}),
        "infinite": pd.DataFrame(scores | {"phq9_pre": [10.0, float("-inf")]}),
    }[kind]
    with pytest.raises(InputError, match=r"pandas DataFrame|numbers are needed"):
        summarise_outcomes(given, "phq9")


def test_courses_without_a_last_score_are_in_the_published_denominators():
    # Four finished courses, counted by hand: recovered; below both cut-offs at the start; a case
    # without a last score; a first PHQ-9 below the cut-off beside a GAD-7 that is not known.
    frame = pd.DataFrame(
        {
            "phq9_pre": [16, 5, 16, 5],
            "phq9_post": [4, 5, np.nan, 4],
            "gad7_pre": [12, 5, 12, np.nan],
            "gad7_post": [3, 5, np.nan, 3],
            "sessions": [6, 6, 2, 4],
            "status": "closed",
        }
    )
    row = national_outcomes(frame).loc["all"]
    assert (row["n_finished"], row["n_case"]) == (4, 3)
    assert (row["n_recovery"], row["n_reliable_improvement"]) == (1, 1)
    assert row["recovery"] == pytest.approx(1 / 3)
    assert row["reliable_improvement"] == pytest.approx(1 / 4)
