"""From an analysis to the tables that may be published, each through disclosure control.

Nothing else of an analysis reaches the report, its files or its figures: what is drawn is drawn
from the tables made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pwp_report import release_parts as parts
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.disclosure import MARK, DisclosurePolicy, aggregate_small
from pwp_report.patient_counts import (
    EVERYBODY,
    NATIONAL,
    NATIONAL_COUNTS,
    OTHERS,
    Count,
    Group,
    Kind,
    PatientCounts,
    Whose,
)
from pwp_report.rates import OTHER_RATES
from pwp_report.released import ReleasedResults, ReleasedTable
from pwp_report.service_level import service_effects

__all__ = ["release_results"]

#: What control cannot do, and what it takes for known.
_LIMITS = (
    "Numbers of therapists are exact. The exact number of patients of all and of each therapist "
    "shown is taken to be known, since standard errors tell it; no other count follows from them.",
    "Runs over nearly the same patients can be compared, and what differs may tell what was "
    "withheld: a count that is withheld in one and 5 in the other was 4. Pass on one run, not "
    "several.",
)


@dataclass
class _Tables:
    """The tables of an analysis as they are made, and what is withheld."""

    analysis: Analysis
    policy: DisclosurePolicy
    made: dict[str, ReleasedTable] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alone, self.together = aggregate_small(self.analysis.cohort.caseloads(), self.policy)
        self.counts = PatientCounts.of_analysis(
            self.analysis, self.alone, self.together, self.policy
        )

    def add(self, name: str, title: str, frame: pd.DataFrame, note: str = "") -> None:
        """Keep a table that has rows, with measures called by their labels."""
        if frame.empty:
            return
        if "measure" in frame:
            names = {m.name: m.label for m in self.analysis.cohort.measures}
            frame = frame.assign(measure=frame["measure"].astype(object).replace(names))
        self.made[name] = ReleasedTable(name, title, frame, note)

    def of_everybody(self, kind: Kind) -> float:
        """One count of all patients as it may be shown, NaN if it may not."""
        return self.counts.shown(EVERYBODY, kind)

    def therapists_shown(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep the rows of therapists who are shown one by one."""
        return frame[frame.index.isin(self.alone)].rename_axis("therapist").reset_index()

    def outcomes(self, whose: Mapping[str, Sequence[tuple[str, Group, Any]]]) -> pd.DataFrame:
        """Outcomes of groups of patients: for each measure a label, a group and its summary."""
        rows = [
            {
                "measure": measure,
                "group": label,
                **parts.outcome_row(dict(row), group, measure, self.counts.shown, self.policy),
            }
            for measure, groups in whose.items()
            for label, group, row in groups
        ]
        return pd.DataFrame(rows)


def release_results(analysis: Analysis, policy: DisclosurePolicy) -> ReleasedResults:
    """Make every table of an analysis fit to be published.

    Parameters
    ----------
    analysis : Analysis
        Of a cohort that is under pseudonyms already, if the policy is active.
    policy : DisclosurePolicy
    """
    tables = _Tables(analysis, policy)
    _flow(tables)
    _sample(tables)
    _outcomes(tables)
    _national(tables)
    for result in analysis.measures.values():
        _models(tables, result)
        _checks(tables, result)
    _effects(tables)
    _therapists(tables)
    _rates(tables)
    _adjusted(tables)
    _services(tables)
    _predictors(tables)
    total = tables.of_everybody(Kind(Count.ANALYSED))
    return ReleasedResults(
        tables=tables.made,
        policy=policy,
        patients=MARK if pd.isna(total) else f"{int(total):,}",
        therapists=len(tables.alone) + len(tables.together),
        alone=tables.alone,
        together=tables.together,
        withheld=(*tables.withheld, *_what_was_withheld(tables)),
    )


def _what_was_withheld(tables: _Tables) -> list[str]:
    policy = tables.policy
    if not policy.active:
        return []
    said = []
    if tables.together:
        said.append(
            f"{len(tables.together)} therapists appear only together, since a caseload below "
            f"{policy.smallest_caseload} would be shown, told by the width of an interval, or left "
            "over from a total."
        )
    marks = sum(
        int((t.frame.astype(object) == MARK).to_numpy().sum()) for t in tables.made.values()
    )
    if marks:
        said.append(
            f"{marks:,} cells are withheld (marked {MARK}): counts below {policy.threshold}, "
            "zero among them, counts that would give one of those away, and what is worked out "
            "from either."
        )
    return [*said, *_LIMITS]


def _flow(tables: _Tables) -> None:
    flow: Any = tables.analysis.flow.copy()
    if not flow["services"].any():
        flow = flow.drop(columns="services")  # not recorded, which is not the same as none
    for column in {"therapists", "services"} & {*flow}:
        flow[column] = parts.therapists_at_rules(flow[column], tables.policy)
    for count in (Count.PATIENTS, Count.EXCLUDED):
        rules = [Group(Whose.RULE, str(i)) for i in range(len(flow))]
        flow[count.value] = [parts.marked(tables.counts.shown(r, Kind(count))) for r in rules]
    flow[Count.EXCLUDED.value] = [None, *flow[Count.EXCLUDED.value].iloc[1:]]
    what = "Patients, therapists and services" if "services" in flow else "Patients and therapists"
    tables.add("flow", f"{what} at each rule", flow)


def _sample(tables: _Tables) -> None:
    table = tables.analysis.sample.table().reset_index()
    if tables.policy.active:
        table = parts.guarded_sample(table, tables.analysis, tables.policy)
    # Counts of therapists are known from the models; those of patients go through control.
    shown = table.astype({"n": object, "missing": object})
    mine = (table["of whom"] == "patients") & tables.policy.active
    for i, row in table[mine].iterrows():
        for column, count in (("n", Count.RECORDED), ("missing", Count.MISSING)):
            found = tables.of_everybody(Kind(count, str(row["variable"])))
            shown.at[i, column] = parts.marked(found)
    tables.add("sample", "Patients, therapists and caseloads", parts.rounded(shown, 1))


def _outcomes(tables: _Tables) -> None:
    analysis = tables.analysis
    names = [m.name for m in analysis.cohort.measures]
    frame = tables.outcomes(
        {m: [("all", EVERYBODY, analysis.outcomes.loc[m])] for m in names}
    ).drop(columns="group")
    tables.add("outcomes", "Outcomes by measure", frame)
    by_therapist = {}
    for m in names:
        rows = analysis.outcomes_by_therapist[m]
        by_therapist[m] = [
            (str(t), Group(Whose.THERAPIST, str(t)), rows.loc[t])
            for t in rows.index.intersection(tables.alone, sort=False)
        ]
        if tables.together:
            few = analysis.summarise(m, tables.together)
            by_therapist[m].append((parts.OTHERS_TOGETHER, OTHERS, few))
    frame = tables.outcomes(by_therapist).rename(columns={"group": "therapist"})
    tables.add("outcomes_by_therapist", "Outcomes by therapist", frame)
    _completeness(tables)


def _completeness(tables: _Tables) -> None:
    labels = [str(t) for t in tables.analysis.completeness.index if t in set(tables.alone)]
    groups = {t: Group(Whose.THERAPIST, t) for t in labels}
    if tables.together:
        groups[parts.OTHERS_TOGETHER] = OTHERS
    rows = []
    for label, group in groups.items():
        eligible, complete = (
            tables.counts.shown(group, Kind(c)) for c in (Count.ELIGIBLE, Count.COMPLETE)
        )
        share = parts.marked_share(complete, eligible)
        rows.append((label, parts.marked(eligible), parts.marked(complete), share))
    frame = pd.DataFrame(rows, columns=["therapist", "eligible", "complete", "share"])
    tables.add("completeness", "Patients with every score, by therapist", frame)


def _national(tables: _Tables) -> None:
    national = tables.analysis.national
    if national is None:
        return
    counts = {c: tables.of_everybody(Kind(c, NATIONAL)) for c in NATIONAL_COUNTS}
    row = dict(national.iloc[0])
    shown = parts.counts_and_shares(row, counts, parts.NATIONAL_SHARES, tables.policy)
    title = "National definitions, over PHQ-9 and GAD-7"
    # Published rates have every finished course below, these those with every score alone.
    note = "Of the patients analysed, who have every score; published rates are of more."
    tables.add("national", title, pd.DataFrame([shown]), note)


def _models(tables: _Tables, result: MeasureResult) -> None:
    name, label = result.measure.name, result.measure.label
    for key, title, frame in (
        ("models", "Models", result.models.table().reset_index()),
        ("fixed", "Fixed part, random slope model", result.fit.fixed.reset_index()),
        ("variances", "Variances, random slope model", parts.variances(result.fit)),
    ):
        tables.add(f"{key}_{name}", f"{title}, {label}", parts.rounded(frame, 3))


def _checks(tables: _Tables, result: MeasureResult) -> None:
    name, label = result.measure.name, result.measure.label
    if result.checks is not None:
        table = result.checks.table()
        if tables.policy.active:
            # Shares of patients, and few of them: their counts are in no table.
            table = table[~table.index.str.startswith("patients at the")]
        tables.add(
            f"checks_{name}", f"Model checks, {label}", parts.rounded(table.reset_index(), 3)
        )
    if result.sensitivity is not None:
        frame = parts.sensitivity(
            result.sensitivity, result.measure, tables.of_everybody, tables.policy
        )
        title = f"Would another analysis say the same? {label}"
        tables.add(f"sensitivity_{name}", title, frame)


def _effects(tables: _Tables) -> None:
    if not tables.analysis.measures:
        return
    table = tables.analysis.table()
    frame = (100 * table).round(1)
    if "mcse" in table:
        # No more decimals than the Monte Carlo error allows; the error itself needs more.
        frame["mcse"] = (100 * table["mcse"]).round(3)
    note = "By maximum likelihood, with its profile-likelihood interval"
    note += "; median and interval by Gibbs sampling." if "median" in table else "."
    title = "Therapist effect, percent of the variance"
    tables.add("therapist_effect", title, frame.reset_index(), note)


def _therapists(tables: _Tables) -> None:
    analysis = tables.analysis
    for name, result in analysis.measures.items():
        frame = parts.residuals(result, tables.alone, tables.together, tables.policy)
        title = f"Therapists' residuals and how uncertain ranks are, {result.measure.label}"
        tables.add(f"residuals_{name}", title, frame)
    if not tables.alone:
        tables.withheld.append("No therapist has a caseload that may be shown alone.")


def _rates(tables: _Tables) -> None:
    """Patients per hundred and odds ratios, where the counts behind them may be shown."""
    rows = []
    for model in tables.analysis.rates:
        kinds = parts.RATE_COUNTS[model.rate]
        of = "" if model.rate in OTHER_RATES else model.measure or NATIONAL
        counts = [tables.of_everybody(Kind(c, of)) for c in kinds] if kinds else None
        row = parts.rate_row(model, counts, tables.policy)
        if row is not None:
            rows.append({"measure": model.measure or "all measures", "outcome": model.label, **row})
    note = (
        "Patients per hundred with a therapist at the 5th and at the 95th percentile of therapists "
        "by this rate, whether that is good or bad; intervals are those of the variance between "
        "therapists. The latent scale is another than that of scores: the two are not compared."
    )
    tables.add(
        "rates", "Yes-or-no outcomes in multilevel logistic models", pd.DataFrame(rows), note
    )


def _by_measure(
    tables: _Tables, name: str, title: str, found: Mapping[str, pd.DataFrame | None], note: str = ""
) -> None:
    """Put the effects of all measures in one table, as percentages."""
    there = {m: frame for m, frame in found.items() if frame is not None}
    if there:
        frame = pd.concat(there, names=["measure"]).reset_index(level=0)
        tables.add(name, title, parts.in_percent(frame), note)


def _adjusted(tables: _Tables) -> None:
    results = tables.analysis.measures
    note = " ".join(dict.fromkeys(n for r in results.values() for n in r.case_mix_notes))
    found = {m: r.adjusted for m, r in results.items()}
    _by_measure(tables, "adjusted", "Therapist effect, unadjusted and adjusted", found, note)
    found = {m: r.bounds for m, r in results.items()}
    _by_measure(tables, "missing", "Therapist effect if missing last scores were known", found)


def _services(tables: _Tables) -> None:
    """Share of the variance between services, and each service that may be shown."""
    fits = {m: r.services for m, r in tables.analysis.measures.items() if r.services is not None}
    if not fits:
        return
    note = "Few services say little of how services differ: read the interval, not the estimate."
    found = {m: service_effects(fit) for m, fit in fits.items()}
    _by_measure(tables, "services", "Services as a third level", found, note)
    shown, hidden = parts.services_shown(tables.analysis, tables.alone, tables.policy)
    if hidden:
        tables.withheld.append(
            f"{hidden} services are not shown, since they have fewer than three therapists, or one "
            "of whom the others' patients could be told."
        )
    for name, fit in fits.items():
        worse = tables.analysis.measures[name].measure.higher_is_worse
        frame = parts.service_rows(fit, shown, tables.policy, worse)
        label = tables.analysis.measures[name].measure.label
        if frame["residual"].any():  # with a variance of zero there is nothing to tell apart
            tables.add(f"by_service_{name}", f"Services, {label}", frame)


def _predictors(tables: _Tables) -> None:
    found = tables.analysis.predictors
    if found is not None:
        title = "Therapist-level predictors, over all therapists"
        tables.add("predictors", title, parts.rounded(found.reset_index(), 3))
