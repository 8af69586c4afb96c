"""The figures of Green, Barkham, Kellett & Saxon (2014), as data.

Each stands in ``published.csv`` beside this module as the paper prints it; its value and its
rounding are read off the printed digits, so that neither can be typed wrongly.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from multilevel.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PublishedFigure", "published", "published_figure", "published_figures"]

Relation = Literal["=", "<", ">", ">=", "near", "holds"]
Status = Literal["stated", "inferred", "ours"]

#: Units in which a figure is a whole number and is not rounded.
_EXACT = frozenset({"count", "rank", "statement"})
#: How near "near" is, in the figure's own unit: see its definition.
_NEAR = 3.7
#: Far below any printed digit: keeps a computed value that lies on the edge of the rounding
#: interval, but for binary arithmetic, inside it.
_SLACK = 1e-9


@dataclass(frozen=True)
class PublishedFigure:
    """One figure of the paper.

    Attributes
    ----------
    id : str
        Topic, measure where there is one, and name, as ``"models.phq9.intercept_variance"``.
    topic : str
        ``people``, ``measures``, ``outcomes``, ``therapists``, ``models``, ``mcmc``, ``ranks``,
        ``clusters``, ``scales`` or ``interviews``.
    measure : str
        ``"phq9"``, ``"gad7"``, or empty.
    quantity : str
        What it is, in words.
    relation : {"=", "<", ">", ">=", "near", "holds"}
        ``=``: a number, rounded. ``<``, ``>``, ``>=``: a bound such as p < .001. ``near``: a
        likeness in words, made a number in `definition`. ``holds``: a statement.
    printed : str
        The digits as printed; ``"yes"`` for a statement.
    value : float
        The printed number; 1 for a statement.
    rounding : float
        Half a unit of the last printed digit; 0 for counts, ranks and statements.
    unit : str
        Percentages are in percent, not shares.
    page : str
        Page of the accepted manuscript.
    definition : str
        How it is computed.
    status : {"stated", "inferred", "ours"}
        Whether the paper states that definition, its figures imply it, or we chose it.
    testable : bool
        Whether a cohort can show it.
    contradicted : bool
        Whether another figure of the paper contradicts it; the note says which.
    note : str
        The paper's inconsistencies, or why the figure is not testable.
    """

    id: str
    topic: str
    measure: str
    quantity: str
    relation: Relation
    printed: str
    value: float
    rounding: float
    unit: str
    page: str
    definition: str
    status: Status
    testable: bool
    contradicted: bool
    note: str

    def matches(self, computed: float, monte_carlo_error: float = 0.0) -> bool:
        """Whether a computed value prints as the paper's.

        Parameters
        ----------
        computed : float
            In the figure's unit.
        monte_carlo_error : float
            Of a simulated value; two of them are allowed beyond the rounding.

        Examples
        --------
        >>> figure = published_figure("outcomes.phq9.effect_size")
        >>> figure.printed, figure.matches(0.5243), figure.matches(0.526)
        ('0.52', True, False)
        """
        allowed = self.rounding + 2 * monte_carlo_error + _SLACK
        match self.relation:
            case "<":
                return computed < self.value
            case ">":
                return computed > self.value
            case ">=":
                return computed >= self.value
            case "near":
                return abs(computed - self.value) < _NEAR
            case _:
                return abs(computed - self.value) <= allowed


def _rounding(printed: str, unit: str, relation: str) -> float:
    if unit in _EXACT or relation != "=":
        return 0.0
    decimals = len(printed.partition(".")[2])
    return round(0.5 * 10.0**-decimals, decimals + 1)


def _figure(row: dict[str, str]) -> PublishedFigure:
    printed, relation = row["printed"], row["relation"]
    read: dict[str, Any] = {
        "value": 1.0 if relation == "holds" else float(printed.replace(",", "")),
        "rounding": _rounding(printed, row["unit"], relation),
        "testable": row["testable"] == "yes",
        "contradicted": row["contradicted"] == "yes",
    }
    return PublishedFigure(**{**row, **read})


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Every figure of the paper, in the order in which it prints them.

    Examples
    --------
    >>> figures = published_figures()
    >>> figures[7].quantity, figures[7].printed
    ('Patients', '1,122')
    """
    text = files("pwp_lib").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_figure(row) for row in csv.DictReader(text.splitlines()))


def published_figure(id: str) -> PublishedFigure:
    """One figure of the paper by its id.

    Raises
    ------
    InputError
        If there is no such figure.

    Examples
    --------
    >>> published_figure("models.phq9.vpc").value
    8.7
    """
    for figure in published_figures():
        if figure.id == id:
            return figure
    raise InputError(f"the paper has no figure {id!r}", hint="published() lists them")


def published() -> pd.DataFrame:
    """Every figure of the paper as a table, one row a figure, indexed by id.

    Returns
    -------
    DataFrame
        The attributes of `PublishedFigure` as columns.

    Examples
    --------
    >>> published().loc["models.gad7.vpc", ["printed", "page", "status"]].tolist()
    ['8.8', '19', 'stated']
    """
    import pandas as pd

    return pd.DataFrame([asdict(figure) for figure in published_figures()]).set_index("id")
