"""A residual SD that depends on a predictor: the fit against the density of the rows themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from multilevel import MixedFit, fit_mixed

pytestmark = pytest.mark.neighbours

Array = NDArray[np.float64]
REFERENCE = Path(__file__).parents[1] / "reference"


def case(seed: int) -> tuple[str, str, str, pd.DataFrame]:
    """Formula, spread, method and rows."""
    rng = np.random.default_rng([771_800, seed])
    groups = int(rng.integers(5, 13))
    g = np.repeat(np.arange(groups), rng.integers(6, 20, size=groups))
    v = np.round(rng.uniform(1, 12, len(g)), 2)
    delta = rng.uniform(-0.3, 0.9) * (1.0 if seed % 2 else 0.15)
    sd = 1.5 * (v**delta if seed % 2 else np.exp(delta * v))
    u = rng.normal(size=(groups, 2)) * (1.2, 0.2)
    y = 2 + 0.5 * v + u[g, 0] + u[g, 1] * (v - 6) + sd * rng.normal(size=len(g))
    bar = ("(1 | g)", "(1 + v | g)")[seed // 2 % 2]
    spread = ("exp(v)", "power(v)")[seed % 2]
    method = ("ML", "REML")[seed // 4 % 2]
    return f"y ~ v + {bar}", spread, method, pd.DataFrame({"g": g, "v": v, "y": np.round(y, 3)})


def deviance(
    rows: pd.DataFrame, spread: str, method: str, delta: float, covariance: Array, sigma2: float
) -> float:
    """Minus twice the log-likelihood of the rows, the fixed part at its best; REML's criterion."""
    v, y = rows["v"].to_numpy(), rows["y"].to_numpy()
    x = np.column_stack([np.ones(len(v)), v])
    z = x[:, : len(covariance)]
    scale = v**delta if spread == "power(v)" else np.exp(delta * v)
    same = rows["g"].to_numpy()[:, None] == rows["g"].to_numpy()
    whole = (z @ covariance @ z.T) * same + np.diag(sigma2 * scale**2)
    inverse = np.linalg.inv(whole)
    information = x.T @ inverse @ x
    left = y - x @ np.linalg.solve(information, x.T @ inverse @ y)
    reml = method == "REML"
    out = left @ inverse @ left + np.linalg.slogdet(whole)[1]
    out += (len(y) - 2 * reml) * np.log(2 * np.pi) + reml * np.linalg.slogdet(information)[1]
    return float(out)


@pytest.mark.parametrize("seed", range(88))
def test_no_nearby_variances_or_delta_fit_the_rows_better(seed: int) -> None:
    formula, spread, method, rows = case(seed)
    fit = fit_mixed(formula, rows, method=method, spread=spread)
    assert isinstance(fit, MixedFit)
    assert fit.spread is not None
    about = fit.random_covariance.to_numpy(), fit.residual_variance
    found = deviance(rows, spread, method, fit.spread.delta, *about)
    assert fit.deviance == pytest.approx(found, abs=1e-6)
    plain = fit_mixed(formula, rows, method=method)
    assert fit.spread.ratio == pytest.approx(plain.deviance - fit.deviance, abs=1e-6)
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(about[0] + 1e-12 * np.eye(len(about[0])))
    for size in np.repeat([0.3, 0.03, 0.003], 12):
        delta = fit.spread.delta + size * rng.normal() * 0.3
        moved = root + size * np.tril(rng.normal(size=root.shape)) * (0.3 + np.abs(root))
        sigma2 = about[1] * np.exp(size * rng.normal())
        near = deviance(rows, spread, method, delta, moved @ moved.T, sigma2)
        assert near > fit.deviance - 1e-6
    low = deviance(rows, spread, method, fit.spread.delta - 1e-3, *about)
    high = deviance(rows, spread, method, fit.spread.delta + 1e-3, *about)
    # Flat in delta where all else is at its best: a Newton step would be none.
    curvature = (low + high - 2 * found) / 1e-6
    assert abs(high - low) / 2e-3 < 1e-3 * curvature + 1e-4


FAR = pd.read_csv(REFERENCE / "spread_far.csv")
FAR_ROWS = pd.read_csv(REFERENCE / "spread_far_data.csv")
FURTHER = [1e4, 1e6, *np.geomspace(1e-3, 500.0, 40)]
#: At one twelfth a step of the search saw what was rounding and nothing else.
UNITS = [1e-4, 1 / 12, 1.0, 365.25, *(pytest.param(u, marks=pytest.mark.nightly) for u in FURTHER)]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "row", list(FAR.itertuples()), ids=lambda r: f"{r.data}-{r.method}-{r.slope}"
)
def test_a_predictor_far_from_zero_has_nlmes_delta_in_any_unit(row: Any, unit: float) -> None:
    """On its way the search sees rows so unequal that no model can be told from them."""
    frame = FAR_ROWS[FAR_ROWS["data"] == row.data].assign(x=lambda d: unit * d["x"])
    bar = "(1 + x | g)" if row.slope else "(1 | g)"
    fit = fit_mixed(f"y ~ x + {bar}", frame, row.method, spread="exp(x)")
    spread = fit.spread
    assert spread is not None
    # The REML criterion knows the units of the fixed part.
    deviance = row.deviance + (2 * np.log(unit) if row.method == "REML" else 0.0)
    # nlme's optimisers stop somewhat above the minimum.
    assert deviance - 2e-3 < fit.deviance < deviance + 1e-5
    assert unit * spread.delta == pytest.approx(row.delta, rel=2e-3)
    assert fit.residual_variance == pytest.approx(row.residual, rel=1e-2)


@pytest.mark.parametrize("step", [1e4, -1e4, 3e6, 1e8])
@pytest.mark.parametrize("seed", range(8))
def test_a_response_far_from_zero_has_the_fit_of_one_near_it(seed: int, step: float) -> None:
    formula, spread, method, rows = case(seed)
    far = rows.assign(y=rows["y"] + step)
    near = fit_mixed(formula, far.assign(y=far["y"] - step), method=method, spread=spread)
    fit = fit_mixed(formula, far, method=method, spread=spread)
    assert fit.spread is not None
    assert near.spread is not None
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-8)
    assert fit.spread.delta == pytest.approx(near.spread.delta, abs=1e-6)
    assert fit.spread.ratio == pytest.approx(near.spread.ratio, abs=1e-8)
    np.testing.assert_allclose(fit.fixed["se"], near.fixed["se"], rtol=1e-6)
    np.testing.assert_allclose(fit.residuals(), near.residuals(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["exp", "power"])
def test_the_units_of_a_spread_change_nothing(kind: str, seed: int, unit: float) -> None:
    """Steps of delta become as small as the predictor is large."""
    rng = np.random.default_rng(100 + seed)
    g, x = np.repeat(np.arange(9), 11), rng.uniform(1, 5, 99)
    y = 1 + x / 2 + rng.normal(size=9)[g] + rng.normal(size=99) * x ** rng.uniform(-1, 1.5)
    rows, method = pd.DataFrame({"g": g, "x": x, "y": y}), ("ML", "REML")[seed % 2]
    formula = "y ~ 1 + (1 | g)" if seed % 3 else "y ~ scale(x) + (1 + scale(x) | g)"
    near = fit_mixed(formula, rows, method, spread=f"{kind}(x)")
    fit = fit_mixed(formula, rows.assign(x=unit * x), method, spread=f"{kind}(x)")
    assert fit.spread is not None
    assert near.spread is not None
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-7)
    size = unit if kind == "exp" else 1.0
    assert size * fit.spread.delta == pytest.approx(near.spread.delta, rel=1e-5, abs=1e-6)
    assert size * fit.spread.se == pytest.approx(near.spread.se, rel=1e-3)
