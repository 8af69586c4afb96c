"""Every count of patients of an analysis in one ledger.

Tables share cells and sums: a cluster's patients are those of its therapists, the patients of all
therapists are those of the service, the national counts are of the same people. Each table may be
safe by itself and two of them tell what one withholds. So all counts stand in one table here, a
row for each group of patients and a column for each count, and pass disclosure control together.

An attacker is taken to know the exact number of patients of the whole sample and of each
therapist shown: standard errors and means are published of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pwp_lib.outcomes import OUTCOMES, summarise_outcomes
from pwp_report.disclosure import (
    DisclosurePolicy,
    Relation,
    ReleasedCounts,
    release_counts,
)

if TYPE_CHECKING:
    from pwp_lib.measures import Measure
    from pwp_report.analysis import Analysis

__all__ = ["ALL", "COUNTS", "OTHERS", "JointCounts", "joint_counts"]

ALL = "all"
OTHERS = "others together"
COUNTS = ("n", *(outcome.count for outcome in OUTCOMES.values()))
#: What is part of what, among the counts of one measure and one group.
_INSIDE = (
    ("n", ("n_improved", "n_deteriorated")),
    ("n", ("n_case_pre",)),
    ("n", ("at_minimum", "at_maximum")),
    ("n_case_pre", ("n_recovered",)),
    ("n_recovered", ("n_rcsi",)),
    ("n_improved", ("n_rcsi",)),
)
_NATIONAL = (
    ("n", ("n_finished",)),
    ("n_finished", ("n_case",)),
    ("n_finished", ("n_reliable_improvement", "n_reliable_deterioration")),
    ("n_case", ("n_recovery",)),
    ("n_recovery", ("n_reliable_recovery",)),
    ("n_reliable_improvement", ("n_reliable_recovery",)),
)
_CLUSTERS = ("upper", "middle", "lower")


@dataclass
class JointCounts:
    """Counts by group and kind, the sums between them, and what may be shown.

    Attributes
    ----------
    cells : mapping of str to mapping of str to int
        By group (`ALL`, a therapist, a cluster, a rule), by kind.
    same : mapping of str to str
        Kinds that are the same count for every group, and the name that stands for both.
    """

    cells: dict[str, dict[str, int]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    unpublished: list[tuple[str, str]] = field(default_factory=list)
    released: ReleasedCounts | None = None

    def put(self, group: str, kind: str, n: Any) -> None:
        """Keep one count; nothing where there is none."""
        if n is not None and not pd.isna(n):
            self.cells.setdefault(group, {})[kind] = int(n)

    def link(self, group: str, whole: str, parts: Iterable[str]) -> None:
        """Note that counts of a group are parts of another of its counts."""
        have = self.cells.get(group, {})
        there = tuple((group, p) for p in parts if p in have)
        if whole in have and there:
            self.relations.append(Relation((group, whole), there, exhaustive=False))

    def add_up(self, kind: str, whole: str, groups: Iterable[str]) -> None:
        """Note that a group is made of other groups, on one kind of count."""
        groups = tuple(groups)
        if groups and all(kind in self.cells.get(g, {}) for g in (whole, *groups)):
            self.relations.append(Relation((whole, kind), tuple((g, kind) for g in groups)))

    def shown(self, groups: Sequence[str], kind: str) -> list[float]:
        """Give counts as they may be shown, missing where one is withheld."""
        while kind in self.same:
            kind = self.same[kind]
        if self.released is None or kind not in self.released.values:
            return [float("nan")] * len(groups)
        values = self.released.values[kind].reindex(list(groups)).astype("Float64")
        return [float("nan") if pd.isna(v) else float(v) for v in values]

    def release(
        self,
        policy: DisclosurePolicy,
        known: Sequence[str],
        sizes: Sequence[str],
        others: Sequence[str] = (),
    ) -> None:
        """Pass all of it through disclosure control; numbers of patients of `known` are known.

        `others` may be the same numbers, and are not known where they are not.
        """
        self._merge([*sizes, *others])
        frame: Any = pd.DataFrame.from_dict(self.cells, orient="index")
        kinds = [k for k in dict.fromkeys(self.same.get(s, s) for s in sizes) if k in frame]
        self.released = release_counts(
            frame,
            self.relations,
            policy,
            known=[(g, k) for g in known for k in kinds if pd.notna(frame.at[g, k])],
            unpublished=self.unpublished,
        )

    def _merge(self, sizes: Sequence[str]) -> None:
        """Make one of numbers of patients that are the same for everybody."""
        frame = pd.DataFrame.from_dict(self.cells, orient="index")
        sizes = [*sizes, *(str(k) for k in frame if str(k).startswith("panel."))]
        first = next((s for s in sizes if s in frame), "")
        for kind in [s for s in sizes if s in frame and s != first]:
            both = frame[[first, kind]].dropna()
            if (both[first] == both[kind]).all():
                self.same[kind] = first
        for group in self.cells.values():
            for kind in [k for k in group if k in self.same]:
                group.setdefault(self.same[kind], group.pop(kind))
        renamed = {}
        for r in self.relations:
            whole, *parts = ((g, self.same.get(k, k)) for g, k in (r.whole, *r.parts))
            if whole not in parts:
                renamed[whole, tuple(parts)] = Relation(whole, tuple(parts), r.exhaustive)
        self.relations = list(renamed.values())
        self.unpublished = list(
            dict.fromkeys((g, self.same.get(k, k)) for g, k in self.unpublished)
        )


def joint_counts(
    analysis: Analysis, alone: Sequence[str], together: Sequence[str], policy: DisclosurePolicy
) -> JointCounts:
    """Gather every count of patients that the tables show, and release them together.

    Parameters
    ----------
    analysis : Analysis
    alone, together : sequence of str
        Therapists who are shown one by one, and those shown only together.
    policy : DisclosurePolicy
    """
    made = JointCounts()
    people = [*alone, OTHERS] if together else list(alone)
    for measure in analysis.cohort.measures:
        _outcomes(made, analysis, measure, people, together)
    _complete(made, analysis, people, together)
    _national(made, analysis)
    _flow(made, analysis)
    _subsets(made, analysis)
    n = [f"{m.name}.n" for m in analysis.cohort.measures]
    made.release(policy, [ALL, *people], [*n, "total", "complete", "national.n"], ["eligible"])
    return made


def _outcomes(
    made: JointCounts,
    analysis: Analysis,
    measure: Measure,
    people: Sequence[str],
    together: Sequence[str],
) -> None:
    name, patients = measure.name, analysis.cohort.patients
    table = analysis.outcomes_by_therapist[name]
    for column in [c for c in COUNTS if c in table]:
        kind = f"{name}.{column}"
        made.put(ALL, kind, analysis.outcomes.loc[name, column])
        for label, n in table[column].items():
            if label not in together:
                made.put(str(label), kind, n)
    if together:
        few = summarise_outcomes(patients[patients["therapist_id"].isin(together)], measure)
        for column in COUNTS:
            made.put(OTHERS, f"{name}.{column}", few[column].iloc[0])
    checks = analysis.measures[name].checks if name in analysis.measures else None
    if checks is not None:
        for end in ("at_minimum", "at_maximum"):
            floor = checks.floor.loc["post"]
            made.put(ALL, f"{name}.{end}", round(floor[end] * floor["n"]))
    clustered = _clusters(made, analysis, name, people, together)
    for column in COUNTS:
        if not clustered:
            made.add_up(f"{name}.{column}", ALL, people)
    for group in [ALL, *people, *(f"cluster {c}" for c in _CLUSTERS)]:
        for whole, inside in _INSIDE:
            made.link(group, f"{name}.{whole}", [f"{name}.{p}" for p in inside])


def _clusters(
    made: JointCounts,
    analysis: Analysis,
    name: str,
    people: Sequence[str],
    together: Sequence[str],
) -> bool:
    """Put in the clusters' counts, and what they leave to therapists not shown alone."""
    sizes = None if analysis.comparison is None else analysis.comparison.effect_sizes
    if analysis.ranks is None or sizes is None or name not in sizes.index.get_level_values(0):
        return False
    cluster, few = analysis.ranks["cluster"], set(together)
    members = {c: [str(t) for t in cluster.index[cluster == c] if t not in few] for c in _CLUSTERS}
    with_few = [c for c in _CLUSTERS if (cluster.reindex(list(few)) == c).any()]
    for column in COUNTS:
        kind = f"{name}.{column}"
        if kind not in made.cells[ALL]:
            continue
        ends = {c: int(sizes[column].loc[(name, c)]) for c in ("upper", "lower")}
        ends["middle"] = made.cells[ALL][kind] - sum(ends.values())
        for c in _CLUSTERS:
            made.put(f"cluster {c}", kind, ends[c])
            parts = list(members[c])
            if c in with_few:
                rest = ends[c] - sum(made.cells[t].get(kind, 0) for t in members[c])
                made.put(f"rest {c}", kind, rest)
                made.unpublished.append((f"rest {c}", kind))
                parts.append(f"rest {c}")
            made.add_up(kind, f"cluster {c}", parts)
        made.unpublished.append(("cluster middle", kind))
        made.add_up(kind, ALL, [f"cluster {c}" for c in _CLUSTERS])
        made.add_up(kind, OTHERS, [f"rest {c}" for c in with_few])
    return True


def _complete(
    made: JointCounts, analysis: Analysis, people: Sequence[str], together: Sequence[str]
) -> None:
    table = analysis.completeness.rename(columns={"total": "eligible"})
    table["total"] = analysis.cohort.caseloads()
    few = table.index.isin(list(together))
    for kind in ("eligible", "total", "complete"):
        for label, n in table[kind][~few].items():
            made.put(str(label), kind, n)
        if together:
            made.put(OTHERS, kind, table[kind][few].sum())
        made.put(ALL, kind, table[kind].sum())
        made.add_up(kind, ALL, people)
    for group in [ALL, *people]:
        made.link(group, "eligible", ["total"])
        made.link(group, "total", ["complete"])
        for m in analysis.cohort.measures:
            made.link(group, "total", [f"{m.name}.n"])
            made.link(group, f"{m.name}.n", ["complete"])


def _national(made: JointCounts, analysis: Analysis) -> None:
    table = analysis.national
    if table is None or len(table) != 1:
        return
    row = table.iloc[0]
    for column in [str(c) for c in table if c == "n" or str(c).startswith("n_")]:
        made.put(ALL, f"national.{column}", row[column])
    for whole, inside in _NATIONAL:
        made.link(ALL, f"national.{whole}", [f"national.{p}" for p in inside])
    if row["n_finished"] == row["n"]:
        for m in analysis.cohort.measures:
            # Who is a case on one of the measures is a case.
            made.link(ALL, "national.n_case", [f"{m.name}.n_case_pre"])
    made.link(ALL, "total", ["national.n"])


def _flow(made: JointCounts, analysis: Analysis) -> None:
    flow = analysis.flow
    left, out = flow["patients"].to_numpy(int), flow["excluded"].to_numpy(int)
    for i, n in enumerate(left):
        made.put(f"rule {i}", "patients", n)
        if i:
            made.put(f"rule {i}", "excluded", out[i])
        if i and left[i - 1] == n + out[i]:
            parts = ((f"rule {i}", "patients"), (f"rule {i}", "excluded"))
            made.relations.append(Relation((f"rule {i - 1}", "patients"), parts))
    for kind in ("eligible", "total"):
        # The last rule that leaves as many: those therapists' patients are the flow's.
        same = np.flatnonzero(left == made.cells[ALL][kind])
        more = np.flatnonzero(left > made.cells[ALL][kind])
        if len(same):
            made.relations.append(Relation((ALL, kind), ((f"rule {same[-1]}", "patients"),)))
        elif len(more):
            # Therapists of whom no patient is left have no row.
            whole = (f"rule {more[-1]}", "patients")
            made.relations.append(Relation(whole, ((ALL, kind),), exhaustive=False))


def _subsets(made: JointCounts, analysis: Analysis) -> None:
    """Patients with a value of a variable, and those of the sensitivity panel's analyses."""
    for variable, row in analysis.sample.patients.iterrows():
        if not row["missing"]:
            # Everybody has a value: the same count, and nothing beside it.
            made.same[f"sample.{variable}.n"] = "total"
            continue
        for kind in ("n", "missing"):
            made.put(ALL, f"sample.{variable}.{kind}", row[kind])
        made.relations.append(
            Relation(
                (ALL, "total"),
                ((ALL, f"sample.{variable}.n"), (ALL, f"sample.{variable}.missing")),
            )
        )
    for name, result in analysis.measures.items():
        sizes = {"model": result.fit.n}
        if result.sensitivity is not None:
            rows = result.sensitivity.rows
            rows = rows[rows["family"] != "leave one out"]
            sizes |= dict(zip(rows["analysis"], rows["n_patients"], strict=True))
        for what, n in sizes.items():
            made.put(ALL, f"panel.{name}.{what}", n)
            made.link(ALL, "total", [f"panel.{name}.{what}"])
