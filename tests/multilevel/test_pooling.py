"""Moments add up to what one table would give, and refuse what does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from multilevel.moments import Moments
from multilevel.pooling import pool_moments, withhold_small
from multilevel.sources import design_moments

MODEL = "post ~ center(pre) * center(gad) + (1 + center(pre) | g)"
FLOATS = "post ~ scale(age) * center(pre) + (1 | g)"


def service(name: str, n: int = 200, seed: int = 1, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "post": rng.integers(0, 28, n),
            "pre": rng.integers(0, 28, n),
            "gad": rng.integers(0, 22, n),
            "age": shift + rng.normal(40, 12, n),
            "female": rng.integers(0, 2, n),
            "s": name,
            "g": [f"{name}-{i}" for i in rng.integers(0, 5, n)],
        }
    )


A, B, C = service("A", seed=1), service("B", seed=2, shift=25.0), service("C", seed=3)


def relative_gap(one: np.ndarray, other: np.ndarray) -> float:
    scale = np.sqrt(np.diag(other.sum(axis=0)))
    return float(np.max(np.abs(one - other) / np.outer(scale, scale)))


def same_sums(one: Moments, other: Moments) -> bool:
    return one.groups.tolist() == other.groups.tolist() and all(
        np.array_equal(values, other.sums[key]) for key, values in one.sums.items()
    )


def test_whole_numbers_of_services_add_up_to_the_bit() -> None:
    pooled = pool_moments([Moments.for_formula(MODEL, f) for f in (A, B, C)])
    together = Moments.for_formula(MODEL, pd.concat([C, A, B]))
    assert same_sums(pooled, together)
    np.testing.assert_array_equal(pooled.design(MODEL).cross, together.design(MODEL).cross)


@pytest.mark.parametrize("formula", [MODEL, FLOATS, "post ~ scale({age / 3}) + (1 | g)"])
def test_services_with_other_means_are_centred_on_the_pooled_mean(formula: str) -> None:
    pooled = Moments.for_formula(formula, A) + Moments.for_formula(formula, B)
    expected = design_moments(formula, pd.concat([A, B]))
    made = pooled.design(formula)
    assert relative_gap(made.cross, expected.cross) < 1e-12
    for name, mean in expected.means.items():
        assert made.means[name] == pytest.approx(mean, rel=1e-13)


def test_whole_ages_in_one_service_and_fractions_in_the_other() -> None:
    whole = A.assign(age=A["age"].round())
    pooled = Moments.for_formula(FLOATS, whole) + Moments.for_formula(FLOATS, B)
    expected = design_moments(FLOATS, pd.concat([whole, B]))
    assert relative_gap(pooled.design(FLOATS).cross, expected.cross) < 1e-12


def test_the_same_therapist_in_two_files_is_merged_only_when_told() -> None:
    halves = [Moments.for_formula(MODEL, A.iloc[part]) for part in (slice(0, 90), slice(90, None))]
    with pytest.raises(InputError, match="5 groups are in both"):
        _ = halves[0] + halves[1]
    assert same_sums(pool_moments(halves, same_groups=True), Moments.for_formula(MODEL, A))


def test_a_group_named_all_is_a_group_like_others() -> None:
    one, two = (Moments.for_formula(MODEL, f.assign(g="all")) for f in (A, B))
    with pytest.raises(InputError, match="1 groups are in both"):
        _ = one + two


def test_moments_without_groups_add_up() -> None:
    pooled = Moments.for_formula("post ~ pre", A) + Moments.for_formula("post ~ pre", B)
    assert same_sums(pooled, Moments.for_formula("post ~ pre", pd.concat([A, B])))


def test_counts_of_what_is_left_out_add_up() -> None:
    gone = A.assign(pre=A["pre"].astype(float).where(A.index > 2))
    small = withhold_small(Moments.for_formula(MODEL, gone), 40)
    other = withhold_small(Moments.for_formula(MODEL, B), 38)
    pooled = small + other
    assert pooled.n_dropped == 3
    assert pooled.withheld_groups == small.withheld_groups + other.withheld_groups
    assert pooled.withheld_rows == small.withheld_rows + other.withheld_rows
    assert pooled.minimum_rows == 40


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        (("post ~ pre + (1 | g)", A), ("post ~ gad + (1 | g)", B), "column gad: .* only one"),
        (("post ~ pre + (1 | g)", A), ("post ~ pre + (1 | s)", B), "column g: .* grouped by it"),
        (("post ~ s + (1 | g)", A), ("post ~ s + (1 | g)", B), "column s: its levels differ"),
    ],
)
def test_what_does_not_fit_together_is_refused(left: Any, right: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _ = Moments.for_formula(*left) + Moments.for_formula(*right)


def test_other_sets_of_complete_columns_are_refused() -> None:
    one, two = (Moments.for_formula("post ~ pre + (1 | g)", f) for f in (A, B))
    two = replace(two, complete=("g", "gad", "post", "pre"))
    with pytest.raises(InputError, match=r"column gad: only one .* needed a value"):
        _ = one + two


def test_numbered_and_named_therapists_are_refused() -> None:
    numbered = B.assign(g=B["g"].str[2:].astype(int))
    with pytest.raises(InputError, match="numbered in one and named in the other"):
        _ = Moments.for_formula(MODEL, A) + Moments.for_formula(MODEL, numbered)


def test_nothing_to_pool_and_adding_a_number_are_refused() -> None:
    with pytest.raises(InputError, match="no moments"):
        pool_moments([])
    with pytest.raises(TypeError):
        _ = Moments.for_formula(MODEL, A) + 1  # type: ignore[operator]


def test_sums_that_would_overflow_are_refused() -> None:
    moments = Moments.for_formula(MODEL, A)
    huge = {key: np.full_like(values, 2**61) for key, values in moments.sums.items()}
    large = replace(moments, sums=huge)
    with pytest.raises(InputError, match="too large"):
        pool_moments([large, large], same_groups=True)


def test_service_as_a_fixed_effect_pools_when_its_levels_are_declared() -> None:
    formula = "post ~ center(pre) + s + (1 | g)"
    kind = pd.CategoricalDtype(["A", "B", "C"])
    declared = [f.astype({"s": kind}) for f in (A, B, C)]
    pooled = pool_moments([Moments.for_formula(formula, f) for f in declared])
    expected = design_moments(formula, pd.concat([A, B, C]))
    assert pooled.design(formula).names == expected.names
    assert relative_gap(pooled.design(formula).cross, expected.cross) < 1e-14


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2]), st.sampled_from([MODEL, FLOATS]), st.integers(1, 10_000))
def test_addition_is_associative_and_commutative(order: list[int], formula: str, seed: int) -> None:
    frames = [service(name, 60, seed + i, 7.0 * i) for i, name in enumerate("ABC")]
    a, b, c = (Moments.for_formula(formula, f) for f in frames)
    x, y, z = ((a, b, c)[i] for i in order)
    ways = [(a + b) + c, a + (b + c), (x + y) + z]
    designs = [w.design(formula) for w in ways]
    for design in designs[1:]:
        assert relative_gap(design.cross, designs[0].cross) < 1e-12
    if formula == MODEL:
        assert same_sums(ways[0], ways[1])
        assert same_sums(ways[0], ways[2])


# What may be shared.


def test_the_pooled_fit_is_that_of_the_therapists_who_are_not_withheld() -> None:
    moments = Moments.for_formula(MODEL, A)
    shared = withhold_small(moments, 40)
    small = moments.groups[moments.n < 40]
    assert 0 < len(small) < 5
    kept = A[~A["g"].isin(small)]
    assert shared.withheld_groups == len(small)
    assert shared.withheld_rows == len(A) - len(kept)
    np.testing.assert_array_equal(shared.design(MODEL).cross, design_moments(MODEL, kept).cross)


@pytest.mark.parametrize("predictor", ["female", "C(female)"])
def test_small_cells_of_a_category_are_withheld_too(predictor: str) -> None:
    """One woman's score is the sum over the women: as telling as a caseload of one."""
    first = A["g"] == "A-0"
    only = A.assign(female=np.where(first, 0, A["female"]))
    only.loc[only.index[first][0], "female"] = 1
    moments = Moments.for_formula(f"post ~ {predictor} + (1 | g)", only)
    shared = withhold_small(moments, 5)
    assert shared.groups.tolist() == ["A-1", "A-2", "A-3", "A-4"]
    assert shared.withheld_rows == int(first.sum())


def test_small_crossed_cells_are_withheld_too() -> None:
    frame = A.assign(new=1 - A["female"])
    first = frame.index[frame["g"] == "A-2"]
    frame.loc[first[: len(first) // 2], ["female", "new"]] = [1, 0]
    frame.loc[first[len(first) // 2 :], ["female", "new"]] = [0, 1]
    frame.loc[first[0], ["female", "new"]] = [1, 1]
    moments = Moments.for_formula("post ~ female + new + (1 | g)", frame)
    assert "A-2" not in withhold_small(moments, 5).groups.tolist()


@pytest.mark.parametrize("minimum", [0, -3, True])
def test_a_minimum_below_one_is_refused(minimum: int, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"argument minimum_rows of write is (too small|of no kind)"
    ):
        Moments.for_formula(MODEL, A).write(tmp_path / "m.parquet", minimum_rows=minimum)
    assert not list(tmp_path.iterdir())


# Files.


@pytest.mark.parametrize("formula", [MODEL, FLOATS, "post ~ s * C(female) + (1 | g)"])
def test_a_file_gives_back_what_was_written(tmp_path: Path, formula: str) -> None:
    moments = Moments.for_formula(formula, pd.concat([A, B]))
    moments.write(tmp_path / "m.parquet", share=False)
    back = Moments.read(tmp_path / "m.parquet")
    assert same_sums(back, moments)
    for name in ("monomials", "pivots", "group_name", "complete", "levels", "n_dropped"):
        assert getattr(back, name) == getattr(moments, name)
    np.testing.assert_array_equal(back.design(formula).cross, moments.design(formula).cross)
    assert [p.name for p in tmp_path.iterdir()] == ["m.parquet"]


def test_a_file_is_meant_to_be_shared_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    moments = Moments.for_formula(MODEL, A.iloc[:70])
    written = moments.write(tmp_path / "m.parquet")
    back = Moments.read(tmp_path / "m.parquet")
    assert same_sums(back, written)
    assert back.minimum_rows == 20
    assert back.withheld_rows == int(moments.n[moments.n < 20].sum()) > 0
    text = (tmp_path / "m.parquet").read_bytes()
    for gone in set(moments.groups) - set(back.groups):
        assert str(gone).encode() not in text


def test_numbered_therapists_keep_their_numbers(tmp_path: Path) -> None:
    moments = Moments.for_formula(MODEL, A.assign(g=A["g"].str[2:].astype(int)))
    moments.write(tmp_path / "m.parquet", share=False)
    assert Moments.read(tmp_path / "m.parquet").groups.tolist() == [0, 1, 2, 3, 4]


def test_files_that_are_no_moments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.parquet: there is no such file"):
        Moments.read(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("patients")
    with pytest.raises(InputError, match="no Parquet file"):
        Moments.read(tmp_path / "text.parquet")
    A.to_parquet(tmp_path / "patients.parquet")
    with pytest.raises(InputError, match="holds no moments"):
        Moments.read(tmp_path / "patients.parquet")


def edited(path: Path, change: Any) -> None:
    table = pq.read_table(path)
    record = json.loads(table.schema.metadata[b"pwp_moments"])
    made = change(table, record)
    table = made if isinstance(made, pa.Table) else table
    pq.write_table(
        table.replace_schema_metadata({b"pwp_moments": json.dumps(record).encode()}), path
    )


def negative(table: Any, record: dict[str, Any]) -> Any:
    i = table.column_names.index("sum(pre * pre)")
    return table.set_column(i, "sum(pre * pre)", [[-1] * table.num_rows])


def twice(table: Any, record: dict[str, Any]) -> Any:
    return table.set_column(0, "group", [["x"] * table.num_rows])


def first_version(table: Any, record: dict[str, Any]) -> Any:
    for now, then in (
        ("withheld_groups", "withheld_therapists"),
        ("withheld_rows", "withheld_patients"),
        ("minimum_rows", "minimum_caseload"),
    ):
        record[then] = record.pop(now)
    del record["unit_name"]
    record["schema_version"] = 1
    kept = table.drop_columns(["smallest_cell"])
    return kept.rename_columns(["therapist", *kept.column_names[1:]])


def test_files_of_the_first_version_are_read_but_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    moments = Moments.for_formula(MODEL, A)
    moments.write(path, share=False)
    edited(path, first_version)
    back = Moments.read(path)
    assert same_sums(back, moments)
    assert (back.withheld_groups, back.unit_name) == (0, "")
    with pytest.raises(InputError, match="small cells is not known"):
        back.write(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, r: r.update(schema_version=99), "only another version"),
        (lambda t, r: r.update(blocks={"bs(pre, df=4)": ["bs[0]"]}), "only another version"),
        (lambda t, r: r["keys"].pop(), "damaged"),
        (lambda t, r: r.pop("pivots"), "damaged"),
        (lambda t, r: r.pop("withheld_rows"), "damaged"),
        (lambda t, r: r.pop("minimum_rows"), "damaged"),
        (lambda t, r: r.pop("n_dropped"), "damaged"),
        (lambda t, r: r.pop("schema_version"), "damaged"),
        (lambda t, r: r.update(levels=3), "damaged"),
        (lambda t, r: t.drop_columns(["sum(pre)"]), "damaged"),
        (lambda t, r: t.drop_columns(["n"]), "damaged"),
        (negative, "damaged"),
        (twice, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "m.parquet"
    Moments.for_formula(MODEL, A).write(path, share=False)
    edited(path, change)
    with pytest.raises(InputError, match=words):
        Moments.read(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Moments.for_formula(MODEL, A).write(tmp_path / "no" / "m.parquet")


@pytest.mark.nightly
@pytest.mark.neighbours
@pytest.mark.parametrize(("offset", "files"), [(999_983, 300), (1_234_567, 400), (30_000_001, 300)])
@pytest.mark.parametrize("model", ["y ~ x", "y ~ x + (1 | g)"])
def test_sums_of_many_files_beyond_what_floats_hold_stay_exact(
    offset: int, files: int, model: str
) -> None:
    """Each file's sums are small enough for floats, those of all are not."""
    rng = np.random.default_rng(1)
    parts = []
    for _ in range(files):
        g, x = rng.integers(0, 6, 300), rng.integers(0, 5, 300)
        y = x + g + rng.integers(0, 9, 300)
        parts.append(pd.DataFrame({"g": g, "x": x + offset, "y": y}))
    pooled = pool_moments([Moments.for_formula(model, f) for f in parts], same_groups=True)
    found = fit_mixed(model, pooled)
    rows = pd.concat(parts).assign(x=lambda d: d["x"] - offset)
    right = fit_mixed(model, rows)
    assert found.deviance == pytest.approx(right.deviance, abs=1e-5)
    assert found.fixed.loc["x", "estimate"] == pytest.approx(
        right.fixed.loc["x", "estimate"], rel=1e-9
    )
