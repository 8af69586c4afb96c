"""What may leave: counts, tables and identifiers, made safe and audited.

Rules, in the order in which they act
-------------------------------------
1. Therapist and service identifiers become keyed pseudonyms (`pseudonyms`); patient identifiers
   become running numbers and never leave at all.
2. A count under 5 is suppressed (0 included: "none recovered" is a statement about everybody),
   every other count is rounded to the nearest 5 (`release_counts`).
3. Where totals would give a suppressed count back, the smallest neighbour is suppressed too,
   until an audit shows that every suppressed count could be at least two numbers.
4. Percentages are computed from released counts, so they tell nothing more (`percentage`).
5. Therapists with a caseload below 20 appear only together (`aggregate_small`), in every total
   and cluster that is published, since the width of an interval tells the caseload; for the others
   the interval is that of the rounded caseload. Who is shown together are three or more of whom
   none dominates (`is_safe_group`): of two, each would know the other's figures.
6. Figures that are a function of withheld counts alone are such counts: a logistic model of who has
   every score, or dropped out, of few therapists, may fit no other counts (`release`); how
   caseloads spread, and how many are enough for a reliable figure, tells those of whoever is shown
   only together (`safe_sample`, `how_sure`).
7. Where patients may lack a measure, the exact numbers on each, of all, tell how many do: of fewer
   than five the measure is as one that all must have (`inclusion`). Of a therapist they are shown
   rounded, and departures with one decimal, so that residuals do not tell them; who has too few
   patients on a measure is shown on it with others (`release`).

What rounding does not protect against: two runs over nearly the same patients, compared. Where one
more patient turns a withheld count into a 5, it was 4. So a run that differs by few from one under
the same key is refused, and of groups of therapists that differ by few, or that less those of
whom another run shows the figures would be too few, nothing is shown (`register`); where others
differ by more, a count under 5 that a run withholds or leaves over could be any from 0 to 4, and
not two of them alone, since the earlier run may rule some out. A run of some of three measures
tells exactly how many have their scores, and is refused too. Of runs under other keys whoever
publishes is told.

Why not ``acro``
----------------
`acro` was looked at first. It serves a researcher and a human output checker in a trusted
research environment: its own ``crosstab``, ``pivot_table`` and regressions on patient-level
frames, tested against a frequency threshold and dominance rules, with exceptions to be signed
off. Totals it recomputes without the suppressed cells, so that they are no longer the totals; it
looks for no second cell to suppress, audits no table against its totals and percentages, and
makes no pseudonyms. What it does is the first half of rule 2, a comparison with 5; the rest is
what is needed here. An organisation can still run it on its own tables.
"""

from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pwp_report.ledger import MARK, Array, Cell, DisclosurePolicy, Ledger, Relation
from pwp_report.wording import refusal

#: Of `ledger`, and handed on from here.
__all__ = ["MARK", "DisclosurePolicy", "Relation"]

#: The rules of release, where none are given.
_USUAL = DisclosurePolicy()
#: Tables with more linked cells than this are not given to the integer programmes.
_PROGRAMMED = 2_000
Cells: TypeAlias = set[int]


def percentage(part: float | None, whole: float | None) -> float | None:
    """Percentage of two released counts, a whole number; ``None`` if either is withheld.

    Examples
    --------
    >>> percentage(35, 80), percentage(None, 80)
    (44.0, None)
    """
    if part is None or whole is None or pd.isna(part) or pd.isna(whole) or whole == 0:
        return None
    # Rounding each may lift the part above the whole by one step.
    return float(min(100.0, np.floor(100.0 * part / whole + 0.5)))


def share_between(part: float | None, whole: float | None, policy: DisclosurePolicy) -> float | str:
    """Give a share that may be near 100% as the percentages that the shown counts allow.

    Of exact counts it is never 100 where one is lacking.
    """
    if part is None or whole is None or np.isnan([part, whole]).any():
        return MARK
    if not policy.active:
        return 100.0 if part == whole else min(99.9, round(100 * part / whole, 1))
    (low, high), (least, most) = policy.bounds(part), policy.bounds(whole)
    return f"{np.floor(100 * low / most):.0f} to {min(100, np.ceil(100 * high / least)):.0f}"


def _set_bounds(ledger: Ledger, truth: Array, known: Cells) -> None:
    for i, value in enumerate(truth):
        low, high = ledger.policy.bounds(ledger.policy.count(value))
        if ledger.is_rest(i):
            low, high = 0.0, np.inf
        elif i in known:
            low, high = value, value
        ledger.lower[i], ledger.upper[i] = max(low, ledger.least[i]), high


def _safe(ledger: Ledger, target: int, truth: Array) -> bool:
    """Say whether the cell could hold two values, or any that is small."""
    of, value = all if ledger.any_small else any, float(truth[target])
    ends = {value - 1.0, value + 1.0}
    if ledger.any_small:
        ends = {float(ledger.least[target]), ledger.policy.threshold - 1.0} - {value}
    if of(ledger.knows(target, e) or ledger.has_witness(target, truth, e - value) for e in ends):
        return True
    # No proof at hand: a programme tells, or, where it would take too long, more is hidden.
    small = len(ledger.members_around(target)) <= _PROGRAMMED
    return small and of(ledger.knows(target, e) or ledger.reaches(target, e) for e in ends)


def _neighbour(ledger: Ledger, target: int, truth: Array, shown: Cells, told: Cells) -> int | None:
    """Find the cell whose loss costs least: the smallest shown in a sum with the unsafe one.

    Where its own sums show nothing more, those of the withheld cells in them are looked at, and so
    on outwards; never beyond a count that is known, since what lies there cannot help.
    """
    seen, edge = {target}, {target}
    while edge:
        near = {i for c in edge for r in ledger.rows_of[c] for i in ledger.rows[r]} - seen
        if found := near & shown:
            return min(found, key=lambda i: (truth[i], i))
        seen |= near
        # One that is not small itself was withheld for another, and tells nothing if it is known.
        edge = near - told if truth[target] < ledger.policy.threshold else set()
    return None


def _same_as_known(ledger: Ledger, told: Cells) -> Cells:
    """Add what is the same count as a known one: its only part, or what it is the only part of."""
    pairs = [set(row) for row in ledger.rows if len(row) == 2]
    pairs = [p for p in pairs if not any(ledger.is_rest(i) for i in p)]
    while fresh := {i for p in pairs if p & told for i in p} - told:
        told = told | fresh
    return told


def release_counts(
    counts: pd.DataFrame,
    relations: Iterable[Relation] = (),
    policy: DisclosurePolicy = _USUAL,
    *,
    known: Iterable[Cell] = (),
    kept: Iterable[Cell] = (),
    not_zero: Iterable[Cell] = (),
    compared: bool = False,
) -> pd.DataFrame:
    """Make a table of counts safe: suppress, round, suppress again where a sum tells, audit.

    Parameters
    ----------
    counts : DataFrame of int
        Counts of people; in a row `REST` those that are in no table. A missing entry means that
        the count does not exist (no such thing as a recovery rate without cases); it stays missing.
    relations : iterable of Relation
        The sums that a reader knows of: totals in the same table or in another one shown.
    policy : DisclosurePolicy, optional
    known : iterable of Cell
        Counts that are shown rounded and that an attacker is taken to know exactly, because
        standard errors or means published with them tell: they protect nothing.
    kept : iterable of Cell
        Counts that are shown rounded elsewhere, so that to withhold them would protect nothing.
    not_zero : iterable of Cell
        Counts that a reader knows not to be zero, because a zero in their place is shown as such.
    compared : bool
        Whether an earlier run was of partly other people. What that run told may rule values out,
        so that a count under the threshold could be any that is, and not two alone.

    Returns
    -------
    DataFrame
        Counts as they may be shown, missing where they are withheld.

    Raises
    ------
    InputError
        If a count is negative, or the parts of a sum do not add up.

    Examples
    --------
    >>> counts = pd.DataFrame({"improved": [8, 8, 8, 8, 0, 32]}, index=[*"abcde", "all"])
    >>> total = Relation(("all", "improved"), tuple((r, "improved") for r in "abcde"))
    >>> release_counts(counts, [total])["improved"].tolist()
    [<NA>, 10, 10, 10, <NA>, 30]

    Without the second suppression the total, 28 to 32, less four counts of 8 or more would say
    that *e* is 0.
    """
    # Row by row; a missing entry is no count.
    by_cell: Any = counts.astype("Float64").stack().dropna().astype(float).to_dict()
    if not policy.active:
        return counts.astype("Int64")
    ledger = Ledger(list(by_cell), tuple(relations), policy)
    truth = _truth(ledger, list(by_cell.values()))
    ledger.low, ledger.high = truth.copy(), truth.copy()
    small = set(np.flatnonzero(truth < policy.threshold).tolist())
    hidden = {i for i in small if not ledger.is_rest(i)}
    told = _same_as_known(ledger, {ledger.position[c] for c in known}) - hidden
    ledger.least[[ledger.position[c] for c in not_zero]] = 1.0
    ledger.any_small = compared
    _set_bounds(ledger, truth, told)
    shown = {i for i in range(len(by_cell)) if not ledger.is_rest(i)} - hidden - told
    shown -= {ledger.position[c] for c in kept}
    hidden |= shown - _protect(ledger, truth, sorted(small), shown, told)
    withheld = {ledger.cells[i] for i in hidden}
    found = {c: np.nan if c in withheld else float(policy.rounded(n)) for c, n in by_cell.items()}
    rows = [[found.get((row, column), np.nan) for column in counts] for row in counts.index]
    return pd.DataFrame(rows, counts.index, counts.columns).astype("Int64")


def _protect(ledger: Ledger, truth: Array, todo: list[int], shown: Cells, told: Cells) -> Cells:
    """Withhold further cells until each of those given could hold two values; say who is left."""
    while todo:
        cell = todo.pop()
        if _safe(ledger, cell, truth):
            # What is safe stays so: to hide more only widens what an attacker must allow for.
            continue
        more = _neighbour(ledger, cell, truth, shown, told)
        if more is not None:
            shown = shown - {more}
            ledger.lower[more], ledger.upper[more] = ledger.least[more], np.inf
            todo = [more, *todo, cell]
        elif truth[cell] < ledger.policy.threshold:
            # Never seen, and never to be seen: rather no number near it than one that tells.
            shown = shown - {*ledger.members_around(cell).tolist()}
    return shown


def _truth(ledger: Ledger, known: list[float]) -> Array:
    truth = np.full(len(ledger.cells), np.nan)
    truth[: len(known)] = known
    if (truth < 0).any():
        raise refusal("count_negative")
    for row in ledger.rows:
        rest = [i for i in row if np.isnan(truth[i])][:1]
        left = -sum(weight * truth[i] for i, weight in row.items() if i not in rest)
        if left != 0 and not rest:
            raise refusal("sum_does_not_add_up")
        if left < 0:
            raise refusal("parts_exceed_total")
        truth[rest] = left
    return truth


def is_safe_group(caseloads: pd.Series | list[float], policy: DisclosurePolicy) -> bool:
    """Say whether figures of therapists together tell none of them about another.

    Each of them can take away their own patients. What is left must still be two therapists or
    more, with as many patients as may be shown alone: three therapists, none of whom dominates.

    Examples
    --------
    >>> policy = DisclosurePolicy()
    >>> [is_safe_group(loads, policy) for loads in ([30, 30], [90, 9, 8], [30, 12, 9])]
    [False, False, True]
    """
    loads = sorted(caseloads)
    return not policy.active or (len(loads) > 2 and sum(loads[:-1]) >= policy.smallest_caseload)


def aggregate_small(
    caseloads: pd.Series, policy: DisclosurePolicy = _USUAL, also: Collection[Any] = ()
) -> tuple[list[Any], list[Any]]:
    """Split therapists into those shown alone and those shown only together.

    A small therapist would be plain to see in an aggregate of one, and to the other in one of
    two, so the next smallest join until the aggregate is a safe group (`is_safe_group`).

    Parameters
    ----------
    caseloads : Series of int
        Patients by therapist.
    policy : DisclosurePolicy, optional
    also : collection
        Who else is shown only together, whatever the caseload.

    Returns
    -------
    alone, together : list
        Labels, in the order of `caseloads`.

    Examples
    --------
    >>> loads = pd.Series([60, 30, 8, 45, 50, 55], [*"ABCDEF"])
    >>> aggregate_small(loads)
    (['A', 'E', 'F'], ['B', 'C', 'D'])
    """
    if not policy.active:
        return list(caseloads.index), []
    ordered = caseloads.sort_values(kind="stable")
    members = {*also, *ordered.index[ordered < policy.smallest_caseload]}
    for label in ordered.index if members else ():
        if is_safe_group(ordered[ordered.index.isin(members)].tolist(), policy):
            break
        members.add(label)
    alone = [label for label in caseloads.index if label not in members]
    return alone, [label for label in caseloads.index if label in members]
