"""Missing last scores: what the therapist effect could be if they were known."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from multilevel.fit import MixedFit, fit_mixed
from pwp_lib.checks import patient_residuals
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_report.wording import refusal


def last_scores(
    eligible: pd.DataFrame | None, measures: Sequence[Measure], therapists: Sequence[str]
) -> pd.DataFrame | None:
    """Count who has a last score on each measure, and how those began who have one and who lack it.

    Parameters
    ----------
    eligible : DataFrame or None
        Patients who meet every other rule of inclusion.
    measures : sequence of Measure
    therapists : sequence of str
        Whose patients are counted.

    Returns
    -------
    DataFrame or None
        By measure: ``first``, ``last`` and ``lacking`` (patients), ``mean_last`` and
        ``mean_lacking`` (first scores). None where nobody but those with scores is known.
    """
    if eligible is None:
        return None
    rows, found = eligible[eligible["therapist_id"].isin(list(therapists))], {}
    for m in measures:
        began = rows.dropna(subset=[m.pre])
        has = began[m.post].notna()
        means = {"mean_last": began[m.pre][has].mean(), "mean_lacking": began[m.pre][~has].mean()}
        counts = {"first": len(began), "last": int(has.sum()), "lacking": int((~has).sum())}
        found[m.name] = counts | means
    return pd.DataFrame.from_dict(found, orient="index")


def missing_bounds(
    eligible: pd.DataFrame | None,
    fit: MixedFit,
    measure: Measure,
    measures: Sequence[Measure],
    extra: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = {},
) -> pd.DataFrame:
    """Therapist effect if the missing last scores were all of one kind or another.

    A last score is missing where the first ones are there. It is filled with the first score and a
    change: none; the mean of those who have one; or for each therapist a change between the tenth
    and the ninetieth percentile, by which therapists' means come as near to each other as they can,
    or lie as far apart. The last two lines are the lowest and the highest share of all these, and
    of the two percentiles for everybody.

    Parameters
    ----------
    eligible : DataFrame or None
        Patients who meet every other rule of inclusion.
    fit : MixedFit
        The model of the patients analysed, which leaves the others out.
    measure : Measure
    measures : sequence of Measure
        Whose first scores are in the model.
    extra : mapping of str to callable
        Further terms of the model, and how rows are coded for each.

    Returns
    -------
    DataFrame
        ``missing_scores`` in words and ``vpc``, a share.

    Raises
    ------
    InputError
        If nobody is known to lack a last score.
    """
    if eligible is not None:
        rows = eligible[eligible["therapist_id"].isin([*fit.design.groups])]
        rows = rows.dropna(subset=[m.pre for m in measures])
    if eligible is None or not rows[measure.post].isna().any():
        raise refusal("nobody_lacks_a_score")
    formula = model_formula(measure, measures, extra=[*extra])
    rows = rows.reset_index(drop=True).assign(**extra)
    gain = measure.improvement(rows[measure.pre].to_numpy(), rows[measure.post].to_numpy())

    def filled(change: Any) -> pd.DataFrame:
        last = (rows[measure.pre] - measure.sign * change).clip(measure.minimum, measure.maximum)
        return rows.assign(**{measure.post: rows[measure.post].fillna(last)})

    mean, poor, good = np.nanmean(gain), *np.nanpercentile(gain, [10, 90])
    alike = fit_mixed(formula, filled(mean))
    expected = patient_residuals(alike, filled(mean))["expected"]
    therapists = rows["therapist_id"]
    ends = [(filled(c)[measure.post] - expected).groupby(therapists).mean() for c in (poor, good)]
    n = therapists.groupby(therapists).size()
    # Large caseloads count for more in the variance than small ones, and for less than by patients;
    # of very many therapists one way to weigh them is as good as another.
    weights = (n, n**0) if len(n) < 300 else (n,)
    changes = [poor, good] * (len(weights) - 1)
    for share in (share for w in weights for share in _between(ends[0], ends[1], w)):
        changes.append(poor + (good - poor) * therapists.map(share).to_numpy())
    lines = {
        f"left out, as in the model with first scores{' and case mix' * bool(extra)}": fit.vpc(),
        "no change from the first": fit_mixed(formula, filled(0)).vpc(),
        "the mean change of the others": alike.vpc(),
    }
    shares = [fit_mixed(formula, filled(change)).vpc() for change in changes]
    shares += [*lines.values()][1:]
    lines["changes that bring therapists together"] = min(shares)
    lines["changes that drive therapists apart"] = max(shares)
    return pd.DataFrame(lines.items(), columns=["missing_scores", "vpc"])


def _between(poor: pd.Series, good: pd.Series, weights: pd.Series) -> tuple[pd.Series, pd.Series]:
    """How far from poor to good each therapist's changes are, for means that are alike, or not.

    Of a therapist's mean residual both ends are known. Alike, each is as near to one value as its
    ends allow: to that with the least variance, of several the one nearest to the line of all. Most
    unlike, those whose middle is above some value have their upper end, the others their lower one:
    of these values that with the largest variance.
    """
    from scipy.optimize import brentq
    from scipy.stats import rankdata

    w, (low, high) = weights.to_numpy(), np.sort([poor, good], axis=0)
    to = min(max(0.0, low.max()), high.min())
    if low.max() > high.min():
        level = partial(np.average, weights=w)
        to = brentq(lambda t: level(np.clip(t, low, high)) - t, low.min(), high.max())
    above = rankdata(low + high, method="ordinal")
    tried = (np.where(above <= k, low, high) for k in range(len(low)))
    far = max(tried, key=lambda x: np.cov(x, fweights=w))
    length = (good - poor).where(good != poor, 1.0)
    return (np.clip(to, low, high) - poor) / length, (far - poor) / length
