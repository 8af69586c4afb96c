"""The policy (thresholds, rounding), and a published table as an attacker knows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pwp_report.wording import refusal

#: Moves that the search for a witness may try for one cell.
_TRIES = 120
#: What stands in a published table for a number that is withheld.
MARK = "*"

#: Row of the cells that are in no table, and that sums leave over all the same.
REST = "(rest)"
#: A cell of a table: label of the row, label of the column.
Cell: TypeAlias = tuple[Any, Any]
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class DisclosurePolicy:
    """The rules of release.

    Parameters
    ----------
    active : bool
        Whether rules are applied at all. Off only for synthetic data or by an explicit flag.
    threshold : int
        Counts below it are suppressed.
    base : int
        Other counts are rounded to the nearest multiple of it.
    smallest_caseload : int
        Therapists with fewer patients appear only in aggregate.

    Examples
    --------
    >>> policy = DisclosurePolicy()
    >>> [policy.count(n) for n in (3, 7, 8, 1122)]
    [None, 5, 10, 1120]
    """

    active: bool = True
    threshold: int = 5
    base: int = 5
    smallest_caseload: int = 20

    def __post_init__(self) -> None:
        if min(self.threshold, self.base) < 2:
            raise refusal("threshold_too_low")
        if self.smallest_caseload < 2 * self.threshold:
            raise refusal("shown_too_small", least=2 * self.threshold)

    def count(self, n: float) -> int | None:
        """Give the number that may be shown for a count, or ``None`` if none may."""
        if not self.active:
            return int(n)
        return None if n < self.threshold else int(self.rounded(n))

    def rounded(self, counts: Array | float) -> Array:
        """Round counts to the nearest multiple of the base."""
        return np.asarray(self.base * np.floor((counts + self.base // 2) / self.base))

    def text(self, n: float) -> str:
        """Write a count as it may be printed."""
        return MARK if (shown := self.count(n)) is None else f"{shown:,}"

    def bounds(self, shown: float | None) -> tuple[float, float]:
        """Smallest and largest count that a shown number can stand for."""
        if shown is None or np.isnan(shown):
            return 0.0, float(self.threshold - 1)
        if not self.active:
            return float(shown), float(shown)
        # Nearest multiple, halves up: 5 stands for 5 to 7, 10 for 8 to 12.
        low = max(self.threshold, int(shown) - self.base // 2)
        return float(low), float(int(shown) + (self.base - 1) // 2)


@dataclass(frozen=True)
class Relation:
    """One sum that a reader of the table knows of: parts that add up to a whole.

    Parameters
    ----------
    whole : Cell
        The cell with the total.
    parts : tuple of Cell
        The cells that it is made of.
    exhaustive : bool
        Whether the parts are all of the whole. If not, what is left over is a count as well, and
        is protected like one: 24 of 25 improved says that one did not.
    """

    whole: Cell
    parts: tuple[Cell, ...]
    exhaustive: bool = True


class Ledger:
    """The table as an attacker knows it: bounds of every count and the sums between them."""

    def __init__(
        self, cells: Sequence[Cell], relations: Sequence[Relation], policy: DisclosurePolicy
    ) -> None:
        self.policy = policy
        self.cells: list[Cell] = list(cells)
        self.position = {cell: i for i, cell in enumerate(self.cells)}
        self.rows: list[dict[int, float]] = []
        for relation in relations:
            row = {self._at(part): 1.0 for part in relation.parts}
            row[self._at(relation.whole)] = -1.0
            if not relation.exhaustive:
                row[self._at((REST, len(self.rows)))] = 1.0
            self.rows.append(row)
        #: Whether a small count has to be able to be any small one, and not two of them.
        self.any_small = False
        #: Bounds of every cell; what it holds at the least, however little is said of it; and least
        #: and largest number in the tables found so far that would look the same.
        self.lower, self.upper, self.least, self.low, self.high = np.zeros((5, len(self.cells)))
        self.rows_of: list[list[int]] = [[] for _ in self.cells]
        for r, row in enumerate(self.rows):
            for i in row:
                self.rows_of[i].append(r)
        #: Cells of each sum in which to look for a countermove: those in the fewest other sums.
        self._movable = [sorted(r, key=lambda i: len(self.rows_of[i]))[:24] for r in self.rows]
        self._tries = 0
        self._part_of: NDArray[np.int32] | None = None

    def _at(self, cell: Cell) -> int:
        if cell not in self.position:
            if cell[0] != REST:
                raise refusal("sum_of_no_cell")
            self.position[cell] = len(self.cells)
            self.cells.append(cell)
        return self.position[cell]

    def is_rest(self, i: int) -> bool:
        """Whether the cell is what a sum leaves over, in no table but known all the same."""
        return bool(self.cells[i][0] == REST)

    def members_around(self, target: int) -> NDArray[np.int64]:
        """Find the cells that sums link to this one, itself included."""
        if self._part_of is None:
            from scipy.sparse import coo_matrix
            from scipy.sparse.csgraph import connected_components

            pairs = [(next(iter(row)), i) for row in self.rows for i in row]
            ends = np.array(pairs, dtype=int).reshape(-1, 2).T
            size = (len(self.cells), len(self.cells))
            graph = coo_matrix((np.ones(ends.shape[1]), (ends[0], ends[1])), size)
            self._part_of = connected_components(graph, directed=False)[1]
        return np.flatnonzero(self._part_of == self._part_of[target])

    def knows(self, target: int, end: float) -> bool:
        """Whether a table that was found shows that the cell could be as far off as `end`.

        It stays true, as nothing is shown later that was withheld.
        """
        return bool(self.low[target] <= end <= self.high[target])

    def _note(self, cells: Any, values: Any) -> None:
        self.low[cells] = np.minimum(self.low[cells], values)
        self.high[cells] = np.maximum(self.high[cells], values)

    def reaches(self, target: int, end: float) -> bool:
        """Whether the cell could hold a number as far off as `end`: an integer programme."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        members, up = self.members_around(target), end > self.high[target]
        sums = sorted({r for i in members for r in self.rows_of[i]})
        entries = [(k, i, w) for k, r in enumerate(sums) for i, w in self.rows[r].items()]
        at, cells, weights = np.array(entries).reshape(-1, 3).T
        places = at.astype(int), np.searchsorted(members, cells)
        matrix = coo_array((weights, places), (len(sums), len(members))).tocsr()
        found = milp(
            (members == target) * (-1.0 if up else 1.0),
            constraints=[LinearConstraint(matrix, 0.0, 0.0)] if sums else [],
            bounds=Bounds(self.lower[members], self.upper[members]),
            integrality=np.ones(len(members)),
        )
        if found.x is None:  # Status 2: nothing fits; otherwise nothing bounds the cell.
            return bool(up and found.status != 2)
        table = np.round(found.x)
        if not (matrix @ table).any():
            self._note(members, table)
        return self.knows(target, end)

    def has_witness(self, target: int, truth: Array, step: float) -> bool:
        """Whether a second table, in which the cell is `step` more, would look the same.

        A quick and sufficient proof: move the cell, and repair each broken sum by moving one other
        cell of it as far. What it cannot settle goes to the integer programmes.
        """
        self._tries = _TRIES
        there = self.lower[target] <= truth[target] + step <= self.upper[target]
        return bool(there) and self._repair({target: step}, list(self.rows_of[target]), truth)

    def _repair(self, moves: dict[int, float], broken: list[int], truth: Array) -> bool:
        if not broken:
            self._note([*moves], truth[[*moves]] + [*moves.values()])
            return True
        self._tries -= 1
        if self._tries < 0:
            return False
        row = self.rows[broken[0]]
        gap = sum(row[i] * step for i, step in moves.items() if i in row)
        if gap == 0.0:
            return self._repair(moves, broken[1:], truth)
        steps = {i: -gap / row[i] for i in self._movable[broken[0]] if i not in moves}
        # Of those that can move: the first six of all may be ones that cannot.
        able = [i for i, s in steps.items() if self.lower[i] <= truth[i] + s <= self.upper[i]]
        for i in able[:6]:
            others = [r for r in self.rows_of[i] if r != broken[0] and r not in broken]
            if self._repair({**moves, i: steps[i]}, broken[1:] + others, truth):
                return True
        return False
