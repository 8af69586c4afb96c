"""Interpreted or compiled, a fit is the same to the last digit; compiling waits until it pays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import multilevel as ml
from multilevel import tiers

HOME = Path(ml.__file__).parent
FIXED = "Intercept", "x", "w"


def rows(seed: int) -> pd.DataFrame:
    """Few groups, skewed predictors at any distance from zero, and now and then no differences."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(3, 12))
    g = np.repeat(np.arange(groups), rng.integers(2, 9, groups))
    x = rng.exponential(size=len(g)) ** rng.choice([1.0, 3.0]) + rng.choice([0.0, 50.0])
    w = rng.integers(0, 3, len(g))
    u = rng.normal(size=(groups, 2)) * rng.choice([0.0, 0.3, 5.0], size=2)
    y = rng.choice([0.0, 1e4]) + 0.5 * x + u[g, 0] + u[g, 1] * x + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": g, "s": g // 2})


def numbers(formula: str, data: pd.DataFrame, method: str) -> list[Any]:
    """All that can be read off a fit, or why there is none."""
    try:
        fit = ml.fit_mixed(formula, data, method)
    except ml.InputError as refusal:
        return [str(refusal)]
    proof, found = fit.certificate, [fit.deviance, fit.residual_variance, fit.converged]
    found += [proof.gradient_norm, proof.curvature, proof.starts, fit.fixed.to_numpy()]
    found += [fit.random_covariance.to_numpy(), fit.residuals().select_dtypes("number").to_numpy()]
    return found


def both_ways(monkeypatch: pytest.MonkeyPatch, work: Any) -> list[Any]:
    """What it gives compiled, and what interpreted."""
    out = []
    for pays in (True, False):
        monkeypatch.setattr(tiers.Tiered, "_compiling_pays", lambda *_, pays=pays: pays)
        out.append(work())
    return out


@pytest.mark.neighbours
@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize(
    "random", ["1", "0 + x", "1 + x", pytest.param("1 + x + w", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("seed", range(10))
def test_every_number_is_the_same_to_the_last_digit(
    seed: int, random: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rows(seed)
    formula = f"y ~ x + w + ({random} | g)"
    compiled, interpreted = both_ways(monkeypatch, lambda: numbers(formula, data, method))
    assert len(compiled) == len(interpreted)
    for one, other in zip(compiled, interpreted, strict=True):
        np.testing.assert_array_equal(one, other)


def nested_numbers(_: Any, data: pd.DataFrame) -> list[float]:
    return [*ml.fit_mixed("y ~ x + (1 | s/g)", data).fixed.to_numpy().ravel()]


def spread_numbers(_: Any, data: pd.DataFrame) -> list[float]:
    fit = ml.fit_mixed("y ~ x + (1 | g)", data, spread="exp(w)")
    return [fit.deviance, fit.spread.ratio]


def profile_numbers(fit: Any, _: pd.DataFrame) -> list[float]:
    return [*fit.profile_interval()]


@pytest.mark.parametrize("work", [nested_numbers, spread_numbers, profile_numbers])
def test_what_stands_on_many_fits_is_the_same(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(1)
    fit = ml.fit_mixed("y ~ x + (1 | g)", data)
    compiled, interpreted = both_ways(monkeypatch, lambda: work(fit, data))
    assert np.isfinite(compiled).all()
    assert compiled == interpreted


FIRST = """
import numba
import numpy as np
import pandas as pd
import multilevel as ml
from multilevel import memory, search, tiers
seen = []
class Watch(numba.core.event.Listener):
    def on_start(self, event):
        seen.append(event.data["dispatcher"].__name__)
    def on_end(self, event):
        pass
numba.core.event.register("numba:compile", Watch())
tiers.GLANCE = -1.0
rng = np.random.default_rng(1)
g = np.repeat(np.arange(20), 6)
data = pd.DataFrame({"y": rng.normal(size=120) + rng.normal(size=20)[g], "g": g})
ml.fit_mixed("y ~ 1 + (1 | g)", data)
print(seen, search._search.spent > 0.0, memory._accumulate.spent > 0.0)
tiers.PATIENCE = 0.0
memory.grouped_sums(g, 20, {"y": data["y"].to_numpy()}, (("y",),))
print(seen)
"""


@pytest.mark.nightly
def test_first_fits_compile_nothing_until_they_take_long(tmp_path: Path) -> None:
    """Another process finds on disk what was compiled, and interprets it no more."""
    said = []
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", FIRST],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        said += ran.stdout.splitlines()
    assert said[0] == "[] True True"
    assert "_accumulate" in said[1]
    assert said[2:] == ["[] True False", "[]"]


SMALL = """
import sys
import time
import pwp_lib as pwp
patients = pwp.load_cohort().patients
pwp.fit_mixed("phq9_post ~ phq9_pre + (1 + phq9_pre | therapist_id)", patients)
print([name for name in ("numba", "llvmlite") if name in sys.modules])
"""


def test_a_small_fit_does_not_load_the_compiler() -> None:
    """To load it would take as long as all else, whether or not the search is on disk."""
    ran = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def _twice(values: Any, out: Any) -> None:
    for i in range(len(values)):
        out[i] = 2.0 * values[i]


def test_a_call_with_much_to_do_is_compiled_at_once() -> None:
    call = tiers.Tiered(_twice, most=10)
    call._is_on_disk = lambda: False
    for size, compiled in (5, 0), (6, 1), (5, 1):
        out = np.zeros(size)
        call(np.arange(float(size)), out)
        assert (*out,) == (*range(0, 2 * size, 2),)
        assert len(call.compiled.signatures) == compiled


CALLED = """
import multilevel.small as s
from multilevel.tiers import lowered
print(lowered(s.gram).__name__)
"""


def test_what_was_compiled_before_a_file_changed_is_not_looked_for(tmp_path: Path) -> None:
    """Numba sees a change in a function's own file alone, and would keep what that calls."""
    home = tmp_path / "multilevel"
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    found = []
    for change in (None, None, "likelihood.py"):
        if change:
            os.utime(home / change, ns=(time.time_ns(), time.time_ns()))
        ran = subprocess.run(
            [sys.executable, "-B", "-c", CALLED],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(ran.stdout)
    assert found[0] == found[1] != found[2]
