"""New responses for the same rows, drawn at the level of moments: for bootstraps and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multilevel.design import DesignMoments
from multilevel.likelihood import Array

__all__ = ["replicate_moments"]

#: A direction of a group's columns with less than this share of the largest is no direction.
_NIL = 1e-11


def replicate_moments(
    design: DesignMoments,
    coefficients: ArrayLike,
    random_covariance: ArrayLike,
    residual_variance: float,
    draws: int,
    rng: np.random.Generator,
) -> Array:
    """Cross-products of simulated responses, distributed exactly as from simulated rows.

    A normal residual projects onto a group's columns as a normal vector, and what is left is
    a chi-square with as many degrees of freedom as rows less columns; no row is drawn.

    Parameters
    ----------
    design : DesignMoments
        Predictors and sizes of groups; its responses are not used.
    coefficients : array_like of shape (p,)
    random_covariance : array_like of shape (q, q)
    residual_variance : float
    draws : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (draws, J, m, m)

    Examples
    --------
    >>> d = DesignMoments.from_arrays([1, 2, 4], {"Intercept": [1, 1, 1]}, ["Intercept"],
    ...                               ["a", "a", "b"])
    >>> cross = replicate_moments(d, [2.0], [[1.0]], 0.5, 7, np.random.default_rng(1))
    >>> cross.shape
    (7, 2, 2, 2)
    """
    used = sorted({*design.fixed, *design.random})
    own = design.cross[:, used][:, :, used]
    root, rank = _roots(own)
    shape = (draws, len(design.groups))
    weights = np.zeros((*shape, len(used)))
    weights[..., [used.index(i) for i in design.fixed]] += np.asarray(coefficients, dtype=float)
    if design.random:
        effects = _effects(np.asarray(random_covariance, dtype=float), shape, rng)
        weights[..., [used.index(i) for i in design.random]] += effects
    noise = rng.standard_normal((*shape, len(used))) * np.sqrt(residual_variance)
    noise *= np.arange(len(used))[::-1] < rank[:, None]
    projected = np.einsum("jab,rjb->rja", root, noise)
    mean_products = np.einsum("jab,rjb->rja", own, weights)
    left = 2.0 * rng.standard_gamma(np.maximum(design.n - rank, 0) / 2.0, size=shape)
    squares = (
        (weights * (mean_products + 2.0 * projected)).sum(axis=-1)
        + (noise**2).sum(axis=-1)
        + residual_variance * left
    )
    cross = np.repeat(design.cross[None], draws, axis=0)
    y = design.response
    cross[:, :, used, y] = cross[:, :, y, used] = mean_products + projected
    cross[:, :, y, y] = squares
    return cross


def _effects(covariance: Array, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Random effects, shape (draws, J, q); the covariance may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    out: Array = rng.standard_normal((*shape, len(covariance))) @ root.T
    return out


def _roots(own: Array) -> tuple[Array, Array]:
    """Square roots of each group's cross-products, zero directions first, and their ranks."""
    size = np.sqrt(np.diagonal(own, axis1=1, axis2=2))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(own / (size[:, :, None] * size[:, None, :]))
    real = values > _NIL * values[:, -1:]
    root = size[:, :, None] * vectors * np.sqrt(np.where(real, values, 0.0))[:, None, :]
    return root, real.sum(axis=1)
