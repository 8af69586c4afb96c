"""The names of `multilevel`, so that a chapter imports one thing."""

from typing import Any

import multilevel


def __getattr__(name: str) -> Any:
    """Give what `multilevel` has under a name."""
    return getattr(multilevel, name)
