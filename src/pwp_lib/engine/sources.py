"""Where rows come from: frames in memory, lazy frames, and files larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import narwhals as nw

from ..errors import InputError
from .eager import EagerSource

__all__ = ["open_source"]


@contextmanager
def open_source(data: Any) -> Iterator[EagerSource]:
    """Make a source of whatever the user has."""
    try:
        frame = nw.from_native(data)
    except TypeError:
        raise InputError(
            "this is no table that can be read",
            mend="give a pandas, Polars, Arrow, DuckDB, Dask or Spark frame, or a file's path",
        ) from None
    if isinstance(frame, nw.LazyFrame):
        raise NotImplementedError
    yield EagerSource(frame)
