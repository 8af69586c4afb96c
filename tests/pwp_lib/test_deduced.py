"""What the printed percentages give away."""

from __future__ import annotations

import pytest

from pwp_lib.deduced import cluster_sizes_from_percentages
from pwp_lib.published import published_figure


def test_one_pair_of_sizes_agrees_with_every_percentage_and_both_chi_squares() -> None:
    found = cluster_sizes_from_percentages()
    assert found[["upper", "lower"]].values.tolist() == [[278, 548]]
    row = found.iloc[0]
    for cluster, n in (("upper", 278), ("lower", 548)):
        for measure in ("phq9", "gad7"):
            printed = published_figure(f"clusters.{measure}.{cluster}_improvement")
            assert printed.matches(100 * row[f"improved_{measure}_{cluster}"] / n)


@pytest.mark.neighbours
@pytest.mark.parametrize("statistic", ["yates", "likelihood ratio"])
def test_no_pair_agrees_with_another_chi_square(statistic: str) -> None:
    assert cluster_sizes_from_percentages(statistic).empty  # type: ignore[arg-type]
