"""Model checks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.checks import (
    check_model,
    floor_table,
    normality,
    patient_residuals,
    spread_by_therapist,
)

FORMULA = "phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)"


def patients_of(spread: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Fifteen therapists of 40 patients; the last one's patients spread `spread` times more."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(15), 40)
    pre = rng.uniform(5, 25, size=600)
    sd = np.where(group == 14, 3 * (1 + spread), 3)
    effect = rng.normal(scale=2, size=15)[group]
    slope = 0.5 + rng.normal(scale=0.1, size=15)[group]
    post = 3 + effect + slope * pre + sd * rng.normal(size=600)
    return pd.DataFrame({"therapist_id": group.astype(str), "phq9_pre": pre, "phq9_post": post})


def test_residuals_of_patients_are_what_the_model_leaves() -> None:
    patients = patients_of()
    fit = fit_mixed(FORMULA, patients)
    rows = patient_residuals(fit, patients)
    b = fit.fixed["estimate"].to_numpy()
    centred = patients["phq9_pre"] - patients["phq9_pre"].mean()
    assert rows["expected"].to_numpy() == pytest.approx((b[0] + b[1] * centred).to_numpy())
    u0 = patients["therapist_id"].map(fit.residuals()["residual"])
    u1 = patients["therapist_id"].map(fit.residuals("center(phq9_pre)")["residual"])
    assert (rows["fitted"] - rows["expected"]).to_numpy() == pytest.approx(
        (u0 + u1 * centred).to_numpy()
    )
    assert (rows["fitted"] + rows["residual"]).to_numpy() == pytest.approx(
        patients["phq9_post"].to_numpy()
    )
    assert rows["standardised"].std() == pytest.approx(1, abs=0.05)


def test_rows_without_scores_are_left_out_and_other_tables_refused() -> None:
    patients = patients_of()
    patients.loc[3, "phq9_post"] = np.nan
    fit = fit_mixed(FORMULA, patients)
    assert len(patient_residuals(fit, patients)) == 599
    with pytest.raises(InputError, match="not the one"):
        patient_residuals(fit, patients.iloc[:100])
    with pytest.raises(InputError, match="phq9_pre"):
        patient_residuals(fit, patients.drop(columns="phq9_pre"))


def test_normality_agrees_with_closed_forms() -> None:
    x = np.array([0, 0, 0, 1.0])
    result = normality(x)
    assert result["skewness"] == pytest.approx(2 / np.sqrt(3))
    assert result["excess_kurtosis"] == pytest.approx(7 / 3 - 3)
    assert np.isnan(normality([1, 1, 1])["shapiro_w"])
    assert normality(np.random.default_rng(1).exponential(size=6_000))["shapiro_p"] < 1e-6


def test_floor_counts_the_ends_of_the_scale() -> None:
    patients = pd.DataFrame({"phq9_pre": [27, 27, 0, 5], "phq9_post": [0, 0, 27, np.nan]})
    table = floor_table(patients, "phq9")
    assert table.loc["pre"].tolist() == [4, 0.25, 0.5]
    assert table.loc["post"].tolist() == [3, pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_levene_finds_unequal_spread_and_only_that() -> None:
    for spread, unequal in ((0.0, False), (2.0, True)):
        patients = patients_of(spread)
        checks = check_model(fit_mixed(FORMULA, patients), patients, "phq9")
        assert (checks.spread.p_value < 0.001) == unequal
        assert checks.spread.df == (14, 585)
    assert checks.spread.by_therapist["sd"].idxmax() == "14"


def test_levene_is_an_anova_of_distances_from_the_medians() -> None:
    from scipy.stats import f_oneway

    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"therapist_id": list("aaabbbbc"), "standardised": rng.normal(size=8)})
    distances = [
        (g["standardised"] - g["standardised"].median()).abs()
        for _, g in rows[rows["therapist_id"] != "c"].groupby("therapist_id")
    ]
    assert spread_by_therapist(rows).statistic == pytest.approx(f_oneway(*distances).statistic)


def test_checks_table_has_both_levels() -> None:
    patients = patients_of()
    checks = check_model(fit_mixed(FORMULA, patients), patients, "phq9")
    assert checks.normality.index.tolist() == [
        "patients",
        "therapists, Intercept",
        "therapists, center(phq9_pre)",
    ]
    assert checks.table()["value"].notna().all()
    assert checks.therapists.abs().max().max() < 4
