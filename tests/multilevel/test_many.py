"""Stacks of fits, replicated moments, and the intervals that stand on them."""

from __future__ import annotations

import csv
import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import moment_cases
import numpy as np
import pytest
from scipy import stats

from benchmarks.replicate import replicate_moments
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import fit_design
from multilevel.many import ManyFits, fit_many, shares_without

REFERENCE = Path(__file__).parents[1] / "reference"
_spec = importlib.util.spec_from_file_location("mixed_cohorts", REFERENCE / "mixed_cohorts.py")
assert _spec is not None
assert _spec.loader is not None
mixed_cohorts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mixed_cohorts)


def cohort_design(seed: int) -> DesignMoments:
    columns = mixed_cohorts.cohort(seed)
    x, w = columns["x"] - 13, columns["w"] - 11
    fixed = {"Intercept": np.ones(len(x)), "x": x, "w": w}
    return DesignMoments.from_arrays(
        columns["y"], fixed, mixed_cohorts.random_terms(seed), columns["g"]
    )


def fitted(designs: list[DesignMoments], method: str = "ML") -> ManyFits:
    """Fit a stack of designs, those with fewer groups filled up with groups without rows."""
    most = max(len(d.groups) for d in designs)
    cross = [np.pad(d.cross, ((0, most - len(d.n)), (0, 0), (0, 0))) for d in designs]
    n = [np.pad(d.n, (0, most - len(d.n))) for d in designs]
    return fit_many(designs[0], np.array(cross), np.array(n), method=method)


def lme4_rows() -> list[dict[str, str]]:
    with (REFERENCE / "mixed_cohorts.csv").open(encoding="utf-8") as file:
        assert next(file).startswith("# mixed_cohorts.R: R version")
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_two_hundred_cohorts_reach_the_polished_optimum(method: str) -> None:
    rows = [r for r in lme4_rows() if r["method"] == method]
    assert len(rows) == 200
    singular = np.array([r["singular"] == "TRUE" for r in rows])
    if method == "ML":
        assert singular.mean() >= 1 / 3
    designs = [cohort_design(int(r["seed"])) for r in rows]
    for design, row in zip(designs, rows, strict=True):
        assert design.total[0, design.response] == float(row["check"])
    theirs = np.array([float(r["deviance"]) for r in rows])
    ours = np.empty(200)
    for terms in (2, 3):
        which = [i for i, d in enumerate(designs) if len(d.random) == terms]
        fits = fitted([designs[i] for i in which], method)
        assert fits.converged.all()
        np.testing.assert_array_equal(fits.singular, singular[which])
        ours[which] = fits.deviance
        intercept = [float(rows[i]["intercept_variance"]) for i in which]
        np.testing.assert_allclose(fits.random_covariance[:, 0, 0], intercept, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours, theirs, atol=1e-7, rtol=0)
    for peer in ("deviance", "default", "nlme"):
        reached = np.array([float(r[peer]) if r[peer] != "NA" else np.inf for r in rows])
        assert (ours <= reached + 1e-8).all(), peer


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_stacked_fits_equal_single_fits(method: str) -> None:
    designs = [cohort_design(seed) for seed in range(120, 140)]
    fits = fitted(designs, method)
    assert len(fits.vpc) == 20
    for i, design in enumerate(designs):
        one = fit_design(design, method)
        assert fits.deviance[i] == pytest.approx(one.deviance, abs=1e-9)
        assert fits.singular[i] == one.singular
        np.testing.assert_allclose(fits.beta[i], one.coefficients, rtol=1e-7)
        np.testing.assert_allclose(
            fits.beta_covariance[i], one.residual_variance * one.ingredients.inverse, rtol=1e-5
        )
        np.testing.assert_allclose(
            fits.random_covariance[i], one.random_covariance, rtol=1e-5, atol=1e-8
        )
        assert fits.residual_variance[i] == pytest.approx(one.residual_variance, rel=1e-7)
        assert fits.vpc[i] == pytest.approx(one.vpc(), rel=1e-6)


def test_a_design_that_cannot_be_fitted_is_marked_not_raised() -> None:
    good = cohort_design(120)
    flat = replace(good, cross=good.cross.copy())
    flat.cross[:, 1, :] = flat.cross[:, 0, :]
    flat.cross[:, :, 1] = flat.cross[:, :, 0]
    fits = fitted([good, flat, good])
    assert list(fits.converged) == [True, False, True]
    assert np.isnan(fits.vpc[1])
    assert fits.deviance[0] == fits.deviance[2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_stack_fits_no_design_that_a_fit_refuses(method: str) -> None:
    """One group, one row a group, groups all of one value, fixed terms that stand for groups."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(6), 10)
    x, y = rng.normal(size=60), rng.normal(size=6)[group] + rng.normal(size=60)
    apart = (group[:, None] == np.arange(1, 6)).astype(float).T
    one = np.ones(60)

    def design(y: np.ndarray, g: np.ndarray, *further: np.ndarray) -> DesignMoments:
        fixed = {"Intercept": one} | {f"x{i}": column for i, column in enumerate(further)}
        return DesignMoments.from_arrays(y, fixed, ["Intercept"], g)

    bad = [
        design(y, 0 * group, x),
        design(y, np.arange(60), x),
        design(y[group], group, x),
        design(y, group, *apart),
    ]
    good = design(y, group, x)
    for one_design in bad:
        with pytest.raises(InputError):
            fit_design(one_design, method)
        found = fit_many(one_design, one_design.cross[None], one_design.n[None], method=method)
        assert not found.converged[0]
        assert np.isnan([found.deviance[0], found.vpc[0], found.residual_variance[0]]).all()
    assert fit_many(good, good.cross[None], good.n[None], method=method).converged[0]


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("far", [1e3, 5e4, 3e5, 1e6, 1e7])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_column_too_far_from_zero_is_right_or_refused(
    which: str, far: float, method: str
) -> None:
    """A million SDs away the raw products had the deviance wrong by .003, and were certified."""
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(12), 20), rng.normal(size=240)
    y = rng.normal(size=12)[g] + 0.3 * x + rng.normal(size=240)

    def design(far: float) -> DesignMoments:
        x_far, y_far = (x + far, y) if which == "x" else (x, y + far)
        fixed = {"Intercept": np.ones(240), "x": x_far}
        return DesignMoments.from_arrays(y_far, fixed, ["Intercept"], g)

    raw = design(far)
    found, near = fit_many(raw, raw.cross[None], method=method), fit_design(design(0.0), method)
    if far < 1e4:
        assert found.converged[0]
        assert found.deviance[0] == pytest.approx(near.deviance, abs=1e-7)
        assert found.vpc[0] == pytest.approx(near.vpc(), abs=1e-7)
    else:
        with pytest.raises(InputError):
            fit_design(replace(raw, centred=None, centres=()), method)
        assert not found.converged[0]
        assert np.isnan([found.deviance[0], found.vpc[0], found.residual_variance[0]]).all()
    # Blocks of groups are left out of products about the centres, which have all digits.
    without = shares_without([raw], [np.array([3]), np.array([], dtype=int)])
    kept = g != 3
    one = DesignMoments.from_arrays(
        y[kept], {"Intercept": np.ones(220), "x": x[kept]}, ["Intercept"], g[kept]
    )
    expected = [[fit_design(one).vpc()], [fit_design(design(0.0)).vpc()]]
    np.testing.assert_allclose(without, expected, rtol=1e-7)


def test_stack_refusals() -> None:
    with pytest.raises(InputError, match="shape"):
        fit_many(cohort_design(120), np.zeros((3, 4)))
    with pytest.raises(InputError, match="neither"):
        fit_many(cohort_design(120), cohort_design(120).cross[None], method="EB")


def test_replicated_moments_are_distributed_as_simulated_patients() -> None:
    """Each moment of 4,000 replicates against 4,000 simulated cohorts of patients."""
    rng = np.random.default_rng(5)
    sizes = np.array([1, 2, 3, 9])
    g = np.repeat(np.arange(4), sizes)
    columns = {"Intercept": np.ones(15), "x": np.rint(rng.normal(3, 2, 15))}
    design = DesignMoments.from_arrays(np.zeros(15), columns, ["Intercept", "x"], g)
    beta, covariance = np.array([1.0, 0.5]), np.array([[1.0, 0.4], [0.4, 0.5]])
    drawn = replicate_moments(design, beta, covariance, 2.0, 4000, rng)
    u = rng.multivariate_normal(np.zeros(2), covariance, size=(4000, 4))
    z = np.column_stack(list(columns.values()))
    y = z @ beta + (u[:, g] * z).sum(axis=-1) + rng.normal(0, np.sqrt(2.0), (4000, 15))
    for j in range(4):
        own = g == j
        direct = [
            y[:, own].sum(axis=1),
            y[:, own] @ columns["x"][own],
            (y[:, own] ** 2).sum(axis=1),
        ]
        for k, values in enumerate(direct):
            assert stats.ks_2samp(drawn[:, j, k, 2], values).pvalue > 1e-4
        if sizes[j] > 1:
            # And jointly, through the sum of squares about the therapist's mean.
            within = drawn[:, j, 2, 2] - drawn[:, j, 0, 2] ** 2 / sizes[j]
            assert stats.ks_2samp(within, direct[2] - direct[0] ** 2 / sizes[j]).pvalue > 1e-4
    np.testing.assert_array_equal(drawn[0, :, :2, :2], design.cross[:, :2, :2])


def test_replicates_recover_the_truth() -> None:
    design = cohort_design(0)
    covariance = np.array([[2.8, 0.1], [0.1, 0.013]])
    cross = replicate_moments(
        design, [8.7, 0.55, 0.1], covariance, 29.0, 400, np.random.default_rng(2)
    )
    fits = fit_many(design, cross, method="REML")
    assert fits.converged.all()
    error = fits.residual_variance.std() / 20
    assert abs(fits.residual_variance.mean() - 29.0) < 4 * error
    np.testing.assert_allclose(fits.beta.mean(axis=0), [8.7, 0.55, 0.1], atol=0.1)
    between = fits.random_covariance[:, 0, 0]
    # REML on the closed cone is biased upwards a little where slopes pile up at nil.
    assert abs(between.mean() - 2.8) < 0.3


@pytest.mark.parametrize("terms", [1, 2])
def test_profile_bounds_are_where_the_deviance_has_risen_enough(terms: int) -> None:
    from scipy.optimize import minimize

    design = replace(cohort_design(3), random=(0, 1)[:terms])
    fit = fit_design(design)
    interval = fit.profile_interval(0.9)
    assert interval.lower < interval.estimate < interval.upper
    assert interval.estimate == pytest.approx(fit.vpc())
    # Independently: the deviance at a held relative variance, minimised by a simplex.
    scale = np.linalg.inv(fit.stack.z_root[0])
    row = np.array([1.0, float(design.total[0, 1] / design.n_total)])[:terms]

    def held(share: float) -> float:
        relative = share / (1 - share)

        def deviance(rest: np.ndarray) -> float:
            full = np.array([[relative]])
            if terms == 2:
                # Variance at the mean held; covariance with and variance of the slope free.
                slope, noise = rest
                full = np.array(
                    [
                        [relative, relative * slope],
                        [relative * slope, relative * slope**2 + noise**2],
                    ]
                )
            back = np.eye(terms)
            if terms == 2:
                back[0, 1] = -row[1]
            raw = back @ full @ back.T
            root = np.linalg.inv(scale)
            return moment_cases.deviance_at(fit, root.T @ raw @ root)

        if terms == 1:
            return deviance(np.zeros(0))
        found = minimize(
            deviance,
            [0.0, 0.1],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000},
        )
        return float(found.fun)

    ceiling = fit.deviance + stats.chi2.ppf(0.9, 1)
    for bound in (interval.lower, interval.upper):
        assert held(bound) == pytest.approx(ceiling, abs=1e-5)
    assert interval.estimate == pytest.approx(fit.vpc(), abs=1e-12)
    assert interval.table().shape == (1, 4)


def test_interval_refusals() -> None:
    fit = fit_design(replace(cohort_design(120), random=()))
    with pytest.raises(InputError, match="no random term"):
        fit.profile_interval()
    nested = fit_design(cohort_design(120))
    with pytest.raises(InputError, match="between 0 and 1"):
        nested.profile_interval(95)


def test_a_thousand_cohorts_take_seconds() -> None:
    """Both models with simulation took 0.6 s on an idle core; five are allowed a busy one."""
    design = cohort_design(0)
    start = time.process_time()
    cross = replicate_moments(
        design,
        [8.7, 0.55, 0.1],
        np.array([[2.8, 0.1], [0.1, 0.013]]),
        29.0,
        1000,
        np.random.default_rng(1),
    )
    fits = [fit_many(replace(design, random=r), cross) for r in ((0,), (0, 1))]
    assert time.process_time() - start < 5.0
    assert all(f.converged.all() for f in fits)
    assert (fits[1].deviance <= fits[0].deviance + 1e-9).all()
