"""Keyed pseudonyms for therapists and services: the same key gives the same names."""

import base64
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pandas.util import hash_pandas_object

from pwp_lib.cohort import Cohort
from pwp_report.wording import refusal

_KEY_BYTES = 32
_TABLES = ("patients", "therapists", "segments", "eligible")
_IDENTIFIERS = ("therapist_id", "service_id")


def open_key(path: str | Path, *, outside: str | Path | None = None) -> bytes:
    """Read the key, or make one on first use.

    Parameters
    ----------
    path : str or Path
        The key file. Made if it does not exist, readable by its owner alone.
    outside : str or Path, optional
        A folder in which the key must not lie: the results', since whoever has both can undo the
        pseudonyms of any list of names.

    Raises
    ------
    InputError
        If the key lies in that folder, cannot be written, or is no key.
    """
    place = Path(path).expanduser()
    if outside is not None and place.resolve().is_relative_to(Path(outside).expanduser().resolve()):
        raise refusal("key_inside_results", file=place)
    try:
        if not place.exists():
            _write_key(place)
        key = bytes.fromhex(place.read_text(encoding="ascii").strip())
    except (UnicodeDecodeError, ValueError):
        key = b""
    except OSError as error:
        raise refusal("key_unreadable", file=place) from error
    if len(key) != _KEY_BYTES:
        raise refusal("not_a_key", file=place)
    return key


def _write_key(place: Path) -> None:
    """Write the key whole or not at all: a full disk must not leave an empty one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(0o600, exist_ok=False)
    try:
        place.write_text(secrets.token_hex(_KEY_BYTES) + "\n", encoding="ascii")
    except OSError:
        place.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Pseudonyms:
    """Names for therapists and services that only the holder of the key can trace.

    A plain hash would not do: staff codes are few, and hashing them all finds the one. With a
    secret key (HMAC-SHA256) that takes the key as well.

    Parameters
    ----------
    key : bytes
        At least 16 bytes; see `open_key`.

    Examples
    --------
    >>> names = Pseudonyms(b"0123456789abcdef").names(["smith j", "jones k"], "T")
    >>> sorted(names) == ["jones k", "smith j"] and all(v.startswith("T-") for v in names.values())
    True
    >>> names == Pseudonyms(b"0123456789abcdef").names(["jones k", "smith j"], "T")
    True
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < 16:
            raise refusal("key_too_short")

    def names(self, identifiers: Collection[object], kind: str) -> dict[object, str]:
        """Pseudonym of each identifier.

        Parameters
        ----------
        identifiers : collection
        kind : str
            ``"T"`` for therapists, ``"S"`` for services: the two never share a name.
        """
        for length in (8, 16, 32):
            names = {item: f"{kind}-{self._digest(kind, item)[:length]}" for item in identifiers}
            if len(set(names.values())) == len(names):
                return names
        raise refusal("pseudonyms_collide")

    def _digest(self, kind: str, item: object) -> str:
        text = f"{kind}\x1f{item}".encode("utf-8", "surrogatepass")
        return base64.b32encode(hmac.digest(self.key, text, "sha256")).decode("ascii").lower()


def pseudonymise(cohort: Cohort, pseudonyms: Pseudonyms) -> Cohort:
    """Give the cohort back without any identifier, before anything is computed from it.

    Therapists and services get keyed pseudonyms, the same in all tables; patients get running
    numbers. Rows are put in an order that tells nothing and that neither names nor the key decide.
    """
    maps = {c: pseudonyms.names(all_values(c, cohort), c[0].upper()) for c in _IDENTIFIERS}
    named = renamed(cohort, maps)
    # A digest of scores orders therapists, and patients within, so that what is drawn at random is
    # the same under any key.
    scores = cohort.patients[[c for m in cohort.measures for c in (m.pre, m.post)]]
    rows = hash_pandas_object(scores.astype("float64"), index=False)
    digests = rows.groupby(cohort.patients["therapist_id"]).transform("sum")
    patients = named.patients.iloc[np.lexsort((rows, digests))].reset_index(drop=True)
    patients["patient_id"] = [f"P{i + 1:07d}" for i in range(len(patients))]
    if (therapists := named.therapists) is not None:
        place = {t: i for i, t in enumerate(patients["therapist_id"].unique())}
        order = therapists["therapist_id"].map(place).argsort(kind="stable")
        therapists = therapists.iloc[order].reset_index(drop=True)
    return replace(named, patients=patients, therapists=therapists)


def numbered(cohort: Cohort) -> tuple[Cohort, dict[str, str]]:
    """Give a cohort's therapists and services numbers in the order of its rows.

    What is drawn at random follows the order of labels, which under pseudonyms is the key's.

    Returns
    -------
    cohort : Cohort
    names : dict of str to str
        By number, what it stands for.
    """
    seen = {c: enumerate(all_values(c, cohort), start=1) for c in _IDENTIFIERS}
    maps = {c: {t: f"{c[0].upper()}-{i:06d}" for i, t in rows} for c, rows in seen.items()}
    return renamed(cohort, maps), {n: str(t) for m in maps.values() for t, n in m.items()}


def tables_of(cohort: Cohort) -> dict[str, Any]:
    """Give the tables that a cohort has, by name."""
    return {n: table for n in _TABLES if (table := getattr(cohort, n)) is not None}


def all_values(column: str, cohort: Cohort) -> list[object]:
    """List what stands in a column of any table, once each."""
    seen = [f[column].dropna().unique() for f in tables_of(cohort).values() if column in f]
    return list(dict.fromkeys(value for values in seen for value in values))


def renamed(cohort: Cohort, maps: Mapping[str, Mapping[Any, str]]) -> Cohort:
    """Put names in the place of labels, by column, in every table."""
    tables = tables_of(cohort)
    for name, f in tables.items():
        tables[name] = f.assign(**{c: f[c].map(names) for c, names in maps.items() if c in f})
    return replace(cohort, **tables)
