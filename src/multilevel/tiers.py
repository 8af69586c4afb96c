"""Functions that are interpreted at first, and compiled where that pays.

To compile the search takes many seconds, and to load the compiler as long as several small fits;
Python itself makes one fit of a few dozen groups in a tenth of one. So a call with little to do is
interpreted, until functions have taken long enough for what was compiled before, on this machine,
to be looked for, or this one has taken some seconds. The numbers are the same to the last digit,
as neither order nor precision of the arithmetic differs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from threading import Lock
from time import perf_counter
from types import FunctionType
from typing import Any

import numpy as np

from multilevel.lanes import INTERPRETED

#: Seconds that one function is interpreted for, in all, before it is compiled.
PATIENCE = 3.0
#: Seconds that all functions are interpreted for before the disk is searched: that loads numba.
GLANCE = 0.4
#: numba's own variable, for debuggers and for tools that measure coverage.
_NEVER = (os.environ.get("NUMBA_DISABLE_JIT") or "0") != "0"
#: When a file here was last changed. What was compiled before that is not looked for: numba sees
#: whether a function's own file has changed, not whether those of functions that it calls have.
_CHANGED = max((f.stat().st_mtime_ns for f in Path(__file__).parent.glob("*.py")), default=0)
#: What numba is told of each function.
_OPTIONS: dict[Any, dict[str, Any]] = {}
_ONE_AT_A_TIME = Lock()


def compiler(**options: Any) -> Any:
    """Make a decorator that notes how to compile a function, and leaves it as it is."""

    def note(function: Callable[..., Any]) -> Any:
        _OPTIONS.setdefault(function, options)
        return function

    return note


#: Sums may be reordered.
loose = compiler(cache=True, fastmath={"reassoc", "contract", "nsz"}, nogil=True)
#: Called by compiled functions only: without the way in from Python, which takes time to compile.
inner = compiler(no_cpython_wrapper=True, no_cfunc_wrapper=True)
#: Compiled as a part of its callers. A layer of its own would have all that it calls optimised once
#: more, which is most of the time that a first call takes.
folded = compiler(inline="always")
_entry = compiler(cache=True, nogil=True, no_cfunc_wrapper=True)


class Tiered:
    """A function that Python calls, interpreted or compiled.

    Parameters
    ----------
    function : callable
    most : int
        With more numbers than this in its arrays it is compiled at once.
    """

    #: Seconds that functions have been interpreted for, all together.
    spent_by_all = 0.0

    def __init__(self, function: Callable[..., Any], most: int) -> None:
        self.function, self.most, self.spent = _entry(function), most, 0.0
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it the way that pays."""
        if self._compiling_pays(arguments):
            return self.compiled(*arguments)
        start = perf_counter()
        with np.errstate(all="ignore"):
            result = interpreted(self.function)(*arguments)
        taken = perf_counter() - start
        self.spent += taken
        Tiered.spent_by_all += taken
        return result

    @cached_property
    def compiled(self) -> Any:
        """The function as numba has it."""
        with _ONE_AT_A_TIME:
            return lowered(self.function)

    def _compiling_pays(self, arguments: Any) -> bool:
        if _NEVER or ("compiled" in self.__dict__ and self.compiled.overloads):
            return not _NEVER
        if self.spent > PATIENCE or _numbers(arguments) > self.most:
            return True
        return Tiered.spent_by_all > GLANCE and self._is_on_disk()

    def _is_on_disk(self) -> bool:
        folder = self.compiled.stats.cache_path
        return folder is not None and any(Path(folder).glob(f"*.{self.compiled.__name__}-*.nbi"))


def compiled(most: int) -> Any:
    """Make a decorator for a function that Python calls; see `Tiered`."""
    return lambda function: Tiered(function, most)


def _numbers(value: Any) -> int:
    """Count those in arrays, tuples of arrays and so on."""
    return sum(map(_numbers, value)) if isinstance(value, tuple) else np.size(value)


@cache
def interpreted(function: Any) -> Any:
    """Make a function, and all that it calls, ones that mean the same to Python as to numba."""
    return _bound(function, INTERPRETED, interpreted)


@cache
def lowered(function: Any) -> Any:
    """Make a function, and all that it calls, numba's; results are kept on disk where they can."""
    from numba import njit

    from multilevel.lowering import COMPILED

    options = _OPTIONS[function]
    # What it calls is compiled in the same way, unless told otherwise.
    own = _bound(function, COMPILED, lambda called: lowered(compiler(**options)(called)))
    own.__name__ = own.__qualname__ = f"{function.__name__}_{_CHANGED}"
    try:
        return njit(error_model="numpy", **options)(own)
    except RuntimeError:  # numba found no folder that can be written to
        return njit(error_model="numpy", **options | {"cache": False})(own)


def _bound(function: Any, words: dict[str, Any], made: Callable[[Any], Any]) -> Any:
    """Copy a function with meanings of its own for some words, in what it calls as well."""
    scope = {**function.__globals__, **words}
    for name in {*function.__code__.co_names} & scope.keys():
        if isinstance(scope[name], FunctionType):
            scope[name] = made(scope[name])
    return FunctionType(function.__code__, scope, function.__name__)
