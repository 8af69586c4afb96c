"""Fits from moments: closed forms, published figures, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import moment_cases
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import pwp_lib as pwp
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design
from multilevel.posterior import sample_posterior

Columns = dict[str, np.ndarray]


def cohort_arrays(
    seed: int, groups: int = 12, size: int = 14, slope_sd: float = 0.5
) -> tuple[np.ndarray, Columns, np.ndarray]:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rng.integers(size // 2, size * 2, size=groups))
    x = rng.normal(10, 3, len(g))
    u = rng.normal(size=(groups, 2)) * np.array([1.5, slope_sd])
    y = 2 + 0.5 * x + u[g, 0] + u[g, 1] * (x - 10) + rng.normal(0, 2, len(g))
    return y, {"Intercept": np.ones(len(g)), "x": x}, g


def arrays_fit(
    seed: int, random: Sequence[str] = ("Intercept", "x"), method: str = "ML", **options: float
) -> MixedFit:
    y, columns, g = cohort_arrays(seed, **options)  # type: ignore[arg-type]
    return fit_design(DesignMoments.from_arrays(y, columns, random, g), method)


def dense(fit: MixedFit, y: np.ndarray, columns: Columns, g: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same quantities by matrices as large as the data."""
    x = np.column_stack(list(columns.values()))
    random = [columns[name] for name in fit.design.random_names]
    groups = len(fit.design.groups)
    q = len(random)
    z = np.zeros((len(y), groups * q))
    for t, column in enumerate(random):
        z[np.arange(len(y)), g * q + t] = column
    prior = np.kron(np.eye(groups), fit.random_covariance.to_numpy())
    v = z @ prior @ z.T + fit.residual_variance * np.eye(len(y))
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    p = inverse - inverse @ x @ np.linalg.solve(information, x.T @ inverse)
    logdet = np.linalg.slogdet(v)[1]
    dof = len(y)
    if fit.method == "REML":
        logdet, dof = logdet + np.linalg.slogdet(information)[1], len(y) - x.shape[1]
    return {
        "deviance": logdet + dof * np.log(2 * np.pi) + y @ p @ y,
        "beta": np.linalg.solve(information, x.T @ inverse @ y),
        "beta_covariance": np.linalg.inv(information),
        "u": prior @ z.T @ p @ y,
        "conditional": prior - prior @ z.T @ inverse @ z @ prior,
        "comparative": prior - prior @ z.T @ p @ z @ prior,
        "diagnostic": prior @ z.T @ p @ z @ prior,
        "v": v,
        "p": p if fit.method == "REML" else inverse,
        "z": z,
    }


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("random", [("Intercept",), ("Intercept", "x")])
def test_fit_equals_dense_matrices(method: str, random: tuple[str, ...]) -> None:
    y, columns, g = cohort_arrays(3)
    fit = fit_design(DesignMoments.from_arrays(y, columns, random, g), method)
    full = dense(fit, y, columns, g)
    assert fit.deviance == pytest.approx(float(full["deviance"]), abs=1e-9)
    np.testing.assert_allclose(fit.coefficients, full["beta"], rtol=1e-10)
    covariance = fit.residual_variance * fit.ingredients.inverse
    np.testing.assert_allclose(covariance, full["beta_covariance"], rtol=1e-9)
    q = len(random)
    for t, term in enumerate(random):
        np.testing.assert_allclose(fit.residuals(term)["residual"], full["u"][t::q], atol=1e-10)
        for kind in ("conditional", "comparative", "diagnostic"):
            joint = full[kind][t::q, t::q]
            np.testing.assert_allclose(fit.residual_covariance(kind, term), joint, atol=1e-10)
            se = fit.residuals(term, se=kind)["se"]
            np.testing.assert_allclose(se, np.sqrt(np.diag(joint)), atol=1e-9)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_expected_information_equals_dense_traces(method: str) -> None:
    y, columns, g = cohort_arrays(4)
    fit = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g), method)
    full = dense(fit, y, columns, g)
    groups = len(fit.design.groups)
    pieces = [
        np.array(m, dtype=float) for m in ([[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]])
    ]
    slopes = [full["z"] @ np.kron(np.eye(groups), m) @ full["z"].T for m in pieces]
    slopes.append(np.eye(len(y)))
    by = [full["p"] @ s for s in slopes]
    information = [[0.5 * np.trace(a @ b) for b in by] for a in by]
    np.testing.assert_allclose(fit.variance_covariance(), np.linalg.inv(information), rtol=1e-8)
    assert list(fit.variance_se().index) == [
        "var(Intercept)",
        "cov(Intercept, x)",
        "var(x)",
        "residual",
    ]


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_observed_information_equals_numerical_curvature(method: str) -> None:
    y, columns, g = cohort_arrays(5)
    fit = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], g), method)

    def deviance(between: float, within: float) -> float:
        v = between * (g[:, None] == g[None, :]) + within * np.eye(len(y))
        x = np.column_stack(list(columns.values()))
        half = np.linalg.solve(v, x)
        information = x.T @ half
        beta = np.linalg.solve(information, half.T @ y)
        out = np.linalg.slogdet(v)[1] + (y - x @ beta) @ np.linalg.solve(v, y - x @ beta)
        return float(out + (np.linalg.slogdet(information)[1] if method == "REML" else 0.0))

    at = np.array([float(fit.random_covariance.iloc[0, 0]), fit.residual_variance])
    h = 1e-3 * at
    curvature = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            a, b = np.eye(2)[i] * h[i], np.eye(2)[j] * h[j]
            corners = [deviance(*(at + s * a + t * b)) for s in (1, -1) for t in (1, -1)]
            curvature[i, j] = np.dot([1, -1, -1, 1], corners) / (4 * h[i] * h[j])
    expected = np.sqrt(np.diag(np.linalg.inv(curvature / 2)))
    np.testing.assert_allclose(fit.variance_se("observed"), expected, rtol=1e-4)


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("effect", [2.0, 0.0])
def test_balanced_one_way_anova_has_its_closed_form(method: str, effect: float) -> None:
    groups, size = 7, 9
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(groups), size)
    e = rng.normal(size=(groups, size))
    if effect == 0.0:
        # Group means closer than chance, so that the optimum is singular.
        e -= 0.9 * e.mean(axis=1, keepdims=True)
    y = (effect * rng.normal(size=(groups, 1)) + e).ravel()
    fit = fit_design(
        DesignMoments.from_arrays(y, {"Intercept": np.ones(len(y))}, ["Intercept"], g), method
    )
    means = y.reshape(groups, size).mean(axis=1)
    between = size * ((means - means.mean()) ** 2).sum()
    within = ((y.reshape(groups, size) - means[:, None]) ** 2).sum()
    over = groups - 1 if method == "REML" else groups
    residual = within / (groups * (size - 1))
    variance = (between / over - residual) / size
    if variance < 0:
        n = len(y)
        residual, variance = (between + within) / (n - 1 if method == "REML" else n), 0.0
    assert fit.singular == (effect == 0.0)
    assert fit.residual_variance == pytest.approx(residual, rel=1e-9)
    assert float(fit.random_covariance.iloc[0, 0]) == pytest.approx(variance, rel=1e-7, abs=1e-14)
    assert float(fit.fixed["estimate"].iloc[0]) == pytest.approx(y.mean(), rel=1e-10)
    assert fit.vpc() == pytest.approx(variance / (variance + residual), rel=1e-7, abs=1e-14)


def test_single_level_model_is_least_squares() -> None:
    y, columns, g = cohort_arrays(6)
    x = np.column_stack(list(columns.values()))
    beta, rss = np.linalg.lstsq(x, y, rcond=None)[:2]
    n = len(y)
    for method, dof in (("ML", n), ("REML", n - 2)):
        fit = fit_design(DesignMoments.from_arrays(y, columns, [], g), method)
        np.testing.assert_allclose(fit.coefficients, beta, rtol=1e-10)
        assert fit.residual_variance == pytest.approx(rss[0] / dof, rel=1e-10)
        assert not fit.singular
        assert fit.converged
        assert "Single-level" in fit.summary()
    loglik = stats.norm.logpdf(y, x @ beta, np.sqrt(rss[0] / n)).sum()
    ml = fit_design(DesignMoments.from_arrays(y, columns, [], g))
    assert ml.deviance == pytest.approx(-2 * loglik, abs=1e-8)
    assert ml.variance_se()["residual"] == pytest.approx(ml.residual_variance * np.sqrt(2 / n))


def test_statsmodels_agrees_where_it_converges() -> None:
    """An easy cohort: on harder ones its optimisers stop short or stick at the boundary."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(20), 15)
    columns = {"Intercept": np.ones(300), "x": rng.normal(size=300)}
    y = 1 + columns["x"] + rng.normal(size=20)[g] + rng.normal(size=300)
    x = np.column_stack(list(columns.values()))
    for method in ("ML", "REML"):
        fit = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], g), method)
        theirs = MixedLM(y, x, groups=g).fit(reml=method == "REML", method="bfgs")
        assert theirs.converged
        np.testing.assert_allclose(fit.coefficients, theirs.fe_params, rtol=1e-5)
        assert float(fit.random_covariance.iloc[0, 0]) == pytest.approx(
            float(np.asarray(theirs.cov_re)[0, 0]), rel=1e-4
        )
        assert fit.residual_variance == pytest.approx(theirs.scale, rel=1e-5)
        if method == "ML":
            assert fit.deviance == pytest.approx(-2 * theirs.llf, abs=1e-6)
            assert fit.deviance <= -2 * theirs.llf + 1e-8


def test_correlations_are_in_range() -> None:
    fit = arrays_fit(9)
    correlation = fit.random_correlation.to_numpy()
    assert np.diag(correlation) == pytest.approx(1.0)
    assert abs(correlation[0, 1]) <= 1.0


def test_singular_fit_is_certified_and_its_tables_hold() -> None:
    y, columns, g = cohort_arrays(11, groups=6, size=8, slope_sd=0.0)
    fit = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g))
    assert fit.singular
    assert fit.converged
    certificate = fit.certificate
    assert certificate.rank == 1
    assert certificate.inward >= 0
    assert certificate.gradient_norm < 1e-4
    assert "boundary" in certificate.boundary
    assert np.isnan(fit.variance_se("observed")).all()
    assert np.isfinite(fit.variance_se()).all()
    assert abs(fit.random_correlation.iloc[0, 1]) == pytest.approx(1.0, abs=1e-7)
    assert "singular" in fit.summary()
    # Whatever covariance is added from the boundary, the deviance rises.
    rng = np.random.default_rng(1)
    for _ in range(50):
        v = rng.normal(size=2)
        pushed = fit.optimum.g[0] + 1e-4 * np.outer(v, v)
        assert moment_cases.deviance_at(fit, pushed) >= fit.deviance - 1e-10


@pytest.mark.parametrize("random", [["Intercept"], ["Intercept", "x"]])
def test_fit_inside_is_certified_against_the_boundary(random: list[str]) -> None:
    fit = arrays_fit(9, random)
    certificate = fit.certificate
    assert certificate.rank == certificate.terms == len(random)
    assert np.isnan(certificate.inward)
    assert min(certificate.curvature) > 0
    assert certificate.gradient_norm < 1e-6
    assert certificate.on_boundary > fit.deviance
    assert "inside" in certificate.boundary
    if random == ["Intercept"]:
        # The boundary is then the single-level model.
        assert certificate.on_boundary == pytest.approx(arrays_fit(9, []).deviance, abs=1e-9)


def test_no_variance_at_all_leaves_residuals_nil() -> None:
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 10)
    y = rng.normal(size=(8, 10))
    y = (y - 0.95 * y.mean(axis=1, keepdims=True)).ravel()
    fit = fit_design(DesignMoments.from_arrays(y, {"Intercept": np.ones(80)}, ["Intercept"], g))
    table = fit.residuals()
    assert fit.singular
    assert fit.vpc() == 0.0
    assert (table["residual"] == 0).all()
    assert (table["rank"] == 4.5).all()
    assert np.isnan(fit.random_correlation.iloc[0, 0])
    assert fit.profile_interval().lower == 0.0


def test_residual_ranks_follow_the_direction_of_the_measure() -> None:
    fit = arrays_fit(12, ["Intercept"])
    low = fit.residuals()
    assert low.loc[low["residual"].idxmin(), "rank"] == 1
    high = fit.residuals(lower_is_better=False)
    assert high.loc[high["residual"].idxmax(), "rank"] == 1
    pairs = fit.residuals(multiplier=1.39)
    np.testing.assert_allclose(pairs["upper"] - pairs["residual"], 1.39 * pairs["se"])
    assert list(low.columns) == ["n", "residual", "se", "lower", "upper", "rank", "shrinkage"]
    n, variance = low["n"], float(fit.random_covariance.iloc[0, 0])
    np.testing.assert_allclose(low["shrinkage"], variance / (variance + fit.residual_variance / n))


def test_comparative_and_diagnostic_variances_add_up_to_the_prior() -> None:
    fit = arrays_fit(13)
    total = sum(fit.residuals("x", se=kind)["se"] ** 2 for kind in ("comparative", "diagnostic"))
    np.testing.assert_allclose(total, fit.random_covariance.loc["x", "x"])


# -- therapist effect -------------------------------------------------------------------------


def test_vpc_is_at_the_mean_and_follows_the_variance_function() -> None:
    y, columns, g = cohort_arrays(14)
    frame = pd.DataFrame({"y": y, "x": columns["x"], "g": g.astype(str)})
    raw = pwp.fit_mixed("y ~ x + (1 + x | g)", frame)
    centred = pwp.fit_mixed("y ~ center(x) + (1 + center(x) | g)", frame)
    assert raw.deviance == pytest.approx(centred.deviance, abs=1e-8)
    between = float(centred.random_covariance.iloc[0, 0])
    expected = between / (between + centred.residual_variance)
    assert centred.vpc() == pytest.approx(expected, rel=1e-9)
    assert centred.vpc("mean") == centred.vpc()
    assert raw.vpc() == pytest.approx(expected, rel=1e-6)
    for value in (5.0, 15.0):
        assert raw.vpc({"x": value}) == pytest.approx(centred.vpc({"x": value}), rel=1e-6)
    row = np.array([1.0, 15.0])
    by_hand = row @ raw.random_covariance.to_numpy() @ row
    assert raw.vpc({"x": 15.0}) == pytest.approx(by_hand / (by_hand + raw.residual_variance))
    curve = raw.vpc_curve("x", [5, 10, 15])
    np.testing.assert_allclose(curve["vpc"], [raw.vpc({"x": v}) for v in (5, 10, 15)])
    assert ((curve["lower"] < curve["vpc"]) & (curve["vpc"] < curve["upper"])).all()


def test_vpc_refuses_what_it_does_not_depend_on() -> None:
    fit = arrays_fit(14, ["Intercept"])
    with pytest.raises(InputError, match="column x: the variance between groups does not depend"):
        fit.vpc({"x": 3.0})
    with pytest.raises(InputError, match="no place"):
        fit.vpc("median")
    with pytest.raises(InputError, match="no random term"):
        arrays_fit(14, []).vpc()


def test_other_refusals() -> None:
    fit = arrays_fit(16)
    with pytest.raises(InputError, match='neither "ML" nor "REML"'):
        fit_design(fit.design, "MAP")
    with pytest.raises(InputError, match="no random term 'z'"):
        fit.residuals("z")
    with pytest.raises(InputError, match="give conditional or comparative or diagnostic"):
        fit.residuals(se="robust")
    with pytest.raises(InputError, match="give expected or observed"):
        fit.variance_se("empirical")
    with pytest.raises(InputError, match="no random term, so"):
        arrays_fit(16, []).residuals()
    with pytest.raises(InputError, match="no fixed term"):
        fit_design(replace(fit.design, fixed=()))


def test_summary_reads_as_lme4_does() -> None:
    text = arrays_fit(17).summary()
    for part in (
        "Random effects:",
        "Groups",
        "Std.Dev.",
        "Corr",
        "Number of obs:",
        "Fixed effects:",
        "Std. Error",
        "Pr(>|t|)",
        "-2 log-likelihood",
        "Variance partition coefficient",
    ):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 79
    assert "REML criterion" in arrays_fit(17, method="REML").summary()


def test_what_a_notebook_prints_of_a_fit_shows_no_group() -> None:
    """A fit left on the last line of a cell must not print each group's rows and sums."""
    fit = arrays_fit(17, ["Intercept"])
    posterior = sample_posterior(fit.design, draws=50, seed=1)
    for shown in (repr(fit), repr(fit.design), repr(posterior)):
        assert len(shown) < 200
        assert "array" not in shown


def test_the_certificate_names_the_next_stationary_deviance() -> None:
    """Above the optimum where a start stopped elsewhere; NaN where all arrived."""
    proof = arrays_fit(14, ["Intercept"]).certificate
    other = replace(proof, starts=(proof.deviance, proof.deviance + 2.0, proof.deviance + 1.0))
    assert other.best_other == proof.deviance + 1.0
    assert np.isnan(replace(proof, starts=(proof.deviance,)).best_other)


def test_an_interval_of_three_terms_ends_at_the_lowest_profile() -> None:
    """The profile has a valley that neither the optimum nor small variances lead to."""
    rng = np.random.default_rng(389)
    g = np.repeat(np.arange(j := int(rng.integers(4, 9))), rng.integers(1, 12, j))
    x, z = rng.normal(2, 1, len(g)), rng.normal(size=len(g))
    b = rng.normal(size=(j, 3)) * rng.choice([0, 0.3, 1.0], 3)
    y = b[g, 0] + b[g, 1] * x + b[g, 2] * z + rng.normal(size=len(g))
    data = pd.DataFrame({"y": y, "x": x, "z": z, "g": g})
    fit = pwp.fit_mixed("y ~ x + z + (1 + x + z | g)", data, method="REML")
    terms, same = np.column_stack([np.ones(len(g)), x, z]), g[:, None] == g
    turn = np.linalg.qr(np.column_stack([terms.mean(axis=0), np.eye(3)]))[0][:, :3]

    def risen(share: float) -> float:
        """By the rows' own density, from where the valley is."""
        held = (share / (1 - share) / float((terms.mean(axis=0) ** 2).sum())) ** 0.5

        def deviance(p: np.ndarray) -> float:
            along = terms @ turn @ np.array([[held, 0, 0], [p[0], p[1], 0], [p[2], p[3], p[4]]])
            whole = np.eye(len(g)) + (along @ along.T) * same
            inverse = np.linalg.inv(whole)
            information = terms.T @ inverse @ terms
            left = y - terms @ np.linalg.solve(information, terms.T @ inverse @ y)
            dof, squares = len(g) - 3, float(left @ inverse @ left)
            logs = np.linalg.slogdet(whole)[1] + np.linalg.slogdet(information)[1]
            return dof * (np.log(2 * np.pi * squares / dof) + 1) + float(logs)

        starts = ([5.7, 0.0, 2.1, 0.0, 0.0], [1.0, 0.3, 0.5, 0.3, 0.3], [8.0, 0.0, 3.0, 0.1, 0.1])
        found = (optimize.minimize(deviance, s, method="L-BFGS-B").fun for s in starts)
        return float(min(found)) - fit.deviance

    upper = fit.profile_interval().upper
    assert upper == pytest.approx(0.76696, abs=1e-4)
    assert risen(upper) == pytest.approx(3.841459, abs=2e-3)
