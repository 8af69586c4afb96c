"""Three-level normal models: rows in groups, groups in units; from the groups' moments alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from multilevel.arguments import Checked
from multilevel.design import Array, DesignMoments, coordinates
from multilevel.errors import InputError
from multilevel.identify import identified_stack
from multilevel.intervals import Interval, share_interval, turned
from multilevel.levels import Nesting
from multilevel.likelihood import lower_factor
from multilevel.nested_search import NestedLikelihood, Proof, Value, certify, differences, search
from multilevel.partition import near, random_row
from multilevel.ratio_test import boundary_test
from multilevel.residuals import ranked
from multilevel.search import solve
from multilevel.solution import coefficient_table


@dataclass(frozen=True, repr=False)
class NestedFit(Checked):
    """A fitted three-level model; `fit_mixed` makes it of a formula with units above groups.

    Attributes
    ----------
    design : DesignMoments
        Columns and cross-products of the groups.
    nesting : Nesting
        The unit of each group.
    method : {"ML", "REML"}
    deviance : float
        Minus twice the log-likelihood; the REML criterion when the method is REML.
    residual_variance : float
        Variance of rows around their group's line.
    certificate : Proof
    """

    design: DesignMoments
    nesting: Nesting
    method: Literal["ML", "REML"]
    deviance: float
    residual_variance: float
    certificate: Proof
    _likelihood: NestedLikelihood
    _theta: Array
    _at: Value

    def __repr__(self) -> str:
        y, (unit, group) = self.design.names[self.design.response], self.levels
        return (
            f"<NestedFit of {y} by {self.method}: {self.n:,} rows, {len(self.design.groups):,} of "
            f"{group} in {len(self.nesting.labels):,} of {unit}, deviance {self.deviance:.3f}>"
        )

    @property
    def n(self) -> int:
        """Rows."""
        return self.design.n_total

    @property
    def levels(self) -> tuple[str, str]:
        """Names of the levels: units, and groups within them."""
        return self.nesting.name, self.design.group_name

    @property
    def singular(self) -> bool:
        """Whether a variance is zero or a correlation one."""
        return self._flat or bool(self._theta[-1] == 0.0)

    @property
    def converged(self) -> bool:
        """Whether the optimum is certified."""
        return self.certificate.holds(1e-4)

    @cached_property
    def _flat(self) -> bool:
        """Whether the covariance of the groups' terms has less than full rank."""
        root = self._likelihood.factor(self._theta)  # in units that no predictor's unit changes
        return bool(np.linalg.matrix_rank(root @ root.T, tol=1e-10) < len(root))

    def _relative(self, theta: Array) -> Array:
        """Covariance of the groups' terms over the residual variance, in raw units."""
        root = self._likelihood.z_back @ self._likelihood.factor(theta)
        return np.asarray(root @ root.T)

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Fixed coefficients by term: estimate, se, z and two-sided p_value (normal)."""
        back, stack = self._likelihood.x_back, self._likelihood.stack
        estimate = stack.ols[0] + stack.scale[0] * back @ self._at.beta
        se = np.sqrt(np.diagonal(self.residual_variance * back @ self._at.inverse @ back.T))
        return coefficient_table(self.design.fixed_names, estimate, se)

    @cached_property
    def components(self) -> pd.DataFrame:
        """Variances and covariances: level, term, other, estimate and se, the residual last.

        Standard errors are from the observed information, and NaN on the boundary.
        """
        unit, group = self.levels
        names = self.design.random_names
        rows = [(group, names[j], names[i] if i > j else "") for i, j in coordinates(len(names))]
        rows = [(unit, "Intercept", ""), *rows, ("residual", "", "")]
        table = pd.DataFrame(rows, columns=["level", "term", "other"])
        theta, likelihood = self._theta, self._likelihood
        free, estimate = theta != 0.0, self._natural(theta)
        sampling = 2.0 * np.linalg.inv(likelihood.bend(theta)[np.ix_(free, free)])
        by_theta = differences(self._natural, theta)[free]
        variance = np.einsum("ia,ij,ja->a", by_theta, sampling, by_theta)
        # All are in proportion to the residual variance, which varies beyond what theta says.
        variance += 2.0 / likelihood.stack.dof[0] * estimate**2
        held = np.array([not free[-1], *[self._flat] * (len(theta) - 1), False])
        return table.assign(estimate=estimate, se=np.where(held, np.nan, np.sqrt(variance)))

    def _natural(self, theta: Array) -> Array:
        """Every variance and covariance, the residual variance at its best."""
        groups = self._relative(theta)[self._likelihood.places]
        return self._likelihood(theta).variance * np.array([theta[-1] ** 2, *groups, 1.0])

    # -- shares of variance ---------------------------------------------------------------------

    def _level(self, level: str) -> int:
        if level not in self.levels:
            hint = f"choose from {' and '.join(self.levels)}"
            raise InputError(f"there is no level {level!r}", hint=hint)
        return self.levels.index(level)

    def vpc(self, level: str = "", at: Mapping[str, float] | str | None = None) -> float:
        """Share of variance that lies between the units, or between the groups of a unit.

        Parameters
        ----------
        level : str
            One of `levels`.
        at : mapping of str to float, or "mean", optional
            Values of the random terms' predictors; their means unless given.
        """
        theta, row = self._theta, near(random_row(self.design, at))
        variances = float(theta[-1] ** 2), float(row @ self._relative(theta) @ row)
        return variances[self._level(level)] / (sum(variances) + 1.0)

    def profile_interval(self, level: str = "", coverage: float = 0.95) -> Interval:
        """Profile-likelihood interval for a level's share of variance at the mean.

        Parameters
        ----------
        level : str
            One of `levels`.
        coverage : float
        """
        odds = self.vpc(level) / (1.0 - self.vpc(level))
        return share_interval(
            lambda size: self.profile(level, size / (1.0 + size)), odds, self.deviance, coverage
        )

    def profile(self, level: str, share: float) -> float:
        """Deviance with a level's share of variance at the mean held, the rest at its best."""
        from scipy.optimize import minimize

        which, stack = self._level(level), self._likelihood.stack
        if not 0.0 <= share < 1.0:
            raise InputError("a share of variance lies between 0 and 1", hint="0.05 is 5%")
        # With the groups' first axis along the mean one number is held, and all others are free.
        basis, size = turned(stack.z_root[0], random_row(self.design, None), which == 1)
        stack = replace(stack, z_root=stack.z_root @ basis)
        likelihood = NestedLikelihood(self.design, self.nesting.codes, stack)
        root = basis.T @ self._likelihood.factor(self._theta)
        found = np.append(lower_factor(root @ root.T)[likelihood.places], self._theta[-1])
        held, other, ratio = ((-1, 0, size), (0, -1, 1.0))[which]
        odds = share / (1.0 - share) / (size if which else 1.0)

        def moved(theta: Array) -> Array:
            theta = theta.copy()
            theta[held] = np.sqrt(odds * (ratio * theta[other] ** 2 + 1.0))
            return theta

        def slope(theta: Array) -> tuple[float, Array]:
            deviance, gradient = likelihood.slope(moved(theta))
            return deviance, differences(moved, theta) @ gradient

        # From a variance of zero no derivative leads away. Another start has no correlations.
        starts = [np.where(np.abs(found) < 0.05, 0.05, found)]
        starts += [np.append(0.3 * np.eye(stack.q)[likelihood.places], 0.3)] * (stack.q > 1)
        return min(float(minimize(slope, x, jac=True, **likelihood.down).fun) for x in starts)

    def tests(self) -> pd.DataFrame:
        """Test of each level: the fall in deviance against the model without it.

        Returns
        -------
        DataFrame
            By level: ``statistic``, ``df``, ``p_value`` on chi-square, and ``p_value_boundary`` on
            the half-and-half mixture, since a variance cannot be negative; NaN where more than one
            term varies over the groups, for which no simple mixture holds.
        """
        without = zip(self.certificate.faces.values(), (1, len(self.design.random)), strict=True)
        tests = [boundary_test(face - self.deviance, k * (k + 1) // 2, k) for face, k in without]
        return pd.DataFrame(tests, index=pd.Index(self.levels, name="level"))

    # -- residuals ------------------------------------------------------------------------------

    def residuals(
        self, level: str = "", *, within: bool = False, lower_is_better: bool = True
    ) -> pd.DataFrame:
        """Residual of each unit, or of each group's intercept.

        Parameters
        ----------
        level : str
            One of `levels`.
        within : bool
            Compare groups with the others of their unit, and not with all groups.
        lower_is_better : bool
            Rank 1, the best, is the lowest residual.

        Returns
        -------
        DataFrame
            By unit or group: n, residual, se (given the estimates), lower, upper and rank.
        """
        at, unit, n = self._at, self._likelihood.unit, self.design.n
        residual, variance, labels = at.kept * at.unit_pull, at.kept, self.nesting.labels
        if self._level(level) == 0:
            n = np.bincount(self.nesting.codes, weights=n).astype(int)
        else:
            factor = self._likelihood.factor(self._theta)
            along = self._likelihood.z_back[0] @ factor
            row, together = factor @ along, 0.0 if within else 1.0
            own = float(along @ along) - np.einsum("a,abj,b->j", row, at.own, row)
            residual = row @ at.pull + together * residual[unit]
            variance = np.maximum(own, 0.0) + variance[unit] * (together - row @ at.ones) ** 2
            back = np.argsort(self._likelihood.order)
            residual, variance, labels = residual[back], variance[back], self.design.groups
        sd = np.sqrt(self.residual_variance)
        columns = ranked(sd * residual, sd * np.sqrt(variance), 1.96, lower_is_better)
        return pd.DataFrame({"n": n, **columns}, index=pd.Index(labels, name=level))


def fit_nested(
    design: DesignMoments, nesting: Nesting, method: Literal["ML", "REML"] = "ML"
) -> NestedFit:
    """Fit a three-level model to the moments of its groups.

    Parameters
    ----------
    design : DesignMoments
        Of the groups, with one random term or more.
    nesting : Nesting
        The unit of each group; two units or more.
    method : {"ML", "REML"}

    Raises
    ------
    InputError
        If there is one unit, every unit has one group, or the two-level model is not identified.
    """
    units = len(nesting.labels)
    if units < 2 or units == len(design.groups):
        why = f"{units} of {nesting.name} cannot be told from {len(design.groups)} groups"
        raise InputError(why, hint="two units are needed at least, and one of them with two groups")
    stack = identified_stack(design, method)
    likelihood = NestedLikelihood(design, nesting.codes, stack)
    theta, without = search(likelihood, solve(stack))
    faces = zip((nesting.name, design.group_name), without, strict=True)
    at, proof = likelihood(theta), certify(likelihood, theta, dict(faces))
    found = (at.deviance, at.variance, proof, likelihood, theta, at)
    return NestedFit(design, nesting, method, *found)
