"""How each kind of table is made fit to be published; see `release`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure
from pwp_lib.outcomes import OUTCOMES, summarise_outcomes
from pwp_report.disclosure import MARK, DisclosurePolicy, percentage
from pwp_report.joint import ALL, OTHERS
from pwp_report.joint import COUNTS as OUTCOME_COUNTS

if TYPE_CHECKING:
    from multilevel.fit import MixedFit
    from pwp_report import analysis as whole
    from pwp_report.analysis import Analysis

OUTCOME_SHARES: Mapping[str, tuple[str, str]] = {
    name: (outcome.count, outcome.among) for name, outcome in OUTCOMES.items()
}


def marked(values: pd.Series, missing: pd.Series) -> list[object]:
    """Released counts, the mark where one is withheld, nothing where there is none."""
    pairs = zip(values, missing, strict=True)
    return [None if gone else (MARK if pd.isna(v) else int(v)) for v, gone in pairs]


def rounded(frame: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """Round the numbers of a table; small p-values keep three significant digits."""
    out: Any = frame.copy()
    column: Any
    for column in out.columns:
        if str(column).startswith(("p_value", "p_holm", "p_directed")):
            out[column] = [_significant(v) for v in out[column]]
        elif pd.api.types.is_float_dtype(out[column]):
            out[column] = out[column].round(decimals)
        elif out[column].dtype == object:
            out[column] = [round(v, decimals) if isinstance(v, float) else v for v in out[column]]
    table: pd.DataFrame = out
    return table


def percent(frame: pd.DataFrame, decimals: int = 1) -> pd.DataFrame:
    """Therapist effects, their bounds and their standard errors as percentages."""
    shares = [c for c in ("vpc", "lower", "upper", "se") if c in frame]
    return frame.assign(
        **{c: (100 * frame[c].astype(float)).round(decimals) for c in shares},
    )


def _significant(value: Any) -> object:
    if value is None or value == MARK or pd.isna(value):
        return value
    # To three decimals at once: rounded to three digits first, .05450 would be shown as .054.
    return round(float(value), 3) if value >= 0.01 else float(f"{float(value):.3g}")


def outcome_table(
    counted: Callable[..., pd.DataFrame],
    table: pd.DataFrame,
    groups: Sequence[str],
    measure: str,
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Outcomes with released counts, percentages of those, and means of groups large enough."""
    numbers = table.apply(pd.to_numeric, errors="coerce")
    kinds = {c: f"{measure}.{c}" for c in OUTCOME_COUNTS}
    shown: Any = counted(numbers, groups, kinds, OUTCOME_SHARES)
    for column in shown.columns:
        if column not in OUTCOME_COUNTS and column not in OUTCOME_SHARES:
            pairs = zip(numbers[column], numbers["n"], strict=True)
            shown[column] = [statistic(v, n, str(column), policy) for v, n in pairs]
    table = shown
    return table


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
    if n < policy.caseload:
        return MARK
    return round(float(value), 2 if n >= 100 or name == "effect_size" else 1)


def by_therapist(analysis: Analysis, measure: Measure, together: Collection[str]) -> pd.DataFrame:
    """Outcomes of each therapist shown alone, of the others together, and of all."""
    table, patients = analysis.outcomes_by_therapist[measure.name], analysis.cohort.patients
    rows = [table[~table.index.isin(list(together))]]
    if together:
        few = summarise_outcomes(patients[patients["therapist_id"].isin(list(together))], measure)
        rows.append(few.set_axis([OTHERS], axis=0))
    rows.append(analysis.outcomes.loc[[measure.name]].set_axis([ALL], axis=0))
    return pd.concat([r.astype(object) for r in rows])


def completeness(table: pd.DataFrame, together: Collection[str]) -> pd.DataFrame:
    """Completeness of each therapist shown alone, and of the others together."""
    counts = table[["total", "complete"]]
    few = counts.index.isin(list(together))
    out = counts[~few]
    if few.any():
        out = pd.concat([out, counts[few].sum().to_frame(OTHERS).T])
    out = out.astype("int64")
    return out.assign(share_complete=out["complete"] / out["total"])


def national_shares(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Which count each national percentage is of which."""
    return {
        "recovery": ("n_recovery", "n_case"),
        "reliable_improvement": ("n_reliable_improvement", "n_finished"),
        "reliable_deterioration": ("n_reliable_deterioration", "n_finished"),
        "reliable_recovery": ("n_reliable_recovery", "n_case"),
    }


def variances(fit: MixedFit) -> pd.DataFrame:
    """Variances and covariance with their expected-information standard errors."""
    errors = fit.variance_se()
    matrix = fit.random_covariance
    lines: dict[str, float] = {}
    names = list(matrix.index)
    for i, a in enumerate(names):
        for b in names[: i + 1]:
            key = f"var({a})" if a == b else f"cov({b}, {a})"
            lines[key] = float(matrix.loc[a, b])
    values = [*lines.items(), ("residual", fit.residual_variance)]
    # Standard errors come in the same order: the lower triangle by rows, then the residual.
    found = list(errors.to_numpy(dtype=float))
    frame = pd.DataFrame(values, columns=["component", "estimate"])
    return frame.assign(se=found) if len(found) == len(frame) else frame


def severity(measure: Measure) -> list[float]:
    """Scores at which the therapist effect is shown: nine points over the scale."""
    points = np.linspace(measure.minimum, measure.maximum, 10)
    return sorted({float(round(p)) for p in points})


def steps(counts: pd.Series, policy: DisclosurePolicy) -> list[object]:
    """Numbers of therapists at each rule, but where fewer than the threshold fell since."""
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
    table: pd.DataFrame,
    together: Collection[str],
    size: Callable[[str], object],
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Sensitivity panel, without lines about therapists who are not shown alone."""
    frame = table.reset_index()
    hidden = {f"Without {t}" for t in together}
    frame = frame[~frame["analysis"].isin(hidden)]
    # Without one therapist, the rest would tell that therapist's patients once more.
    people = [
        None if family == "leave one out" else size(name)
        for family, name in zip(frame["family"], frame["analysis"], strict=True)
    ]
    shown = frame.drop(columns=["measure", "n_patients"], errors="ignore").copy()
    shown.insert(2, "patients", people)
    # Who else is left out where a few therapists fewer remain could be named.
    main = shown["n_therapists"].iloc[0]
    shown["n_therapists"] = [
        MARK if family != "leave one out" and _a_few(main - n, policy) else n
        for family, n in zip(shown["family"], shown["n_therapists"], strict=True)
    ]
    return rounded(percent(shown.reset_index(drop=True)), 3)


def residuals(
    result: whole.MeasureResult,
    alone: Sequence[str],
    together: Sequence[str],
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Residuals with the interval of the released caseload, and the others' mean."""
    table = result.residuals
    shown = table[table.index.isin(list(alone))]
    n = pd.Series([policy.count(k) or 0 for k in shown["n"]], index=shown.index, dtype=float)
    between = float(result.fit.random_covariance.to_numpy()[0, 0])
    within = result.fit.residual_variance
    se = shown["se"].astype(float)
    if policy.active:
        # The exact interval would tell the exact caseload.
        se = se * np.sqrt((shown["n"] * between + within) / (n * between + within))
    frame: Any = pd.DataFrame(
        {
            "therapist": [str(t) for t in shown.index],
            "n": n.astype(int).to_numpy(),
            "residual": shown["residual"].to_numpy(dtype=float),
            "se": se.to_numpy(),
            "lower": (shown["residual"] - 1.96 * se).to_numpy(dtype=float),
            "upper": (shown["residual"] + 1.96 * se).to_numpy(dtype=float),
            "rank": shown["rank"].to_numpy(dtype=float),
        }
    )
    few = table[table.index.isin(list(together))]
    if len(few):
        total = policy.count(few["n"].sum()) or 0
        mean = float(np.average(few["residual"].astype(float), weights=few["n"]))
        nothing = float("nan")
        frame.loc[len(frame)] = [OTHERS, total, mean, nothing, nothing, nothing, nothing]
    ordered: pd.DataFrame = rounded(frame, 2).sort_values("rank", kind="stable")
    return ordered.reset_index(drop=True)


def clusters(
    counted: Callable[..., pd.DataFrame], table: pd.DataFrame, policy: DisclosurePolicy
) -> pd.DataFrame:
    """Outcomes of the clusters, measure by measure."""
    found = []
    for measure, rows in table.groupby(level=0, sort=False):
        groups = [f"cluster {cluster}" for _, cluster in rows.index]
        shown = outcome_table(counted, rows, groups, str(measure), policy)
        keys = rows.index.to_frame(index=False)
        found.append(pd.concat([keys, shown.reset_index(drop=True)], axis=1))
    return pd.concat(found, ignore_index=True)


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


def comparison(frame: pd.DataFrame, size: Callable[[str, str], float]) -> pd.DataFrame:
    """Comparison of clusters, with the numbers of patients as released."""
    out = frame.copy()
    if {"n_upper", "n_lower"} <= set(out.columns):
        for cluster in ("upper", "lower"):
            out[f"n_{cluster}"] = [size(f"cluster {cluster}", f"{m}.n") for m in out.index]
        out["df2"] = out["n_upper"] + out["n_lower"] - 3
    return out


def rates(
    table: pd.DataFrame, policy: DisclosurePolicy, size: Callable[[str, str], float]
) -> pd.DataFrame:
    """Rates of two clusters and their chi-square test, from released counts alone."""
    keys = table.index.to_frame(index=False)
    if not policy.active:
        shown = table.reset_index(drop=True).drop(columns="reported", errors="ignore")
        for column in ("rate_upper", "rate_lower"):
            shown[column] = (100 * shown[column].astype(float)).round(1)
        return pd.concat([keys, rounded(shown, 3)], axis=1)
    lines = [_released_rate(str(m), str(rate), size) for m, rate in table.index]
    return pd.concat([keys, rounded(pd.DataFrame(lines), 3)], axis=1)


def _released_rate(measure: str, rate: str, size: Callable[[str, str], float]) -> dict[str, object]:
    line: dict[str, object] = {}
    cells: list[list[float]] = []
    for side in ("upper", "lower"):
        yes, n = (size(f"cluster {side}", f"{measure}.{k}") for k in OUTCOME_SHARES[rate])
        share = percentage(yes, n)
        line |= {f"yes_{side}": MARK if pd.isna(yes) else int(yes)}
        line |= {f"n_{side}": MARK if pd.isna(n) else int(n)}
        line[f"rate_{side}"] = MARK if share is None else share
        if n > yes:
            cells.append([yes, n - yes])
    if len(cells) < 2:
        return {**line, "chi2": MARK, "df": MARK, "p_value": MARK}
    from scipy.stats import chi2_contingency

    test = chi2_contingency(np.array(cells), correction=False)
    return {**line, "chi2": float(test.statistic), "df": 1, "p_value": float(test.pvalue)}


def nested_rates(
    table: pd.DataFrame, released: pd.DataFrame, policy: DisclosurePolicy
) -> pd.DataFrame:
    """Difference of rates with therapists permuted; with control on, p only within bounds."""
    keys = table.index.to_frame(index=False)
    shown = table.reset_index(drop=True)
    if not policy.active:
        return pd.concat([keys, rounded(shown, 3)], axis=1)
    released = released.set_index(list(table.index.names)).reindex(table.index)
    sides = list(zip(released["rate_upper"], released["rate_lower"], strict=True))
    withheld = [MARK in pair for pair in sides]
    differences = [MARK if MARK in (u, low) else float(u) - float(low) for u, low in sides]
    bounds = [MARK if gone else band(p) for gone, p in zip(withheld, shown["p_value"], strict=True)]
    return keys.assign(difference=differences, p=bounds)


def fewest_splits(clusters: pd.Series) -> str:
    """Say how small a p-value can become where therapists are dealt anew to two clusters.

    Nothing where it can become as small as anybody would want.
    """
    upper, lower = (int((clusters == c).sum()) for c in ("upper", "lower"))
    ways = comb(upper + lower, upper)
    # Clusters of the same size swap places, which turns the sign of the difference alone.
    least = (2 if upper == lower else 1) / ways
    if least < 0.001:
        return ""
    return (
        f"Of {ways:,} ways to deal {upper} and {lower} therapists to the clusters: p cannot be "
        f"below {least:.2g}."
    )


def band(p: float) -> str:
    """Say between which usual bounds a p-value lies."""
    for bound in (0.001, 0.01, 0.05):
        if p < bound:
            return f"< {bound:g}".replace("0.", ".")
    return ".05 or more"
