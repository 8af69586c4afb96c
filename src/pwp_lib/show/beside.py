"""The paper's figures beside ours, as the chapters show them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.numbers import bare_p, number
from pwp_lib.show import show

__all__ = ["paper_beside_ours", "paper_table"]

_SIGNS = {"=": "", "<": "< ", ">": "> ", ">=": "at least ", "near": "near "}
_UNITS = {"percent": "%", "years": " years", "points": " points"}


def paper_table(board: pd.DataFrame, topics: str | Iterable[str]) -> pd.DataFrame:
    """Part of the scoreboard in words: what the paper prints, and ours to the same digits.

    Parameters
    ----------
    board : DataFrame
        The result of `scoreboard`.
    topics : str or iterable of str
        Which parts, such as ``"models"``.

    Returns
    -------
    DataFrame
        ``figure``, ``paper``, ``ours``, ``definition`` (stated, inferred or ours), ``state``.

    Raises
    ------
    InputError
        If no figure belongs to the topics.
    """
    wanted = {topics} if isinstance(topics, str) else set(topics)
    rows = board[board["topic"].isin(wanted)]
    if rows.empty:
        known = ", ".join(sorted(set(board["topic"])))
        raise InputError("the paper prints no figure on that topic", hint=f"choose of: {known}")
    return pd.DataFrame(
        {
            "figure": rows["quantity"].to_numpy(),
            "paper": [_printed(row) for _, row in rows.iterrows()],
            "ours": [_ours(row) for _, row in rows.iterrows()],
            "definition": rows["status"].to_numpy(),
            "state": rows["state"].to_numpy(),
        }
    )


def _printed(row: pd.Series) -> str:
    if row["relation"] == "holds":
        return "holds"
    return f"{_SIGNS[row['relation']]}{row['printed']}{_UNITS.get(row['unit'], '')}"


def _ours(row: pd.Series) -> str:
    value = row["computed"]
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if row["relation"] == "holds":
        return "holds" if float(value) == 1.0 else "does not hold"
    if row["unit"] == "probability":
        return bare_p(float(value))
    digits = str(row["printed"]).partition(".")[2]
    return f"{number(float(value), len(digits))}{_UNITS.get(row['unit'], '')}"


def paper_beside_ours(
    board: pd.DataFrame, topics: str | Iterable[str], *, caption: str
) -> show.ShownTable:
    """Show that part of the scoreboard as a table; see `paper_table`.

    Parameters
    ----------
    board : DataFrame
    topics : str or iterable of str
    caption : str
    """
    return show.table(paper_table(board, topics), caption=caption, index=False)
