"""Therapists' own scales and their supervisors' ratings in two clusters: Mann-Whitney tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.errors import InputError
from pwp_lib.comparison import Clusters, clusters_of
from pwp_lib.ranking import as_scores
from pwp_lib.schema import once_each

__all__ = ["SCALES", "MannWhitney", "Scale", "compare_scales", "mann_whitney"]


@dataclass(frozen=True)
class Scale:
    """A scale on which therapists are compared.

    Attributes
    ----------
    name : str
        Column of the therapists' table.
    label : str
    rater : str
        ``"self"`` or ``"supervisor"``.
    expected : str
        The cluster in which the paper expected higher scores, or empty if it expected none.
    reported : str
        What the paper prints of the test.
    """

    name: str
    label: str
    rater: str = "self"
    expected: str = ""
    reported: str = "not reported"


#: The paper's six tests. It expected ego strength and resilience to go with better outcomes and
#: intuition not to (p. 8).
SCALES: tuple[Scale, ...] = (
    Scale("resilience", "Resilience", expected="upper", reported="U and p"),
    Scale("ego_strength", "Ego strength", expected="upper", reported="p > .05"),
    Scale("rationality", "Rationality"),
    Scale("experientiality", "Experientiality"),
    Scale("supervisor_rationality", "Rationality, rated by supervisor", "supervisor"),
    Scale(
        "supervisor_experientiality",
        "Experientiality, rated by supervisor",
        "supervisor",
        reported="U and p",
    ),
)


@dataclass(frozen=True)
class MannWhitney:
    """A Mann-Whitney test of two small groups.

    Attributes
    ----------
    u : float
        The smaller of the two U.
    n : tuple of int
        Scores in each group.
    mean_ranks : tuple of float
        Mean midrank of each group.
    p_value : float
        Two-sided: the share of all ways to split the scores in which the rank sum is as far from
        its expectation as here, or farther.
    p_first_higher : float
        One-sided: the share in which the first group's rank sum is as high, or higher.
    exact : bool
        Whether all splits were enumerated; otherwise they were drawn.
    superiority : float
        Probability that a score of the first group is above one of the second, ties halved.
    """

    u: float
    n: tuple[int, int]
    mean_ranks: tuple[float, float]
    p_value: float
    p_first_higher: float
    exact: bool
    superiority: float

    def table(self) -> pd.DataFrame:
        """One row."""
        row = {
            "n_first": self.n[0],
            "n_second": self.n[1],
            "mean_rank_first": self.mean_ranks[0],
            "mean_rank_second": self.mean_ranks[1],
            "U": self.u,
            "p_value": self.p_value,
            "exact": self.exact,
        }
        return pd.DataFrame([row])


def mann_whitney(x: ArrayLike, y: ArrayLike) -> MannWhitney:
    """Mann-Whitney test by exact permutation over midranks.

    ``scipy.stats.mannwhitneyu(method="exact")`` is not exact when scores tie; this is. Where there
    are more than 200,000 ways to split the scores, 50,000 are drawn.

    Parameters
    ----------
    x, y : array_like
        Scores of the two groups; missing ones are left out.

    Raises
    ------
    InputError
        If a group has no score, or something that is not a number.

    Examples
    --------
    >>> result = mann_whitney([78, 81, 84, 79, 90], [70, 72, 80, 65, 78])
    >>> result.u, round(result.p_value, 4), result.exact
    (2.5, 0.0397, True)
    """
    from scipy.stats import rankdata

    first, second = (scores[~np.isnan(scores)] for scores in map(as_scores, (x, y)))
    n = (len(first), len(second))
    if min(n) == 0:
        raise InputError("a group without a score cannot be compared")
    ranks = rankdata(np.concatenate([first, second]))
    sides = ranks[: n[0]], ranks[n[0] :]
    sums, exact = permuted(*sides, lambda a, b, axis: a.sum(axis=axis), most=200_000, drawn=50_000)
    observed, expected = sides[0].sum(), n[0] * (sum(n) + 1) / 2
    u_first = float(observed - n[0] * (n[0] + 1) / 2)

    return MannWhitney(
        u=min(u_first, n[0] * n[1] - u_first),
        n=n,
        mean_ranks=(float(sides[0].mean()), float(sides[1].mean())),
        # Midranks are halves, so that sums compare without rounding.
        p_value=share(np.abs(sums - expected) >= abs(observed - expected), exact),
        p_first_higher=share(sums >= observed, exact),
        exact=exact,
        superiority=u_first / (n[0] * n[1]),
    )


def permuted(
    first: NDArray[Any],
    second: NDArray[Any],
    statistic: Callable[..., NDArray[np.float64]],
    *,
    most: int,
    drawn: int,
) -> tuple[NDArray[np.float64], bool]:
    """Compute a statistic over all ways to split the values, or over some drawn, and say which.

    `statistic` takes both sides, shape (ways, size), and an axis; all ways if they are `most` or
    fewer.
    """
    from scipy.stats import permutation_test

    n, size = len(first) + len(second), len(first)
    exact = comb(n, size) <= most
    if min(size, n - size) == 1:
        # SciPy wants two on either side. One alone: each takes the place in turn.
        turns = np.stack([np.roll(np.concatenate([first, second]), k) for k in range(n)])
        return statistic(turns[:, :size], turns[:, size:], axis=-1), True
    ways = np.inf if exact else drawn
    test = permutation_test(
        (first, second), statistic, vectorized=True, n_resamples=ways, random_state=1
    )
    return test.null_distribution, exact


def share(as_far: NDArray[np.bool_], exact: bool) -> float:
    """Give a p-value: of drawn ways the observed one is one more, so that none is zero."""
    drawn = 0 if exact else 1
    return float((as_far.sum() + drawn) / (len(as_far) + drawn))


def compare_scales(therapists: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Therapists' scales in two clusters, one Mann-Whitney test a scale.

    Parameters
    ----------
    therapists : DataFrame
        ``therapist_id`` and a column a scale, of those of the paper. A therapist without a score on
        a scale, for want of a supervisor say, is left out of that test.
    clusters : mapping, Series or DataFrame
        Cluster by therapist.

    Returns
    -------
    DataFrame
        Indexed by scale: ``label``, ``rater``, ``n_<cluster>``, ``mean_<cluster>``,
        ``mean_rank_<cluster>``, ``U``, ``p_value``, ``p_holm`` (for the number of tests made),
        ``higher_in``, ``superiority``, ``expected``, ``p_directed`` (one-sided, where the paper
        expected a direction) and ``reported``, what the paper prints.

    Raises
    ------
    InputError
        If a therapist has two rows.

    Examples
    --------
    >>> therapists = pd.DataFrame({"therapist_id": list("abcdef"),
    ...                            "resilience": [80, 85, 83, 70, 72, None]})
    >>> compare_scales(therapists, dict(zip("abcdef", ["upper"] * 3 + ["lower"] * 3)))["U"].item()
    0.0
    """
    once_each(therapists)
    labels = clusters_of(therapists["therapist_id"], clusters)
    by_therapist = therapists.set_index("therapist_id")
    rows = {}
    for scale in (known for known in SCALES if known.name in by_therapist):
        scores = by_therapist[scale.name]
        groups = {c: scores[(labels == c).to_numpy()].dropna() for c in ("upper", "lower")}
        rows[scale.name] = _row(scale, groups)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("scale")
    if len(table):
        table.insert(list(table).index("p_value") + 1, "p_holm", holm(table["p_value"]))
    return table


def _row(scale: Scale, groups: dict[str, pd.Series]) -> dict[str, Any]:
    row: dict[str, Any] = {"label": scale.label, "rater": scale.rater}
    row |= {f"n_{c}": len(g) for c, g in groups.items()}
    row |= {f"mean_{c}": float(g.mean()) if len(g) else np.nan for c, g in groups.items()}
    ends = {"expected": scale.expected, "reported": scale.reported}
    upper, lower = groups.values()
    if upper.empty or lower.empty:
        return row | {"U": np.nan, "p_value": np.nan, "higher_in": "", **ends}
    test = mann_whitney(upper, lower)
    directed = {
        "upper": lambda: test.p_first_higher,
        "lower": lambda: mann_whitney(lower, upper).p_first_higher,
    }
    higher = "" if test.superiority == 0.5 else "upper" if test.superiority > 0.5 else "lower"
    return row | {
        **{f"mean_rank_{c}": r for c, r in zip(groups, test.mean_ranks, strict=True)},
        "U": test.u,
        "p_value": test.p_value,
        "higher_in": higher,
        "superiority": test.superiority,
        "p_directed": directed.get(scale.expected, lambda: np.nan)(),
        **ends,
    }


def holm(p_values: pd.Series) -> pd.Series:
    """Holm's adjustment of p-values for their number; missing ones are not counted."""
    from statsmodels.stats.multitest import multipletests

    known = p_values.dropna()
    if known.empty:
        return p_values
    return pd.Series(multipletests(known, method="holm")[1], known.index).reindex(p_values.index)
