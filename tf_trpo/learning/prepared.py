"""The samples of an update, and the functions that compute them from the rows of a rollout."""

from __future__ import annotations

from typing import Any, NamedTuple

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
from tf_trpo.learning.segments import remembered_spec
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.learning.vine import branches_spec
from tf_trpo.models import Policy, RunningReturnScale
from tf_trpo.models.memory import States, chosen
from tf_trpo.models.normalization import Statistics
from tf_trpo.numerics import merged
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.vine import Vine
from tf_trpo.spaces import map_parts


class Carry(NamedTuple):
    """State that is carried from one rollout to the next in each of B environments.

    Attributes:
      returns: carry of `discounted_return_so_far`, [B].
      states: of the value function's memory, arrays [B, ...]; empty without a memory.
      costs: the same for each cost.
    """

    returns: tf.Tensor
    states: States = ()
    costs: tuple[Carry, ...] = ()


def restarted(carry: Any, first: Any, restarts: Any) -> Any:
    """Reset a nest of arrays [B, ...] to the first ones, in the environments that restart, bool [B]."""
    return tf.nest.map_structure(lambda now, new: chosen(restarts, new, now), carry, first)


def finite_or_first(states: States, first: States) -> States:
    """Reset a memory's states [B, ...] in the environments where a number is not finite; it would stay so."""
    rows = [tf.reshape(part, [part.shape[0], -1]) for part in states]
    return restarted(states, first, ~tf.reduce_all(tf.math.is_finite(tf.concat(rows, 1)), 1)) if rows else ()


class ValueSamples(NamedTuple):
    """Samples for a value function: [N, ...], or [S, L, ...] in segments.

    Attributes:
      observations: those of the rollout, with the states of the value function's own memory, if any.
      rewards: [T, B], the environment's rewards or one of its costs, scaled.
      values, targets: V of the samples, and the targets of its regression.
      weights: as in a `Batch`.
      statistics: new statistics of observations.
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
    """All samples of an update.

    Attributes:
      batch: samples for the policy.
      values: samples for each value function, of the rewards first and then of the costs.
      policy_statistics: new statistics of the policy's observations.
    """

    batch: Batch
    values: tuple[ValueSamples, ...]
    policy_statistics: list[Statistics]


def as_tensors(rollout: Rollout, *others: Any) -> list[Any]:
    """Convert the arguments of an update to tensors, without the parts of the rollout that updates do not use."""
    converted: list[Any] = tf.nest.map_structure(tf.convert_to_tensor, [rollout._replace(infos=(), begun=()), *others])
    return converted


def as_floats(rollout: Rollout) -> Rollout:
    """Cast a rollout's rewards and flags to float32."""
    names = ("rewards", "terminated", "truncated", "valid")
    return rollout._replace(**{name: tf.cast(getattr(rollout, name), tf.float32) for name in names})


def scaled_rewards(
    scale: RunningReturnScale, rewards: tf.Tensor, steps: Rollout, carry: tf.Tensor, settings: UpdateSettings
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Divide rewards, or a cost, by the running std of the discounted return; all rows of a rollout have one scale.

    Args:
      scale: running scale, which is first updated with these rows.
      rewards: [T, B], float32.
      steps: the rollout, by `as_floats`.
      carry: of `discounted_return_so_far` [B].
      settings: gamma and normalize_rewards are used.

    Returns:
      The rewards [T, B], the new carry [B], and whether the returns' moments were finite.
    """
    if not settings.normalize_rewards:
        return rewards, carry, tf.constant(True)
    ended = tf.maximum(steps.terminated, steps.truncated)
    returns, carry = discounted_return_so_far(rewards, ended, steps.valid, carry, gamma=settings.gamma)
    weights, count = mean_weights(steps.valid)
    sound = scale.update(Moments(*weighted_moments(merged(returns), weights), count))
    # If the sum overflowed, it restarts at 0.
    return scale(rewards), tf.where(tf.math.is_finite(carry), carry, 0.0), sound


def unit_of(scale: RunningReturnScale, settings: UpdateSettings) -> tf.Tensor:
    """Return the factor that converts scaled rewards, or a scaled cost, to the environment's own unit."""
    return 1.0 / scale(tf.constant(1.0)) if settings.normalize_rewards else tf.constant(1.0)


def scaled_advantages(scale: RunningReturnScale, batch: Batch, settings: UpdateSettings) -> Batch:
    """Clip and normalise a batch's advantages, and store their mean and scale in the environment's own units.

    Args:
      scale: of the rewards.
      batch: with advantages in the unit of the scaled rewards.
      settings: normalize_rewards, advantage_clip and normalize_advantages are used.
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
      settings: gamma, gae_lambda and value_target are used.
    """
    inputs = (rewards, values, steps.terminated, steps.truncated, steps.valid)
    advantages = gae(*inputs, gamma=settings.gamma, gae_lambda=settings.gae_lambda)
    if settings.value_target == "reward-to-go":
        return advantages, rewards_to_go(*inputs, gamma=settings.gamma)
    return advantages, lambda_returns(advantages, values)


def mean_weights(valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the weights [N] of a mean over valid rows, and the number of these rows."""
    count = tf.reduce_sum(valid)
    return merged(valid) / tf.maximum(count, 1.0), count


def rollout_spec(policy: Policy, num_steps: int, num_envs: int, num_costs: int, vine: Vine | None = None) -> Rollout:
    """Return the specs of the arrays in a rollout of T steps of B environments, with C costs, and maybe branches."""
    shape, distribution = (num_steps, num_envs), policy.action_distribution
    action = distribution.mode(distribution.one_row())
    observations = map_parts(
        lambda part: tf.TensorSpec((num_steps + 1, num_envs, *part.shape), part.dtype), policy.encoder.spec
    )
    actions, rewards = tf.TensorSpec((*shape, *action.shape[1:]), action.dtype), tf.TensorSpec(shape, tf.float64)
    flag = tf.TensorSpec(shape, tf.bool)
    memory = remembered_spec(policy.memory, num_steps, num_envs)
    costs = tf.TensorSpec((*shape, num_costs), tf.float64) if num_costs else ()
    branches = () if vine is None else branches_spec(vine, policy, actions, num_envs, num_costs)
    return Rollout(observations, actions, rewards, flag, flag, flag, memory=memory, costs=costs, branches=branches)
