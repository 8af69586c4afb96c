"""Mann-Whitney tests, against R (tests/reference/comparison.R)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.ranking import rank_correlation
from pwp_lib.scales import SCALES, compare_scales, holm, mann_whitney

REFERENCE = pd.read_csv(
    Path(__file__).parents[1] / "reference" / "comparison.csv", comment="#", index_col="name"
)["value"]
PAIRS = {
    "a": ([78, 81, 84, 79, 90], [70, 72, 80, 65, 78]),
    "b": ([61, 64, 70, 66, 59], [70, 75, 71, 80, 77]),
    "c": ([3, 3, 4, 5], [1, 2, 3, 3, 3, 9]),
    "d": ([2, 2, 2], [2, 2, 2, 2]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_exact_permutation_agrees_with_enumeration_in_r(name: str) -> None:
    result = mann_whitney(*PAIRS[name])
    assert result.u == REFERENCE[f"{name}_U"]
    assert result.p_value == pytest.approx(REFERENCE[f"{name}_p"], rel=1e-12)
    assert result.p_first_higher == pytest.approx(REFERENCE[f"{name}_p_high"], rel=1e-12)
    assert result.exact


def test_without_ties_it_is_r_wilcox_test() -> None:
    result = mann_whitney([1.1, 2.2, 5.5, 7.1, 9.9], [3.1, 4.2, 8.5, 10.1, 11.9, 12.5])
    assert result.p_value == pytest.approx(REFERENCE["untied_p"], rel=1e-12)


def test_the_papers_p_values_are_those_of_its_u() -> None:
    # U = 2 and U = .5 of five against five (p. 21).
    assert mann_whitney([5, 6, 8, 9, 10], [1, 2, 3, 4, 7]).u == 2
    assert mann_whitney([5, 6, 8, 9, 10], [1, 2, 3, 4, 7]).p_value == pytest.approx(8 / 252)
    tied = mann_whitney([1, 2, 3, 4, 5], [5, 6, 7, 8, 9])
    assert (tied.u, tied.p_value) == (0.5, pytest.approx(4 / 252))


def test_swapping_the_groups_changes_the_sides_only() -> None:
    one, other = mann_whitney(*PAIRS["a"]), mann_whitney(*PAIRS["a"][::-1])
    assert (one.u, one.p_value) == (other.u, other.p_value)
    assert one.mean_ranks == other.mean_ranks[::-1]
    assert one.superiority == pytest.approx(1 - other.superiority)


def test_one_score_against_others_is_its_place() -> None:
    assert mann_whitney([9], [1, 2, 3]).p_value == pytest.approx(2 / 4)
    assert mann_whitney([9], [1, 2, 3]).p_first_higher == pytest.approx(1 / 4)


def test_many_scores_are_permuted_at_random_and_repeatably() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(0.2, size=30)
    first, again = mann_whitney(x, y), mann_whitney(x, y)
    assert not first.exact
    assert first.p_value == again.p_value
    from scipy.stats import mannwhitneyu

    assert first.p_value == pytest.approx(mannwhitneyu(x, y, method="exact").pvalue, abs=0.01)


SCORES = st.lists(st.integers(0, 12), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(x=SCORES, y=SCORES)
def test_only_the_order_of_scores_matters(x: list[int], y: list[int]) -> None:
    plain = mann_whitney(x, y)
    bent = mann_whitney(np.exp(np.array(x) / 3), np.exp(np.array(y) / 3))
    assert (bent.u, bent.p_value) == (plain.u, plain.p_value)
    turned = mann_whitney(-np.array(x), -np.array(y))
    assert (turned.u, turned.p_value) == (plain.u, plain.p_value)
    assert 0 < plain.p_value <= 1
    assert 0 <= plain.u <= len(x) * len(y) / 2


def test_a_group_without_scores_is_refused() -> None:
    with pytest.raises(InputError, match="without a score"):
        mann_whitney([1, 2], [np.nan])


@pytest.mark.parametrize(
    "wrong",
    [
        ["low", "high"],
        "high",
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pl.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pl.Series(["1", "x"]),
        np.ones((2, 2)),
        [[1, 2], [3]],
        [1 + 2j, 3],
        {"a": 1},
    ],
    ids=str,
)
def test_what_is_no_column_of_numbers_is_refused(wrong) -> None:
    for pair in ((wrong, [1, 2]), ([1, 2], wrong)):
        with pytest.raises(InputError, match="numbers are needed"):
            mann_whitney(*pair)
        with pytest.raises(InputError, match="numbers are needed"):
            rank_correlation(*pair)


@pytest.mark.parametrize(
    "scores",
    [
        [3, None, 1, 2],
        pd.Series([3, pd.NA, 1, 2], dtype="Int64"),
        pd.Series([3, pd.NA, 1, 2], dtype=object),
        pl.Series([3, None, 1, 2]),
        ["3", None, "1", "2"],
        np.array([3, np.nan, 1, 2], dtype=np.float32),
    ],
    ids=str,
)
def test_missing_scores_are_left_out_whatever_holds_them(scores) -> None:
    assert mann_whitney(scores, [5, 6]).n == (3, 2)
    assert mann_whitney(scores, [5, 6]).u == 0
    assert rank_correlation(scores, [3, 9, 1, 2]).n == 3


THERAPISTS = pd.DataFrame(
    {
        "therapist_id": list("abcdefg"),
        "resilience": [80, 85, 83, 75, 70, 72, 60],
        "supervisor_experientiality": [50, 55, np.nan, 60, 70, 75, 80],
        "rationality": [70.0] * 7,
    }
)
CLUSTERS = dict(zip("abcdefg", ["upper"] * 3 + ["middle"] + ["lower"] * 3, strict=True))


def test_scales_are_compared_over_the_two_clusters_alone() -> None:
    table = compare_scales(THERAPISTS, CLUSTERS)
    resilience = table.loc["resilience"]
    assert (resilience["U"], resilience["p_value"]) == (0, pytest.approx(2 / 20))
    assert resilience["p_directed"] == pytest.approx(1 / 20)
    assert (resilience["higher_in"], resilience["expected"]) == ("upper", "upper")
    rated = table.loc["supervisor_experientiality"]
    assert (rated["n_upper"], rated["n_lower"], rated["higher_in"]) == (2, 3, "lower")
    assert table.loc["rationality", "higher_in"] == ""
    assert table.loc["rationality", "p_value"] == 1


def test_what_the_paper_reports_is_told() -> None:
    reported = {s.name: s.reported for s in SCALES}
    assert len(reported) == 6
    assert [n for n, r in reported.items() if r == "not reported"] == [
        "rationality",
        "experientiality",
        "supervisor_rationality",
    ]


def test_a_scale_known_of_one_cluster_only_has_no_test() -> None:
    therapists = THERAPISTS.assign(resilience=[80, 85, 83, 75, np.nan, np.nan, np.nan])
    row = compare_scales(therapists, CLUSTERS).loc["resilience"]
    assert (row["n_upper"], row["n_lower"]) == (3, 0)
    assert np.isnan(row["p_value"])


def test_holm_agrees_with_r() -> None:
    adjusted = holm(pd.Series([0.03, 0.2, 0.01, 0.6, 0.04]))
    expected = [REFERENCE[f"holm_{k}"] for k in range(1, 6)]
    assert adjusted.to_numpy() == pytest.approx(np.array(expected), rel=1e-12)
    assert holm(pd.Series([0.03, np.nan])).iloc[0] == 0.03
    assert holm(pd.Series([np.nan, np.nan])).isna().all()


def test_two_rows_for_one_therapist_are_refused() -> None:
    with pytest.raises(InputError, match="more than one row"):
        compare_scales(pd.concat([THERAPISTS, THERAPISTS]), CLUSTERS)
