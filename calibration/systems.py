"""How six kinds of record systems export: columns, codes, dates, encodings. None is copied."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SYSTEMS", "System"]

Words = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class System:
    """How one kind of record system exports; see ``systems.toml``."""

    title: str
    file: str
    columns: dict[str, str]
    scores: dict[str, str]
    date_format: str
    missing: tuple[str, ...]
    codes: Words
    other: Words
    ethnicity: Words
    patient: str
    therapist: str
    separator: str = ","
    encoding: str = "utf-8"
    repeated: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, at any depth."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _read() -> dict[str, System]:
    path = Path(__file__).with_name("systems.toml")
    given = _tuples(tomllib.loads(path.read_text(encoding="utf-8")))
    words = given["ethnicity"]
    return {
        name: System(**{**system, "ethnicity": words[system["ethnicity"]]})
        for name, system in given["system"].items()
    }


#: What each service exports, by service.
SYSTEMS: Mapping[str, System] = _read()
