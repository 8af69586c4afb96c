"""Two clusters of therapists compared as the paper did it: patients taken as independent.

What respects nesting stands in `pwp_lib.nested`, and belongs beside every result of this
module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multilevel.errors import InputError
from pwp_lib.measures import Measure, get_measure
from pwp_lib.outcomes import patient_outcomes, summarise_outcomes

__all__ = [
    "RATES",
    "Ancova",
    "ChiSquare",
    "ancova",
    "chi_square",
    "chi_square_of_counts",
    "cluster_effect_sizes",
    "cluster_of_patients",
    "compare_rates",
]

#: A therapist's cluster by therapist, or the table that `composite_ranks` returns.
Clusters: TypeAlias = "Mapping[str, str] | pd.Series | pd.DataFrame"

#: Outcomes compared as rates, and what the paper prints of the comparison.
RATES: Mapping[str, str] = {
    "caseness": "no significant difference",
    "improvement": "rates and test",
    "deterioration": "rates",
    "rcsi": "rates and test",
}
_PATIENT_COLUMN = {
    "caseness": "case_pre",
    "improvement": "reliably_improved",
    "deterioration": "reliably_deteriorated",
    "rcsi": "rcsi",
}
#: What counts, and among whom: columns of `summarise_outcomes`.
COUNTS = {
    "caseness": ("n_case_pre", "n"),
    "improvement": ("n_improved", "n"),
    "deterioration": ("n_deteriorated", "n"),
    "rcsi": ("n_rcsi", "n_case_pre"),
}


def as_cluster_series(clusters: Clusters) -> pd.Series:
    """Give the cluster of each therapist as a Series indexed by therapist."""
    if isinstance(clusters, pd.DataFrame):
        return clusters["cluster"]
    return pd.Series(clusters, dtype=object)


def cluster_of_patients(
    patients: pd.DataFrame,
    clusters: Clusters,
    compare: tuple[str, ...] = ("upper", "lower"),
) -> pd.Series:
    """Find the cluster of each patient's therapist, for patients of the clusters compared.

    Parameters
    ----------
    patients : DataFrame
        With ``therapist_id``.
    clusters : mapping, Series or DataFrame
        Cluster by therapist, or the table of `composite_ranks`.
    compare : tuple of str
        The clusters to keep.

    Returns
    -------
    Series
        Indexed as `patients`, shorter by the patients of other clusters.

    Raises
    ------
    InputError
        If one of the clusters has no patient.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": ["T01", "T02", "T03"]})
    >>> cluster_of_patients(patients, {"T01": "lower", "T02": "middle", "T03": "upper"}).to_dict()
    {0: 'lower', 2: 'upper'}
    """
    labels = patients["therapist_id"].map(as_cluster_series(clusters))
    kept: pd.Series = labels[labels.isin(compare)]
    for name in compare:
        if not (kept == name).any():
            raise InputError(f"the {name} cluster has no patient", column="therapist_id")
    return kept


def cluster_effect_sizes(
    patients: pd.DataFrame,
    measure: str | Measure,
    clusters: Clusters,
    compare: tuple[str, ...] = ("upper", "lower"),
) -> pd.DataFrame:
    """Change and effect size of each cluster's own patients.

    The effect size is the cluster's mean change over the pre SD of its own patients, without a
    control group: regression to the mean is part of it.

    Returns
    -------
    DataFrame
        Indexed by cluster: the columns of `summarise_outcomes`.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": list("aabb"), "phq9_pre": [10, 14, 10, 14],
    ...                          "phq9_post": [4, 8, 10, 13]})
    >>> cluster_effect_sizes(patients, "phq9", {"a": "upper", "b": "lower"})["mean_change"].tolist()
    [6.0, 0.5]
    """
    labels = cluster_of_patients(patients, clusters, compare)
    chosen = patients.loc[labels.index].assign(cluster=labels)
    return summarise_outcomes(chosen, measure, by="cluster").loc[list(compare)]


@dataclass(frozen=True)
class Ancova:
    """Post scores of two clusters compared at equal pre scores.

    Attributes
    ----------
    measure : str
    clusters : tuple of str
        The two clusters; the difference is the first less the second.
    n : tuple of int
        Patients of each.
    difference, se : float
        Adjusted difference of the post scores, in points, and its standard error.
    statistic : float
        F, with `df` degrees of freedom.
    df : tuple of int
        1 and n - 3.
    p_value : float
    """

    measure: str
    clusters: tuple[str, str]
    n: tuple[int, int]
    difference: float
    se: float
    statistic: float
    df: tuple[int, int]
    p_value: float

    def table(self) -> pd.DataFrame:
        """One row, indexed by measure."""
        row = {
            **{f"n_{name}": n for name, n in zip(self.clusters, self.n, strict=True)},
            "difference": self.difference,
            "se": self.se,
            "F": self.statistic,
            "df1": self.df[0],
            "df2": self.df[1],
            "p_value": self.p_value,
        }
        return pd.DataFrame([row], index=pd.Index([self.measure], name="measure"))


def ancova(
    patients: pd.DataFrame,
    measure: str | Measure,
    groups: Clusters,
    compare: tuple[str, str] = ("upper", "lower"),
) -> Ancova:
    """Analysis of covariance of post scores on cluster and own pre score.

    Patients are taken as independent, as the paper took them; `nested_ancova` does not. With one
    slope for both clusters the cluster's F is its squared t.

    Parameters
    ----------
    patients : DataFrame
        ``therapist_id``, ``<measure>_pre`` and ``<measure>_post``; rows without both are left out.
    measure : str or Measure
    groups : mapping, Series or DataFrame
        Cluster by therapist.
    compare : tuple of str
        The two clusters.

    Raises
    ------
    InputError
        If a cluster is empty, fewer than four patients are left, or pre scores do not vary.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": list("aaabbb"),
    ...                          "phq9_post": [4, 5, 11, 9, 12, 15],
    ...                          "phq9_pre": [9, 12, 18, 10, 15, 16]})
    >>> result = ancova(patients, "phq9", {"a": "upper", "b": "lower"})
    >>> round(result.difference, 2), result.df
    (-4.78, (1, 3))
    """
    chosen = get_measure(measure)
    labels = cluster_of_patients(patients, groups, compare)
    rows = patients.loc[labels.index, [chosen.pre, chosen.post]].astype(float).dropna()
    first = (labels.loc[rows.index] == compare[0]).to_numpy(dtype=float)
    difference, se, df = _adjusted_difference(
        rows[chosen.post].to_numpy(), rows[chosen.pre].to_numpy(), first, chosen.pre
    )
    from scipy.stats import f as f_distribution

    statistic = (difference / se) ** 2 if se > 0 else np.inf
    return Ancova(
        measure=chosen.name,
        clusters=compare,
        n=(int(first.sum()), int(len(first) - first.sum())),
        difference=difference,
        se=se,
        statistic=float(statistic),
        df=(1, df),
        p_value=float(f_distribution.sf(statistic, 1, df)),
    )


def _adjusted_difference(
    post: np.ndarray, pre: np.ndarray, first: np.ndarray, column: str
) -> tuple[float, float, int]:
    """Least squares of `post` on the constant, `pre` and `first`: the last coefficient."""
    design = np.column_stack([np.ones_like(pre), pre - pre.mean(), first])
    df = len(post) - 3
    if df < 1 or np.linalg.matrix_rank(design) < 3:
        raise InputError(
            "the clusters cannot be compared at equal pre scores",
            hint="four patients or more are needed, with pre scores that differ",
            column=column,
        )
    q, r = np.linalg.qr(design)
    coefficients = np.linalg.solve(r, q.T @ post)
    residual = post - design @ coefficients
    # The last diagonal element of the inverse of X'X is 1 / r[2, 2] squared.
    se = np.sqrt(residual @ residual / df) / abs(r[2, 2])
    return float(coefficients[2]), float(se), df


@dataclass(frozen=True)
class ChiSquare:
    """Pearson's chi-square of an outcome in two or more groups, with the counts it stands on.

    Attributes
    ----------
    counts : DataFrame
        One row a group: ``yes``, ``no``, ``n`` and ``rate`` (a share).
    statistic : float
        Uncorrected; NaN when nobody or everybody has the outcome.
    df : int
    p_value : float
    smallest_expected : float
        Smallest expected count: below 5 the chi-square distribution is a poor guide.
    """

    counts: pd.DataFrame
    statistic: float
    df: int
    p_value: float
    smallest_expected: float

    def table(self) -> pd.DataFrame:
        """Return the counts and the test side by side, one row."""
        row: dict[str, float] = {}
        for name, group in self.counts.iterrows():
            row |= {f"yes_{name}": group["yes"], f"n_{name}": group["n"]}
            row |= {f"rate_{name}": group["rate"]}
        row |= {"chi2": self.statistic, "df": self.df, "p_value": self.p_value}
        return pd.DataFrame([row])


def chi_square_of_counts(yes: pd.Series, n: pd.Series) -> ChiSquare:
    """Pearson's chi-square test, uncorrected, from counts.

    Parameters
    ----------
    yes, n : Series
        Patients with the outcome, and patients, by group.

    Raises
    ------
    InputError
        If fewer than two groups have a patient.

    Examples
    --------
    >>> yes, n = pd.Series({"upper": 129, "lower": 104}), pd.Series({"upper": 278, "lower": 548})
    >>> round(chi_square_of_counts(yes, n).statistic, 1)
    68.5
    """
    counts = pd.DataFrame({"yes": yes.astype(int), "n": n.astype(int)})
    counts = counts[counts["n"] > 0]
    if len(counts) < 2:
        raise InputError("a comparison needs two groups with patients")
    counts.insert(1, "no", counts["n"] - counts["yes"])
    counts["rate"] = counts["yes"] / counts["n"]
    statistic, p_value, smallest = _pearson(counts["yes"].to_numpy(), counts["n"].to_numpy())
    return ChiSquare(counts, statistic, len(counts) - 1, p_value, smallest)


def _pearson(yes: np.ndarray, n: np.ndarray) -> tuple[float, float, float]:
    """Chi-square, its p-value and the smallest expected count; NaN with nobody or everybody."""
    observed = np.column_stack([yes, n - yes])
    if (observed.sum(axis=0) == 0).any():
        return np.nan, np.nan, 0.0
    from scipy.stats import chi2_contingency

    test = chi2_contingency(observed, correction=False)
    return float(test.statistic), float(test.pvalue), float(test.expected_freq.min())


def chi_square(outcome: ArrayLike | pd.Series, groups: ArrayLike | pd.Series) -> ChiSquare:
    """Pearson's chi-square test, uncorrected, of a yes-or-no outcome in groups.

    Parameters
    ----------
    outcome : array_like of bool, shape (N,)
        Missing values are left out.
    groups : array_like of shape (N,)
        The group of each patient.

    Raises
    ------
    InputError
        If fewer than two groups have a patient.

    Examples
    --------
    >>> result = chi_square([True, True, True, False, True, False], list("aaabbb"))
    >>> round(result.statistic, 3), result.df
    (3.0, 1)
    >>> result.counts.loc["b"].to_dict()
    {'yes': 1.0, 'no': 2.0, 'n': 3.0, 'rate': 0.3333333333333333}
    """
    frame = pd.DataFrame({"yes": np.asarray(outcome, dtype=object), "group": np.asarray(groups)})
    by_group = frame.dropna()["yes"].astype(bool).groupby(frame["group"])
    return chi_square_of_counts(by_group.sum(), by_group.size())


def outcome_of_patients(patients: pd.DataFrame, measure: str | Measure, rate: str) -> pd.Series:
    """One outcome of `RATES` by patient; missing where the rate is not defined.

    Recovery (``rcsi``) is defined for those who were cases before.
    """
    outcomes = patient_outcomes(patients, measure)
    column = outcomes[_PATIENT_COLUMN[rate]].astype("boolean")
    if rate == "rcsi":
        column = column.where(outcomes["case_pre"].astype("boolean").fillna(False))
    return column


def compare_rates(
    patients: pd.DataFrame,
    measure: str | Measure,
    clusters: Clusters,
    compare: tuple[str, str] = ("upper", "lower"),
) -> pd.DataFrame:
    """Rates of caseness, improvement, deterioration and recovery in two clusters.

    Returns
    -------
    DataFrame
        Indexed by outcome: ``yes_<cluster>``, ``n_<cluster>``, ``rate_<cluster>`` (shares),
        ``chi2``, ``df``, ``p_value``, and ``reported``, what the paper prints of it. Recovery is
        among cases; the rate of a cluster without cases, and the test, are missing.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": list("aaabbb"),
    ...                          "phq9_post": [4, 5, 11, 9, 12, 15],
    ...                          "phq9_pre": [12, 12, 18, 12, 15, 9]})
    >>> compare_rates(patients, "phq9", {"a": "upper", "b": "lower"})["yes_upper"].to_dict()
    {'caseness': 3, 'improvement': 3, 'deterioration': 0, 'rcsi': 2}
    """
    return rates_of_summary(cluster_effect_sizes(patients, measure, clusters, compare))


def rates_of_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Test the rates of two clusters, given the summary of `cluster_effect_sizes`."""
    rows: dict[str, dict[str, object]] = {}
    for rate, (count, of) in COUNTS.items():
        if summary[[count, of]].isna().any(axis=None):
            continue  # the measure has no cut-off or no reliable change
        yes, n = summary[count].to_numpy(dtype=int), summary[of].to_numpy(dtype=int)
        row: dict[str, object] = {}
        for name, with_it, among in zip(summary.index, yes.tolist(), n.tolist(), strict=True):
            row |= {f"yes_{name}": with_it, f"n_{name}": among}
            row[f"rate_{name}"] = with_it / among if among else np.nan
        statistic, p_value, _ = _pearson(yes, n) if n.all() else (np.nan, np.nan, 0.0)
        row |= {"chi2": statistic, "df": len(summary) - 1, "p_value": p_value}
        rows[rate] = {**row, "reported": RATES[rate]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("outcome")
