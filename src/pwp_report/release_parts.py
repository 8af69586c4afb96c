"""How each kind of table is made fit to be published; see `release`."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from multilevel.fit import MixedFit
from multilevel.nested import NestedFit
from pwp_lib import outcomes
from pwp_lib.measures import Measure
from pwp_lib.sensitivity import SensitivityPanel
from pwp_report.analysis import NONE, Analysis, MeasureResult
from pwp_report.disclosure import aggregate_small, is_safe_group, percentage, share_between
from pwp_report.ledger import MARK, DisclosurePolicy
from pwp_report.patient_counts import EVERYBODY, LAST_SCORES, OTHERS, OUTCOMES, Count, Group, Kind
from pwp_report.rates import NATIONAL_RATES, RateModel
from pwp_report.table_words import phrase

#: What the row of those not shown one by one is called.
OTHERS_TOGETHER = OTHERS.name
OUTCOME_SHARES: Mapping[str, tuple[Count, Count]] = {
    rate: (Count(o.count), Count(o.among)) for rate, o in outcomes.OUTCOMES.items()
}
NATIONAL_SHARES: Mapping[str, tuple[Count, Count]] = {
    rate: (Count(f"n_{rate}"), Count(f"n_{among}"))
    for rate, (_, among, _) in NATIONAL_RATES.items()
}
#: Of the model of a rate: the counts of the outcome and of those who could have it.
_COMPLETE = {"complete": (Count.complete, Count.eligible)}
RATE_COUNTS: Mapping[str, tuple[Count, Count]] = {**OUTCOME_SHARES, **NATIONAL_SHARES, **_COMPLETE}
#: Of so many patients a second decimal of a mean could tell a sum of scores.
_FEW = 999
GROUP_MEANS = ("mean_pre", "mean_post", "mean_change")
#: Columns of counts and of places; `excluded` of the flow is not among them, since what reads that
#: file knows it as it is.
_WHOLE = r"df|n|n_.*|patients|missing|(upper|lower)_shared|rank(_(unadjusted|lower|upper))?"
#: A count as it may be shown, NaN if it may not.
Shown = Callable[[Group, Kind], float]


def marked(value: float) -> int | str:
    """Give a released count, or the mark where it is withheld."""
    return MARK if pd.isna(value) else int(value)


def rounded(frame: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """Round the numbers of a table; small p-values keep three significant digits."""
    out: Any = frame.copy()
    for column in map(str, frame.columns):
        if column.startswith(("p_value", "p_holm", "p_directed")):
            out[column] = [significant(v) for v in frame[column]]
        elif any(isinstance(v, float) for v in frame[column]):
            out[column] = [round(v, decimals) if isinstance(v, float) else v for v in frame[column]]
    return pd.DataFrame(out)


def as_written(frame: pd.DataFrame) -> pd.DataFrame:
    """Give counts whole, where a cell without one has made floats of them, and 0 without a sign."""
    made = {str(c): frame[c] for c in frame}
    for name, cells in made.items():
        if cells.dtype.kind == "f":
            made[name] = cells + 0.0
            if re.fullmatch(_WHOLE, name) and (cells.dropna() % 1 == 0).all():
                made[name] = cells.astype("Int64").astype(object).where(cells.notna(), np.nan)
        elif cells.dtype == object:
            made[name] = cells.map(lambda v: v + 0.0 if isinstance(v, float) else v)
    return pd.DataFrame(made, index=frame.index)


def significant(value: Any) -> object:
    """Round a p-value to the three decimals of a page, a small one to three digits."""
    if isinstance(value, str) or pd.isna(value):
        return value
    # To three decimals at once: rounded to three digits first, .05450 would be shown as .054.
    return round(float(value), 3) if value >= 0.001 else float(f"{float(value):.3g}")


def counts_and_shares(
    row: Mapping[str, Any],
    shown: Mapping[Count, float],
    shares: Mapping[str, tuple[Count, Count]],
    policy: DisclosurePolicy,
    between: bool = False,
) -> dict[str, object]:
    """Replace the counts of a row by released ones, and its shares by percentages of those.

    Shares `between` are the percentages that the released counts allow: of few patients a single
    one can be so far off that it puts therapists in another order.
    """
    out, counts = dict[str, object](row), {count.value: count for count in shown}
    for column, value in row.items():
        if pd.isna(value):
            out[column] = None
        elif column in shares:
            part, whole = (shown[count] for count in shares[column])
            ends = between or not policy.active
            share = share_between(part, whole, policy) if ends else percentage(part, whole)
            out[column] = MARK if share is None else share
        elif column in counts:
            out[column] = marked(shown[counts[column]])
    return out


def finer(measure: Measure) -> int:
    """How many decimals more figures have on a short scale of scores that are not whole.

    On means of items from 0 to 4 one decimal more says what it says on a score from 0 to 40, of
    whole points: of which patients, as little.
    """
    return int(not measure.integer and measure.maximum - measure.minimum < 10)


def outcome_row(
    row: Mapping[str, Any], group: Group, measure: Measure, shown: Shown, policy: DisclosurePolicy
) -> dict[str, object]:
    """Outcomes with released counts, percentages of those, and means of groups large enough.

    Means have as many decimals whatever the group, so that a column has one number of them.
    """
    counts = {c: shown(group, Kind(c, measure.name)) for c in OUTCOMES}
    out = counts_and_shares(row, counts, OUTCOME_SHARES, policy, between=group != EVERYBODY)
    n = 0 if np.isnan(counts[Count.n]) else row["n"]
    for column in row.keys() - set(OUTCOME_SHARES) - {c.value for c in OUTCOMES}:
        out[column] = statistic(row[column], min(n, _FEW), column, policy, finer(measure))
    return out


def statistic(value: float, n: float, name: str, policy: DisclosurePolicy, more: int = 0) -> object:
    """Round a mean or an SD as far as its group allows.

    Scores are whole, so the mean times the number of patients is whole too, and a mean with many
    decimals tells the number, or of a known number the sum: taken from another sum, of a few
    patients more, it tells their scores. Rounded so that ten sums or more fit, or as many as there
    are patients with two digits, it tells neither. On which side of 0 a bound lies is kept.
    """
    if pd.isna(value):
        return None
    if policy.active and n < policy.smallest_caseload:
        return MARK
    # An effect size has no unit.
    places = 2 if name == "effect_size" else 1 + (n > _FEW or not policy.active) + more
    least = np.copysign(10.0**-places, value) * name.endswith(("_lower", "_upper"))
    return round(float(value), places) or float(least * bool(value))


def variances(fit: MixedFit) -> pd.DataFrame:
    """Variances and covariances with their expected-information standard errors."""
    errors, matrix = fit.variance_se(), fit.random_covariance.to_numpy(dtype=float)
    # Components go by columns of the lower triangle, which are the rows of the upper one.
    estimate = [*matrix[np.triu_indices(len(matrix))].tolist(), fit.residual_variance]
    return pd.DataFrame({"component": errors.index, "estimate": estimate, "se": errors.to_numpy()})


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
    panel: SensitivityPanel, m: Measure, size: Shown, policy: DisclosurePolicy
) -> pd.DataFrame:
    """Sensitivity panel but for what could not be done, and `one_less`."""
    frame = panel.rows[(panel.rows["family"] != "leave one out") & ~panel.rows["note"].astype(bool)]
    # Of few patients less its figures would tell that there are any, and of no less that none are.
    gone = frame["n_patients"].iloc[0] - frame["n_patients"]
    few = (gone < policy.threshold) & ((gone > 0) | (frame["family"] == "patients"))
    frame = frame[~(few & policy.active)]
    people = [marked(size(EVERYBODY, Kind(Count.modelled, m.name, a))) for a in frame["analysis"]]
    # Who else is left out where a few therapists fewer remain could be named.
    main = frame["n_therapists"].iloc[0]
    left = [MARK if _a_few(main - n, policy) else n for n in frame["n_therapists"]]
    names = [phrase("analyses", a) or a for a in frame["analysis"]]
    shown = frame.assign(n_patients=people, n_therapists=left, analysis=names)
    if shown["vpc"].iloc[0] < NONE:  # all are alike, and in no order that others could share
        shown[["rank_correlation", "upper_shared", "lower_shared"]] = np.nan
    shown = shown.drop(columns="note").rename(columns={"n_patients": "patients"})
    return rounded(in_percent(shown.reset_index(drop=True), ["vpc", "lower", "upper"]), 3)


def one_less(panel: SensitivityPanel, alone: Sequence[str]) -> pd.DataFrame:
    """Therapist effect with all, and without each who is shown alone, lowest first."""
    rows = panel.rows.dropna(subset=["vpc"]).sort_values("vpc", kind="stable")
    rows["analysis"] = rows["analysis"].str.removeprefix("Without ")
    less = rows[(rows["family"] == "leave one out") & rows["analysis"].isin(list(alone))]
    main = rows[rows["family"] == "main"].assign(analysis="all therapists")
    frame = pd.concat([main, less])[["analysis", "vpc"]].set_axis(["therapist", "vpc"], axis=1)
    return in_percent(frame, ["vpc"])


def last_scores_row(
    row: Mapping[str, float], shown: Mapping[Count, float], policy: DisclosurePolicy, more: int = 0
) -> dict[str, object]:
    """Who has a last score on a measure: released counts, and means of groups large enough.

    To one decimal: these groups and the patients analysed differ by few.
    """
    first, last, _ = (shown[c] for c in LAST_SCORES)
    counts = {c.value: marked(n) for c, n in shown.items()}
    means: dict[str, object] = {}
    for who in ("last", "lacking"):
        few = policy.active and not row[who] >= policy.smallest_caseload
        means[f"mean_{who}"] = MARK if few else round(row[f"mean_{who}"], 1 + more)
    return {**counts, "share": share_between(last, first, policy), **means}


def residuals(
    result: MeasureResult, alone: Sequence[str], together: Sequence[str], policy: DisclosurePolicy
) -> pd.DataFrame:
    """Residuals with the interval of the released caseload, their ranks, and the others' mean."""
    table = result.residuals
    shown = table.loc[table.index.isin(list(alone)), ["n", "residual", "se", "rank"]].astype(float)
    between = float(result.ranked.random_covariance.to_numpy()[0, 0])
    within = result.ranked.residual_variance
    # The exact interval would tell the exact caseload.
    n = shown["n"].map(lambda k: policy.count(k) or 0)
    width = np.sqrt((shown["n"] * between + within) / (n * between + within))
    shown = shown.assign(n=n, se=shown["se"] * width)
    shown.insert(2, "lower", shown["residual"] - 1.96 * shown["se"])
    shown.insert(3, "upper", shown["residual"] + 1.96 * shown["se"])
    # By the released caseload, as the interval.
    profile = result.rank_uncertainty.drop(columns=["n", "percentile"])
    shown = shown.join(profile.assign(reliability=n * between / (n * between + within)))
    if result.with_mix is not None:
        before = result.fit.residuals(lower_is_better=result.measure.higher_is_worse)
        shown["rank_unadjusted"] = before["rank"].reindex(shown.index)
    few = table[table.index.isin(list(together))]
    if len(few):
        mean = float(np.average(few["residual"].astype(float), weights=few["n"]))
        total = float(policy.count(few["n"].sum()) or 0)
        shown.loc[OTHERS_TOGETHER, ["n", "residual"]] = [total, mean]
    shown["n"] = shown["n"].astype(int)
    shown = shown.sort_values("rank", kind="stable").rename_axis("therapist")
    if len(alone) < len(table):
        # Gaps in the order would tell where those stand who are not shown.
        shown = shown.drop(columns=["rank", "rank_unadjusted"], errors="ignore")
    if result.ranked.vpc() < NONE:
        # Where all are alike by the estimate, a residual of zero and a rank would be no finding.
        shown[shown.columns.difference(["n", "departure"])] = np.nan
    return rounded(shown.reset_index(), 2)


def rate_row(
    model: RateModel, counts: Sequence[float] | None, policy: DisclosurePolicy
) -> dict[str, object] | None:
    """One model of a rate; None where its counts, or how many lack the outcome, are withheld.

    A rate with many decimals would tell its exact count, so it is rounded to a step of five
    patients or more.
    """
    row: dict[str, object] = {"n": model.n, "percent": round(100 * model.share, 1)}
    step = 0.1
    if policy.active:
        part, whole = (np.nan, np.nan) if counts is None else counts
        step = next((s for s in (1, 2, 5) if s * model.n >= 100 * policy.base), np.nan)
        few = counts is not None and not whole - part >= policy.threshold  # NaN is withheld
        if few or np.isnan(step):
            return None
        # Of dropout no number is released.
        row = {"n": marked(whole), "percent": MARK if counts is None else percentage(part, whole)}
    for name, values in model.figures.items():
        for end, value in zip(("", "_lower", "_upper"), values, strict=True):
            value = round(value / step) * step if name.startswith("per_hundred") else value
            row[name + end] = round(value, 2) if name == "median_odds_ratio" else _tenth(value)
    del row["per_hundred_median_lower"], row["per_hundred_median_upper"]
    return row | {"p_value_boundary": significant(model.p_value)}


def in_percent(frame: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Effects as percentages of the variance, and changes of them as percentage points."""
    numbers = columns or list(frame.select_dtypes("float").columns)
    made = frame.assign(**{c: (100 * frame[c].astype(float)).map(_tenth) for c in numbers})
    # Of a share that is none nothing is left, and nothing tells it from none.
    none = frame["vpc"] < NONE if "vpc" in frame else False
    for column in made.columns.intersection(["vpc", "vpc_lower", "profile_lower"]):
        made[column] = made[column].mask(none & made[column].notna(), 0.0)
    return made


def _tenth(value: float) -> float:
    """Round to one decimal, and what would be 0 and is not to its first digit."""
    return round(value, 1) or (float(f"{value:.1g}") if abs(value) > 0.001 else 0.0)


def services_shown(
    patients: pd.DataFrame, alone: Sequence[str], policy: DisclosurePolicy
) -> tuple[pd.DataFrame, int]:
    """Therapists and patients of each service that may be shown, and how many may not.

    A service, and all services that are not shown, with their therapists who are shown and without
    them, must each be several therapists of whom none can tell another.
    """
    loads = patients.groupby(["service_id", "therapist_id"]).size().reset_index(name="n")
    loads["alone"] = loads["therapist_id"].isin(list(alone))

    def safe(members: pd.DataFrame) -> bool:
        both = members, members[~members["alone"]]
        return all(is_safe_group(g["n"].tolist(), policy) for g in both if len(g))

    hidden = {s for s, members in loads.groupby("service_id") if not safe(members)}
    sizes: Any = loads.groupby("service_id")["n"].agg(therapists="size", n="sum")
    for service in sizes["n"].sort_values(kind="stable").index:
        # What is left over of a total is an aggregate too.
        if safe(loads[loads["service_id"].isin(hidden)]):
            break
        hidden.add(service)
    return sizes[~sizes.index.isin(hidden)], len(hidden)


def coefficients(result: MeasureResult, policy: DisclosurePolicy) -> pd.DataFrame:
    """Coefficients of the case mix, rounded as means of so many patients would be."""
    found = pd.DataFrame(result.coefficients)
    ends: dict[str, Any] = {}
    # As fine as the standard error, to three decimals, where a unit of a covariate is little.
    error = (found["estimate_upper"] - found["estimate_lower"]) / 4
    places = np.ceil(-np.log10(error.where(error > 0))).fillna(0).clip(upper=3)
    fine = (places - 1 - (found["n"] > _FEW)).clip(lower=finer(result.measure)).astype(int)
    for end in ("estimate", "estimate_lower", "estimate_upper"):
        rows = zip(found[end], found["n"], fine, strict=True)
        ends[end] = [statistic(v, n, end, policy, more) for v, n, more in rows]
    # Many degrees of freedom are the number of patients, but for the few terms of the model.
    few = found["df"] < min(100.0, found["n"].max() / 2)
    df = found["df"].round(0).where(few | (not policy.active))
    return found.drop(columns="n").assign(**ends, df=df).dropna(axis="columns", how="all")


def service_rows(
    fit: NestedFit, shown: pd.DataFrame, policy: DisclosurePolicy, measure: Measure
) -> pd.DataFrame:
    """Each service's residual with its interval, and the rounded number of patients.

    With two decimals an interval would tell the exact caseloads of therapists in the service.
    """
    found = fit.residuals("service_id", lower_is_better=measure.higher_is_worse)
    table = shown.join(found[["residual", "lower", "upper"]], how="inner")
    table["n"] = [policy.count(n) for n in table["n"]]
    ordered = table.sort_values("residual", ascending=measure.higher_is_worse, kind="stable")
    return rounded(ordered.rename_axis("service").reset_index(), 2 - policy.active + finer(measure))


def safe_sample(table: pd.DataFrame, analysis: Analysis, policy: DisclosurePolicy) -> pd.DataFrame:
    """Describe the sample without what is one person's, or one therapist's number of patients."""
    # A smallest or largest value is one person's; a mean of few tells how many they are.
    table = table.drop(columns=["minimum", "maximum"], errors="ignore")
    table = table[table["n"] >= 2 * policy.threshold].reset_index(drop=True)
    mine = table["of whom"] == "caseloads"
    table.loc[mine, "median"] = np.nan
    loads = analysis.cohort.caseloads().astype(float)
    few, shown = aggregate_small(loads, policy)[1], loads.map(policy.rounded).astype(float)
    # Those of the others would tell with their sum who has hardly a patient. They are the smallest.
    shown[few] = 0.0
    median = shown.median() if 2 * len(few) < len(loads) else np.nan
    mean = (policy.count(loads.sum()) or 0) / len(loads)
    figures = [mean, np.nan if few else shown.std(), median]
    table.loc[mine & (table["variable"] == "patients"), ["mean", "sd", "median"]] = figures
    return table
