"""Clusters compared on patients who did not choose them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from multilevel.fit import fit_mixed
from pwp_lib.comparison import ancova, cluster_effect_sizes, nested_ancova, rates_of_summary
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import model_formula
from pwp_lib.ranking import composite_ranks
from pwp_lib.schema import need_columns

__all__ = ["SplitSample", "split_sample_comparison"]


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
    the halves change places. Where no therapist of a half differs from another, by its estimate,
    labels alone choose (see `pwp_lib.composite_ranks`), and the other half shows nothing.

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
    scores = [c for m in listed for c in (m.pre, m.post)]
    need_columns(patients, "therapist_id", *scores)
    complete = patients.dropna(subset=["therapist_id", *scores])
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
    order = pd.Series(rng.random(len(therapist)))
    place = order.groupby(therapist.to_numpy()).rank(method="first").to_numpy()
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
