"""Coverage of intervals and power of the test, by simulation."""

from __future__ import annotations

import pytest

from pwp_lib.errors import InputError
from pwp_lib.findings.coverage import interval_coverage
from pwp_lib.findings.precision import precision


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
    assert table.loc[8, "bias"] < 0


def test_power_grows_with_therapists_and_agrees_with_the_formula() -> None:
    table = interval_coverage([6, 30], caseload=12, vpc=0.05, replicates=400, seed=2)
    assert table["power"].is_monotonic_increasing
    formula = precision(12, 0.05, therapists=30).power
    assert table.loc[30, "power"] == pytest.approx(formula, abs=0.12)


def test_an_effect_of_nil_has_no_coverage() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        interval_coverage([8], vpc=0.0)
