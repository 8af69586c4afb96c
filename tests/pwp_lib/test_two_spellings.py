"""Therapists whom two tables write in two ways, long identifiers, odd kinds of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel.errors import InputError
from pwp_lib.comparison import cluster_effect_sizes
from pwp_lib.scales import compare_scales

COHORT = pwp.load_cohort()
P: Any = COHORT.patients
T: Any = COHORT.therapists
S: Any = COHORT.segments
FITS = {m: pwp.fit_models(P, m, ["phq9", "gad7"]).intercept for m in ("phq9", "gad7")}
CLUSTERS = pwp.composite_ranks(FITS)["cluster"]
#: Another spelling of the same label.
SPELT: dict[str, Callable[[str], Any]] = {
    "no zero": lambda label: f"T{int(label[1:])}",
    "small": str.lower,
    "space": lambda label: label.replace("T", "T "),
    "dash": lambda label: label.replace("T", "T-"),
    "end": lambda label: label + "\u00a0",
    "wide": lambda label: label.replace("0", "\uff10"),
    "some": lambda label: label.lower() if int(label[1:]) < 5 else label,
    "one": lambda label: "t07" if label == "T07" else label,
}
#: What joins patients, staff or interviews with clusters or a table of therapists.
JOINED: dict[str, Callable[[pd.Series, pd.DataFrame], Any]] = {
    "ancova": lambda c, _: pwp.ancova(P, "phq9", c),
    "nested_ancova": lambda c, _: pwp.nested_ancova(P, "phq9", c),
    "compare_rates": lambda c, _: pwp.compare_rates(P, "phq9", c),
    "cluster_effect_sizes": lambda c, _: cluster_effect_sizes(P, "phq9", c),
    "compare_scales": lambda c, _: compare_scales(T, c),
    "high_order_themes": lambda c, _: pwp.high_order_themes(S, c),
    "lower_order_themes": lambda c, _: pwp.lower_order_themes(S, c),
    "theme_map": lambda c, _: pwp.theme_map(S, c),
    "therapist_predictors": lambda _, t: pwp.therapist_predictors(P, t, "phq9", ["resilience"]),
    "describe_sample": lambda _, t: pwp.describe_sample(P, t),
}


@pytest.mark.parametrize("spelling", SPELT)
@pytest.mark.parametrize("joined", JOINED)
def test_two_spellings_of_a_therapist_are_refused(joined: str, spelling: str) -> None:
    spelt = SPELT[spelling]
    staff = T.assign(therapist_id=T["therapist_id"].map(spelt))
    # Those alone whose cluster or interviews are looked at can be missed.
    with pytest.raises(InputError, match="two ways"):
        JOINED[joined](CLUSTERS.rename(index=spelt), staff)
    JOINED[joined](CLUSTERS, T)


@pytest.mark.parametrize("joined", ["ancova", "compare_rates", "nested_ancova"])
def test_numbers_are_not_text_with_zeros(joined: str) -> None:
    patients = P.assign(therapist_id=P["therapist_id"].str[1:])
    clusters = CLUSTERS.rename(index=lambda label: int(label[1:]))
    with pytest.raises(InputError, match="two ways"):
        getattr(pwp, joined)(patients, "phq9", clusters)


def test_labels_that_are_others_in_the_same_table_stay_apart() -> None:
    """T1 and T-1 may be two people: what both tables write alike is the same."""
    other = {"T02": "T-01", "T03": "t01"}
    patients = P.assign(therapist_id=P["therapist_id"].replace(other))
    found = pwp.ancova(patients, "phq9", CLUSTERS.rename(index=other))
    assert found == pwp.ancova(P, "phq9", CLUSTERS)


def test_who_is_in_one_table_alone_is_left_out() -> None:
    some = CLUSTERS.drop("T07").rename(index={"T08": "T99"})
    assert pwp.ancova(P, "phq9", some).n[0] > 0
    staff = T[T["therapist_id"] != "T07"]
    table = pwp.therapist_predictors(P, staff, "phq9", ["resilience"])
    assert table["n_therapists"].item() == T["resilience"].notna().sum() - 1


def test_a_table_with_two_rows_for_a_therapist_is_refused() -> None:
    with pytest.raises(InputError, match="more than one row"):
        pwp.describe_sample(P, pd.concat([T, T]))


@pytest.mark.parametrize("start", [2**53 - 5, 2**53, 2**60, 20_240_000_000_000_000, -(2**62)])
@pytest.mark.parametrize("dtype", ["int64", "Int64", "uint64", "object", "str", "int64[pyarrow]"])
@pytest.mark.parametrize("column", ["therapist_id", "service_id", "patient_id"])
def test_identifiers_of_many_digits_stay_apart(column: str, dtype: str, start: int) -> None:
    if start < 0:  # a negative number is a code for missing
        start = 2**62
    labels, _ = pd.factorize(P[column], sort=True)
    table = P if column != "therapist_id" else P.drop(columns="service_id")
    table = table.assign(**{column: pd.Series(labels + start, index=P.index).astype(dtype)})
    found = pwp.read_cohort(table).patients[column]
    assert found.nunique() == P[column].nunique()
    assert set(found) == {str(start + i) for i in range(P[column].nunique())}


def test_floats_that_have_rounded_identifiers_are_refused() -> None:
    labels, _ = pd.factorize(P["therapist_id"])
    numbers = P.drop(columns="service_id").assign(therapist_id=labels + 2.0**54)
    with pytest.raises(InputError, match="read the column as text"):
        pwp.read_cohort(numbers)
    small = pwp.read_cohort(numbers.assign(therapist_id=labels + 7.0)).patients
    assert set(small["therapist_id"]) == {str(7 + i) for i in range(21)}


@pytest.mark.parametrize(
    "work",
    [
        lambda: pwp.ancova(P.assign(phq9_pre=""), "phq9", CLUSTERS),
        lambda: pwp.ancova(P.assign(phq9_post=""), "phq9", CLUSTERS),
        lambda: pwp.describe_sample(P.iloc[:0]),
        lambda: pwp.describe_sample(P, T.assign(gender=[[1]] * len(T))),
        lambda: pwp.describe_sample(P.assign(status=[[1]] * len(P))),
        lambda: pwp.summarise_outcomes(P.assign(t=[[1]] * len(P)), "phq9", by="t"),
        lambda: pwp.national_outcomes(P.assign(sessions="many")),
        lambda: pwp.ancova(
            P.assign(phq9_pre=pd.arrays.SparseArray(P["phq9_pre"].astype(float))), "phq9", CLUSTERS
        ),
        lambda: pwp.ancova(
            P.set_axis(pd.MultiIndex.from_product([P.columns, ["a"]]), axis=1), "phq9", CLUSTERS
        ),
        lambda: pwp.summarise_outcomes(
            P.assign(t=(np.arange(len(P)) % 9).astype("float16")), "phq9", by="t"
        ),
        lambda: pwp.therapist_predictors(
            P, T.assign(resilience=T["resilience"].astype(complex)), "phq9", ["resilience"]
        ),
        lambda: pwp.PHQ9.is_case("x"),  # type: ignore[arg-type]
        lambda: pwp.PHQ9.improvement("x", 1),  # type: ignore[arg-type]
        lambda: pwp.Measure(1, "x", 0, 9, 5, 2),  # type: ignore[arg-type]
        lambda: pwp.Truth().with_vpc(None),  # type: ignore[arg-type]
        lambda: pwp.Truth().with_therapists(float("inf")),  # type: ignore[arg-type]
        lambda: FITS["phq9"].profile_interval(1e-16),
        lambda: pwp.Truth(measures=3),  # type: ignore[arg-type]
        lambda: pwp.Truth(caseloads=3),  # type: ignore[arg-type]
        lambda: COHORT.measure(None),  # type: ignore[arg-type]
        lambda: pwp.precision_grid([-1, 2], [20], 0.1),
        lambda: pwp.precision_grid([10], [0], 0.1),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(work: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        work()


def test_numbers_written_as_text_or_categories_are_numbers() -> None:
    right = pwp.national_outcomes(P)
    for table in (P.astype("str"), P.assign(sessions=pd.Categorical(P["sessions"]))):
        pd.testing.assert_frame_equal(pwp.national_outcomes(table), right)
    # A role that is no word is one more.
    themes = pwp.high_order_themes(S.assign(role=1), CLUSTERS)
    assert themes["stays"].tolist() == pwp.high_order_themes(S, CLUSTERS)["stays"].tolist()


def test_services_that_are_lists_leave_one_analysis_out() -> None:
    odd = P.assign(service_id=[[i % 3] for i in range(len(P))])
    panel = pwp.sensitivity_panel(odd, "phq9", ["phq9", "gad7"], draws=0).rows.set_index("analysis")
    assert panel.at["Service as a fixed effect, REML", "note"]
    assert not panel.at["Random slope, REML", "note"]
