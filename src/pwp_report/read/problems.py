"""Everything that is wrong with a file, gathered before anything is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_report.read.files import shown_name

__all__ = ["Problem", "ProblemList", "Problems"]

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
        return InputError(
            self.problem + more,
            hint=self.hint,
            file=file,
            row=self.rows[0] if self.rows else None,
            column=shown_name(self.column) or None,
        )


@dataclass(frozen=True)
class Problems:
    """All problems of a file.

    Attributes
    ----------
    file : str
    items : tuple of Problem
    """

    file: str
    items: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.items)

    def first(self) -> InputError:
        """Give the first problem as one sentence, and say how many there are besides.

        Raises
        ------
        IndexError
            If there is none.
        """
        item, others = self.items[0], len(self.items) - 1
        if not others:
            return item.error(self.file)
        word = "problem is" if others == 1 else "problems are"
        hint = f"{item.hint}; {others:,} other {word} listed by pwp check"
        return Problem(item.problem, hint, item.column, item.kind, item.rows, item.count).error(
            self.file
        )

    def table(self) -> pd.DataFrame:
        """Show each problem in each row: row, column, kind of value, problem, hint."""
        lines = [
            (row, p.column, p.kind, p.problem, p.hint)
            for p in self.items
            for row in p.rows or (None,)
        ]
        frame = pd.DataFrame(lines, columns=["row", "column", "kind", "problem", "hint"])
        return frame.astype({"row": "Int64"})


@dataclass
class ProblemList:
    """Gathers problems while a file is read."""

    rows: NDArray[np.int64]
    items: list[Problem] = field(default_factory=list)

    def add(
        self,
        problem: str,
        hint: str,
        column: str = "",
        kind: str = "",
        where: pd.Series | None = None,
    ) -> None:
        """Add a problem; `where` says of each record whether it has it."""
        if where is None:
            self.items.append(Problem(problem, hint, column, kind))
            return
        at = np.flatnonzero(where.fillna(False).to_numpy(dtype=bool))
        if len(at):
            listed = tuple(int(r) for r in self.rows[at[:_LISTED]])
            self.items.append(Problem(problem, hint, column, kind, listed, len(at)))

    def drop_row(self, row: int) -> None:
        """Forget what is wrong with one row alone: the row itself is the problem."""
        self.items = [p for p in self.items if p.rows != (row,)]

    def sorted(self) -> Sequence[Problem]:
        """Order by first row; problems without a row come last."""
        return sorted(self.items, key=lambda p: p.rows[0] if p.rows else 1 << 62)
