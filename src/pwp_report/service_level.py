"""A third level where there is enough of it: services, or groups who were treated together."""

from collections.abc import Mapping, Sequence

import pandas as pd

from multilevel.fit import fit_mixed
from multilevel.nested import NestedFit
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_report.case_mix import FIRST, WITH_MIX, CaseMixRows
from pwp_report.wording import listed, refusal

#: Services with two therapists or more that a variance between services takes; and therapists
#: with two groups or more.
LEAST_SERVICES = 5
SERVICES, GROUPS = ("service_id", "therapist_id"), ("therapist_id", "group_id")
#: What the two levels are called, by the upper one.
_LEVELS = listed("tables.toml")["levels"]


def fit_levels(
    mix: CaseMixRows,
    measure: Measure,
    measures: Sequence[Measure],
    adjusted_for: str = FIRST,
    levels: tuple[str, str] = SERVICES,
) -> NestedFit:
    """Fit patients in therapists in services, random intercepts, by maximum likelihood.

    Or in groups in therapists: a patient without a group is treated alone.

    Parameters
    ----------
    mix : CaseMixRows
        Patients, and the terms of their case mix.
    measure : Measure
    measures : sequence of Measure
        Whose first scores are in the model.
    adjusted_for : {"first scores", "first scores and case mix"}
    levels : `SERVICES` or `GROUPS`

    Raises
    ------
    InputError
        If services or groups are not recorded, or fewer than `LEAST_SERVICES` have two therapists
        or more, those that terms of services use up not counted; or therapists two groups.
    """
    terms, patients = [*mix.terms] if adjusted_for == WITH_MIX else [], mix.rows
    (upper, lower), several, few = levels, patients, "services_few"
    if not {*levels} <= {*patients}:
        raise refusal("level_unknown")
    if levels == GROUPS:
        several = patients[patients.duplicated([*levels], keep=False)].dropna(subset=lower)
        few = "groups_few"
        patients = patients.fillna({lower: "alone " + patients["patient_id"].astype("str")})
    more = len(mix.of_services) if terms and levels == SERVICES else 0
    if int((several.groupby(upper)[lower].nunique() > 1).sum()) < LEAST_SERVICES + more:
        raise refusal("services_of_terms" if more else few, least=LEAST_SERVICES + more)
    formula = model_formula(measure, measures, "intercept", extra=terms)
    found = fit_mixed(formula.replace("(1 | therapist_id)", f"(1 | {upper}/{lower})"), patients)
    assert isinstance(found, NestedFit)  # the formula has a unit above the group
    return found


def level_effects(fits: Mapping[str, NestedFit]) -> pd.DataFrame:
    """Share of the variance at each level, with its profile interval.

    Parameters
    ----------
    fits : mapping of str to NestedFit
        By what is adjusted for: nothing but first scores, then the case mix, if it was asked for.
    """
    rows = []
    for adjusted_for, fit in fits.items():
        for level, words in zip(fit.levels, _LEVELS[fit.levels[0]], strict=True):
            rows.append((adjusted_for, words, *fit.profile_interval(level)[:3]))
    return pd.DataFrame(rows, columns=["adjusted_for", "level", "vpc", "vpc_lower", "vpc_upper"])
