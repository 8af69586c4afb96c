"""Functions that take a fit: right where the residual SD depends on a predictor, or refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis, norm, spearmanr

import pwp_lib
from multilevel import fit_binary
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_mixed
from pwp_lib.checks import check_model, patient_residuals
from pwp_lib.demonstrations import recovery_by_therapist
from pwp_lib.models import raw_and_shrunken
from pwp_lib.profiling import therapist_profile
from pwp_lib.ranking import composite_ranks, differs_from_average, rank_uncertainty

CALLS: dict[str, Callable[[Any, pd.DataFrame], Any]] = {
    "check_model": lambda fit, rows: check_model(fit, rows, "phq9"),
    "composite_ranks": lambda fit, rows: composite_ranks({"phq9": fit}),
    "differs_from_average": lambda fit, rows: differs_from_average(fit),
    "patient_residuals": patient_residuals,
    "rank_uncertainty": lambda fit, rows: rank_uncertainty(fit, 50),
    "raw_and_shrunken": lambda fit, rows: raw_and_shrunken(fit),
    "recovery_by_therapist": lambda fit, rows: recovery_by_therapist(fit, rows, "phq9"),
    "therapist_profile": lambda fit, rows: therapist_profile(fit),
}


def cohort(seed: int = 1, slope: float = 0.0) -> pd.DataFrame:
    """Patients whose last score is the less certain the higher `strain`, which some lack."""
    rng = np.random.default_rng([88, seed])
    group = np.repeat(np.arange(12), rng.integers(15, 60, 12))
    pre, strain = rng.integers(3, 28, len(group)), rng.uniform(0.5, 6, len(group))
    lines = rng.normal(0, [2, slope], (12, 2))[group]
    post = 3 + lines[:, 0] + (0.5 + lines[:, 1]) * pre + strain**0.8 * rng.normal(size=len(group))
    table = pd.DataFrame({"phq9_pre": pre, "phq9_post": post, "strain": strain})
    table["therapist_id"] = [f"T{j:02d}" for j in group]
    table["service_id"] = [f"S{j % 4}" for j in group]
    table.loc[rng.choice(len(table), 9, replace=False), "strain"] = np.nan
    return table


FORMS = ("power(strain)", "exp(strain)", "power(phq9_pre + 1)", "exp(strain + 0.01 * phq9_pre)")


def own_sd(fit: MixedFit, rows: pd.DataFrame, form: str) -> pd.Series:
    """Residual SD of each row, worked out from the text of the spread."""
    value = rows.eval(form.partition("(")[2].removesuffix(")"))
    assert fit.spread is not None
    delta = fit.spread.delta
    scale = value**delta if form.startswith("power") else np.exp(delta * value)
    return scale * fit.residual_variance**0.5


@pytest.fixture(scope="module", params=FORMS)
def uneven(request: Any) -> tuple[MixedFit, pd.DataFrame, pd.DataFrame, pd.Series]:
    """Fit, all rows, and of the complete ones the rows, each with what it is expected to have."""
    patients = cohort()
    formula = "phq9_post ~ center(phq9_pre) + (1 | therapist_id)"
    fit = fit_mixed(formula, patients, spread=request.param)
    rows = patients.dropna() if "strain" in request.param else patients
    at, b = rows["phq9_pre"] - rows["phq9_pre"].mean(), fit.fixed["estimate"]
    rows = rows.assign(expected=b.iloc[0] + b.iloc[1] * at)
    return fit, patients, rows, own_sd(fit, rows, request.param)


Uneven = tuple[MixedFit, pd.DataFrame, pd.DataFrame, pd.Series]


def test_patients_are_standardised_by_their_own_sd(uneven: Uneven) -> None:
    fit, patients, rows, sd = uneven
    found = patient_residuals(fit, patients)
    effect = rows["therapist_id"].map(fit.residuals()["residual"])
    left = rows["phq9_post"] - rows["expected"] - effect
    assert found.index.equals(rows.index)
    np.testing.assert_allclose(found["sd"], sd, rtol=1e-10)
    np.testing.assert_allclose(found["standardised"], left / sd, rtol=1e-8, atol=1e-10)
    assert found["standardised"].std() == pytest.approx(1, abs=0.03)
    checks = check_model(fit, patients, "phq9")
    assert checks.normality.loc["patients", "excess_kurtosis"] == pytest.approx(kurtosis(left / sd))
    size = spearmanr(rows["expected"] + effect, (left / sd).abs()).statistic
    assert checks.spread_with_fitted == pytest.approx(size)
    theirs = (left / sd).groupby(rows["therapist_id"]).std()
    np.testing.assert_allclose(checks.spread.by_therapist["sd"], theirs)


def test_departures_are_means_of_patients_as_they_are(uneven: Uneven) -> None:
    fit, _, rows, sd = uneven
    found = raw_and_shrunken(fit)
    left, whose = rows["phq9_post"] - rows["expected"], rows["therapist_id"]
    np.testing.assert_allclose(found["raw"], left.groupby(whose).mean(), atol=1e-10)
    assert found["kept"].isna().all()
    # The residual is a share of another mean, in which patients count by their precision.
    precise = (left / sd**2).groupby(whose).sum() / (1 / sd**2).groupby(whose).sum()
    share = fit.residuals()["shrinkage"]
    np.testing.assert_allclose(found["residual"], precise * share, atol=1e-8)
    departure = therapist_profile(fit)["departure"].reindex(found.index)
    np.testing.assert_allclose(departure, found["raw"], atol=1e-10)


def test_recoveries_are_by_each_patient_s_own_sd(uneven: Uneven) -> None:
    fit, patients, rows, sd = uneven
    found, cases = recovery_by_therapist(fit, patients, "phq9"), rows["phq9_pre"] >= 10
    between = float(fit.random_covariance.iloc[0, 0]) ** 0.5
    for q, row in found.iterrows():
        at = rows["expected"] - between * norm.ppf(float(str(q)) / 100)
        chance = norm.cdf((9.5 - at[cases]) / sd[cases]).mean()
        assert row["recovered_per_100"] == pytest.approx(100 * chance, abs=1e-8)


def test_residuals_with_a_slope_and_repeated_labels_of_rows() -> None:
    patients = cohort(2, slope=0.1).set_axis([7] * len(cohort(2)))
    formula = "phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)"
    fit = fit_mixed(formula, patients, spread=FORMS[0])
    rows, found = patients.dropna(), patient_residuals(fit, patients)
    np.testing.assert_allclose(found["sd"], own_sd(fit, rows, FORMS[0]), rtol=1e-10)
    assert found["standardised"].std() == pytest.approx(1, abs=0.05)
    with pytest.raises(InputError, match="column strain"):
        patient_residuals(fit, patients.drop(columns="strain"))


def test_an_even_spread_is_the_residual_sd_of_all() -> None:
    patients = cohort()
    fit = fit_mixed("phq9_post ~ phq9_pre + (1 | therapist_id)", patients)
    assert set(patient_residuals(fit, patients)["sd"]) == {fit.residual_variance**0.5}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["three levels", "yes or no", "no fit"])
def test_what_is_no_fit_of_scores_at_two_levels_is_refused(name: str, kind: str) -> None:
    patients = cohort()
    fit: Any = None
    if kind == "three levels":
        fit = fit_mixed("phq9_post ~ phq9_pre + (1 | service_id/therapist_id)", patients)
    elif kind == "yes or no":
        well = patients.assign(well=patients["phq9_post"] < 10)
        fit = fit_binary("well ~ (1 | therapist_id)", well)
    with pytest.raises(InputError, match=f"two levels is needed, not a {type(fit).__name__}; fit "):
        CALLS[name](fit, patients)


def test_every_function_that_takes_a_fit_is_looked_at() -> None:
    (folder,) = pwp_lib.__path__
    found = set()
    for path in Path(folder).rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] != "__init__":
            module = import_module(".".join(["pwp_lib", *parts]))
            for name in getattr(module, "__all__", ()):
                function = vars(module).get(name)
                if inspect.isfunction(function):
                    kinds = {k: str(v) for k, v in function.__annotations__.items()}
                    kinds.pop("return", None)
                    found |= {name for kind in kinds.values() if "MixedFit" in kind}
    assert found == set(CALLS)
