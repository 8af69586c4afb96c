"""Ranks, clusters, and how uncertain ranks are."""

from __future__ import annotations

from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design, fit_mixed
from multilevel.residuals import covariance_parts
from pwp_lib.measures import Measure
from pwp_lib.ranking import (
    cluster_size,
    composite_ranks,
    differs_from_average,
    rank_correlation,
    rank_uncertainty,
    services_by_cluster,
    shared_ranks,
)
from pwp_lib.scales import mann_whitney
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth


def fit_of(effects: np.ndarray, patients: int = 40, seed: int = 1, sd: float = 1.0) -> MixedFit:
    """A random-intercept fit of therapists with given effects, labelled T00, T01, ..."""
    rng = np.random.default_rng(seed)
    group = np.repeat([f"T{i:02d}" for i in range(len(effects))], patients)
    y = np.repeat(effects, patients) + rng.normal(scale=sd, size=len(group))
    return fit_design(
        DesignMoments.from_arrays(
            y, {"Intercept": np.ones(len(y))}, ["Intercept"], group, group_name="therapist_id"
        )
    )


@pytest.mark.parametrize(
    ("n", "size"), [(5, 2), (6, 2), (9, 2), (10, 3), (20, 5), (21, 5), (30, 8)]
)
def test_cluster_size(n: int, size: int) -> None:
    assert cluster_size(n) == size
    assert 2 * size < n


def test_too_few_therapists_for_clusters() -> None:
    with pytest.raises(InputError, match="fewer than five therapists"):
        cluster_size(4)


def test_composite_rank_is_the_mean_of_the_ranks_and_lower_scores_are_better() -> None:
    effects = np.linspace(-5, 5, 21)
    swapped = effects.copy()
    swapped[[4, 6]] = swapped[[6, 4]]
    ranks = composite_ranks({"phq9": fit_of(effects, sd=0.2), "gad7": fit_of(swapped, sd=0.2)})
    assert ranks.index[0] == "T00"
    assert ranks.loc["T04", ["rank_phq9", "rank_gad7", "composite"]].tolist() == [5, 7, 6]
    assert ranks["cluster"].value_counts().to_dict() == {"middle": 11, "upper": 5, "lower": 5}
    assert ranks["position"].tolist() == list(range(1, 22))
    assert shared_ranks(ranks, 17, 21) == [f"T{i}" for i in range(16, 21)]
    assert set(shared_ranks(ranks, 1, 5)) == {"T00", "T01", "T02", "T03"}


def test_ties_go_by_the_mean_standardised_residual() -> None:
    # T00 is first by far on one measure, T01 barely first on the other: both have a mean of 1.5.
    first = np.array([-9, 0, 1, 2, 3, 4, 5.0])
    second = np.array([0.5, 0.0, 1, 2, 3, 4, 5])
    ranks = composite_ranks({"phq9": fit_of(first, sd=0.1), "gad7": fit_of(second, sd=0.1)})
    assert ranks["composite"].iloc[:2].tolist() == [1.5, 1.5]
    assert ranks.index[:2].tolist() == ["T00", "T01"]
    # The units of a measure do not matter.
    scaled = {"phq9": fit_of(first, sd=0.1), "gad7": fit_of(1000 * second, sd=100)}
    assert composite_ranks(scaled).index[:2].tolist() == ["T00", "T01"]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), scale=st.floats(0.1, 20))
def test_units_of_a_measure_do_not_move_ranks(seed: int, shift: float, scale: float) -> None:
    effects = np.random.default_rng(seed).normal(scale=2, size=9)
    plain = composite_ranks({"phq9": fit_of(effects, 12, seed)})
    other = composite_ranks({"phq9": fit_of(shift + scale * effects, 12, seed, sd=scale)})
    assert other.index.tolist() == plain.index.tolist()
    assert sorted(plain["rank_phq9"]) == list(range(1, 10))


def test_direction_of_the_scale() -> None:
    fit = fit_of(np.linspace(-5, 5, 8))
    better_high = Measure("wellbeing", "Wellbeing", 0, 100, None, None, higher_is_worse=False)
    ranks = composite_ranks({"wellbeing": fit}, [better_high])
    assert ranks.index[0] == "T07"
    assert rank_uncertainty(fit, 500, higher_is_worse=False).index[0] == "T07"
    assert differs_from_average(fit, better_high)["T07"] == "better"
    assert differs_from_average(fit)["T07"] == "worse"


def test_models_of_different_therapists_are_refused() -> None:
    with pytest.raises(InputError, match="different therapists"):
        composite_ranks({"phq9": fit_of(np.arange(6.0)), "gad7": fit_of(np.arange(7.0))})
    with pytest.raises(InputError, match="one measure"):
        composite_ranks({})


def twins(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Ten therapists, of whom T5 to T9 have the patients of T0 to T4."""
    rng = np.random.default_rng([61, seed])
    of_five = (rng.normal(8, 4, (5, 7)) + rng.normal(0, 4, (5, 1))) / 3
    pre, post = np.tile(rng.normal(10, 3, 7), 10), np.tile(of_five, (2, 1))
    therapist = np.repeat([f"T{i}" for i in range(10)], 7)
    scores = {"phq9_pre": pre + shift, "phq9_post": post.ravel() + shift}
    return pd.DataFrame({"therapist_id": therapist, **scores})


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("seed", range(6))
def test_therapists_with_the_same_patients_tie_whatever_the_order_of_rows(
    seed: int, shift: float
) -> None:
    patients = twins(seed, shift)
    left = patients["phq9_post"].groupby(patients["therapist_id"]).mean().iloc[:5].round(6)
    right = {f"T{i + k}": 2 * r - 0.5 for i, r in enumerate(left.rank()) for k in (0, 5)}
    formula = "phq9_post ~ center(phq9_pre) + (1 | therapist_id)"
    for order in range(5):
        fit = fit_mixed(formula, patients.sample(frac=1, random_state=order))
        assert not fit.singular
        ranks = composite_ranks({"phq9": fit, "gad7": fit}, size=3)
        assert ranks["rank_phq9"].to_dict() == right
        assert rank_uncertainty(fit, 50)["rank"].to_dict() == right
        other = composite_ranks({"phq9": fit}, [TURNED], size=3)["rank_phq9"]
        assert (11 - other).to_dict() == right
        # T0 to T4 stand before their twins, and the table says that it is for their labels.
        assert ranks.index[0][:2] < ranks.index[1][:2]
        assert ranks["by_label"].all()


TURNED = Measure("phq9", "Turned", 0, 27, None, None, higher_is_worse=False)


def test_only_therapists_who_are_alike_on_every_measure_are_ordered_by_label() -> None:
    patients = twins(1)
    alone = patients.copy()
    alone.loc[alone["therapist_id"] == "T7", "phq9_post"] += 0.5
    formula = "phq9_post ~ center(phq9_pre) + (1 | therapist_id)"
    fits = {"phq9": fit_mixed(formula, patients), "gad7": fit_mixed(formula, alone)}
    by_label = composite_ranks(fits)["by_label"]
    assert set(by_label.index[~by_label]) == {"T2", "T7"}
    assert "by_label" not in composite_ranks({"phq9": fit_of(np.arange(6.0))})


def test_clusters_of_therapists_who_do_not_differ_are_said_to_be_by_label() -> None:
    rng = np.random.default_rng(4)
    same = {"phq9_pre": np.tile(rng.normal(10, 3, 7), 8), "phq9_post": np.tile(rng.random(7), 8)}
    patients = pd.DataFrame({"therapist_id": np.repeat([f"T{i}" for i in range(8)], 7), **same})
    fit = fit_mixed("phq9_post ~ center(phq9_pre) + (1 | therapist_id)", patients)
    assert fit.vpc() == 0
    ranks = composite_ranks({"phq9": fit})
    assert ranks["by_label"].all()
    assert set(ranks["composite"]) == {4.5}


def test_rank_uncertainty_of_two_therapists_is_the_normal_probability() -> None:
    from scipy.stats import norm

    fit = fit_of(np.array([0.0, 1.2]), patients=10)
    residual = fit.residuals()["residual"].to_numpy()
    covariance = fit.residual_covariance("comparative").to_numpy()
    contrast = np.array([1.0, -1.0])
    z = contrast @ residual / np.sqrt(contrast @ covariance @ contrast)
    table = rank_uncertainty(fit, draws=40_000, seed=3)
    expected = norm.cdf(-z)  # the first of the two is the lower one
    assert table.loc["T00", "p_first"] == pytest.approx(expected, abs=4 * 0.5 / 200)
    assert table["p_upper"].isna().all()


def test_rank_uncertainty_is_a_distribution_over_ranks() -> None:
    table = rank_uncertainty(fit_of(np.linspace(-0.6, 0.6, 21), patients=15), draws=2_000, seed=2)
    assert table["mean_rank"].sum() == pytest.approx(21 * 22 / 2)
    assert table["p_upper"].sum() == pytest.approx(5)
    assert table["p_lower"].sum() == pytest.approx(5)
    assert table["p_first"].sum() == pytest.approx(1)
    assert (table["lower"] <= table["upper"]).all()
    assert table["rank"].is_monotonic_increasing
    again = rank_uncertainty(fit_of(np.linspace(-0.6, 0.6, 21), patients=15), draws=2_000, seed=2)
    pd.testing.assert_frame_equal(table, again)


def test_without_a_therapist_effect_every_rank_is_as_likely() -> None:
    # Every therapist's patients do the same on average, so nothing is left between therapists.
    group = np.repeat(np.arange(8), 20)
    fit = fit_design(
        DesignMoments.from_arrays(
            np.tile([-1.0, 1.0], 80), {"Intercept": np.ones(160)}, ["Intercept"], group
        )
    )
    assert fit.singular
    table = rank_uncertainty(fit, draws=4_000)
    assert table["p_first"].to_numpy() == pytest.approx(np.full(8, 1 / 8), abs=0.03)
    assert set(table["rank"]) == {4.5}


def test_ranks_of_therapists_far_apart_are_certain() -> None:
    table = rank_uncertainty(fit_of(10 * np.arange(10.0)), draws=500)
    assert (table["lower"] == table["rank"]).all()
    assert (table["upper"] == table["rank"]).all()
    assert set(table["p_upper"]) == {0.0, 1.0}


def test_spearman_agrees_with_r() -> None:
    # tests/reference/comparison.R
    result = rank_correlation([1, 2, 3, 4, 5, 6.5, 6.5], [2, 1, 4, 3, 7, 5, 6])
    assert result.correlation == pytest.approx(0.81084371642600295, rel=1e-12)


@pytest.mark.parametrize("n", range(3, 9))
@pytest.mark.parametrize("values", [3, 5, 100])
def test_the_p_value_of_few_ranks_is_that_of_all_orders(n: int, values: int) -> None:
    rng = np.random.default_rng(100 * n + values)
    a, b = rng.integers(0, values, n), rng.integers(0, values, n)
    a[:2], b[:2] = (0, 1), (1, 0)
    ranks = [pd.Series(v).rank().to_numpy() for v in (a, b)]
    orders = np.array(list(permutations(ranks[1])))
    sums = np.abs((orders - ranks[1].mean()) @ (ranks[0] - ranks[0].mean()))
    found = abs((ranks[1] - ranks[1].mean()) @ (ranks[0] - ranks[0].mean()))
    expected = np.mean(sums >= found - 1e-9)
    assert rank_correlation(a, b).p_value == pytest.approx(expected, rel=1e-12)


def test_exact_up_to_ten_pairs_and_by_t_beyond() -> None:
    # A perfect order of n comes about in 2 of n! orders.
    assert rank_correlation(range(3), range(3)).p_value == pytest.approx(1 / 3)
    assert rank_correlation(range(10), range(10)).p_value == pytest.approx(2 / factorial(10))
    eleven = [2, 1, 4, 3, 9, 5, 6, 10, 7, 8, 11]
    assert rank_correlation(range(11), eleven).p_value == spearmanr(range(11), eleven).pvalue


def test_rank_correlation_matches_series_by_index_and_drops_gaps() -> None:
    a = pd.Series([1, 2, 3, 4], index=list("abcd"))
    b = pd.Series([4, 3, 2, 1, np.nan], index=list("dcbae"))
    assert rank_correlation(a, b).correlation == pytest.approx(1.0)
    assert rank_correlation(a, b).n == 4
    assert np.isnan(rank_correlation(a, [2, 2, 2, 2]).correlation)
    with pytest.raises(InputError, match="three pairs"):
        rank_correlation([1, 2], [1, 2])
    with pytest.raises(InputError, match="make no pairs"):
        rank_correlation([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(InputError, match="stands twice"):
        rank_correlation(a, pd.Series([1, 2, 3, 4], index=list("aabb")))


def test_services_by_cluster_counts_therapists_not_patients() -> None:
    ranks = pd.DataFrame({"cluster": ["upper", "middle", "lower"]}, index=list("abc"))
    patients = pd.DataFrame(
        {"therapist_id": list("aaabbc"), "service_id": ["S1"] * 3 + ["S2", "S2", "S1"]}
    )
    table = services_by_cluster(ranks, patients)
    assert table.index.tolist() == ["upper", "middle", "lower"]
    assert table.to_numpy().tolist() == [[1, 0], [0, 1], [1, 0]]


SLOPE = "phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 + center(phq9_pre) | therapist_id)"


@pytest.fixture(scope="module")
def two_fits() -> list[MixedFit]:
    """The paper's model of two measures, few patients, so that the fixed part is uncertain."""
    patients = simulate_cohort(
        Truth().with_therapists(9, caseload=8), seed=3, interviews=False
    ).patients
    other = SLOPE.replace("phq9", "x").replace("gad7", "phq9").replace("x_", "gad7_")
    return [fit_mixed(formula, patients) for formula in (SLOPE, other)]


def flat_fit() -> MixedFit:
    """A singular fit: nothing is left between therapists."""
    group, y = np.repeat(np.arange(8), 20), np.tile([-1.0, 1.0], 80)
    columns = {"Intercept": np.ones(160)}
    return fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], group))


@pytest.mark.parametrize("term", ["Intercept", "center(phq9_pre)"])
def test_covariance_is_own_part_plus_few_shared_directions(
    two_fits: list[MixedFit], term: str
) -> None:
    own, shared, _ = covariance_parts(two_fits[0], term)
    # The dense matrix from the model's definition: what the data leave of the prior, and what
    # the fixed part's uncertainty adds.
    fit = two_fits[0]
    design, s2 = fit.design, fit.residual_variance
    q = design.random_names.index(term)
    prior = fit.random_covariance.to_numpy()
    z = design.cross[:, design.random][:, :, design.random]
    zx = design.cross[:, design.random][:, :, design.fixed]
    left = np.array([np.linalg.solve(np.eye(2) + prior @ zz / s2, prior)[q, q] for zz in z])
    pull = np.array(
        [
            (np.linalg.solve(np.eye(2) + prior @ zz / s2, prior) @ cross / s2)[q]
            for zz, cross in zip(z, zx, strict=True)
        ]
    )
    dense = np.diag(left) + pull @ (fit.residual_variance * fit.ingredients.inverse) @ pull.T
    assert shared.shape == (9, 4)
    assert np.diag(own) + shared @ shared.T == pytest.approx(dense, rel=1e-8, abs=1e-10)
    assert fit.residual_covariance("comparative", term).to_numpy() == pytest.approx(
        dense, rel=1e-8, abs=1e-10
    )


def test_a_singular_fit_has_neither_part() -> None:
    own, shared, _ = covariance_parts(flat_fit())
    assert not own.any()
    assert not shared.any()


def test_mean_ranks_follow_the_joint_covariance(two_fits: list[MixedFit]) -> None:
    # A closed form: a mean rank is one more than the sum of the others' chances to come before.
    draws = 40_000
    for fit in two_fits:
        table = rank_uncertainty(fit, draws).sort_index()
        residual = fit.residuals()["residual"].sort_index()
        joint = (
            fit.residual_covariance("comparative").loc[residual.index, residual.index].to_numpy()
        )
        spread = np.sqrt(np.add.outer(np.diag(joint), np.diag(joint)) - 2 * joint)
        np.fill_diagonal(spread, np.inf)
        chance = norm.cdf(np.subtract.outer(residual.to_numpy(), residual.to_numpy()) / spread)
        expected = 1 + chance.sum(axis=1) - 0.5
        error = len(residual) / np.sqrt(draws)
        assert table["mean_rank"].to_numpy() == pytest.approx(expected, abs=2 * error)


def test_thousands_of_therapists_need_no_square_matrix() -> None:
    import tracemalloc

    rng = np.random.default_rng(1)
    j = 4_000
    group = np.repeat(np.arange(j), 3)
    y = np.repeat(rng.normal(size=j), 3) + rng.normal(size=len(group))
    n, total = np.full(j, 3), y.reshape(j, 3)
    cross = np.empty((j, 2, 2))
    cross[:, 0, 0], cross[:, 0, 1] = n, total.sum(axis=1)
    cross[:, 1, 0], cross[:, 1, 1] = cross[:, 0, 1], (total**2).sum(axis=1)
    fit = fit_design(
        DesignMoments(
            np.arange(j).astype(object),
            n.astype(np.int64),
            cross,
            ("Intercept", "y"),
            (0,),
            (0,),
            1,
        )
    )
    tracemalloc.start()
    table = rank_uncertainty(fit, draws=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["mean_rank"].mean() == pytest.approx((j + 1) / 2)
    assert peak < j * j * 8  # one matrix of the therapists by themselves


def test_size_of_clusters_can_be_asked_for() -> None:
    assert cluster_size(21, 3) == 3
    for wrong in (1, 11):
        with pytest.raises(InputError, match=f"clusters of {wrong}"):
            cluster_size(21, wrong)
    fit = fit_of(np.linspace(-0.6, 0.6, 12), patients=15)
    ranks = composite_ranks({"phq9": fit}, size=4)
    assert ranks["cluster"].value_counts().to_dict() == {"upper": 4, "middle": 4, "lower": 4}
    assert rank_uncertainty(fit, 500, size=4)["p_upper"].sum() == pytest.approx(4)


@pytest.mark.parametrize("least", [2**53, -(2**53), 2**62, 2**64])
@pytest.mark.parametrize("kind", [list, pd.Series, lambda v: pd.Series([None, *v], dtype=object)])
def test_whole_numbers_that_floats_would_round_are_not_ranked(least: int, kind: Any) -> None:
    """Four numbers in a row would tie; floats are as they are, and the user's own."""
    scores = kind([least + i for i in range(4)])
    for call in (rank_correlation, mann_whitney):
        with pytest.raises(InputError, match=r"whole numbers of 2 \*\* 53 and more"):
            call(scores, range(len(scores)))
    below = [2**53 - 1 - i for i in range(4)]
    assert rank_correlation(below, range(4)).correlation == pytest.approx(-1.0)
    assert rank_correlation([1e300, 2e300, 3e300], range(3)).correlation == pytest.approx(1.0)
