"""Allocation, chance and regression to the mean: what each simulation must show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.fit import fit_mixed
from pwp_lib.demonstrations import (
    recovery_by_therapist,
)
from pwp_lib.models import raw_and_shrunken
from pwp_lib.simulate import simulate_cohort

FORMULA = "phq9_post ~ center(phq9_pre) + (1 | therapist_id)"


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return simulate_cohort(seed=5).patients


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
