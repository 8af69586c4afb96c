"""The smoothest distribution of change that has the figures which the paper prints."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.measures import Measure
from pwp_lib.published import published_figure

__all__ = ["smoothest_change"]

Floats = NDArray[np.float64]


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
