"""Arguments of the wrong kind, refused in words before a public function or method sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from inspect import isfunction
from numbers import Integral, Real
from types import SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from multilevel.errors import InputError

#: Least values of whole numbers, by the names that they have everywhere.
_LEAST = {"seed": 0, "draws": 0, "burn_in": 0} | dict.fromkeys(
    ("chains", "minimum_rows", "replicates", "repeats", "therapists"), 1
)
_Found = TypeVar("_Found")


def checked(found: _Found) -> _Found:
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

    names = found.__code__.co_varnames[: found.__code__.co_argcount]

    @wraps(found)
    def call(*args: Any, **options: Any) -> Any:
        placed = [_taken(v, name, found) for v, name in zip(args, names, strict=False)]
        named = {name: _taken(v, name, found) for name, v in options.items()}
        return found(*placed, *args[len(names) :], **named)

    # Where other processes find it under its name.
    call.__module__ = found.__module__.partition(".")[0]
    return cast("_Found", call)


class Checked:
    """A class whose public methods refuse such arguments."""

    def __init_subclass__(cls) -> None:
        for name, member in list(vars(cls).items()):
            if isinstance(member, classmethod):
                setattr(cls, name, classmethod(checked(member.__func__)))
            elif isfunction(member) and not name.startswith("_"):
                setattr(cls, name, checked(member))


@cache
def _kinds(found: Callable[..., Any]) -> dict[str, Any]:
    """Kinds of a function's parameters; what it returns need not be there to be looked up."""
    own = {name: kind for name, kind in found.__annotations__.items() if name != "return"}
    return get_type_hints(SimpleNamespace(__annotations__=own), found.__globals__)


def _taken(value: Any, name: str, found: Callable[..., Any]) -> Any:
    """Hand on a value, refused where it is not of its parameter's kind."""
    about, kind = f"the argument {name} of {found.__name__}", _kinds(found).get(name, Any)
    if not fits(value, kind):
        words = get_args(kind) if get_origin(kind) is Literal else ()
        wanted = " or ".join(words) or getattr(kind, "called", found.__annotations__[name])
        raise InputError(f"{about} is of no kind that it takes", hint=f"give {wanted}")
    if isinstance(value, Integral) and value < _LEAST.get(name, value):
        raise InputError(f"{about} is too small", hint=f"give {_LEAST[name]} or more")
    # To ask a lazy frame for its columns may be costly.
    if hasattr(value, "iloc") and not getattr(getattr(value, "columns", None), "is_unique", True):
        raise InputError(f"{about} has two columns of one name", hint="rename one")
    # Few bits would overflow.
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, as far as that can be told without looking at rows."""
    origin, parts = get_origin(kind), get_args(kind)
    # Only what NumPy takes for an array may be complex.
    if complex in parts:
        return (value is None and type(None) in parts) or _is_numeric(value)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if kind is bool:
        return type(value).__name__ in ("bool", "bool_")  # NumPy's too
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real)
        huge = isinstance(value, Integral) and abs(int(value)) >= 2**62
        return number and not huge and not isinstance(value, bool)
    if isinstance(kind, TypeVar):
        return fits(value, kind.__bound__)
    if kind is Any or not isinstance(origin or kind, type):
        return True
    if not isinstance(value, origin or kind) or (parts and isinstance(value, str | bytes)):
        return False
    # Of an array the parts are not those of what it holds.
    whole = getattr(origin, "__module__", "") == "numpy" or isinstance(value, Iterator)
    if not parts or whole or not isinstance(value, Iterable):
        return True
    if isinstance(value, Mapping):
        return all(fits(one, parts[-1]) for one in value.values())
    if origin is tuple and ... not in parts and len(parts) != len(value):  # type: ignore[arg-type]
        return False
    return getattr(value, "ndim", 1) == 1 and all(fits(one, parts[0]) for one in value)


def _is_numeric(value: Any) -> bool:
    import numpy as np

    try:
        found = np.asarray(value)
        return value is not None and found.dtype.kind in "biufO" and found.astype(float).size >= 0
    except (TypeError, ValueError, OverflowError):
        return False
