"""Outcome measures and their thresholds; a new one is a row of ``measures.csv``."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.arguments import Checked
from multilevel.errors import InputError

__all__ = ["GAD7", "MEASURES", "PHQ9", "Measure", "get_measure", "known_measures", "use_measures"]


@dataclass(frozen=True)
class Measure(Checked):
    """An outcome measure: what its scores can be, and what they mean.

    Parameters
    ----------
    name : str
        Short name; columns are called ``<name>_pre`` and ``<name>_post``.
    label : str
        Name as printed in tables and on axes.
    minimum, maximum : float
        Ends of the scale, both possible.
    cutoff : float or None
        What parts cases from others: a case is at or above it where a higher score is worse, and
        below it where a higher score is better. ``None`` if the measure has none.
    reliable_change : float or None
        The smallest change that counts as reliable. ``None`` if there is none, or if sources
        disagree: set your own with :func:`dataclasses.replace`.
    higher_is_worse : bool
        Direction of the scale.
    kind : str
        What is measured: ``"depression"``, ``"anxiety"``, ``"functioning"`` or ``"distress"``.
    source : str
        Where cut-off and threshold come from, and which of them could not be held against it.
    integer : bool
        Whether a score is always a whole number.

    Examples
    --------
    >>> PHQ9.pre, PHQ9.post
    ('phq9_pre', 'phq9_post')
    >>> PHQ9.is_case([9, 10])
    array([False,  True])
    """

    name: str
    label: str
    minimum: float
    maximum: float
    cutoff: float | None
    reliable_change: float | None
    higher_is_worse: bool = True
    kind: str = ""
    source: str = ""
    integer: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", str(self.name)):
            raise InputError(
                "a measure's name is made of small letters, digits and underscores",
                hint="rename it, for instance core_om",
            )
        if not self.minimum < self.maximum:
            raise InputError(f"the minimum of measure {self.name} is not below its maximum")
        if self.cutoff is not None and not self.minimum <= self.cutoff <= self.maximum:
            raise InputError(f"the cut-off of measure {self.name} lies outside its range")
        least, most = self.reliable_change, self.maximum - self.minimum
        if least is not None and not 0 < least <= most:
            what = f"the reliable change of measure {self.name}"
            raise InputError(f"{what} must be above 0, and no more than the {most:g} of its range")

    @property
    def pre(self) -> str:
        """Name of the column with the score before treatment."""
        return f"{self.name}_pre"

    @property
    def post(self) -> str:
        """Name of the column with the last score."""
        return f"{self.name}_post"

    @property
    def sign(self) -> float:
        """Direction of the scale: 1 where a higher score is worse, -1 where it is better."""
        return 1.0 if self.higher_is_worse else -1.0

    @property
    def range_text(self) -> str:
        """The range in words, as in an error message."""
        kind = "a whole number" if self.integer else "a number"
        return f"{kind} from {self.minimum:g} to {self.maximum:g}"

    def improvement(self, pre: ArrayLike, post: ArrayLike) -> NDArray[np.float64]:
        """Change for the better: positive when the patient is better at the end.

        Parameters
        ----------
        pre, post : array_like of shape (N,)

        Returns
        -------
        ndarray of shape (N,)
        """
        change: NDArray[np.float64] = np.asarray(pre, dtype=float) - np.asarray(post, dtype=float)
        return self.sign * change

    def is_case(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether each score is on the worse side of the cut-off. A missing score is no case.

        Parameters
        ----------
        scores : array_like of shape (N,)

        Raises
        ------
        InputError
            If the measure has no cut-off.
        """
        if self.cutoff is None:
            raise InputError(
                f"measure {self.name} has no caseness cut-off",
                hint="give it one, or leave out what needs one",
            )
        values = np.asarray(scores, dtype=float)
        return values >= self.cutoff if self.higher_is_worse else values < self.cutoff


def _listed() -> dict[str, Measure]:
    """Read ``measures.csv``; an empty cell is a threshold that the measure does not have."""
    text = files("pwp_lib").joinpath("measures.csv").read_text(encoding="utf-8")
    words = {"name", "label", "kind", "source"}
    rows: list[dict[str, Any]] = [
        {key: cell if key in words else json.loads(cell or "null") for key, cell in row.items()}
        for row in csv.DictReader(text.splitlines())
    ]
    return {row["name"]: Measure(**row) for row in rows}


#: The measures that the library knows, by name.
MEASURES: Mapping[str, Measure] = MappingProxyType(_listed())
PHQ9, GAD7 = MEASURES["phq9"], MEASURES["gad7"]

_STUDIED: list[Measure] = []


def every_measure() -> dict[str, Measure]:
    """Measures by name: the library's, and before them a study's own; see `use_measures`."""
    return {**MEASURES, **{m.name: m for m in _STUDIED}}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def get_measure(name: str | Measure) -> Measure:
    """Look a measure up by name, however it is written.

    Parameters
    ----------
    name : str or Measure
        ``"phq9"``, ``"PHQ-9"`` or ``"phq_9"`` alike; a `Measure` is handed back.

    Raises
    ------
    InputError
        If the name is not known; the sentence lists the names that are.

    Examples
    --------
    >>> get_measure("PHQ-9").reliable_change
    6
    """
    if isinstance(name, Measure):
        return name
    known = {_plain(name): m for name, m in every_measure().items()}
    found = known.get(_plain(name))
    if found is None:
        near = get_close_matches(_plain(name), list(known), n=1)
        hint = f"did you mean {known[near[0]].name}? Known are" if near else "known are"
        raise InputError(
            f"the measure {name[:40]!r} is not known",
            hint=f"{hint} {', '.join(MEASURES)}, and any other can be given as a Measure",
        )
    return found


def use_measures(measures: Iterable[Measure]) -> None:
    """Let `get_measure` find a study's own measures by name, before the library's, from now on.

    Where a study has a cut-off or a reliable change of its own for one, its own counts.

    Examples
    --------
    >>> use_measures([])
    >>> get_measure("phq9").reliable_change
    6
    """
    _STUDIED[:] = measures


@contextmanager
def known_measures(measures: Iterable[Measure]) -> Iterator[None]:
    """Do what `use_measures` does for a while.

    Examples
    --------
    >>> from dataclasses import replace
    >>> with known_measures([replace(PHQ9, reliable_change=5)]):
    ...     get_measure("phq9").reliable_change
    5
    """
    before = [*_STUDIED]
    use_measures(measures)
    try:
        yield
    finally:
        use_measures(before)
