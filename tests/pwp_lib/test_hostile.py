"""Arguments of the wrong kind, to every public function: nothing but an `InputError` comes out."""

from __future__ import annotations

import inspect
import pickle
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.arguments import checked

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


@pytest.mark.parametrize("scores", ["text", "lists"])
def test_scores_that_are_no_numbers_are_refused(scores: str) -> None:
    patients = pwp.load_cohort().patients
    fit = pwp.fit_models(patients, "phq9").intercept
    wrong: Any = "x" if scores == "text" else [[1]] * len(patients)
    for column in ("phq9_pre", "phq9_post"):
        for function in (pwp.check_model, pwp.recovery_by_therapist):
            with pytest.raises(pwp.InputError, match=column):
                function(fit, patients.assign(**{column: wrong}), "phq9")


def test_a_missing_argument_is_a_type_error_and_what_is_no_function_is_handed_on() -> None:
    with pytest.raises(TypeError, match="caseload"):
        FUNCTIONS["precision"](vpc=0.1)
    assert checked(pwp.PHQ9) is pwp.PHQ9
    assert pwp.precision is pwp.precision


def test_another_process_finds_a_function_under_its_name() -> None:
    assert pickle.loads(pickle.dumps(pwp.fit_mixed)) is pwp.fit_mixed
