"""Allocation, chance and regression to the mean: what each simulation must show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.demonstrations import (
    comparison_under_chance,
    recovery_by_therapist,
    regression_to_the_mean,
    simulate_allocation,
)
from pwp_lib.models import raw_and_shrunken
from pwp_lib.simulate import simulate_cohort

FORMULA = "phq9_post ~ center(phq9_pre) + (1 | therapist_id)"


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulate_cohort(seed=5).patients


def test_chance_alone_makes_a_difference_between_chosen_clusters(patients: pd.DataFrame) -> None:
    table = comparison_under_chance(patients, ["phq9"], repeats=15, seed=2).table()
    row = table.loc["phq9"]
    # The upper cluster was chosen for low last scores, so chance puts it ahead. In half of the
    # deals the fit is singular: all residuals are nil and nobody is chosen for anything.
    assert row["difference_by_chance"] < -0.5
    assert row["share_p_below_05"] > 3 * 0.05
    assert row["difference_observed"] < row["difference_by_chance"]


def test_random_deals_are_the_same_from_the_same_seed(patients: pd.DataFrame) -> None:
    one, two = (comparison_under_chance(patients, ["phq9"], repeats=2, seed=9) for _ in range(2))
    pd.testing.assert_frame_equal(one.repeats, two.repeats)


def test_allocation_by_what_the_model_cannot_see_misleads_it() -> None:
    correlation: dict[str, list[float]] = {}
    for seed in range(12):
        table = simulate_allocation(seed=seed)
        for name, rows in table.groupby("allocation"):
            r = float(np.corrcoef(rows["truth"], rows["residual"])[0, 1])
            correlation.setdefault(str(name), []).append(r)
    mean = {name: np.mean(values) for name, values in correlation.items()}
    assert mean["at random"] > 0.85
    assert mean["by hidden burden"] < mean["by first score"] <= mean["at random"] + 0.02


def test_hidden_allocation_inflates_the_therapist_effect() -> None:
    vpc = pd.concat([simulate_allocation(seed=s).assign(seed=s) for s in range(8)])
    mean = vpc.groupby("allocation")["vpc"].mean()
    assert mean["by hidden burden"] > 1.5 * mean["at random"]


def test_regression_to_the_mean_follows_its_formula() -> None:
    table = regression_to_the_mean(mean=10, sd=3, retest=0.6, n=200_000, seed=1)
    chosen = table.loc["chosen"]
    expected = (1 - 0.6) * (chosen["mean_pre"] - 10)
    assert chosen["change"] == pytest.approx(expected, abs=0.03)
    assert table.loc["everybody", "change"] == pytest.approx(0, abs=0.02)


def test_regression_to_the_mean_needs_a_cut_off() -> None:
    with pytest.raises(InputError, match="cut-off"):
        regression_to_the_mean("wsas")


def test_better_therapists_have_more_recoveries_and_the_average_one_the_average(
    patients: pd.DataFrame,
) -> None:
    fit = fit_mixed(FORMULA, patients)
    table = recovery_by_therapist(fit, patients, "phq9")
    per_100 = table["recovered_per_100"]
    assert per_100.is_monotonic_increasing
    assert table.loc[50, "intercept"] == pytest.approx(0)
    sd = float(np.sqrt(fit.random_covariance.iloc[0, 0]))
    assert table.loc[95, "intercept"] == pytest.approx(-1.6448536 * sd)


def test_raw_departures_shrink_by_the_reliability(patients: pd.DataFrame) -> None:
    fit = fit_mixed(FORMULA, patients)
    table = raw_and_shrunken(fit)
    between = float(fit.random_covariance.iloc[0, 0])
    reliability = between / (between + fit.residual_variance / table["n"])
    np.testing.assert_allclose(table["kept"], reliability, rtol=1e-8)
