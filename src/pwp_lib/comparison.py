"""Two clusters of therapists compared: as the paper did it, and with therapists as the units.

The paper took patients as independent. What respects nesting belongs beside every such result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from multilevel.errors import InputError
from multilevel.fit import MixedFit, fit_mixed
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import model_formula
from pwp_lib.outcomes import OUTCOMES, patient_outcomes, summarise_outcomes
from pwp_lib.schema import as_numbers, need_columns, once_each, same_labels

__all__ = [
    "RATES",
    "Ancova",
    "NestedDifference",
    "ancova",
    "cluster_effect_sizes",
    "compare_rates",
    "nested_ancova",
    "patients_in_clusters",
    "therapist_predictors",
]

#: A therapist's cluster by therapist, or the table that `composite_ranks` returns.
Clusters: TypeAlias = Mapping[str, str] | pd.Series | pd.DataFrame

#: Outcomes compared as rates, and what the paper prints of the comparison.
RATES: Mapping[str, str] = {
    "caseness": "no significant difference",
    "improvement": "rates and test",
    "deterioration": "rates",
    "rcsi": "rates and test",
}


def as_cluster_series(clusters: Clusters) -> pd.Series:
    """Give the cluster of each therapist as a Series indexed by therapist."""
    if isinstance(clusters, pd.DataFrame):
        if "cluster" not in clusters:
            raise InputError("the ranks have no clusters", hint="add them", column="cluster")
        clusters = clusters["cluster"]
    labels = pd.Series(clusters, dtype=object)
    if not labels.index.is_unique:
        raise InputError(
            "a therapist has more than one cluster", hint="give each therapist one row"
        )
    return labels


def clusters_of(therapists: pd.Series, clusters: Clusters) -> pd.Series:
    """Give the cluster of each row's therapist; missing for whoever is in none."""
    labels = as_cluster_series(clusters)
    same_labels(therapists, labels.index)
    return therapists.map(labels)


def patients_in_clusters(
    patients: pd.DataFrame,
    clusters: Clusters,
    compare: tuple[str, ...] = ("upper", "lower"),
) -> pd.DataFrame:
    """Find the patients of the clusters compared.

    Parameters
    ----------
    patients : DataFrame
        With ``therapist_id``, by which the two are joined.
    clusters : mapping, Series or DataFrame
        Cluster by therapist, or the table of `composite_ranks`.
    compare : tuple of str
        The clusters to keep.

    Returns
    -------
    DataFrame
        The rows of `patients` whose therapist is in one of the clusters, with ``cluster``.

    Raises
    ------
    InputError
        If one of the clusters has no patient, or a therapist is in two.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": ["T01", "T02", "T03"]})
    >>> clusters = {"T01": "lower", "T02": "middle", "T03": "upper"}
    >>> patients_in_clusters(patients, clusters)["cluster"].tolist()
    ['lower', 'upper']
    """
    need_columns(patients, "therapist_id")
    labels = clusters_of(patients["therapist_id"], clusters)
    # By position: two tables, one put below the other, carry every index twice.
    chosen = patients.assign(cluster=labels.to_numpy())[labels.isin(compare).to_numpy()]
    for name in compare:
        if not (chosen["cluster"] == name).any():
            raise InputError(f"the {name} cluster has no patient", column="therapist_id")
    return chosen


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
    chosen = patients_in_clusters(patients, clusters, compare)
    return summarise_outcomes(chosen, measure, by="cluster").reindex(list(compare))


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
        If a cluster is empty, a score is no finite number, fewer than four patients are left, or
        pre scores do not vary.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": list("aaabbb"),
    ...                          "phq9_post": [4, 5, 11, 9, 12, 15],
    ...                          "phq9_pre": [9, 12, 18, 10, 15, 16]})
    >>> result = ancova(patients, "phq9", {"a": "upper", "b": "lower"})
    >>> round(result.difference, 2), result.df
    (-4.78, (1, 3))
    """
    import statsmodels.formula.api as smf

    chosen = get_measure(measure)
    used = ["therapist_id", chosen.pre, chosen.post]
    need_columns(patients, *used)
    rows = patients_in_clusters(patients[used], groups, compare).reset_index(drop=True)
    scores = as_numbers(rows, [chosen.post, chosen.pre]).set_axis(["post", "pre"], axis=1).dropna()
    scores -= scores.mean()  # far from zero it would be lost that they differ
    scores["first"] = (rows.loc[scores.index, "cluster"] == compare[0]).to_numpy(dtype=float)
    if len(scores) < 4 or np.linalg.matrix_rank(scores.assign(post=1.0)) < 3:
        raise InputError(
            "the clusters cannot be compared at equal pre scores",
            hint="four patients or more are needed, with pre scores that differ",
            column=chosen.pre,
        )
    fit = smf.ols("post ~ pre + first", scores).fit()
    first = int(scores["first"].sum())
    return Ancova(
        measure=chosen.name,
        clusters=compare,
        n=(first, len(scores) - first),
        difference=float(fit.params["first"]),
        se=float(fit.bse["first"]),
        statistic=float(fit.tvalues["first"] ** 2),
        df=(1, int(fit.df_resid)),
        p_value=float(fit.pvalues["first"]),
    )


def outcome_of_patients(patients: pd.DataFrame, measure: str | Measure, rate: str) -> pd.Series:
    """One outcome of `RATES` by patient; missing where the rate is not defined.

    Recovery (``rcsi``) is defined for those who were cases before.
    """
    outcomes = patient_outcomes(patients, measure)
    column = outcomes[OUTCOMES[rate].flag].astype("boolean")
    if rate == "rcsi":
        column = column.where(outcomes["case_pre"].astype("boolean").fillna(False))
    return column


def compare_rates(
    patients: pd.DataFrame,
    measure: str | Measure,
    clusters: Clusters,
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
    return rates_of_summary(cluster_effect_sizes(patients, measure, clusters))


def rates_of_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Test the rates of two clusters, given the summary of `cluster_effect_sizes`."""
    rows: dict[str, dict[str, object]] = {}
    for rate in RATES:
        count, of = OUTCOMES[rate].count, OUTCOMES[rate].among
        if summary[[count, of]].isna().any(axis=None):
            continue  # the measure has no cut-off or no reliable change
        yes, n = summary[count].to_numpy(dtype=int), summary[of].to_numpy(dtype=int)
        row: dict[str, object] = {}
        for name, with_it, among in zip(summary.index, yes.tolist(), n.tolist(), strict=True):
            row |= {f"yes_{name}": with_it, f"n_{name}": among}
            row[f"rate_{name}"] = with_it / among if among else np.nan
        statistic, p_value = _pearson(yes, n)
        row |= {"chi2": statistic, "df": len(summary) - 1, "p_value": p_value}
        rows[rate] = {**row, "reported": RATES[rate]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("outcome")


def _pearson(yes: NDArray[np.int64], n: NDArray[np.int64]) -> tuple[float, float]:
    """Chi-square and its p-value; NaN with an empty cluster, or with nobody or everybody."""
    from scipy.stats import chi2_contingency

    observed = np.column_stack([yes, n - yes])
    if not (observed.any(axis=0).all() and n.all()):
        return np.nan, np.nan
    test = chi2_contingency(observed, correction=False)
    return float(test.statistic), float(test.pvalue)


@dataclass(frozen=True)
class NestedDifference:
    """Post scores of two clusters compared at equal pre scores, therapists as the units.

    Attributes
    ----------
    measure : str
    clusters : tuple of str
        The difference is the first less the second.
    n_therapists : tuple of int
        Of each cluster.
    difference, se : float
        The cluster's coefficient in a model with a random intercept for the therapist.
    statistic : float
        t, with `df` degrees of freedom.
    df : int
        Therapists less two.
    p_value : float
    intercept_variance : float
        Between therapists of the same cluster (REML).
    """

    measure: str
    clusters: tuple[str, str]
    n_therapists: tuple[int, int]
    difference: float
    se: float
    statistic: float
    df: int
    p_value: float
    intercept_variance: float

    def table(self) -> pd.DataFrame:
        """One row, indexed by measure."""
        row = {
            **{f"therapists_{c}": n for c, n in zip(self.clusters, self.n_therapists, strict=True)},
            "difference": self.difference,
            "se": self.se,
            "t": self.statistic,
            "df": self.df,
            "p_value": self.p_value,
            "intercept_variance": self.intercept_variance,
        }
        return pd.DataFrame([row], index=pd.Index([self.measure], name="measure"))


def nested_ancova(
    patients: pd.DataFrame,
    measure: str | Measure,
    clusters: Clusters,
    compare: tuple[str, str] = ("upper", "lower"),
) -> NestedDifference:
    """Fit the analysis of covariance with a random intercept for the therapist, by REML.

    The cluster belongs to the therapist, so its t has as many degrees of freedom as there are
    therapists, less two. It still tests what was chosen on the same outcomes: see
    `split_sample_comparison`.

    Raises
    ------
    InputError
        If a cluster is empty, or there are fewer than four therapists.

    Notes
    -----
    Those degrees of freedom are right where caseloads are alike, and too many where a therapist or
    two of each cluster see nearly all its patients. Of 1,000 simulated cohorts of ten therapists
    without a difference between the clusters (a tenth of the variance between therapists) the test
    finds one at 5% in .046 with 40 patients each, .066 where one therapist of each cluster has 100
    or 120 patients and the others 8 to 20, and .161 where one of each has 200 and the others 3 to
    6 (Monte Carlo error .012 at most). Satterthwaite's degrees of freedom, which
    ``fit_mixed(..., method="REML").satterthwaite()`` has, give .046, .058 and .134: better, and
    no cure.
    """
    chosen = get_measure(measure)
    need_columns(patients, chosen.pre, chosen.post)
    rows = patients_in_clusters(patients, clusters, compare)
    rows = rows.dropna(subset=[chosen.pre, chosen.post])
    rows = rows.assign(in_first=(rows["cluster"] == compare[0]).astype(float))
    per_cluster = rows.groupby("in_first")["therapist_id"].nunique()
    n = (int(per_cluster.get(1.0, 0)), int(per_cluster.get(0.0, 0)))
    if sum(n) < 4:
        raise InputError("therapists of two clusters are compared with four of them at least")
    formula = f"{chosen.post} ~ center({chosen.pre}) + in_first + (1 | therapist_id)"
    fit = fit_mixed(formula, rows, method="REML")
    tested = _t_test(fit, "in_first", sum(n) - 2)
    return NestedDifference(measure=chosen.name, clusters=compare, n_therapists=n, **tested)


def _intercept_variance(fit: MixedFit) -> float:
    return float(fit.random_covariance.to_numpy()[0, 0])


def _t_test(fit: MixedFit, term: str, df: int) -> dict[str, Any]:
    """Coefficient of a term and its test, by the names that `NestedDifference` has for them."""
    from scipy.stats import t

    difference, se, statistic = map(float, fit.fixed.loc[term, ["estimate", "se", "z"]])
    return {
        "difference": difference,
        "se": se,
        "statistic": statistic,
        "df": df,
        "p_value": float(2 * t.sf(abs(statistic), df)),
        "intercept_variance": _intercept_variance(fit),
    }


def therapist_predictors(
    patients: pd.DataFrame,
    therapists: pd.DataFrame,
    measure: str | Measure,
    predictors: Iterable[str],
    measures: Iterable[str | Measure] = (),
) -> pd.DataFrame:
    """Therapist-level predictors of outcome over all therapists, one at a time, in the model.

    The random-intercept model of the measure with the predictor, standardised over therapists, as
    a further fixed term (REML). Nothing is thrown away, as it is by comparing two extreme clusters.

    Parameters
    ----------
    patients : DataFrame
    therapists : DataFrame
        ``therapist_id`` and the predictors, numeric. Therapists without a value, or without a
        patient with every score of the model, are left out.
    measure : str or Measure
    predictors : iterable of str
    measures : iterable of str or Measure
        All measures of the cohort: their pre scores are controlled for.

    Returns
    -------
    DataFrame
        Indexed by predictor: ``n_therapists``, ``estimate`` (points of post score for one SD more),
        ``se``, ``t``, ``df`` (therapists less two), ``p_value``, ``intercept_variance`` and
        ``variance_without``, the intercept variance of the same therapists without the predictor.
        A predictor known of fewer than four therapists, or the same for all, has missing values.

    Raises
    ------
    InputError
        If a predictor is not a column, a therapist has two rows, or no therapist is in both tables.

    Notes
    -----
    Of 1,000 simulated cohorts with a predictor that tells nothing (a tenth of the variance between
    therapists) the test finds one at 5% in .045 with ten therapists of 40 patients each, .059 with
    21 of 50, .055 with 21 of 5 to 300; .068 where two of ten have 100 and 120 patients and the
    others 8 to 20; .086 where two have 200 and the others 3 to 6 (Monte Carlo error .009 at most).
    Satterthwaite's degrees of freedom give .045, .059, .055, .060 and .078.
    """
    own, listed, rows = get_measure(measure), tuple(measures), {}
    others = [m.pre for m in map(get_measure, listed) if m.name != own.name]
    need_columns(patients, "therapist_id", own.pre, own.post, *others)
    once_each(therapists)
    complete = patients.dropna(subset=[own.pre, own.post, *others])
    same_labels(complete["therapist_id"], therapists["therapist_id"])
    if len(complete) and not complete["therapist_id"].isin(therapists["therapist_id"]).any():
        raise InputError("no patient's therapist is in their table", column="therapist_id")
    for name in predictors:
        if name not in therapists:
            raise InputError("the therapists' table has no such column", column=name)
        values = as_numbers(therapists.set_index("therapist_id"), [name])[name].dropna()
        # A therapist without a complete patient is not in the model, and is no degree of freedom.
        values = values[values.index.isin(complete["therapist_id"])]
        row: dict[str, Any] = {"n_therapists": len(values)}
        if len(values) >= 4 and values.nunique() > 1:
            row |= _predictor_row(complete, values, own, listed)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")


def _predictor_row(
    patients: pd.DataFrame,
    values: pd.Series,
    measure: Measure,
    measures: tuple[str | Measure, ...],
) -> dict[str, float]:
    chosen = patients[patients["therapist_id"].isin(values.index)]
    standardised = (values - values.mean()) / values.std()
    chosen = chosen.assign(therapist_predictor=chosen["therapist_id"].map(standardised))
    formula = model_formula(measure, measures, "intercept", extra=["therapist_predictor"])
    fit = fit_mixed(formula, chosen, method="REML")
    without = fit_mixed(model_formula(measure, measures, "intercept"), chosen, method="REML")
    tested = _t_test(fit, "therapist_predictor", len(values) - 2)
    named = {"difference": "estimate", "statistic": "t"}
    row = {named.get(name, name): value for name, value in tested.items()}
    return {**row, "variance_without": _intercept_variance(without)}
