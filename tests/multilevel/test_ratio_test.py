"""Likelihood-ratio tests: their mixtures, and which fits are nested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pwp_lib as pwp
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design
from multilevel.ratio_test import likelihood_ratio_test

Columns = dict[str, np.ndarray]


def cohort_arrays(seed: int) -> tuple[np.ndarray, Columns, np.ndarray]:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(12), rng.integers(7, 28, size=12))
    x = rng.normal(10, 3, len(g))
    u = rng.normal(size=(12, 2)) * np.array([1.5, 0.5])
    y = 2 + 0.5 * x + u[g, 0] + u[g, 1] * (x - 10) + rng.normal(0, 2, len(g))
    return y, {"Intercept": np.ones(len(g)), "x": x}, g


def arrays_fit(seed: int, random: Sequence[str]) -> MixedFit:
    y, columns, g = cohort_arrays(seed)
    return fit_design(DesignMoments.from_arrays(y, columns, random, g))


def test_likelihood_ratio_tests_and_their_boundary_mixtures() -> None:
    single, intercept, slope = (arrays_fit(15, r) for r in ([], ["Intercept"], ["Intercept", "x"]))
    one = likelihood_ratio_test(single, intercept)
    assert (one.df, one.statistic) == (1, pytest.approx(single.deviance - intercept.deviance))
    assert one.p_value == pytest.approx(stats.chi2.sf(one.statistic, 1))
    assert one.p_value_boundary == pytest.approx(one.p_value / 2)
    two = likelihood_ratio_test(intercept, slope)
    assert two.df == 2
    halves = (stats.chi2.sf(two.statistic, 1) + stats.chi2.sf(two.statistic, 2)) / 2
    assert two.p_value_boundary == pytest.approx(halves)
    both = likelihood_ratio_test(single, slope)
    assert both.df == 3
    assert np.isnan(both.p_value_boundary)
    assert list(one.table().columns) == ["statistic", "df", "p_value", "p_value_boundary"]


def test_likelihood_ratio_test_of_a_fixed_term_has_no_mixture() -> None:
    y, columns, g = cohort_arrays(15)
    less = {"Intercept": columns["Intercept"]}
    small = fit_design(DesignMoments.from_arrays(y, less, ["Intercept"], g))
    large = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], g))
    test = likelihood_ratio_test(small, large)
    assert test.p_value == test.p_value_boundary


def test_nothing_gained_gives_p_of_one() -> None:
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(8), 10)
    y = rng.normal(size=(8, 10))
    y = (y - 0.95 * y.mean(axis=1, keepdims=True)).ravel()
    columns = {"Intercept": np.ones(80)}
    fits = [fit_design(DesignMoments.from_arrays(y, columns, r, g)) for r in ([], ["Intercept"])]
    test = likelihood_ratio_test(*fits)
    assert test.statistic == pytest.approx(0.0, abs=1e-9)
    assert test.p_value_boundary == pytest.approx(1.0, abs=1e-4)


def test_incomparable_fits_are_refused() -> None:
    y, columns, g = cohort_arrays(15)
    less = {"Intercept": columns["Intercept"]}

    def made(
        c: Columns, random: list[str], method: str = "ML", response: np.ndarray = y
    ) -> MixedFit:
        return fit_design(DesignMoments.from_arrays(response, c, random, g), method)

    large = made(columns, ["Intercept"])
    with pytest.raises(InputError, match="one fit is by ML and the other by REML"):
        likelihood_ratio_test(made(columns, [], "REML"), large)
    by_reml = [made(c, ["Intercept"], "REML") for c in (less, columns)]
    with pytest.raises(InputError, match="different fixed parts"):
        likelihood_ratio_test(*by_reml)
    with pytest.raises(InputError, match="not nested"):
        likelihood_ratio_test(large, made(less, ["Intercept"]))
    with pytest.raises(InputError, match="the same"):
        likelihood_ratio_test(large, large)
    with pytest.raises(InputError, match="different rows or responses"):
        likelihood_ratio_test(made(columns, [], response=y + np.arange(len(y)) % 2), large)


def fits_of(smaller: str, larger: str, method: str = "ML") -> tuple[MixedFit, MixedFit]:
    y, columns, g = cohort_arrays(15)
    frame = pd.DataFrame({"y": y, "x": columns["x"], "g": g, "k": np.arange(len(g)) % 3})
    small, large = (pwp.fit_mixed(f, frame, method=method) for f in (smaller, larger))
    return small, large


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("y ~ x + (1 | g)", "y ~ center(x) * k + (1 | g)"),
        ("y ~ {x - 3} + (1 | g)", "y ~ scale(x) + (1 + x | g)"),
        ("y ~ x + (0 + center(x) | g)", "y ~ x + (1 + x | g)"),
        ("y ~ {x * k} + (1 | g)", "y ~ center(x) * center(k) + (1 | g)"),
    ],
)
def test_models_are_nested_when_their_columns_are_however_written(
    smaller: str, larger: str
) -> None:
    small, large = fits_of(smaller, larger)
    assert likelihood_ratio_test(small, large).df == large.n_parameters - small.n_parameters
    assert small.deviance >= large.deviance - 1e-9


@pytest.mark.parametrize(
    ("smaller", "larger", "words"),
    [
        ("y ~ k + (1 | g)", "y ~ x + {x ** 2} + (1 | g)", "its fixed term k is no combination"),
        ("y ~ x + (1 | g)", "y ~ x + (0 + x | g)", "its random term Intercept is no combination"),
        ("y ~ x + (0 + x | g)", "y ~ x * k + (1 | g)", "its random term x is no combination"),
        ("y ~ 0 + x + (1 | g)", "y ~ 0 + center(x) + k + (1 | g)", "its fixed term x is no"),
        ("y ~ x + (1 + x | g)", "y ~ x + (1 + center(x) | g)", "two models are the same"),
    ],
)
def test_models_that_are_not_nested_are_refused(smaller: str, larger: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        likelihood_ratio_test(*fits_of(smaller, larger))


def test_fixed_parts_written_otherwise_are_not_compared_by_reml() -> None:
    """The criterion holds the determinant of the columns as they are written."""
    with pytest.raises(InputError, match="different fixed parts"):
        likelihood_ratio_test(
            *fits_of("y ~ x + (1 | g)", "y ~ {x - 3} + (1 + x | g)", method="REML")
        )
