"""A good file of patients, one of their sessions, and what the check makes of a changed one."""

from __future__ import annotations

from pathlib import Path

import bad_files
import pandas as pd

from pwp_report.check import Check, check_study_data
from pwp_report.every_score import completeness

FRAME = bad_files.good_frame()
SESSIONS = bad_files.session_frame().drop(columns="note")


def checked(folder: Path, frame: pd.DataFrame, study: str = "") -> Check:
    """Write a table and a study file, and check them."""
    frame.to_csv(folder / "own.csv", index=False)
    (folder / "study.toml").write_text(study, encoding="utf-8")
    return check_study_data(folder / "own.csv", folder / "study.toml")


def completeness_of(check: Check) -> pd.DataFrame:
    """Count by therapist who could be analysed, and who of them has every score."""
    assert check.cohort is not None
    assert check.cohort.eligible is not None
    return completeness(check.cohort.eligible, check.cohort.patients, check.cohort.measures)


def patients_of(check: Check) -> pd.DataFrame:
    """Give the patients that are left, where nothing has to be corrected."""
    assert check.cohort is not None, [p.problem for p in check.problems]
    return check.cohort.patients
