"""Arrangement of a rollout's rows as samples: one by one, or in segments for a memory."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models.memory import Memory, Segments, States
from tf_trpo.numerics import compiled_at_once, merged
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.stepping import Remembered


def arrangement(memory: Memory | None, settings: UpdateSettings, num_steps: int, num_envs: int) -> Arrangement:
    """Make the arrangement for rollouts of T steps of B environments, for models with or without a memory.

    Raises:
      ValueError: as `UpdateSettings.segment_length_for`.
    """
    if memory is None:
        return Flat(num_steps * num_envs)
    return Segmentation(num_steps, num_envs, settings.segment_length_for(num_steps), settings.burn_in)


@dataclasses.dataclass(frozen=True)
class Flat:
    """Samples [N, ...] one by one, time-major.

    Attributes:
      count: N.
    """

    count: int

    def rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Arrange rows [T, B, ...]."""
        return merged(rows)

    def weights(self, weights: tf.Tensor) -> tf.Tensor:
        """Arrange the weights [T, B] of samples."""
        return self.rows(weights)

    def observations(self, observations: Any, states: States, rollout: Rollout) -> Any:
        """Arrange a nest of observations [T, B, ...] for a model with these states before each row [T, B, ...]."""
        return tf.nest.map_structure(self.rows, observations)

    def with_states(self, observations: Any, states: States) -> Any:
        """Replace the states in arranged observations by another model's states before each row, [T, B, ...]."""
        return observations


class Segmentation:
    """Samples in segments [S, K + L, ...]: K rows of burn-in, and L rows whose samples count.

    The segments of an environment are consecutive. The burn-in rows are those before the L rows. Before the start of
    the rollout there are none; the first row takes their place, and does not change the memory.

    Args:
      num_steps, num_envs: T and B.
      length: L, a divisor of T.
      burn_in: K.

    Attributes:
      count: S.

    The methods are those of `Flat`.
    """

    def __init__(self, num_steps: int, num_envs: int, length: int, burn_in: int) -> None:
        offsets = np.arange(0, num_steps, length)[:, None] + np.arange(-burn_in, length)
        times = np.tile(offsets, (num_envs, 1))
        columns = np.repeat(np.arange(num_envs), num_steps // length)[:, None]
        self.count = len(times)
        self._places = np.maximum(times, 0) * num_envs + columns
        self._is_before = times < 0
        self._counts = np.arange(burn_in + length) >= burn_in

    def rows(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.gather(merged(rows), self._places)

    def weights(self, weights: tf.Tensor) -> tf.Tensor:
        return self.rows(weights) * tf.cast(self._counts, weights.dtype)

    def observations(self, observations: Any, states: States, rollout: Rollout) -> Segments:
        remembered = remembered_of(rollout)
        return Segments(
            tf.nest.map_structure(self.rows, observations),
            self._first(states),
            self.rows(remembered.ends) & ~self._is_before,
            self.rows(remembered.holds) | self._is_before,
        )

    def with_states(self, observations: Segments, states: States) -> Segments:
        return observations._replace(states=self._first(states))

    def _first(self, states: States) -> States:
        return tuple(tf.gather(merged(part), self._places[:, 0]) for part in states)


Arrangement = Flat | Segmentation
"""How the rows [T, B, ...] of a rollout are arranged as samples, or as segments of samples."""


def unrolled(
    memory: Memory, features: tf.Tensor, rollout: Rollout, states: States, jit_compile: bool
) -> tuple[tf.Tensor, States]:
    """Unroll the value function's memory over a whole rollout.

    Args:
      memory: the memory to unroll.
      features: [T + 1, B, F]; row T follows the last step.
      rollout: the rollout, with the ends of its episodes.
      states: before row 0, [B, ...].
      jit_compile: compile the loop with XLA.

    Returns:
      The cell's outputs [T + 1, B, U], and the states before each row, [T + 1, B, ...].
    """
    remembered = remembered_of(rollout)
    # The states after row T are not used.
    ends, holds = (tf.pad(flags, [[0, 1], [0, 0]]) for flags in (remembered.ends, remembered.holds))
    unroll = functools.partial(memory.unroll, features, ends, holds, states)
    outputs, after = compiled_at_once(unroll)() if jit_compile else unroll()
    return outputs, tuple(tf.concat([first[None], part[:-1]], 0) for first, part in zip(states, after, strict=True))


def remembered_of(rollout: Rollout) -> Remembered:
    """Return the memory's states in a rollout; raise ValueError if its source did not record them."""
    if not isinstance(rollout.memory, Remembered):
        raise ValueError("the agent has a memory, but its rollout source records no states: Rollout.memory is empty")
    return rollout.memory


def remembered_spec(memory: Memory | None, num_steps: int, num_envs: int) -> Remembered | tuple[()]:
    """Return the specs of the memory's states in a rollout."""
    if memory is None:
        return ()
    flag = tf.TensorSpec((num_steps, num_envs), tf.bool)
    states = (tf.TensorSpec((num_steps + 1, *part.shape), part.dtype) for part in memory.initial(num_envs))
    return Remembered(tuple(states), flag, flag)
