"""What every fit starts from: cross-products of one model's columns, group by group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from numbers import Number
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.arguments import Checked
from multilevel.errors import InputError

Array: TypeAlias = NDArray[np.float64]
#: Beyond this, and below one over it, the fourth power of a value is no number any more.
FLOAT_LIMIT = 1e75
#: A column as a polynomial in stored variables: ``{("x",): 1.0, (): -10.0}`` is ``x - 10``.
Polynomial: TypeAlias = Mapping[tuple[str, ...], float]


@cache
def coordinates(q: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the elements of a lower-triangular factor, column by column."""
    return tuple((i, j) for j in range(q) for i in range(j, q))


def _as_floats(values: ArrayLike) -> Array:
    """Take numbers of any type; neither text nor dates, which NumPy would turn into some."""
    found = np.asarray(values)
    numbers = found.dtype == object and all(isinstance(value, Number) for value in found.flat)
    return found.astype(float, casting="unsafe" if numbers else "same_kind")


def refuse_unwritable(labels: Iterable[Any], column: str) -> None:
    """Refuse text that no encoding holds, since no table or file could show it."""
    try:
        "".join(label for label in labels if isinstance(label, str)).encode()
    except UnicodeEncodeError:
        hint = "read its file in the encoding that it was written in"
        raise InputError("its text cannot be written", column=column, hint=hint) from None


def value_of(polynomial: Polynomial, values: Mapping[str, Any]) -> Any:
    """Value of a column where its variables have these: numbers, or arrays of one value a row."""
    return sum(w * prod((values[v] for v in key), start=1.0) for key, w in polynomial.items())


def movable_columns(
    names: Sequence[str], fixed: Collection[int], random: Collection[int]
) -> list[int]:
    """Positions of the columns from which a constant can be taken without another model."""
    constant = names.index("Intercept") if "Intercept" in names else -1
    if constant not in fixed:
        return []
    still = {constant} if constant in random else {constant, *random}
    return [i for i in range(len(names)) if i not in still]


@dataclass(frozen=True)
class DesignMoments(Checked):
    """Cross-products of a model's columns within each group.

    With ``W_j`` the rows of group ``j`` and the columns of the fixed part, the random part
    and the response (a column that serves twice is stored once), ``cross[j] = W_j' W_j``.
    Maximum likelihood, REML, Gibbs sampling and residuals need nothing else.

    Attributes
    ----------
    groups : ndarray of shape (J,)
        Labels of the groups; of a table as in `Moments`, all text where numbers and text are mixed.
    n : ndarray of int, shape (J,)
        Rows of each group.
    cross : ndarray of float, shape (J, m, m)
        Symmetric cross-products.
    names : tuple of str, length m
        Names of the columns, as printed in tables; the constant is ``"Intercept"``.
    fixed, random : tuple of int
        Positions of the fixed and the random terms among the columns. ``random`` is empty for a
        single-level model.
    response : int
        Position of the response.
    group_name : str
        Name of the grouping factor, or an empty string.
    formula : str
        The formula as the user wrote it.
    polynomials : tuple of Polynomial, length m
        Each column as a polynomial in the variables of the data.
    means : mapping of str to float
        Pooled mean of each variable that the polynomials use.
    centres : tuple of float, length m
        What was taken off each column in `centred`: its mean, or zero where that would change
        the model. Empty where nothing is known but `cross`.
    centred : ndarray of float, shape (J, m, m), or None
        Cross-products of the columns less their centres, in which columns far from zero lose no
        digits.
    """

    groups: NDArray[np.object_] = field(repr=False)
    n: NDArray[np.int64] = field(repr=False)
    cross: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...]
    fixed: tuple[int, ...]
    random: tuple[int, ...]
    response: int
    group_name: str = ""
    formula: str = ""
    polynomials: tuple[Polynomial, ...] = field(default=(), repr=False)
    means: Mapping[str, float] = field(default_factory=dict, repr=False)
    centres: tuple[float, ...] = field(default=(), repr=False)
    centred: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def total(self) -> NDArray[np.float64]:
        """Cross-products over all groups, shape (m, m)."""
        return np.asarray(self.cross.sum(axis=0))

    @property
    def products(self) -> NDArray[np.float64]:
        """Cross-products about the centres, or raw where nothing else is known."""
        return self.cross if self.centred is None else self.centred

    @property
    def uncentring(self) -> NDArray[np.float64]:
        """Matrix `T`, shape (m, m), with ``raw = centred @ T``."""
        change = np.eye(len(self.names))
        if self.centred is not None and self.constant is not None:
            change[self.constant] += self.centres
        return change

    @property
    def n_total(self) -> int:
        """Rows in all."""
        return int(self.n.sum())

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Names of the fixed terms."""
        return tuple(self.names[i] for i in self.fixed)

    @property
    def random_names(self) -> tuple[str, ...]:
        """Names of the random terms."""
        return tuple(self.names[i] for i in self.random)

    @property
    def constant(self) -> int | None:
        """Position of the constant, or None where the design stores none."""
        return self.names.index("Intercept") if "Intercept" in self.names else None

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names of the variances and covariances of the random terms."""
        names = self.random_names
        return tuple(
            f"var({names[i]})" if i == j else f"cov({names[j]}, {names[i]})"
            for i, j in coordinates(len(names))
        )

    def random_means(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pooled means of the random columns, from cross-products of shape (..., m, m)."""
        constant = self.constant
        if constant is None:
            raise InputError("the design stores no constant, so that means are not known")
        means: NDArray[np.float64] = total[..., constant, list(self.random)]
        return means / total[..., constant, constant, None]

    @classmethod
    def from_arrays(
        cls,
        response: ArrayLike,
        fixed: Mapping[str, ArrayLike],
        random: Sequence[str],
        group: Any,
        *,
        group_name: str = "group",
    ) -> DesignMoments:
        """Moments of columns held in memory.

        Parameters
        ----------
        response : array_like of shape (N,)
        fixed : mapping of str to array_like of shape (N,)
            Columns by name; those named in `random` but not meant as fixed cannot be given here.
        random : sequence of str
            Which of the fixed columns also vary between groups.
        group : array_like of shape (N,)
            The group of each row.
        group_name : str
            Name for printing; that of the response is ``y``.

        Examples
        --------
        >>> d = DesignMoments.from_arrays([1, 2, 4], {"Intercept": [1, 1, 1]}, ["Intercept"],
        ...                               ["a", "a", "b"])
        >>> d.cross[0]
        array([[2., 3.],
               [3., 5.]])
        """
        if not set(random) <= set(fixed):
            raise InputError("random terms are among the fixed columns", hint="give their columns")
        if "y" in fixed or (np.asarray(fixed.get("Intercept", 1)) != 1).any():
            raise InputError("a column called Intercept is 1 in every row, and none is called y")
        names = (*fixed, "y")
        parts = tuple(range(len(fixed))), tuple(names.index(r) for r in random)
        try:
            w = np.column_stack([_as_floats(column) for column in (*fixed.values(), response)])
            held = group if isinstance(group, Sequence) else np.asarray(group)
            codes, labels = pd.factorize(pd.Series(held, dtype=object), sort=True)
            size = np.abs(np.log(np.abs(w).max(axis=0)[w.any(axis=0)]))
            unusable = w.shape != (len(codes), len(names)) or codes.min() < 0
            unusable |= not (size <= np.log(FLOAT_LIMIT)).all()  # nor is NaN below
        except (TypeError, ValueError, OverflowError):
            unusable = True
        if unusable:
            raise InputError("columns hold finite numbers to 1e75, one a row; no group is missing")
        refuse_unwritable(labels, group_name)
        centres = np.zeros(len(names))
        movable = movable_columns(names, *parts)
        centres[movable] = w[:, movable].mean(axis=0)
        raw, about = ([v[codes == j] for j in range(len(labels))] for v in (w, w - centres))
        return cls(
            groups=labels.to_numpy(dtype=object),
            n=np.bincount(codes, minlength=len(labels)).astype(np.int64),
            cross=np.array([rows.T @ rows for rows in raw]),
            names=names,
            fixed=parts[0],
            random=parts[1],
            response=len(names) - 1,
            group_name=group_name,
            polynomials=tuple({(): 1.0} if n == "Intercept" else {(n,): 1.0} for n in names),
            means={n: float(w[:, i].mean()) for i, n in enumerate(names) if n != "Intercept"},
            centres=tuple(centres.tolist()),
            centred=np.array([rows.T @ rows for rows in about]),
        )
