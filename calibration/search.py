"""The whole search: plan, scores before, scores after round by round, people, cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pwp_lib.cohort import Cohort

from .after import FIGURES, TARGETS, AfterSearch
from .assemble import assemble
from .before import draw_before
from .kernel import KEPT
from .targets import plan_therapists

__all__ = ["FULL", "SEED", "SHORT", "TINY", "Found", "Schedule", "find"]

#: The seed of the packaged cohort.
SEED = 1
#: Called with what is being done, the share of the work done and what is left to fit.
Report = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Schedule:
    """How long the search looks.

    Attributes
    ----------
    before_rounds, before_moves : rounds over the scores before treatment, proposals in each.
    levels : rounds over the scores after treatment, each with less tolerance than the last.
    moves : proposals in a round on one measure.
    finishes : how often each measure is finished (`calibration.polish`) at most.
    rests, rest_moves : last rounds, in which the figures stay, and proposals in each.
    sweeps, looks : tables of effects in a finish, and combinations looked at in each table.
    """

    before_rounds: int
    before_moves: int
    levels: int
    moves: int
    finishes: int
    rests: int
    rest_moves: int
    sweeps: int = 15
    looks: int = 5_000_000


FULL = Schedule(
    before_rounds=12, before_moves=20_000, levels=20, moves=200_000, finishes=12,
    rests=10, rest_moves=3_000_000,
)  # fmt: skip
#: Seconds instead of minutes once compiled: gets near, fits few figures.
SHORT = Schedule(
    before_rounds=4, before_moves=400, levels=6, moves=4_000, finishes=0, rests=1, rest_moves=4_000
)  # fmt: skip
#: Shows that everything runs; fast enough without compiling.
TINY = Schedule(
    before_rounds=1, before_moves=10, levels=1, moves=20, finishes=0, rests=1, rest_moves=20
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What the search ended with.

    Attributes
    ----------
    cohort : Cohort
    loss : (2,), what the figures of each measure still lose; 0 when all fit.
    figures : (2, 17), as in `calibration.after.FIGURES`.
    rounds : rounds used on the scores after treatment.
    """

    cohort: Cohort
    loss: NDArray[np.float64]
    figures: NDArray[np.float64]
    rounds: int


def _misses(search: AfterSearch, m: int) -> list[str]:
    """Names of the figures of measure `m` outside their rounding interval."""
    off = np.abs(search.figure[m] - search.given.target[m]) > search.given.half[m]
    return [f"{TARGETS[m].name} {FIGURES[k]}" for k in np.flatnonzero(off)]


def _left(search: AfterSearch) -> str:
    """Say what is left to fit."""
    names = [*_misses(search, 0), *_misses(search, 1)]
    if len(names) > 4:
        return f"{len(names)} figures to fit"
    return ", ".join(names) or "all figures of the models fit"


def find(seed: int = SEED, schedule: Schedule = FULL, report: Report | None = None) -> Found:
    """Search for a cohort; the same seed and schedule give the same cohort.

    Parameters
    ----------
    seed : int
    schedule : Schedule
    report : callable, optional
        Told what is being done, the share done and what is left.
    """
    tell = report or (lambda what, share, left: None)
    plan = plan_therapists(seed)
    tell("scores before treatment", 0.0, "")
    pairs, therapist, _ = draw_before(plan, seed, schedule.before_rounds, schedule.before_moves)
    search = AfterSearch(plan, pairs, therapist, seed)
    loss = np.full(2, np.inf)
    rounds = 0
    while rounds < schedule.levels:
        for m in range(2):
            loss[m] = search.run(m, schedule.moves, rounds, schedule.levels - 1)
        rounds += 1
        tell("scores after treatment", 0.9 * rounds / schedule.levels, _left(search))
    for last in range(schedule.finishes):
        # One measure's correlation of changes moves with the other's scores, so in turn.
        for m in range(2):
            if loss[m] > KEPT:
                loss[m] = search.finish(m, schedule.sweeps, schedule.looks, last)
        rounds += 1
        tell("the last steps", 0.9 + 0.1 * (last + 1) / schedule.finishes, _left(search))
        if loss.max() <= KEPT:
            break
    for rest in range(schedule.rests):
        for m in range(2):
            loss[m] = search.rest(m, schedule.rest_moves, rest)
        tell("plausible scores", 0.9 + 0.1 * (rest + 1) / schedule.rests, _left(search))
    cohort = assemble(plan, search.given.pre, search.state.post, therapist, seed)
    return Found(cohort, loss, search.figure.copy(), rounds)
