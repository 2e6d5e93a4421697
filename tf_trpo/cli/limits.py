"""The largest settings that are taken: above them is a slip of the pen, or a file that is to exhaust the machine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from tf_trpo.cli.errors import UsageError

LARGEST: Mapping[str, int] = {
    "num_envs": 10_000,
    "num_steps": 10_000_000,
    "total_steps": 10**15,
    "eval_every": 10**15,
    "checkpoint_every": 10**15,
    "histogram_every": 10**15,
    "video_every": 10**15,
    "std_steps": 10**15,
    "max_kl_steps": 10**15,
    "eval_episodes": 1_000_000,
    "episodes": 1_000_000,
    "threads": 1024,
    "hidden_sizes": 16_384,
    "value_hidden_sizes": 16_384,
    "cg_iterations": 10_000,
    "max_backtracks": 1000,
    "value_epochs": 10_000,
    "penalty_epochs": 10_000,
}
"""Of each number; of another one, `LARGEST_INTEGER`."""
LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = 1e30
"""Computed with in float32, where more is infinite."""
LARGEST_BATCH = 50_000_000
"""Of num_envs * num_steps: the rows of a rollout are in memory at once."""
MOST_LAYERS = 64
MOST_WEIGHTS = 2**28
"""Between the hidden layers of one network: 1 GiB."""


def check_limits(values: Mapping[str, object]) -> None:
    """Refuse numbers that are too large, before anything is allocated for them.

    Args:
      values: settings by name; numbers, lists of numbers, and others, which are left alone.

    Raises:
      UsageError: one is; the message names it and its limit.
    """
    for name, value in values.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            largest = LARGEST.get(name, LARGEST_INTEGER) if isinstance(number, int) else LARGEST_FLOAT
            if isinstance(number, int | float) and abs(number) > largest:
                raise UsageError(f"{name} must be at most {largest}, got {number}")
        if name in ("hidden_sizes", "value_hidden_sizes") and isinstance(value, list | tuple):
            _check_layers(name, value)
    batch = [values.get(name) for name in ("num_envs", "num_steps")]
    if all(isinstance(number, int) for number in batch) and batch[0] * batch[1] > LARGEST_BATCH:  # type: ignore[operator]
        raise UsageError(
            f"num_envs times num_steps must be at most {LARGEST_BATCH}, got {batch[0]} times {batch[1]}: "
            "a rollout is in memory at once"
        )


def _check_layers(name: str, sizes: Sequence[int]) -> None:
    weights = sum(first * second for first, second in itertools.pairwise(sizes))
    if len(sizes) > MOST_LAYERS or weights > MOST_WEIGHTS:
        raise UsageError(
            f"{name} must be at most {MOST_LAYERS} layers with {MOST_WEIGHTS} weights between them, "
            f"got {len(sizes)} with {weights}"
        )
