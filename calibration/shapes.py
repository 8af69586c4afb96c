"""The smooth shapes that scores after treatment are drawn from.

The paper prints the mean, the SD and both tails of the change, which together exclude a normal
shape: too few patients deteriorate reliably for the SD. Among the shapes that fit, the smoothest
with one mode is taken, likewise for the post scores, and iterative proportional fitting gives
the joint distribution with these margins that adds nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["joint_table", "smoothest"]

Array = NDArray[np.float64]


def smoothest(
    values: NDArray[np.int64],
    mean: float,
    sd: float,
    tails: tuple[tuple[int, float], ...] = (),
    patients: int = 1122,
    mode: int | None = None,
    taper: bool = False,
) -> Array:
    """Smoothest probabilities on `values` with a mean, an SD and shares in the tails.

    A tail is (bound, share): the share at or above a positive bound, at or below a negative one.
    Rises away from the mode (the fullest value unless given) are discouraged; with `taper`
    the ends go to zero smoothly.
    """
    from scipy.optimize import minimize

    def shares(z: Array) -> Array:
        p = np.exp(z - z.max())
        return np.asarray(p / p.sum())

    def cost(z: Array) -> float:
        h = patients * shares(z)
        top = int(np.argmax(h)) if mode is None else int(np.flatnonzero(values == mode)[0])
        rises, noise = np.diff(h), h[1:] + h[:-1] + 1
        if taper:
            h = np.concatenate([[0.0, 0.0], h, [0.0, 0.0]])
        second = np.diff(h, 2)
        s = (second**2 / (h[:-2] + 4 * h[1:-1] + h[2:] + 2)).sum()
        s += 15 * (np.diff(np.log(h + 3), 2) ** 2).sum()
        s += 200 * (np.maximum(rises[top:], 0) ** 2 / noise[top:]).sum()
        s += 200 * (np.maximum(-rises[:top], 0) ** 2 / noise[:top]).sum()
        return float(s)

    def gaps(z: Array) -> Array:
        p = shares(z)
        m = float(p @ values)
        found = [m - mean, float(np.sqrt(p @ (values - m) ** 2)) - sd]
        for bound, share in tails:
            inside = values >= bound if bound > 0 else values <= bound
            found.append(50 * (float(p[inside].sum()) - share))
        return np.array(found)

    start = -0.45 * ((values - mean) / sd) ** 2
    constraint = {"type": "eq", "fun": gaps}
    fit = minimize(cost, start, constraints=constraint, method="SLSQP", options={"maxiter": 800})
    return shares(fit.x)


def joint_table(pre: Array, post: Array, change: Array, sweeps: int = 400) -> Array:
    """Probabilities of post given pre with the three margins, by proportional fitting.

    `change` runs from -maximum to maximum and counts improvement as positive. Where the margins
    contradict one another a little, the last sweep's compromise is taken.
    """
    k = len(pre)
    index = np.arange(k)[:, None] - np.arange(k)[None, :] + k - 1
    table = pre[:, None] * post[None, :] * change[index]
    for _ in range(sweeps):
        margin = np.bincount(index.ravel(), weights=table.ravel(), minlength=2 * k - 1)
        table *= (change / np.maximum(margin, 1e-12))[index]
        table *= (post / np.maximum(table.sum(axis=0), 1e-12))[None, :]
        table *= (pre / np.maximum(table.sum(axis=1), 1e-12))[:, None]
    result: Array = table / table.sum(axis=1, keepdims=True)
    return np.maximum(result, 1e-9)
