"""Newton's method on the elements of the relative covariance factor, for stacks of designs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multilevel.likelihood import (
    Array,
    Stack,
    derivatives,
    element_tables,
    evaluate,
    factor,
)

__all__ = ["LOOSE", "Path", "deviances", "newton", "square"]

#: Newton stops when the decrease that it can still expect in the deviance is below this ...
_TOLERANCE = 1e-20
#: ... or after the step that follows an expected decrease below this: no digit is left to gain.
_LAST = 1e-12
#: Enough to tell which start is best; the best is polished afterwards.
LOOSE = 1e-7
#: Newton steps allowed from one start.
_STEPS = 100


@dataclass
class Path:
    """Where Newton's method stands for each design; written in place as the search goes."""

    theta: Array
    deviance: Array
    gradient: Array
    hessian: Array
    expected: Array
    steps: NDArray[np.intp]


def square(theta: Array, q: int) -> Array:
    """Relative covariances, shape (R, q, q), from the elements of their factors, (R, k)."""
    root = factor(theta, q)
    out: Array = root @ root.swapaxes(-1, -2)
    return out


def _measure(stack: Stack, theta: Array, free: Array) -> tuple[Array, Array, Array]:
    """Deviance, gradient and Hessian, with the elements that are not free held still."""
    at = evaluate(stack, square(theta, stack.q))
    gradient, hessian, _ = derivatives(stack, at, theta)
    if free.all():
        return at.deviance, gradient, hessian
    held = (1.0 - free)[:, :, None] * np.eye(free.shape[-1])
    hessian = hessian * free[:, :, None] * free[:, None, :] + held
    return at.deviance, gradient * free, hessian


def _step(gradient: Array, hessian: Array, radius: Array) -> tuple[Array, Array]:
    """Newton step with absolute curvatures inside the trust radius, and its expected gain."""
    if hessian.shape[-1] == 1:
        size = np.abs(hessian[..., 0]) + 1e-300
        step = np.clip(-gradient / size, -radius[:, None], radius[:, None])
        return step, 0.5 * (gradient**2 / size)[..., 0]
    values, vectors = np.linalg.eigh(hessian)
    size = np.abs(values)
    size = np.maximum(size, 1e-9 * size.max(axis=-1, keepdims=True) + 1e-300)
    along = (vectors.swapaxes(-1, -2) @ gradient[..., None])[..., 0]
    step = -(vectors @ (along / size)[..., None])[..., 0]
    expected = 0.5 * (along**2 / size).sum(axis=-1)
    length = np.sqrt((step**2).sum(axis=-1))
    shrink = np.minimum(1.0, radius / np.maximum(length, 1e-300))
    return step * shrink[:, None], expected


def deviances(stack: Stack, theta: Array) -> Array:
    """Deviances at several factors of each design: (R, S) from elements of shape (R, S, k)."""
    rows, count, k = theta.shape
    flat = np.ascontiguousarray(theta).reshape(-1, k)
    spread = stack.take(np.repeat(np.arange(rows), count))
    if _compiles(stack):
        found = _compiled(spread, flat, np.ones_like(flat), np.inf).deviance
    else:
        found = evaluate(spread, square(flat, stack.q)).deviance
    return found.reshape(rows, count)


def _compiles(stack: Stack) -> bool:
    """Whether there is compiled code, which pays where numba is loaded already."""
    return stack.q <= 2 and "numba" in sys.modules


def newton(stack: Stack, theta: Array, free: Array, tolerance: float = _TOLERANCE) -> Path:
    """Minimise over the free elements of the factor from one start for each design.

    Parameters
    ----------
    stack : Stack
        `R` designs.
    theta : ndarray of shape (R, k)
        Elements of the factors to start from.
    free : ndarray of shape (R, k)
        One where an element may move, nil where it is held.
    tolerance : float
        Expected decrease in deviance at which to stop.
    """
    rows = len(stack)
    if _compiles(stack):
        return _compiled(stack, theta, free, tolerance)
    deviance, gradient, hessian = _measure(stack, theta, free)
    path = Path(
        theta=theta.copy(),
        deviance=deviance,
        gradient=gradient,
        hessian=hessian,
        expected=np.full(rows, np.inf),
        steps=np.zeros(rows, dtype=np.intp),
    )
    radius, stalled = np.ones(rows), np.zeros(rows, dtype=bool)
    live, part, part_free = np.arange(rows), stack, free
    for _ in range(_STEPS):
        step, expected = _step(path.gradient[live], path.hessian[live], radius[live])
        path.expected[live] = expected
        going = (expected > tolerance) & ~stalled[live]
        if not going.any():
            break
        if not going.all():
            live, step = live[going], step[going]
            part, part_free = part.take(np.flatnonzero(going)), part_free[going]
        stalled[live], radius[live] = _advance(path, part, part_free, live, step, radius[live])
    return path


def _compiled(stack: Stack, theta: Array, free: Array, tolerance: float) -> Path:
    """Do the same as `newton` by compiled code."""
    from multilevel.newton_kernel import search

    rows, k = theta.shape
    path = Path(
        theta=np.array(theta, order="C"),
        deviance=np.empty(rows),
        gradient=np.empty((rows, k)),
        hessian=np.empty((rows, k, k)),
        expected=np.empty(rows),
        steps=np.zeros(rows, dtype=np.intp),
    )
    arrays = (stack.inner, stack.coef, stack.within, stack.dof, stack.shift, stack.n)
    search(
        tuple(np.ascontiguousarray(a) for a in arrays),
        stack.reml,
        element_tables(stack.q),
        np.array(free, order="C"),  # one that may be written to: another kind is compiled anew
        (tolerance, _LAST, _STEPS),
        (path.theta, path.deviance, path.gradient, path.hessian, path.expected, path.steps),
    )
    return path


def _advance(
    path: Path, part: Stack, free: Array, live: NDArray[np.intp], step: Array, radius: Array
) -> tuple[NDArray[np.bool_], Array]:
    """Try one step for each live design; which have stalled, and the new radii."""
    trial = path.theta[live] + step
    deviance, gradient, hessian = _measure(part, trial, free)
    # The deviance itself is known to about its last digits only.
    blur = 4e-15 * (np.abs(path.deviance[live]) + part.n)
    better = np.isfinite(deviance) & (deviance <= path.deviance[live] + blur)
    length = np.sqrt((step**2).sum(axis=-1))
    expected = path.expected[live]
    path.steps[live] += 1
    won = live[better]
    path.theta[won], path.deviance[won] = trial[better], deviance[better]
    path.gradient[won], path.hessian[won] = gradient[better], hessian[better]
    stalled = (~better & (expected < 1e-8)) | (expected < _LAST)
    return stalled, np.where(better, np.maximum(radius, 2.0 * length), length / 4.0)
