"""`Moments` as users meet them: made for a formula, written, read, added up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multilevel.arguments import Checked
from multilevel.derive import derive
from multilevel.design import DesignMoments
from multilevel.formula import parse_formula
from multilevel.levels import sum_levels
from multilevel.moments_file import read_record, write_record
from multilevel.pooling import MINIMUM_ROWS, kept, pool_moments, withhold_small
from multilevel.record import Record
from multilevel.sources import sum_formula


class Moments(Checked, Record):
    """Sums of products of stored columns within each group.

    Made by `for_formula`, not by hand; `multilevel.record.Record` lists what it holds. With ``X``
    the stored columns (the constant, scores, products of scores), a group's moments are
    ``X_j'X_j``.
    """

    @classmethod
    def for_formula(
        cls, formula: str, data: Any, *, units: str | None = None, services: str | None = None
    ) -> Moments:
        """Moments that hold just what a formula needs.

        Parameters
        ----------
        formula : str
            Of two levels, or of three as in `fit_mixed`.
        data : frame or path
            pandas, Polars (eager or lazy), Arrow, DuckDB, Dask or Spark frame, or the path of a
            Parquet file, which may be larger than memory. Levels of a category are those that its
            type declares, in that order, or those found. Sites that pool moments declare the same.
        units : str, optional
            Column of the units above the groups, for models of three levels; a formula of three
            levels says it itself. Rows without a unit are left out.
        services : str, optional
            Another name for `units`.

        Returns
        -------
        Moments

        Examples
        --------
        >>> import pandas as pd
        >>> data = pd.DataFrame({"y": [1, 2, 4, 4], "x": [0, 1, 2, 3], "g": list("aabb")})
        >>> Moments.for_formula("y ~ center(x) + (1 | g)", data).table()
           n  x  y  x:x  x:y  y:y
        g
        a  2  1  3    1    2    5
        b  2  5  8   13   20   32
        """
        units = units or services
        parsed = parse_formula(f"{formula} + (1 | {units})" if units else formula)
        summed = sum_levels if parsed.above else sum_formula
        return cls(**vars(summed(parsed, data, cells=True)))

    def __repr__(self) -> str:
        by = f"{len(self.groups):,} groups ({self.group_name})" if self.group_name else "no groups"
        return f"<Moments of {', '.join(self.columns)}: {int(self.n.sum()):,} rows, {by}>"

    def design(self, formula: str) -> DesignMoments:
        """Cross-products of the columns of a model.

        Parameters
        ----------
        formula : str
            Any formula whose columns are polynomials in the stored ones.

        Raises
        ------
        InputError
            When a column or a product was not stored, naming it.
        """
        return derive(self, parse_formula(formula))

    def __add__(self, other: object) -> Moments:
        """Add the moments of other groups; see `pool_moments`."""
        return pool_moments([self, other]) if isinstance(other, Moments) else NotImplemented

    def without(self, position: int) -> Moments:
        """Moments of all groups but the one at a position."""
        return kept(self, np.arange(len(self.groups)) != position)

    def write(
        self, path: str | Path, *, share: bool = True, minimum_rows: int = MINIMUM_ROWS
    ) -> Moments:
        """Write the moments to a Parquet file, one row a group.

        Parameters
        ----------
        path : str or Path
        share : bool
            Whether the file may leave the site. Moments are aggregated, not anonymous: the
            values of a few rows can be worked back from them. So unless this is False, small
            groups are withheld (see `withhold_small`); how many they and their rows were is
            recorded.
        minimum_rows : int
            Rows from which a group is kept when the file is shared.

        Returns
        -------
        Moments
            What was written.
        """
        kept = withhold_small(self, minimum_rows) if share else self
        write_record(path, kept)
        return kept

    @classmethod
    def read(cls, path: str | Path) -> Moments:
        """Read moments that `write` wrote.

        Raises
        ------
        InputError
            When the file is missing, holds no moments, has another schema version or is damaged.
        """
        return cls(**vars(read_record(path)))

    def table(self) -> pd.DataFrame:
        """Rows and sums, one row a group; sums of floats are around their pivots."""
        sums = {":".join(key): values for key, values in self.sums.items() if key}
        index = pd.Index(self.groups, name=self.group_name or "group")
        return pd.DataFrame({"n": self.n, **sums}, index=index)
