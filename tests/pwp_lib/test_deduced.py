"""What the printed percentages give away."""

from __future__ import annotations

import numpy as np
import pytest

from multilevel.errors import InputError
from pwp_lib.deduced import cluster_sizes_from_percentages, smoothest_change
from pwp_lib.measures import GAD7, PHQ9
from pwp_lib.published import published_figure


def test_one_pair_of_sizes_agrees_with_every_percentage_and_both_chi_squares() -> None:
    found = cluster_sizes_from_percentages()
    assert found[["upper", "lower"]].values.tolist() == [[278, 548]]
    row = found.iloc[0]
    for cluster, n in (("upper", 278), ("lower", 548)):
        for measure in ("phq9", "gad7"):
            printed = published_figure(f"clusters.{measure}.{cluster}_improvement")
            assert printed.matches(100 * row[f"improved_{measure}_{cluster}"] / n)


@pytest.mark.parametrize("statistic", ["yates", "likelihood ratio"])
def test_no_pair_agrees_with_another_chi_square(statistic: str) -> None:
    assert cluster_sizes_from_percentages(statistic).empty  # type: ignore[arg-type]


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(InputError, match="yates"):
        cluster_sizes_from_percentages("fisher")  # type: ignore[arg-type]


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
