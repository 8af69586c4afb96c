"""Therapists ranked by their residuals, how sure the ranks are, and Spearman's correlation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.errors import InputError
from multilevel.fit import MixedFit
from multilevel.plan import FLOATS_END
from multilevel.residuals import covariance_parts
from pwp_lib.measures import Measure, every_measure
from pwp_lib.models import two_level

__all__ = [
    "RankCorrelation",
    "cluster_size",
    "composite_ranks",
    "differs_from_average",
    "rank_correlation",
    "rank_uncertainty",
    "services_by_cluster",
    "shared_ranks",
]

#: Digits of residuals, in SDs, that count in a rank: in the sixteenth the order of rows shows.
_DIGITS = 9
#: Draws that are held at once.
_BLOCK = 500
#: The p-value of a rank correlation of so many pairs is exact.
_EXACT_PAIRS = 10


def cluster_size(n_therapists: int, asked: int | None = None) -> int:
    """Therapists in the upper and in the lower cluster.

    Five of 21, as in the paper; a quarter, rounded, of other numbers; never fewer than two, since
    one therapist is no cluster.

    Parameters
    ----------
    n_therapists : int
    asked : int, optional
        The size that a study asks for instead.

    Raises
    ------
    InputError
        If there are fewer than five therapists, nobody would be left in the middle, or a cluster
        would be a single therapist.

    Examples
    --------
    >>> [cluster_size(n) for n in (5, 8, 10, 21, 22, 100)]
    [2, 2, 3, 5, 6, 25]
    """
    if n_therapists < 5:
        raise InputError(
            "fewer than five therapists cannot be put into an upper, a middle and a lower group",
            hint="compare five or more",
        )
    if asked is None:
        return max(2, floor(n_therapists / 4 + 0.5))
    if not 2 <= asked < n_therapists / 2:
        raise InputError(
            f"clusters of {asked} cannot be formed of {n_therapists} therapists",
            hint="ask for two in each or more, with somebody left in the middle",
        )
    return asked


def composite_ranks(
    fits: Mapping[str, MixedFit], measures: Iterable[Measure] = (), size: int | None = None
) -> pd.DataFrame:
    """Ranks on each measure, their mean, and the clusters that follow.

    Parameters
    ----------
    fits : mapping of str to MixedFit
        The model of each measure, by the measure's name.
    measures : iterable of Measure
        Only needed for measures that the library does not know, and that `use_measures` did not
        make known: tells the direction of the scale.
    size : int, optional
        Therapists in the upper and in the lower cluster; see `cluster_size`.

    Returns
    -------
    DataFrame
        Indexed by therapist, best first: ``rank_<measure>`` (1 the most effective), ``composite``
        (mean of the ranks), ``position`` (1 to J) and ``cluster`` (``upper``, ``middle``,
        ``lower``). Equal composites are ordered by the mean of the residuals, each over the SD of
        its measure's residuals. Where therapists are alike in that too, as all are where each
        variance is estimated at zero, their labels alone order them: then a further column,
        ``by_label``, is true of those therapists, and a cluster of them says nothing.

    Raises
    ------
    InputError
        If there is no model, one is not of two levels, the models are of different therapists, or
        there are fewer than five.
    """
    if not fits:
        raise InputError("ranks need a model of one measure at least")
    known = {**every_measure(), **{m.name: m for m in measures}}
    worse = {name: name not in known or known[name].higher_is_worse for name in fits}
    standings = pd.DataFrame({f"rank_{m}": standing(fit, worse[m]) for m, fit in fits.items()})
    if standings.isna().any(axis=None):
        raise InputError("the models are of different therapists", hint="fit all to one cohort")
    table = standings.rank().rename_axis("therapist_id")
    table["composite"] = table.mean(axis=1)
    order = table[["composite"]].assign(tie=standings.mean(axis=1).round(_DIGITS))
    order = order.sort_values(["composite", "tie"], kind="stable")
    n = len(table)
    size = cluster_size(n, size)
    cluster = ["upper"] * size + ["middle"] * (n - 2 * size) + ["lower"] * size
    table = table.loc[order.index].assign(position=np.arange(1, n + 1), cluster=cluster)
    alike = order.duplicated(keep=False)
    return table.assign(by_label=alike) if alike.any() else table


def standing(fit: MixedFit, higher_is_worse: bool) -> pd.Series:
    """Residuals over their SD, the best the lowest, to be ranked: what only rounding parts ties."""
    residual = two_level(fit).residuals()["residual"] * (1.0 if higher_is_worse else -1.0)
    return (residual / (residual.std(ddof=0) or 1.0)).round(_DIGITS)


def shared_ranks(ranks: pd.DataFrame, first: int, last: int) -> list[str]:
    """Therapists whose ranks lie between two places on every measure.

    Parameters
    ----------
    ranks : DataFrame
        The table of `composite_ranks`.
    first, last : int
        The places, both included.

    Examples
    --------
    >>> ranks = pd.DataFrame({"rank_phq9": [1, 2, 3], "rank_gad7": [1, 3, 2]}, index=list("abc"))
    >>> shared_ranks(ranks, 1, 1), shared_ranks(ranks, 2, 3)
    (['a'], ['b', 'c'])
    """
    columns = ranks.filter(regex="^rank_")
    inside = ((columns >= first) & (columns <= last)).all(axis=1)
    return [str(label) for label in ranks.index[inside]]


def differs_from_average(fit: MixedFit, measure: Measure | None = None) -> pd.Series:
    """Which therapists' residual intervals exclude zero.

    Parameters
    ----------
    fit : MixedFit
        The intervals are those of ``fit.residuals()``: the residual and 1.96 standard errors.
    measure : Measure, optional
        Tells the direction of the scale; a lower score is better when left out.

    Returns
    -------
    Series of str
        By therapist: ``"better"``, ``"worse"`` or an empty string.
    """
    residuals = two_level(fit).residuals()
    below, above = residuals["upper"] < 0, residuals["lower"] > 0
    if measure is not None and not measure.higher_is_worse:
        below, above = above, below
    verdict = np.where(below, "better", np.where(above, "worse", ""))
    return pd.Series(verdict, index=residuals.index, name="differs")


def rank_uncertainty(
    fit: MixedFit,
    draws: int = 10_000,
    seed: int = 1,
    *,
    higher_is_worse: bool = True,
    size: int | None = None,
) -> pd.DataFrame:
    """How uncertain the ranks are, by simulation from the residuals' joint covariance.

    The therapists' effects are drawn around their residuals with the covariance that includes the
    fixed part's uncertainty; the variances are held at their estimates, so the intervals are, if
    anything, too narrow.

    Parameters
    ----------
    fit : MixedFit
    draws : int
    seed : int
    higher_is_worse : bool
        Direction of the scale.
    size : int, optional
        Of a cluster; see `cluster_size`.

    Returns
    -------
    DataFrame
        By therapist, best first: ``rank``, ``mean_rank``, ``lower``, ``upper`` (bounds of the 95%
        rank interval), ``p_upper``, ``p_lower`` (probability of each cluster) and ``p_first``,
        ``p_last``. The probabilities of a cluster are missing where none can be formed.
    """
    if draws < 1:
        raise InputError("no draw is asked for", hint="ask for one or more")
    place = standing(fit, higher_is_worse).rank()
    n = len(place)
    ranks = _drawn_ranks(fit, 1.0 if higher_is_worse else -1.0, draws, seed)
    try:
        size = cluster_size(n, size)
    except InputError:
        size = None
    table = pd.DataFrame(
        {
            "rank": place,
            "mean_rank": ranks.mean(axis=0),
            **_bounds(ranks),
            "p_upper": (ranks <= size).mean(axis=0) if size else np.nan,
            "p_lower": (ranks > n - size).mean(axis=0) if size else np.nan,
            "p_first": (ranks == 1).mean(axis=0),
            "p_last": (ranks == n).mean(axis=0),
        },
        index=place.index,
    )
    return table.sort_values(["rank", "mean_rank"], kind="stable")


def _drawn_ranks(fit: MixedFit, sign: float, draws: int, seed: int) -> NDArray[np.int32]:
    """Ranks in draws of the therapists' effects around their residuals, shape (draws, J).

    The errors' covariance is ``diag(own) + shared @ shared.T``: each therapist's own error, and the
    few directions in which the fixed part moves them all. No J x J matrix is made.
    """
    residuals = fit.residuals()["residual"].to_numpy()
    own, shared, _ = covariance_parts(fit)
    if not own.any() and not shared.any():
        # No effect at all: nothing tells the therapists apart, so any order will do.
        own = np.ones(len(residuals))
    basis, sizes, _ = np.linalg.svd(shared, full_matrices=False)
    rng, ranks = np.random.default_rng(seed), np.empty((draws, len(residuals)), dtype=np.int32)
    # In blocks, since thousands of therapists times thousands of draws fill the memory.
    for start in range(0, draws, _BLOCK):
        block = ranks[start : start + _BLOCK]
        errors = np.sqrt(own) * rng.standard_normal(block.shape)
        errors += rng.standard_normal((len(block), len(sizes))) @ (basis * sizes).T
        block[:] = _ranked(sign * (residuals + errors))
    return ranks


def _ranked(effects: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rank each row, 1 the lowest."""
    places = np.arange(1, effects.shape[1] + 1, dtype=np.int32)[None, :]
    ranks = np.empty(effects.shape, dtype=np.int32)
    np.put_along_axis(ranks, effects.argsort(axis=1), places, axis=1)
    return ranks


def _bounds(ranks: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
    """Find the bounds of each therapist's 95% rank interval, by name."""
    bounds = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    return dict(zip(("lower", "upper"), bounds.astype(int), strict=True))


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation.

    Attributes
    ----------
    correlation : float
        NaN if one of the two does not vary.
    p_value : float
        Two-sided: of ten pairs or fewer the share of all orders with a correlation as far from 0,
        or farther; of more, from t with n - 2 degrees of freedom.
    n : int
        Pairs without a missing value.
    """

    correlation: float
    p_value: float
    n: int


def rank_correlation(a: ArrayLike | pd.Series, b: ArrayLike | pd.Series) -> RankCorrelation:
    """Spearman's correlation of two sets of ranks, or of anything that can be ranked.

    Two Series are matched by index, anything else by position; pairs with a missing value are left
    out.

    Raises
    ------
    InputError
        If fewer than three pairs are left, or something is not a number.

    Examples
    --------
    >>> result = rank_correlation([1, 2, 3, 4], [2, 1, 3, 4])
    >>> round(result.correlation, 2), result.n
    (0.8, 4)
    """
    if isinstance(a, pd.Series) and isinstance(b, pd.Series):
        if not (a.index.is_unique and b.index.is_unique):
            raise InputError("a label stands twice, so that the two cannot be matched")
        a, b = a.align(b, join="inner")
    first, second = as_scores(a), as_scores(b)
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} values make no pairs")
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    if len(first) < 3:
        raise InputError("a rank correlation needs three pairs at least")
    if (first == first[0]).all() or (second == second[0]).all():
        return RankCorrelation(np.nan, np.nan, len(first))
    from scipy.stats import rankdata, spearmanr

    test = spearmanr(first, second)
    exact = len(first) <= _EXACT_PAIRS
    p = _exact_p(rankdata(first), rankdata(second)) if exact else float(test.pvalue)
    return RankCorrelation(float(test.statistic), p, len(first))


def as_scores(values: ArrayLike | pd.Series) -> NDArray[np.float64]:
    """Read numbers as a vector of floats, missing ones as NaN, or say what was given instead."""
    try:
        given = pd.Series(np.asarray(values, dtype=object))
        series = pd.to_numeric(given)
        if series.dtype.kind == "c":
            raise TypeError
        scores: NDArray[np.float64] = series.to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError):
        raise InputError("numbers are needed", hint="give one column of them") from None
    if not all(isinstance(value, float) for value in given[np.abs(scores) >= FLOATS_END]):
        problem = "whole numbers of 2 ** 53 and more would be rounded"
        raise InputError(problem, hint="take a constant off them")
    return scores


def _exact_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Share of all orders of `second` whose rank correlation is as far from 0, or farther.

    Orders are not enumerated (ten have 3.6 million): for each set of ranks already given away, it
    is counted how often each sum of products comes about. Midranks are halves, so that four times
    a sum is a whole number.
    """
    a, b = (2 * first).astype(int), (2 * second).astype(int)
    n, top = len(a), int((np.sort(a) * np.sort(b)).sum())
    ways = np.zeros((1 << n, top + 1))
    ways[0, 0] = 1
    for given in range(1, 1 << n):
        places = [k for k in range(n) if given >> k & 1]
        for k in places:
            product = int(a[len(places) - 1] * b[k])
            ways[given, product:] += ways[given ^ (1 << k), : top + 1 - product]
    middle = a.sum() * b.sum() / n
    far = np.abs(np.arange(top + 1) - middle) >= abs((a * b).sum() - middle) - 1e-9
    return float(ways[-1][far].sum() / ways[-1].sum())


def services_by_cluster(ranks: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    """How many therapists of each cluster work in each service.

    Parameters
    ----------
    ranks : DataFrame
        The table of `composite_ranks`.
    patients : DataFrame
        Patients or therapists: ``therapist_id`` and ``service_id``.

    Returns
    -------
    DataFrame
        One row a cluster (upper, middle, lower), one column a service. A therapist who works in
        two services counts in both.

    Examples
    --------
    >>> ranks = pd.DataFrame({"cluster": ["upper", "upper", "lower"]}, index=list("abc"))
    >>> patients = pd.DataFrame({"therapist_id": list("aabc"),
    ...                          "service_id": ["S1", "S1", "S2", "S1"]})
    >>> services_by_cluster(ranks, patients).loc["upper"].to_dict()
    {'S1': 1, 'S2': 1}
    """
    pairs = patients[["therapist_id", "service_id"]].drop_duplicates()
    cluster = pairs["therapist_id"].map(ranks["cluster"])
    counts = pd.crosstab(cluster.rename("cluster"), pairs["service_id"])
    return counts.reindex([c for c in ("upper", "middle", "lower") if c in counts.index])
