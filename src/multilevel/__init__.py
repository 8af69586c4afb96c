"""Multilevel models fitted from sums within groups.

The names below resolve when they are first used, so that ``import multilevel`` loads nothing heavy.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
