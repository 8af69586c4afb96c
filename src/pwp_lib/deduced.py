"""What the paper's printed figures give away of what it does not print."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from pwp_lib.published import PublishedFigure, published_figure

__all__ = ["cluster_sizes_from_percentages"]

Statistic: TypeAlias = Literal["pearson", "yates", "likelihood ratio"]
#: How SciPy calls each.
_STATISTICS: Mapping[str, dict[str, Any]] = {
    "pearson": {"correction": False},
    "yates": {"correction": True},
    "likelihood ratio": {"correction": False, "lambda_": "log-likelihood"},
}


def cluster_sizes_from_percentages(
    statistic: Statistic = "pearson", *, most: int = 1122
) -> pd.DataFrame:
    """Numbers of patients in the two clusters that agree with the printed percentages.

    Of each cluster the paper prints four percentages of all its patients, to one decimal, and for
    improvement on both measures a chi-square. Every pair of sizes is tried: each percentage must
    be that of a whole number of patients, and the chi-squares must come out as printed.

    Parameters
    ----------
    statistic : {"pearson", "yates", "likelihood ratio"}
        Which chi-square the paper is supposed to have used.
    most : int
        Patients in both clusters at most.

    Returns
    -------
    DataFrame
        One row a pair that agrees: ``upper``, ``lower`` (patients), and the counts behind the
        percentages, ``improved_<measure>_<cluster>``. Empty if no pair agrees.

    Examples
    --------
    >>> cluster_sizes_from_percentages()[["upper", "lower"]].drop_duplicates().values.tolist()
    [[278, 548]]
    """
    sizes = {cluster: _possible_sizes(cluster, most) for cluster in ("upper", "lower")}
    rows = []
    for upper, lower in product(sizes["upper"], sizes["lower"]):
        if upper + lower > most:
            continue
        counts = _agreeing_counts(upper, lower, _STATISTICS[statistic])
        rows += [{"upper": upper, "lower": lower, **c} for c in counts]
    columns = ["upper", "lower", *(f"improved_{m}_{c}" for m in _MEASURES for c in _CLUSTERS)]
    return pd.DataFrame(rows, columns=columns)


_MEASURES = ("phq9", "gad7")
_CLUSTERS = ("upper", "lower")


def _printed(cluster: str, measure: str, outcome: str) -> PublishedFigure:
    return published_figure(f"clusters.{measure}.{cluster}_{outcome}")


def _counts(figure: PublishedFigure, n: int) -> list[int]:
    """Numbers of patients of `n` whose percentage is printed so."""
    low = int(np.floor((figure.value - figure.rounding) * n / 100))
    return [k for k in range(max(low, 0), low + 3) if k <= n and figure.matches(100 * k / n)]


def _possible_sizes(cluster: str, most: int) -> list[int]:
    figures = [_printed(cluster, m, o) for m in _MEASURES for o in ("improvement", "deterioration")]
    return [n for n in range(1, most) if all(_counts(f, n) for f in figures)]


def _agreeing_counts(upper: int, lower: int, statistic: dict[str, Any]) -> list[dict[str, int]]:
    from scipy.stats import chi2_contingency

    found: list[list[tuple[int, int]]] = []
    for measure in _MEASURES:
        printed = published_figure(f"clusters.{measure}.improvement_chi2")
        found.append(
            [
                (a, b)
                for a in _counts(_printed("upper", measure, "improvement"), upper)
                for b in _counts(_printed("lower", measure, "improvement"), lower)
                if printed.matches(
                    chi2_contingency([[a, upper - a], [b, lower - b]], **statistic).statistic
                )
            ]
        )
    return [
        {
            f"improved_{m}_{c}": count
            for m, pair in zip(_MEASURES, choice, strict=True)
            for c, count in zip(_CLUSTERS, pair, strict=True)
        }
        for choice in product(*found)
    ]
