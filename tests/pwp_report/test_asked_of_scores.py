"""What the check asks about scores, and about codes that are taken for numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checking import FRAME, checked, patients_of
from question_frames import (
    ADJUST,
    BOTH,
    MANY,
    Q,
    coded,
    filled_in,
    is_asked,
    on_another_scale,
    simulated,
    swapped,
    unrelated,
)

from multilevel.errors import InputError


@pytest.mark.parametrize(("lost", "required", "told"), [(5, True, 1), (1, True, 0), (5, False, 0)])
def test_a_measure_that_many_lack_is_said_to_cost_them_on_the_others(
    lost: int, required: bool, told: int, tmp_path: Path
) -> None:
    """So many of every therapist's ten patients lack its last score."""
    lacks = FRAME.groupby("therapist_id").cumcount() < lost
    frame = FRAME.assign(gad7_post=FRAME["gad7_post"].mask(lacks))
    study = '[measures.phq9]\npre = "phq9_pre"\npost = "phq9_post"\n[measures.gad7]\n'
    study += f'pre = "gad7_pre"\npost = "gad7_post"\nrequired = {str(required).lower()}\n'
    check = checked(tmp_path, frame, study)
    said = [r for r in check.remarks if "far more than on another measure" in r]
    assert len(said) == told
    assert all(
        r.startswith(f"{lacks.mean():.0%} of the patients lack a score on GAD-7") for r in said
    )
    assert not [q for q in check.study.questions if "another measure" in q]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("kinds", "tells"), [(8, 4.0), (12, 4.0), (20, 5.0), (8, 0.0), (15, 0.0)])
def test_codes_that_are_taken_for_numbers_are_asked_about(
    seed: int, kinds: int, tells: float, tmp_path: Path
) -> None:
    check = checked(tmp_path, coded(seed, kinds, tells), '[case_mix]\nadjust = ["Problem"]\n')
    asked = [q for q in check.study.questions if "Problem is adjusted for as a number" in q]
    assert len(asked) == (tells > 0)


@pytest.mark.parametrize("seed", range(20))
def test_numbers_that_tell_by_a_straight_line_are_not(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    decile = rng.integers(1, 11, len(MANY))
    posts = {f"{m}_post": (MANY[f"{m}_post"] + decile / 2).round().clip(0, 21) for m in BOTH}
    frame = MANY.assign(IMD=decile, **posts)
    assert not is_asked(checked(tmp_path, frame, ADJUST), "as a number")


def test_codes_are_categories_where_the_study_file_says_so(tmp_path: Path) -> None:
    frame = coded(1)
    study = '[case_mix]\nadjust = ["Problem"]\ncategories = ["Problem"]\n'
    check = checked(tmp_path, frame, study)
    words = frame.assign(Problem="p" + frame["Problem"].astype("str"))
    other = checked(tmp_path, words, '[case_mix]\nadjust = ["Problem"]\n')
    assert not is_asked(check, "as a number")
    told = [patients_of(c)["mix_0"].str.removeprefix("p") for c in (check, other)]
    pd.testing.assert_series_equal(*told)
    with pytest.raises(InputError, match="under categories") as problem:
        checked(tmp_path, frame, study.replace('s = ["Problem"]', 's = ["Problm"]'))
    assert "Problem" in str(problem.value)


@pytest.mark.parametrize(
    ("how", "n", "asked"),
    [
        ("pre", 20, "the first ones again"),
        ("zero", 20, "are nought"),
        ("pre", 4, ""),
        ("zero", 4, ""),
    ],
)
def test_last_scores_that_were_filled_in_are_asked_about(
    how: str, n: int, asked: str, tmp_path: Path
) -> None:
    check = checked(tmp_path, filled_in(how, n))
    found = [q for q in check.study.questions if "the last score" in q or "are nought" in q]
    assert {asked in q for q in found} == ({True} if asked else set())


@pytest.mark.parametrize("required", [True, False])
def test_a_measure_that_patients_may_lack_is_asked_about_too(
    required: bool, tmp_path: Path
) -> None:
    frame = swapped().assign(phq9_post=lambda t: t["phq9_post"].mask(t.index % 9 == 0))
    study = '[measures.gad7]\npre = "gad7_pre"\npost = "gad7_post"\n[measures.phq9]\n'
    study += f'pre = "phq9_pre"\npost = "phq9_post"\nrequired = {str(required).lower()}\n'
    assert is_asked(checked(tmp_path, frame, study), "patients got worse on average on PHQ-9")


def test_means_of_items_at_one_end_alone_are_asked_about(tmp_path: Path) -> None:
    frame = FRAME.assign(core_om_pre=FRAME["phq9_pre"], core_om_post=FRAME["phq9_post"] / 7)
    assert is_asked(checked(tmp_path, frame), "are these means of items?")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("code", [0, 99])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.3])
def test_a_number_that_stands_out_among_scores_is_asked_about(
    share: float, code: int, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    pre = np.clip(rng.normal(85, 20, 240).round(), 30, 170)
    post = np.clip(pre - 25 + rng.normal(0, 22, 240).round(), 30, 170)
    post = np.where(rng.random(240) < share, code, post)
    frame = FRAME.loc[np.arange(240) % len(FRAME)].reset_index(drop=True)
    frame = frame.assign(patient_id=range(240), OQ45_pre=pre, OQ45_post=post)
    check = checked(
        tmp_path, frame.drop(columns=["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"])
    )
    assert is_asked(check, "than are any number next to it") == (share > 0)


@pytest.mark.parametrize("seed", range(20))
def test_nought_on_a_floor_does_not_stand_out(seed: int, tmp_path: Path) -> None:
    """A fifth or a quarter end at nought, and more next to it."""
    rng = np.random.default_rng(seed)
    post = np.clip((MANY["phq9_pre"] - 11 + rng.normal(0, 6, len(MANY))).round(), 0, 27)
    frame = MANY.assign(phq9_post=post)
    assert (post == 0).mean() > 0.2
    assert not is_asked(checked(tmp_path, frame), "of PHQ-9 are nought")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.0, 0.25, 0.35])
def test_nought_for_a_missing_score_stands_out_on_a_short_scale(
    share: float, seed: int, tmp_path: Path
) -> None:
    """From 0 to 10, where some end at nought anyway: those who began low."""
    rng = np.random.default_rng(seed)
    pre = np.clip(rng.normal(7, 1.7, len(MANY)).round(), 0, 10)
    post = np.clip((pre - 2 + rng.normal(0, 1.7, len(MANY))).round(), 0, 10)
    assert 0 < (post == 0).sum() < 0.05 * len(MANY)
    post = np.where(rng.random(len(MANY)) < share, 0, post)
    study = '[measures.nrs]\npre = "a"\npost = "b"\nminimum = 0\nmaximum = 10\n'
    check = checked(
        tmp_path, MANY.assign(a=pre, b=post), f'{study}higher_is_worse = true\nlabel = "NRS"\n'
    )
    assert is_asked(check, "scores of NRS are nought") == (share > 0)


@pytest.mark.parametrize("seed", range(10))
def test_scores_that_tell_nothing_of_each_other_are_asked_about(seed: int, tmp_path: Path) -> None:
    assert is_asked(checked(tmp_path, unrelated(seed)), "tell hardly anything of the last")
    other = MANY.assign(patient_id=MANY["patient_id"].sample(frac=1, random_state=seed).to_numpy())
    assert not is_asked(checked(tmp_path, other), "tell hardly anything of the last")


@pytest.mark.parametrize(("unseen", "asked"), [(0, False), (1, False), (10, True)])
def test_scores_of_patients_without_a_session_are_asked_about(
    unseen: int, asked: bool, tmp_path: Path
) -> None:
    """Of eight hundred; others without a session lack a score, as they do."""
    frame = MANY.assign(sessions=5)
    frame.loc[frame.index % 9 == 0, ["sessions", "phq9_post"]] = [0, np.nan]
    frame.loc[frame.index[:unseen], ["sessions", "phq9_post"]] = [0, 9]
    check = checked(tmp_path, frame)
    assert is_asked(check, "have no session and have every score") == asked


@pytest.mark.parametrize(("rows", "asked"), [(40, True), (150, True), (0, False)])
@pytest.mark.parametrize("seed", range(5))
def test_a_column_shifted_from_some_row_on_is_asked_about(
    rows: int, asked: bool, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    frame = simulated(rng, 600, 0.5)
    posts = frame["phq9_post"].copy()
    posts[rows:] = posts[rows:].shift(-1) if rows else posts[rows:]
    check = checked(tmp_path, frame.assign(phq9_post=posts).iloc[:-1])
    assert is_asked(check, "tell hardly anything of the last") == asked


@pytest.mark.parametrize(("size", "correlation"), [(110, 0.45), (600, 0.4), (3000, 0.38)])
def test_first_scores_that_tell_something_are_not_asked_about(
    size: int, correlation: float, tmp_path: Path
) -> None:
    frames = (simulated(np.random.default_rng(seed), size, correlation) for seed in range(10))
    asked = [is_asked(checked(tmp_path, f), "tell hardly anything of the last") for f in frames]
    assert not any(asked)


@pytest.mark.parametrize(("of", "asked"), [("t1", True), ("t12", False), ("", False)])
def test_therapists_with_last_scores_on_another_scale_are_asked_about(
    of: str, asked: bool, tmp_path: Path
) -> None:
    """Of therapist t12 there are fewer than twenty."""
    frame = simulated(np.random.default_rng(1), 600, 0.5)
    frame = frame[(frame["therapist_id"] != "t12") | (frame.index % 3 == 0)]
    posts = (frame["phq9_post"] / 9).round().where(frame["therapist_id"] == of, frame["phq9_post"])
    check = checked(tmp_path, frame.assign(phq9_post=posts))
    assert is_asked(check, "do they record means of items") == asked


@pytest.mark.parametrize(
    ("of", "asked"),
    [
        ([], False),
        (["t1"], True),
        (["t1", "t5"], True),
        (["t0", "t1", "t2", "t3", "t4", "t6"], True),
    ],
)
def test_therapists_on_another_scale_are_asked_about(
    of: list[str], asked: bool, tmp_path: Path
) -> None:
    check = checked(tmp_path, on_another_scale(of), Q)
    assert is_asked(check, "do they record means of items") == asked


@pytest.mark.parametrize(("zeros", "asked"), [(9, False), (17, True)])
def test_a_few_noughts_where_nobody_scores_next_to_them_are_asked_about(
    zeros: int, asked: bool, tmp_path: Path
) -> None:
    frame = MANY.assign(phq9_pre=MANY["phq9_pre"].mask(MANY.index < zeros, 0))
    assert is_asked(checked(tmp_path, frame), "of PHQ-9 are nought") == asked
