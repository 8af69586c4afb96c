"""What the paper's printed figures give away of what it does not print."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.measures import Measure
from pwp_lib.published import PublishedFigure, published_figure

__all__ = ["cluster_sizes_from_percentages", "smoothest_change"]

Statistic: TypeAlias = Literal["pearson", "yates", "likelihood ratio"]
#: How SciPy calls each.
_STATISTICS: Mapping[str, dict[str, Any]] = {
    "pearson": {"correction": False},
    "yates": {"correction": True},
    "likelihood ratio": {"correction": False, "lambda_": "log-likelihood"},
}
Floats: TypeAlias = NDArray[np.float64]


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

    Raises
    ------
    InputError
        If the statistic is none of the three.

    Examples
    --------
    >>> cluster_sizes_from_percentages()[["upper", "lower"]].drop_duplicates().values.tolist()
    [[278, 548]]
    """
    if statistic not in _STATISTICS:
        raise InputError(f"the statistic is none of {', '.join(_STATISTICS)}")
    sizes = {cluster: _possible_sizes(cluster, most) for cluster in ("upper", "lower")}
    rows = []
    for upper, lower in product(sizes["upper"], sizes["lower"]):
        if upper + lower > most:
            continue
        counts = _agreeing_counts(upper, lower, _STATISTICS[statistic])
        rows += [{"upper": upper, "lower": lower, **c} for c in counts]
    columns = ["upper", "lower", *(f"improved_{m}_{c}" for m in _MEASURES for c in _CLUSTERS)]
    return pd.DataFrame(rows, columns=columns)


def smoothest_change(
    measure: Measure, low: int, high: int, *, deterioration: bool = True
) -> pd.Series:
    """Find the smoothest one-peaked distribution of change with the printed figures.

    Its mean, SD and rates of reliable improvement and deterioration are those that the paper
    prints, and it rises to one peak and falls. The least possible *bend* is found, the largest
    second difference of neighbouring numbers of patients: for each place of the peak a linear
    programme, so the answer is exact and not the end of a search.

    Parameters
    ----------
    measure : Measure
        PHQ-9 or GAD-7.
    low, high : int
        Least and greatest change that a patient may have.
    deterioration : bool
        Whether the printed rate of deterioration must hold.

    Returns
    -------
    Series
        Patients by change, improvement positive; ``attrs["bend"]`` is the least possible bend.

    Raises
    ------
    InputError
        If the measure has no threshold of reliable change, or no one-peaked distribution on
        that range has these figures.

    Examples
    --------
    >>> from pwp_lib.measures import GAD7
    >>> with_it = smoothest_change(GAD7, -15, 21)
    >>> without = smoothest_change(GAD7, -15, 21, deterioration=False)
    >>> with_it.attrs["bend"] > 5 * without.attrs["bend"]
    True
    """
    values = np.arange(low, high + 1)
    figures = _figures_of_change(measure, values, deterioration)
    fits = [_least_bend(values, int(peak), *figures) for peak in values]
    found = [fit for fit in fits if fit is not None]
    if not found:
        raise InputError("no one-peaked distribution on this range has the printed figures")
    bend, patients = min(found, key=lambda fit: fit[0])
    shape = pd.Series(patients, index=pd.Index(values, name="change"), name="patients")
    shape.attrs["bend"] = bend
    return shape


def _figures_of_change(
    measure: Measure, values: NDArray[np.int64], deterioration: bool
) -> tuple[Floats, Floats]:
    """Rows and right-hand sides: patients, sum, sum of squares, improved, deteriorated."""

    def printed(name: str) -> float:
        return published_figure(f"outcomes.{measure.name}.{name}").value

    n = published_figure("people.patients").value
    if (reliable := measure.reliable_change) is None:
        raise InputError(f"{measure.label} has no threshold of reliable change")
    mean, sd = printed("change_mean"), printed("change_sd")
    rows = [np.ones(len(values)), values, values**2, values >= reliable, values <= -reliable]
    totals = [n, n * mean, (n - 1) * sd**2 + n * mean**2, n * printed("improvement") / 100,
              n * printed("deterioration") / 100]  # fmt: skip
    kept = 5 if deterioration else 4
    return np.array(rows, dtype=float)[:kept], np.array(totals)[:kept]


def _least_bend(
    values: NDArray[np.int64], peak: int, rows: Floats, totals: Floats
) -> tuple[float, Floats] | None:
    """Least largest second difference of numbers that peak at `peak`; None where there are none."""
    from scipy.optimize import linprog

    k = len(values)
    slope = np.diff(np.eye(k), axis=0)
    rising = np.where(values[1:] <= peak, -1.0, 1.0)[:, None] * slope
    bends = np.diff(np.vstack([np.zeros((2, k)), np.eye(k), np.zeros((2, k))]), 2, axis=0)
    most = np.ones((len(bends), 1))
    free = np.zeros((k - 1, 1))
    above = np.block([[rising, free], [bends, -most], [-bends, -most]])
    fit = linprog(
        np.append(np.zeros(k), 1.0), above, np.zeros(len(above)),
        np.hstack([rows, np.zeros((len(rows), 1))]), totals,
    )  # fmt: skip
    return (float(fit.fun), np.asarray(fit.x[:k])) if fit.status == 0 else None


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
