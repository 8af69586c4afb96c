"""Logistic models of groups that lie apart on a predictor, against glmer's best of twelve starts.

`tests/reference/binary_apart.R` made the figures, of the rows of `binary_apart.py`. Where the
lowest deviance lies at a standard deviation between groups that no data tell, the fit is refused.
"""

from __future__ import annotations

from pathlib import Path

import binary_apart as sets
import pandas as pd
import pytest

from multilevel import InputError, fit_binary

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "binary_apart.csv", comment="#").set_index("seed")


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", sets.SEEDS)
def test_no_lower_optimum_is_missed(seed: int) -> None:
    _, rows = sets.case(seed)
    figures = FIGURES.loc[seed]
    if figures["sd"] > 10:
        with pytest.raises(InputError, match=r"column g: .* the variance has no estimate"):
            fit_binary("y ~ x + (1 | g)", rows)
        return
    fit = fit_binary("y ~ x + (1 | g)", rows)
    assert fit.converged
    assert fit.deviance == pytest.approx(figures["deviance"], abs=1e-4)
