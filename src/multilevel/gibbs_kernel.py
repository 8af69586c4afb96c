"""One chain of the Gibbs sampler, compiled.

Random numbers are drawn beforehand.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np

from multilevel.design import Array
from multilevel.small import cholesky, congruent, copy, gram, invert_lower
from multilevel.tiers import compiled, loose

#: A pivot of the fixed part's precision never falls below this share of its scale: where a
#: variance between groups dwarfs the residual one, the subtraction that makes it loses its digits.
PIVOT = 1e-14


class Sums(NamedTuple):
    """What the data say: cross-products with orthonormal fixed columns.

    ``zz`` (J, q, q) of the random terms; ``right`` (p + 1, J, q), for a chain (p + 1, J q), of the
    random terms with the fixed columns and, last, the response about its least-squares fit;
    ``rr`` the square of that response, summed over all rows. Subtractions between large sums are
    then done once, not at every iteration. The fixed effects are ``least_squares + back @ fixed``
    for the ``fixed`` that is drawn.
    """

    zz: Array
    right: Array
    rr: float
    least_squares: Array
    back: Array


class Belief(NamedTuple):
    """What the sampler needs of the prior (see `priors.PriorValues`)."""

    df: float
    scale: Array
    residual_rate: float
    power: float
    half: Array


class Noise(NamedTuple):
    """Random numbers of some iterations: normals, chi-squares, logs of two uniforms."""

    normals: Array
    chi2: Array
    log_uniform: Array


class Draws(NamedTuple):
    """What a chain writes.

    Named as in `Posterior`: ``beta`` (draws, p) in orthonormal columns; ``random_covariance``
    (draws, q, q); ``residual_variance`` (draws,); ``u`` (kept, J, q), of every `every`-th draw.
    """

    beta: Array
    random_covariance: Array
    residual_variance: Array
    u: Array


#: What an iteration fills: the fixed part's, the groups', and matrices of the random terms.
Room = namedtuple(
    "Room", "h h_low delta low a left u inv chol t new outer scatter wish inner stretch"
)


def make_room(columns: int, n_groups: int, q: int) -> Any:
    """Make room for one chain."""
    p, terms = columns - 1, (*np.zeros((7, q, q)), *np.zeros((2, q)))
    groups = np.zeros((n_groups, q, q)), np.zeros((columns, n_groups * q)), np.zeros(n_groups * q)
    return Room._make([*np.zeros((2, p, p)), np.zeros(p), *groups, np.zeros((n_groups, q)), *terms])


def _log_weight(cov: Array, chol: Array, power: float, half: Array) -> float:
    """Log of what the prior holds beyond its inverse-Wishart part (see `priors`)."""
    w, determinant = 0.0, 1.0
    for i in range(cov.shape[0]):
        w -= half[i] * cov[i, i]
    if power != 0.0:  # The commonest priors have no use for it.
        cholesky(cov, chol, 1e-300)
        for i in range(cov.shape[0]):
            determinant *= chol[i, i] ** 2 / cov[i, i]
        w += power * np.log(determinant)
    return w


def _factor(c: float, inv: Array, zz: Array, low: Array) -> None:
    """Cholesky factors of every group's precision; their diagonals are kept inverted."""
    for g in range(zz.shape[0]):
        for i in range(zz.shape[1]):
            for j in range(i + 1):
                s = zz[g, i, j] * c + inv[i, j]
                for k in range(j):
                    s -= low[g, i, k] * low[g, j, k]
                low[g, i, j] = 1.0 / np.sqrt(s) if i == j else s * low[g, j, j]


def _forward(c: float, right: Array, low: Array, out: Array) -> None:
    """Solve every group's lower-triangular system for ``c`` times `right`."""
    n_groups, q = low.shape[:2]
    for g in range(n_groups):
        for i in range(q):
            s = right[g * q + i] * c
            for k in range(i):
                s -= low[g, i, k] * out[g * q + k]
            out[g * q + i] = s * low[g, i, i]


def _eliminate(c: float, a: Array, h: Array, delta: Array) -> None:
    """Fill the fixed part's precision `h` and its shift `delta`, the random effects out."""
    p, n = a.shape[0] - 1, a.shape[1]
    for m in range(p):
        for k in range(m + 2):
            other, s = p if k > m else k, 0.0
            for g in range(n):
                s += a[m, g] * a[other, g]
            if k > m:
                delta[m] = -s
            else:
                h[m, k] = (c if k == m else 0.0) - s


def _draw_normal(h: Array, chol: Array, delta: Array, normals: Array, floor: float) -> None:
    """Turn the shift in `delta` into a draw from the normal with precision `h`."""
    p = h.shape[0]
    cholesky(h, chol, floor)
    for i in range(p):
        s = delta[i]
        for k in range(i):
            s -= chol[i, k] * delta[k]
        delta[i] = s / chol[i, i]
    for i in range(p - 1, -1, -1):
        s = delta[i] + normals[i]
        for k in range(i + 1, p):
            s -= chol[k, i] * delta[k]
        delta[i] = s / chol[i, i]


def _take_off_fixed(right: Array, delta: Array, left: Array) -> None:
    """Write the response less its fixed part, by its products with the random terms."""
    p, n = right.shape[0] - 1, right.shape[1]
    for g in range(n):
        left[g] = right[p, g]
    for m in range(p):
        for g in range(n):
            left[g] -= right[m, g] * delta[m]


def _draw_effects(a: Array, low: Array, normals: Array, start: int, u: Array) -> None:
    """Draw the random effects given the fixed ones."""
    n_groups, q = u.shape
    for g in range(n_groups):
        for i in range(q - 1, -1, -1):
            s = a[g * q + i] + normals[start + i * n_groups + g]
            for k in range(i + 1, q):
                s -= low[g, k, i] * u[g, k]
            u[g, i] = s * low[g, i, i]


def _products(zz: Array, left: Array, u: Array, outer: Array, inner: Array, scatter: Array) -> None:
    """Sum u'(zz)u by element, u'(response left by the fixed part), and uu'."""
    n_groups, q = u.shape
    for i in range(q):
        inner[i] = 0.0
        for g in range(n_groups):
            inner[i] += u[g, i] * left[g * q + i]
        for k in range(q):
            s, t = 0.0, 0.0
            for g in range(n_groups):
                both = u[g, i] * u[g, k]
                s += both * zz[g, i, k]
                t += both
            outer[i, k], scatter[i, k] = s, t


def _stretch_weight(stretch: Array, df: float, scale: Array, inv: Array) -> float:
    """Log of what the inverse-Wishart gains by stretching effects and covariance together."""
    w, volume = 0.0, 1.0
    for i in range(len(stretch)):
        volume *= abs(stretch[i])
        for k in range(len(stretch)):
            w -= 0.5 * scale[i, k] * inv[i, k] * (1.0 / (stretch[i] * stretch[k]) - 1.0)
    return float(w - (df + 1.0) * np.log(volume))


def _apply_stretch(stretch: Any, inner: Any, outer: Any, u: Any, scatter: Any, cov: Any) -> float:
    """Stretch effects, their cross-products and their covariance; their part of the SSE."""
    n_groups, q = u.shape
    sse = 0.0
    for i in range(q):
        for g in range(n_groups):
            u[g, i] *= stretch[i]
        sse -= 2.0 * stretch[i] * inner[i]
        for k in range(q):
            both = stretch[i] * stretch[k]
            sse += both * outer[i, k]
            scatter[i, k] *= both
            cov[i, k] *= both
    return sse


def _draw_covariance(
    scatter: Array, normals: Array, chi2: Array, chol: Array, t: Array, wish: Array, new: Array,
) -> None:  # fmt: skip
    """Fill an inverse-Wishart draw with scale `scatter`, by Bartlett's factor."""
    cholesky(scatter, chol, 1e-300)
    for i in range(scatter.shape[0]):
        t[i, i] = 1.0 / np.sqrt(chi2[1 + i])
        for j in range(i):
            s = 0.0
            for k in range(j, i):
                s -= normals[i * (i - 1) // 2 + k] * t[k, j]
            t[i, j] = s * t[i, i]
    gram(t, wish)
    congruent(chol, wish, new)


def _draw_linear(c: float, sums: Sums, normals: Array, room: Any) -> None:
    """Draw the fixed effects, the random ones integrated out, and then the random ones."""
    h, delta, low, a, p = room.h, room.delta, room.low, room.a, len(room.delta)
    _factor(c, room.inv, sums.zz, low)
    for m in range(p + 1):
        _forward(c, sums.right[m], low, a[m])
    _eliminate(c, a, h, delta)
    _draw_normal(h, room.h_low, delta, normals, PIVOT * c)
    _take_off_fixed(sums.right, delta, room.left)
    _forward(c, room.left, low, a[p])
    _draw_effects(a[p], low, normals, p, room.u)


def _stretch_all(
    c: float, sums: Sums, belief: Belief, normals: Array, log_uniform: float, cov: Array, room: Any
) -> float:
    """Stretch effects and covariance together, or leave them; the SSE of the random part."""
    half, inner, outer, stretch, wish = belief.half, room.inner, room.outer, room.stretch, room.wish
    _products(sums.zz, room.left, room.u, outer, inner, room.scatter)
    for i in range(len(half)):
        stretch[i] = inner[i] * c
        for k in range(len(half)):
            wish[i, k] = outer[i, k] * c
        # A half-normal that outweighs the data moves the covariance by this step alone.
        wish[i, i] += 2.0 * half[i] * cov[i, i]
    _draw_normal(wish, room.chol, stretch, normals, 1e-300)
    if not log_uniform <= _stretch_weight(stretch, belief.df, belief.scale, room.inv):
        for i in range(len(half)):
            stretch[i] = 1.0
    return float(_apply_stretch(stretch, inner, outer, room.u, room.scatter, cov))


def _renew(belief: Belief, normals: Any, chi2: Any, log_u: float, cov: Any, room: Any) -> None:
    """Propose a covariance matrix, and take it if the prior's further factor lets."""
    for i in range(len(cov)):
        for k in range(len(cov)):
            room.scatter[i, k] += belief.scale[i, k]
    gain = -_log_weight(cov, room.chol, belief.power, belief.half)
    _draw_covariance(room.scatter, normals, chi2, room.chol, room.t, room.wish, room.new)
    gain += _log_weight(room.new, room.chol, belief.power, belief.half)
    if log_u <= gain:
        copy(room.new, cov)


@compiled(0)  # type: ignore[untyped-decorator]
@loose  # type: ignore[untyped-decorator]
def run_chain(
    cov: Array, s2: float, sums: Sums, belief: Belief, noise: Noise,
    first: int, every: int, out: Draws, room: Any,
) -> float:  # fmt: skip
    """Run the chain over the given random numbers.

    Draws are written from the iteration at which ``first`` plus its number is not negative.
    `cov` is overwritten and the last residual variance returned, so that the next block of
    random numbers goes on where this one ended.
    """
    columns, q = len(sums.right), len(cov)
    end = columns - 1 + sums.right.shape[1]
    for it in range(len(noise.normals)):
        normals, chi2, log_uniform = noise.normals[it], noise.chi2[it], noise.log_uniform[it]
        cholesky(cov, room.chol, 1e-300)
        invert_lower(room.chol, room.t)
        gram(room.t, room.inv)
        _draw_linear(1.0 / s2, sums, normals, room)
        turned = normals[end : end + q]
        sse = sums.rr + _stretch_all(1.0 / s2, sums, belief, turned, log_uniform[0], cov, room)
        for i in range(columns - 1):
            sse += room.delta[i] ** 2
        s2 = (max(sse, 0.0) + 2.0 * belief.residual_rate) / chi2[0]
        _renew(belief, normals[end + q :], chi2, log_uniform[1], cov, room)
        if first + it >= 0:
            row = first + it
            out.residual_variance[row] = s2
            for m in range(columns - 1):
                out.beta[row, m] = room.delta[m]
            copy(cov, out.random_covariance[row])
            if row % every == 0:
                copy(room.u, out.u[row // every])
    return s2
