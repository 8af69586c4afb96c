"""The same model by statsmodels, as a cross-check and never as the source of a figure."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd

from multilevel.errors import InputError
from multilevel.formula import parse_formula
from multilevel.mixed import fit_mixed

__all__ = ["crosscheck_statsmodels"]


def crosscheck_statsmodels(formula: str, data: pd.DataFrame) -> pd.DataFrame:
    """Fit a model by this library and by statsmodels, and set the results side by side.

    Both deviances are of the same likelihood, so the lower one is closer to its maximum.
    statsmodels' warnings are counted in the table and not shown.

    Parameters
    ----------
    formula : str
        With random terms, as for `fit_mixed`.
    data : DataFrame

    Returns
    -------
    DataFrame
        Columns ``pwp_lib`` and ``statsmodels``; rows ``deviance``, the fixed terms, the variances
        of the random terms, ``residual variance``, ``converged`` (1 or 0) and ``warnings``.

    Raises
    ------
    InputError
        If the formula has no random term.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> g = np.repeat(np.arange(12), 20)
    >>> d = pd.DataFrame({"g": g, "x": rng.normal(size=240)})
    >>> d["y"] = d["x"] + rng.normal(size=12)[g] + rng.normal(size=240)
    >>> table = crosscheck_statsmodels("y ~ x + (1 | g)", d)
    >>> bool(abs(table.loc["deviance"].diff().iloc[-1]) < 1e-4)
    True
    """
    parsed = parse_formula(formula)
    if not parsed.group:
        raise InputError("a cross-check of a multilevel model needs a random term")
    ours = fit_mixed(formula, data, method="ML")
    theirs, raised = _statsmodels(formula, data, parsed.group)
    random = list(ours.design.random_names)
    variances = [float(v) for v in ours.random_covariance.to_numpy().diagonal()]
    their_variances = [float(v) for v in pd.DataFrame(theirs.cov_re).to_numpy().diagonal()]
    rows: dict[str, tuple[float, float]] = {"deviance": (ours.deviance, -2 * float(theirs.llf))}
    estimates = ours.fixed["estimate"]
    for name, value in zip(estimates.index, theirs.fe_params, strict=True):
        rows[str(name)] = (float(estimates[name]), float(value))
    for i, name in enumerate(random):
        rows[f"variance of {name}"] = (variances[i], their_variances[i])
    rows["residual variance"] = (ours.residual_variance, float(theirs.scale))
    rows["converged"] = (float(ours.converged), float(theirs.converged))
    rows["warnings"] = (0.0, float(raised))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["pwp_lib", "statsmodels"])


def _statsmodels(formula: str, data: pd.DataFrame, group: str) -> tuple[Any, int]:
    """Fit by MixedLM on the same design; the fit and the number of warnings that it gave."""
    from formulae import design_matrices
    from statsmodels.regression.mixed_linear_model import MixedLM

    fixed = formula.split("+ (")[0]
    bar = formula[formula.rindex("(") + 1 : formula.rindex("|")]
    columns = design_matrices(fixed, data.dropna(subset=[group]))
    random = design_matrices(f"{fixed.split('~')[0]} ~ {bar}", data.dropna(subset=[group]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MixedLM(
            columns.response.design_matrix,
            columns.common.design_matrix,
            data[group].to_numpy(),
            exog_re=random.common.design_matrix,
        )
        fit = model.fit(reml=False)
    return fit, len(caught)
