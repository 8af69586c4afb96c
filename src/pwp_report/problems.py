"""Everything that is wrong with a file, gathered before anything is said."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_report.read.raw import shown_name
from pwp_report.wording import KINDS, worded

#: Rows listed for one problem; the count is complete all the same.
_LISTED = 1_000


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with the rows where it is.

    Attributes
    ----------
    problem, hint : str
        What is wrong and what to do, without any entry of the file.
    column : str
        As the file names it; empty if the problem lies in no column.
    kind : str
        Kind of value that was found.
    rows : tuple of int
        Rows as a spreadsheet counts them, the first thousand.
    count : int
        How many rows in all; 0 if the problem lies in no row.
    """

    problem: str
    hint: str
    column: str = ""
    kind: str = ""
    rows: tuple[int, ...] = ()
    count: int = 0

    def error(self, file: str) -> InputError:
        """Give the problem as one sentence about its first row."""
        more = f" ({self.count - 1:,} more such rows)" if self.count > 1 else ""
        row, column = next(iter(self.rows), None), shown_name(self.column) or None
        return InputError(self.problem + more, hint=self.hint, file=file, row=row, column=column)


class Problems:
    """All problems of a file, gathered before anything is said.

    Parameters
    ----------
    file : str
        The file's name.
    rows : ndarray of int, shape (N,)
        The row of each record, as a spreadsheet counts it.
    """

    def __init__(self, file: str, rows: NDArray[np.int64]) -> None:
        self.file, self.rows = file, rows
        self.items: list[Problem] = []

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Problem]:
        """Give the problems in the order of their first rows; those without a row come last."""
        return iter(sorted(self.items, key=lambda p: p.rows[0] if p.rows else 1 << 62))

    def add(self, key: str, column: str = "", where: pd.Series | None = None, **words: Any) -> None:
        """Add the problem of that key; `where` says, by positions, which records have it."""
        problem, hint, kind = [*worded(key, **words), ""][:3]
        self._add(Problem(problem, hint, column, kind), where)

    def add_kinds(self, need: str, column: str, kinds: pd.Series) -> None:
        """Add entries that are not what is needed, by their kind; see `KINDS`."""
        for key in kinds.dropna().unique():
            kind, hint = KINDS[key]
            self._add(Problem(f"{need}, and this is {kind}", hint, column, kind), kinds == key)

    def _add(self, problem: Problem, where: pd.Series | None) -> None:
        if where is not None:
            at = np.sort(where.index[where.fillna(False).astype(bool)].to_numpy(dtype=int))
            listed = tuple(int(r) for r in self.rows[at[:_LISTED]])
            problem = replace(problem, rows=listed, count=len(at))
        if where is None or problem.count:
            self.items.append(problem)

    def replace_rows(self, key: str, where: pd.Series) -> None:
        """Add a problem of whole rows, and forget what is wrong in those rows alone."""
        rows = set(self.rows[where.index[where]])
        self.items = [p for p in self.items if not p.rows or p.count > 1 or p.rows[0] not in rows]
        self.add(key, "", where)

    def first(self) -> InputError:
        """Give the first problem as one sentence, and say how many there are besides.

        Raises
        ------
        StopIteration
            If there is none.
        """
        item, others = next(iter(self)), len(self) - 1
        if others:
            item = replace(item, hint=f"{item.hint}; pwp check lists {others:,} more")
        return item.error(self.file)
