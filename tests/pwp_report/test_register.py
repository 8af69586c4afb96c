"""Two reports of nearly the same patients: refused, unless said to be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import run

from pwp_lib.cohort import load_cohort
from pwp_report.check import check_study_data
from pwp_report.register import keep, mark_of, near
from pwp_report.runs import publish

KEY = bytes(range(32))
PEOPLE = load_cohort().patients


@pytest.fixture(autouse=True)
def _nothing_analysed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is refused or warned about does not hang on what is found."""

    def written(analysis, study, policy, out, *_: object) -> Path:
        return publish(out, lambda work: (work / "report.html").write_text("a report"))

    monkeypatch.setattr("pwp_report.analysis.analyse", lambda *_, **__: None)
    monkeypatch.setattr("pwp_report.report.write_run", written)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("APPDATA", raising=False)


def _report(folder: Path, people: pd.DataFrame, out: str = "out", *more: str) -> int:
    people.to_csv(folder / "own.csv", index=False)
    return run("analyse", folder / "own.csv", "--out", folder / out, *more)


def _one_score_changed(people: pd.DataFrame, n: int) -> pd.DataFrame:
    last = people["phq9_post"].copy()
    last.iloc[:n] = 27 - last.iloc[:n]
    return people.assign(phq9_post=last)


@pytest.mark.parametrize(
    ("change", "refused", "warned"),
    [
        (lambda p: p, False, False),
        (lambda p: p.sample(frac=1, random_state=1), False, False),
        (lambda p: p.iloc[1:], True, False),
        (lambda p: p.iloc[4:], True, False),
        (lambda p: p.iloc[5:], False, True),
        (lambda p: p.iloc[19:], False, True),
        (lambda p: p.iloc[20:], False, False),
        (lambda p: _one_score_changed(p, 1), True, False),
        (lambda p: _one_score_changed(p, 300), False, False),
        (lambda p: p.assign(patient_id="x" + p["patient_id"].astype(str)), False, False),
    ],
)
@pytest.mark.parametrize("out", ["out", "elsewhere"])
def test_a_run_that_differs_by_fewer_than_five_patients_is_refused(
    change, refused: bool, warned: bool, out: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    capsys.readouterr()
    assert (_report(tmp_path, change(PEOPLE), out) == 2) == refused
    said = capsys.readouterr().err
    assert ("run out/run-0001 was of the same patients but for fewer than 5" in said) == refused
    assert ("differ by few patients" in said) == warned
    assert (tmp_path / out / ("run-0001" if out != "out" else "run-0002")).is_dir() != refused


def test_it_is_made_all_the_same_when_said_to_be_meant(tmp_path: Path, capsys) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    assert _report(tmp_path, PEOPLE.iloc[2:], "out", "--despite-earlier-run") == 0
    assert "differ by few patients" in capsys.readouterr().err
    # What was meant once is a run like another.
    assert _report(tmp_path, PEOPLE.iloc[2:]) == 0
    assert _report(tmp_path, PEOPLE.iloc[1:]) == 2


def test_without_control_nothing_is_kept_and_nothing_refused(tmp_path: Path) -> None:
    for people in (PEOPLE, PEOPLE.iloc[1:]):
        assert _report(tmp_path, people, "out", "--no-disclosure-control") == 0
    assert not list((tmp_path / "settings").rglob("*.runs"))


def test_the_register_names_nobody_and_lies_outside_the_results(tmp_path: Path) -> None:
    assert _report(tmp_path, PEOPLE) == 0
    (register,) = (tmp_path / "settings").rglob("*.runs")
    text = register.read_text(encoding="utf-8")
    assert not any(str(p) in text for p in PEOPLE["therapist_id"].unique())
    for file in (tmp_path / "out").rglob("*.*"):
        assert "runs" not in file.suffix


@pytest.mark.parametrize("size", [30, 200, 1_000, 20_000])
@pytest.mark.parametrize("apart", [1, 4, 12])
def test_digests_tell_who_is_near(size: int, apart: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(size + apart)
    people = pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(size + apart)],
            "therapist_id": [f"T{i % 7}" for i in range(size + apart)],
            "phq9_pre": rng.integers(10, 27, size + apart),
            "phq9_post": rng.integers(0, 27, size + apart),
        }
    )
    people.to_csv(tmp_path / "all.csv", index=False)
    whole = check_study_data(tmp_path / "all.csv").cohort
    people.iloc[apart:].to_csv(tmp_path / "less.csv", index=False)
    less = check_study_data(tmp_path / "less.csv").cohort
    people.assign(patient_id="Q" + people["patient_id"]).to_csv(tmp_path / "b.csv", index=False)
    others = check_study_data(tmp_path / "b.csv").cohort
    assert whole is not None
    assert less is not None
    assert others is not None
    key, register = tmp_path / "a.key", tmp_path / "a.runs"
    assert near(key, mark_of(whole, KEY), 5) == ""
    keep(key, "first", mark_of(whole, KEY))
    assert near(key, mark_of(whole, KEY), 5) == ""
    assert near(key, mark_of(less, KEY), 5) == ("first" if apart < 5 else "")
    assert near(key, mark_of(less, KEY), 20) == "first"
    assert near(key, mark_of(others, KEY), 20) == ""
    # A line that was cut does not hide the others, nor what comes after it.
    register.write_text(register.read_text()[:-9])
    assert near(key, mark_of(less, KEY), 20) == ""
    keep(key, "second", mark_of(whole, KEY))
    assert near(key, mark_of(less, KEY), 20) == "second"
