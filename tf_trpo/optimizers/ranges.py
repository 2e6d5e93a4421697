"""Checks of settings when they are made."""

from __future__ import annotations

from typing import Any, get_args

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
            inside, requirement = value in choices, f"one of {list(choices)}"
        else:
            inside = optional if value is None else _contains(values, value)
            requirement = _WORDS.get(values, f"in {values}") + ", or None" * optional
        require(inside, name, requirement, value)


def _contains(interval: str, value: float) -> bool:
    lowest, largest = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= lowest if interval.startswith("[") else value > lowest
    return above and (value <= largest if interval.endswith("]") else value < largest)
