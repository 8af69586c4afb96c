"""A residual SD that depends on a predictor, against nlme (`tests/reference/spread.R`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel import InputError, MixedFit, Moments, fit_mixed, likelihood_ratio_test

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "spread.csv", comment="#")
#: Data, spread and method of slope models where nlme stops above the optimum: by 5 where the
#: correlation is one (power), by less than .001 elsewhere.
STOPPED_SHORT = {
    ("exp", "power", "ML"),
    ("exp", "power", "REML"),
    ("phq9", "exp", "ML"),
    ("phq9", "exp", "REML"),
    ("gad7", "exp", "ML"),
}
PAPER = "phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 + center(phq9_pre) | therapist_id)"


@pytest.fixture(scope="module")
def sets() -> Iterator[ModuleType]:
    """Give the module that makes the simulated sets."""
    sys.path.insert(0, str(REFERENCE))
    import references_data

    yield references_data
    sys.path.remove(str(REFERENCE))


def model(sets: ModuleType, row: pd.Series) -> tuple[str, pd.DataFrame, str]:
    """Formula, rows and spread of a case."""
    bracket = "1" if row["random"] == "intercept" else "1 + center({own})"
    if row["data"] in ("phq9", "gad7"):
        own, other = ("phq9", "gad7") if row["data"] == "phq9" else ("gad7", "phq9")
        data = pwp.load_cohort().patients
        fixed = f"{own}_post ~ center({own}_pre) * center({other}_pre)"
        variable, shifted, group = f"{own}_pre", f"{own}_pre + 1", "therapist_id"
    else:
        data, fixed, variable, group = sets.uneven_spread(row["data"]), "y ~ center(v)", "v", "g"
        shifted = variable
    formula = f"{fixed} + ({bracket.format(own=variable)} | {group})"
    spread = f"power({shifted})" if row["spread"] == "power" else f"exp({variable})"
    return formula, data, spread


@pytest.mark.parametrize("case", range(len(FIGURES)))
def test_agrees_with_nlme(sets: ModuleType, case: int) -> None:
    row = FIGURES.iloc[case]
    formula, data, spread = model(sets, row)
    fit = fit_mixed(formula, data, method=row["method"], spread=spread)
    assert fit.spread is not None
    assert fit.converged
    key = (row["data"], row["spread"], row["method"])
    if row["random"] == "slope" and key in STOPPED_SHORT:
        assert fit.deviance < row["deviance"] - 1e-4
        return
    assert -1e-4 < fit.deviance - row["deviance"] < 1e-6
    np.testing.assert_allclose(fit.spread.delta, row["delta"], atol=2e-5)
    np.testing.assert_allclose(fit.residual_variance, row["sigma2"], rtol=5e-4)
    np.testing.assert_allclose(
        fit.random_covariance.to_numpy()[0, 0], row["variance"], rtol=5e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        fit.fixed["estimate"].iloc[:2], row[["intercept", "x"]].astype(float), rtol=1e-3
    )


def test_simulated_delta_is_within_two_and_a_half_standard_errors(sets: ModuleType) -> None:
    for name, (_, delta) in sets.SPREAD_TRUTH.items():
        text = "power(v)" if name == "power" else "exp(v)"
        found = fit_mixed("y ~ v + (1 + v | g)", sets.uneven_spread(name), spread=text).spread
        assert found is not None
        assert abs(found.delta - delta) < 2.5 * found.se


def test_therapist_effect_follows_the_spread() -> None:
    patients = pwp.load_cohort().patients
    fit = fit_mixed(PAPER, patients, spread="power(phq9_pre + 1)")
    effects = [round(100 * fit.vpc(at={"phq9_pre": v}), 1) for v in (2, 8, 12.5, 20)]
    assert effects == [14.6, 8.8, 9.3, 11.1]
    curve = fit.vpc_curve("phq9_pre", [2, 8, 12.5, 20])
    np.testing.assert_allclose(100 * curve["vpc"], effects, atol=0.06)
    assert (curve["lower"] < curve["vpc"]).all()
    assert (curve["vpc"] < curve["upper"]).all()
    fixed_delta = pwp.fit_mixed(PAPER, patients)
    assert fit.n_parameters == fixed_delta.n_parameters + 1
    assert fit.spread is not None
    np.testing.assert_allclose(fit.spread.ratio, fixed_delta.deviance - fit.deviance, atol=1e-6)


def test_intercept_alone_takes_the_spreads_own_predictor() -> None:
    patients = pwp.load_cohort().patients
    formula = "phq9_post ~ phq9_pre + (1 | therapist_id)"
    fit = fit_mixed(formula, patients, spread="exp(phq9_pre)")
    assert fit.vpc(at={"phq9_pre": 2}) > fit.vpc() > fit.vpc(at={"phq9_pre": 20})


def test_curve_carries_the_uncertainty_of_delta() -> None:
    fit = fit_mixed(PAPER, pwp.load_cohort().patients, spread="power(phq9_pre + 1)")
    assert fit.spread is not None
    low, high = fit.spread.neighbours
    assert low.spread.delta < fit.spread.delta < high.spread.delta
    # At one standard error the profile has risen by one.
    np.testing.assert_allclose([low.deviance, high.deviance], fit.deviance + 1, atol=0.05)


@pytest.mark.parametrize(("method", "ratio"), [("ML", 270.6332), ("REML", 268.1762)])
def test_the_test_of_a_spread_is_that_of_nlme(method: str, ratio: float) -> None:
    patients = pwp.load_cohort().patients
    plain = fit_mixed(PAPER, patients, method=method)
    uneven = fit_mixed(PAPER, patients, method=method, spread="power(phq9_pre + 1)")
    test = likelihood_ratio_test(plain, uneven)
    assert (test.df, test.statistic) == (1, pytest.approx(ratio, abs=1e-4))
    assert test.p_value == test.p_value_boundary
    assert "delta: 0.6" in uneven.summary()
    assert f"likelihood ratio against delta = 0: {ratio:.2f}" in uneven.summary()
    assert "delta" not in plain.summary()


INTERCEPT = PAPER.replace("(1 + center(phq9_pre) |", "(1 |")


@pytest.mark.parametrize("spread", ["power(phq9_pre + 1)", "exp(phq9_pre)", "exp(gad7_pre / 9)"])
def test_fits_of_one_spread_are_compared(spread: str) -> None:
    """However it is written: delta is a parameter of both, or of the larger alone."""
    patients = pwp.load_cohort().patients
    small, large = (fit_mixed(f, patients, spread=spread) for f in (INTERCEPT, PAPER))
    again = fit_mixed(INTERCEPT, patients, spread=spread.replace(" ", "  "))
    assert likelihood_ratio_test(small, large).df == 2
    assert likelihood_ratio_test(again, large).statistic == pytest.approx(
        small.deviance - large.deviance, abs=1e-6
    )
    assert likelihood_ratio_test(fit_mixed(INTERCEPT, patients), large).df == 3


def test_fits_of_other_spreads_are_not() -> None:
    patients = pwp.load_cohort().patients
    spreads = (None, "power(phq9_pre + 1)", "power(phq9_pre + 2)", "exp(phq9_pre + 1)")
    small = [fit_mixed(INTERCEPT, patients, spread=s) for s in spreads]
    large = [fit_mixed(PAPER, patients, spread=s) for s in spreads]
    for i, one in enumerate(small[1:], start=1):
        for j, other in enumerate(large):
            if i != j:
                with pytest.raises(InputError, match="residual spread"):
                    likelihood_ratio_test(one, other)
    with pytest.raises(InputError, match="the same"):
        likelihood_ratio_test(small[1], small[1])
    with pytest.raises(InputError, match="different rows"):
        likelihood_ratio_test(fit_mixed(INTERCEPT, patients.iloc[1:]), large[1])


@pytest.mark.parametrize(
    ("spread", "said"),
    [
        ("linear(phq9_pre)", "cannot be read"),
        ("power(phq9_pre)", "above zero in every row"),
        ("power(center(phq9_pre))", "columns and arithmetic"),
        ("exp(nothing)", "nothing"),
        ("exp(phq9_pre * 0)", "does not vary"),
    ],
)
def test_refusals(spread: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_mixed(PAPER, pwp.load_cohort().patients, spread=spread)


def test_moments_and_lazy_frames_are_refused() -> None:
    patients = pwp.load_cohort().patients
    with pytest.raises(InputError, match="stored moments"):
        fit_mixed(PAPER, Moments.for_formula(PAPER, patients), spread="exp(phq9_pre)")
    with pytest.raises(InputError, match="profile"):
        fit_mixed(PAPER, patients, spread="exp(phq9_pre)").profile_interval()


def uneven(v: np.ndarray, log_sd: np.ndarray, seed: int = 1) -> pd.DataFrame:
    """Rows of twenty groups whose residual SD is given."""
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, 20, len(v)), rng.normal(size=len(v))
    y = 1 + rng.normal(size=20)[g] + x + np.exp(log_sd) * rng.normal(size=len(v))
    return pd.DataFrame({"y": y, "x": x, "v": v, "g": g})


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize(("far", "width"), [(70.0, 3.0), (2015.0, 300.0), (2e7, 3e6)])
def test_the_unit_of_the_variable_changes_sigma_alone(
    far: float, width: float, method: str
) -> None:
    """However far from one it lies, which is where its powers are large or small."""
    z = np.random.default_rng(5).uniform(-1, 1, 400)
    data = uneven(far + width * z, 0.3 * z)
    formula = "y ~ x + (1 | g)"
    one, other = (
        fit_mixed(formula, data, method, spread=s) for s in ("power(v)", f"power(v / {far})")
    )
    assert one.spread is not None
    assert other.spread is not None
    np.testing.assert_allclose(one.deviance, other.deviance, atol=1e-7)
    np.testing.assert_allclose(one.spread.delta, other.spread.delta, rtol=1e-4)
    place = {"v": far + width}
    np.testing.assert_allclose(one.vpc(place), other.vpc(place), rtol=1e-4)


@pytest.mark.parametrize("spread", ["power(v)", "exp(v)"])
def test_a_sigma_that_is_no_number_is_refused_with_what_to_write(spread: str) -> None:
    v = np.random.default_rng(5).integers(2008, 2022, 400).astype(float)
    data = uneven(v, 0.12 * (v - 2015))
    with pytest.raises(InputError, match=r"power\(x / 50\), exp\(x - 50\)"):
        fit_mixed("y ~ x + (1 | g)", data, spread=spread)
    as_told = "power(v / 2015)" if spread == "power(v)" else "exp(v - 2015)"
    found = fit_mixed("y ~ x + (1 | g)", data, spread=as_told).spread
    assert found is not None
    assert found.ratio > 50


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("bracket", ["", " + (1 | g)"])
def test_a_likelihood_without_a_maximum_is_refused(bracket: str, value: float) -> None:
    """Rows of one value are predicted without error, and could count for more for ever."""
    b = np.arange(300) < 60
    data = uneven(b.astype(float), np.zeros(300)).assign(b=np.where(b, value, 1 - value))
    data.loc[b, "y"] = 1 + 2 * data["x"]
    # Of groups of their own, in which nothing else tells of the group.
    data.loc[b, "g"] = 20 + data["g"] % 3
    with pytest.raises(InputError, match="no maximum in delta"):
        fit_mixed("y ~ x" + bracket, data, spread="exp(b)")


def few_rows(groups: list[int]) -> pd.DataFrame:
    """Three hundred rows, of which as many as are listed have another value, in these groups."""
    b = np.arange(300) < len(groups)
    data = uneven(b.astype(float), np.zeros(300))
    data.loc[b, "g"] = groups
    return data


def deviance_far_out(data: pd.DataFrame, bracket: str, depth: float) -> float:
    """Of few rows' SD e to this power below the others'; fixed terms and variances held.

    A line through two of the rows, and effects of groups of variance one.
    """
    few = data["v"] == 1.0
    x = np.column_stack([np.ones(300), data["x"]])
    beta = np.linalg.lstsq(x[few][:2], data["y"][few][:2])[0]
    same = (data["g"].to_numpy()[:, None] == data["g"].to_numpy()) * float(bracket != "")
    if bracket:  # the effects' means are no part of what is fitted: a slope alone, by differences
        one, other = np.flatnonzero(few & (data["g"] == data["g"][0]))[:2]
        slope = (data["y"][one] - data["y"][other]) / (data["x"][one] - data["x"][other])
        beta = np.array([data["y"][few].mean() - slope * data["x"][few].mean(), slope])
    whole = same + np.diag(np.where(few, np.exp(-2.0 * depth), 1.0))
    left = data["y"].to_numpy() - x @ beta
    root = np.linalg.cholesky(whole)
    squares = float((np.linalg.solve(root, left) ** 2).sum())
    return squares + 2.0 * float(np.log(np.diagonal(root)).sum()) + 300 * np.log(2 * np.pi)


@pytest.mark.parametrize(
    ("bracket", "groups"),
    [("", [0]), ("", [0, 1]), (" + (1 | g)", [0, 0]), (" + (1 | g)", [0, 0, 1])],
)
def test_a_maximum_that_is_none_of_all_is_refused(bracket: str, groups: list[int]) -> None:
    """Two terms predict two rows, and an effect one more: their density has no bound."""
    data = few_rows(groups)
    for frame in (data, data.assign(v=1.0 - data["v"])):
        with pytest.raises(InputError, match="no maximum in delta: rows at one end of its"):
            fit_mixed("y ~ x" + bracket, frame, spread="exp(v)")
    if len(groups) > 1:
        # The steps are those that the rule counts: rows less effects.
        near, far = (deviance_far_out(data, bracket, depth) for depth in (8.0, 11.0))
        falls = len(groups) - (len(set(groups)) if bracket else 0)
        assert far - near == pytest.approx(-2.0 * falls * 3.0, abs=1e-3)


@pytest.mark.parametrize(
    ("bracket", "groups", "method"),
    [
        ("", [0, 1, 2], "ML"),
        (" + (1 | g)", [0, 1, 2], "ML"),
        ("", [0, 1], "REML"),
        (" + (1 | g)", [0, 0, 1], "REML"),
    ],
)
def test_few_rows_that_cannot_be_predicted_are_fitted(
    bracket: str, groups: list[int], method: str
) -> None:
    fit = fit_mixed("y ~ x" + bracket, few_rows(groups), method, spread="exp(v)")
    assert fit.converged
    assert fit.spread is not None
    assert abs(fit.spread.delta) < 3 * fit.spread.se


def test_a_flat_likelihood_is_called_flat() -> None:
    """Under REML a row that its own term predicts tells nothing: not of delta either."""
    with pytest.raises(InputError, match="flat in delta where it is highest"):
        fit_mixed("y ~ x", few_rows([0]), "REML", spread="exp(v)")


@pytest.mark.parametrize("seed", [49, 54])
def test_a_maximum_too_far_to_be_computed_is_said_to_be_there(seed: int) -> None:
    """In exact arithmetic it is there, the SD of a few rows a ten-millionth of the others'."""
    v = np.exp(2 * np.random.default_rng(seed).normal(size=24))
    with pytest.raises(InputError, match="no maximum in delta that can be computed"):
        fit_mixed("y ~ x", uneven(v, 0 * v, seed), spread="exp(v)")


def test_a_place_where_the_scale_is_no_number_is_refused() -> None:
    z = np.random.default_rng(5).uniform(-1, 1, 400)
    data = uneven(z, 0.3 * z)
    fit = fit_mixed("y ~ x + (1 | g)", data, spread="exp(1 / (v + 3))")
    for far in (-3.0, -3.0 + 1e-9):
        with pytest.raises(InputError, match="this far from the data"):
            fit.vpc({"v": far})
        with pytest.raises(InputError, match="this far from the data"):
            fit.vpc_curve("v", [0.0, far])
    with pytest.raises(InputError, match="undefined"):
        fit_mixed("y ~ x + (1 | g)", data.assign(v=data["v"].round()), spread="exp(1 / v)")


def valleys(seed: int, base: int, groups: tuple[int, int], rows: tuple[int, int]) -> pd.DataFrame:
    """A few rows of groups with slopes, whose residual SD is a power of the predictor."""
    rng = np.random.default_rng(seed + base)
    g = np.repeat(np.arange(j := int(rng.integers(*groups))), rng.integers(*rows, j))
    x = rng.integers(0, 28, len(g)).astype(float)
    y = x * 0.3 + rng.normal(0, rng.choice([0.1, 0.5, 1]), j)[g]
    y = y + (x - 14) * rng.normal(0, 0.05, j)[g]
    noise = [rng.standard_t(2, len(g)), rng.normal(size=len(g))][seed // 2 % 2]
    return pd.DataFrame(
        {"y": y + noise * (x + 1) ** rng.choice([-1.0, -0.5, 0.3, 0.8]), "x": x, "g": g}
    )


def dense_deviance(data: pd.DataFrame, fit: MixedFit) -> float:
    """Of the rows themselves, at a fit's estimates."""
    assert fit.spread is not None
    x, same = data["x"].to_numpy(), data["g"].to_numpy()[:, None] == data["g"].to_numpy()
    z = np.column_stack([np.ones(len(x)), x - x.mean()])
    whole = fit.residual_variance * np.diag((x + 1) ** (2 * fit.spread.delta))
    whole += (z @ fit.random_covariance.to_numpy() @ z.T) * same
    fixed = np.column_stack([np.ones(len(x)), x])
    left = data["y"].to_numpy() - fixed @ fit.fixed["estimate"].to_numpy()
    squares = left @ np.linalg.solve(whole, left)
    return float(squares + np.linalg.slogdet(whole)[1] + len(x) * np.log(2 * np.pi))


@pytest.mark.parametrize(
    ("seed", "base", "groups", "rows", "delta", "deviance"),
    [(101, 5_000, (3, 7), (2, 9), -1.485, 11.261), (345, 90_000, (3, 9), (3, 12), -1.116, 156.567)],
)
def test_the_deepest_of_several_valleys_is_found(
    seed: int,
    base: int,
    groups: tuple[int, int],
    rows: tuple[int, int],
    delta: float,
    deviance: float,
) -> None:
    """Figures of a dense profile over delta; nlme finds the first, and fails with the second."""
    data = valleys(seed, base, groups, rows)
    fit = fit_mixed("y ~ x + (1 + center(x) | g)", data, spread="power(x + 1)")
    assert fit.spread is not None
    assert fit.converged
    assert fit.spread.delta == pytest.approx(delta, abs=5e-3)
    assert fit.deviance == pytest.approx(deviance, abs=1e-3)
    assert fit.deviance == pytest.approx(dense_deviance(data, fit), abs=1e-6)
