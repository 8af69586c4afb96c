"""How many of each therapist's patients recover, for a given share of variance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.fit import MixedFit
from pwp_lib.checks import patient_residuals
from pwp_lib.measures import Measure, get_measure

__all__ = ["recovery_by_therapist"]

_PERCENTILES = np.array([5, 25, 50, 75, 95])


def recovery_by_therapist(
    fit: MixedFit,
    patients: pd.DataFrame,
    measure: str | Measure,
) -> pd.DataFrame:
    """Turn a share of variance into patients: expected recoveries by the therapist's percentile.

    Every case is imagined with a therapist at each percentile of the fitted distribution of
    intercepts; the probability of a last score below the cut-off follows from the model's normal
    distribution. It describes caseloads, and is no promise of what a change of therapist would do.

    Parameters
    ----------
    fit : MixedFit
        With a random intercept.
    patients : DataFrame
        Those to whom the model was fitted.
    measure : str or Measure
        With a cut-off.

    Returns
    -------
    DataFrame
        By percentile of effectiveness, from 5 to 95 (better than 95% of therapists): ``intercept``
        (points relative to the average) and ``recovered_per_100`` cases.

    Raises
    ------
    InputError
        If the measure has no cut-off, or nobody is a case.
    """
    from scipy.stats import norm

    m = measure if isinstance(measure, Measure) else get_measure(measure)
    if m.cutoff is None:
        raise InputError(f"{m.label} has no cut-off, so recovery is not defined")
    patients = patients.reset_index(drop=True)  # two tables put together repeat their index
    rows = patient_residuals(fit, patients)
    cases = np.asarray(m.is_case(patients.loc[rows.index, m.pre]), dtype=bool)
    if not cases.any():
        raise InputError("nobody was a case before, so nobody could recover")
    at, sd = rows.loc[cases, ["expected", "sd"]].to_numpy(dtype=float).T
    # Scores are whole numbers: half a point below the cut-off parts recovered from not recovered.
    limit = m.cutoff - 0.5
    between = float(fit.random_covariance["Intercept"].loc["Intercept"]) ** 0.5
    shift = -m.sign * between * norm.ppf(_PERCENTILES / 100)
    distance = m.sign * (limit - at - shift[:, None]) / sd
    columns = {"intercept": shift, "recovered_per_100": 100 * norm.cdf(distance).mean(axis=1)}
    return pd.DataFrame(columns, index=pd.Index(_PERCENTILES, name="percentile"))
