"""Own data: read, check, release, report; the command ``pwp``.

The names below resolve when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
