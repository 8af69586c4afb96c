"""Would another analysis say the same? Therapist effect and ranks under other choices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design, fit_mixed
from multilevel.moments import Moments
from multilevel.posterior import sample_posterior
from pwp_lib.comparison import outcome_of_patients
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import model_formula
from pwp_lib.outcomes import completeness_by_therapist, summarise_outcomes
from pwp_lib.ranking import cluster_size, rank_correlation, standing

__all__ = ["SensitivityPanel", "sensitivity_panel"]

#: Priors of the therapists' covariance beside the believed defaults of MLwiN.
PRIORS: Mapping[str, str] = {
    "MCMC, MLwiN's priors": "mlwin",
    "MCMC, flat prior on SDs": "flat-sd",
    "MCMC, half-normal prior on SDs": "half-normal",
}
#: Rates that therapists are ranked by.
_RATES: Mapping[str, str] = {
    "Reliable improvement (linear probability)": "improvement",
    "Reliable and clinically significant improvement (linear probability)": "rcsi",
}


#: Share of complete patients below which a therapist is left out in one of the analyses.
_LEAST_COMPLETE = 0.8
#: Of more therapists only so many, the furthest from the average, are left out in turn.
_MOST_LEFT_OUT = 100


@dataclass(frozen=True)
class SensitivityPanel:
    """Therapist effect and ranks of a measure under other choices.

    Attributes
    ----------
    rows : DataFrame
        One row an analysis: ``family`` (``main``, ``model``, ``patients``, ``prior``, ``recovery``
        or ``leave one out``), ``analysis`` in words, ``n_patients``, ``n_therapists``, ``vpc``
        with ``lower`` and ``upper`` (shares; missing where not defined or not cheap),
        ``interval`` (what kind), ``rank_correlation`` with the main analysis over the therapists
        in both, ``upper_shared`` and ``lower_shared`` (therapists of the main analysis's clusters
        on this measure who are in the other's too), and ``note``: why an analysis could not be
        done.
    measure : str
    """

    rows: pd.DataFrame
    measure: str


def sensitivity_panel(
    patients: pd.DataFrame,
    measure: str | Measure,
    measures: Iterable[str | Measure] = (),
    *,
    extra: Sequence[str] = (),
    draws: int = 10_000,
    seed: int = 1,
    size: int | None = None,
    completeness: pd.DataFrame | None = None,
) -> SensitivityPanel:
    """Therapist effect and ranks of a measure under other choices.

    The main analysis is the paper's: random slope, ML, all patients. Beside it: simpler models,
    REML, service as a fixed effect, other priors; closed cases only, therapists with 80% or more
    complete only; therapists ranked by change or recovery; one therapist left out at a time (of
    more than 100, those furthest from the average).

    Parameters
    ----------
    patients : DataFrame
    measure : str or Measure
    measures : iterable of str or Measure
        All measures of the cohort: the others' pre scores are controlled for.
    extra : sequence of str
        Further fixed terms of the main analysis, its case mix: one analysis is without them.
    draws : int
        Of the posterior under each prior; 0 leaves priors out.
    seed : int
    size : int, optional
        Of a cluster; see `pwp_lib.cluster_size`.
    completeness : DataFrame, optional
        Of `completeness_by_therapist`, where those who lack a score are no longer among the
        patients.

    Returns
    -------
    SensitivityPanel
        An analysis that cannot be done has its row too, with the reason in ``note``.

    Raises
    ------
    InputError
        If the main analysis cannot be done.
    """
    own, listed = get_measure(measure), tuple(measures)
    formula = model_formula(own, listed, extra=extra)
    main = fit_mixed(formula, patients)
    panel = _Panel(main, own.higher_is_worse, size)
    panel.add("main", "Random slope, ML, all patients", panel.profiled)
    _other_models(panel, patients, own, listed, [*extra])
    if completeness is None:
        completeness = completeness_by_therapist(patients, listed or (own,))
    _other_patients(panel, patients, formula, completeness)
    if draws:
        _other_priors(panel, draws, seed)
    _other_recovery(panel, patients, own, [*extra])
    _leave_one_out(panel, patients, formula)
    return SensitivityPanel(pd.DataFrame(panel.rows), own.name)


class _Panel:
    """Collects rows; an analysis that fails leaves its reason."""

    def __init__(self, main: MixedFit, higher_is_worse: bool, size: int | None) -> None:
        self.main = main
        self.size = size
        self.higher_is_worse = higher_is_worse
        self.ranks = standing(main, higher_is_worse).rank()
        self.rows: list[dict[str, Any]] = []

    def add(self, family: str, analysis: str, work: Callable[[], dict[str, Any]]) -> None:
        row: dict[str, Any] = {
            "family": family,
            "analysis": analysis,
            "n_patients": self.main.n,
            "n_therapists": self.main.n_groups,
            **dict.fromkeys(("vpc", "lower", "upper"), np.nan),
            "interval": "",
            "rank_correlation": np.nan,
            "upper_shared": np.nan,
            "lower_shared": np.nan,
            "note": "",
        }
        try:
            row |= work()
        except InputError as problem:
            row["note"] = str(problem)
        ranks = row.pop("ranks", None)
        if ranks is not None and len(ranks.index.intersection(self.ranks.index)) > 2:
            row["rank_correlation"] = rank_correlation(self.ranks, ranks).correlation
            if ranks.nunique() > 1:  # Where no therapist differs there are no ends to share.
                row |= _shared_ends(self.ranks, ranks, self.size)
        self.rows.append(row)

    def add_each(self, family: str, named: Mapping[str, Any], work: Callable[[Any], Any]) -> None:
        """Add analyses that differ in one thing, as many at a time as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as cores:
            found = [cores.submit(work, which).result for which in named.values()]
            for name, result in zip(named, found, strict=True):
                self.add(family, name, result)

    def fitted(self, fit: MixedFit) -> dict[str, Any]:
        return {
            "n_patients": fit.n,
            "n_therapists": fit.n_groups,
            "vpc": fit.vpc(),
            "ranks": standing(fit, self.higher_is_worse).rank(),
        }

    def profiled(self) -> dict[str, Any]:
        interval = self.main.profile_interval()
        bounds = {"lower": interval.lower, "upper": interval.upper}
        return {**self.fitted(self.main), **bounds, "interval": "profile likelihood"}


def _shared_ends(main: pd.Series, other: pd.Series, size: int | None) -> dict[str, float]:
    """Count how many therapists of the main analysis's clusters keep their place in another's."""
    both = (main, other.dropna())
    try:
        sizes = [cluster_size(len(r), size) for r in both]
    except InputError:
        return {}
    ends = {}
    for end, best in (("upper_shared", pd.Series.nsmallest), ("lower_shared", pd.Series.nlargest)):
        first, second = (best(r, k).index for r, k in zip(both, sizes, strict=True))
        ends[end] = float(len(first.intersection(second)))
    return ends


def _other_models(
    panel: _Panel,
    patients: pd.DataFrame,
    own: Measure,
    listed: tuple[str | Measure, ...],
    extra: list[str],
) -> None:
    design = panel.main.design
    panel.add("model", "Random slope, REML", lambda: panel.fitted(fit_design(design, "REML")))
    variants = {
        "Random intercept, ML": model_formula(own, listed, "intercept", extra=extra),
        "Own pre score only": model_formula(own, extra=extra),
        "No pre scores": f"{own.post} ~ {' + '.join(['1', *extra])} + (1 | therapist_id)",
        "Service as a fixed effect, REML": model_formula(
            own, listed, extra=[*extra, "C(service_id)"]
        ),
    }
    if extra:
        variants["No case mix"] = model_formula(own, listed)

    def work(formula: str) -> dict[str, Any]:
        services = patients.get("service_id", pd.Series()).map(str, na_action="ignore")
        if "service_id" in formula and services.nunique() < 2:
            raise InputError("there are not two services", column="service_id")
        # Maximum likelihood would take the services' effects as known.
        method = "REML" if "service_id" in formula else "ML"
        return panel.fitted(fit_mixed(formula, patients, method))

    panel.add_each("model", variants, work)


def _other_patients(
    panel: _Panel, patients: pd.DataFrame, formula: str, table: pd.DataFrame
) -> None:
    def closed() -> dict[str, Any]:
        if "status" not in patients or patients["status"].isna().all():
            raise InputError("whether a case is closed is not recorded", column="status")
        if not (patients["status"] == "closed").any():
            raise InputError("no patient is recorded as closed", column="status")
        return panel.fitted(fit_mixed(formula, patients[patients["status"] == "closed"]))

    def complete() -> dict[str, Any]:
        if (table["share"] == 1).all():
            raise InputError("nobody is known to lack a score")
        kept = table.index[table["share"] >= _LEAST_COMPLETE]
        return panel.fitted(fit_mixed(formula, patients[patients["therapist_id"].isin(kept)]))

    panel.add("patients", "Closed cases only", closed)
    panel.add("patients", f"Therapists with {_LEAST_COMPLETE:.0%} or more complete", complete)


def _other_priors(panel: _Panel, draws: int, seed: int) -> None:

    def work(prior: str) -> dict[str, Any]:
        posterior = sample_posterior(panel.main.design, draws=draws, seed=seed, prior=prior)
        interval = posterior.interval()
        # Their intervals and ranks in every draw, which nobody asks for, would fill the memory.
        effects = pd.Series(posterior.u[..., 0].mean(axis=(0, 1)), posterior.design.groups)
        return {
            "vpc": interval.median,
            "lower": interval.lower,
            "upper": interval.upper,
            "interval": "posterior",
            "ranks": effects if panel.higher_is_worse else -effects,
        }

    panel.add_each("prior", PRIORS, work)


def _other_recovery(panel: _Panel, patients: pd.DataFrame, own: Measure, extra: list[str]) -> None:
    summary = summarise_outcomes(patients, own, by="therapist_id")

    def ranked(column: str) -> pd.Series:
        return -summary[column].astype(float).dropna()

    def work(rate: str) -> dict[str, Any]:
        yes = outcome_of_patients(patients, own, rate).to_numpy(dtype=float, na_value=np.nan)
        if np.isnan(yes).all():
            raise InputError(f"{own.label} has no threshold for it")
        terms = " + ".join([f"center({own.pre})", *extra, "(1 | therapist_id)"])
        fit = fit_mixed(f"yes_or_no ~ {terms}", patients.assign(yes_or_no=yes))
        return {**panel.fitted(fit), "ranks": ranked(rate)}

    panel.add("recovery", "Mean change, unadjusted", lambda: {"ranks": ranked("mean_change")})
    panel.add("recovery", "Effect size, unadjusted", lambda: {"ranks": ranked("effect_size")})
    panel.add_each("recovery", _RATES, work)


def _leave_one_out(panel: _Panel, patients: pd.DataFrame, formula: str) -> None:
    """Leave out each therapist, or the furthest from the average where they are very many."""
    moments = Moments.for_formula(formula, patients)
    chosen = np.arange(len(moments.groups))
    if len(chosen) > _MOST_LEFT_OUT:
        table = panel.main.residuals(se="diagnostic")
        far = (table["residual"].abs() / table["se"].where(table["se"] > 0)).fillna(0.0)
        furthest = far.sort_values(ascending=False, kind="stable").index[:_MOST_LEFT_OUT]
        chosen = np.flatnonzero(np.isin(moments.groups, furthest))

    def work(left_out: int) -> dict[str, Any]:
        return panel.fitted(fit_mixed(formula, moments.without(left_out)))

    named = {f"Without {moments.groups[j]}": j for j in chosen.tolist()}
    panel.add_each("leave one out", named, work)
