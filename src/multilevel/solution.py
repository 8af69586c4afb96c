"""What a search found, as a record: the base on which residuals, intervals and tables stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments
from multilevel.likelihood import Array, Pieces, Stack, pieces
from multilevel.search import Optimum
from multilevel.spread import Spread


def coefficient_table(names: Sequence[str], estimate: Array, se: Array) -> pd.DataFrame:
    """Coefficients by term: estimate, se, z and two-sided p_value (normal)."""
    from scipy.stats import norm

    z = estimate / se
    columns = {"estimate": estimate, "se": se, "z": z, "p_value": 2.0 * norm.sf(np.abs(z))}
    return pd.DataFrame(columns, index=pd.Index(names, name="term"))


class Ingredients(NamedTuple):
    """Per-group pieces in raw units that residuals and variances are made of.

    Attributes
    ----------
    relative : ndarray of shape (q, q)
        Covariance of the random terms over the residual variance.
    c : ndarray of shape (J, q, q)
        ``Z' V^-1 Z`` with ``V`` relative to the residual variance.
    cx : ndarray of shape (J, q, p)
        ``Z' V^-1 X``.
    e : ndarray of shape (J, q)
        ``Z' V^-1 (y - X beta)``.
    inverse : ndarray of shape (p, p)
        ``(X' V^-1 X)^-1``.
    """

    relative: Array
    c: Array
    cx: Array
    e: Array
    inverse: Array


@dataclass(frozen=True, repr=False)
class Solution:
    """The optimum of one design, and the numbers that follow from it.

    Attributes
    ----------
    design : DesignMoments
        What was fitted.
    method : {"ML", "REML"}
    stack : Stack
        The design standardised, alone in its stack.
    optimum : Optimum
        What the search found.
    spread : Spread, optional
        How the residual standard deviation depends on a predictor, where it does.
    """

    #: What a refusal calls it.
    called: ClassVar[str] = "a two-level fit of fit_mixed"
    design: DesignMoments
    method: Literal["ML", "REML"]
    stack: Stack = field(repr=False)
    optimum: Optimum = field(repr=False)
    spread: Spread | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        y = self.design.names[self.design.response]
        return (
            f"<{type(self).__name__} of {y} by {self.method}: {self.n:,} rows, {self.n_groups:,} "
            f"groups, deviance {self.deviance:.3f}>"
        )

    @cached_property
    def pieces(self) -> Pieces:
        """Per-group pieces in standardised units, with a leading axis of one."""
        return pieces(self.stack, self.optimum.g)

    @cached_property
    def ingredients(self) -> Ingredients:
        """Per-group pieces in raw units, from which everything else is computed."""
        at, stack = self.pieces, self.stack
        z_root, x_root = stack.z_root[0], stack.x_root[0]
        z_back, x_back = np.linalg.inv(z_root).T, np.linalg.inv(x_root).T
        return Ingredients(
            relative=z_back @ self.optimum.g[0] @ z_back.T,
            c=z_root @ at.c[0] @ z_root.T,
            cx=z_root @ at.cx[0] @ x_root.T,
            e=float(stack.scale[0]) * at.e[0] @ z_root.T,
            inverse=x_back @ at.inverse[0] @ x_back.T,
        )

    @property
    def deviance(self) -> float:
        """Minus twice the log-likelihood; the REML criterion when the method is REML."""
        return float(self.optimum.deviance[0]) + (self.spread.log_scale if self.spread else 0.0)

    @cached_property
    def residual_variance(self) -> float:
        """Variance of rows around their group's line; sigma squared where `spread` is given."""
        return float(self.stack.scale[0] ** 2 * self.pieces.squares[0] / self.stack.dof[0])

    @cached_property
    def coefficients(self) -> Array:
        """Fixed coefficients as an array of shape (p,)."""
        stack = self.stack
        back = np.linalg.inv(stack.x_root[0]).T @ self.pieces.beta[0]
        return np.asarray(stack.ols[0] + stack.scale[0] * back)

    @property
    def n(self) -> int:
        """Rows."""
        return self.design.n_total

    @property
    def n_groups(self) -> int:
        """Groups."""
        return len(self.design.groups)

    @property
    def n_parameters(self) -> int:
        """Fixed coefficients, variances and covariances, and delta where `spread` is given."""
        q = len(self.design.random)
        return len(self.design.fixed) + q * (q + 1) // 2 + 1 + (self.spread is not None)

    @property
    def converged(self) -> bool:
        """Whether the optimum is certified."""
        return bool(self.optimum.converged[0])

    @property
    def singular(self) -> bool:
        """Whether a variance is zero or a correlation one, so that the fit is on the boundary."""
        return int(self.optimum.rank[0]) < len(self.design.random)

    @property
    def aic(self) -> float:
        """Akaike's criterion: deviance plus twice the number of parameters."""
        return self.deviance + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion: deviance plus log(rows) times the number of parameters."""
        return self.deviance + float(np.log(self.n)) * self.n_parameters

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Fixed coefficients by term: estimate, se, z and two-sided p_value (normal)."""
        se = np.sqrt(self.residual_variance * np.diagonal(self.ingredients.inverse))
        return coefficient_table(self.design.fixed_names, self.coefficients, se)

    @cached_property
    def random_covariance(self) -> pd.DataFrame:
        """Covariance of the random terms, q x q, in raw units."""
        names = list(self.design.random_names)
        values = self.residual_variance * self.ingredients.relative
        return pd.DataFrame(values, index=names, columns=names)

    @cached_property
    def random_correlation(self) -> pd.DataFrame:
        """Correlation of the random terms, q x q; NaN where a variance is zero."""
        sd = np.sqrt(np.diagonal(self.random_covariance))
        return self.random_covariance.div(np.outer(sd, sd)).clip(-1.0, 1.0)
