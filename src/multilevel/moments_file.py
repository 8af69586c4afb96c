"""Moments as a Parquet file: one row a therapist, and a record of what the columns are."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multilevel.accumulate import Totals
from multilevel.errors import InputError
from multilevel.polynomial import Monomial

__all__ = ["SCHEMA_VERSION", "read_fields", "write_fields"]

#: Version of what a file holds. A reader refuses versions that it does not know.
SCHEMA_VERSION = 1
_KEY = b"pwp_moments"


def write_fields(path: str | Path, fields: Mapping[str, Any]) -> None:
    """Write the attributes of moments.

    The file appears whole or not at all: it is written under another name, then renamed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sums: Mapping[Monomial, Totals] = fields["sums"]
    columns = {"therapist": pa.array(fields["groups"].tolist()), "n": pa.array(fields["n"])}
    columns |= {_column_name(key): pa.array(values) for key, values in sums.items() if key}
    record = {k: v for k, v in fields.items() if k not in ("groups", "n", "sums")}
    record["keys"] = [key for key in sums if key]
    record["schema_version"] = SCHEMA_VERSION
    text = json.dumps(record, default=dict, sort_keys=True)
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


def read_fields(path: str | Path, names: Collection[str]) -> dict[str, Any]:
    """Read the attributes of moments back.

    Parameters
    ----------
    path : str or Path
    names : collection of str
        Attributes that the file must hold, no more and no less.

    Raises
    ------
    InputError
        When the file is missing, is no moments file, has another schema version or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).exists():
        raise InputError("there is no such file", file=path, hint="check its folder and name")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        raise InputError("this is no Parquet file", file=path) from None
    text = (table.schema.metadata or {}).get(_KEY)
    if text is None:
        raise InputError("this file holds no moments", file=path, hint="make it with Moments.write")
    record = json.loads(text)
    if record.pop("schema_version", None) != SCHEMA_VERSION:
        raise InputError(
            "the file has a schema version that is not known here",
            file=path,
            hint="use the version of pwp_lib that wrote it",
        )
    if {*record, "groups", "n", "sums"} != {*names, "keys"}:
        raise InputError("the file is damaged: its record is not complete", file=path)
    return _checked(record, table, path)


def _checked(record: dict[str, Any], table: Any, path: str | Path) -> dict[str, Any]:
    """Attributes from a file's record and table; refuses what cannot be moments."""
    keys = [tuple(key) for key in record.pop("keys")]
    if table.num_columns != len(keys) + 2:
        raise InputError("the file is damaged: columns are missing", file=path)
    n = table.column(1).to_numpy().astype(np.int64)
    sums: dict[Monomial, Totals] = {(): n}
    for i, key in enumerate(keys):
        values = table.column(i + 2).to_numpy()
        if not np.isfinite(values).all() or (
            len(key) == 2 and key[0] == key[1] and (values < 0).any()
        ):
            raise InputError("the file is damaged: sums are impossible", file=path)
        sums[key] = values
    groups = np.empty(len(n), dtype=object)
    groups[:] = table.column(0).to_pylist()
    if (n < 0).any() or len(set(groups.tolist())) < len(groups):
        raise InputError("the file is damaged: a therapist is there twice", file=path)
    record["monomials"] = tuple(tuple(key) for key in record["monomials"])
    record["complete"] = tuple(record["complete"])
    for name in ("levels", "blocks"):
        record[name] = {k: tuple(v) for k, v in record[name].items()}
    return {**record, "groups": groups, "n": n, "sums": sums}


def _column_name(key: Monomial) -> str:
    return f"sum({' * '.join(key)})"
