"""Random-intercept logistic models against glmer (`tests/reference/binary.R`) and integration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime, minimize_scalar
from scipy.special import expit
from scipy.stats import binom, chi2, norm

import pwp_lib as pwp
from multilevel import BinaryFit, InputError, fit_binary
from multilevel.binary import _search, outcome_share, rate_average
from multilevel.quadrature import Cells, _measure, measure, minimise

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "binary.csv", comment="#")
DATA = pd.read_csv(REFERENCE / "binary_data.csv")
SETS = [name for name in FIGURES["set"].unique() if not name.startswith("biased")]
LATENT = np.pi**2 / 3


def fitted(name: str, nodes: int | None = None) -> BinaryFit:
    rows = DATA[DATA["set"] == name].dropna(axis="columns")
    terms = [name for name in "abcdef" if name in rows.columns]
    formula = " + ".join(["y ~ 1", *terms, "(1 | g)"])
    return fit_binary(formula, rows, nodes=nodes, trials="m")


@pytest.mark.parametrize("nodes", [1, 9, 25])
@pytest.mark.parametrize("name", SETS)
def test_agrees_with_polished_glmer(name: str, nodes: int) -> None:
    row = FIGURES[(FIGURES["set"] == name) & (FIGURES["nodes"] == nodes)].iloc[0]
    fit = fitted(name, nodes)
    assert fit.converged
    assert fit.deviance == pytest.approx(row["deviance"], abs=1e-6)
    assert fit.variance == pytest.approx(row["variance"], abs=2e-4)
    beta = row["Intercept":].dropna().to_numpy(dtype=float)
    np.testing.assert_allclose(fit.fixed["estimate"], beta, atol=2e-4)


def test_no_set_is_fitted_worse_than_by_glmer() -> None:
    for name in FIGURES["set"].unique():
        rows = FIGURES[(FIGURES["set"] == name) & (FIGURES["nodes"] == 25)]
        assert fitted(name, 25).deviance <= rows["deviance"].iat[0] + 1e-6


@pytest.mark.neighbours
@pytest.mark.parametrize("name", FIGURES["set"].unique())
def test_without_a_number_of_nodes_as_many_are_taken_as_are_needed(name: str) -> None:
    best = FIGURES[(FIGURES["set"] == name) & (FIGURES["nodes"] == 25)]["deviance"].iat[0]
    fit = fitted(name)
    assert fit.converged
    assert fit.deviance == pytest.approx(best, abs=1e-6)
    # Fifteen where they do; glmer with 25 is the judge.
    few = fitted(name, 15)
    assert fit.nodes == 15 or abs(few.deviance - best) > 1e-7
    assert fitted(name, fit.nodes).deviance == pytest.approx(fit.deviance, abs=1e-10)
    assert few.nodes == 15


@pytest.mark.parametrize(
    ("sd", "groups", "trials"),
    [(3, 200, 4), (4, 20, 40), (5, 200, 3), (6, 30, 20), (8, 50, 4), (9, 300, 30)],
)
def test_groups_far_apart_with_few_trials_need_more_nodes(
    sd: float, groups: int, trials: int
) -> None:
    rng = np.random.default_rng(1)
    y = rng.binomial(trials, expit(0.3 + rng.normal(0, sd, groups)))
    rows = pd.DataFrame({"y": y, "m": trials, "g": range(groups)})
    fit = fit_binary("y ~ 1 + (1 | g)", rows, trials="m")
    assert fit.nodes > 25
    assert fit.converged
    # Trapezes over all that a normal distribution reaches.
    b, z = fit.fixed.loc["Intercept", "estimate"], np.linspace(-12, 12, 40_001)
    eta = b + fit.variance**0.5 * z
    height = binom.pmf(np.arange(trials + 1)[:, None], trials, expit(eta)) * norm.pdf(z)
    each = np.log(np.trapezoid(height, z))
    assert fit.deviance == pytest.approx(-2 * each[y].sum(), abs=1e-6)
    few = fit_binary("y ~ 1 + (1 | g)", rows, trials="m", nodes=15)
    assert abs(few.deviance - fit.deviance) > 1e-5


def test_a_fit_prints_its_nodes_and_its_size() -> None:
    assert repr(fitted("bacteria")).startswith("<BinaryFit of y with 25 nodes: 220 outcomes, 50 ")
    assert repr(fitted("rcsi", 1)).endswith(
        "with 1 node: 775 outcomes, 21 groups, deviance 948.981>"
    )


@pytest.mark.nightly
def test_one_node_is_biased_where_caseloads_are_tiny() -> None:
    # The truth is 1.5; glmer has the same figures to five digits.
    names = [name for name in FIGURES["set"].unique() if name.startswith("biased")]
    ours = {k: np.array([fitted(name, k).variance for name in names]) for k in (1, 25)}
    for nodes, found in ours.items():
        theirs = FIGURES[FIGURES["set"].isin(names) & (FIGURES["nodes"] == nodes)]["variance"]
        np.testing.assert_allclose(found, theirs, atol=2e-4)
    lower = ours[1] - ours[25]
    assert (lower < 0).all()
    assert ours[1].mean() < 0.9 * ours[25].mean()
    assert fitted(names[0], 15).by_nodes()["matters"].tolist() == [True, False, False, False]


def test_the_packaged_cohort_has_the_figures_of_lme4() -> None:
    patients = pwp.load_cohort().patients
    cases = patients[patients["phq9_pre"] >= 10].copy()
    fall = cases["phq9_pre"] - cases["phq9_post"]
    cases["rcsi"] = (cases["phq9_post"] < 10) & (fall >= 6)
    fit = fit_binary("rcsi ~ 1 + (1 | therapist_id)", cases)
    assert (fit.n, fit.n_groups) == (775, 21)
    assert round(fit.deviance, 4) == 948.8477
    assert round(fit.variance, 4) == 0.2706
    assert round(100 * fit.vpc().estimate, 2) == 7.60
    assert round(fit.median_odds_ratio().estimate, 3) == 1.642
    laplace = fit_binary("rcsi ~ 1 + (1 | therapist_id)", cases, nodes=1)
    assert (round(laplace.deviance, 4), round(laplace.variance, 4)) == (948.9807, 0.2676)
    assert round(100 * laplace.vpc().estimate, 2) == 7.52
    assert not fit.by_nodes()["matters"].any()


def test_cbpp_has_the_log_likelihood_that_glmer_prints() -> None:
    assert round(fitted("cbpp", 1).deviance / -2, 5) == -92.02628
    nine = fitted("cbpp", 9)
    assert nine.fixed["estimate"].round(4).tolist() == [-1.3992, -0.9914, -1.1278, -1.5795]
    # glmer's deviance with more than one node leaves out what the saturated model has.
    rows = DATA[DATA["set"] == "cbpp"]
    saturated = binom.logpmf(rows["y"], rows["m"], rows["y"] / rows["m"]).sum()
    assert round(nine.deviance / -2 - saturated, 2) == -50.01


def test_contraception_has_the_figures_of_glmer() -> None:
    found = {nodes: fitted("contraception", nodes) for nodes in (1, 9)}
    assert [round(fit.deviance, 4) for fit in found.values()] == [2372.7286, 2372.4589]
    assert [round(fit.variance, 4) for fit in found.values()] == [0.2259, 0.2291]


@pytest.mark.parametrize(("rate", "share"), [(0.1, 1.9), (0.2, 3.2), (0.3, 4.0), (0.5, 4.5)])
def test_merlos_table(rate: float, share: float) -> None:
    # Variance .2, by the rate with the median group, to a tenth: Merlo and others (2006),
    # Journal of Epidemiology and Community Health 60, 290-297.
    fit = with_parameters(np.log(rate / (1 - rate)), 0.2)
    assert 100 * probability_share(fit) == pytest.approx(share, abs=0.1)
    assert pytest.approx(5.7, abs=0.05) == 100 * 0.2 / (0.2 + LATENT)


def with_parameters(intercept: float, variance: float) -> BinaryFit:
    """Return a fit whose estimates are these, by replacing those of another."""
    fit = sample_fit(0)
    theta = np.array([intercept / fit._root[0, 0], variance**0.5])
    return replace(fit, _point=replace(fit._point, theta=theta))


def probability_share(fit: BinaryFit) -> float:
    mean, variance = rate_average(fit._row({}) @ fit._point.theta[:-1], fit.variance**0.5)
    return float(variance / (mean * (1 - mean)))


def sample(seed: int, groups: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rng.integers(4, 30, groups))
    x, z = rng.normal(10, 3, len(g)).round(), rng.integers(0, 2, len(g))
    eta = -1 + 0.15 * (x - 10) + 0.5 * z + rng.normal(0, 0.9, groups)[g]
    return pd.DataFrame({"y": rng.random(len(g)) < expit(eta), "x": x, "z": z, "g": g})


def sample_fit(seed: int, formula: str = "y ~ 1 + (1 | g)") -> BinaryFit:
    return fit_binary(formula, sample(seed))


def integrated(rows: pd.DataFrame, eta: np.ndarray, sd: float) -> float:
    """Deviance by numerical integration, group by group."""
    total = 0.0
    for place in rows.groupby("g").indices.values():
        y, own = rows["y"].to_numpy()[place], eta[place]

        def height(u: float, y: np.ndarray = y, own: np.ndarray = own) -> float:
            p = expit(own + sd * u)
            return float(np.where(y, p, 1 - p).prod() * norm.pdf(u))

        total += np.log(quad(height, -12, 12, epsabs=1e-300, epsrel=1e-11, limit=400)[0])
    return -2 * total


@pytest.mark.neighbours
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(2, 12))]
)
def test_the_deviance_is_that_of_numerical_integration(seed: int) -> None:
    rows = sample(seed)
    fit = fit_binary("y ~ x + z + (1 | g)", rows, nodes=25)
    b = fit.fixed["estimate"]
    eta = (b["Intercept"] + b["x"] * rows["x"] + b["z"] * rows["z"]).to_numpy()
    assert fit.deviance == pytest.approx(integrated(rows, eta, fit.variance**0.5), abs=1e-6)
    # No neighbour is lower.
    for change in (-0.02, 0.02):
        assert fit.deviance < integrated(rows, eta + change, fit.variance**0.5)
        assert fit.deviance < integrated(rows, eta, fit.variance**0.5 + change)


@pytest.mark.parametrize("nodes", [1, 2, 3, 15])
@pytest.mark.parametrize("sd", [-0.8, 0.0, 0.5, 3.0])
def test_the_gradient_is_that_of_the_sum_as_computed(nodes: int, sd: float) -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(6), 5)
    trials = rng.integers(1, 9, 30).astype(float)
    x = np.column_stack([np.ones(30), rng.normal(size=30)])
    cells = Cells(group, x, trials, np.floor(trials * rng.random(30)))
    theta = np.array([0.3, -0.5, sd])

    def deviance(at: np.ndarray) -> float:
        return measure(cells, at, nodes, np.zeros(6)).deviance

    slope = measure(cells, theta, nodes, np.zeros(6)).slope
    forward, back = (approx_fprime(theta, deviance, e) for e in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (forward + back) / 2, atol=2e-5)


@pytest.mark.parametrize("size", [1, 7, 50, 10**6])
def test_groups_worked_on_in_blocks_give_the_same_fit(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, places = fitted(SETS[0], 15), []

    def noted(*args: Any) -> Any:
        places.append(args[-1].start)
        return _measure(*args)

    monkeypatch.setattr("multilevel.quadrature._BLOCK", size)
    monkeypatch.setattr("multilevel.quadrature._measure", noted)
    blocks = fitted(SETS[0], 15)
    assert any(places) == (size < 10**6)
    assert blocks.deviance == pytest.approx(whole.deviance, rel=1e-12)
    assert blocks.variance == pytest.approx(whole.variance, rel=1e-8)
    pd.testing.assert_frame_equal(blocks.fixed, whole.fixed, rtol=1e-7)
    pd.testing.assert_frame_equal(blocks.residuals(), whole.residuals(), rtol=1e-6)


def test_rounding_of_a_constant_does_not_set_groups_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where groups lie apart on a predictor a second search follows, from what holds within them.
    searches = []

    def noted(*args: Any) -> Any:
        searches.append(args)
        return minimise(*args)

    monkeypatch.setattr("multilevel.binary.minimise", noted)
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(40), 50)
    # A constant as it is left by making predictors orthonormal, a few last digits off.
    one = 1.0 + np.spacing(1.0) * (rng.integers(0, 9, 40)[g] + rng.integers(0, 2, len(g)))
    x = np.column_stack([one, rng.normal(size=len(g))])
    y = (rng.random(len(g)) < expit(x[:, 1] + rng.normal(0, 0.7, 40)[g])).astype(float)
    cells, root = Cells(g, x, np.ones(len(g)), y), np.eye(2)
    without = minimise(cells, np.zeros(3), 15, np.zeros(40), True)
    found = _search(cells, root, without, 15)
    assert found.deviance < without.deviance - 10
    assert len(searches) == 1


def test_rows_and_counts_of_them_give_the_same_fit() -> None:
    rows = sample(3)
    counted = rows.groupby(["g", "x", "z"])["y"].agg(["sum", "size"]).reset_index()
    one = fit_binary("y ~ x + z + (1 | g)", rows)
    other = fit_binary("sum ~ x + z + (1 | g)", counted, trials="size")
    pd.testing.assert_frame_equal(one.fixed, other.fixed, rtol=1e-7)
    pd.testing.assert_frame_equal(one.residuals(), other.residuals(), rtol=1e-6)
    # The deviances differ by the orders in which the successes could have come.
    assert other.deviance < one.deviance
    assert other.variance == pytest.approx(one.variance, rel=1e-7)


@pytest.mark.parametrize("formula", ["y ~ center(x) + z", "y ~ scale(x) + z", "y ~ {x - 90} + z"])
def test_the_origin_and_unit_of_a_predictor_change_nothing(formula: str) -> None:
    plain, moved = sample_fit(4, "y ~ x + z + (1 | g)"), sample_fit(4, f"{formula} + (1 | g)")
    assert moved.deviance == pytest.approx(plain.deviance, abs=1e-9)
    assert moved.rates(at={"x": 8})["rate"].to_numpy() == pytest.approx(
        plain.rates(at={"x": 8})["rate"].to_numpy(), abs=1e-7
    )


def test_a_predictor_far_from_zero_is_fitted() -> None:
    rows = sample(4)
    far = fit_binary("y ~ x + (1 | g)", rows.assign(x=rows["x"] + 1e7))
    near = fit_binary("y ~ x + (1 | g)", rows)
    assert far.deviance == pytest.approx(near.deviance, abs=1e-6)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_profile_interval_ends_where_the_deviance_has_risen(level: float) -> None:
    fit = sample_fit(5, "y ~ x + (1 | g)")
    interval = fit.profile_interval(level)
    assert interval.lower < fit.variance < interval.upper
    for bound in interval[1:3]:
        rise = fit._held(bound).deviance - fit._point.deviance
        assert rise == pytest.approx(chi2.ppf(level, 1), abs=1e-6)
    latent, odds = fit.vpc(level=level), fit.median_odds_ratio(level)
    assert latent.upper == pytest.approx(interval.upper / (interval.upper + LATENT))
    assert odds.lower == pytest.approx(np.exp(np.sqrt(2 * interval.lower) * 0.6744897501960817))


def test_a_variance_of_zero_is_found_and_proved() -> None:
    rows = pd.DataFrame({"y": [0, 0, 0, 1, 1] * 8, "g": np.repeat(range(8), 5)})
    fit = fit_binary("y ~ 1 + (1 | g)", rows)
    assert fit.singular
    assert fit.converged
    assert fit.variance == 0.0
    assert np.isnan(fit.variance_se)
    assert fit.deviance == pytest.approx(-2 * (16 * np.log(0.4) + 24 * np.log(0.6)))
    # Score of the variance at zero: the squares of the groups' sums less what chance gives.
    assert fit.certificate.inward == pytest.approx(40 * 0.24)
    test = fit.likelihood_ratio()
    assert (test.statistic, test.p_value_boundary) == (0.0, 1.0)
    assert fit.profile_interval().lower == 0.0 < fit.profile_interval().upper
    assert fit.vpc().lower == fit.vpc("probability").estimate == 0.0
    assert fit.median_odds_ratio().estimate == 1.0
    assert (fit.residuals()["residual"] == 0.0).all()
    assert fit.fixed.loc["Intercept", "se"] == pytest.approx((40 * 0.24) ** -0.5)


def test_expected_counts_add_up_to_what_was_observed() -> None:
    # The marginal score of the intercept is zero at the optimum.
    fit = sample_fit(2, "y ~ x + z + (1 | g)")
    table = fit.residuals()
    assert table["expected"].sum() == pytest.approx(table["successes"].sum(), rel=0.05)
    assert table["rank"].sum() == 12 * 13 / 2
    best = table["residual"].idxmax()
    assert table.loc[best, "rank"] == 1
    assert fit.residuals(lower_is_better=True).loc[best, "rank"] == 12


def test_rates_are_those_of_the_distribution_of_groups() -> None:
    fit = sample_fit(2, "y ~ x + (1 | g)")
    b, sd = fit.fixed["estimate"], fit.variance**0.5
    at = fit.rates([0.05, 0.5, 0.95], at={"x": 12})
    eta = b["Intercept"] + 12 * b["x"] + sd * norm.ppf([0.05, 0.5, 0.95])
    assert at["rate"].to_numpy() == pytest.approx(expit(eta))
    rows = sample(2)
    averaged = expit(b["Intercept"] + b["x"] * rows["x"] + sd * norm.ppf(0.95)).mean()
    assert fit.rates([0.95])["rate"].iat[0] == pytest.approx(averaged)


@pytest.mark.parametrize("variance", [0.0, 0.3, 2.0])
def test_rates_at_another_variance_are_averaged_over_the_rows_too(variance: float) -> None:
    rows = pd.DataFrame({"x": np.linspace(-3, 3, 200), "g": np.tile(np.arange(10), 20)})
    rows["y"] = (np.sin(np.arange(200)) + rows["x"] > 0).astype(float)
    fit = fit_binary("y ~ x + (1 | g)", rows)
    b = fit.fixed["estimate"]
    eta = b["Intercept"] + b["x"] * rows["x"] + variance**0.5 * norm.ppf(0.95)
    found = fit.rates([0.95], variance=variance)["rate"].iat[0]
    assert found == pytest.approx(expit(eta).mean())


def test_the_share_of_the_outcome_itself_is_that_of_simulated_groups() -> None:
    fit = sample_fit(2, "y ~ x + (1 | g)")
    b, sd = fit.fixed["estimate"], fit.variance**0.5
    draws = np.random.default_rng(1).normal(0, sd, 1_000_000)
    p = expit(b["Intercept"] + 12 * b["x"] + draws)
    share = p.var() / (p.mean() * (1 - p.mean()))
    assert fit.vpc("probability", at={"x": 12}).estimate == pytest.approx(share, rel=0.01)


def risen(successes: list[int], trials: int, variance: float) -> float:
    """Rise in deviance to a variance, groups integrated on an even grid and the intercept tried."""
    u, tried = np.linspace(-9, 9, 9_001), np.linspace(-12, 12, 241)
    weight = np.exp(-0.5 * u**2) / np.exp(-0.5 * u**2).sum()

    def lowest(sd: float) -> float:
        def deviance(b: float) -> float:
            p, q = expit(b + sd * u), expit(-b - sd * u)
            return -2 * float(sum(np.log(weight @ (p**s * q ** (trials - s))) for s in successes))

        near = min(tried * max(sd, 1.0) / 4.0, key=deviance)
        found = minimize_scalar(deviance, (near, near + 0.1))
        return float(found.fun)

    optimum = minimize_scalar(lambda log_sd: lowest(np.exp(log_sd)), bounds=(-9, 5))
    return lowest(variance**0.5) - float(optimum.fun)


@pytest.mark.parametrize(
    ("successes", "trials"), [([0, 0, 1], 3), ([2, 0, 1, 0, 0, 1, 0, 0, 0, 0], 2), ([0, 1], 4)]
)
def test_a_bound_far_above_the_estimate_is_integrated_there(
    successes: list[int], trials: int
) -> None:
    """The nodes that settle the estimate leave it up to a fifth too large, or too small."""
    data = pd.DataFrame({"y": successes, "m": trials, "g": range(len(successes))})
    interval = fit_binary("y ~ 1 + (1 | g)", data, trials="m").profile_interval()
    assert interval.upper > 100
    assert risen(successes, trials, interval.upper) == pytest.approx(3.841459, abs=2e-3)


def test_a_bound_of_a_thousand_is_that_of_an_even_grid_and_does_not_move_with_the_nodes() -> None:
    data = pd.DataFrame({"y": [2, 0, 0, 0, 0, 0], "m": 8, "g": range(6)})
    fit = fit_binary("y ~ 1 + (1 | g)", data, trials="m")
    upper = fit.profile_interval().upper
    assert risen([2, 0, 0, 0, 0, 0], 8, upper) == pytest.approx(3.841459, abs=2e-3)
    assert fit.median_odds_ratio().upper == pytest.approx(np.exp(0.9538725524 * upper**0.5))
    with pytest.raises(InputError, match="so large that the likelihood cannot be integrated"):
        fit.profile_interval(1 - 1e-9)


def test_log_odds_that_are_not_told_apart_are_refused_and_not_integrated() -> None:
    """One group in two hundred has a success: at a variance of 1e4 log odds are beyond -300."""
    data = pd.DataFrame({"y": [2] + [0] * 199, "m": 5, "g": range(200)})
    fit = fit_binary("y ~ 1 + (1 | g)", data, trials="m")
    with pytest.raises(InputError, match="so large that the likelihood cannot be integrated"):
        fit._held(1e4)


@pytest.mark.parametrize("sd", [0.3, 2.0, 7.0, 30.0, 100.0])
@pytest.mark.parametrize("place", [0.0, 0.5, -2.0])
def test_the_share_of_the_outcome_is_right_however_far_apart_groups_lie(
    sd: float, place: float
) -> None:
    u = np.linspace(-12, 12, 400_001)
    weight = np.exp(-0.5 * u**2) / np.exp(-0.5 * u**2).sum()
    p = expit(place * sd + sd * u)
    mean, square = p @ weight, p**2 @ weight
    right = (square - mean**2) / (mean - mean**2)
    assert outcome_share(place * sd, sd) == pytest.approx(right, rel=1e-8)


def test_far_out_the_estimate_lies_in_its_interval_and_both_outcomes_have_one() -> None:
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(12), 15), rng.normal(size=180)
    y = rng.binomial(1, expit(2 * x + 1.2 * rng.normal(size=12)[g]))
    data = pd.DataFrame({"y": y, "n": 1 - y, "x": x, "g": g})
    yes, no = (fit_binary(f"{name} ~ x + (1 | g)", data) for name in "yn")
    for place in (0, 8, 15, 20):
        one, other = (fit.vpc("probability", {"x": place}) for fit in (yes, no))
        assert one.lower < one.estimate < one.upper
        np.testing.assert_allclose(one, other, rtol=1e-3)
        # Where the rate is next to nothing it is log-normal: the share is its mean, and variance.
        b, v = no.fixed["estimate"], yes.variance
        if place >= 15:
            mean = np.exp(-abs(b["Intercept"] + b["x"] * place) + v / 2)
            assert one.estimate == pytest.approx(mean * np.expm1(v), rel=1e-3)


def test_categories_and_comparisons_are_columns_like_others() -> None:
    rows = sample(5).assign(kind=lambda d: np.where(d["z"] == 1, "b", "a"))
    one = fit_binary("{y * 1} ~ kind + (1 | g)", rows)
    assert one.deviance == pytest.approx(fit_binary("y ~ z + (1 | g)", rows).deviance)
    early = fit_binary("{x > 10} ~ 1 + (1 | g)", rows)
    assert early.residuals()["successes"].sum() == (rows["x"] > 10).sum()


def test_rows_with_a_missing_value_are_left_out() -> None:
    rows = sample(6)
    rows.loc[[0, 7], "x"] = np.nan
    fit = fit_binary("y ~ x + (1 | g)", rows)
    whole = fit_binary("y ~ x + (1 | g)", rows.dropna())
    assert (fit.n, fit.deviance) == (len(rows) - 2, whole.deviance)
