"""The first stage of an update: make samples with advantages and value targets from a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_trpo.estimation import Batch, Costs
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.numbers import Numbers
from tf_trpo.learning.samples import Carry, Prepared, ValueSamples, finite_or_first
from tf_trpo.learning.segments import Arrangement, Flat, arrangement, unrolled
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.learning.signals import (
    advantages_and_targets,
    as_floats,
    mean_weights,
    scaled_advantages,
    scaled_rewards,
    unit_of,
)
from tf_trpo.learning.vine import branch_samples
from tf_trpo.models import Policy, ValueFunction
from tf_trpo.models.memory import Segments, States
from tf_trpo.numerics import chunk_size_for, map_over_chunks, merged
from tf_trpo.numerics.chunks import LARGEST_CHUNK
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.branches import Branches


def check_memories(policy: Policy, critics: Sequence[Critic], settings: UpdateSettings) -> None:
    """Raise ValueError if only some models have a memory, or a memory's setting is given without a memory."""
    if any((policy.memory is None) != (critic.value_function.encoder.memory is None) for critic in critics):
        raise ValueError("the policy and the value function must both have a memory, or neither")
    if policy.memory is None:
        settings.check_without_memory()


class Preparation:
    """Computes the samples of an update from a rollout.

    Args:
      policy: the policy to improve.
      critics: critics of the rewards, and of each cost.
      numbers: the settings of the update.
      anchor: the policy to stay near; None without an anchor.
      jit_compile: compile the loop of a memory with XLA.
    """

    def __init__(
        self,
        policy: Policy,
        critics: Sequence[Critic],
        numbers: Numbers,
        anchor: Policy | None,
        jit_compile: bool,
    ) -> None:
        self._policy = policy
        self._critics = critics
        self._numbers = numbers
        self._anchor = anchor
        self._jit_compile = jit_compile

    def first_carry(self, num_envs: int) -> Carry:
        """Return the carry before the first update of B environments."""
        first, *costs = (
            Carry(tf.zeros([num_envs]), critic.value_function.encoder.initial_states(num_envs))
            for critic in self._critics
        )
        return first._replace(costs=tuple(costs))

    def arrangement(self, num_steps: int, num_envs: int) -> Arrangement:
        """Return the arrangement of T steps of B environments as samples."""
        return arrangement(self._policy.memory, self._numbers.settings, num_steps, num_envs)

    def prepare(self, rollout: Rollout, carry: Carry, totals: Any = ()) -> tuple[Prepared, Carry]:
        """Compute the samples of a rollout, and the carry for the next one.

        Args:
          rollout: T steps of B environments.
          carry: the carry from the last rollout.
          totals: `Costs.totals` and `Costs.length`, float64 [C + 1]; empty without costs.
        """
        steps, (settings, _) = as_floats(rollout), self._numbers.read()
        weights, count = mean_weights(steps.valid)
        observations = tf.nest.map_structure(lambda rows: merged(rows[:-1]), rollout.observations)
        # The first statistics are set before the first update, without changing the policy that acted.
        policy_statistics = self._policy.encoder.begin_normalization(
            self._policy.encoder.moments(observations, weights, count)
        )
        arranged = self.arrangement(*rollout.rewards.shape)
        seen = self._observations(rollout, arranged)
        counted = arranged.weights(tf.reshape(weights, rollout.rewards.shape))
        samples, advantages, carries = [], [], []
        for critic, own, before in zip(self._critics, self._all_rewards(steps), (carry, *carry.costs), strict=True):
            encoder = critic.value_function.encoder
            statistics = encoder.begin_normalization(encoder.moments(observations, weights, count))
            rewards, returns, sound = scaled_rewards(critic.return_scale, own, steps, before.returns, settings)
            values, states = self._values(critic.value_function, rollout, before.states)
            estimated, targets = advantages_and_targets(steps, rewards, values, settings)
            own_states, last = tuple(part[:-1] for part in states), tuple(part[-1] for part in states)
            observed, of_rows = arranged.with_states(seen, own_states), arranged.rows(values[:-1])
            samples.append(ValueSamples(observed, rewards, of_rows, arranged.rows(targets), counted, statistics, sound))
            advantages.append(estimated)
            first = encoder.initial_states(rollout.rewards.shape[1])
            carries.append(Carry(returns, finite_or_first(last, first)))
        if isinstance(rollout.branches, Branches):
            batch = self._branch_batch(rollout, rollout.branches, totals)
        else:
            batch = self._batch(rollout, seen, advantages, weights, totals)
        return Prepared(batch, tuple(samples), policy_statistics), carries[0]._replace(costs=tuple(carries[1:]))

    def estimate_again(self, rollout: Rollout, prepared: Prepared, carry: Carry, totals: Any = ()) -> Prepared:
        """Return the samples with advantages by the value functions' present weights; carry is as for `prepare`."""
        if isinstance(rollout.branches, Branches):
            return prepared._replace(batch=self._branch_batch(rollout, rollout.branches, totals))
        steps, (settings, _) = as_floats(rollout), self._numbers.read()
        advantages = []
        for critic, samples, before in zip(self._critics, prepared.values, (carry, *carry.costs), strict=True):
            values, _ = self._values(critic.value_function, rollout, before.states)
            advantages.append(advantages_and_targets(steps, samples.rewards, values, settings)[0])
        weights, _ = mean_weights(steps.valid)
        return prepared._replace(batch=self._batch(rollout, prepared.batch.observations, advantages, weights, totals))

    def _all_rewards(self, steps: Rollout) -> list[tf.Tensor]:
        """Return the rewards, and each cost, float32 [T, B]; raise ValueError unless each cost critic has a cost."""
        costs = tf.unstack(tf.cast(steps.costs, tf.float32), axis=-1) if len(self._critics) > 1 else []
        if len(costs) != len(self._critics) - 1:
            raise ValueError(f"the agent has {len(self._critics) - 1} costs, and its rollouts have {len(costs)}")
        return [steps.rewards, *costs]

    def chunk_size(self, rows: Any) -> int:
        """Return the largest number of samples, or segments, in memory at once."""
        length, chosen = rows.ends.shape[1] if isinstance(rows, Segments) else 1, self._numbers.settings.chunk_size
        if chosen is None:
            return min(chunk_size_for(rows), max(1, LARGEST_CHUNK // length))
        return max(1, chosen // length)

    def _observations(self, rollout: Rollout, arranged: Arrangement) -> Any:
        """Arrange the observations of the policy's samples, with the states of its memory."""
        observations = tf.nest.map_structure(lambda rows: rows[:-1], rollout.observations)
        states = tuple(part[:-1] for part in rollout.memory.states) if rollout.memory else ()
        return arranged.observations(observations, states, rollout)

    def _batch(
        self, rollout: Rollout, observations: Any, advantages: Sequence[tf.Tensor], weights: tf.Tensor, totals: Any
    ) -> Batch:
        """Make the policy's samples, given advantages [T, B] of the rewards and of each cost, and weights [N]."""
        arranged = self.arrangement(*rollout.rewards.shape)
        return self._batch_of(observations, rollout.actions, advantages, weights, totals, arranged)

    def _branch_batch(self, rollout: Rollout, branches: Branches, totals: Any) -> Batch:
        """Make the policy's samples from the first actions of branches."""
        settings, _ = self._numbers.read()
        samples = branch_samples(rollout, branches, self._policy, self._critics, settings, self.chunk_size)
        return self._batch_of(*samples, totals, Flat(samples.weights.shape[0]))

    def _batch_of(
        self,
        observations: Any,
        actions: Any,
        advantages: Sequence[tf.Tensor],
        weights: tf.Tensor,
        totals: Any,
        arranged: Arrangement,
    ) -> Batch:
        """Make samples, given arranged observations; actions and advantages [T, B, ...] are not arranged yet."""
        settings, _ = self._numbers.read()
        first, shape = Batch((), (), merged(advantages[0]), weights), advantages[0].shape
        batch = scaled_advantages(self._critics[0].return_scale, first, settings)
        return batch._replace(
            observations=observations,
            actions=arranged.rows(tf.convert_to_tensor(actions)),
            advantages=arranged.rows(tf.reshape(batch.advantages, shape)),
            weights=arranged.weights(tf.reshape(weights, shape)),
            costs=self._costs(advantages[1:], weights, totals, arranged),
            anchor=() if self._anchor is None else self._anchor_parameters(observations),
        )

    def _costs(
        self, advantages: Sequence[tf.Tensor], weights: tf.Tensor, totals: Any, arranged: Arrangement
    ) -> Costs | tuple[()]:
        """Return the costs. Their advantages are in the costs' own units, with mean 0 if advantages are normalised."""
        if not advantages:
            return ()
        settings, _ = self._numbers.read()
        units = tf.stack([unit_of(critic.return_scale, settings) for critic in self._critics[1:]])
        in_units = tf.stack(advantages, axis=-1) * units
        if settings.normalize_advantages:
            in_units -= tf.linalg.matvec(merged(in_units), weights, transpose_a=True)
        return Costs(arranged.rows(in_units), totals[:-1], totals[-1])

    def _anchor_parameters(self, observations: Any) -> tf.Tensor:
        assert self._anchor is not None
        return map_over_chunks(self._anchor.distribution_parameters, observations, self.chunk_size(observations))

    def _values(self, value_function: ValueFunction, rollout: Rollout, states: States) -> tuple[tf.Tensor, States]:
        """Compute V [T + 1, B], and the states of the value function's memory before each row."""
        observations = tf.nest.map_structure(merged, rollout.observations)
        shape = tf.nest.flatten(rollout.observations)[0].shape[:2]
        chunk_size, encoder = self.chunk_size(observations), value_function.encoder
        if encoder.memory is None:
            return tf.reshape(map_over_chunks(value_function, observations, chunk_size), shape), ()
        features = map_over_chunks(lambda rows: encoder.features(encoder.centred(rows)), observations, chunk_size)
        by_time = tf.reshape(features, [*shape, features.shape[-1]])
        outputs, states = unrolled(encoder.memory, by_time, rollout, states, self._jit_compile)
        return tf.squeeze(encoder.output_layer(outputs), axis=-1), states
