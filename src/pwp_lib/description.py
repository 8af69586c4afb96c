"""The sample described: patients, therapists, caseloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.schema import as_numbers, need_columns, once_each, same_labels

__all__ = ["SampleDescription", "describe_sample"]

_PATIENT_NUMBERS = ("age", "sessions")
_PATIENT_CATEGORIES = ("gender", "ethnicity", "status", "service_id")
_THERAPIST_NUMBERS = (
    *("age", "years_experience", "ego_strength", "rationality", "experientiality", "resilience"),
    *("supervisor_rationality", "supervisor_experientiality"),
)
_THERAPIST_CATEGORIES = ("gender", "service_id")

#: What a missing entry of a category is called in tables.
NOT_AVAILABLE = "not available"
#: What pandas calls a statistic, and what our tables do.
_STATISTICS = {
    "count": "n",
    "mean": "mean",
    "std": "sd",
    "min": "minimum",
    "median": "median",
    "max": "maximum",
}


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Describe the numeric columns that are there: how many, how high, how spread."""
    present = [name for name in columns if name in frame and frame[name].notna().any()]
    numbers = as_numbers(frame, present)
    found = numbers.agg([*_STATISTICS]).T if present else pd.DataFrame(columns=[*_STATISTICS])
    found.insert(1, "missing", len(frame) - found["count"])
    return found.astype(float).rename(columns=_STATISTICS).rename_axis("variable")


def _categories(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Count the categories that are there, with percentages, missing entries last."""
    parts = {}
    for name in (c for c in columns if c in frame and frame[c].notna().any()):
        need_columns(frame, name)
        counts = frame[name].replace("", None).value_counts()
        if missing := len(frame) - int(counts.sum()):
            counts[NOT_AVAILABLE] = missing
        parts[name] = pd.DataFrame({"n": counts, "percent": 100 * counts / len(frame)})
    if not parts:
        index = pd.MultiIndex.from_arrays([[], []], names=["variable", "category"])
        return pd.DataFrame({"n": [], "percent": []}, index=index)
    return pd.concat(parts, names=["variable", "category"])


def _caseloads(patients: pd.DataFrame) -> pd.DataFrame:
    """Count each therapist's patients, with the means of what is recorded of them."""
    groups = patients.groupby(patients["therapist_id"])
    present = [name for name in _PATIENT_NUMBERS if name in patients]
    means = as_numbers(patients, present).groupby(patients["therapist_id"]).mean()
    return means.assign(patients=groups.size())[["patients", *present]]


@dataclass(frozen=True)
class SampleDescription:
    """Who the patients and therapists are.

    The therapists' tables are empty when nothing is known of the therapists.

    Attributes
    ----------
    patients, therapists : DataFrame
        By variable: ``n``, ``missing``, ``mean``, ``sd`` (n - 1), ``minimum``, ``median``,
        ``maximum``.
    patient_categories, therapist_categories : DataFrame
        By variable and category, the most frequent first and ``"not available"`` last: ``n`` and
        ``percent`` of all rows.
    caseloads : DataFrame
        By therapist: ``patients``, and the means ``age`` and ``sessions`` where recorded.
    caseload_numbers : DataFrame
        The caseloads described over therapists, as `patients` are.
    """

    patients: pd.DataFrame
    patient_categories: pd.DataFrame
    therapists: pd.DataFrame
    therapist_categories: pd.DataFrame
    caseloads: pd.DataFrame
    caseload_numbers: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """All numeric descriptions under one another, indexed by whose and which variable."""
        parts = {
            "patients": self.patients,
            "therapists": self.therapists,
            "caseloads": self.caseload_numbers,
        }
        return pd.concat({k: v for k, v in parts.items() if len(v)}, names=["of whom", "variable"])


def describe_sample(
    patients: pd.DataFrame, therapists: pd.DataFrame | None = None
) -> SampleDescription:
    """Describe patients, therapists and caseloads, whatever columns there are.

    Parameters
    ----------
    patients : DataFrame
        With ``therapist_id``.
    therapists : DataFrame, optional
        Only those who have a patient are described.
    """
    need_columns(patients, "therapist_id")
    if patients.empty:
        raise InputError("there are no patients to describe")
    staff = pd.DataFrame({"therapist_id": []}) if therapists is None else therapists
    once_each(staff)
    same_labels(patients["therapist_id"], staff["therapist_id"])
    staff = staff[staff["therapist_id"].isin(patients["therapist_id"])]
    caseloads = _caseloads(patients)
    return SampleDescription(
        patients=_numbers(patients, _PATIENT_NUMBERS),
        patient_categories=_categories(patients, _PATIENT_CATEGORIES),
        therapists=_numbers(staff, _THERAPIST_NUMBERS),
        therapist_categories=_categories(staff, _THERAPIST_CATEGORIES),
        caseloads=caseloads,
        caseload_numbers=_numbers(caseloads, [*map(str, caseloads)]),
    )
