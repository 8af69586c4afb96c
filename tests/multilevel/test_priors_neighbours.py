"""The exact grid under priors weak and strong, and which flat priors leave a posterior.

For groups of one size the likelihood of the two variances is that of two sums of squares, so that
the posterior can be summed on a plane.
"""

from __future__ import annotations

import numpy as np
import pytest

from multilevel import DesignMoments, InputError, Prior, sample_posterior
from pwp_lib import grid_posterior

pytestmark = pytest.mark.neighbours

PROBS = np.array([0.025, 0.25, 0.5, 0.75, 0.975])


def balanced(seed: int) -> tuple[DesignMoments, np.ndarray, int]:
    rng = np.random.default_rng([771_700, seed])
    groups, size = int(rng.integers(4, 25)), int(rng.integers(3, 30))
    g = np.repeat(np.arange(groups), size)
    y = (
        5
        + rng.uniform(0, 2) * rng.normal(size=groups)[g]
        + rng.uniform(0.5, 4) * rng.normal(size=len(g))
    )
    design = DesignMoments.from_arrays(y, {"Intercept": np.ones(len(g))}, ["Intercept"], g)
    return design, y.reshape(groups, size), size


def prior_of(seed: int) -> tuple[Prior, tuple[float, float, float], tuple[float, float]]:
    """A prior; of the variance between groups, powers and rates; of the residual one likewise.

    The log density is ``-a log(v) - b / v - c v``.
    """
    rng = np.random.default_rng([771_701, seed])
    shape, rate = 10 ** rng.uniform(-1, 3.5), 0.0
    rate = shape * 10 ** rng.uniform(-1, 1)
    residual = None if seed % 3 == 0 else (float(shape), float(rate))
    if seed % 4 == 0:
        scale = float(10 ** rng.uniform(-1.5, 1))
        one, between = Prior("half-normal", scale, residual=residual), (0.5, 0.0, 0.5 / scale**2)
    elif seed % 4 == 1:
        df, at = float(10 ** rng.uniform(-1, 3)), float(10 ** rng.uniform(-1, 1))
        one = Prior("inverse-wishart", df=df, scale=df * at, residual=residual)
        between = (df / 2 + 1, df * at / 2, 0.0)
    elif seed % 4 == 2:
        one, between = Prior("flat-sd", residual=residual), (0.5, 0.0, 0.0)
    else:
        one, between = Prior("mlwin", residual=residual), (1.001, 0.001, 0.0)
    usual = (1.001, 0.001) if one.kind in ("mlwin", "inverse-wishart") else (0.5, 0.0)
    return one, between, usual if residual is None else (residual[0] + 1, residual[1])


def on_a_plane(
    y: np.ndarray, between: tuple[float, float, float], residual: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both variances and their mass, on a plane in their logs."""
    groups, size = y.shape
    means = y.mean(axis=1)
    inside = ((y - means[:, None]) ** 2).sum()
    across = size * ((means - means.mean()) ** 2).sum()
    low, high = np.full(2, -26.0), np.full(2, 16.0)
    for _ in range(6):
        t, s = np.meshgrid(*np.linspace(low, high, 500).T, indexing="ij")
        tau, sigma = np.exp(t), np.exp(s)
        total = sigma + size * tau
        log = -0.5 * (groups * (size - 1) * s + inside / sigma)
        log -= 0.5 * ((groups - 1) * np.log(total) + across / total)
        log += t + s - between[0] * t - between[1] / tau - between[2] * tau
        log -= residual[0] * s + residual[1] / sigma
        kept = np.argwhere(log > log.max() - 22)
        step = (high - low) / 499
        bounds = low + (kept.min(axis=0) - 1) * step, low + (kept.max(axis=0) + 1) * step
        low, high = np.maximum(bounds[0], -60), bounds[1]
    mass = np.exp(log - log.max())
    return tau, sigma, mass / mass.sum()


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(80))
def test_the_grid_is_the_posterior_on_a_plane(seed: int) -> None:
    design, y, _ = balanced(seed)
    prior, between, residual = prior_of(seed)
    grid = grid_posterior(design, prior)
    tau, sigma, mass = on_a_plane(y, between, residual)
    nodes = {
        "vpc": ((tau / (tau + sigma)).ravel(), mass.ravel()),
        "group variance": (tau[:, 0], mass.sum(axis=1)),
        "residual variance": (sigma[0], mass.sum(axis=0)),
    }
    for name, (values, weights) in nodes.items():
        order = np.argsort(values)
        below = np.cumsum(weights[order]) - 0.5 * weights[order]
        at = np.interp(grid.quantile(name, PROBS), values[order], below)  # type: ignore[arg-type]
        np.testing.assert_allclose(at, PROBS, atol=3e-3, err_msg=f"{name} {prior}")


CASES = [
    (groups, between) for groups in range(3, 15) for between in range(max(1, groups - 4), groups)
]


@pytest.mark.parametrize(("groups", "between"), CASES)
def test_flat_sds_are_refused_where_nothing_bounds_them(groups: int, between: int) -> None:
    """The likelihood falls as the SD to the power of groups less terms: more than one is needed."""
    rng = np.random.default_rng([771_702, groups, between])
    g = np.repeat(np.arange(groups), 6)
    columns = {f"w{k}": rng.normal(size=groups)[g] for k in range(between - 1)}
    columns = {"Intercept": np.ones(len(g)), "x": rng.normal(size=len(g)), **columns}
    design = DesignMoments.from_arrays(rng.normal(size=len(g)), columns, ["Intercept"], g)
    for work in (
        lambda prior: grid_posterior(design, prior).quantile("vpc", PROBS),
        lambda prior: sample_posterior(design, prior=prior, draws=30, burn_in=5).vpc,
    ):
        assert np.isfinite(work("half-normal")).all()
        if groups - between > 1:
            assert np.isfinite(work("flat-sd")).all()
        else:
            with pytest.raises(InputError, match="flat SDs of random terms leave no proper"):
                work("flat-sd")
