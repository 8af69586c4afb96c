"""Template analysis of coded interviews: which themes stay, whose they are, and do coders agree.

The rules are those of the paper (p. 16). A high-order theme goes if fewer than two people of the
clusters compared described a similar lower-order theme; a lower-order theme stays in a group (the
therapists of a cluster, or their supervisors) if more than two of the group were given it. That a
theme is *unique* to a cluster when it does not stay in the other is our own reading. People are
counted, not mentions: who speaks of a theme three times is one person.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.comparison import Clusters, clusters_of
from pwp_lib.schema import SEGMENT_FIELDS, need_columns

__all__ = [
    "CoderAgreement",
    "TemplateAnalysis",
    "coder_agreement",
    "high_order_themes",
    "lower_order_themes",
    "template_analysis",
    "theme_map",
]

_COLUMNS = tuple(field.name for field in SEGMENT_FIELDS)
#: Fewer people than this with a similar lower-order theme, and the high-order theme goes.
HIGH_ORDER_PEOPLE = 2
#: A lower-order theme stays with so many people of a group: "more than two".
LOWER_ORDER_PEOPLE = 3


def _codes(segments: pd.DataFrame, clusters: Clusters | None, coder: str = "first") -> pd.DataFrame:
    """One row a person and code, of one coder, with the person's cluster."""
    need_columns(segments, *_COLUMNS)
    codes = segments.loc[segments["coder"] == coder, list(_COLUMNS)]
    codes = codes.drop_duplicates(ignore_index=True)
    if codes.empty:
        raise InputError("no segment is by that coder", hint="name another", column="coder")
    for column in _COLUMNS:
        if codes[column].isna().any():
            raise InputError("a segment lacks a value", hint="leave it out", column=column)
    codes = codes.astype(dict.fromkeys(codes.columns.difference(["therapist_id"]), "str"))
    if clusters is None:
        return codes
    return codes.assign(cluster=clusters_of(codes["therapist_id"], clusters))


def high_order_themes(segments: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Decide which high-order themes stay.

    Parameters
    ----------
    segments : DataFrame
        A cohort's coded segments; those of the coder ``"first"`` count.
    clusters : mapping, Series or DataFrame
        Cluster of each therapist (``"upper"``, ``"lower"`` or anything else), or the composite
        ranks with their column ``cluster``.

    Returns
    -------
    DataFrame
        One row a theme, in the order of its first mention among all participants: ``asked_of``
        (``"pwp and supervisor"``, ``"pwp"`` or ``"supervisor"``, by whose interviews have it),
        ``lower_order`` (number of different codes), ``people`` (the most people of both clusters
        with one and the same code) and ``stays``.

    Examples
    --------
    >>> segments = pd.DataFrame({
    ...     "participant_id": ["I1", "I2"], "role": "pwp", "therapist_id": ["T1", "T2"],
    ...     "coder": "first", "high_order_theme": "Limits", "lower_order_theme": ["a", "b"]})
    >>> high_order_themes(segments, {"T1": "upper", "T2": "lower"})["stays"].tolist()
    [False]
    """
    codes = _codes(segments, clusters)
    order = codes["high_order_theme"].drop_duplicates()
    roles = codes.groupby("high_order_theme")["role"].agg(lambda r: " and ".join(sorted(set(r))))
    compared = codes[codes["cluster"].isin(["upper", "lower"])]
    people = compared.groupby(["high_order_theme", "lower_order_theme"])["participant_id"].nunique()
    most = people.groupby("high_order_theme").max()
    different = codes.groupby("high_order_theme")["lower_order_theme"].nunique()
    table = pd.DataFrame({"asked_of": roles, "lower_order": different}).loc[order]
    table["people"] = most.reindex(table.index, fill_value=0)
    table["stays"] = table["people"] >= HIGH_ORDER_PEOPLE
    return table


def lower_order_themes(segments: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Decide which lower-order themes stay in which cluster, and which are unique to one.

    Parameters
    ----------
    segments, clusters
        As in :func:`high_order_themes`.

    Returns
    -------
    DataFrame
        One row a role, high-order and lower-order theme of the clusters compared: ``upper`` and
        ``lower`` (people given the code), ``stays_upper, stays_lower``, and ``unique``:
        ``"upper"``, ``"lower"`` or an empty string. Themes under a high-order theme that goes do
        not stay.
    """
    codes = _codes(segments, clusters)
    compared = codes[codes["cluster"].isin(["upper", "lower"])]
    keys = ["role", "high_order_theme", "lower_order_theme"]
    people = (
        compared.groupby([*keys, "cluster"], sort=False)["participant_id"]
        .nunique()
        .unstack("cluster", fill_value=0)
        .reindex(columns=["upper", "lower"], fill_value=0)
        .reset_index()
        .rename_axis(columns=None)
    )
    kept = high_order_themes(segments, clusters)["stays"]
    under = people["high_order_theme"].map(kept)
    for cluster in ("upper", "lower"):
        people[f"stays_{cluster}"] = (people[cluster] >= LOWER_ORDER_PEOPLE) & under
    people["unique"] = ""
    for cluster, other in (("upper", "lower"), ("lower", "upper")):
        here_alone = people[f"stays_{cluster}"] & ~people[f"stays_{other}"]
        people.loc[here_alone, "unique"] = cluster
    place = kept.index.get_indexer(pd.Index(people["high_order_theme"]))
    people = people.assign(place=place).sort_values(["role", "place", "lower_order_theme"])
    return people.drop(columns="place").reset_index(drop=True)


def theme_map(segments: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Map the unique lower-order themes: high-order themes down, clusters and roles across.

    Returns
    -------
    DataFrame
        One row a high-order theme that stays, those asked of both roles first; columns in two
        levels, cluster and role; each cell holds labels joined by semicolons, or an empty string.
    """
    high = high_order_themes(segments, clusters)
    high = high[high["stays"]]
    first = high["asked_of"].str.contains(" and ")
    rows = [*high.index[first], *high.index[~first]]
    unique = lower_order_themes(segments, clusters)
    unique = unique[unique["unique"] != ""]
    labels: dict[tuple[str, str, str], list[str]] = {}
    for row in unique.itertuples(index=False):
        place = (str(row.unique), str(row.role), str(row.high_order_theme))
        labels.setdefault(place, []).append(str(row.lower_order_theme))
    cells = {
        (cluster, role): ["; ".join(labels.get((cluster, role, theme), [])) for theme in rows]
        for cluster in ("upper", "lower")
        for role in ("pwp", "supervisor")
    }
    table = pd.DataFrame(cells, index=pd.Index(rows, name="high_order_theme"), dtype="str")
    return table.rename_axis(columns=["cluster", "role"])


@dataclass(frozen=True)
class CoderAgreement:
    """How far two coders gave the same lower-order codes to the same interviews.

    Attributes
    ----------
    participants : tuple of str
        Interviews coded by both.
    agreed, only_first, only_second : int
        Codes, counted once an interview.
    percent : float
        Agreed codes over the codes that either coder gave, in percent: our reading, since the
        paper does not say how its 78% was counted.
    kappa : float
        Cohen's kappa over presence and absence of every code of the interview's role in each
        interview. NaN if neither coder ever varied.
    by_participant : DataFrame
        The counts for each interview.
    """

    participants: tuple[str, ...]
    agreed: int
    only_first: int
    only_second: int
    percent: float
    kappa: float
    by_participant: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Show the figures, one row each."""
        rows = {
            "interviews coded twice": len(self.participants),
            "codes agreed": self.agreed,
            "codes of the first coder only": self.only_first,
            "codes of the second coder only": self.only_second,
            "agreement, percent": self.percent,
            "Cohen's kappa": self.kappa,
        }
        return pd.DataFrame({"value": rows})


def coder_agreement(segments: pd.DataFrame) -> CoderAgreement:
    """Compare two coders over the interviews that both coded.

    A code is a lower-order theme within its high-order theme: the same label under another
    high-order theme is another code.

    Parameters
    ----------
    segments : DataFrame
        Of the coders ``"first"`` and ``"second"``.

    Returns
    -------
    CoderAgreement

    Raises
    ------
    InputError
        If no interview was coded by both, or one has two roles.

    Examples
    --------
    >>> segments = pd.DataFrame({
    ...     "participant_id": "I1", "role": "pwp", "therapist_id": "T1",
    ...     "coder": ["first", "first", "second"], "high_order_theme": "Limits",
    ...     "lower_order_theme": ["a", "b", "a"]})
    >>> coder_agreement(segments).percent
    50.0
    """
    coded = [_codes(segments, None, coder) for coder in ("first", "second")]
    both = sorted(set.intersection(*(set(c["participant_id"]) for c in coded)), key=str)
    if not both:
        raise InputError("no interview was coded by both coders", column="coder")
    theme = ["high_order_theme", "lower_order_theme"]
    template = (
        segments.astype({"role": "str"}).drop_duplicates(["role", *theme])["role"].value_counts()
    )
    whose = pd.concat(coded).drop_duplicates(["participant_id", "role"])
    if not (role := whose.set_index("participant_id")["role"]).index.is_unique:
        raise InputError("an interview has two roles", hint="give it one", column="role")
    given = [set(c[["participant_id", *theme]].itertuples(index=False, name=None)) for c in coded]
    rows = []
    for person in both:
        one, two = ({code for code in codes if code[0] == person} for codes in given)
        agreed, alone = len(one & two), (len(one - two), len(two - one))
        rows.append((person, agreed, *alone, template[role[person]] - agreed - sum(alone)))
    names = ["participant_id", "agreed", "only_first", "only_second", "neither"]
    counts = pd.DataFrame(rows, columns=names).set_index("participant_id")
    a, b, c, d = (int(v) for v in counts.sum())
    n = a + b + c + d
    chance = ((a + b) * (a + c) + (c + d) * (b + d)) / n**2
    kappa = ((a + d) / n - chance) / (1 - chance) if chance < 1 else float("nan")
    return CoderAgreement(
        participants=tuple(both),
        agreed=a,
        only_first=b,
        only_second=c,
        percent=100 * a / (a + b + c),
        kappa=kappa,
        by_participant=counts,
    )


@dataclass(frozen=True)
class TemplateAnalysis:
    """The template analysis of two clusters in one object.

    Attributes
    ----------
    high_order : DataFrame
        See :func:`high_order_themes`.
    lower_order : DataFrame
        See :func:`lower_order_themes`.
    map : DataFrame
        See :func:`theme_map`.
    agreement : CoderAgreement or None
        None if no interview was coded twice.
    """

    high_order: pd.DataFrame
    lower_order: pd.DataFrame
    map: pd.DataFrame
    agreement: CoderAgreement | None

    @property
    def deleted(self) -> tuple[str, ...]:
        """High-order themes that go."""
        return tuple(self.high_order.index[~self.high_order["stays"]])

    def unique_counts(self) -> pd.DataFrame:
        """Count unique lower-order themes: clusters down, roles across."""
        unique = self.lower_order[self.lower_order["unique"] != ""]
        counts = pd.crosstab(unique["unique"], unique["role"])
        return counts.reindex(
            index=["upper", "lower"], columns=["pwp", "supervisor"], fill_value=0
        ).rename_axis(index="cluster", columns="role")

    def table(self) -> pd.DataFrame:
        """Show the theme map."""
        return self.map


def template_analysis(segments: pd.DataFrame, clusters: Clusters) -> TemplateAnalysis:
    """Carry the template analysis out over two clusters.

    Parameters
    ----------
    segments, clusters
        As in :func:`high_order_themes`.

    Examples
    --------
    >>> from pwp_lib import load_cohort
    >>> segments = load_cohort().segments
    >>> found = template_analysis(segments, {t: "upper" for t in segments["therapist_id"]})
    >>> len(found.deleted)
    2
    """
    twice = set(segments["coder"]) >= {"first", "second"}
    return TemplateAnalysis(
        high_order=high_order_themes(segments, clusters),
        lower_order=lower_order_themes(segments, clusters),
        map=theme_map(segments, clusters),
        agreement=coder_agreement(segments) if twice else None,
    )
