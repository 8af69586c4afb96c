"""The attacker: what each withheld count could be, given all that is published.

Works from the published numbers alone, by integer programmes over the whole table at once, and so
checks `release_counts` from outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp

from pwp_report.disclosure import DisclosurePolicy, Relation
from pwp_report.ledger import Cell


@dataclass(frozen=True)
class Percentage:
    """A percentage that is published beside its table."""

    part: Cell
    whole: Cell
    value: float
    decimals: int = 0


def audit(
    frame: pd.DataFrame,
    relations: Iterable[Relation] = (),
    percentages: Iterable[Percentage] = (),
    policy: DisclosurePolicy | None = None,
    *,
    truth: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Bound each suppressed cell: row, column, lower, upper, safe (two values or more).

    With the `truth` the attacker is taken to know which cells were suppressed for being small;
    without it each withheld cell is taken for a small one.
    """
    policy = policy or DisclosurePolicy()
    second = None if truth is None else frame.isna() & (truth.fillna(0) >= policy.threshold)
    at = {(r, c): i for i, (r, c) in enumerate((r, c) for r in frame.index for c in frame.columns)}
    box = [
        (0.0, np.inf)
        if pd.isna(frame.at[cell]) and second is not None and second.at[cell]
        else policy.bounds(None if pd.isna(frame.at[cell]) else float(frame.at[cell]))
        for cell in at
    ]
    rows: list[tuple[dict[int, float], float, float]] = []
    for relation in relations:
        row = {at[relation.whole]: -1.0} | {at[part]: 1.0 for part in relation.parts}
        rows.append((row, 0.0 if relation.exhaustive else -np.inf, 0.0))
    for share in percentages:
        half = 0.5 * 10.0**-share.decimals
        for sign, edge in ((-1.0, share.value - half), (1.0, share.value + half)):
            row = {at[share.part]: sign, at[share.whole]: -sign * edge / 100.0}
            rows.append((row, -np.inf, 1e-9))
    found = []
    for cell, i in at.items():
        if pd.isna(frame.at[cell]):
            low, high = (_end(sign, i, rows, box) for sign in (1.0, -1.0))
            ends = [int(v) if np.isfinite(v) else -1 for v in (low, high)]
            found.append((*cell, *ends, high > low))
    return pd.DataFrame(found, columns=["row", "column", "lower", "upper", "safe"])


def _end(
    sign: float,
    target: int,
    rows: list[tuple[dict[int, float], float, float]],
    box: list[tuple[float, float]],
) -> float:
    """Find the smallest (sign 1) or largest (-1) whole number that fits."""
    matrix = np.zeros((len(rows), len(box)))
    for r, (row, _, _) in enumerate(rows):
        matrix[r, list(row)] = list(row.values())
    rules = LinearConstraint(matrix, [r[1] for r in rows], [r[2] for r in rows])
    cost = np.zeros(len(box))
    cost[target] = sign
    result = milp(
        cost,
        constraints=[rules] if rows else [],
        bounds=Bounds(*np.array(box).T),
        integrality=np.ones(len(box)),
    )
    # Status 2: nothing fits; otherwise no solution means that nothing bounds the cell.
    if result.x is None:
        return -np.inf if result.status == 2 else np.inf
    return float(np.round(result.x[target]))
