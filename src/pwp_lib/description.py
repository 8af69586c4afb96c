"""The sample described: patients, therapists, caseloads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from multilevel.errors import InputError

__all__ = [
    "SampleDescription",
    "describe_caseloads",
    "describe_categories",
    "describe_numbers",
    "describe_sample",
]

_PATIENT_NUMBERS = ("age", "sessions")
_PATIENT_CATEGORIES = ("gender", "ethnicity", "status", "service_id")
_THERAPIST_NUMBERS = (
    "age",
    "years_experience",
    "ego_strength",
    "rationality",
    "experientiality",
    "resilience",
    "supervisor_rationality",
    "supervisor_experientiality",
)
_THERAPIST_CATEGORIES = ("gender", "service_id")

#: What a missing entry of a category is called in tables.
NOT_AVAILABLE = "not available"


def describe_numbers(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Describe numeric columns: how many, how high, how spread.

    Returns
    -------
    DataFrame
        Indexed by column: ``n``, ``missing``, ``mean``, ``sd`` (n - 1), ``minimum``, ``median``,
        ``maximum``.

    Raises
    ------
    InputError
        If a column is missing.

    Examples
    --------
    >>> describe_numbers(pd.DataFrame({"age": [20, 30, None]}), ["age"]).loc["age"].tolist()
    [2.0, 1.0, 25.0, 7.0710678118654755, 20.0, 25.0, 30.0]
    """
    rows = {}
    for name in columns:
        if name not in frame:
            raise InputError("the table has no such column", column=name)
        values = pd.to_numeric(frame[name]).dropna().to_numpy(dtype=float)
        many = len(values) > 0
        rows[name] = {
            "n": len(values),
            "missing": len(frame) - len(values),
            "mean": values.mean() if many else np.nan,
            "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
            "minimum": values.min() if many else np.nan,
            "median": np.median(values) if many else np.nan,
            "maximum": values.max() if many else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variable")


def describe_categories(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Describe columns of categories: how many and what share, missing entries included.

    Returns
    -------
    DataFrame
        Indexed by column and category, the most frequent first and ``"not available"`` last:
        ``n`` and ``percent`` of all rows.

    Examples
    --------
    >>> patients = pd.DataFrame({"gender": ["female", "male", None, "female"]})
    >>> describe_categories(patients, ["gender"])
                            n  percent
    variable category
    gender   female         2     50.0
             male           1     25.0
             not available  1     25.0
    """
    parts = {}
    for name in columns:
        if name not in frame:
            raise InputError("the table has no such column", column=name)
        labels = frame[name].astype(object).where(frame[name].notna() & (frame[name] != ""))
        counts = labels.value_counts()
        if labels.isna().any():
            counts[NOT_AVAILABLE] = int(labels.isna().sum())
        parts[name] = pd.DataFrame({"n": counts, "percent": 100 * counts / max(len(frame), 1)})
    if not parts:
        index = pd.MultiIndex.from_arrays([[], []], names=["variable", "category"])
        return pd.DataFrame({"n": [], "percent": []}, index=index)
    return pd.concat(parts, names=["variable", "category"])


def describe_caseloads(patients: pd.DataFrame) -> pd.DataFrame:
    """Describe each therapist's patients.

    Returns
    -------
    DataFrame
        Indexed by therapist: ``patients``, and the means ``age`` and ``sessions`` where recorded.

    Examples
    --------
    >>> patients = pd.DataFrame({"therapist_id": ["a", "a", "b"], "age": [30, 40, 50]})
    >>> describe_caseloads(patients).loc["a"].tolist()
    [2.0, 35.0]
    """
    groups = patients.groupby("therapist_id", sort=True)
    table = pd.DataFrame({"patients": groups.size()})
    for name in _PATIENT_NUMBERS:
        if name in patients:
            table[name] = groups[name].mean().astype(float)
    return table


@dataclass(frozen=True)
class SampleDescription:
    """Who the patients and therapists are.

    The therapists' tables are empty when nothing is known of the therapists.

    Attributes
    ----------
    patients, therapists : DataFrame
        `describe_numbers` of the columns that are there.
    patient_categories, therapist_categories : DataFrame
        `describe_categories` of the columns that are there.
    caseloads : DataFrame
        `describe_caseloads`.
    caseload_numbers : DataFrame
        `describe_numbers` of the caseloads, over therapists.
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

    def present(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
        return [n for n in names if n in frame and frame[n].notna().any()]

    staff = pd.DataFrame({"therapist_id": []}) if therapists is None else therapists
    staff = staff[staff["therapist_id"].isin(patients["therapist_id"])]
    caseloads = describe_caseloads(patients)
    return SampleDescription(
        patients=describe_numbers(patients, present(patients, _PATIENT_NUMBERS)),
        patient_categories=describe_categories(patients, present(patients, _PATIENT_CATEGORIES)),
        therapists=describe_numbers(staff, present(staff, _THERAPIST_NUMBERS)),
        therapist_categories=describe_categories(staff, present(staff, _THERAPIST_CATEGORIES)),
        caseloads=caseloads,
        caseload_numbers=describe_numbers(caseloads, map(str, caseloads.columns)),
    )
