"""One visual language: a measure and a cluster keep their colour, their marker and their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from multilevel.errors import InputError
from pwp_lib.measures import get_measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLUSTERS",
    "CLUSTER_COLOURS",
    "CLUSTER_MARKERS",
    "RC",
    "cluster_colour",
    "context",
    "measure_colour",
    "measure_label",
    "measure_order",
    "new_axes",
    "use",
]

INK = "#1B1F24"
MUTED = "#59636E"
GRID = "#E4E7EB"
CARD = "#FFFFFF"

#: The clusters in the order in which they are always shown.
CLUSTERS = ("upper", "middle", "lower")

#: Apart for readers with protanopia, deuteranopia and tritanopia (tested), and in lightness.
CLUSTER_COLOURS = MappingProxyType({"upper": "#117A65", "middle": "#8A929C", "lower": "#7A1F6B"})

#: Shape says again what colour says.
CLUSTER_MARKERS = MappingProxyType({"upper": "^", "middle": "o", "lower": "v"})

MEASURE_COLOURS = MappingProxyType(
    {
        "phq9": "#0067A5",
        "gad7": "#BF5209",
        "wsas": "#6B7A00",
        "core_om": "#5B4BA0",
        "core10": "#5B4BA0",
        "oq45": "#8C6D1F",
    }
)
MEASURE_MARKERS = MappingProxyType({"phq9": "o", "gad7": "s"})
_OTHER = "#4A5A6A"

#: Sizes are for a column of about 700 pixels, and chosen so that the smallest text stays legible
#: when a telephone shrinks the figure to half of that.
PAGE_WIDTH = 6.0
WIDE = 8.4

RC = MappingProxyType(
    {
        "figure.figsize": (PAGE_WIDTH, 3.9),
        "figure.facecolor": CARD,
        "figure.dpi": 100,
        "figure.constrained_layout.w_pad": 0.09,
        "figure.constrained_layout.h_pad": 0.09,
        "figure.constrained_layout.use": True,
        "savefig.facecolor": CARD,
        "savefig.dpi": 200,
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "axes.facecolor": CARD,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.labelsize": 11,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "axes.unicode_minus": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "lines.linewidth": 1.8,
        "lines.markersize": 6,
        "patch.linewidth": 0.6,
        "svg.fonttype": "path",
        "svg.hashsalt": "pwp_lib",
    }
)


@contextmanager
def context() -> Iterator[None]:
    """Draw in the book's style, and leave the user's own settings as they were.

    Examples
    --------
    >>> import matplotlib
    >>> with context():
    ...     inside = matplotlib.rcParams["svg.hashsalt"]
    >>> inside
    'pwp_lib'
    """
    import matplotlib

    with matplotlib.rc_context(dict(RC)):
        yield


def use() -> None:
    """Draw all that follows in the book's style, seaborn's figures too; print numbers as numbers.

    NumPy's own way is to print 0.5 as ``np.float64(0.5)``, which a page has no use for.

    Examples
    --------
    >>> import matplotlib
    >>> import numpy as np
    >>> with matplotlib.rc_context(), np.printoptions():
    ...     use()
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    """
    import matplotlib
    import numpy as np
    from cycler import cycler

    np.set_printoptions(legacy="1.25")
    colours = [MEASURE_COLOURS["phq9"], MEASURE_COLOURS["gad7"], "#117A65", "#7A1F6B", "#6B7A00"]
    own = {**RC, "figure.constrained_layout.use": False}  # seaborn lays its grids out itself
    matplotlib.rcParams.update({**own, "axes.prop_cycle": cycler(color=colours)})


def new_axes(
    width: float = PAGE_WIDTH,
    height: float = 3.9,
    rows: int = 1,
    columns: int = 1,
    **kwargs: Any,
) -> list[Axes]:
    """Axes on a new figure that belongs to nobody: pyplot neither shows nor keeps it."""
    from matplotlib.figure import Figure

    with context():
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return list(axes.ravel())


def measure_colour(name: str) -> str:
    """Colour of a measure; unknown ones share one neutral colour.

    Examples
    --------
    >>> measure_colour("phq9"), measure_colour("something else")
    ('#0067A5', '#4A5A6A')
    """
    return MEASURE_COLOURS.get(name, _OTHER)


def measure_label(measure: object) -> str:
    """Name for readers of a measure given as `Measure` or by its short name.

    Examples
    --------
    >>> measure_label("gad7")
    'GAD-7'
    """
    label = getattr(measure, "label", None)
    if label:
        return str(label)
    name = str(getattr(measure, "name", measure))
    try:
        return get_measure(name).label.split(" (")[0]
    except InputError:
        return name.replace("_", "-").upper()


def measure_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which they are always shown: PHQ-9 before GAD-7, then as given.

    Examples
    --------
    >>> measure_order(["gad7", "core10", "phq9"])
    ['phq9', 'gad7', 'core10']
    """
    given = list(dict.fromkeys(names))
    first = [name for name in ("phq9", "gad7") if name in given]
    return first + [name for name in given if name not in first]


def cluster_colour(name: str | None) -> str:
    """Colour of a cluster; ink for no cluster."""
    return CLUSTER_COLOURS.get(name or "", INK)
