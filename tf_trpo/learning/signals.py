"""Rewards and costs of a rollout: their scale, their advantages and the targets of their value functions."""

from __future__ import annotations

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
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models import RunningReturnScale
from tf_trpo.numerics import merged
from tf_trpo.rollouts import Rollout


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
