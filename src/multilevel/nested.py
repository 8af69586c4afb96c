"""Three-level normal models: rows in groups, groups in units; from the groups' moments alone.

With ``V_j`` a group's covariance over the residual variance, ``A_j = W_j' V_j^-1 W_j`` follows from
its cross-products, and what a unit's relative variance ``t`` does to their sum ``B`` is, with ``b``
the column of the constant, ``B - b b' t / (1 + t b0)``. So the cost is that of the groups, however
many rows they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments, coordinates
from multilevel.errors import InputError
from multilevel.identify import identified_stack
from multilevel.intervals import ProfileInterval
from multilevel.levels import Nesting
from multilevel.likelihood import Array, Stack
from multilevel.partition import random_row
from multilevel.search import Optimum, solve

__all__ = ["NestedCertificate", "NestedFit", "fit_nested"]


#: With more groups than these only the most likely start is followed.
MANY = 600


class _Value(NamedTuple):
    """The deviance at a point, and what its derivatives and the residuals are made of.

    All relative to the residual variance. `by_group`, `by_unit` are the derivatives by the groups'
    covariance and the units' variance. Of each group, `pull` is ``Z' V^-1 (y - X beta)``, `own`
    ``Z' V_j^-1 Z`` and `ones` ``Z' V_j^-1 1``; of each unit, `unit_pull` is what ``1' V_j^-1
    (y - X beta)`` sums to, and `kept` ``t / (1 + t b0)``.
    """

    deviance: float
    squares: float
    beta: Array
    inverse: Array
    by_group: Array
    by_unit: float
    pull: Array
    own: Array
    ones: Array
    unit_pull: Array
    kept: Array


class NestedCertificate(NamedTuple):
    """Why the optimum is one.

    Attributes
    ----------
    gradient : float
        Largest absolute derivative by the free parameters.
    curvature : float
        Least eigenvalue of the Hessian by them; NaN where nothing is free.
    inward : float
        Least derivative into the inside from a variance held at zero; NaN where none is.
    faces : dict of str to float
        Deviance without each level.
    """

    gradient: float
    curvature: float
    inward: float
    faces: dict[str, float]


class _Likelihood:
    """The profiled deviance of a design whose groups are put in the order of their units."""

    def __init__(self, design: DesignMoments, codes: Any, stack: Stack) -> None:
        q, p, m = stack.q, stack.p, len(design.names)
        order = np.argsort(codes, kind="stable")
        constant = design.constant
        if constant is None:
            raise InputError("units vary by their intercept", hint="keep the constant")
        change = np.zeros((m, q + p + 2))
        change[list(design.random), :q] = np.linalg.inv(stack.z_root[0]).T
        change[list(design.fixed), q : q + p] = np.linalg.inv(stack.x_root[0]).T
        change[design.response, -2] = 1.0 / stack.scale[0]
        change[list(design.fixed), -2] -= stack.ols[0] / stack.scale[0]
        change[constant, -1] = 1.0
        change = design.uncentring @ change
        self.blocks = change.T @ design.products[order] @ change
        self.unit = np.asarray(codes)[order]
        self.starts = np.flatnonzero(np.diff(self.unit, prepend=-1))
        self.q, self.p, self.order = q, p, order
        self.dof, self.shift, self.reml = float(stack.dof[0]), float(stack.shift[0]), stack.reml

    def __call__(self, theta: Array, held: float | None = None) -> _Value:
        """Evaluate at the groups' factor, column by column, and the root of the units' variance.

        The residual variance is at its best, or such that ``squares / dof`` would be `held`.
        """
        q, p, blocks, unit = self.q, self.p, self.blocks, self.unit
        factor, t = self.factor(theta), float(theta[-1]) ** 2
        root = np.linalg.cholesky(np.eye(q) + factor.T @ blocks[:, :q, :q] @ factor)
        half = np.linalg.solve(root, factor.T @ blocks[:, :q, :])
        a = blocks - half.swapaxes(1, 2) @ half
        sums = np.add.reduceat(a[:, q:, q:], self.starts, axis=0)
        b, b0 = sums[:, :-1, -1], sums[:, -1, -1]
        kept = t / (1.0 + t * b0)
        total = sums[:, :-1, :-1].sum(axis=0) - (b * kept[:, None]).T @ b
        inverse = np.linalg.inv(total[:p, :p])
        beta = inverse @ total[:p, p]
        squares = float(total[p, p] - beta @ total[:p, p])
        log_det = 2.0 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum()
        log_det += np.log1p(t * b0).sum() + self.reml * np.linalg.slogdet(total[:p, :p])[1]
        contrast = np.append(-beta, 1.0)
        ones, own, unit_pull = a[:, -1, :q], a[:, :q, :q], b @ contrast
        pull = contrast @ a[:, q:-1, :q] - (kept * unit_pull)[unit, None] * ones
        weight = self.dof / (held or squares)
        by_group = own.sum(axis=0) - (ones * kept[unit, None]).T @ ones - weight * pull.T @ pull
        by_unit = (b0 / (1.0 + t * b0)).sum() - weight * ((unit_pull / (1.0 + t * b0)) ** 2).sum()
        if self.reml:
            x = a[:, q : q + p, :q] - b[unit, :p, None] * (kept[unit, None] * ones)[:, None, :]
            by_group -= np.einsum("jpa,pr,jrb->ab", x, inverse, x)
            lost = np.einsum("sp,pr,sr->s", b[:, :p], inverse, b[:, :p])
            by_unit -= (lost / (1.0 + t * b0) ** 2).sum()
        best = self.dof * (np.log(2 * np.pi * squares / self.dof) + 1) + log_det + self.shift
        return _Value(
            *(float(best), squares, beta, inverse, by_group, float(by_unit)),
            *(pull, own, ones, unit_pull, kept),
        )

    def factor(self, theta: Array) -> Array:
        """Lay the groups' factor out."""
        out = np.zeros((self.q, self.q))
        out[tuple(zip(*coordinates(self.q), strict=True))] = theta[:-1]
        return out

    def slope(self, theta: Array, held: float | None = None) -> tuple[float, Array]:
        """Deviance and its derivatives by `theta`."""
        at = self(theta, held)
        by_factor = 2.0 * at.by_group @ self.factor(theta)
        places = [by_factor[place] for place in coordinates(self.q)]
        return at.deviance, np.array([*places, 2.0 * theta[-1] * at.by_unit])

    def gradient(self, theta: Array, held: float | None = None) -> Array:
        """Differentiate the deviance by `theta`."""
        return self.slope(theta, held)[1]


def _minimise(likelihood: _Likelihood, theta: Array) -> Array:
    """Follow one start down; Newton steps at the end."""
    from scipy.optimize import minimize

    options = {"gtol": 1e-4}
    theta = minimize(likelihood.slope, theta, jac=True, method="BFGS", options=options).x
    for _ in range(6):
        deviance, gradient = likelihood.slope(theta)
        hessian = _jacobian(likelihood.gradient, theta)
        if np.linalg.eigvalsh(hessian).min() <= 0:
            break
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step < 1e-12 or likelihood(theta - step).deviance > deviance + 1e-9:
            break
        theta = theta - step
    return theta


def _differences(function: Any, x: Array) -> Array:
    """Central differences of a function of a vector, one row an element."""
    size = 1e-5 * np.maximum(1.0, np.abs(x))
    steps = zip(size, np.eye(len(x)), strict=True)
    rows = [(function(x + h * e) - function(x - h * e)) / (2 * h) for h, e in steps]
    out: Array = np.array(rows, dtype=float)
    return out


def _jacobian(gradient: Any, x: Array) -> Array:
    """Differentiate a gradient; the result is symmetric."""
    square = _differences(gradient, x).reshape(len(x), len(x))
    out: Array = (square + square.T) / 2
    return out


def _root(covariance: Array) -> Array:
    """Lower-triangular factor of a covariance, singular or not."""
    values, vectors = np.linalg.eigh(covariance)
    upper: Array = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T)[1]
    out: Array = upper.T * np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    return out


@dataclass(frozen=True)
class NestedFit:
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
    certificate : NestedCertificate
    """

    design: DesignMoments
    nesting: Nesting
    method: Literal["ML", "REML"]
    deviance: float
    residual_variance: float
    certificate: NestedCertificate
    _likelihood: _Likelihood
    _stack: Stack
    _theta: Array

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
        held = np.linalg.matrix_rank(self._relative, tol=1e-10) < len(self.design.random)
        return bool(held or self._theta[-1] == 0.0)

    @property
    def converged(self) -> bool:
        """Whether the optimum is certified."""
        proof = self.certificate
        flat = proof.gradient < 1e-4 and not proof.curvature < -1e-6
        return bool(flat and not proof.inward < -1e-5)

    @cached_property
    def _at(self) -> _Value:
        return self._likelihood(self._theta)

    @cached_property
    def _relative(self) -> Array:
        """Covariance of the groups' terms over the residual variance, in raw units."""
        return self._raw(self._theta)

    def _raw(self, theta: Array) -> Array:
        back = np.linalg.inv(self._stack.z_root[0]).T @ self._likelihood.factor(theta)
        out: Array = back @ back.T
        return out

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Fixed coefficients by term: estimate, se, z and two-sided p_value (normal)."""
        from scipy.stats import norm

        stack = self._stack
        back = np.linalg.inv(stack.x_root[0]).T
        estimate = stack.ols[0] + stack.scale[0] * back @ self._at.beta
        variance = self.residual_variance * back @ self._at.inverse @ back.T
        se = np.sqrt(np.diagonal(variance))
        z = estimate / se
        columns = {"estimate": estimate, "se": se, "z": z, "p_value": 2 * norm.sf(np.abs(z))}
        return pd.DataFrame(columns, index=pd.Index(self.design.fixed_names, name="term"))

    @cached_property
    def components(self) -> pd.DataFrame:
        """Variances and covariances: level, term, other, estimate and se, the residual last.

        Standard errors are from the observed information, and NaN on the boundary.
        """
        unit, group = self.levels
        names = self.design.random_names
        rows = [(unit, "Intercept", "")]
        rows += [(group, names[j], names[i] if i > j else "") for i, j in coordinates(len(names))]
        rows += [("residual", "", "")]
        point = np.append(self._theta, np.log(self.residual_variance))
        table = pd.DataFrame(rows, columns=["level", "term", "other"])
        return table.assign(estimate=self._natural(point), se=self._component_se(point))

    def _natural(self, point: Array) -> Array:
        variance = float(np.exp(point[-1]))
        relative = self._raw(point[:-1])
        groups = [relative[c] for c in coordinates(len(self.design.random))]
        return variance * np.array([point[-2] ** 2, *groups, 1.0])

    def _component_se(self, point: Array) -> Array:
        likelihood, scale = self._likelihood, float(self._stack.scale[0]) ** 2

        def gradient(x: Array) -> Array:
            held = float(np.exp(x[-1])) / scale * likelihood.dof
            by_variance = likelihood.dof * (1.0 - likelihood(x[:-1]).squares / held)
            return np.append(likelihood.gradient(x[:-1], held), by_variance)

        free = point != 0.0
        hessian = _jacobian(gradient, point)[np.ix_(free, free)]
        by_point = _differences(self._natural, point)[free]
        variance = np.einsum("ia,ij,ja->a", by_point, 2.0 * np.linalg.inv(hessian), by_point)
        flat = np.linalg.matrix_rank(self._relative, tol=1e-10) < len(self.design.random)
        held = np.array([not free[-2], *[flat] * (len(point) - 2), False])
        return np.where(held, np.nan, np.sqrt(variance))

    # -- shares of variance ---------------------------------------------------------------------

    def _level(self, level: str) -> int:
        if level not in self.levels:
            raise InputError(
                f"there is no level {level!r}", hint=f"choose from {' and '.join(self.levels)}"
            )
        return self.levels.index(level)

    def _variances(self, theta: Array, at: Mapping[str, float] | str | None) -> tuple[float, float]:
        row = random_row(self.design, at)
        return float(theta[-1] ** 2), float(row @ self._raw(theta) @ row)

    def vpc(self, level: str, at: Mapping[str, float] | str | None = None) -> float:
        """Share of variance that lies between the units, or between the groups of a unit.

        Parameters
        ----------
        level : str
            One of `levels`.
        at : mapping of str to float, or "mean", optional
            Values of the random terms' predictors; their means unless given.
        """
        variances = self._variances(self._theta, at)
        return variances[self._level(level)] / (sum(variances) + 1.0)

    def profile_interval(self, level: str, coverage: float = 0.95) -> ProfileInterval:
        """Profile-likelihood interval for a level's share of variance at the mean.

        Parameters
        ----------
        level : str
            One of `levels`.
        coverage : float
        """
        from scipy.optimize import brentq
        from scipy.stats import chi2

        which, estimate = self._level(level), self.vpc(level)
        ceiling = float(chi2.ppf(coverage, 1))

        def rise(share: float) -> float:
            return self._held(which, share) - self.deviance

        def bound(low: float, high: float) -> float:
            return float(brentq(lambda s: rise(s) - ceiling, low, high, xtol=1e-6))

        lower = 0.0 if rise(0.0) <= ceiling else bound(0.0, max(estimate, 1e-9))
        upper = bound(estimate, 1.0 - 1e-6)
        shares = np.unique([*np.linspace(lower, upper, 15), estimate])
        curve = pd.DataFrame({"vpc": shares, "rise": [max(rise(s), 0.0) for s in shares]})
        return ProfileInterval(estimate, lower, upper, coverage, curve)

    def _held(self, which: int, share: float) -> float:
        """Deviance with a level's share of variance held, the rest at its best."""
        from scipy.optimize import minimize

        odds = share / (1.0 - share)

        def deviance(x: Array) -> float:
            theta = x.copy()
            unit, group = self._variances(theta, None)
            if which == 0:
                theta[-1] = np.sqrt(odds * (group + 1.0))
            else:
                theta[:-1] *= np.sqrt(odds * (unit + 1.0) / group) if group > 0 else 0.0
            return self._likelihood(theta).deviance

        starts = (self._theta + 1e-3, self._theta + 0.1)
        return float(min(minimize(deviance, s, method="BFGS").fun for s in starts))

    def tests(self) -> pd.DataFrame:
        """Test of each level: the fall in deviance against the model without it.

        Returns
        -------
        DataFrame
            By level: ``statistic``, ``df``, ``p_value`` on chi-square, and ``p_value_boundary`` on
            the half-and-half mixture, since a variance cannot be negative; NaN where more than one
            term varies over the groups, for which no simple mixture holds.
        """
        from scipy.stats import chi2

        rows = {}
        for level, deviance in self.certificate.faces.items():
            terms = 1 if level == self.nesting.name else len(self.design.random)
            statistic, df = max(deviance - self.deviance, 0.0), terms * (terms + 1) // 2
            p = float(chi2.sf(statistic, df))
            mixed = p / 2 if statistic > 0 else 1.0
            rows[level] = [statistic, df, p, mixed if terms == 1 else np.nan]
        columns = ["statistic", "df", "p_value", "p_value_boundary"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("level")

    # -- residuals ------------------------------------------------------------------------------

    def residuals(
        self, level: str, *, within: bool = False, lower_is_better: bool = True
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
        from scipy.stats import rankdata

        at, unit = self._at, self._likelihood.unit
        size = float(self._stack.scale[0])
        shift = at.kept * at.unit_pull
        if self._level(level) == 0:
            residual, variance = shift, at.kept
            n = np.bincount(self.nesting.codes, weights=self.design.n).astype(int)
            labels = self.nesting.labels
        else:
            factor = np.linalg.inv(self._stack.z_root[0]).T[0] @ self._likelihood.factor(
                self._theta
            )
            row = self._likelihood.factor(self._theta) @ factor
            toward = at.ones @ row
            own = float(factor @ factor) - np.einsum("a,jab,b->j", row, at.own, row)
            unsure = (0.0 if within else 1.0) - toward
            residual = at.pull @ row + (0.0 if within else shift[unit])
            variance = np.maximum(own, 0.0) + at.kept[unit] * unsure**2
            back = np.argsort(self._likelihood.order)
            residual, variance = residual[back], variance[back]
            n, labels = self.design.n, self.design.groups
        error = np.sqrt(self.residual_variance * variance)
        residual = size * residual
        table = {"n": n, "residual": residual, "se": error}
        table |= {"lower": residual - 1.96 * error, "upper": residual + 1.96 * error}
        table["rank"] = rankdata(residual if lower_is_better else -residual)
        return pd.DataFrame(table, index=pd.Index(labels, name=level))


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
        raise InputError(
            f"{units} of {nesting.name} cannot be told from {len(design.groups)} groups",
            hint="two units are needed at least, and one of them with two groups",
        )
    stack = identified_stack(design, reml=method == "REML")
    likelihood = _Likelihood(design, nesting.codes, stack)
    theta, without = _search(likelihood, solve(stack))
    faces = dict(zip((nesting.name, design.group_name), without, strict=True))
    value = likelihood(theta)
    variance = float(stack.scale[0]) ** 2 * value.squares / likelihood.dof
    proof = _certify(likelihood, theta, faces)
    return NestedFit(
        design, nesting, method, value.deviance, variance, proof, likelihood, stack, theta
    )


def _search(likelihood: _Likelihood, lower: Optimum) -> tuple[Array, list[float]]:
    """Follow starts inside, and compare them with the models without units and without groups."""
    root, places = _root(lower.g[0]), coordinates(likelihood.q)
    own = np.array([root[place] for place in places])
    size = float(np.mean(np.diagonal(lower.g[0])))
    # From no variance between groups no derivative leads away.
    found = [np.append(own, 0.0), _minimise(likelihood, np.append(0.0 * own, 0.3))]
    diagonal = 1e-2 * np.array([i == j for i, j in places])
    starts = [
        np.append(own * np.sqrt(1 - share) + diagonal, np.sqrt(share * size + 1e-3))
        for share in (0.05, 0.5, 0.95)
    ]
    starts.sort(key=lambda theta: likelihood(theta).deviance)
    followed = starts if len(likelihood.unit) <= MANY else starts[:1]
    found += [_minimise(likelihood, start) for start in followed]
    deviances = [likelihood(theta).deviance for theta in found]
    # A face wins where the inside is no better: it has the fewer parameters.
    slack = 1e-9 * (1.0 + abs(min(deviances)))
    best = next(i for i, d in enumerate(deviances) if d <= min(deviances) + slack)
    return found[best], deviances[:2]


def _certify(likelihood: _Likelihood, theta: Array, faces: dict[str, float]) -> NestedCertificate:
    """Look at gradient and curvature where free, and inward where a variance is held at zero."""
    at, free, inward = likelihood(theta), theta != 0.0, np.nan
    if not free[-1]:
        inward = at.by_unit
    if not free[:-1].any():
        inward = float(np.linalg.eigvalsh(at.by_group).min())

    def gradient(x: Array) -> Array:
        full = theta.copy()
        full[free] = x
        out: Array = likelihood.gradient(full)[free]
        return out

    slope, hessian = gradient(theta[free]), _jacobian(gradient, theta[free])
    curvature = float(np.linalg.eigvalsh(hessian).min()) if free.any() else np.nan
    return NestedCertificate(float(np.abs(slope).max(initial=0.0)), curvature, inward, faces)
