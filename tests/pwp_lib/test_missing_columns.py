"""A table that lacks a column, or is none, is refused in words by everything that takes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.errors import InputError
from pwp_lib.comparison import ancova, cluster_effect_sizes, compare_rates, nested_ancova

COHORT = pwp.load_cohort()
PATIENTS = COHORT.patients
HALVES = {t: "upper" if i % 2 else "lower" for i, t in enumerate(PATIENTS["therapist_id"].unique())}
CALLS: dict[str, Callable[[Any], Any]] = {
    "patient_outcomes": lambda p: pwp.patient_outcomes(p, "phq9"),
    "summarise_outcomes": lambda p: pwp.summarise_outcomes(p, "phq9", by="therapist_id"),
    "completeness": lambda p: pwp.completeness_by_therapist(p, ["phq9"]),
    "describe_sample": pwp.describe_sample,
    "ancova": lambda p: ancova(p, "phq9", HALVES),
    "nested_ancova": lambda p: nested_ancova(p, "phq9", HALVES),
    "effect_sizes": lambda p: cluster_effect_sizes(p, "phq9", HALVES),
    "compare_rates": lambda p: compare_rates(p, "phq9", HALVES),
    "split_sample": lambda p: pwp.split_sample_comparison(p, ["phq9"], repeats=1),
    "sensitivity": lambda p: pwp.sensitivity_panel(p, "phq9", draws=0),
    "predictors": lambda p: pwp.therapist_predictors(
        p, COHORT.therapists, "phq9", ["resilience"], ["phq9"]
    ),
    "fit_models": lambda p: pwp.fit_models(p, "phq9", ["phq9"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("column", ["therapist_id", "phq9_pre", "phq9_post"])
def test_a_missing_column_is_named(call: Callable[[Any], Any], column: str) -> None:
    needs = {"therapist_id"} if call is CALLS["describe_sample"] else None
    if call is CALLS["patient_outcomes"]:
        needs = {"phq9_pre", "phq9_post"}
    lacking = PATIENTS.drop(columns=column)
    if needs is not None and column not in needs:
        call(lacking)
        return
    with pytest.raises(InputError, match=column):
        call(lacking)


def test_a_trait_in_words_is_no_predictor() -> None:
    therapists = COHORT.therapists.assign(warmth="high")
    with pytest.raises(InputError, match="warmth"):
        pwp.therapist_predictors(PATIENTS, therapists, "phq9", ["warmth"])


def test_what_is_no_table_is_refused() -> None:
    for call in (CALLS["completeness"], CALLS["describe_sample"], CALLS["patient_outcomes"]):
        with pytest.raises(InputError, match="DataFrame"):
            call([1, 2])
    assert isinstance(CALLS["completeness"](PATIENTS), pd.DataFrame)
