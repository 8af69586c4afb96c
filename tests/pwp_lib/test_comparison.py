"""Clusters compared: as the paper did it, and with the therapist as the unit.

Figures of R are in tests/reference: comparison.R, nested.R.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.comparison import (
    Ancova,
    ancova,
    cluster_effect_sizes,
    compare_rates,
    nested_ancova,
    patients_in_clusters,
    rates_of_summary,
    therapist_predictors,
)
from pwp_lib.split_sample import split_sample_comparison

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE = pd.read_csv(FOLDER / "comparison.csv", comment="#", index_col="name")["value"]
PATIENTS = pd.read_csv(FOLDER / "comparison_data.csv")
CLUSTERS = PATIENTS.drop_duplicates("therapist_id").set_index("therapist_id")["cluster"]


def test_ancova_agrees_with_r() -> None:
    result = ancova(PATIENTS, "phq9", CLUSTERS)
    assert result.difference == pytest.approx(REFERENCE["ancova_difference"], rel=1e-10)
    assert result.se == pytest.approx(REFERENCE["ancova_se"], rel=1e-10)
    assert result.statistic == pytest.approx(REFERENCE["ancova_F"], rel=1e-10)
    assert result.p_value == pytest.approx(REFERENCE["ancova_p"], rel=1e-8)
    assert result.df == (1, REFERENCE["ancova_df2"])
    assert result.n == (60, 60)


def test_ancova_leaves_rows_without_scores_out() -> None:
    gaps = PATIENTS.astype({"phq9_post": float})
    gaps.loc[[0, 7], "phq9_post"] = np.nan
    assert sum(ancova(gaps, "phq9", CLUSTERS).n) == 118


def test_ancova_without_spread_is_refused() -> None:
    flat = PATIENTS.assign(phq9_pre=10)
    with pytest.raises(InputError, match="phq9_pre"):
        ancova(flat, "phq9", CLUSTERS)


@pytest.mark.parametrize("shift", [1e6, 1e8, 1e10, 1e12])
def test_ancova_does_not_depend_on_where_zero_is(shift: float) -> None:
    rng = np.random.default_rng(12)
    ids = np.repeat(list("aabbcc"), 10)
    pre = rng.integers(5, 28, 60).astype(float)  # whole numbers are moved without rounding
    post = np.rint(0.5 * pre + 2 * (ids == "a") + rng.normal(0, 3, 60))
    clusters = {"a": "upper", "b": "lower", "c": "lower"}

    def compared(by: float) -> Ancova:
        moved = {"therapist_id": ids, "phq9_pre": pre + by, "phq9_post": post + by}
        return ancova(pd.DataFrame(moved), "phq9", clusters)

    x = np.column_stack([np.ones(60), pre, ids == "a"])
    inverse = np.linalg.inv(x.T @ x)
    b = inverse @ x.T @ post
    se = np.sqrt(((post - x @ b) ** 2).sum() / 57 * inverse[2, 2])
    for found in (compared(0.0), compared(shift)):
        assert found.difference == pytest.approx(b[2], rel=1e-9)
        assert found.se == pytest.approx(se, rel=1e-9)
        assert found.statistic == pytest.approx((b[2] / se) ** 2, rel=1e-9)
    pre[:] = 0.1
    with pytest.raises(InputError, match="pre scores that differ"):
        compared(shift)


def test_ancova_of_an_infinite_score_is_refused() -> None:
    patients = pd.DataFrame(
        {
            "therapist_id": list("aaabbb"),
            "phq9_post": [4, 5, 11, 9, 12, np.inf],
            "phq9_pre": [9, 12, 18, 10, 15, 16],
        }
    )
    with pytest.raises(InputError, match="numbers are needed in phq9_post"):
        ancova(patients, "phq9", {"a": "upper", "b": "lower"})


@pytest.mark.parametrize("rate", ["caseness", "improvement", "deterioration", "rcsi"])
def test_rates_agree_with_r(rate: str) -> None:
    row = compare_rates(PATIENTS, "phq9", CLUSTERS).loc[rate]
    assert row["chi2"] == pytest.approx(REFERENCE[f"{rate}_chi2"], rel=1e-10)
    assert row["p_value"] == pytest.approx(REFERENCE[f"{rate}_p"], rel=1e-8)
    assert row["rate_upper"] == pytest.approx(row["yes_upper"] / row["n_upper"])


def test_recovery_is_among_cases() -> None:
    rates = compare_rates(PATIENTS, "phq9", CLUSTERS)
    for cluster in ("upper", "lower"):
        assert rates.loc["rcsi", f"n_{cluster}"] == rates.loc["caseness", f"yes_{cluster}"]
        assert rates.loc["improvement", f"n_{cluster}"] == 60


def test_effect_size_is_over_the_clusters_own_pre_sd() -> None:
    table = cluster_effect_sizes(PATIENTS, "phq9", CLUSTERS)
    rows = PATIENTS[PATIENTS["cluster"] == "upper"]
    expected = (rows["phq9_pre"] - rows["phq9_post"]).mean() / rows["phq9_pre"].std()
    assert table.loc["upper", "effect_size"] == pytest.approx(expected)
    assert table.index.tolist() == ["upper", "lower"]


def test_the_papers_counts_give_its_chi_squares() -> None:
    """Counts worked out from the percentages of 278 and 548 patients; p. 21."""
    for yes, n, printed in (
        ((129, 104), (278, 548), 68.5),
        ((162, 141), (278, 548), 84.1),
        ((98, 82), (189, 389), 56.17),
        ((118, 99), (204, 430), 74.52),
    ):
        counts = {"n_improved": yes, "n": n, "n_deteriorated": (0, 0)}
        counts |= {"n_case_pre": n, "n_rcsi": n}
        rates = rates_of_summary(pd.DataFrame(counts, index=["upper", "lower"]))
        decimals = len(str(printed).partition(".")[2])
        assert round(rates.loc["improvement", "chi2"], decimals) == printed
        # With nobody or everybody there is nothing to test.
        assert rates.loc[["deterioration", "caseness", "rcsi"], "chi2"].isna().all()


def test_clusters_come_as_mapping_series_or_table() -> None:
    as_table = CLUSTERS.to_frame("cluster").assign(position=1)
    for clusters in (CLUSTERS, dict(CLUSTERS), as_table):
        assert patients_in_clusters(PATIENTS, clusters)["cluster"].equals(PATIENTS["cluster"])
    with pytest.raises(InputError, match="more than one cluster"):
        patients_in_clusters(PATIENTS, pd.concat([CLUSTERS, CLUSTERS]))


def test_middle_patients_are_left_out_and_empty_clusters_refused() -> None:
    clusters = CLUSTERS.copy()
    clusters.iloc[0] = "middle"
    assert len(patients_in_clusters(PATIENTS, clusters)) == 108
    with pytest.raises(InputError, match="upper cluster has no patient"):
        patients_in_clusters(PATIENTS, CLUSTERS.replace("upper", "middle"))


def with_index(kind: str) -> pd.DataFrame:
    """Give the same patients under another index."""
    half = len(PATIENTS) // 2
    if kind == "two tables, one below the other":
        parts = [PATIENTS.iloc[:half], PATIENTS.iloc[half:]]
        return pd.concat([part.reset_index(drop=True) for part in parts])
    if kind == "one label for all":
        return PATIENTS.set_axis([0] * len(PATIENTS))
    if kind == "therapists":
        return PATIENTS.set_axis(PATIENTS["therapist_id"])
    if kind == "missing":
        return PATIENTS.set_axis(pd.Index([np.nan] * len(PATIENTS)))
    if kind == "two levels":
        return PATIENTS.set_index(["cluster", "therapist_id"], drop=False)
    return PATIENTS.set_axis(range(len(PATIENTS))[::-1])


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


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("loads", "least", "most"),
    [((3, 3, 3, 5, 200, 200, 4, 6, 5, 3), 0.125, 0.197), ((40,) * 10, 0.026, 0.066)],
)
def test_how_often_the_nested_comparison_finds_what_is_not_there(
    loads: tuple[int, ...], least: float, most: float
) -> None:
    """The docstring's shares, .161 and .046, within three Monte Carlo errors of 1,000 cohorts."""
    group, found = np.repeat(np.arange(10), loads), []
    clusters = {f"T{j}": ("upper", "lower")[j % 2] for j in range(10)}
    for seed in range(1_000):
        rng = np.random.default_rng([77, seed])
        pre, between = rng.normal(15, 4, len(group)), rng.normal(0, 0.1**0.5, 10)[group]
        post = 0.5 * pre + 4 * (between + rng.normal(0, 0.9**0.5, len(group)))
        scores = {"phq9_pre": pre, "phq9_post": post}
        patients = pd.DataFrame({"therapist_id": [f"T{j}" for j in group], **scores})
        found.append(nested_ancova(patients, "phq9", clusters).p_value < 0.05)
    assert least < np.mean(found) < most


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


@pytest.mark.parametrize("column", ["phq9_pre", "phq9_post", "gad7_pre"])
@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_therapist_without_complete_patients_is_no_degree_of_freedom(
    column: str, gone: int
) -> None:
    patients = patients_of(2.0).assign(gad7_pre=1.0)
    patients["gad7_pre"] = patients_of(2.0, seed=3)["phq9_pre"]
    scores = np.random.default_rng(2).normal(size=12)
    therapists = pd.DataFrame({"therapist_id": [f"T{i:02d}" for i in range(12)], "warmth": scores})
    without = patients["therapist_id"].isin(therapists["therapist_id"].iloc[:gone])
    gaps = patients.copy()
    gaps.loc[without, column] = np.nan
    asked = ("phq9", ["warmth"], ["phq9", "gad7"])
    found = therapist_predictors(gaps, therapists, *asked)
    pd.testing.assert_frame_equal(
        found, therapist_predictors(patients[~without], therapists, *asked)
    )
    assert found.loc["warmth", ["n_therapists", "df"]].tolist() == [12 - gone, 10 - gone]


def test_two_rows_for_one_therapist_are_refused() -> None:
    therapists = pd.DataFrame({"therapist_id": ["T00", "T00"], "warmth": [1.0, 2.0]})
    with pytest.raises(InputError, match="more than one row"):
        therapist_predictors(patients_of(1.0), therapists, "phq9", ["warmth"])


def test_predictors_of_therapists_whom_no_patient_has_are_refused() -> None:
    patients = pd.DataFrame(
        {
            "therapist_id": [f"{i:02d}" for i in range(1, 7) for _ in range(4)],
            "phq9_pre": [10, 12, 15, 20] * 6,
            "phq9_post": list(range(24)),
        }
    )
    therapists = pd.DataFrame({"therapist_id": range(1, 7), "age": [30, 35, 41, 44, 50, 58]})
    with pytest.raises(InputError, match="in two ways"):
        therapist_predictors(patients, therapists, "phq9", ["age"])
    therapists["therapist_id"] = patients["therapist_id"].unique()
    assert therapist_predictors(patients, therapists, "phq9", ["age"]).n_therapists["age"] == 6


def test_therapists_written_in_two_ways_are_refused_though_some_match() -> None:
    """Those of one digit would be lost, and the others would give an estimate of their own."""
    staff = [f"{i:02d}" for i in range(1, 13)]
    patients = pd.DataFrame(
        {"therapist_id": np.repeat(staff, 4), "phq9_pre": [10, 12, 15, 20] * 12}
    ).assign(phq9_post=range(48))
    therapists = pd.DataFrame({"therapist_id": staff, "age": range(30, 42)})
    assert therapist_predictors(patients, therapists, "phq9", ["age"]).n_therapists["age"] == 12
    for other in (map(str, range(1, 13)), [f" {label}" for label in staff[:3]] + staff[3:]):
        told = therapists.assign(therapist_id=list(other))
        with pytest.raises(InputError, match="written in two ways"):
            therapist_predictors(patients, told, "phq9", ["age"])
    # Who stands in one table alone is left out, as promised.
    assert therapist_predictors(patients, therapists[2:], "phq9", ["age"]).n_therapists["age"] == 10
