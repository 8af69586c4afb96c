"""Comparisons with the therapist as the unit."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.comparison import ancova
from pwp_lib.nested import (
    nested_ancova,
    nested_rates,
    permute_therapists,
    split_sample_comparison,
    therapist_predictors,
)


def patients_of(
    effect_sd: float, shift: float = 0.0, seed: int = 1, therapists: int = 12, each: int = 30
) -> pd.DataFrame:
    """Therapists of two halves, the first of which is `shift` points better."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(therapists), each)
    pre = rng.normal(14, 5, size=len(group))
    effect = rng.normal(scale=effect_sd, size=therapists) + shift * (
        np.arange(therapists) >= therapists / 2
    )
    post = 2 + 0.5 * pre + effect[group] + rng.normal(scale=4, size=len(group))
    return pd.DataFrame(
        {"therapist_id": [f"T{i:02d}" for i in group], "phq9_pre": pre, "phq9_post": post}
    )


HALVES = {f"T{i:02d}": "upper" if i < 6 else "lower" for i in range(12)}


def test_balanced_nested_ancova_is_the_t_test_of_therapists() -> None:
    """With one pre score for all, REML's contrast is the t-test of the therapists' means."""
    from scipy.stats import ttest_ind

    patients = patients_of(2.0, shift=3.0)
    # The same pre scores within each therapist, so that they say nothing of therapists.
    patients["phq9_pre"] = np.tile(np.linspace(5, 20, 30), 12)
    means = patients.groupby("therapist_id")["phq9_post"].mean()
    test = ttest_ind(means[:6], means[6:])
    result = nested_ancova(patients, "phq9", HALVES)
    assert result.intercept_variance > 0
    assert result.statistic == pytest.approx(test.statistic, rel=1e-5)
    assert result.p_value == pytest.approx(test.pvalue, rel=1e-4)
    assert (result.df, result.n_therapists) == (10, (6, 6))


FOLDER = Path(__file__).parents[1] / "reference"


def test_nested_ancova_and_predictors_agree_with_lme4() -> None:
    # tests/reference/nested.R
    reference = pd.read_csv(FOLDER / "nested.csv", comment="#", index_col="name")["value"]
    patients = pd.read_csv(FOLDER / "comparison_data.csv")
    clusters = patients.drop_duplicates("therapist_id").set_index("therapist_id")["cluster"]
    result = nested_ancova(patients, "phq9", clusters)
    assert result.difference == pytest.approx(reference["ancova_estimate"], rel=1e-5)
    assert result.se == pytest.approx(reference["ancova_se"], rel=1e-4)
    assert result.intercept_variance == pytest.approx(reference["ancova_variance"], rel=1e-3)
    assert result.p_value == pytest.approx(reference["ancova_p"], rel=1e-3)

    scores = [70, 75, 81, 68, 90, 62, 66, 71, 59, 73]
    therapists = pd.DataFrame(
        {"therapist_id": [f"T{i:02d}" for i in range(1, 11)], "resilience": scores}
    )
    row = therapist_predictors(patients, therapists, "phq9", ["resilience"]).loc["resilience"]
    for name, value in (
        ("predictor_estimate", row["estimate"]),
        ("predictor_se", row["se"]),
        ("predictor_variance", row["intercept_variance"]),
        ("without_variance", row["variance_without"]),
    ):
        assert value == pytest.approx(reference[name], rel=1e-3), name


def test_nesting_costs_certainty() -> None:
    patients = patients_of(2.0, shift=5.0)
    nested, naive = nested_ancova(patients, "phq9", HALVES), ancova(patients, "phq9", HALVES)
    assert nested.p_value > 10 * naive.p_value
    assert nested.difference == pytest.approx(naive.difference, abs=0.3)
    few = {"T00": "upper", "T06": "lower", "T07": "lower"}
    with pytest.raises(InputError, match="four"):
        nested_ancova(patients, "phq9", few)


def test_permutation_test_by_hand() -> None:
    yes, n = np.array([9, 5, 4, 2, 1]), np.array([10, 20, 8, 9, 5])
    inside = np.array([True, True, False, False, False])

    def difference(chosen: np.ndarray) -> float:
        return yes[chosen].sum() / n[chosen].sum() - yes[~chosen].sum() / n[~chosen].sum()

    every = []
    for pair in combinations(range(5), 2):
        mask = np.zeros(5, dtype=bool)
        mask[list(pair)] = True
        every.append(difference(mask))
    result = permute_therapists(yes, n, inside)
    assert result.difference == pytest.approx(difference(inside))
    assert result.p_value == np.mean(np.abs(every) >= abs(difference(inside)) - 1e-12)
    assert (result.splits, result.exact) == (10, True)


def test_permutations_are_drawn_when_there_are_too_many() -> None:
    rng = np.random.default_rng(1)
    n = np.full(30, 20)
    yes = rng.binomial(20, 0.4, size=30)
    result = permute_therapists(yes, n, np.arange(30) < 15)
    assert not result.exact
    assert 0 < result.p_value <= 1
    with pytest.raises(InputError, match="without a patient"):
        permute_therapists([1, 2], [3, 0], [False, True])


def test_nested_rates_of_clusters_without_cases_are_missing() -> None:
    patients = patients_of(1.0)
    patients.loc[patients["therapist_id"] < "T06", "phq9_pre"] = 5
    table = nested_rates(patients, "phq9", HALVES)
    assert np.isnan(table.loc["rcsi", "p_value"])
    assert table.loc["caseness", "difference"] == pytest.approx(
        -(patients.loc[patients["therapist_id"] >= "T06", "phq9_pre"] >= 10).mean()
    )
    assert table.loc["improvement", "splits"] == 924


def test_choosing_and_testing_on_the_same_patients_flatters() -> None:
    """No therapist effect at all: the same patients show one, other patients do not."""
    patients = patients_of(0.0, therapists=12, each=20, seed=8)
    result = split_sample_comparison(patients, ["phq9"], repeats=6, seed=2)
    same = result.same.iloc[0]
    gap = same["effect_size_upper"] - same["effect_size_lower"]
    other = result.repeats["effect_size_upper"] - result.repeats["effect_size_lower"]
    assert gap > 0.25
    assert abs(other.mean()) < gap / 2
    assert len(result.repeats) == 12


def test_a_true_difference_survives_the_split() -> None:
    patients = patients_of(3.0, therapists=12, each=40, seed=3)
    result = split_sample_comparison(patients, ["phq9"], repeats=2, seed=2)
    table = result.table()["other_patients"]["phq9"]
    assert table["effect_size_upper"] > table["effect_size_lower"] + 0.5
    again = split_sample_comparison(patients, ["phq9"], repeats=2, seed=2)
    pd.testing.assert_frame_equal(result.repeats, again.repeats)


def test_a_measure_without_thresholds_is_split_too() -> None:
    patients = patients_of(2.0, seed=4)
    other = patients_of(2.0, seed=5)
    patients[["wsas_pre", "wsas_post"]] = other[["phq9_pre", "phq9_post"]]
    result = split_sample_comparison(patients, ["wsas", "phq9"], repeats=1, seed=2)
    figures = result.table().reset_index().groupby("measure")["figure"].agg(set)
    assert "effect_size_upper" in figures["wsas"]
    assert {"improvement_upper", "rcsi_lower", "rcsi_chi2"} <= figures["phq9"] - figures["wsas"]
    assert not [f for f in figures["wsas"] if f.split("_")[0] in ("improvement", "rcsi")]
    alone = split_sample_comparison(patients, ["wsas"], repeats=1, seed=2)
    assert set(alone.repeats) == {"repeat", "half", "measure", *figures["wsas"]}


def test_a_predictor_of_therapists_is_found_and_explains_variance() -> None:
    patients = patients_of(0.3, shift=4.0)
    therapists = pd.DataFrame(
        {
            "therapist_id": [f"T{i:02d}" for i in range(12)],
            "resilience": [80.0] * 6 + [60.0] * 6,
            "noise": np.tile([1.0, 2.0, 3.0], 4),
            "rated": [1.0, 2.0, 3.0, *[np.nan] * 9],
        }
    )
    table = therapist_predictors(patients, therapists, "phq9", ["resilience", "noise", "rated"])
    strong = table.loc["resilience"]
    assert strong["p_value"] < 0.001
    assert strong["intercept_variance"] < 0.3 * strong["variance_without"]
    # 20 points of resilience are 20 / SD standard deviations and go with about 4 points less.
    sd = therapists["resilience"].std()
    assert strong["estimate"] * 20 / sd == pytest.approx(-4, abs=1)
    assert table.loc["noise", "p_value"] > 0.05
    assert table.loc["rated", "n_therapists"] == 3
    assert np.isnan(table.loc["rated", "estimate"])
    with pytest.raises(InputError, match="warmth"):
        therapist_predictors(patients, therapists, "phq9", ["warmth"])
