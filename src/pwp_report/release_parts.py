"""How each kind of table is made fit to be published; see `release`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from multilevel.fit import MixedFit
from pwp_lib import outcomes
from pwp_lib.measures import Measure
from pwp_lib.sensitivity import SensitivityPanel
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.disclosure import MARK, DisclosurePolicy, percentage
from pwp_report.patient_counts import OUTCOMES, Count, Group, Kind

#: What the row of those not shown one by one is called.
OTHERS_TOGETHER = "others together"
OUTCOME_SHARES: Mapping[str, tuple[Count, Count]] = {
    rate: (Count(o.count), Count(o.among)) for rate, o in outcomes.OUTCOMES.items()
}
NATIONAL_SHARES: Mapping[str, tuple[Count, Count]] = {
    "recovery": (Count.RECOVERY, Count.CASE),
    "reliable_improvement": (Count.RELIABLE_IMPROVEMENT, Count.FINISHED),
    "reliable_deterioration": (Count.RELIABLE_DETERIORATION, Count.FINISHED),
    "reliable_recovery": (Count.RELIABLE_RECOVERY, Count.CASE),
}
#: A count as it may be shown, NaN if it may not.
Shown = Callable[[Group, Kind], float]


def marked(value: float) -> int | str:
    """Give a released count, or the mark where it is withheld."""
    return MARK if pd.isna(value) else int(value)


def marked_share(part: float, whole: float) -> float | str:
    """Give the percentage of two released counts, or the mark where one is withheld."""
    share = percentage(part, whole)
    return MARK if share is None else share


def rounded(frame: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """Round the numbers of a table; small p-values keep three significant digits."""
    out: Any = frame.copy()
    for column in map(str, out.columns):
        if column.startswith(("p_value", "p_holm", "p_directed")):
            out[column] = [_significant(v) for v in out[column]]
        else:
            numbers = [isinstance(v, float) for v in out[column]]
            if any(numbers):
                out[column] = [
                    round(v, decimals) if isinstance(v, float) else v for v in out[column]
                ]
    table: pd.DataFrame = out
    return table


def percent(frame: pd.DataFrame, decimals: int = 1) -> pd.DataFrame:
    """Therapist effects, their bounds and their standard errors as percentages."""
    shares = [c for c in ("vpc", "lower", "upper", "se") if c in frame]
    return frame.assign(
        **{c: (100 * frame[c].astype(float)).round(decimals) for c in shares},
    )


def _significant(value: Any) -> object:
    if isinstance(value, str) or pd.isna(value):
        return value
    # To three decimals at once: rounded to three digits first, .05450 would be shown as .054.
    return round(float(value), 3) if value >= 0.01 else float(f"{float(value):.3g}")


def counts_and_shares(
    row: Mapping[str, Any],
    shown: Mapping[Count, float],
    shares: Mapping[str, tuple[Count, Count]],
    policy: DisclosurePolicy,
) -> dict[str, object]:
    """Replace the counts of a row by released ones, and its shares by percentages of those."""
    out: dict[str, object] = dict(row)
    for column, value in row.items():
        if pd.isna(value):
            out[column] = None
        elif column in shares:
            part, whole = shares[column]
            exact = round(100 * float(value), 1)
            out[column] = marked_share(shown[part], shown[whole]) if policy.active else exact
        elif column in {c.value for c in shown}:
            out[column] = marked(shown[Count(column)])
    return out


def outcome_row(
    row: Mapping[str, Any], group: Group, measure: str, shown: Shown, policy: DisclosurePolicy
) -> dict[str, object]:
    """Outcomes with released counts, percentages of those, and means of groups large enough."""
    counts = {c: shown(group, Kind(c, measure)) for c in OUTCOMES}
    out = counts_and_shares(row, counts, OUTCOME_SHARES, policy)
    for column in row.keys() - set(OUTCOME_SHARES) - {c.value for c in OUTCOMES}:
        out[column] = statistic(row[column], row["n"], column, policy)
    return out


def statistic(value: float, n: float, name: str, policy: DisclosurePolicy) -> object:
    """Round a mean or an SD as far as its group allows.

    Scores are whole, so the mean times the number of patients is whole too, and a mean with many
    decimals tells the number. Rounded so that it may lie anywhere in an interval of 1/n or more,
    it fits every number of patients.
    """
    if pd.isna(value):
        return None
    if not policy.active:
        return round(float(value), 2)
    if n < policy.smallest_caseload:
        return MARK
    return round(float(value), 2 if n >= 100 or name == "effect_size" else 1)


def variances(fit: MixedFit) -> pd.DataFrame:
    """Variances and covariances with their expected-information standard errors."""
    matrix, errors = fit.random_covariance, fit.variance_se()
    values = {"residual": fit.residual_variance}
    for a in matrix.index:
        values[f"var({a})"] = matrix.loc[a, a]
        values |= {f"cov({a}, {b})": matrix.loc[a, b] for b in matrix.index}
    # By name: components go by columns of the lower triangle, others might by rows.
    return pd.DataFrame(
        {
            "component": errors.index,
            "estimate": [float(values[str(name)]) for name in errors.index],
            "se": errors.to_numpy(dtype=float),
        }
    )


def therapists_at_rules(counts: pd.Series, policy: DisclosurePolicy) -> list[object]:
    """Numbers of therapists at each rule, but where fewer than the threshold went since."""
    out: list[object] = []
    last = counts.iloc[-1]
    for n in reversed(counts.tolist()):
        hidden = _a_few(n - last, policy)
        out.insert(0, MARK if hidden else n)
        last = last if hidden else n
    return out


def _a_few(n: float, policy: DisclosurePolicy) -> bool:
    """Whether therapists are so few that they could be named."""
    return policy.active and 0 < n < policy.threshold


def sensitivity(
    panel: SensitivityPanel,
    measure: Measure,
    size: Callable[[Kind], float],
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Sensitivity panel; of the analyses without one therapist, the lowest and highest effect."""
    one_less = panel.rows["family"] == "leave one out"
    frame = panel.rows[~one_less]
    people = [marked(size(Kind(Count.MODELLED, measure.name, a))) for a in frame["analysis"]]
    # Who else is left out where a few therapists fewer remain could be named.
    main = frame["n_therapists"].iloc[0]
    left = [MARK if _a_few(main - n, policy) else n for n in frame["n_therapists"]]
    shown = frame.assign(n_patients=people, n_therapists=left)
    shown = shown.rename(columns={"n_patients": "patients"})
    without = panel.rows.loc[one_less, "vpc"].dropna().astype(float)
    if len(without):
        words = {"Lowest": without.min(), "Highest": without.max()}
        ends = [
            {"family": "one less", "analysis": f"{k} with one therapist left out", "vpc": v}
            for k, v in words.items()
        ]
        shown = pd.concat([shown.astype(object), pd.DataFrame(ends)])
    return rounded(percent(shown.reset_index(drop=True)), 3)


def residuals(
    result: MeasureResult, alone: Sequence[str], together: Sequence[str], policy: DisclosurePolicy
) -> pd.DataFrame:
    """Residuals with the interval of the released caseload, their ranks, and the others' mean."""
    table = result.residuals
    shown = table.loc[table.index.isin(list(alone)), ["n", "residual", "se", "rank"]].astype(float)
    between = float(result.fit.random_covariance.to_numpy()[0, 0])
    within = result.fit.residual_variance
    if policy.active:
        # The exact interval would tell the exact caseload.
        n = shown["n"].map(lambda k: policy.count(k) or 0)
        width = np.sqrt((shown["n"] * between + within) / (n * between + within))
        shown = shown.assign(n=n, se=shown["se"] * width)
    shown.insert(3, "lower", shown["residual"] - 1.96 * shown["se"])
    shown.insert(4, "upper", shown["residual"] + 1.96 * shown["se"])
    names = {"lower": "rank_lower", "upper": "rank_upper"}
    shown = shown.join(result.rank_uncertainty.drop(columns="rank").rename(columns=names))
    few = table[table.index.isin(list(together))]
    if len(few):
        mean = float(np.average(few["residual"].astype(float), weights=few["n"]))
        total = float(policy.count(few["n"].sum()) or 0)
        shown.loc[OTHERS_TOGETHER, ["n", "residual"]] = [total, mean]
    shown["n"] = shown["n"].astype(int)
    ordered = shown.sort_values("rank", kind="stable").rename_axis("therapist").reset_index()
    return rounded(ordered, 2)


def guarded_sample(
    table: pd.DataFrame, analysis: Analysis, policy: DisclosurePolicy
) -> pd.DataFrame:
    """Describe the sample without what is one person's, or one therapist's number of patients."""
    # A smallest or largest value is one person's; a mean of few tells how many they are.
    table = table.drop(columns=["minimum", "maximum"], errors="ignore")
    table = table[table["n"] >= 2 * policy.threshold].reset_index(drop=True)
    mine = table["of whom"] == "caseloads"
    table.loc[mine, "median"] = np.nan
    loads = analysis.cohort.caseloads()
    shown = np.array([policy.count(n) or 0 for n in loads], dtype=float)
    total = policy.count(loads.sum()) or 0
    figures = [total / len(loads), shown.std(ddof=1), float(np.median(shown))]
    table.loc[mine & (table["variable"] == "patients"), ["mean", "sd", "median"]] = figures
    return table
