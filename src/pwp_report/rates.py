"""Yes-or-no outcomes as services count them, each with its multilevel logistic model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from multilevel.binary import BinaryFit, Interval, fit_binary
from pwp_lib.cohort import Cohort
from pwp_lib.measures import Measure
from pwp_lib.outcomes import OUTCOMES, patient_national_outcomes, patient_outcomes
from pwp_report.wording import refusal

__all__ = ["NATIONAL_RATES", "OTHER_RATES", "Asked", "RateModel", "fit_rate", "rates_asked"]

#: By the name of its rate: the column of `patient_national_outcomes`, among whom, and words.
NATIONAL_RATES = {
    "recovery": ("recovered", "case", "Recovery"),
    "reliable_improvement": ("reliably_improved", "finished", "Reliable improvement"),
    "reliable_recovery": ("reliably_recovered", "case", "Reliable recovery"),
    "reliable_deterioration": ("reliably_deteriorated", "finished", "Reliable deterioration"),
}
OTHER_RATES = {"dropout": "Dropped out, of closed cases", "complete": "Every score recorded"}
#: Percentiles of therapists that patients per hundred are given for, as normal deviates.
_ENDS = {"low": -1.6448536269514722, "high": 1.6448536269514722}
#: For means over normally distributed therapists.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
#: With fewer yeses or noes a model says nothing, and could tell a count that is withheld.
_LEAST = 20
#: With more therapists the profile of the variance is as good as normal on the log scale.
_MANY = 1_000


@dataclass(frozen=True)
class Asked:
    """A yes-or-no outcome: the rate's name, of which measure (empty: of several), words, rows."""

    rate: str
    measure: str
    label: str
    rows: pd.DataFrame
    predictors: tuple[str, ...]


@dataclass(frozen=True)
class RateModel:
    """The multilevel logistic model of one outcome.

    Attributes
    ----------
    rate, measure, label : str
        As in `Asked`.
    share : float
        Of the patients modelled, those with the outcome.
    fit : BinaryFit
    variance : Interval
        Between therapists on the log-odds scale, with its 95% interval.
    """

    rate: str
    measure: str
    label: str
    share: float
    fit: BinaryFit
    variance: Interval

    def per_hundred(self) -> dict[str, tuple[float, float, float]]:
        """Patients per hundred at the 5th and the 95th percentile of therapists by their rate.

        Estimate and bounds, averaged over the patients; the bounds are those of the variance.
        """
        from scipy.special import expit, logit
        from scipy.stats import norm

        sd, middle = self.variance.estimate**0.5, float(self.fit.rates([0.5])["rate"].iloc[0])

        def rate(deviate: float, variance: float) -> float:
            if sd == 0:
                return 100 * float(expit(logit(middle) + deviate * variance**0.5))
            # The therapist so far out: where they stand among therapists of the fitted SD.
            place = norm.cdf(deviate * variance**0.5 / sd).clip(1e-12, 1 - 1e-12)
            return 100 * float(self.fit.rates([place])["rate"].iloc[0])

        found = {}
        for name, deviate in _ENDS.items():
            estimate, *bounds = (rate(deviate, v) for v in self.variance[:3])
            found[name] = (estimate, min(bounds), max(bounds))
        return found

    def effect(self) -> dict[str, tuple[float, float, float]]:
        """Median odds ratio, and the therapist effect on the latent and the probability scale.

        The latter is that of patients with average first scores; the fixed part stays as fitted.
        """
        from scipy.special import expit
        from scipy.stats import norm

        def ratio(variance: float) -> float:
            return float(np.exp(np.sqrt(2 * variance) * norm.ppf(0.75)))

        def share(variance: float) -> float:
            rates = expit(self.fit.fixed["estimate"].iloc[0] + variance**0.5 * _NODES)
            mean = float(rates @ _WEIGHTS)
            return float(100 * ((rates - mean) ** 2 @ _WEIGHTS) / (mean * (1 - mean)))

        figures = {
            "median_odds_ratio": ratio,
            "latent": lambda v: 100 * v / (v + np.pi**2 / 3),
            "probability": share,
        }
        return {name: self.variance.of(figure)[:3] for name, figure in figures.items()}


def rates_asked(cohort: Cohort) -> Iterator[Asked]:
    """List the outcomes that a cohort's measures, status and completeness allow."""
    patients, names = cohort.patients, {m.name: m for m in cohort.measures}
    if {"phq9", "gad7"} <= names.keys():
        pair = names["phq9"], names["gad7"]
        scored = patients.dropna(subset=[c for m in pair for c in (m.pre, m.post)])
        flags = patient_national_outcomes(scored, pair)
        for rate, (flag, among, label) in NATIONAL_RATES.items():
            rows = scored.assign(yes=flags[flag])[flags[among]]
            words = f"{label}, national definition"
            yield Asked(rate, "", words, rows, tuple(m.pre for m in pair))
    for measure in cohort.measures:
        yield from _of_measure(patients, measure)
    everybody = cohort.eligible
    if everybody is None:
        return
    if "dropped_out" in everybody:
        closed = everybody[everybody["status"] == "closed"]
        yield Asked(
            "dropout", "", OTHER_RATES["dropout"], closed.assign(yes=closed["dropped_out"]), ()
        )
    scores = everybody[[c for m in cohort.measures for c in (m.pre, m.post)]]
    rows = everybody.assign(yes=scores.notna().all(axis=1))
    if not rows["yes"].all():  # where nobody lacks one, nobody misses a model of it
        yield Asked("complete", "", OTHER_RATES["complete"], rows, ())


def _of_measure(patients: pd.DataFrame, measure: Measure) -> Iterator[Asked]:
    flags = patient_outcomes(patients, measure)
    for rate in ("improvement", "rcsi", "deterioration"):
        outcome = OUTCOMES[rate]
        if outcome.defined(measure):
            rows = patients.assign(yes=flags[outcome.flag])[flags["change"].notna()]
            if outcome.among == "n_case_pre":
                rows = rows[flags["case_pre"].loc[rows.index].astype(bool)]
            yield Asked(rate, measure.name, outcome.label, rows, (measure.pre,))


def fit_rate(asked: Asked) -> RateModel:
    """Fit a random-intercept logistic model to an outcome, with first scores as predictors.

    Raises
    ------
    InputError
        If too few patients have the outcome or lack it, or the model is not identified.
    """
    rows = asked.rows.assign(yes=asked.rows["yes"].astype(float))
    few = min(rows["yes"].sum(), len(rows) - rows["yes"].sum())
    if few < _LEAST:
        raise refusal("outcome_of_few", label=asked.label, least=_LEAST)
    terms = [f"center({name})" for name in asked.predictors if rows[name].nunique() > 1]
    fit = fit_binary(f"yes ~ {' + '.join(terms) or '1'} + (1 | therapist_id)", rows)
    share = float(rows["yes"].mean())
    return RateModel(asked.rate, asked.measure, asked.label, share, fit, _interval(fit))


def _interval(fit: BinaryFit) -> Interval:
    if fit.n_groups <= _MANY or fit.singular:
        return fit.profile_interval()
    factor = float(np.exp(1.959964 * fit.variance_se / fit.variance))
    return Interval(fit.variance, fit.variance / factor, fit.variance * factor, 0.95)
