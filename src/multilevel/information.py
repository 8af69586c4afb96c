"""Standard errors of variances and covariances, from expected or observed information."""

from __future__ import annotations

import numpy as np

from multilevel.design import coordinates
from multilevel.errors import InputError
from multilevel.likelihood import Array, Pieces, Stack, pieces, symmetric_basis
from multilevel.solution import Solution

__all__ = ["variance_covariance"]


def variance_covariance(fit: Solution, information: str) -> Array:
    """Return the components' sampling covariance in raw units, shape (k + 1, k + 1)."""
    stack, g = fit.stack, fit.optimum.g
    if not stack.q and information in ("expected", "observed"):
        return np.array([[2.0 * fit.residual_variance**2 / float(stack.dof[0])]])
    if information == "expected":
        matrix = _expected(stack, fit.pieces, g[0])
    elif information == "observed":
        if fit.singular:
            size = len(fit.design.component_names) + 1
            return np.full((size, size), np.nan)
        matrix = _observed(stack, fit.pieces, g[0])
    else:
        raise InputError(
            f"there is no information of the kind {information!r}",
            hint='give "expected" or "observed"',
        )
    back = _to_raw(stack)
    out: Array = back @ np.linalg.inv(matrix) @ back.T
    return (out + out.T) / 2


def _elements(matrix: Array) -> Array:
    """Elements of a symmetric matrix in the order of the components."""
    return np.array([matrix[i, j] for i, j in coordinates(matrix.shape[-1])])


def _to_raw(stack: Stack) -> Array:
    """Linear map from standardised to raw variance components, shape (k + 1, k + 1)."""
    q = stack.q
    back = np.linalg.inv(stack.z_root[0]).T
    moved = back @ symmetric_basis(q) @ back.T
    k = len(moved)
    out = np.zeros((k + 1, k + 1))
    for b in range(k):
        out[:k, b] = _elements(moved[b])
    out[k, k] = 1.0
    return out * float(stack.scale[0]) ** 2


def _expected(stack: Stack, at: Pieces, g: Array) -> Array:
    """Return the expected information on the standardised components.

    With ``P`` the projected inverse covariance, minus the Hessian of the log determinants is
    ``tr(P Z E_a Z' P Z E_b Z')`` and their gradient ``tr(P Z E_a Z')``. The residual's rows
    follow from the identity that the components, each times its derivative of the covariance
    matrix, add up to that matrix.
    """
    determinants = pieces(stack, g[None], determinants=True)
    variance = float(at.squares[0] / stack.dof[0])
    components = variance * _elements(g)
    inner = -determinants.hessian[0] / (2.0 * variance**2)
    score = np.einsum("aij,ij->a", symmetric_basis(stack.q), determinants.gamma[0])
    score = score / (2.0 * variance)
    cross = (score - inner @ components) / variance
    unit = (float(stack.dof[0]) / 2.0 - components @ score) / variance
    corner = (unit - components @ cross) / variance
    return np.block([[inner, cross[:, None]], [cross[None, :], np.array([[corner]])]])


def _observed(stack: Stack, at: Pieces, g: Array) -> Array:
    """Half the Hessian of the deviance by the standardised components, at its optimum."""
    dof, squares = float(stack.dof[0]), float(at.squares[0])
    variance = squares / dof
    slope = -np.einsum("aij,ji->a", symmetric_basis(stack.q), at.e[0].T @ at.e[0])
    inner = at.hessian[0] + dof / squares**2 * np.outer(slope, slope)
    cross = -slope / variance**2
    relative = np.block(
        [[inner, cross[:, None]], [cross[None, :], np.array([[dof / variance**2]])]]
    )
    k = len(slope)
    change = np.eye(k + 1)
    change[:k, :k] /= variance
    change[:k, k] = -_elements(g) / variance
    out: Array = change.T @ relative @ change / 2.0
    return out
