"""Whether scores can be what they are said to be: signs of codes, and of another scale."""

from __future__ import annotations

import pandas as pd

from pwp_lib.measures import Measure

#: On a floor nought is frequent anyway: how many times as frequent as a number next to it.
_ON_A_FLOOR, _ELSEWHERE = 8, 4
#: Of fewer scores than this, and than a twentieth, the numbers next to it have to be nearly absent.
_FEW = 10


def stands_out(
    scores: pd.Series[float], others: pd.Series[float], value: float, m: Measure
) -> bool:
    """Whether far more scores are a number than are any other within a seventh of the scale.

    So it is where nought or 99 stands for a missing score. Many scores may lie on a floor as well;
    then they are of patients whose other scores lie as far out as those of the patients next to
    them.

    Parameters
    ----------
    scores, others : Series
        Of the same patients: the scores in question, and those at the other end of treatment.
    value : float
    m : Measure

    Examples
    --------
    >>> from pwp_lib.measures import PHQ9
    >>> first, last = pd.Series([12.0, 17.0, 9.0, 20.0] * 10), pd.Series([6.0, 11.0, 5.0, 8.0] * 10)
    >>> coded = last.mask(last.index % 3 == 0, 0)
    >>> stands_out(last, first, 0, PHQ9), stands_out(coded, first, 0, PHQ9)
    (False, True)
    """
    near = scores[(scores - value).abs() <= (m.maximum - m.minimum) / 7]
    apart = (others - others.mean())[near.index]
    beside, here = (abs(apart[where].mean()) for where in (near != value, near == value))
    times = _ON_A_FLOOR if value == 0 and here > 0.8 * beside else _ELSEWHERE
    counts = near.value_counts()
    own, most = counts.get(value, 0), counts.drop(value, errors="ignore").max()
    times = times if own > 0.05 * scores.count() else 10
    return bool(own > _FEW and not own <= times * most)


def in_lowest_quarter(scores: pd.Series[float], m: Measure) -> bool:
    """Whether no score lies above a quarter of the scale, as where they are means of items.

    Examples
    --------
    >>> from pwp_lib.measures import PHQ9
    >>> in_lowest_quarter(pd.Series([0.4, 2.7]), PHQ9), in_lowest_quarter(pd.Series([3, 7]), PHQ9)
    (True, False)
    """
    return bool(scores.max() <= m.minimum + (m.maximum - m.minimum) / 4)


def on_another_scale(
    scores: pd.Series[float], therapists: pd.Series[str], m: Measure, least: int = _FEW
) -> bool:
    """Whether all scores of some therapists lie so low, and most of others do not.

    Of therapists with `least` scores or more: last ones of some patients may all be low.

    Examples
    --------
    >>> from pwp_lib.measures import PHQ9
    >>> who = pd.Series(["a"] * 10 + ["b"] * 10)
    >>> scores = pd.Series([*range(8, 18), *range(10, 20)], dtype=float)
    >>> means = scores.where(who == "a", scores / 9)
    >>> on_another_scale(scores, who, PHQ9), on_another_scale(means, who, PHQ9)
    (False, True)
    """
    by_therapist = scores.groupby(therapists)
    low = [who for who, own in by_therapist if own.count() >= least and in_lowest_quarter(own, m)]
    others = scores[~therapists.isin(low)]
    return bool(low and others.median() > m.minimum + (m.maximum - m.minimum) / 4)
