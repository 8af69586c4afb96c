"""Moments as a Parquet file: one row a group, and a record of what the columns are."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from multilevel.arguments import fits
from multilevel.columns import Monomial
from multilevel.errors import InputError
from multilevel.record import Record, Totals, plain_label

#: Version of what a file holds. A reader refuses versions that it does not know.
SCHEMA_VERSION = 2
_KEY = b"pwp_moments"
_IN_TABLE = ("groups", "n", "smallest_cell", "sums", "units")
#: What the first version called things.
_FIRST_NAMES = {
    "withheld_therapists": "withheld_groups",
    "withheld_patients": "withheld_rows",
    "minimum_caseload": "minimum_rows",
}


def write_record(path: str | Path, record: Record) -> None:
    """Write moments.

    The file appears whole or not at all: it is written under another name, then renamed.
    """
    keys = [key for key in record.sums if key]
    columns = {"group": _stored_labels(record.groups.tolist()), "n": pa.array(record.n)}
    if record.smallest_cell is not None:
        columns["smallest_cell"] = pa.array(record.smallest_cell)
    if record.units is not None:
        columns["unit"] = _stored_labels([record.units[group] for group in record.groups])
    columns |= {_column_name(key): pa.array(record.sums[key]) for key in keys}
    facts = {name: fact for name, fact in vars(record).items() if name not in _IN_TABLE}
    # Earlier versions stored splines as blocks of columns.
    facts |= {"keys": keys, "blocks": {}, "schema_version": SCHEMA_VERSION}
    text = json.dumps(facts, default=dict, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({_KEY: text.encode()})
    target = Path(path)
    if target.is_dir():
        raise InputError("this is a folder", file=target, hint="give the name of a file in it")
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        pq.write_table(table, draft)
        os.replace(draft, target)
    except OSError as error:
        raise InputError(
            f"the file cannot be written ({error.strerror})", file=target, hint="check its folder"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _stored_labels(labels: list[Any]) -> Any:
    """Labels as a column; those that Parquet has no type for, such as intervals, as text."""
    for kind in (None, pa.uint64()):
        with suppress(pa.ArrowException, OverflowError, TypeError, ValueError):
            stored = pa.array(labels, kind)
            if stored.to_pylist() == labels:
                return stored
    return pa.array(map(str, labels))


def read_record(path: str | Path) -> Record:
    """Read moments back, from a file of this version or of the first.

    Raises
    ------
    InputError
        When the file is missing, is no moments file, has another schema version or is damaged.
    """
    if not Path(path).exists():
        raise InputError("there is no such file", file=path, hint="check its folder and name")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        raise InputError("this is no Parquet file", file=path) from None
    text = (table.schema.metadata or {}).get(_KEY)
    if text is None:
        raise InputError("this file holds no moments", file=path, hint="make it with Moments.write")
    try:
        facts = {_FIRST_NAMES.get(k, k): v for k, v in json.loads(text).items()}
        version, splines = facts.pop("schema_version"), facts.pop("blocks")
        if version in (1, SCHEMA_VERSION) and not splines:
            return _record(facts, table)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            "the file is damaged: its record and its columns are not those of moments", file=path
        ) from None
    why = "the file holds what only another version of the package reads"
    raise InputError(why, file=path, hint="use the version that wrote it, or make the moments anew")


def _record(facts: dict[str, Any], table: pa.Table) -> Record:
    """Put a file's record and table together; what cannot be moments raises some error."""
    # The first version called the groups something else.
    table = table.rename_columns(["group", *table.column_names[1:]])
    keys = [tuple(key) for key in facts.pop("keys")]
    if len(keys) != sum(name.startswith("sum(") for name in table.column_names):
        raise ValueError("columns are missing")
    facts.setdefault("unit_name", "")  # the first version knew no units
    kinds = get_type_hints(Record)
    if facts.keys() != kinds.keys() - {*_IN_TABLE}:
        raise ValueError("the record is not complete")
    n = table["n"].to_numpy().astype(np.int64)
    sums: dict[Monomial, Totals] = {key: table[_column_name(key)].to_numpy() for key in keys}
    groups = _labels(table["group"])
    for key, values in {(): n, **sums}.items():
        is_square = key[::2] == key[1::2]
        if not np.isfinite(values).all() or (is_square and (values < 0).any()):
            raise ValueError("sums are impossible")
    has = table.column_names
    cells = table["smallest_cell"].to_numpy().astype(np.int64) if "smallest_cell" in has else None
    units = dict(zip(groups, _labels(table["unit"]), strict=True)) if "unit" in has else None
    facts["monomials"] = tuple(map(tuple, facts["monomials"]))
    facts["complete"] = tuple(facts["complete"])
    facts["levels"] = {name: tuple(levels) for name, levels in facts["levels"].items()}
    known = all(fits(value, kinds[name]) for name, value in facts.items())
    if not known or len(set(groups)) < len(groups) or not all(facts["levels"].values()):
        raise ValueError("a fact is of another kind, a group there twice, or a category empty")
    if max(map(abs, facts["pivots"].values()), default=0) > 1e100:
        raise ValueError("pivots are impossible")
    labels = np.fromiter(groups, dtype=object)
    return Record(labels, n, {(): n, **sums}, smallest_cell=cells, units=units, **facts)


def _labels(column: pa.ChunkedArray) -> list[Any]:
    return [plain_label(label) for label in column.to_pylist()]


def _column_name(key: Monomial) -> str:
    return f"sum({' * '.join(key)})"
