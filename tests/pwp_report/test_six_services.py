"""From a stranger's file to its patients and its report, with no more than one edit of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from running import run
from six_services import SERVICES, Service

from pwp_report.check import check_study_data

MAKERS = pytest.mark.parametrize("make", SERVICES, ids=lambda make: make.__name__)


def _study(service: Service, folder: Path) -> Path:
    """Let the command write a study file, and make the one edit of it."""
    study = folder / "study.toml"
    run("check", service.file, "--write-study", study)
    text = study.read_text(encoding="utf-8")
    if service.edit is not None:
        assert text.count(service.edit[0]) == 1
        text = text.replace(*service.edit)
    study.write_text(text, encoding="utf-8")
    return study


@MAKERS
def test_the_patients_are_those_worked_out_by_hand(
    make: Callable[[Path], Service], tmp_path: Path
) -> None:
    service = make(tmp_path)
    check = check_study_data(service.file, _study(service, tmp_path))
    assert check.cohort is not None, [(p.column, p.problem) for p in check.problems]
    expected = service.expected.sort_values("patient_id", ignore_index=True)
    found = check.cohort.patients[list(expected)].sort_values("patient_id", ignore_index=True)
    scores = dict.fromkeys(list(expected)[2:], "float64")
    pd.testing.assert_frame_equal(found.astype(scores), expected.astype({"therapist_id": "str"}))


@pytest.mark.nightly
@MAKERS
def test_the_report_counts_and_averages_as_pandas_does(
    make: Callable[[Path], Service], tmp_path: Path
) -> None:
    service = make(tmp_path)
    study, out = _study(service, tmp_path), tmp_path / "out"
    options = ("--study", study, "--out", out, "--no-disclosure-control")
    assert run("analyse", service.file, *options) == 0
    shown = pd.read_csv(out / "run-0001" / "tables" / "outcomes.csv")
    ends = [c for c in service.expected if c.endswith("_pre")]
    assert len(shown) == len(ends)
    for (_, row), pre in zip(shown.iterrows(), ends, strict=True):
        scores = service.expected[[pre, pre.replace("_pre", "_post")]]
        assert row["n"] == len(scores)
        means = [row["mean_pre"], row["mean_post"]]
        assert means == pytest.approx(scores.mean().tolist(), abs=0.01)
