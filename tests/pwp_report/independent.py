"""Mixed models once more, by NumPy and SciPy alone: what the tests hold a report against.

Nothing here is of the packages under test. The linear model is that of Bates, Mächler, Bolker and
Walker (2015, Journal of Statistical Software 67): the deviance profiled over the factor of the
random terms' relative covariance, minimised without derivatives. The logistic one is integrated by
adaptive Gauss-Hermite quadrature. `tests/reference/five_kinds.R` has lme4's figures of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import chi2

Array = Any
_TIGHT = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4_000, "maxfev": 4_000}


def one(theta: Array) -> Array:
    """Factor of a random intercept."""
    return np.reshape(theta[:1], (1, 1))


def slope(theta: Array) -> Array:
    """Factor of an intercept and a slope that may go together."""
    return np.array([[theta[0], 0.0], [theta[1], theta[2]]])


def nested(upper: int, lower: int) -> Callable[[Array], Array]:
    """Give the factor of intercepts of units and of the groups in them."""
    return lambda theta: np.diag(np.repeat(theta[:2], [upper, lower]))


@dataclass
class At:
    """What the linear model comes to at one factor."""

    deviance: float
    beta: Array
    unscaled: Array
    sigma2: float
    v: Array
    inverse: Array
    pull: Array


class Linear:
    """A linear mixed model: rows, fixed columns, and random columns by block of rows."""

    def __init__(
        self,
        y: Array,
        x: Array,
        z: Array,
        block: Array,
        factor: Callable[[Array], Array],
        reml: bool = False,
    ) -> None:
        self.y, self.x, self.z = (np.asarray(a, dtype=float) for a in (y, x, z))
        self.block, self.labels = pd.factorize(np.asarray(block), sort=True)
        self.factor, self.reml = factor, reml
        self._own_sums()

    def _own_sums(self) -> None:
        both = np.column_stack([self.x, self.y])
        order = np.argsort(self.block, kind="stable")
        starts = np.searchsorted(self.block[order], np.arange(len(self.labels)))
        self.n_of = np.bincount(self.block)
        ends = np.append(starts[1:], len(order))
        parts = [order[a:b] for a, b in zip(starts, ends, strict=True)]
        self.zz = np.stack([self.z[i].T @ self.z[i] for i in parts])
        self.zx = np.stack([self.z[i].T @ both[i] for i in parts])
        self.xx_of = np.stack([both[i].T @ both[i] for i in parts])
        self.kept = np.arange(len(parts))
        self._total()

    def _total(self) -> None:
        self.xx, self.n = self.xx_of[self.kept].sum(axis=0), int(self.n_of[self.kept].sum())

    def of_blocks(self, kept: Array) -> Linear:
        """Give the same model of these blocks, some perhaps twice."""
        other = object.__new__(Linear)
        other.__dict__.update(self.__dict__)
        other.kept = np.asarray(kept)
        other._total()
        return other

    def at(self, theta: Array) -> At:
        """Solve the model at a factor."""
        factor = self.factor(np.asarray(theta, dtype=float))
        zz, zx = self.zz[self.kept], self.zx[self.kept]
        left = factor.T @ zz @ factor + np.eye(len(factor))
        right = factor.T @ zx
        inverse = np.linalg.inv(left)
        pull = inverse @ right
        root = np.log(np.diagonal(np.linalg.cholesky(left), axis1=1, axis2=2)).sum()
        s = self.xx - np.einsum("bqi,bqj->ij", right, pull)
        p = len(s) - 1
        beta = np.linalg.solve(s[:p, :p], s[:p, p])
        squares = s[p, p] - s[:p, p] @ beta
        dof = self.n - p * self.reml
        deviance = 2 * root + dof * (1 + np.log(2 * np.pi * squares / dof))
        if self.reml:
            deviance += np.linalg.slogdet(s[:p, :p])[1]
        v = pull[..., p] - pull[..., :p] @ beta
        unscaled = np.linalg.inv(s[:p, :p])
        return At(float(deviance), beta, unscaled, squares / dof, v, inverse, pull[..., :p])

    def deviance(self, theta: Array) -> float:
        """-2 log-likelihood, or that of the residuals, at a factor."""
        return self.at(theta).deviance

    def fit(self, *starts: Sequence[float]) -> Fitted:
        """Minimise the deviance from several starts."""
        size = {one: 1, slope: 3}.get(self.factor, 2)
        usual = {
            1: [[0.3]],
            2: [[0.2, 0.3]],
            3: [[0.3, 0.0, 0.1], [0.6, 0.1, 0.02], [0.3, -0.02, 0.01]],
        }
        size = {one: 1, slope: 3}.get(self.factor, 2)
        firsts = starts or usual[size]
        found = [minimize(self.deviance, f, method="Nelder-Mead", options=_TIGHT) for f in firsts]
        best = min(found, key=lambda f: f.fun)
        again = minimize(self.deviance, best.x, method="Nelder-Mead", options=_TIGHT)
        theta = min(best, again, key=lambda f: f.fun).x
        zero = np.where(np.abs(theta) < 1e-4, 0.0, theta)
        theta = zero if self.deviance(zero) <= self.deviance(theta) + 1e-7 else theta
        return Fitted(self, theta, self.at(theta))

    def held(self, change: Callable[[Array], Array], start: Array) -> float:
        """Deviance with something held: `change` puts what is free in its place."""
        if not len(start):
            return self.deviance(change(start))
        how = {"xatol": 1e-5, "fatol": 1e-6}
        found = [
            minimize(lambda free: self.deviance(change(free)), s, method="Nelder-Mead", options=how)
            for s in (np.where(np.abs(start) < 0.01, 0.01, start), np.full(len(start), -0.03))
        ]
        return float(min(f.fun for f in found))


@dataclass
class Fitted:
    """A linear model at its optimum."""

    model: Linear
    theta: Array
    found: At

    @property
    def deviance(self) -> float:
        """Of the optimum."""
        return self.found.deviance

    @property
    def sigma2(self) -> float:
        """Residual variance."""
        return self.found.sigma2

    @property
    def beta(self) -> Array:
        """Fixed part."""
        return self.found.beta

    @property
    def se(self) -> Array:
        """Standard errors of the fixed part."""
        return np.sqrt(self.sigma2 * np.diag(self.found.unscaled))

    @property
    def covariance(self) -> Array:
        """Of the random terms."""
        factor = self.model.factor(self.theta)
        return self.sigma2 * factor @ factor.T

    @property
    def between(self) -> float:
        """Variance of the intercepts."""
        return float(self.covariance[0, 0])

    def share(self, which: int = 0) -> float:
        """Share of variance of a level, of 0 to 1, at the mean of the slope's column."""
        squares = self.theta**2 if self.model.factor is not slope else self.theta[:1] ** 2
        return float(squares[which] / (1 + squares.sum()))

    def share_at_mean(self) -> float:
        """Share of a random slope model at the mean of the rows that it was fitted to."""
        kept = self.model.kept
        mean = self.model.zz[kept, 0, 1].sum() / self.model.n
        along = np.array([1.0, mean]) @ slope(self.theta)
        return float(along @ along / (1 + along @ along))

    def effects(self, term: int = 0) -> tuple[Array, Array, Array]:
        """Effects of the blocks, their own variance, and loadings on the fixed part's errors."""
        factor = self.model.factor(self.theta)
        u = self.found.v @ factor.T
        own = self.sigma2 * factor @ self.found.inverse @ factor.T
        loads = factor @ self.found.pull
        return u[:, term], own[:, term, term], loads[:, term]

    def joint(self, term: int = 0) -> Array:
        """Covariance of the errors of the blocks' effects, those of the fixed part included."""
        _, own, loads = self.effects(term)
        return np.diag(own) + self.sigma2 * loads @ self.found.unscaled @ loads.T

    def standardised(self, term: int = 0) -> Array:
        """Effects over their own standard deviations, NaN where these are zero."""
        u, own, loads = self.effects(term)
        spread = self.covariance[term, term] - own
        shared = self.sigma2 * np.einsum("jp,pq,jq->j", loads, self.found.unscaled, loads)
        variance = spread - shared
        return np.where(variance > 1e-12, u / np.sqrt(np.maximum(variance, 1e-300)), np.nan)

    def interval(self, which: int = 0) -> tuple[float, float]:
        """Ends of the 95% profile-likelihood interval of a level's share."""
        limit = self.deviance + chi2.ppf(0.95, 1)
        estimate = self.share(which)

        def placed(share: float) -> tuple[Callable[[Array], Array], Array]:
            odds = share / (1 - share)
            if self.model.factor in (one, slope):
                return (lambda free: np.append(np.sqrt(odds), free)), self.theta[1:]

            # Of two levels, one held as a share of all.
            def both(free: Array) -> Array:
                mine = np.sqrt(odds * (1 + free[0] ** 2))
                return np.array([mine, free[0]] if which == 0 else [free[0], mine])

            return both, self.theta[[1 - which]]

        def over(share: float) -> float:
            return self.model.held(*placed(share)) - limit

        low = 0.0
        if estimate > 1e-9 and over(0.0) > 0:
            low = brentq(over, 0.0, estimate, xtol=1e-5)
        top = min(estimate + 0.05, 0.9)
        while over(top) < 0:
            top = (top + 1) / 2
        return low, brentq(over, estimate, top, xtol=1e-5)

    def component_errors(self) -> Array:
        """Standard errors of variances and covariance by the expected information."""
        q = len(self.covariance)
        pairs = [(i, j) for j in range(q) for i in range(j, q)]
        info = np.zeros((len(pairs) + 1,) * 2)
        for k in range(len(self.model.labels)):
            z = self.model.z[self.model.block == k]
            v = np.linalg.inv(z @ self.covariance @ z.T + self.sigma2 * np.eye(len(z)))
            parts = [
                np.outer(z[:, i], z[:, j]) + (i != j) * np.outer(z[:, j], z[:, i]) for i, j in pairs
            ]
            w = [v @ part for part in [*parts, np.eye(len(z))]]
            info += np.array([[(a * b.T).sum() / 2 for b in w] for a in w])
        return np.sqrt(np.diag(np.linalg.inv(info)))

    def expected(self) -> Array:
        """Fixed part, by row."""
        return self.model.x @ self.beta

    def fitted(self) -> Array:
        """Fixed part and effects, by row."""
        u = self.found.v @ self.model.factor(self.theta).T
        return self.expected() + (self.model.z * u[self.model.block]).sum(axis=1)


def least_squares(y: Array, x: Array) -> float:
    """-2 log-likelihood of the model without random terms."""
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(len(y) * (1 + np.log(2 * np.pi * (residual @ residual) / len(y))))


class Logistic:
    """A logistic model with a normal intercept of each group."""

    def __init__(self, y: Array, x: Array, group: Array) -> None:
        codes = pd.factorize(np.asarray(group), sort=True)[0]
        order = np.argsort(codes, kind="stable")
        self.g, self.j = codes[order], int(codes.max()) + 1
        self.first = np.searchsorted(self.g, np.arange(self.j))
        self.y, x = (np.asarray(a, dtype=float)[order] for a in (y, x))
        # In units alike, so that the search's steps are.
        self.unit = np.sqrt((x**2).mean(axis=0))
        self.x = x / self.unit
        self.nodes, weights = np.polynomial.hermite_e.hermegauss(25)
        self.weights = weights / np.sqrt(2 * np.pi)
        self.modes = np.zeros(self.j)
        self._fit()

    def _sum(self, values: Array) -> Array:
        return np.add.reduceat(values, self.first, axis=0)

    def minus(self, theta: Array) -> tuple[float, Array]:
        """-2 log-likelihood and its gradient by the fixed part and the SD."""
        beta, sd = theta[:-1], theta[-1]
        eta = self.x @ beta
        z = self.modes.copy()
        for _ in range(50):
            p = expit(eta + sd * z[self.g])
            bend = 1 + sd**2 * self._sum(p * (1 - p))
            step = (sd * self._sum(self.y - p) - z) / bend
            z += step
            if np.abs(step).max() < 1e-10:
                break
        self.modes = z
        p = expit(eta + sd * z[self.g])
        spread = 1 / np.sqrt(1 + sd**2 * self._sum(p * (1 - p)))
        points = z[:, None] + spread[:, None] * self.nodes
        lines = eta[:, None] + sd * points[self.g]
        terms = self.y[:, None] * lines - np.logaddexp(0, lines)
        logs = self._sum(terms)
        logs += -(points**2) / 2 + self.nodes**2 / 2 + np.log(spread[:, None] * self.weights)
        top = logs.max(axis=1, keepdims=True)
        mass = np.exp(logs - top)
        total = mass.sum(axis=1, keepdims=True)
        value = float((np.log(total) + top).sum())
        mass = (mass / total)[self.g]
        left = self.y[:, None] - expit(lines)
        by_eta = (mass * left).sum(axis=1)
        by_sd = (mass * left * points[self.g]).sum()
        return -2 * value, -2 * np.append(self.x.T @ by_eta, by_sd)

    def _best(self, start: Array, held: float | None = None) -> Any:
        free = [(None, None)] * (len(start) - 1)
        bounds = [*free, (0.0, 8.0) if held is None else (held, held)]
        begin = start if held is None else np.append(start[:-1], held)
        how = {"ftol": 1e-13, "gtol": 1e-6, "maxiter": 500}
        return minimize(self.minus, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=how)

    def _fit(self) -> None:
        self.plain = self._best(np.zeros(self.x.shape[1] + 1), held=0.0)
        found = self._best(np.append(self.plain.x[:-1], 0.3))
        best = found if found.fun < self.plain.fun - 1e-7 else self.plain
        self.scaled, self.sd, self.value = best.x[:-1], float(best.x[-1]), float(best.fun)
        self.beta = self.scaled / self.unit
        self.gain = max(0.0, float(self.plain.fun) - self.value)

    @property
    def p_boundary(self) -> float:
        """That groups do not differ: half of chi-square with one degree of freedom."""
        return float(chi2.sf(self.gain, 1) / 2) if self.gain > 0 else 1.0

    def interval(self) -> tuple[float, float]:
        """Ends of the 95% profile-likelihood interval of the SD."""
        limit, start = self.value + chi2.ppf(0.95, 1), np.append(self.scaled, self.sd)
        over = lambda sd: self._best(start, held=sd).fun - limit  # noqa: E731
        low = brentq(over, 0, self.sd, xtol=1e-5) if self.sd and over(0.0) > 0 else 0.0
        top = self.sd + 0.3
        while over(top) < 0:
            top *= 1.5
        return low, brentq(over, self.sd, top, xtol=1e-5)

    def rate(self, deviate: float, sd: float) -> float:
        """Patients per hundred with the outcome, with a group that far out, over all rows."""
        return float(100 * expit(self.x @ self.scaled + deviate * sd).mean())


def metropolis(log_density: Callable[[Array], float], start: Array, draws: int, seed: int) -> Array:
    """Draw by random steps that learn their size and shape during the first quarter."""
    rng = np.random.default_rng(seed)
    at, now = np.asarray(start, dtype=float), log_density(start)
    root, kept = 0.2 * np.eye(len(at)), []
    for i in range(draws):
        if i and i % 500 == 0 and i <= draws // 4:
            root = np.linalg.cholesky(np.cov(np.array(kept[-i // 2 :]).T) + 1e-6 * np.eye(len(at)))
            root *= 2.38 / np.sqrt(len(at))
        to = at + root @ rng.standard_normal(len(at))
        value = log_density(to)
        if np.log(rng.random()) < value - now:
            at, now = to, value
        kept.append(at)
    return np.array(kept[draws // 4 :])


def posterior(fit: Fitted, prior: str, y: Array, x: Array, draws: int = 40_000) -> Array:
    """Draw SDs, correlation and residual variance of a slope model under a prior.

    Fixed effects are flat and integrated out, which leaves the likelihood of the residuals.
    Columns: the intercepts' SD, the slopes', their correlation, the residual variance.
    """
    model = Linear(fit.model.y, fit.model.x, fit.model.z, fit.model.block, slope, reml=True)
    scale, half = _wishart_scale(fit), 0.5 * y.std() / np.array([1.0, np.sqrt((x**2).mean())])

    def density(free: Array) -> float:
        s1, s2, rho, v = np.exp(free[0]), np.exp(free[1]), np.tanh(free[2]), np.exp(free[3])
        if not (max(abs(free[:2])) < 25 and abs(rho) < 1 - 1e-12):
            return -np.inf
        g = np.array([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
        value = _restricted(model, np.linalg.cholesky(g / v), v)
        # To logarithms and the inverse hyperbolic tangent, from SDs, correlation and variance.
        value += free[0] + free[1] + np.log1p(-(rho**2)) + free[3]
        if prior == "mlwin":
            value += 2 * (free[0] + free[1])  # from variances and covariance to SDs
            value += -2.5 * np.linalg.slogdet(g)[1] - np.trace(scale @ np.linalg.inv(g)) / 2
            return float(value - 1.001 * free[3] - 0.001 / v)
        if prior == "half-normal":
            value -= 0.5 * ((s1 / half[0]) ** 2 + (s2 / half[1]) ** 2)
        return float(value - free[3] / 2)

    sd = np.sqrt(np.maximum(np.diag(fit.covariance), 1e-4))
    drawn = metropolis(density, np.append(np.log(sd), [0.0, np.log(fit.sigma2)]), draws, 11)
    return np.column_stack([np.exp(drawn[:, :2]), np.tanh(drawn[:, 2]), np.exp(drawn[:, 3])])


def _restricted(model: Linear, factor: Array, variance: float) -> float:
    """Log-likelihood of the residuals at a factor and a residual variance."""
    at = model.at([factor[0, 0], factor[1, 0], factor[1, 1]])
    dof = model.n - len(at.beta)
    profiled = dof * (1 + np.log(2 * np.pi * at.sigma2))
    now = dof * (np.log(2 * np.pi * variance) + at.sigma2 / variance)
    return -0.5 * (at.deviance - profiled + now)


def _wishart_scale(fit: Fitted) -> Array:
    """Twice the estimate, moved off the boundary: least variances, eigenvalues of .1 or more."""
    g, information = fit.covariance, np.diagonal(fit.model.zz, axis1=1, axis2=2)
    least = fit.sigma2 * np.sqrt(2 / (information**2).sum(axis=0))
    if np.linalg.eigvalsh(g / np.sqrt(np.outer(least, least)))[0] > 1e-6:
        return 2 * g
    sd = np.sqrt(np.maximum(np.diag(g), least))
    r = g / np.outer(sd, sd)
    np.fill_diagonal(r, 1.0)
    values, vectors = np.linalg.eigh(r)
    lifted = (vectors * np.maximum(values, 0.1)) @ vectors.T
    sd = sd / np.sqrt(np.diag(lifted))
    return 2 * lifted * np.outer(sd, sd)


def jackknifed_change(before: Linear, after: Linear, units: Sequence[Array]) -> float:
    """Standard error of the change of the share, each unit left out in turn."""
    changes = []
    fits, everybody = [m.fit() for m in (before, after)], np.arange(len(before.labels))
    for unit in units:
        shares = []
        for m, f in zip((before, after), fits, strict=True):
            own = m.of_blocks(np.setdiff1d(everybody, unit))
            how = {"xatol": 1e-5, "fatol": 1e-6}
            start = np.where(np.abs(f.theta) < 0.05, 0.05, f.theta)
            best = minimize(own.deviance, start, method="Nelder-Mead", options=how)
            again = Fitted(own, best.x, own.at(best.x))
            shares.append(again.share() if own.factor is one else again.share_at_mean())
        changes.append(shares[1] - shares[0])
    return float(np.std(changes) * np.sqrt(len(units) - 1))


def ranks_drawn(u: Array, joint: Array, draws: int, seed: int = 3) -> Array:
    """Ranks, 1 the lowest, in draws around effects with the covariance of their errors."""
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(joint)
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn = u + rng.standard_normal((draws, len(u))) @ root.T
    return drawn.argsort(axis=1).argsort(axis=1) + 1


def expected_ranks(u: Array, joint: Array) -> Array:
    """Mean rank of each, 1 the lowest, in closed form."""
    from scipy.stats import norm

    d = np.diag(joint)
    spread = np.sqrt(np.maximum(d[:, None] + d - 2 * joint, 0))
    np.fill_diagonal(spread, 1.0)
    chance = norm.cdf((u[:, None] - u) / np.where(spread > 0, spread, np.nan))
    np.fill_diagonal(chance, 0.0)
    return 1 + chance.sum(axis=1)


__all__ = [
    "Fitted",
    "Linear",
    "Logistic",
    "expected_ranks",
    "jackknifed_change",
    "least_squares",
    "metropolis",
    "nested",
    "one",
    "posterior",
    "ranks_drawn",
    "slope",
]  # fmt: skip


def nearest_and_furthest(
    one: pd.Series, other: pd.Series, weights: pd.Series
) -> tuple[pd.Series, pd.Series]:
    """Give values between two ends each that are most alike, and least, by search and climbing."""
    low, high = np.minimum(one, other), np.maximum(one, other)

    def spread(x: pd.Series) -> float:
        return float((weights * (x - (weights * x).sum() / weights.sum()) ** 2).sum())

    found = minimize_scalar(
        lambda t: spread(np.clip(t, low, high)), bounds=(low.min(), high.max()), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    to = found.x
    if low.max() < high.min():  # any value between is as good: the nearest to zero is meant
        to = sorted((low.max(), 0.0, high.min()))[1]
    rng, best = np.random.default_rng(0), low
    for _ in range(40):
        x = low.where(rng.random(len(low)) < 0.5, high)
        before = -1.0
        while spread(x) > before:
            before = spread(x)
            for k in x.index:
                x = max((x.mask(x.index == k, end[k]) for end in (low, high)), key=spread)
        best = max(best, x, key=spread)
    return pd.Series(np.clip(to, low, high), low.index), best
