"""The density that a prior's numbers stand for, written out once for the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from multilevel.priors import PriorValues


def log_density(
    prior: PriorValues, covariance: ArrayLike, residual_variance: ArrayLike
) -> np.ndarray:
    """Log density, up to a constant, of covariance matrices and residual variances."""
    cov, s2 = np.asarray(covariance, float), np.asarray(residual_variance, float)
    q = cov.shape[-1]
    log_det = np.linalg.slogdet(cov)[1]
    variances = np.diagonal(cov, axis1=-2, axis2=-1)
    scale = np.broadcast_to(prior.scale, cov.shape)
    trace = np.trace(np.linalg.solve(cov, scale), axis1=-2, axis2=-1)
    value = -0.5 * (prior.df + q + 1) * log_det - 0.5 * trace
    value = value + prior.power * (log_det - np.log(variances).sum(axis=-1))
    value = value - variances @ prior.half
    return value - (prior.residual_shape + 1) * np.log(s2) - prior.residual_rate / s2
