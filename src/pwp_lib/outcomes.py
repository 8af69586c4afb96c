"""Change, reliable change and recovery of patients and groups; the national (NHS) definitions.

A rate is a share from 0 to 1. It is NaN where nobody could have counted: a therapist without cases
has no recovery rate, which is not a rate of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from pwp_lib.measures import Measure, get_measure
from pwp_lib.schema import as_numbers, need_columns

__all__ = [
    "OUTCOMES",
    "Outcome",
    "completeness_by_therapist",
    "national_outcomes",
    "patient_national_outcomes",
    "patient_outcomes",
    "summarise_outcomes",
]

Grouping: TypeAlias = str | pd.Series | None


@dataclass(frozen=True)
class Outcome:
    """A yes-or-no outcome of a patient: the names of its columns, and its words.

    Attributes
    ----------
    flag : str
        Column of `patient_outcomes`.
    count, rate : str
        Columns of `summarise_outcomes`: how many, and their share.
    among : str
        Column of `summarise_outcomes` that the share is out of.
    label : str
        In a table or on an axis.
    verb : str
        What such patients did, in a sentence.
    thresholds : tuple of str
        Attributes of a `Measure` without which the outcome is not defined.

    Examples
    --------
    >>> OUTCOMES["rcsi"].among
    'n_case_pre'
    """

    flag: str
    count: str
    rate: str
    among: str
    label: str
    verb: str
    thresholds: tuple[str, ...]

    def defined(self, measure: Measure) -> bool:
        """Say whether the measure has the thresholds that the outcome needs."""
        return all(getattr(measure, name) is not None for name in self.thresholds)


_CASE, _CHANGE = ("cutoff",), ("reliable_change",)
_ALL = (
    Outcome(
        flag="case_pre",
        count="n_case_pre",
        rate="caseness",
        among="n",
        thresholds=_CASE,
        label="Caseness before",
        verb="reached caseness before treatment",
    ),
    Outcome(
        flag="reliably_improved",
        count="n_improved",
        rate="improvement",
        among="n",
        thresholds=_CHANGE,
        label="Reliable improvement",
        verb="improved reliably",
    ),
    Outcome(
        flag="reliably_deteriorated",
        count="n_deteriorated",
        rate="deterioration",
        among="n",
        thresholds=_CHANGE,
        label="Reliable deterioration",
        verb="deteriorated reliably",
    ),
    Outcome(
        flag="recovered",
        count="n_recovered",
        rate="recovery",
        among="n_case_pre",
        thresholds=_CASE,
        label="Below the cut-off after, of cases",
        verb="were below the cut-off after treatment, of the cases before it",
    ),
    Outcome(
        flag="rcsi",
        count="n_rcsi",
        rate="rcsi",
        among="n_case_pre",
        thresholds=_CASE + _CHANGE,
        label="Reliable and clinically significant improvement (RCSI)",
        verb="improved reliably and recovered, of the cases before treatment",
    ),
)
#: The five outcomes, by the name of their rate.
OUTCOMES: Mapping[str, Outcome] = MappingProxyType({outcome.rate: outcome for outcome in _ALL})

#: Contacts that make a course of treatment in the national figures.
CONTACTS = 2


def _scores(patients: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    need_columns(patients, measure.pre, measure.post)
    return as_numbers(patients, [measure.pre, measure.post]).set_axis(["pre", "post"], axis=1)


def _flag(
    values: NDArray[np.bool_] | None, defined: NDArray[np.bool_], index: pd.Index[Any]
) -> pd.Series[Any]:
    """Mark true and false; missing where a score is, or where the measure has no threshold."""
    if values is not None and bool(defined.all()):
        return pd.Series(values, index=index, dtype="bool")
    flags = pd.array(np.zeros(len(index), bool) if values is None else values, dtype="boolean")
    result = pd.Series(flags, index=index)
    return result.mask(np.ones(len(index), bool) if values is None else ~defined)


def patient_outcomes(patients: pd.DataFrame, measure: str | Measure) -> pd.DataFrame:
    """Work out each patient's outcome on one measure, as the paper defines it.

    Parameters
    ----------
    patients : DataFrame
        With the measure's two columns.
    measure : str or Measure
        Either direction; without a cut-off or a reliable change what needs it is missing.

    Returns
    -------
    DataFrame
        Indexed like `patients`. ``pre, post``: the scores; ``change``: positive when the patient
        is better at the end, whatever the direction of the scale; ``case_pre, case_post``: at or
        beyond the cut-off; ``reliably_improved, reliably_deteriorated``: a change of at least the
        reliable one; ``recovered``: a case before and not after; ``rcsi``: recovered and reliably
        improved. Missing where a score is.

    Notes
    -----
    Reliable change of 6 (PHQ-9) and 4 (GAD-7) and RCSI among cases are stated in the paper (p. 15);
    that the cut-off itself counts as a case is inferred from its counts.

    Examples
    --------
    >>> people = pd.DataFrame({"phq9_pre": [16, 16, 8], "phq9_post": [9, 11, 15]})
    >>> patient_outcomes(people, "phq9")[["change", "reliably_improved", "rcsi"]]
       change  reliably_improved   rcsi
    0     7.0               True   True
    1     5.0              False  False
    2    -7.0              False  False
    """
    measure = get_measure(measure)
    scores = _scores(patients, measure)
    pre, post = scores["pre"].to_numpy(), scores["post"].to_numpy()
    change = measure.improvement(pre, post)
    there = [~np.isnan(x) for x in (pre, post)]
    case: list[NDArray[np.bool_] | None] = [None, None]
    recovered = improved = worse = rcsi = None
    if measure.cutoff is not None:
        before, after = measure.is_case(pre), measure.is_case(post)
        case, recovered = [before, after], before & ~after
    if measure.reliable_change is not None:
        # Scores with decimals: 0.73 reached exactly must not fail for its last binary digit.
        threshold = measure.reliable_change - 1e-9
        improved, worse = change >= threshold, change <= -threshold
    if recovered is not None and improved is not None:
        rcsi = recovered & improved
    both, index = there[0] & there[1], patients.index
    return scores.assign(
        change=change,
        case_pre=_flag(case[0], there[0], index),
        case_post=_flag(case[1], there[1], index),
        reliably_improved=_flag(improved, both, index),
        reliably_deteriorated=_flag(worse, both, index),
        recovered=_flag(recovered, both, index),
        rcsi=_flag(rcsi, both, index),
    )


def _labels(patients: pd.DataFrame, by: Grouping) -> pd.Series[Any]:
    if by is None:
        return pd.Series("all", index=patients.index, name="group")
    if isinstance(by, str):
        need_columns(patients, by)
        return patients[by]
    if len(by) != len(patients):
        raise InputError("the grouping has another length than the patients")
    return pd.Series(np.asarray(by), index=patients.index, name=by.name or "group")


def _rate(count: pd.Series[Any], of: pd.Series[Any]) -> pd.Series[float]:
    """Share, NaN where nobody could have counted."""
    return count.astype(float) / of.astype(float).where(of > 0)


def summarise_outcomes(
    patients: pd.DataFrame, measure: str | Measure, by: Grouping = None
) -> pd.DataFrame:
    """Summarise outcomes on one measure, over all patients or by group.

    Parameters
    ----------
    patients : DataFrame
    measure : str or Measure
    by : str or Series, optional
        A column such as ``"therapist_id"``, or labels in the order of the patients; patients
        without a label are left out. One row over all patients if not given.

    Returns
    -------
    DataFrame
        One row a group. ``n``; ``mean_pre, sd_pre, mean_post, sd_post, mean_change, sd_change``;
        ``effect_size``: mean change over the SD before treatment of the same patients; and counts
        with their rates: ``n_case_pre, caseness``; ``n_improved, improvement``; ``n_deteriorated,
        deterioration``; ``n_recovered, recovery`` and ``n_rcsi, rcsi`` among those who were cases.
        Patients without both scores do not count. What the measure has no threshold for is NaN.

    Examples
    --------
    >>> people = pd.DataFrame({"therapist_id": ["a", "a", "b"],
    ...                        "gad7_pre": [12, 9, 5], "gad7_post": [6, 8, 5]})
    >>> summarise_outcomes(people, "gad7", by="therapist_id")[["n", "n_case_pre", "rcsi"]]
                  n  n_case_pre  rcsi
    therapist_id
    a             2           2   0.5
    b             1           0   NaN
    """
    measure = get_measure(measure)
    rows = patient_outcomes(patients, measure)
    labels = _labels(patients, by)
    complete = rows[["pre", "post"]].notna().all(axis=1).to_numpy() & labels.notna().to_numpy()
    rows, labels = rows[complete], labels[complete]
    whose, defined = labels.to_numpy(), [o for o in OUTCOMES.values() if o.defined(measure)]
    scores = rows[["pre", "post", "change"]].groupby(whose)
    n, mean, sd = scores.size(), scores.mean(), scores.std()
    counts = rows[[o.flag for o in defined]].groupby(whose).sum().astype(int)
    table: dict[str, Any] = {"n": n}
    for name in mean:
        table |= {f"mean_{name}": mean[name], f"sd_{name}": sd[name]}
    table["effect_size"] = mean["change"] / sd["pre"].where(sd["pre"] > 0)
    for outcome in OUTCOMES.values():
        table |= {outcome.count: np.nan, outcome.rate: np.nan}
        if outcome in defined:
            table[outcome.count] = count = counts[outcome.flag]
            table[outcome.rate] = _rate(count, table[outcome.among])
    return pd.DataFrame(table, index=n.index.rename(str(labels.name)))


def _pair(measures: Sequence[str | Measure]) -> tuple[Measure, Measure]:
    chosen = [get_measure(m) for m in measures]
    if len(chosen) != 2:
        raise InputError(
            "the national definitions need two measures",
            hint="name the depression measure and the anxiety measure",
        )
    for measure in chosen:
        if measure.cutoff is None or measure.reliable_change is None:
            raise InputError(
                f"measure {measure.name} has no cut-off or no reliable change",
                hint="give it both, or use the paper's definitions on one measure",
            )
    return chosen[0], chosen[1]


def completeness_by_therapist(
    patients: pd.DataFrame, measures: Iterable[str | Measure]
) -> pd.DataFrame:
    """Count by therapist who has every score.

    Therapists whose patients often lack a last score are measured on those who stayed.

    Parameters
    ----------
    patients : DataFrame
        Those who lack a score included.
    measures : iterable of str or Measure

    Returns
    -------
    DataFrame
        Indexed by therapist: ``eligible, complete`` (patients) and ``share`` (from 0 to 1).

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": ["a", "a"], "phq9_pre": [9, 9],
    ...                          "phq9_post": [4, None]})
    >>> completeness_by_therapist(patients, ["phq9"]).loc["a"].tolist()
    [2.0, 1.0, 0.5]
    """
    scores = [c for m in map(get_measure, measures) for c in (m.pre, m.post)]
    need_columns(patients, "therapist_id", *scores)
    groups = patients[scores].notna().all(axis=1).groupby(patients["therapist_id"])
    counts = pd.DataFrame({"eligible": groups.size(), "complete": groups.sum().astype("int64")})
    return counts.assign(share=counts["complete"] / counts["eligible"])


def patient_national_outcomes(
    patients: pd.DataFrame, measures: Sequence[str | Measure] = ("phq9", "gad7")
) -> pd.DataFrame:
    """Work out each patient's outcome by the national definitions, over two measures together.

    Parameters
    ----------
    patients : DataFrame
        With the scores; ``status`` and ``sessions``, or in its place ``treated`` (how many of the
        sessions were of treatment, where that is known), decide whose course is finished, and a
        column that is absent excludes nobody.
    measures : sequence of two str or Measure
        The depression measure and the anxiety measure: GAD-7, or the disorder-specific one where
        a service uses that in its place.

    Returns
    -------
    DataFrame
        Indexed like `patients`, all true or false. ``finished``: closed, two contacts or more;
        ``case``: finished, and not below both cut-offs at the start, or not known to be;
        ``recovered``: a case, and at caseness at the end on neither; ``reliably_improved``:
        improved reliably on at least one, and deteriorated reliably on neither;
        ``reliably_deteriorated``: the converse; ``reliably_recovered``: recovered and reliably
        improved. False for a course that is not finished, and the last four for one that lacks a
        score on either measure.

    Notes
    -----
    As the denominators are published for NHS Talking Therapies: the recovered are a share of the
    finished courses less those not at caseness, the reliably improved of all finished courses [1]_;
    a course is finished when it has ended after two treatment appointments or more [2]_. Whoever
    lacks a score is thus in the denominator. They are not the paper's definitions.

    References
    ----------
    .. [1] NHS Digital, "Psychological Therapies: reports on the use of IAPT services, England",
       December 2020, page "Outcomes".
    .. [2] Office for Health Improvement and Disparities, "Fingertips: Common mental disorders",
       glossary.

    Examples
    --------
    >>> people = pd.DataFrame({"phq9_pre": [16, 16], "phq9_post": [9, 9],
    ...                        "gad7_pre": [12, 5], "gad7_post": [8, 10]})
    >>> patient_national_outcomes(people)[["recovered", "reliably_improved"]].values.tolist()
    [[False, True], [False, False]]
    """
    each = [patient_outcomes(patients, m) for m in _pair(measures)]
    finished = np.ones(len(patients), dtype=bool)
    if "status" in patients.columns:
        finished &= (patients["status"] == "closed").fillna(False).to_numpy(dtype=bool)
    counted = [name for name in ("treated", "sessions") if name in patients][:1]
    contacts = as_numbers(patients, counted).assign(always=np.inf).iloc[:, 0]
    finished &= (contacts >= CONTACTS).fillna(False).to_numpy(dtype=bool)
    flag = {
        name: [rows[name].fillna(False).to_numpy(dtype=bool) for rows in each]
        for name in ("case_pre", "case_post", "reliably_improved", "reliably_deteriorated")
    }
    better, worse = flag["reliably_improved"], flag["reliably_deteriorated"]
    lacks_first = np.any([rows["pre"].isna() for rows in each], axis=0)
    scored = finished & np.all([rows["change"].notna() for rows in each], axis=0)
    case = flag["case_pre"][0] | flag["case_pre"][1]
    recovered = scored & case & ~flag["case_post"][0] & ~flag["case_post"][1]
    improved = scored & (better[0] | better[1]) & ~worse[0] & ~worse[1]
    columns = {
        "finished": finished,
        "case": finished & (case | lacks_first),
        "recovered": recovered,
        "reliably_improved": improved,
        "reliably_deteriorated": scored & (worse[0] | worse[1]) & ~better[0] & ~better[1],
        "reliably_recovered": recovered & improved,
    }
    return pd.DataFrame(columns, index=patients.index)


def national_outcomes(
    patients: pd.DataFrame,
    measures: Sequence[str | Measure] = ("phq9", "gad7"),
    by: Grouping = None,
) -> pd.DataFrame:
    """Summarise the national outcomes, over all patients or by group.

    Parameters
    ----------
    patients : DataFrame
    measures : sequence of two str or Measure
    by : str or Series, optional

    Returns
    -------
    DataFrame
        One row a group: ``n`` patients, ``n_finished`` courses, ``n_case`` not below both
        cut-offs at the start; counts and rates of ``recovery`` and ``reliable_recovery`` among
        those, and of ``reliable_improvement`` and ``reliable_deterioration`` among finished
        courses.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> row = national_outcomes(load_cohort().patients).loc["all"]
    >>> bool(row["n_case"] <= row["n_finished"] <= row["n"])
    True
    """
    rows = patient_national_outcomes(patients, measures)
    labels = _labels(patients, by)
    kept = labels.notna().to_numpy()
    groups = rows[kept].groupby(labels[kept].to_numpy(), sort=True)
    sums = groups.sum()
    counts = {"n": groups.size(), "n_finished": sums["finished"], "n_case": sums["case"]}
    table = pd.DataFrame(counts)
    rates = {
        "recovery": ("recovered", "n_case"),
        "reliable_improvement": ("reliably_improved", "n_finished"),
        "reliable_deterioration": ("reliably_deteriorated", "n_finished"),
        "reliable_recovery": ("reliably_recovered", "n_case"),
    }
    for name, (flag, of) in rates.items():
        table[f"n_{name}"] = sums[flag]
        table[name] = _rate(sums[flag], table[of])
    table.index.name = str(labels.name)
    return table
