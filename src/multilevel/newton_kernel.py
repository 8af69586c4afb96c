"""Newton's method for one or two random terms, compiled; imported only where numba is loaded.

The same steps on the same formulas as `newton` and `likelihood`, a design at a time and without
arrays of arrays. Answers agree to rounding. Loops stand where NumPy has a word for them: its
expressions, reshapings and assignments to whole arrays take many seconds to compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from multilevel.gibbs_kernel import _cholesky, _gram, _invert_lower

__all__ = ["search"]

compiled = njit(cache=True, error_model="numpy")


@compiled  # type: ignore[untyped-decorator]
def _product(left: Any, right: Any) -> Any:
    """Multiply small matrices, of any layout, without the detour by BLAS."""
    out = np.zeros((left.shape[0], right.shape[1]))
    for i in range(left.shape[0]):
        for m in range(left.shape[1]):
            for j in range(right.shape[1]):
                out[i, j] += left[i, m] * right[m, j]
    return out


@compiled  # type: ignore[untyped-decorator]
def _add(out: Any, weight: Any, matrix: Any) -> None:
    """Add a weighted matrix in place."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += weight * matrix[i, j]


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
def _sums(inner: Any, coef: Any, within: Any, g: Any, c: Any, cm: Any, total: Any) -> Any:
    """Fill ``C`` and ``C M`` of each therapist and ``M' C M`` over all; the log determinant."""
    groups, q, width = coef.shape
    log_det = 0.0
    for w in range(width):
        for v in range(width):
            total[w, v] = within[w, v]
    for j in range(groups):
        a = inner[j]
        if q == 1:
            bulk = 1.0 + a[0, 0] * g[0, 0]
            c[j, 0, 0] = a[0, 0] / bulk
        else:
            area = max(a[0, 0] * a[1, 1] - a[0, 1] ** 2, 0.0)
            g_area = max(g[0, 0] * g[1, 1] - g[0, 1] ** 2, 0.0)
            bulk = a[0, 0] * g[0, 0] + 2.0 * a[0, 1] * g[0, 1] + a[1, 1] * g[1, 1]
            bulk += 1.0 + area * g_area
            c[j, 0, 0] = (a[0, 0] + area * g[1, 1]) / bulk
            c[j, 1, 1] = (a[1, 1] + area * g[0, 0]) / bulk
            c[j, 0, 1] = c[j, 1, 0] = (a[0, 1] - area * g[0, 1]) / bulk
        log_det += np.log(bulk)
        for i in range(q):
            for w in range(width):
                value = 0.0
                for m in range(q):
                    value += c[j, i, m] * coef[j, m, w]
                cm[j, i, w] = value
        for w in range(width):
            for v in range(w + 1):
                for i in range(q):
                    total[w, v] += coef[j, i, w] * cm[j, i, v]
    return log_det


@compiled  # type: ignore[untyped-decorator]
def _solve(total: Any, inverse: Any, beta: Any) -> Any:
    """Fill the inverse and the coefficients; residual sum of squares and log determinant."""
    p = len(beta)
    low, root = np.zeros((p, p)), np.zeros((p, p))
    _cholesky(total[:p, :p], low, 0.0)
    _invert_lower(low, root)
    _gram(root, inverse)
    r2, log_det = total[p, p], 0.0
    for i in range(p):
        beta[i] = 0.0
        for j in range(p):
            beta[i] += inverse[i, j] * total[p, j]
        r2 -= total[p, i] * beta[i]
        log_det += 2.0 * np.log(low[i, i])
    return r2, log_det


@compiled  # type: ignore[untyped-decorator]
def _measure(design: Any, tables: Any, theta: Any, free: Any, space: Any, out: Any) -> Any:
    """Fill gradient and Hessian by the factor's elements; the deviance, as `newton._measure`."""
    inner, coef, within, dof, shift, reml = design
    pairs, chain, basis, row, col = tables
    c, cm, total, inverse, beta = space
    gradient, hessian = out
    groups, q, width = coef.shape
    p, k = width - 1, len(theta)
    root, flat = np.zeros((q, q)), np.zeros(q * q)
    for t in range(k):
        root[row[t], col[t]] = theta[t]
        flat[row[t] * q + col[t]] = theta[t]
    log_det = _sums(inner, coef, within, _product(root, root.T), c, cm, total)
    r2, log_fixed = _solve(total, inverse, beta)
    deviance = log_det + dof * (1.0 + np.log(2.0 * np.pi * r2 / dof)) + shift
    if reml:
        deviance += log_fixed
    ratio = dof / r2
    gamma, squares = np.zeros((q, q)), np.zeros((q * q, 1))
    mixed, paired = np.zeros((q * q, p)), np.zeros(q**4)
    shared, cx, e = np.zeros((q, q)), np.zeros((q, p)), np.zeros(q)
    for j in range(groups):
        for i in range(q):
            e[i] = cm[j, i, p]
            for w in range(p):
                cx[i, w] = cm[j, i, w]
                e[i] -= cx[i, w] * beta[w]
        if reml:
            shared = _product(_product(cx, inverse), cx.T)
        for i in range(q):
            for m in range(q):
                square = e[i] * e[m]
                squares[i * q + m, 0] += square
                gamma[i, m] += c[j, i, m] - ratio * square - shared[i, m]
                weight = 2.0 * ratio * square - c[j, i, m] + 2.0 * shared[i, m]
                for a in range(q):
                    for b in range(q):
                        paired[((i * q + m) * q + a) * q + b] += weight * c[j, a, b]
                for w in range(p):
                    mixed[i * q + m, w] += e[i] * cx[m, w]
    inside = _spread(paired, pairs, k)
    slope, pull = _product(basis, squares), _product(basis, mixed)
    _add(inside, -ratio / r2, _product(slope, slope.T))
    _add(inside, -2.0 * ratio, _product(_product(pull, inverse), pull.T))
    if reml:
        _add(inside, -1.0, _restricted(cm, inverse, basis))
    link = _spread(flat, chain, k)
    half, lean = _product(inside, link), _product(gamma, root)
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
def _restricted(cm: Any, inverse: Any, basis: Any) -> Any:
    """``tr(P K_a P K_b)``, as `likelihood._restricted_part`."""
    groups, q, width = cm.shape
    p, k = width - 1, len(basis)
    by_term = np.zeros((k, p, p))
    for j in range(groups):
        for a in range(k):
            for i in range(q):
                for m in range(q):
                    weight = basis[a, i * q + m]
                    if weight:
                        for w in range(p):
                            for v in range(p):
                                by_term[a, w, v] += weight * cm[j, i, w] * cm[j, m, v]
    out = np.zeros((k, k))
    for a in range(k):
        left = _product(inverse, by_term[a])
        for b in range(k):
            right = _product(inverse, by_term[b])
            for w in range(p):
                for v in range(p):
                    out[a, b] += left[w, v] * right[v, w]
    return out


@compiled  # type: ignore[untyped-decorator]
def _diagonalise(matrix: Any, axes: Any) -> None:
    """Jacobi's rotations, in place: eigenvalues on the diagonal, eigenvectors in columns."""
    k = len(matrix)
    for _ in range(30):
        off, size = 0.0, 0.0
        for i in range(k):
            size += matrix[i, i] ** 2
            for j in range(i):
                off += matrix[i, j] ** 2
        if off <= 1e-30 * size:
            return
        for i in range(k):
            for j in range(i):
                if matrix[i, j] == 0.0:
                    continue
                half = 0.5 * (matrix[j, j] - matrix[i, i]) / matrix[i, j]
                tangent = 1.0 / (abs(half) + np.sqrt(half**2 + 1.0))
                tangent = -tangent if half < 0 else tangent
                cosine = 1.0 / np.sqrt(tangent**2 + 1.0)
                sine = tangent * cosine
                for m in range(k):
                    a, b = matrix[m, i], matrix[m, j]
                    matrix[m, i], matrix[m, j] = cosine * a - sine * b, sine * a + cosine * b
                for m in range(k):
                    a, b = matrix[i, m], matrix[j, m]
                    matrix[i, m], matrix[j, m] = cosine * a - sine * b, sine * a + cosine * b
                    a, b = axes[m, i], axes[m, j]
                    axes[m, i], axes[m, j] = cosine * a - sine * b, sine * a + cosine * b


@compiled  # type: ignore[untyped-decorator]
def _step(gradient: Any, hessian: Any, radius: Any, step: Any) -> Any:
    """Fill the step; its expected gain, as `newton._step`."""
    k = len(gradient)
    if k == 1:
        size = abs(hessian[0, 0]) + 1e-300
        step[0] = min(max(-gradient[0] / size, -radius), radius)
        return 0.5 * gradient[0] ** 2 / size
    turned, axes = np.zeros((k, k)), np.zeros((k, k))
    _add(turned, 1.0, hessian)
    for t in range(k):
        axes[t, t] = 1.0
        step[t] = 0.0
    _diagonalise(turned, axes)
    largest = 0.0
    for t in range(k):
        largest = max(largest, abs(turned[t, t]))
    gain, length = 0.0, 0.0
    for t in range(k):
        size, along = max(abs(turned[t, t]), 1e-9 * largest + 1e-300), 0.0
        for s in range(k):
            along += axes[s, t] * gradient[s]
        for s in range(k):
            step[s] -= axes[s, t] * along / size
        gain += 0.5 * along**2 / size
    for t in range(k):
        length += step[t] ** 2
    shrink = min(1.0, radius / max(np.sqrt(length), 1e-300))
    for t in range(k):
        step[t] *= shrink
    return gain


@compiled  # type: ignore[untyped-decorator]
def search(stack: Any, reml: Any, tables: Any, free: Any, limits: Any, path: Any) -> None:
    """Follow every design of a stack to its end, in place; see `newton.newton`.

    Parameters
    ----------
    stack : tuple
        ``inner, coef, within, dof, shift, n`` of the designs.
    reml : bool
    tables : tuple
        Weights and places of the elements: ``pairs, chain, basis, row, col``.
    free : ndarray of shape (R, k)
    limits : tuple
        Tolerance, expected decrease of a last step, and most steps.
    path : tuple
        ``theta, deviance, gradient, hessian, expected, steps``, the first filled in.
    """
    inner, coef, within, dof, shift, n = stack
    theta, deviance, gradient, hessian, expected, steps = path
    tolerance, last, most = limits
    groups, q, width = coef.shape[1:]
    p, k = width - 1, theta.shape[1]
    c, cm = np.empty((groups, q, q)), np.empty((groups, q, width))
    space = (c, cm, np.empty((width, width)), np.empty((p, p)), np.empty(p))
    step, trial, slope, bend = np.zeros(k), np.zeros(k), np.zeros(k), np.zeros((k, k))
    for r in range(len(theta)):
        design = (inner[r], coef[r], within[r], dof[r], shift[r], reml)
        here = (gradient[r], hessian[r])
        deviance[r] = _measure(design, tables, theta[r], free[r], space, here)
        radius = 1.0
        for _ in range(most):
            expected[r] = _step(gradient[r], hessian[r], radius, step)
            if not expected[r] > tolerance:
                break
            length = 0.0
            for t in range(k):
                trial[t] = theta[r, t] + step[t]
                length += step[t] ** 2
            length = np.sqrt(length)
            found = _measure(design, tables, trial, free[r], space, (slope, bend))
            steps[r] += 1
            better = np.isfinite(found)
            better = better and found <= deviance[r] + 4e-15 * (abs(deviance[r]) + n[r])
            stalled = expected[r] < last or (not better and expected[r] < 1e-8)
            if better:
                deviance[r] = found
                for t in range(k):
                    theta[r, t], gradient[r, t] = trial[t], slope[t]
                    for m in range(k):
                        hessian[r, t, m] = bend[t, m]
                radius = max(radius, 2.0 * length)
            else:
                radius = length / 4.0
            if stalled:
                break
