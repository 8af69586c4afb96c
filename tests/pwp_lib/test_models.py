"""The paper's three models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.fit import fit_mixed
from pwp_lib.models import fit_models, model_formula


def patients_of(seed: int = 1, therapists: int = 12, each: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(therapists), each)
    pre = rng.integers(3, 25, size=(len(group), 2))
    effect = rng.normal(scale=2, size=therapists)[group]
    post = 4 + effect + 0.5 * pre[:, 0] + 0.1 * pre[:, 1] + rng.normal(scale=4, size=len(group))
    return pd.DataFrame(
        {
            "therapist_id": [f"T{i:02d}" for i in group],
            "phq9_pre": pre[:, 0],
            "phq9_post": np.clip(post.round(), 0, 27).astype(int),
            "gad7_pre": np.clip(pre[:, 1], 0, 21),
        }
    )


def test_formula_of_three_measures_has_each_product_with_the_own_score() -> None:
    formula = model_formula("phq9", ["gad7", "phq9", "wsas"], "single", extra=["C(service_id)"])
    assert formula == (
        "phq9_post ~ center(phq9_pre) * center(gad7_pre) + center(phq9_pre) * center(wsas_pre)"
        " + C(service_id)"
    )


def test_single_level_model_is_least_squares() -> None:
    patients = patients_of()
    fit = fit_mixed(model_formula("phq9", ["phq9", "gad7"], "single"), patients)
    a = patients["phq9_pre"] - patients["phq9_pre"].mean()
    b = patients["gad7_pre"] - patients["gad7_pre"].mean()
    x = np.column_stack([np.ones(len(a)), a, b, a * b])
    y = patients["phq9_post"].to_numpy(dtype=float)
    beta, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert fit.fixed["estimate"].to_numpy() == pytest.approx(beta, rel=1e-8)
    n = len(y)
    assert fit.deviance == pytest.approx(n * (np.log(2 * np.pi * rss[0] / n) + 1), rel=1e-10)


def test_tests_are_the_falls_in_deviance() -> None:
    models = fit_models(patients_of(), "phq9", ["phq9", "gad7"])
    assert models.test_intercept.df == 1
    assert models.test_slope.df == 2
    table = models.table()
    assert table["chi2"].iloc[1] == pytest.approx(-table["deviance"].diff().iloc[1])
    assert table["chi2"].iloc[2] == pytest.approx(-table["deviance"].diff().iloc[2])
    assert models.test_intercept.p_value < 0.01
    assert models.slope.design.random_names == ("Intercept", "center(phq9_pre)")
