"""The contract of moments: what is stored, and what can be derived."""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_cases import PAPER, assert_same_design, columns_only, explicit_cross, make_patients

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.moments import Moments
from multilevel.sources import design_moments

FIXED = [
    "phq9_post ~ center(phq9_pre) * center(gad7_pre)",
    "phq9_post ~ 0 + phq9_pre + scale(age)",
    "phq9_post ~ {phq9_pre - 10} + I(gad7_pre ** 2) + phq9_pre:age",
    "phq9_post ~ scale(year) * scale(phq9_pre) + {age / 10}",
    "{phq9_post - phq9_pre} ~ center({phq9_pre * gad7_pre}) + resilience",
    "phq9_post ~ center(phq9_pre) + service_id",
    "phq9_post ~ center(phq9_pre) * service_id",
    "phq9_post ~ 0 + service_id + service_id:age",
    "phq9_post ~ service_id:phq9_pre",
    "phq9_post ~ log(age ** 2 + 1) * center(phq9_pre)",
    "phq9_post ~ C(gad7_pre)",
    "phq9_post ~ center(log(age ** 2 + 1)):service_id",
]


@pytest.mark.parametrize("formula", FIXED)
def test_design_equals_the_explicit_one(formula: str) -> None:
    frame = make_patients()
    made = design_moments(f"{formula} + (1 | therapist_id)", frame)
    expected = explicit_cross(formula, frame, "therapist_id")
    used = [*made.fixed, made.response]
    assert made.fixed_names == tuple(expected["names"])
    scale = np.sqrt(np.diag(made.total))[used]
    for j, group in enumerate(made.groups):
        got = made.cross[j][np.ix_(used, used)]
        np.testing.assert_allclose(
            got / np.outer(scale, scale), expected[group] / np.outer(scale, scale), atol=1e-12
        )


def test_the_papers_model_stores_what_it_needs_and_names_its_columns() -> None:
    moments = Moments.for_formula(PAPER, make_patients())
    assert moments.columns == ("gad7_pre", "phq9_post", "phq9_pre", "gad7_pre:phq9_pre")
    # Fifteen products of five columns, of which the constant times the product and the
    # product of the two scores are one.
    assert len(moments.sums) == 14
    design = moments.design(PAPER)
    assert design.fixed_names == (
        "Intercept",
        "center(phq9_pre)",
        "center(gad7_pre)",
        "center(phq9_pre):center(gad7_pre)",
    )
    assert design.random_names == ("Intercept", "center(phq9_pre)")
    assert design.group_name == "therapist_id"


def test_moments_print_as_one_line_without_a_score() -> None:
    assert repr(columns_only("phq9_post", "phq9_pre")) == (
        "<Moments of phq9_post, phq9_pre: 400 rows, 9 groups (therapist_id)>"
    )


def test_polynomials_and_means_give_the_columns_back() -> None:
    frame = make_patients()
    design = design_moments(PAPER.replace("gad7_pre", "age"), frame)
    values = {name: frame[name].to_numpy(float) for name in design.means}
    columns = [
        sum(c * np.prod([values[v] for v in key], axis=0) for key, c in poly.items())
        for poly in design.polynomials
    ]
    w = np.column_stack([np.broadcast_to(c, len(frame)) for c in columns])
    scale = np.sqrt(np.diag(w.T @ w))
    np.testing.assert_allclose(
        design.total / np.outer(scale, scale), w.T @ w / np.outer(scale, scale), atol=1e-12
    )
    for name, mean in design.means.items():
        assert mean == pytest.approx(frame[name].mean(), rel=1e-14)


def test_random_terms_need_not_be_fixed_terms() -> None:
    frame = make_patients()
    design = design_moments("phq9_post ~ 1 + (0 + center(age) | therapist_id)", frame)
    assert design.names == ("Intercept", "center(age)", "phq9_post")
    assert design.fixed == (0,)
    assert design.random == (1,)
    centred = frame["age"] - frame["age"].mean()
    squares = (centred**2).groupby(frame["therapist_id"]).sum()
    np.testing.assert_allclose(design.cross[:, 1, 1], squares.to_numpy(), rtol=1e-12)


def test_no_random_term_gives_one_group() -> None:
    frame = make_patients()
    design = design_moments("phq9_post ~ phq9_pre", frame)
    assert design.random == ()
    assert design.group_name == ""
    assert design.n.tolist() == [len(frame)]
    grouped = Moments.for_formula("phq9_post ~ phq9_pre + (1 | therapist_id)", frame)
    assert_same_design(grouped.design("phq9_post ~ phq9_pre"), design, 1e-15)


def test_a_design_is_handed_back_as_it_is() -> None:
    design = design_moments(PAPER, make_patients())
    assert design_moments(PAPER, design) is design
    assert design_moments(PAPER.replace(" ", ""), design) is design
    with pytest.raises(InputError, match="made for phq9_post ~ center"):
        design_moments("phq9_post ~ 1 + (1 | therapist_id)", design)
    bare = DesignMoments.from_arrays([1, 2], {"Intercept": [1, 1]}, ["Intercept"], ["a", "b"])
    assert design_moments(PAPER, bare) is bare


def test_rows_with_a_missing_value_are_dropped_for_all_columns() -> None:
    frame = make_patients()
    frame["phq9_pre"] = frame["phq9_pre"].astype("Int64")
    frame.loc[0, "phq9_pre"] = pd.NA
    frame.loc[1, "gad7_pre"] = np.nan
    frame.loc[2, "therapist_id"] = None
    frame.loc[3, "age"] = np.nan  # not in the formula
    moments = Moments.for_formula(PAPER, frame)
    assert moments.n_dropped == 3
    assert moments.complete == ("gad7_pre", "phq9_post", "phq9_pre", "therapist_id")
    whole = make_patients().iloc[3:]
    assert_same_design(moments.design(PAPER), design_moments(PAPER, whole), 0.0)
    assert moments.design(PAPER).means["phq9_pre"] == whole["phq9_pre"].mean()


def test_whole_numbers_kept_as_floats_are_summed_exactly() -> None:
    frame = make_patients()
    moments = Moments.for_formula(PAPER, frame.assign(phq9_pre=frame["phq9_pre"].astype(float)))
    assert {v.dtype for v in moments.sums.values()} == {np.dtype(np.int64)}
    assert moments.pivots == {}


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int64, np.float32, "Int32", bool])
def test_narrow_types_do_not_overflow(kind: Any) -> None:
    rng = np.random.default_rng(3)
    high = 2 if kind is bool else 120
    values = rng.integers(0, high, (500, 3))
    frame = pd.DataFrame(values, columns=["y", "x", "z"]).assign(g=rng.integers(0, 4, 500))
    narrow = frame.astype({"y": kind, "x": kind, "z": kind})
    wide, made = (Moments.for_formula("y ~ x * z + (1 | g)", f) for f in (frame, narrow))
    for key, expected in wide.sums.items():
        np.testing.assert_array_equal(made.sums[key], expected)
        assert made.sums[key].dtype == np.int64


def test_large_whole_numbers_become_floats_before_they_overflow() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "y": rng.integers(0, 28, 300),
            "x": 4_000_000_000 + rng.integers(-500, 500, 300),
            "g": rng.integers(0, 5, 300),
        }
    )
    made = design_moments("y ~ center(x) + (1 | g)", frame)
    small = frame.assign(x=frame["x"] - 4_000_000_000)
    expected = design_moments("y ~ center(x) + (1 | g)", small)
    assert_same_design(made, expected, 1e-12)


def test_a_column_of_years_loses_no_digits() -> None:
    """Raw float sums lose enough of them to move the deviance in the fourth decimal."""
    rng = np.random.default_rng(5)
    n = 50_000
    frame = pd.DataFrame(
        {
            "y": rng.normal(10, 6, n),
            "year": 2013 + rng.normal(0, 0.5, n),
            "g": rng.integers(0, 9, n),
        }
    )
    made = design_moments("y ~ center(year) + (1 | g)", frame)
    exact = np.longdouble(frame["year"].to_numpy()) - np.longdouble(frame["year"]).mean()
    assert made.total[1, 1] == pytest.approx(float(exact @ exact), rel=1e-12)


def test_therapist_level_predictors_and_services_work_together() -> None:
    frame = make_patients()
    design = design_moments("phq9_post ~ resilience + service_id + (1 | therapist_id)", frame)
    assert design.fixed_names == ("Intercept", "resilience", "service_id[S2]", "service_id[S3]")
    counts = pd.crosstab(frame["therapist_id"], frame["service_id"])
    np.testing.assert_array_equal(design.cross[:, 0, 2], counts["S2"])
    np.testing.assert_array_equal(design.cross[:, 2, 2], counts["S2"])
    np.testing.assert_array_equal(design.cross[:, 2, 3], np.zeros(len(counts)))


def test_declared_levels_without_patients_give_no_column() -> None:
    frame = make_patients()
    kind = pd.CategoricalDtype(["S0", "S1", "S2", "S3"])
    moments = Moments.for_formula(
        "phq9_post ~ service_id + (1 | therapist_id)",
        frame.assign(service_id=frame["service_id"].astype(kind)),
    )
    assert moments.levels == {"service_id": ("S0", "S1", "S2", "S3")}
    design = moments.design("phq9_post ~ service_id + (1 | therapist_id)")
    assert design.fixed_names == ("Intercept", "service_id[S2]", "service_id[S3]")
    expected = design_moments("phq9_post ~ service_id + (1 | therapist_id)", frame)
    assert_same_design(design, expected, 1e-15)


def test_group_labels_may_be_numbers_categories_or_text() -> None:
    frame = make_patients()
    number = frame["therapist_id"].str[1:].astype(int)
    expected = design_moments(PAPER, frame)
    for labels in (number, number.astype(float), frame["therapist_id"].astype("category")):
        made = design_moments(PAPER, frame.assign(therapist_id=labels))
        np.testing.assert_array_equal(made.cross, expected.cross)
    numbered = design_moments(PAPER, frame.assign(therapist_id=number.astype(float)))
    assert numbered.groups.tolist() == list(range(1, 10))


# What is stored for one formula serves every other whose columns are polynomials in it.


def test_moments_serve_any_polynomial_in_their_columns() -> None:
    moments = columns_only("phq9_post", "phq9_pre", "gad7_pre", "phq9_pre:gad7_pre")
    assert_same_design(moments.design(PAPER), design_moments(PAPER, make_patients()), 1e-14)
    for formula in (
        "phq9_post ~ scale(phq9_pre) + (1 | therapist_id)",
        "gad7_pre ~ {phq9_pre - 10} + (1 | therapist_id)",
        "{phq9_post - phq9_pre} ~ phq9_pre:gad7_pre + (0 + gad7_pre | therapist_id)",
    ):
        assert_same_design(moments.design(formula), design_moments(formula, make_patients()), 1e-13)


def test_moments_made_for_a_formula_serve_it_even_where_it_is_no_polynomial() -> None:
    frame = make_patients()
    for term in ("log(age ** 2 + 1)", "C(gad7_pre)", "{phq9_pre > 10}"):
        formula = f"phq9_post ~ {term} + (1 | therapist_id)"
        moments = Moments.for_formula(formula, frame)
        assert_same_design(moments.design(formula), design_moments(formula, frame), 0.0)


# Aggregated, not anonymous.


def solutions(moments: Moments, j: int) -> list[tuple[tuple[int, int], ...]]:
    """All caseloads of whole PHQ-9 and GAD-7 scores that have a therapist's moments."""
    n = int(moments.n[j])
    total = {key: int(values[j]) for key, values in moments.sums.items()}
    wanted = ["pre"], ["pre", "pre"]
    scores = np.array(list(combinations_with_replacement(range(28), n)))
    for key in wanted:
        scores = scores[(scores ** len(key)).sum(axis=1) == total[tuple(key)]]
    anxious = np.array(list(product(range(22), repeat=n)))
    found = set()
    for x in scores:
        z = anxious
        for a, b in ((0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)):
            key = tuple(sorted(["pre"] * a + ["gad"] * b))
            z = z[(x**a * z**b).sum(axis=1) == total[key]]
        found |= {tuple(sorted(zip(x.tolist(), row.tolist(), strict=True))) for row in z}
    return sorted(found)


def test_a_small_caseload_can_be_reconstructed_and_is_therefore_withheld(tmp_path: Any) -> None:
    rng = np.random.default_rng(8)
    n = np.array([4] + [30] * 6)
    frame = pd.DataFrame(
        {
            "post": rng.integers(0, 28, n.sum()),
            "pre": rng.integers(0, 28, n.sum()),
            "gad": rng.integers(0, 22, n.sum()),
            "g": np.repeat(list("abcdefg"), n),
        }
    )
    formula = "post ~ center(pre) * center(gad) + (1 | g)"
    moments = Moments.for_formula(formula, frame)
    truth = tuple(sorted(zip(frame["pre"][:4], frame["gad"][:4], strict=True)))
    assert solutions(moments, 0) == [truth]
    moments.write(tmp_path / "shared.parquet")
    shared = Moments.read(tmp_path / "shared.parquet")
    assert shared.groups.tolist() == list("bcdefg")
    assert (shared.withheld_groups, shared.withheld_rows) == (1, 4)
    assert_same_design(
        shared.design(formula), design_moments(formula, frame[frame["g"] != "a"]), 0.0
    )


# Properties.

PROPERTY_FORMULAS = [
    "y ~ center(x) * center(z)",
    "y ~ scale(x) + {z - 10}",
    "{y - x} ~ x:z + scale(z)",
    "y ~ I(x ** 2) + center({x * z})",
]


@st.composite
def patients_and_formula(draw: st.DrawFn) -> tuple[pd.DataFrame, str]:
    n = draw(st.integers(6, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    offset = draw(st.sampled_from([0, 0, 40, 2013]))
    frame = pd.DataFrame(
        {
            "y": rng.integers(0, 28, n),
            "x": offset + (rng.integers(0, 28, n) if draw(st.booleans()) else rng.normal(0, 9, n)),
            "z": rng.integers(0, 22, n) if draw(st.booleans()) else rng.normal(3, 2, n),
            "g": rng.integers(0, 4, n),
        }
    )
    frame.loc[0, ["x", "z"]] = [offset, 0]  # scale needs two different values
    frame.loc[1, ["x", "z"]] = [offset + 5, 4]
    return frame, draw(st.sampled_from(PROPERTY_FORMULAS))


@settings(max_examples=40, deadline=None)
@given(patients_and_formula())
def test_moments_give_the_design_of_the_explicit_frame(case: tuple[pd.DataFrame, str]) -> None:
    frame, formula = case
    made = design_moments(f"{formula} + (1 | g)", frame)
    expected = explicit_cross(formula, frame, "g")
    scale = np.sqrt(np.diag(made.total))
    for j, group in enumerate(made.groups):
        np.testing.assert_allclose(
            made.cross[j] / np.outer(scale, scale),
            expected[group] / np.outer(scale, scale),
            atol=1e-10,
        )


@settings(max_examples=25, deadline=None)
@given(patients_and_formula(), st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(case: tuple[pd.DataFrame, str], seed: int) -> None:
    frame, formula = case
    shuffled = frame.sample(frac=1, random_state=np.random.default_rng(seed))
    made = [Moments.for_formula(f"{formula} + (1 | g)", f) for f in (frame, shuffled)]
    for key, values in made[0].sums.items():
        if values.dtype.kind == "i":
            np.testing.assert_array_equal(made[1].sums[key], values)
    assert_same_design(*(m.design(f"{formula} + (1 | g)") for m in made), 1e-12)


@settings(max_examples=25, deadline=None)
@given(patients_and_formula(), st.floats(-3, 3), st.floats(-3, 3))
def test_the_pivot_does_not_matter(
    case: tuple[pd.DataFrame, str], step_x: float, step_z: float
) -> None:
    from dataclasses import replace

    from multilevel.derive import around

    frame, formula = case
    moments = Moments.for_formula(f"{formula} + (1 | g)", frame)
    steps = {"x": step_x, "z": step_z}
    pivots = {n: p + steps[n] for n, p in moments.pivots.items() if n in steps}
    moved = replace(moments, pivots=pivots, sums=around(moments.sums, moments.pivots, pivots))
    designs = [m.design(f"{formula} + (1 | g)") for m in (moments, moved)]
    assert_same_design(designs[1], designs[0], 1e-10)
