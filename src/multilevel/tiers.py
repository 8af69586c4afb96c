"""Functions that are interpreted at first, and compiled where that pays.

To compile the search takes many seconds; Python itself makes one fit of a few dozen groups in a
third of one. So a call with little to do is interpreted, until the function has taken some seconds
in all or has been compiled before, on this machine. The numbers are the same to the last digit, as
neither order nor precision of the arithmetic differs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from time import perf_counter
from types import FunctionType
from typing import Any

import numpy as np
from numba import config, njit

from multilevel.lanes import INTERPRETED

#: Seconds that one function is interpreted for, in all, before it is compiled.
PATIENCE = 3.0


def compiler(**options: Any) -> Any:
    """Make a decorator that compiles; results are kept on disk where a folder can be written to."""

    def compile_one(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no such folder
            return njit(**options)(function)

    return compile_one


#: Sums may be reordered.
loose = compiler(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy", nogil=True)
#: Called by compiled functions only: without the way in from Python, which takes time to compile.
inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
#: Compiled as a part of its callers. A layer of its own would have all that it calls optimised once
#: more, which is most of the time that a first call takes.
folded = compiler(error_model="numpy", inline="always")
_entry = compiler(error_model="numpy", nogil=True, no_cfunc_wrapper=True)


class Tiered:
    """A function that Python calls, interpreted or compiled.

    Parameters
    ----------
    function : callable
    most : int
        With more numbers than this in its arrays it is compiled at once.
    """

    def __init__(self, function: Callable[..., Any], most: int) -> None:
        self.compiled, self.most, self.spent = _entry(function), most, 0.0
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it the way that pays."""
        if self._compiling_pays(arguments):
            return self.compiled(*arguments)
        start = perf_counter()
        with np.errstate(all="ignore"):
            result = interpreted(self.compiled)(*arguments)
        self.spent += perf_counter() - start
        return result

    def _compiling_pays(self, arguments: Any) -> bool:
        if config.DISABLE_JIT or self.compiled.overloads:
            return not config.DISABLE_JIT
        return self.spent > PATIENCE or _numbers(arguments) > self.most or self._is_on_disk()

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
    """Make a compiled function, and all that it calls, functions of Python's."""
    plain = getattr(function, "py_func", function)
    scope = {**plain.__globals__, **INTERPRETED}
    for name in {*plain.__code__.co_names} & scope.keys() - INTERPRETED.keys():
        called = getattr(scope[name], "py_func", scope[name])
        if isinstance(called, FunctionType):
            scope[name] = interpreted(called)
    return FunctionType(plain.__code__, scope, plain.__name__)
