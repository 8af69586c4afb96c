"""Funnel limits, reliability and rankability against closed forms and other definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binom, norm

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.profiling import (
    funnel_limits,
    overdispersion,
    patients_needed,
    rankability,
    therapist_profile,
)
from pwp_lib.ranking import rank_uncertainty


@pytest.mark.parametrize("rate", [0.02, 0.34, 0.5, 0.9])
@pytest.mark.parametrize("n", [5, 20, 111, 3_000])
def test_limits_of_rates_enclose_the_exact_tails(rate: float, n: int) -> None:
    row = funnel_limits(rate, [n]).iloc[0]
    for name, tail in (("95", 0.025), ("99.8", 0.001)):
        low, high = n * row[f"lower_{name}"], n * row[f"upper_{name}"]
        # Outside lies at most the tail; with the next patient inwards it would be more.
        assert binom.cdf(np.ceil(low) - 1, n, rate) <= tail
        assert binom.cdf(np.ceil(low), n, rate) >= tail or low == 0
        assert binom.sf(np.floor(high), n, rate) <= tail
        assert binom.sf(np.floor(high) - 1, n, rate) >= tail or high == n


def test_limits_of_rates_by_hand() -> None:
    # Ten patients, rate a half: P(X <= 1) = 11/1024, P(X <= 2) = 56/1024; .025 lies between.
    low = 2 - (56 / 1024 - 0.025) / (45 / 1024)
    row = funnel_limits(0.5, [10], levels=[0.95]).iloc[0]
    assert row["lower_95"] == pytest.approx(low / 10)
    assert row["upper_95"] == pytest.approx(1 - low / 10)
    # The distribution function by another way.
    assert beta.sf(0.5, 3, 8) == pytest.approx(56 / 1024)


def test_limits_of_means_are_normal_and_widened_by_dispersion() -> None:
    row = funnel_limits(5.0, [16], sd=4.0, dispersion=2.25).iloc[0]
    assert row["upper_95"] == pytest.approx(5 + 1.5 * norm.ppf(0.975))
    assert row["lower_99.8"] == pytest.approx(5 - 1.5 * norm.ppf(0.999))


def test_limits_of_a_rate_that_nobody_misses_cut_nobody_off() -> None:
    none, everybody = (funnel_limits(rate, [7, 70]) for rate in (0.0, 1.0))
    assert (none["lower_95"] == 0).all()
    assert (everybody["upper_95"] == 1).all()
    assert (none["upper_99.8"] < 1 / none.index).all()
    assert (everybody["lower_99.8"] > 1 - 1 / none.index).all()
    assert funnel_limits(0.5, [4], dispersion=9.0, levels=[0.998]).iloc[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (1.2, {}),
        (-0.1, {}),
        (np.nan, {"sd": 1}),
        (0.5, {"dispersion": -1}),
        (0.5, {"dispersion": np.nan}),
        (5, {"sd": -1}),
        (5, {"sd": np.nan}),
        (0.5, {"sizes": [0]}),
        (0.5, {"sizes": [10.7]}),
        (0.5, {"sizes": [np.nan]}),
        (0.5, {"levels": [95]}),
        (0.5, {"levels": [-1]}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_limits_that_cannot_be_are_refused(target: float, options: dict) -> None:
    with pytest.raises(InputError):
        funnel_limits(target, **({"sizes": [10]} | options))


@pytest.mark.filterwarnings("error")
def test_variances_and_figures_that_cannot_be_are_refused() -> None:
    for between, within in ((np.nan, 4.0), (-1.0, 4.0), (1.0, -4.0), (1.0, np.inf)):
        with pytest.raises(InputError, match="no variance is negative"):
            patients_needed(between, within)
    for between, errors in ((1.0, [-1.0]), (np.nan, [1.0]), (1.0, []), (1.0, [np.nan])):
        with pytest.raises(InputError, match="none of them negative"):
            rankability(between, errors)
    for z in ([], [np.nan], [1.0, np.inf]):
        with pytest.raises(InputError, match="finite"):
            overdispersion(z)


def test_overdispersion_of_the_known_example() -> None:
    observed = np.array([100, 150, 180, 80, 120, 225])
    expected = np.array([108, 112, 165, 95, 100, 220])
    z = np.log(observed / expected) * np.sqrt(expected)
    assert overdispersion(z) == pytest.approx(2.948033, abs=5e-7)
    assert overdispersion([*z, np.nan]) == overdispersion(z)


@pytest.mark.parametrize("reliability", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("ratio", [4.0, 9.7, 30.0])
def test_patients_needed_are_just_enough(reliability: float, ratio: float) -> None:
    n = patients_needed(1.0, ratio, reliability)
    assert n / (n + ratio) >= reliability - 1e-9 > (n - 1) / (n - 1 + ratio) - 2e-9
    assert patients_needed(0.0, ratio) == np.inf
    with pytest.raises(InputError, match="between 0 and 1"):
        patients_needed(1.0, 1.0, 1.0)


def test_rankability_by_hand() -> None:
    assert rankability(1.0, [0.2, 1.0, 7.0]) == pytest.approx(0.5)
    assert rankability(0.0, [1.0, 2.0]) == 0.0


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    who = np.repeat(np.arange(12), [8, 15, 20, 30, 40, 12, 25, 33, 18, 60, 22, 90])
    score = rng.normal(0, 2, 12)[who] + rng.normal(0, 5, len(who))
    return pd.DataFrame({"therapist_id": [f"T{k:02d}" for k in who], "y": score})


@pytest.mark.parametrize("higher_is_worse", [True, False])
def test_a_profile_follows_from_variances_and_draws(
    patients: pd.DataFrame, higher_is_worse: bool
) -> None:
    fit = fit_mixed("y ~ 1 + (1 | therapist_id)", patients)
    table = therapist_profile(fit, higher_is_worse=higher_is_worse, seed=3)
    between, within = float(fit.random_covariance.to_numpy()[0, 0]), fit.residual_variance
    loads = patients["therapist_id"].value_counts()
    assert (table["n"] == loads.reindex(table.index)).all()
    assert np.allclose(table["reliability"], table["n"] / (table["n"] + within / between))
    # A residual is the raw departure times the reliability.
    raw = patients.groupby("therapist_id")["y"].mean() - fit.fixed.loc["Intercept", "estimate"]
    shrunk = fit.residuals()["residual"]
    assert np.allclose((raw * table["reliability"]).reindex(shrunk.index), shrunk, atol=1e-6)
    drawn = rank_uncertainty(fit, seed=3, higher_is_worse=higher_is_worse)
    assert np.allclose(table["expected_rank"], drawn["mean_rank"])
    assert table["percentile"].mean() == pytest.approx(50)
    assert table[["p_upper", "p_lower"]].sum().tolist() == pytest.approx([3, 3])


@pytest.mark.parametrize("bracket", ["1 + x", "0 + x", "0 + center(x)"])
def test_a_profile_away_from_the_mean_first_score_is_refused(
    patients: pd.DataFrame, bracket: str
) -> None:
    """Centred or not it is one model, and therapists are compared where the intercept lies."""
    x = np.random.default_rng(2).integers(5, 25, len(patients))
    data = patients.assign(x=x, y=patients["y"] + 0.3 * x)
    fit = fit_mixed(f"y ~ x + ({bracket} | therapist_id)", data)
    with pytest.raises(InputError, match=r"write center\(x\)"):
        therapist_profile(fit)
    centred = fit_mixed("y ~ x + (1 + center(x) | therapist_id)", data)
    assert therapist_profile(centred)["reliability"].between(0, 1).all()


@pytest.mark.parametrize("square", ["{center(x) ** 2}", "center({x ** 2})"])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_a_profile_with_a_square_is_at_the_mean_first_score(
    patients: pd.DataFrame, square: str, far: float
) -> None:
    """The square of what is centred is zero there, whatever its mean; a centred square is not."""
    x = far + np.random.default_rng(2).integers(5, 25, len(patients))
    data = patients.assign(x=x, y=patients["y"] + 0.3 * x)
    formula = f"y ~ center(x) + {square} + (1 + center(x) + {square} | therapist_id)"
    fit = fit_mixed(formula, data)
    if square.startswith("center"):
        with pytest.raises(InputError, match="no intercept where its predictors have their means"):
            therapist_profile(fit)
        return
    table = therapist_profile(fit)
    # The effect and its variance at the mean, by hand from the terms.
    terms = np.column_stack([np.ones(len(x)), x - x.mean(), (x - x.mean()) ** 2])
    at = np.array([1.0, 0.0, 0.0])
    between = at @ fit.random_covariance.to_numpy() @ at
    expected = table["n"] / (table["n"] + fit.residual_variance / between)
    assert np.allclose(table["reliability"], expected)
    by_hand = data["y"] - terms @ fit.fixed["estimate"].to_numpy()
    departure = by_hand.groupby(data["therapist_id"]).mean()
    assert np.allclose(table["departure"], departure.reindex(table.index), atol=1e-6)
    effects = fit.residuals()["residual"]
    assert table["expected_rank"].corr(effects.reindex(table.index), method="spearman") > 0.9


def test_a_profile_of_uneven_spread_is_of_patients_as_they_are(patients: pd.DataFrame) -> None:
    """Sums of rows divided by their scales are no sums of scores."""
    x = np.random.default_rng(2).integers(5, 25, len(patients))
    data = patients.assign(x=x, y=patients["y"] * np.exp(0.03 * x) + 0.3 * x)
    fit = fit_mixed("y ~ center(x) + (1 | therapist_id)", data, spread="exp(x)")
    table = therapist_profile(fit)
    assert (table["n"] == data["therapist_id"].value_counts().reindex(table.index)).all()
    left = data["y"] - fit.fixed["estimate"].to_numpy() @ [np.ones(len(x)), x - x.mean()]
    departure = left.groupby(data["therapist_id"]).mean()
    assert np.allclose(table["departure"], departure.reindex(table.index), atol=1e-9)
    within = fit.residual_variance * np.exp(2 * fit.spread.delta * x.mean())
    between = float(fit.random_covariance.to_numpy()[0, 0])
    assert np.allclose(table["reliability"], table["n"] / (table["n"] + within / between))


def test_a_percentile_is_the_chance_that_a_colleague_does_better(patients: pd.DataFrame) -> None:
    """Lingsma's formula: the sum over colleagues of the chance, half for oneself."""
    fit = fit_mixed("y ~ 1 + (1 | therapist_id)", patients)
    found = fit.residuals()
    centre, se = found["residual"].to_numpy(), found["se"].to_numpy()
    apart = centre[:, None] - centre[None, :]
    chance = norm.cdf(apart / np.hypot(se[:, None], se[None, :]))
    expected = 100 * chance.mean(axis=1)  # the diagonal is a half
    table = therapist_profile(fit).reindex(found.index)
    assert np.allclose(table["percentile"], expected, atol=1.5)
