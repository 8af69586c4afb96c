"""Therapists who are not in the model are no degrees of freedom of what is tested between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, t

from pwp_lib.comparison import nested_ancova, therapist_predictors


def cohort(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, set[int]]:
    """Patients and therapists, of whom some have no complete patient, no score or no patient."""
    rng = np.random.default_rng([771_900, seed])
    count, size = int(rng.integers(8, 30)), int(rng.integers(3, 9))
    therapist = np.repeat(np.arange(count), size)
    # Each therapist's patients have the same mean first score, so that means can stand for them.
    pre = np.tile(rng.integers(8, 25, size), count)
    post = 0.4 * pre + 2 * rng.normal(size=count)[therapist] + rng.normal(0, 2, len(pre))
    patients = pd.DataFrame({"therapist_id": therapist, "phq9_pre": pre, "phq9_post": post})
    people = pd.DataFrame({"therapist_id": np.arange(count), "warmth": rng.normal(50, 9, count)})
    gone = {int(i) for i in rng.choice(count, rng.integers(1, count - 4), replace=False)}
    for way, one in enumerate(gone):
        if (way + seed) % 4 == 0:
            patients = patients[patients["therapist_id"] != one]
        elif (way + seed) % 4 == 1:
            people.loc[people["therapist_id"] == one, "warmth"] = np.nan
        else:
            column = ("phq9_post", "phq9_pre")[(way + seed) % 4 - 2]
            patients.loc[patients["therapist_id"] == one, column] = np.nan
    return patients, people, set(range(count)) - gone


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(90))
def test_a_predictor_is_tested_as_by_the_means_of_those_in_the_model(seed: int) -> None:
    patients, people, left = cohort(seed)
    found = therapist_predictors(patients, people, "phq9", ["warmth"]).loc["warmth"]
    assert found["n_therapists"] == len(left)
    assert found["df"] == len(left) - 2
    assert found["p_value"] == pytest.approx(2 * t.sf(abs(found["t"]), len(left) - 2))
    kept = patients[patients["therapist_id"].isin(left)]
    mean = kept.groupby("therapist_id")["phq9_post"].mean()
    warmth = people.set_index("therapist_id")["warmth"].loc[mean.index]
    line = linregress((warmth - warmth.mean()) / warmth.std(), mean)
    assert found["estimate"] == pytest.approx(line.slope)
    if found["intercept_variance"] > 1e-6:  # in balanced rows REML's test is that of the means
        assert found["t"] == pytest.approx(line.slope / line.stderr, rel=1e-5)
        assert found["p_value"] == pytest.approx(line.pvalue, rel=1e-4)


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(90))
def test_the_nested_comparison_counts_the_therapists_with_complete_patients(seed: int) -> None:
    patients, people, _ = cohort(seed)
    complete = set(patients.dropna()["therapist_id"])
    clusters = {i: ("upper", "lower")[i % 2] for i in people["therapist_id"]}
    sides = [{i for i in complete if clusters[i] == c} for c in ("upper", "lower")]
    if min(map(len, sides)) < 2:
        return
    found = nested_ancova(patients, "phq9", clusters)
    assert found.n_therapists == tuple(map(len, sides))
    assert found.df == len(complete) - 2
    mean = patients.dropna().groupby("therapist_id")["phq9_post"].mean()
    upper, lower = (mean.loc[sorted(side)] for side in sides)
    assert found.difference == pytest.approx(upper.mean() - lower.mean())
