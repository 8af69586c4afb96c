"""Coded interviews that give the paper's counts of themes; no word of any interview is invented.

Which themes stay, and which are unique to a cluster, follows from how many people of a group are
given each code. The template is in ``themes.csv``
beside this module: labels marked ``"text"`` paraphrase what the paper's text says of a theme; the
others, and every count of people, are our own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from multilevel.errors import InputError

__all__ = ["THEMES", "Theme", "simulate_segments"]


@dataclass(frozen=True)
class Theme:
    """A lower-order theme, whose it is, and where its label comes from.

    Attributes
    ----------
    high_order, lower_order : str
    role : str
        ``"pwp"`` or ``"supervisor"``.
    holds : str
        ``"upper"`` or ``"lower"``: stays in that cluster alone; ``"both"``; ``"neither"``: too
        few people; ``"single"``: one person, so that its high-order theme goes.
    origin : str
        ``"text"`` or ``"invented"``.
    """

    high_order: str
    lower_order: str
    role: str
    holds: str
    origin: str = "invented"


_LISTED = pd.read_csv(Path(__file__).with_name("themes.csv"))
#: The template. High-order labels are ours, but for the two that the paper says were deleted.
THEMES = tuple(Theme(*row) for row in _LISTED.itertuples(index=False, name=None))

#: Share of lower-order codes on which the two coders of six interviews agreed (p. 16).
AGREEMENT = 0.78


def _speakers(
    theme: Theme, groups: dict[tuple[str, str], list[str]], rng: np.random.Generator
) -> list[str]:
    """Who is given a code: more than two of a cluster where it stays, two at most where not."""
    chosen: list[str] = []
    for cluster in ("upper", "lower"):
        people = groups[theme.role, cluster]
        if theme.holds in (cluster, "both"):
            count = int(rng.integers(3, len(people) + 1))
        else:
            count = int(rng.integers(0, 3))
        chosen += list(rng.choice(people, count, replace=False))
    middle = groups[theme.role, "middle"]
    return chosen + [p for p in middle if rng.random() < 0.35]


def _groups(
    upper: Sequence[str], lower: Sequence[str], interviews: pd.DataFrame
) -> dict[tuple[str, str], list[str]]:
    known = dict.fromkeys(upper, "upper") | dict.fromkeys(lower, "lower")
    cluster = interviews["therapist_id"].map(lambda t: known.get(t, "middle"))
    return {
        (role, c): list(interviews.loc[(interviews["role"] == role) & (cluster == c)].index)
        for role in ("pwp", "supervisor")
        for c in ("upper", "lower", "middle")
    }


def _second_coder(
    first: pd.DataFrame, groups: dict[tuple[str, str], list[str]], rng: np.random.Generator
) -> pd.DataFrame:
    """Code two interviews of each cluster again, agreeing on 78% of the codes that either gave."""
    twice = [
        str(rng.choice(groups[role, c]))
        for c in ("upper", "middle", "lower")
        for role in ("pwp", "supervisor")
        if groups[role, c]
    ]
    codes = first[first["participant_id"].isin(twice)].drop_duplicates()
    role_of = codes.drop_duplicates("participant_id").set_index("participant_id")["role"]
    given = set(zip(codes["participant_id"], codes["lower_order_theme"], strict=True))
    spare = [
        (person, theme)
        for person, role in role_of.items()
        for theme in THEMES
        if theme.role == role and theme.holds != "single"
        if (person, theme.lower_order) not in given
    ]
    n = len(codes)
    # The nearest to balance among those that round to the printed percentage.
    *_, dropped, added = min(
        (abs(miss) > 0.004, abs(d - a), abs(miss), d, a)
        for d in range(n // 3 + 1)
        for a in range(min(n // 3, len(spare)) + 1)
        for miss in [(n - d) / (n + a) - AGREEMENT]
    )
    kept = codes.iloc[np.sort(rng.permutation(n)[dropped:])]
    new = [spare[i] for i in rng.permutation(len(spare))[:added]]
    extra = codes.drop_duplicates("participant_id").set_index("participant_id", drop=False)
    rows = extra.loc[[str(p) for p, _ in new]].assign(
        high_order_theme=[t.high_order for _, t in new],
        lower_order_theme=[t.lower_order for _, t in new],
    )
    return pd.concat([kept, rows]).assign(coder="second")


def _interviews(
    therapists: Sequence[str], supervised: Collection[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Give the people interviewed numbers that tell nothing."""
    people = [("pwp", t) for t in therapists] + [
        ("supervisor", t) for t in therapists if t in supervised
    ]
    numbers = rng.permutation(len(people)) + 1
    ids = pd.Index([f"I{k:02d}" for k in numbers], name="participant_id")
    return pd.DataFrame(people, columns=["role", "therapist_id"], index=ids)


def _first_coder(
    interviews: pd.DataFrame, groups: dict[tuple[str, str], list[str]], rng: np.random.Generator
) -> pd.DataFrame:
    """Give every theme to as many people as it needs to stay, or to go."""
    singles = {r: list(rng.permutation(groups[r, "upper"] + groups[r, "lower"])) for r, _ in groups}
    rows: list[tuple[str, str, str]] = []
    for theme in THEMES:
        if theme.holds == "single":
            who = [singles[theme.role].pop()]
        else:
            who = _speakers(theme, groups, rng)
        for person in who:
            mentions = 1 + int(rng.random() < 0.25)
            rows += [(person, theme.high_order, theme.lower_order)] * mentions
    names = ["participant_id", "high_order_theme", "lower_order_theme"]
    first = pd.DataFrame(rows, columns=names).join(interviews, on="participant_id")
    first = first.assign(coder="first").sort_values("participant_id", kind="stable")
    return first[["participant_id", "role", "therapist_id", "coder", *names[1:]]]


def simulate_segments(
    upper: Sequence[str],
    lower: Sequence[str],
    therapists: Sequence[str],
    supervised: Collection[str],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Simulate the coded segments of the interviews with therapists and their supervisors.

    Whatever the generator's state, the paper's rules then find the paper's counts: six high-order
    themes of eight, and unique lower-order themes 11 and 5 in the upper cluster (therapists,
    supervisors) and 5 and 3 in the lower.

    Parameters
    ----------
    upper, lower : sequence of str
        Therapists of the two clusters, three or more in each.
    therapists : sequence of str
        All therapists.
    supervised : collection of str
        Those whose supervisor was interviewed.
    rng : Generator

    Returns
    -------
    DataFrame
        ``participant_id, role, therapist_id, coder, high_order_theme, lower_order_theme``; a person
        can be given a code in more than one segment.

    Raises
    ------
    InputError
        If a cluster has fewer than three therapists or three interviewed supervisors.
    """
    interviews = _interviews(therapists, supervised, rng)
    groups = _groups(upper, lower, interviews)
    if min(len(groups[r, c]) for r in ("pwp", "supervisor") for c in ("upper", "lower")) < 3:
        raise InputError(
            "each cluster needs three interviews or more with therapists and with supervisors",
            hint="take larger clusters",
        )
    first = _first_coder(interviews, groups, rng)
    second = _second_coder(first, groups, rng)
    return pd.concat([first, second[first.columns]]).reset_index(drop=True)
