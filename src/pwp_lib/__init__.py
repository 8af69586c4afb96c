"""Therapist effects in routine outcome data.

The names below resolve when they are first used, so that ``import pwp_lib`` loads nothing heavy.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__version__ = "0.2.0"
