"""Run a chapter's cells over a cohort, and keep of their outputs what may be shown.

Cells run in this process: the patients are handed over in memory, and no copy, no history and no
notebook with data in it is ever written.
"""

from __future__ import annotations

import ast
import base64
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pwp_lib.data.disclosure import MARK
from pwp_lib.errors import InputError

from . import show
from .chapters import Cell
from .report_figures import Drawn
from .table_words import for_page, headings

if TYPE_CHECKING:
    import pandas as pd

    from pwp_lib.data.cohort import Cohort

    from .release import Release

__all__ = ["WITHHELD", "Gate", "run_chapter"]

#: Methods that change what they belong to.
_CHANGES = {"add", "append", "extend", "insert", "pop", "setdefault", "sort", "update"}
WITHHELD = "*Withheld: this result is not among those that disclosure control lets out.*"


@dataclass(frozen=True)
class Gate:
    """What an output may be under disclosure control.

    Attributes
    ----------
    released : Release
    drawn : mapping of str to Drawn
        The report's figures, drawn from released tables alone.
    synthetic : bool
        Whether the cohort is known to be synthetic.
    """

    released: Release
    drawn: Mapping[str, Drawn]
    synthetic: bool = False

    @property
    def active(self) -> bool:
        """Whether anything is kept back at all."""
        return self.released.policy.active

    @property
    def large(self) -> bool:
        """Whether all patients together are enough for what is said of them together."""
        frame = self.released.frame("outcomes")
        return frame is not None and not (frame.astype(object) == MARK).to_numpy().any()

    def needed(self, cells: Sequence[Cell]) -> list[bool]:
        """Find the cells that must run: those that show, and what those that show rest on.

        With control on most outputs are released tables in the place of the cell's own, and what
        a cell worked out for them alone need not be worked out.
        """
        alive: set[str] = set()
        out = []
        for cell in reversed(cells):
            tree = ast.parse(cell["source"] if cell["cell_type"] == "code" else "")
            bound = _bound(tree)
            shows = not self.active or bool({"open", "pooled"} & {*cell["tags"]})
            run = cell["cell_type"] == "code" and (shows or bool(bound & alive))
            if run:
                alive |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            out.append(run)
        return out[::-1]

    def outputs(self, cell: Cell, made: Sequence[Cell]) -> list[Cell]:
        """Choose what is shown: the cell's own outputs, released ones in their place, or a word."""
        if not self.active or "open" in cell["tags"]:
            return list(made)
        if "pooled" in cell["tags"] and self.large:
            return list(made)
        if not made or cell["pwp"].get("quiet"):
            return []
        return self._released(cell["pwp"]) or [_markdown(WITHHELD)]

    def _released(self, marks: Mapping[str, Any]) -> list[Cell]:
        """Released tables and figures that the cell names."""
        out = []
        for name in _found(marks.get("table"), self.released.tables):
            table = self.released.tables[name]
            frame, note = for_page(table, f"tables/{name}.csv of pwp analyse")
            caption = f"{table.title}. {note}".strip()
            decimals = {str(c): _decimals(table.frame[c]) for c in table.frame}
            shown = show.table(
                frame,
                caption=caption,
                labels=headings(table),
                index=False,
                decimals=decimals,
            )
            out.append(_bundle(shown))
        for name in _found(marks.get("figure"), self.drawn):
            figure = self.drawn[name]
            shown_figure = show.ShownFigure(
                "image/svg+xml", figure.svg, figure.alt, figure.caption, "", *_size(figure.svg)
            )
            out.append(_bundle(shown_figure))
        return out


def _decimals(column: pd.Series) -> int:
    """No more decimals than a released column was rounded to."""
    numbers = [v for v in column if isinstance(v, float) and v == v]
    return next((k for k in range(3) if all(round(v, k) == v for v in numbers)), 3)


def _bound(tree: ast.AST) -> set[str]:
    """Names that code makes or changes, imports and what it writes into included."""
    names = set()
    for node in ast.walk(tree):
        target: Any = node
        changes = isinstance(node, ast.Attribute) and node.attr in _CHANGES
        if isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif changes or isinstance(getattr(node, "ctx", None), ast.Store):
            while isinstance(target, ast.Attribute | ast.Subscript):
                target = target.value
            names |= {target.id} if isinstance(target, ast.Name) else set()
    return names


def _found(names: str | Sequence[str] | None, there: Mapping[str, Any]) -> list[str]:
    """Names as the cell gives them; ``residuals_*`` is that of every measure."""
    listed = [names] if isinstance(names, str) else list(names or ())
    out = []
    for name in listed:
        head = name.removesuffix("*")
        out += [n for n in there if n == name or (head != name and n.startswith(head))]
    return out


def _size(svg: bytes) -> tuple[float, float]:
    """Width and height in inches, as the picture says them in points."""
    found = re.search(rb'<svg[^>]*? width="([\d.]+)pt"|$', svg)
    tall = re.search(rb'<svg[^>]*? height="([\d.]+)pt"|$', svg)
    if not (found and found[1] and tall and tall[1]):
        return 6.5, 4.0
    width, height = float(found[1]) / 72, float(tall[1]) / 72
    shrink = min(1.0, 6.5 / width)
    return width * shrink, height * shrink


def _bundle(shown: Any) -> Cell:
    data = shown._repr_mimebundle_()
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _markdown(text: str) -> Cell:
    data = {"text/markdown": text, "text/plain": text.strip("*")}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def run_chapter(
    cells: Sequence[Cell], cohort: Cohort, gate: Gate, title: str, scratch: Path | None = None
) -> list[Cell]:
    """Run the code cells in order and give every cell its outputs.

    Parameters
    ----------
    cells : sequence of dict
        From `own_notebook`.
    cohort : Cohort
        What ``prepared_cohort()`` gives.
    gate : Gate
    title : str
        Of the chapter, for the sentence that says where it stopped.
    scratch : Path, optional
        Where the shell may keep its own settings meanwhile; the system's folder if not given.

    Raises
    ------
    InputError
        If a cell cannot be run: names the chapter and the step, and no value.
    """
    out, step = [], "the beginning"
    with _shell({"prepared_cohort": lambda: cohort}, scratch) as run:
        for cell, needed in zip(cells, gate.needed(cells), strict=True):
            if cell["cell_type"] == "markdown":
                step = _last_heading(cell["source"]) or step
                out.append(cell)
                continue
            made = run(cell["source"]) if needed else _unseen(cell)
            if isinstance(made, BaseException):
                if isinstance(made, KeyboardInterrupt | MemoryError):
                    raise made
                raise _stopped(made, title, step) from None
            out.append({**cell, "outputs": gate.outputs(cell, made)})
    return out


def _unseen(cell: Cell) -> list[Cell]:
    """Stand for the output of a cell that was not run, if it would have had one."""
    last = ast.parse(cell["source"]).body[-1]
    return [{}] if isinstance(last, ast.Expr) or "show." in ast.unparse(last) else []


def _stopped(error: BaseException, title: str, step: str) -> InputError:
    """Say where a chapter stopped; another error's own text may hold a value."""
    why = str(error).rstrip(".") if isinstance(error, InputError) else type(error).__name__
    return InputError(
        f'the chapter "{title}" cannot be made over these data; it stopped at "{step}": {why}',
        mend="pwp analyse leaves out what cannot be done, and says why",
    )


def _last_heading(text: str) -> str:
    found = [line.lstrip("#").strip() for line in text.split("\n") if line.startswith("#")]
    return found[-1] if found else ""


class _shell:
    """An IPython shell without history, whose outputs are collected."""

    def __init__(self, names: Mapping[str, object], scratch: Path | None) -> None:
        self.names, self.scratch = names, scratch

    def __enter__(self) -> Callable[[str], list[Cell] | BaseException]:
        import matplotlib
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        matplotlib.use("agg")
        self._folder = tempfile.TemporaryDirectory(prefix=".pwp-", dir=self.scratch)
        config = Config()
        config.HistoryManager.enabled = False
        InteractiveShell.clear_instance()
        self.shell: Any = InteractiveShell.instance(
            config=config, ipython_dir=self._folder.name, user_ns=dict(self.names)
        )
        logging.disable(logging.WARNING)
        return self.run

    def __exit__(self, *_: object) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        logging.disable(logging.NOTSET)
        InteractiveShell.clear_instance()
        self._folder.cleanup()

    def run(self, code: str) -> list[Cell] | BaseException:
        from IPython.utils.capture import capture_output

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            with capture_output() as got:
                # The shell would put its own hook back, which prints the last value as text.
                self.shell.display_trap.hook = sys.displayhook
                result = self.shell.run_cell(code, store_history=False)
        error: BaseException | None = result.error_before_exec or result.error_in_exec
        if error is not None:
            return error
        said = [_markdown(f"Warning: {w.message}") for w in warned if _for_readers(w)]
        printed = [_stream(got.stdout)] if got.stdout else []
        return printed + [_output(o) for o in got.outputs] + said


def _for_readers(warned: warnings.WarningMessage) -> bool:
    """Whether a warning is about the analysis, and not about how software is put together."""
    return issubclass(warned.category, UserWarning | RuntimeWarning)


def _stream(text: str) -> Cell:
    return {"output_type": "stream", "name": "stdout", "text": text}


def _output(shown: Any) -> Cell:
    data = {
        mime: base64.b64encode(v).decode("ascii") if isinstance(v, bytes) else v
        for mime, v in shown.data.items()
    }
    return {"output_type": "display_data", "data": data, "metadata": {}}
