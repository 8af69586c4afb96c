"""The paper's three models of a measure, therapists' lines, and what shrinkage does to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_mixed
from multilevel.ratio_test import LikelihoodRatioTest, likelihood_ratio_test
from pwp_lib.measures import Measure, get_measure

__all__ = ["MeasureModels", "fit_models", "model_formula", "raw_and_shrunken", "two_level"]

Level = Literal["single", "intercept", "slope"]


def model_formula(
    measure: str | Measure,
    measures: Iterable[str | Measure] = (),
    level: Level = "slope",
    *,
    extra: Sequence[str] = (),
) -> str:
    """Write the paper's model of a measure as a formula.

    Post score on own and other pre score, each centred on the grand mean, and the product of the
    centred scores; intercept and slope on own pre score vary between therapists (p. 14, 18).

    Parameters
    ----------
    measure : str or Measure
        The measure whose post score is explained.
    measures : iterable of str or Measure
        All measures of the cohort; the others' pre scores are controlled for. With none, the own
        pre score alone.
    level : {"single", "intercept", "slope"}
    extra : sequence of str
        Further fixed terms, such as ``"C(service_id)"``.

    Examples
    --------
    >>> model_formula("phq9", ["phq9", "gad7"], "intercept")
    'phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 | therapist_id)'
    >>> model_formula("phq9")
    'phq9_post ~ center(phq9_pre) + (1 + center(phq9_pre) | therapist_id)'
    """
    own = get_measure(measure)
    others = [m for m in map(get_measure, measures) if m.name != own.name]
    slope = f"center({own.pre})"
    terms = [f"{slope} * center({m.pre})" for m in others] or [slope]
    terms += list(extra)
    if level == "intercept":
        terms.append("(1 | therapist_id)")
    elif level == "slope":
        terms.append(f"(1 + {slope} | therapist_id)")
    return f"{own.post} ~ {' + '.join(terms)}"


@dataclass(frozen=True)
class MeasureModels:
    """The three models of one measure, fitted to the same patients, and their tests.

    Attributes
    ----------
    measure : Measure
    single, intercept, slope : MixedFit
        `slope` is the model from which therapist effect and residuals are taken.
    test_intercept, test_slope : LikelihoodRatioTest
        Random intercept against single level, random slope against random intercept.
    """

    measure: Measure
    single: MixedFit
    intercept: MixedFit
    slope: MixedFit
    test_intercept: LikelihoodRatioTest
    test_slope: LikelihoodRatioTest

    def table(self) -> pd.DataFrame:
        """Deviance of each model and its test against the one before."""
        rows: dict[str, dict[str, Any]] = {
            "single level": {"deviance": self.single.deviance, "aic": self.single.aic}
        }
        for name, fit, test in (
            ("random intercept", self.intercept, self.test_intercept),
            ("random slope", self.slope, self.test_slope),
        ):
            rows[name] = {
                "deviance": fit.deviance,
                "aic": fit.aic,
                "chi2": test.statistic,
                "df": test.df,
                "p_value": test.p_value,
                "p_value_boundary": test.p_value_boundary,
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def fit_models(
    patients: pd.DataFrame, measure: str | Measure, measures: Iterable[str | Measure] = ()
) -> MeasureModels:
    """Fit the paper's three models of a measure by maximum likelihood and test each step.

    Parameters
    ----------
    patients : DataFrame
        ``therapist_id`` and the pre and post scores.
    measure : str or Measure
    measures : iterable of str or Measure
        All measures of the cohort, as for `model_formula`.

    Raises
    ------
    InputError
        If a column is missing or a model cannot be estimated.
    """
    own, listed = get_measure(measure), tuple(measures)
    single, intercept, slope = (
        fit_mixed(model_formula(own, listed, level), patients, method="ML")
        for level in ("single", "intercept", "slope")
    )
    tests = likelihood_ratio_test(single, intercept), likelihood_ratio_test(intercept, slope)
    return MeasureModels(own, single, intercept, slope, *tests)


def two_level(fit: object) -> MixedFit:
    """Hand on a fit of scores at two levels; one of three, or of yes and no, is refused."""
    if not isinstance(fit, MixedFit):
        hint = "fit scores by fit_mixed, with (1 | therapist_id) and no level above"
        raise InputError(f"a model of two levels is needed, not a {type(fit).__name__}", hint=hint)
    return fit


def raw_and_shrunken(fit: MixedFit) -> pd.DataFrame:
    """Raw departure and residual of each therapist.

    The raw departure is the mean, over the therapist's patients, of the response minus what the
    fixed part predicts. It is computed from moments, so it costs nothing.

    Parameters
    ----------
    fit : MixedFit
        With an intercept among the random terms.

    Returns
    -------
    DataFrame
        By therapist: ``n``, ``raw``, ``residual`` and ``kept``, the residual as a share of the raw
        departure. In a random-intercept model the share is the reliability of the raw departure.
        With a `spread` it is missing: the residual then weighs patients by how sure they are, and
        is no share of a mean in which all count alike.

    Raises
    ------
    InputError
        If the intercept is not random, or the model is not one of two levels.

    Examples
    --------
    >>> from multilevel.design import DesignMoments
    >>> from multilevel.fit import fit_design
    >>> y = [1, 2, 3, 7, 8, 9, 4, 5, 6]
    >>> d = DesignMoments.from_arrays(y, {"Intercept": [1] * 9}, ["Intercept"], list("aaabbbccc"))
    >>> raw_and_shrunken(fit_design(d))["raw"].round(2).tolist()
    [-3.0, 3.0, 0.0]
    """
    design = spread.plain if (spread := two_level(fit).spread) else fit.design
    if "Intercept" not in design.random_names:
        raise InputError(
            "raw departures need a model with a random intercept", hint="add (1 | ...)"
        )
    constant = design.names.index("Intercept")
    sums = design.cross[:, constant, :]
    fixed = sums[:, list(design.fixed)] @ np.asarray(fit.coefficients, dtype=float)
    raw = (sums[:, design.response] - fixed) / design.n
    table = fit.residuals("Intercept")[["n", "residual"]].copy()
    table.insert(1, "raw", pd.Series(raw, index=pd.Index(design.groups)).reindex(table.index))
    table["kept"] = table["residual"] / table["raw"].where((table["raw"] != 0) & (not spread))
    return table
