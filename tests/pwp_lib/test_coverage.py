"""Coverage of intervals and power of the test, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from multilevel.errors import InputError
from pwp_lib.precision import interval_coverage, precision, simulate_precision


def test_precision_and_simulation_agree_with_many_therapists() -> None:
    row = interval_coverage([120], caseload=30, vpc=0.1, replicates=400, seed=3).loc[120]
    expected = precision(30, 0.1, therapists=120)
    # The standard error of an SD from 400 draws is about 3.5% of it.
    assert row["sd"] == pytest.approx(expected.se, rel=0.12)
    assert abs(row["bias"]) < 0.004
    assert row["coverage_log_odds"] == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 400) ** 0.5)


def test_the_symmetric_interval_fails_with_few_therapists() -> None:
    table = interval_coverage([8], caseload=50, vpc=0.09, replicates=400, seed=1)
    assert table.loc[8, "coverage_wald"] < 0.92
    assert table.loc[8, "coverage_profile"] == pytest.approx(0.95, abs=3 * 0.0109)
    assert table.loc[8, "bias"] < 0


def test_power_grows_with_therapists_and_agrees_with_the_formula() -> None:
    table = interval_coverage([6, 30], caseload=12, vpc=0.05, replicates=400, seed=2)
    assert table["power_boundary"].is_monotonic_increasing
    formula = precision(12, 0.05, therapists=30).power
    assert table.loc[30, "power_boundary"] == pytest.approx(formula, abs=0.12)


def test_an_effect_of_nil_has_no_coverage() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        interval_coverage([8], vpc=0.0)


def test_simulation_agrees_with_the_closed_form_in_a_large_design() -> None:
    expected = precision(30, 0.1, therapists=150)
    found = simulate_precision(30, 0.1, therapists=150, replicates=600, seed=2)
    assert found.sd == pytest.approx(expected.se, rel=0.1)
    assert abs(found.bias) < 0.004
    assert found.coverage_log_odds == pytest.approx(0.95, abs=0.03)
    assert found.coverage_profile == pytest.approx(0.95, abs=0.03)
    assert found.power == 1.0


def test_without_an_effect_the_boundary_test_keeps_its_level_and_the_plain_one_is_strict() -> None:
    found = simulate_precision([10, 40, 25, 60] * 6, 0.0, replicates=2_000, seed=5)
    assert found.power_boundary == pytest.approx(0.05, abs=0.02)
    assert found.power == pytest.approx(0.025, abs=0.015)
    assert 0.4 < found.share_zero < 0.75


def test_the_profile_at_the_estimate_is_the_engines_deviance() -> None:
    found = simulate_precision([8, 20, 50, 12, 31], 0.2, replicates=3, seed=1)
    from multilevel.many import fit_many
    from pwp_lib.precision import _cohorts, _profile_deviance, _random_intercept

    n = np.array([8.0, 20, 50, 12, 31])
    cross = _cohorts(n, 0.2, 3, np.random.default_rng(1))
    fits = fit_many(_random_intercept(n), cross)
    assert fits.vpc == pytest.approx(found.estimates)
    for i in range(3):
        at_estimate = _profile_deviance(cross[i : i + 1], float(fits.vpc[i]))
        assert at_estimate[0] == pytest.approx(fits.deviance[i], abs=1e-7)


def test_same_seed_same_simulation() -> None:
    one, two = (simulate_precision(20, 0.1, therapists=8, replicates=50, seed=9) for _ in range(2))
    assert one.estimates.tolist() == two.estimates.tolist()
    assert one.table().shape == (1, 13)
