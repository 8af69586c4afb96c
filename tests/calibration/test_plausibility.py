"""What looks odd is found where it is planted; what the packaged cohort has left is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pwp_lib.cohort import load_cohort


def test_a_step_is_what_a_curve_does_not_explain() -> None:
    from calibration.histograms import step

    curve = np.array([100.0 + 7 * k - k * k for k in range(9)])
    assert step(curve, 4) == pytest.approx(0)
    curve[4:] += 60
    assert step(curve, 4) > 2
    assert abs(step(curve, 7)) < 1e-9


def test_a_spike_stands_above_the_line_of_its_neighbours() -> None:
    from calibration.histograms import spike

    line = np.array([30.0, 28, 26, 24, 22])
    assert spike(line, 0, 1) == 0
    line[0] = 90
    assert spike(line, 0, 1) > 3
    assert spike(line[::-1].copy(), 4, -1) > 3


def test_too_smooth_is_told_from_drawn_and_from_rough() -> None:
    from calibration.histograms import rough

    law = np.exp(-0.5 * ((np.arange(28) - 11) / 6.5) ** 2)
    expected = 1122 * law / law.sum()
    drawn = np.random.default_rng(1).multinomial(1122, law / law.sum()).astype(float)
    combed = drawn + 12 * (-1.0) ** np.arange(28)
    smooth, chance, jagged = (
        f / e for f, e in (rough(h, 0, 27) for h in (expected, drawn, combed))
    )
    assert smooth < 0.1
    assert 0.5 < chance < 2
    assert jagged > 4


def test_lone_patients_are_counted_on_both_sides() -> None:
    from calibration.histograms import apart

    h = np.array([2.0, 0, 0, 5, 0, 9, 4, 0, 0, 1, 1])
    assert apart(h, 0, 10) == 4
    assert apart(h[3:8].copy(), 0, 4) == 0


def test_planted_oddities_are_found() -> None:
    from calibration.plausibility import oddities

    cohort = load_cohort()
    before = oddities(cohort)
    patients = cohort.patients.copy()
    at_cutoff = patients["phq9_post"].isin([10, 11])
    patients.loc[at_cutoff, "phq9_post"] = 9
    patients.loc[patients["phq9_post"].isin([1, 2]), "phq9_post"] = 0
    worst = patients.index[patients["gad7_pre"] == 0][:2]
    patients.loc[worst, "gad7_post"] = 21
    after = oddities(replace(cohort, patients=patients))
    for name in ("PHQ-9 step at a threshold: after", "PHQ-9 spike at an end: after"):
        assert after[name] > before[name] + 3
    assert after["GAD-7 isolated: change"] == 2
    assert before["GAD-7 isolated: change"] == 0


def test_the_therapist_furthest_out_is_found() -> None:
    from calibration.plausibility import oddities

    cohort = load_cohort()
    name = "PHQ-9 therapist furthest out: after"
    patients = cohort.patients.copy()
    largest = patients["therapist_id"].value_counts().idxmax()
    theirs = patients["therapist_id"] == largest
    patients.loc[theirs, "phq9_post"] = (patients.loc[theirs, "phq9_post"] + 5).clip(upper=27)
    assert oddities(replace(cohort, patients=patients))[name] > oddities(cohort)[name] + 0.5


@pytest.mark.nightly
def test_only_stated_oddities_lie_beyond_the_yardstick() -> None:
    from calibration.plausibility import oddities, yardstick

    found: pd.Series = oddities(load_cohort())
    beyond = found.index[found > yardstick()]
    assert set(beyond) == {"GAD-7 second mode: change, cases"}
