"""A fit as text that a user of lme4 or MLwiN recognises."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.design import coordinates
from multilevel.information import fixed_tests, variance_covariance
from multilevel.solution import Solution

__all__ = ["summarise"]

#: How numbers of a table of coefficients are written.
_FORMATS = {
    "df": "{:.1f}".format,
    "t value": "{:.2f}".format,
    "Pr(>|t|)": lambda p: "<0.001" if p < 0.001 else f"{p:.3f}",
}


def summarise(fit: Solution) -> str:
    """Summary of a fit, in lines of at most about 75 characters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    criterion = "REML criterion" if fit.method == "REML" else "-2 log-likelihood"
    criteria = {"AIC": fit.aic, "BIC": fit.bic, criterion: fit.deviance}
    names = ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    loader = PackageLoader("multilevel")
    engine = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    text = engine.get_template("summary.j2").render(
        fit=fit,
        criteria=pd.DataFrame([criteria | {"df.resid": fit.n - fit.n_parameters}]),
        variances=_variances(fit),
        coefficients=fixed_tests(fit).set_axis(names, axis=1).rename_axis(None),
        formats=_FORMATS,
    )
    return text.rstrip()


def _variances(fit: Solution) -> pd.DataFrame:
    """Variances with their errors, and correlations beside them."""
    names, q = fit.design.random_names, len(fit.design.random)
    group = fit.design.group_name or "group"
    se = np.sqrt(np.diagonal(variance_covariance(fit, "expected")))
    on = [*(i == j for i, j in coordinates(q)), True]
    variance = np.append(np.diagonal(fit.random_covariance), fit.residual_variance)
    places = [*((group, name) for name in names), ("Residual", "")]
    table = pd.DataFrame(
        {"Variance": variance, "SE": se[on], "Std.Dev.": np.sqrt(variance)},
        index=pd.MultiIndex.from_tuples(places, names=["Groups", "Name"]),
    )
    below = np.where(np.tri(q, k=-1), fit.random_correlation, np.nan)
    for j in range(q - 1):
        table["Corr" + " " * j] = np.append(below[:, j], np.nan)
    return table
