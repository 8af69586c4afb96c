"""From an analysis to the tables that may be published, each through disclosure control.

Nothing else of an analysis reaches the report, its files or its figures: what is drawn is drawn
from the tables made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_report import release_parts as parts
from pwp_report.disclosure import (
    MARK,
    DisclosurePolicy,
    aggregate_small,
    percentage,
)
from pwp_report.joint import ALL, joint_counts
from pwp_report.table_words import measure_words

if TYPE_CHECKING:
    from pwp_report import analysis as whole
    from pwp_report.analysis import Analysis

__all__ = ["Published", "Release", "release"]

#: What control cannot do, and what it takes for known.
_LIMITS = (
    "Numbers of therapists are exact. The exact number of patients of all and of each therapist "
    "shown is taken to be known, since standard errors tell it; no other count follows from them.",
    "Runs over nearly the same patients can be compared, and what differs may tell what was "
    "withheld: a count that is withheld in one and 5 in the other was 4. Pass on one run, not "
    "several.",
)


@dataclass(frozen=True)
class Published:
    """One table as it is published.

    Attributes
    ----------
    name : str
        Of its CSV file.
    title, note : str
    frame : DataFrame
        Numbers and words; `MARK` where something is withheld, missing where there is nothing.
    withheld : int
        Cells withheld.
    words : mapping of str to str
        Headings that name a measure, by column.
    """

    name: str
    title: str
    frame: pd.DataFrame
    note: str = ""
    withheld: int = 0
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """All that may be published of an analysis.

    Attributes
    ----------
    tables : mapping of str to Published
    policy : DisclosurePolicy
    patients : str
        Number of patients, as it may be said.
    therapists : int
    alone, together : list
        Therapists who are shown one by one, and those shown only in aggregate.
    withheld : tuple of str
        What was withheld, in sentences.
    """

    tables: Mapping[str, Published]
    policy: DisclosurePolicy
    patients: str
    therapists: int
    alone: Sequence[str]
    together: Sequence[str]
    withheld: tuple[str, ...] = ()

    def frame(self, name: str) -> pd.DataFrame | None:
        """Find a table by name."""
        found = self.tables.get(name)
        return None if found is None else found.frame


@dataclass
class _Builder:
    analysis: Analysis
    policy: DisclosurePolicy
    tables: dict[str, Published] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        loads, ranks = self.analysis.cohort.caseloads(), self.analysis.ranks
        clusters = None if ranks is None else ranks["cluster"]
        self.alone, self.together = aggregate_small(loads, self.policy, clusters)
        self.joint = joint_counts(self.analysis, self.alone, self.together, self.policy)

    def add(self, name: str, title: str, frame: pd.DataFrame | None, note: str = "") -> None:
        """Keep a table, counting what it withholds."""
        if frame is None or frame.empty:
            return
        names = {"rcsi": "RCSI", **{m.name: m.label for m in self.analysis.cohort.measures}}
        for column in {"measure", "of", "with"} & {*frame}:
            words = frame[column].astype(str).str.split()
            frame = frame.assign(**{column: [" ".join(names.get(w, w) for w in x) for x in words]})
        marks = int((frame.astype(object) == MARK).to_numpy().sum())
        heads = measure_words(self.analysis.cohort.measures)
        self.tables[name] = Published(name, title, frame, note, marks, heads)

    def size(self, group: str, kind: str) -> float:
        """One count as it may be shown, missing if it may not."""
        return self.joint.shown([group], kind)[0]

    def number(self, kind: str) -> int | str:
        """One count of all patients, or the mark."""
        n = self.size(ALL, kind)
        return MARK if n != n else int(n)

    def counted(
        self,
        frame: pd.DataFrame,
        groups: Sequence[str],
        kinds: Mapping[str, str],
        shares: Mapping[str, tuple[str, str]],
    ) -> pd.DataFrame:
        """Replace counts by released ones, and shares by percentages of those."""
        shown = {
            c: pd.Series(self.joint.shown(groups, kind), frame.index)
            for c, kind in kinds.items()
            if c in frame
        }
        out: dict[str, Any] = {}
        for column in frame.columns:
            if column in shown:
                out[column] = parts.marked(shown[column], frame[column].isna())
            elif column in shares and set(shares[column]) <= set(shown):
                part, whole = (shown[c] for c in shares[column])
                out[column] = self._shares(frame, column, part, whole)
            else:
                out[column] = frame[column]
        return pd.DataFrame(out, index=frame.index)

    def _shares(
        self, frame: pd.DataFrame, column: str, part: pd.Series, whole: pd.Series
    ) -> list[object]:
        if not self.policy.active:
            return [None if pd.isna(v) else round(100 * float(v), 1) for v in frame[column]]
        found = [percentage(p, w) for p, w in zip(part, whole, strict=True)]
        pairs = zip(found, frame[column], strict=True)
        return [(None if pd.isna(v) else MARK) if p is None else p for p, v in pairs]


def release(analysis: Analysis, policy: DisclosurePolicy) -> Release:
    """Make every table of an analysis fit to be published.

    Parameters
    ----------
    analysis : Analysis
        Of a cohort that is under pseudonyms already, if the policy is active.
    policy : DisclosurePolicy
    """
    builder = _Builder(analysis, policy)
    _flow(builder)
    _sample(builder)
    _outcomes(builder)
    _national(builder)
    for name, result in analysis.measures.items():
        _models(builder, name, result)
    _effects(builder)
    _therapists(builder)
    _comparison(builder)
    _scales(builder)
    if policy.active and builder.together:
        builder.withheld.append(
            f"{len(builder.together)} therapists appear only together, since a caseload below "
            f"{policy.caseload} would be shown, told by the width of an interval, or left over "
            "from a total or a cluster."
        )
    marks = sum(t.withheld for t in builder.tables.values())
    if marks:
        builder.withheld.append(
            f"{marks:,} cells are withheld (marked {MARK}): counts below {policy.threshold}, "
            "zero among them, counts that would give one of those away, and what is worked out "
            "from either."
        )
    return Release(
        tables=builder.tables,
        policy=policy,
        patients=total if isinstance(total := builder.number("total"), str) else f"{total:,}",
        therapists=len(builder.alone) + len(builder.together),
        alone=builder.alone,
        together=builder.together,
        withheld=(*builder.withheld, *_LIMITS) if policy.active else tuple(builder.withheld),
    )


def _flow(b: _Builder) -> None:
    flow: Any = b.analysis.flow.astype({"excluded": "float"})
    flow.loc[0, "excluded"] = np.nan
    if not flow["services"].any():
        flow = flow.drop(columns="services")  # not recorded, which is not the same as none
    for column in {"therapists", "services"} & {*flow}:
        flow[column] = parts.steps(flow[column], b.policy)
    groups = [f"rule {i}" for i in range(len(flow))]
    shown = b.counted(flow, groups, {c: c for c in ("patients", "excluded")}, {})
    what = "Patients, therapists and services" if "services" in flow else "Patients and therapists"
    b.add("flow", f"{what} at each rule", shown)


def _sample(b: _Builder) -> None:
    table = b.analysis.sample.table().reset_index()
    if b.policy.active:
        table = parts.guarded_sample(table, b.analysis, b.policy)
    # Counts of therapists are known from the models; those of patients go through control.
    shown = table.astype({"n": object, "missing": object})
    mine = (table["of whom"] == "patients") & b.policy.active
    for i, row in table[mine].iterrows():
        for column in ("n", "missing"):
            shown.at[i, column] = b.number(f"sample.{row['variable']}.{column}")
    b.add("sample", "Patients, therapists and caseloads", parts.rounded(shown, 1))


def _outcomes(b: _Builder) -> None:
    a = b.analysis
    whole = []
    for m in a.cohort.measures:
        one = parts.outcome_table(b.counted, a.outcomes.loc[[m.name]], [ALL], m.name, b.policy)
        one.insert(0, "measure", m.label)
        whole.append(one)
    b.add("outcomes", "Outcomes by measure", pd.concat(whole, ignore_index=True))
    for m in a.cohort.measures:
        table = parts.by_therapist(a, m, b.together)
        groups = [str(i) for i in table.index]
        shown = parts.outcome_table(b.counted, table, groups, m.name, b.policy)
        shown.insert(0, "therapist", groups)
        title = f"Outcomes by therapist, {m.label}"
        b.add(f"outcomes_by_therapist_{m.name}", title, shown.reset_index(drop=True))
    complete = parts.completeness(a.completeness, b.together)
    groups = [str(i) for i in complete.index]
    shares = {"share_complete": ("complete", "total")}
    kinds = {"total": "eligible", "complete": "complete"}
    shown = b.counted(complete, groups, kinds, shares)
    shown.insert(0, "therapist", groups)
    b.add("completeness", "Patients with every score, by therapist", shown.reset_index(drop=True))


def _national(b: _Builder) -> None:
    table = b.analysis.national
    if table is None:
        return
    counts = [str(c) for c in table if c == "n" or str(c).startswith("n_")]
    shown = b.counted(
        table.reset_index(drop=True),
        [ALL] * len(table),
        {c: f"national.{c}" for c in counts},
        parts.national_shares(table),
    )
    b.add("national", "National definitions, over both measures", shown)


def _models(b: _Builder, name: str, result: whole.MeasureResult) -> None:
    label = result.measure.label
    tables = {
        "models": ("Models", result.models.table().reset_index()),
        "fixed": ("Fixed part, random slope model", result.fit.fixed.reset_index()),
        "variances": ("Variances, random slope model", parts.variances(result.fit)),
    }
    for key, (title, frame) in tables.items():
        b.add(f"{key}_{name}", f"{title}, {label}", parts.rounded(frame, 3))
    if result.checks is not None:
        table = result.checks.table()
        for end in ("minimum", "maximum") if b.policy.active else ():
            share = percentage(b.size(ALL, f"{name}.at_{end}"), b.size(ALL, f"{name}.n"))
            row = f"patients at the {end}, after"
            table = table.astype(object)
            table.loc[row, "value"] = MARK if share is None else share / 100
        frame = parts.rounded(table.reset_index(), 3)
        b.add(f"checks_{name}", f"Model checks, {label}", frame)
    if result.sensitivity is not None:
        frame = parts.sensitivity(
            result.sensitivity.table(),
            b.together,
            lambda what: b.number(f"panel.{name}.{what}"),
            b.policy,
        )
        b.add(f"sensitivity_{name}", f"Would another analysis say the same? {label}", frame)
    if result.precision is not None:
        frame = result.precision.table().reset_index(drop=True)
        frame["patients"] = b.number(f"panel.{name}.model")
        if b.policy.active:
            # The reliability of the smallest caseload tells that caseload.
            frame = frame.drop(columns=["reliability_smallest", "reliability_largest"])
        title = f"What these caseloads can say of such an effect, {label}"
        b.add(f"precision_{name}", title, parts.rounded(parts.percent(frame), 3))
    curve = result.fit.vpc_curve(result.measure.pre, parts.severity(result.measure))
    curve = curve.reset_index(drop=result.measure.pre in curve)
    title = f"Therapist effect by severity, {label}"
    b.add(f"severity_{name}", title, parts.rounded(parts.percent(curve, 2), 3))


def _effects(b: _Builder) -> None:
    if not b.analysis.measures:
        return
    table = b.analysis.table()
    frame = (100 * table).round(1)
    for error in [str(c) for c in table if str(c).endswith("mcse")]:
        # No more decimals than the Monte Carlo error allows; the error itself needs more.
        frame[error] = (100 * table[error]).round(3)
    labels = [b.analysis.measures[str(m)].measure.label for m in table.index]
    frame.insert(0, "measure", labels)
    b.add(
        "therapist_effect",
        "Therapist effect, percent of the variance",
        frame.reset_index(drop=True),
        "".join(
            words
            for column, words in (
                ("vpc", "By maximum likelihood"),
                ("profile_lower", " with its profile-likelihood interval"),
                ("reml", "; by REML"),
                ("median", "; median and interval by Gibbs sampling"),
            )
            if column in table
        )
        + ".",
    )


def _therapists(b: _Builder) -> None:
    a, alone = b.analysis, set(b.alone)
    clusters = None if a.ranks is None else a.ranks["cluster"]
    for name, result in a.measures.items():
        frame = parts.residuals(result, b.alone, b.together, b.policy)
        b.add(f"residuals_{name}", f"Therapists' residuals, {result.measure.label}", frame)
        ranks = result.rank_uncertainty
        ranks = ranks.loc[[t for t in ranks.index if t in alone]]
        frame = parts.rounded(ranks.reset_index(names="therapist"), 2)
        b.add(f"rank_intervals_{name}", f"How uncertain ranks are, {result.measure.label}", frame)
    if a.ranks is not None and clusters is not None:
        shown = a.ranks.loc[[t for t in a.ranks.index if t in alone]]
        b.add("ranks", "Composite ranks and clusters", shown.reset_index(names="therapist"))
        if len(shown) < len(a.ranks) and shown.empty:
            b.withheld.append("No therapist has a caseload that may be shown alone.")
    if a.composite_uncertainty is not None:
        sure = a.composite_uncertainty
        sure = sure.loc[[t for t in sure.index if t in alone]]
        frame = parts.rounded(sure.reset_index(names="therapist"), 2)
        b.add("composite_uncertainty", "How uncertain composite ranks are", frame)
    if len(a.rank_correlations):
        frame = a.rank_correlations.reset_index()
        b.add("rank_correlations", "Spearman's correlations of ranks", parts.rounded(frame, 3))
    if a.services is not None and b.policy.active:
        b.withheld.append("Therapists by service and cluster: the counts are too small.")
    elif a.services is not None:
        b.add("services", "Therapists by service and cluster", a.services.reset_index())


def _comparison(b: _Builder) -> None:
    c, ranks = b.analysis.comparison, b.analysis.ranks
    if c is None or ranks is None:
        return
    loads = b.analysis.cohort.caseloads().loc[b.together]
    for _, rest in loads.groupby(ranks["cluster"].reindex(b.together)):
        if len(rest) < 2 or rest.sum() < b.policy.caseload:
            b.withheld.append(
                "The clusters compared: one less its therapists who are shown alone is a caseload "
                "that may not be shown alone."
            )
            return
    if len(c.effect_sizes):
        shown = parts.clusters(b.counted, c.effect_sizes, b.policy)
        b.add("clusters", "Outcomes of the upper and the lower cluster", shown)
    for name, title, frame in (
        ("ancova", "Clusters compared, patients taken as independent", c.ancova),
        ("nested_ancova", "Clusters compared, therapists as the units", c.nested_ancova),
    ):
        if len(frame):
            shown = parts.comparison(frame, b.size).reset_index()
            b.add(name, title, parts.rounded(shown, 3))
    rates = parts.rates(c.rates, b.policy, b.size) if len(c.rates) else pd.DataFrame()
    b.add("rates", "Rates of the clusters compared", rates)
    if len(c.nested_rates):
        frame = parts.nested_rates(c.nested_rates, rates, b.policy)
        note = parts.fewest_splits(ranks["cluster"])
        b.add("nested_rates", "Rates compared with therapists as the units", frame, note)
    if c.split is not None:
        frame = c.split.table().reset_index()
        if b.policy.active:
            # Rates of a cluster to full precision would tell its exact counts.
            frame = frame[frame["figure"].str.contains("effect_size|ancova")]
        title = "Clusters chosen on the same and on other patients"
        b.add("split_sample", title, parts.rounded(frame, 3))


def _scales(b: _Builder) -> None:
    a = b.analysis
    if a.scales is not None:
        frame = a.scales
        if b.policy.active:
            few = (frame["n_upper"] < b.policy.threshold) | (frame["n_lower"] < b.policy.threshold)
            if few.any():
                b.withheld.append("Scales on which fewer than 5 therapists of a cluster answered.")
            frame = frame[~few]
        # What a paper reported has no place beside other services' therapists.
        frame = frame.drop(columns=["reported"], errors="ignore").reset_index()
        b.add("scales", "Therapists' own scales", parts.rounded(frame, 3))
    if a.predictors is not None:
        frame = parts.rounded(a.predictors.reset_index(), 3)
        b.add("predictors", "Therapist-level predictors, over all therapists", frame)
