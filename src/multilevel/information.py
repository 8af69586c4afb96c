"""Errors of variances, and Satterthwaite's degrees of freedom of the fixed part."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from multilevel.likelihood import Array, Pieces, Stack, pieces, places, symmetric_basis
from multilevel.solution import Solution

Information: TypeAlias = Literal["expected", "observed"]


def variance_covariance(fit: Solution, information: Information) -> Array:
    """Return the components' sampling covariance in raw units, shape (k + 1, k + 1)."""
    stack, kind = fit.stack, _expected if information == "expected" else _observed
    matrix = kind(stack, fit.pieces, fit.optimum.g[0])
    if information == "observed" and fit.singular:
        matrix *= np.nan
    z_back = np.linalg.inv(stack.z_root[0]).T
    # From standardised to raw components.
    back = np.eye(len(matrix))
    back[:-1, :-1] = elements(z_back @ symmetric_basis(stack.q) @ z_back.T).T
    back *= float(stack.scale[0]) ** 2
    out: Array = back @ np.linalg.inv(matrix) @ back.T
    return (out + out.T) / 2


def elements(matrix: Array) -> Array:
    """Elements of symmetric matrices in the order of the components, shape (..., k)."""
    row, col = places(matrix.shape[-1]).T
    return np.asarray(matrix[..., row, col])


def _expected(stack: Stack, at: Pieces, g: Array) -> Array:
    """Return the expected information on the standardised components.

    With ``P`` the projected inverse covariance, minus the Hessian of the log determinants is
    ``tr(P Z E_a Z' P Z E_b Z')`` and their gradient ``tr(P Z E_a Z')``. The residual's rows
    follow from the identity that the components, each times its derivative of the covariance
    matrix, add up to that matrix.
    """
    determinants = pieces(stack, g[None], determinants=True)
    variance = float(at.squares[0] / stack.dof[0])
    components = variance * elements(g)
    inner = -determinants.hessian[0] / (2.0 * variance**2)
    score = np.einsum("aij,ij->a", symmetric_basis(stack.q), determinants.gamma[0])
    score = score / (2.0 * variance)
    cross = (score - inner @ components) / variance
    unit = (float(stack.dof[0]) / 2.0 - components @ score) / variance
    corner = (unit - components @ cross) / variance
    return np.block([[inner, cross[:, None]], [cross[None, :], corner]])


def _observed(stack: Stack, at: Pieces, g: Array) -> Array:
    """Half the Hessian of the deviance by the standardised components, at its optimum."""
    dof, squares = float(stack.dof[0]), float(at.squares[0])
    variance = squares / dof
    slope = -np.einsum("aij,ji->a", symmetric_basis(stack.q), at.e[0].T @ at.e[0])
    inner = at.hessian[0] + dof / squares**2 * np.outer(slope, slope)
    cross = -slope / variance**2
    relative = np.block([[inner, cross[:, None]], [cross[None, :], dof / variance**2]])
    change = np.eye(len(relative))
    change[:-1] /= variance
    change[:-1, -1] = -elements(g) / variance
    return np.asarray(change.T @ relative @ change / 2.0)


def fixed_tests(fit: Solution) -> pd.DataFrame:
    """Give fixed coefficients by term: estimate, se, df, t and two-sided p_value."""
    from scipy.stats import t

    table = fit.fixed[["estimate", "se"]].assign(df=_satterthwaite(fit))
    table["t"] = table["estimate"] / table["se"]
    table["p_value"] = 2.0 * t.sf(table["t"].abs(), table["df"])
    return table


def _satterthwaite(fit: Solution) -> Array:
    """Degrees of freedom of each fixed coefficient, shape (p,).

    Twice a coefficient's squared variance over the sampling variance of that variance. With the
    residual variance profiled out, ``1 / df`` is the squared rate at which the variance changes
    with the relative covariance, in the metric of half the deviance's Hessian, plus one over
    the divisor of the residual variance. The covariance is ``W W'`` with as many columns as its
    rank, so that a fit on the boundary has the degrees of freedom of the model that it came to.
    """
    stack, at, g = fit.stack, fit.pieces, fit.optimum.g[0]
    rank, p, dof = int(fit.optimum.rank[0]), stack.p, float(stack.dof[0])
    if rank == 0:
        return np.full(p, dof)
    values, vectors = np.linalg.eigh(g)
    w = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, stack.q - rank :]
    back = np.linalg.inv(stack.x_root[0]).T @ at.inverse[0]
    variance = np.einsum("ia,ia->i", back, np.linalg.inv(stack.x_root[0]).T)
    pull = at.cx[0] @ back.T
    change = np.einsum("jai,jbi->iab", pull, pull) / variance[:, None, None]
    change = change - at.e[0].T @ at.e[0] / float(at.squares[0])
    rate = 2.0 * (change @ w).reshape(p, -1)
    row, col = places(stack.q).T
    one = np.eye(stack.q)[:, :, None]
    link = (one[row] * w[col][:, None] + one[col] * w[row][:, None]).reshape(len(row), -1)
    hessian = link.T @ at.hessian[0] @ link + 2.0 * np.kron(at.gamma[0], np.eye(rank))
    inverse = np.linalg.pinv(hessian, rcond=1e-9, hermitian=True)
    return np.asarray(1.0 / (np.einsum("ia,ab,ib->i", rate, inverse, rate) + 1.0 / dof))
