"""Sessions to patients: first and last attended session, and whose patient somebody is."""

from collections.abc import Sequence

import pandas as pd

from pwp_report.wording import refusal

#: What is of the patient and not of a session or a therapist: how names of columns begin.
OF_PERSONS = ("person_id", "age", "gender", "ethnicity", "mix_")
#: By rule on several therapists, what decides; the order of the rows decides where it is equal.
_RULES = {"most_sessions": ["weight", "last"], "exclude": ["therapist_id"]}
_RULES |= {"first": ["first"], "last": ["last"]}


def choose_therapist(sessions: pd.DataFrame, several: str = "most_sessions") -> pd.DataFrame:
    """Decide whose patient each patient is.

    Parameters
    ----------
    sessions : DataFrame
        Attended sessions with ``patient_id`` and ``therapist_id``; ``order`` is when they were,
        and a column ``weight`` counts for more than one session, where they are given.
    several : {"most_sessions", "first", "last", "exclude"}
        The rule for a patient with several therapists. ``most_sessions`` takes the later of two
        with equally many; ``exclude`` leaves the therapist missing.

    Returns
    -------
    DataFrame, indexed by patient_id
        ``therapist_id, n_therapists``, ``tied`` (whether another has equally many sessions) and
        ``by_rows`` (whether nothing but the order of the rows tells the two apart).

    Examples
    --------
    >>> seen = pd.DataFrame({"patient_id": ["a", "a", "a"], "therapist_id": ["x", "y", "y"]})
    >>> [choose_therapist(seen, rule).at["a", "therapist_id"] for rule in ("last", "first")]
    ['y', 'x']
    """
    if several not in _RULES:
        raise refusal("several_unknown")
    free = {name: n for name, n in {"weight": 1, "order": 0}.items() if name not in sessions}
    known = sessions.dropna(subset="therapist_id").assign(**free, row=lambda t: range(len(t)))
    end = "first" if several == "first" else "last"
    pairs = known.groupby(["patient_id", "therapist_id"], as_index=False).agg(
        weight=("weight", "sum"), first=("order", "min"), last=("order", "max"), row=("row", end)
    )
    pairs["n_therapists"] = pairs.groupby("patient_id")["row"].transform("size")
    pairs["tied"] = pairs.duplicated(["patient_id", "weight"], keep=False)
    pairs["by_rows"] = pairs.duplicated(["patient_id", *_RULES[several]], keep=False)
    by, upwards = [*_RULES[several], "row"], several != "first"
    pairs = pairs.sort_values(by, ascending=upwards, na_position="first")
    chosen = pairs.drop_duplicates("patient_id", keep="last").set_index("patient_id")
    if several == "exclude":
        chosen["therapist_id"] = chosen["therapist_id"].where(chosen["n_therapists"] == 1)
    return chosen.filter(["therapist_id", "n_therapists", "tied", "by_rows"])


def reduce_sessions(
    sessions: pd.DataFrame,
    measures: Sequence[str],
    several: str = "most_sessions",
    scores: str = "attended",
) -> pd.DataFrame:
    """One row a patient, from one row a session.

    Scores are those of the first and of the last session *attended*, as in Green et al. (2014,
    p. 10): a patient without a score there has none, even if there is one in between. Or they are
    the first and the last that were *recorded* at an attended session, two at least. Rows of one
    time with the same scores that differ in the therapist are one session of several therapists.
    Of a patient who was treated, whoever only assessed is no therapist.

    Parameters
    ----------
    sessions : DataFrame
        ``patient_id``, ``therapist_id``, ``order`` (a date or a number), ``attended`` (bool), a
        column of scores for each measure; if known ``assessment``, ``one_to_one`` and ``treated``
        (bool), ``service_id``, ``age``, ``gender``, ``ethnicity``, ``status``.
    measures : sequence of str
        Names of the columns of scores.
    several : str
        As in `choose_therapist`.
    scores : {"attended", "recorded"}

    Returns
    -------
    DataFrame
        ``patient_id``, what `choose_therapist` gives, ``<measure>_pre, <measure>_post, sessions``,
        ``joined`` (rows of sessions that stand in a row above, with another therapist) and what
        else was given, in the order of the patients' first rows; its index holds the position of
        each patient's first row.

    Examples
    --------
    >>> rows = pd.DataFrame({
    ...     "patient_id": ["a", "a", "a", "b"], "therapist_id": ["x", "x", "x", "y"],
    ...     "order": [2, 1, 3, 1], "attended": [True, True, False, True],
    ...     "phq9": [8.0, 15.0, 4.0, 11.0]})
    >>> reduce_sessions(rows, ["phq9"])[["phq9_pre", "phq9_post", "sessions"]].values.tolist()
    [[15.0, 8.0, 2.0], [11.0, 11.0, 1.0]]
    """
    everybody = sessions.drop_duplicates("patient_id").reset_index(names="_row")
    ordered = sessions.sort_values(["patient_id", "order"], kind="stable", na_position="last")
    seen = ordered[ordered["attended"].astype(bool)]
    alike = ["patient_id", "order", *measures]
    turn = seen.groupby([*alike, "therapist_id"], dropna=False).cumcount()
    joined = seen.assign(_turn=turn).duplicated([*alike, "_turn"])
    held = seen[~joined]
    groups, rows = (part.groupby("patient_id", sort=False) for part in (held, seen))
    first, last = (part.set_index("patient_id") for part in (groups.head(1), groups.tail(1)))
    ours = _treating(seen) if "treated" in seen else seen
    parts: dict[str, pd.Series] = {str(c): v for c, v in choose_therapist(ours, several).items()}
    own = seen[seen["therapist_id"] == seen["patient_id"].map(parts["therapist_id"])]
    for role in [r for r in ("service_id", "group_id") if r in seen]:
        parts[role] = own.groupby("patient_id", sort=False)[role].first()
    for name in measures:
        parts[f"{name}_pre"], parts[f"{name}_post"] = first[name], last[name]
        if scores == "recorded":
            found = groups[name]
            parts[f"{name}_pre"] = found.first()
            parts[f"{name}_post"] = found.last().where(found.count() > 1)
    parts["sessions"] = groups.size()
    parts["joined"] = rows.size() - groups.size()
    of_all = {"assessment": "any", "one_to_one": "all", "treated": "sum"}
    parts |= {name: groups[name].agg(how) for name, how in of_all.items() if name in seen}
    by_patient = ordered.groupby("patient_id", sort=False)
    parts |= {c: by_patient[c].first() for c in map(str, ordered) if c.startswith(OF_PERSONS)}
    parts |= {c: by_patient[c].last() for c in ("status", "dropped_out") if c in ordered}
    table = pd.DataFrame(parts, index=pd.Index(everybody["patient_id"]))
    table = table.fillna({"sessions": 0, "n_therapists": 0}).astype({"n_therapists": "int64"})
    return table.reset_index().set_index(pd.Index(everybody["_row"].to_numpy()))


def main_services(patients: pd.DataFrame) -> pd.Series:
    """Give each patient the service in which their therapist has most patients.

    Examples
    --------
    >>> rows = pd.DataFrame({"therapist_id": ["x", "x", "x", None], "service_id": [*"NNSS"]})
    >>> main_services(rows).tolist()
    ['N', 'N', 'N', 'S']
    """
    rows = patients.groupby("therapist_id")["service_id"].value_counts().reset_index("service_id")
    main = rows["service_id"].groupby(level=0).first()
    return patients["therapist_id"].map(main).fillna(patients["service_id"])


def _treating(seen: pd.DataFrame) -> pd.DataFrame:
    """Leave out sessions of therapists who only assessed a patient whom another treated."""
    both, whom = ["patient_id", "therapist_id"], ["patient_id"]
    own, anybody = (seen.groupby(w, dropna=False)["treated"].transform("any") for w in (both, whom))
    return seen[own | ~anybody]
