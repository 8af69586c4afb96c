"""Missing last scores: what the therapist effect could be if they were known."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

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
    extra: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Therapist effect if the missing last scores were all of one kind or another.

    A last score is missing where the first ones are there. It is filled with the first score and a
    change: none; the mean of those who have one; or the tenth or ninetieth percentile of change,
    by whether the therapist's own patients did better than their first scores let expect, so that
    therapists are brought together or driven apart.

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
    # Own means, not shrunken ones: where the variance is estimated as zero those are all zero.
    rows = rows.reset_index(drop=True).assign(**extra)
    expected = patient_residuals(fit_mixed(formula, rows), rows)["expected"]
    own = (measure.sign * (rows[measure.post] - expected)).groupby(rows["therapist_id"]).mean()
    gain = measure.improvement(rows[measure.pre].to_numpy(), rows[measure.post].to_numpy())
    poor, good = np.nanpercentile(gain, [10, 90])
    better = rows["therapist_id"].map(own).fillna(0.0).to_numpy() < 0
    changes = {
        "no change from the first": 0.0,
        "the mean change of the others": float(np.nanmean(gain)),
        "changes that bring therapists together": np.where(better, poor, good),
        "changes that drive therapists apart": np.where(better, good, poor),
    }
    given = "first scores and case mix" if extra else "first scores"
    lines = [(f"left out, as in the model with {given}", fit.vpc())]
    for words, change in changes.items():
        last = (rows[measure.pre] - measure.sign * change).clip(measure.minimum, measure.maximum)
        filled = rows.assign(**{measure.post: rows[measure.post].fillna(last)})
        lines.append((words, fit_mixed(formula, filled).vpc()))
    return pd.DataFrame(lines, columns=["missing_scores", "vpc"])
