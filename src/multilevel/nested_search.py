"""The deviance of a three-level model from its groups' moments, and its minimum.

Products of columns through a group's inverse covariance follow from its cross-products, one
rank-one change for each column of the random terms' factor; summed over the groups of a unit, they
take one more for the unit's intercept. So the cost is that of the groups, however many rows they
have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from multilevel.design import DesignMoments, coordinates
from multilevel.errors import InputError
from multilevel.likelihood import Array, Stack, lower_factor
from multilevel.search import Optimum

__all__ = ["NestedLikelihood", "Proof", "Value", "certify", "differences", "prove", "search"]

#: With more groups than these only the most likely start is followed.
_MANY_GROUPS = 600


class Proof(NamedTuple):
    """Why an optimum is believed to be one.

    Attributes
    ----------
    gradient : float
        Largest absolute derivative of the deviance by a free parameter.
    curvature : float
        Least eigenvalue of the Hessian by them; NaN where nothing is free.
    inward : float
        Least derivative into the inside from a variance held at zero; not negative if the optimum
        lies there, NaN where none is held.
    faces : dict of str to float
        Deviance without the variance of each level.
    """

    gradient: float
    curvature: float
    inward: float
    faces: dict[str, float]

    def holds(self, slack: float) -> bool:
        """Whether it is flat but for some slack, bends upwards, and rises into the inside."""
        bent = not self.curvature < -1e-6 and not self.inward < -1e-5
        return bool(self.gradient < slack and bent)


class Value(NamedTuple):
    """The deviance at a point, and what its derivatives and the residuals are made of.

    But for `variance`, the residual variance, all are relative to it. `by_group`, `by_unit` are the
    derivatives by the groups' covariance and the units' variance. Of each group, last axis, `pull`
    is ``Z' V^-1 (y - X beta)``, `own` ``Z' V_j^-1 Z`` and `ones` ``Z' V_j^-1 1``; of each unit,
    `unit_pull` is what ``1' V_j^-1 (y - X beta)`` sums to, and `kept` its variance once its rows
    are known.
    """

    deviance: float
    variance: float
    beta: Array
    inverse: Array
    by_group: Array
    by_unit: float
    pull: Array
    own: Array
    ones: Array
    unit_pull: Array
    kept: Array


def _varied(a: Array, direction: Array) -> tuple[Array, float]:
    """Let the combination `direction` of the first columns vary: products, log determinant."""
    along = np.tensordot(direction, a[: len(direction)], 1)
    grown = 1.0 + direction @ along[: len(direction)]
    return a - along[:, None] * (along / grown), float(np.log(grown).sum())


class NestedLikelihood:
    """The profiled deviance of a design whose groups are put in the order of their units."""

    def __init__(self, design: DesignMoments, codes: Any, stack: Stack) -> None:
        q, p, constant = stack.q, stack.p, design.constant
        if constant is None:
            raise InputError("units vary by their intercept", hint="keep the constant")
        change = np.zeros((len(design.names), q + p + 2))
        change[list(design.random), :q] = np.linalg.inv(stack.z_root[0]).T
        change[constant, q] = 1.0
        change[list(design.fixed), q + 1 : -1] = np.linalg.inv(stack.x_root[0]).T
        change[design.response, -1] = 1.0 / stack.scale[0]
        change[list(design.fixed), -1] -= stack.ols[0] / stack.scale[0]
        change = design.uncentring @ change
        self.order = np.argsort(codes, kind="stable")
        blocks = change.T @ design.products[self.order] @ change
        #: Of each group, last axis, products of the random terms, the constant, X and y.
        self.blocks = np.ascontiguousarray(np.moveaxis(blocks, 0, -1))
        self.unit = np.asarray(codes)[self.order]
        self.starts = np.flatnonzero(np.diff(self.unit, prepend=-1))
        self.places = tuple(np.array(coordinates(q)).T)
        self.q, self.reml = q, stack.reml
        self.dof, self.shift = float(stack.dof[0]), float(stack.shift[0])
        self.unit_variance = float(stack.scale[0]) ** 2

    def factor(self, theta: Array) -> Array:
        """Lay the groups' factor out."""
        out = np.zeros((self.q, self.q))
        out[self.places] = theta[:-1]
        return out

    def __call__(self, theta: Array) -> Value:
        """Evaluate at the groups' factor, column by column, and the root of the units' variance."""
        q, unit, a, log_det = self.q, self.unit, self.blocks, 0.0
        for column in self.factor(theta).T:
            a, gain = _varied(a, column)
            log_det += gain
        sums = np.add.reduceat(a[q:, q:], self.starts, axis=-1)
        left, gain = _varied(sums, theta[-1:])
        total = left[1:, 1:].sum(axis=-1)
        inverse = np.linalg.inv(total[:-1, :-1])
        beta = inverse @ total[:-1, -1]
        squares = float(total[-1, -1] - beta @ total[:-1, -1])
        log_det += gain + self.reml * np.linalg.slogdet(total[:-1, :-1])[1]
        b0, b, contrast = sums[0, 0], sums[0, 1:], np.append(-beta, 1.0)
        grown, weight = 1.0 + theta[-1] ** 2 * b0, self.dof / squares
        kept, unit_pull = theta[-1] ** 2 / grown, contrast @ b
        own, ones = a[:q, :q], a[:q, q]
        pull = np.tensordot(contrast, a[q + 1 :, :q], 1) - (kept * unit_pull)[unit] * ones
        by_group = own.sum(axis=-1) - (ones * kept[unit]) @ ones.T - weight * pull @ pull.T
        by_unit = (b0 / grown).sum() - weight * ((unit_pull / grown) ** 2).sum()
        if self.reml:
            root = np.linalg.cholesky(inverse).T
            x = a[q + 1 : -1, :q] - (kept * b[:-1])[:, None, unit] * ones
            x = np.tensordot(root, x, 1)
            by_group -= np.tensordot(x, x, ((0, 2), (0, 2)))
            by_unit -= ((root @ b[:-1] / grown) ** 2).sum()
        best = self.dof * (np.log(2 * np.pi * squares / self.dof) + 1) + log_det + self.shift
        variance = self.unit_variance * squares / self.dof
        return Value(
            *(float(best), variance, beta, inverse, by_group, float(by_unit)),
            *(pull, own, ones, unit_pull, kept),
        )

    def slope(self, theta: Array) -> tuple[float, Array]:
        """Deviance and its derivatives by `theta`."""
        at = self(theta)
        by_factor = 2.0 * at.by_group @ self.factor(theta)
        return at.deviance, np.append(by_factor[self.places], 2.0 * theta[-1] * at.by_unit)

    def bend(self, theta: Array) -> Array:
        """Second derivatives by `theta`."""
        out = differences(lambda x: self.slope(x)[1], theta)
        return (out + out.T) / 2.0

    def minimise(self, theta: Array) -> Array:
        """Follow one start down; Newton steps give the last digits."""
        from scipy.optimize import minimize

        theta = minimize(self.slope, theta, jac=True, method="BFGS", options={"gtol": 1e-4}).x
        for _ in range(3):
            deviance, slope = self.slope(theta)
            further = theta - np.linalg.lstsq(self.bend(theta), slope)[0]
            if not self(further).deviance <= deviance + 1e-9:
                break
            theta = further
        return theta


def differences(function: Callable[[Array], Array], x: Array) -> Array:
    """Central differences of a function of a vector, one row an element."""
    size = 1e-5 * np.maximum(1.0, np.abs(x))
    rows = [function(x + step) - function(x - step) for step in np.diag(size)]
    return np.array(rows, dtype=float) / (2.0 * size[:, None])


def search(likelihood: NestedLikelihood, lower: Optimum) -> tuple[Array, list[float]]:
    """Follow starts inside, and compare them with the models without units and without groups.

    Parameters
    ----------
    likelihood : NestedLikelihood
    lower : Optimum
        Of the model without units.

    Returns
    -------
    theta : ndarray of shape (k + 1,)
    without : list of float
        Deviance without units, and without groups.
    """
    own = lower_factor(lower.g[0])[likelihood.places]
    size = float(np.mean(np.diagonal(lower.g[0])))
    # From no variance between groups no derivative leads away.
    found = [np.append(own, 0.0), likelihood.minimise(np.append(0.0 * own, 0.3))]
    diagonal = 1e-2 * np.eye(likelihood.q)[likelihood.places]
    starts = [
        np.append(own * np.sqrt(1 - share) + diagonal, np.sqrt(share * size + 1e-3))
        for share in (0.05, 0.5, 0.95)
    ]
    starts.sort(key=lambda theta: likelihood(theta).deviance)
    followed = starts if len(likelihood.unit) <= _MANY_GROUPS else starts[:1]
    found += [likelihood.minimise(start) for start in followed]
    deviances = [likelihood(theta).deviance for theta in found]
    # A face wins where the inside is no better: it has the fewer parameters.
    slack = 1e-9 * (1.0 + abs(min(deviances)))
    best = next(i for i, d in enumerate(deviances) if d <= min(deviances) + slack)
    return found[best], deviances[:2]


def certify(likelihood: NestedLikelihood, theta: Array, faces: dict[str, float]) -> Proof:
    """Look at gradient and curvature where free, and inward where a variance is held at zero."""
    at, free, inward = likelihood(theta), theta != 0.0, np.nan
    if not free[-1]:
        inward = at.by_unit
    if not free[:-1].any():
        inward = float(np.linalg.eigvalsh(at.by_group).min())
    slope, bend = likelihood.slope(theta)[1], likelihood.bend(theta)
    return prove(slope[free], bend[np.ix_(free, free)], inward, faces)


def prove(slope: Array, bend: Array, inward: float, faces: dict[str, float]) -> Proof:
    """Look at slope and curvature by the free parameters."""
    curvature = float(np.linalg.eigvalsh(bend)[0]) if len(bend) else np.nan
    return Proof(float(np.abs(slope).max(initial=0.0)), curvature, inward, faces)
