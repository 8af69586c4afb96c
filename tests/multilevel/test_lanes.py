"""Eight numbers at once mean what each would mean alone, however many groups are left over."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import multilevel
from multilevel.design import DesignMoments
from multilevel.fit import fit_design
from multilevel.lanes import WIDTH, product, side_by_side, total
from multilevel.tiers import compiled


@compiled(0)  # type: ignore[untyped-decorator]
def _arithmetic(a: Any, b: Any, out: Any, plain: float) -> Any:
    """Every operation that lanes offer, with lanes and with plain numbers."""
    x, y, z = side_by_side(a), side_by_side(b), side_by_side(out)
    for i in range(len(x)):
        value = x[i] * y[i] + plain
        value += x[i] / y[i]
        value -= plain * y[i] - 1.0
        z[i] = math.sqrt(max(value, 0.5))
    return total(z[0]), product(z[0])


def test_lanes_calculate_as_numpy_does_to_the_last_digit() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 40, WIDTH))
    a[3, 2] = np.nan
    out = np.empty_like(a)
    found = _arithmetic(a, b, out, 0.7)
    value = a * b + 0.7 + a / b - (0.7 * b - 1.0)
    # What is no number stays none: the larger of it and a number is not the number.
    np.testing.assert_array_equal(out, np.sqrt(np.where(value < 0.5, 0.5, value)))
    assert found[0] == pytest.approx(math.fsum(out[0]), rel=1e-15)
    assert found[1] == pytest.approx(math.prod(out[0].tolist()), rel=1e-15)


@pytest.mark.neighbours
@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("random", [["Intercept"], ["Intercept", "x"]])
@pytest.mark.parametrize("groups", range(3, 26))
def test_the_deviance_is_that_of_the_rows_for_any_number_of_groups(
    groups: int, random: list[str], method: str
) -> None:
    """Blocks of eight groups are rarely full; the density of all rows together knows no blocks."""
    rng = np.random.default_rng(groups)
    g = np.repeat(np.arange(groups), rng.integers(4, 9, groups))
    x = rng.normal(size=len(g))
    y = 1.0 + rng.normal(size=groups)[g] + x * rng.normal(size=groups)[g] + rng.normal(size=len(g))
    columns = {"Intercept": np.ones(len(g)), "x": x}
    fit = fit_design(DesignMoments.from_arrays(y, columns, random, g), method)
    fixed, z = np.column_stack([*columns.values()]), np.column_stack([columns[n] for n in random])
    covariance = z @ fit.random_covariance.to_numpy() @ z.T * (g[:, None] == g)
    covariance += fit.residual_variance * np.eye(len(g))
    error, weighted = y - fixed @ fit.coefficients, np.linalg.solve(covariance, fixed)
    deviance = np.linalg.slogdet(covariance)[1] + error @ np.linalg.solve(covariance, error)
    free = len(g)
    if method == "REML":
        deviance += np.linalg.slogdet(fixed.T @ weighted)[1]
        free -= fixed.shape[1]
    assert fit.deviance == pytest.approx(deviance + free * math.log(2.0 * math.pi), abs=1e-7)


TINY = """
rng = np.random.default_rng(1)
g, x = np.repeat(np.arange(6), 5), rng.normal(size=30)
y = x + rng.normal(size=6)[g] + rng.normal(size=30)
d = pd.DataFrame({"y": y, "x": x, "g": g, "s": g // 2, "b": (y > 0) * 1})
for formula, method in ("y ~ x + (1 | g)", "ML"), ("y ~ x + (1 + x | g)", "REML"):
    fit = ml.fit_mixed(formula, d, method)
    found += [fit.deviance, fit.converged, fit.residual_variance, *fit.fixed["se"]]
    found += [*fit.residuals()["se"], *fit.certificate.curvature]
found += [fit.profile_interval().lower]
found += [ml.fit_mixed("y ~ x + (1 | s/g)", d).deviance]
found += [ml.fit_mixed("y ~ x + (1 | g)", d, spread="exp(x)").spread.ratio]
found += [ml.fit_binary("b ~ x + (1 | g)", d).deviance]
found += [ml.sample_posterior("y ~ x + (1 + x | g)", d, draws=50, burn_in=10).vpc.mean()]
"""


@pytest.mark.nightly
def test_without_compilation_the_results_are_the_same() -> None:
    """Debuggers and tools that measure coverage need functions of Python's own."""
    compiled: list[float] = []
    exec(TINY, {"np": np, "pd": pd, "ml": multilevel, "found": compiled})
    lines = "import numpy as np, pandas as pd, multilevel as ml, json", "found = []", TINY
    plain = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, "print(json.dumps([float(f) for f in found]))"])],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(compiled) == 30
    assert json.loads(plain.stdout) == pytest.approx([*map(float, compiled)], rel=1e-6, abs=1e-9)
