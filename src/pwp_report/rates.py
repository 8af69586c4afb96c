"""Yes-or-no outcomes as services count them, each with its multilevel logistic model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from multilevel.binary import BinaryFit, fit_binary, outcome_share
from pwp_lib.cohort import Cohort
from pwp_lib.outcomes import OUTCOMES, patient_national_outcomes, patient_outcomes
from pwp_report.case_mix import CaseMix, case_mix_rows
from pwp_report.every_score import has_every_score, in_words
from pwp_report.wording import listed, refusal

#: By the name of its rate: the column of `patient_national_outcomes`, among whom, and words.
NATIONAL_RATES: Mapping[str, Sequence[str]] = listed("counts.toml")["national_rates"]
OTHER_RATES = {"dropout": "Dropped out, of closed cases", "complete": "Every score recorded"}
#: Percentiles of therapists that patients per hundred are given for.
_PLACES = {"median": 0.5, "low": 0.05, "high": 0.95}
#: With fewer yeses or noes a model says nothing, and could tell a count that is withheld.
_LEAST = 20
#: And so many more for each term of the case mix.
_LEAST_A_TERM = 5
#: Columns whose entries are told apart.
_LABELS = r"^(mix_\d+|therapist_id|service_id)$"
#: With more therapists the profile of the standard deviation is as good as normal.
_MANY = 1_000


@dataclass(frozen=True)
class Asked:
    """A yes-or-no outcome: the rate's name, of which measure (empty: of several), words, rows.

    ``terms`` are those of the case mix that are adjusted for beside the `predictors`; ``of`` says
    of which measure in words.
    """

    rate: str
    measure: str
    label: str
    rows: pd.DataFrame
    predictors: tuple[str, ...]
    terms: tuple[str, ...] = ()
    of: str = "all measures"


@dataclass(frozen=True)
class RateModel:
    """What the multilevel logistic model of one outcome says; the fit would fill the memory.

    Attributes
    ----------
    asked : Asked
        Without its rows.
    n : int
        Patients modelled.
    share : float
        Of them, those with the outcome.
    figures : mapping of str to (float, float, float)
        Patients per hundred with therapists at the 5th percentile, the median and the 95th,
        averaged over the patients; median odds ratio; therapist effect on the latent scale and, of
        patients with average predictors, on the probability scale, in percent. Bounds are those of
        the variance, the fixed part as fitted.
    p_value : float
        That therapists do not differ, at the boundary.
    """

    asked: Asked
    n: int
    share: float
    figures: Mapping[str, tuple[float, float, float]]
    p_value: float


def _figures(fit: BinaryFit) -> dict[str, tuple[float, float, float]]:
    from scipy.stats import norm

    def rate(place: float, variance: float) -> float:
        return 100 * float(fit.rates([place], variance=variance)["rate"].iloc[0])

    at_mean = float(fit.fixed["estimate"].iloc[0])
    figures: dict[str, Callable[[float], float]] = {
        **{f"per_hundred_{name}": partial(rate, place) for name, place in _PLACES.items()},
        "median_odds_ratio": lambda v: float(np.exp(np.sqrt(2 * v) * norm.ppf(0.75))),
        "latent": lambda v: 100 * v / (v + np.pi**2 / 3),
        "probability": lambda v: 100 * outcome_share(at_mean, v**0.5),
    }
    variance, found = _interval(fit), {}
    for name, figure in figures.items():
        estimate, *bounds = map(figure, variance[:3])
        found[name] = (estimate, min(bounds), max(bounds))
    return found


def rates_asked(cohort: Cohort, asked: CaseMix) -> Iterator[list[Asked]]:
    """List the outcomes that a cohort allows, each alone and with the case mix adjusted for.

    Patients who are left out of the second are left out of the first.
    """
    for rate in _rates(cohort):
        mine = rate.rows.filter(regex=f"{_LABELS}|^yes$")
        mix = case_mix_rows(mine.join(rate.rows[[*rate.predictors]]), asked, "yes")
        alone = replace(rate, rows=mix.rows)
        yield [alone, replace(alone, terms=tuple(mix.terms))] if mix.terms else [alone]


def _coded(table: pd.DataFrame) -> pd.DataFrame:
    """Look at each label and entry once, and not once for each outcome."""
    return table.astype(dict.fromkeys(table.filter(regex=_LABELS).select_dtypes("str"), "category"))


def _rates(cohort: Cohort) -> Iterator[Asked]:
    """List the outcomes that a cohort's measures, status and completeness allow."""
    measures, patients = cohort.measures, _coded(cohort.patients)
    names = {m.name: m for m in measures}
    if {"phq9", "gad7"} <= names.keys():
        pair = names["phq9"], names["gad7"]
        scored = patients.dropna(subset=[c for m in pair for c in (m.pre, m.post)])
        flags = patient_national_outcomes(scored, pair)
        for rate, (flag, among, label) in NATIONAL_RATES.items():
            rows = scored.assign(yes=flags[flag])[flags[among]]
            yield Asked(rate, "", label, rows, tuple(m.pre for m in pair))
    for m in measures:
        flags = patient_outcomes(patients, m)
        for rate in ("improvement", "rcsi", "deterioration"):
            if (outcome := OUTCOMES[rate]).defined(m):
                rows = patients.assign(yes=flags[outcome.flag])[flags["change"].notna()]
                if outcome.among == "n_case_pre":
                    rows = rows[flags["case_pre"].loc[rows.index].astype(bool)]
                yield Asked(rate, m.name, outcome.label, rows, (m.pre,), of=m.label)
    if cohort.eligible is None:
        return
    everybody = _coded(cohort.eligible)
    if "dropped_out" in everybody:
        closed = everybody.assign(yes=everybody["dropped_out"])[everybody["status"] == "closed"]
        yield Asked("dropout", "", OTHER_RATES["dropout"], closed, ())
    rows = everybody.assign(yes=has_every_score(everybody, patients, measures))
    if not rows["yes"].all():  # where nobody lacks one, nobody misses a model of it
        of = in_words(patients, measures)
        yield Asked("complete", "", OTHER_RATES["complete"], rows, (), of=of)


def fit_rate(asked: Asked) -> RateModel:
    """Fit a random-intercept logistic model to an outcome, with first scores and case mix.

    Raises
    ------
    InputError
        If too few patients have the outcome or lack it, or the model is not identified.
    """
    rows = asked.rows.assign(yes=asked.rows["yes"].astype(float))
    few = min(rows["yes"].sum(), len(rows) - rows["yes"].sum())
    if few < _LEAST + _LEAST_A_TERM * len(asked.terms):
        label = asked.label + " with the case mix" * bool(asked.terms)
        raise refusal("outcome_of_few", label=label, of=asked.of)
    names = [*(p for p in asked.predictors if rows[p].nunique() > 1), *asked.terms]
    terms = " + ".join(f"center({name})" for name in names) or "1"
    fit = fit_binary(f"yes ~ {terms} + (1 | therapist_id)", rows)
    share, p = float(rows["yes"].mean()), fit.likelihood_ratio().p_value_boundary
    return RateModel(replace(asked, rows=pd.DataFrame()), fit.n, share, _figures(fit), p)


def _interval(fit: BinaryFit) -> Sequence[float]:
    if fit.n_groups <= _MANY or fit.singular:
        return fit.profile_interval()
    sd, half = fit.variance**0.5, 1.959964 * fit.variance_se / (2 * fit.variance**0.5)
    return fit.variance, max(0.0, sd - half) ** 2, (sd + half) ** 2
