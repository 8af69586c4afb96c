"""The clusters compared as the paper did it, against base R (tests/reference/comparison.R)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.comparison import (
    ancova,
    chi_square,
    chi_square_of_counts,
    cluster_effect_sizes,
    cluster_of_patients,
    compare_rates,
)

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


def test_ancova_agrees_with_statsmodels() -> None:
    import statsmodels.formula.api as smf

    rows = PATIENTS.assign(first=(PATIENTS["cluster"] == "upper").astype(float))
    fit = smf.ols("phq9_post ~ phq9_pre + first", rows).fit()
    assert ancova(PATIENTS, "phq9", CLUSTERS).statistic == pytest.approx(
        fit.tvalues["first"] ** 2, rel=1e-10
    )


def test_ancova_leaves_rows_without_scores_out() -> None:
    gaps = PATIENTS.astype({"phq9_post": float})
    gaps.loc[[0, 7], "phq9_post"] = np.nan
    assert sum(ancova(gaps, "phq9", CLUSTERS).n) == 118


def test_ancova_without_spread_is_refused() -> None:
    flat = PATIENTS.assign(phq9_pre=10)
    with pytest.raises(InputError, match="phq9_pre"):
        ancova(flat, "phq9", CLUSTERS)


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


def test_the_papers_counts_give_its_chi_squares() -> None:
    """Counts worked out from the percentages of 278 and 548 patients; p. 21."""
    for yes, n, printed in (
        ((129, 104), (278, 548), 68.5),
        ((162, 141), (278, 548), 84.1),
        ((98, 82), (189, 389), 56.17),
        ((118, 99), (204, 430), 74.52),
    ):
        outcome = np.concatenate(
            [np.repeat([1, 0], [y, k - y]) for y, k in zip(yes, n, strict=True)]
        )
        result = chi_square(outcome, np.repeat(["upper", "lower"], n))
        decimals = len(str(printed).partition(".")[2])
        assert round(result.statistic, decimals) == printed


@settings(max_examples=25, deadline=None)
@given(cells=st.lists(st.integers(1, 60), min_size=4, max_size=4))
def test_chi_square_is_the_same_for_the_opposite_outcome(cells: list[int]) -> None:
    a, b, c, d = cells
    n = pd.Series({"upper": a + b, "lower": c + d})
    yes = pd.Series({"upper": a, "lower": c})
    one, other = chi_square_of_counts(yes, n), chi_square_of_counts(n - yes, n)
    assert one.statistic == pytest.approx(other.statistic, abs=1e-9)
    total = a + b + c + d
    by_hand = total * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d))
    assert one.statistic == pytest.approx(by_hand, abs=1e-9)


def test_an_outcome_that_nobody_has_gives_no_test() -> None:
    result = chi_square([False] * 4, list("aabb"))
    assert np.isnan(result.statistic)
    assert result.counts["yes"].tolist() == [0, 0]
    with pytest.raises(InputError, match="two groups"):
        chi_square([True, False], ["a", "a"])


def test_missing_outcomes_are_left_out() -> None:
    result = chi_square([True, None, False, True], list("aabb"))
    assert result.counts["n"].tolist() == [1, 2]


def test_effect_size_is_over_the_clusters_own_pre_sd() -> None:
    table = cluster_effect_sizes(PATIENTS, "phq9", CLUSTERS)
    rows = PATIENTS[PATIENTS["cluster"] == "upper"]
    expected = (rows["phq9_pre"] - rows["phq9_post"]).mean() / rows["phq9_pre"].std()
    assert table.loc["upper", "effect_size"] == pytest.approx(expected)
    assert table.index.tolist() == ["upper", "lower"]


def test_clusters_come_as_mapping_series_or_table() -> None:
    as_table = CLUSTERS.to_frame("cluster").assign(position=1)
    for clusters in (CLUSTERS, dict(CLUSTERS), as_table):
        assert cluster_of_patients(PATIENTS, clusters).equals(PATIENTS["cluster"])


def test_middle_patients_are_left_out_and_empty_clusters_refused() -> None:
    clusters = CLUSTERS.copy()
    clusters.iloc[0] = "middle"
    assert len(cluster_of_patients(PATIENTS, clusters)) == 108
    with pytest.raises(InputError, match="upper cluster has no patient"):
        cluster_of_patients(PATIENTS, CLUSTERS.replace("upper", "middle"))
