"""A fit as text that a user of lme4 or MLwiN recognises."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.design import coordinates
from multilevel.information import fixed_tests, variance_covariance
from multilevel.partition import partition_coefficient
from multilevel.solution import Solution


def summarise(fit: Solution) -> str:
    """Summary of a fit, in lines of at most about 75 characters."""
    blocks = _heading(fit), _random_part(fit), _fixed_part(fit), _closing(fit)
    return "\n\n".join(block for block in blocks if block)


def _heading(fit: Solution) -> str:
    names = {"ML": ("maximum likelihood", "-2 log-likelihood"), "REML": ("REML", "REML criterion")}
    by, name = names[fit.method]
    kind = "Linear mixed model" if fit.design.random else "Single-level linear model"
    formula = f"\nFormula: {fit.design.formula}" if fit.design.formula else ""
    criteria = {"AIC": fit.aic, "BIC": fit.bic, name: fit.deviance}
    row = pd.DataFrame([criteria | {"df.resid": fit.n - fit.n_parameters}])
    return f"{kind} fit by {by}{formula}\n\n{row.to_string(index=False, float_format='%.3f')}"


def _random_part(fit: Solution) -> str:
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
    count = f"Number of obs: {fit.n}" + (f", groups: {group}, {fit.n_groups}" if names else "")
    return f"Random effects:\n{table.to_string(float_format='%.4g', na_rep='')}\n{count}"


def _fixed_part(fit: Solution) -> str:
    names = ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    table = fixed_tests(fit).set_axis(names, axis=1).rename_axis(None)
    shown = "{:.1f}".format, "{:.2f}".format, lambda p: "<0.001" if p < 0.001 else f"{p:.3f}"
    how = dict(zip(names[2:], shown, strict=True))
    return f"Fixed effects:\n{table.to_string(float_format='%.4g', formatters=how)}"


def _closing(fit: Solution) -> str:
    lines, spread = [], fit.spread
    if spread is not None:
        lines = [
            f"Residual SD: sigma, the residual's above, by {spread.text} to delta",
            f"delta: {spread.delta:.4g} (SE {spread.se:.2g}); likelihood ratio against delta = 0: "
            f"{spread.ratio:.2f} on 1 df",
        ]
    if fit.design.random:
        share = partition_coefficient(fit)
        lines.append(f"Variance partition coefficient at the mean: {share:.4f}")
        if fit.singular:
            lines.append("The fit is singular: a variance is zero or a correlation is one.")
        if not fit.converged:
            lines.append("The optimum is NOT certified: see .certificate.")
        lines.append("Standard errors of variances: expected information, as MLwiN.")
        lines.append("Degrees of freedom: Satterthwaite, as lmerTest.")
    return "\n".join(lines)
