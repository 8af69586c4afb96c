"""Models that the data cannot identify, refused in words before a fit is tried."""

from __future__ import annotations

import numpy as np

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.likelihood import Array, Stack, standardise

__all__ = ["design_stack", "identified_stack"]

#: A sum of squares below this share of what it was is nothing but rounding.
_ROUNDING = 1e-12
#: Squares about the mean below this share of the raw ones are rounding in the values themselves,
#: and where only raw products are known, have lost half their digits.
_SAME, _FAR = 1e-26, 1e-8


def identified_stack(design: DesignMoments, reml: bool) -> Stack:
    """Standardise a design, refused in words where its model is not identified.

    Parameters
    ----------
    design : DesignMoments
    reml : bool

    Raises
    ------
    InputError
        As `design_stack` says; also for groups or rows too few to estimate the variances from.
    """
    stack = design_stack(design, reml)
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
    if not np.isfinite(design.total).all():
        raise InputError("the moments hold values that are not finite numbers")
    if design.n_total <= len(design.fixed):
        raise InputError(
            f"{design.n_total} rows cannot identify {len(design.fixed)} fixed terms "
            "and a residual variance",
            hint="drop terms or add rows",
        )
    for column in (*design.fixed, *design.random, design.response):
        _refuse_constant(design, column)
    for part, terms in (("fixed", design.fixed), ("random", design.random)):
        _refuse_dependent(design, part, terms)
    return standardise(
        design.products[None],
        np.array([float(design.n_total)]),
        design.fixed,
        design.random,
        design.response,
        reml,
        uncentring=design.uncentring,
    )


def _refuse_constant(design: DesignMoments, column: int) -> None:
    """Refuse a column that is zero, or the same in every row as far as rounding lets tell."""
    name, constant = design.names[column], design.constant
    squares = about = float(design.total[column, column])
    if squares == 0.0 and column != design.response:
        raise InputError("the column is zero in every row", hint="drop it", column=name)
    if constant in (None, column):
        return
    about_centre = design.centred is not None and design.centres[column] != 0.0
    if about_centre:
        about = float(design.products[:, column, column].sum())
    else:
        about -= float(design.total[constant, column]) ** 2 / float(
            design.total[constant, constant]
        )
    same = _SAME if about_centre else _ROUNDING
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


def _refuse_dependent(design: DesignMoments, part: str, terms: tuple[int, ...]) -> None:
    # The response is swept last, with the fixed terms.
    swept = (*terms, design.response) if part == "fixed" else terms
    predicted = _first_predicted(design.products.sum(axis=0), swept)
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
    p, root = stack.p, stack.root[0]
    inner = root.swapaxes(-1, -2) @ root
    shared = root.swapaxes(-1, -2) @ stack.outer[0, :, :, :p]
    # The fixed terms are orthonormal here, so this is what they leave of the random ones.
    left = (inner - shared @ shared.swapaxes(-1, -2)).sum(axis=0)
    if np.linalg.eigvalsh(left)[0] <= 1e-10 * design.n_total:
        raise InputError(
            "the fixed terms already tell every group from every other, so that nothing is left "
            "to estimate a variance between groups from",
            hint="leave out the random part, or the fixed terms that stand for groups",
            column=design.group_name or None,
        )
    sizes = np.linalg.eigvalsh(inner)
    values, vectors = np.linalg.eigh(stack.within[0, :p, :p])
    real = values > 1e-10
    if design.n_total <= int((sizes > 1e-10 * sizes[:, -1:]).sum()) + int(real.sum()):
        raise InputError(
            "the groups are too small for these random terms: nothing is left within groups to "
            "estimate the residual variance from",
            hint="drop random terms",
            column=design.group_name or None,
        )
    pull = (vectors.T @ stack.within[0, :p, p])[real]
    rest = float(stack.within[0, p, p] - (pull**2 / values[real]).sum())
    if rest <= _ROUNDING * design.n_total:
        raise InputError(
            "within groups the model predicts the response without error, so there is no "
            "residual variance",
            column=design.names[design.response],
        )
