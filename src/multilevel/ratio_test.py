"""Likelihood-ratio tests between nested fits, with and without regard to the boundary."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.solution import Solution

#: Deviances that differ by less are the same.
_ROUNDING = 1e-8


class LikelihoodRatioTest(NamedTuple):
    """A likelihood-ratio test.

    Attributes
    ----------
    statistic : float
        Fall in deviance from the smaller to the larger fit.
    df : int
        Parameters that the larger fit adds, delta of a residual spread among them.
    p_value : float
        On chi-square with `df` degrees of freedom.
    p_value_boundary : float
        On the half-and-half mixture that holds when one random term is added, since its variance
        under the smaller fit lies on the boundary. Equal to `p_value` when no random term is
        added; NaN when more than one is, for which no simple mixture holds.
    """

    statistic: float
    df: int
    p_value: float
    p_value_boundary: float

    def table(self) -> pd.DataFrame:
        """Return the test as a table of one row."""
        return pd.DataFrame([self])


def likelihood_ratio_test(smaller: Solution, larger: Solution) -> LikelihoodRatioTest:
    """Test whether the larger model fits better than the smaller one nested in it.

    Parameters
    ----------
    smaller, larger : MixedFit
        Fits to the same rows by the same method.

    Returns
    -------
    LikelihoodRatioTest

    Raises
    ------
    InputError
        If the data or the methods differ, the models are not nested (their residual spreads
        included), or REML fits differ in their fixed parts.

    Examples
    --------
    >>> from multilevel.fit import fit_design
    >>> columns = {"Intercept": [1] * 6}
    >>> y, g = [5, 7, 9, 1, 2, 3], ["a", "a", "a", "b", "b", "b"]
    >>> single = fit_design(DesignMoments.from_arrays(y, columns, [], g))
    >>> nested = fit_design(DesignMoments.from_arrays(y, columns, ["Intercept"], g))
    >>> test = likelihood_ratio_test(single, nested)
    >>> round(test.statistic, 4), test.df, round(test.p_value_boundary, 4)
    (2.8863, 1, 0.0447)
    """
    _refuse_incomparable(smaller, larger)
    df = larger.n_parameters - smaller.n_parameters
    added = len(larger.design.random) - len(smaller.design.random)
    return boundary_test(smaller.deviance - larger.deviance, df, added)


def boundary_test(change: float, df: int, added: int) -> LikelihoodRatioTest:
    """Test a change in deviance.

    Parameters
    ----------
    change : float
        From the smaller to the larger fit.
    df : int
        Parameters that the larger fit adds.
    added : int
        How many random terms are among them.
    """
    from scipy.stats import chi2

    # Where nothing is gained two optima differ in their last digits, either way.
    statistic = change if change > _ROUNDING else 0.0
    p_value = float(chi2.sf(statistic, df))
    less = float(chi2.sf(statistic, df - 1)) if df > 1 else float(statistic <= 0.0)
    boundary = {0: p_value, 1: 0.5 * less + 0.5 * p_value}.get(added, float("nan"))
    return LikelihoodRatioTest(statistic, df, p_value, boundary)


def _refuse_incomparable(smaller: Solution, larger: Solution) -> None:
    if smaller.method != larger.method:
        raise InputError("one fit is by ML and the other by REML", hint="fit both by one method")
    # A spread divides the rows; which rows and terms there are is seen from them undivided.
    one, other = (fit.spread.plain if fit.spread else fit.design for fit in (smaller, larger))
    if not _same_data(one, other):
        raise InputError("the two fits are to different rows or responses")
    if smaller.spread and not (larger.spread and smaller.spread.same_as(larger.spread)):
        raise InputError(
            "the smaller model has a residual spread that the larger one has not, so that it is "
            "not nested in it",
            hint="give both fits the same spread, or compare their aic",
        )
    for part in ("fixed", "random"):
        _refuse_outside(one, other, part)
    if smaller.n_parameters == larger.n_parameters:
        raise InputError("the two models are the same", hint="give two that differ")
    names = set(smaller.design.fixed_names), set(larger.design.fixed_names)
    if smaller.method == "REML" and names[0] != names[1]:
        raise InputError(
            "REML fits with different fixed parts cannot be compared by their likelihoods",
            hint="fit both by ML",
        )


def _refuse_outside(smaller: DesignMoments, larger: DesignMoments, part: str) -> None:
    """Refuse a column of the smaller model that no columns of the larger one make up."""
    for column in getattr(smaller, part):
        if not _in_span(smaller, column, larger, getattr(larger, part)):
            raise InputError(
                f"the smaller model is not nested in the larger one: its {part} term "
                f"{smaller.names[column]} is no combination of the larger one's {part} terms, "
                "as far as the formulas and the moments tell",
                hint="every term of the smaller must be in the larger; give the smaller one first",
            )


def _in_span(
    smaller: DesignMoments, column: int, larger: DesignMoments, terms: tuple[int, ...]
) -> bool:
    """Whether the column is a combination of the terms whatever the rows: x of 1 and x - 10."""
    if not (smaller.polynomials and larger.polynomials and terms):
        return False
    wanted = smaller.polynomials[column]
    basis = [larger.polynomials[t] for t in terms]
    keys = sorted({key for polynomial in (wanted, *basis) for key in polynomial})
    table = np.array([[p.get(key, 0.0) for key in keys] for p in (*basis, wanted)])
    # Each monomial in its own unit, or a year's square would drown everything else.
    table = table / np.maximum(np.abs(table).max(axis=0), np.finfo(float).tiny)
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    weights = np.linalg.lstsq(table[:-1].T, table[-1], rcond=None)[0]
    return bool(np.linalg.norm(weights @ table[:-1] - table[-1]) < 1e-8)


def _same_data(a: DesignMoments, b: DesignMoments) -> bool:
    """Whether two designs hold the same rows and response, as far as moments tell."""
    if a.n_total != b.n_total or a.names[a.response] != b.names[b.response]:
        return False
    shared = [name for name in a.names if name in b.names]
    left, right = [a.names.index(s) for s in shared], [b.names.index(s) for s in shared]
    one, two = a.total[np.ix_(left, left)], b.total[np.ix_(right, right)]
    size = np.sqrt(np.outer(np.diagonal(one), np.diagonal(one)))
    if not np.allclose(one, two, rtol=0.0, atol=1e-9 * float(size.max(initial=0.0))):
        return False
    return not (a.random and b.random) or np.array_equal(np.sort(a.n), np.sort(b.n))
