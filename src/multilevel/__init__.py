"""Multilevel models fitted from sums within groups.

The names below resolve when they are first used, so that ``import multilevel`` loads nothing heavy.
"""

from typing import Any as _Any

import lazy_loader as _lazy

from multilevel.arguments import checked as _checked

_resolve, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> _Any:
    """Resolve a name; functions refuse arguments of the wrong kind."""
    globals()[name] = found = _checked(_resolve(name))
    return found
