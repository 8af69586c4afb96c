"""Satterthwaite's degrees of freedom against lmerTest on small designs.

`tests/reference/satterthwaite_many.R` made the figures, of the rows of `satterthwaite_many.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import satterthwaite_many as designs

from multilevel import fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "satterthwaite_many.csv", comment="#")


def test_every_design_has_its_figures() -> None:
    assert FIGURES["seed"].unique().tolist() == list(designs.SEEDS)
    assert 10 < FIGURES.loc[FIGURES["singular"], "seed"].nunique() < 40


@pytest.mark.parametrize("seed", designs.SEEDS)
def test_degrees_of_freedom_are_those_of_lmertest(seed: int) -> None:
    formula, method, rows = designs.case(seed)
    figures = FIGURES[FIGURES["seed"] == seed].set_index("term")
    fit = fit_mixed(formula, rows, method=method)
    found = fit.satterthwaite().loc[figures.index]
    assert fit.deviance <= figures["deviance"].iat[0] + 1e-7
    np.testing.assert_allclose(found["estimate"], figures["estimate"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["se"], figures["se"], rtol=1e-4)
    # lmerTest takes derivatives by differences.
    np.testing.assert_allclose(found["df"], figures["df"], rtol=1e-4)
    np.testing.assert_allclose(found["p_value"], figures["p"], rtol=5e-3, atol=1e-9)
