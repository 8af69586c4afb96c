"""Labels of groups keep what they are, whatever their type and whatever holds them."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from multilevel import fit_mixed, memory
from multilevel.errors import InputError
from multilevel.moments import Moments

ROWS, GROUPS = 120, 12
RNG = np.random.default_rng(8)
CODES = RNG.permutation(np.repeat(np.arange(GROUPS), ROWS // GROUPS))
X, Y = RNG.integers(0, 28, ROWS), RNG.integers(0, 28, ROWS)
FORMULA = "y ~ x + (1 | g)"

KINDS: dict[str, list[Any]] = {
    "small whole numbers": list(range(GROUPS)),
    "numbers far apart": [10**15 * i for i in range(GROUPS)],
    "hashes": [2**63 + 1000 * i for i in range(GROUPS)],
    "neighbours above 2**63": [2**63 + i for i in range(GROUPS)],
    "negative": [-(7**i) for i in range(GROUPS)],
    "truth values": [False, True],
    "text": [f"T{i:02d}" for i in range(GROUPS)],
    "text of digits": [f"{i:03d}" for i in range(GROUPS)],
    "long text": ["T" * 300 + chr(65 + i) for i in range(GROUPS)],
    "fractions": [i / 7 for i in range(GROUPS)],
    "bytes": [bytes([i, 255 - i]) for i in range(GROUPS)],
    "wide numbers": [10**25 + i for i in range(GROUPS)],
    "UUIDs": [uuid.UUID(int=2**100 + i) for i in range(GROUPS)],
    "decimals": [Decimal(i) / 8 for i in range(GROUPS)],
    "periods": list(pd.period_range("2014-01", periods=GROUPS, freq="M")),
    "intervals": list(pd.interval_range(0, GROUPS)),
    "pairs": [("S1", i) for i in range(GROUPS)],
}
SIMPLE = [
    k
    for k in KINDS
    if k not in ("wide numbers", "UUIDs", "decimals", "periods", "intervals", "pairs")
]


def labels(kind: str) -> list[Any]:
    known = KINDS[kind]
    return [known[code % len(known)] for code in CODES]


def frame(kind: str, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"y": Y, "x": X, "g": pd.Series(labels(kind), dtype=dtype)})


def assert_kept(kind: str, table: Any) -> None:
    made = Moments.for_formula(FORMULA, table)
    assert made.groups.tolist() == sorted(KINDS[kind])
    for place, label in enumerate(made.groups):
        rows = [i for i, found in enumerate(labels(kind)) if found == label]
        assert made.n[place] == len(rows)
        assert made.sums[("x", "y")][place] == int((X * Y)[rows].sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [None, object, "category"])
def test_labels_in_pandas(kind: str, dtype: Any) -> None:
    assert_kept(kind, frame(kind, dtype))


@pytest.mark.neighbours
@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("holder", ["polars", "polars lazy", "arrow", "duckdb"])
def test_labels_in_other_frames(kind: str, holder: str) -> None:
    table = pl.DataFrame({"y": Y, "x": X, "g": labels(kind)}, strict=False)
    made = {
        "polars": lambda: table,
        "polars lazy": table.lazy,
        "arrow": table.to_arrow,
        "duckdb": lambda: duckdb.from_arrow(table.to_arrow()),
    }[holder]()
    assert_kept(kind, made)


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint8, np.int16, np.uint32, np.float32, "Int64", "UInt64"]
)
def test_whole_numbers_of_any_type_give_the_same_labels(kind: Any) -> None:
    made = Moments.for_formula(FORMULA, frame("small whole numbers", kind))
    assert made.groups.tolist() == list(range(GROUPS))
    assert {type(label) for label in made.groups} == {int}


@pytest.mark.parametrize("as_lazy", [False, True])
def test_numbers_of_128_bits_keep_their_last_digit(as_lazy: bool) -> None:
    table = pl.DataFrame({"y": Y, "x": X, "g": pl.Series(labels("wide numbers"), dtype=pl.Int128)})
    assert_kept("wide numbers", table.lazy() if as_lazy else table)


def test_uuids_of_a_database_are_kept_apart() -> None:
    table = pa.table({"y": Y, "x": X, "g": [str(u) for u in labels("UUIDs")]})
    relation = duckdb.from_arrow(table).project("y, x, g::uuid as g")
    made = Moments.for_formula(FORMULA, relation)
    assert list(map(str, made.groups)) == sorted(map(str, KINDS["UUIDs"]))


def test_numbers_and_text_that_read_alike_are_refused() -> None:
    mixed = frame("small whole numbers", object)
    mixed.loc[mixed.index[::2], "g"] = mixed.loc[mixed.index[::2], "g"].map(str)
    with pytest.raises(InputError, match=r"column g: two labels .* read alike"):
        Moments.for_formula(FORMULA, mixed)
    mixed.loc[mixed.index[::2], "g"] = "T"
    assert "T" in Moments.for_formula(FORMULA, mixed).groups


@pytest.mark.parametrize("dtype", [object, "category"])
def test_numbers_and_text_that_read_apart_come_back_as_text(dtype: Any) -> None:
    """Each label's rows stay its own, and a fit is that of labels which were text before."""
    known = [1, 2, "a", 10, "1.0", 3, "b", 4, "c", 5, "d", 6]
    mixed = frame("small whole numbers").assign(
        g=pd.Series([known[code] for code in CODES], dtype=object).astype(dtype)
    )
    text = mixed.assign(g=mixed["g"].astype(object).map(str))
    made = Moments.for_formula(FORMULA, mixed)
    assert made.groups.tolist() == sorted(map(str, known))
    assert _moments(mixed) == _by_group(text)
    assert fit_mixed(FORMULA, mixed).residuals().equals(fit_mixed(FORMULA, text).residuals())


@pytest.mark.parametrize("bars", ["(1 | u/g)", "(1 | u) + (1 | g)"])
@pytest.mark.parametrize("mixed", ["u", "g"])
def test_numbers_and_text_at_three_levels_are_refused(bars: str, mixed: str) -> None:
    """Text of 1 and of "1" is the same: groups of two units were one, or none at all."""
    data = frame("small whole numbers").assign(u=CODES % 3)
    data[mixed] = data[mixed].astype(object).where(data[mixed] != 1, "1" if mixed == "u" else "T")
    with pytest.raises(InputError, match=rf"column {mixed}: labels are numbers and text"):
        fit_mixed(f"y ~ x + {bars}", data)
    with pytest.raises(InputError, match="use one kind"):
        Moments.for_formula(f"y ~ x + {bars}", data)
    data[mixed] = data[mixed].map(str)
    assert fit_mixed(f"y ~ x + {bars}", data).converged


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_what_cannot_be_a_label_is_refused(value: Any) -> None:
    for table in (
        pd.DataFrame({"y": [1, 2], "x": [1, 3], "g": [value, value]}),
        pl.DataFrame({"y": [1, 2], "x": [1, 3], "g": [value, value]}),
    ):
        with pytest.raises(InputError, match="column g"):
            Moments.for_formula(FORMULA, table)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_survive_a_file(kind: str, tmp_path: Path) -> None:
    made = Moments.for_formula(FORMULA, frame(kind, object))
    made.write(tmp_path / "m.parquet", share=False)
    back = Moments.read(tmp_path / "m.parquet")
    if kind in SIMPLE:
        assert back.groups.tolist() == made.groups.tolist()
    else:  # what Parquet has no type for is kept as text
        assert [float(g) if kind == "decimals" else str(g) for g in back.groups] == [
            float(g) if kind == "decimals" else str(g) for g in made.groups
        ]


def _by_group(data: pd.DataFrame) -> dict[Any, list[int]]:
    """Rows and sums of each group, by pandas."""
    rows = data.dropna().astype({"x": "int64", "y": "int64"})
    rows = rows.assign(n=1, xy=rows.x * rows.y, yy=rows.y**2)
    sums = rows.groupby("g", observed=True)[["n", "x", "y", "xy", "yy"]].sum()
    return {g: sums.loc[g].tolist() for g in sums.index}


def _moments(data: pd.DataFrame) -> dict[Any, list[int]]:
    table = Moments.for_formula(FORMULA, data).table()
    return {g: [int(v) for v in table.loc[g, ["n", "x", "y", "x:y", "y:y"]]] for g in table.index}


def _one_label(data: pd.DataFrame) -> None:
    data.loc[0, "g"] = data.loc[1, "g"] if data.loc[0, "g"] != data.loc[1, "g"] else data.g.max()


def _some_labels(data: pd.DataFrame) -> None:
    data.loc[data.x > 20, "g"] = data.g.min()


def _column(data: pd.DataFrame) -> None:
    data["g"] = data["g"].to_numpy()[::-1].copy()


def _replaced(data: pd.DataFrame) -> None:
    data["g"] = data["g"].replace(data.g.max(), data.g.min())


def _by_place(data: pd.DataFrame) -> None:
    data.iloc[5:20, 2] = data.g.iloc[0]


def _its_series(data: pd.DataFrame) -> None:
    labels = data.pop("g")
    labels[3:9] = labels[0]
    data["g"] = labels


def _emptied(data: pd.DataFrame) -> None:
    data.loc[[0, 7, 8], "g"] = None


def _scores(data: pd.DataFrame) -> None:
    data.loc[data.index[::3], "x"] = 99
    data.iloc[4, 0] = -3


def _inserted(data: pd.DataFrame) -> None:
    labels = data.pop("g")
    data.insert(0, "g", labels.where(data.y > 14, labels.max()))


CHANGES = [
    _one_label,
    _some_labels,
    _column,
    _replaced,
    _by_place,
    _its_series,
    _emptied,
    _scores,
    _inserted,
]


@pytest.mark.neighbours
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__.strip("_"))
@pytest.mark.parametrize("dtype", ["str", object, "string[pyarrow]", "string[python]", "int64"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_frame_that_is_changed_is_read_anew(change: Any, dtype: Any, shared: bool) -> None:
    data = frame("small whole numbers" if dtype == "int64" else "text", dtype)
    other = data.copy(deep=not shared)
    before = _moments(data)
    assert before == _by_group(data)
    if change is _emptied and dtype == "int64":
        data["g"] = data["g"].astype(float)
    change(data)
    assert _moments(data) == _by_group(data) != before
    assert _moments(other) == before


@pytest.mark.neighbours
@pytest.mark.parametrize("seed", range(20))
def test_whole_numbers_near_and_far_are_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"][seed % 7]
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    spread = int(rng.choice([3, 40, 90, 400, 10**6]))
    first = int(rng.choice([low, max(low, -5), 0, max(low, high - spread)]))
    labels = [min(first + int(v), high) for v in rng.integers(0, spread + 1, ROWS)]
    data = pd.DataFrame({"y": Y, "x": X, "g": np.array(labels, dtype=kind)})
    assert _moments(data) == _by_group(data)
    assert list(_moments(data)) == sorted(set(labels))


def test_labels_are_remembered_no_longer_than_their_column() -> None:
    data, held = frame("text"), len(memory._REMEMBERED)
    assert Moments.for_formula(FORMULA, data).groups.tolist() == KINDS["text"]
    assert len(memory._REMEMBERED) == held + 1
    del data
    assert len(memory._REMEMBERED) == held


@pytest.mark.parametrize("how", ["at", "loc", "whole", "missing"])
def test_labels_that_are_changed_are_read_anew(how: str) -> None:
    data = frame("text")
    before, place = Moments.for_formula(FORMULA, data), data.columns.get_loc("g")
    if how == "at":
        data.iat[0, place] = "another"
    elif how == "loc":
        data.loc[data.index[:2], "g"] = "another"
    elif how == "whole":
        data["g"] = "another " + data["g"]
    else:
        data.loc[data["g"] == KINDS["text"][0], "g"] = None
    after = Moments.for_formula(FORMULA, data)
    assert sorted(after.groups) == sorted(data["g"].dropna().unique())
    counts = data["g"].value_counts()
    assert after.n.tolist() == counts[list(after.groups)].tolist()
    assert before.groups.tolist() == KINDS["text"]


def test_columns_with_names_of_several_levels_are_refused() -> None:
    data = pd.concat({"first": frame("text")}, axis=1).swaplevel(axis=1)
    with pytest.raises(InputError, match="names of several levels"):
        Moments.for_formula(FORMULA, data)


def test_text_that_arrow_holds_as_views_is_text() -> None:
    rng = np.random.default_rng(3)
    g, f = rng.integers(0, 20, 300).astype(str), rng.choice(list("ab"), 300)
    table = pa.table({"y": rng.normal(size=300) + (f == "b"), "f": f, "g": g})
    views = table
    for name in ("f", "g"):
        place = table.column_names.index(name)
        views = views.set_column(place, name, table[name].cast(pa.string_view()))
    one, other = (fit_mixed("y ~ f + (1 | g)", held) for held in (table, views))
    assert one.deviance == other.deviance
