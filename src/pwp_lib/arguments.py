"""Arguments of the wrong kind, refused in words before a public function looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, wraps
from inspect import isfunction, signature
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from multilevel.errors import InputError

__all__ = ["checked"]

#: Least values of whole numbers, by the names that they have everywhere.
_LEAST = {"seed": 0, "draws": 0, "replicates": 1, "repeats": 1, "therapists": 1}
_signature, _kinds = cache(signature), cache(get_type_hints)


def checked(found: Any) -> Any:
    """Let a function refuse arguments that its signature rules out; hand on what is none.

    Raises
    ------
    InputError
        By the function returned.

    Examples
    --------
    >>> def half(x: float) -> float:
    ...     return x / 2
    >>> checked(half)("a")
    Traceback (most recent call last):
    multilevel.errors.InputError: the argument x of half is of no kind that it takes; give float.
    """
    if not isfunction(found) or hasattr(found, "__wrapped__"):
        return found

    @wraps(found)
    def call(*args: Any, **options: Any) -> Any:
        kinds = _kinds(found)
        for name, value in _signature(found).bind(*args, **options).arguments.items():
            about, kind = f"the argument {name} of {found.__name__}", kinds.get(name, Any)
            if not _fits(value, kind):
                words = get_args(kind) if get_origin(kind) is Literal else ()
                wanted = " or ".join(words) or found.__annotations__[name]
                raise InputError(f"{about} is of no kind that it takes", hint=f"give {wanted}")
            if isinstance(value, Integral) and value < _LEAST.get(name, value):
                raise InputError(f"{about} is too small", hint=f"give {_LEAST[name]} or more")
            if not getattr(getattr(value, "columns", None), "is_unique", True):
                raise InputError(f"{about} has two columns of one name", hint="rename one")
        return found(*args, **options)

    # Where other processes find it under its name.
    call.__module__ = __package__
    return call


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, as far as that can be told without looking at rows."""
    origin, parts = get_origin(kind), get_args(kind)
    # Only what NumPy takes for an array may be complex.
    if complex in parts:
        return (value is None and type(None) in parts) or _is_numeric(value)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real)
        huge = isinstance(value, Integral) and abs(int(value)) >= 2**62
        return number and not huge and not isinstance(value, bool)
    if kind is Any or not isinstance(origin or kind, type):
        return True
    if not isinstance(value, origin or kind) or (parts and isinstance(value, str | bytes)):
        return False
    if not parts or not isinstance(value, Iterable) or isinstance(value, Iterator):
        return True
    if isinstance(value, Mapping):
        return all(_fits(one, parts[-1]) for one in value.values())
    return getattr(value, "ndim", 1) == 1 and all(_fits(one, parts[0]) for one in value)


def _is_numeric(value: Any) -> bool:
    import numpy as np

    try:
        return value is not None and np.asarray(value, dtype=float).size >= 0
    except (TypeError, ValueError, OverflowError):
        return False
