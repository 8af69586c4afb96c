"""The whole analysis as one result: the chapters' own calls, gathered.

The report stands on this, so that it cannot disagree with the chapters. What cannot be done with
the data given is left out, with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import pandas as pd

from multilevel.draws import PosteriorInterval
from multilevel.errors import InputError
from multilevel.fit import MixedFit
from multilevel.intervals import Interval
from multilevel.nested import NestedFit
from multilevel.posterior import sample_posterior
from pwp_lib.checks import check_model
from pwp_lib.cohort import Cohort
from pwp_lib.comparison import therapist_predictors
from pwp_lib.description import SampleDescription, describe_sample
from pwp_lib.measures import Measure
from pwp_lib.models import MeasureModels, fit_models
from pwp_lib.numbers import listing
from pwp_lib.outcomes import national_outcomes, summarise_outcomes
from pwp_lib.profiling import therapist_profile
from pwp_lib.ranking import composite_ranks
from pwp_lib.scales import SCALES
from pwp_lib.sensitivity import SensitivityPanel, sensitivity_panel
from pwp_report import case_mix as mixing
from pwp_report.every_score import completeness
from pwp_report.missing import last_scores, missing_bounds
from pwp_report.rates import RateModel, fit_rate, rates_asked
from pwp_report.service_level import GROUPS, SERVICES, fit_levels
from pwp_report.wording import refusal, remark

T = TypeVar("T")
#: Of more services none is a fixed effect.
_MOST_SERVICES = 50
#: A share of the variance under this one is released as 0.0%: therapists are alike by it, and
#: whatever rests on how they differ (ranks, groups, how many patients are enough) is not said.
NONE = 5e-4
#: Ways to estimate the therapist effect; maximum likelihood is always used.
ENGINES = ("ml", "gibbs")


@dataclass(frozen=True)
class MeasureResult:
    """What the multilevel models say of one measure.

    Attributes
    ----------
    measure : Measure
    models : MeasureModels
        Single level, random intercept, random slope, and the tests between them.
    vpc : float
        Therapist effect at the mean pre score, a share; random slope model, ML.
    profile : Interval or None
        Profile-likelihood interval of the therapist effect.
    posterior : PosteriorInterval or None
        The effect by Gibbs sampling, MLwiN's priors; the draws would fill the memory.
    residuals : DataFrame
        By therapist: ``n``, ``residual``, ``se``, ``lower``, ``upper``, ``rank``; of the model
        `ranked`.
    rank_uncertainty : DataFrame
        By therapist: `therapist_profile` of the model `ranked`.
    checks : DataFrame or None
        `ModelChecks.table`; the patients' residuals are not kept.
    sensitivity : SensitivityPanel or None
    adjusted : DataFrame or None
        The effect as first scores and case mix are adjusted for; see `adjusted_effects`.
    case_mix_notes : tuple of str
        What became of missing and rare entries of the case mix.
    with_mix : MixedFit or None
        The random slope model with the case mix. None where nothing more is adjusted for, it
        cannot be estimated, or patients are left out: ranks with and without them would tell of
        those few.
    services : mapping of str to NestedFit
        Patients in therapists in services, where there are enough of them, by what is adjusted
        for.
    groups : mapping of str to NestedFit
        Patients in the groups in which they were treated, in therapists, likewise.
    coefficients : DataFrame or None
        Of the case mix; see `pwp_report.case_mix.coefficients`.
    bounds : DataFrame or None
        The effect with missing last scores filled; see `missing_bounds`.
    """

    measure: Measure
    models: MeasureModels
    vpc: float
    profile: Interval | None
    posterior: PosteriorInterval | None
    residuals: pd.DataFrame
    rank_uncertainty: pd.DataFrame
    checks: pd.DataFrame | None
    sensitivity: SensitivityPanel | None
    adjusted: pd.DataFrame | None = None
    case_mix_notes: tuple[str, ...] = ()
    with_mix: MixedFit | None = None
    services: Mapping[str, NestedFit] = field(default_factory=dict)
    groups: Mapping[str, NestedFit] = field(default_factory=dict)
    coefficients: pd.DataFrame | None = None
    bounds: pd.DataFrame | None = None

    @property
    def fit(self) -> MixedFit:
        """The random slope model, with first scores alone."""
        return self.models.slope

    @property
    def ranked(self) -> MixedFit:
        """The model of residuals, ranks and groups: with the case mix, where there is one."""
        return self.fit if self.with_mix is None else self.with_mix


@dataclass(frozen=True)
class Analysis:
    """Everything the chapters show, over one cohort.

    Attributes
    ----------
    cohort : Cohort
    seed, draws : int
    flow : DataFrame
        What each rule of inclusion left.
    sample : SampleDescription
    completeness : DataFrame
        By therapist.
    last_scores : DataFrame or None
        By measure; see `pwp_report.missing.last_scores`.
    outcomes : DataFrame
        Indexed by measure: `summarise_outcomes` over all patients.
    outcomes_by_therapist : mapping of str to DataFrame
    national : DataFrame or None
        The national definitions over two measures.
    measures : mapping of str to MeasureResult
        By the measure's name; a measure whose models cannot be estimated is missing.
    rates : tuple of RateModel
        The multilevel logistic model of each yes-or-no outcome that has one.
    groups : Series or None
        ``upper``, ``middle`` or ``lower`` by therapist: the groups by composite rank, with the case
        mix where every measure has a model with it.
    predictors : DataFrame or None
        Therapist-level predictors over all therapists, by measure and predictor.
    not_done : mapping of str to str
        What could not be done, and why.
    groups_before : Series or None
        The groups with first scores alone, where `groups` are those with the case mix.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> analysis = analyse(load_cohort(), draws=500, sensitivity=False)
    >>> sorted(analysis.measures), analysis.not_done["sensitivity.phq9"]
    (['gad7', 'phq9'], 'It was not asked for.')
    """

    cohort: Cohort
    seed: int
    draws: int
    flow: pd.DataFrame
    sample: SampleDescription
    completeness: pd.DataFrame
    last_scores: pd.DataFrame | None
    outcomes: pd.DataFrame
    outcomes_by_therapist: Mapping[str, pd.DataFrame]
    national: pd.DataFrame | None
    measures: Mapping[str, MeasureResult]
    rates: tuple[RateModel, ...]
    groups: pd.Series | None
    predictors: pd.DataFrame | None
    not_done: Mapping[str, str]
    groups_before: pd.Series | None = None

    def table(self) -> pd.DataFrame:
        """Return the therapist effects: one row a measure, shares, with both intervals."""
        rows = {}
        for name, r in self.measures.items():
            rows[name] = {"vpc": r.vpc}
            if r.profile is not None:
                rows[name] |= {"profile_lower": r.profile.lower, "profile_upper": r.profile.upper}
            if r.posterior is not None:
                rows[name] |= {k: getattr(r.posterior, k) for k in ("median", "lower", "upper")}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")

    @property
    def lacking(self) -> list[str]:
        """Measures on which somebody lacks a last score."""
        table = self.last_scores
        return [] if table is None else list(map(str, table.index[table["lacking"] > 0]))

    def summarise(self, measure: str, therapists: Sequence[str]) -> pd.Series:
        """Summarise the outcomes of these therapists' patients together, on one measure."""
        patients = self.cohort.patients
        few = patients[patients["therapist_id"].isin(list(therapists))]
        return summarise_outcomes(few, self.cohort.measure(measure)).iloc[0]

    @property
    def moved(self) -> int | None:
        """How many therapists the case mix puts into another group; None without such groups."""
        before, now = self.groups_before, self.groups
        return None if before is None or now is None else int((now[before.index] != before).sum())

    def ends(self, therapists: Sequence[str]) -> dict[str, list[str]]:
        """Of these therapists, those of the upper and those of the lower group."""
        if self.groups is None:
            return {}
        mine = self.groups[self.groups.index.isin(list(therapists))]
        return {end: list(mine.index[mine == end]) for end in ("upper", "lower")}


@dataclass(frozen=True)
class _Attempts:
    """A cohort, what is asked of it, and the reasons for what cannot be done."""

    cohort: Cohort
    seed: int
    draws: int
    size: int | None
    engines: Sequence[str]
    optional: Sequence[str]
    case_mix: mixing.CaseMix
    not_done: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, work: Callable[[], T]) -> T | None:
        """Do something, or keep the reason why it cannot be done."""
        try:
            return work()
        except InputError as problem:
            if "term_mix" in str(problem):  # not what the user called it
                problem = refusal("case_mix_without_estimate")
            self.not_done[name] = str(problem)
            return None

    def modelled_with(self, measure: Measure) -> list[Measure]:
        """Measures whose first scores are in the model: those that every patient has."""
        return [m for m in self.cohort.measures if m == measure or m.name not in self.optional]


def analyse(
    cohort: Cohort,
    *,
    seed: int = 1,
    draws: int = 25_000,
    sensitivity: bool = True,
    cluster_size: int | None = None,
    engines: Sequence[str] = ("ml", "gibbs"),
    optional: Sequence[str] = (),
    case_mix: mixing.CaseMix = mixing.NO_MIX,
) -> Analysis:
    """Carry out the whole analysis of a cohort.

    Parameters
    ----------
    cohort : Cohort
        The packaged one, or own data with one measure or more.
    seed : int
        The same seed gives the same result.
    draws : int
        Iterations of each Markov chain, after 500 discarded; fewer for very many therapists.
    sensitivity : bool
        Whether to try other analyses, which takes about as long as all the rest.
    cluster_size : int, optional
        Therapists in the upper and in the lower cluster; a quarter of them unless given.
    engines : sequence of str
        Of `ENGINES`: ``"gibbs"`` gives a further estimate of the therapist effect.
    optional : sequence of str
        Measures that patients may lack: they are in no other measure's model.
    case_mix : CaseMix, optional
        Covariates to adjust for, beside the first scores.

    Returns
    -------
    Analysis
        Parts that these data cannot give are None or missing, with the reason in ``not_done``:
        too few therapists to form clusters, no table of therapists, one measure only, a model
        that is not identified.

    Raises
    ------
    InputError
        If an engine is not one of `ENGINES`.
    """
    if unknown := [name for name in engines if name not in ENGINES]:
        raise refusal("engine_unknown", name=unknown[0], known=", ".join(ENGINES))
    # Of very many therapists fewer draws say as much.
    draws = min(draws, 50_000_000 // cohort.patients["therapist_id"].nunique())
    attempts = _Attempts(cohort, seed, draws, cluster_size, engines, optional, case_mix)
    patients, measures = cohort.patients, cohort.measures
    results = {m.name: r for m in measures if (r := _of_measure(attempts, m, sensitivity))}
    mixed = all(r.with_mix is not None for r in results.values())
    plain = {n: r.fit for n, r in results.items()}
    ranked = {n: r.ranked if mixed else r.fit for n, r in results.items()}
    outcomes = {m.name: summarise_outcomes(patients, m) for m in measures}
    by_therapist = {m.name: summarise_outcomes(patients, m, by="therapist_id") for m in measures}
    return Analysis(
        cohort=cohort,
        seed=seed,
        draws=draws,
        flow=cohort.flow_table(),
        sample=describe_sample(patients, cohort.therapists),
        completeness=_completeness(cohort),
        last_scores=last_scores(cohort.eligible, measures, [*cohort.caseloads().index]),
        outcomes=pd.concat(outcomes, names=["measure"]).droplevel(1),
        outcomes_by_therapist=by_therapist,
        national=_national(attempts),
        measures=results,
        rates=_rates(attempts),
        groups=_groups(attempts, ranked, "groups"),
        groups_before=_groups(attempts, plain, "groups_before") if mixed else None,
        predictors=_predictors(attempts, results),
        not_done=attempts.not_done,
    )


def _completeness(cohort: Cohort) -> pd.DataFrame:
    """Count who has every score, for the therapists who have a patient left."""
    everybody = cohort.patients if cohort.eligible is None else cohort.eligible
    return completeness(everybody, cohort.patients, cohort.measures).loc[cohort.caseloads().index]


def _rates(attempts: _Attempts) -> tuple[RateModel, ...]:
    for m in attempts.cohort.measures:
        if lacking := [k for k in ("cutoff", "reliable_change") if getattr(m, k) is None]:
            words = remark("no_threshold", measure=m, lacking=" and ".join(lacking))
            attempts.not_done[f"thresholds.{m.name}"] = words
    found, cores = list[RateModel | None](), ThreadPoolExecutor()
    for asked in rates_asked(attempts.cohort, attempts.case_mix):
        # Both models of an outcome side by side, but no more: their rows would fill the memory.
        for a, fit in zip(asked, [cores.submit(fit_rate, a).result for a in asked], strict=True):
            name = f"{a.rate}.{a.measure}{'.adjusted' * bool(a.terms)}"
            found.append(attempts.attempt(name, fit))
    return tuple(model for model in found if model is not None)


def _groups(attempts: _Attempts, fits: Mapping[str, MixedFit], name: str) -> pd.Series | None:
    measures, size = attempts.cohort.measures, attempts.size
    # Where all therapists are alike by the estimate, their order would be how a tie is broken.
    apart = {m: fit for m, fit in fits.items() if fit.vpc() >= NONE}
    found = attempts.attempt(name, lambda: composite_ranks(apart, measures, size)["cluster"])
    if alike := [m.label for m in measures if m.name in fits.keys() - apart]:
        key = "groups_of_others" if apart else "groups_alike"
        attempts.not_done[name + ".on" * bool(apart)] = remark(key, labels=listing(alike))
    return found


def _national(attempts: _Attempts) -> pd.DataFrame | None:
    """Apply the national definitions, which are of the PHQ-9 with the GAD-7 and no other pair."""
    cohort = attempts.cohort
    pair = [m for name in ("phq9", "gad7") for m in cohort.measures if m.name == name]
    if len(pair) < 2:
        attempts.not_done["national"] = "They are defined for the PHQ-9 with the GAD-7."
        return None
    scored = cohort.patients.dropna(subset=[c for m in pair for c in (m.pre, m.post)])
    counted = {"patients analysed, with every score of both": scored}
    if cohort.eligible is not None and len(cohort.eligible) > len(scored):
        counted["all finished courses, as published"] = cohort.eligible
    lines = (national_outcomes(p, pair).rename({"all": c}) for c, p in counted.items())
    return attempts.attempt("national", lambda: pd.concat([*lines]))


def _of_measure(attempts: _Attempts, measure: Measure, sensitivity: bool) -> MeasureResult | None:
    """Fit the models of a measure, and find all that follows from them."""
    name, patients, listed = measure.name, attempts.cohort.patients, attempts.modelled_with(measure)
    models = attempts.attempt(f"models.{name}", lambda: fit_models(patients, measure, listed))
    if models is None:
        return None
    fit, worse, size, seed = models.slope, measure.higher_is_worse, attempts.size, attempts.seed
    gibbs = "gibbs" in attempts.engines

    def try_if(wanted: bool, part: str, work: Callable[[], T]) -> T | None:
        return attempts.attempt(f"{part}.{name}", work) if wanted else None

    def sample() -> PosteriorInterval:
        return sample_posterior(fit.design, draws=attempts.draws, seed=seed).interval()

    # On a core of its own, while the other goes on; not beside ranks and priors, for the memory.
    sampled = ThreadPoolExecutor(1).submit(sample).result if gibbs else sample

    def panel() -> SensitivityPanel:
        # Very many services as fixed effects fill the memory; the third level says it better.
        rows, known, n = scored, _completeness(attempts.cohort), fit.n_groups
        # Of very many therapists some thousand draws say as much as ten thousand.
        chains, most = min(10_000, 20_000_000 // n) * gibbs, min(_MOST_SERVICES, 100_000 // n)
        if "service_id" in rows and rows["service_id"].nunique() > most:
            rows = rows.drop(columns="service_id")
            attempts.not_done["service_fixed"] = str(refusal("services_many", most=most))
        asked = partial(sensitivity_panel, extra=[*terms], draws=chains, seed=seed, size=size)
        return asked(rows, measure, listed, completeness=known)

    scored = patients.dropna(subset=[measure.post, *(m.pre for m in listed)])
    mix = mixing.case_mix_rows(scored, attempts.case_mix)
    adjust = partial(mixing.adjusted_effects, mix, measure, listed, attempts.case_mix)
    adjusted, with_mix = try_if(True, "adjusted", adjust) or (None, None)
    ranked = with_mix if with_mix is not None and mix.terms and mix.whole else fit
    scored = scored if ranked is fit else mix.rows
    terms = {} if ranked is fit else {t: term.of for t, term in mix.terms.items()}
    bounds = partial(missing_bounds, attempts.cohort.eligible, ranked, measure, listed, terms)

    def three(levels: tuple[str, str], part: str) -> dict[str, NestedFit]:
        fits: dict[str, NestedFit] = {}
        for words, of in {mixing.FIRST: part, mixing.WITH_MIX: f"{part}_adjusted"}.items():
            if of == part or (mix.terms and fits):
                work = partial(fit_levels, mix, measure, listed, words, levels)
                fits |= {words: found} if (found := try_if(True, of, work)) else {}
        return fits

    services = three(SERVICES, "services")
    if not sensitivity:
        attempts.not_done[f"sensitivity.{name}"] = "It was not asked for."
    return MeasureResult(
        measure=measure,
        models=models,
        vpc=fit.vpc(),
        profile=try_if(True, "profile", fit.profile_interval),
        checks=try_if(True, "checks", lambda: check_model(fit, patients, measure).table()),
        posterior=try_if(gibbs, "posterior", sampled),
        residuals=ranked.residuals(lower_is_better=worse),
        rank_uncertainty=therapist_profile(ranked, seed=seed, higher_is_worse=worse, size=size),
        sensitivity=try_if(sensitivity, "sensitivity", panel),
        adjusted=adjusted,
        case_mix_notes=mix.said,
        with_mix=None if ranked is fit else ranked,
        services=services,
        groups=three(GROUPS, "together"),
        coefficients=mixing.coefficients(mix, with_mix, services) if with_mix else None,
        bounds=try_if(True, "bounds", bounds),
    )


def _predictors(attempts: _Attempts, results: Mapping[str, MeasureResult]) -> pd.DataFrame | None:
    cohort, parts = attempts.cohort, {}
    therapists = pd.DataFrame() if cohort.therapists is None else cohort.therapists
    known = ("age", "years_experience", *(scale.name for scale in SCALES))
    names = [n for n in known if n in therapists and therapists[n].notna().any()]
    if not names:
        key = "predictors" if cohort.therapists is None else "scales"
        attempts.not_done[key] = "No table of therapists has numbers to predict with."
        return None
    for name, result in results.items():
        asked = result.measure, names, attempts.modelled_with(result.measure)
        work = partial(therapist_predictors, cohort.patients, therapists, *asked)
        parts[name] = attempts.attempt(f"predictors.{name}", work)
    parts = {name: part for name, part in parts.items() if part is not None}
    return pd.concat(parts, names=["measure"]) if parts else None
