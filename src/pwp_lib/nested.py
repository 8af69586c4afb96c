"""The comparisons that respect nesting: therapists, not patients, are what is compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from multilevel.errors import InputError
from multilevel.mixed import MixedFit, fit_mixed
from pwp_lib.comparison import (
    COUNTS,
    Clusters,
    ancova,
    as_cluster_series,
    cluster_effect_sizes,
    cluster_of_patients,
    rates_of_summary,
)
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import model_formula
from pwp_lib.outcomes import summarise_outcomes
from pwp_lib.ranking import composite_ranks

__all__ = [
    "NestedDifference",
    "PermutationTest",
    "SplitSample",
    "nested_ancova",
    "nested_rates",
    "permute_therapists",
    "split_sample_comparison",
    "therapist_predictors",
]

_MOST_SPLITS = 50_000
_DRAWN = 9_999


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
    """
    chosen = get_measure(measure)
    labels = cluster_of_patients(patients, clusters, compare)
    rows = patients.loc[labels.index, ["therapist_id", chosen.pre, chosen.post]].dropna()
    rows = rows.assign(in_first=(labels.loc[rows.index] == compare[0]).astype(float))
    per_cluster = rows.groupby("in_first")["therapist_id"].nunique()
    n = (int(per_cluster.get(1.0, 0)), int(per_cluster.get(0.0, 0)))
    if sum(n) < 4:
        raise InputError("therapists of two clusters are compared with four of them at least")
    formula = f"{chosen.post} ~ center({chosen.pre}) + in_first + (1 | therapist_id)"
    fit = fit_mixed(formula, rows, method="REML")
    estimate, se = _coefficient(fit, "in_first")
    statistic, p = _t_test(estimate, se, sum(n) - 2)
    return NestedDifference(
        measure=chosen.name,
        clusters=compare,
        n_therapists=n,
        difference=estimate,
        se=se,
        statistic=statistic,
        df=sum(n) - 2,
        p_value=p,
        intercept_variance=_intercept_variance(fit),
    )


def _coefficient(fit: MixedFit, term: str) -> tuple[float, float]:
    estimate, se = fit.fixed.loc[term, ["estimate", "se"]].to_numpy(dtype=float)
    return float(estimate), float(se)


def _intercept_variance(fit: MixedFit) -> float:
    return float(fit.random_covariance.to_numpy()[0, 0])


def _t_test(estimate: float, se: float, df: int) -> tuple[float, float]:
    from scipy.stats import t

    statistic = estimate / se
    return statistic, float(2 * t.sf(abs(statistic), df))


@dataclass(frozen=True)
class PermutationTest:
    """Rates of two clusters compared by permuting therapists between them.

    Attributes
    ----------
    difference : float
        Rate of the first cluster less that of the second, as shares; patients pooled.
    p_value : float
        Two-sided: share of the ways to put the same therapists into two clusters of these sizes
        that give a difference as large, or larger.
    splits : int
        Ways looked at.
    exact : bool
        Whether these are all ways.
    """

    difference: float
    p_value: float
    splits: int
    exact: bool

    def table(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([vars(self)])


def permute_therapists(
    yes: ArrayLike, n: ArrayLike, in_first: ArrayLike, *, seed: int = 1
) -> PermutationTest:
    """Permutation test of a rate with the therapist as the unit.

    A therapist moves with all patients, so that what patients of one therapist share does not
    count as evidence. It respects nesting, not the choice of the clusters on the same outcomes.

    Parameters
    ----------
    yes, n : array_like of shape (J,)
        Patients with the outcome, and patients, of each therapist.
    in_first : array_like of bool, shape (J,)
        Whether the therapist is in the first cluster.
    seed : int
        Used when there are more than 50,000 ways, of which then 9,999 are drawn.

    Raises
    ------
    InputError
        If a cluster has no patient.

    Examples
    --------
    >>> permute_therapists([9, 8, 7, 3, 2, 1], [10] * 6, [True] * 3 + [False] * 3).p_value
    0.1
    """
    counts = np.column_stack([np.asarray(yes, dtype=float), np.asarray(n, dtype=float)])
    first = np.asarray(in_first, dtype=bool)
    size, total = int(first.sum()), counts.sum(axis=0)
    inside = counts[first].sum(axis=0)
    if inside[1] == 0 or inside[1] == total[1]:
        raise InputError("a cluster without a patient cannot be compared")
    exact = comb(len(first), size) <= _MOST_SPLITS
    sums = np.array([counts[chosen].sum(axis=0) for chosen in _splits(len(first), size, seed)])
    rest = total - sums
    with np.errstate(invalid="ignore", divide="ignore"):
        differences = sums[:, 0] / sums[:, 1] - rest[:, 0] / rest[:, 1]
    observed = inside[0] / inside[1] - (total - inside)[0] / (total - inside)[1]
    # A split that leaves a side without patients has no difference to be as large.
    far = np.abs(differences[np.isfinite(differences)]) >= abs(observed) - 1e-12
    p = float(far.mean()) if exact else float((far.sum() + 1) / (len(far) + 1))
    return PermutationTest(float(observed), p, len(far), exact)


def _splits(n: int, size: int, seed: int) -> Iterator[list[int]]:
    """Who is in the first cluster: all ways, or ways drawn where there are too many."""
    if comb(n, size) <= _MOST_SPLITS:
        yield from map(list, combinations(range(n), size))
        return
    rng = np.random.default_rng(seed)
    for _ in range(_DRAWN):
        yield rng.permutation(n)[:size].tolist()


def nested_rates(
    patients: pd.DataFrame,
    measure: str | Measure,
    clusters: Clusters,
    compare: tuple[str, str] = ("upper", "lower"),
    *,
    seed: int = 1,
) -> pd.DataFrame:
    """Test the rates of `compare_rates` by permuting therapists.

    Returns
    -------
    DataFrame
        Indexed by outcome: ``difference``, ``p_value``, ``splits``, ``exact``. A rate that is not
        defined in one of the clusters has missing values.
    """
    labels = cluster_of_patients(patients, clusters, compare)
    by_therapist = summarise_outcomes(patients.loc[labels.index], measure, by="therapist_id")
    first = (as_cluster_series(clusters).reindex(by_therapist.index) == compare[0]).to_numpy()
    rows: dict[str, dict[str, Any]] = {}
    for rate, (count, of) in COUNTS.items():
        yes, n = by_therapist[count].to_numpy(float), by_therapist[of].to_numpy(float)
        if np.isnan(yes).any():
            continue  # the measure has no cut-off or no reliable change
        try:
            test = permute_therapists(yes, n, first, seed=seed)
        except InputError:
            rows[rate] = {"difference": np.nan, "p_value": np.nan, "splits": 0, "exact": True}
        else:
            rows[rate] = vars(test)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("outcome")


@dataclass(frozen=True)
class SplitSample:
    """Clusters chosen on one random half of each therapist's patients, compared on the other.

    Attributes
    ----------
    repeats : DataFrame
        One row for each random division, direction and measure, on the half that did not choose:
        effect sizes, F, the nested difference and its p-value, rates, chi-squares.
    same : DataFrame
        The same figures with clusters chosen and compared on all patients; one row a measure.
    """

    repeats: pd.DataFrame
    same: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """By measure and figure: on the same patients, and median and quartiles on others.

        F and chi-square grow with the number of patients, so halves give smaller ones for that
        reason too; effect sizes and rates are the ones to compare.
        """
        grouped = self.repeats.drop(columns=["repeat", "half"]).groupby("measure", sort=False)
        parts = {
            "same_patients": self.same.set_index("measure").stack(),
            "other_patients": grouped.median().stack(),
            "lower_quartile": grouped.quantile(0.25).stack(),
            "upper_quartile": grouped.quantile(0.75).stack(),
        }
        # Another measure's rates are columns too: this one has nothing in them.
        return pd.DataFrame(parts).dropna(how="all").rename_axis(["measure", "figure"])


def split_sample_comparison(
    patients: pd.DataFrame,
    measures: Iterable[str | Measure],
    *,
    repeats: int = 50,
    seed: int = 1,
    size: int | None = None,
) -> SplitSample:
    """Compare clusters on patients who did not choose them.

    Ranking therapists and comparing the extremes on the same outcomes makes chance look like
    skill: whoever was lucky is in the upper cluster. Here each therapist's patients are divided at
    random; one half ranks the therapists, as the paper did, the other compares the clusters; then
    the halves change places.

    Parameters
    ----------
    patients : DataFrame
    measures : iterable of str or Measure
    repeats : int
        Random divisions; each gives two comparisons.
    seed : int
    size : int, optional
        Of a cluster; see `pwp_lib.cluster_size`.

    Raises
    ------
    InputError
        If fewer than five therapists have two patients.
    """
    listed = [get_measure(m) for m in measures]
    rng = np.random.default_rng(seed)
    complete = patients.dropna(subset=[c for m in listed for c in (m.pre, m.post)])
    rows = []
    for repeat in range(repeats):
        half = _halves(complete["therapist_id"], rng)
        for side in (0, 1):
            choosing, testing = complete[half == side], complete[half != side]
            compared = _choose_and_compare(choosing, testing, listed, size)
            rows += [{"repeat": repeat, "half": side, **row} for row in compared]
    same = pd.DataFrame(_choose_and_compare(complete, complete, listed, size))
    return SplitSample(pd.DataFrame(rows), same)


def _halves(therapist: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """0 or 1 for each patient, as even as can be within each therapist."""
    order = pd.Series(rng.random(len(therapist)), index=therapist.index)
    place = order.groupby(therapist).rank(method="first").to_numpy()
    # Where the odd patient of an odd caseload goes is drawn for each therapist.
    codes, labels = pd.factorize(therapist)
    start = rng.integers(0, 2, len(labels))[codes]
    half: np.ndarray = (place.astype(int) + start) % 2
    return half


def _choose_and_compare(
    choosing: pd.DataFrame, testing: pd.DataFrame, measures: list[Measure], size: int | None
) -> list[dict[str, Any]]:
    fits = {m.name: fit_mixed(model_formula(m, measures), choosing) for m in measures}
    clusters = composite_ranks(fits, measures, size)
    rows = []
    for m in measures:
        summary = cluster_effect_sizes(testing, m, clusters)
        effect, rates = summary["effect_size"], rates_of_summary(summary)
        row: dict[str, Any] = {"measure": m.name}
        row |= {f"effect_size_{c}": float(effect[c]) for c in ("upper", "lower")}
        row["ancova_F"] = ancova(testing, m, clusters).statistic
        nested = nested_ancova(testing, m, clusters)
        row |= {"nested_difference": nested.difference, "nested_p_value": nested.p_value}
        # A measure without a cut-off or a reliable change has no such rates.
        for rate in rates.index.intersection(["improvement", "deterioration", "rcsi"], sort=False):
            row |= {f"{rate}_{c}": rates.loc[rate, f"rate_{c}"] for c in ("upper", "lower")}
            row[f"{rate}_chi2"] = rates.loc[rate, "chi2"]
        rows.append(row)
    return rows


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
        ``therapist_id`` and the predictors, numeric. Therapists without a value are left out.
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
        If a predictor is not a column.
    """
    listed, rows = tuple(measures), {}
    for name in predictors:
        if name not in therapists:
            raise InputError("the therapists' table has no such column", column=name)
        values = pd.to_numeric(therapists.set_index("therapist_id")[name]).dropna()
        values = values[values.index.isin(patients["therapist_id"])]
        row: dict[str, Any] = {"n_therapists": len(values)}
        if len(values) >= 4 and values.nunique() > 1:
            row |= _predictor_row(patients, values, get_measure(measure), listed)
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
    estimate, se = _coefficient(fit, "therapist_predictor")
    df = len(values) - 2
    statistic, p = _t_test(estimate, se, df)
    return {
        "estimate": estimate,
        "se": se,
        "t": statistic,
        "df": df,
        "p_value": p,
        "intercept_variance": _intercept_variance(fit),
        "variance_without": _intercept_variance(without),
    }
