"""The profiled deviance of a two-level normal model, from moments, with exact derivatives.

Everything is an array with a leading axis for stacked designs, so that one fit, many starts of
one fit and a thousand simulated cohorts all run the same lines.

With `A` a therapist's cross-products of the random terms, `G` the covariance of the random
effects relative to the residual variance and `M` the therapist's own least-squares coefficients
of every column on the random terms, all that the likelihood needs is ``C = (I + A G)^-1 A`` and
``M``: for columns `w` and `v`, ``w' V^-1 v`` is their within-therapist product plus ``m_w' C m_v``.
Both parts are sums of squares, so nothing cancels however large the therapist effect is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Evaluation",
    "Stack",
    "coordinates",
    "covariance_hessian",
    "derivatives",
    "dual",
    "element_tables",
    "evaluate",
    "factor",
    "standardise",
    "symmetric_basis",
    "traces",
]

Array: TypeAlias = NDArray[np.float64]

#: An eigenvalue of a therapist's cross-products below this share of the largest counts as nil.
_NIL = 1e-13


@dataclass(frozen=True)
class Stack:
    """Standardised statistics of `R` designs that share the roles of their columns.

    The random terms are rotated and scaled to pooled mean square 1 and no correlation, the fixed
    terms to an orthonormal basis, the response to its least-squares residual of mean square 1.
    The answer does not depend on the units or the origin of any predictor.

    Attributes
    ----------
    inner : ndarray of shape (R, J, q, q)
        Cross-products of the random terms.
    coef : ndarray of shape (R, J, q, p + 1)
        Coefficients of fixed terms and response on the random terms within each therapist.
    within : ndarray of shape (R, p + 1, p + 1)
        Products of what those coefficients leave over, summed over therapists.
    n : ndarray of shape (R,)
        Patients.
    reml : bool
        Restricted maximum likelihood.
    shift : ndarray of shape (R,)
        What standardising takes off the deviance.
    z_root, x_root : ndarray of shape (R, q, q) and (R, p, p)
        Factors `L` with ``raw = standardised @ L'``.
    ols : ndarray of shape (R, p)
        Least-squares coefficients in raw units.
    scale : ndarray of shape (R,)
        Root mean square of the least-squares residual.
    """

    inner: Array
    coef: Array
    within: Array
    n: Array
    reml: bool
    shift: Array
    z_root: Array
    x_root: Array
    ols: Array
    scale: Array

    @property
    def q(self) -> int:
        """Number of random terms."""
        return int(self.inner.shape[-1])

    @property
    def p(self) -> int:
        """Number of fixed terms."""
        return int(self.coef.shape[-1]) - 1

    @property
    def dof(self) -> Array:
        """Divisor of the residual variance: patients, less the fixed terms when REML."""
        return self.n - self.p if self.reml else self.n

    def __len__(self) -> int:
        """Return the number of stacked designs."""
        return int(self.inner.shape[0])

    def take(self, rows: NDArray[np.intp]) -> Stack:
        """Keep the designs at `rows`, in that order, repeats allowed."""
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("inner", "coef", "within", "n", "shift", "z_root", "x_root", "ols")
        }
        return replace(self, **arrays, scale=self.scale[rows])

    def rotate(self, basis: Array) -> Stack:
        """Express the random terms in another orthonormal basis, shape (R, q, q)."""
        turned = basis.swapaxes(-1, -2)
        by_group, turned_by_group = basis[:, None], turned[:, None]
        return replace(
            self,
            inner=turned_by_group @ self.inner @ by_group,
            coef=turned_by_group @ self.coef,
            z_root=self.z_root @ basis,
        )


@dataclass(frozen=True)
class Evaluation:
    """The deviance at a relative covariance, and what its derivatives are made of.

    Attributes
    ----------
    deviance : ndarray of shape (R,)
    c : ndarray of shape (R, J, q, q)
        ``Z' V^-1 Z`` of each therapist.
    cx : ndarray of shape (R, J, q, p)
        ``Z' V^-1 X``.
    e : ndarray of shape (R, J, q)
        ``Z' V^-1 (y - X beta)``.
    inverse : ndarray of shape (R, p, p)
        ``(X' V^-1 X)^-1``.
    beta : ndarray of shape (R, p)
        Coefficients of the standardised fixed terms.
    r2 : ndarray of shape (R,)
        ``(y - X beta)' V^-1 (y - X beta)``.
    """

    deviance: Array
    c: Array
    cx: Array
    e: Array
    inverse: Array
    beta: Array
    r2: Array


@cache
def coordinates(q: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the elements of a lower-triangular factor, column by column."""
    return tuple((i, j) for j in range(q) for i in range(j, q))


@cache
def symmetric_basis(q: int) -> Array:
    """Return the symmetric matrix that each element of a covariance stands for, (k, q, q)."""
    basis = np.zeros((len(coordinates(q)), q, q))
    for a, (i, j) in enumerate(coordinates(q)):
        basis[a, i, j] = basis[a, j, i] = 1.0
    return basis


@cache
def _pairs(q: int) -> Array:
    """Weights that turn ``sum Y[i,k] C[l,m]`` into ``tr(Y E_a C E_b)``, shape (q^4, k^2)."""
    basis = symmetric_basis(q)
    weights = np.einsum("akl,bmi->iklmab", basis, basis)
    weights = (weights + weights.swapaxes(-1, -2)) / 2
    return np.ascontiguousarray(weights.reshape(q**4, -1))


@cache
def _chain(q: int) -> Array:
    """Weights that turn a factor into the derivative of ``G = L L'`` by it, shape (q^2, k^2)."""
    places = coordinates(q)
    weights = np.zeros((q, q, len(places), len(places)))
    for a, (r, c) in enumerate(places):
        for t, (i, j) in enumerate(places):
            weights[c, j, a, t] += r == i
            weights[r, j, a, t] += c == i
    return weights.reshape(q * q, -1)


@cache
def _same_column(q: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return rows of the factor's elements and which pairs of elements share a column."""
    rows = np.array([i for i, _ in coordinates(q)], dtype=np.intp)
    cols = np.array([j for _, j in coordinates(q)], dtype=np.intp)
    return rows, cols, 2.0 * (cols[:, None] == cols[None, :])


@cache
def element_tables(q: int) -> tuple[Array, Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    """Weights and places of the factor's elements, for the compiled search."""
    row, col, _ = _same_column(q)
    flat = symmetric_basis(q).reshape(-1, q * q)
    return _pairs(q), np.ascontiguousarray(_chain(q)), flat, row, col


def factor(theta: Array, q: int) -> Array:
    """Lower-triangular factors, shape (R, q, q), from their elements, shape (R, k)."""
    rows, cols, _ = _same_column(q)
    out = np.zeros((*theta.shape[:-1], q, q))
    out[..., rows, cols] = theta
    return out


def _transpose(a: NDArray[Any]) -> Array:
    return a.swapaxes(-1, -2)


def standardise(
    cross: Array,
    n: Array,
    fixed: tuple[int, ...],
    random: tuple[int, ...],
    response: int,
    reml: bool,
) -> Stack:
    """Standardised statistics from raw cross-products.

    Parameters
    ----------
    cross : ndarray of shape (R, J, m, m)
    n : ndarray of shape (R,)
        Patients in all, for each design.
    fixed, random : tuple of int
        Positions of the terms among the columns.
    response : int
    reml : bool

    Raises
    ------
    numpy.linalg.LinAlgError
        If fixed or random terms are linearly dependent; callers look for that first.
    """
    total = cross.sum(axis=1)
    x, z = list(fixed), list(random)
    p, q, m = len(x), len(z), cross.shape[-1]
    xx, xy = total[:, x][:, :, x], total[:, x, response, None]
    x_root = _scaled_cholesky(xx)
    x_inverse = np.linalg.inv(x_root)
    ols = _transpose(x_inverse) @ (x_inverse @ xy)
    # One step of refinement: the residual of the normal equations is known exactly enough.
    ols = (ols + _transpose(x_inverse) @ (x_inverse @ (xy - xx @ ols)))[..., 0]
    z_root = _scaled_cholesky(total[:, z][:, :, z] / n[:, None, None])
    change = np.zeros((len(total), m, q + p + 1))
    change[:, z, :q] += _transpose(np.linalg.inv(z_root))
    change[:, x, q : q + p] += _transpose(x_inverse)
    change[:, response, -1] = 1.0
    change[:, x, -1] -= ols
    blocks = _transpose(change)[:, None] @ cross @ change[:, None]
    scale = np.sqrt(blocks[..., -1, -1].sum(axis=1) / n)
    blocks[..., -1, :] /= scale[:, None, None]
    blocks[..., :, -1] /= scale[:, None, None]
    inner = blocks[..., :q, :q]
    coef = _own_coefficients(inner, blocks[..., :q, q:])
    within = (blocks[..., q:, q:] - _transpose(coef) @ inner @ coef).sum(axis=1)
    dof = n - p if reml else n
    shift = 2.0 * dof * np.log(scale)
    if reml:
        shift = shift + 2.0 * np.log(np.diagonal(x_root, axis1=1, axis2=2)).sum(axis=1)
    return Stack(inner, coef, within, n, reml, shift, z_root, x_root, ols, scale)


def _scaled_cholesky(square: Array) -> Array:
    """Cholesky factor taken after scaling the diagonal to one, which keeps its digits."""
    size = np.sqrt(np.diagonal(square, axis1=-2, axis2=-1))
    scaled = square / (size[..., :, None] * size[..., None, :])
    root: Array = size[..., :, None] * np.linalg.cholesky(scaled)
    return root


def _own_coefficients(inner: Array, outer: Array) -> Array:
    """Least-squares coefficients within each therapist, by the pseudo-inverse."""
    if inner.shape[-1] == 0:
        return outer
    values, vectors = np.linalg.eigh(inner)
    nil = values <= _NIL * np.maximum(values[..., -1:], np.finfo(float).tiny)
    inverse = np.where(nil, 0.0, 1.0 / np.where(nil, 1.0, values))
    return vectors @ (inverse[..., None] * (_transpose(vectors) @ outer))


def _marginal(inner: Array, g: Array) -> tuple[Array, Array]:
    """``(I + A G)^-1 A``, shape (R, J, q, q), and the log determinants' sum, shape (R,)."""
    q = inner.shape[-1]
    g = g[:, None]
    if q == 1:
        bulk = 1.0 + inner[..., 0, 0] * g[..., 0, 0]
        return inner / bulk[..., None, None], np.log(bulk).sum(axis=1)
    if q == 2:
        area = inner[..., 0, 0] * inner[..., 1, 1] - inner[..., 0, 1] ** 2
        area = np.maximum(area, 0.0)
        adjoint = np.empty_like(g)
        adjoint[..., 0, 0], adjoint[..., 1, 1] = g[..., 1, 1], g[..., 0, 0]
        adjoint[..., 0, 1] = adjoint[..., 1, 0] = -g[..., 0, 1]
        g_area = np.maximum(g[..., 0, 0] * g[..., 1, 1] - g[..., 0, 1] ** 2, 0.0)
        bulk = 1.0 + (inner * g).sum(axis=(-2, -1)) + area * g_area
        c = (inner + area[..., None, None] * adjoint) / bulk[..., None, None]
        return c, np.log(bulk).sum(axis=1)
    if q == 0:
        return inner, np.zeros(len(inner))
    bulk = np.eye(q) + inner @ g
    c = np.linalg.solve(bulk, inner)
    return (c + _transpose(c)) / 2, np.linalg.slogdet(bulk)[1].sum(axis=1)


def evaluate(stack: Stack, g: Array) -> Evaluation:
    """Deviance at relative covariances `g`, shape (R, q, q)."""
    rows, p = len(stack), stack.p
    c, log_det = _marginal(stack.inner, g)
    cm = c @ stack.coef
    flat = (rows, -1, p + 1)
    total = stack.within + _transpose(stack.coef.reshape(flat)) @ cm.reshape(flat)
    inverse = cast(Array, np.linalg.inv(total[:, :p, :p]))
    beta = (inverse @ total[:, :p, p:])[..., 0]
    r2 = total[:, p, p] - (total[:, p, :p] * beta).sum(axis=-1)
    dof = stack.dof
    deviance = log_det + dof * (1.0 + np.log(2.0 * np.pi * r2 / dof)) + stack.shift
    if stack.reml:
        deviance = deviance - np.linalg.slogdet(inverse)[1]
    cx = cm[..., :p]
    e = cm[..., p] - (cx @ beta[:, None, :, None])[..., 0]
    return Evaluation(deviance, c, cx, e, inverse, beta, r2)


def dual(stack: Stack, at: Evaluation) -> Array:
    """Differentiate the deviance by the relative covariance: a symmetric (R, q, q) matrix."""
    ratio = (stack.dof / at.r2)[:, None, None]
    out: Array = at.c.sum(axis=1) - ratio * (_transpose(at.e) @ at.e)
    if stack.reml:
        out = out - (at.cx @ at.inverse[:, None] @ _transpose(at.cx)).sum(axis=1)
    return out


def covariance_hessian(stack: Stack, at: Evaluation) -> Array:
    """Second derivatives by the elements of the relative covariance, shape (R, k, k)."""
    rows, q, p = len(stack), stack.q, stack.p
    basis = symmetric_basis(q)
    k = len(basis)
    ratio = (stack.dof / at.r2)[:, None, None]
    squares = at.e[..., :, None] * at.e[..., None, :]
    weights = 2.0 * ratio[..., None] * squares - at.c
    if stack.reml:
        weights = weights + 2.0 * at.cx @ at.inverse[:, None] @ _transpose(at.cx)
    paired = _transpose(weights.reshape(rows, -1, q * q)) @ at.c.reshape(rows, -1, q * q)
    hessian = (paired.reshape(rows, -1) @ _pairs(q)).reshape(rows, k, k)
    flat_basis = basis.reshape(k, -1)
    slope = squares.sum(axis=1).reshape(rows, -1) @ flat_basis.T
    hessian = hessian - (ratio / at.r2[:, None, None]) * slope[:, :, None] * slope[:, None, :]
    by_group = at.cx.reshape(rows, -1, q * p)
    mixed = (_transpose(at.e) @ by_group).reshape(rows, q * q, p)
    pull = flat_basis @ mixed
    hessian = hessian - 2.0 * ratio * (pull @ at.inverse @ _transpose(pull))
    if stack.reml:
        hessian = hessian - _restricted_part(stack, at, by_group)
    out: Array = hessian
    return out


def _restricted_part(stack: Stack, at: Evaluation, by_group: Array) -> Array:
    """``tr(P K_a P K_b)``, what the fixed part's uncertainty adds to the REML curvature."""
    rows, q, p = len(stack), stack.q, stack.p
    products = (_transpose(by_group) @ by_group).reshape(rows, q, p, q, p)
    k = np.einsum("aij,rixjy->raxy", symmetric_basis(q), products)
    pk = at.inverse[:, None] @ k
    out: Array = np.einsum("raxy,rbyx->rab", pk, pk)
    return out


def traces(stack: Stack, at: Evaluation) -> tuple[Array, Array]:
    """``tr(P Z E_a Z' P Z E_b Z')``, (R, k, k), and ``tr(P Z E_a Z')``, (R, k), for information.

    `P` is ``V^-1``, less its projection on the fixed terms when REML.
    """
    rows, q, p = len(stack), stack.q, stack.p
    k = len(coordinates(q))
    weights, single = at.c, at.c.sum(axis=1)
    if stack.reml:
        shared = at.cx @ at.inverse[:, None] @ _transpose(at.cx)
        weights, single = at.c - 2.0 * shared, single - shared.sum(axis=1)
    paired = _transpose(weights.reshape(rows, -1, q * q)) @ at.c.reshape(rows, -1, q * q)
    products = (paired.reshape(rows, -1) @ _pairs(q)).reshape(rows, k, k)
    if stack.reml:
        products = products + _restricted_part(stack, at, at.cx.reshape(rows, -1, q * p))
    return products, single.reshape(rows, -1) @ symmetric_basis(q).reshape(k, -1).T


def derivatives(stack: Stack, at: Evaluation, theta: Array) -> tuple[Array, Array, Array]:
    """Gradient (R, k) and Hessian (R, k, k) by the factor's elements, and the dual (R, q, q)."""
    rows, q = len(stack), stack.q
    k = theta.shape[-1]
    row, col, same = _same_column(q)
    root = factor(theta, q)
    gamma = dual(stack, at)
    gradient = 2.0 * (gamma @ root)[:, row, col]
    chain = (root.reshape(rows, -1) @ _chain(q)).reshape(rows, k, k)
    hessian = _transpose(chain) @ covariance_hessian(stack, at) @ chain
    hessian = hessian + same * gamma[:, row][:, :, row]
    return gradient, hessian, gamma
