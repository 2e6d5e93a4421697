"""What an update learns from, and how the rows of a rollout become its samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_trpo.estimation import (
    Batch,
    Moments,
    advantage_moments,
    discounted_return_so_far,
    gae,
    lambda_returns,
    normalize_advantages,
    rewards_to_go,
    weighted_moments,
    winsorize,
)
from tf_trpo.models import Policy, RunningReturnScale
from tf_trpo.models.memory import States, chosen
from tf_trpo.models.normalization import Statistics
from tf_trpo.numerics import merged
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.vine import Vine
from tf_trpo.spaces import map_parts
from tf_trpo.training.segments import remembered_spec
from tf_trpo.training.settings import UpdateSettings
from tf_trpo.training.vine import branches_spec


class Carry(NamedTuple):
    """What goes on from one rollout to the next in each of B environments.

    Attributes:
      returns: of `discounted_return_so_far`, [B].
      states: of the value function's memory, arrays [B, ...]; empty without a memory.
      costs: the same of each cost.
    """

    returns: tf.Tensor
    states: States = ()
    costs: tuple[Carry, ...] = ()


def restarted(carry: Carry, first: Carry, restarts: np.ndarray) -> Carry:
    """Carry nothing on in the environments that restart, bool [B]: they have the first carry again."""

    begun: Carry = tf.nest.map_structure(lambda now, new: chosen(restarts, new, now), carry, first)
    return begun


class ValueSamples(NamedTuple):
    """What a value function learns from: N samples, one by one, or [S, L] in segments.

    Attributes:
      observations: of the rollout, as those of the policy's samples without branches, but for a memory's states.
      rewards: [T, B], scaled: those of the environment, or a cost.
      values, targets: V of the samples, and what it is fitted to.
      weights: as in a `Batch`.
      statistics: of observations, the new ones.
      sound: whether the moments of the returns were finite.
    """

    observations: Any
    rewards: tf.Tensor
    values: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    statistics: list[Statistics]
    sound: tf.Tensor


class Prepared(NamedTuple):
    """What an update learns from.

    Attributes:
      batch: samples of the policy.
      values: samples of the value functions, first that of the rewards, and then those of the costs.
      policy_statistics: of observations, the new ones.
    """

    batch: Batch
    values: tuple[ValueSamples, ...]
    policy_statistics: list[Statistics]


def as_floats(rollout: Rollout) -> Rollout:
    """Cast a rollout's rewards and flags to float32."""
    names = ("rewards", "terminated", "truncated", "valid")
    return rollout._replace(**{name: tf.cast(getattr(rollout, name), tf.float32) for name in names})


def scaled_rewards(
    scale: RunningReturnScale, rewards: tf.Tensor, steps: Rollout, carry: tf.Tensor, settings: UpdateSettings
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Divide rewards, or a cost, by the std of the return so far, these rows included: one scale for all of them.

    Args:
      scale: takes the rows in.
      rewards: [T, B], float32.
      steps: the rollout, by `as_floats`.
      carry: of `discounted_return_so_far` [B].
      settings: gamma and normalize_rewards.

    Returns:
      The rewards [T, B], the new carry [B], and whether the returns' moments were finite.
    """
    if not settings.normalize_rewards:
        return rewards, carry, tf.constant(True)
    ended = tf.maximum(steps.terminated, steps.truncated)
    returns, carry = discounted_return_so_far(rewards, ended, steps.valid, carry, gamma=settings.gamma)
    weights, count = mean_weights(steps.valid)
    sound = scale.update(Moments(*weighted_moments(merged(returns), weights), count))
    # If the sum overflowed, it starts again at 0.
    return scale(rewards), tf.where(tf.math.is_finite(carry), carry, 0.0), sound


def unit_of(scale: RunningReturnScale, settings: UpdateSettings) -> tf.Tensor:
    """Give what scaled rewards, or a scaled cost, are multiplied by to have the environment's own unit."""
    return 1.0 / scale(tf.constant(1.0)) if settings.normalize_rewards else tf.constant(1.0)


def scaled_advantages(scale: RunningReturnScale, batch: Batch, settings: UpdateSettings) -> Batch:
    """Clip and normalise the advantages of a batch, and note how they came from those in the environment's own units.

    Args:
      scale: of the rewards.
      batch: with advantages in the unit of the scaled rewards.
      settings: normalize_rewards, advantage_clip and normalize_advantages.
    """
    unit = unit_of(scale, settings)
    if settings.advantage_clip is not None:
        batch = batch._replace(advantages=winsorize(batch.advantages, batch.weights, settings.advantage_clip))
    if not settings.normalize_advantages:
        return batch._replace(advantage_mean=tf.constant(0.0), advantage_scale=unit)
    mean, std = advantage_moments(batch.advantages, batch.weights)
    advantages = normalize_advantages(batch.advantages, batch.weights)
    return batch._replace(advantages=advantages, advantage_mean=unit * mean, advantage_scale=unit * std)


def advantages_and_targets(
    steps: Rollout, rewards: tf.Tensor, values: tf.Tensor, settings: UpdateSettings
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the advantages and the value function's targets [T, B].

    Args:
      steps: the rollout, by `as_floats`.
      rewards: [T, B], scaled.
      values: [T + 1, B].
      settings: gamma, gae_lambda and value_target.
    """
    inputs = (rewards, values, steps.terminated, steps.truncated, steps.valid)
    advantages = gae(*inputs, gamma=settings.gamma, gae_lambda=settings.gae_lambda)
    if settings.value_target == "reward-to-go":
        return advantages, rewards_to_go(*inputs, gamma=settings.gamma)
    return advantages, lambda_returns(advantages, values)


def mean_weights(valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the weights [N] of a mean over valid rows, and the number of these rows."""
    count = tf.reduce_sum(valid)
    return merged(valid) / tf.maximum(count, 1.0), count


def rollout_spec(policy: Policy, num_steps: int, num_envs: int, num_costs: int, vine: Vine | None = None) -> Rollout:
    """Give the types of the arrays in a rollout of T steps of B environments, with C costs, and maybe branches."""
    shape, distribution = (num_steps, num_envs), policy.action_distribution
    action = distribution.mode(distribution.parameters(tf.zeros([1, distribution.num_outputs])))
    observations = map_parts(
        lambda part: tf.TensorSpec((num_steps + 1, num_envs, *part.shape), part.dtype), policy.encoder.spec
    )
    actions, rewards = tf.TensorSpec((*shape, *action.shape[1:]), action.dtype), tf.TensorSpec(shape, tf.float64)
    flag = tf.TensorSpec(shape, tf.bool)
    memory = remembered_spec(policy.memory, num_steps, num_envs)
    costs = tf.TensorSpec((*shape, num_costs), tf.float64) if num_costs else ()
    branches = () if vine is None else branches_spec(vine, policy, actions, num_envs, num_costs)
    return Rollout(observations, actions, rewards, flag, flag, flag, memory=memory, costs=costs, branches=branches)
