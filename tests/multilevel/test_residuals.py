"""Residuals of groups and their ranks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.fit import fit_mixed


@pytest.mark.parametrize("lower_is_better", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_groups_with_the_same_rows_tie_whatever_their_order(
    seed: int, lower_is_better: bool
) -> None:
    rng = np.random.default_rng(2)
    x, y = np.tile(rng.normal(10, 3, 7), 8), rng.normal([[8], [2], [15], [11]], 4, (4, 7))
    rows = pd.DataFrame({"g": np.repeat([*"abcdefgh"], 7), "x": x, "y": np.vstack([y, y]).ravel()})
    fit = fit_mixed("y ~ center(x) + (1 | g)", rows.sample(frac=1, random_state=seed))
    rank = fit.residuals(lower_is_better=lower_is_better)["rank"]
    assert (rank[[*"abcd"]].to_numpy() == rank[[*"efgh"]].to_numpy()).all()
    assert sorted(rank) == [1.5, 1.5, 3.5, 3.5, 5.5, 5.5, 7.5, 7.5]
