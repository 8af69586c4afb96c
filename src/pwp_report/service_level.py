"""Services as a third level, where there are enough of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from multilevel.fit import fit_mixed
from multilevel.nested import NestedFit
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_report.wording import refusal

__all__ = ["LEAST_SERVICES", "fit_services", "service_effects"]

#: Services with two therapists or more that a variance between services takes.
LEAST_SERVICES = 5


def fit_services(
    patients: pd.DataFrame, measure: Measure, measures: Sequence[Measure]
) -> NestedFit:
    """Fit patients in therapists in services, random intercepts, by maximum likelihood.

    Raises
    ------
    InputError
        If services are not recorded, or fewer than `LEAST_SERVICES` have two therapists or more.
    """
    if "service_id" not in patients:
        raise refusal("services_unknown")
    sizes = patients.groupby("service_id")["therapist_id"].nunique()
    if int((sizes > 1).sum()) < LEAST_SERVICES:
        raise refusal("services_few", least=LEAST_SERVICES)
    formula = model_formula(measure, measures, "intercept")
    found = fit_mixed(formula.replace("(1 | ", "(1 | service_id/"), patients)
    assert isinstance(found, NestedFit)  # the formula has a unit above the group
    return found


def service_effects(fit: NestedFit) -> pd.DataFrame:
    """Share of the variance at each level, with its profile interval: ``level, vpc``, bounds."""
    rows = []
    for level, words in zip(fit.levels, ("services", "therapists of a service"), strict=True):
        found = fit.profile_interval(level)
        rows.append((words, fit.vpc(level), found.lower, found.upper))
    return pd.DataFrame(rows, columns=["level", "vpc", "vpc_lower", "vpc_upper"])
