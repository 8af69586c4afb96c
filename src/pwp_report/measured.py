"""All that is found on one measure, and what could not be done with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_design
from multilevel.intervals import ProfileInterval
from multilevel.posterior import Posterior, sample_posterior
from pwp_lib.checks import ModelChecks, check_model
from pwp_lib.cohort import Cohort
from pwp_lib.measures import Measure
from pwp_lib.models import MeasureModels, fit_models
from pwp_lib.precision import Precision, precision
from pwp_lib.ranking import differs_from_average, rank_uncertainty
from pwp_lib.sensitivity import SensitivityPanel, sensitivity_panel

__all__ = ["Doing", "MeasureResult", "measure_result", "need_engines"]

T = TypeVar("T")


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
    profile : ProfileInterval or None
        Profile-likelihood interval of the therapist effect.
    posterior : Posterior or None
        The same model by Gibbs sampling, MLwiN's priors.
    residuals : DataFrame
        By therapist: ``n``, ``residual``, ``se``, ``lower``, ``upper``, ``rank``.
    differs : Series
        By therapist: ``"better"`` or ``"worse"`` than average, or empty.
    rank_uncertainty : DataFrame
        By therapist: rank interval, probability of each cluster.
    checks : ModelChecks or None
    sensitivity : SensitivityPanel or None
    precision : Precision or None
        What these caseloads can say of a therapist effect of this size.
    reml : float or None
        The therapist effect by REML, where that engine was asked for.
    """

    measure: Measure
    models: MeasureModels
    vpc: float
    profile: ProfileInterval | None
    posterior: Posterior | None
    residuals: pd.DataFrame
    differs: pd.Series
    rank_uncertainty: pd.DataFrame
    checks: ModelChecks | None
    sensitivity: SensitivityPanel | None
    precision: Precision | None
    reml: float | None = None

    @property
    def fit(self) -> MixedFit:
        """The random slope model."""
        return self.models.slope

    def effect(self) -> dict[str, float]:
        """Return the therapist effect with its intervals, as shares."""
        row = {"vpc": self.vpc}
        if self.profile is not None:
            row |= {"profile_lower": self.profile.lower, "profile_upper": self.profile.upper}
        if self.reml is not None:
            row["reml"] = self.reml
        if self.posterior is not None:
            got = self.posterior.interval()
            row |= {k: getattr(got, k) for k in ("median", "lower", "upper", "mcse")}
        return row


@dataclass
class Doing:
    """Does what can be done and keeps the reasons for what cannot.

    Attributes
    ----------
    cohort : Cohort
    seed, draws : int
    cluster_size : int or None
        Therapists in each cluster as asked; a quarter unless given.
    engines : sequence of str
        Of ``ml``, ``reml`` and ``gibbs``; maximum likelihood is always used.
    """

    cohort: Cohort
    seed: int
    draws: int
    cluster_size: int | None
    engines: Sequence[str]

    def __post_init__(self) -> None:
        self.patients = self.cohort.patients
        self.not_done: dict[str, str] = {}

    def attempt(self, name: str, work: Callable[[], T]) -> T | None:
        """Do something, or keep the reason why it cannot be done."""
        try:
            return work()
        except InputError as problem:
            self.not_done[name] = str(problem)
            return None

    def leave(self, name: str, reason: str) -> None:
        """Keep the reason for what is left out."""
        self.not_done[name] = reason


def need_engines(engines: Sequence[str]) -> None:
    """Refuse an engine that is not known, before hours are spent.

    Raises
    ------
    InputError
        If an engine is none of ml, reml and gibbs.
    """
    if not set(engines) <= {"ml", "reml", "gibbs"}:
        raise InputError("an engine is not known", hint="known are ml, reml, gibbs")


def measure_result(doing: Doing, measure: Measure, sensitivity: bool) -> MeasureResult | None:
    """Fit the models of a measure, and find all that follows from them."""
    name, patients, listed = measure.name, doing.patients, doing.cohort.measures
    models = doing.attempt(f"models.{name}", lambda: fit_models(patients, measure, listed))
    if models is None:
        return None
    fit, worse, size = models.slope, measure.higher_is_worse, doing.cluster_size
    gibbs = "gibbs" in doing.engines

    def asked(engine: str, work: Callable[[], T]) -> T | None:
        return doing.attempt(f"{engine}.{name}", work) if engine in doing.engines else None

    if not sensitivity:
        doing.leave(f"sensitivity.{name}", "It was not asked for.")
    return MeasureResult(
        measure=measure,
        models=models,
        vpc=fit.vpc(),
        profile=doing.attempt(f"profile.{name}", fit.profile_interval),
        posterior=doing.attempt(
            f"posterior.{name}",
            lambda: sample_posterior(fit.design, draws=doing.draws, seed=doing.seed),
        )
        if gibbs
        else None,
        residuals=fit.residuals(lower_is_better=worse),
        differs=differs_from_average(fit, measure),
        rank_uncertainty=rank_uncertainty(fit, seed=doing.seed, higher_is_worse=worse, size=size),
        checks=doing.attempt(f"checks.{name}", lambda: check_model(fit, patients, measure)),
        sensitivity=doing.attempt(
            f"sensitivity.{name}",
            lambda: sensitivity_panel(
                patients,
                measure,
                listed,
                draws=10_000 if gibbs else 0,
                seed=doing.seed,
                size=size,
                completeness=doing.cohort.completeness,
            ),
        )
        if sensitivity
        else None,
        precision=doing.attempt(f"precision.{name}", lambda: precision(fit.design.n, fit.vpc())),
        reml=asked("reml", lambda: fit_design(fit.design, "REML").vpc()),
    )
