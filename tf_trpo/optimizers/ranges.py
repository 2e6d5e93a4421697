"""Checks of settings when they are made."""

from __future__ import annotations

from typing import Any, get_args


def require(condition: bool, name: str, requirement: str, value: object) -> None:
    """Raise ValueError, with the name, the range and the value of a setting, unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")


def require_choice(literal: Any, name: str, value: object) -> None:
    """Raise ValueError unless the value of a setting is one that its Literal type lists."""
    choices = get_args(literal)
    require(value in choices, name, f"one of {list(choices)}", value)
