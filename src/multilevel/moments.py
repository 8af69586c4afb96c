"""`Moments`: per-therapist cross-products, which is all that a fit needs and which add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multilevel.derive import Shifted, derive
from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.formula import Formula, parse_formula
from multilevel.moments_file import read_fields, write_fields
from multilevel.polynomial import Monomial
from multilevel.pooling import MINIMUM_CASELOAD, add_moments, withhold_small
from multilevel.recipe import Recipe, recipe_for_columns, recipe_for_formula
from multilevel.sources import open_source

if TYPE_CHECKING:
    import pandas as pd

    from multilevel.accumulate import Sums

__all__ = ["Moments", "design_moments"]


@dataclass(frozen=True, eq=False, repr=False)
class Moments:
    """Sums of products of stored columns within each therapist.

    Made by `for_formula` or `from_frame`, not by hand. With ``X`` the stored columns (the
    constant, scores, products of scores), a therapist's moments are ``X_j'X_j``.

    Attributes
    ----------
    groups : ndarray of object, shape (J,)
        Labels of the therapists, sorted.
    n : ndarray of int64, shape (J,)
        Patients of each therapist with complete rows.
    sums : mapping of Monomial to ndarray, shape (J,)
        Sums of products; int64 where only whole numbers are multiplied, and then exact.
    monomials : tuple of Monomial
        The columns of ``X``, the constant first.
    pivots : mapping of str to float
        What was taken off each float column before it was multiplied.
    group_name : str
        Column of the grouping factor, or empty.
    complete : tuple of str
        Columns on which rows had to be complete, sorted.
    levels : mapping of str to tuple of str
        Levels of each categorical column; the first has no dummy.
    blocks : mapping of str to tuple of str
        Columns that formulae made of a component, such as a spline. They depend on the data
        they were made from, so that such moments cannot be added.
    n_dropped : int
        Rows left out because a value was missing.
    withheld_therapists, withheld_patients : int
        Left out when the moments were written to be shared, caseloads being too small.
    minimum_caseload : int
        The caseload below which therapists were left out; 0 when none was.
    """

    groups: NDArray[np.object_]
    n: NDArray[np.int64]
    sums: Mapping[Monomial, NDArray[np.int64] | NDArray[np.float64]]
    monomials: tuple[Monomial, ...]
    pivots: Mapping[str, float]
    group_name: str
    complete: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    n_dropped: int = 0
    withheld_therapists: int = 0
    withheld_patients: int = 0
    minimum_caseload: int = 0

    @classmethod
    def for_formula(
        cls,
        formula: str | Formula,
        data: Any,
        *,
        levels: Mapping[str, Sequence[str]] | None = None,
    ) -> Moments:
        """Moments that hold just what a formula needs.

        Parameters
        ----------
        formula : str or Formula
        data : frame or path
            pandas, Polars (eager or lazy), Arrow, DuckDB, Dask or Spark frame, or the path of a
            CSV or Parquet file, which may be larger than memory.
        levels : mapping of str to sequence of str, optional
            All levels of a categorical column, the reference first. Services that pool moments
            give the same ones; without it they are the levels found.

        Returns
        -------
        Moments

        Examples
        --------
        >>> import pandas as pd
        >>> data = pd.DataFrame({"y": [1, 2, 4, 4], "x": [0, 1, 2, 3], "g": list("aabb")})
        >>> Moments.for_formula("y ~ center(x) + (1 | g)", data).table()
                   n  x  y  x:x  x:y  y:y
        therapist
        a          2  1  3    1    2    5
        b          2  5  8   13   20   32
        """
        parsed = parse_formula(formula) if isinstance(formula, str) else formula
        with open_source(data) as source:
            recipe = recipe_for_formula(parsed, source, levels)
            return cls._from_sums(source.summed(recipe), recipe)

    @classmethod
    def from_frame(
        cls,
        data: Any,
        columns: Sequence[str],
        group: str = "",
        *,
        complete: Sequence[str] = (),
        levels: Mapping[str, Sequence[str]] | None = None,
    ) -> Moments:
        """Moments of the columns named, and of no others.

        Parameters
        ----------
        data : frame or path
            As for `for_formula`.
        columns : sequence of str
            Names of columns, and products of them written ``"x1:x2"``.
        group : str, optional
            The grouping factor.
        complete : sequence of str, optional
            Further columns that must be present in a row for it to count.
        levels : mapping of str to sequence of str, optional
            As for `for_formula`.
        """
        with open_source(data) as source:
            recipe = recipe_for_columns(columns, group, source, levels, complete)
            return cls._from_sums(source.summed(recipe), recipe)

    @classmethod
    def _from_sums(cls, found: Sums, recipe: Recipe) -> Moments:
        return cls(
            groups=found.groups,
            n=found.n,
            sums=found.sums,
            monomials=recipe.monomials,
            pivots=found.pivots,
            group_name=recipe.group,
            complete=recipe.needed,
            levels=recipe.levels,
            blocks=recipe.blocks,
            n_dropped=found.n_dropped,
        )

    def __repr__(self) -> str:
        grouped = (
            f"{len(self.groups):,} groups ({self.group_name})" if self.group_name else "no groups"
        )
        return f"<Moments of {', '.join(self.columns)}: {int(self.n.sum()):,} rows, {grouped}>"

    @property
    def variables(self) -> tuple[str, ...]:
        """Stored columns, each once."""
        return tuple(dict.fromkeys(name for key in self.monomials for name in key))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``X`` besides the constant, products written ``x1:x2``."""
        return tuple(":".join(key) for key in self.monomials if key)

    @cached_property
    def _shifted(self) -> Shifted:
        """Sums around pivots near the means, made once for all formulas."""
        return Shifted(self)

    def design(self, formula: str | Formula) -> DesignMoments:
        """Cross-products of the columns of a model.

        Parameters
        ----------
        formula : str or Formula
            Any formula whose columns are polynomials in the stored ones.

        Raises
        ------
        InputError
            When a column or a product was not stored, naming it.
        """
        if not self.n.sum():
            raise InputError(
                "no row has a value in every column needed",
                hint=f"check {', '.join(self.complete)} for missing values",
            )
        return derive(self, parse_formula(formula) if isinstance(formula, str) else formula)

    def __add__(self, other: object) -> Moments:
        """Add the moments of other therapists; see `pwp_lib.pool_moments`."""
        if not isinstance(other, Moments):
            return NotImplemented
        return add_moments(self, other)

    def without(self, position: int) -> Moments:
        """Moments of all therapists but the one at a position."""
        keep = np.arange(len(self.groups)) != position
        sums = {key: values[keep] for key, values in self.sums.items()}
        return replace(self, groups=self.groups[keep], n=self.n[keep], sums=sums)

    def write(
        self,
        path: str | Path,
        *,
        share: bool = True,
        minimum_caseload: int = MINIMUM_CASELOAD,
    ) -> Moments:
        """Write the moments to a Parquet file, one row a therapist.

        Parameters
        ----------
        path : str or Path
        share : bool
            Whether the file may leave the service. Moments are aggregated, not anonymous: the
            scores of a few patients can be worked back from them. So unless this is False,
            therapists with small caseloads are withheld; how many they and their patients were
            is recorded.
        minimum_caseload : int
            Caseload from which a therapist is kept when the file is shared.

        Returns
        -------
        Moments
            What was written.
        """
        kept = withhold_small(self, minimum_caseload) if share else self
        write_fields(path, {f.name: getattr(kept, f.name) for f in fields(kept)})
        return kept

    @classmethod
    def read(cls, path: str | Path) -> Moments:
        """Read moments that `write` wrote.

        Raises
        ------
        InputError
            When the file is missing, holds no moments, has another schema version or is damaged.
        """
        return cls(**read_fields(path, [f.name for f in fields(cls)]))

    def table(self) -> pd.DataFrame:
        """Patients and sums, one row a therapist; sums of floats are around their pivots."""
        import pandas as pd

        sums = {":".join(key): values for key, values in self.sums.items() if key}
        index = pd.Index(self.groups, name="therapist")
        return pd.DataFrame({"n": self.n, **sums}, index=index)


def design_moments(formula: str | Formula, data: Any) -> DesignMoments:
    """Cross-products of a model's columns from anything that a fit accepts.

    Parameters
    ----------
    formula : str or Formula
    data : frame, path, Moments or DesignMoments
        Ready `DesignMoments` are handed back as they are, if they are of this formula.

    Returns
    -------
    DesignMoments

    Notes
    -----
    Rows with a missing value in any column of the formula, the grouping factor included, are
    left out; means for centring are taken over the rows that remain.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"y": [1, 2, 4, 4], "x": [0, 1, 2, 3], "g": list("aabb")})
    >>> d = design_moments("y ~ center(x) + (1 | g)", data)
    >>> d.names, d.n.tolist(), d.means["x"]
    (('Intercept', 'center(x)', 'y'), [2, 2], 1.5)
    """
    parsed = parse_formula(formula) if isinstance(formula, str) else formula
    if isinstance(data, DesignMoments):
        _check_same_model(parsed, data)
        return data
    moments = data if isinstance(data, Moments) else Moments.for_formula(parsed, data)
    return moments.design(parsed)


def _check_same_model(formula: Formula, design: DesignMoments) -> None:
    """Refuse a design that was made for another formula; one without a formula passes."""
    if not design.formula:
        return
    made = parse_formula(design.formula)
    if replace(made, text="") != replace(formula, text=""):
        raise InputError(
            f"these cross-products were made for {design.formula}, not for {formula.text}",
            hint="give the table or its moments",
        )
