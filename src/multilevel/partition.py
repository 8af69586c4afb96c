"""How the variance divides between groups and rows, and where on a predictor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multilevel.design import DesignMoments, value_of
from multilevel.draws import tail_of
from multilevel.errors import InputError
from multilevel.likelihood import Array, symmetric_basis
from multilevel.solution import Solution

#: Terms at a place are nearer to zero than this, so that their products are numbers too.
_FARTHEST = 1e100


def random_row(
    design: DesignMoments, at: Mapping[str, float] | str | None, further: Iterable[str] = ()
) -> Array:
    """Values of the random terms at a point, shape (q,); at the predictors' means unless given.

    A point may have values of `further` variables, on which the residual variance depends.
    """
    if at is None or (isinstance(at, str) and at == "mean"):
        at = {}
    if not isinstance(at, Mapping):
        raise InputError("this is no place", hint='give "mean" or values by predictor')
    random = [design.polynomials[i] for i in design.random] if design.polynomials else []
    variables = (name for terms in random for key in terms for name in key)
    known = tuple(dict.fromkeys((*variables, *further)))
    for name, value in at.items():
        if not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise InputError("a place needs numbers", column=str(name))
        if name not in known:
            raise InputError(
                "the variance between groups does not depend on this predictor in this model",
                hint=f"choose from {', '.join(known)}" if known else "leave it out",
                column=name,
            )
    if not design.polynomials:
        return design.random_means(design.total)
    return np.array([value_of(p, {**design.means, **at}) for p in random], dtype=float)


def near(row: Array) -> Array:
    """Refuse a place at which a variance is no number."""
    if not (np.abs(row) < _FARTHEST).all():
        raise InputError("this place is too far from the data", hint="give one among them")
    return row


def _variances(fit: Solution, at: Mapping[str, float] | str | None) -> tuple[Array, float, float]:
    """Values of the random terms at a point, the variance between groups and the residual one."""
    if not fit.design.random:
        raise InputError("the model has no random term, so there is no variance between groups")
    row = near(random_row(fit.design, at, fit.spread.means if fit.spread else ()))
    between = fit.residual_variance * float(row @ fit.ingredients.relative @ row)
    residual = fit.residual_variance
    if fit.spread:
        residual *= fit.spread.factor(at if isinstance(at, Mapping) else {})
    return row, between, residual


def partition_coefficient(fit: Solution, at: Mapping[str, float] | str | None = None) -> float:
    """Share of the variance that lies between groups at a point."""
    _, between, residual = _variances(fit, at)
    return between / (between + residual)


def partition_curve(fit: Solution, variable: str, values: ArrayLike, level: float) -> pd.DataFrame:
    """Variance partition coefficient over values of a predictor, with pointwise intervals."""
    from scipy.special import expit, logit
    from scipy.stats import norm

    from multilevel.information import variance_covariance

    width = float(norm.isf(tail_of(level)))
    sampling = variance_covariance(fit, "expected")
    neighbours = fit.spread.neighbours if fit.spread else ()
    records = []
    for value in np.ravel(np.asarray(values, dtype=float)).tolist():
        at = {variable: value}
        row, between, residual = _variances(fit, at)
        slope = row @ symmetric_basis(len(row)) @ row
        # The logit of the coefficient is log(between) - log(residual).
        error = np.nan
        if between:
            gradient = np.array([*(slope / between), -1.0 / fit.residual_variance])
            # From one standard error below delta to above. The other parameters follow delta, so
            # that half of this is delta's whole part of the standard error.
            change = np.diff(logit([partition_coefficient(one, at) for one in neighbours])).sum()
            error = np.sqrt(gradient @ sampling @ gradient + (change / 2.0) ** 2)
        share = between / (between + residual)
        low, high = expit(logit(share) + np.array([-width, width]) * error)
        records.append((value, between, share, float(low), float(high)))
    return pd.DataFrame(records, columns=[variable, "group_variance", "vpc", "lower", "upper"])
