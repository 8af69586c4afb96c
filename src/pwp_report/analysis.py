"""The whole analysis as one result: the chapters' own calls, gathered.

Report, command and book over own data stand on this, so that they cannot disagree with the
chapters. What cannot be done with the data given is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations

import pandas as pd

from pwp_lib.cohort import Cohort
from pwp_lib.comparison import (
    SplitSample,
    ancova,
    cluster_effect_sizes,
    compare_rates,
    nested_ancova,
    nested_rates,
    split_sample_comparison,
    therapist_predictors,
)
from pwp_lib.description import SampleDescription, describe_sample
from pwp_lib.outcomes import national_outcomes, summarise_outcomes
from pwp_lib.ranking import (
    composite_ranks,
    composite_uncertainty,
    rank_correlation,
    services_by_cluster,
)
from pwp_lib.scales import SCALES, compare_scales
from pwp_lib.sensitivity import completeness_by_therapist
from pwp_lib.themes import TemplateAnalysis, template_analysis
from pwp_report.measured import Doing, MeasureResult, measure_result, need_engines

__all__ = ["Analysis", "Comparison", "MeasureResult", "analyse"]


@dataclass(frozen=True)
class Comparison:
    """The upper and the lower cluster compared.

    Attributes
    ----------
    effect_sizes : DataFrame
        Indexed by measure and cluster: `cluster_effect_sizes`.
    ancova : DataFrame
        Indexed by measure: patients taken as independent.
    nested_ancova : DataFrame
        Indexed by measure: therapists as the units.
    rates : DataFrame
        Indexed by measure and outcome: `compare_rates`.
    nested_rates : DataFrame
        Indexed by measure and outcome: therapists permuted.
    split : SplitSample or None
        Chosen on one half of the patients, compared on the other.
    """

    effect_sizes: pd.DataFrame
    ancova: pd.DataFrame
    nested_ancova: pd.DataFrame
    rates: pd.DataFrame
    nested_rates: pd.DataFrame
    split: SplitSample | None


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
    outcomes : DataFrame
        Indexed by measure: `summarise_outcomes` over all patients.
    outcomes_by_therapist : mapping of str to DataFrame
    national : DataFrame or None
        The national definitions over two measures.
    measures : mapping of str to MeasureResult
        By the measure's name; a measure whose models cannot be estimated is missing.
    ranks : DataFrame or None
        `composite_ranks`.
    composite_uncertainty : DataFrame or None
        Position intervals and the probability of each cluster by composite rank.
    rank_correlations : DataFrame
        Spearman's correlations of ranks between measures and with recovery.
    services : DataFrame or None
        Therapists by cluster and service.
    comparison : Comparison or None
    scales : DataFrame or None
        Mann-Whitney tests of the therapists' scales.
    predictors : DataFrame or None
        Therapist-level predictors over all therapists, by measure and predictor.
    themes : TemplateAnalysis or None
    not_done : mapping of str to str
        What could not be done, and why.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> analysis = analyse(load_cohort(), draws=500, repeats=1, sensitivity=False)
    >>> sorted(analysis.measures), analysis.not_done["sensitivity.phq9"]
    (['gad7', 'phq9'], 'It was not asked for.')
    """

    cohort: Cohort
    seed: int
    draws: int
    flow: pd.DataFrame
    sample: SampleDescription
    completeness: pd.DataFrame
    outcomes: pd.DataFrame
    outcomes_by_therapist: Mapping[str, pd.DataFrame]
    national: pd.DataFrame | None
    measures: Mapping[str, MeasureResult]
    ranks: pd.DataFrame | None
    composite_uncertainty: pd.DataFrame | None
    rank_correlations: pd.DataFrame
    services: pd.DataFrame | None
    comparison: Comparison | None
    scales: pd.DataFrame | None
    predictors: pd.DataFrame | None
    themes: TemplateAnalysis | None
    not_done: Mapping[str, str]

    def table(self) -> pd.DataFrame:
        """Return the therapist effects: one row a measure, shares, with both intervals."""
        rows = {name: result.effect() for name, result in self.measures.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")


def analyse(
    cohort: Cohort,
    *,
    seed: int = 1,
    draws: int = 25_000,
    repeats: int = 20,
    sensitivity: bool = True,
    cluster_size: int | None = None,
    engines: Sequence[str] = ("ml", "gibbs"),
) -> Analysis:
    """Carry out the whole analysis of a cohort.

    Parameters
    ----------
    cohort : Cohort
        The packaged one, or own data with one measure or more.
    seed : int
        The same seed gives the same result.
    draws : int
        Iterations of each Markov chain, after 500 discarded.
    repeats : int
        Random divisions of the patients in the split-sample comparison.
    sensitivity : bool
        Whether to try other analyses, which takes about as long as all the rest.
    cluster_size : int, optional
        Therapists in the upper and in the lower cluster; a quarter of them unless given.
    engines : sequence of str
        ``"reml"`` and ``"gibbs"`` give further estimates of the therapist effect;
        maximum likelihood is always used.

    Returns
    -------
    Analysis
        Parts that these data cannot give are None or missing, with the reason in ``not_done``:
        too few therapists to form clusters, no table of therapists, one measure only, a model
        that is not identified.

    Raises
    ------
    InputError
        If an engine is not known.
    """
    need_engines(engines)
    doing = Doing(cohort, seed, draws, cluster_size, engines)
    results = {
        m.name: result for m in cohort.measures if (result := measure_result(doing, m, sensitivity))
    }
    ranks = _ranks(doing, results)
    return Analysis(
        cohort=cohort,
        seed=seed,
        draws=draws,
        flow=pd.DataFrame([asdict(step) for step in cohort.flow]),
        sample=describe_sample(cohort.patients, cohort.therapists),
        completeness=completeness_by_therapist(
            cohort.patients, cohort.measures, cohort.completeness
        ),
        outcomes=_outcomes(doing),
        outcomes_by_therapist={
            m.name: summarise_outcomes(cohort.patients, m, by="therapist_id")
            for m in cohort.measures
        },
        national=doing.attempt(
            "national", lambda: national_outcomes(cohort.patients, cohort.measures)
        ),
        measures=results,
        ranks=ranks,
        composite_uncertainty=_composite_uncertainty(doing, results, ranks),
        rank_correlations=_correlations(doing, results, ranks),
        services=_services(doing, ranks),
        comparison=_comparison(doing, ranks, repeats),
        scales=_scales(doing, ranks),
        predictors=_predictors(doing, results),
        themes=_themes(doing, ranks),
        not_done=doing.not_done,
    )


def _outcomes(doing: Doing) -> pd.DataFrame:
    rows = {m.name: summarise_outcomes(doing.patients, m).iloc[0] for m in doing.cohort.measures}
    return pd.DataFrame(rows).T.rename_axis("measure")


def _ranks(doing: Doing, results: Mapping[str, MeasureResult]) -> pd.DataFrame | None:
    """Ranks and clusters on the measures that tell therapists apart at all."""
    fits = {}
    for name, result in results.items():
        if result.residuals["residual"].any():
            fits[name] = result.fit
        else:
            doing.leave(
                f"ranks.{name}",
                "The therapist effect is estimated as nil, so the measure does not rank anybody.",
            )
    if not fits:
        doing.leave("ranks", "No measure tells the therapists apart.")
        return None
    return doing.attempt(
        "ranks", lambda: composite_ranks(fits, doing.cohort.measures, doing.cluster_size)
    )


def _composite_uncertainty(
    doing: Doing, results: Mapping[str, MeasureResult], ranks: pd.DataFrame | None
) -> pd.DataFrame | None:
    if ranks is None:
        return None
    ranked = {n: r for n, r in results.items() if f"rank_{n}" in ranks}
    residuals = {n: r.checks.patients["standardised"] for n, r in ranked.items() if r.checks}
    if len(residuals) < len(ranked):
        doing.leave("composite_uncertainty", "It needs the patients' residuals on every measure.")
        return None
    # The mean correlation of the measures' residuals over the same patients; 0 for one measure.
    table = pd.DataFrame(residuals).corr().to_numpy()
    m = len(table)
    correlation = float((table.sum() - m) / (m * (m - 1))) if m > 1 else 0.0
    return doing.attempt(
        "composite_uncertainty",
        lambda: composite_uncertainty(
            {n: r.fit for n, r in ranked.items()},
            seed=doing.seed,
            correlation=correlation,
            measures=doing.cohort.measures,
            size=doing.cluster_size,
        ),
    )


def _correlations(
    doing: Doing, results: Mapping[str, MeasureResult], ranks: pd.DataFrame | None
) -> pd.DataFrame:
    """Between the measures' ranks, and of the composite rank with the recovery rates."""
    rows: dict[tuple[str, str], dict[str, float]] = {}

    def add(a: str, b: str, one: pd.Series, other: pd.Series) -> None:
        found = doing.attempt(f"rank_correlation.{a}.{b}", lambda: rank_correlation(one, other))
        if found is not None:
            rows[a, b] = {"correlation": found.correlation, "p_value": found.p_value, "n": found.n}

    for (a, one), (b, other) in combinations(results.items(), 2):
        add(a, b, one.residuals["rank"], other.residuals["rank"])
    if ranks is None:
        return _correlation_table(rows)
    for m in doing.cohort.measures:
        rate = summarise_outcomes(doing.patients, m, by="therapist_id")["rcsi"].astype(float)
        if rate.notna().any():
            # A high rate is a good one, a low rank too.
            add("composite", f"rcsi {m.name}", ranks["composite"], -rate)
    return _correlation_table(rows)


def _correlation_table(rows: Mapping[tuple[str, str], Mapping[str, float]]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(rows, names=["of", "with"]) if rows else None
    columns = ["correlation", "p_value", "n"]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def _services(doing: Doing, ranks: pd.DataFrame | None) -> pd.DataFrame | None:
    if ranks is None:
        return None
    if "service_id" not in doing.patients or doing.patients["service_id"].isna().all():
        doing.leave("services", "The patients' table does not name services.")
        return None
    return services_by_cluster(ranks, doing.patients)


def _comparison(doing: Doing, ranks: pd.DataFrame | None, repeats: int) -> Comparison | None:
    if ranks is None:
        doing.leave("comparison", "There are no clusters to compare.")
        return None
    patients, measures = doing.patients, doing.cohort.measures

    def over(work: Callable[..., pd.DataFrame], name: str) -> dict[str, pd.DataFrame]:
        parts = {
            m.name: doing.attempt(f"{name}.{m.name}", partial(work, patients, m, ranks))
            for m in measures
        }
        return {key: part for key, part in parts.items() if part is not None}

    return Comparison(
        effect_sizes=_stacked(over(cluster_effect_sizes, "effect_sizes")),
        ancova=_stacked(over(lambda *a: ancova(*a).table(), "ancova"), keep=1),
        nested_ancova=_stacked(over(lambda *a: nested_ancova(*a).table(), "nested_ancova"), keep=1),
        rates=_stacked(over(compare_rates, "rates")),
        nested_rates=_stacked(over(nested_rates, "nested_rates")),
        split=doing.attempt(
            "split_sample",
            lambda: split_sample_comparison(
                patients, measures, repeats=repeats, seed=doing.seed, size=doing.cluster_size
            ),
        )
        if repeats
        else None,
    )


def _stacked(parts: Mapping[str, pd.DataFrame], keep: int = 2) -> pd.DataFrame:
    """Put tables under one another by measure; those that name it themselves keep one level."""
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, names=["measure"])
    return table.droplevel(0) if keep == 1 else table


def _scales(doing: Doing, ranks: pd.DataFrame | None) -> pd.DataFrame | None:
    therapists = doing.cohort.therapists
    if therapists is None:
        doing.leave("scales", "There is no table of therapists.")
    elif ranks is None:
        doing.leave("scales", "There are no clusters to compare.")
    elif not any(scale.name in therapists for scale in SCALES):
        doing.leave("scales", "The therapists' table has none of the scales.")
    else:
        return doing.attempt("scales", lambda: compare_scales(therapists, ranks))
    return None


def _predictors(doing: Doing, results: Mapping[str, MeasureResult]) -> pd.DataFrame | None:
    therapists = doing.cohort.therapists
    if therapists is None:
        doing.leave("predictors", "There is no table of therapists.")
        return None
    known = ("age", "years_experience", *(scale.name for scale in SCALES))
    names = [n for n in known if n in therapists and therapists[n].notna().any()]
    if not names:
        doing.leave("predictors", "The therapists' table has nothing numeric to predict with.")
        return None
    parts = {}
    for name, result in results.items():
        part = doing.attempt(
            f"predictors.{name}",
            partial(
                therapist_predictors,
                doing.patients,
                therapists,
                result.measure,
                names,
                doing.cohort.measures,
            ),
        )
        if part is not None:
            parts[name] = part
    return pd.concat(parts, names=["measure"]) if parts else None


def _themes(doing: Doing, ranks: pd.DataFrame | None) -> TemplateAnalysis | None:
    segments = doing.cohort.segments
    if segments is None:
        doing.leave("themes", "There are no coded interviews.")
        return None
    if ranks is None:
        doing.leave("themes", "There are no clusters to compare.")
        return None
    return doing.attempt("themes", lambda: template_analysis(segments, ranks))
