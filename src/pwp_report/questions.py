"""What is asked of who knows a file: about columns without a use, and what scores suggest."""

import numpy as np
import pandas as pd

from pwp_lib.measures import Measure
from pwp_lib.plausible import in_lowest_quarter, on_another_scale, stands_out
from pwp_report.case_mix import telling
from pwp_report.read.cells import MISSING_CODES
from pwp_report.read.raw import RawTable, shown_name
from pwp_report.recognise import WORDS, of_second_therapist, speaks_of
from pwp_report.rows import people_of
from pwp_report.study import Study, unused
from pwp_report.wording import remark

#: Of a column that may be of services: its entries at the most, and the share of therapists with
#: rows under several of them.
_MOST_SERVICES, _SEVERAL = 200, 0.25
#: Entries of a column of kinds of contacts, or of years, at the most.
_MOST_KINDS = 12
#: The number of a therapist, and what stands in the entries of a column of time.
_NUMBER, _YEAR = r"^[A-Za-z]{0,3}[ ._-]?0*(\d{1,4})$", r"(?:19|20)\d\d"


def columns_to_ask_about(raw: RawTable, study: Study) -> dict[str, str]:
    """Find by question the first column without a use that it is about; empty if there is none.

    Of columns of services and of what therapists belong to it is not asked where services are
    named already, of groups where groups are, and of treatments where the column is adjusted for or
    decides on rows.
    """
    who, known = people_of(raw.frame, study), {*study.columns, *study.without}
    left = [c for c in unused(study, [*raw.frame]) if c not in study.set_aside]
    places = [c for c in left if speaks_of("place", c)]
    others = [c for c in left if c not in places]
    free = [c for c in left if c not in {*study.adjust, *study.keep, *study.leave_out}]
    # A column of services with one entry alone tells none apart.
    told = raw.frame.get(study.columns.get("service_id", ""), pd.Series()).nunique() > 1
    services = [*places, *others] * (not (told or "service_id" in study.without))
    above = [c for c in free if c in places or speaks_of("above", c)] * ("service_id" not in known)
    groups = [c for c in others if not speaks_of("no_group", c)] * ("group_id" not in known)
    treatments = [c for c in free if speaks_of("treatment", c)]
    scored = raw.frame[[s.score for s in study.measures if s.score]].notna().any(axis=1)
    few = [c for c in free if 1 < raw.frame[c].nunique() <= _MOST_KINDS]
    kinds = few * (study.counts_every_row and study.scores != "recorded")
    stages = few * (study.level == "session" and "contact_kind" not in known)
    modes = [
        c
        for c in few * (study.one_to_one and "mode" not in known)
        if _some_speak("single", raw.frame[c])
    ]
    asked = {
        "services_not_named": (c for c in services if _of_services(raw.frame[c], who)),
        "above_not_named": (c for c in above if _one_each(raw.frame[c], who, 3)),
        "apart_by_column": (c for c in treatments if _one_each(raw.frame[c], who, 2)),
        "groups_not_named": (c for c in groups if _of_groups(raw.frame[c], who)),
        "second_therapist": (c for c in free if of_second_therapist(c)),
        "contacts_not_named": (c for c in kinds if _of_contacts(raw.frame[c], scored)),
        "follow_ups_not_named": (c for c in stages if _some_speak("later", raw.frame[c])),
        "modes_not_named": (c for c in modes if _some_speak("groups", raw.frame[c])),
        "trainees_by_year": (c for c in few if _of_years(raw.frame[c], who)),
    }
    return {question: next(columns, "") for question, columns in asked.items()}


def asked_of_scores(patients: pd.DataFrame, people: pd.DataFrame, study: Study) -> list[str]:
    """Ask what the scores of those analysed suggest, and tell if many patients lack some.

    Parameters
    ----------
    patients, people : DataFrame
        One row a patient: of the file, and those who are analysed.
    study : Study
    """
    measures, asked = [s.measure for s in study.measures], []
    needed = [s.measure for s in study.measures if s.required]
    lack = {m.label: float(patients[[m.pre, m.post]].isna().any(axis=1).mean()) for m in needed}
    for m in measures:
        few = lack.get(m.label, 0.0)
        signs = _signs(people, m) | {"measure_costs": few > min([*lack.values(), 1.0]) + 0.1}
        asked += [remark(key, measure=m, few=f"{few:.0%}") for key, so in signs.items() if so]
    for key, (whom, more) in _groups(patients, people, study).items():
        if whom.mean() > more:
            asked.append(remark(key, some=study.some(int(whom.sum()), len(whom))))
    asked += [q for m in measures for q in telling(people, m, study.adjust)]
    return list(dict.fromkeys(asked))  # of codes once, whatever the measure


def _signs(people: pd.DataFrame, m: Measure) -> dict[str, bool]:
    """Say by question of a measure whether its scores suggest it."""
    pre, post, who = people[m.pre], people[m.post], people["therapist_id"]
    codes = [(*ends, v, m) for ends in ((pre, post), (post, pre)) for v in (0, *MISSING_CODES)]
    return {
        "means_of_items": in_lowest_quarter(pre, m) or in_lowest_quarter(post, m),
        # Less than .3 is little on any measure; of few patients chance alone may make it less.
        "scores_unrelated": bool(pre.corr(post) < 0.3 - 2 / np.sqrt(max(len(people), 1))),
        "scale_of_some": on_another_scale(pre, who, m) or on_another_scale(post, who, m, 20),
        "worse_on_average": bool(pd.Series(m.improvement(pre, post)).mean() < 0),
        "scores_stand_out": any(stands_out(*code) for code in codes),
    }


def _groups(
    patients: pd.DataFrame, people: pd.DataFrame, study: Study
) -> dict[str, tuple[pd.Series, float]]:
    """Give by question the patients it is about, and the share of them from which it is asked."""
    held = patients.reindex(columns=["sessions", "n_therapists"])
    lost = patients["therapist_id"].isna() & held["sessions"].ne(0) & ~held["n_therapists"].gt(1)
    rows = study.counts_every_row and study.minimum_sessions > 1
    left = patients["sessions"] == 1 if rows and (study.keep or study.leave_out) else lost & False
    ends = [people[s.measure.post] == people[s.measure.pre] for s in study.measures]
    copied = pd.concat(ends, axis=1).all(axis=1), 0.1 if len(ends) > 1 else 0.2
    scored = patients[[c for s in study.measures for c in (s.measure.pre, s.measure.post)]]
    # Without a status whoever may be closed or in treatment is let in.
    blank = people.get("status", lost & False).isna()
    return {
        "status_missing": (blank & ("in_treatment" in study.status), 0.02),
        "therapists_missing": (lost, 0.2),
        "one_row_left": (left, 0.05),
        "scores_copied": copied,
        "scored_unseen": (held["sessions"].eq(0) & scored.notna().all(axis=1), 0.01),
    }


def left_out_undated(whole: RawTable, kept: RawTable, study: Study) -> list[str]:
    """Ask where many rows that a study leaves out have scores and no date."""
    scores, date = [s.score for s in study.measures if s.score], study.columns.get("date")
    if study.level != "session" or date is None:
        return []
    rows, many = whole.frame, kept.frame[study.columns["patient_id"]].nunique() / 5
    # Of those that are kept a missing date is a problem.
    undated = rows[scores].notna().any(axis=1) & rows[date].isna()
    return [remark("left_out_undated", date=shown_name(date))] * bool(undated.sum() > many)


def _of_services(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column may be of services which number their own therapists.

    Under several of its entries stand the labels of many therapists; its heading is of places, or
    the numbers of therapists begin anew under each entry.
    """
    if not 1 < labels.nunique() <= _MOST_SERVICES:
        return False
    rows = pd.crosstab(who["therapist_id"], labels)
    several = ((rows > 1).sum(axis=1) > 1).mean() >= _SEVERAL
    return bool(several) and (speaks_of("place", str(labels.name)) or _begin_anew(rows))


def _one_each(labels: pd.Series, who: pd.DataFrame, least: int) -> bool:
    """Whether nearly every therapist has one entry, and each entry two or more on average.

    A row in twenty under another, as of somebody who stood in, does not count.
    """
    rows = pd.crosstab(who["therapist_id"], labels)
    alone = rows.max(axis=1) >= 0.95 * rows.sum(axis=1)
    return bool(alone.mean() > 0.9 and least <= rows.shape[1] <= len(rows) / 2)


def _of_groups(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column may be of groups of patients who are treated together.

    More entries than there are therapists, of some patients each, who stay in theirs; and of half
    as many further therapists or fewer than as many patients would have if chance had put them
    together. A family may be of one or two.
    """
    heading = str(labels.name)
    # Groups may be numbered anew by each therapist; years are not.
    if speaks_of("group", heading) and not labels.astype("str").str.contains(_YEAR).any():
        labels = labels.astype("str").where(labels.notna()) + who["therapist_id"]
    therapists, least = who["therapist_id"].nunique(), 1.2 if speaks_of("family", heading) else 2
    if not 0 < therapists < labels.nunique() < len(who) / least:
        return False
    rows = who[["patient_id", "therapist_id"]].assign(group=labels).dropna().drop_duplicates()
    sizes = rows.groupby("group").nunique()
    chance = therapists * (1 - (1 - 1 / therapists) ** sizes["patient_id"])
    apart = (sizes["therapist_id"] - 1).sum() < (chance - 1).sum() / 2
    stay = rows.groupby("patient_id")["group"].nunique().eq(1).mean() > 0.9
    small = least < 2 and sizes["patient_id"].mean() > least
    return bool(apart and stay and (small or 3 <= sizes["patient_id"].median() <= 30))


def _of_contacts(labels: pd.Series, scored: pd.Series) -> bool:
    """Whether rows with some entries of a column have scores, and those with the others none."""
    rows = scored.groupby(labels).agg(["mean", "size"])
    parts = [rows["size"][w].sum() / len(labels) for w in (rows["mean"] > 0.9, rows["mean"] < 0.1)]
    return bool(min(parts) > 0.1 and sum(parts) > 0.9)


def _some_speak(of: str, labels: pd.Series) -> bool:
    """Whether some entries of a column speak of something, such as a follow-up, and others not."""
    entries = pd.Series(labels.dropna().unique(), dtype="str").str.lower()
    return entries.str.contains(WORDS[of]).nunique() > 1


def _of_years(labels: pd.Series, who: pd.DataFrame) -> bool:
    """Whether a column is of years, and most trainees who have numbers stand under several."""
    trainee = who["therapist_id"].str.fullmatch(WORDS["trainee"], na=False)
    years = labels[trainee].groupby(who["therapist_id"]).nunique()
    several = len(years) > 1 and (years > 1).mean() > 0.5
    return bool(several and labels.astype("str").str.contains(_YEAR).mean() > 0.9)


def _begin_anew(rows: pd.DataFrame) -> bool:
    """Whether the therapists under each entry are number one and on, to an end of their own.

    Of a number beyond that end many rows would stand there if the column were of anything else but
    a time: of years, later therapists have higher numbers.
    """
    numbers = pd.to_numeric(rows.index.to_series().str.extract(_NUMBER, expand=False)).dropna()
    of_time = rows.columns.astype("str").str.contains(_YEAR).any()
    if of_time or len(numbers) < 0.9 * len(rows) or numbers.duplicated().any():
        return False
    rows = rows.loc[numbers.index]
    last = rows.gt(0).mul(numbers, axis=0).max()
    beyond = rows.sum() * [rows[numbers > n].to_numpy().sum() for n in last] / rows.to_numpy().sum()
    ends = (beyond > 10).mean() >= 0.5 and last.nunique() > 2
    return bool(ends and (rows.gt(0).sum() / last > 0.8).mean() > 0.9)
