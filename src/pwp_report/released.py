"""The tables that may be published, as records; `release` makes them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pwp_report.disclosure import DisclosurePolicy


@dataclass(frozen=True)
class ReleasedTable:
    """One table as it is published.

    Attributes
    ----------
    name : str
        Of its CSV file.
    title, note : str
    frame : DataFrame
        Numbers and words; `MARK` where something is withheld, missing where there is nothing.
    """

    name: str
    title: str
    frame: pd.DataFrame
    note: str = ""


@dataclass(frozen=True)
class ReleasedResults:
    """All that may be published of an analysis.

    Attributes
    ----------
    tables : mapping of str to ReleasedTable
    policy : DisclosurePolicy
    patients : str
        Number of patients, as it may be said.
    therapists : int
    withheld : tuple of str
        What was withheld, in sentences.
    beside : str
        What such a sentence adds where an earlier run was partly of the same patients.
    """

    tables: Mapping[str, ReleasedTable]
    policy: DisclosurePolicy
    patients: str
    therapists: int
    withheld: tuple[str, ...] = ()
    beside: str = ""

    def renamed(self, names: Mapping[str, str]) -> "ReleasedResults":
        """Put names in the place of labels, wherever a cell is one."""
        tables = {}
        for key, table in self.tables.items():
            frame: Any = table.frame.reset_index(drop=True)
            words = frame.select_dtypes(["object", "str"])
            named = {c: pd.Series([names.get(e, e) for e in words[c]], dtype=object) for c in words}
            tables[key] = replace(table, frame=frame.assign(**named))
        return replace(self, tables=tables)

    def frame(self, name: str) -> pd.DataFrame:
        """Find a table by name; an empty one if it is not there."""
        return self.tables[name].frame if name in self.tables else pd.DataFrame()
