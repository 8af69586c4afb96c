"""Each of the paper's figures beside the same figure computed from a cohort.

Everything is computed with the functions that a user's own data go through. No figure is computed
in two ways, and none is left out because it does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.posterior import sample_posterior
from pwp_lib.cohort import Cohort
from pwp_lib.comparison import ancova, cluster_effect_sizes, compare_rates
from pwp_lib.description import SampleDescription, describe_sample
from pwp_lib.models import MeasureModels, fit_models
from pwp_lib.outcomes import summarise_outcomes
from pwp_lib.published import PublishedFigure, published_figures
from pwp_lib.ranking import (
    composite_ranks,
    differs_from_average,
    rank_correlation,
    services_by_cluster,
    shared_ranks,
)
from pwp_lib.scales import compare_scales
from pwp_lib.themes import template_analysis

if TYPE_CHECKING:
    from pwp_lib.measures import Measure

__all__ = ["scoreboard"]

#: Figures by id; with a Monte Carlo error where simulated.
Computed = dict[str, Any]
_MEASURES = ("phq9", "gad7")
_SAMPLED = ("median", "lower", "upper")
_CLUSTERS = ("upper", "middle", "lower")
#: What the board repeats of a printed figure.
_AS_PRINTED = ("topic", "measure", "relation", "printed", "unit", "status", "contradicted")


@dataclass(frozen=True)
class _Work:
    """What several topics stand on, computed once."""

    cohort: Cohort
    draws: int
    seed: int

    @property
    def patients(self) -> pd.DataFrame:
        return self.cohort.patients

    def measure(self, name: str) -> Measure:
        return self.cohort.measure(name)

    @cached_property
    def sample(self) -> SampleDescription:
        return describe_sample(self.patients, self.cohort.therapists)

    @cached_property
    def models(self) -> Mapping[str, MeasureModels]:
        both = [self.measure(m) for m in _MEASURES]
        return {m.name: fit_models(self.patients, m, both) for m in both}

    @cached_property
    def ranks(self) -> pd.DataFrame:
        fits = {name: models.slope for name, models in self.models.items()}
        return composite_ranks(fits, self.cohort.measures)

    @cached_property
    def by_therapist(self) -> Mapping[str, pd.DataFrame]:
        return {
            m: summarise_outcomes(self.patients, self.measure(m), by="therapist_id")
            for m in _MEASURES
        }


def _people(work: _Work) -> Computed:
    sample, loads = work.sample, work.sample.caseload_numbers
    out: Computed = {
        "people.patients": len(work.patients),
        "people.therapists": work.patients["therapist_id"].nunique(),
        "people.services": work.patients["service_id"].nunique(),
        "people.caseload_mean_p10": loads.loc["patients", "mean"],
        "people.caseload_mean_p11": loads.loc["patients", "mean"],
        "people.caseload_sd": loads.loc["patients", "sd"],
        "people.caseload_min": loads.loc["patients", "minimum"],
        "people.caseload_max": loads.loc["patients", "maximum"],
        "people.caseload_age_min": loads.loc["age", "minimum"],
        "people.caseload_age_max": loads.loc["age", "maximum"],
    }
    ends = {"mean": "mean", "sd": "sd", "min": "minimum", "max": "maximum"}
    for variable in ("age", "sessions"):
        for end, column in ends.items():
            out[f"people.{variable}_{end}"] = sample.patients.loc[variable, column]
    percent = sample.patient_categories["percent"]
    out["people.female_percent"] = percent.get(("gender", "female"), 0.0)
    named = {"not_available": "not available", "black": "Black Caribbean or African"}
    for key in ("caucasian", "asian", "black", "mixed", "not_available"):
        category = named.get(key, key.capitalize())
        out[f"people.ethnicity_{key}"] = percent.get(("ethnicity", category), 0.0)
    return out


def _therapist_people(work: _Work) -> Computed:
    if work.cohort.therapists is None:
        raise InputError("the cohort has no table of therapists")
    sample = work.sample
    n = sample.therapist_categories["n"]
    age, experience = sample.therapists.loc["age"], sample.therapists.loc["years_experience"]
    taking_part = sample.therapists["n"]["supervisor_experientiality"]
    return {
        "people.therapists_male": n.get(("gender", "male"), 0),
        "people.therapists_female": n.get(("gender", "female"), 0),
        "people.experience_mean": experience["mean"],
        "people.experience_min": experience["minimum"],
        "people.experience_max": experience["maximum"],
        "people.therapist_age_mean": age["mean"],
        "people.therapist_age_sd": age["sd"],
        "people.therapist_age_min": age["minimum"],
        "people.therapist_age_max": age["maximum"],
        "people.supervisors": taking_part,
        "people.supervisors_percent": 100 * taking_part / len(sample.caseloads),
    }


def _outcomes(work: _Work, m: str) -> Computed:
    row = summarise_outcomes(work.patients, work.measure(m)).iloc[0]
    by_therapist = 100 * work.by_therapist[m]["caseness"]
    return {
        f"outcomes.{m}.change_mean": row["mean_change"],
        f"outcomes.{m}.change_sd": row["sd_change"],
        f"outcomes.{m}.effect_size": row["effect_size"],
        f"outcomes.{m}.improvement": 100 * row["improvement"],
        f"outcomes.{m}.deterioration": 100 * row["deterioration"],
        f"outcomes.{m}.cases": row["n_case_pre"],
        f"outcomes.{m}.caseness": 100 * row["caseness"],
        f"outcomes.{m}.rcsi": 100 * row["rcsi"],
        f"therapists.{m}.caseness_min": by_therapist.min(),
        f"therapists.{m}.caseness_max": by_therapist.max(),
        f"therapists.{m}.caseness_median": by_therapist.median(),
    }


def _models(work: _Work, m: str) -> Computed:
    models, own = work.models[m], f"center({work.measure(m).pre})"
    fixed, covariance = models.slope.fixed, models.slope.random_covariance
    se = models.slope.variance_se()
    out: Computed = {f"models.{m}.vpc": 100 * models.slope.vpc()}
    terms = ("intercept", "Intercept", models.test_intercept), ("slope", own, models.test_slope)
    for name, term, test in terms:
        out[f"models.{m}.lr_{name}"] = test.statistic
        out[f"models.{m}.lr_{name}_p"] = test.p_value
        out[f"models.{m}.{name}"] = fixed.loc[term, "estimate"]
        out[f"models.{m}.{name}_se"] = fixed.loc[term, "se"]
        out[f"models.{m}.{name}_variance"] = covariance.loc[term, term]
        out[f"models.{m}.{name}_variance_se"] = se[f"var({term})"]
    return out


def _mcmc(work: _Work, m: str) -> Computed:
    design = work.models[m].slope.design
    got = sample_posterior(design, draws=work.draws, seed=work.seed).interval()
    errors = (got.mcse, got.mcse_lower, got.mcse_upper)
    values = (got.median, got.lower, got.upper)
    return {
        f"mcmc.{m}.vpc_{name}": (100 * value, 100 * error)
        for name, value, error in zip(_SAMPLED, values, errors, strict=True)
    }


def _ranks(work: _Work) -> Computed:
    ranks = work.ranks
    both = rank_correlation(ranks["rank_phq9"], ranks["rank_gad7"])
    differs = {m: differs_from_average(work.models[m].slope, work.measure(m)) for m in _MEASURES}
    best = {m: set(d.index[d == "better"]) for m, d in differs.items()}
    n = len(ranks)
    size = ranks["cluster"].value_counts()
    services = (services_by_cluster(ranks, work.patients) > 0).sum(axis=1)
    out: Computed = {
        "ranks.correlation": both.correlation,
        "ranks.correlation_p": both.p_value,
        "ranks.same_best": best["phq9"] == best["gad7"] and len(best["phq9"]) == 1,
        "ranks.last_five_shared": len(shared_ranks(ranks, n - 4, n)),
        "ranks.first_five_shared": len(shared_ranks(ranks, 1, 5)),
        "ranks.upper_size": size["upper"],
        "ranks.lower_size": size["lower"],
        "ranks.upper_services": services["upper"],
        "ranks.lower_services": services["lower"],
    }
    for m in _MEASURES:
        out[f"ranks.{m}.intervals_excluding_zero"] = int((differs[m] != "").sum())
        out[f"ranks.{m}.better_than_average"] = int((differs[m] == "better").sum())
        out[f"ranks.{m}.worse_than_average"] = int((differs[m] == "worse").sum())
        # A high rate is a good one, a low rank too.
        recovery = rank_correlation(ranks["composite"], -work.by_therapist[m]["rcsi"])
        out[f"ranks.{m}.rcsi_correlation"] = recovery.correlation
        out[f"ranks.{m}.rcsi_correlation_p"] = recovery.p_value
    return out


def _named_therapists(work: _Work) -> Computed:
    out: Computed = {}
    for number in (6, 17):
        label = f"T{number:02d}"
        if label not in work.ranks.index:
            raise InputError("the cohort does not have the therapists that the paper names")
        row = work.ranks.loc[label]
        for m in _MEASURES:
            out[f"ranks.therapist_{number}.{m}"] = row[f"rank_{m}"]
        out[f"ranks.therapist_{number}.composite"] = row["composite"]
    out["ranks.therapist_17_upper"] = work.ranks.loc["T17", "cluster"] == "upper"
    out["ranks.therapist_6_not_upper"] = work.ranks.loc["T06", "cluster"] != "upper"
    return out


def _clusters(work: _Work, m: str) -> Computed:
    measure = work.measure(m)
    effect = cluster_effect_sizes(work.patients, measure, work.ranks)["effect_size"]
    test = ancova(work.patients, measure, work.ranks)
    rates: dict[Any, Any] = compare_rates(work.patients, measure, work.ranks).to_dict("index")
    out: Computed = {
        f"clusters.{m}.ancova_f": test.statistic,
        f"clusters.{m}.ancova_p": test.p_value,
        f"clusters.{m}.caseness_p": rates["caseness"]["p_value"],
    }
    for cluster in ("upper", "lower"):
        out[f"clusters.{m}.{cluster}_effect_size"] = effect[cluster]
        for rate in ("improvement", "deterioration", "rcsi"):
            out[f"clusters.{m}.{cluster}_{rate}"] = 100 * rates[rate][f"rate_{cluster}"]
    for rate in ("improvement", "rcsi"):
        out[f"clusters.{m}.{rate}_chi2"] = rates[rate]["chi2"]
        out[f"clusters.{m}.{rate}_p"] = rates[rate]["p_value"]
    return out


def _scales(work: _Work) -> Computed:
    if work.cohort.therapists is None:
        raise InputError("the cohort has no table of therapists")
    table = compare_scales(work.cohort.therapists, work.ranks)
    out: Computed = {"scales.ego_strength.p": table.loc["ego_strength", "p_value"]}
    for scale in ("resilience", "supervisor_experientiality"):
        row = table.loc[scale]
        out[f"scales.{scale}.u"] = row["U"]
        out[f"scales.{scale}.p"] = row["p_value"]
        out[f"scales.{scale}.n_upper"] = row["n_upper"]
        out[f"scales.{scale}.n_lower"] = row["n_lower"]
    resilience, rated = table.loc["resilience"], table.loc["supervisor_experientiality"]
    out["scales.resilience.higher_in_upper"] = resilience["higher_in"] == "upper"
    out["scales.supervisor_experientiality.higher_in_lower"] = rated["higher_in"] == "lower"
    out["scales.resilience.upper_like_population"] = resilience["mean_upper"]
    out["scales.resilience.lower_in_bottom_quartile"] = resilience["mean_lower"]
    return out


def _interviews(work: _Work) -> Computed:
    segments = work.cohort.segments
    if segments is None:
        raise InputError("the cohort has no table of coded segments")
    found = template_analysis(segments, work.ranks)
    stays = found.high_order[found.high_order["stays"]]
    unique = found.unique_counts()
    out: Computed = {
        "interviews.deleted": len(found.deleted),
        "interviews.themes_both": (stays["asked_of"] == "pwp and supervisor").sum(),
        "interviews.themes_therapists": (stays["asked_of"] == "pwp").sum(),
    }
    for cluster in ("upper", "lower"):
        out[f"interviews.{cluster}_therapist_unique"] = unique.loc[cluster, "pwp"]
        out[f"interviews.{cluster}_supervisor_unique"] = unique.loc[cluster, "supervisor"]
    if found.agreement is None:
        return out
    people = segments.drop_duplicates("participant_id").set_index("participant_id")["therapist_id"]
    twice = people[list(found.agreement.participants)].map(work.ranks["cluster"]).value_counts()
    return out | {
        "interviews.agreement": found.agreement.percent,
        "interviews.coded_twice": len(found.agreement.participants),
        "interviews.coded_twice_percent": 100 * len(found.agreement.participants) / len(people),
        # Six in three clusters: the least is two only if each has two.
        "interviews.coded_twice_by_cluster": twice.reindex(_CLUSTERS, fill_value=0).min(),
    }


def _topics(work: _Work) -> list[Callable[[], Computed]]:
    """List what is computed together, and fails together when the cohort cannot show it."""
    general = [_people, _therapist_people, _ranks, _named_therapists, _scales, _interviews]
    parts: list[Callable[[], Computed]] = [partial(part, work) for part in general]
    for part in (_outcomes, _models, _mcmc, _clusters):
        parts += [partial(part, work, m) for m in _MEASURES]
    return parts


def _compute(work: _Work) -> tuple[Computed, list[str]]:
    computed: Computed = {}
    reasons: list[str] = []
    for topic in _topics(work):
        try:
            computed |= topic()
        except InputError as problem:
            reasons.append(str(problem))
        except KeyError as missing:
            reasons.append(f"The cohort has no column or category {missing.args[0]!r}.")
    return computed, reasons


def _row(figure: PublishedFigure, computed: Computed) -> dict[str, object]:
    value = computed.get(figure.id, np.nan)
    number, error = value if isinstance(value, tuple) else (float(value), 0.0)
    testable = figure.testable and figure.id in computed
    match = figure.matches(number, error) if testable else None
    return {
        "id": figure.id,
        "quantity": figure.quantity,
        "source": f"p. {figure.page}",
        "published": figure.value,
        "computed": number,
        "rounding": figure.rounding,
        "state": "not testable" if match is None else "match" if match else "no match",
        "match": match,
        **{name: getattr(figure, name) for name in _AS_PRINTED},
        "monte_carlo_error": error,
        "note": figure.note,
    }


def scoreboard(cohort: Cohort, *, draws: int = 25_000, seed: int = 1) -> pd.DataFrame:
    """Compare every figure of the paper with the same figure computed from a cohort.

    Parameters
    ----------
    cohort : Cohort
        With PHQ-9 and GAD-7; the packaged cohort was made for it, but any will do.
    draws : int
        Iterations of the Markov chain, after 500 discarded.
    seed : int
        Of the chain.

    Returns
    -------
    DataFrame
        One row a figure, in the paper's order: ``id``, ``quantity``, ``source`` (page),
        ``published``, ``computed`` (in the published unit; 1 for a statement that holds),
        ``rounding`` (half a unit of the last printed digit), ``state`` (``match``, ``no match``,
        ``not testable``) and ``match`` (true, false, or missing); then ``topic``, ``measure``,
        ``relation``, ``printed``, ``unit``, ``status`` of the definition, ``contradicted``
        (another figure of the paper contradicts it), ``monte_carlo_error`` and ``note``.
        Why this cohort cannot show a figure that the paper's could stands in its note.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> board = scoreboard(load_cohort(), draws=500).set_index("id")
    >>> board.loc["people.patients", ["source", "state"]].tolist()
    ['p. 2, 10, 17', 'match']
    """
    computed, reasons = _compute(_Work(cohort, draws, seed))
    board = pd.DataFrame([_row(figure, computed) for figure in published_figures()])
    board["match"] = board["match"].astype("boolean")
    if reasons:
        could = {figure.id for figure in published_figures() if figure.testable}
        lost = (board["state"] == "not testable") & board["id"].isin(could)
        board.loc[lost, "note"] = " ".join(dict.fromkeys(reasons))
    return board
