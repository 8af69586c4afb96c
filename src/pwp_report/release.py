"""From an analysis to the tables that may be published, each through disclosure control.

Nothing else of an analysis reaches the report, its files or its figures: what is drawn is drawn
from the tables made here.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from pwp_lib.checks import normality
from pwp_lib.measures import Measure
from pwp_lib.outcomes import OUTCOMES
from pwp_report import patient_counts as counted
from pwp_report import release_parts as parts
from pwp_report.analysis import Analysis, MeasureResult
from pwp_report.case_mix import FIRST, WITH_MIX
from pwp_report.disclosure import DisclosurePolicy, aggregate_small, is_safe_group, share_between
from pwp_report.ledger import MARK
from pwp_report.patient_counts import Count, Group, Kind, PatientCounts, Whose
from pwp_report.rates import OTHER_RATES
from pwp_report.register import changes_by_therapist, differ_by_few, joined
from pwp_report.released import ReleasedResults, ReleasedTable
from pwp_report.service_level import level_effects
from pwp_report.table_words import phrase

#: With fewer therapists the figures of a model that rests on counts alone, some 14 digits, may fit
#: no other counts: five for each therapist by the tables of who has every score, any of who dropped
#: out, as they are in no table by therapist.
_MANY = {"complete": 40, "dropout": 20}
#: What the model of a yes-or-no outcome is adjusted for, by how many first scores are in it.
_GIVEN: Sequence[list[str]] = ([], ["its own first score"], [FIRST])


@dataclass
class _Tables:
    """The tables of an analysis as they are made, and what is withheld."""

    analysis: Analysis
    policy: DisclosurePolicy
    made: dict[str, ReleasedTable] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        cohort, policy = self.analysis.cohort, self.policy
        self.alone, self.together = aggregate_small(cohort.caseloads(), policy, joined(cohort))
        self.counts = PatientCounts.of_analysis(self.analysis, self.alone, self.together, policy)
        self.held = {group.name for group in self.counts.held}
        self.beside = phrase("withheld", "beside") if self.counts.compared else ""

    def add(
        self,
        name: str,
        frame: pd.DataFrame,
        *,
        measure: Measure | None = None,
        note: str = "",
        by: str = "with_case_mix",
        **words: object,
    ) -> None:
        """Keep a table that has rows, of one measure or all, with measures called by labels."""
        title, note = phrase("titles", name, **words), note or phrase("notes", name)
        if "mix_0" in self.analysis.cohort.patients:
            note = f"{note} {phrase(by, name, **words)}".strip()
        if measure is not None:
            name, title = f"{name}_{measure.name}", f"{title}, {measure.label}"
        if "measure" in frame:
            names = {m.name: m.label for m in self.analysis.cohort.measures}
            frame = frame.assign(measure=frame["measure"].astype(object).replace(names))
        if len(frame):
            self.made[name] = ReleasedTable(name, title, parts.as_written(frame), note)

    def withhold(self, key: str, **words: object) -> None:
        """Say that something is withheld."""
        self.withheld.append(phrase("withheld", key, beside=self.beside, **words))

    def of_everybody(self, kind: Kind) -> float:
        """One count of all patients as it may be shown, NaN if it may not."""
        return self.counts.shown(counted.EVERYBODY, kind)

    def people(self, loads: pd.Series) -> tuple[list[str], list[str]]:
        """Who is shown alone, and only together, by patients on a measure that some may lack."""
        return aggregate_small(loads, self.policy, self.together)

    def shown(self, loads: pd.Series) -> list[str]:
        """Who is shown alone, and does not differ by few from an earlier run."""
        return [t for t in self.people(loads)[0] if t not in self.held]

    def outcomes(self, groups: Iterable[Group]) -> pd.DataFrame:
        """Outcomes of groups of patients, on each measure that some of them have."""
        rows = []
        for m, group in product(self.analysis.cohort.measures, groups):
            if (row := self.counts.outcomes[m.name].get(group)) is None:
                continue
            if group == counted.OTHERS:
                loads = self.analysis.outcomes_by_therapist[m.name]["n"].reindex(self.together)
                row = {**row, "n": row["n"] * is_safe_group(loads.dropna(), self.policy)}
            found = parts.outcome_row(row, group, m, self.counts.shown, self.policy)
            rows.append({"measure": m.name, "therapist": group.name, **found})
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
    described = _flow, _sample, _outcomes, _completeness, _last_scores, _national
    modelled = _models, _effects, _therapists, _groups, _rates, _adjusted, _services, _predictors
    for make in (*described, *modelled, _reporting, _say_what_is_withheld):
        make(tables)
    total = tables.of_everybody(Kind(Count.analysed))
    return ReleasedResults(
        tables=tables.made,
        policy=policy,
        patients=MARK if pd.isna(total) else f"{int(total):,}",
        therapists=len(tables.alone) + len(tables.together),
        withheld=tuple(dict.fromkeys(tables.withheld)),
        beside=tables.beside,
    )


def _some_lack(analysis: Analysis) -> bool:
    """Whether patients are analysed who lack a measure."""
    return any(r.fit.n < len(analysis.cohort.patients) for r in analysis.measures.values())


def _say_what_is_withheld(tables: _Tables) -> None:
    policy, held = tables.policy, len(tables.counts.held)
    marks = sum((t.frame.astype(object) == MARK).to_numpy().sum() for t in tables.made.values())
    words = {"least": policy.smallest_caseload, "threshold": policy.threshold, "mark": MARK}
    known = "known" + "_of_all" * _some_lack(tables.analysis)
    found = {"together": len(tables.together), "held": held, "marks": marks, known: 1, "runs": 1}
    found["compared"] = len(tables.beside)
    for key in (key for key, n in found.items() if n and policy.active):
        tables.withhold(key, n=found[key], **words)


def _flow(tables: _Tables) -> None:
    flow: Any = tables.analysis.flow.copy()
    if not flow["services"].any():
        flow = flow.drop(columns="services")  # not recorded, which is not the same as none
    for column in {"therapists", "services"} & {*flow}:
        flow[column] = parts.therapists_at_rules(flow[column], tables.policy)
    for count in (Count.patients, Count.excluded):
        rules = [Group(Whose.RULE, str(i)) for i in range(len(flow))]
        shown = [parts.marked(tables.counts.shown(r, Kind(count))) for r in rules]
        flow[count.value] = [n and s for n, s in zip(flow[count.value], shown, strict=True)]
    excluded = [None, *flow[Count.excluded.value].iloc[1:]]
    flow[Count.excluded.value] = pd.Series(excluded, flow.index, dtype=object)
    what = "Patients, therapists and services" if "services" in flow else "Patients and therapists"
    tables.add("flow", flow, what=what)


def _sample(tables: _Tables) -> None:
    table = tables.analysis.sample.table().reset_index()
    if tables.policy.active:
        table = parts.safe_sample(table, tables.analysis, tables.policy)
    # Counts of therapists are known from the models; those of patients go through control.
    shown = table.astype({"n": object, "missing": object})
    for i, row in table[(table["of whom"] == "patients") & tables.policy.active].iterrows():
        for column, count in (("n", Count.recorded), ("missing", Count.missing)):
            found = tables.of_everybody(Kind(count, str(row["variable"])))
            shown.at[i, column] = row[column] and parts.marked(found)
    note = phrase("notes", "caseloads") if tables.together else ""
    tables.add("sample", parts.rounded(shown, 1), note=note)
    everybody, rows = tables.of_everybody(Kind(Count.analysed)), []
    for kind in [k for k in tables.counts.cells[counted.EVERYBODY] if k.count is Count.category]:
        n = tables.of_everybody(kind)
        told = {"n": parts.marked(n), "share": share_between(n, everybody, tables.policy)}
        rows.append({"variable": kind.of, "category": kind.analysis, **told})
    tables.add("categories", pd.DataFrame(rows))


def _outcomes(tables: _Tables) -> None:
    tables.add("outcomes", tables.outcomes([counted.EVERYBODY]).drop(columns="therapist"))
    tables.add("outcomes_by_therapist", tables.outcomes(tables.counts.people))


def _completeness(tables: _Tables) -> None:
    """Who has every score, and who has a last one beside the first, by therapist."""
    analysis, groups, rows = tables.analysis, tables.counts.people, []
    for kind in (Kind(Count.complete), *(Kind(Count.last, name) for name in analysis.lacking)):
        for group in groups:
            cells = [(group, Kind(Count.eligible)), (group, kind)]
            if not tables.counts.absent & {*cells}:
                found = [tables.counts.shown(*cell) for cell in cells]
                share = share_between(found[1], found[0], tables.policy)
                rows.append((kind.of, group.name, *map(parts.marked, found), share))
    if len(rows) < len(groups) * (1 + len(analysis.lacking)):
        tables.withhold("lacking")
    frame = pd.DataFrame(rows, columns=["measure", "therapist", "eligible", "complete", "share"])
    own = frame["measure"] != ""
    tables.add("completeness", frame[~own].drop(columns="measure"))
    if len(analysis.cohort.measures) > 1:
        tables.add("completeness_by_measure", frame[own])


def _last_scores(tables: _Tables) -> None:
    found: Any = tables.analysis.last_scores
    rows = []
    for name in tables.analysis.lacking:
        counts = {c: tables.of_everybody(Kind(c, name)) for c in counted.LAST_SCORES}
        more = parts.finer(tables.analysis.cohort.measure(name))
        released = parts.last_scores_row(found.loc[name], counts, tables.policy, more)
        rows.append({"measure": name, **released})
    tables.add("last_scores", pd.DataFrame(rows))


def _national(tables: _Tables) -> None:
    if (national := tables.analysis.national) is None:
        return
    lines = []
    kinds = counted.NATIONAL, counted.PUBLISHED
    for of, (courses, row) in zip(kinds, national.iterrows(), strict=False):
        counts = {c: tables.of_everybody(Kind(c, of)) for c in counted.NATIONAL_COUNTS}
        shown = parts.counts_and_shares(dict(row), counts, parts.NATIONAL_SHARES, tables.policy)
        lines.append({"courses": courses, **shown})
    tables.add("national", pd.DataFrame(lines))


def _models(tables: _Tables) -> None:
    for result in tables.analysis.measures.values():
        models, fixed = result.models.table().reset_index(), result.fit.fixed.reset_index()
        found = {"models": models, "fixed": fixed, "variances": parts.variances(result.fit)}
        for name, frame in found.items():
            tables.add(name, parts.rounded(frame, 3), measure=result.measure)
        _checks(tables, result)


def _checks(tables: _Tables, result: MeasureResult) -> None:
    alone = tables.shown(result.residuals["n"])
    if result.checks is not None:
        table = result.checks.copy()
        if len(alone) < len(result.residuals):
            # Those of all would tell with the others' residuals those of a few who are not shown.
            own = result.fit.residuals(se="diagnostic").loc[alone]
            found = normality(own["residual"] / own["se"].where(own["se"] > 0))
            mine = table.index.str.startswith("therapists, Intercept")
            kinds = "skewness", "excess_kurtosis", "shapiro_p"
            table.loc[mine, "value"] = [found[k] for k in kinds]
        table = table.dropna()
        if result.fit.singular and "therapists, Intercept: skewness" in table.index:
            # At the bound of their correlation slopes are the intercepts again.
            table = table[~table.index.str.startswith("therapists, center")]
        if tables.policy.active:
            # Shares of patients, and few of them: their counts are in no table.
            table = table[~table.index.str.startswith("patients at the")]
        values, p = table["value"], table.index.str.endswith(" p")
        shown = values.round(3).mask(p, values.map(parts.significant))
        tables.add("checks", table.assign(value=shown).reset_index(), measure=result.measure)
    if (panel := result.sensitivity) is not None:
        frame = parts.sensitivity(panel, result.measure, tables.counts.shown, tables.policy)
        by = FIRST if result.with_mix is None else WITH_MIX
        note = phrase("notes", "sensitivity_alike" * bool(frame["vpc"].iloc[0] == 0))
        tables.add("sensitivity", frame, measure=result.measure, note=note, by=by)
        tables.add("one_less", parts.one_less(panel, alone), measure=result.measure)


def _effects(tables: _Tables) -> None:
    table = tables.analysis.table()
    note = phrase("notes", "therapist_effect_gibbs") if "median" in table else ""
    tables.add("therapist_effect", parts.in_percent(table).reset_index(), note=note)


def _therapists(tables: _Tables) -> None:
    analysis, held = tables.analysis, tables.held
    for result in analysis.measures.values():
        n = result.residuals["n"]
        alone, together = tables.shown(n), tables.people(n)[1]
        together = [] if held & {*together, counted.OTHERS.name} else together
        # The number of patients, and the interval, of who differs by few would tell of those.
        frame = parts.residuals(result, alone, together, tables.policy)
        if _some_lack(analysis) and tables.policy.active:
            # With one more decimal it would tell the number of patients on each measure.
            frame["departure"] = frame["departure"].round(1 + parts.finer(result.measure))
        zero = "_zero" * bool(frame["residual"].isna().all())
        by = FIRST if result.with_mix is None else WITH_MIX
        note = phrase("notes", f"residuals{zero}", given=by)
        tables.add("residuals", frame, measure=result.measure, note=note, by=by)
    if not tables.alone:
        tables.withhold("nobody_alone")


def _groups(tables: _Tables) -> None:
    """Compare the upper with the lower group, of therapists who are shown one by one."""
    analysis, policy = tables.analysis, tables.policy
    if analysis.groups is None:
        return
    ends, changes = analysis.ends(tables.alone), changes_by_therapist(analysis.cohort.patients)
    loads = [result.residuals["n"] for result in analysis.measures.values()]
    shown = all(is_safe_group(n.reindex(ts), policy) for n, ts in product(loads, ends.values()))
    shown &= not any(differ_by_few(changes, ts, policy) for ts in ends.values())
    if not shown:
        tables.withhold("groups")
        kept = [(m, end, MARK) for m, end in product(analysis.measures, ends)]
        tables.add("clusters", pd.DataFrame(kept, columns=["measure", "cluster", "mean_post"]))
        return
    # To two decimals, runs that differ by one patient would tell that patient's score.
    places = dict.fromkeys(parts.GROUP_MEANS, 1 if policy.active else 2) | {"effect_size": 2}
    rows, of = [], {}
    for m, (end, members) in product(analysis.measures, ends.items()):
        of[m, end] = found = dict(analysis.summarise(m, members))
        row = {"measure": m, "cluster": end, "therapists": len(members)}
        row["n"] = policy.count(found["n"])
        rows.append(row | {c: round(float(found[c]), k) for c, k in places.items()})
    note = phrase("notes", "clusters_alone") if tables.together else ""
    frame, by = pd.DataFrame(rows), FIRST if analysis.moved is None else WITH_MIX
    tables.add("clusters", frame, note=note, by=by, n=analysis.moved, all=len(analysis.groups))
    if not policy.active:
        # Their counts would tell of few where another run's case mix makes other groups.
        pairs = product(analysis.measures, OUTCOMES.items())
        rates = [(m, o.label, *(100 * float(of[m, e][r]) for e in ends)) for m, (r, o) in pairs]
        both = pd.DataFrame(rates, columns=["measure", "outcome", *(f"rate_{e}" for e in ends)])
        # As they are shown, so that they subtract.
        both = both.dropna().round(1)
        both["difference"] = both["rate_upper"] - both["rate_lower"]
        tables.add("nested_rates", both.round(1))


def _rates(tables: _Tables) -> None:
    """Patients per hundred and odds ratios, where the counts behind them may be shown."""
    rows, therapists = [], len(tables.analysis.cohort.caseloads())
    for model in tables.analysis.rates:
        asked = model.asked
        kinds = parts.RATE_COUNTS.get(asked.rate)  # of dropout none is told
        of = counted.WITH_GONE if asked.rate in OTHER_RATES else asked.measure or counted.NATIONAL
        counts = [tables.of_everybody(Kind(c, of)) for c in kinds] if kinds else None
        row = parts.rate_row(model, counts, tables.policy)
        if tables.policy.active and therapists < _MANY.get(asked.rate, 0):
            # The percentage alone, and of how many dropped out not that.
            row = row and {k: row[k] for k in ("n", "percent") if counts and not asked.terms}
        if row:
            whose = {"measure": asked.measure or asked.of, "outcome": asked.label}
            words = _GIVEN[len(asked.predictors)] + ["case mix"] * bool(asked.terms)
            rows.append({**whose, "adjusted_for": " and ".join(words) or "nothing", **row})
        elif not asked.terms:
            tables.withhold("rate", outcome=asked.label, of=f", {asked.of}" * bool(asked.measure))
    tables.add("rates", pd.DataFrame(rows), threshold=tables.policy.threshold)


def _by_measure(tables: _Tables, name: str, found: Mapping[str, Any], note: str = "") -> None:
    """Put the effects of all measures in one table, as percentages."""
    if there := {m: frame for m, frame in found.items() if frame is not None}:
        frame = parts.in_percent(pd.concat(there, names=["measure"]).reset_index(level=0))
        if "adjusted_for" in frame:  # of the figures that are shown, which a reader subtracts
            by = frame.columns.intersection(["measure", "level"])
            frame["change"] = frame["vpc"].round(1).groupby([frame[c] for c in by]).diff().round(1)
        tables.add(name, frame, note=note)


def _adjusted(tables: _Tables) -> None:
    results = tables.analysis.measures
    note = " ".join(dict.fromkeys(n for r in results.values() for n in r.case_mix_notes))
    _by_measure(tables, "adjusted", {m: r.adjusted for m, r in results.items()}, note)
    _by_measure(tables, "missing", {m: r.bounds for m, r in results.items()})
    there = {m: r for m, r in results.items() if r.coefficients is not None}
    if shown := {m: parts.coefficients(r, tables.policy) for m, r in there.items()}:
        tables.add("case_mix", pd.concat(shown, names=["measure"]).reset_index(level=0))


def _services(tables: _Tables) -> None:
    """Share of the variance between services, or groups, and each service that may be shown."""
    results, cores = tables.analysis.measures, ThreadPoolExecutor()
    fits = {m: r.services for m, r in results.items() if r.services}
    groups = {m: r.groups for m, r in results.items() if r.groups}
    for table, of in {"services": fits, "together": groups}.items():
        effects = cores.map(level_effects, of.values())
        _by_measure(tables, table, dict(zip(of, effects, strict=True)))
    for name, found in fits.items():
        measure, (words, fit) = tables.analysis.measures[name].measure, [*found.items()][-1]
        scored = tables.analysis.cohort.patients.dropna(subset=[measure.pre, measure.post])
        alone = tables.people(scored.groupby("therapist_id").size())[0]
        shown, hidden = parts.services_shown(scored, alone, tables.policy)
        if hidden:
            tables.withhold("services", n=hidden, least=tables.policy.smallest_caseload)
        frame = parts.service_rows(fit, shown, tables.policy, measure)
        # Of fewer patients than there are, it would tell with another run's of those left out;
        # with a variance of zero there is nothing to tell apart.
        if frame["upper"].any() and fit.n == len(scored):
            note = phrase("notes", "by_service", adjusted_for=words)
            tables.add("by_service", frame, measure=measure, note=note)


def _reporting(tables: _Tables) -> None:
    """Say where what referees ask for stands."""
    frame = pd.read_csv(Path(__file__).with_name("reporting.csv"), keep_default_na=False)
    there = [any(n.startswith(tuple(t.split(" "))) for n in tables.made) for t in frame["table"]]
    frame["where"] = frame["where"].where(pd.Series(there), frame["if_not"])
    tables.add("reporting", frame.drop(columns=["table", "if_not"]))


def _predictors(tables: _Tables) -> None:
    if (found := tables.analysis.predictors) is not None:
        tables.add("predictors", parts.rounded(found.reset_index(), 3))
