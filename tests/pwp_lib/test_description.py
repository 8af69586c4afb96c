"""The sample described."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pwp_lib.description import describe_sample

PATIENTS = pd.DataFrame(
    {
        "therapist_id": ["a", "a", "b", "b", "b"],
        "age": [20, 40, 30, 50, np.nan],
        "sessions": [2, 4, 6, 8, 10],
        "gender": ["female", "male", None, "female", ""],
    }
)


def test_numbers_leave_gaps_out_and_count_them() -> None:
    row = describe_sample(PATIENTS).patients.loc["age"]
    assert (row["n"], row["missing"], row["mean"], row["median"]) == (4, 1, 35, 35)
    assert row["sd"] == pytest.approx(np.std([20, 40, 30, 50], ddof=1))


def test_categories_count_missing_entries_last() -> None:
    table = describe_sample(PATIENTS).patient_categories
    assert table["n"].to_dict() == {
        ("gender", "female"): 2,
        ("gender", "male"): 1,
        ("gender", "not available"): 2,
    }
    assert table["percent"].sum() == pytest.approx(100)


def test_caseloads() -> None:
    table = describe_sample(PATIENTS).caseloads
    assert table.loc["b"].tolist() == [3, 40, 8]


def test_sample_takes_the_columns_there_are_and_therapists_with_patients() -> None:
    therapists = pd.DataFrame(
        {"therapist_id": ["a", "b", "c"], "gender": ["male", "female", "male"], "age": [25, 30, 60]}
    )
    sample = describe_sample(PATIENTS, therapists)
    assert sample.therapists.loc["age", "maximum"] == 30
    assert sample.therapist_categories["n"].to_dict() == {
        ("gender", "male"): 1,
        ("gender", "female"): 1,
    }
    assert sample.caseload_numbers.loc["patients", "sd"] == pytest.approx(np.sqrt(0.5))
    assert ("therapists", "age") in sample.table().index
    alone = describe_sample(PATIENTS[["therapist_id"]])
    assert alone.patients.empty
    assert alone.therapist_categories.empty
    assert len(alone.table()) == 1
