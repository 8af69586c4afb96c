"""The exact posterior of a model with one random term, on a grid: the yardstick for sampling.

Given the ratio of the two variances the fixed effects integrate out in closed form, which leaves
two dimensions: the log ratio and the log residual variance. No sampling, so no Monte Carlo error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs import Standard, standardise
from multilevel.partition import random_row
from multilevel.priors import Prior, PriorValues, as_prior

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GridPosterior", "grid_posterior"]

Array = NDArray[np.float64]

#: Log density below the mode at which the grid ends.
DEPTH = 20.0
QUANTITIES = ("therapist variance", "residual variance", "vpc")


@dataclass(frozen=True)
class GridPosterior:
    """The posterior of a model with one random term.

    Attributes
    ----------
    log_ratio : ndarray of shape (R,)
        Grid of the log of therapist over residual variance.
    log_residual : ndarray of shape (S,)
        Grid of the log residual variance.
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

    def cdf(self, quantity: str, values: ArrayLike) -> Array:
        """Posterior probability that a quantity is no larger than given values.

        Parameters
        ----------
        quantity : {"vpc", "therapist variance", "residual variance"}
        values : array_like
        """
        t = np.asarray(values, dtype=float)
        if quantity == "vpc":
            z2 = random_row(self.design, None)[0] ** 2
            with np.errstate(divide="ignore", invalid="ignore"):
                log_ratio = np.log(t / (1 - t) / z2)
            return _interpolated(self.log_ratio, _cumulative(self.mass.sum(axis=1)), log_ratio)
        if quantity == "residual variance":
            cumulative = _cumulative(self.mass.sum(axis=0))
            return _interpolated(self.log_residual, cumulative, np.log(t))
        if quantity != "therapist variance":
            raise InputError(f"no quantity is called {quantity!r}", hint=f"use {QUANTITIES}")
        total = np.zeros(t.shape)
        for log_ratio, row in zip(self.log_ratio, self.mass, strict=True):
            total += _interpolated(self.log_residual, _cumulative(row), np.log(t) - log_ratio)
        return total

    def quantile(self, quantity: str, probs: ArrayLike) -> Array:
        """Posterior quantiles of a quantity (see `cdf` for their names)."""
        if quantity == "residual variance":
            nodes = np.exp(self.log_residual)
        elif quantity == "vpc":
            ratio = np.exp(self.log_ratio) * random_row(self.design, None)[0] ** 2
            nodes = ratio / (1 + ratio)
        else:
            shift = float(self.mass.sum(axis=0) @ self.log_residual)
            nodes = np.exp(self.log_ratio + shift)
        cumulative = np.maximum.accumulate(self.cdf(quantity, nodes))
        keep = np.append(True, np.diff(cumulative) > 0)
        found: Array = np.interp(np.asarray(probs, float), cumulative[keep], nodes[keep])
        return found

    def mean(self, quantity: str) -> float:
        """Posterior mean of a quantity (see `cdf` for their names)."""
        ratio, residual = np.exp(self.log_ratio)[:, None], np.exp(self.log_residual)[None, :]
        scaled = ratio * random_row(self.design, None)[0] ** 2
        value = {
            "vpc": scaled / (1 + scaled) + 0 * residual,
            "residual variance": residual + 0 * ratio,
            "therapist variance": ratio * residual,
        }[quantity]
        return float((self.mass * value).sum())

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Median, bounds and mean of the variances and of the therapist effect."""
        import pandas as pd

        tail = (1 - level) / 2
        rows = {}
        for name in QUANTITIES:
            lower, median, upper = self.quantile(name, [tail, 0.5, 1 - tail])
            rows[name] = {
                "median": median, "lower": lower, "upper": upper, "mean": self.mean(name)
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")


def _cumulative(mass: Array) -> Array:
    """Cumulative mass at the nodes, each node's own mass split between its two sides."""
    cumulative: Array = np.cumsum(mass) - 0.5 * mass
    return cumulative


def _interpolated(nodes: Array, cumulative: Array, at: Array) -> Array:
    found: Array = np.interp(at, nodes, cumulative, left=0.0, right=float(cumulative[-1]))
    return found


@dataclass(frozen=True)
class _Profile:
    """What does not depend on the residual variance, at each ratio of the variances."""

    d: Array  # (R, J)
    inverse: Array  # (R, p, p): of the fixed part's precision, per unit of residual variance
    delta: Array  # (R, p): mean of the fixed effects
    log_det: Array  # (R,)
    q: Array  # (R,): residual sum of squares


def _profile(moments: Standard, log_ratio: Array) -> _Profile:
    zz, zx, zr = moments.zz[:, 0, 0], moments.zx[:, 0], moments.zr[:, 0]
    ratio = np.exp(log_ratio)[:, None]
    d = ratio / (1 + ratio * zz)
    p, n_groups = zx.shape[1], len(zz)
    outer = (zx[:, :, None] * zx[:, None, :]).reshape(n_groups, p * p)
    h = np.eye(p) - (d @ outer).reshape(-1, p, p)
    inverse = np.asarray(np.linalg.inv(h), dtype=np.float64)
    g = -d @ (zx * zr[:, None])
    delta = (inverse @ g[..., None])[..., 0]
    return _Profile(
        d=d,
        inverse=inverse,
        delta=delta,
        log_det=np.log1p(ratio * zz).sum(axis=1) + np.linalg.slogdet(h)[1],
        q=moments.rr - d @ zr**2 - (g * delta).sum(axis=1),
    )


def _log_density(
    profile: _Profile, log_ratio: Array, log_residual: Array, prior: PriorValues, dof: int
) -> Array:
    """Log posterior of the log ratio and the log residual variance, shape (R, S)."""
    log_variance = log_ratio[:, None] + log_residual[None, :]
    variance, residual = np.exp(log_variance), np.exp(log_residual)[None, :]
    likelihood = (
        -0.5 * profile.log_det[:, None]
        - 0.5 * dof * log_residual[None, :]
        - 0.5 * profile.q[:, None] / residual
    )
    residual_prior = -(prior.residual_shape + 1) * log_residual - prior.residual_rate / residual
    variance_prior = (
        -(0.5 * prior.df + 1) * log_variance
        - 0.5 * prior.scale[0, 0] / variance
        - prior.half[0] * variance
    )
    jacobian = log_variance + log_residual[None, :]
    total: Array = likelihood + residual_prior + variance_prior + jacobian
    return total


def _span(nodes: Array, log_marginal: Array) -> tuple[float, float]:
    inside = np.flatnonzero(log_marginal > log_marginal.max() - DEPTH)
    low, high = max(inside[0] - 1, 0), min(inside[-1] + 1, len(nodes) - 1)
    return float(nodes[low]), float(nodes[high])


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
        As in `gibbs_draws`; the fixed effects must have flat priors.
    size : tuple of int
        Nodes for the ratio of the variances and for the residual variance.

    Returns
    -------
    GridPosterior

    Raises
    ------
    InputError
        If the model has another number of random terms, or normal priors on the fixed effects.

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
    dof = design.n_total - len(design.fixed)
    wide = np.linspace(-60.0, 25.0, 681)
    profile = _profile(moments, wide)
    centre = np.log(np.maximum(profile.q, 1e-300) / dof)
    spread = 12.0 / np.sqrt(dof) + 1.0
    tall = np.linspace(centre.min() - spread, centre.max() + 2 * spread, 400)
    density = _log_density(profile, wide, tall, values, dof)
    for _ in range(2):
        rows, columns = _span(wide, density.max(axis=1)), _span(tall, density.max(axis=0))
        wide, tall = np.linspace(*rows, size[0]), np.linspace(*columns, size[1])
        profile = _profile(moments, wide)
        density = _log_density(profile, wide, tall, values, dof)
    mass = np.exp(density - density.max())
    return _summed(moments, profile, wide, tall, mass / mass.sum(), design, values)


def _summed(
    moments: Standard, profile: _Profile, wide: Array, tall: Array, mass: Array,
    design: DesignMoments, prior: PriorValues,
) -> GridPosterior:  # fmt: skip
    """Means and SDs of fixed and random effects as mixtures over the grid."""
    by_ratio = mass.sum(axis=1)
    residual = mass @ np.exp(tall)  # mass times conditional mean of the residual variance
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
        log_ratio=wide,
        log_residual=tall,
        mass=mass,
        beta_mean=beta_mean,
        beta_sd=np.sqrt(beta_var),
        effects_mean=u_mean,
        effects_sd=np.sqrt(u_var),
        design=design,
        prior=prior,
    )
