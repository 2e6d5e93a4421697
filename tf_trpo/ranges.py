"""Checks of settings when they are made."""

from __future__ import annotations

from typing import Any, get_args

LARGEST_INTEGER = 2**31 - 1
"""The limit of an integer setting whose interval has no end: TensorFlow's sizes and seeds are int32."""
LARGEST_FLOAT = 1e30
"""The limit of a float setting whose interval has no end: in float32, larger numbers become infinite."""
_WORDS = {"(0, inf)": "positive and finite", "[0, inf)": "zero or positive, and finite", "[1, inf)": "at least 1"}


def require(condition: bool, name: str, requirement: str, value: object) -> None:
    """Raise ValueError, with the name, the range and the value of a setting, unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")


def require_allowed(settings: object, **allowed: Any) -> None:
    """Raise ValueError unless each named field of a dataclass has an allowed value.

    Args:
      settings: the dataclass; a field whose default is None may also be None.
      **allowed: for each name an interval, such as "[0, 1)" or "(0, inf)", or a Literal type that lists the values.
    """
    for name, values in allowed.items():
        value, optional = getattr(settings, name), getattr(type(settings), name) is None
        if choices := get_args(values):
            require(value in choices, name, f"one of {list(choices)}", value)
        elif value is not None or not optional:
            requirement = _WORDS.get(values, f"in {values}") + ", or None" * optional
            require(_contains(values, value), name, requirement, value)
            if values.endswith("inf)"):
                largest = LARGEST_INTEGER if isinstance(value, int) else LARGEST_FLOAT
                require(value <= largest, name, f"at most {largest}", value)


def _contains(interval: str, value: float) -> bool:
    lowest, largest = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= lowest if interval.startswith("[") else value > lowest
    return above and (value <= largest if interval.endswith("]") else value < largest)
