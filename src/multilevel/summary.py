"""A fit as text that a user of lme4 or MLwiN recognises."""

from __future__ import annotations

import numpy as np

from multilevel.design import coordinates
from multilevel.information import variance_covariance
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
    names = fit.design.random_names
    se = np.sqrt(np.diagonal(variance_covariance(fit, "expected")))
    covariance = fit.random_covariance.to_numpy()
    correlation = fit.random_correlation.to_numpy()
    on = [t for t, (i, j) in enumerate(coordinates(len(names))) if i == j]
    wide = max(12, *(len(n) for n in (*names, "Residual")))
    group = fit.design.group_name or "group"
    across = max(len(group), 8)
    lines = [
        "Random effects:",
        f" {'Groups':<{across}} {'Name':<{wide}} {'Variance':>10} {'(SE)':>10} {'Std.Dev.':>9}"
        + ("  Corr" if len(names) > 1 else ""),
    ]
    for i, name in enumerate(names):
        corr = "".join(f" {correlation[i, j]:6.2f}" for j in range(i))
        variance = covariance[i, i]
        lines.append(
            f" {group if i == 0 else '':<{across}} {name:<{wide}} {variance:>10.4g} "
            f"{f'({se[on[i]]:.3g})':>10} {np.sqrt(variance):>9.4g}{corr}"
        )
    residual = fit.residual_variance
    lines.append(
        f" {'Residual':<{across}} {'':<{wide}} {residual:>10.4g} {f'({se[-1]:.3g})':>10} "
        f"{np.sqrt(residual):>9.4g}"
    )
    count = f"Number of obs: {fit.n}"
    lines.append(count + (f", groups: {group}, {fit.n_groups}" if names else ""))
    return lines


def _fixed_part(fit: Solution) -> list[str]:
    table = fit.fixed
    wide = max(len(str(name)) for name in table.index)
    lines = [
        "Fixed effects:",
        f" {'':<{wide}} {'Estimate':>10} {'Std. Error':>10} {'z value':>9} {'Pr(>|z|)':>9}",
    ]
    for name, row in zip(table.index, table.to_numpy(), strict=True):
        estimate, se, z, p = (float(v) for v in row)
        chance = f"{p:9.3f}" if p >= 0.001 else f"{'<0.001':>9}"
        lines.append(f" {name:<{wide}} {estimate:>10.4g} {se:>10.4g} {z:>9.2f} {chance}")
    return lines


def _closing(fit: Solution) -> list[str]:
    if not fit.design.random:
        return []
    lines = [f"Variance partition coefficient at the mean: {partition_coefficient(fit):.4f}"]
    if fit.singular:
        lines.append("The fit is singular: a variance is zero or a correlation is one.")
    if not fit.converged:
        lines.append("The optimum is NOT certified: see .certificate.")
    lines.append("Standard errors of variances: expected information, as MLwiN.")
    return lines
