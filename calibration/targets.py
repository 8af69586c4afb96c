"""What the search aims at: the paper's figures, and the choices the paper leaves open.

The figures are those of the paper (pages of the accepted manuscript); what only follows from
them (the clusters' sizes, counts by cluster) is worked out in ``README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CASELOADS", "GAD7", "PHQ9", "MeasureTarget", "TherapistPlan", "plan_therapists"]

#: Patients of the upper, the middle and the lower therapists: 278 + 296 + 548 = 1,122, from 8 to
#: 197, SD 52.10. The multiples of 4 and 15 among them allow rates of 25.0% and 93.3%.
CASELOADS = (
    (134, 58, 39, 36, 11),
    (56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8),
    (197, 163, 90, 72, 26),
)


@dataclass(frozen=True)
class MeasureTarget:
    """The figures of one measure. A pair is (value, half a printed unit)."""

    name: str
    maximum: int
    cutoff: int
    reliable: int
    cases: tuple[int, int, int]
    improved: tuple[int, int, int]
    deteriorated: tuple[int, int, int]
    rcsi: tuple[int, int, int]
    pre_mean: float
    pre_sd: tuple[float, float]
    #: likelihood ratios 1 and 2; intercept, SE, variance, SE; slope, SE, variance, SE; VPC (%);
    #: change mean, SD; effect sizes all, upper, lower; ANCOVA F
    figures: tuple[tuple[float, float], ...]
    #: intervals that exclude zero: how many better, how many worse
    better: int
    worse: int
    rcsi_rank_r: float


PHQ9 = MeasureTarget(
    "phq9", 27, 10, 6,
    cases=(189, 197, 389), improved=(129, 121, 104), deteriorated=(2, 4, 34), rcsi=(98, 84, 82),
    pre_mean=12.7, pre_sd=(6.42, 0.02),
    figures=(
        (142.023, 0.0005), (13.725, 0.0005),
        (8.664, 0.0005), (0.437, 0.0005), (2.779, 0.0005), (1.131, 0.0005),
        (0.549, 0.0005), (0.046, 0.0005), (0.013, 0.0005), (0.009, 0.0005),
        (8.7, 0.05), (3.34, 0.005), (6.43, 0.005),
        (0.52, 0.005), (0.92, 0.005), (0.20, 0.005), (133.0, 0.05),
    ),
    better=1, worse=3, rcsi_rank_r=0.86,
)  # fmt: skip

GAD7 = MeasureTarget(
    "gad7", 21, 8, 4,
    cases=(204, 226, 430), improved=(162, 166, 141), deteriorated=(7, 6, 34), rcsi=(118, 97, 99),
    pre_mean=11.9, pre_sd=(5.53, 0.01),
    figures=(
        (140.488, 0.0005), (17.283, 0.0005),
        (7.805, 0.0005), (0.393, 0.0005), (2.262, 0.0005), (0.917, 0.0005),
        (0.478, 0.0005), (0.048, 0.0005), (0.015, 0.0005), (0.010, 0.0005),
        (8.8, 0.05), (3.05, 0.005), (5.82, 0.005),
        (0.55, 0.005), (0.95, 0.005), (0.22, 0.005), (125.0, 0.05),
    ),
    better=1, worse=2, rcsi_rank_r=0.89,
)  # fmt: skip


@dataclass(frozen=True)
class TherapistPlan:
    """What is fixed of each therapist before any score is drawn (arrays of length 21).

    Attributes
    ----------
    n : caseload.
    cluster : 0 upper, 1 middle, 2 lower.
    rank : (2, 21), the rank of the residual on each measure, 1 the most effective.
    cases : (2, 21), cases before treatment.
    excludes : (2, 21), -1 where the interval lies below zero (better), 1 above, 0 neither.
    """

    n: NDArray[np.int64]
    cluster: NDArray[np.int64]
    rank: NDArray[np.int64]
    cases: NDArray[np.int64]
    excludes: NDArray[np.int64]


def _middle_ranks(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of the middle therapists other than the one ranked 5th and 8th.

    Together with the other ranks they give a Spearman correlation that prints as .96, and no
    two composite ranks tie.
    """
    phq = np.array([6, *range(8, 17)])
    gad_values = np.array([6, 7, *range(9, 17)])
    taken = {2, 4, 6, 9, 11, 13, 35, 36, 37, 40, 42}
    while True:
        gad = gad_values[np.argsort(np.arange(10) + rng.normal(0, 1.6, 10))]
        squares = 25 + int(((phq - gad) ** 2).sum())
        sums = set((phq + gad).tolist())
        clean = len(sums) == 10 and not sums & taken and min(sums) > 11
        if clean and 0.9565 < 1 - 6 * squares / 9240 < 0.9635:
            return phq, gad


def _ranks(rng: np.random.Generator) -> NDArray[np.int64]:
    rank = np.zeros((2, 21), dtype=np.int64)
    rank[0, :5], rank[1, :5] = (1, 2, 3, 4, 7), (1, 2, 3, 5, 4)  # the last is the paper's 17
    rank[0, 7], rank[1, 7] = 5, 8  # the paper's 6
    rank[0, 16:], rank[1, 16:] = (21, 20, 19, 18, 17), (21, 20, 17, 19, 18)
    phq, gad = _middle_ranks(rng)
    # A small caseload is shrunk towards the middle ranks; a large one may stand at either end.
    n = np.array(CASELOADS[1])
    others = np.array([i for i in range(11) if i != 2])
    by_distance = np.argsort(np.abs(phq - 11.4), kind="stable")
    by_caseload = others[np.argsort(n[others], kind="stable")]
    rank[0, 5 + by_caseload], rank[1, 5 + by_caseload] = phq[by_distance], gad[by_distance]
    return rank


def _case_counts(
    rng: np.random.Generator, n: NDArray[np.int64], cluster: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Cases by therapist: the clusters' totals, range 25.0% to 93.3%, medians 68.1% and 75.0%."""
    fixed = {(0, 15): 2, (1, 15): 2, (0, 8): 28, (1, 8): 28, (0, 19): 49, (1, 3): 27}
    while True:
        shared = rng.normal(0, 0.22, 21)
        cases = np.zeros((2, 21), dtype=np.int64)
        for m, target in enumerate((PHQ9, GAD7)):
            for c in range(3):
                mine = np.flatnonzero(cluster == c)
                held = [j for j in mine if (m, int(j)) in fixed]
                free = np.array([j for j in mine if (m, int(j)) not in fixed])
                cases[m, held] = [fixed[m, int(j)] for j in held]
                left = target.cases[c] - cases[m, held].sum()
                odds = np.exp(shared[free] + rng.normal(0, 0.15, len(free)))
                base = left / n[free].sum()
                rate = base * odds / (1 - base + base * odds)
                rate *= left / (rate * n[free]).sum()
                whole = np.floor(rate * n[free]).astype(np.int64)
                order = np.argsort(whole - rate * n[free])
                whole[order[: left - whole.sum()]] += 1
                cases[m, free] = whole
        rates = np.sort(np.round(100 * cases / n, 1), axis=1)
        ends = (rates[:, 0] == 25.0).all() and (rates[:, -1] == 93.3).all()
        inside = (rates[:, 1] > 45).all() and (rates[:, -2] < 88).all()
        if ends and inside and rates[0, 10] == 68.1 and rates[1, 10] == 75.0:
            return cases


def plan_therapists(seed: int) -> TherapistPlan:
    """Draw the plan: caseloads as given, ranks and cases within the paper's statements."""
    rng = np.random.default_rng([seed, 1])
    n = np.array([x for loads in CASELOADS for x in loads])
    cluster = np.repeat([0, 1, 2], [5, 11, 5])
    excludes = np.zeros((2, 21), dtype=np.int64)
    excludes[:, 0], excludes[:, 16:18], excludes[0, 18] = -1, 1, 1
    return TherapistPlan(n, cluster, _ranks(rng), _case_counts(rng, n, cluster), excludes)
