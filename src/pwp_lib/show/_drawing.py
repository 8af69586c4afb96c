"""Small tools that every figure uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.show import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
#: Of more therapists than this a figure with a row for each shows both ends alone: five thousand
#: rows can be neither read nor, at a quarter of an inch each, printed.
MOST_ROWS = 80


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw within the book's style."""

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context():
            return draw(*args, **kwargs)

    return drawing


def axes_or_new(ax: Axes | None, width: float = style.PAGE_WIDTH, height: float = 3.9) -> Axes:
    """Return the user's axes, or new ones."""
    return style.new_axes(width, height)[0] if ax is None else ax


def several(
    axes: Iterable[Axes] | Axes | None, n: int, width: float, height: float, **kwargs: Any
) -> list[Axes]:
    """`n` axes side by side: the user's, or new ones."""
    if axes is None:
        return style.new_axes(width, height, 1, n, **kwargs)
    given = list(axes) if isinstance(axes, Iterable) else [axes]
    if len(given) != n:
        raise InputError(f"{n} axes are needed and {len(given)} were given")
    return given


def need(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Say which columns a figure misses."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise InputError(
            f"{what} needs the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        )


def both_ends(ranked: Iterable[T]) -> list[T]:
    """Those who get a row of their own: all, or the first and the last where they are many."""
    everybody, half = list(ranked), MOST_ROWS // 2
    return everybody if len(everybody) <= MOST_ROWS else everybody[:half] + everybody[-half:]


def left_out(ax: Axes, total: int, named: bool = True) -> str:
    """Draw a line where therapists are left out between both ends, and say so in words.

    What is said is the sentence for the alternative text; `named` writes it beside the axis too.
    """
    if total <= MOST_ROWS:
        return ""
    half = MOST_ROWS // 2
    ax.axhline(half - 0.5, color=style.INK, linestyle=":", linewidth=1.2)
    said = f"the first and the last {half} of {total:,} therapists"
    if named:
        ax.set_ylabel(f"{ax.get_ylabel()}; {said}" if ax.get_ylabel() else said.capitalize())
    return f"Drawn are {said}."


def finite(values: object) -> NDArray[np.float64]:
    """Values as floats, the missing ones dropped."""
    array: NDArray[np.float64] = np.asarray(values, dtype=float).ravel()
    kept: NDArray[np.float64] = array[np.isfinite(array)]
    return kept


def clusters_of(clusters: pd.Series | None, index: pd.Index) -> list[str]:
    """Return the cluster of each therapist; an empty string where there is none."""
    if clusters is None:
        return [""] * len(index)
    return [str(c) if isinstance(c, str) else "" for c in clusters.reindex(index)]


def cluster_legend(ax: Axes, present: Iterable[str], **kwargs: Any) -> None:
    """Add a legend of the clusters present, in their order."""
    from matplotlib.lines import Line2D

    there = set(present)
    handles = [
        Line2D(
            [], [], color=style.CLUSTER_COLOURS[c], marker=style.CLUSTER_MARKERS[c],
            linestyle="none", label=f"{c} cluster",
        )
        for c in style.CLUSTERS
        if c in there
    ]  # fmt: skip
    if handles:
        ax.legend(handles=handles, **kwargs)


def legend_below(ax: Axes, columns: int, **kwargs: Any) -> None:
    """Put the legend under the axes, where it covers nothing."""
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns, handletextpad=0.4,
        columnspacing=1.2, **kwargs,
    )  # fmt: skip


def wrapped(text: str, width: int) -> str:
    """Break text into lines of at most so many characters."""
    from textwrap import wrap

    return "\n".join(wrap(text, width))
