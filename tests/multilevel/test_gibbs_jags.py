"""Gibbs sampling against JAGS: figures from tests/reference/gibbs_jags.R."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats

from multilevel.design import DesignMoments
from multilevel.posterior import sample_posterior
from multilevel.priors import Prior

REFERENCE = Path(__file__).parents[1] / "reference"
PROBS = (0.025, 0.5, 0.975)
CASES: dict[str, Prior] = {
    "intercept_mlwin": Prior("mlwin"),
    "intercept_flat_sd": Prior("flat-sd"),
    "slope_mlwin": Prior("inverse-wishart", df=2, scale=[[5.0, 0.2], [0.2, 0.03]]),
    "slope_half_normal": Prior("half-normal", scale=[3.0, 0.3]),
}


#: With three random terms; correlations are uniform over their matrices.
THREE: dict[str, Prior] = {
    "wishart": Prior(
        "inverse-wishart", df=4, scale=[[6, 0.3, -0.1], [0.3, 0.09, 0.006], [-0.1, 0.006, 0.03]]
    ),
    "half_normal": Prior("half-normal", scale=[3.0, 0.3, 0.15]),
}


@pytest.fixture(scope="module")
def jags() -> dict[str, Any]:
    return {
        **json.loads((REFERENCE / "gibbs_jags.json").read_text()),
        **json.loads((REFERENCE / "gibbs_three.json").read_text()),
    }


def _apart(ours: dict[str, np.ndarray], theirs: dict[str, Any]) -> list[Any]:
    """Quantiles that are four or more Monte Carlo errors from the other sampler's."""
    found = []
    for name, figures in theirs.items():
        for prob, value, error in zip(PROBS, figures["value"], figures["error"], strict=True):
            got = float(np.quantile(ours[name], prob))
            own = array_stats.mcse(ours[name], method="quantile", prob=prob)
            if not abs(got - value) < 4 * np.hypot(error, own):
                found.append((name, prob, got, value))
    return found


@pytest.mark.parametrize("case", CASES)
def test_quantiles_are_those_of_jags(case: str, jags: dict[str, Any]) -> None:
    y, x, g = np.loadtxt(REFERENCE / "gibbs_data.csv", delimiter=",", skiprows=1).T
    columns = {"Intercept": np.ones_like(y), "x": x - x.mean()}
    random = ["Intercept"] if case.startswith("intercept") else ["Intercept", "x"]
    design = DesignMoments.from_arrays(y, columns, random, g)
    drawn = sample_posterior(design, draws=60_000, prior=CASES[case])
    cov = drawn.random_covariance
    ours = {
        "b[1]": drawn.beta[..., 0],
        "b[2]": drawn.beta[..., 1],
        "s2": drawn.residual_variance,
        "vpc": drawn.vpc,
        "v": cov[..., 0, 0],
        "v[1,1]": cov[..., 0, 0],
        "v[1,2]": cov[..., 0, -1],
        "v[2,2]": cov[..., -1, -1],
    }
    assert jags[case]
    assert _apart(ours, jags[case]) == []


@pytest.mark.parametrize("case", THREE)
def test_quantiles_with_three_random_terms_are_those_of_jags(
    case: str, jags: dict[str, Any]
) -> None:
    y, x, z, g = np.loadtxt(REFERENCE / "gibbs_three.csv", delimiter=",", skiprows=1).T
    columns = {"Intercept": np.ones_like(y), "x": x - x.mean(), "z": z - z.mean()}
    design = DesignMoments.from_arrays(y, columns, [*columns], g)
    drawn = sample_posterior(design, draws=60_000, prior=THREE[case])
    ours = {f"b[{k + 1}]": drawn.beta[..., k] for k in range(3)}
    ours |= {"s2": drawn.residual_variance, "vpc": drawn.vpc}
    for i, k in zip(*np.triu_indices(3), strict=True):
        ours[f"v[{i + 1},{k + 1}]"] = drawn.random_covariance[..., i, k]
    assert jags[case]
    assert _apart(ours, jags[case]) == []
