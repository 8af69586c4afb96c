from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.posterior import Posterior, sample_posterior

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def drawn() -> Posterior:
    y, x, g = np.loadtxt(REFERENCE / "gibbs_data.csv", delimiter=",", skiprows=1).T
    columns = {"Intercept": np.ones_like(y), "x": x - x.mean()}
    design = DesignMoments.from_arrays(y, columns, ["Intercept"], g, group_name="g")
    return sample_posterior(design, draws=60_000)


def test_effects_and_ranks_are_those_of_jags(drawn: Posterior) -> None:
    jags = pd.read_csv(REFERENCE / "residuals_jags.csv", index_col="g")
    got = drawn.residuals()
    assert got.index.astype(int).tolist() == jags.index.tolist()
    for name in ("residual", "lower", "upper", "rank"):
        # Our own errors are smaller: the chain mixes better than JAGS's.
        off = (got[name].to_numpy(dtype=float) - jags[name]) / jags[f"{name}_error"]
        assert np.abs(off).max() < 5, name


def test_ranks_turn_round_with_what_is_better(drawn: Posterior) -> None:
    low, high = drawn.residuals(), drawn.residuals(lower_is_better=False)
    n = len(low)
    np.testing.assert_allclose(low["rank"] + high["rank"], n + 1)
    np.testing.assert_allclose(low["residual"], drawn.u[0, :, :, 0].mean(axis=0))
    assert (low["rank_lower"] <= low["rank_upper"]).all()
    assert (low[["rank_lower", "rank_upper"]] % 1 == 0).all(axis=None)


def test_a_higher_level_is_a_wider_interval(drawn: Posterior) -> None:
    wide, narrow = drawn.residuals(level=0.99), drawn.residuals(level=0.5)
    assert (wide["lower"] < narrow["lower"]).all()
    assert (wide["upper"] > narrow["upper"]).all()


def test_what_is_not_there_is_refused(drawn: Posterior) -> None:
    with pytest.raises(InputError, match="no random term 'x'; choose from Intercept"):
        drawn.residuals("x")
    with pytest.raises(InputError, match="between 0 and 1"):
        drawn.residuals(level=95)
