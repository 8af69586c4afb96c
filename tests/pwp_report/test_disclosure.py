from __future__ import annotations

import os
import stat

import numpy as np
import pandas as pd
import pytest
from attacks import Percentage, audit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, Provenance
from pwp_lib.measures import PHQ9
from pwp_report.disclosure import (
    DisclosurePolicy,
    Relation,
    aggregate_small,
    is_safe_group,
    percentage,
    release_counts,
)
from pwp_report.pseudonyms import Pseudonyms, open_key, pseudonymise

POLICY = DisclosurePolicy()


def suppressed(released: pd.DataFrame) -> int:
    return int(released.isna().to_numpy().sum())


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, None), (1, None), (4, None), (5, 5), (7, 5), (8, 10), (12, 10), (13, 15), (1122, 1120)],
)
def test_count_is_suppressed_or_rounded_to_five(count: int, shown: int | None) -> None:
    assert POLICY.count(count) == shown


@given(st.integers(0, 10_000))
def test_bounds_hold_exactly_the_counts_that_look_alike(count: int) -> None:
    low, high = POLICY.bounds(POLICY.count(count))
    assert low <= count <= high
    alike = [
        n for n in range(max(0, count - 10), count + 11) if POLICY.count(n) == POLICY.count(count)
    ]
    assert (min(alike), max(alike)) == (low, high)


def test_inactive_policy_changes_nothing() -> None:
    counts = pd.DataFrame({"n": [0, 3, 1122]})
    released = release_counts(counts, policy=DisclosurePolicy(active=False))
    assert released["n"].tolist() == [0, 3, 1122]
    assert suppressed(released) == 0


def test_policy_refuses_what_protects_nothing() -> None:
    with pytest.raises(InputError, match="2 or more"):
        DisclosurePolicy(threshold=1)
    with pytest.raises(InputError, match="caseload"):
        DisclosurePolicy(smallest_caseload=6)


def _two_way(body: np.ndarray) -> tuple[pd.DataFrame, list[Relation]]:
    rows, columns = body.shape
    names = [f"r{i}" for i in range(rows)]
    heads = [f"c{i}" for i in range(columns)]
    table = pd.DataFrame(body, index=names, columns=heads)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    relations = [Relation((r, "all"), tuple((r, c) for c in heads)) for r in [*names, "all"]]
    relations += [Relation(("all", c), tuple((r, c) for r in names)) for c in [*heads, "all"]]
    return table, relations


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 4), st.integers(1, 3), st.data())
def test_every_suppressed_cell_could_hold_two_values(
    rows: int, columns: int, data: st.DataObject
) -> None:
    cell = st.one_of(st.integers(0, 14), st.integers(0, 60))
    flat = data.draw(st.lists(cell, min_size=rows * columns, max_size=rows * columns))
    table, relations = _two_way(np.array(flat).reshape(rows, columns))
    released = release_counts(table, relations)
    attacked = audit(released, relations, truth=table)
    assert attacked["safe"].all()
    assert len(attacked) == suppressed(released)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 60), st.floats(0, 1)), min_size=1, max_size=6))
def test_remainders_of_a_caseload_are_protected_too(rows: list[tuple[int, float]]) -> None:
    n = [size for size, _ in rows]
    improved = [int(size * share) for size, share in rows]
    counts = pd.DataFrame({"n": n, "improved": improved})
    relations = [Relation((i, "n"), ((i, "improved"),), exhaustive=False) for i in counts.index]
    released = release_counts(counts, relations)
    for i in counts.index:
        rest = n[i] - improved[i]
        if rest < POLICY.threshold and pd.notna(released.at[i, "improved"]):
            low_n, high_n = POLICY.bounds(released.at[i, "n"])
            low_k, high_k = POLICY.bounds(released.at[i, "improved"])
            assert high_n - low_k > max(0, low_n - high_k)


def test_second_suppression_happens_only_where_a_sum_tells() -> None:
    sizes = [8, 8, 8, 8, 0, 32]
    counts = pd.DataFrame({"n": sizes}, index=[*"abcde", "all"])
    total = Relation(("all", "n"), tuple((r, "n") for r in "abcde"))
    assert suppressed(release_counts(counts)) == 1
    released = release_counts(counts, [total])
    assert suppressed(released) == 2
    assert released["n"].isna().tolist() == [True, False, False, False, True, False]
    harmless = counts.copy()
    harmless["n"] = [40, 21, 33, 27, 2, 123]
    assert suppressed(release_counts(harmless, [total])) == 1


def test_audit_sees_an_unrounded_percentage() -> None:
    shown = pd.DataFrame({"n": [25], "improved": [pd.NA]}, dtype="Int64")
    assert audit(shown)["safe"].all()
    leak = Percentage((0, "improved"), (0, "n"), 8.0, 1)
    attacked = audit(shown, percentages=[leak])
    assert attacked["safe"].tolist() == [False]
    assert attacked["upper"].tolist() == [2]


def test_percentages_come_from_released_counts_alone() -> None:
    counts = pd.DataFrame({"n": [82, 40], "improved": [33, 3]})
    shown = release_counts(counts).astype(object).where(lambda f: f.notna(), None)
    shares = [percentage(p, w) for p, w in zip(shown["improved"], shown["n"], strict=True)]
    assert shares == [44.0, None]  # 35 of 80, not 33 of 82
    assert percentage(10, 8) == 100.0
    assert percentage(0, 0) is None


def test_missing_counts_stay_missing() -> None:
    counts = pd.DataFrame({"n": [30.0, np.nan]})
    released = release_counts(counts)
    assert released["n"].isna().tolist() == [False, True]


@pytest.mark.parametrize("bad", [[-1, 5], [10, 4]])
def test_impossible_counts_are_refused(bad: list[int]) -> None:
    counts = pd.DataFrame({"n": [*bad, 15]}, index=["a", "b", "all"])
    total = Relation(("all", "n"), (("a", "n"), ("b", "n")))
    with pytest.raises(InputError):
        release_counts(counts, [total])
    with pytest.raises(InputError, match="does not have"):
        release_counts(counts.abs(), [Relation(("none", "n"), (("a", "n"),))])


def test_many_therapists_are_released_quickly() -> None:
    rng = np.random.default_rng(1)
    n = rng.integers(20, 300, 1500)
    improved = rng.binomial(n, 0.5)
    worse = rng.binomial(n - improved, 0.06)
    counts = pd.DataFrame({"n": n, "improved": improved, "worse": worse})
    counts.loc[1500] = counts.sum()
    relations = [
        Relation((i, "n"), ((i, "improved"), (i, "worse")), exhaustive=False) for i in counts.index
    ]
    relations += [Relation((1500, c), tuple((i, c) for i in range(1500))) for c in counts]
    released = release_counts(counts, relations)
    assert 0 < suppressed(released) < 1500


def test_small_caseloads_are_never_shown_alone() -> None:
    loads = pd.Series({"a": 60, "b": 21, "c": 8, "d": 45})
    assert aggregate_small(loads) == (["a"], ["b", "c", "d"])
    assert aggregate_small(pd.Series({"a": 60, "b": 21})) == (["a", "b"], [])
    alone, together = aggregate_small(pd.Series({"a": 6, "b": 6, "c": 6, "d": 30}))
    assert alone == []
    assert together == ["a", "b", "c", "d"]
    off = DisclosurePolicy(active=False)
    assert aggregate_small(loads, off) == (list("abcd"), [])


def test_key_is_made_once_private_and_outside(tmp_path) -> None:
    place = tmp_path / "keys" / "pseudonym.key"
    key = open_key(place, outside=tmp_path / "out")
    assert open_key(place) == key
    assert len(key) == 32
    if os.name == "posix":
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="inside the folder"):
        open_key(tmp_path / "out" / "k.key", outside=tmp_path / "out")
    (tmp_path / "bad.key").write_text("not a key")
    with pytest.raises(InputError, match="not a pseudonym key"):
        open_key(tmp_path / "bad.key")
    with pytest.raises(InputError, match=r"cannot be read|not a pseudonym key"):
        open_key(tmp_path)


def test_pseudonyms_need_the_key() -> None:
    one = Pseudonyms(b"a" * 32).names(["smith", "jones"], "T")
    two = Pseudonyms(b"b" * 32).names(["smith", "jones"], "T")
    assert one != two
    assert not any("smith" in name for name in one.values())
    assert set(one.values()).isdisjoint(Pseudonyms(b"a" * 32).names(["smith"], "S").values())
    assert "aaaa" not in repr(Pseudonyms(b"a" * 32))
    with pytest.raises(InputError):
        Pseudonyms(b"short")


def test_pseudonymise_leaves_no_identifier() -> None:
    patients = pd.DataFrame(
        {
            "patient_id": ["nhs-1", "nhs-2", "nhs-3"],
            "therapist_id": ["dr-z", "dr-a", "dr-z"],
            "service_id": ["leeds", "leeds", "leeds"],
            "phq9_pre": [20, 15, 11],
            "phq9_post": [10, 9, 12],
        }
    )
    therapists = pd.DataFrame({"therapist_id": ["dr-a", "dr-z"], "age": [30, 40]})
    cohort = Cohort(patients, therapists, None, (PHQ9,), Provenance(False, "x"))
    masked = pseudonymise(cohort, Pseudonyms(b"k" * 32))
    text = masked.patients.to_csv() + masked.therapists.to_csv()
    assert not any(word in text for word in ("nhs-", "dr-", "leeds"))
    assert set(masked.patients["therapist_id"]) == set(masked.therapists["therapist_id"])
    # The order is not that of the names, and another key gives the same.
    other = pseudonymise(cohort, Pseudonyms(b"m" * 32))
    whose = [pd.factorize(c.patients["therapist_id"])[0].tolist() for c in (masked, other)]
    assert whose[0] == whose[1]
    assert whose[0] == sorted(whose[0])
    before = patients.groupby("therapist_id")["phq9_pre"].sum()
    after = masked.patients.groupby("therapist_id")["phq9_pre"].sum()
    assert sorted(before) == sorted(after)


def test_rules_that_exclude_nobody_cost_only_the_steps_before_them() -> None:
    """The last step is everybody, who are known: no other count can protect a nought."""
    rows = ["rule 0", "rule 1", "rule 2", "all"]
    counts = pd.DataFrame(
        {"patients": [102, 102, 102, None], "excluded": [None, 0, 0, None],
         "n": [None, None, None, 102], "improved": [None, None, None, 41]},
        index=rows, dtype="Float64",
    )  # fmt: skip
    relations = [
        *(Relation((f"rule {i}", "patients"),
                   ((f"rule {i + 1}", "patients"), (f"rule {i + 1}", "excluded"))) for i in (0, 1)),
        Relation(("all", "n"), (("rule 2", "patients"),)),
        Relation(("all", "n"), (("all", "improved"),), exhaustive=False),
    ]  # fmt: skip
    released = release_counts(counts, relations, known=[("all", "n")])
    assert released["patients"].isna().tolist() == [True, True, False, True]
    assert released.at["rule 2", "patients"] == 100
    assert released.at["all", "improved"] == 40
    assert audit(released, relations, truth=counts)["safe"].all()


@pytest.mark.parametrize("seed", range(40))
def test_nobody_in_an_aggregate_is_left_with_one_other(seed: int) -> None:
    """Whoever takes their own patients away leaves two therapists and 20 patients or more."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(6, 30))
    loads = pd.Series(rng.integers(1, 90, size), [f"T{i}" for i in range(size)])
    alone, together = aggregate_small(loads, POLICY)
    assert sorted([*alone, *together]) == sorted(loads.index)
    assert (loads[alone] >= POLICY.smallest_caseload).all()
    rest = loads[together]
    if not is_safe_group(rest.tolist(), POLICY) and len(rest):
        # Small as a whole: its figures are withheld as a whole.
        assert len(rest) == len(loads)
    else:
        assert all(rest.drop(one).sum() >= POLICY.smallest_caseload for one in rest.index)
