"""Arguments of the wrong kind, to every public function: nothing but an `InputError` comes out."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.arguments import checked

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
FUNCTIONS = {
    name: found for name in dir(pwp) if inspect.isfunction(found := getattr(pwp, name, None))
}
#: What no parameter but one that takes anything is content with.
STRANGE: list[Any] = [object(), len, 1j, b"x", pd.NA, 10**400, {None}]
PLACES = [
    (name, parameter)
    for name, found in FUNCTIONS.items()
    for parameter, about in inspect.signature(found).parameters.items()
    if about.annotation != "Any"
]


def arguments(name: str, parameter: str, value: Any) -> dict[str, Any]:
    """Give a value to one parameter, and to the others something of their kind or nothing."""
    patients = pwp.load_cohort().patients
    kinds = {"pd.DataFrame": patients, "str": "phq9", "str | Measure": "phq9", "float": 0.5}
    given = {
        other: kinds.get(str(about.annotation), "phq9")
        for other, about in inspect.signature(FUNCTIONS[name]).parameters.items()
        if about.default is inspect.Parameter.empty
    }
    return given | {parameter: value}


@pytest.mark.neighbours
@pytest.mark.parametrize(("name", "parameter"), PLACES)
def test_a_value_of_the_wrong_kind_is_refused_in_words(name: str, parameter: str) -> None:
    for value in STRANGE:
        with pytest.raises(pwp.InputError):
            FUNCTIONS[name](**arguments(name, parameter, value))


def test_every_signature_can_be_read_when_it_is_called() -> None:
    assert len(FUNCTIONS) > 40
    for found in FUNCTIONS.values():
        assert len(get_type_hints(inspect.unwrap(found))) > 0


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("rank_uncertainty", {"draws": -1}, "draws .* too small; give 0 or more"),
        ("rank_uncertainty", {"draws": 0}, "no draw is asked for"),
        ("rank_uncertainty", {"seed": -1}, "seed .* too small"),
        ("fit_models", {"patients": "twice", "measure": "phq9"}, "two columns of one name"),
        ("precision", {"caseload": "x", "vpc": 0.1}, "caseload .* ArrayLike"),
        ("precision", {"caseload": np.nan, "vpc": 0.1, "therapists": 9}, "several patients"),
        ("precision_grid", {"therapists": [], "caseloads": [9]}, "one value of each"),
        ("interval_coverage", {"therapists": []}, "needs therapists"),
        ("cluster_sizes_from_percentages", {"statistic": "fisher"}, "yates"),
        ("ancova", {"patients": 3, "measure": "phq9", "groups": {}}, "patients of ancova"),
    ],
)
def test_what_is_wrong_is_named(name: str, given: dict[str, Any], words: str) -> None:
    patients = pwp.load_cohort().patients
    if given.get("patients") == "twice":
        given = given | {"patients": pd.concat([patients, patients], axis=1)}
    if name == "rank_uncertainty":
        given = given | {"fit": pwp.fit_models(patients, "phq9").intercept}
    with pytest.raises(pwp.InputError, match=words):
        FUNCTIONS[name](**given)


def figures(found: Any) -> list[str]:
    """All that a result holds, without the names of its rows."""
    if is_dataclass(found) and not isinstance(found, type):
        return [v for field in fields(found) for v in figures(getattr(found, field.name))]
    if isinstance(found, pd.DataFrame | pd.Series):
        found = found.to_numpy(dtype=object).ravel()
    if isinstance(found, list | tuple | np.ndarray):
        return [v for one in found for v in figures(one)]
    return [repr(found)] if isinstance(found, str | float | int | np.generic) else []


@pytest.mark.parametrize("scores", ["text", "lists"])
def test_scores_that_are_no_numbers_are_refused(scores: str) -> None:
    patients = pwp.load_cohort().patients
    fit = pwp.fit_models(patients, "phq9").intercept
    wrong: Any = "x" if scores == "text" else [[1]] * len(patients)
    for column in ("phq9_pre", "phq9_post"):
        for function in (pwp.check_model, pwp.recovery_by_therapist):
            with pytest.raises(pwp.InputError, match=column):
                function(fit, patients.assign(**{column: wrong}), "phq9")


#: What is done with tables of patients, therapists and segments, by name.
CALLS: dict[str, Callable[[Tables, dict[Any, str], Any], Any]] = {
    "ancova": lambda t, groups, _: pwp.ancova(t[0], "phq9", groups),
    "nested_ancova": lambda t, groups, _: pwp.nested_ancova(t[0], "phq9", groups),
    "compare_rates": lambda t, groups, _: pwp.compare_rates(t[0], "phq9", groups),
    "check_model": lambda t, _, fit: pwp.check_model(fit, t[0], "phq9"),
    "recovery_by_therapist": lambda t, _, fit: pwp.recovery_by_therapist(fit, t[0], "phq9"),
    "completeness_by_therapist": lambda t, *_: pwp.completeness_by_therapist(t[0], ["phq9"]),
    "describe_sample": lambda t, *_: pwp.describe_sample(t[0], t[1]),
    "fit_models": lambda t, *_: pwp.fit_models(t[0], "phq9").intercept.residuals(),
    "national_outcomes": lambda t, *_: pwp.national_outcomes(t[0], by="therapist_id"),
    "patient_outcomes": lambda t, *_: pwp.patient_outcomes(t[0], "phq9"),
    "summarise_outcomes": lambda t, *_: pwp.summarise_outcomes(t[0], "phq9", by="therapist_id"),
    "split_sample_comparison": lambda t, *_: pwp.split_sample_comparison(t[0], ["phq9"], repeats=1),
    "sensitivity_panel": lambda t, *_: pwp.sensitivity_panel(t[0], "phq9", draws=200),
    "therapist_predictors": lambda t, *_: pwp.therapist_predictors(t[0], t[1], "phq9", ["age"]),
    "read_cohort": lambda t, *_: pwp.read_cohort(*t).caseloads(),
    "coder_agreement": lambda t, *_: pwp.coder_agreement(t[2]),
    "high_order_themes": lambda t, groups, _: pwp.high_order_themes(t[2], groups),
    "lower_order_themes": lambda t, groups, _: pwp.lower_order_themes(t[2], groups),
    "theme_map": lambda t, groups, _: pwp.theme_map(t[2], groups),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_an_index_that_has_a_column_s_name_changes_nothing(name: str) -> None:
    cohort = pwp.load_cohort()
    plain = (cohort.patients, cohort.therapists, cohort.segments)
    fit = pwp.fit_models(plain[0], "phq9").intercept
    ranked = fit.residuals().sort_values("residual").index
    places = dict.fromkeys(ranked, "middle") | dict.fromkeys(ranked[:5], "upper")
    groups = places | dict.fromkeys(ranked[-5:], "lower")
    wanted = CALLS[name](plain, groups, fit)
    for columns in (["therapist_id", "service_id"], ["role", "participant_id"]):
        named = [t.set_index([c for c in columns if c in t] or t.index, drop=False) for t in plain]
        found = CALLS[name]((named[0], named[1], named[2]), groups, fit)
        assert figures(found) == figures(wanted)
    assert len(figures(wanted)) > 2


@pytest.mark.parametrize("missing", ["all", "most"])
def test_patients_without_a_therapist_divide_nobody(missing: str) -> None:
    patients = pwp.load_cohort().patients
    some = patients["therapist_id"].isin(patients["therapist_id"].unique()[:8])
    nobody = patients.assign(therapist_id=patients["therapist_id"].where(some & (missing != "all")))
    if missing == "all":
        with pytest.raises(pwp.InputError):
            pwp.split_sample_comparison(nobody, ["phq9"], repeats=1)
        return
    found = pwp.split_sample_comparison(nobody, ["phq9"], repeats=2).repeats
    pd.testing.assert_frame_equal(
        found, pwp.split_sample_comparison(patients[some], ["phq9"], repeats=2).repeats
    )


def test_a_missing_argument_is_a_type_error_and_what_is_no_function_is_handed_on() -> None:
    with pytest.raises(TypeError, match="caseload"):
        FUNCTIONS["precision"](vpc=0.1)
    assert checked(pwp.PHQ9) is pwp.PHQ9
    assert pwp.precision is pwp.precision


def test_another_process_finds_a_function_under_its_name() -> None:
    assert pickle.loads(pickle.dumps(pwp.fit_mixed)) is pwp.fit_mixed
