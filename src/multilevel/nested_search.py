"""The deviance of a three-level model from its groups' moments, and its minimum.

Products of columns through a group's inverse covariance follow from its cross-products, one
rank-one change for each column of the random terms' factor; summed over the groups of a unit, they
take one more for the unit's intercept. So the cost is that of the groups, however many rows they
have.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np

from multilevel.design import DesignMoments, coordinates
from multilevel.errors import InputError
from multilevel.likelihood import Array, Stack, lower_factor
from multilevel.search import MANY_GROUPS, Optimum, standard_starts


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
        return self.gradient < slack and not (self.curvature < -1e-6 or self.inward < -1e-5)


class Value(NamedTuple):
    """The deviance at a point, and what its derivatives and the residuals are made of.

    But for `variance`, the residual variance, all are relative to it. `by_group`, `by_unit` are the
    derivatives by the groups' covariance and the units' variance. Of each group, last axis, `pull`
    is ``Z' V^-1 (y - X beta)``, `own` ``Z' V_j^-1 Z`` and `ones` ``Z' V_j^-1 1``; of each unit,
    `unit_pull` is what ``1' V_j^-1 (y - X beta)`` sums to, and `kept` its variance once its rows
    are known. The response is in standard deviations of the residual.
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

    #: How it is followed down; another of SciPy's ways prints warnings from threads.
    down: ClassVar[Any] = {"method": "L-BFGS-B", "options": {"gtol": 1e-5, "ftol": 1e-13}}

    def __init__(self, design: DesignMoments, codes: Any, stack: Stack) -> None:
        q, p, constant = stack.q, stack.p, design.constant
        if constant is None:
            raise InputError("units vary by their intercept", hint="keep the constant")
        #: What turns standardised random and fixed terms into raw ones.
        self.z_back, self.x_back = (np.linalg.inv(r[0]).T for r in (stack.z_root, stack.x_root))
        change = np.zeros((len(design.names), q + p + 2))
        change[list(design.random), :q] = self.z_back
        change[constant, q] = 1.0
        change[list(design.fixed), q + 1 : -1] = self.x_back
        change[design.response, -1] = 1.0 / stack.scale[0]
        change[list(design.fixed), -1] -= stack.ols[0] / stack.scale[0]
        change = design.uncentring @ change
        self.order = np.argsort(codes, kind="stable")
        blocks = change.T @ design.products[self.order] @ change
        #: Of each group, last axis, products of the random terms, the constant, X and y.
        self.blocks = np.ascontiguousarray(np.moveaxis(blocks, 0, -1))
        self.stack, self.unit = stack, np.asarray(codes)[self.order]
        self.starts = np.flatnonzero(np.diff(self.unit, prepend=-1))
        self.places = tuple(np.array(coordinates(q)).T)

    def factor(self, theta: Array) -> Array:
        """Lay the groups' factor out."""
        out = np.zeros((self.stack.q, self.stack.q))
        out[self.places] = theta[:-1]
        return out

    def __call__(self, theta: Array) -> Value:
        """Evaluate at the groups' factor, column by column, and the root of the units' variance."""
        q, unit, a, log_det = self.stack.q, self.unit, self.blocks, 0.0
        for column in self.factor(theta).T:
            a, gain = _varied(a, column)
            log_det += gain
        sums = np.add.reduceat(a[q:, q:], self.starts, axis=-1)
        left, gain = _varied(sums, theta[-1:])
        total = left[1:, 1:].sum(axis=-1)
        inverse = np.linalg.inv(total[:-1, :-1])
        beta = inverse @ total[:-1, -1]
        squares, dof = float(total[-1, -1] - beta @ total[:-1, -1]), float(self.stack.dof[0])
        log_det += gain + self.stack.reml * np.linalg.slogdet(total[:-1, :-1])[1]
        # What is left of y, and under REML combinations of X without correlation.
        contrasts = np.append(-beta, 1.0)[:, None] * (dof / squares) ** 0.5
        if self.stack.reml:
            root = np.linalg.cholesky(inverse)
            contrasts = np.hstack([contrasts, np.pad(root, ((0, 1), (0, 0)))])
        grown, own, ones = 1.0 + theta[-1] ** 2 * sums[0, 0], a[:q, :q], a[:q, q]
        kept, by_unit = theta[-1] ** 2 / grown, contrasts.T @ sums[0, 1:]
        pull = np.tensordot(contrasts.T, a[q + 1 :, :q], 1) - (kept * by_unit)[:, None, unit] * ones
        by_group = own.sum(axis=-1) - (ones * kept[unit]) @ ones.T
        by_group -= np.tensordot(pull, pull, ((0, 2), (0, 2)))
        slope = float((sums[0, 0] / grown).sum() - ((by_unit / grown) ** 2).sum())
        best = dof * (np.log(2 * np.pi * squares / dof) + 1) + log_det + self.stack.shift[0]
        variance = float(self.stack.scale[0]) ** 2 * squares / dof
        whole = (float(best), variance, beta, inverse, by_group, slope)
        return Value(*whole, pull[0], own, ones, by_unit[0], kept)

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

        theta = minimize(self.slope, theta, jac=True, **self.down).x
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
    own, many = lower_factor(lower.g[0])[likelihood.places], len(likelihood.unit) > MANY_GROUPS
    # From no variance between groups no derivative leads away.
    found = [np.append(own, 0.0), likelihood.minimise(np.append(0.0 * own, 0.3))]
    # The likeliest of each size of the units' variance and each sign of the groups' correlations.
    likeliest: dict[Any, tuple[float, list[float]]] = {}
    table = standard_starts(likelihood.stack.q, many)[:-3]
    for root, factor in product((0.1, 0.7, 5.0, 30.0), table):
        start, kind = np.append(factor[likelihood.places], root), (root, *np.sign(factor).flat)
        reached = likelihood(start).deviance, start.tolist()
        likeliest[kind] = min(likeliest.get(kind, reached), reached)
    starts = [np.array(start) for _, start in sorted(likeliest.values())]
    found += [likelihood.minimise(start) for start in starts[: 1 if many else None]]
    deviances = [likelihood(theta).deviance for theta in found]
    # A face wins where the inside is no better: it has the fewer parameters.
    slack = 1e-9 * (1.0 + abs(min(deviances)))
    best = next(i for i, d in enumerate(deviances) if d <= min(deviances) + slack)
    return found[best], deviances[:2]


def certify(likelihood: NestedLikelihood, theta: Array, faces: dict[str, float]) -> Proof:
    """Look at gradient and curvature where free, and inward where a variance is held at zero."""
    at, free, inward = likelihood(theta), theta != 0.0, []
    if not free[-1]:
        inward.append(at.by_unit)
    if not free[:-1].any():
        inward += np.linalg.eigvalsh(at.by_group).tolist()
    slope, bend = likelihood.slope(theta)[1], likelihood.bend(theta)
    return prove(slope[free], bend[np.ix_(free, free)], min(inward, default=np.nan), faces)


def prove(slope: Array, bend: Array, inward: float, faces: dict[str, float]) -> Proof:
    """Look at slope and curvature by the free parameters."""
    curvature = float(np.linalg.eigvalsh(bend)[0]) if len(bend) else np.nan
    return Proof(float(np.abs(slope).max(initial=0.0)), curvature, inward, faces)
