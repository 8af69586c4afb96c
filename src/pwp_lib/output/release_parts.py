"""How each kind of table is made fit to be published; see `release`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.data.disclosure import MARK, DisclosurePolicy, Relation, percentage
from pwp_lib.data.measures import Measure
from pwp_lib.findings.outcomes import summarise_outcomes

if TYPE_CHECKING:
    from pwp_lib import analysis as whole
    from pwp_lib.engine.mixed import MixedFit

OUTCOME_SHARES: Mapping[str, tuple[str, str]] = {
    "caseness": ("n_case_pre", "n"),
    "improvement": ("n_improved", "n"),
    "deterioration": ("n_deteriorated", "n"),
    "recovery": ("n_recovered", "n_case_pre"),
    "rcsi": ("n_rcsi", "n_case_pre"),
}
_OUTCOME_COUNTS = ("n", "n_case_pre", "n_improved", "n_deteriorated", "n_recovered", "n_rcsi")
OTHERS = "others together"


def marked(values: pd.Series, missing: pd.Series) -> list[object]:
    """Released counts, the mark where one is withheld, nothing where there is none."""
    pairs = zip(values, missing, strict=True)
    return [None if gone else (MARK if pd.isna(v) else int(v)) for v, gone in pairs]


def rounded(frame: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """Round the numbers of a table; p-values keep three significant digits."""
    out: Any = frame.copy()
    column: Any
    for column in out.columns:
        if str(column).startswith("p_value") or str(column) == "p_directed":
            out[column] = [_significant(v) for v in out[column]]
        elif pd.api.types.is_float_dtype(out[column]):
            out[column] = out[column].round(decimals)
        elif out[column].dtype == object:
            out[column] = [round(v, decimals) if isinstance(v, float) else v for v in out[column]]
    table: pd.DataFrame = out
    return table


def _significant(value: Any) -> object:
    if value is None or value == MARK or pd.isna(value):
        return value
    return float(f"{float(value):.3g}")


def outcome_relations(table: pd.DataFrame, total: str = "") -> list[Relation]:
    """List the sums that a reader of outcomes knows of, the complements included."""
    relations: list[Relation] = []
    known = _known(table)
    for row in table.index:
        n, case = (row, "n"), (row, "n_case_pre")
        relations.append(Relation(n, ((row, "n_improved"), (row, "n_deteriorated")), False))
        relations.append(Relation(n, (case,), False))
        relations += [Relation(case, ((row, p),), False) for p in ("n_recovered", "n_rcsi")]
    if total and total in table.index:
        rows = [r for r in table.index if r != total]
        relations += [
            Relation((total, column), tuple((r, column) for r in rows))
            for column in _OUTCOME_COUNTS
        ]
    return [r for r in relations if {r.whole, *r.parts} <= known]


def _known(table: pd.DataFrame) -> set[tuple[Any, Any]]:
    """Cells that hold a count at all: nobody recovers of no cases."""
    counts = table[[c for c in _OUTCOME_COUNTS if c in table]]
    there = counts.notna()
    return {(r, c) for c in counts for r in there.index[there[c].astype(bool)]}


def outcome_table(
    counted: Callable[..., pd.DataFrame],
    table: pd.DataFrame,
    relations: Sequence[Relation],
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Outcomes with released counts, percentages of those, and means of groups large enough."""
    numbers = table.apply(pd.to_numeric, errors="coerce")
    shown = counted(numbers, _OUTCOME_COUNTS, relations, OUTCOME_SHARES)
    for column in shown.columns:
        if column in _OUTCOME_COUNTS or column in OUTCOME_SHARES:
            continue
        values: list[Any] = [None if pd.isna(v) else round(float(v), 2) for v in numbers[column]]
        if policy.active:
            small = numbers["n"] < policy.caseload
            values = [
                MARK if s and v is not None else v for v, s in zip(values, small, strict=True)
            ]
        shown[column] = values
    return shown


def by_therapist(
    patients: pd.DataFrame, measure: Measure, together: Collection[str]
) -> pd.DataFrame:
    """Outcomes of each therapist shown alone, of the others together, and of all."""
    few = set(together)
    labels = patients["therapist_id"].map(lambda t: OTHERS if t in few else t)
    table = summarise_outcomes(patients.assign(therapist_id=labels), measure, by="therapist_id")
    if OTHERS in table.index:
        rows = [*(r for r in table.index if r != OTHERS), OTHERS]
        table = table.loc[rows]
    whole = summarise_outcomes(patients, measure)
    return pd.concat([table, whole.set_axis(["all"], axis=0)])


def completeness(
    table: pd.DataFrame, together: Collection[str], policy: DisclosurePolicy
) -> pd.DataFrame:
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


def national_relations(table: pd.DataFrame) -> list[Relation]:
    """List the sums between the national counts."""
    pairs = [("n", "n_finished"), ("n_finished", "n_case"), ("n_case", "n_recovery")]
    pairs += [("n_finished", "n_reliable_improvement"), ("n_finished", "n_reliable_deterioration")]
    pairs += [("n_recovery", "n_reliable_recovery")]
    return [
        Relation((i, whole), ((i, part),), False)
        for i in range(len(table))
        for whole, part in pairs
        if whole in table and part in table
    ]


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


def sensitivity(
    table: pd.DataFrame, together: Collection[str], policy: DisclosurePolicy
) -> pd.DataFrame:
    """Sensitivity panel, without lines about therapists who are not shown alone."""
    frame = table.reset_index()
    hidden = {f"Without {t}" for t in together}
    frame = frame[~frame["analysis"].isin(hidden)]
    people = [policy.text(n) if pd.notna(n) else None for n in frame["n_patients"]]
    shown = frame.drop(columns=["measure", "n_patients"], errors="ignore").copy()
    shown.insert(2, "patients", people)
    for column in ("vpc", "lower", "upper"):
        shown[column] = (100 * shown[column]).round(1)
    return rounded(shown.reset_index(drop=True), 3)


def residuals(
    result: whole.MeasureResult,
    alone: Sequence[str],
    together: Sequence[str],
    policy: DisclosurePolicy,
) -> pd.DataFrame:
    """Residuals with the interval of the released caseload, and the others' mean."""
    table = result.residuals
    shown = table.loc[[t for t in table.index if t in set(alone)]]
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
    few = table.loc[[t for t in table.index if t in set(together)]]
    if len(few):
        total = policy.count(few["n"].sum()) or 0
        mean = float(np.average(few["residual"].astype(float), weights=few["n"]))
        nothing = float("nan")
        frame.loc[len(frame)] = [OTHERS, total, mean, nothing, nothing, nothing, nothing]
    ordered: pd.DataFrame = rounded(frame, 2).sort_values("rank", kind="stable")
    return ordered.reset_index(drop=True)


def comparison(frame: pd.DataFrame, policy: DisclosurePolicy) -> pd.DataFrame:
    """Comparison of clusters, with the numbers of patients as released."""
    out = frame.copy()
    if {"n_upper", "n_lower"} <= set(out.columns) and policy.active:
        for column in ("n_upper", "n_lower"):
            out[column] = [policy.count(n) for n in out[column]]
        if "df2" in out:
            out["df2"] = out["n_upper"] + out["n_lower"] - 3
    return out


def rates(table: pd.DataFrame, policy: DisclosurePolicy) -> pd.DataFrame:
    """Rates of two clusters and their chi-square test, from released counts alone."""
    keys = table.index.to_frame(index=False)
    if not policy.active:
        shown = table.reset_index(drop=True).drop(columns="reported", errors="ignore")
        for column in ("rate_upper", "rate_lower"):
            shown[column] = (100 * shown[column].astype(float)).round(1)
        return pd.concat([keys, rounded(shown, 3)], axis=1)
    lines = [_released_rate(row, policy) for _, row in table.iterrows()]
    return pd.concat([keys, rounded(pd.DataFrame(lines), 3)], axis=1)


def _released_rate(row: pd.Series, policy: DisclosurePolicy) -> dict[str, object]:
    line: dict[str, object] = {}
    cells: list[list[float]] = []
    for side in ("upper", "lower"):
        yes, n = (policy.count(row[f"{k}_{side}"]) for k in ("yes", "n"))
        # Those who did not are a count as well.
        if n is None or policy.count(row[f"n_{side}"] - row[f"yes_{side}"]) is None:
            yes = None
        share = percentage(yes, n)
        line |= {f"yes_{side}": MARK if yes is None else yes, f"n_{side}": MARK if n is None else n}
        line[f"rate_{side}"] = MARK if share is None else share
        if yes is not None and n is not None and n > yes:
            cells.append([yes, n - yes])
    if len(cells) < 2:
        return {**line, "chi2": MARK, "df": MARK, "p_value": MARK}
    from scipy.stats import chi2_contingency

    test = chi2_contingency(np.array(cells), correction=False)
    return {**line, "chi2": float(test.statistic), "df": 1, "p_value": float(test.pvalue)}


def nested_rates(
    table: pd.DataFrame, plain: pd.DataFrame, policy: DisclosurePolicy
) -> pd.DataFrame:
    """Difference of rates with therapists permuted; with control on, p only within bounds."""
    keys = table.index.to_frame(index=False)
    shown = table.reset_index(drop=True)
    if not policy.active:
        return pd.concat([keys, rounded(shown, 3)], axis=1)
    released = rates(plain, policy).set_index(list(plain.index.names)).reindex(table.index)
    sides = list(zip(released["rate_upper"], released["rate_lower"], strict=True))
    withheld = [MARK in pair for pair in sides]
    differences = [MARK if MARK in (u, low) else float(u) - float(low) for u, low in sides]
    bounds = [MARK if gone else band(p) for gone, p in zip(withheld, shown["p_value"], strict=True)]
    return keys.assign(difference=differences, p=bounds)


def band(p: float) -> str:
    """Say between which usual bounds a p-value lies."""
    for bound in (0.001, 0.01, 0.05):
        if p < bound:
            return f"below {bound:g}"
    return "0.05 or more"
