"""Standard errors of variances and covariances, from expected or observed information."""

from __future__ import annotations

import numpy as np

from multilevel.design import coordinates
from multilevel.errors import InputError
from multilevel.likelihood import (
    Array,
    Pieces,
    Stack,
    element_tables,
    symmetric_basis,
)
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


def _traces(stack: Stack, at: Pieces) -> tuple[Array, Array]:
    """``tr(P Z E_a Z' P Z E_b Z')``, (k, k), and ``tr(P Z E_a Z')``, (k,).

    `P` is ``V^-1``, less its projection on the fixed terms under REML.
    """
    q, c, cx = stack.q, at.c[0], at.cx[0]
    basis = symmetric_basis(q)
    k = len(basis)
    weights = c
    products = np.zeros((k, k))
    if stack.reml:
        shared = cx @ at.inverse[0] @ cx.swapaxes(-1, -2)
        weights = c - 2.0 * shared
        by_term = np.einsum("aij,gix,gjy->axy", basis, cx, cx)
        moved = at.inverse[0] @ by_term
        products = np.einsum("axy,byx->ab", moved, moved)
        single = (c - shared).sum(axis=0)
    else:
        single = c.sum(axis=0)
    paired = (weights.reshape(-1, q * q).T @ c.reshape(-1, q * q)).reshape(-1)
    products = products + (paired @ element_tables(q).pairs).reshape(k, k)
    return products, np.einsum("aij,ij->a", basis, single)


def _expected(stack: Stack, at: Pieces, g: Array) -> Array:
    """Return the expected information on the standardised components.

    The residual's rows follow from the identity that the components, each times its derivative
    of the covariance matrix, add up to that matrix.
    """
    products, singles = _traces(stack, at)
    variance = float(at.squares[0] / stack.dof[0])
    components = variance * _elements(g)
    inner = products / (2.0 * variance**2)
    score = singles / (2.0 * variance)
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
