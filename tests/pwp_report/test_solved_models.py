"""What models and sentences tell of counts: two files that every table of counts shows alike."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_solved import POLICY, cohort_of, counted

from multilevel.intervals import Interval
from pwp_lib.measures import PHQ9
from pwp_report.case_mix import WITH_MIX, CaseMix
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.methods import how_sure
from pwp_report.rates import fit_rate, rates_asked
from pwp_report.release import release_results
from pwp_report.released import ReleasedResults

#: By therapist, patients with every score, and without.
SCORED = [27, 30, 41, 33, 45, 24, 38, 29]
LACKING = [2, 8, 6, 11, 3, 9, 1, 12]


def _rows(scored: list[int], lacking: list[int]) -> pd.DataFrame:
    """Patients of whom nothing else differs between two files of as many."""
    who = np.repeat(np.arange(len(scored)), scored)
    none = np.repeat(np.arange(len(scored)), lacking)
    rng, size = np.random.default_rng(1), len(who) + len(none)
    table = {
        "patient_id": [f"P{i}" for i in range(size)],
        "therapist_id": [f"T{k:02d}" for k in [*who, *none]],
        "service_id": "S",
        "phq9_pre": rng.integers(5, 28, size),
        "phq9_post": np.where(np.arange(size) < len(who), rng.integers(0, 20, size), np.nan),
        "age": rng.integers(18, 80, size),
        "gender": rng.choice(["f", "m"], size),
    }
    return pd.DataFrame(table)


def _released(scored: list[int], lacking: list[int]) -> tuple[ReleasedResults, Any]:
    """What is released of the counts, and of the model of who has every score."""
    cohort = cohort_of(_rows(scored, lacking), (PHQ9,))
    (asked,) = (a for (a,) in rates_asked(cohort, CaseMix()) if a.rate == "complete")
    model = fit_rate(asked)
    return release_results(replace(counted(cohort), rates=(model,)), POLICY), model


def test_the_model_of_who_has_every_score_does_not_tell_who_lacks_one() -> None:
    """Its p-value of three digits fitted no other counts of so few therapists."""
    moved = [1, 9, *LACKING[2:]]  # the first therapist's patient is the second one's
    (one, model), (other, again) = _released(SCORED, LACKING), _released(SCORED, moved)
    for name in ("completeness", "flow", "outcomes_by_therapist"):
        pd.testing.assert_frame_equal(one.tables[name].frame, other.tables[name].frame)
    assert f"{model.p_value:.3g}" != f"{again.p_value:.3g}"
    rates = [r.tables["rates"].frame for r in (one, other)]
    assert rates[0]["percent"].tolist() == [83.0]
    pd.testing.assert_frame_equal(*rates)


@pytest.mark.parametrize("therapists", [19, 20])
def test_the_model_of_who_dropped_out_is_of_twenty_therapists_or_more(therapists: int) -> None:
    """Its figures have some 14 digits, and no table has a number of drop-outs by therapist."""
    rows = _rows([30] * therapists, [5] * therapists).dropna(subset="phq9_post")
    left = np.random.default_rng(2).random(len(rows)) < 0.3
    cohort = cohort_of(rows.assign(status="closed", dropped_out=left), (PHQ9,))
    (asked,) = (a for (a,) in rates_asked(cohort, CaseMix()) if a.rate == "dropout")
    released = release_results(replace(counted(cohort), rates=(fit_rate(asked),)), POLICY)
    assert ("rates" in released.tables) == (therapists == 20)
    if therapists == 20:
        (row,) = released.tables["rates"].frame.to_dict("records")
        assert row["n"] == row["percent"] == "*"
        assert row["median_odds_ratio"] >= 1.0


@pytest.mark.neighbours
@pytest.mark.parametrize(
    "few",
    [([4, 17, 19], [3, 18, 19]), ([4, 4, 12, 14], [3, 5, 12, 14]), ([1, 12, 12], [2, 11, 12])],
)
def test_the_spread_of_caseloads_does_not_tell_those_of_therapists_shown_together(
    few: tuple[list[int], list[int]],
) -> None:
    """Of 4, 4, 12 and 14 patients it fitted, beside these ten therapists, no other caseloads."""
    loads = [[57, 32, 26, 41, 55, 58, 32, 45, 49, 29, *some] for some in few]
    one, other = (_released(some, [5] * len(some))[0] for some in loads)
    frames = [r.tables["sample"].frame for r in (one, other)]
    samples = [f[(f["of whom"] == "caseloads") & (f["variable"] == "patients")] for f in frames]
    assert len(samples[0]) == 1
    pd.testing.assert_frame_equal(*samples)
    assert "an SD is not" in one.tables["sample"].note
    assert samples[0]["sd"].isna().all()
    right = [5 * ((n + 2) // 5) for n in loads[0]]
    assert samples[0]["median"].tolist() == [float(np.median(right))]


def _result(loads: list[int], least: float) -> Any:
    """A measure on which it takes so many patients for a reliable figure."""
    fit = SimpleNamespace(random_covariance=pd.DataFrame([[7.0]]), residual_variance=3.0 * least)
    table = pd.DataFrame({"n": loads}, index=[f"T{i}" for i in range(len(loads))])
    measure = SimpleNamespace(label="X")
    return SimpleNamespace(ranked=fit, residuals=table, measure=measure, profile=None,
                           with_mix=None, adjusted=None)  # fmt: skip


@pytest.mark.parametrize("least", [4.5, 9.5, 14.5, 23.5])
def test_who_has_a_caseload_for_a_reliable_figure_tells_no_caseload(least: float) -> None:
    """From 4 patients 8 of 8 on one measure, from 5 on another 7 of 8: one has 4."""
    shown, few = [60, 50, 40, 30, 22], ([4, 17, 19], [10, 14, 16])
    one, other = (_result([*shown, *some], least) for some in few)
    assert how_sure(one, POLICY) == how_sure(other, POLICY)
    assert how_sure(one, POLICY)["all"] == "8"
    assert how_sure(one, POLICY)["enough"] == ""
    off = DisclosurePolicy(active=False)
    assert how_sure(one, off)["all"] == "8"
    assert (how_sure(one, off) == how_sure(other, off)) == (least > 20)


#: Caseloads of forty-eight therapists who are shown, and of others who are not.
_SHOWN = [*range(20, 44), *range(22, 46)]
_TOGETHER = [*range(4, 20), *range(9, 20)]


@pytest.mark.parametrize(
    ("shown", "together", "least", "enough", "known"),
    [
        (_SHOWN, _TOGETHER, 14.5, "about 60", True),  # 59 of 75
        (_SHOWN, _TOGETHER, 23.5, "about 40", True),  # 42 of 75, none of them shown together
        (_SHOWN, [], 14.5, "48", True),  # all are shown: it is told already
        (_SHOWN, _TOGETHER, 5.5, "", True),  # 2 have fewer
        (_SHOWN, _TOGETHER, 43.5, "", True),  # 2 have as many
        (_SHOWN, [9] * 5, 9.5, "", True),  # 5 have fewer: all who are not shown
        (_SHOWN, [3] * 12, 3.5, "", True),  # how many have fewer than 5 would be told
        (_SHOWN[:20], [15] * 10 + [9] * 11, 14.5, "about 30", False),  # the median is not known
        (_SHOWN[:4], [], 14.5, "", False),
        (_SHOWN[:4], [15] * 10 + [9] * 10, 14.5, "", False),
    ],
)
def test_what_is_said_of_all_therapists_is_true_of_all(
    shown: list[int], together: list[int], least: float, enough: str, known: bool
) -> None:
    """It was said of those shown one by one, who have a large caseload by that rule."""
    loads = np.array([*shown, *together])
    found = how_sure(_result(loads.tolist(), least), POLICY)
    assert (found["all"], found["alone"]) == (f"{len(loads)}", len(shown))
    assert found["enough"] == enough
    # Of the median therapist the variance within is 3 * least over 7, and that of the mean less.
    right = round(100 / (1 + np.median(3 * least / 7 / loads)))
    assert found["rankability"] == (f"{right:.0f}" if known else "")


def test_how_many_have_enough_leaves_open_how_many_of_those_not_shown() -> None:
    """Whoever knows those who are shown, and the rounded number of all, knows no other exactly."""
    rng, told = np.random.default_rng(4), 0
    for _ in range(400):
        shown = rng.integers(20, 60, rng.integers(5, 40)).tolist()
        some = rng.integers(2, 20, rng.integers(3, 30)).tolist()
        least = float(rng.integers(3, 30))
        found = how_sure(_result([*shown, *some], least), POLICY)
        if found["alone"] < len(shown) or not found["enough"]:
            continue
        told += 1
        needed, n = int(found["patients"].split(" (")[0]), len(shown) + len(some)
        has = sum(k >= needed for k in shown)
        low, high = POLICY.bounds(int(found["enough"].removeprefix("about ")))
        fits = [t for t in range(len(some) + 1) if low <= has + t <= min(high, n - 5)]
        assert sum(k >= needed for k in some) in fits
        assert len(fits) > 1 or max(some) < 20 <= least
    assert told > 50


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.05, 0.1), "4 (95% interval 21 to 45)"),
        ((0.0, 0.1), "4 (95% interval 21 to any number)"),
        ((0.0004, 0.5), "4 (95% interval 3 to any number)"),  # on the page it is 0.0%
        ((0.0, 0.0), "4"),
    ],
)
@pytest.mark.parametrize("mixed", [False, True])
def test_a_caseload_for_a_reliable_figure_has_an_interval(
    ends: tuple[float, float], said: str, mixed: bool
) -> None:
    result = _result([20, 30, 40, 50, 60], 3.5)
    result.models = SimpleNamespace(test_intercept=SimpleNamespace(p_value_boundary=0.001))
    result.profile = Interval(0.05, *ends, 0.95)
    if mixed:
        row = {"adjusted_for": WITH_MIX, "vpc_lower": ends[0], "vpc_upper": ends[1]}
        result.profile, result.with_mix = Interval(0.05, 0.2, 0.3, 0.95), object()
        result.adjusted = pd.DataFrame([row])
    found = how_sure(result, POLICY)
    assert (found["patients"], found["sure"]) == (said, ends[0] > 0)


def test_where_nobody_is_shown_alone_no_caseload_is_said_to_be_enough() -> None:
    found = how_sure(_result([4, 17, 19], 3.5), POLICY)
    assert (found["alone"], found["enough"], found["rankability"]) == (0, "", "")
