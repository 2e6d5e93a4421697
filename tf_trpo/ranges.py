"""Check the types and ranges of settings and arguments, with messages in plain words."""

from __future__ import annotations

import contextlib
import functools
import numbers
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

LARGEST_INTEGER = 2**31 - 1
"""Largest value of an integer setting without another upper bound: TensorFlow's sizes and seeds are int32."""
LARGEST_FLOAT = 1e30
"""Largest value of a float setting without another upper bound; float32 reaches 3e38."""
_KINDS = {int: "a whole number", float: "a number", str: "text", types.NoneType: "None"}
_SEVERAL = {str: "text", int: "whole numbers", float: "numbers"}
_NUMBERS = {int: numbers.Integral, float: numbers.Real}
_WORDS = {"(0, inf)": "positive and finite", "[0, inf)": "zero or positive, and finite", "[1, inf)": "at least 1"}


def require(condition: bool, name: str, requirement: str, value: object) -> None:
    """Unless a condition holds, raise a ValueError that names the setting, its requirement and its value."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")


def require_allowed(settings: Any, **allowed: str) -> None:
    """Raise ValueError unless each field of a dataclass has its type, and each named field lies in its interval.

    Values are replaced by their `plain` ones; if the type of a field is a tuple, a list is replaced by a tuple.

    Args:
      settings: the dataclass object; a field whose type includes None may also be None.
      **allowed: by the name of a field, its interval, such as "[0, 1)" or "(0, inf)".
    """
    kind: Any = type(settings)
    for name, hint in field_types(kind).items():
        kept = value = getattr(settings, name)
        # A dict that holds itself is refused by the class that has it.
        with contextlib.suppress(RecursionError):
            kept = plain(value)
        kept = tuple(kept) if isinstance(kept, list) and get_origin(hint) is tuple else kept
        require(_is_of(kept, hint), name, described(hint), value)
        object.__setattr__(settings, name, kept)
    for name, interval in allowed.items():
        value, optional = getattr(settings, name), _is_of(None, field_types(kind)[name])
        if value is not None or not optional:
            requirement = _WORDS.get(interval, f"in {interval}") + ", or None" * optional
            require(_contains(interval, value), name, requirement, value)
            if interval.endswith("inf)"):
                largest = LARGEST_INTEGER if isinstance(value, int) else LARGEST_FLOAT
                require(value <= largest, name, f"at most {largest}", value)


def plain(value: Any) -> Any:
    """Return a number as Python's bool, int or float, also in dicts, lists and tuples; return other values as given.

    NumPy's numbers cannot be written as JSON.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if type(value) is dict:
        return {key: plain(each) for key, each in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def check_types(**arguments: tuple[object, Any]) -> None:
    """Raise a TypeError with the argument's name unless each argument, given as (value, type), has its type."""
    for name, (value, hint) in arguments.items():
        if not _is_of(value, hint):
            raise TypeError(f"{name} must be {described(hint)}, got {value!r} ({type(value).__name__})")


def check_whole_numbers(*, lowest: int = 1, **arguments: Any) -> None:
    """Raise TypeError or ValueError with the argument's name unless all are integers >= `lowest`, which is 0 or 1."""
    for name, value in arguments.items():
        check_types(**{name: (value, int)})
        require(value >= lowest, name, "at least 1" if lowest else "zero or positive", value)


def described(hint: Any) -> str:
    """Describe a type in words."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    *first, last = _words(hint)
    return f"{', '.join(first)} or {last}" if first else last


def _words(hint: Any) -> Iterator[str]:
    if get_origin(hint) is tuple:
        yield f"a tuple of {_SEVERAL[get_args(hint)[0]]}"
    elif get_origin(hint) is dict:
        yield "a JSON object"
    elif get_args(hint) or hint is bool:
        for each in get_args(hint) or ("true", "false"):
            yield from _words(each)
    else:
        yield hint if isinstance(hint, str) else _KINDS.get(hint, getattr(hint, "__name__", str(hint)))


@functools.cache
def field_types(settings: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name; they are read once for each class."""
    names = getattr(settings, "__dataclass_fields__", ())
    return {name: hint for name, hint in get_type_hints(settings).items() if name in names}


def _is_of(value: object, hint: Any) -> bool:
    """Return whether a value has a type. An integer is also valid as a float, and NumPy's numbers are valid."""
    inner = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_of(value, each) for each in inner)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in inner
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_of(each, inner[0]) for each in value)
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    return hint is Any or isinstance(value, get_origin(hint) or hint)


def _contains(interval: str, value: float) -> bool:
    lowest, largest = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= lowest if interval.startswith("[") else value > lowest
    return above and (value <= largest if interval.endswith("]") else value < largest)
