"""Scores after treatment: annealed one move at a time, the models refitted at every move.

The temperature stays at 1. What would be plausible is a log density (a smooth shape of post
scores given pre scores, smooth histograms, changes on the two measures that go together); each
figure adds a quadratic loss outside its rounding interval, whose tolerance falls every round.
So the data stay draws from the smooth shape, tilted as little as the figures allow.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .anneal import anneal
from .before import moments
from .kernel import Given, State, Tolerance, apply, smooth_loss
from .polish import polish
from .shapes import joint_table, smoothest
from .targets import GAD7, PHQ9, MeasureTarget, TherapistPlan

__all__ = ["FIGURES", "AfterSearch", "shape_table"]

FIGURES = (
    "lr1", "lr2", "intercept", "se_intercept", "var", "se_var", "slope", "se_slope",
    "slope_var", "se_slope_var", "vpc", "mean", "sd", "es", "es_upper", "es_lower", "ancova",
)  # fmt: skip
#: Where the tolerance of each figure starts.
START = np.array(
    [20, 6, 0.3, 0.02, 0.4, 0.08, 0.04, 0.004, 0.004, 0.002, 1, 0.3, 0.3, 0.05, 0.1, 0.1, 20.0]
)
#: By measure: SD of the post scores that the slopes imply, share of them at or above the cut-off
#: that the recovered imply, range and mode of the change.
SHAPES = ((6.98, 0.44, -14, 26, 0), (6.19, 0.51, -14, 21, 0))
TARGETS = (PHQ9, GAD7)
#: Classes that the histograms need: changes from -27 to 27.
CLASSES = 56


def shape_table(target: MeasureTarget, pre: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities of each post score given each pre score, from the smoothest margins."""
    spread, above, low, high, mode = SHAPES[TARGETS.index(target)]
    top, n = target.maximum, len(pre)
    mean, sd = target.figures[11][0], target.figures[12][0]
    tails = (
        (target.reliable, sum(target.improved) / n),
        (-target.reliable, sum(target.deteriorated) / n),
    )
    change = np.full(2 * top + 1, 1e-6)
    change[low + top : high + top + 1] = smoothest(
        np.arange(low, high + 1), mean, sd, tails, mode=mode, taper=True
    )
    at_or_above = ((target.cutoff, above),)
    post = smoothest(np.arange(top + 1), float(pre.mean()) - mean, spread, at_or_above)
    return joint_table(np.bincount(pre, minlength=top + 1) / n, post, change)


def _given(plan: TherapistPlan, pre: NDArray[np.int64], therapist: NDArray[np.int64]) -> Given:
    """Everything that post scores do not change."""
    n = len(therapist)
    centred = pre - pre.mean(axis=1, keepdims=True)
    rows, xtx = np.ones((2, n, 4)), np.empty((2, 21, 4, 4))
    table, quantile = np.full((2, 28, 28), 50.0), np.zeros((2, 28, 28))
    sums, sd = np.zeros((2, 3, 3)), np.zeros((2, 4))
    group = plan.cluster[therapist]
    by_score = np.array([np.lexsort((pre[1 - m], pre[m], therapist)) for m in range(2)])
    for m, target in enumerate(TARGETS):
        rows[m, :, 1], rows[m, :, 2] = centred[m], centred[1 - m]
        rows[m, :, 3] = centred[0] * centred[1]
        xtx[m] = moments(centred[m], centred[1 - m], therapist, 21)
        shape, size = shape_table(target, pre[m]), target.maximum + 1
        table[m, :size, :size] = -np.log(shape)
        middle = np.cumsum(shape, axis=1) - shape / 2
        quantile[m, :size, :size] = np.clip(np.vectorize(NormalDist().inv_cdf)(middle), -3, 3)
        sd[m, 3] = pre[m].std(ddof=1)
        for c in range(3):
            x = centred[m, group == c]
            sums[m, c] = len(x), x.sum(), (x * x).sum()
            sd[m, c] = x.std(ddof=1)
    return Given(
        xtx=xtx, xtx_total=xtx.sum(axis=1), rows=rows, pre=pre, therapist=therapist,
        first=np.searchsorted(therapist, np.arange(22)),
        by_score=by_score, place=np.argsort(by_score, axis=1), cluster=plan.cluster,
        scale=np.array([[t.maximum, t.cutoff, t.reliable] for t in TARGETS]),
        table=table, quantile=quantile, order=np.argsort(plan.rank, axis=1),
        excludes=plan.excludes, cases=plan.cases.astype(float),
        position=np.argsort(np.argsort(plan.rank.mean(axis=0), kind="stable")) + np.float64(1),
        rank_r=np.array([t.rcsi_rank_r for t in TARGETS]), sd_pre=sd, pre_sums=sums,
        wants=np.array([[t.improved, t.deteriorated, t.rcsi] for t in TARGETS], dtype=float),
        target=np.array([[v for v, _ in t.figures] for t in TARGETS]),
        half=np.array([[h for _, h in t.figures] for t in TARGETS]),
    )  # fmt: skip


def _first_scores(given: Given, plan: TherapistPlan, rng: np.random.Generator) -> NDArray[np.int64]:
    """Scores drawn from the smooth shapes, the two measures by correlated quantiles."""
    n = len(given.therapist)
    post = np.zeros((2, n), dtype=np.int64)
    z = rng.multivariate_normal([0, 0], [[1, 0.75], [0.75, 1]], n)
    middle = (plan.rank.mean(axis=0) - 11) / 10
    for m, target in enumerate(TARGETS):
        shape = np.exp(-given.table[m])
        for i in range(n):
            v = z[i, m] + 0.6 * middle[given.therapist[i]]
            q = 0.5 * (1 + math.erf(v / math.sqrt(2)))
            cdf = np.cumsum(shape[given.pre[m, i]])
            post[m, i] = min(int(np.searchsorted(cdf, q)), target.maximum)
    return post


def _state(given: Given, post: NDArray[np.int64]) -> State:
    """Tally post scores: those of everybody at zero, and then one patient after the other."""
    n = len(given.therapist)
    group = given.cluster[given.therapist]
    state = State(
        post=np.zeros_like(post), xty=np.zeros((2, 21, 4)), yty=np.zeros(2),
        squares=np.zeros((2, 21)), hist=np.zeros((2, 10, CLASSES)), counts=np.zeros((2, 3, 3)),
        recovered=np.zeros((2, 21)), sums=np.zeros((2, 3, 5)),
        cross=np.array([float((given.pre[0] * given.pre[1]).sum())]),
    )  # fmt: skip
    for m, t in enumerate(TARGETS):
        x = given.pre[m]
        case, improved = x >= t.cutoff, x >= t.reliable
        state.hist[m, 0, 0], state.hist[m, 5, 0] = n, case.sum()
        state.hist[m, 4] = np.bincount(x + t.maximum, minlength=CLASSES)
        state.hist[m, 9] = np.bincount(x[case] + t.maximum, minlength=CLASSES)
        for c in range(3):
            mine = group == c
            state.hist[m, 1 + c] = np.bincount(x[mine] + t.maximum, minlength=CLASSES)
            state.hist[m, 6 + c, 0] = mine.sum()
            state.sums[m, c, :2] = x[mine].sum(), (x[mine] ** 2).sum()
            state.counts[m, 0, c] = improved[mine].sum()
            state.counts[m, 2, c] = (improved & case)[mine].sum()
        state.recovered[m] = np.bincount(given.therapist, weights=case & improved, minlength=21)
    for m in range(2):
        for i in range(n):
            apply(given, state, m, i, post[m, i])
    return state


class AfterSearch:
    """The state of the search over scores after treatment, both measures together.

    Attributes
    ----------
    given, state : what stays and what moves.
    figure : (2, 17), as in `FIGURES`.
    seen : (2, 2), correlation of the changes, and of composite ranks with recovery.
    smooth, taken : (2,), loss of the histograms, and moves taken in the last round.
    """

    def __init__(
        self,
        plan: TherapistPlan,
        pairs: NDArray[np.int64],
        therapist: NDArray[np.int64],
        seed: int,
    ) -> None:
        self.seed = seed
        self.given = _given(plan, np.ascontiguousarray(pairs.T), therapist)
        rng = np.random.default_rng([seed, 3])
        self.state = _state(self.given, _first_scores(self.given, plan, rng))
        self.g = np.array([[0.1, 0.003, 0.0005], [0.1, 0.003, 0.0006]])
        self.g1 = np.full((2, 1), 0.1)
        self.figure, self.seen = np.zeros((2, 17)), np.zeros((2, 2))
        self.smooth, self.taken = np.zeros(2), np.zeros(2, dtype=np.int64)

    def run(self, m: int, moves: int, rounds: int, last: int) -> float:
        """One round on measure `m`: what its figures still lose afterwards.

        The tolerance halves every round at first, then falls by a third, up to the round `last`.
        """
        at = min(rounds, last)
        level = min(at, 6) + 0.6 * max(at - 6, 0)
        shrink = 0.5**level
        tolerance = Tolerance(
            np.maximum(0.1 * self.given.half[m], START * shrink),
            max(0.25, 8.0 * shrink), max(0.0005, 0.1 * shrink), max(0.005, 0.4 * shrink), 1.0,
        )  # fmt: skip
        rng = np.random.default_rng([self.seed, 5, rounds, m])
        loss, self.smooth[m], self.taken[m] = anneal(
            self.given, self.state, tolerance, m, moves, 4 if level < 8 else 2, rng,
            self.g[m], self.g1[m], self.figure[m], self.seen[m],
        )  # fmt: skip
        return float(loss)

    def finish(self, m: int, sweeps: int, looks: int, rounds: int) -> float:
        """Bring the figures of measure `m` inside their intervals, four steps at a time."""
        rng = np.random.default_rng([self.seed, 6, rounds, m])
        tolerance = Tolerance(0.1 * self.given.half[m], 0.25, 0.0005, 0.005, 0.5)
        loss, self.taken[m] = polish(
            self.given, self.state, tolerance, m, sweeps, looks, rng,
            self.g[m], self.g1[m], self.figure[m], self.seen[m],
        )  # fmt: skip
        self.smooth[m] = smooth_loss(self.given, self.state, m)
        return float(loss)

    def rest(self, m: int, moves: int, rounds: int) -> float:
        """Move scores of measure `m` so that every figure stays: only what is plausible counts."""
        rng = np.random.default_rng([self.seed, 8, rounds, m])
        tolerance = Tolerance(0.1 * self.given.half[m], 0.25, 0.0005, 0.005, 1.0)
        loss, self.smooth[m], self.taken[m] = anneal(
            self.given, self.state, tolerance, m, moves, 0, rng,
            self.g[m], self.g1[m], self.figure[m], self.seen[m],
        )  # fmt: skip
        return float(loss)
