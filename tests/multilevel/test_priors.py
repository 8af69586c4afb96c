from __future__ import annotations

import numpy as np
import pytest
from prior_density import log_density
from scipy import stats

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.priors import Prior, as_prior


def prior_design(random: list[str]) -> DesignMoments:
    rng = np.random.default_rng(1)
    g = np.arange(200) % 10
    x = rng.normal(2, 3, 200)
    y = x + rng.normal(size=10)[g] + rng.normal(0, 2, 200)
    return DesignMoments.from_arrays(y, {"Intercept": np.ones(200), "x": x}, random, g)


ONE, TWO = prior_design(["Intercept"]), prior_design(["Intercept", "x"])
ML = np.array([[2.0, 0.3], [0.3, 0.5]])


def relative(values: np.ndarray) -> np.ndarray:
    return values - values[0]


def test_mlwin_s_prior_of_one_variance_is_inverse_gamma() -> None:
    prior = as_prior("mlwin").resolve(ONE, np.array([[1.0]]), 4.0)
    v = np.array([0.3, 1.0, 4.0])
    got = log_density(prior, v[:, None, None], np.ones(3))
    expected = stats.invgamma.logpdf(v, 0.001, scale=0.001)
    np.testing.assert_allclose(relative(got), relative(expected), atol=1e-12)
    got = log_density(prior, np.ones((3, 1, 1)), v)
    np.testing.assert_allclose(relative(got), relative(expected), atol=1e-12)


def test_mlwin_s_prior_of_a_matrix_is_inverse_wishart_on_the_estimate() -> None:
    prior = as_prior("mlwin").resolve(TWO, ML, 4.0)
    matrices = np.array([ML, np.eye(2), [[1.0, -0.4], [-0.4, 3.0]]])
    expected = [stats.invwishart.logpdf(m, 2, 2 * ML) for m in matrices]
    got = log_density(prior, matrices, np.ones(3))
    np.testing.assert_allclose(relative(got), relative(np.array(expected)), atol=1e-12)
    assert prior.notes == ()


@pytest.mark.parametrize("lkj", [0.5, 1.0, 3.0])
def test_priors_on_sds_are_what_they_say(lkj: float) -> None:
    """Density of the matrix = density of SDs and correlation over the Jacobian 4 s1^2 s2^2."""
    prior = Prior("half-normal", scale=[1.5, 0.7], lkj=lkj).resolve(TWO, ML, 4.0)
    s, r = np.array([[0.5, 1.0], [2.0, 0.3], [1.0, 1.0]]), np.array([0.0, 0.7, -0.95])
    cov = np.array(
        [[[a * a, c * a * b], [c * a * b, b * b]] for (a, b), c in zip(s, r, strict=True)]
    )
    expected = (
        stats.halfnorm.logpdf(s, scale=[1.5, 0.7]).sum(axis=1)
        + (lkj - 1) * np.log(1 - r**2)
        - 2 * np.log(s).sum(axis=1)
    )
    got = log_density(prior, cov, np.ones(3))
    np.testing.assert_allclose(relative(got), relative(expected), atol=1e-12)
    flat = log_density(Prior("flat-sd", lkj=lkj).resolve(TWO, ML, 4.0), cov, np.ones(3))
    expected -= stats.halfnorm.logpdf(s, scale=[1.5, 0.7]).sum(axis=1)
    np.testing.assert_allclose(relative(flat), relative(expected), atol=1e-12)


def test_flat_on_the_residual_sd() -> None:
    prior = as_prior("flat-sd").resolve(ONE, np.eye(1), 1.0)
    s2 = np.array([1.0, 4.0, 25.0])
    got = log_density(prior, np.ones((3, 1, 1)), s2)
    np.testing.assert_allclose(relative(got), -0.5 * np.log(s2), atol=1e-12)


def test_a_half_normal_s_scale_is_stated() -> None:
    prior = as_prior("half-normal").resolve(TWO, ML, 4.0)
    total, n = TWO.total, TWO.n_total
    sd = np.sqrt(total[2, 2] / n - (total[0, 2] / n) ** 2)
    expected = [0.5 * sd, 0.5 * sd / np.sqrt(total[1, 1] / n)]
    np.testing.assert_allclose(np.sqrt(0.5 / prior.half), expected)
    assert f"{expected[0]:.4g}, {expected[1]:.4g}" in prior.name


@pytest.mark.parametrize(
    "singular",
    [
        np.array([[2.0, 0.0], [0.0, 0.0]]),
        np.array([[0.0, 0.0], [0.0, 0.0]]),
        np.array([[2.0, 1.0], [1.0, 0.5]]),
    ],
    ids=["no slope variance", "no variance", "correlation of one"],
)
def test_mlwin_s_prior_on_a_singular_estimate_is_defined_and_said(singular: np.ndarray) -> None:
    prior = as_prior("mlwin").resolve(TWO, singular, 4.0)
    assert np.linalg.eigvalsh(prior.scale).min() > 0
    assert "singular" in prior.notes[0]
    assert "not defined" in prior.notes[0]
    least = 4.0 * np.sqrt(2 / (TWO.cross[:, [0, 1], [0, 1]] ** 2).sum(axis=0))
    np.testing.assert_allclose(np.diag(prior.scale) / 2, np.maximum(np.diag(singular), least))


def test_a_regular_estimate_is_left_alone() -> None:
    near = np.array([[2.0, 0.99], [0.99, 0.5]])
    prior = as_prior("mlwin").resolve(TWO, near, 4.0)
    np.testing.assert_array_equal(prior.scale, 2 * near)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (Prior("inverse-wishart", df=3), "needs its df and its scale"),
        (Prior("inverse-wishart", df=3, scale=[[1, 2], [2, 1]]), "must be positive definite"),
        (Prior("inverse-wishart", df=3, scale=[[4, 0.4], [0.4, 0.04]]), "singular estimate"),
        (Prior("inverse-wishart", df=3, scale=[[1, 0], [0, 0]]), "must be positive definite"),
        (Prior("inverse-wishart", df=1, scale=[[1, 0], [0, 1]]), "must exceed 1"),
        (Prior("half-normal", scale=-1.0), "must be positive"),
        (Prior("flat-sd", lkj=0.0), "LKJ shape is below 0.5"),
        (Prior("flat-sd", lkj=-1.0), "LKJ shape is below 0.5"),
        (Prior("flat-sd", lkj=0.1), "LKJ shape is below 0.5"),
        (Prior("half-normal", lkj=0.49), "LKJ shape is below 0.5"),
        (Prior("flat-sd", lkj=np.nan), "LKJ shape is not a finite number"),
        (Prior("flat-sd", lkj=np.inf), "LKJ shape is not a finite number"),
        (Prior("flat-sd", lkj="2b"), "LKJ shape is not of the shape wanted"),  # type: ignore
        (Prior("half-normal", scale=np.nan), "not a finite number"),
        (Prior("half-normal", scale=np.inf), "not a finite number"),
        (Prior("half-normal", scale=[1.0, 0.0]), "must be positive"),
        (Prior("half-normal", scale=[1.0, 2.0, 3.0]), "not of the shape wanted; give 2"),
        (Prior("half-normal", scale="wide"), "not of the shape wanted"),  # type: ignore
        (Prior("inverse-wishart", df=np.nan, scale=np.eye(2)), "not a finite number"),
        (Prior("inverse-wishart", df=np.inf, scale=np.eye(2)), "not a finite number"),
        (Prior("inverse-wishart", df=3, scale=np.eye(3)), "not of the shape wanted; give 2 x 2"),
        (Prior("inverse-wishart", df=3, scale=[[1, 0.5], [0, 1]]), "must be positive definite"),
        (Prior("inverse-wishart", df=3, scale=[[1, np.nan], [np.nan, 1]]), "not a finite number"),
        (Prior("mlwin", residual=(np.nan, 1.0)), "not a finite number"),
        (Prior("mlwin", residual=(1.0, np.inf)), "not a finite number"),
        (Prior("mlwin", residual=(1.0, 1.0, 1.0)), "not of the shape wanted"),  # type: ignore
        (Prior("mlwin", residual=(-1.0, 0.0)), "cannot be negative"),
        (Prior("jeffreys"), "no prior is called 'jeffreys'"),  # type: ignore[arg-type]
    ],
    ids=lambda p: getattr(p, "kind", ""),
)
def test_priors_that_cannot_be_are_refused(prior: Prior, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prior.resolve(TWO, ML, 4.0)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no prior is called 'flat'"):
        as_prior("flat").resolve(TWO, ML, 4.0)
