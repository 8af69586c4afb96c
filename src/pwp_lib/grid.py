"""The exact posterior of a model with one random term, on a grid: the yardstick for sampling.

Given the ratio of the two variances the fixed effects integrate out in closed form, as in REML,
which leaves two dimensions: the log ratio, and at each ratio the log residual variance. Both are
laid where prior times likelihood has its mass. No sampling, so no Monte Carlo error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from multilevel.arguments import Checked
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.gibbs import ZERO, check_proper, standardise
from multilevel.identify import design_stack
from multilevel.likelihood import Array, Stack, deviances
from multilevel.partition import random_row
from multilevel.priors import Prior, PriorValues, as_prior

__all__ = ["GridPosterior", "grid_posterior"]

Quantity: TypeAlias = Literal["vpc", "group variance", "residual variance"]
#: Log density below the mode at which the grid ends.
DEPTH = 25.0
#: Mass that may lie at an edge of the grid.
EDGE = 1e-10
#: Log ratios of the variances among which the mass is looked for.
WIDEST = (-300.0, 60.0)
#: Nodes that a grid has to have each way.
FEWEST = 101


@dataclass(frozen=True)
class GridPosterior(Checked):
    """The posterior of a model with one random term.

    Attributes
    ----------
    log_ratio : ndarray of shape (R,)
        Log of the variance between groups over the residual variance.
    log_residual : ndarray of shape (R, S)
        Log residual variance, at nodes of its own for each ratio.
    mass : ndarray of shape (R, S)
        Posterior mass at the nodes, sum 1.
    point : float
        Value of the random term where the variance is shared out: its mean.
    """

    log_ratio: Array
    log_residual: Array
    mass: Array
    point: float

    def _nodes(self, quantity: Quantity) -> tuple[Array, Array]:
        """Log of a variance, or log odds of the share of variance, at nodes; their mass."""
        if quantity == "vpc":
            if not self.point:
                hint = "ask for the group variance"
                raise InputError("at the means all groups are alike in this model", hint=hint)
            odds = self.log_ratio + 2 * np.log(abs(self.point))
            return odds[None], self.mass.sum(axis=1)[None]
        if quantity == "group variance":
            return self.log_ratio[:, None] + self.log_residual, self.mass
        return self.log_residual, self.mass

    def cdf(self, quantity: Quantity, values: ArrayLike) -> Array:
        """Posterior probability that a quantity is no larger than given values.

        Parameters
        ----------
        quantity : {"vpc", "group variance", "residual variance"}
        values : array_like
        """
        t = np.asarray(values, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = logit(t) if quantity == "vpc" else np.log(t)
        total: Array = np.zeros_like(at)
        for nodes, mass in zip(*self._nodes(quantity), strict=True):
            # A node's own mass is split between its two sides.
            below = np.cumsum(mass) - 0.5 * mass
            total = total + np.interp(at, nodes, below, left=0.0, right=float(below[-1]))
        return total

    def quantile(self, quantity: Quantity, probs: ArrayLike) -> Array:
        """Posterior quantiles of a quantity (see `cdf` for their names)."""
        logs = self._nodes(quantity)[0]
        nodes = np.linspace(logs.min(), logs.max(), 2 * len(self.log_ratio))
        values = expit(nodes) if quantity == "vpc" else np.exp(nodes)
        cumulative = np.maximum.accumulate(self.cdf(quantity, values))
        keep = np.append(True, np.diff(cumulative) > 0)
        found: Array = np.interp(np.asarray(probs, float), cumulative[keep], values[keep])
        return found


def _turned(stack: Stack) -> Stack:
    """Turn the fixed terms so that those without variation within groups have exactly none.

    A rounding error in its place would outweigh them where the ratio of variances is huge.
    """
    values, vectors = np.linalg.eigh(stack.within[0, :-1, :-1])
    turn = np.eye(stack.p + 1)
    turn[:-1, :-1] = vectors
    within = turn.T @ stack.within[0] @ turn
    none = np.append(values < ZERO, False)
    within[none] = within[:, none] = 0.0
    return replace(stack, outer=stack.outer @ turn, within=within[None])


def _laid(stack: Stack, log_ratio: Array, prior: PriorValues, size: int) -> tuple[Array, Array]:
    """Lay nodes of the log residual variance at each ratio; log density there, shape (R, S).

    At a given ratio the log density is ``-a x - b exp(-x) - c exp(x)``, which has one peak.
    Left of it, it falls faster than a parabola; right of it no slower than as below.
    """
    factors = np.exp(0.5 * log_ratio)[None, :, None, None] * stack.z_root
    deviance, squares = (found[0] for found in deviances(stack.arrays, factors))
    dof = float(stack.dof[0])
    a = 0.5 * dof + prior.residual_shape + 0.5 * prior.df
    b = 0.5 * squares * stack.scale[0] ** 2 + prior.residual_rate
    b = b + 0.5 * prior.scale[0, 0] * np.exp(-log_ratio)
    c = prior.half[0] * np.exp(log_ratio)
    peak = np.log(2 * b / (a + np.sqrt(a * a + 4 * b * c)))
    depth = DEPTH / (b * np.exp(-peak))
    width = np.sqrt(2 * depth)
    x = peak[:, None] + np.linspace(-width, depth + width, size, axis=1)
    log_density = -a * x - b[:, None] * np.exp(-x) - c[:, None] * np.exp(x)
    # The deviance less its residual squares is the log of the determinants.
    by_ratio = -0.5 * (deviance - dof * np.log(squares) + prior.df * log_ratio)
    return x, log_density + (by_ratio + np.log(depth + 2 * width))[:, None]


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
        As in `sample_posterior`.
    size : tuple of int
        Nodes for the ratio of the variances and for the residual variance.

    Returns
    -------
    GridPosterior

    Raises
    ------
    InputError
        If the model has another number of random terms or no proper posterior; if more than 1e-10
        of the mass lies at an edge of the grid; or if a grid of so few nodes is none.

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
    if min(size) < FEWEST:
        raise InputError("so few nodes make no grid", hint=f"ask for {FEWEST} or more each way")
    # With a single random term no prior looks at the estimates.
    values = as_prior(prior).resolve(design, np.eye(1), 1.0)
    check_proper(standardise(design), values, design.n_total)
    stack = _turned(design_stack(design, reml=True))
    ratios = np.linspace(*WIDEST, 1_001)
    # The range halves itself onto the mass, however narrow: a peak between two nodes is kept.
    for number in (*[401] * 4, size[0], size[0]):
        log_marginal = np.logaddexp.reduce(_laid(stack, ratios, values, 101)[1], axis=1)
        inside = np.flatnonzero(log_marginal > log_marginal.max() - DEPTH)
        low, high = max(inside[0] - 1, 0), min(inside[-1] + 1, len(ratios) - 1)
        ratios = np.linspace(ratios[low], ratios[high], number)
    x, density = _laid(stack, ratios, values, size[1])
    mass = np.exp(density - density.max())
    mass /= mass.sum()
    if max(mass[[0, -1]].sum(), mass[:, [0, -1]].sum()) > EDGE:
        raise InputError(
            "the posterior reaches beyond the grid: too much of its mass lies at an edge",
            hint="give the variances priors that keep them from zero and from infinity",
        )
    return GridPosterior(ratios, x, mass, float(random_row(design, None)[0]))
