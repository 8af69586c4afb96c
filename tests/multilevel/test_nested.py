"""Three levels against lme4, against a dense likelihood, and where there is nothing to find."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import pwp_lib as pwp
from multilevel.arguments import checked
from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from multilevel.moments import Moments
from multilevel.nested import NestedFit
from multilevel.pooling import pool_moments
from multilevel.ratio_test import likelihood_ratio_test

HERE = Path(__file__).resolve().parents[1] / "reference"
sys.path.insert(0, str(HERE))

from three_levels import SHAPES, simulated, uneven  # noqa: E402

REFERENCE = pd.read_csv(HERE / "three_levels.csv")
SIX = pd.read_csv(HERE / "six_services.csv")


def fitted(row: Any) -> NestedFit:
    if row.data.startswith("simulated"):
        return nested(row.formula, simulated(int(row.data[-1])), row.method)
    if row.data.startswith("uneven"):
        return nested(row.formula, uneven(int(row.data.split("_")[1])), row.method)
    moments = Moments.read(HERE / f"three_levels_{row.data}.parquet")
    table = pd.read_parquet(HERE / f"three_levels_{row.data}_units.parquet")
    group, unit = table.columns
    units = table.set_index(group)[unit].to_dict()
    return nested(row.formula, moments, row.method, units=units)


def nested(formula: str, data: Any, method: str = "ML", **options: Any) -> NestedFit:
    fit: Any = fit_mixed(formula, data, method, **options)
    assert isinstance(fit, NestedFit)
    return fit


@pytest.mark.neighbours
@pytest.mark.parametrize(
    "row", list(REFERENCE.itertuples()), ids=lambda r: f"{r.data}-{r.method}-{r.Index}"
)
def test_the_fit_is_lme4s(row: Any) -> None:
    fit = fitted(row)
    assert fit.converged
    assert fit.deviance <= row.deviance + 1e-7 * abs(row.deviance)
    assert fit.deviance == pytest.approx(row.deviance, rel=1e-7)
    # lme4 stops within its tolerance of the optimum; the deviance above says which is nearer.
    estimate = fit.components["estimate"]
    assert estimate.iloc[0] == pytest.approx(row.unit_variance, rel=2e-3, abs=2e-4)
    assert estimate.iloc[1] == pytest.approx(row.group_variance, rel=2e-3)
    assert estimate.iloc[-1] == pytest.approx(row.residual, rel=1e-4)
    intercept = fit.fixed.loc["Intercept"]
    assert intercept["estimate"] == pytest.approx(row.intercept, abs=1e-4)
    assert intercept["se"] == pytest.approx(row.intercept_se, rel=2e-3)
    unit = fit.residuals(fit.levels[0]).iloc[0]
    assert unit["residual"] == pytest.approx(row.first_unit, abs=2e-3)
    assert unit["se"] == pytest.approx(row.first_unit_se, rel=5e-3, abs=1e-2)


def test_a_fit_prints_a_line() -> None:
    fit = nested("y ~ x + (1 | unit/g)", simulated(1))
    assert repr(fit).startswith("<NestedFit of y by ML: ")
    assert f"{len(fit.design.groups)} of g in {len(fit.nesting.labels)} of unit, dev" in repr(fit)


def dense(data: pd.DataFrame, theta: np.ndarray) -> float:
    """Deviance from the full covariance of all rows: unit, group and residual variance."""
    x = np.column_stack([np.ones(len(data)), data["x"]])
    y = data["y"].to_numpy()
    same_unit = data["unit"].to_numpy()[:, None] == data["unit"].to_numpy()
    same_group = same_unit & (data["g"].to_numpy()[:, None] == data["g"].to_numpy())
    v = theta[0] * same_unit + theta[1] * same_group + theta[2] * np.eye(len(y))
    inverse = np.linalg.inv(v)
    beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
    left = y - x @ beta
    log_det = np.linalg.slogdet(v)[1]
    return float(len(y) * np.log(2 * np.pi) + log_det + left @ inverse @ left)


def hessian(function: Any, x: np.ndarray) -> np.ndarray:
    h = 1e-3 * x
    unit = np.eye(len(x))
    out = np.empty((len(x), len(x)))
    for i in range(len(x)):
        for j in range(len(x)):
            a, b = unit[i] * h[i], unit[j] * h[j]
            four = function(x + a + b) - function(x + a - b) - function(x - a + b)
            out[i, j] = (four + function(x - a - b)) / (4 * h[i] * h[j])
    return out


@pytest.mark.nightly
def test_standard_errors_and_intervals_are_those_of_a_dense_likelihood() -> None:
    # Few rows of each group: the dense covariance is inverted thousands of times.
    data = simulated(0).groupby("g").head(8).reset_index(drop=True)
    fit = nested("y ~ x + (1 | unit/g)", data)
    theta = fit.components["estimate"].to_numpy()
    assert dense(data, theta) == pytest.approx(fit.deviance, abs=1e-7)
    covariance = 2 * np.linalg.inv(hessian(lambda t: dense(data, t), theta))
    assert fit.components["se"].to_numpy() == pytest.approx(
        np.sqrt(np.diagonal(covariance)), rel=2e-3
    )
    for place, level in enumerate(fit.levels):
        interval = fit.profile_interval(level)
        assert interval.lower < interval.estimate < interval.upper
        assert interval.estimate == pytest.approx(theta[place] / theta.sum())
        for share in (interval.lower, interval.upper):
            if share == 0.0:
                continue

            def held(x: np.ndarray, share: float = share, place: int = place) -> float:
                other, residual = np.exp(x)
                own = share / (1 - share) * (other + residual)
                variances = [own, other] if place == 0 else [other, own]
                return dense(data, np.array([*variances, residual]))

            # The other level's variance may be zero at a bound: a low start finds that.
            starts = [np.log([scale * theta[1 - place], theta[2]]) for scale in (1, 0.01)]
            options = {"fatol": 1e-8, "xatol": 1e-6, "maxiter": 2_000}
            found = [minimize(held, s, method="Nelder-Mead", options=options) for s in starts]
            best = min(result.fun for result in found)
            assert best - fit.deviance == pytest.approx(3.841459, abs=2e-3)


def test_a_zero_variance_is_found_and_certified() -> None:
    flat = [k for k, (_, _, sd) in enumerate(SHAPES) if sd == 0]
    fits = {k: nested("y ~ x + (1 | unit/g)", simulated(k)) for k in flat}
    held = {k: fit for k, fit in fits.items() if fit.vpc("unit") == 0}
    assert held
    for k, fit in held.items():
        assert fit.singular
        assert fit.converged
        assert fit.certificate.inward > 0
        two = fit_mixed("y ~ x + (1 | g)", simulated(k))
        assert fit.deviance == pytest.approx(two.deviance, abs=1e-8)
        table = fit.components.set_index("level")
        assert np.isnan(table.loc["unit", "se"])
        assert table.loc["g", "se"] == pytest.approx(
            two.variance_se("observed")["var(Intercept)"], rel=1e-3
        )
        assert fit.profile_interval("unit").lower == 0
        assert fit.tests().loc["unit", "p_value_boundary"] == 1
        assert (fit.residuals("unit")["residual"] == 0).all()


@pytest.mark.parametrize("row", list(SIX.itertuples()), ids=lambda r: r.method)
def test_six_services_have_the_interval_of_lme4s_deviance(row: Any) -> None:
    formula = "phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 | service_id/therapist_id)"
    fit = nested(formula, pwp.load_cohort().patients, row.method)
    interval = fit.profile_interval("service_id")
    assert (fit.vpc("service_id"), interval.lower) == (0.0, 0.0)
    assert fit.deviance == pytest.approx(row.deviance, abs=1e-6)
    assert interval.upper == pytest.approx(row.upper, abs=1e-6)


@pytest.mark.parametrize(
    ("formula", "deviance", "variances"),
    [
        ("score ~ 1 + (1 | lea) + (1 | school)", 157869.926, None),
        (
            "score ~ gcsecnt + (1 | lea) + (1 | school)",
            141685.560,
            [0.013596, 1.16616, 5.15407],
        ),
    ],
)
def test_chem97_has_the_figures_of_lme4_to_the_last_digit_printed(
    formula: str, deviance: float, variances: list[float] | None
) -> None:
    rows = REFERENCE[(REFERENCE["formula"] == formula) & (REFERENCE["method"] == "ML")]
    fit = fitted(next(rows.itertuples()))
    assert fit.deviance == pytest.approx(deviance, abs=6e-4)
    if variances:
        assert fit.components["estimate"].to_numpy() == pytest.approx(variances, rel=1e-4)


def test_groups_without_variance_leave_the_units() -> None:
    rng = np.random.default_rng(5)
    unit = np.repeat(np.arange(8), 60)
    group = np.repeat(np.arange(48), 10)
    within = np.tile(np.linspace(-1, 1, 10), 48)  # every group has the same mean within its unit
    y = rng.normal(size=8)[unit] * 3 + within
    data = pd.DataFrame({"y": y, "unit": unit, "g": group})
    fit = nested("y ~ 1 + (1 | unit/g)", data)
    assert fit.vpc("g") == 0
    assert fit.converged
    assert fit.deviance == pytest.approx(fit_mixed("y ~ 1 + (1 | unit)", data).deviance, abs=1e-7)
    assert (fit.residuals("g", within=True)["residual"] == 0).all()


def test_residuals_within_and_in_all_are_the_conditional_means() -> None:
    data = simulated(1)
    fit = nested("y ~ x + (1 | unit) + (1 | g)", data)
    unit_variance, group_variance, residual = fit.components["estimate"]
    units, groups = sorted(set(data["unit"])), sorted(set(data["g"]))
    of_unit = (data["unit"].to_numpy()[:, None] == np.array(units)).astype(float)
    of_group = (data["g"].to_numpy()[:, None] == np.array(groups)).astype(float)
    z = np.column_stack([of_unit, of_group])
    d = np.diag([*[unit_variance] * len(units), *[group_variance] * len(groups)])
    v = z @ d @ z.T + residual * np.eye(len(data))
    x = np.column_stack([np.ones(len(data)), data["x"]])
    left = data["y"].to_numpy() - x @ fit.fixed["estimate"].to_numpy()
    mean = d @ z.T @ np.linalg.solve(v, left)
    spread = d - d @ z.T @ np.linalg.solve(v, z @ d)
    k = len(units)
    member = pd.Series(data["unit"].to_numpy(), data["g"]).groupby(level=0).first()[groups]
    at = np.array([units.index(u) for u in member])
    places = k + np.arange(len(groups))
    total_variance = spread[places, places] + spread[at, at] + 2 * spread[places, at]
    for table, means, variances in (
        (fit.residuals("unit").loc[units], mean[:k], np.diagonal(spread)[:k]),
        (fit.residuals("g", within=True).loc[groups], mean[k:], np.diagonal(spread)[k:]),
        (fit.residuals("g").loc[groups], mean[k:] + mean[at], total_variance),
    ):
        assert table["residual"].to_numpy() == pytest.approx(means, abs=1e-8)
        assert table["se"].to_numpy() == pytest.approx(np.sqrt(variances), rel=1e-6)
    assert fit.residuals("unit", lower_is_better=False)["rank"].idxmin() == units[mean[:k].argmax()]


def test_labels_that_restart_count_within_their_unit() -> None:
    data = simulated(0)
    again = data.assign(
        g="G" + data.groupby("unit")["g"].transform(lambda g: g.rank(method="dense")).astype(str)
    )
    assert again["g"].nunique() < data["g"].nunique()
    one = nested("y ~ x + (1 | unit/g)", data)
    two = nested("y ~ x + (1 | unit/g)", again)
    assert two.deviance == pytest.approx(one.deviance, abs=1e-8)
    assert one.residuals("g").index[0] == "U00 / G000"
    with pytest.raises(InputError, match=r"in more than one of unit.*\(1 \| unit/g\)"):
        nested("y ~ x + (1 | unit) + (1 | g)", again)


def test_either_order_and_every_kind_of_table_say_the_same() -> None:
    import polars as pl

    data = simulated(2)
    wanted = nested("y ~ x + (1 | unit) + (1 | g)", data).deviance
    turned = nested("y ~ x + (1 | g) + (1 | unit)", data)
    assert turned.levels == ("unit", "g")
    frames = [pl.from_pandas(data), pl.from_pandas(data).lazy()]
    found = [nested("y ~ x + (1 | unit/g)", frame).deviance for frame in frames]
    assert [turned.deviance, *found] == pytest.approx([wanted] * 3, abs=1e-9)


def test_rows_without_a_label_do_not_count() -> None:
    data = simulated(0)
    data.loc[:4, "unit"] = None
    data.loc[5:9, "x"] = np.nan
    fit = nested("y ~ x + (1 | unit) + (1 | g)", data)
    assert fit.n == len(data) - 10


def test_moments_of_parts_add_up_to_the_same_fit() -> None:
    data = simulated(1)
    formula = "y ~ x + (1 | unit) + (1 + x | g)"
    units = data.drop_duplicates("g").set_index("g")["unit"].to_dict()
    first = data["unit"] < "U15"
    parts = [Moments.for_formula("y ~ x + (1 + x | g)", data[side]) for side in (first, ~first)]
    whole = nested(formula, data)
    pooled = nested(formula, parts[0] + parts[1], units=units)
    assert pooled.deviance == pytest.approx(whole.deviance, abs=1e-8)
    with pytest.raises(InputError, match="which group is in which unit"):
        nested(formula, parts[0])
    with pytest.raises(InputError, match="no unit"):
        nested(formula, parts[0], units={"G000": "U00", "G005": "U01"})


def test_moments_know_which_group_is_in_which_unit(tmp_path: Path) -> None:
    data = simulated(1)
    data.loc[:2, "unit"] = None
    formula = "y ~ x + (1 | unit) + (1 + x | g)"
    first = data["unit"].isna() | (data["unit"] < "U15")
    a, b = (
        Moments.for_formula("y ~ x + (1 + x | g)", data[side], services="unit")
        for side in (first, ~first)
    )
    assert (a.n_dropped, a.unit_name) == (3, "unit")
    (a + b).write(tmp_path / "m.parquet", share=False)
    stored = Moments.read(tmp_path / "m.parquet")
    assert stored.units == {**(a.units or {}), **(b.units or {})}
    wanted = nested(formula, data)
    for moments in (a + b, stored, Moments.for_formula(formula, data)):
        assert nested(formula, moments).deviance == pytest.approx(wanted.deviance, abs=1e-8)
        assert nested("y ~ x + (1 | unit/g)", moments).n == len(data) - 3
    shared = a.write(tmp_path / "s.parquet", minimum_rows=20)
    assert shared.withheld_groups > 0
    assert list(Moments.read(tmp_path / "s.parquet").units or {}) == shared.groups.tolist()


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "duckdb", "arrow"])
def test_units_are_found_in_every_kind_of_table(kind: str) -> None:
    import duckdb
    import polars as pl

    data = simulated(0).assign(unit=lambda d: d["unit"].str[1:].astype("Int64"))
    data["g"] = data.groupby("unit")["g"].rank(method="dense").astype(int) + 100 * data["unit"]
    data.loc[:4, "unit"] = None
    data["restarts"] = data["g"] % 100
    table = pl.from_pandas(data)
    tables = {
        "pandas": data,
        "polars": table,
        "lazy": table.lazy(),
        "duckdb": duckdb.sql("select * from data"),
        "arrow": table.to_arrow(),
    }
    for formula, units in (
        ("y ~ x + (1 | g)", "unit"),
        ("y ~ x + (1 | unit/g)", None),
        ("y ~ x + (1 | unit/restarts)", None),
    ):
        found = Moments.for_formula(formula, tables[kind], units=units)
        want = Moments.for_formula(formula, data, units=units)
        assert (found.units, found.n.tolist()) == (want.units, want.n.tolist())
        assert set(want.units.values() if want.units else ()) == set(range(6))
        assert (found.n_dropped, len(found.groups)) == (5, 24)


def test_moments_with_units_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data, two = simulated(0), "y ~ x + (1 | g)"
    with_units = Moments.for_formula(two, data, units="unit")
    with pytest.raises(InputError, match="column unit: only one of the moments is grouped by it"):
        pool_moments([with_units, Moments.for_formula(two, data)], same_groups=True)
    moved = data.assign(unit=data["unit"].where(data["g"] != "G003", "U05"))
    with pytest.raises(InputError, match="1 of g is in another unit"):
        pool_moments([with_units, Moments.for_formula(two, moved, units="unit")], same_groups=True)
    same = pool_moments([with_units, with_units], same_groups=True)
    assert nested("y ~ x + (1 | unit/g)", same).n == 2 * len(data)
    with pytest.raises(InputError, match="which group is in which ward"):
        nested("y ~ x + (1 | ward/g)", with_units)
    with pytest.raises(InputError, match="in more than one of"):
        Moments.for_formula(two, data.assign(unit=np.arange(len(data)) % 3), units="unit")
    with pytest.raises(InputError, match="not in the data"):
        Moments.for_formula(two, data, units="ward")


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("y ~ x + (1 + x | unit/g)", "more than the intercept varies over the units"),
        ("y ~ x + (1 + x | unit) + (1 | g)", r"write \(1 \| unit\), and \(1 \+ x \| g\)"),
        ("y ~ x + (1 | nowhere/g)", "not in the data"),
        ("y ~ 0 + x + (1 | unit) + (0 + x | g)", "keep the constant"),
    ],
)
def test_what_is_not_offered_is_refused_in_words(formula: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        nested(formula, simulated(0))


def test_too_few_units_and_groups_are_refused() -> None:
    data = simulated(0)
    with pytest.raises(InputError, match="cannot be told from"):
        nested("y ~ x + (1 | unit/g)", data.assign(unit="U00"))
    with pytest.raises(InputError, match="cannot be told from"):
        nested("y ~ x + (1 | unit/g)", data.assign(g=data["unit"]))
    with pytest.raises(InputError, match="spread"):
        fit_mixed("y ~ x + (1 | unit/g)", data, spread="exp(x)")
    with pytest.raises(InputError, match="no level 'ward'"):
        nested("y ~ x + (1 | unit/g)", data).vpc("ward")


@pytest.mark.parametrize("formula", ["y ~ x + (1 | unit/g)", "y ~ x + (1 | unit) + (x | g)"])
def test_what_is_made_for_two_levels_refuses_three(formula: str) -> None:
    data = simulated(0)
    for call in (
        lambda: pwp.sample_posterior(formula, data),
        lambda: pwp.fit_binary(formula, data.assign(y=data["y"] > 0)),
        lambda: pwp.design_moments(formula, data),
        lambda: Moments.for_formula(formula, data).design(formula),
    ):
        with pytest.raises(InputError, match="three levels"):
            call()
    with pytest.raises(InputError):
        pwp.design_moments(formula, nested(formula, data).design)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | unit/g)", "y ~ x + (1 | g) + (1 | unit)"])
def test_a_parquet_file_is_a_table_like_others(formula: str, tmp_path: Path) -> None:
    data = simulated(0)
    data.to_parquet(tmp_path / "rows.parquet")
    wanted = nested(formula, data)
    assert nested(formula, tmp_path / "rows.parquet").deviance == pytest.approx(wanted.deviance)
    assert nested(formula, str(tmp_path / "rows.parquet")).levels == wanted.levels == ("unit", "g")
    with pytest.raises(InputError, match="there is no such file"):
        nested(formula, tmp_path / "none.parquet")


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_a_share_that_is_held_lies_between_0_and_1(share: float) -> None:
    fit = nested("y ~ x + (1 | unit/g)", simulated(0))
    with pytest.raises(InputError, match="between 0 and 1"):
        fit.profile("unit", share)
    assert fit.profile("unit", 0.0) == pytest.approx(fit.certificate.faces["unit"], abs=1e-6)
    assert len(repr(fit)) < 400


def test_where_neither_level_varies_both_directions_are_looked_at() -> None:
    within = np.tile(np.linspace(-1, 1, 10), 24)
    data = pd.DataFrame(
        {"y": within, "unit": np.repeat(range(6), 40), "g": np.repeat(range(24), 10)}
    )
    fit = nested("y ~ 1 + (1 | unit/g)", data)
    assert fit.converged
    assert fit.components["estimate"].to_list()[:2] == [0.0, 0.0]
    # By an exact mean the derivative is what the log determinant has: rows of a unit, or a group.
    assert fit.certificate.inward == pytest.approx(240.0, rel=1e-6)


def test_what_is_no_two_level_fit_or_names_no_level_is_refused_in_words() -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"s": np.repeat(np.arange(4), 30), "g": np.repeat(np.arange(12), 10)})
    rows["y"] = rng.normal(size=4)[rows["s"]] + rng.normal(size=12)[rows["g"]]
    rows["y"] += rng.normal(size=120)
    two, three = (fit_mixed(f"y ~ 1 + (1 | {g})", rows) for g in ("g", "s/g"))
    compared: Any = checked(likelihood_ratio_test)
    for smaller, larger in ((two, three), (three, two)):
        with pytest.raises(InputError, match="give a two-level fit of fit_mixed"):
            compared(smaller, larger)
    for call in (three.vpc, three.residuals, three.profile_interval):
        with pytest.raises(InputError, match="there is no level ''; choose from s and g"):
            call()


def few() -> pd.DataFrame:
    """Two units of five groups in all, whose lowest deviance lies far from that without units."""
    x = [1.3448, 0.5297, 1.6674, 0.5391, 0.6692, 0.7267, 8.7662, 0.6379, 4.3281, 1.926, 9.863]
    x += [1.0384, 5.3861, 1.0591, 1.3416, 2.1562, 1.9857, 0.3663, 7.5813, 7.669, 10.8039]
    y = [0.8558, -0.3246, -1.7774, -0.4095, -1.1114, 0.0634, -1.9596, 0.4056, 4.6373, 1.8105]
    y += [7.6857, 2.2224, 5.2101, 1.2662, 2.145, 0.2196, -2.9901, -5.006, -1.642, -2.3965, 0.017]
    g = np.repeat(np.arange(5), [8, 7, 1, 2, 3])
    return pd.DataFrame({"y": y, "x": x, "g": g, "s": (g > 1).astype(int)})


def test_the_lowest_of_several_minima_is_found() -> None:
    """lme4's best of three optimisers from four starts each; from its own start two end higher."""
    fit = nested("y ~ 1 + (1 | s) + (1 + x | g)", few(), "REML")
    assert fit.converged
    np.testing.assert_allclose(fit.deviance, 71.1753180776, atol=1e-6)


def test_the_unit_of_a_predictor_changes_no_flag_and_no_error() -> None:
    data = simulated(1)
    formula = "y ~ x + (1 | unit) + (1 + x | g)"
    one, far = nested(formula, data, "ML"), nested(formula, data.assign(x=data["x"] * 1e5), "ML")
    assert one.singular == far.singular
    scaled = far.components["se"] * [1, 1, 1e5, 1e10, 1]
    np.testing.assert_allclose(scaled, one.components["se"], rtol=1e-3)


def slopes(seed: int, intercepts: float = 0.0) -> pd.DataFrame:
    """Rows of 24 groups that differ in their slopes, in six units."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(6):
        of_unit = rng.normal(0, 0.5)
        for group in range(4):
            own = rng.normal(0, intercepts) if intercepts else 0.0
            slope, n = rng.normal(0, 0.8), rng.integers(3, 16)
            x = rng.normal(size=n)
            y = 1 + 0.5 * x + of_unit + own + slope * x + rng.normal(size=n)
            rows.append(pd.DataFrame({"s": unit, "t": 4 * unit + group, "x": x, "y": y}))
    return pd.concat(rows, ignore_index=True)


def dense_profile(data: pd.DataFrame, level: str, share: float) -> float:
    """Lowest deviance of the rows with a share held: the other variances and covariance free."""
    x, y = (data["x"] - data["x"].mean()).to_numpy(), data["y"].to_numpy()
    unit, group = (data[c].to_numpy()[:, None] == data[c].to_numpy() for c in "st")
    fixed, odds = np.column_stack([np.ones(len(x)), x]), share / (1 - share)

    def deviance(p: np.ndarray) -> float:
        of_unit, first = p[0] ** 2, p[3] ** 2
        if level == "s":
            of_unit = odds * (first + 1)
        else:
            first = odds * (of_unit + 1)
        z = np.column_stack([first**0.5 + p[1] * x, p[2] * x])
        whole = np.eye(len(x)) + of_unit * unit + (z @ z.T) * group
        inverse = np.linalg.inv(whole)
        left = y - fixed @ np.linalg.solve(fixed.T @ inverse @ fixed, fixed.T @ inverse @ y)
        squares = float(left @ inverse @ left) / len(x)
        return len(x) * (np.log(2 * np.pi * squares) + 1) + float(np.linalg.slogdet(whole)[1])

    starts = ([0.5, 0.0, 0.7, 0.1], [0.1, 0.3, 0.3, 0.5], [0.5, -0.3, 0.3, 0.5])
    return min(float(minimize(deviance, s, method="L-BFGS-B").fun) for s in starts)


@pytest.mark.parametrize("level", ["s", "t"])
@pytest.mark.parametrize("share", [0.0, 1e-9, 1e-7, 0.01, 0.3])
def test_a_profile_leaves_the_slopes_free(level: str, share: float) -> None:
    """With the groups' variance at the mean held at zero their slopes' may be what it will."""
    data = slopes(0)
    fit = nested("y ~ center(x) + (1 | s) + (1 + center(x) | t)", data)
    # The dense search ends a little high where the share is next to nothing.
    assert -5e-4 < fit.profile(level, share) - dense_profile(data, level, share) < 1e-5


def test_an_interval_that_holds_zero_begins_there() -> None:
    fit = nested("y ~ center(x) + (1 | s) + (1 + center(x) | t)", slopes(0))
    assert 0.0 < fit.profile("t", 0.0) - fit.deviance == pytest.approx(2.93804, abs=1e-4)
    assert fit.profile_interval("t").lower == 0.0
    clear = nested("y ~ center(x) + (1 | s) + (1 + center(x) | t)", slopes(3, 0.8))
    assert clear.profile_interval("t").lower > 0.01


def test_groups_that_are_alike_at_the_mean_have_no_share_to_hold_there() -> None:
    three = nested("y ~ x + (1 | s) + (0 + center(x) | t)", slopes(0))
    two = fit_mixed("y ~ x + (0 + center(x) | t)", slopes(0))
    calls: list[Any] = [lambda: three.profile_interval("t"), lambda: three.profile("t", 0.1)]
    for call in (*calls, two.profile_interval):
        with pytest.raises(
            InputError, match=r"all groups are alike in this model: no share .*; add the"
        ):
            call()
    interval = three.profile_interval("s")
    assert interval.lower <= interval.estimate < interval.upper
