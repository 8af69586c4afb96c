"""Moments as a Parquet file: one row a group, and a record of what the columns are."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    columns |= {f"sum({' * '.join(key)})": pa.array(record.sums[key]) for key in keys}
    facts = {f.name: getattr(record, f.name) for f in fields(record) if f.name not in _IN_TABLE}
    # Earlier versions stored splines as blocks of columns.
    facts |= {"keys": keys, "blocks": {}, "schema_version": SCHEMA_VERSION}
    text = json.dumps(facts, default=dict, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({_KEY: text.encode()})
    target = Path(path)
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
        with suppress(pa.ArrowException, OverflowError, TypeError):
            return pa.array(labels, kind)
    return pa.array(map(str, labels))


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the attributes of moments back, from a file of this version or of the first.

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
        if facts.pop("schema_version", None) not in (1, SCHEMA_VERSION):
            raise InputError(
                "the file has a schema version that is not known here",
                file=path,
                hint="use the version of the package that wrote it",
            )
        return _checked(facts, table, path)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError("the file is damaged: its record is not complete", file=path) from None


def _checked(facts: dict[str, Any], table: pa.Table, path: str | Path) -> dict[str, Any]:
    """Attributes from a file's record and table; refuses what cannot be moments."""
    keys = [tuple(key) for key in facts.pop("keys")]
    facts.setdefault("unit_name", "")
    if facts.pop("blocks"):
        raise InputError(
            "the file holds splines, which are not offered any more",
            file=path,
            hint="make their columns first, and the moments anew",
        )
    if set(facts) != {f.name for f in fields(Record)} - set(_IN_TABLE):
        raise InputError("the file is damaged: its record is not complete", file=path)
    counted, above = (name in table.column_names for name in ("smallest_cell", "unit"))
    before = 2 + counted + above
    if table.num_columns != len(keys) + before:
        raise InputError("the file is damaged: columns are missing", file=path)
    n = table.column(1).to_numpy().astype(np.int64)
    sums: dict[Monomial, Totals] = {(): n}
    for i, key in enumerate(keys):
        values = table.column(i + before).to_numpy()
        if not np.isfinite(values).all() or (
            len(key) == 2 and key[0] == key[1] and (values < 0).any()
        ):
            raise InputError("the file is damaged: sums are impossible", file=path)
        sums[key] = values
    groups = np.fromiter(map(plain_label, table.column(0).to_pylist()), dtype=object)
    if (n < 0).any() or len(set(groups.tolist())) < len(groups):
        raise InputError("the file is damaged: a group is there twice", file=path)
    facts["monomials"] = tuple(tuple(key) for key in facts["monomials"])
    facts["complete"] = tuple(facts["complete"])
    facts["levels"] = {k: tuple(v) for k, v in facts["levels"].items()}
    cells = table.column(2).to_numpy().astype(np.int64) if counted else None
    units = None
    if above:
        units = dict(zip(groups, map(plain_label, table["unit"].to_pylist()), strict=True))
    found = {"groups": groups, "n": n, "smallest_cell": cells, "sums": sums, "units": units}
    return facts | found
