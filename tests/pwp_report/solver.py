"""The attacker of a whole run: every released count, and all that is known of their sums.

Shares nothing with `ledger` and `disclosure`: patients of a therapist are cut into the cells that
the definitions of outcomes allow (case or not, better or worse, below the cut-off or not), and each
released number bounds a sum of cells. What holds in every table that fits is what can be solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

#: A sum of unknown counts, by name.
Sum = dict[Any, float]


def stands_for(shown: Any) -> tuple[float, float]:
    """What a released count can stand for: nearest five, never under five, ``*`` anything."""
    if shown == "*":
        return 0.0, np.inf
    value = int(shown)
    if value == 0:  # shown as such where somebody excluded or missing is counted
        return 0.0, 0.0
    return max(5.0, value - 2), value + 2.0


def plus(*sums: Sum) -> Sum:
    """Add sums up."""
    out: Sum = {}
    for each in sums:
        for name, weight in each.items():
            out[name] = out.get(name, 0.0) + weight
    return out


def less(whole: Sum, part: Sum) -> Sum:
    """What a part leaves of a whole."""
    return plus(whole, {name: -weight for name, weight in part.items()})


class Attacker:
    """Knows bounds of sums of whole numbers that are not negative."""

    def __init__(self, truth: Mapping[Any, float]) -> None:
        self.truth = dict(truth)
        self.place = {name: i for i, name in enumerate(self.truth)}
        self.rows: list[tuple[Sum, float, float]] = []
        #: Unknowns of which a table says that they are zero.
        self.told: set[Any] = set()

    def of(self, some: Sum) -> float:
        """The true value of a sum."""
        return sum(self.truth[name] * weight for name, weight in some.items())

    def learns(self, some: Sum, low: float, high: float) -> None:
        """Note what a sum lies between; the truth has to, or the attacker is mistaken."""
        assert low <= self.of(some) <= high, (some, low, self.of(some), high)
        self.rows.append((some, low, high))

    def sees(self, some: Sum, shown: Any) -> None:
        """Note a released count; of a withheld one the attacker knows whether it was small."""
        low, high = stands_for(shown)
        if shown == "*" and self.of(some) < 5:
            high = 4.0
        self.learns(some, low, high)

    def solve(self, goal: Sum, seconds: float = 20.0) -> dict[Any, float] | None:
        """Find the table that fits in which a sum is least."""
        data = [
            (r, self.place[n], w) for r, (s, _, _) in enumerate(self.rows) for n, w in s.items()
        ]
        row, column, weight = zip(*data, strict=True)
        shape = (len(self.rows), len(self.place))
        rules = LinearConstraint(
            csr_array((weight, (row, column)), shape=shape),
            [low for _, low, _ in self.rows],
            [high for _, _, high in self.rows],
        )
        cost = np.zeros(len(self.place))
        for name, w in goal.items():
            cost[self.place[name]] += w
        found = milp(
            cost,
            constraints=rules,
            bounds=Bounds(0, 1e6),
            integrality=np.ones(len(cost)),
            options={"time_limit": seconds, "mip_rel_gap": 0.5},
        )
        if found.x is None:
            return None
        return dict(zip(self.place, np.round(found.x), strict=True))

    def solved(self, targets: Iterable[tuple[str, Sum]], seed: int = 1) -> list[str]:
        """Name the counts under five that are the same in every table that fits."""
        rng = np.random.default_rng(seed)
        left = {name: some for name, some in targets if self.of(some) < 5}

        def look(goal: Sum) -> None:
            there = self.solve(goal)
            for name, some in list(left.items()) if there is not None else ():
                if sum(there[n] * w for n, w in some.items()) != self.of(some):
                    del left[name]

        for _ in range(6):  # many at once, which way each is pulled is drawn
            signs = rng.choice([-1.0, 1.0], len(left))
            look(plus(*({n: s * w for n, w in some.items()}
                        for s, some in zip(signs, left.values(), strict=True))))  # fmt: skip
        for name, some in list(left.items()):
            for sign in (1.0, -1.0):
                if name in left:
                    look({n: sign * w for n, w in some.items()})
        return list(left)


def by_label(frame: pd.DataFrame, **where: str) -> dict[str, Any]:
    """The one row of a table with these labels."""
    mine = frame
    for column, label in where.items():
        mine = mine[mine[column] == label]
    (row,) = mine.to_dict("records")
    return dict(row)
