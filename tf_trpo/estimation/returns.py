"""Compute returns: targets of the value function, and the discounted return by which rewards are scaled."""

from __future__ import annotations

from tf_trpo.estimation.advantages import check_rollout, gae
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, linear_recurrence, scalar


def lambda_returns(advantages: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Compute TD(lambda) returns, A_t + V(s_t).

    Args:
      advantages: GAE(lambda) advantages, float [T, B].
      values: V of the observation at each row, float [T + 1, B], in the unit of the advantages.

    Returns:
      float [T, B], in the same unit.

    Source:
      Sutton and Barto (2018), equation 12.2; Schulman et al. (2016), section 3.
    """
    check_shapes("lambda_returns", advantages=(advantages, "T B"), values=(values, "T+1 B"))
    return advantages + values[:-1]


def rewards_to_go(
    rewards: tf.Tensor,
    values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    valid: tf.Tensor,
    *,
    gamma: float | tf.Tensor,
) -> tf.Tensor:
    """Sum the discounted rewards up to the end of the episode: R_t of Algorithm 1, line 5.

    If the episode was truncated, or the rollout ended before the episode, the discounted value of the true successor
    is added in place of the unseen rewards. So this is the lambda-return with lambda = 1.

    Args:
      rewards, values, terminated, truncated, valid, gamma: as in `gae`.

    Returns:
      float [T, B], in the unit of the rewards.

    Source:
      Lecture, Algorithm 1, line 5.
    """
    check_rollout("rewards_to_go", rewards, values, terminated, truncated, valid)
    advantages = gae(rewards, values, terminated, truncated, valid, gamma=gamma, gae_lambda=1.0)
    return lambda_returns(advantages, values)


def discounted_return_so_far(
    rewards: tf.Tensor, ended: tf.Tensor, valid: tf.Tensor, carry: tf.Tensor, *, gamma: float | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the running return G_t = gamma G_{t-1} + r_t, which is reset to 0 at the beginning of every episode.

    Args:
      rewards: float [T, B]; 0 on rows that are not valid.
      ended: 1 if the step was the last of its episode, else 0; float [T, B].
      valid: 0 if the row is not a step of an episode (autoreset, a pause) and passes G on undiscounted; float [T, B].
      carry: gamma G of the last step before these rows, 0 if an episode starts; float [B].
      gamma: discount, in [0, 1]; a number or a float64 scalar.

    Returns:
      G, float [T, B], in the unit of the rewards, and the carry for the next rows, float [B].
    """
    rows = {"rewards": (rewards, "T B"), "ended": (ended, "T B"), "valid": (valid, "T B")}
    check_shapes("discounted_return_so_far", **rows, carry=(carry, "B"))
    goes_on = scalar(gamma, rewards.dtype) * (1.0 - ended) * valid + (1.0 - valid)
    decay = tf.concat([tf.zeros_like(goes_on[:1]), goes_on[:-1]], axis=0)
    inputs = tf.concat([rewards[:1] + carry, rewards[1:]], axis=0)
    returns = linear_recurrence(decay, inputs)
    return returns, goes_on[-1] * returns[-1]
