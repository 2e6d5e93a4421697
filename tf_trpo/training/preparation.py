"""The first stage of an update: from a rollout to samples with advantages and value targets."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_trpo.estimation import Batch
from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.models.memory import Segments, States
from tf_trpo.numerics import chunk_size_for, map_over_chunks, merged
from tf_trpo.numerics.chunks import LARGEST_CHUNK
from tf_trpo.rollouts import Rollout
from tf_trpo.training.numbers import Numbers
from tf_trpo.training.prepared import (
    Carry,
    Prepared,
    advantages_and_targets,
    as_floats,
    mean_weights,
    scaled_advantages,
    scaled_rewards,
)
from tf_trpo.training.segments import Arrangement, arrangement, unrolled
from tf_trpo.training.settings import UpdateSettings


class Preparation:
    """Makes samples of rollouts.

    Args:
      policy, value_function, return_scale, settings: of the update.
      numbers: of the settings, which are inputs of what is compiled.

    Raises:
      ValueError: only one of the models has a memory, or a setting is of a memory and there is none.
    """

    def __init__(
        self,
        policy: Policy,
        value_function: ValueFunction,
        return_scale: RunningReturnScale,
        settings: UpdateSettings,
        numbers: Numbers,
    ) -> None:
        if (policy.memory is None) != (value_function.encoder.memory is None):
            raise ValueError("the policy and the value function must both have a memory, or neither")
        if policy.memory is None and (settings.segment_length or settings.burn_in):
            raise ValueError("segment_length and burn_in are of a policy with a memory, and the agent has none")
        self._policy = policy
        self._value_function = value_function
        self._return_scale = return_scale
        self._settings = settings
        self._numbers = numbers

    def first_carry(self, num_envs: int) -> Carry:
        """Give what the first update of B environments carries on."""
        return Carry(tf.zeros([num_envs]), self._value_function.encoder.initial_states(num_envs))

    def arrangement(self, num_steps: int, num_envs: int) -> Arrangement:
        """Say how rows of T steps of B environments become samples."""
        return arrangement(self._policy.memory, self._settings, num_steps, num_envs)

    def prepare(self, rollout: Rollout, carry: Carry, *, jit_compile: bool) -> tuple[Prepared, Carry]:
        """Make samples of a rollout, and what the next one carries on; let XLA compile the loop of a memory."""
        steps = as_floats(rollout)
        weights, count = mean_weights(steps.valid)
        settings, _ = self._numbers.read()
        rewards, returns, sound = scaled_rewards(self._return_scale, steps, carry.returns, settings)
        observations = tf.nest.map_structure(lambda rows: merged(rows[:-1]), rollout.observations)
        # The first statistics come before the first update, and leave the policy as it acted.
        policy_statistics, value_statistics = (
            encoder.begin_normalization(encoder.moments(observations, weights, count))
            for encoder in (self._policy.encoder, self._value_function.encoder)
        )
        values, states = self._values(rollout, carry.states, jit_compile)
        advantages, targets = advantages_and_targets(steps, rewards, values, settings)
        arranged = self.arrangement(*rollout.rewards.shape)
        batch = self._batch(rollout, advantages, weights)
        prepared = Prepared(
            batch,
            arranged.with_states(batch.observations, tuple(part[:-1] for part in states)),
            rewards,
            arranged.rows(values[:-1]),
            arranged.rows(targets),
            policy_statistics,
            value_statistics,
            sound,
        )
        # A memory that is not finite would stay so until its episode ends.
        pairs = zip((part[-1] for part in states), self.first_carry(rollout.rewards.shape[1]).states, strict=True)
        return prepared, Carry(returns, tuple(tf.where(tf.math.is_finite(now), now, first) for now, first in pairs))

    def estimate_again(self, rollout: Rollout, prepared: Prepared, carry: Carry, *, jit_compile: bool) -> Prepared:
        """Give the same samples with advantages by the value function as it is now; the carry is that of before."""
        steps = as_floats(rollout)
        settings, _ = self._numbers.read()
        values, _ = self._values(rollout, carry.states, jit_compile)
        advantages, _ = advantages_and_targets(steps, prepared.rewards, values, settings)
        weights, _ = mean_weights(steps.valid)
        return prepared._replace(batch=self._batch(rollout, advantages, weights))

    def chunk_size(self, rows: Any) -> int:
        """Choose how many samples, or segments, are in memory at once."""
        length = rows.ends.shape[1] if isinstance(rows, Segments) else 1
        if self._settings.chunk_size is None:
            return min(chunk_size_for(rows), max(1, LARGEST_CHUNK // length))
        return max(1, self._settings.chunk_size // length)

    def _batch(self, rollout: Rollout, advantages: tf.Tensor, weights: tf.Tensor) -> Batch:
        """Make the policy's samples of advantages [T, B] and weights [N]."""
        settings, _ = self._numbers.read()
        shape = rollout.rewards.shape
        arranged = self.arrangement(*shape)
        observations = tf.nest.map_structure(lambda rows: rows[:-1], rollout.observations)
        states = tuple(part[:-1] for part in rollout.memory.states) if rollout.memory else ()
        batch = scaled_advantages(self._return_scale, Batch((), (), merged(advantages), weights), settings)
        return batch._replace(
            observations=arranged.observations(observations, states, rollout),
            actions=arranged.rows(tf.convert_to_tensor(rollout.actions)),
            advantages=arranged.rows(tf.reshape(batch.advantages, shape)),
            weights=arranged.weights(tf.reshape(weights, shape)),
        )

    def _values(self, rollout: Rollout, states: States, jit_compile: bool) -> tuple[tf.Tensor, States]:
        """Compute V [T + 1, B], and the states of the value function's memory before each row."""
        observations = tf.nest.map_structure(merged, rollout.observations)
        shape = tf.nest.flatten(rollout.observations)[0].shape[:2]
        chunk_size, encoder = self.chunk_size(observations), self._value_function.encoder
        if encoder.memory is None:
            return tf.reshape(map_over_chunks(self._value_function, observations, chunk_size), shape), ()
        features = map_over_chunks(lambda rows: encoder.features(encoder.centred(rows)), observations, chunk_size)
        by_time = tf.reshape(features, [*shape, features.shape[-1]])
        outputs, states = unrolled(encoder.memory, by_time, rollout, states, jit_compile)
        return tf.squeeze(encoder.output_layer(outputs), axis=-1), states
