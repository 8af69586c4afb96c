"""Agreement with polished lme4 on public data sets, from moments that R computed.

`tests/reference/public_data.R` made the figures; its JSON holds the versions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multilevel.design import DesignMoments
from multilevel.fit import MixedFit, fit_design

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "public_data.json").read_text(encoding="utf-8")
)
CASES = [(s, m) for s in REFERENCE["sets"] for m in s["models"]]
IDS = [f"{s['name']}-{len(m['fixed'])}f{len(m['random'])}r-{m['method']}" for s, m in CASES]


def _design(data: dict[str, Any], model: dict[str, Any]) -> DesignMoments:
    columns = data["columns"]
    size = len(columns)
    # R lists the upper triangle column by column.
    col, row = np.tril_indices(size)
    cross = np.zeros((len(data["groups"]), size, size))
    cross[:, row, col] = cross[:, col, row] = np.array(data["upper"], dtype=float)
    return DesignMoments(
        groups=np.array(data["groups"], dtype=object),
        n=np.array(data["n"], dtype=np.int64),
        cross=cross,
        names=tuple(columns),
        fixed=tuple(columns.index(c) for c in model["fixed"]),
        random=tuple(columns.index(c) for c in model["random"]),
        response=size - 1,
        group_name=data["group"],
    )


def _fit(data: dict[str, Any], model: dict[str, Any]) -> MixedFit:
    return fit_design(_design(data, model), model["method"])


def test_there_are_enough_data_sets() -> None:
    assert len({s["name"].split(" by ")[0] for s in REFERENCE["sets"]}) >= 10
    assert sum(m["singular"] for _, m in CASES) >= 6


@pytest.mark.parametrize(("data", "model"), CASES, ids=IDS)
def test_deviance_is_the_polished_optimum(data: dict[str, Any], model: dict[str, Any]) -> None:
    fit = _fit(data, model)
    assert fit.converged
    assert abs(fit.deviance - model["deviance"]) < 1e-7
    for peer in ("deviance", "default", "nlme"):
        if model[peer] is not None:
            assert fit.deviance <= model[peer] + 1e-8, peer


@pytest.mark.parametrize(("data", "model"), CASES, ids=IDS)
def test_estimates_agree_within_their_errors(data: dict[str, Any], model: dict[str, Any]) -> None:
    fit = _fit(data, model)
    se = np.array(model["se"])
    np.testing.assert_array_less(np.abs(fit.coefficients - model["beta"]) / se, 1e-4)
    np.testing.assert_allclose(fit.fixed["se"].to_numpy() / se, 1.0, atol=1e-4)
    errors = fit.variance_se().to_numpy()
    q = len(model["random"])
    order = [(i, j) for j in range(q) for i in range(j, q)]
    theirs = np.array(model["random_covariance"], dtype=float).reshape(q, q)
    ours = fit.random_covariance.to_numpy()
    for (i, j), error in zip(order, errors[:-1], strict=True):
        assert abs(ours[i, j] - theirs[i, j]) < 1e-4 * error
    assert abs(fit.residual_variance - model["residual_variance"]) < 1e-4 * errors[-1]
    assert fit.singular == model["singular"]
    assert fit.bic == pytest.approx(model["bic"], abs=1e-6)


@pytest.mark.parametrize(("data", "model"), CASES, ids=IDS)
def test_residuals_and_their_variances_agree(data: dict[str, Any], model: dict[str, Any]) -> None:
    fit = _fit(data, model)
    assert list(fit.design.groups) == model["groups"]
    q = len(model["random"])
    theirs = np.array(model["residuals"], dtype=float).reshape(-1, q)
    variances = np.array(model["residual_variances"], dtype=float).reshape(-1, q)
    for t, term in enumerate(fit.design.random_names):
        table = fit.residuals(term)
        size = max(1.0, float(np.sqrt(fit.random_covariance.to_numpy()[t, t])))
        np.testing.assert_allclose(table["residual"], theirs[:, t], atol=1e-5 * size)
        np.testing.assert_allclose(table["se"] ** 2, variances[:, t], atol=1e-5 * size**2)


def test_mlwin_tutorial_figures_to_their_printed_digits() -> None:
    """4,059 pupils in 65 schools, `normexam` on `standLRT`: MLwiN's estimates and their errors."""
    exam = next(s for s in REFERENCE["sets"] if s["name"] == "Exam")
    fits = [_fit(exam, m) for m in exam["models"] if m["method"] == "ML" and len(m["fixed"]) == 2]
    intercept, slope = sorted(fits, key=lambda fit: len(fit.design.random))
    assert (intercept.n, intercept.n_groups) == (4059, 65)

    def printed(value: float, error: float) -> tuple[float, float]:
        return round(value, 3), round(error, 3)

    se = intercept.variance_se()
    assert round(intercept.deviance, 1) == 9357.2
    assert printed(intercept.random_covariance.iloc[0, 0], se["var(Intercept)"]) == (0.092, 0.018)
    assert printed(intercept.residual_variance, se["residual"]) == (0.566, 0.013)
    assert printed(*intercept.fixed.loc["standLRT", ["estimate", "se"]]) == (0.563, 0.012)
    se = slope.variance_se()
    between = slope.random_covariance
    assert round(slope.deviance, 1) == 9316.9
    assert printed(between.iloc[0, 0], se["var(Intercept)"]) == (0.090, 0.018)
    assert printed(between.iloc[1, 0], se["cov(Intercept, standLRT)"]) == (0.018, 0.007)
    assert printed(between.iloc[1, 1], se["var(standLRT)"]) == (0.015, 0.004)
    assert printed(slope.residual_variance, se["residual"]) == (0.554, 0.012)
