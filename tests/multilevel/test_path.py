"""The way from a frame to a fit is one that a reader can follow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moment_cases import PAPER, make_patients

import multilevel
from multilevel.fit import fit_mixed

#: Calls of a fit from a frame, and from moments: 389 and 215 when this was written, on Python 3.11.
MOST_FROM_FRAME, MOST_FROM_MOMENTS = 410, 225
HOME = Path(multilevel.__file__).parent


def moves_of(formula: str, data: Any) -> Counter[tuple[str, str]]:
    """Calls from one file of the engine into another during a fit, compiled functions included."""
    moves: Counter[tuple[str, str]] = Counter()
    inside = ["the reader"]
    calls: list[bool] = []

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            file = Path(frame.f_code.co_filename)
            # Interpreted or compiled: the choice is no station on the way.
            calls.append(file.parent == HOME and file.stem != "tiers")
            if calls[-1]:
                if file.stem != inside[-1]:
                    moves[inside[-1], file.stem] += 1
                inside.append(file.stem)
        elif event == "return" and calls and calls.pop():
            inside.pop()

    sys.setprofile(watch)
    try:
        fit_mixed(formula, data)
    finally:
        sys.setprofile(None)
    return moves


@pytest.mark.parametrize("formula", [PAPER, PAPER.replace("1 + center(phq9_pre) |", "1 |")])
def test_a_fit_goes_through_seven_files_and_enters_each_once(
    formula: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multilevel.tiers.PATIENCE", -1.0)
    patients = make_patients()
    patients["phq9_post"] += patients["therapist_id"].str[1:].astype(int)
    fit = fit_mixed(formula, patients)  # what formulas need is remembered
    assert fit.converged
    assert not fit.singular
    moves = moves_of(formula, patients)
    entered = Counter(file for _, file in moves.elements())
    assert entered.keys() == {
        "fit",
        "sources",
        "memory",
        "derive",
        "identify",
        "design",
        "search",
    }
    assert max(entered.values()) == 1


def calls_of(work: Callable[[], Any]) -> int:
    """Calls that the lines of the engine make, of Python and of compiled packages."""
    count = 0

    def watch(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        caller = frame.f_back if event == "call" else frame if event == "c_call" else None
        count += caller is not None and Path(caller.f_code.co_filename).parent == HOME

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_small_fit_makes_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a millisecond nearly all goes to calls, whose number no busy machine changes.

    In one week three changes, none of them slow by itself, made a small fit slower by a third (466
    calls, and 249). A check that needs many belongs where the design is standardised, compiled,
    or behind a question that is quickly answered.
    """
    monkeypatch.setattr("multilevel.tiers.PATIENCE", -1.0)
    patients = make_patients()
    moments = multilevel.Moments.for_formula(PAPER, patients)
    for data, most in ((patients, MOST_FROM_FRAME), (moments, MOST_FROM_MOMENTS)):
        fit_mixed(PAPER, data)  # what formulas need is remembered
        assert calls_of(lambda data=data: fit_mixed(PAPER, data)) <= most


COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import multilevel.memory
import multilevel.search
import multilevel.tiers
assert multilevel.memory.__file__.startswith(sys.argv[1])
multilevel.tiers.PATIENCE = -1.0
columns, codes = {"x": np.ones(2)}, np.zeros(2, dtype=np.int64)
print(multilevel.memory.grouped_sums(codes, 1, columns, ((), ("x",)))[("x",)].sum())
"""


@pytest.mark.nightly
def test_an_installation_that_cannot_be_written_to_works(tmp_path: Path) -> None:
    """Where a file stands in a folder's place, not even root can write."""
    shutil.copytree(HOME, tmp_path / "multilevel", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("multilevel/__pycache__", "home"):
        (tmp_path / name).write_text("")
    home = str(tmp_path / "home")
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE, str(tmp_path)],
        env={**os.environ, "HOME": home, "XDG_CACHE_HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "2.0", ran.stderr
