"""The data dictionary that goes with a written cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from pwp_lib.cohort import Cohort

__all__ = ["COLUMNS", "describe_cohort"]

#: What each column holds. Scores of the cohort's own measures are described from the measure.
COLUMNS: dict[str, str] = {
    "patient_id": "Patient; one row each.",
    "therapist_id": "Psychological Wellbeing Practitioner (PWP) who treated the patient.",
    "service_id": "Service in which the therapist works.",
    "sessions": "Sessions attended, the assessment included.",
    "age": "Age in years.",
    "gender": "female or male.",
    "ethnicity": "As recorded by the service; empty where it was not.",
    "status": "closed, or in_treatment when the download was made.",
    "years_experience": "Years in mental health settings before training as a PWP.",
    "ego_strength": "Psychosocial Inventory of Ego Strengths, 64 items: 64 to 320.",
    "rationality": "Rational-Experiential Inventory, rationality, 20 items: 20 to 100.",
    "experientiality": "Rational-Experiential Inventory, experientiality, 20 items: 20 to 100.",
    "resilience": "Connor-Davidson Resilience Scale, 25 items: 0 to 100.",
    "supervisor_rationality": "The supervisor's rating, reworded inventory; may be empty.",
    "supervisor_experientiality": "The supervisor's rating, reworded inventory; may be empty.",
    "participant_id": "Who was interviewed.",
    "role": "pwp or supervisor.",
    "coder": "Who coded the interview: first, or second where it was coded twice.",
    "high_order_theme": "Theme of the interview schedule.",
    "lower_order_theme": "Code given to the segment.",
    "synthetic": "TRUE in every row: no row describes a person.",
}


def describe_cohort(cohort: Cohort) -> str:
    """Describe every table and column of a cohort in Markdown.

    Examples
    --------
    >>> from pwp_lib.cohort import load_cohort
    >>> print(describe_cohort(load_cohort()).splitlines()[0])
    # A synthetic cohort
    """
    lines = [
        "# A synthetic cohort" if cohort.provenance.synthetic else "# A cohort",
        "",
        "**Every row is invented. No row describes a person.**",
        "",
        f"Source: {cohort.provenance.source}.",
    ]
    lines += [cohort.provenance.note] if cohort.provenance.note else []
    lines += [f"Licence: {cohort.provenance.licence}."] if cohort.provenance.licence else []
    for name in ("patients", "therapists", "segments"):
        table: pd.DataFrame | None = getattr(cohort, name)
        if table is not None:
            lines += ["", f"## {name}.csv, {len(table):,} rows", ""]
            lines += ["| column | what it holds |", "|---|---|"]
            columns = [*table.columns, "synthetic"]
            lines += [f"| `{c}` | {_meaning(c, cohort)} |" for c in columns]
    return "\n".join([*lines, "", "`manifest.json` holds the hash of each file.", ""])


def _meaning(column: str, cohort: Cohort) -> str:
    for measure in cohort.measures:
        if column in (measure.pre, measure.post):
            when = "first" if column == measure.pre else "last"
            return f"{measure.label} at the {when} session, {measure.range_text}."
    return COLUMNS.get(column, "")
