"""A fit as text that a user of lme4 or MLwiN recognises."""

from __future__ import annotations

import numpy as np
import pandas as pd

from multilevel.design import coordinates
from multilevel.information import fixed_tests, variance_covariance
from multilevel.partition import partition_coefficient
from multilevel.solution import Solution

__all__ = ["summarise"]


def summarise(fit: Solution) -> str:
    """Summary of a fit, in lines of at most about 75 characters."""
    blocks = [_heading(fit), _criteria(fit), _random_part(fit), _fixed_part(fit), _closing(fit)]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _heading(fit: Solution) -> list[str]:
    by = "maximum likelihood" if fit.method == "ML" else "REML"
    kind = "Linear mixed model" if fit.design.random else "Single-level linear model"
    lines = [f"{kind} fit by {by}"]
    if fit.design.formula:
        lines.append(f"Formula: {fit.design.formula}")
    return lines


def _criteria(fit: Solution) -> list[str]:
    name = "-2 log-likelihood" if fit.method == "ML" else "REML criterion"
    left = fit.n - fit.n_parameters
    return [
        f"{'AIC':>10} {'BIC':>10} {name:>18} {'df.resid':>10}",
        f"{fit.aic:10.1f} {fit.bic:10.1f} {fit.deviance:18.3f} {left:10d}",
    ]


def _random_part(fit: Solution) -> list[str]:
    names, q = fit.design.random_names, len(fit.design.random)
    group = fit.design.group_name or "group"
    se = np.sqrt(np.diagonal(variance_covariance(fit, "expected")))
    on = [t for t, (i, j) in enumerate(coordinates(q)) if i == j]
    variance = [*np.diagonal(fit.random_covariance), fit.residual_variance]
    correlation = fit.random_correlation.to_numpy()
    rows = pd.DataFrame(
        {
            "Groups": [*[group, *[""] * q][:q], "Residual"],
            "Name": [*names, ""],
            "Variance": [f"{v:.4g}" for v in variance],
            "(SE)": [f"({v:.3g})" for v in [*se[on], se[-1]]],
            "Std.Dev.": [f"{v:.4g}" for v in np.sqrt(variance)],
        }
    )
    for j in range(q - 1):
        below = ["" if i <= j else f"{correlation[i, j]:.2f}" for i in range(q)]
        rows["Corr" if j == 0 else " " * j] = [*below, ""]
    count = f"Number of obs: {fit.n}" + (f", groups: {group}, {fit.n_groups}" if names else "")
    return ["Random effects:", _aligned(rows, 2), count]


def _fixed_part(fit: Solution) -> list[str]:
    table = fixed_tests(fit)
    rows = pd.DataFrame({"": table.index})
    for name, column, how in (
        ("Estimate", "estimate", "{:.4g}"),
        ("Std. Error", "se", "{:.4g}"),
        ("df", "df", "{:.1f}"),
        ("t value", "t", "{:.2f}"),
    ):
        rows[name] = [how.format(v) for v in table[column]]
    rows["Pr(>|t|)"] = ["<0.001" if p < 0.001 else f"{p:.3f}" for p in table["p_value"]]
    return ["Fixed effects:", _aligned(rows, 1)]


def _aligned(rows: pd.DataFrame, left: int) -> str:
    """Text columns to the left, the others to the right."""
    lines = [list(rows), *rows.to_numpy().tolist()]
    wide = [max(len(str(line[i])) for line in lines) for i in range(rows.shape[1])]
    return "\n".join(
        " " + " ".join(f"{v:{'<' if i < left else '>'}{wide[i] + 1}}" for i, v in enumerate(line))
        for line in lines
    )


def _closing(fit: Solution) -> list[str]:
    lines, spread = [], fit.spread
    if spread is not None:
        lines = [
            f"Residual SD: sigma, the residual's above, by {spread.text} to delta",
            f"delta: {spread.delta:.4g} (SE {spread.se:.2g}); likelihood ratio against delta = 0: "
            f"{spread.ratio:.2f} on 1 df",
        ]
    if not fit.design.random:
        return lines
    lines.append(f"Variance partition coefficient at the mean: {partition_coefficient(fit):.4f}")
    if fit.singular:
        lines.append("The fit is singular: a variance is zero or a correlation is one.")
    if not fit.converged:
        lines.append("The optimum is NOT certified: see .certificate.")
    lines.append("Standard errors of variances: expected information, as MLwiN.")
    return [*lines, "Degrees of freedom: Satterthwaite, as lmerTest."]
