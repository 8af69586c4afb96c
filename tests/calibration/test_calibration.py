"""The calibration search: its compiled fits against the library's, and a short run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multilevel.fit import fit_mixed
from pwp_lib.cohort import load_cohort

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "src" / "pwp_lib" / "packaged"


def calibrate(out: Path, *options: str, jit: bool = False) -> str:
    """Run the command as its user does; without compiling, which would take a minute."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "0" if jit else "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "calibration", "--out", str(out), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=3600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plan_keeps_to_the_paper() -> None:
    from calibration.targets import GAD7, PHQ9, plan_therapists

    for seed in (1, 2, 3):
        plan = plan_therapists(seed)
        assert plan.n.sum() == 1122
        assert round(float(plan.n.std(ddof=1)), 2) == 52.10
        assert np.bincount(plan.cluster, plan.n).tolist() == [278, 296, 548]
        assert all(sorted(r) == list(range(1, 22)) for r in plan.rank.tolist())
        assert round(float(np.corrcoef(plan.rank)[0, 1]), 2) == 0.96
        assert len(set(plan.rank.sum(axis=0).tolist())) == 21
        for m, target in enumerate((PHQ9, GAD7)):
            assert np.bincount(plan.cluster, plan.cases[m]).tolist() == list(target.cases)
        rates = np.sort(100 * plan.cases / plan.n, axis=1)
        assert np.round(rates[:, [0, 10, 20]], 1).tolist() == [[25, 68.1, 93.3], [25, 75, 93.3]]


def test_compiled_fit_is_the_librarys() -> None:
    """The search's own fit, run without compiling, and the library's agree."""
    script = """
import json
import numpy as np
from calibration.before import moments
from calibration.models import fit_intercept, fit_slope, standard_errors
from pwp_lib.cohort import load_cohort
p = load_cohort().patients
codes = np.unique(p["therapist_id"], return_inverse=True)[1]
a = (p["phq9_pre"] - p["phq9_pre"].mean()).to_numpy()
b = (p["gad7_pre"] - p["gad7_pre"].mean()).to_numpy()
y = p["phq9_post"].to_numpy(dtype=float)
xtx = moments(a, b, codes, 21)
x = np.column_stack([np.ones_like(a), a, b, a * b])
xty = np.array([x[codes == j].T @ y[codes == j] for j in range(21)])
g, beta, cross, se = np.array([0.1, 0.003, 0.0005]), np.zeros(4), np.zeros((4, 4)), np.zeros(4)
s2, dev = fit_slope(xtx, xty, float(y @ y), len(y), g, beta, cross, 1e-12)
_, dev1 = fit_intercept(xtx, xty, float(y @ y), len(y), 0.1)
standard_errors(xtx, g, s2, len(y), cross, se)
print(json.dumps([dev1 - dev, s2, *(s2 * g), *se]))
"""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    ratio, s2, *rest = json.loads(done.stdout)
    p, fixed = load_cohort().patients, "phq9_post ~ center(phq9_pre) * center(gad7_pre)"
    two = fit_mixed(f"{fixed} + (1 + center(phq9_pre) | therapist_id)", p)
    one = fit_mixed(f"{fixed} + (1 | therapist_id)", p)
    assert abs(ratio - (one.deviance - two.deviance)) < 1e-6
    assert abs(s2 / two.residual_variance - 1) < 1e-6
    covariance = np.array(two.random_covariance)[[0, 0, 1], [0, 1, 1]]
    assert np.allclose(rest[:3], covariance, rtol=1e-5)
    assert np.allclose([rest[3], rest[5]], two.fixed["se"].iloc[:2], rtol=1e-5)
    theirs = two.variance_se()
    names = ["var(Intercept)", "var(center(phq9_pre))"]
    assert np.allclose([rest[4], rest[6]], [theirs[k] for k in names], rtol=1e-4)


def test_what_is_foretold_comes_and_figures_stay() -> None:
    """Derivatives of both likelihood ratios, and moves that must keep every figure."""
    script = """
import numpy as np
from calibration import after
from calibration.anneal import _derivatives
from calibration.assemble import _identifiers
from calibration.kernel import KEPT, Tolerance, apply, model_loss
from calibration.targets import plan_therapists
from pwp_lib.cohort import load_cohort
p, plan = load_cohort().patients, plan_therapists(1)
p["j"] = p["therapist_id"].map(_identifiers(np.random.default_rng([1, 4])).index)
p = p.sort_values("j", kind="stable")
post = p[["phq9_post", "gad7_post"]].to_numpy().T
after.shape_table = lambda target, pre: np.full(2 * (target.maximum + 1,), 1 / 28)
after._first_scores = lambda *_: post.copy()
search = after.AfterSearch(plan, p[["phq9_pre", "gad7_pre"]].to_numpy(), p["j"].to_numpy(), 1)
for m in range(2):
    given, state, g, g1 = search.given, search.state, search.g[m], search.g1[m]
    assert search.rest(m, 0, 0) <= KEPT
    lean, bend, figure = np.zeros((1122, 2)), np.zeros(2), search.figure[m].copy()
    _derivatives(given, state, m, g, g1, lean, bend)
    tolerance = Tolerance(given.half[m], 1.0, 1.0, 1.0, 1.0)
    differences = []
    for i in (3, 400, 700):
        old = state.post[m, i]
        apply(given, state, m, i, old + 1)
        trial = figure.copy()
        model_loss(given, state, tolerance, m, trial, g.copy(), g1.copy(), 1e-10)
        apply(given, state, m, i, old)
        foretold = lean[i] + bend * (2 * old + 1)
        assert np.allclose(trial[:2] - figure[:2], foretold, atol=0.004), m
        differences.append(trial[:2] - figure[:2])
    assert np.abs(differences).max() > 0.1
    sums = state.xty[m, :, 0].copy()
    assert search.rest(m, 400, 0) <= KEPT
    assert search.taken[m] > 0
    assert (state.xty[m, :, 0] == sums).all()
    assert (np.abs(search.figure[m] - given.target[m]) <= given.half[m]).all()
    assert (state.counts[m] == given.wants[m]).all()
"""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_smoothest_shape_has_what_it_must() -> None:
    from calibration.shapes import joint_table, smoothest

    values = np.arange(-14, 22)
    p = smoothest(values, 3.05, 5.82, ((4, 0.418), (-4, 0.042)), mode=0, taper=True)
    mean = p @ values
    assert (np.diff(1122 * p[values >= 0]) < 1.5).all()
    assert (np.diff(1122 * p[values <= 0]) > -1.5).all()
    assert p.sum() == pytest.approx(1)
    assert mean == pytest.approx(3.05, abs=1e-5)
    assert np.sqrt(p @ (values - mean) ** 2) == pytest.approx(5.82, abs=1e-5)
    assert p[values >= 4].sum() == pytest.approx(0.418, abs=1e-5)
    assert p[values <= -4].sum() == pytest.approx(0.042, abs=1e-5)
    pre, post = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    change = np.array([0.05, 0.15, 0.35, 0.25, 0.2])
    joint = pre[:, None] * joint_table(pre, post, change)
    assert joint.sum(axis=1) == pytest.approx(pre)


@pytest.mark.nightly
def test_tiny_run_writes_a_cohort(tmp_path: Path) -> None:
    said = calibrate(tmp_path, "--tiny")
    assert "loss of PHQ-9, GAD-7" in said
    cohort = load_cohort(tmp_path)
    assert cohort.provenance.synthetic
    assert len(cohort.patients) == 1122
    assert (cohort.patients["phq9_pre"] >= 10).sum() == 775
    assert (cohort.patients["gad7_pre"] >= 8).sum() == 860
    assert cohort.segments is not None
    assert cohort.therapists is not None


@pytest.mark.nightly
def test_short_run_is_the_same_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        calibrate(tmp_path / name, "--short", jit=True)
    made = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(made) > 15
    for file in made:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.nightly
def test_full_run_makes_the_packaged_cohort_again(tmp_path: Path) -> None:
    calibrate(tmp_path, jit=True)
    made = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert len(made) > 15
    for name in made:
        assert (tmp_path / name).read_bytes() == (PACKAGED / name).read_bytes(), name
