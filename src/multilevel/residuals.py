"""Groups' residuals, their three standard errors and their joint covariance."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from multilevel.likelihood import Array
from multilevel.solution import Solution

#: Kinds of standard errors, and with which sign the fixed part's uncertainty enters them.
_SIGNS: dict[str, float] = {"conditional": 0.0, "comparative": 1.0, "diagnostic": -1.0}

ErrorKind: TypeAlias = Literal["conditional", "comparative", "diagnostic"]


def term_position(names: tuple[str, ...], term: str | None) -> int:
    """Position of a random term among the random terms; the first unless named."""
    if not names:
        raise InputError("the model has no random term, so there are no residuals of groups")
    if term is None:
        return 0
    if term not in names:
        hint = f"choose from {', '.join(names)}"
        raise InputError(f"there is no random term {term!r}", hint=hint)
    return names.index(term)


def _pieces(fit: Solution, name: str | None) -> tuple[Array, Array, Array, float]:
    """Residuals, conditional variances and fixed-part loadings of a term, and its variance.

    All relative to the residual variance but the residuals. With ``g`` the term's row of the
    relative covariance, the residual is ``g e_j`` and its pull on the fixed part ``g Z'V^-1 X``.
    """
    parts, term = fit.ingredients, term_position(fit.design.random_names, name)
    row = parts.relative[term]
    explained = np.einsum("i,jik,k->j", row, parts.c, row)
    return parts.e @ row, explained, np.einsum("i,jip->jp", row, parts.cx), float(row[term])


def covariance_parts(
    fit: Solution, term: str | None = None, se: str = "comparative"
) -> tuple[Array, Array, float]:
    """Split the covariance of a term's residuals, without forming the J x J matrix.

    Returns
    -------
    own : array of shape (J,)
        Each group's own variance.
    shared : array of shape (J, p)
        The fixed part's uncertainty.
    sign : float
        The covariance is ``diag(own) + sign * shared @ shared.T``.
    """
    _, explained, loading, prior = _pieces(fit, term)
    values, vectors = np.linalg.eigh(fit.ingredients.inverse)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    own = explained if se == "diagnostic" else np.maximum(prior - explained, 0.0)
    unit = fit.residual_variance
    return unit * own, np.sqrt(unit) * (loading @ root), _SIGNS[se]


def residual_table(
    fit: Solution, term: str | None, se: str, multiplier: float, lower_is_better: bool
) -> pd.DataFrame:
    """Residuals by group: n, residual, se, lower, upper, rank, shrinkage."""
    residual, explained, _, prior = _pieces(fit, term)
    own, shared, sign = covariance_parts(fit, term, se)
    error = np.sqrt(np.maximum(own + sign * (shared**2).sum(axis=1), 0.0))
    shrinkage = explained / prior if prior > 0 else np.zeros_like(explained)
    limits = ranked(residual, error, multiplier, lower_is_better)
    index = pd.Index(fit.design.groups, name=fit.design.group_name or None)
    return pd.DataFrame({"n": fit.design.n, **limits, "shrinkage": shrinkage}, index=index)


def ranked(
    residual: Array, error: Array, multiplier: float, lower_is_better: bool
) -> dict[str, Array]:
    """Columns of a table of residuals: residual, se, lower, upper and rank, 1 the best."""
    from scipy.stats import rankdata

    if not 0 < multiplier < np.inf:
        raise InputError("the multiplier of a standard error is not a positive number")
    # Of groups with the same rows only rounding, and so their order, would break the tie.
    signed = (residual if lower_is_better else -residual) / (np.std(residual) or 1.0)
    return {
        "residual": residual,
        "se": error,
        "lower": residual - multiplier * error,
        "upper": residual + multiplier * error,
        "rank": rankdata(np.round(signed, 9)),
    }
