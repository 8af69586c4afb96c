"""Sessions to patients: first and last attended session, and whose patient somebody is."""

from collections.abc import Sequence

import pandas as pd

from pwp_report.wording import refusal

_FIRST = ("person_id", "age", "gender", "ethnicity", "mix_")


def choose_therapist(
    sessions: pd.DataFrame, several: str = "most_sessions"
) -> tuple[pd.Series, pd.Series]:
    """Decide whose patient each patient is.

    Parameters
    ----------
    sessions : DataFrame
        Attended sessions in order of time, with ``patient_id`` and ``therapist_id``. A column
        ``weight`` counts for more than one session where it is given.
    several : {"most_sessions", "first", "last", "exclude"}
        The rule for a patient with several therapists. ``most_sessions`` takes the later of two
        with equally many; ``exclude`` leaves the therapist missing.

    Returns
    -------
    therapist : Series of str, indexed by patient_id
    n_therapists : Series of int, indexed by patient_id

    Examples
    --------
    >>> seen = pd.DataFrame({"patient_id": ["a", "a", "a"], "therapist_id": ["x", "y", "y"]})
    >>> choose_therapist(seen)[0]["a"], choose_therapist(seen, "first")[0]["a"]
    ('y', 'x')
    """
    known = sessions[sessions["therapist_id"].notna()].reset_index(drop=True)
    count = known.groupby("patient_id")["therapist_id"].nunique()
    if several in ("first", "last"):
        in_turn = known if several == "first" else known[::-1]
        chosen = in_turn.drop_duplicates("patient_id")
    elif several in ("most_sessions", "exclude"):
        weight = known["weight"] if "weight" in known else pd.Series(1.0, index=known.index)
        pairs = known.assign(_weight=weight, _last=known.index)
        pairs = pairs.groupby(["patient_id", "therapist_id"], as_index=False, sort=False).agg(
            _weight=("_weight", "sum"), _last=("_last", "max")
        )
        ordered = pairs.sort_values(["_weight", "_last"], kind="stable")
        chosen = ordered.drop_duplicates("patient_id", keep="last")
        if several == "exclude":
            chosen = chosen[chosen["patient_id"].map(count) == 1]
    else:
        raise refusal("several_unknown")
    return chosen.set_index("patient_id")["therapist_id"], count


def reduce_sessions(
    sessions: pd.DataFrame,
    measures: Sequence[str],
    several: str = "most_sessions",
    scores: str = "attended",
) -> pd.DataFrame:
    """One row a patient, from one row a session.

    Scores are those of the first and of the last session *attended*, as in Green et al. (2014,
    p. 10): a patient without a score there has none, even if there is one in between. Or they are
    the first and the last that were *recorded* at an attended session, two at least.

    Parameters
    ----------
    sessions : DataFrame
        ``patient_id``, ``therapist_id``, ``order`` (a date or a number), ``attended`` (bool), a
        column of scores for each measure; if known ``assessment`` and ``one_to_one`` (bool),
        ``service_id``, ``age``, ``gender``, ``ethnicity``, ``status``.
    measures : sequence of str
        Names of the columns of scores.
    several : str
        As in `choose_therapist`.
    scores : {"attended", "recorded"}

    Returns
    -------
    DataFrame
        ``patient_id, therapist_id, n_therapists, <measure>_pre, <measure>_post, sessions, tied``
        (whether two therapists have equally many sessions, and none has more) and what else was
        given, in the order of the patients' first rows; its index holds the position of each
        patient's first row.

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
    first = seen.drop_duplicates("patient_id", keep="first").set_index("patient_id")
    last = seen.drop_duplicates("patient_id", keep="last").set_index("patient_id")
    therapist, count = choose_therapist(seen, several)
    groups = seen.groupby("patient_id", sort=False)
    parts: dict[str, pd.Series] = {"therapist_id": therapist, "n_therapists": count}
    if "service_id" in seen:
        own = seen[seen["therapist_id"] == seen["patient_id"].map(therapist)]
        parts["service_id"] = own.groupby("patient_id", sort=False)["service_id"].first()
    for name in measures:
        parts[f"{name}_pre"], parts[f"{name}_post"] = first[name], last[name]
        if scores == "recorded":
            found = groups[name]
            twice = found.count() > 1
            parts[f"{name}_pre"], parts[f"{name}_post"] = found.first(), found.last().where(twice)
    parts["sessions"] = groups.size()
    loads = seen.groupby(["patient_id", "therapist_id"]).size()
    parts["tied"] = (loads == loads.groupby(level=0).transform("max")).groupby(level=0).sum() > 1
    of_all = {"assessment": "any", "one_to_one": "all"}
    parts |= {name: groups[name].agg(how) for name, how in of_all.items() if name in seen}
    by_patient = ordered.groupby("patient_id", sort=False)
    parts |= {
        name: by_patient[name].first() for name in map(str, ordered) if name.startswith(_FIRST)
    }
    parts |= {c: by_patient[c].last() for c in ("status", "dropped_out") if c in ordered}
    table = pd.DataFrame(parts, index=pd.Index(everybody["patient_id"]))
    table["sessions"] = table["sessions"].fillna(0)
    table["n_therapists"] = table["n_therapists"].fillna(0).astype("int64")
    return table.reset_index().set_index(pd.Index(everybody["_row"].to_numpy()))
