"""What commands say: to the terminal, in words, and never an entry of a file."""

import sys

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text


def _console(stderr: bool = False) -> Console:
    file = sys.stderr if stderr else sys.stdout
    # In a log or a pipe nothing is cut to the width of a screen.
    return Console(file=file, width=None if file.isatty() else 200, soft_wrap=True, highlight=False)


def say(*lines: str, stderr: bool = False) -> None:
    """Print lines as they are: markup in a file's names must not be obeyed."""
    for line in lines:
        _console(stderr).print(line, markup=False)


def show(title: str, frame: pd.DataFrame) -> None:
    """Print a table of text with a title."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in frame.columns:
        table.add_column(Text(str(column)), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*[Text(str(v)) for v in row])
    _console().print(table)


def progress(text: str) -> None:
    """Say what is being done on standard error, which leaves standard output to the result."""
    say(text, stderr=True)
