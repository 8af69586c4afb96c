"""Joins of patients, therapists and groups are on identifiers, one to many, in any order of rows.

Right is what a plain loop over identifiers gives; whoever has two rows, or an identifier that only
looks the same, is refused or left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.comparison import (
    ancova,
    cluster_effect_sizes,
    compare_rates,
    nested_ancova,
    patients_in_clusters,
    therapist_predictors,
)
from pwp_lib.ranking import rank_correlation, services_by_cluster
from pwp_lib.scales import compare_scales
from pwp_lib.themes import high_order_themes

pytestmark = pytest.mark.neighbours

Labels = list[Any]
KINDS: dict[str, Callable[[int], Labels]] = {
    "numbers": lambda n: list(range(1, n + 1)),
    "text": lambda n: [f"T{i:02d}" for i in range(n)],
    "digits": lambda n: [f"{i:02d}" for i in range(1, n + 1)],
    "hashes": lambda n: [2**62 + i for i in range(n)],
    "uuids": lambda n: [uuid.UUID(int=2**90 + i) for i in range(n)],
    "fractions": lambda n: [i / 7 for i in range(n)],
}
SIZE = 10


def tables(kind: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[Any, str]]:
    """Patients, therapists and the cluster of each, all in orders of their own."""
    rng = np.random.default_rng([seed, len(kind)])
    labels = KINDS[kind](SIZE)
    names = ["upper"] * 4 + ["middle"] * 2 + ["lower"] * 4
    clusters = {labels[i]: names[i] for i in rng.permutation(SIZE)}
    code = np.repeat(np.arange(SIZE), rng.integers(4, 15, SIZE))
    pre = rng.integers(6, 28, len(code))
    patients = pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(len(code))],
            "therapist_id": pd.Series([labels[i] for i in code], dtype=object),
            "service_id": [f"S{i % 3}" for i in code],
            "phq9_pre": pre,
            "phq9_post": np.clip(pre - rng.integers(-3, 14, len(code)), 0, 27),
        }
    )
    therapists = pd.DataFrame({"therapist_id": labels, "resilience": rng.normal(70, 8, SIZE)})
    if seed % 2:  # two files, one put below the other: every index stands twice
        patients = pd.concat([patients.iloc[::2].reset_index(drop=True),
                              patients.iloc[1::2].reset_index(drop=True)])  # fmt: skip
    else:
        patients = patients.sample(frac=1, random_state=seed)
    return patients, therapists.sample(frac=1, random_state=seed), clusters


def given_as(clusters: dict[Any, str], how: str) -> Any:
    series = pd.Series(clusters)
    return {"mapping": clusters, "series": series, "ranks": series.to_frame("cluster")}[how]


CASES = [
    (kind, seed, how)
    for kind in KINDS
    for seed in range(2)
    for how in ("mapping", "series", "ranks")
]


@pytest.mark.parametrize(("kind", "seed", "how"), CASES)
def test_patients_have_the_cluster_of_their_therapist(kind: str, seed: int, how: str) -> None:
    patients, therapists, clusters = tables(kind, seed)
    given = given_as(clusters, how)
    own = [clusters[t] for t in patients["therapist_id"]]
    found = patients_in_clusters(patients, given)
    wanted = [(p, c) for p, c in zip(patients["patient_id"], own, strict=True) if c != "middle"]
    assert list(zip(found["patient_id"], found["cluster"], strict=True)) == wanted
    rows: dict[str, list[tuple[int, int]]] = {"upper": [], "middle": [], "lower": []}
    scores = patients[["phq9_pre", "phq9_post"]].to_numpy()
    for cluster, (pre, post) in zip(own, scores, strict=True):
        rows[cluster].append((pre, post))
    summary, rates = cluster_effect_sizes(patients, "phq9", given), compare_rates(
        patients, "phq9", given
    )  # fmt: skip
    test = ancova(patients, "phq9", given)
    for place, name in enumerate(("upper", "lower")):
        pre, post = np.array(rows[name]).T
        assert summary.loc[name, "mean_change"] == pytest.approx((pre - post).mean())
        assert rates.loc["improvement", f"n_{name}"] == len(pre)
        assert rates.loc["improvement", f"yes_{name}"] == (pre - post >= 6).sum()
        assert test.n[place] == len(pre)
    assert nested_ancova(patients, "phq9", given).n_therapists == (4, 4)
    by_scale = compare_scales(therapists, given).loc["resilience"]
    value = dict(zip(therapists["therapist_id"], therapists["resilience"], strict=True))
    for name in ("upper", "lower"):
        expected = np.mean([value[t] for t, c in clusters.items() if c == name])
        assert by_scale[f"mean_{name}"] == pytest.approx(expected)
    if how == "ranks":
        services: dict[tuple[str, str], set[Any]] = {}
        for t, s in patients[["therapist_id", "service_id"]].to_numpy():
            services.setdefault((clusters[t], s), set()).add(t)
        table = services_by_cluster(given, patients)
        assert {k: table.loc[k] for k in services} == {k: len(v) for k, v in services.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_predictors_of_therapists_are_those_of_the_patients_therapist(kind: str, seed: int) -> None:
    patients, therapists, _ = tables(kind, seed)
    found = therapist_predictors(patients, therapists, "phq9", ["resilience"]).loc["resilience"]
    numbered = {label: i for i, label in enumerate(KINDS[kind](SIZE))}
    plain = patients.assign(therapist_id=patients["therapist_id"].map(numbered.get))
    plain = plain.sort_values("patient_id").reset_index(drop=True)
    others = therapists.assign(therapist_id=therapists["therapist_id"].map(numbered.get))
    again = therapist_predictors(plain, others.sort_values("therapist_id"), "phq9", ["resilience"])
    np.testing.assert_allclose(found, again.loc["resilience"], rtol=1e-6)
    value = dict(zip(therapists["therapist_id"], therapists["resilience"], strict=True))
    rank = rank_correlation(pd.Series(value), therapists.set_index("therapist_id")["resilience"])
    assert (rank.n, rank.correlation) == (SIZE, pytest.approx(1.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_two_rows_of_one_therapist_are_refused(kind: str, seed: int) -> None:
    patients, therapists, clusters = tables(kind, seed)
    again = therapists.iloc[[seed]].assign(resilience=1.0)
    twice = pd.concat([therapists, again])
    series = pd.Series(clusters)
    doubled = pd.concat([series, series.iloc[[seed]]])
    segments = pd.DataFrame(
        {"participant_id": "A", "role": "pwp", "therapist_id": [next(iter(clusters))],
         "coder": "first", "high_order_theme": "h", "lower_order_theme": "x"}
    )  # fmt: skip
    for call in (
        lambda: therapist_predictors(patients, twice, "phq9", ["resilience"]),
        lambda: compare_scales(twice, clusters),
        lambda: compare_scales(therapists, doubled),
        lambda: compare_rates(patients, "phq9", doubled),
        lambda: nested_ancova(patients, "phq9", doubled.to_frame("cluster")),
        lambda: high_order_themes(segments, doubled),
        lambda: rank_correlation(doubled.map(len), series.map(len)),
    ):
        with pytest.raises(InputError, match=r"more than one|stands twice"):
            call()


@pytest.mark.parametrize("kind", ["digits", "numbers", "fractions", "hashes"])
@pytest.mark.parametrize("seed", range(4))
def test_an_identifier_that_only_looks_the_same_is_another(kind: str, seed: int) -> None:
    """T01 is not T1, and "1" is not 1."""
    patients, therapists, clusters = tables(kind, seed)
    change = (lambda t: int(t)) if kind == "digits" else str
    others = {change(t): c for t, c in clusters.items()}
    for call in (
        lambda: compare_rates(patients, "phq9", others),
        lambda: ancova(patients, "phq9", pd.Series(others)),
        lambda: nested_ancova(patients, "phq9", others),
    ):
        with pytest.raises(InputError, match=r"upper cluster has no patient|in two ways"):
            call()
    told = therapists.assign(therapist_id=therapists["therapist_id"].map(change))
    with pytest.raises(InputError, match=r"no patient's therapist is in their table|in two ways"):
        therapist_predictors(patients, told, "phq9", ["resilience"])
