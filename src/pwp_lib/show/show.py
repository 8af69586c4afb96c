"""Figures and tables as accessible HTML that needs no network, for notebooks and the report."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.numbers import bare_p, number, with_interval
from pwp_lib.show import style
from pwp_lib.show.alt import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ShownFigure",
    "ShownTable",
    "ShownText",
    "as_svg",
    "cut",
    "figure",
    "intervals_joined",
    "table",
    "text",
    "versions",
]

#: Figures wider than this many inches keep a readable width on a telephone and scroll sideways.
_WIDE = 7.0
_STATES = {
    "match": ("✓", "match"),
    "no match": ("✗", "miss"),
    "not testable": ("○", "untested"),
    "not reported": ("○", "untested"),
}


@dataclass(frozen=True)
class ShownFigure:
    """A figure as it stands on a page: picture, alternative text and caption.

    Attributes
    ----------
    mime : str
        ``"image/svg+xml"`` or ``"image/png"``, whichever was smaller.
    data : bytes
        The picture.
    alt, caption, name : str
        Alternative text, caption, and the anchor's name (may be empty).
    width, height : float
        Size in inches.
    """

    mime: str
    data: bytes = field(repr=False)
    alt: str
    caption: str
    name: str
    width: float
    height: float

    def to_html(self) -> str:
        """Write the figure as an HTML ``<figure>`` with the picture inside it."""
        source = f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"
        image = (
            f'<img src="{source}" alt="{escape(self.alt)}"'
            f' width="{round(self.width * 96)}" height="{round(self.height * 96)}">'
        )
        if self.width > _WIDE:
            image = _scroller(
                image, "Wide figure, scrolls sideways", "pwp-scroll pwp-scroll-figure"
            )
        identity = f' id="{escape(self.name)}"' if self.name else ""
        kind = "pwp-figure pwp-figure-wide" if self.width > _WIDE else "pwp-figure"
        caption = f"<figcaption>{_inline(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure class="{kind}"{identity}>{image}{caption}</figure>'

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": f"[Figure: {self.alt}]"}


@dataclass(frozen=True)
class ShownTable:
    """A table as it stands on a page.

    Attributes
    ----------
    html : str
        The table inside its scrolling container.
    text : str
        The same in plain text.
    """

    html: str = field(repr=False)
    text: str

    def to_html(self) -> str:
        """Return the table as HTML."""
        return self.html

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


def figure(
    drawn: Axes | Figure | Iterable[Axes],
    *,
    caption: str = "",
    alt: str | None = None,
    name: str = "",
) -> ShownFigure:
    """Show a figure with its caption and alternative text.

    Parameters
    ----------
    drawn : Axes, Figure or iterable of Axes
        What a function of `pwp_lib.show.figures` returned, or any matplotlib figure.
    caption : str
        What to see in it; Markdown's emphasis and code are understood.
    alt : str, optional
        Alternative text. Left out, it is the computed sentence of the figure function.
    name : str
        Anchor to link to.

    Raises
    ------
    InputError
        If there is neither a sentence nor `alt`: no figure goes without one.

    Examples
    --------
    >>> import pandas as pd
    >>> from pwp_lib.show import figures
    >>> times = pd.DataFrame({"task": ["fit"], "peer": ["other"], "ratio": [8.0]})
    >>> shown = figure(figures.benchmark_ratios(times), caption="One.")
    >>> shown.alt
    'Time taken by other programs against ours: fit, other 8 times.'
    """
    canvas = _figure_of(drawn)
    text = alt if alt else describe(drawn)
    if not text:
        raise InputError("the figure has no alternative text", hint="say what it shows with alt=")
    mime, data = _smaller(canvas)
    width, height = (float(x) for x in canvas.get_size_inches())
    _release(canvas)
    return ShownFigure(mime, data, text, caption, name, width, height)


def table(
    frame: pd.DataFrame | pd.Series,
    *,
    caption: str = "",
    decimals: int | Mapping[str, int] = 2,
    labels: Mapping[str, str] | None = None,
    index: bool | None = None,
    name: str = "",
) -> ShownTable:
    """Show a frame as an accessible table that scrolls on a telephone.

    Parameters
    ----------
    frame : DataFrame or Series
    caption : str
        What to see in it.
    decimals : int or mapping of column to int
        Decimals of floats; columns whose values are all whole numbers get none, probabilities
        (columns ``p``, ``p_value...``, ``p_holm``, ``p_directed``) get three, or "< .001".
    labels : mapping of column to str, optional
        Headings; a column without one has its underscores turned into spaces.
    index : bool, optional
        Whether to show the index; left out, any index that is not 0, 1, 2 ... is shown.
    name : str
        Anchor to link to.

    Examples
    --------
    >>> shown = table(pd.DataFrame({"state": ["match"], "computed": [2.779]}), caption="One")
    >>> "✓" in shown.html, '<th scope="col"' in shown.html
    (True, True)
    """
    data = frame.to_frame() if isinstance(frame, pd.Series) else frame
    show_index = not isinstance(data.index, pd.RangeIndex) if index is None else index
    flat = data.reset_index(allow_duplicates=True) if show_index else data.reset_index(drop=True)
    if show_index:
        names = [str(n) if n is not None else "" for n in data.index.names]
        flat.columns = pd.Index([*names, *map(_heading, data.columns)], dtype=object)
    else:
        flat.columns = pd.Index([_heading(c) for c in data.columns], dtype=object)
    n_index = data.index.nlevels if show_index else 0
    cells = _cells(flat, decimals)
    heads = [(labels or {}).get(c, c.replace("_", " ")) for c in flat.columns]
    html = _table_html(cells, heads, n_index, caption, name)
    return ShownTable(html, _table_text(cells, heads, caption))


@dataclass(frozen=True)
class ShownText:
    """Sentences whose truth depends on the data, as they stand on a page."""

    markdown: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/markdown": self.markdown, "text/plain": self.markdown}


def intervals_joined(
    frame: pd.DataFrame,
    places: Callable[[str, list[list[float]]], list[int]],
    starts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Put an estimate and its two bounds in one column, as text, so that a table fits the page.

    Parameters
    ----------
    frame : DataFrame
    places : callable
        From the name of an estimate and its rows, estimate and bounds, the decimals of each row.
    starts : mapping of str to sequence of str, optional
        What the names of the bounds begin with, where not with the estimate's own name.

    Examples
    --------
    >>> frame = pd.DataFrame({"vpc": [9.1], "vpc_lower": [4.0], "vpc_upper": [15.4], "n": [21]})
    >>> intervals_joined(frame, lambda name, rows: [1] * len(rows)).iloc[0].tolist()
    ['9.1 (4.0 to 15.4)', 21]
    """
    out = frame.astype(object)
    for name in map(str, frame):
        for start in (f"{name}_", *starts.get(name, ())):
            ends = [f"{start}lower", f"{start}upper"]
            if {*ends} <= {*out}:
                rows = frame[[name, *ends]].to_numpy().tolist()
                told = zip(places(name, rows), rows, strict=True)
                out[name] = [with_interval(k, *three) for k, three in told]
                out = out.drop(columns=ends)
                break
    return out


def cut(rows: pd.DataFrame, most: int, by: str = "") -> pd.DataFrame:
    """Give all rows or, of more than so many, the first and the last of them.

    Parameters
    ----------
    rows : DataFrame
    most : int
    by : str, optional
        Rather than both ends, half as many of those with most in this column.

    Examples
    --------
    >>> rows = pd.DataFrame({"n": [30, 90, 40, 20, 10]})
    >>> cut(rows, 4)["n"].tolist(), cut(rows, 4, "n")["n"].tolist()
    ([30, 90, 20, 10], [90, 40])
    """
    half = most // 2
    if by:
        sizes = pd.to_numeric(rows[by], errors="coerce").sort_values(ascending=False, kind="stable")
        return rows.loc[sizes.index[:half]]
    return rows if len(rows) <= most else pd.concat([rows[:half], rows[-half:]])


def text(*sentences: str) -> ShownText:
    r"""Show computed sentences as prose, one paragraph each.

    Parameters
    ----------
    *sentences : str
        Markdown; empty ones are left out.

    Examples
    --------
    >>> text("One.", "", "Two.").markdown
    'One.\n\nTwo.'
    """
    return ShownText("\n\n".join(filter(None, sentences)))


def versions(*packages: str) -> ShownTable:
    """Show the versions of Python, of this library and of other installed packages.

    Parameters
    ----------
    *packages : str
        Names as they are installed under, such as ``"numpy"``.
    """
    from importlib.metadata import version
    from platform import python_version

    names = ("pwp-lib", *packages)
    found = {"Python": python_version()} | {name: version(name) for name in names}
    frame = pd.DataFrame({"package": list(found), "version": list(found.values())})
    return table(frame, caption="What this page ran with.")


def _figure_of(drawn: Axes | Figure | Iterable[Axes]) -> Figure:
    from matplotlib.figure import Figure

    if isinstance(drawn, Figure):
        return drawn
    one = next(iter(drawn)) if isinstance(drawn, Iterable) else drawn
    found = one.get_figure(root=True)
    if not isinstance(found, Figure):
        raise InputError("these axes belong to no figure")
    return found


def as_svg(drawn: Axes | Figure | Iterable[Axes]) -> bytes:
    """Return a picture as SVG with text as text, and close it; a second run gives the same bytes.

    Parameters
    ----------
    drawn : Axes, Figure or iterable of Axes

    Examples
    --------
    >>> from pwp_lib.show import style
    >>> b"<svg" in as_svg(style.new_axes())
    True
    """
    from matplotlib import rc_context

    canvas, sink = _figure_of(drawn), io.BytesIO()
    # Text can be searched then and set anew, in whatever font there is.
    with style.context(), rc_context({"svg.fonttype": "none"}):
        canvas.savefig(sink, format="svg", metadata={"Date": None}, bbox_inches="tight")
    _release(canvas)
    return sink.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _smaller(canvas: Figure) -> tuple[str, bytes]:
    """Return the picture as SVG or as PNG at twice the page's size, whichever is smaller."""
    svg, png = io.BytesIO(), io.BytesIO()
    with style.context():
        canvas.savefig(png, format="png", metadata={"Software": None})
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    small = _fewer_colours(png)
    markup = _lean(svg.getvalue())
    if len(markup) <= len(small):
        return "image/svg+xml", markup
    return "image/png", small


def _lean(svg: bytes) -> bytes:
    """SVG without comments and indentation, which an ``<img>`` does not need."""
    text = re.sub(r"<!--.*?-->", "", svg.decode("utf-8"), flags=re.DOTALL)
    return re.sub(r"\n\s*", "\n", text).encode("utf-8")


def _fewer_colours(png: io.BytesIO) -> bytes:
    """Return the same PNG with a palette of 256 colours, about a third of the size."""
    from PIL import Image

    png.seek(0)
    out = io.BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _release(canvas: Figure) -> None:
    """Close the figure if pyplot keeps it, so that a notebook does not show it twice."""
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    number_ = getattr(canvas, "number", None)
    if pyplot is not None and number_ is not None and pyplot.fignum_exists(number_):
        pyplot.close(canvas)


def _inline(text: str) -> str:
    """Escaped text with ``*emphasis*`` and `` `code` ``."""
    safe = escape(text, quote=False)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return re.sub(r"(?<![\w*])\*([^*]+)\*(?![\w*])", r"<em>\1</em>", safe)


def _scroller(inner: str, label: str, css: str) -> str:
    """Wrap in a container that scrolls sideways, and that the keyboard can reach."""
    return (
        f'<div class="{css}" role="region" aria-label="{escape(label)}" tabindex="0">{inner}</div>'
    )


def _heading(column: Any) -> str:
    return ", ".join(str(c) for c in column if str(c)) if isinstance(column, tuple) else str(column)


def _cells(frame: pd.DataFrame, decimals: int | Mapping[str, int]) -> list[list[tuple[str, str]]]:
    """Per row, text and kind (``"n"`` number, ``"t"`` text or a state) of every cell."""
    columns = [_column(frame.iloc[:, i], decimals) for i in range(frame.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def _column(values: pd.Series, decimals: int | Mapping[str, int]) -> list[tuple[str, str]]:
    name = str(values.name)
    if pd.api.types.is_float_dtype(values) and re.fullmatch(r"p(_(value|holm|directed).*)?", name):
        return [(bare_p(v), "n") for v in values]
    places = decimals.get(name, 2) if isinstance(decimals, Mapping) else decimals
    if pd.api.types.is_float_dtype(values) and not (
        isinstance(decimals, Mapping) and name in decimals
    ):
        known = values.dropna()
        places = 0 if len(known) and (known == known.round()).all() else places
    out = []
    for value in values:
        text = number(value, places)
        kind = "n" if text != str(value) or isinstance(value, int | float) else "t"
        out.append((text, _STATES[text][1] if text in _STATES else kind))
    return out


def _table_html(
    cells: list[list[tuple[str, str]]], heads: list[str], n_index: int, caption: str, name: str
) -> str:
    numeric = [all(row[i][1] == "n" for row in cells) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col" class="pwp-{"n" if numeric[i] else "t"}">{escape(h)}</th>'
        if h
        else "<td></td>"
        for i, h in enumerate(heads)
    )
    body = "".join(
        "<tr>" + "".join(_cell(c, i < n_index) for i, c in enumerate(row)) + "</tr>"
        for row in cells
    )
    title = f"<caption>{_inline(caption)}</caption>" if caption else ""
    identity = f' id="{escape(name)}"' if name else ""
    inner = (
        f'<table class="pwp-table"{identity}>{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    label = re.sub(r"[*`]", "", caption) or "Table"
    return _scroller(inner, label, "pwp-scroll")


def _cell(cell: tuple[str, str], is_index: bool) -> str:
    text, kind = cell
    if kind in {state for _, state in _STATES.values()}:
        icon = _STATES[text][0]
        return (
            f'<td class="pwp-t pwp-state-{kind}"><span aria-hidden="true">{icon}</span> {text}</td>'
        )
    if is_index:
        wide = ' class="pwp-long"' if len(text) > 20 else ""
        return f'<th scope="row"{wide}>{escape(text)}</th>'
    # Text that would stack its words in a narrow column gets a wider one.
    # Short text, "< .001" or a name, stays on one line.
    room = "" if kind != "t" else " pwp-long" if len(text) > 20 else " pwp-short"
    return f'<td class="pwp-{kind}{room}">{escape(text)}</td>'


def _table_text(cells: list[list[tuple[str, str]]], heads: list[str], caption: str) -> str:
    rows = [heads, *([text for text, _ in row] for row in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = [
        "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([caption, *lines] if caption else lines)
