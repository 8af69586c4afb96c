"""Rules of inclusion, one after the other, with the count at each; and whether enough is left."""

from typing import NamedTuple

import pandas as pd

from pwp_lib.cohort import FlowStep, flow_step
from pwp_report.disclosure import DisclosurePolicy, aggregate_small
from pwp_report.study import Study
from pwp_report.wording import SEVERAL, remark, worded

#: How rules on complete scores begin, one a measure: the flow says which costs whom.
_SCORE = "a score on"
#: Therapists of two patients or more that a therapist effect takes.
LEAST_THERAPISTS = 5


class Included(NamedTuple):
    """What the rules left.

    Attributes
    ----------
    patients : DataFrame
    eligible : DataFrame
        Patients who meet every rule but those on complete scores.
    flow : tuple of FlowStep
    rules : DataFrame
        By rule: patients excluded in turn, and whom the rule would exclude if it stood alone.
    """

    patients: pd.DataFrame
    eligible: pd.DataFrame
    flow: tuple[FlowStep, ...]
    rules: pd.DataFrame


def _masks(patients: pd.DataFrame, study: Study) -> list[tuple[str, pd.Series]]:
    """Give each rule in words, and who meets it. A rule on something not recorded is left out."""
    has = patients.columns
    rules: list[tuple[str, pd.Series]] = []
    if study.level == "session" and not (came := patients["sessions"] >= 1).all():
        words = "a session in treatment" if study.counts_every_row else "a session was attended"
        rules.append((words, came))
    known, words = patients["therapist_id"].notna(), "a therapist is recorded"
    several = patients.get("n_therapists", known * 0) > 1
    if study.several == "exclude" and "n_therapists" in has:
        rules.append(("one therapist throughout", patients["n_therapists"] <= 1))
        known = known | several
    if had := int(several.sum()):
        # Whose patient somebody is who had several, and of how many: a paper has to say so.
        everybody = len(patients)
        words += SEVERAL.get(study.several, "").format(study.some(had, everybody))
        among = {"tied": had} if study.several == "most_sessions" else {}
        for name, of in (among | {"by_rows": everybody, "joined": everybody}).items():
            if n := int((patients.get(name, several * 0) > 0).sum()):
                words += SEVERAL[name].format(study.some(n, of))
    rules.append((words, known))
    if study.minimum_sessions > 0 and "sessions" in has:
        words = f"{study.minimum_sessions} sessions or more"
        if n := int(patients["sessions"].isna().sum()):
            words += SEVERAL["sessions_unknown"].format(study.some(n, len(patients)))
        rules.append((words, patients["sessions"] >= study.minimum_sessions))
    asked = {"assessment": "an assessment among the sessions", "one_to_one": "one-to-one"}
    wanted = [name for name in asked if getattr(study, name) and name in has]
    rules += [(asked[name], patients[name].eq(True)) for name in wanted]
    if "status" in has:
        words = " or ".join(s.replace("_", " ") for s in study.status)
        met = patients["status"].isin(study.status)
        if {"closed", "in_treatment"} <= set(study.status):
            met |= patients["status"].isna()
        left = pd.concat([m for _, m in rules], axis=1).fillna(False).all(axis=1) & met
        gone = int((left & patients.get("dropped_out", False)).sum())
        some = SEVERAL["dropped_out"].format(study.some(gone, int(left.sum())))
        words = words.replace("closed", "closed" + some * bool(gone))
        rules.append((words, met))
    for sign, end, word in ((1, study.minimum_age, "more"), (-1, study.maximum_age, "less")):
        if "age" in has and end is not None:
            rules.append((f"aged {end:g} or {word}", sign * patients["age"] >= sign * end))
    for m in [entry.measure for entry in study.measures]:
        both = patients[[m.pre, m.post]].notna().all(axis=1)
        rules.append((f"{_SCORE} {m.label} at both ends", both))
    return rules


def apply_rules(patients: pd.DataFrame, study: Study, chosen: list[FlowStep]) -> Included:
    """Apply the study's rules in turn.

    Parameters
    ----------
    patients : DataFrame
        One row a patient, with ``therapist_id``, the scores, and what the rules ask for.
    study : Study
    chosen : list of FlowStep
        Who stands in the rows that were read: what the flow begins with.
    """
    flow, lines = [*chosen], []
    left = eligible = pd.Series(True, index=patients.index)
    free = {f"{_SCORE} {e.measure.label} at both ends" for e in study.measures if not e.required}
    # Measures that patients may lack come last.
    for words, met in sorted(_masks(patients, study), key=lambda rule: rule[0] in free):
        met = met.fillna(False).astype(bool)
        excluded = int((left & ~met).sum())
        # Numbers of patients by measure tell how many lack one: of few it is as one required.
        if words in free and not 0 < excluded < study.threshold:
            continue
        left = left & met
        if not words.startswith(_SCORE):
            eligible = left
        flow.append(flow_step(words, patients[left], excluded))
        lines.append((words, excluded, int((~met).sum())))
    kept = patients[left]
    if study.minimum_patients > 1:
        words = f"therapists with {study.minimum_patients} patients or more"
        loads = kept.groupby("therapist_id")["therapist_id"].transform("size")
        small = loads < study.minimum_patients
        flow.append(flow_step(words, kept[~small], int(small.sum())))
        lines.append((words, int(small.sum()), int(small.sum())))
        kept = kept[~small]
    rules = pd.DataFrame(lines, columns=["rule", "excluded", "excluded_alone"])
    return Included(kept, patients[eligible], tuple(flow), rules)


def enough_for(
    patients: pd.DataFrame, study: Study, policy: DisclosurePolicy, *, scales: bool
) -> pd.DataFrame:
    """Say of each step of the analysis whether there are enough therapists and patients.

    Returns
    -------
    DataFrame
        ``step, needs, has, enough, advice``, one row a step. Two groups are ``perhaps`` enough
        where disclosure control is active and it takes the ranks to say who is in them.
    """
    loads = patients["therapist_id"].value_counts()
    t, kinds, shown = len(loads), len(study.measures), policy.smallest_caseload
    pairs, fives = (int((loads >= n).sum()) for n in (2, 5))
    alone = len(aggregate_small(loads, policy)[0])
    size = study.cluster_size or max(2, int(t / 4 + 0.5))
    clustered = max(8, 2 * size + 1) if study.cluster_size else 8
    sure = t < clustered or not policy.active or alone == t
    # A group is shown of three or more therapists who are shown one by one.
    never = policy.active and (size < 3 or alone < 6)
    compared = "groups_no" if never else "groups_yes" if sure else "groups_perhaps"
    has = {
        "step_outcomes": (len(patients), 5, ""),
        "step_effect": (pairs, LEAST_THERAPISTS, remark("interval_wide") * (t <= 30)),
        "step_slopes": (fives, 8, ""),
        "step_ranks": (kinds, 2, remark("ranks_of_one") * (kinds < 2)),
        "step_clusters": (t, clustered, remark(compared, size=size)),
        "step_alone": (alone, 1, remark("others_together") * (t > alone)),
        "step_scales": (t * scales, 8, remark("no_therapist_table") * (not scales)),
    }
    steps = []
    for key, (n, least, hint) in has.items():
        known = compared.removeprefix("groups_") if key == "step_clusters" else "yes"
        words, enough = worded(key, least=least, shown=shown), known if n >= least else "no"
        number = policy.text(n) if key == "step_outcomes" else f"{n:,}"
        steps.append((*words, number, enough, hint))
    return pd.DataFrame(steps, columns=["step", "needs", "has", "enough", "advice"])
