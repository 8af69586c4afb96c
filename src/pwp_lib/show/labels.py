"""Labels of unknown origin in a form that does no harm in a page, a file or a plot."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

__all__ = ["guarded", "harmless_labels", "plain_label", "plain_text", "safe_csv"]

_NOT_PLAIN = re.compile(r"[^\w .,'()/+-]|\+(?!$)")
_HARMLESS = re.compile(r"[\w.,'()/-](?:[\w .,'()/-]{0,38}[\w.,'()/-])?")


def plain_text(text: str) -> str:
    """Put underscores in the place of signs that a page, a spreadsheet or a plot may obey.

    Examples
    --------
    >>> plain_text("=<b>2</b>")
    '__b_2_/b_'
    """
    return _NOT_PLAIN.sub("_", text)


def plain_label(label: str, signs: Mapping[str, str]) -> str:
    """Give a label without markup, formulas and mathematics, of 40 characters at most.

    Parameters
    ----------
    label : str
    signs : mapping of str to str
        By pattern, the words that stand in the place of a sign.

    Examples
    --------
    >>> plain_label(" >= 5  <b>", {">= ?": "at least "})
    'at least 5 _b_'
    """
    for sign, word in signs.items():
        label = re.sub(sign, word, label)
    return " ".join(plain_text(label).split())[:40].strip()


def harmless_labels(labels: Collection[str], signs: Mapping[str, str]) -> dict[str, str]:
    """Give each label a harmless one, different from all others; none if all are harmless.

    Parameters
    ----------
    labels : collection of str
    signs : mapping of str to str
        As in `plain_label`.

    Examples
    --------
    >>> harmless_labels(["Ann", "$x$", "#x#"], {})
    {'Ann': 'Ann', '$x$': '_x_', '#x#': '_x_ (2)'}
    """
    if all(_HARMLESS.fullmatch(label) for label in labels):
        return {}
    names = pd.Series({label: plain_label(label, signs) or "_" for label in labels})
    while names.duplicated().any():
        again = names.groupby(names).cumcount() + 1
        names = names.mask(again > 1, names + " (" + again.astype(str) + ")")
    return {str(label): name for label, name in names.items()}


def guarded(value: Any) -> Any:
    """Disarm text that a spreadsheet would take for a formula.

    Examples
    --------
    >>> guarded("=1+1"), guarded(-3.5)
    ("'=1+1", -3.5)
    """
    return re.sub(r"^(?=[-=+@\t\r])", "'", value) if isinstance(value, str) else value


def safe_csv(frame: pd.DataFrame) -> str:
    r"""Write a table as CSV that a spreadsheet opens as what it is.

    Examples
    --------
    >>> safe_csv(pd.DataFrame({"label": ["=1+1", "T1"], "n": [20, None]}))
    "label,n\n'=1+1,20.0\nT1,\n"
    """
    # Column by column: pandas would make floats of counts of which one is missing.
    safe = {guarded(c): pd.Series(map(guarded, frame[c]), dtype=object) for c in map(str, frame)}
    return str(pd.DataFrame(safe).to_csv(index=False, lineterminator="\n"))
