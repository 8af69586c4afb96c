"""Designs made ready for a fit: standardised, or refused in words where they tell too little."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.small import compiled

__all__ = ["Array", "Stack", "design_stack", "identified_stack", "method_name", "standardise"]

Array: TypeAlias = NDArray[np.float64]


#: A sum of squares below this share of what it was is nothing but rounding.
_ROUNDING = 1e-12
#: Squares about the mean below this share of the raw ones are rounding in the values themselves,
#: and where only raw products are known, have lost half their digits.
_SAME, _FAR = 1e-26, 1e-8
#: A direction of a group's random terms with less than this share of the largest is none.
_NONE = 1e-13


@dataclass(frozen=True)
class Stack:
    """Standardised statistics of `R` designs that share the roles of their columns.

    The random terms are rotated and scaled to mean square 1 over all rows and no correlation,
    the fixed terms to an orthonormal basis, the response to its least-squares residual of mean
    square 1. So the answer does not depend on the units of any column.

    Attributes
    ----------
    root : ndarray of shape (R, J, q, q)
        Factor `R` of the random terms' cross-products in each group.
    outer : ndarray of shape (R, J, q, p + 1)
        `U` of the fixed terms and the response in each group.
    within : ndarray of shape (R, p + 1, p + 1)
        What is left of their products within groups, summed over groups.
    n : ndarray of shape (R,)
        Rows.
    reml : bool
    shift : ndarray of shape (R,)
        What standardising takes off the deviance.
    z_root, x_root : ndarray of shape (R, q, q) and (R, p, p)
        Factors `L` with ``raw = standardised @ L'``.
    ols : ndarray of shape (R, p)
        Least-squares coefficients in raw units.
    scale : ndarray of shape (R,)
        Root mean square of the least-squares residual.
    q, p : int
        Numbers of random and of fixed terms.
    dof : ndarray of shape (R,)
        Divisor of the residual variance: rows, less the fixed terms under REML.
    arrays : tuple
        What the compiled functions take.
    """

    root: Array
    outer: Array
    within: Array
    n: Array
    reml: bool
    shift: Array
    z_root: Array
    x_root: Array
    ols: Array
    scale: Array

    q: int = field(init=False)
    p: int = field(init=False)
    dof: Array = field(init=False)
    arrays: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        p = int(self.outer.shape[-1]) - 1
        dof = self.n - p if self.reml else self.n
        arrays = (self.root, self.outer, self.within, self.n, dof, self.shift, self.reml)
        self.__dict__.update(q=int(self.root.shape[-1]), p=p, dof=dof, arrays=arrays)


def identified_stack(design: DesignMoments, method: str) -> Stack:
    """Standardise a design, refused in words where its model is not identified.

    Parameters
    ----------
    design : DesignMoments
    method : {"ML", "REML"}

    Raises
    ------
    InputError
        As `design_stack` says; also for groups or rows too few to estimate the variances from.
    """
    stack = design_stack(design, reml=method_name(method) == "REML")
    if design.random:
        _refuse_groups(design)
        _refuse_without_variation(design, stack)
    return stack


def design_stack(design: DesignMoments, reml: bool) -> Stack:
    """Standardise a design whose terms can be told apart, whatever the variances' estimates.

    Parameters
    ----------
    design : DesignMoments
    reml : bool

    Raises
    ------
    InputError
        For terms that are zero, constant or depend on each other, and for too few rows; it names
        the column concerned where there is one.
    """
    if not design.fixed:
        raise InputError("the model has no fixed term", hint="keep the intercept")
    raw, rows = design.cross.sum(axis=0), int(design.n.sum())
    centred = raw if design.centred is None else design.centred.sum(axis=0)
    if not np.isfinite(raw).all():
        raise InputError("the moments hold values that are not finite numbers")
    if rows <= len(design.fixed):
        raise InputError(
            f"{rows} rows cannot identify {len(design.fixed)} fixed terms and a residual variance",
            hint="drop terms or add rows",
        )
    for column in (*design.fixed, *design.random, design.response):
        _refuse_constant(design, raw, centred, column)
    for part, terms in (("fixed", design.fixed), ("random", design.random)):
        _refuse_dependent(design, centred, part, terms)
    return standardise(
        (design.cross if design.centred is None else design.centred)[None],
        np.array([float(rows)]),
        design.fixed,
        design.random,
        design.response,
        reml,
        uncentring=design.uncentring,
    )


def _refuse_constant(design: DesignMoments, raw: Array, centred: Array, column: int) -> None:
    """Refuse a column that is zero, or the same in every row as far as rounding lets tell."""
    name = design.names[column]
    constant = design.names.index("Intercept") if "Intercept" in design.names else None
    squares = float(raw[column, column])
    if squares == 0.0 and column != design.response:
        raise InputError("the column is zero in every row", hint="drop it", column=name)
    if constant in (None, column):
        return
    about_centre = design.centred is not None and design.centres[column] != 0.0
    if about_centre:
        about, same = float(centred[column, column]), _SAME
    else:
        about, same = squares - raw[constant, column] ** 2 / raw[constant, constant], _ROUNDING
    if about <= same * squares and column == design.response:
        raise InputError("every row has the same response", column=name)
    terms = design.random if constant in design.random else ()
    if about <= same * squares and column in (*design.fixed, *terms):
        raise InputError(
            "the column has the same value in every row",
            hint="drop it: the intercept stands for it already",
            column=name,
        )
    if not about_centre and about <= _FAR * squares:
        raise InputError(
            "its values lie so far from zero that their spread is lost in rounding",
            hint="take a constant off, as center() does for a predictor",
            column=name,
        )


def _first_predicted(square: Array, columns: tuple[int, ...]) -> int | None:
    """Sweep the columns in order; the first that earlier ones predict exactly, or None."""
    square = square[np.ix_(columns, columns)]
    size = np.sqrt(np.diagonal(square))
    square = square / np.outer(size, size)
    for i, column in enumerate(columns):
        if square[i, i] <= _ROUNDING:
            return column
        square = square - np.outer(square[:, i], square[i] / square[i, i])
    return None


def _refuse_dependent(
    design: DesignMoments, centred: Array, part: str, terms: tuple[int, ...]
) -> None:
    # The response is swept last, with the fixed terms.
    swept = (*terms, design.response) if part == "fixed" else terms
    predicted = _first_predicted(centred, swept)
    if predicted == design.response:
        raise InputError(
            "the fixed terms predict the response without error, so there is no residual variance",
            hint="leave out the term that repeats the response",
            column=design.names[predicted],
        )
    if predicted is not None:
        raise InputError(
            f"the {part} terms before this one predict it exactly, so the model is not identified",
            hint="drop it, or one of those it depends on",
            column=design.names[predicted],
        )


def _refuse_groups(design: DesignMoments) -> None:
    groups, terms = len(design.groups), len(design.random)
    problem, hint = "", "leave out the random part"
    if groups < 2:
        problem = "one group says nothing about how groups differ"
    elif groups < terms:
        problem, hint = f"{groups} groups cannot identify {terms} random terms", "drop random terms"
    elif int(design.n.max()) <= 1:
        problem = (
            "no group has more than one row, so differences between groups cannot be told from "
            "differences between rows"
        )
    if problem:
        raise InputError(problem, hint=hint, column=design.group_name or None)


def _refuse_without_variation(design: DesignMoments, stack: Stack) -> None:
    """Refuse designs that leave nothing to estimate a variance from.

    Neither within groups, for the residual, nor between them, once the fixed terms are taken
    out, for a random term.
    """
    p, root, rows = stack.p, stack.root[0], float(stack.n[0])
    inner = root.swapaxes(-1, -2) @ root
    shared = root.swapaxes(-1, -2) @ stack.outer[0, :, :, :p]
    # The fixed terms are orthonormal here, so this is what they leave of the random ones.
    left = (inner - shared @ shared.swapaxes(-1, -2)).sum(axis=0)
    values, vectors = np.linalg.eigh(left)
    if values[0] <= 1e-10 * rows:
        z_root = stack.z_root[0]
        part = np.linalg.solve(z_root.T, vectors[:, 0]) * np.linalg.norm(z_root, axis=1)
        term = design.random_names[int(np.abs(part).argmax())]
        raise InputError(
            f"the fixed terms leave nothing of the random term {term} to estimate its variance "
            "between groups from",
            hint="leave it out of the random part, or leave out fixed terms that stand for groups",
            column=design.group_name or None,
        )
    sizes = np.linalg.eigvalsh(inner)
    values, vectors = np.linalg.eigh(stack.within[0, :p, :p])
    real = values > 1e-10
    if rows <= int((sizes > 1e-10 * sizes[:, -1:]).sum()) + int(real.sum()):
        raise InputError(
            "the groups are too small for these random terms: nothing is left within groups to "
            "estimate the residual variance from",
            hint="drop random terms",
            column=design.group_name or None,
        )
    pull = (vectors.T @ stack.within[0, :p, p])[real]
    rest = float(stack.within[0, p, p] - (pull**2 / values[real]).sum())
    if rest <= _ROUNDING * rows:
        raise InputError(
            "within groups the model predicts the response without error, so there is no "
            "residual variance",
            column=design.names[design.response],
        )


def method_name(method: str) -> Literal["ML", "REML"]:
    """Return the name of a method in capitals; refuses others."""
    name = method.upper() if isinstance(method, str) else ""
    if name not in ("ML", "REML"):
        raise InputError('the method is neither "ML" nor "REML"', hint="give one of the two")
    return cast(Literal["ML", "REML"], name)


def standardise(
    cross: Array,
    n: Array,
    fixed: tuple[int, ...],
    random: tuple[int, ...],
    response: int,
    reml: bool,
    uncentring: Array | None = None,
) -> Stack:
    """Standardised statistics from cross-products.

    Parameters
    ----------
    cross : ndarray of shape (R, J, m, m)
    n : ndarray of shape (R,)
        Rows in all, for each design.
    fixed, random : tuple of int
        Positions of the terms among the columns.
    response : int
    reml : bool
    uncentring : ndarray of shape (m, m), optional
        What turns the columns into those in which answers are wanted.

    Raises
    ------
    numpy.linalg.LinAlgError
        If fixed or random terms are linearly dependent; callers look for that first.
    """
    total = cross.sum(axis=1)
    x, z = list(fixed), list(random)
    p, q, m = len(x), len(z), cross.shape[-1]
    xx, xy = total[:, x][:, :, x], total[:, x, response, None]
    x_root = _scaled_cholesky(xx)
    x_inverse = np.linalg.inv(x_root)
    ols = x_inverse.swapaxes(1, 2) @ (x_inverse @ xy)
    # One step of refinement: the residual of the normal equations is known exactly enough.
    ols = (ols + x_inverse.swapaxes(1, 2) @ (x_inverse @ (xy - xx @ ols)))[..., 0]
    z_root = _scaled_cholesky(total[:, z][:, :, z] / n[:, None, None])
    change = np.zeros((len(total), m, q + p + 1))
    change[:, z, :q] += np.linalg.inv(z_root).swapaxes(1, 2)
    change[:, x, q : q + p] += x_inverse.swapaxes(1, 2)
    change[:, response, -1] = 1.0
    change[:, x, -1] -= ols
    blocks = change.swapaxes(1, 2)[:, None] @ cross @ change[:, None]
    scale = np.sqrt(blocks[..., -1, -1].sum(axis=1) / n)
    blocks[..., -1, :] /= scale[:, None, None]
    blocks[..., :, -1] /= scale[:, None, None]
    root, outer, within = _split(blocks, q)
    dof = n - p if reml else n
    shift = 2.0 * dof * np.log(scale)
    if reml:
        shift = shift + 2.0 * np.log(np.diagonal(x_root, axis1=1, axis2=2)).sum(axis=1)
    if uncentring is not None:
        fixed_change = uncentring[np.ix_(x, x)]
        x_root, z_root = fixed_change.T @ x_root, uncentring[np.ix_(z, z)].T @ z_root
        ols = ols @ np.linalg.inv(fixed_change).T + uncentring[x, response]
    return Stack(root, outer, within, n, reml, shift, z_root, x_root, ols, scale)


def _scaled_cholesky(square: Array) -> Array:
    """Cholesky factor taken after scaling the diagonal to one, which keeps its digits."""
    size = np.sqrt(np.diagonal(square, axis1=-2, axis2=-1))
    scaled = square / (size[..., :, None] * size[..., None, :])
    root: Array = size[..., :, None] * np.linalg.cholesky(scaled)
    return root


@compiled  # type: ignore[untyped-decorator]
def _split(blocks: Any, q: Any) -> tuple[Any, Any, Any]:
    """Take each group's products apart: `R` and `U` by a pivoted Cholesky factor, and the rest."""
    designs, groups, width = blocks.shape[:3]
    root = np.zeros((designs, groups, q, q))
    outer = np.zeros((designs, groups, q, width - q))
    within = np.zeros((designs, width - q, width - q))
    row = np.zeros(width)
    for r in range(designs):
        for j in range(groups):
            block = blocks[r, j]
            largest = 0.0
            for i in range(q):
                largest = max(largest, block[i, i])
            for s in range(q):
                pivot = 0
                for i in range(q):
                    if block[i, i] > block[pivot, pivot]:
                        pivot = i
                if not block[pivot, pivot] > _NONE * largest:
                    break
                size = np.sqrt(block[pivot, pivot])
                for i in range(width):
                    row[i] = block[pivot, i] / size
                for i in range(width):
                    for m in range(width):
                        block[i, m] -= row[i] * row[m]
                for i in range(q):
                    root[r, j, s, i] = row[i]
                    block[pivot, i] = block[i, pivot] = 0.0
                for i in range(q, width):
                    outer[r, j, s, i - q] = row[i]
            for i in range(width - q):
                for m in range(width - q):
                    within[r, i, m] += block[q + i, q + m]
    return root, outer, within
