"""A synthetic cohort as files: its tables, a data dictionary and a manifest."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.cohort import MANIFEST_VERSION, TABLES, Cohort, file_hash

__all__ = ["COLUMNS", "describe_cohort", "write_cohort"]

_LISTED = pd.read_csv(Path(__file__).with_name("columns.csv"))
#: What each column holds. Scores of the cohort's own measures are described from the measure.
COLUMNS: dict[str, str] = dict(zip(_LISTED["column"], _LISTED["meaning"], strict=True))


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


def write_cohort(
    cohort: Cohort,
    folder: str | os.PathLike[str],
    *,
    made_by: Mapping[str, Any] | None = None,
) -> Path:
    """Write a synthetic cohort as files: three tables, a data dictionary and a manifest.

    Every table carries a last column ``synthetic``. The manifest, with the hash of each file, is
    written last: until then :func:`load_cohort` refuses a half-written folder.

    Parameters
    ----------
    cohort : Cohort
    folder : path
        Made if it does not exist; files of a former cohort are replaced.
    made_by : mapping, optional
        What made it (a seed, a version), kept in the manifest; must be JSON.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the cohort is not marked as synthetic: real patients' rows are not written.
    """
    if not cohort.provenance.synthetic:
        raise InputError(
            "only a synthetic cohort is written as files", hint="keep patients' rows where they are"
        )
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    tables = {n: t for n in TABLES if (t := getattr(cohort, n)) is not None}
    hashes = {}
    for name, table in tables.items():
        text = table.assign(synthetic="TRUE").to_csv(index=False, lineterminator="\n")
        path = _replace_text(home / f"{name}.csv", text)
        hashes[path.name] = {"sha256": file_hash(path), "rows": len(table)}
    _replace_text(home / "README.md", describe_cohort(cohort))
    manifest = {
        "schema_version": MANIFEST_VERSION,
        "synthetic": True,
        "provenance": asdict(cohort.provenance),
        "measures": [asdict(m) for m in cohort.measures],
        "flow": [asdict(s) for s in cohort.flow],
        "made_by": dict(made_by or {}),
        "files": hashes,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    _replace_text(home / "manifest.json", text)
    return home


def _replace_text(path: Path, text: str) -> Path:
    """Write a file beside its place and move it there, so that no half-written one is seen."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
        draft = Path(beside, path.name)
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.chmod(0o644)
        return draft.replace(path)
