"""The profiled deviance of a two-level normal model, from sums within groups. Compiled.

With `A` a group's cross-products of the random terms, ``A = R'R``, and ``U`` what the group's
other columns have in the space of the random terms, ``U'U = w' Z A^- Z' w``, all that the
likelihood needs of a relative covariance ``G = L L'`` of the random effects is the Cholesky
factor ``K`` of ``I + (R L)(R L)'`` in each group: the log determinant is ``2 log |K|``, and
products through the inverse covariance are those within groups plus ``Y'Y`` with ``Y = K^-1 U``.
Both parts are sums of squares, so that nothing cancels however large the variance of the random
effects is, or how few rows a group has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from multilevel.design import coordinates
from multilevel.errors import InputError
from multilevel.small import add, cholesky, compiled, gram, invert_lower, product

__all__ = [
    "Array",
    "Pieces",
    "Stack",
    "deviances",
    "element_tables",
    "evaluate",
    "measure",
    "method_name",
    "one_design",
    "pieces",
    "standardise",
    "symmetric_basis",
    "workspace",
]

Array: TypeAlias = NDArray[np.float64]

#: A direction of a group's random terms with less than this share of the largest is none.
_NONE = 1e-13


@dataclass(frozen=True)
class Stack:
    """Standardised statistics of `R` designs that share the roles of their columns.

    The random terms are rotated and scaled to mean square 1 over all rows and no correlation,
    the fixed terms to an orthonormal basis, the response to its least-squares residual of mean
    square 1. So the answer does not depend on the units of any column.

    Attributes
    ----------
    root : ndarray of shape (R, J, q, q)
        Factor `R` of the random terms' cross-products in each group.
    outer : ndarray of shape (R, J, q, p + 1)
        `U` of the fixed terms and the response in each group.
    within : ndarray of shape (R, p + 1, p + 1)
        What is left of their products within groups, summed over groups.
    n : ndarray of shape (R,)
        Rows.
    reml : bool
    shift : ndarray of shape (R,)
        What standardising takes off the deviance.
    z_root, x_root : ndarray of shape (R, q, q) and (R, p, p)
        Factors `L` with ``raw = standardised @ L'``.
    ols : ndarray of shape (R, p)
        Least-squares coefficients in raw units.
    scale : ndarray of shape (R,)
        Root mean square of the least-squares residual.
    """

    root: Array
    outer: Array
    within: Array
    n: Array
    reml: bool
    shift: Array
    z_root: Array
    x_root: Array
    ols: Array
    scale: Array

    def __len__(self) -> int:
        """Return the number of designs."""
        return len(self.root)

    @property
    def q(self) -> int:
        """Number of random terms."""
        return int(self.root.shape[-1])

    @property
    def p(self) -> int:
        """Number of fixed terms."""
        return int(self.outer.shape[-1]) - 1

    @property
    def dof(self) -> Array:
        """Divisor of the residual variance: rows, less the fixed terms under REML."""
        return self.n - self.p if self.reml else self.n

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """What the compiled functions take."""
        return self.root, self.outer, self.within, self.n, self.dof, self.shift, self.reml


@cache
def symmetric_basis(q: int) -> Array:
    """Return the symmetric matrix that each element of a covariance stands for, (k, q, q)."""
    basis = np.zeros((len(coordinates(q)), q, q))
    for a, (i, j) in enumerate(coordinates(q)):
        basis[a, i, j] = basis[a, j, i] = 1.0
    return basis


class Tables(NamedTuple):
    """Weights and places of the elements of a factor with `q` rows."""

    pairs: Array
    chain: Array
    basis: Array
    row: NDArray[np.intp]
    col: NDArray[np.intp]


@cache
def element_tables(q: int) -> Tables:
    """Return the tables that the compiled derivatives need.

    ``pairs``, shape (q^4, k^2), turns ``sum Y[i,k] C[l,m]`` into ``tr(Y E_a C E_b)``; ``chain``,
    shape (q^2, k^2), a factor into the derivative of ``G = L L'`` by it.
    """
    places, basis = coordinates(q), symmetric_basis(q)
    k = len(places)
    pairs = np.einsum("akl,bmi->iklmab", basis, basis)
    pairs = (pairs + pairs.swapaxes(-1, -2)) / 2
    chain = np.zeros((q, q, k, k))
    for a, (r, c) in enumerate(places):
        for t, (i, j) in enumerate(places):
            chain[c, j, a, t] += r == i
            chain[r, j, a, t] += c == i
    return Tables(
        np.ascontiguousarray(pairs.reshape(q**4, k * k)),
        np.ascontiguousarray(chain.reshape(q * q, k * k)),
        np.ascontiguousarray(basis.reshape(k, q * q)),
        np.array([i for i, _ in places], dtype=np.intp),
        np.array([j for _, j in places], dtype=np.intp),
    )


def method_name(method: str) -> Literal["ML", "REML"]:
    """Return the name of a method in capitals; refuses others."""
    name = method.upper() if isinstance(method, str) else ""
    if name not in ("ML", "REML"):
        raise InputError('the method is neither "ML" nor "REML"', hint="give one of the two")
    return cast(Literal["ML", "REML"], name)


# -- from raw to standardised ------------------------------------------------------------------


def standardise(
    cross: Array,
    n: Array,
    fixed: tuple[int, ...],
    random: tuple[int, ...],
    response: int,
    reml: bool,
    uncentring: Array | None = None,
) -> Stack:
    """Standardised statistics from cross-products.

    Parameters
    ----------
    cross : ndarray of shape (R, J, m, m)
    n : ndarray of shape (R,)
        Rows in all, for each design.
    fixed, random : tuple of int
        Positions of the terms among the columns.
    response : int
    reml : bool
    uncentring : ndarray of shape (m, m), optional
        What turns the columns into those in which answers are wanted.

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
    ols = x_inverse.swapaxes(1, 2) @ (x_inverse @ xy)
    # One step of refinement: the residual of the normal equations is known exactly enough.
    ols = (ols + x_inverse.swapaxes(1, 2) @ (x_inverse @ (xy - xx @ ols)))[..., 0]
    z_root = _scaled_cholesky(total[:, z][:, :, z] / n[:, None, None])
    change = np.zeros((len(total), m, q + p + 1))
    change[:, z, :q] += np.linalg.inv(z_root).swapaxes(1, 2)
    change[:, x, q : q + p] += x_inverse.swapaxes(1, 2)
    change[:, response, -1] = 1.0
    change[:, x, -1] -= ols
    blocks = change.swapaxes(1, 2)[:, None] @ cross @ change[:, None]
    scale = np.sqrt(blocks[..., -1, -1].sum(axis=1) / n)
    blocks[..., -1, :] /= scale[:, None, None]
    blocks[..., :, -1] /= scale[:, None, None]
    root, outer, within = _split(blocks, q)
    dof = n - p if reml else n
    shift = 2.0 * dof * np.log(scale)
    if reml:
        shift = shift + 2.0 * np.log(np.diagonal(x_root, axis1=1, axis2=2)).sum(axis=1)
    if uncentring is not None:
        fixed_change = uncentring[np.ix_(x, x)]
        x_root, z_root = fixed_change.T @ x_root, uncentring[np.ix_(z, z)].T @ z_root
        ols = ols @ np.linalg.inv(fixed_change).T + uncentring[x, response]
    return Stack(root, outer, within, n, reml, shift, z_root, x_root, ols, scale)


def _scaled_cholesky(square: Array) -> Array:
    """Cholesky factor taken after scaling the diagonal to one, which keeps its digits."""
    size = np.sqrt(np.diagonal(square, axis1=-2, axis2=-1))
    scaled = square / (size[..., :, None] * size[..., None, :])
    root: Array = size[..., :, None] * np.linalg.cholesky(scaled)
    return root


@compiled  # type: ignore[untyped-decorator]
def _split(blocks: Any, q: Any) -> tuple[Any, Any, Any]:
    """Take each group's products apart: `R` and `U` by a pivoted Cholesky factor, and the rest."""
    designs, groups, width = blocks.shape[:3]
    root = np.zeros((designs, groups, q, q))
    outer = np.zeros((designs, groups, q, width - q))
    within = np.zeros((designs, width - q, width - q))
    row = np.zeros(width)
    for r in range(designs):
        for j in range(groups):
            block = blocks[r, j]
            largest = 0.0
            for i in range(q):
                largest = max(largest, block[i, i])
            for s in range(q):
                pivot = 0
                for i in range(q):
                    if block[i, i] > block[pivot, pivot]:
                        pivot = i
                if not block[pivot, pivot] > _NONE * largest:
                    break
                size = np.sqrt(block[pivot, pivot])
                for i in range(width):
                    row[i] = block[pivot, i] / size
                for i in range(width):
                    for m in range(width):
                        block[i, m] -= row[i] * row[m]
                for i in range(q):
                    root[r, j, s, i] = row[i]
                    block[pivot, i] = block[i, pivot] = 0.0
                for i in range(q, width):
                    outer[r, j, s, i - q] = row[i]
            for i in range(width - q):
                for m in range(width - q):
                    within[r, i, m] += block[q + i, q + m]
    return root, outer, within


# -- the deviance ------------------------------------------------------------------------------


class Workspace(NamedTuple):
    """Room for what one evaluation fills, so that no evaluation asks for memory."""

    x: Array
    y: Array
    total: Array
    low: Array
    inverse: Array
    beta: Array


class Design(NamedTuple):
    """One design of a stack, its random terms turned to another orthonormal basis."""

    root: Array
    outer: Array
    within: Array
    n: float
    dof: float
    shift: float
    reml: bool


@compiled  # type: ignore[untyped-decorator]
def one_design(arrays: Any, r: Any, basis: Any) -> Any:
    """Take a design out of a stack's arrays, and turn its random terms."""
    root, outer, within, n, dof, shift, reml = arrays
    turned = np.zeros(root.shape[1:])
    for j in range(root.shape[1]):
        add(turned[j], 1.0, product(root[r, j], basis))
    return Design(turned, outer[r], within[r], n[r], dof[r], shift[r], reml)


@compiled  # type: ignore[untyped-decorator]
def workspace(groups: Any, q: Any, p: Any) -> Any:
    """Make room for the evaluations of one design."""
    return Workspace(
        np.zeros((groups, q, q)),
        np.zeros((groups, q, p + 1)),
        np.zeros((p + 1, p + 1)),
        np.zeros((p + 1, p + 1)),
        np.zeros((p, p)),
        np.zeros(p),
    )


@compiled  # type: ignore[untyped-decorator]
def _sums(design: Any, factor: Any, space: Any) -> Any:
    """Fill ``X = K^-1 R`` and ``Y = K^-1 U`` of each group and the total; the log determinant."""
    root, outer, within = design.root, design.outer, design.within
    x, y, total = space.x, space.y, space.total
    groups, q, width = outer.shape
    for w in range(width):
        for v in range(w + 1):
            total[w, v] = within[w, v]
    bulk, k = np.zeros((q, q)), np.zeros((q, q))
    log_det = 0.0
    for j in range(groups):
        for i in range(q):
            for m in range(q):
                bulk[i, m] = 0.0
                for t in range(m, q):
                    bulk[i, m] += root[j, i, t] * factor[t, m]
        log_part = 1.0
        for i in range(q):
            for m in range(i + 1):
                value = 1.0 if i == m else 0.0
                for t in range(q):
                    value += bulk[i, t] * bulk[m, t]
                for t in range(m):
                    value -= k[i, t] * k[m, t]
                k[i, m] = np.sqrt(max(value, 1.0)) if i == m else value / k[m, m]
            log_part *= k[i, i]
            for m in range(q):
                value = root[j, i, m]
                for t in range(i):
                    value -= k[i, t] * x[j, t, m]
                x[j, i, m] = value / k[i, i]
            for w in range(width):
                value = outer[j, i, w]
                for t in range(i):
                    value -= k[i, t] * y[j, t, w]
                y[j, i, w] = value / k[i, i]
            for w in range(width):
                for v in range(w + 1):
                    total[w, v] += y[j, i, w] * y[j, i, v]
        log_det += 2.0 * np.log(log_part)
    return log_det


@compiled  # type: ignore[untyped-decorator]
def evaluate(design: Any, factor: Any, space: Any) -> Any:
    """Deviance at the relative covariance ``factor factor'``; its parts are left in `space`.

    Parameters
    ----------
    design : Design
    factor : ndarray of shape (q, q)
        Lower-triangular.
    space : Workspace

    Returns
    -------
    deviance, residual_squares : float
    """
    log_det = _sums(design, factor, space)
    p = len(space.beta)
    cholesky(space.total, space.low, 0.0)
    squares = space.low[p, p] ** 2
    dof = design.dof
    deviance = log_det + dof * (1.0 + np.log(2.0 * np.pi * squares / dof)) + design.shift
    if design.reml:
        for i in range(p):
            deviance += 2.0 * np.log(space.low[i, i])
    return deviance, squares


@compiled  # type: ignore[untyped-decorator]
def _solve(space: Any) -> None:
    """Fill the coefficients and the inverse from the factor that `evaluate` left."""
    p = len(space.beta)
    root = np.zeros((p, p))
    invert_lower(space.low[:p, :p], root)
    gram(root, space.inverse)
    for i in range(p):
        space.beta[i] = 0.0
        for j in range(i, p):
            space.beta[i] += root[j, i] * space.low[p, j]


@compiled  # type: ignore[untyped-decorator]
def covariance_hessian(design: Any, space: Any, squares: Any, tables: Any, gradient: Any) -> Any:
    """First and second derivatives of the deviance by the relative covariance.

    Parameters
    ----------
    design : Design
    space : Workspace
        As `evaluate` left it.
    squares : float
        The residual squares that it returned.
    tables : Tables
    gradient : ndarray of shape (q, q)
        Overwritten; symmetric.

    Returns
    -------
    ndarray of shape (k, k)
        By the elements of the covariance.
    """
    _solve(space)
    x, y, inverse, beta = space.x, space.y, space.inverse, space.beta
    groups, q, width = y.shape
    p, k = width - 1, len(tables.basis)
    ratio = design.dof / squares
    outer = np.zeros((q * q, 1))
    mixed, paired = np.zeros((q * q, p)), np.zeros(q**4)
    by_term = np.zeros((k, p, p))
    c, cx, e = np.zeros((q, q)), np.zeros((q, p)), np.zeros(q)
    shared = np.zeros((q, q))
    for i in range(q):
        for m in range(q):
            gradient[i, m] = 0.0
    for j in range(groups):
        for i in range(q):
            e[i] = 0.0
            for t in range(q):
                e[i] += x[j, t, i] * y[j, t, p]
            for w in range(p):
                cx[i, w] = 0.0
                for t in range(q):
                    cx[i, w] += x[j, t, i] * y[j, t, w]
                e[i] -= cx[i, w] * beta[w]
            for m in range(q):
                c[i, m] = 0.0
                for t in range(q):
                    c[i, m] += x[j, t, i] * x[j, t, m]
        if design.reml:
            shared = product(product(cx, inverse), cx.T)
            _by_term(cx, tables.basis, by_term)
        for i in range(q):
            for m in range(q):
                square = e[i] * e[m]
                outer[i * q + m, 0] += square
                gradient[i, m] += c[i, m] - ratio * square - shared[i, m]
                weight = 2.0 * ratio * square - c[i, m] + 2.0 * shared[i, m]
                for a in range(q):
                    for b in range(q):
                        paired[((i * q + m) * q + a) * q + b] += weight * c[a, b]
                for w in range(p):
                    mixed[i * q + m, w] += e[i] * cx[m, w]
    hessian = _spread(paired, tables.pairs, k)
    slope, pull = product(tables.basis, outer), product(tables.basis, mixed)
    add(hessian, -ratio / squares, product(slope, slope.T))
    add(hessian, -2.0 * ratio, product(product(pull, inverse), pull.T))
    if design.reml:
        add(hessian, -1.0, _restricted(by_term, inverse))
    return hessian


@compiled  # type: ignore[untyped-decorator]
def _by_term(cx: Any, basis: Any, by_term: Any) -> None:
    """Add a group's ``(Z'V^-1 X)' E_a (Z'V^-1 X)`` for each element of the covariance."""
    q, p = cx.shape
    for a in range(len(basis)):
        for i in range(q):
            for m in range(q):
                weight = basis[a, i * q + m]
                if weight:
                    for w in range(p):
                        for v in range(p):
                            by_term[a, w, v] += weight * cx[i, w] * cx[m, v]


@compiled  # type: ignore[untyped-decorator]
def _restricted(by_term: Any, inverse: Any) -> Any:
    """``tr(P K_a P K_b)``, what the fixed part's uncertainty adds to the REML curvature."""
    k, p = by_term.shape[0], by_term.shape[1]
    out = np.zeros((k, k))
    for a in range(k):
        left = product(inverse, by_term[a])
        for b in range(k):
            right = product(inverse, by_term[b])
            for w in range(p):
                for v in range(p):
                    out[a, b] += left[w, v] * right[v, w]
    return out


@compiled  # type: ignore[untyped-decorator]
def _spread(weights: Any, table: Any, k: Any) -> Any:
    """Sum the tables of k x k numbers, a row each, with these weights."""
    out = np.zeros((k, k))
    for m in range(len(weights)):
        for i in range(k):
            for j in range(k):
                out[i, j] += weights[m] * table[m, i * k + j]
    return out


@compiled  # type: ignore[untyped-decorator]
def measure(
    design: Any,
    theta: Any,
    free: Any,
    tables: Any,
    space: Any,
    gradient: Any,
    hessian: Any,
    gamma: Any,
) -> Any:
    """Fill gradient and Hessian by the elements of the factor; the deviance.

    Parameters
    ----------
    design : Design
    theta, free : ndarray of shape (k,)
        Elements, column by column, and one where an element may move.
    tables : Tables
    space : Workspace
    gradient, hessian : ndarray of shape (k,) and (k, k)
        Overwritten; elements that are held have none.
    gamma : ndarray of shape (q, q)
        Overwritten by the derivatives by the relative covariance.
    """
    row, col = tables.row, tables.col
    q, k = design.root.shape[1], len(theta)
    factor, flat = np.zeros((q, q)), np.zeros(q * q)
    for t in range(k):
        factor[row[t], col[t]] = theta[t]
        flat[row[t] * q + col[t]] = theta[t]
    deviance, squares = evaluate(design, factor, space)
    inside = covariance_hessian(design, space, squares, tables, gamma)
    link = _spread(flat, tables.chain, k)
    half, lean = product(inside, link), product(gamma, factor)
    for t in range(k):
        gradient[t] = 2.0 * lean[row[t], col[t]] * free[t]
        for s in range(k):
            hessian[t, s] = 0.0
            for m in range(k):
                hessian[t, s] += link[m, t] * half[m, s]
            if col[s] == col[t]:
                hessian[t, s] += 2.0 * gamma[row[t], row[s]]
            if free[t] * free[s] == 0.0:
                hessian[t, s] = 1.0 if s == t else 0.0
    return deviance


@compiled  # type: ignore[untyped-decorator]
def deviances(arrays: Any, factors: Any) -> Any:
    """Evaluate each design at its factors.

    Parameters
    ----------
    arrays : tuple
        Those of a stack.
    factors : ndarray of shape (R, S, q, q)
        Lower-triangular.

    Returns
    -------
    deviance, residual_squares : ndarray of shape (R, S)
    """
    designs, count, q = factors.shape[:3]
    groups, width = arrays[1].shape[1], arrays[1].shape[3]
    out, squares = np.zeros((designs, count)), np.zeros((designs, count))
    space = workspace(groups, q, width - 1)
    basis = np.eye(q)
    for r in range(designs):
        design = one_design(arrays, r, basis)
        for s in range(count):
            out[r, s], squares[r, s] = evaluate(design, factors[r, s], space)
            if not np.isfinite(out[r, s]):
                out[r, s] = np.inf
    return out, squares


class Pieces(NamedTuple):
    """What everything but the search is computed from, for each of `R` designs.

    Attributes
    ----------
    c : ndarray of shape (R, J, q, q)
        ``Z' V^-1 Z`` of each group, with ``V`` relative to the residual variance.
    cx : ndarray of shape (R, J, q, p)
        ``Z' V^-1 X``.
    e : ndarray of shape (R, J, q)
        ``Z' V^-1 (y - X beta)``.
    inverse : ndarray of shape (R, p, p)
        ``(X' V^-1 X)^-1``.
    beta : ndarray of shape (R, p)
        Coefficients of the standardised fixed terms.
    squares : ndarray of shape (R,)
        ``(y - X beta)' V^-1 (y - X beta)``.
    hessian : ndarray of shape (R, k, k)
        Second derivatives of the deviance by the relative covariance.
    """

    c: Array
    cx: Array
    e: Array
    inverse: Array
    beta: Array
    squares: Array
    hessian: Array


def pieces(stack: Stack, g: Array) -> Pieces:
    """Pieces of every design at its relative covariance, shape (R, q, q)."""
    values, vectors = np.linalg.eigh(g)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
    factors = np.linalg.qr(root.swapaxes(1, 2))[1].swapaxes(1, 2) if stack.q else g
    out: Pieces = _pieces(stack.arrays, np.array(factors, order="C"), element_tables(stack.q))
    return out


@compiled  # type: ignore[untyped-decorator]
def _pieces(arrays: Any, factors: Any, tables: Any) -> Any:
    designs, groups, q, width = arrays[1].shape
    p = width - 1
    out = Pieces(
        np.zeros((designs, groups, q, q)),
        np.zeros((designs, groups, q, p)),
        np.zeros((designs, groups, q)),
        np.zeros((designs, p, p)),
        np.zeros((designs, p)),
        np.zeros(designs),
        np.zeros((designs, len(tables.basis), len(tables.basis))),
    )
    space, gamma = workspace(groups, q, p), np.zeros((q, q))
    for r in range(designs):
        design = one_design(arrays, r, np.eye(q))
        out.squares[r] = evaluate(design, factors[r], space)[1]
        hessian = covariance_hessian(design, space, out.squares[r], tables, gamma)
        add(out.hessian[r], 1.0, hessian)
        add(out.inverse[r], 1.0, space.inverse)
        for w in range(p):
            out.beta[r, w] = space.beta[w]
        for j in range(groups):
            x, y = space.x[j], space.y[j]
            add(out.c[r, j], 1.0, product(x.T, x))
            add(out.cx[r, j], 1.0, product(x.T, y[:, :p]))
            for i in range(q):
                for t in range(q):
                    out.e[r, j, i] += x[t, i] * y[t, p]
                for w in range(p):
                    out.e[r, j, i] -= out.cx[r, j, i, w] * space.beta[w]
    return out
