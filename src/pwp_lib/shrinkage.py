"""Therapists' lines, and how a raw departure from the average one becomes the residual."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.mixed import MixedFit
from pwp_lib.measures import Measure, get_measure

__all__ = ["raw_and_shrunken", "therapist_lines"]


def raw_and_shrunken(fit: MixedFit) -> pd.DataFrame:
    """Raw departure and residual of each therapist.

    The raw departure is the mean, over the therapist's patients, of the response minus what the
    fixed part predicts. It is computed from moments, so it costs nothing.

    Parameters
    ----------
    fit : MixedFit
        With an intercept among the random terms.

    Returns
    -------
    DataFrame
        By therapist: ``n``, ``raw``, ``residual`` and ``kept``, the residual as a share of the raw
        departure. In a random-intercept model the share is the reliability of the raw departure.

    Raises
    ------
    InputError
        If the intercept is not random.

    Examples
    --------
    >>> from multilevel.design import DesignMoments
    >>> from multilevel.mixed import fit_design
    >>> y = [1, 2, 3, 7, 8, 9, 4, 5, 6]
    >>> d = DesignMoments.from_arrays(y, {"Intercept": [1] * 9}, ["Intercept"], list("aaabbbccc"))
    >>> raw_and_shrunken(fit_design(d))["raw"].round(2).tolist()
    [-3.0, 3.0, 0.0]
    """
    design = fit.design
    if "Intercept" not in design.random_names:
        raise InputError(
            "raw departures need a model with a random intercept", hint="add (1 | ...)"
        )
    constant = design.names.index("Intercept")
    sums = design.cross[:, constant, :]
    fixed = sums[:, list(design.fixed)] @ np.asarray(fit.coefficients, dtype=float)
    raw = (sums[:, design.response] - fixed) / design.n
    table = fit.residuals("Intercept")[["n", "residual"]].copy()
    table.insert(1, "raw", pd.Series(raw, index=pd.Index(design.groups)).reindex(table.index))
    table["kept"] = table["residual"] / table["raw"].where(table["raw"] != 0)
    return table


def therapist_lines(
    fit: MixedFit, patients: pd.DataFrame, measure: str | Measure
) -> tuple[pd.DataFrame, tuple[float, float]]:
    """Each therapist's regression line on the own pre score, other predictors at their means.

    Parameters
    ----------
    fit : MixedFit
        Explains the measure's post score by its centred pre score among others.
    patients : DataFrame
        The patients to whom it was fitted.
    measure : str or Measure

    Returns
    -------
    lines : DataFrame
        By therapist: ``intercept`` (at the mean pre score), ``slope``, and ``lower`` and ``upper``,
        the range of the therapist's own patients.
    average : tuple of float
        Intercept and slope of the fixed part.

    Raises
    ------
    InputError
        If the fit has no centred own pre score.
    """
    own = measure if isinstance(measure, Measure) else get_measure(measure)
    name = f"center({own.pre})"
    if name not in fit.fixed.index:
        raise InputError(f"the lines need {name} among the fixed terms", column=own.pre)
    estimates = fit.fixed["estimate"]
    average = (float(estimates["Intercept"]), float(estimates[name]))
    random = set(fit.design.random_names)
    reach = patients.groupby(fit.design.group_name, observed=True)[own.pre].agg(["min", "max"])
    lines = pd.DataFrame(index=pd.Index(fit.design.groups, name=fit.design.group_name))
    for column, term, mean in (
        ("intercept", "Intercept", average[0]),
        ("slope", name, average[1]),
    ):
        effect = fit.residuals(term)["residual"] if term in random else 0.0
        lines[column] = mean + effect
    lines["lower"], lines["upper"] = reach["min"], reach["max"]
    return lines, average
