"""Services as a third level, where there are enough of them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from multilevel.fit import fit_mixed
from multilevel.nested import NestedFit
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_report.case_mix import FIRST, WITH_MIX, CaseMixRows
from pwp_report.wording import refusal

#: Services with two therapists or more that a variance between services takes.
LEAST_SERVICES = 5


def fit_services(
    mix: CaseMixRows, measure: Measure, measures: Sequence[Measure], adjusted_for: str = FIRST
) -> NestedFit:
    """Fit patients in therapists in services, random intercepts, by maximum likelihood.

    Parameters
    ----------
    mix : CaseMixRows
        Patients, and the terms of their case mix.
    measure : Measure
    measures : sequence of Measure
        Whose first scores are in the model.
    adjusted_for : {"first scores", "first scores and case mix"}

    Raises
    ------
    InputError
        If services are not recorded, or fewer than `LEAST_SERVICES` have two therapists or more,
        those that terms of services use up not counted.
    """
    terms, patients = [*mix.terms] if adjusted_for == WITH_MIX else [], mix.rows
    if "service_id" not in patients:
        raise refusal("services_unknown")
    sizes = patients.groupby("service_id")["therapist_id"].nunique()
    more = len(mix.of_services) if terms else 0
    if int((sizes > 1).sum()) < LEAST_SERVICES + more:
        raise refusal("services_of_terms" if more else "services_few", least=LEAST_SERVICES + more)
    formula = model_formula(measure, measures, "intercept", extra=terms)
    found = fit_mixed(formula.replace("(1 | ", "(1 | service_id/"), patients)
    assert isinstance(found, NestedFit)  # the formula has a unit above the group
    return found


def service_effects(fits: Mapping[str, NestedFit]) -> pd.DataFrame:
    """Share of the variance at each level, with its profile interval.

    Parameters
    ----------
    fits : mapping of str to NestedFit
        By what is adjusted for: nothing but first scores, then the case mix, if it was asked for.
    """
    rows = []
    for adjusted_for, fit in fits.items():
        for level, words in zip(fit.levels, ("services", "therapists of a service"), strict=True):
            found = fit.profile_interval(level)
            rows.append((adjusted_for, words, fit.vpc(level), found.lower, found.upper))
    return pd.DataFrame(rows, columns=["adjusted_for", "level", "vpc", "vpc_lower", "vpc_upper"])
