"""The exact posterior of a model with one random term, on a grid: the yardstick for sampling.

Given the ratio of the two variances the fixed effects integrate out in closed form, which leaves
two dimensions: the log ratio, and at each ratio the log residual variance. Both are laid where
prior times likelihood has its mass. No sampling, so no Monte Carlo error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs import ZERO, Standard, check_proper, standardise
from multilevel.partition import random_row
from multilevel.priors import Prior, PriorValues, as_prior

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GridPosterior", "grid_posterior"]

Array = NDArray[np.float64]

#: Log density below the mode at which the grid ends.
DEPTH = 25.0
#: Mass that may lie at an edge of the grid.
EDGE = 1e-10
#: Log ratios of the variances among which the mass is looked for.
WIDEST = (-60.0, 60.0)
QUANTITIES = ("group variance", "residual variance", "vpc")


@dataclass(frozen=True)
class GridPosterior:
    """The posterior of a model with one random term.

    Attributes
    ----------
    log_ratio : ndarray of shape (R,)
        Log of the variance between groups over the residual variance.
    log_residual : ndarray of shape (R, S)
        Log residual variance, at nodes of its own for each ratio.
    mass : ndarray of shape (R, S)
        Posterior mass at the nodes, sum 1.
    beta_mean, beta_sd : ndarray of shape (p,)
        Posterior means and SDs of the fixed effects.
    effects_mean, effects_sd : ndarray of shape (J,)
        Posterior means and SDs of the random effects.
    design : DesignMoments
    prior : PriorValues
    """

    log_ratio: Array
    log_residual: Array
    mass: Array
    beta_mean: Array
    beta_sd: Array
    effects_mean: Array
    effects_sd: Array
    design: DesignMoments
    prior: PriorValues

    def _logs(self, quantity: str) -> Array:
        """Log of a variance, or log odds of the share of variance, at the nodes."""
        if quantity == "residual variance":
            return self.log_residual
        if quantity == "group variance":
            return self.log_ratio[:, None] + self.log_residual
        if quantity == "vpc":
            odds = self.log_ratio + 2 * np.log(abs(random_row(self.design, None)[0]))
            return np.broadcast_to(odds[:, None], self.mass.shape)
        raise InputError(f"no quantity is called {quantity!r}", hint=f"use {QUANTITIES}")

    def cdf(self, quantity: str, values: ArrayLike) -> Array:
        """Posterior probability that a quantity is no larger than given values.

        Parameters
        ----------
        quantity : {"vpc", "group variance", "residual variance"}
        values : array_like
        """
        t = np.asarray(values, dtype=float)
        logs = self._logs(quantity)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.log(t / (1 - t)) if quantity == "vpc" else np.log(t)
        if quantity == "vpc":
            by_ratio = self.mass.sum(axis=1)
            return _interpolated(logs[:, 0], by_ratio, at)
        rows = zip(logs, self.mass, strict=True)
        total: Array = np.sum([_interpolated(x, mass, at) for x, mass in rows], axis=0)
        return total

    def quantile(self, quantity: str, probs: ArrayLike) -> Array:
        """Posterior quantiles of a quantity (see `cdf` for their names)."""
        logs = self._logs(quantity)
        nodes = np.linspace(logs.min(), logs.max(), 2 * len(logs))
        values = 1 / (1 + np.exp(-nodes)) if quantity == "vpc" else np.exp(nodes)
        cumulative = np.maximum.accumulate(self.cdf(quantity, values))
        keep = np.append(True, np.diff(cumulative) > 0)
        found: Array = np.interp(np.asarray(probs, float), cumulative[keep], values[keep])
        return found

    def mean(self, quantity: str) -> float:
        """Posterior mean of a quantity (see `cdf` for their names)."""
        logs = self._logs(quantity)
        value = 1 / (1 + np.exp(-logs)) if quantity == "vpc" else np.exp(logs)
        return float((self.mass * value).sum())

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Median, bounds and mean of the variances and of the share between groups."""
        import pandas as pd

        tail = (1 - level) / 2
        rows = {}
        for name in QUANTITIES:
            lower, median, upper = self.quantile(name, [tail, 0.5, 1 - tail])
            rows[name] = {"median": median, "lower": lower, "upper": upper}
            rows[name]["mean"] = self.mean(name)
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")


def _interpolated(nodes: Array, mass: Array, at: Array) -> Array:
    """Cumulative mass, each node's own split between its two sides."""
    cumulative = np.cumsum(mass) - 0.5 * mass
    found: Array = np.interp(at, nodes, cumulative, left=0.0, right=float(cumulative[-1]))
    return found


@dataclass(frozen=True)
class _Profile:
    """What does not depend on the residual variance, at each ratio of the variances."""

    d: Array  # (R, J): shrinkage over the group's sum of squares
    inverse: Array  # (R, p, p): of the fixed part's precision, per unit of residual variance
    delta: Array  # (R, p): mean of the fixed effects
    log_det: Array  # (R,)
    q: Array  # (R,): residual sum of squares


def _split(moments: Standard) -> tuple[Standard, Array, Array]:
    """Turn the fixed columns so that those without variation within groups stand apart.

    Returns the moments in the new columns, their variation within groups and their products
    with the response within groups: zero, not a rounding error, where there is none.
    """
    zz, zx, zr = moments.zz[:, 0, 0], moments.zx[:, 0], moments.zr[:, 0]
    scaled = np.divide(zx, zz[:, None], out=np.zeros_like(zx), where=zz[:, None] > 0)
    values, turn = np.linalg.eigh(np.eye(zx.shape[1]) - zx.T @ scaled)
    varies = values > ZERO
    turned = Standard(
        zz=moments.zz,
        zx=moments.zx @ turn,
        zr=moments.zr,
        rr=moments.rr,
        least_squares=moments.least_squares,
        back=moments.back @ turn,
    )
    return turned, np.where(varies, values, 0.0), np.where(varies, -(zr @ scaled) @ turn, 0.0)


def _profile(moments: Standard, within: Array, pull: Array, log_ratio: Array) -> _Profile:
    zz, zx, zr = moments.zz[:, 0, 0], moments.zx[:, 0], moments.zr[:, 0]
    ratio = np.exp(log_ratio)[:, None]
    p, n_groups = zx.shape[1], len(zz)
    # What is left of a group's sum of squares, over itself: a group without one tells nothing.
    left = np.divide(1 / (1 + ratio * zz), zz, out=np.zeros((len(ratio), n_groups)), where=zz > 0)
    outer = (zx[:, :, None] * zx[:, None, :]).reshape(n_groups, p * p)
    h = np.diag(within) + (left @ outer).reshape(-1, p, p)
    inverse = np.asarray(np.linalg.inv(h), dtype=np.float64)
    g = pull + left @ (zx * zr[:, None])
    delta = (inverse @ g[..., None])[..., 0]
    d = ratio / (1 + ratio * zz)
    return _Profile(
        d=d,
        inverse=inverse,
        delta=delta,
        log_det=np.log1p(ratio * zz).sum(axis=1) + np.linalg.slogdet(h)[1],
        q=moments.rr - d @ zr**2 - (g * delta).sum(axis=1),
    )


def _laid(
    profile: _Profile, log_ratio: Array, prior: PriorValues, dof: int, size: int
) -> tuple[Array, Array]:
    """Lay nodes of the log residual variance at each ratio; log density there, shape (R, S).

    At a given ratio the log density is ``-a x - b exp(-x) - c exp(x)``, which has one peak.
    Left of it, it falls faster than a parabola; right of it no slower than as below.
    """
    a = 0.5 * dof + prior.residual_shape + 0.5 * prior.df
    b = 0.5 * profile.q + prior.residual_rate + 0.5 * prior.scale[0, 0] * np.exp(-log_ratio)
    c = prior.half[0] * np.exp(log_ratio)
    peak = np.log(2 * b / (a + np.sqrt(a * a + 4 * b * c)))
    depth = DEPTH / (b * np.exp(-peak))
    width = np.sqrt(2 * depth)[:, None]
    x = peak[:, None] + np.linspace(-width[:, 0], depth + width[:, 0], size, axis=1)
    log_density = -a * x - b[:, None] * np.exp(-x) - c[:, None] * np.exp(x)
    step = np.log(x[:, 1] - x[:, 0])
    by_ratio = step - 0.5 * profile.log_det - 0.5 * prior.df * log_ratio
    return x, log_density + by_ratio[:, None]


def grid_posterior(
    design: DesignMoments,
    prior: str | Prior = "mlwin",
    *,
    size: tuple[int, int] = (2_001, 401),
) -> GridPosterior:
    """Work out the posterior of a model with one random term, without sampling.

    Parameters
    ----------
    design : DesignMoments
        With one random term.
    prior : str or Prior
        As in `sample_posterior`; the fixed effects must have flat priors.
    size : tuple of int
        Nodes for the ratio of the variances and for the residual variance.

    Returns
    -------
    GridPosterior

    Raises
    ------
    InputError
        If the model has another number of random terms, normal priors on the fixed effects, or
        no proper posterior; or if more than 1e-10 of the mass lies at an edge of the grid.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> g = np.repeat(np.arange(20), 30)
    >>> y = rng.normal(size=20)[g] + rng.normal(scale=3, size=600)
    >>> d = DesignMoments.from_arrays(y, {"Intercept": np.ones(600)}, ["Intercept"], g)
    >>> posterior = grid_posterior(d, "flat-sd")
    >>> bool(0.03 < posterior.quantile("vpc", 0.5) < 0.2)
    True
    """
    if len(design.random) != 1:
        raise InputError("the grid is for a model with one random term", hint="sample instead")
    # With a single random term no prior looks at the estimates.
    values = as_prior(prior).resolve(design, np.eye(1), 1.0)
    if values.fixed_precision.any():
        raise InputError("the grid integrates fixed effects with flat priors only")
    moments = standardise(design)
    check_proper(moments, values, design.n_total)
    moments, within, pull = _split(moments)
    dof = design.n_total - len(design.fixed)
    ratios = np.linspace(*WIDEST, 1_001)
    # The range halves itself onto the mass, however narrow: a peak between two nodes is kept.
    for number in (*[401] * 4, size[0], size[0]):
        profile = _profile(moments, within, pull, ratios)
        x, density = _laid(profile, ratios, values, dof, 101)
        ratios = np.linspace(*_span(ratios, np.logaddexp.reduce(density, axis=1)), number)
    profile = _profile(moments, within, pull, ratios)
    x, density = _laid(profile, ratios, values, dof, size[1])
    mass = np.exp(density - density.max())
    mass /= mass.sum()
    if max(mass[[0, -1]].sum(), mass[:, [0, -1]].sum()) > EDGE:
        raise InputError(
            "the posterior reaches beyond any grid: its mass does not fall off",
            hint="give the variances priors that keep them from zero and from infinity",
        )
    return _summed(moments, profile, ratios, x, mass, design, values)


def _span(nodes: Array, log_marginal: Array) -> tuple[float, float]:
    inside = np.flatnonzero(log_marginal > log_marginal.max() - DEPTH)
    low, high = max(inside[0] - 1, 0), min(inside[-1] + 1, len(nodes) - 1)
    return float(nodes[low]), float(nodes[high])


def _summed(
    moments: Standard, profile: _Profile, log_ratio: Array, log_residual: Array, mass: Array,
    design: DesignMoments, prior: PriorValues,
) -> GridPosterior:  # fmt: skip
    """Means and SDs of fixed and random effects as mixtures over the grid."""
    by_ratio = mass.sum(axis=1)
    # Mass times conditional mean of the residual variance.
    residual = (mass * np.exp(log_residual)).sum(axis=1)
    beta = moments.least_squares + profile.delta @ moments.back.T
    spread = moments.back @ profile.inverse @ moments.back.T
    beta_mean = by_ratio @ beta
    beta_var = residual @ np.diagonal(spread, axis1=1, axis2=2)
    beta_var = beta_var + by_ratio @ (beta - beta_mean) ** 2
    zx, zr, d = moments.zx[:, 0], moments.zr[:, 0], profile.d
    u = d * (zr - profile.delta @ zx.T)
    u_mean = by_ratio @ u
    carried = np.einsum("jp,rpk,jk->rj", zx, profile.inverse, zx)
    u_var = residual @ (d + d**2 * carried) + by_ratio @ (u - u_mean) ** 2
    return GridPosterior(
        log_ratio=log_ratio,
        log_residual=log_residual,
        mass=mass,
        beta_mean=beta_mean,
        beta_sd=np.sqrt(beta_var),
        effects_mean=u_mean,
        effects_sd=np.sqrt(u_var),
        design=design,
        prior=prior,
    )
