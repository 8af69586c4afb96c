"""One chain of the Gibbs sampler in NumPy: what runs where numba is not installed.

The steps, the layout and the random numbers are those of `gibbs_kernel`, and so are the draws, up
to rounding. Arrays run over therapists; matrices of one to three rows are lists of numbers, which
cost a tenth of what a call of a linear-algebra routine does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["run_chain"]

Array = NDArray[np.float64]
Matrix = list[list[float]]

TINY = 1e-300
#: See `gibbs_kernel.PIVOT`.
PIVOT = 1e-14


def _cholesky(m: Matrix, floor: float = TINY) -> Matrix:
    low = [[0.0] * len(m) for _ in m]
    for i, row in enumerate(low):
        for j in range(i + 1):
            s = m[i][j] - sum(row[k] * low[j][k] for k in range(j))
            row[j] = math.sqrt(max(s, floor)) if i == j else s / low[j][j]
    return low


def _invert_lower(low: Matrix) -> Matrix:
    t = [[0.0] * len(low) for _ in low]
    for i, row in enumerate(t):
        row[i] = 1.0 / low[i][i]
        for j in range(i):
            row[j] = -sum(low[i][k] * t[k][j] for k in range(j, i)) * row[i]
    return t


def _gram(t: Matrix) -> Matrix:
    """Return t't."""
    n = range(len(t))
    return [[sum(t[k][i] * t[k][j] for k in n) for j in n] for i in n]


def _draw_normal(
    m: Matrix, shift: list[float], normals: list[float], floor: float = TINY
) -> list[float]:
    """Draw from the normal with precision `m` and shift `shift`."""
    low, n = _cholesky(m, floor), range(len(m))
    x = list(shift)
    for i in n:
        x[i] = (x[i] - sum(low[i][k] * x[k] for k in range(i))) / low[i][i]
    for i in reversed(n):
        s = x[i] + normals[i] - sum(low[k][i] * x[k] for k in range(i + 1, len(x)))
        x[i] = s / low[i][i]
    return x


def _log_weight(cov: Matrix, log_det: float, power: float, half: list[float]) -> float:
    n = range(len(cov))
    logs = sum(math.log(cov[i][i]) for i in n) if power else 0.0
    return power * (log_det - logs) - sum(half[i] * cov[i][i] for i in n)


def _stretch_weight(
    stretch: list[float], df: float, scale: Matrix, inv: Matrix, half: list[float], cov: Matrix
) -> float:
    n = range(len(stretch))
    w = -(df + 1.0) * sum(math.log(abs(s)) for s in stretch)
    w -= sum(half[i] * cov[i][i] * stretch[i] ** 2 for i in n)
    return w - 0.5 * sum(scale[i][k] * inv[i][k] / (stretch[i] * stretch[k]) for i in n for k in n)


def _draw_covariance(
    scatter: Matrix, normals: list[float], chi2: list[float]
) -> tuple[Matrix, float]:
    """Inverse-Wishart draw with scale `scatter`, by Bartlett's factor; its log determinant."""
    n = range(len(scatter))
    chol, bartlett = _cholesky(scatter), [[0.0] * len(scatter) for _ in n]
    for i in n:
        bartlett[i][i] = math.sqrt(chi2[i])
        for k in range(i):
            bartlett[i][k] = normals[i * (i - 1) // 2 + k]
    t = _invert_lower(bartlett)
    half = [[sum(chol[i][k] * t[j][k] for k in n) for j in n] for i in n]  # chol t'
    new = [[sum(half[i][k] * half[j][k] for k in n) for j in n] for i in n]
    return new, 2.0 * sum(math.log(chol[i][i] * t[i][i]) for i in n)


class _Therapists:
    """What runs over therapists: the joint draw of the effects, and sums of their products."""

    def __init__(self, zz: Array, right: Array) -> None:
        self.zz, self.right = zz, right
        self.columns, self.q, self.n_groups = right.shape
        self.a = np.empty((self.columns, self.q, self.n_groups))
        self.u = np.empty((self.q, self.n_groups))

    def draw(
        self, s2: float, inv: Matrix, precision: Array, shift: Array, normals: Array
    ) -> list[float]:
        """Draw fixed and random effects jointly; the random ones go to ``u``."""
        c, p, a, u = 1.0 / s2, self.columns - 1, self.a, self.u
        low: list[list[Array]] = []
        for i in range(self.q):
            low.append([])
            for j in range(i + 1):
                x = self.zz[i, j] * c + inv[i][j]
                for k in range(j):
                    x -= low[i][k] * low[j][k]
                low[i].append(1.0 / np.sqrt(x) if i == j else x * low[j][j])
            y = self.right[:, i] * c
            for k in range(i):
                y -= low[i][k] * a[:, k]
            a[:, i] = y * low[i][i]
        flat = a.reshape(self.columns, -1)
        gram = flat[:p] @ flat.T
        h = precision - gram[:, :p]
        h.flat[:: p + 1] += c
        moved = (shift - gram[:, p]).tolist()
        delta = _draw_normal(h.tolist(), moved, normals[:p].tolist(), PIVOT * c)
        end = p + self.q * self.n_groups
        x = flat[p] - delta @ flat[:p] + normals[p:end]
        for i in reversed(range(self.q)):
            u[i] = x[i * self.n_groups : (i + 1) * self.n_groups]
            for k in range(i + 1, self.q):
                u[i] -= low[k][i] * u[k]
            u[i] *= low[i][i]
        return delta

    def products(self, delta: list[float]) -> tuple[Matrix, list[float], Matrix]:
        """Sum u'(zz)u by element, u'(response left by the fixed part), and uu'."""
        u, n = self.u, range(self.q)
        outer = [[float(np.vdot(u[i] * u[k], self.zz[i, k])) for k in n] for i in n]
        left = [*(-d for d in delta), 1.0]
        inner = [float(np.dot(left, self.right[:, i] @ u[i])) for i in n]
        return outer, inner, (u @ u.T).tolist()


def run_chain(
    cov: Array, s2: float, moments: tuple[Array, Array, float],
    prior: tuple[Array, Array, float, Array, float, float, Array],
    random: tuple[Array, Array, Array], first: int,
    out: tuple[Array, Array, Array, Array, Array, Array],
) -> tuple[float, int]:  # fmt: skip
    """Run the chain over the given random numbers; see `gibbs_kernel.run_chain`."""
    therapists, rr = _Therapists(moments[0], moments[1]), moments[2]
    precision, shift, df, scale_array, residual_rate, power, half_array = prior
    scale, half, omega = scale_array.tolist(), half_array.tolist(), cov.tolist()
    normals, chi2, log_unif = random
    deltas, covs, s2s, us, total_u, total_u2 = out
    n, u, accepted = range(len(omega)), therapists.u, 0
    end = normals.shape[1] - len(omega) * (len(omega) + 1) // 2
    for it in range(len(normals)):
        t = _invert_lower(_cholesky(omega))
        inv, noise, unif = _gram(t), normals[it, end:].tolist(), log_unif[it].tolist()
        delta = therapists.draw(s2, inv, precision, shift, normals[it])
        outer, inner, scatter = therapists.products(delta)
        m = [[v / s2 for v in row] for row in outer]
        s = _draw_normal(m, [v / s2 for v in inner], noise)
        weight = _stretch_weight(s, df, scale, inv, half, omega)
        if not unif[0] <= weight - _stretch_weight([1.0] * len(s), df, scale, inv, half, omega):
            s = [1.0] * len(s)
        u *= np.array(s)[:, None]
        omega = [[omega[i][k] * s[i] * s[k] for k in n] for i in n]
        scatter = [[scatter[i][k] * s[i] * s[k] + scale[i][k] for k in n] for i in n]
        sse = rr + sum(d * d for d in delta) - 2.0 * sum(s[i] * inner[i] for i in n)
        sse += sum(s[i] * s[k] * outer[i][k] for i in n for k in n)
        s2 = (max(sse, 0.0) + 2.0 * residual_rate) / float(chi2[it, 0])
        log_det = -2.0 * sum(math.log(t[i][i] / abs(s[i])) for i in n)
        weight = _log_weight(omega, log_det, power, half)
        new, log_det = _draw_covariance(scatter, noise[len(s) :], chi2[it, 1:].tolist())
        if unif[1] <= _log_weight(new, log_det, power, half) - weight:
            omega, accepted = new, accepted + 1
        row = first + it
        if row >= 0:
            deltas[row], covs[row], s2s[row] = delta, omega, s2
            total_u += u
            total_u2 += u * u
            if len(us):
                us[row] = u.T
    cov[:] = omega
    return s2, accepted
