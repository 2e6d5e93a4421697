"""Settings in the form of command line options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def option_name(name: str) -> str:
    """Return the option of a field: --max-kl for max_kl."""
    return f"--{name.replace('_', '-')}"


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings by name as the words of a command line."""
    words: list[str] = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(option_name(name if value else f"no_{name}"))
        else:
            values = value if isinstance(value, list | tuple) else [value]
            words += [
                option_name(name),
                *(json.dumps(each) if isinstance(each, dict) else str(each) for each in values),
            ]
    return words
