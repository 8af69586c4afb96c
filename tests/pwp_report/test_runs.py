from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_report import report, runs
from pwp_report.analysis import Analysis
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.study import Study


@pytest.mark.nightly
def test_second_run_gives_the_same_bytes(
    safe_analysis: Analysis, safe_run: Path, tmp_path: Path
) -> None:
    # In a folder of its own: the shared one is what other tests look at.
    home = shutil.copytree(safe_run.parent, tmp_path / "out", symlinks=True)
    again = report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)
    assert again.name == "run-0002"
    assert _hashes(again) == _hashes(safe_run)
    assert (home / "latest").resolve() == again.resolve()


def test_a_killed_run_leaves_the_old_results(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "out"
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    first = report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)
    before = _hashes(first)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for module, name in ((Path, "write_text"), (runs, "_move"), (runs, "_point")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)
        assert (home / "latest").resolve() == first.resolve()
        assert _hashes(first) == before
    assert not list(home.glob(".run-*"))


def test_pointer_is_a_file_where_links_are_not_allowed(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refused)
    (tmp_path / "run-0007").mkdir()
    runs._point(tmp_path, tmp_path / "run-0007")
    assert (tmp_path / "latest.txt").read_text() == "run-0007\n"


def test_a_folder_that_cannot_be_used_is_one_sentence(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="nothing can be written"):
        report.write_run(safe_analysis, STUDY, DisclosurePolicy(), tmp_path / "file" / "out")


STUDY = Study(title="Report <b>&</b> title")


def _hashes(run: Path) -> dict[str, str]:
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file()
    }


_WRITER = """
import sys
from pathlib import Path
from pwp_report.analysis import analyse
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.study import Study
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import report

cohort = simulate_cohort(Truth.one_measure().with_therapists(8, caseload=25), interviews=False)
analysis = analyse(cohort, draws=100, sensitivity=False)
released = report.release_results(analysis, DisclosurePolicy())
report.release_results = lambda *_: released
report.draw_all = lambda *_: {}
while True:
    report.write_run(analysis, Study(), DisclosurePolicy(), Path(sys.argv[1]))
"""


def _whole(home: Path) -> dict[str, str]:
    """The results that the pointer leads to, after a kill: complete, as every run beside them."""
    pointed = (home / "latest").resolve()
    assert re.fullmatch(r"run-\d{4}", pointed.name)
    found = _hashes(pointed)
    assert {"report.html", "results.json", "methods.txt", "tables/outcomes.csv"} <= set(found)
    assert (
        json.loads((pointed / "results.json").read_text())["schema_version"]
        == report.SCHEMA_VERSION
    )
    assert (pointed / "report.html").read_text().rstrip().endswith("</html>")
    for run in home.glob("run-*"):
        assert _hashes(run) == found
    return found


def test_what_a_killed_run_leaves_goes_when_nobody_can_be_writing_it(tmp_path: Path) -> None:
    home = tmp_path / "out"
    for name in (".run-older.partial", ".run-living.partial", "mine.partial"):
        (home / name).mkdir(parents=True)
    long_ago = time.time() - 90_000
    os.utime(home / ".run-older.partial", (long_ago, long_ago))

    def fill(work: Path) -> None:
        assert work.stat().st_mode & 0o777 == 0o700
        (work / "page").write_text("whole")

    run = runs.publish(home, fill)
    assert run.stat().st_mode & 0o777 == 0o755
    assert (home / "latest" / "page").read_text() == "whole"
    left = {"run-0001", "latest", "mine.partial", ".run-living.partial"}
    assert {p.name for p in home.iterdir()} == left


@pytest.mark.nightly
def test_killed_while_writing_the_results_are_old_or_new(tmp_path: Path) -> None:
    home = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(home)])
    try:
        for _ in range(1_200):
            if len(list(home.glob("run-*"))) >= 3 or child.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(random.Random(home.as_posix()).uniform(0, 0.2))
    finally:
        child.kill()
        child.wait()
    assert len(list(home.glob("run-*"))) >= 3
    _whole(home)


@pytest.mark.nightly
def test_the_command_killed_at_random_moments_leaves_old_or_new(
    hostile: Cohort, tmp_path: Path
) -> None:
    hostile.patients.to_csv(tmp_path / "own.csv", index=False)
    home = tmp_path / "out"
    command = [sys.executable, "-m", "pwp_report", "analyse", str(tmp_path / "own.csv")]
    command += ["--out", str(home), "--key", str(tmp_path / "key")]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    lasted = time.monotonic() - began
    old = _whole(home)
    moments = random.Random(5)
    for part in range(8):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(lasted * (part + moments.random()) / 8)
        child.kill()
        child.wait()
        # A second run gives the same bytes, so that old and new cannot be told apart.
        assert _whole(home) == old
    subprocess.run(command, check=True, capture_output=True)
    assert _whole(home) == old
