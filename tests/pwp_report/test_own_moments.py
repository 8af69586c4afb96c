"""Moments that are shared: scales that differ, and files that differ by few patients."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME
from running import run


def test_moments_on_other_scales_are_not_added(tmp_path: Path, capsys) -> None:
    for name, top in (("a", 27), ("b", 40)):
        big = pd.concat([FRAME] * 3).assign(patient_id=range(3 * len(FRAME)))
        big.assign(therapist_id=name + big["therapist_id"]).to_csv(tmp_path / f"{name}.csv")
        study = f"[measures.mood]\nminimum = 0\nmaximum = {top}\nhigher_is_worse = true\n"
        study += 'pre = "phq9_pre"\npost = "phq9_post"\n'
        (tmp_path / f"{name}.toml").write_text(study)
        out = tmp_path / "out" / f"{name}.parquet"
        out.parent.mkdir(exist_ok=True)
        key = tmp_path / "keys" / name
        data = pd.read_csv(tmp_path / f"{name}.csv").iloc[:, 1:]
        data.to_csv(tmp_path / f"{name}.csv", index=False)
        made = run("summarise", tmp_path / f"{name}.csv", "--out", out, "--key", key, "--study",
                   tmp_path / f"{name}.toml")  # fmt: skip
        assert made == 0, capsys.readouterr().err
    assert run("pool", tmp_path / "out" / "a.parquet", tmp_path / "out" / "b.parquet") == 2
    assert "another scale" in capsys.readouterr().err


@pytest.mark.parametrize(("fewer", "warned"), [(0, False), (3, True)])
def test_moments_that_differ_by_few_patients_are_warned_about(
    fewer: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = pd.concat([FRAME.assign(patient_id=FRAME["patient_id"] + x) for x in "abc"])
    for i, frame in enumerate((people, people.iloc[fewer:])):
        frame.to_csv(tmp_path / "own.csv", index=False)
        out, key = tmp_path / "shared" / f"{i}.parquet", tmp_path / "key"
        out.parent.mkdir(exist_ok=True)
        assert run("summarise", tmp_path / "own.csv", "--out", out, "--key", key) == 0
    assert ("holds the same therapists with a few patients" in capsys.readouterr().err) == warned
