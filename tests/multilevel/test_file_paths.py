"""A Parquet file is read by its path, whatever it is called; any other is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multilevel import InputError, Moments, fit_mixed

RNG = np.random.default_rng(771_600)
ROWS = pd.DataFrame({"g": np.repeat(np.arange(8), 9), "x": RNG.integers(0, 28, 72)})
ROWS["y"] = ROWS["x"] + RNG.integers(0, 9, 72) + ROWS["g"]
FORMULA = "y ~ x + (1 | g)"
NAMES = [
    "rows", "two words", "Zeilen_äöü", "行", "it's", 'a "b"', "100%", "%s", "a#b", "a&b", "a;b",
    "$HOME", "~", "-f", "[ab]", "a*", "what?", "{x}", "a,b", "a=b", "x.csv", ".hidden", "a.b.c",
    "UPPER", "a+b", "[!z]", "**", "[a-z]",
]  # fmt: skip


@pytest.mark.neighbours
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("suffix", "kind"), [(".parquet", str), (".pq", Path), (".PARQUET", str)])
def test_a_parquet_file_of_any_name_gives_the_rows(
    name: str, suffix: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside it lies one that a pattern in the name would match as well.
    for other in ("a", "b", "aa", "what1", "x"):
        ROWS.assign(y=0).to_parquet(tmp_path / f"{other}{suffix}")
    ROWS.to_parquet(tmp_path / f"{name}{suffix}")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / f"{name}{suffix}", Path(f"{name}{suffix}")):
        found = Moments.for_formula(FORMULA, kind(path))
        assert found.table().equals(Moments.for_formula(FORMULA, ROWS).table())


@pytest.mark.parametrize("name", ["rows", "it's", "a*"])
@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".txt", ".tsv", ".xlsx", "", ".csv.gz"])
@pytest.mark.parametrize("kind", [str, Path])
def test_text_and_workbooks_are_refused_by_name_alone(
    name: str, suffix: str, kind: type, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}{suffix}"
    if path.suffix == ".parquet":
        path = path.with_suffix(".parquet_")
    ROWS.to_csv(path, index=False, compression=None)
    with pytest.raises(InputError, match="only Parquet files are read by their path") as refused:
        fit_mixed(FORMULA, kind(path))
    assert refused.value.file == path.name
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"x,y\n1,2\n", b"\x00" * 200])
@pytest.mark.parametrize("name", ["rows.parquet", "a*.pq", "[ab].parquet"])
def test_what_is_no_parquet_inside_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="the file cannot be read"):
        fit_mixed(FORMULA, tmp_path / name)


@pytest.mark.parametrize("name", ["none.parquet", "a*.parquet", "?.pq", "no/such/folder.parquet"])
def test_a_file_that_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    ROWS.to_parquet(tmp_path / "aa.parquet")
    with pytest.raises(InputError, match="there is no such file"):
        fit_mixed(FORMULA, tmp_path / name)
