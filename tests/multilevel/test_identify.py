"""Models that the data cannot identify are refused; units and origins change nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design

Columns = dict[str, np.ndarray]

ONES = np.ones(12)
G = np.repeat(["a", "b", "c"], 4)
Y = np.array([1, 4, 2, 8, 5, 7, 1, 3, 2, 2, 9, 4], dtype=float)
X = np.array([1, 2, 3, 4, 2, 4, 3, 1, 5, 2, 1, 7], dtype=float)


@pytest.mark.parametrize(
    ("y", "columns", "random", "g", "message"),
    [
        (Y, {"Intercept": ONES, "x": 3 * ONES}, [], G, "column x: .*predict it exactly"),
        (Y, {"Intercept": ONES, "x": 0 * ONES}, [], G, "column x: .*predict it exactly"),
        (Y, {"Intercept": ONES, "x": X, "z": 2 * X - 1}, [], G, "column z: .*predict it exactly"),
        (0 * Y + 4, {"Intercept": ONES, "x": X}, [], G, "column y: .*without error"),
        (3 + 2 * X, {"Intercept": ONES, "x": X}, [], G, "column y: .*without error"),
        (
            Y,
            {"Intercept": ONES, "x": X},
            ["Intercept"],
            np.arange(12),
            "too small for these random terms",
        ),
        (Y, {"Intercept": ONES}, ["Intercept"], ["a"] * 12, r"too few \(1\) to identify"),
        (
            Y,
            {"Intercept": ONES, "x": X, "w": X**2},
            ["Intercept", "x", "w"],
            ["a", "b"] * 6,
            r"too few \(2\) to identify the random terms \(3\)",
        ),
        (Y, {"Intercept": ONES, "x": X}, ["Intercept", "x"], np.arange(12) // 2, "too small"),
        (
            np.repeat([1.0, 5.0, 2.0], 4),
            {"Intercept": ONES},
            ["Intercept"],
            G,
            "no residual variance",
        ),
        (
            Y[:2],
            {"Intercept": ONES[:2], "x": X[:2]},
            [],
            G[:2],
            "2 rows cannot",
        ),
        (Y[:1], {"Intercept": ONES[:1]}, ["Intercept"], G[:1], "1 rows cannot"),
        (
            Y,
            {"Intercept": ONES, "b": 1.0 * (G == "b"), "c": 1.0 * (G == "c")},
            ["Intercept"],
            G,
            "nothing of the random term Intercept",
        ),
        (Y, {"Intercept": ONES, "x": X * np.nan}, [], G, "finite numbers"),
    ],
    ids=[
        "constant",
        "nil",
        "dependent",
        "same response",
        "perfect",
        "one each",
        "one group",
        "few groups",
        "small groups",
        "no residual",
        "few rows",
        "one row",
        "saturated",
        "not finite",
    ],
)
def test_unidentified_models_are_refused_in_words(
    y: np.ndarray, columns: Columns, random: list[str], g: Sequence[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_design(DesignMoments.from_arrays(y, columns, random, g))


@pytest.mark.parametrize("seed", [18, 139, 477, 479, 975, *range(20)])
def test_groups_no_larger_than_their_random_terms_are_refused(seed: int) -> None:
    """Every row is then predicted, however the rounding of what is left falls out."""
    rng = np.random.default_rng(seed)
    terms = int(rng.integers(1, 4))
    groups = int(rng.integers(max(terms, 2) + 3, 30))
    g = np.repeat(np.arange(groups), rng.integers(1, terms + 1, groups))
    unit = 10.0 ** rng.integers(-6, 7)
    x = unit * (rng.choice([0, 1, 30, 1000]) + rng.normal(size=len(g)))
    z = rng.normal(size=len(g)) + rng.choice([0, 100])
    frame = pd.DataFrame({"g": g, "x": x, "z": z, "y": rng.normal(size=len(g))})
    random = ["1", "1 + x", "1 + x + z"][terms - 1]
    with pytest.raises(InputError, match="too small for these random terms"):
        pwp.fit_mixed(f"y ~ x + ({random} | g)", frame)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_predictor_that_stands_for_groups_is_refused_by_both_methods(method: str) -> None:
    """The REML criterion is flat in the variance then: any number would look like an optimum."""
    frame = pd.DataFrame({"y": Y, "site": np.repeat(["S1", "S2", "S3"], 4), "g": G})
    with pytest.raises(InputError, match="nothing of the random term Intercept"):
        pwp.fit_mixed("y ~ site + (1 | g)", frame, method=method)


@pytest.mark.parametrize("groups", [4, 700])
def test_the_random_term_of_which_nothing_is_left_is_named(groups: int) -> None:
    """A rare category within one group, with its fixed effect, varies between no groups."""
    rng = np.random.default_rng(groups)
    g = np.repeat(np.arange(groups), 6)
    frame = pd.DataFrame({"g": g, "y": rng.normal(size=groups)[g] + rng.normal(size=g.size)})
    frame["rare"] = 1.0 * (np.arange(g.size) < 3)
    with pytest.raises(InputError, match="nothing of the random term rare"):
        pwp.fit_mixed("y ~ rare + (1 + rare | g)", frame)
    assert pwp.fit_mixed("y ~ 1 + (1 + rare | g)", frame).n_groups == groups


@pytest.mark.parametrize(("unit", "origin"), [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e3), (1e-6, -1e-4)])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_units_and_origins_change_nothing(unit: float, origin: float, method: str) -> None:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(15), 12)
    x = rng.normal(size=len(g))
    y = 3 + x + rng.normal(size=15)[g] + 0.4 * rng.normal(size=15)[g] * x + rng.normal(size=len(g))

    def fitted(response: np.ndarray, predictor: np.ndarray) -> tuple[float, float, float]:
        frame = pd.DataFrame({"y": response, "x": predictor, "g": g})
        fit = pwp.fit_mixed("y ~ center(x) + (1 + center(x) | g)", frame, method=method)
        assert fit.converged
        return fit.vpc(), fit.fixed["z"].iloc[1], fit.random_correlation.iloc[0, 1]

    assert fitted(origin + unit * y, origin + unit * x) == pytest.approx(fitted(y, x), rel=1e-6)


def dense_deviance(y: np.ndarray, x: np.ndarray, g: np.ndarray, fit: MixedFit) -> float:
    """Minus twice the log-likelihood of a random intercept by the whole covariance matrix."""
    between = float(fit.random_covariance.iloc[0, 0])
    v = fit.residual_variance * np.eye(len(y)) + between * (g[:, None] == g)
    columns = np.column_stack([np.ones_like(x), x])
    inverse = np.linalg.inv(v)
    beta = np.linalg.solve(columns.T @ inverse @ columns, columns.T @ inverse @ y)
    rest = y - columns @ beta
    return float(np.linalg.slogdet(2 * np.pi * v)[1] + rest @ inverse @ rest)


@pytest.mark.neighbours
@pytest.mark.parametrize("far_y", [0.0, 1e6, -3e8])
@pytest.mark.parametrize("far_x", [0.0, 2014.0, 1e6])
@pytest.mark.parametrize("steep", [0.5, 1e3, -40.0])
@pytest.mark.parametrize("given", ["frame", "arrays", "moments"])
def test_far_from_zero_and_all_but_predicted(
    far_y: float, far_x: float, steep: float, given: str
) -> None:
    """Neither a response far from zero nor a huge R-squared costs the deviance its digits."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(12), 10)
    # Multiples of a power of two, so that what is added costs the data no digit.
    x = np.rint(rng.normal(size=len(g)) * 64) / 64
    y = np.rint((rng.normal(size=12)[g] + rng.normal(size=len(g)) * 3.5) * 64) / 64 + steep * x
    frame = pd.DataFrame({"y": y + far_y, "x": x + far_x, "g": g})
    formula = "y ~ x + (1 | g)"
    if given == "arrays":
        columns = {"Intercept": np.ones(len(g)), "x": frame["x"].to_numpy()}
        fit = fit_design(DesignMoments.from_arrays(frame["y"], columns, ["Intercept"], g))
    else:
        data = frame if given == "frame" else pwp.Moments.for_formula(formula, frame)
        fit = pwp.fit_mixed(formula, data)
    near = pwp.fit_mixed(formula, frame.assign(y=y - steep * x, x=x))
    assert fit.converged
    # A slope more or less is the same model: so is where the columns start.
    assert fit.deviance == pytest.approx(dense_deviance(y - steep * x, x, g, fit), abs=1e-7)
    assert fit.deviance == pytest.approx(near.deviance, abs=1e-7)
    assert fit.fixed["estimate"]["x"] == pytest.approx(near.fixed["estimate"]["x"] + steep)
    assert fit.fixed["se"]["x"] == pytest.approx(near.fixed["se"]["x"])
    assert fit.vpc() == pytest.approx(near.vpc(), rel=1e-6)


def test_the_sampler_keeps_its_digits_far_from_zero() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(10), 12)
    x = np.rint(rng.normal(size=len(g)) * 64) / 64
    y = np.rint((rng.normal(size=10)[g] + x + rng.normal(size=len(g)) * 3) * 64) / 64
    frame = pd.DataFrame({"y": y, "x": x, "g": g})
    drawn = [
        pwp.sample_posterior("y ~ x + (1 | g)", data, draws=500)
        for data in (frame, frame.assign(y=y + 1e6, x=x + 1e5))
    ]
    np.testing.assert_allclose(drawn[1].vpc, drawn[0].vpc, rtol=1e-6)
    np.testing.assert_allclose(drawn[1].beta[..., 1], drawn[0].beta[..., 1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("formula", "same"),
    [
        ("y ~ 0 + one + (1 | g)", "y ~ 1 + (1 | g)"),
        ("y ~ 0 + two + x + (1 | g)", "y ~ x + (1 | g)"),
        ("y ~ x + (1 + far | g)", "y ~ x + (1 + x | g)"),
        ("y ~ far + (1 + far | g)", "y ~ x + (1 + x | g)"),
    ],
)
def test_a_constant_or_a_slope_written_otherwise_is_the_same_model(formula: str, same: str) -> None:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 20), rng.normal(size=240)
    y = x + rng.normal(size=12)[g] + rng.normal(size=240)
    frame = pd.DataFrame({"g": g, "x": x, "y": y, "one": 1.0, "two": 2.0, "far": 1e9 + x})
    found, right = (pwp.fit_mixed(f, frame).deviance for f in (formula, same))
    assert found == pytest.approx(right, abs=1e-5)


def test_arrow_booleans_may_lack_values() -> None:
    rng = np.random.default_rng(2)
    plain = pd.DataFrame({"g": np.repeat(np.arange(8), 10), "y": rng.normal(size=80)})
    yes = rng.random(80) < 0.5
    arrow = plain.assign(b=pd.array([None, *yes[1:]], dtype="bool[pyarrow]"))
    right = pwp.fit_mixed("y ~ b + (1 | g)", plain.assign(b=yes.astype(float)).iloc[1:])
    assert pwp.fit_mixed("y ~ b + (1 | g)", arrow).deviance == pytest.approx(right.deviance)
