"""Missing last scores: who lacks one, and what the therapist effect could be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.measures import PHQ9
from pwp_report.missing import _between, last_scores, missing_bounds


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    """Therapists of whom half see deprived patients, who do worse."""
    rng = np.random.default_rng(8)
    who = np.repeat(np.arange(20), 40)
    imd = np.clip(rng.normal(4 + 3 * (who % 2), 1.5), 1, 10).round(1)
    pre = rng.integers(10, 27, len(who)).astype(float)
    post = 4 + 0.5 * (pre - 15) + imd + rng.normal(0, 1, 20)[who] + rng.normal(0, 4, len(who))
    return pd.DataFrame(
        {
            "therapist_id": [f"T{k:02d}" for k in who],
            "service_id": [f"S{k % 6}" for k in who],
            "phq9_pre": pre,
            "phq9_post": np.clip(post, 0, 27).round(),
            "mix_0": imd,
        }
    )


def test_bounds_drive_therapists_apart_where_the_estimate_is_zero() -> None:
    """Shrunken residuals are all zero there, and cannot say who is to be driven where."""
    rng = np.random.default_rng(5)
    therapist = np.repeat([f"T{i}" for i in range(8)], 15)
    first = rng.integers(10, 25, therapist.size)
    change = np.tile(rng.integers(-3, 12, 15), 8)  # the same with every therapist
    rows = pd.DataFrame({"therapist_id": therapist, "phq9_pre": first})
    rows["phq9_post"] = (first - change).clip(0, 27).astype(float)
    rows.loc[rng.random(len(rows)) < 0.2, "phq9_post"] = np.nan
    formula = "phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)"
    fit = fit_mixed(formula, rows)
    table = missing_bounds(rows, fit, PHQ9, [PHQ9]).set_index("missing_scores")["vpc"]
    assert table["left out, as in the model with first scores"] == pytest.approx(0.0, abs=1e-6)
    apart = table["changes that drive therapists apart"]
    assert apart > 0.02
    assert apart == table.max()


def test_bounds_of_missing_scores_enclose_what_the_models_have(people: pd.DataFrame) -> None:
    rng = np.random.default_rng(3)
    holes = people.assign(phq9_post=people["phq9_post"].mask(rng.random(len(people)) < 0.15))
    formula = "phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)"
    fit = fit_mixed(formula, holes)
    table = missing_bounds(holes, fit, PHQ9, [PHQ9]).set_index("missing_scores")["vpc"]
    main = table["left out, as in the model with first scores"]
    assert main == fit.vpc()
    unchanged = holes.assign(phq9_post=holes["phq9_post"].fillna(holes["phq9_pre"]))
    assert table["no change from the first"] == pytest.approx(fit_mixed(formula, unchanged).vpc())
    assert table["changes that bring therapists together"] < main
    assert main < table["changes that drive therapists apart"]
    with pytest.raises(InputError, match="nobody is known"):
        missing_bounds(people, fit, PHQ9, [PHQ9])


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(12))
def test_no_values_between_the_ends_are_more_alike_or_less(seed: int) -> None:
    """By trying all ends of seven therapists, and what is between them on a grid."""
    rng = np.random.default_rng(seed)
    poor = pd.Series(rng.normal(0, rng.choice([0.3, 3]), 7), index=list("abcdefg"))
    good = poor - rng.choice([0, 1, 5], 7, p=[0.2, 0.3, 0.5]) * rng.random(7)
    n = pd.Series(rng.integers(1, 60, 7), index=poor.index)

    def variance(x: np.ndarray | pd.Series) -> float:
        return np.cov(x, fweights=n, ddof=0)

    alike, apart = (poor + (good - poor) * share for share in _between(poor, good, n))
    ways = itertools.product([True, False], repeat=7)
    largest = max(variance(np.where([*way], poor, good)) for way in ways)
    assert variance(apart) == pytest.approx(largest, abs=1e-12)
    low, high = np.minimum(poor, good), np.maximum(poor, good)
    grid = [variance(np.clip(t, low, high)) for t in np.linspace(low.min(), high.max(), 2_001)]
    assert variance(alike) <= min(grid) + 1e-12
    for values in (alike, apart):
        assert ((values >= low - 1e-9) & (values <= high + 1e-9)).all()


@pytest.mark.neighbours
@pytest.mark.parametrize("lost", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_other_filling_leaves_the_bounds(lost: float, sign: int) -> None:
    """Where therapists lose unlike shares of patients, the sign of a residual decides nothing."""
    rng = np.random.default_rng(round(10 * lost))
    code = np.repeat(np.arange(8), rng.integers(8, 40, 8))
    first = rng.integers(8, 26, len(code))
    last = np.clip(
        3 + 0.5 * first + rng.normal(0, 1.5, 8)[code] + rng.normal(0, 4, len(code)), 0, 27
    )
    gone = rng.random(len(code)) < lost * rng.random(8)[code]
    measure = replace(PHQ9, higher_is_worse=sign > 0)
    rows = pd.DataFrame({"therapist_id": code, "phq9_pre": first, "phq9_post": last.round()})
    if sign < 0:
        rows[["phq9_pre", "phq9_post"]] = 27 - rows[["phq9_pre", "phq9_post"]]
    rows["phq9_post"] = rows["phq9_post"].mask(gone)
    formula = "phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)"
    table = missing_bounds(rows, fit_mixed(formula, rows), measure, [measure])
    _, none, same, alike, apart = table["vpc"]
    gain = measure.improvement(rows["phq9_pre"].to_numpy(), rows["phq9_post"].to_numpy())
    ends = np.nanpercentile(gain, [10, 90])
    found = [none, same]
    for _ in range(40):
        change = rng.choice(ends, 8)[code] if rng.random() < 0.5 else rng.uniform(*ends, 8)[code]
        filled = (rows["phq9_pre"] - measure.sign * change).clip(0, 27)
        whole = rows.assign(phq9_post=rows["phq9_post"].fillna(filled))
        found.append(fit_mixed(formula, whole).vpc())
    assert alike <= min(found) + 1e-6
    assert apart >= max(found) - 0.015  # of means, not of models, the search is exact


def test_who_lacks_a_last_score_is_counted_as_pandas_counts(people: pd.DataFrame) -> None:
    rng = np.random.default_rng(6)
    gone = rng.random(len(people)) < 0.02 * people["phq9_pre"]
    holes = people.assign(phq9_post=people["phq9_post"].mask(gone))
    holes.loc[holes.index[:9], "phq9_pre"] = np.nan
    therapists = [f"T{k:02d}" for k in range(19)]  # one has nobody left
    found = last_scores(holes, [PHQ9], therapists)
    assert found is not None
    mine = holes[holes["therapist_id"].isin(therapists) & holes["phq9_pre"].notna()]
    by = mine.groupby(mine["phq9_post"].notna())["phq9_pre"].agg(["size", "mean"])
    row = found.loc["phq9"]
    assert row[["first", "last", "lacking"]].tolist() == [len(mine), *by["size"].iloc[::-1]]
    assert row[["mean_last", "mean_lacking"]].tolist() == pytest.approx(
        by["mean"].iloc[::-1].tolist()
    )
    assert row["mean_lacking"] > row["mean_last"]
    assert last_scores(None, [PHQ9], therapists) is None
