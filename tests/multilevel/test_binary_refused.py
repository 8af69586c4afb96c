"""Yes-or-no outcomes that leave an estimate without limit, or are no such outcomes: in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from multilevel import InputError, Moments, fit_binary

pytestmark = pytest.mark.neighbours

RNG = np.random.default_rng(7)


def rows(groups: int = 6, size: int = 20) -> pd.DataFrame:
    g = np.repeat(np.arange(groups), size)
    x = RNG.normal(size=len(g)).round(2)
    return pd.DataFrame({"y": (RNG.random(len(g)) < expit(x)).astype(int), "x": x, "g": g})


SEPARATED: dict[str, Callable[[pd.DataFrame], Any]] = {
    "by a number": lambda d: d["y"] + 2.0 * d["y"] * d.index,
    "by a level with successes alone": lambda d: ((d["y"] == 1) & (d.index % 7 == 0)) * 1,
    "by a level with failures alone": lambda d: ((d["y"] == 0) & (d.index % 5 == 0)) * 1,
    "by the response itself": lambda d: d["y"] * 3 - 1,
    "by one row": lambda d: ((d["y"] == 1).cumsum().eq(1) & (d["y"] == 1)) * 1,
    "nearly, by a number with a tie": lambda d: np.where(d.index < 3, 0, 2 * d["y"] - 1),
}


@pytest.mark.parametrize("by", SEPARATED)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_separation_is_refused_with_the_term_that_does_it(by: str, scale: float) -> None:
    data = rows()
    data["apart"] = SEPARATED[by](data) * scale
    with pytest.raises(InputError, match="separation") as refused:
        fit_binary("y ~ x + apart + (1 | g)", data)
    assert refused.value.column == "apart"


@pytest.mark.parametrize("rare", [1, 2])
def test_a_rare_outcome_is_no_separation(rare: int) -> None:
    data = rows(10, 500)
    data["y"] = 0
    data.loc[RNG.choice(len(data), 3 * rare, replace=False), "y"] = 1
    fit = fit_binary("y ~ 1 + (1 | g)", data)
    assert fit.converged


def test_a_level_with_one_success_is_no_separation() -> None:
    data = rows(8, 60)
    data["level"] = (data.index < 25) * 1
    data.loc[data["level"] == 1, "y"] = 0
    data.loc[3, "y"] = 1
    assert fit_binary("y ~ level + (1 | g)", data).converged


REFUSED: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "all": ("y ~ x + (1 | g)", lambda d: d.assign(y=1), "every row has the same outcome"),
    "none": ("y ~ x + (1 | g)", lambda d: d.assign(y=0), "every row has the same outcome"),
    "one group": ("y ~ x + (1 | g)", lambda d: d.assign(g="a"), "one group"),
    "groups of one": ("y ~ x + (1 | g)", lambda d: d.assign(g=d.index), "more than one trial"),
    "all or none by group": (
        "y ~ 1 + (1 | g)",
        lambda d: d.assign(y=d["g"] % 2),
        "all successes or none",
    ),
    "constant": ("y ~ x + c + (1 | g)", lambda d: d.assign(c=4), "the same in every row"),
    "repeated": ("y ~ x + c + (1 | g)", lambda d: d.assign(c=2 - d["x"]), "predict it exactly"),
    "more terms than rows": (
        "y ~ x + c + (1 | g)",
        lambda d: d.iloc[[0, 1]].assign(y=[0, 1], c=[3, 4], g="a"),
        "one group|predict it exactly",
    ),
    "numbers": ("x ~ 1 + (1 | g)", lambda d: d, "0 or 1 in every row"),
    "shares": ("y ~ 1 + (1 | g)", lambda d: d.assign(y=d["y"] / 2), "0 or 1 in every row"),
    "text": ("y ~ 1 + (1 | g)", lambda d: d.assign(y=d["y"].map({0: "n", 1: "y"})), "numbers"),
    "no bracket": ("y ~ x", lambda d: d, "random intercept"),
    "a slope": ("y ~ x + (1 + x | g)", lambda d: d, "random intercept"),
    "a slope alone": ("y ~ x + (0 + x | g)", lambda d: d, "random intercept"),
    "no fixed term": ("y ~ 0 + (1 | g)", lambda d: d, "needs a fixed term"),
    "no such column": ("y ~ w + (1 | g)", lambda d: d, "not in the data"),
    "no complete row": ("y ~ x + (1 | g)", lambda d: d.assign(x=np.nan), "no row has a value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_words(case: str) -> None:
    formula, change, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        fit_binary(formula, change(rows()))


@pytest.mark.nightly
def test_predictors_that_tell_successes_apart_within_every_group_are_refused() -> None:
    data = rows(8, 6)
    # What is above a group's own middle succeeds; the middles lie from 0 to 7.
    data["x"] = 2 * data["y"] + RNG.permutation(8)[data["g"]]
    with pytest.raises(InputError, match="without error"):
        fit_binary("y ~ x + (1 | g)", data)


COUNTS: dict[str, tuple[list[float], list[float], str]] = {
    "more successes than trials": ([1, 5, 2], [3, 4, 6], "from 0 to the trials"),
    "a negative count": ([1, -1, 2], [3, 4, 6], "from 0 to the trials"),
    "half a success": ([1, 1.5, 2], [3, 4, 6], "from 0 to the trials"),
    "half a trial": ([1, 1, 2], [3, 4.5, 6], "trials are whole"),
    "no trial": ([1, 0, 2], [3, 0, 6], "trials are whole"),
}


@pytest.mark.parametrize("case", COUNTS)
def test_counts_that_are_none_are_refused(case: str) -> None:
    y, m, words = COUNTS[case]
    with pytest.raises(InputError, match=words):
        fit_binary("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "m": m, "g": "abc"}), trials="m")


def counted() -> pd.DataFrame:
    return pd.DataFrame({"y": [3, 5, 1, 8], "m": [10, 9, 12, 11], "g": list("abcd")})


def test_groups_of_one_row_of_counts_are_fitted() -> None:
    data = counted()
    assert fit_binary("y ~ 1 + (1 | g)", data, trials="m").converged
    alike = fit_binary("y ~ 1 + (1 | g)", data.assign(y=4, m=10), trials="m")
    assert alike.singular
    assert alike.converged


@pytest.mark.parametrize("trials", ["nowhere", "g"])
def test_trials_are_a_column_of_numbers(trials: str) -> None:
    with pytest.raises(InputError, match="column of numbers"):
        fit_binary("y ~ 1 + (1 | g)", counted(), trials=trials)


@pytest.mark.parametrize("nodes", [0, -3, 301, 2.5, "many"])
def test_a_number_of_nodes_is_a_whole_number(nodes: Any) -> None:
    with pytest.raises(InputError, match="nodes"):
        fit_binary("y ~ 1 + (1 | g)", counted(), trials="m", nodes=nodes)


def test_stored_moments_and_lazy_frames_have_no_rows() -> None:
    data = rows()
    with pytest.raises(InputError, match="stored moments"):
        fit_binary("y ~ x + (1 | g)", Moments.for_formula("y ~ x + (1 | g)", data))
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(InputError, match="in memory"):
        fit_binary("y ~ x + (1 | g)", duckdb.sql("select * from data"))


def test_places_levels_and_scales_are_checked() -> None:
    fit = fit_binary("y ~ x + (1 | g)", rows())
    with pytest.raises(InputError, match="latent"):
        fit.vpc("logit")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="whatever the predictors"):
        fit.vpc(at={"x": 1})
    assert fit.vpc(at={}) == fit.vpc()
    with pytest.raises(InputError, match="between 0 and 1"):
        fit.profile_interval(95)
    with pytest.raises(InputError):
        fit.rates(at={"w": 1})
    with pytest.raises(InputError, match="percentiles"):
        fit.rates([5, 95])


@pytest.mark.parametrize("far", [-1e308, -1e6, -1e4, 1e4, 1e6, 1e308])
def test_where_the_outcome_is_certain_there_is_no_share(far: float) -> None:
    fit = fit_binary("y ~ x + (1 | g)", rows())
    certain = fit.fixed.loc["x", "estimate"] * far > 0
    assert fit.rates([0.5], at={"x": far})["rate"].iat[0] == (1.0 if certain else 0.0)
    with pytest.raises(InputError, match="outcome is certain"):
        fit.vpc("probability", at={"x": far})
    # Where it nearly is, the share is as small.
    assert 0.0 <= fit.vpc("probability", at={"x": far / abs(far) * 20}).estimate < 1e-3


def test_an_interval_without_end_is_infinite() -> None:
    # Two groups, all but one row alike in each: no variance is too large.
    data = pd.DataFrame({"y": [0] * 9 + [1] + [1] * 9 + [0], "g": [0] * 10 + [1] * 10})
    fit = fit_binary("y ~ 1 + (1 | g)", data)
    interval = fit.profile_interval()
    assert fit.converged
    assert interval.lower < fit.variance < interval.upper
    assert fit.vpc().upper <= 1.0
    assert fit.vpc("probability").upper <= 1.0


def integrated(rows: pd.DataFrame, eta: np.ndarray, sd: float) -> float:
    """Deviance by numerical integration, group by group."""
    total = 0.0
    for place in rows.groupby("g").indices.values():
        sign = np.where(rows["y"].to_numpy()[place] == 1, 1, -1)

        def height(u: float, sign: np.ndarray = sign, own: np.ndarray = eta[place]) -> float:
            return float(expit(sign * (own + sd * u)).prod() * norm.pdf(u))

        middle = float(-eta[place].mean() / sd)
        parts = [middle + k / sd for k in (-60, -10, 0, 10, 60)]
        total += np.log(
            quad(height, -40, 40, points=parts, epsabs=1e-300, epsrel=1e-9, limit=400)[0]
        )
    return -2 * total


def far_apart(seed: int, far: float) -> pd.DataFrame:
    """Groups whose levels lie far apart; what is above a group's own level succeeds."""
    level = np.repeat(np.random.default_rng(seed).normal(size=12) * far, 10)
    x = level + np.tile(np.linspace(-1, 1, 10), 12)
    return pd.DataFrame({"y": (x > level).astype(int), "x": x, "g": np.repeat(np.arange(12), 10)})


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("far", [1.0, 3.0, 30.0, 100.0])
def test_separation_within_groups_that_lie_far_apart_is_no_variance_of_zero(
    seed: int, far: float
) -> None:
    with pytest.raises(InputError, match="within groups"):
        fit_binary("y ~ x + (1 | g)", far_apart(seed, far))


@pytest.mark.parametrize(("far", "seed"), [(1.0, 0), (1.0, 1), (1.0, 2), (3.0, 0), (3.0, 1)])
def test_of_two_optima_the_lower_one_is_meant(far: float, seed: int) -> None:
    # One row the other way, and there is an optimum far from a variance of zero, and lower.
    data = far_apart(seed, far)
    data.loc[0, "y"] = 1
    single = -2 * smf.logit("y ~ x", data).fit(disp=False).llf
    assert integrated(data, 4.0 * data["x"].to_numpy(), 4.0 * far) < single - 10
    if far == 3.0:
        # Its standard deviation is 13 or more.
        with pytest.raises(InputError, match="within groups"):
            fit_binary("y ~ x + (1 | g)", data)
        return
    fit = fit_binary("y ~ x + (1 | g)", data, nodes=50)
    b = fit.fixed["estimate"]
    eta = (b["Intercept"] + b["x"] * data["x"]).to_numpy()
    assert fit.deviance == pytest.approx(integrated(data, eta, fit.variance**0.5), abs=1e-3)
    assert fit.deviance < single - 10


@pytest.mark.parametrize("nodes", [0, 301, 2.5, "many", [], [0, 15], 15, [[1, 15]]])
def test_numbers_of_nodes_to_compare_are_whole_numbers(nodes: Any) -> None:
    fit = fit_binary("y ~ 1 + (1 | g)", counted(), trials="m", nodes=np.int64(9))  # type: ignore[arg-type]
    assert fit.nodes == 9
    with pytest.raises(InputError, match=r"from 1 to 300|nodes of by_nodes"):
        fit.by_nodes(nodes)


def test_nodes_for_which_the_variance_is_too_large_are_compared_all_the_same() -> None:
    # Four groups of nearly all or none: by one node the variance is four times that by fifteen.
    data = pd.DataFrame({"y": [0, 0, 4, 1], "m": 4, "g": list("abcd")})
    table = fit_binary("y ~ 1 + (1 | g)", data, trials="m").by_nodes([1, 15])
    assert table["matters"].tolist() == [True, False]


@pytest.mark.parametrize("percentiles", [["a"], [np.nan], [0.5, None], "a", [0, 1]])
def test_percentiles_are_numbers_between_0_and_1(percentiles: Any) -> None:
    fit = fit_binary("y ~ 1 + (1 | g)", counted(), trials="m")
    with pytest.raises(InputError, match="percentiles"):
        fit.rates(percentiles)
    assert fit.rates(0.5)["rate"].tolist() == fit.rates([0.5])["rate"].tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("failures", [1, 2])
def test_the_share_is_known_where_all_but_one_succeed(failures: int) -> None:
    # The interval's upper bound is a variance with which nearly every probability rounds to one.
    data = pd.DataFrame({"y": 1, "g": np.repeat([0, 1, 2], [9, 4, 4])})
    data.loc[list(range(failures)), "y"] = 0
    share = fit_binary("y ~ 1 + (1 | g)", data).vpc("probability")
    assert 0.0 <= share.lower <= share.estimate < share.upper <= 1.0


@pytest.mark.parametrize("seed", [1, 2, 3, 1125, 1182, 1236])
def test_a_small_variance_is_not_taken_for_zero(seed: int) -> None:
    # In the last three the deviance falls from zero on, to an optimum that large steps leap over.
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(3, 25))
    n = rng.integers(1, 30, groups)
    g, far = np.repeat(np.arange(groups), n), rng.choice([0, 0.5, 3])
    x = (rng.normal(size=len(g)) + far * rng.normal(size=groups)[g]).round(1)
    z, w = rng.integers(0, 2, len(g)), rng.normal(size=groups)[g].round(2)
    m = rng.integers(1, 6, len(g))
    eta = rng.normal(-0.5, 1) + rng.normal() * x + 0.5 * z
    y = rng.binomial(m, expit(eta + rng.normal(0, rng.choice([0, 0.3, 1, 2]), groups)[g]))
    data = pd.DataFrame({"y": y, "x": x, "z": z, "w": w, "g": g, "m": m})
    fit = fit_binary("y ~ x + z + w + (1 | g)", data, trials="m")
    assert fit.converged
    assert fit.singular == (fit.likelihood_ratio().statistic == 0.0)
    if seed > 3:
        assert 0.0 < fit.variance < 0.2
