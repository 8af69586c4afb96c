"""Every count of patients of an analysis in one place, released together.

Tables share cells and sums: the patients of all therapists are those of the service, the national
counts are of the same people. Each table may be
safe by itself and two of them tell what one withholds. So all counts stand together here, by whose
patients they are and what is counted, and pass disclosure control as one table.

A count is named by records, a `Group` and a `Kind`: one that nobody put in is an error, never a
count that is withheld.

An attacker is taken to know the exact number of patients of the whole sample and of each
therapist shown: standard errors and means are published of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pwp_lib import outcomes
from pwp_lib.outcomes import completeness_by_therapist
from pwp_report.analysis import Analysis
from pwp_report.disclosure import DisclosurePolicy, Relation, release_counts
from pwp_report.every_score import has_every_score
from pwp_report.ledger import REST, Cell
from pwp_report.rates import NATIONAL_RATES
from pwp_report.register import changes_by_therapist, differ_by_few
from pwp_report.wording import listed

#: Whose patients are counted; of a rule of inclusion those who are left after it.
Whose = Enum("Whose", "ALL THERAPIST OTHERS RULE")
#: What is counted, named as the column that holds it.
Count = StrEnum(
    "Count",
    "n n_case_pre n_improved n_deteriorated n_recovered n_rcsi n_finished n_case n_recovery "
    "n_reliable_improvement n_reliable_deterioration n_reliable_recovery patients excluded "
    "eligible analysed complete alone recorded missing modelled first last lacking category",
)


@dataclass(frozen=True)
class Group:
    """Whose patients: all, or those of a therapist or a rule by its name."""

    whose: Whose
    name: str = ""


@dataclass(frozen=True)
class Kind:
    """What is counted, of which measure or variable, and in which analysis of it."""

    count: Count
    of: str = ""
    analysis: str = ""


#: Who is shown by themselves, or with others, and the therapists of each.
People: TypeAlias = Mapping[Group, Sequence[str]]
EVERYBODY = Group(Whose.ALL)
OTHERS = Group(Whose.OTHERS, "others together")
#: `Kind.of` of the national definitions, which are of all measures together: of the patients
#: analysed, and of every finished course.
NATIONAL, PUBLISHED = "(national)", "(published)"
#: `Kind.of` where those of therapists of whom no patient is analysed, who have no row, are counted.
WITH_GONE = "(all)"
#: `Kind.analysis` of the model that the report is about.
MODEL = ""

LAST_SCORES = (Count.first, Count.last, Count.lacking)
#: These the flow shows as well, those with both scores on a measure where the rules ask for it.
_OF_RULES = (Count.eligible, Count.analysed, Count.last)
#: Of these a zero is shown, so that whoever sees another mark knows of one patient at least.
_ZEROS_SHOWN = (Count.excluded, Count.missing, Count.lacking, Count.category)
OUTCOMES = (Count.n, *(Count(outcome.count) for outcome in outcomes.OUTCOMES.values()))
NATIONAL_COUNTS = (Count.n, *(Count(f"n_{c}") for c in ("finished", "case", *NATIONAL_RATES)))
#: With more therapists the sums of who has which of two measures are not looked at: no integer
#: programme is asked about tables of that size, and the quick proof would withhold nearly all.
_SETTLED = 50
#: By table, what is part of what among the counts of one group.
_PARTS: Mapping[str, Sequence[Mapping[str, Any]]] = listed("counts.toml")


@dataclass
class PatientCounts:
    """Counts by group and kind, the sums between them, and what may be shown.

    Attributes
    ----------
    people : mapping of Group to sequence of str
        Who is shown by themselves, or with others, and the therapists of each.
    outcomes : mapping of str to mapping of Group to mapping
        By measure what `summarise_outcomes` says of everybody and of each of these groups.
    cells : mapping of Group to mapping of Kind to int
        And of `REST`, for counts that are in no table.
    absent : set of (Group, Kind)
        Counts that there are not, such as the recovered on a measure without a cut-off.
    same : mapping of Kind to Kind
        Kinds that are the same count for every group, and the one that stands for both.
    held : set of Group
        Groups that differ by few patients from those of an earlier run: of them nothing is shown.
    compared : bool
        Whether an earlier run was of partly other patients.
    """

    people: People = field(default_factory=dict)
    outcomes: dict[str, dict[Group, Any]] = field(default_factory=dict)
    cells: dict[Any, dict[Kind, int]] = field(default_factory=dict)
    absent: set[tuple[Group, Kind]] = field(default_factory=set)
    same: dict[Kind, Kind] = field(default_factory=dict)
    held: set[Group] = field(default_factory=set)
    compared: bool = False
    _relations: list[Relation] = field(default_factory=list)
    _released: Mapping[Group, Mapping[Kind, float]] = field(default_factory=dict)

    @classmethod
    def of_analysis(
        cls, analysis: Analysis, alone: list[str], together: list[str], policy: DisclosurePolicy
    ) -> "PatientCounts":
        """Gather every count of patients that the tables show, and release them together.

        Parameters
        ----------
        analysis : Analysis
        alone, together : list of str
            Therapists who are shown one by one, and those shown only together.
        policy : DisclosurePolicy
        """
        people: People = {Group(Whose.THERAPIST, t): [t] for t in alone}
        people = {**people, OTHERS: together} if together else people
        changes = changes_by_therapist(analysis.cohort.patients)
        some = {*changes.index[(changes > 0).any(axis=1)]}
        held = {g for g, m in people.items() if some & {*m} and differ_by_few(changes, m, policy)}
        if len(held) == 1:  # of one alone, all less the others would be the number of patients
            sizes = analysis.cohort.caseloads()
            loads = {g: sizes[[*people[g]]].sum() for g in people.keys() - held}
            held |= {*sorted(loads, key=lambda g: (loads[g], g != OTHERS, g.name))[:1]}
        made = cls(people, held=held, compared=len(changes.columns) > 0)
        for measure in analysis.cohort.measures:
            _add_outcomes(made, analysis, measure.name)
        _add_completeness(made, analysis, policy.smallest_caseload * policy.active)
        for add in (_add_last_scores, _add_national, _add_flow, _add_subsets):
            add(made, analysis)
        _add_categories(made, analysis, policy)
        made._release(analysis, policy, [EVERYBODY, *people])
        return made

    def put(self, group: Group, kind: Kind, n: Any) -> None:
        """Keep one count, or that there is none."""
        if n is None or pd.isna(n):
            self.absent.add((group, kind))
        else:
            self.cells.setdefault(group, {})[kind] = int(n)

    def relate(self, whole: Cell, parts: Iterable[Cell], exhaustive: bool = True) -> None:
        """Note that a count is made of others, whatever groups they are of."""
        self._relations.append(Relation(whole, tuple(parts), exhaustive))

    def link(self, group: Group, whole: Kind, parts: Iterable[Kind], wholly: bool = False) -> None:
        """Note that counts of a group are parts of another of its counts."""
        have = self.cells.get(group, {})
        there = [(group, p) for p in parts if p in have]
        if whole in have and there:
            self.relate((group, whole), there, wholly)

    def link_parts(self, group: Group, table: str, of: str) -> None:
        """Note all that is part of something else in a table, of one measure."""
        for line in _PARTS[table]:
            parts = [Kind(Count(p), of) for p in line["parts"]]
            self.link(group, Kind(Count(line["whole"]), of), parts)

    def add_up(self, kind: Kind) -> None:
        """Note that everybody is in one of the groups of people, on one kind of count."""
        if self.people and all(kind in self.cells.get(g, {}) for g in (EVERYBODY, *self.people)):
            self.relate((EVERYBODY, kind), [(g, kind) for g in self.people])

    def shown(self, group: Group, kind: Kind) -> float:
        """Give a count as it may be shown, NaN where it is withheld or there is none.

        Raises
        ------
        LookupError
            If no such count was ever put in.
        """
        if (group, kind) in self.absent or group in self.held:
            return float("nan")
        while kind in self.same:
            kind = self.same[kind]
        if kind not in self.cells[group]:
            raise LookupError(f"{kind} was not counted for {group}")
        return self._released[group][kind]

    def unlike(self, kind: Kind) -> bool:
        """Whether a count is of a measure that some lack: what is as large is so by chance."""
        mine = self.cells[EVERYBODY]
        ends = mine[Kind(Count.analysed)], mine.get(kind)
        return kind.count is Count.last and mine[Kind(Count.n, kind.of)] not in ends

    def _release(self, analysis: Analysis, policy: DisclosurePolicy, known: list[Group]) -> None:
        """Pass all of it through disclosure control; numbers of patients of `known` are known."""
        sizes = [Kind(Count.n, m.name) for m in analysis.cohort.measures] + [Kind(Count.analysed)]
        # Who was eligible may be the same number, and is not known where it is not.
        more = [Kind(Count.complete), Kind(Count.n, NATIONAL), Kind(Count.eligible)]
        # Where no status is recorded, every course is finished by definition.
        more += [Kind(Count.n_finished, NATIONAL)] * ("status" not in analysis.cohort.patients)
        scored = [Kind(c, m.name) for m in analysis.cohort.measures for c in LAST_SCORES[:2]]
        more += [Kind(c, WITH_GONE) for c in (Count.eligible, Count.complete)]
        self._merge([*sizes, *more, *(k for k in scored if not self.unlike(k))])
        frame: Any = pd.DataFrame.from_dict(self.cells, orient="index")
        sizes = [k for k in dict.fromkeys(self.same.get(s, s) for s in sizes) if k in frame]
        counts, these = [(g, k) for g, kinds in self.cells.items() for k in kinds], {*known}
        told = [(g, k) for g, k in counts if k in sizes and g in these]
        # Where some lack a measure those of therapists are shown rounded, and not told.
        own = [(g, k) for g, k in told if g != EVERYBODY and len(sizes) > 1]
        some = [(g, k) for g, k in counts if k.count in _ZEROS_SHOWN]
        also: Any = {"known": {*told} - {*own}, "kept": own, "not_zero": some}
        found: Any = release_counts(frame, self._relations, policy, compared=self.compared, **also)
        self._released = found.astype(float).to_dict("index")

    def _merge(self, sizes: Sequence[Kind]) -> None:
        """Make one of numbers of patients that are the same for everybody."""
        frame: Any = pd.DataFrame.from_dict(self.cells, orient="index")
        sizes = [*sizes, *(k for k in frame if k.count is Count.modelled)]
        there = [s for s in sizes if s in frame]
        values = frame[there].to_numpy(float).T
        for (i, first), (j, kind) in combinations(enumerate(there), 2):
            if ((values[i] == values[j]) | np.isnan(values[i] + values[j])).all():
                self.same.setdefault(kind, first)
        for group in self.cells.values():
            for kind in [k for k in group if k in self.same]:
                group.setdefault(self.same[kind], group.pop(kind))
        renamed = {}
        for r in self._relations:
            whole, *parts = ((g, self.same.get(k, k)) for g, k in (r.whole, *r.parts))
            if whole not in parts:
                renamed[whole, tuple(parts)] = Relation(whole, tuple(parts), r.exhaustive)
        self._relations = list(renamed.values())


def _add_outcomes(made: PatientCounts, analysis: Analysis, name: str) -> None:
    people, rows = made.people, analysis.outcomes_by_therapist[name].to_dict("index")
    made.outcomes[name] = tables = {EVERYBODY: dict(analysis.outcomes.loc[name])}
    tables |= {group: rows[group.name] for group in people if group.name in rows}
    if OTHERS in people:
        tables[OTHERS] = dict(analysis.summarise(name, people[OTHERS]))
    for count in OUTCOMES:
        for group, table in tables.items():
            made.put(group, Kind(count, name), table[count])
        made.add_up(Kind(count, name))
    for group in tables:
        made.link_parts(group, "measure", name)


def _add_completeness(made: PatientCounts, analysis: Analysis, least: int) -> None:
    everybody: Any = analysis.cohort.eligible
    whose = {therapist: group for group, members in made.people.items() for therapist in members}
    table: Any = analysis.completeness
    columns = {
        Kind(Count.eligible): table["eligible"],
        Kind(Count.analysed): analysis.cohort.caseloads(),
        Kind(Count.complete): table["complete"],
    }
    for m in [m for m in analysis.cohort.measures if m.name in analysis.lacking]:
        both = completeness_by_therapist(everybody, [m])["complete"]
        columns[Kind(Count.last, m.name)] = both.reindex(table.index)
    for kind, column in columns.items():
        made.put(EVERYBODY, kind, n := column.sum())
        # Not by therapist where few of all lack a score, or have one and are not analysed: the
        # bounds of all of them together, or of two reports, tell whose they are.
        ends = table["eligible"].sum(), analysis.outcomes["n"].get(kind.of, table["complete"].sum())
        if kind.count in (Count.eligible, Count.last) and any(0 < abs(n - e) < least for e in ends):
            column = column * np.nan
        sums = column.groupby(column.index.map(whose), sort=False).sum(min_count=1)
        for group, n in sums.items():
            made.put(group, kind, n)
        made.add_up(kind)
    rows = analysis.cohort.patients if everybody is None else everybody
    scored = has_every_score(rows, analysis.cohort.patients, analysis.cohort.measures)
    for kind, n in {Kind(Count.eligible): len(rows), Kind(Count.complete): scored.sum()}.items():
        made.put(EVERYBODY, whole := replace(kind, of=WITH_GONE), n)
        made.link(EVERYBODY, whole, [kind])
    if analysis.lacking and len(analysis.cohort.measures) > 1 and len(made.people) <= _SETTLED:
        _add_scores_alone(made, analysis)
    for group in [EVERYBODY, *made.people]:
        made.link(group, Kind(Count.eligible), [Kind(Count.analysed)])
        made.link(group, Kind(Count.analysed), [Kind(Count.complete)])
        for m in analysis.cohort.measures:
            made.link(group, Kind(Count.eligible), [Kind(Count.last, m.name)])
            made.link(group, Kind(Count.last, m.name), [Kind(Count.n, m.name)])
            made.link(group, Kind(Count.complete), [Kind(Count.n, m.name)])


def _add_scores_alone(made: PatientCounts, analysis: Analysis) -> None:
    """Count those with the scores of some measures and no others: together they are everybody."""
    everybody: Any = analysis.cohort.eligible
    measures = analysis.cohort.measures
    has = [everybody[[m.pre, m.post]].notna().all(axis=1) for m in measures]
    scored = has_every_score(everybody, analysis.cohort.patients, measures)
    whole = {*zip(*(h[scored] for h in has), strict=True)}
    table: Any = pd.crosstab(everybody["therapist_id"], has).reindex(analysis.completeness.index)
    alone, patterns = {}, {w: w in whole for w in table}
    for group in [EVERYBODY, *made.people]:
        for which, n in table.fillna(0).loc[[*made.people.get(group, table.index)]].sum().items():
            rest = REST, Kind(Count.alone, f"{which}", f"{group}")
            # Where all measures are required, those with all of them are counted already.
            alone[group, which] = cell = (group, Kind(Count.complete)) if whole == {which} else rest
            made.cells.setdefault(cell[0], {})[cell[1]] = int(n)
        some = {Kind(Count.eligible): [*patterns], Kind(Count.complete): [*whole]}
        for i, m in enumerate(measures):
            some[Kind(Count.last, m.name)] = mine = [w for w in patterns if w[i]]
            some[Kind(Count.n, m.name)] = [w for w in mine if patterns[w]]
        for of in [k for k in some if k in made.cells.get(group, {})]:
            made.relate((group, of), [alone[group, w] for w in some[of]])
    for w in patterns:
        made.relate(alone[EVERYBODY, w], [alone[group, w] for group in made.people])


def _add_last_scores(made: PatientCounts, analysis: Analysis) -> None:
    table: Any = analysis.last_scores
    # Where nobody lacks one there is no count beside those of everybody.
    for name in analysis.lacking:
        first, last, lacking = (Kind(c, name) for c in LAST_SCORES)
        made.put(EVERYBODY, first, table.at[name, "first"])
        made.put(EVERYBODY, lacking, table.at[name, "lacking"])
        made.link(EVERYBODY, Kind(Count.eligible), [first])
        made.link(EVERYBODY, first, [last, lacking], wholly=True)


def _add_national(made: PatientCounts, analysis: Analysis) -> None:
    if analysis.national is None:
        return
    rows = dict(zip((NATIONAL, PUBLISHED), analysis.national.to_dict("records"), strict=False))
    for of, row in rows.items():
        for count in NATIONAL_COUNTS:
            made.put(EVERYBODY, Kind(count, of), row[count])
        made.link_parts(EVERYBODY, "national", of)
    for count in NATIONAL_COUNTS if PUBLISHED in rows else ():
        if rows[NATIONAL][count] == rows[PUBLISHED][count]:
            made.same[Kind(count, PUBLISHED)] = Kind(count, NATIONAL)
        else:
            made.link(EVERYBODY, Kind(count, PUBLISHED), [Kind(count, NATIONAL)])
    # Who is analysed and is no case is none on either measure, and is among those of all finished
    # courses who are none.
    ends = dict.fromkeys(rows, (Count.n_finished, Count.n_case))
    ends |= dict.fromkeys(("phq9", "gad7"), (Count.n, Count.n_case_pre))
    for of, kinds in ends.items():
        whole, case = ((EVERYBODY, Kind(c, of)) for c in kinds)
        rest = (REST, (EVERYBODY, of))
        made.relate(whole, [case, rest])
        if of != NATIONAL:
            made.relate(rest, [(REST, (EVERYBODY, NATIONAL))], exhaustive=False)
    made.link(EVERYBODY, Kind(Count.analysed), [Kind(Count.n, NATIONAL)])
    # Patients of therapists who have nobody left are in the published figures alone.
    both = [Kind(Count.eligible), Kind(Count.n, PUBLISHED)]
    both.sort(key=lambda kind: -made.cells[EVERYBODY].get(kind, 0))
    made.link(EVERYBODY, both[0], both[1:])


def _add_flow(made: PatientCounts, analysis: Analysis) -> None:
    flow = analysis.flow
    left, out = flow["patients"].to_numpy(int), flow["excluded"].to_numpy(int)
    rules = [Group(Whose.RULE, str(i)) for i in range(len(flow))]
    patients, excluded = Kind(Count.patients), Kind(Count.excluded)
    for i, rule in enumerate(rules):
        made.put(rule, patients, left[i])
        made.put(rule, excluded, out[i] or None)
        if i and left[i - 1] == left[i] + out[i]:
            parts = [(rule, patients), (rule, excluded)][: 1 + bool(out[i])]
            made.relate((rules[i - 1], patients), parts)
    kinds = [k for k in made.cells[EVERYBODY] if k.count in _OF_RULES or k.of == WITH_GONE]
    kinds = [k for k in kinds if not made.unlike(k)]
    for kind in kinds:
        # The last rule that leaves as many: those therapists' patients are the flow's.
        same = np.flatnonzero(left == made.cells[EVERYBODY][kind])
        more = np.flatnonzero(left > made.cells[EVERYBODY][kind])
        if len(same):
            made.relate((EVERYBODY, kind), [(rules[same[-1]], patients)])
        elif len(more) and not kind.of:
            # Therapists of whom no patient is left have no row.
            made.relate((rules[more[-1]], patients), [(EVERYBODY, kind)], exhaustive=False)


def _add_subsets(made: PatientCounts, analysis: Analysis) -> None:
    """Patients with a value of a variable, and those of the sensitivity panel's analyses."""
    for variable, row in analysis.sample.patients.iterrows():
        recorded, missing = (Kind(c, str(variable)) for c in (Count.recorded, Count.missing))
        if row["missing"]:
            made.put(EVERYBODY, recorded, row["n"])
        else:
            # Everybody has a value: the same count, and nothing beside it.
            made.same[recorded] = Kind(Count.analysed)
        made.put(EVERYBODY, missing, row["missing"] or None)
        made.link(EVERYBODY, Kind(Count.analysed), [recorded, missing], wholly=True)
    for name, result in analysis.measures.items():
        sizes = {MODEL: result.fit.n}
        if result.sensitivity is not None:
            rows = result.sensitivity.rows.query("family != 'leave one out'")
            sizes |= dict(zip(rows["analysis"], rows["n_patients"], strict=True))
        for what, n in sizes.items():
            made.put(EVERYBODY, Kind(Count.modelled, name, what), n)
            made.link(EVERYBODY, Kind(Count.analysed), [Kind(Count.modelled, name, what)])


def _add_categories(made: PatientCounts, analysis: Analysis, policy: DisclosurePolicy) -> None:
    """Patients by gender and by ethnicity, which add up to all; of few of a kind together."""
    counts = analysis.sample.patient_categories["n"]
    for variable in counts.index.unique("variable").intersection(["gender", "ethnicity"]):
        mine = counts[variable]
        few = (mine < policy.smallest_caseload) & policy.active
        sizes = mine.groupby(mine.index.where(~few, "other categories"), sort=False).sum()
        kinds = {Kind(Count.category, variable, str(name)): n for name, n in sizes.items()}
        made.cells.setdefault(EVERYBODY, {}).update(kinds)
        made.link(EVERYBODY, Kind(Count.analysed), kinds, wholly=True)
