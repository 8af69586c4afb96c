"""Time spent, as a clock and as a processor see it, child processes included."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any


def _cpu() -> float:
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def spent(work: Callable[[], Any], repeats: int = 1) -> tuple[dict[str, float], Any]:
    """Smallest processor time and smallest clock time of some runs, and the last result."""
    cpu, wall, got = [], [], None
    for _ in range(repeats):
        c, w = _cpu(), time.perf_counter()
        got = work()
        cpu.append(_cpu() - c)
        wall.append(time.perf_counter() - w)
    return {"cpu": min(cpu), "wall": min(wall)}, got


def per_call(work: Callable[[], Any], calls: int, repeats: int = 5) -> tuple[dict[str, float], Any]:
    """The same for work too short for the processor's clock: many calls, time of one."""
    times, got = spent(lambda: [work() for _ in range(calls)], repeats)
    return {k: v / calls for k, v in times.items()}, got[-1]
