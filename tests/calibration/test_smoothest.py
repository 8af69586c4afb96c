"""The smoothest change that agrees with the paper."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.smoothest import smoothest_change
from multilevel.errors import InputError
from pwp_lib.measures import GAD7, PHQ9


def test_smoothest_change_has_the_printed_figures_and_one_peak() -> None:
    shape = smoothest_change(GAD7, -14, 21)
    change, patients = shape.index.to_numpy(), shape.to_numpy()
    mean = change @ patients / 1122
    assert patients.sum() == pytest.approx(1122)
    assert mean == pytest.approx(3.05, abs=1e-6)
    assert np.sqrt(patients @ (change - mean) ** 2 / 1121) == pytest.approx(5.82, abs=1e-6)
    assert patients[change >= 4].sum() == pytest.approx(0.418 * 1122)
    assert patients[change <= -4].sum() == pytest.approx(0.042 * 1122)
    turns = np.diff(np.sign(np.round(np.diff(patients), 6))[np.diff(patients).round(6) != 0])
    assert (turns != 0).sum() == 1
    bends = np.diff(np.concatenate([[0, 0], patients, [0, 0]]), 2)
    assert np.abs(bends).max() == pytest.approx(shape.attrs["bend"])


def test_the_printed_deteriorations_force_an_edge_on_the_gad7_alone() -> None:
    def bend(measure, **options):  # type: ignore[no-untyped-def]
        return smoothest_change(measure, -14, 21, **options).attrs["bend"]

    assert bend(GAD7) > 35
    assert bend(GAD7, deterioration=False) < 5
    assert bend(PHQ9) < 5


def test_a_range_too_narrow_for_the_spread_is_refused() -> None:
    with pytest.raises(InputError, match="one-peaked"):
        smoothest_change(PHQ9, 0, 6)
