"""The methods-and-results text, by the reporting guidance for multilevel models.

Follows the items that the LEVEL checklist asks for: levels, units and members of each level,
missing data, equation, estimation, software, variance partition with its interval.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from pwp_lib.numbers import count, p_value
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.disclosure import MARK
from pwp_report.released import ReleasedResults
from pwp_report.study import Study

__all__ = ["methods_and_results", "software"]


def software() -> dict[str, str]:
    """Versions of what the numbers rest on."""
    found = {}
    for name in ("pwp-lib", "numpy", "scipy", "pandas", "matplotlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def methods_and_results(analysis: Analysis, study: Study, released: ReleasedResults) -> list[str]:
    """Write the paragraphs of a paper's methods and results; every number is a released one.

    Parameters
    ----------
    analysis : Analysis
    study : Study
    released : ReleasedResults
    """
    text = [_sample(analysis, study, released)]
    if analysis.measures:
        text.append(_model(analysis))
    text += [_result(result, released) for result in analysis.measures.values()]
    text.append(_caution(released))
    return text


def _sample(analysis: Analysis, study: Study, released: ReleasedResults) -> str:
    cohort = analysis.cohort
    services = (
        int(cohort.patients["service_id"].nunique()) if "service_id" in cohort.patients else 0
    )
    where = f" in {count(services, 'service')}" if services else ""
    rules = [str(step.rule) for step in cohort.flow[1:]]
    applied = f" Rules of inclusion, in turn: {'; '.join(rules)}." if rules else ""
    first = released.frame("flow")
    begun = MARK if first is None else first["patients"].iloc[0]
    start = f" of {begun:,} in the extract" if begun != MARK and rules else ""
    rounding = (
        " Counts of patients are rounded to the nearest 5, and counts below 5 are not shown."
        if released.policy.active
        else ""
    )
    synthetic = " The data are synthetic." if cohort.provenance.synthetic else ""
    return (
        f"Data had two levels: {released.patients} patients{start} (level 1) nested in "
        f"{count(released.therapists, 'therapist')} (level 2){where}."
        f"{_caseloads(released)}{synthetic}{applied} "
        "Patients without every score were left out of the models (complete cases), and the "
        f"completeness of each therapist's caseload is tabulated.{rounding}"
    )


def _caseloads(released: ReleasedResults) -> str:
    """Describe how many patients each therapist has, as far as may be said."""
    table = released.frame("sample")
    rows = [] if table is None else table.to_dict("records")
    for row in rows:
        if (row["of whom"], row["variable"]) == ("caseloads", "patients"):
            ends = f"; {row['minimum']:g} to {row['maximum']:g}" if "minimum" in row else ""
            return (
                f" A therapist had {row['mean']:.1f} patients in the mean (SD {row['sd']:.1f}, "
                f"median {row['median']:g}{ends})."
            )
    if released.patients == MARK:
        return ""
    mean = int(released.patients.replace(",", "")) / released.therapists
    return f" A therapist had {mean:.0f} patients in the mean."


def _boundary(result: MeasureResult) -> str:
    """Say what a singular fit has at its boundary, and what became of the prior there."""
    fit = result.fit
    if not fit.singular:
        return ""
    variances = np.diag(fit.random_covariance.to_numpy())
    names = [n for n, v in zip(("intercept", "slope"), variances, strict=False) if v == 0]
    what = (
        f"the variance of the {' and the '.join(names)} is estimated at zero"
        if names
        else "the correlation of intercept and slope is estimated at its bound"
    )
    moved = (
        " MLwiN's prior, which is not defined there, was built on an estimate moved off the "
        "boundary."
        if result.posterior is not None and result.posterior.prior.notes
        else ""
    )
    return f" The fit is singular: {what}.{moved}"


def _model(analysis: Analysis) -> str:
    several = len(analysis.measures) > 1
    other = (
        ", on the other measure's score before treatment, and on their product, all"
        if several
        else ","
    )
    rest = " + (other fixed terms)" if several else ""
    found = software()
    return (
        "For patient i of therapist j, the last score was modelled on the own score before "
        f"treatment{other} centred on the mean of the patients analysed: "
        f"y_ij = b0 + u0_j + (b1 + u1_j) x_ij{rest} + e_ij, with (u0_j, u1_j) "
        "bivariate normal and correlated, and e_ij normal and independent of them. Models were "
        "fitted by maximum likelihood: single level, random intercept, random slope; nested "
        "models were compared by likelihood-ratio tests, with the mixture of chi-square "
        "distributions that holds at the boundary beside them. The therapist effect is the "
        "intercept variance over intercept plus residual variance at the mean score before "
        f"treatment, with a 95% profile-likelihood interval.{_beside(analysis)}"
        f"{_clusters(analysis)} Software: pwp_lib "
        f"{found['pwp-lib']}, NumPy {found['numpy']}, SciPy {found['scipy']}; seed {analysis.seed}."
    )


def _beside(analysis: Analysis) -> str:
    """Say what was estimated beside maximum likelihood."""
    results = list(analysis.measures.values())
    said = []
    if any(r.posterior is not None for r in results):
        said.append(
            f" Its interval is also given from the posterior ({analysis.draws:,} iterations of "
            "Gibbs sampling after 500 discarded; inverse-gamma and inverse-Wishart priors as in "
            "MLwiN)."
        )
    if any(r.reml is not None for r in results):
        said.append(" Restricted maximum likelihood stands beside it.")
    return "".join(said)


def _clusters(analysis: Analysis) -> str:
    if analysis.ranks is None:
        return ""
    sizes = analysis.ranks["cluster"].value_counts()
    several = len(analysis.ranks.filter(regex="^rank_").columns) > 1
    basis = "the mean of their ranks on the measures" if several else "their rank"
    return (
        f" Therapists were ordered by {basis}; the first and the last {sizes['upper']:,} of "
        f"{len(analysis.ranks):,} form the upper and the lower group."
    )


def _result(result: MeasureResult, released: ReleasedResults) -> str:
    table = released.frame("therapist_effect")
    label = result.measure.label
    row = {} if table is None else table[table["measure"] == label].iloc[0].to_dict()
    first, second = result.models.test_intercept, result.models.test_slope
    interval = (
        f" (95% profile-likelihood interval {row['profile_lower']:.1f}% to "
        f"{row['profile_upper']:.1f}%)"
        if _there(row.get("profile_lower"))
        else ""
    )
    chain = (
        f" The posterior median was {row['median']:.1f}% ({row['lower']:.1f}% to "
        f"{row['upper']:.1f}%)."
        if _there(row.get("median"))
        else ""
    )
    if _there(row.get("reml")):
        chain += f" By restricted maximum likelihood it was {row['reml']:.1f}%."
    return (
        f"On {label}, adding a random intercept lowered -2 log-likelihood by {first.statistic:.1f} "
        f"({p_value(first.p_value_boundary)}), adding a random slope by a further "
        f"{second.statistic:.1f} ({p_value(second.p_value_boundary)}). The therapist effect was "
        f"{row.get('vpc', 100 * result.vpc):.1f}%{interval}.{chain}{_boundary(result)}"
    )


def _there(value: float | None) -> bool:
    return value is not None and value == value


def _caution(released: ReleasedResults) -> str:
    few = (
        f" With {count(released.therapists, 'therapist')}, intervals are wide."
        if released.therapists <= 30
        else ""
    )
    return (
        "Patients were not allocated to therapists at random: differences between therapists may "
        "stem from their patients. Ranks are uncertain, and groups formed by them look further "
        f"apart than they are.{few}"
    )
