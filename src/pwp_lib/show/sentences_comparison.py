"""Sentences that compare: clusters, scales, the paper and what we compute."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.numbers import count, listing, p_value, percent, plain, share, sign_fixed
from pwp_lib.show._drawing import lower_first
from pwp_lib.show.style import measure_label

__all__ = [
    "NOT_REPORTED",
    "agreement_sentence",
    "ancova_sentence",
    "beside_paper",
    "chi_square_sentence",
    "effect_sizes_sentence",
    "mann_whitney_sentence",
    "nested_sentence",
    "permutation_sentence",
    "precision_sentence",
    "scales_sentence",
    "scoreboard_sentence",
    "split_sample_sentence",
    "themes_sentence",
]

NOT_REPORTED = "not reported"
SIGNIFICANT = 0.05
_FIGURES = {
    "effect_size": "effect size",
    "improvement": "rate of reliable improvement",
    "deterioration": "rate of reliable deterioration",
    "rcsi": "rate of reliable and clinically significant improvement",
    "caseness": "rate of caseness",
}
_OUTCOMES = {
    "caseness": "reached caseness before treatment",
    "improvement": "improved reliably",
    "deterioration": "deteriorated reliably",
    "rcsi": "improved reliably and recovered, of the cases before treatment",
}


def effect_sizes_sentence(table: pd.DataFrame, measure: Any) -> str:
    """Set the clusters' pre-post effect sizes side by side.

    Parameters
    ----------
    table : DataFrame
        `cluster_effect_sizes`: by cluster, ``effect_size`` and ``n``.
    measure : Measure or str
    """
    known = table["effect_size"].dropna()
    if len(known) < 2:
        return f"On {measure_label(measure)} effect sizes cannot be compared."
    patients = table.loc[known.index, "n"].astype(int)
    told = listing(
        f"{sign_fixed(size, 2)} for the {cluster} cluster ({n:,} patients)"
        for (cluster, size), n in zip(known.items(), patients, strict=True)
    )
    return f"On {measure_label(measure)} the pre-post effect size is {told}."


def ancova_sentence(result: Any, measure: Any = "") -> str:
    """Say how two clusters' scores after treatment compare at equal scores before.

    Parameters
    ----------
    result : Ancova, or Series
        The test, or a row of its table.
    measure : Measure or str
        Left out, the result's own.
    """
    if isinstance(result, pd.Series):
        result = _as_difference(result, "n_")
    label, (first, second) = measure_label(measure or result.measure), result.clusters
    found = (
        f"F({result.df[0]}, {result.df[1]:,}) = {result.statistic:.1f}, {p_value(result.p_value)}"
    )
    if np.isnan(result.p_value) or result.p_value >= SIGNIFICANT:
        return (
            f"At equal {label} scores before treatment the {first} and the {second} cluster do "
            f"not differ beyond chance afterwards ({found}, patients taken as independent)."
        )
    way = "lower" if result.difference < 0 else "higher"
    return (
        f"At equal {label} scores before treatment, patients of the {first} cluster end "
        f"{abs(result.difference):.2f} points {way} than those of the {second} cluster ({found}, "
        "patients taken as independent)."
    )


def chi_square_sentence(result: Any, outcome: str, measure: Any = "") -> str:
    """Say how a rate compares between two groups of patients.

    Parameters
    ----------
    result : ChiSquare, or Series
        The test, or a row of `compare_rates`.
    outcome : str
        ``"caseness"``, ``"improvement"``, ``"deterioration"``, ``"rcsi"``, or words that finish
        "of the patients ...".
    measure : Measure or str
    """
    if isinstance(result, pd.Series):
        result = _as_test(result)
    on = f"On {measure_label(measure)}, " if measure else ""
    verb = _OUTCOMES.get(outcome, outcome)
    told = listing(
        f"{share(int(row['yes']), int(row['n']))} of the {name} cluster"
        for name, row in result.counts.iterrows()
    )
    text = f"{on}{told} {verb}"
    if np.isnan(result.statistic):
        return f"{text}; with nobody or everybody there is nothing to test."
    differ = "the difference is beyond chance" if result.p_value < SIGNIFICANT else (
        "no significant difference"
    )  # fmt: skip
    expected = _smallest_expected(result.counts)
    small = (
        f"; the smallest expected count is {expected:.1f}, so that the test is a rough guide"
        if expected < 5
        else ""
    )
    return (
        f"{text}: {differ} (χ²({result.df}) = {result.statistic:.2f}, {p_value(result.p_value)}, "
        f"patients taken as independent){small}."
    )


def _as_test(row: pd.Series) -> Any:
    """Turn a row of `compare_rates` into what a test has."""
    names = [str(k)[4:] for k in row.index if str(k).startswith("yes_")]
    counts = pd.DataFrame(
        {"yes": [row[f"yes_{c}"] for c in names], "n": [row[f"n_{c}"] for c in names]}, index=names
    )
    return SimpleNamespace(
        counts=counts, statistic=row["chi2"], df=int(row["df"]), p_value=row["p_value"]
    )


def _as_difference(row: pd.Series, counts: str) -> Any:
    """Turn a row of the table of an `Ancova` or `NestedDifference` into what the test has."""
    clusters = tuple(str(k).removeprefix(counts) for k in row.index if str(k).startswith(counts))
    df = (int(row["df1"]), int(row["df2"])) if "df1" in row else int(row["df"])
    return SimpleNamespace(
        measure=str(row.name),
        clusters=clusters,
        difference=row["difference"],
        se=row["se"],
        statistic=row["F"] if "F" in row else row["t"],
        df=df,
        p_value=row["p_value"],
    )


def _smallest_expected(counts: pd.DataFrame) -> float:
    yes, n = counts["yes"].sum(), counts["n"].sum()
    return float((counts["n"] * min(yes, n - yes) / n).min()) if n else 0.0


def nested_sentence(result: Any, measure: Any = "") -> str:
    """Say what is left of a difference when patients of one therapist are not independent.

    Parameters
    ----------
    result : NestedDifference, or Series
        The test, or a row of its table.
    measure : Measure or str
        Left out, the result's own.
    """
    if isinstance(result, pd.Series):
        result = _as_difference(result, "therapists_")
    label, (first, second) = measure_label(measure or result.measure), result.clusters
    found = (
        f"difference {sign_fixed(result.difference, 2)} points, standard error {result.se:.2f}, "
        f"t({result.df}) = {sign_fixed(result.statistic, 2)}, {p_value(result.p_value)}"
    )
    verdict = "still differ" if result.p_value < SIGNIFICANT else "do not differ beyond chance"
    return (
        f"With therapists as the units that were compared, the {first} and the {second} cluster "
        f"{verdict} on {label} ({found}). The clusters were chosen by these same outcomes, which "
        "no such test repairs."
    )


def permutation_sentence(row: Any, outcome: str, measure: Any = "") -> str:
    """Say how a difference of rates stands against exchanges of whole therapists.

    Parameters
    ----------
    row : PermutationTest or Series
        ``difference``, ``p_value``, ``splits``, ``exact``.
    outcome : str
    measure : Measure or str
    """
    on = f" on {measure_label(measure)}" if measure else ""
    get = row.__getitem__ if isinstance(row, Mapping | pd.Series) else lambda k: getattr(row, k)
    if np.isnan(get("p_value")):
        return f"For {outcome}{on} the rate is not defined in one of the clusters."
    ways = "all" if get("exact") else "a random sample of"
    return (
        f"Exchanging whole therapists between the clusters in {ways} {int(get('splits')):,} ways, "
        f"a difference in {outcome}{on} as large as "
        f"{sign_fixed(100 * abs(get('difference')), 1)} percentage points comes with "
        f"{p_value(get('p_value'))}."
    )


def split_sample_sentence(result: Any, measure: Any, figure: str = "effect_size_upper") -> str:
    """Say how much a figure shrinks when other patients than those compared choose the clusters.

    Parameters
    ----------
    result : SplitSample
    measure : Measure or str
    figure : str
        A row of ``result.table()`` about one cluster, such as ``"rcsi_lower"``.
    """
    name = getattr(measure, "name", measure)
    row = result.table().loc[(name, figure)]
    same, other = float(row["same_patients"]), float(row["other_patients"])
    kind, _, cluster = figure.rpartition("_")
    words = f"{_FIGURES.get(kind, kind.replace('_', ' '))} of the {cluster} cluster"
    rate = kind in _OUTCOMES
    write = percent if rate else (lambda v: sign_fixed(v, 2))
    low, high = write(float(row["lower_quartile"])), write(float(row["upper_quartile"]))
    way = "goes"
    if write(same) != write(other):
        way = "falls" if other < same else "rises"
    return (
        f"On {measure_label(measure)} the {words} {way} from {write(same)}, where clusters are "
        f"chosen and compared on the same patients, to {write(other)} (quartiles {low} to {high}) "
        "on patients who had no part in the choice."
    )


def mann_whitney_sentence(row: pd.Series, name: str | None = None) -> str:
    """Say what a Mann-Whitney test of one scale finds, and what the paper prints, if given.

    Parameters
    ----------
    row : Series
        A row of `compare_scales`: ``label, rater, U, p_value, higher_in, reported`` and the
        counts ``n_<cluster>``.
    name : str, optional
        What to call the scale; left out, its label and rater.
    """
    label = name or str(row["label"])
    sizes = {str(k)[2:]: int(v) for k, v in row.items() if str(k).startswith("n_")}
    if np.isnan(row["p_value"]):
        empty = listing(c for c, n in sizes.items() if not n)
        return f"{label} cannot be tested: no therapist of the {empty} cluster has a score."
    numbers = " against ".join(str(n) for n in sizes.values())
    found = f"U = {row['U']:g}, {p_value(row['p_value'])}, {numbers}, exact"
    side = row["higher_in"]
    if row["p_value"] < SIGNIFICANT and side:
        text = f"{label} is higher in the {side} cluster ({found})"
    else:
        text = f"{label} does not differ between the clusters beyond chance ({found})"
    if "reported" not in row:
        return f"{text}."
    reported = str(row["reported"])
    paper = "the paper does not report this test" if reported == NOT_REPORTED else (
        f"the paper reports {reported}"
    )  # fmt: skip
    return f"{text}; {paper}."


def scales_sentence(table: pd.DataFrame) -> str:
    """Say how many tests of scales were made, and what is left when their number is counted.

    Parameters
    ----------
    table : DataFrame
        `compare_scales`: ``p_value`` and ``p_holm`` by scale.
    """
    tests = table.dropna(subset=["p_value"])
    if tests.empty:
        return "No scale could be tested."
    one = int((tests["p_value"] < SIGNIFICANT).sum())
    all_ = int((tests["p_holm"] < SIGNIFICANT).sum())
    chance = 1 - (1 - SIGNIFICANT) ** len(tests)
    return (
        f"Of {count(len(tests), 'test')}, {one} {'is' if one == 1 else 'are'} significant taken "
        f"one at a time and {all_} when their number is counted (Holm). Were there no difference "
        f"anywhere, and were the tests independent, one or more of {len(tests)} would come out "
        f"significant with a probability of up to {percent(chance, 0)}."
    )


def beside_paper(computed: float, figure: Any, *, monte_carlo_error: float = 0.0) -> str:
    """Set a computed figure beside the paper's: they match, or differ by so much.

    Parameters
    ----------
    computed : float
        In the figure's own unit.
    figure : PublishedFigure or None
        ``None``, where the paper prints none, gives "not reported".
    monte_carlo_error : float
        Of a simulated value.
    """
    if figure is None:
        return f"Ours is {plain(computed, 3)}; the paper's is {NOT_REPORTED}."
    name = lower_first(figure.quantity)
    if np.isnan(computed):
        return f"The paper prints {_printed(figure)} for {name}; ours cannot be computed."
    ok = figure.matches(computed, monte_carlo_error)
    if figure.relation == "holds":
        verdict = "so it is here too" if ok else "here it is not so"
        return f"The paper says: {name}; {verdict}."
    places = len(figure.printed.partition(".")[2])
    ours = sign_fixed(computed, places if ok else places + 1)
    if figure.relation != "=":
        shown = p_value(computed) if figure.unit == "probability" else plain(computed, 3)
        return (
            f"The paper prints {_printed(figure)} for {name}; ours is {shown}: they "
            f"{'agree' if ok else 'do not agree'}."
        )
    if not ok:
        gap = sign_fixed(abs(computed - figure.value), places + 1)
        return f"The paper prints {_printed(figure)} for {name}; ours is {ours}, off by {gap}."
    if ours != figure.printed:
        return (
            f"The paper prints {_printed(figure)} for {name}; ours is {ours}, within Monte Carlo "
            "error."
        )
    return f"The paper prints {_printed(figure)} for {name}, and so do we."


def _printed(figure: Any) -> str:
    relation = "" if figure.relation in ("=", "near", "holds") else f"{figure.relation} "
    unit = "%" if figure.unit in ("percent", "%") else ""
    return f"{relation}{figure.printed}{unit}"


def scoreboard_sentence(board: pd.DataFrame) -> str:
    """Say how many of the paper's figures a cohort reproduces.

    Parameters
    ----------
    board : DataFrame
        `scoreboard`: ``quantity``, ``state``.
    """
    state = board["state"].value_counts()
    yes, no, rest = (int(state.get(s, 0)) for s in ("match", "no match", "not testable"))
    if not yes + no:
        return "None of the paper's figures can be tested on this cohort."
    verb = "matches" if yes == 1 else "match"
    text = f"Of {count(yes + no, 'figure')} of the paper that can be tested, {yes:,} {verb}"
    if no:
        names = [lower_first(str(q)) for q in board.loc[board["state"] == "no match", "quantity"]]
        # A handful is named; a longer list belongs in the table.
        named = f" ({'; '.join(names)})" if no <= 5 else ""
        text += f" and {no:,} {'does' if no == 1 else 'do'} not{named}"
    tail = f"; {rest:,} more cannot be tested" if rest else ""
    return f"{text}{tail}."


def themes_sentence(lower_order: pd.DataFrame, who: str = "therapists") -> str:
    """Say how many lower-order themes stay in each cluster, and how many only in one.

    Parameters
    ----------
    lower_order : DataFrame
        `lower_order_themes`, for one role: ``stays_upper``, ``stays_lower``.
    who : str
        Whose themes, such as ``"therapists"`` or ``"supervisors"``.
    """
    upper, lower = (lower_order[f"stays_{c}"].astype(bool) for c in ("upper", "lower"))
    both, own, other = (int(m.sum()) for m in (upper & lower, upper & ~lower, lower & ~upper))
    return (
        f"Of {count(len(lower_order), 'lower-order theme')} of {who}, "
        f"{both} stay{'s' if both == 1 else ''} in both clusters, {own} only in the upper cluster "
        f"and {other} only in the lower."
    )


def agreement_sentence(agreement: Any) -> str:
    """Say how far two coders agree.

    Parameters
    ----------
    agreement : CoderAgreement
        With ``participants, agreed, only_first, only_second, percent, kappa``.
    """
    labels = agreement.agreed + agreement.only_first + agreement.only_second
    kappa = "" if np.isnan(agreement.kappa) else f" (kappa {sign_fixed(agreement.kappa, 2)})"
    return (
        f"In {count(len(agreement.participants), 'interview')} coded twice, the two coders agree "
        f"on {agreement.agreed:,} of {labels:,} labels, {agreement.percent:.0f}%{kappa}."
    )


def precision_sentence(result: Any) -> str:
    """Say what a design can be expected to tell of a therapist effect.

    Parameters
    ----------
    result : Precision
    """
    return (
        f"{count(result.therapists, 'therapist').capitalize()} with {result.patients:,} patients "
        f"in all can be expected to place a therapist effect of {percent(result.vpc)} between "
        f"{percent(result.lower)} and {percent(result.upper)}, and to find that therapists differ "
        f"with a probability of {percent(result.power, 0)}."
    )
