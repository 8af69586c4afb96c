"""Two-level normal models by maximum likelihood and REML, from moments alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multilevel.arguments import Checked
from multilevel.certificate import Certificate, certify
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.formula import parse_formula
from multilevel.identify import identified_stack, method_name
from multilevel.information import Information, fixed_tests, variance_covariance
from multilevel.intervals import Interval, profile_interval
from multilevel.levels import nested_design
from multilevel.nested import fit_nested
from multilevel.partition import partition_coefficient, partition_curve
from multilevel.residuals import ErrorKind, covariance_parts, residual_table
from multilevel.search import solve
from multilevel.solution import Solution
from multilevel.sources import design_moments
from multilevel.spread import NO_FIT, ScaledRows, Spread, profile_delta, scaled_rows
from multilevel.summary import summarise


@dataclass(frozen=True, repr=False)
class MixedFit(Checked, Solution):
    """A fitted two-level model; `fit_mixed` and `fit_design` make it."""

    # -- the fit as tables ----------------------------------------------------------------------

    def variance_se(self, information: Information = "expected") -> pd.Series[float]:
        """Return standard errors of the variances and covariances.

        Parameters
        ----------
        information : {"expected", "observed"}
            Expected information is what MLwiN prints. Observed information is not defined on the
            boundary, where its standard errors are NaN.

        Returns
        -------
        Series
            Indexed by component: ``var(Intercept)``, ``cov(Intercept, x)``, ..., ``residual``.
        """
        covariance = self.variance_covariance(information)
        se = np.sqrt(np.diagonal(covariance))
        return pd.Series(se, index=covariance.index.rename("component"))

    def variance_covariance(self, information: Information = "expected") -> pd.DataFrame:
        """Return the sampling covariance of the components that `variance_se` names."""
        names = [*self.design.component_names, "residual"]
        return pd.DataFrame(variance_covariance(self, information), index=names, columns=names)

    def satterthwaite(self) -> pd.DataFrame:
        """Return the fixed part with t-tests in place of the normal ones of `fixed`.

        With few groups a normal p-value of a term that differs between groups only promises too
        much; these degrees of freedom are Satterthwaite's, as in lmerTest, by ML or by REML. With
        a `spread` they take delta as known.

        Returns
        -------
        DataFrame
            By term: estimate, se, df, t and two-sided p_value.
        """
        return fixed_tests(self)

    # -- groups -----------------------------------------------------------------------------

    def residuals(
        self,
        term: str | None = None,
        se: ErrorKind = "conditional",
        multiplier: float = 1.96,
        lower_is_better: bool = True,
    ) -> pd.DataFrame:
        """Residual of each group, with its interval and its rank.

        Parameters
        ----------
        term : str, optional
            A random term; the intercept (the first) unless given.
        se : {"conditional", "comparative", "diagnostic"}
            Given the estimates; including the fixed part's uncertainty; the spread of the
            predicted residuals themselves.
        multiplier : float
            Half-width of the interval in standard errors: 1.96 to compare with the average
            group, about 1.39 to compare pairs.
        lower_is_better : bool
            Rank 1, the best group, is the lowest residual.

        Returns
        -------
        DataFrame
            By group: n, residual, se, lower, upper, rank, shrinkage.
        """
        return residual_table(self, term, se, multiplier, lower_is_better)

    def residual_covariance(
        self, se: ErrorKind = "comparative", term: str | None = None
    ) -> pd.DataFrame:
        """Joint covariance of the groups' residuals of one term, J x J.

        Parameters
        ----------
        se : {"conditional", "comparative", "diagnostic"}
        term : str, optional
            A random term; the first unless given.
        """
        own, shared, sign = covariance_parts(self, term, se)
        labels = pd.Index(self.design.groups, name=self.design.group_name or None)
        return pd.DataFrame(np.diag(own) + sign * (shared @ shared.T), labels, labels)

    # -- variance partition -----------------------------------------------------------------------

    def vpc(self, at: Mapping[str, float] | str | None = None) -> float:
        """Variance partition coefficient: the share of variance that lies between groups.

        Parameters
        ----------
        at : mapping of str to float, or "mean", optional
            Values of the random terms' predictors in original units; their means unless given.
        """
        return partition_coefficient(self, at)

    def vpc_curve(self, variable: str, values: ArrayLike, level: float = 0.95) -> pd.DataFrame:
        """Variance partition coefficient over a predictor, with pointwise intervals.

        Parameters
        ----------
        variable : str
            A predictor of the random terms, in original units.
        values : array_like
        level : float
            Coverage of the intervals, by the delta method on the logit scale.

        Returns
        -------
        DataFrame
            One row a value: the variable, group_variance, vpc, lower, upper.
        """
        return partition_curve(self, variable, values, level)

    def profile_interval(self, level: float = 0.95) -> Interval:
        """Profile-likelihood interval for the variance partition coefficient at the mean."""
        if self.spread is not None:
            raise InputError(
                "a profile is not offered where the residual variance depends on a predictor",
                hint="use vpc_curve, whose intervals carry delta's uncertainty",
            )
        return profile_interval(self, level)

    # -- how it went ----------------------------------------------------------------------------

    @cached_property
    def certificate(self) -> Certificate:
        """Gradient, curvature, and how the boundary was examined."""
        return certify(self.optimum)

    def summary(self) -> str:
        """Return a printed summary in the manner of lme4, with MLwiN's standard errors."""
        return summarise(self)


def fit_design(design: DesignMoments, method: str = "ML") -> MixedFit:
    """Fit a two-level model to the moments of its design.

    Parameters
    ----------
    design : DesignMoments
        No random term gives the single-level model.
    method : {"ML", "REML"}

    Returns
    -------
    MixedFit

    Raises
    ------
    InputError
        If the model is not identified: dependent or constant columns, fewer groups than
        random terms, one row for every group, no residual variance.

    Examples
    --------
    >>> d = DesignMoments.from_arrays([5, 7, 9, 1, 2, 3], {"Intercept": [1] * 6}, ["Intercept"],
    ...                               ["a", "a", "a", "b", "b", "b"])
    >>> fit = fit_design(d)
    >>> fit
    <MixedFit of y by ML: 6 rows, 2 groups, deviance 26.555>
    >>> round(fit.vpc(), 4)
    0.6842
    """
    stack = identified_stack(design, method)
    return MixedFit(design, "REML" if stack.reml else "ML", stack, solve(stack))


def fit_mixed(
    formula: str,
    data: Any,
    method: str = "ML",
    *,
    spread: str | None = None,
    units: Mapping[Any, Any] | None = None,
) -> MixedFit:
    """Fit a model of one, two or three levels given by a formula.

    Parameters
    ----------
    formula : str
        As in lme4, for example ``"y ~ center(x) + (1 + center(x) | g)"``; the random terms are
        correlated. No random term gives the single-level model.
    data : frame, Moments or DesignMoments
        A table of rows, or their moments.
    method : {"ML", "REML"}
    spread : str, optional
        What the residual standard deviation depends on: ``"power(x + 1)"`` for
        ``sigma * (x + 1) ** delta``, ``"exp(x)"`` for ``sigma * exp(delta * x)``. It needs the
        rows, not stored moments. Intervals of `vpc_curve` carry delta's uncertainty.
    units : mapping of group to unit, optional
        For stored moments and a formula of three levels: which group is in which unit.

    Returns
    -------
    MixedFit
        With ``(1 | unit/g)``, or ``(1 | unit) + (1 + x | g)`` where groups are within units, a
        `NestedFit`.

    Raises
    ------
    InputError
        If the formula or the data cannot be used, or the model is not identified.
    """
    if (levels := parse_formula(formula)).above:
        if spread is not None:
            raise InputError("a spread is not offered with three levels", hint="leave one out")
        fit = fit_nested(*nested_design(levels, data, units), method_name(method))
        # Another record with the same names where they mean the same: the formula tells which.
        return cast("MixedFit", fit)
    if spread is None:
        return fit_design(design_moments(formula, data), method)
    return _fit_spread(scaled_rows(formula, data, spread), method)


def _fit_spread(rows: ScaledRows, method: str) -> MixedFit:
    """Fit at the delta of the highest likelihood, and one standard error below and above."""

    def deviance(delta: float) -> float:
        # The search may look where rows are so unequal that nothing can be told of the model.
        with suppress(InputError):
            fit = fit_design(rows.scaled(delta, middle), method)
            # Or only rounding is, in which a deviance that is no minimum's can lie far too low.
            return fit.deviance if fit.converged else max(fit.deviance, plain)
        return NO_FIT

    def at(delta: float, neighbours: tuple[MixedFit, ...] = ()) -> MixedFit:
        scale, fit = rows.log_scale(delta), fit_design(rows.scaled(delta), method)
        about = plain - fit.deviance - scale, scale, rows.expression, rows.means, rows.design
        return replace(fit, spread=Spread(rows.text, delta, se, *about, neighbours))

    middle, plain = float(rows.log_unit.mean()), fit_design(rows.scaled(0.0), method).deviance
    rows.refuse_unbounded(method_name(method) == "REML")
    delta, se = profile_delta(deviance, 0.1 / float(rows.log_unit.std()))
    return at(delta, (at(delta - se), at(delta + se)))
