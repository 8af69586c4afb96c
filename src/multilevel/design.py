"""What every fit needs of the data: per-group cross-products of a model's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DesignMoments", "Polynomial"]

#: A column as a polynomial in stored variables: ``{("x",): 1.0, (): -10.0}`` is ``x - 10``.
Polynomial: TypeAlias = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class DesignMoments:
    """Cross-products of a model's columns within each group.

    With ``W_j`` the rows of group ``j`` and the columns of the fixed part, the random part
    and the response (a column that serves twice is stored once), ``cross[j] = W_j' W_j``.
    Maximum likelihood, REML, Gibbs sampling and residuals need nothing else.

    Attributes
    ----------
    groups : ndarray of shape (J,)
        Labels of the groups.
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

    groups: NDArray[np.object_]
    n: NDArray[np.int64]
    cross: NDArray[np.float64]
    names: tuple[str, ...]
    fixed: tuple[int, ...]
    random: tuple[int, ...]
    response: int
    group_name: str = ""
    formula: str = ""
    polynomials: tuple[Polynomial, ...] = ()
    means: Mapping[str, float] = field(default_factory=dict)
    centres: tuple[float, ...] = ()
    centred: NDArray[np.float64] | None = None

    @property
    def total(self) -> NDArray[np.float64]:
        """Cross-products over all groups, shape (m, m)."""
        total: NDArray[np.float64] = self.cross.sum(axis=0)
        return total

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

    @classmethod
    def from_arrays(
        cls,
        response: ArrayLike,
        fixed: Mapping[str, ArrayLike],
        random: Sequence[str],
        group: ArrayLike,
        *,
        response_name: str = "y",
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
        response_name, group_name : str
            Names for printing.

        Examples
        --------
        >>> d = DesignMoments.from_arrays([1, 2, 4], {"Intercept": [1, 1, 1]}, ["Intercept"],
        ...                               ["a", "a", "b"])
        >>> d.cross[0]
        array([[2., 3.],
               [3., 5.]])
        """
        names = (*fixed, response_name)
        w = np.column_stack([np.asarray(c, dtype=float) for c in (*fixed.values(), response)])
        labels, codes = np.unique(np.asarray(group), return_inverse=True)
        cross = np.zeros((len(labels), len(names), len(names)))
        for j in range(len(labels)):
            rows = w[codes == j]
            cross[j] = rows.T @ rows
        return cls(
            groups=labels.astype(object),
            n=np.bincount(codes, minlength=len(labels)).astype(np.int64),
            cross=cross,
            names=names,
            fixed=tuple(range(len(fixed))),
            random=tuple(names.index(r) for r in random),
            response=len(names) - 1,
            group_name=group_name,
            polynomials=tuple({(): 1.0} if n == "Intercept" else {(n,): 1.0} for n in names),
            means={n: float(w[:, i].mean()) for i, n in enumerate(names) if n != "Intercept"},
        )
