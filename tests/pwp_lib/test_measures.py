from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multilevel.errors import InputError
from pwp_lib.measures import GAD7, MEASURES, PHQ9, Measure, get_measure


def test_the_papers_measures_have_the_papers_thresholds():
    assert (PHQ9.minimum, PHQ9.maximum, PHQ9.cutoff, PHQ9.reliable_change) == (0, 27, 10, 6)
    assert (GAD7.minimum, GAD7.maximum, GAD7.cutoff, GAD7.reliable_change) == (0, 21, 8, 4)


@pytest.mark.parametrize("name", ["phq9", "PHQ-9", "phq_9", " Phq 9 "])
def test_a_measure_is_found_however_it_is_written(name):
    assert get_measure(name) is PHQ9


def test_core_om_and_core_10_are_told_apart():
    assert get_measure("CORE-OM").name == "core_om"
    assert get_measure("CORE-10").name == "core10"


def test_an_unknown_measure_lists_the_known_and_suggests_the_nearest():
    with pytest.raises(InputError, match=r"did you mean phq9\?.*oq45"):
        get_measure("phq8")


@pytest.mark.parametrize("measure", MEASURES.values(), ids=str)
def test_every_measure_is_coherent_and_gives_its_source(measure):
    assert measure.source
    assert measure.minimum < measure.maximum
    if measure.reliable_change is not None:
        assert measure.reliable_change < measure.maximum - measure.minimum
    if measure.integer and measure.cutoff is not None:
        assert float(measure.cutoff).is_integer()


def test_whoever_scores_the_cut_off_is_on_the_upper_side_of_it():
    # Miller and Duncan's ORS: clinical is below 25. The PHQ-9: caseness is 10 or more.
    up = Measure("wellbeing", "Wellbeing", 7, 35, 20, 3, higher_is_worse=False)
    np.testing.assert_array_equal(up.is_case([19, 20, 21]), [True, False, False])
    np.testing.assert_array_equal(PHQ9.is_case([9, 10, np.nan]), [False, True, False])


def test_improvement_is_positive_for_the_better_in_both_directions():
    up = replace(PHQ9, higher_is_worse=False)
    np.testing.assert_array_equal(PHQ9.improvement([10], [4]), [6])
    np.testing.assert_array_equal(up.improvement([10], [4]), [-6])


def test_a_measure_without_cut_off_says_so():
    with pytest.raises(InputError, match="wsas has no caseness cut-off"):
        MEASURES["wsas"].is_case([10])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "PHQ 9"},
        {"minimum": 27},
        {"cutoff": 28},
        {"reliable_change": 0},
    ],
)
def test_an_impossible_measure_is_refused(change):
    with pytest.raises(InputError):
        replace(PHQ9, **change)
