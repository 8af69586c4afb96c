"""Categories and their products with and without a constant, against R's lm and lme4.

`tests/reference/codings.R` made the figures, of the rows and formulas of `codings.py`.
"""

from __future__ import annotations

from pathlib import Path

import codings
import numpy as np
import pandas as pd
import polars as pl
import pytest

from multilevel import InputError, Moments, design_moments, fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "codings.csv", comment="#").set_index("side")
ROWS: pd.DataFrame = codings.rows()


def test_the_reference_is_of_these_formulas() -> None:
    assert codings.formulas() == FIGURES.index.tolist()


@pytest.mark.parametrize(("part", "held"), [(0, "pandas"), (1, "polars lazy")])
def test_fixed_parts_span_what_they_span_in_r(held: str, part: int) -> None:
    table = ROWS if held == "pandas" else pl.from_pandas(ROWS).lazy()
    for side, figures in FIGURES.iloc[part::5].iterrows():
        design = design_moments(f"y ~ {side}", table)
        x, y = list(design.fixed), design.response
        scale = np.sqrt(np.diag(design.total))
        total = design.total / np.outer(scale, scale)
        xx, xy = total[np.ix_(x, x)], total[x, y]
        assert np.linalg.matrix_rank(xx, tol=1e-9, hermitian=True) == figures["rank"], side
        left = 1.0 - xy @ np.linalg.pinv(xx, hermitian=True, rcond=1e-10) @ xy
        assert left * scale[y] ** 2 == pytest.approx(figures["rss"], rel=1e-7), side


@pytest.mark.neighbours
@pytest.mark.parametrize("part", range(10))
def test_beside_a_random_intercept_they_have_lme4s_deviance(part: int) -> None:
    """Columns that R makes twice, and lme4 then drops, are written once."""
    for side, figures in FIGURES.iloc[part::10].iterrows():
        fit = fit_mixed(f"y ~ {side} + (1 | g)", ROWS)
        assert fit.converged, side
        assert len(fit.fixed) == figures["rank"], side
        assert fit.deviance == pytest.approx(figures["deviance"], abs=2e-6), side


@pytest.mark.parametrize("part", range(5))
def test_moments_made_by_one_order_serve_another(part: int) -> None:
    """Moments of the three-way product hold every formula of its categories and numbers."""
    made = Moments.for_formula("y ~ a * b * x * C(code) + (1 | g)", ROWS)
    for side, figures in FIGURES.iloc[part::5].iterrows():
        fit = fit_mixed(f"y ~ {side} + (1 | g)", made)
        assert fit.deviance == pytest.approx(figures["deviance"], abs=2e-6), side


@pytest.mark.parametrize(
    "term", ["f:x:h", "0 + f:h:x", "f:h:center(x)", "f:h:I(x ** 2)", "x + f:h", "f * h"]
)
@pytest.mark.parametrize("empty", ["au", "av", "bu", "cv"])
@pytest.mark.parametrize("seed", range(4))
def test_a_combination_of_levels_that_no_row_has_is_refused(
    seed: int, empty: str, term: str
) -> None:
    """Its column is zero in every row; lme4 drops it and says so."""
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, 12, 200), 3 * rng.normal(size=200) + rng.choice([0, 7, 50])
    f, h = rng.choice(list("abc"), 200), rng.choice(list("uv"), 200)
    y = 1 + rng.normal(size=12)[g] + 0.5 * x + rng.normal(size=200)
    data = pd.DataFrame({"y": y, "x": x, "f": f, "h": h, "g": g})[(f != empty[0]) | (h != empty[1])]
    for method in ("ML", "REML"):
        with pytest.raises(InputError, match="the fixed terms before this one predict it exactly"):
            fit_mixed(f"y ~ {term} + (1 | g)", data, method)


def test_levels_that_no_row_has_are_no_random_columns() -> None:
    rng = np.random.default_rng(3)
    g, x, f = rng.integers(0, 20, 400), rng.normal(size=400), rng.choice(list("ab"), 400)
    data = pd.DataFrame({"y": x + rng.normal(size=20)[g] + rng.normal(size=400), "x": x, "g": g})
    told = pd.Categorical(f, list("abcde"))
    one, other = (fit_mixed("y ~ x + (0 + f | g)", data.assign(f=kind)) for kind in (f, told))
    assert one.deviance == other.deviance
    with pytest.raises(InputError, match="the random part has 4 columns and 3 are offered"):
        fit_mixed("y ~ x + (0 + f | g)", data.assign(f=rng.choice(list("abcd"), 400)))
    with pytest.raises(InputError, match="leave some out of the bracket"):
        fit_mixed("y ~ x + (a + b + c | g)", data.assign(**dict.fromkeys("abc", x**2)))
