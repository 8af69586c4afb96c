"""The outcome measures that services use: range, direction, caseness and reliable change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GAD7",
    "MEASURES",
    "PHQ9",
    "Measure",
    "get_measure",
    "known_measures",
    "measure_table",
]

_MANUAL = (
    "NHS England, NHS Talking Therapies for anxiety and depression manual "
    "(formerly the IAPT manual), table of caseness and reliable-change thresholds"
)
_UNCONFIRMED = f"{_MANUAL}; not held against that table when this was written: check before use"


@dataclass(frozen=True)
class Measure:
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
        The first score that counts as a case: at or above it when a higher score is worse, at or
        below it when a higher score is better. ``None`` if the measure has none.
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
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise InputError(
                "a measure's name is made of small letters, digits and underscores",
                hint="rename it, for instance core_om",
            )
        if not self.minimum < self.maximum:
            raise InputError(f"the minimum of measure {self.name} is not below its maximum")
        if self.cutoff is not None and not self.minimum <= self.cutoff <= self.maximum:
            raise InputError(f"the cut-off of measure {self.name} lies outside its range")
        if self.reliable_change is not None and not self.reliable_change > 0:
            raise InputError(f"the reliable change of measure {self.name} must be above 0")

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
        """Whether each score reaches the cut-off. A missing score is no case.

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
        return values >= self.cutoff if self.higher_is_worse else values <= self.cutoff


PHQ9 = Measure(
    name="phq9",
    label="PHQ-9",
    minimum=0,
    maximum=27,
    cutoff=10,
    reliable_change=6,
    kind="depression",
    source=f"Kroenke, Spitzer & Williams (2001); {_MANUAL}; as used by Green et al. (2014)",
)
GAD7 = Measure(
    name="gad7",
    label="GAD-7",
    minimum=0,
    maximum=21,
    cutoff=8,
    reliable_change=4,
    kind="anxiety",
    source=f"Spitzer, Kroenke, Williams & Löwe (2006); {_MANUAL}; as used by Green et al. (2014)",
)

_ALL = (
    PHQ9,
    GAD7,
    Measure("oci", "OCI", 0, 168, 40, 32, kind="anxiety", source=_UNCONFIRMED),
    Measure("spin", "SPIN", 0, 68, 19, 10, kind="anxiety", source=_UNCONFIRMED),
    Measure("iesr", "IES-R", 0, 88, 33, 9, kind="anxiety", source=_UNCONFIRMED),
    Measure("pcl5", "PCL-5", 0, 80, 32, 10, kind="anxiety", source=_UNCONFIRMED),
    Measure("hai", "HAI (short, week)", 0, 54, 18, 4, kind="anxiety", source=_UNCONFIRMED),
    # The Mobility Inventory is scored as the mean of its items, each 1 to 5.
    Measure("mi", "MI", 1, 5, 2.3, 0.73, kind="anxiety", source=_UNCONFIRMED, integer=False),
    Measure("pdss", "PDSS", 0, 28, 8, 5, kind="anxiety", source=_UNCONFIRMED),
    Measure(
        "wsas",
        "WSAS",
        0,
        40,
        None,
        None,
        kind="functioning",
        source="Mundt, Marks, Shear & Greist (2002); the national manual sets no caseness for it",
    ),
    # The clinical score: mean of the answered items times ten, hence not always whole.
    Measure(
        "core_om",
        "CORE-OM",
        0,
        40,
        10,
        None,
        kind="distress",
        source=(
            "Connell et al. (2007), British Journal of Psychiatry 190, 69-74: cut-off 9.9, which "
            "no score lies at, so that 10 is the first above it; reliable change left open, since "
            "thresholds in print differ"
        ),
        integer=False,
    ),
    Measure(
        "core10",
        "CORE-10",
        0,
        40,
        11,
        6,
        kind="distress",
        source=(
            "Barkham et al. (2013), Counselling and Psychotherapy Research 13, 3-13: 11 for "
            "general distress; reliable change of 6, at 90% confidence"
        ),
        integer=False,
    ),
    Measure(
        "oq45",
        "OQ-45",
        0,
        180,
        64,
        14,
        kind="distress",
        source=(
            "OQ Measures: reliable change of 14; the manual's cut-off, scores above 63, was not "
            "held against the manual when this was written: check before use"
        ),
    ),
)

#: The measures that the library knows, by name.
MEASURES: Mapping[str, Measure] = MappingProxyType({m.name: m for m in _ALL})

_STUDIED: ContextVar[tuple[Measure, ...]] = ContextVar("_STUDIED", default=())


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
    known = {_plain(m.name): m for m in (*_ALL, *_STUDIED.get())}
    found = known.get(_plain(name))
    if found is None:
        near = get_close_matches(_plain(name), list(known), n=1)
        hint = f"did you mean {known[near[0]].name}? Known are" if near else "known are"
        raise InputError(
            f"the measure {name[:40]!r} is not known",
            hint=f"{hint} {', '.join(MEASURES)}, and any other can be given as a Measure",
        )
    return found


@contextmanager
def known_measures(measures: Iterable[Measure]) -> Iterator[None]:
    """Let `get_measure` find a study's own measures by name, before the library's, for a while.

    Examples
    --------
    >>> from dataclasses import replace
    >>> with known_measures([replace(PHQ9, reliable_change=5)]):
    ...     get_measure("phq9").reliable_change
    5
    """
    before = _STUDIED.set(tuple(measures))
    try:
        yield
    finally:
        _STUDIED.reset(before)


def measure_table() -> pd.DataFrame:
    """All measures of the library, one row each, for reading: look at ``source`` before use.

    Examples
    --------
    >>> measure_table().loc["gad7", ["cutoff", "reliable_change"]].tolist()
    [8.0, 4.0]
    """
    import pandas as pd

    return pd.DataFrame([vars(m) for m in _ALL]).set_index("name")
