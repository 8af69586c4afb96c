"""What moments cannot give, and what a frame cannot give, is refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from moment_cases import PAPER, columns_only, make_patients

from multilevel.errors import InputError
from multilevel.sources import design_moments


@pytest.mark.parametrize(
    ("columns", "formula", "named"),
    [
        (("phq9_post", "phq9_pre"), "phq9_post ~ gad7_pre", "gad7_pre"),
        (("phq9_post", "phq9_pre"), "phq9_post ~ phq_pre", "phq9_pre"),
        (("phq9_post", "phq9_pre"), "phq9_post ~ log(phq9_pre)", "log(phq9_pre)"),
        (("phq9_post", "phq9_pre"), "phq9_post ~ C(phq9_pre)", "C(phq9_pre)"),
        (("phq9_post", "phq9_pre"), "phq9_post ~ {phq9_pre > 10}", "phq9_pre > 10"),
        (("phq9_post", "phq9_pre"), "phq9_post ~ {phq9_pre ** 2}", "phq9_pre:phq9_pre"),
        (
            ("phq9_post", "phq9_pre", "gad7_pre"),
            "phq9_post ~ phq9_pre * gad7_pre",
            "gad7_pre:phq9_pre",
        ),
    ],
)
def test_what_was_not_stored_is_refused_by_name(
    columns: tuple[str, ...], formula: str, named: str
) -> None:
    with pytest.raises(InputError) as caught:
        columns_only(*columns).design(f"{formula} + (1 | therapist_id)")
    assert named in str(caught.value)


def test_other_groups_are_refused() -> None:
    with pytest.raises(InputError, match="grouped by therapist_id, not by service_id"):
        columns_only("phq9_post").design("phq9_post ~ 1 + (1 | service_id)")


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("phq9_post ~ phq9_prae", "column phq9_prae: .* nearest name is phq9_pre"),
        ("phq9_post ~ 1 + (1 | therapist)", "column therapist: .* nearest name is therapist_id"),
        ("service_id ~ age", "column service_id: numbers are needed"),
        ("phq9_post ~ center(service_id)", "column service_id: numbers are needed"),
        ("phq9_post ~ log(service_id)", "column service_id: numbers are needed"),
        ("phq9_post ~ log(gad7_pre)", r"column log\(gad7_pre\): a value is infinite"),
        ("phq9_post ~ nonsense(age)", "not known here"),
        ("phq9_post ~ 1 + (1 + service_id + age | therapist_id)", "has 4 columns and 3"),
        ("C(age) ~ 1", "cannot be a response"),
        ("phq9_post ~ bs(age, df=4)", r"bs\(age, df=4\) is not known here.* make other columns"),
        ("phq9_post ~ C(log(age))", r"C\(log\(age\)\) is not known here.* of one column"),
    ],
)
def test_what_a_frame_cannot_give_is_refused_in_words(formula: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        design_moments(formula, make_patients())


def test_dates_and_infinite_values_and_empty_tables_are_refused() -> None:
    frame = make_patients()
    with pytest.raises(InputError, match="dates"):
        design_moments("phq9_post ~ day", frame.assign(day=pd.Timestamp("2014-01-01")))
    with pytest.raises(InputError, match="infinite"):
        design_moments("phq9_post ~ age", frame.assign(age=np.inf))
    with pytest.raises(InputError, match="no row has a value in every column"):
        design_moments("phq9_post ~ age", frame.assign(age=np.nan))
    with pytest.raises(InputError, match="no table"):
        design_moments("phq9_post ~ age", 3)


@pytest.mark.parametrize("age", [0, 40, 0.1, 1e9 + 0.3])
def test_scale_of_a_constant_is_refused(age: float) -> None:
    with pytest.raises(InputError, match=r"scale\(age\).* the same in every row"):
        design_moments("phq9_post ~ scale(age)", make_patients().assign(age=age))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1], [2]], "numbers or text are needed"),
        ([{"a": 1}, {"b": 2}], "numbers or text are needed"),
        (["a", 1], "numbers or text are needed"),
        ([1j, 2], "numbers or text are needed"),
        ([1e200, 2e200], "too large or too small to be multiplied"),
        (["S1", "S1"], "one level only"),
    ],
)
def test_columns_of_no_use_are_refused(values: list[Any], words: str) -> None:
    frame = pd.DataFrame({"y": [1, 2, 3, 4], "x": values * 2})
    with pytest.raises(InputError, match=f"column x: .*{words}"):
        design_moments("y ~ x", frame)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = make_patients().rename(columns={"age": "phq9_pre"})
    with pytest.raises(InputError, match="two columns"):
        design_moments(PAPER, frame)
