"""The largest settings that are taken: a larger one is a slip of the pen, or a file that is to exhaust the machine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

_LARGEST = {
    "hidden_sizes": 16_384,
    "value_hidden_sizes": 16_384,
    "value_epochs": 10_000,
    **dict.fromkeys(("total_steps", "schedule_steps", "eval_every", "checkpoint_every"), 10**15),
    **dict.fromkeys(("histogram_every", "video_every"), 10**15),
}
LARGEST_INTEGER = 2**31 - 1
"""The limit of an integer that is not in the table."""
LARGEST_FLOAT = 1e30
"""Settings are computed with in float32, in which larger numbers are infinite."""
_MOST_LAYERS = 64
_MOST_WEIGHTS = 2**28
"""Between the hidden layers of one network: 1 GiB."""


def check_limits(values: Mapping[str, object]) -> None:
    """Raise if a number is too large, before anything is allocated for it.

    Args:
      values: settings by name: numbers, sequences of numbers, and others, which are not looked at.

    Raises:
      ValueError: a number is above its limit; the message names the setting and the limit.
    """
    for name, value in values.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            largest = _LARGEST.get(name, LARGEST_INTEGER) if isinstance(number, int) else LARGEST_FLOAT
            if isinstance(number, int | float) and abs(number) > largest:
                raise ValueError(f"{name} must be at most {largest}, got {number}")
        if isinstance(value, list | tuple) and all(isinstance(number, int) for number in value):
            _check_layers(name, value)


def _check_layers(name: str, sizes: Sequence[int]) -> None:
    weights = sum(first * second for first, second in itertools.pairwise(sizes))
    if len(sizes) > _MOST_LAYERS or weights > _MOST_WEIGHTS:
        raise ValueError(
            f"{name} must be at most {_MOST_LAYERS} layers with {_MOST_WEIGHTS} weights between them, "
            f"got {len(sizes)} with {weights}"
        )
