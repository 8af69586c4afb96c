"""Models that the data cannot identify are refused; units and origins change nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import fit_design

Columns = dict[str, np.ndarray]

ONES = np.ones(12)
G = np.repeat(["a", "b", "c"], 4)
Y = np.array([1, 4, 2, 8, 5, 7, 1, 3, 2, 2, 9, 4], dtype=float)
X = np.array([1, 2, 3, 4, 2, 4, 3, 1, 5, 2, 1, 7], dtype=float)


@pytest.mark.parametrize(
    ("y", "columns", "random", "g", "message"),
    [
        (Y, {"Intercept": ONES, "x": 3 * ONES}, [], G, "column x: .*same value for every patient"),
        (Y, {"Intercept": ONES, "x": 0 * ONES}, [], G, "column x: .*nil for every patient"),
        (Y, {"Intercept": ONES, "x": X, "z": 2 * X - 1}, [], G, "column z: .*predict it exactly"),
        (0 * Y + 4, {"Intercept": ONES, "x": X}, [], G, "column y: every patient has the same"),
        (3 + 2 * X, {"Intercept": ONES, "x": X}, [], G, "column y: .*without error"),
        (Y, {"Intercept": ONES, "x": X}, ["Intercept"], np.arange(12), "more than one patient"),
        (Y, {"Intercept": ONES}, ["Intercept"], ["a"] * 12, "one therapist says nothing"),
        (
            Y,
            {"Intercept": ONES, "x": X, "w": X**2},
            ["Intercept", "x", "w"],
            ["a", "b"] * 6,
            "2 therapists cannot identify 3 random terms",
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
            "2 patients cannot",
        ),
        (Y[:1], {"Intercept": ONES[:1]}, ["Intercept"], G[:1], "1 patients cannot"),
        (Y + 1e6, {"Intercept": ONES, "x": X}, [], G, "column y: .*lost in rounding"),
        (Y, {"Intercept": ONES, "x": X + 1e5}, [], G, "column x: .*lost in rounding"),
        (
            Y,
            {"Intercept": ONES, "b": 1.0 * (G == "b"), "c": 1.0 * (G == "c")},
            ["Intercept"],
            G,
            "already tell every therapist",
        ),
        (Y, {"Intercept": ONES, "x": X * np.nan}, [], G, "not finite"),
    ],
    ids=[
        "constant",
        "nil",
        "dependent",
        "same response",
        "perfect",
        "one each",
        "one therapist",
        "few therapists",
        "small caseloads",
        "no residual",
        "few patients",
        "one patient",
        "response far from nil",
        "predictor far from nil",
        "saturated",
        "not finite",
    ],
)
def test_unidentified_models_are_refused_in_words(
    y: np.ndarray, columns: Columns, random: list[str], g: Sequence[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_design(DesignMoments.from_arrays(y, columns, random, g))


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_predictor_that_stands_for_therapists_is_refused_by_both_methods(method: str) -> None:
    """The REML criterion is flat in the variance then: any number would look like an optimum."""
    frame = pd.DataFrame({"y": Y, "site": np.repeat(["S1", "S2", "S3"], 4), "g": G})
    with pytest.raises(InputError, match="already tell every therapist"):
        pwp.fit_mixed("y ~ site + (1 | g)", frame, method=method)


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
