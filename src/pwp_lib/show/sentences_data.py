"""Sentences about the cohort and its outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pwp_lib.numbers import count, listing, percent, plain, share, sign_fixed
from pwp_lib.show._drawing import lower_first
from pwp_lib.show.style import measure_label

__all__ = [
    "caseloads",
    "change_sentence",
    "completeness",
    "flow_sentences",
    "outcome_rates",
    "provenance_sentence",
    "rates_by_therapist",
    "sample_sentences",
]


def provenance_sentence(provenance: Any) -> str:
    """Say whether the data are synthetic, and where they come from.

    Parameters
    ----------
    provenance : Provenance
        With ``synthetic`` and ``source``.
    """
    source = str(getattr(provenance, "source", "") or "").rstrip(".")
    if provenance.synthetic:
        told = f" Source: {source}." if source else ""
        return f"These data are synthetic: no real patient, therapist or service is in them.{told}"
    return f"These data come from {source}." if source else "The source of these data is not given."


def flow_sentences(flow: Sequence[Any]) -> str:
    """Tell the flow of patients through the inclusion rules.

    Parameters
    ----------
    flow : sequence of FlowStep

    Returns
    -------
    str
        How many entered, what each rule left out, how many are analysed.
    """
    if not flow:
        return "How patients came into the cohort is not recorded."
    first, last = flow[0], flow[-1]
    entered = first.patients + first.excluded
    out = [f"Records of {count(entered, 'patient')} were there to begin with."]
    out += [
        f"{share(s.excluded, s.patients + s.excluded)} of those left were excluded by the rule "
        f"“{lower_first(str(s.rule))}”."
        for s in flow
        if s.excluded
    ]
    if last.patients == entered:
        out.append("No rule excluded anybody.")
    verb = "remains" if last.patients == 1 else "remain"
    out.append(
        f"{count(last.patients, 'patient')} of {count(last.therapists, 'therapist')} in "
        f"{count(last.services, 'service')} {verb} for analysis."
    )
    return " ".join(out)


def sample_sentences(patients: pd.DataFrame, therapists: pd.DataFrame | None = None) -> str:
    """Describe the sample in words, as far as the columns allow.

    Parameters
    ----------
    patients : DataFrame
        With ``therapist_id``, and if known ``service_id``, ``age``, ``gender``, ``sessions``.
    therapists : DataFrame, optional
    """
    n, j = len(patients), patients["therapist_id"].nunique()
    where = ""
    if _known(patients, "service_id"):
        where = f" in {count(patients['service_id'].nunique(), 'service')}"
    out = [f"The sample is {count(n, 'patient')} of {count(j, 'therapist')}{where}."]
    if _known(patients, "age"):
        out.append(f"Patients' mean age was {_mean_sd(patients['age'])} years.")
    if _known(patients, "gender"):
        out.append(_women(patients["gender"], "patients"))
    if _known(patients, "sessions"):
        out.append(f"They attended {_mean_sd(patients['sessions'])} sessions on average.")
    if therapists is not None and _known(therapists, "gender"):
        seen = therapists[therapists["therapist_id"].isin(patients["therapist_id"])]
        out.append(_women(seen["gender"], "therapists"))
    return " ".join(out)


def _known(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def _mean_sd(values: pd.Series) -> str:
    known = pd.to_numeric(values).dropna()
    spread = f"SD {known.std():.2f}, " if len(known) > 1 else ""
    return f"{known.mean():.2f} ({spread}{plain(known.min())} to {plain(known.max())})"


def _women(gender: pd.Series, who: str) -> str:
    known = gender.dropna()
    n = int((known == "female").sum())
    missing = len(gender) - len(known)
    rest = f" whose gender is recorded ({missing:,} are not)" if missing else ""
    verb = "was" if n == 1 else "were"
    return f"Of the {len(known):,} {who}{rest}, {share(n, len(known))} {verb} female."


def caseloads(patients: pd.DataFrame | pd.Series) -> str:
    """Tell how unequal the caseloads are.

    Parameters
    ----------
    patients : DataFrame or Series
        Patients with ``therapist_id``, or caseloads by therapist.
    """
    n = patients if isinstance(patients, pd.Series) else patients["therapist_id"].value_counts()
    if len(n) == 1:
        return f"The one therapist has {count(int(n.iloc[0]), 'patient')}."
    if n.min() == n.max():
        return f"Each of {count(len(n), 'therapist')} has {count(int(n.min()), 'patient')}."
    ordered = n.sort_values(ascending=False)
    half = int((ordered.cumsum() < ordered.sum() / 2).sum()) + 1
    few = f"the {half} largest caseloads hold" if half > 1 else "the largest caseload holds"
    return (
        f"{count(len(n), 'therapist').capitalize()} have {int(n.min()):,} to {int(n.max()):,} "
        f"patients each (mean {n.mean():.2f}, median {plain(float(n.median()), 1)}); {few} half of "
        "all patients or more."
    )


def completeness(table: pd.DataFrame) -> str:
    """Tell how complete scores are, over all and by therapist.

    Parameters
    ----------
    table : DataFrame
        `completeness_by_therapist`: ``total`` and ``complete`` by therapist.
    """
    total, complete = int(table["total"].sum()), int(table["complete"].sum())
    if complete == total:
        return f"All {count(total, 'patient')} have every score."
    rates = (table["complete"] / table["total"]).dropna()
    if rates.min() == rates.max():
        return f"{share(complete, total)} of {total:,} patients have every score."
    lowest = [str(t) for t in rates.index[rates == rates.min()]]
    return (
        f"{share(complete, total)} of {total:,} patients have every score; by therapist the share "
        f"goes from {percent(rates.min())} ({listing(lowest)}) to {percent(rates.max())}."
    )


def change_sentence(summary: pd.DataFrame | pd.Series, measure: Any) -> str:
    """Tell how much patients changed: mean, SD, effect size.

    Parameters
    ----------
    summary : DataFrame of one row, or Series
        `summarise_outcomes`: ``n``, ``mean_change``, ``sd_change``, ``effect_size``.
    measure : Measure or str
    """
    row = summary.iloc[0] if isinstance(summary, pd.DataFrame) else summary
    change, label = float(row["mean_change"]), measure_label(measure)
    if round(change, 2) == 0:
        moved = "did not change on average"
    else:
        word = "improved" if change > 0 else "deteriorated"
        moved = f"{word} by {abs(change):.2f} points on average"
    spread = f" (SD {row['sd_change']:.2f})" if pd.notna(row.get("sd_change")) else ""
    size = row.get("effect_size")
    effect = f", a pre-post effect size of {sign_fixed(size, 2)}" if pd.notna(size) else ""
    return f"On {label} the {int(row['n']):,} patients {moved}{spread}{effect}."


def outcome_rates(summary: pd.DataFrame | pd.Series, measure: Any) -> str:
    """Tell reliable improvement, deterioration, caseness and recovery of all patients.

    Parameters
    ----------
    summary : DataFrame of one row, or Series
        `summarise_outcomes`: ``n``, ``n_improved``, ``n_deteriorated``, ``n_case_pre``,
        ``n_rcsi``; what is missing for want of a threshold is left out.
    measure : Measure or str
    """
    row = summary.iloc[0] if isinstance(summary, pd.DataFrame) else summary
    n, label, out = int(row["n"]), measure_label(measure), []
    if pd.notna(row.get("n_improved")):
        out.append(
            f"On {label}, {share(int(row['n_improved']), n)} of {count(n, 'patient')} improved "
            f"reliably and {share(int(row['n_deteriorated']), n)} deteriorated reliably."
        )
    cases = row.get("n_case_pre")
    if pd.notna(cases):
        out.append(f"Before treatment {share(int(cases), n)} reached caseness on {label}.")
        if not int(cases):
            out.append("Without cases before treatment no recovery rate is defined.")
        elif pd.notna(row.get("n_rcsi")):
            out.append(
                f"Of those, {share(int(row['n_rcsi']), int(cases))} improved reliably and were "
                "below the cut-off at the end."
            )
    return " ".join(out) or f"{label} has no thresholds, so no rates are given."


def rates_by_therapist(table: pd.DataFrame, column: str, label: str) -> str:
    """Tell over what range a rate goes between therapists.

    Parameters
    ----------
    table : DataFrame
        One row a therapist.
    column : str
        A column of shares.
    label : str
        What the rate is, such as ``"caseness on PHQ-9"``.
    """
    known = table[column].dropna()
    if known.empty:
        return f"No therapist has a defined rate of {label}."
    without = len(table) - len(known)
    rest = f"; for {count(without, 'therapist')} it is not defined" if without else ""
    return (
        f"By therapist, {label} goes from {percent(known.min())} to {percent(known.max())} "
        f"(median {percent(known.median())}){rest}."
    )
