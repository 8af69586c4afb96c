"""Designs made ready for a fit: standardised, or refused in words where they tell too little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from multilevel.design import Array, DesignMoments
from multilevel.errors import InputError
from multilevel.lanes import WIDTH, zeros
from multilevel.small import cholesky, congruent, copy, diagonalise, invert_lower
from multilevel.tiers import compiled, folded

#: A sum of squares below this share of what it was is nothing but rounding.
ROUNDING = 1e-12
#: Squares about the mean below this share of the raw ones are rounding in the values themselves.
_SAME = 1e-26
#: Where nothing was taken off, squares about the mean below this share have lost half their digits.
_FAR = 1e-8
#: A row's part of such a share from which on a deviance is right to 1e-6.
_LOST = 2e-10
#: Fixed terms that leave no more than this share of a random one leave nothing.
_LEAST_LEFT = 1e-10
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
    left : ndarray of shape (R, q + p + 1)
        Share of each random and fixed term, and of the response, that is left when terms before
        it of its part, or all fixed terms, are taken out.
    told : ndarray of shape (R, 3 + q)
        Least share of any random term that the fixed ones leave, mean square of the response that
        all leave within groups, rank of the fixed terms there, and which random term that is.
    q, p : int
        Numbers of random and of fixed terms.
    dof : ndarray of shape (R,)
        Divisor of the residual variance: rows, less the fixed terms under REML.
    arrays : tuple
        What the compiled functions take: `R` and `U` beside it, in lanes; what is within; n, dof
        and shift.
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
    left: Array
    told: Array

    q: int = field(init=False)
    p: int = field(init=False)
    dof: Array = field(init=False)
    arrays: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        (designs, groups, q), p = self.root.shape[:3], self.outer.shape[-1] - 1
        dof = self.n - p if self.reml else self.n
        # Lanes that no group fills are zero, and add nothing to any sum.
        blocks = np.zeros((designs, -(-groups // WIDTH), WIDTH, q, q + p + 1))
        both = blocks.reshape(designs, blocks.shape[1] * WIDTH, q, q + p + 1)[:, :groups]
        both[..., :q], both[..., q:] = self.root, self.outer
        lanes = np.ascontiguousarray(blocks.transpose(0, 1, 3, 4, 2))
        arrays = lanes, self.within, np.array([self.n, dof, self.shift]), self.reml
        self.__dict__.update(q=q, p=p, dof=dof, arrays=arrays)


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
        groups, terms = len(design.groups), len(design.random)
        if groups < max(terms, 2):
            why = f"the groups are too few ({groups}) to identify the random terms ({terms})"
            raise InputError(why, hint="drop random terms", column=design.group_name or None)
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
        For terms that depend on each other, as all do on a constant or a zero, and for too few
        rows; it names the column concerned where there is one.
    """
    if not design.fixed:
        raise InputError("the model has no fixed term", hint="keep the intercept")
    raw, rows = design.cross.sum(axis=0), int(design.n.sum())
    products = design.cross if design.centred is None else design.centred
    if not np.isfinite(raw).all():
        raise InputError("the moments hold values that are not finite numbers")
    if rows <= len(design.fixed):
        why = f"{rows} rows cannot identify {len(design.fixed)} fixed terms and a residual variance"
        raise InputError(why, hint="drop terms or add rows")
    roles = design.fixed, design.random, design.response
    centres, constant = () if design.centred is None else design.centres, design.constant
    stack = standardise(products[None], np.array([float(rows)]), *roles, reml, centres, constant)
    about = products.sum(axis=0)
    # What a constant leaves about its mean is rounding of its values, or nothing.
    same = np.diagonal(about) <= _SAME * np.diagonal(raw)
    columns = [*design.random, *design.fixed, design.response]
    _refuse_dependent(design, same[columns] | ~(stack.left[0] > ROUNDING))
    far = too_far(about, columns, constant)
    # Nothing was taken off a response without a constant: of its sum of squares, what is left has
    # lost so many digits that a deviance may be off by 1e-6.
    far[-1] |= constant not in design.fixed and bool(stack.left[0, -1] < _LOST * rows)
    if far.any():
        raise InputError(
            "its values lie so far from zero that their spread is lost in rounding",
            hint="take a constant off, as center() does for a predictor",
            column=design.names[columns[int(far.argmax())]],
        )
    return stack


@np.errstate(divide="ignore", invalid="ignore")
def too_far(total: Array, columns: list[int], constant: int | None) -> NDArray[np.bool_]:
    """Tell columns that have lost half their digits, as nothing could be taken off them.

    Parameters
    ----------
    total : ndarray of shape (..., m, m)
        Cross-products over all groups.
    columns : list of int
        Positions of those to be told, in the order of the answer.
    constant : int or None
        Position of the constant, without which nothing is known.
    """
    squares = np.diagonal(total, axis1=-2, axis2=-1)
    taken = 0.0 if constant is None else total[..., constant, :] ** 2
    spread = squares - taken / squares[..., constant or 0, None]
    far: NDArray[np.bool_] = (ROUNDING * squares < spread) & (spread <= _FAR * squares)
    return far[..., columns]


def _refuse_dependent(design: DesignMoments, predicted: NDArray[np.bool_]) -> None:
    """Refuse terms of which earlier ones leave nothing, and a response without a residual."""
    for part, first in (("fixed", len(design.random)), ("random", 0)):
        terms = getattr(design, part)
        known = predicted[first : first + len(terms)]
        if known.any():
            raise InputError(
                f"the {part} terms before this one predict it exactly, as the intercept does a "
                "column whose values are the same, or differ by no more than rounding",
                hint="drop it, or one of those it depends on, or take a constant off far values",
                column=design.names[terms[int(known.argmax())]],
            )
    if predicted[-1]:
        raise InputError(
            "the fixed terms predict the response without error, so there is no residual variance",
            hint="leave out the term that repeats it, or take a constant off values far from zero",
            column=design.names[design.response],
        )


def tells_variances(stack: Stack) -> NDArray[np.bool_]:
    """Whether the fixed terms leave something of the response and of the random ones, (R,)."""
    return np.asarray((stack.told[:, 0] > _LEAST_LEFT) & (stack.told[:, 1] > ROUNDING))


def _refuse_without_variation(design: DesignMoments, stack: Stack) -> None:
    """Refuse designs that leave nothing to estimate a variance from.

    Neither within groups, for the residual, nor between them, once the fixed terms are taken
    out, for a random term.
    """
    rows, (between, left, rank, *axis) = float(stack.n[0]), stack.told[0].tolist()
    if not between > _LEAST_LEFT:
        z_root = stack.z_root[0]
        part = np.linalg.solve(z_root.T, axis) * np.linalg.norm(z_root, axis=1)
        term = design.random_names[int(np.abs(part).argmax())]
        raise InputError(
            f"the fixed terms leave nothing of the random term {term} to estimate its variance "
            "between groups from",
            hint="leave it out of the random part, or leave out fixed terms that stand for groups",
            column=design.group_name or None,
        )
    most = len(design.groups) * stack.q + rank
    if rows <= most:  # of which random terms that are zero throughout a group take none
        sizes = (stack.root[0] ** 2).max(axis=-1)
        most = rank + (sizes > _LEAST_LEFT * sizes.max(axis=1, keepdims=True)).sum()
    if rows <= most or not left > ROUNDING:
        why = (
            "within groups there is no residual variance: the groups are too small for these "
            "random terms, or the model predicts the response without error"
        )
        raise InputError(why, hint="drop random terms", column=design.names[design.response])


def method_name(method: str) -> Literal["ML", "REML"]:
    """Return the name of a method in capitals; refuses others."""
    name = method.upper() if isinstance(method, str) else ""
    if name not in ("ML", "REML"):
        raise InputError('the method is neither "ML" nor "REML"', hint="give one of the two")
    return cast(Literal["ML", "REML"], name)


@np.errstate(divide="ignore", invalid="ignore")
def standardise(
    cross: Array,
    n: Array,
    fixed: tuple[int, ...],
    random: tuple[int, ...],
    response: int,
    reml: bool,
    centres: Sequence[float] = (),
    constant: int | None = None,
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
    centres : sequence of float, length m, optional
        What was taken off the columns; answers are for columns from which nothing was.
    constant : int, optional
        Position of the constant, where something was taken off the others.

    Returns
    -------
    Stack
        Not finite where terms depend on each other or predict the response: see its `left`.
    """
    p, q, (designs, groups) = len(fixed), len(random), cross.shape[:2]
    root, outer = np.zeros((designs, groups, q, q)), np.zeros((designs, groups, q, p + 1))
    within, left = np.zeros((designs, p + 1, p + 1)), np.zeros((designs, q + p + 1))
    roots, ols = np.zeros((designs, q + p, q + p)), np.zeros((designs, p))
    scale, told = np.zeros(designs), np.zeros((designs, 3 + q))
    roles = np.array([*random, *fixed, response])
    parts = root, outer, within, left, roots, ols, scale, told
    _standardise(np.ascontiguousarray(cross), n, roles, parts)
    z_root, x_root = roots[:, :q, :q].copy(), roots[:, q:, q:].copy()
    shift = 2.0 * (n - p if reml else n) * np.log(scale)
    if reml:
        shift += 2.0 * np.log(np.diagonal(x_root, axis1=1, axis2=2)).sum(axis=1)
    if centres and constant in fixed:
        taken, place = np.array(centres)[roles], fixed.index(constant)
        ols[:, place] += taken[-1] - ols @ taken[q:-1]
        x_root += taken[q:-1, None] * x_root[:, place, None]
        if constant in random:
            z_root += taken[:q, None] * z_root[:, random.index(constant), None]
    return Stack(root, outer, within, n, reml, shift, z_root, x_root, ols, scale, left, told)


@compiled(20_000)  # type: ignore[untyped-decorator]
def _standardise(cross: Any, n: Any, roles: Any, parts: Any) -> None:
    """Fill the parts of a stack, design by design; `roles` are the positions of z, x and y."""
    root, outer, within, left, roots, ols, scale, told = parts
    width, q, p, m = len(roles), root.shape[2], ols.shape[1], cross.shape[2]
    block = zeros((width, width))
    for r in range(len(cross)):
        change, total = zeros((width, m)), zeros((width, width))
        for j in range(cross.shape[1]):
            for i in range(width):
                for k in range(width):
                    total[i, k] += cross[r, j, roles[i], roles[k]]
        for part in range(2):
            unit, first, count = (1.0, q, p) if part else (n[r], 0, q)
            _decorrelate(total, unit, first, count, roles, (left[r], roots[r], change))
        _least_squares(total, q, roles, change, ols, r)
        for j in range(cross.shape[1]):
            congruent(change, cross[r, j], block)
            scale[r] += block[q + p, q + p]
            _split(block, q, root[r, j], outer[r, j], within[r])
        left[r, q + p] = scale[r] / total[q + p, q + p]
        scale[r] = math.sqrt(scale[r] / n[r])
        for j in range(cross.shape[1]):
            for i in range(q):
                outer[r, j, i, p] /= scale[r]
        for i in range(p + 1):
            within[r, i, p] /= scale[r]
            within[r, p, i] /= scale[r]
        _tell(root[r], outer[r], within[r], n[r], told[r])


@folded  # type: ignore[untyped-decorator]
def _decorrelate(total: Any, unit: Any, first: Any, count: Any, roles: Any, parts: Any) -> None:
    """Fill the factor of some terms' products over `unit`, what each leaves, and what turns them.

    The factor is taken after scaling the diagonal to one, which keeps its digits; its own diagonal
    then tells which share of each term earlier ones leave.
    """
    left, roots, change = parts
    size, square = zeros((count,)), zeros((count, count))
    low, inverse = zeros((count, count)), zeros((count, count))
    for i in range(count):
        size[i] = math.sqrt(total[first + i, first + i] / unit)
    for i in range(count):
        for k in range(count):
            square[i, k] = total[first + i, first + k] / (unit * size[i] * size[k])
    cholesky(square, low, 0.0)
    invert_lower(low, inverse)
    for i in range(count):
        left[first + i] = low[i, i] * low[i, i]
        for k in range(i + 1):
            roots[first + i, first + k] = size[i] * low[i, k]
            change[first + i, roles[first + k]] = inverse[i, k] / size[k]


@folded  # type: ignore[untyped-decorator]
def _least_squares(total: Any, q: Any, roles: Any, change: Any, ols: Any, r: Any) -> None:
    """Fill the coefficients, and the row that turns the response into its residual."""
    p = ols.shape[1]
    rest, half = zeros((p,)), zeros((p,))
    # Once more: the residual of the normal equations is known exactly enough to refine them.
    for _ in range(2):
        for i in range(p):
            rest[i] = total[q + i, q + p]
            for k in range(p):
                rest[i] -= total[q + i, q + k] * ols[r, k]
        for i in range(p):
            half[i] = 0.0
            for k in range(i + 1):
                half[i] += change[q + i, roles[q + k]] * rest[k]
        for i in range(p):
            for k in range(i, p):
                ols[r, i] += change[q + k, roles[q + i]] * half[k]
    change[q + p, roles[q + p]] = 1.0
    for i in range(p):
        change[q + p, roles[q + i]] -= ols[r, i]


@folded  # type: ignore[untyped-decorator]
def _split(block: Any, q: Any, root: Any, outer: Any, within: Any) -> None:
    """Take a group's products apart: `R` and `U` by a pivoted Cholesky factor, and the rest."""
    width = len(block)
    row, largest = zeros((width,)), 0.0
    for i in range(q):
        largest = max(largest, block[i, i])
    for s in range(q):
        pivot = 0
        for i in range(q):
            if block[i, i] > block[pivot, pivot]:
                pivot = i
        if not block[pivot, pivot] > _NONE * largest:
            break
        size = math.sqrt(block[pivot, pivot])
        for i in range(width):
            row[i] = block[pivot, i] / size
        for i in range(width):
            for m in range(width):
                block[i, m] -= row[i] * row[m]
        for i in range(q):
            root[s, i] = row[i]
            block[pivot, i] = block[i, pivot] = 0.0
        for i in range(q, width):
            outer[s, i - q] = row[i]
    for i in range(width - q):
        for m in range(width - q):
            within[i, m] += block[q + i, q + m]


@folded  # type: ignore[untyped-decorator]
def _tell(root: Any, outer: Any, within: Any, n: Any, told: Any) -> None:
    """Fill what the fixed terms leave to tell variances from; all terms are orthonormal."""
    q, p = root.shape[1], len(within) - 1
    rest, kept, axes, shared = zeros((q, q)), zeros((p, p)), zeros((q + p, q + p)), zeros((q,))
    for i in range(q):
        rest[i, i] = 1.0
    for j in range(len(root)):
        for k in range(p):
            for i in range(q):
                shared[i] = 0.0
                for a in range(q):
                    shared[i] += root[j, a, i] * outer[j, a, k]
            for i in range(q):
                for m in range(q):
                    rest[i, m] -= shared[i] * shared[m] / n
    diagonalise(rest, axes, q)
    told[0] = rest[0, 0] if q else 1.0
    for i in range(q):
        told[3 + i] = axes[0, i]
    copy(within, kept)
    diagonalise(kept, axes, p)
    told[1] = within[p, p] / n
    for k in range(p):
        along = 0.0
        for i in range(p):
            along += axes[k, i] * within[i, p]
        if kept[k, k] > _LEAST_LEFT:
            told[1] -= along * along / (kept[k, k] * n)
            told[2] += 1.0
