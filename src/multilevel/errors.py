"""One exception type for bad input, and how its sentence is worded."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be used, said in one sentence that names the place and a remedy.

    Parameters
    ----------
    problem : str
        What is wrong, without any value that somebody could be known by.
    hint : str, optional
        What the user can do about it.
    file : str or Path, optional
        The file concerned. Only its name is shown, never its folder.
    row : int, optional
        The row concerned as a spreadsheet counts it: the header is row 1.
    column : str, optional
        The column concerned.

    Examples
    --------
    >>> print(InputError("a whole number (0 to 27) is needed",
    ...                  hint="correct or clear it",
    ...                  file="rows.csv", row=12, column="score"))
    rows.csv, row 12, column score: a whole number (0 to 27) is needed; correct or clear it.
    """

    def __init__(
        self,
        problem: str,
        *,
        hint: str | None = None,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.problem, self.hint, self.row, self.column = problem, hint, row, column
        self.file = Path(file).name if file is not None else None
        told = {"row": row, "column": column}
        places = self.file, *(f"{name} {at}" for name, at in told.items() if at is not None)
        place = ", ".join(filter(None, places))
        body = f"{problem}; {hint}" if hint else problem
        sentence = f"{place}: {body}" if place else body
        super().__init__(sentence if sentence.endswith((".", "?", "!")) else f"{sentence}.")
