"""Formulas put together at random, on rows near and far from zero, against polished lme4.

`tests/reference/attack.R` made the figures, of the rows and formulas of `attack.py`. They do not
depend on how columns are coded: rank, deviance, what the fixed part fits and how surely, the
residual SD and the variance between groups.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attack
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from multilevel import InputError, fit_mixed
from multilevel.fit import MixedFit
from multilevel.nested import NestedFit

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "attack.csv", comment="#")
FRAMES: dict[str, pd.DataFrame] = {name: attack.rows(name) for name in attack.FRAMES}
#: What R makes columns twice of, or two of where truth values are one number here.
REFUSED = "R makes two columns of truth values|before this one predict it exactly"


def between(fit: MixedFit | NestedFit) -> float:
    """Variance of the random part, summed over rows."""
    design = fit.design
    z = list(design.random)
    squares = design.total[np.ix_(z, z)]
    if isinstance(fit, MixedFit):
        return float((fit.random_covariance.to_numpy() * squares).sum())
    estimates = fit.components.set_index(["level", "term", "other"])["estimate"]
    unit, group = fit.levels
    total = float(estimates[unit, "Intercept", ""]) * design.n_total
    names = design.random_names
    for i, one in enumerate(names):
        total += float(estimates[group, one, ""]) * squares[i, i]
        for j in range(i):
            total += 2 * float(estimates[group, names[j], one]) * squares[i, j]
    return total


def test_the_reference_is_of_these_formulas() -> None:
    cases = list(FIGURES[["frame", "method", "formula"]].itertuples(index=False, name=None))
    assert cases == attack.formulas()


@pytest.mark.neighbours
@pytest.mark.parametrize("part", range(13))
def test_formulas_are_fitted_as_by_lme4_or_refused(part: int) -> None:
    refused: list[str] = []
    for figures in FIGURES.iloc[part::13].itertuples():
        about = f"{figures.frame} {figures.method} {figures.formula}"
        try:
            fit = fit_mixed(figures.formula, FRAMES[figures.frame], method=figures.method)
        except InputError as refusal:
            refused.append(str(refusal))
            continue
        assert fit.converged, about
        assert len(fit.fixed) == figures.rank, about
        assert fit.deviance < figures.deviance + 2e-6, about
        if fit.deviance < figures.deviance - 1e-5:  # lme4 stopped short, far from zero
            assert figures.frame == "far", about
            continue
        x, design = list(fit.design.fixed), fit.design
        beta = fit.fixed["estimate"].to_numpy()
        fitted = beta @ design.total[np.ix_(x, x)] @ beta
        assert fitted == pytest.approx(figures.fitted, rel=1e-6), about
        assert fit.residual_variance**0.5 == pytest.approx(figures.sigma, rel=1e-5), about
        assert between(fit) == pytest.approx(figures.between, rel=2e-4, abs=1e-3), about
    assert len(refused) < 12
    assert all(re.search(REFUSED, said) for said in refused)


@pytest.mark.parametrize(("part", "held"), [(0, "polars lazy"), (1, "duckdb")])
def test_every_kind_of_frame_gives_the_same_or_is_refused_in_the_same_words(
    part: int, held: str
) -> None:
    tables = {name: pl.from_pandas(frame, nan_to_null=True) for name, frame in FRAMES.items()}

    def outcome(case: Any, table: Any) -> tuple[str, float, list[float]]:
        try:
            fit = fit_mixed(case.formula, table, method=case.method)
        except InputError as refusal:
            return str(refusal), 0.0, []
        return "", fit.deviance, fit.fixed["estimate"].tolist()

    for case in FIGURES.iloc[part::12].itertuples():
        table = tables[case.frame]
        other = table.lazy() if held == "polars lazy" else duckdb.from_arrow(table.to_arrow())
        said, deviance, fixed = outcome(case, FRAMES[case.frame])
        found = outcome(case, other)
        assert found[0] == said, case.formula
        assert found[1] == pytest.approx(deviance, abs=1e-6), case.formula
        np.testing.assert_allclose(found[2], fixed, rtol=1e-5, atol=1e-6)
