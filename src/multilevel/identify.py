"""Models that the data cannot identify, refused in words before a fit is tried."""

from __future__ import annotations

import numpy as np

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.likelihood import Array, Stack

__all__ = ["constant_column", "refuse_unidentified", "refuse_without_variation"]

#: A sum of squares below this share of what it was is nothing but rounding.
_ROUNDING = 1e-12
#: Squares about the mean below this share of the raw ones have lost half their digits.
_FAR = 1e-8


def constant_column(design: DesignMoments) -> int | None:
    """Position of the constant, or None when the design stores none."""
    for i, name in enumerate(design.names):
        if name == "Intercept":
            return i
    return None


def refuse_unidentified(design: DesignMoments) -> None:
    """Raise `InputError` when the design cannot identify its fixed and random terms.

    Parameters
    ----------
    design : DesignMoments

    Raises
    ------
    InputError
        Naming the column concerned where there is one.
    """
    if not design.fixed:
        raise InputError("the model has no fixed term", hint="keep the intercept")
    total = design.total
    if not np.isfinite(total).all():
        raise InputError("the moments hold values that are not finite numbers")
    _refuse_few_patients(design)
    _refuse_dependent(design, total)
    _refuse_far_from_nil(design, total)
    if design.random:
        _refuse_groups(design)


def _refuse_few_patients(design: DesignMoments) -> None:
    if design.n_total <= len(design.fixed):
        raise InputError(
            f"{design.n_total} patients cannot identify {len(design.fixed)} fixed terms "
            "and a residual variance",
            hint="drop terms or add patients",
        )


def _spread(design: DesignMoments, total: Array, column: int) -> tuple[float, float]:
    """Sum of squares of a column, about its mean where the constant is stored, and raw."""
    raw = float(total[column, column])
    constant = constant_column(design)
    if constant is None:
        return raw, raw
    return raw - float(total[constant, column]) ** 2 / float(total[constant, constant]), raw


def _refuse_far_from_nil(design: DesignMoments, total: Array) -> None:
    """Refuse a column whose spread is lost in the rounding of its sum of squares."""
    for t in (*design.fixed, *design.random, design.response):
        about_mean, raw = _spread(design, total, t)
        if t != constant_column(design) and about_mean <= _FAR * raw:
            raise InputError(
                "its values lie so far from nil that their spread is lost in rounding",
                hint="take a constant off, as center() does for a predictor",
                column=design.names[t],
            )


def _refuse_constant(design: DesignMoments, total: Array, terms: tuple[int, ...]) -> None:
    """Name a column that is zero, or that repeats the constant."""
    constant = constant_column(design)
    for t in terms:
        about_mean, raw = _spread(design, total, t)
        if raw == 0.0:
            raise InputError(
                "the column is nil for every patient", hint="drop it", column=design.names[t]
            )
        if t != constant and constant in terms and about_mean <= _ROUNDING * raw:
            raise InputError(
                "the column has the same value for every patient",
                hint="drop it: the intercept stands for it already",
                column=design.names[t],
            )


def _first_predicted(total: Array, columns: tuple[int, ...]) -> int | None:
    """Sweep the columns in order; the first that earlier ones predict exactly, or None."""
    square = total[np.ix_(columns, columns)]
    size = np.sqrt(np.diagonal(square))
    square = square / np.outer(size, size)
    for i, column in enumerate(columns):
        if square[i, i] <= _ROUNDING:
            return column
        square = square - np.outer(square[:, i], square[i] / square[i, i])
    return None


def _refuse_dependent(design: DesignMoments, total: Array) -> None:
    about_mean, raw = _spread(design, total, design.response)
    if about_mean <= _ROUNDING * raw:
        raise InputError(
            "every patient has the same response", column=design.names[design.response]
        )
    for part, terms in (("fixed", design.fixed), ("random", design.random)):
        _refuse_constant(design, total, terms)
        # The response is swept last, with the fixed terms.
        swept = (*terms, design.response) if part == "fixed" else terms
        predicted = _first_predicted(total, swept)
        if predicted == design.response:
            raise InputError(
                "the fixed terms predict the response without error, so there is no residual "
                "variance",
                hint="leave out the term that repeats the response",
                column=design.names[design.response],
            )
        if predicted is not None:
            raise InputError(
                f"the {part} terms before this one predict it exactly, "
                "so the model is not identified",
                hint="drop it, or one of those it depends on",
                column=design.names[predicted],
            )


def _refuse_groups(design: DesignMoments) -> None:
    groups, terms = len(design.groups), len(design.random)
    name = design.group_name or None
    if groups < 2:
        raise InputError(
            "one therapist says nothing about how therapists differ",
            hint="leave out the random part",
            column=name,
        )
    if groups < terms:
        raise InputError(
            f"{groups} therapists cannot identify {terms} random terms",
            hint="drop random terms",
            column=name,
        )
    if int(design.n.max()) <= 1:
        raise InputError(
            "no therapist has more than one patient, so differences between therapists cannot "
            "be told from differences between patients",
            hint="leave out the random part",
            column=name,
        )


def refuse_without_variation(design: DesignMoments, stack: Stack) -> None:
    """Raise `InputError` when nothing is left to estimate a variance from.

    Neither within groups, for the residual, nor between them, once the fixed terms are taken
    out, for a random term.

    Parameters
    ----------
    design : DesignMoments
    stack : Stack
        The same design, standardised, alone in its stack.
    """
    p, total = stack.p, float(stack.n[0])
    _refuse_saturated(design, stack)
    inner = np.linalg.eigvalsh(_inner(stack))
    ranks = int((inner > 1e-10 * inner[:, -1:]).sum())
    values, vectors = np.linalg.eigh(stack.within[0, :p, :p])
    real = values > 1e-10
    left = int(design.n_total) - ranks - int(real.sum())
    if left <= 0:
        raise InputError(
            "caseloads are too small for these random terms: nothing is left within therapists "
            "to estimate the residual variance from",
            hint="drop random terms",
            column=design.group_name or None,
        )
    pull = (vectors.T @ stack.within[0, :p, p])[real]
    rest = float(stack.within[0, p, p] - (pull**2 / values[real]).sum())
    if rest <= _ROUNDING * total:
        raise InputError(
            "within therapists the model predicts the response without error, so there is no "
            "residual variance",
            column=design.names[design.response],
        )


def _inner(stack: Stack) -> Array:
    """Cross-products of the random terms in each group, shape (J, q, q)."""
    out: Array = stack.root[0].swapaxes(-1, -2) @ stack.root[0]
    return out


def _refuse_saturated(design: DesignMoments, stack: Stack) -> None:
    """Refuse random terms that vary only as the fixed terms already let them."""
    inner = _inner(stack)
    shared = stack.root[0].swapaxes(-1, -2) @ stack.outer[0, :, :, : stack.p]
    # The fixed terms are orthonormal here, so this is what they leave of the random ones.
    left = (inner - shared @ shared.swapaxes(-1, -2)).sum(axis=0)
    if np.linalg.eigvalsh(left)[0] <= 1e-10 * float(stack.n[0]):
        raise InputError(
            "the fixed terms already tell every therapist from every other, so that nothing is "
            "left to estimate a variance between therapists from",
            hint="leave out the random part, or the fixed terms that stand for therapists",
            column=design.group_name or None,
        )
