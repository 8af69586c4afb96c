"""What a figure shows, in a computed sentence, for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["describe", "remember"]

# Kept beside the axes, so that a figure function can return plain matplotlib axes.
_SENTENCES: WeakKeyDictionary[object, str] = WeakKeyDictionary()


def remember(ax: Axes, sentence: str) -> Axes:
    """Keep the sentence that says what these axes show, and hand the axes back.

    Axes on which something is drawn already, a second measure's curve say, keep both sentences.
    """
    before, new = _SENTENCES.get(ax, ""), " ".join(sentence.split())
    _SENTENCES[ax] = (
        before if new in before and before else new if not before else f"{before} {new}"
    )
    return ax


def describe(figure: Axes | Figure | Iterable[Axes]) -> str:
    """Say what a figure drawn by this library shows.

    Parameters
    ----------
    figure : Axes, Figure or iterable of Axes

    Returns
    -------
    str
        The sentences of the axes concerned, in the order in which they were added; an empty
        string when none of them was drawn by this library.

    Examples
    --------
    >>> import pandas as pd
    >>> from pwp_lib.show import figures
    >>> times = pd.DataFrame({"task": ["fit"], "peer": ["other"], "ratio": [8.0]})
    >>> print(describe(figures.benchmark_ratios(times)))
    Time taken by other programs against ours: fit, other 8 times.
    """
    axes = getattr(figure, "axes", None)
    if axes is None:
        axes = list(figure)  # type: ignore[arg-type]
    elif not isinstance(axes, list):
        axes = [figure]
    return " ".join(dict.fromkeys(s for ax in axes if (s := _SENTENCES.get(ax))))
