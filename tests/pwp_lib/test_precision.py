"""Precision by design."""

from __future__ import annotations

import numpy as np
import pytest

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import fit_design
from pwp_lib.precision import precision, precision_grid


def test_equal_caseloads_give_the_textbook_standard_error() -> None:
    """Asymptotic SE of the intraclass correlation (Donner & Koval), maximum likelihood."""
    j, n, rho = 40, 15, 0.12
    expected = np.sqrt(2 * (1 - rho) ** 2 * (1 + (n - 1) * rho) ** 2 / (n * (n - 1) * j))
    assert precision(n, rho, therapists=j).se == pytest.approx(expected, rel=1e-10)


def test_the_expected_information_is_the_engines() -> None:
    """The same caseloads and the same therapist effect, through a fit."""
    rng = np.random.default_rng(1)
    caseloads = np.array([8, 197, 20, 40, 77, 31, 12, 60, 25, 110])
    group = np.repeat(np.arange(10), caseloads)
    y = rng.normal(scale=2, size=10)[group] + rng.normal(scale=4, size=len(group))
    fit = fit_design(
        DesignMoments.from_arrays(y, {"Intercept": np.ones(len(y))}, ["Intercept"], group)
    )
    b, w = float(fit.random_covariance.iloc[0, 0]), fit.residual_variance
    covariance = fit.variance_covariance("expected").to_numpy()
    gradient = np.array([w, -b]) / (b + w) ** 2
    se = np.sqrt(gradient @ covariance @ gradient)
    assert precision(caseloads, fit.vpc()).se == pytest.approx(se, rel=1e-6)


def test_power_without_an_effect_is_the_level_of_the_test() -> None:
    assert precision(20, 0.0, therapists=12).power == pytest.approx(0.05)
    assert precision([5, 50, 20, 9], 0.0).power == pytest.approx(0.05)


def test_power_with_unequal_caseloads_agrees_with_simulation() -> None:
    from scipy.stats import f as f_distribution

    rng, vpc, replicates = np.random.default_rng(3), 0.06, 20_000
    n = np.array([30, 6, 12, 50, 8, 20])
    means = rng.normal(size=(replicates, 6)) * np.sqrt(vpc + (1 - vpc) / n)
    within = (1 - vpc) * rng.chisquare(n.sum() - 6, size=replicates)
    grand = means @ n / n.sum()
    between = ((means - grand[:, None]) ** 2) @ n
    statistic = (between / 5) / (within / (n.sum() - 6))
    found = (statistic > f_distribution.isf(0.05, 5, n.sum() - 6)).mean()
    assert precision(n, vpc).power == pytest.approx(found, abs=0.02)


def test_interval_stays_between_nothing_and_all() -> None:
    for vpc in (0.05, 0.09, 0.9):
        one = precision(10, vpc, therapists=6)
        assert 0 < one.lower < vpc < one.upper < 1
    assert np.isnan(precision(10, 0, therapists=6).upper)


def test_more_therapists_help_more_than_more_patients() -> None:
    grid = precision_grid([21, 84], [54, 216], 0.087).set_index(["therapists", "patients"])
    assert grid.loc[(84, 54), "se"] < grid.loc[(21, 216), "se"]
    assert grid.loc[(84, 54), "total_patients"] == grid.loc[(21, 216), "total_patients"]


def test_bad_designs() -> None:
    with pytest.raises(InputError, match="share"):
        precision(10, 8.7, therapists=21)
    with pytest.raises(InputError, match="two therapists"):
        precision([40], 0.1)
    with pytest.raises(InputError, match="several patients"):
        precision(1, 0.1, therapists=30)
    with pytest.raises(InputError, match="either"):
        precision([10, 20], 0.1, therapists=30)
