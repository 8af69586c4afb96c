"""Who has every score: of the measures that are required, since they decide who is analysed."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pwp_lib.measures import Measure
from pwp_lib.numbers import listing


def required(analysed: pd.DataFrame, measures: Iterable[Measure]) -> list[Measure]:
    """Measures whose scores were required of the patients analysed: those that none of them lacks.

    Where an optional one is among them, those with every score are the same patients.
    """
    return [m for m in measures if bool(analysed[[m.pre, m.post]].notna().all(axis=None))]


def in_words(analysed: pd.DataFrame, measures: Sequence[Measure]) -> str:
    """Say of which measures every score is."""
    asked = required(analysed, measures)
    some = listing(m.label for m in asked) or "at least one measure"
    return "all measures" if len(asked) == len(measures) else some


def has_every_score(
    rows: pd.DataFrame, analysed: pd.DataFrame, measures: Sequence[Measure]
) -> pd.Series:
    """Say who has the scores of each required measure or, where none is, of at least one."""
    of = [*required(analysed, measures)]
    has = pd.concat([rows[[m.pre, m.post]].notna().all(axis=1) for m in of or measures], axis=1)
    return has.all(axis=1) if of else has.any(axis=1)


def completeness(
    rows: pd.DataFrame, analysed: pd.DataFrame, measures: Sequence[Measure]
) -> pd.DataFrame:
    """Count by therapist who could be analysed, and who of them has every score.

    Parameters
    ----------
    rows : DataFrame
        Patients who meet every rule but those on complete scores.
    analysed : DataFrame
        Those who are analysed.
    measures : sequence of Measure

    Returns
    -------
    DataFrame
        Indexed by therapist: ``eligible, complete`` (patients) and ``share`` (from 0 to 1).
    """
    groups = has_every_score(rows, analysed, measures).groupby(rows["therapist_id"])
    return pd.DataFrame(groups.agg(eligible="size", complete="sum", share="mean"))
