"""Returns: what the value function is regressed on, and what rewards are scaled by."""

from __future__ import annotations

from tf_trpo.estimation.advantages import gae
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import linear_recurrence


def lambda_returns(advantages: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """TD(lambda) returns, A_t + V(s_t).

    Args:
      advantages: GAE(lambda) advantages, float [T, B].
      values: float [T + 1, B].

    Returns:
      float [T, B].

    Source:
      Sutton and Barto (2018), equation 12.2; Schulman et al. (2016), section 3.
    """
    return advantages + values[:-1]


def rewards_to_go(
    rewards: tf.Tensor,
    values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    valid: tf.Tensor,
    *,
    gamma: float,
) -> tf.Tensor:
    """Discounted sum of the rewards up to the end of the episode: R_t of Algorithm 1, line 5.

    Where the episode was truncated or the rollout cut off, the value of the true successor stands
    for what was not seen; so this is the lambda-return with lambda = 1.

    Arguments as in `gae`.

    Returns:
      float [T, B].
    """
    advantages = gae(rewards, values, terminated, truncated, valid, gamma=gamma, gae_lambda=1.0)
    return lambda_returns(advantages, values)


def discounted_return_so_far(
    rewards: tf.Tensor, ended: tf.Tensor, carry: tf.Tensor, *, gamma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Running G_t = gamma G_{t-1} + r_t, starting anew with every episode.

    Args:
      rewards: float [T, B].
      ended: float [T, B], 1 where the step was the last one of its episode.
      carry: float [B], gamma G of the last step before these rows, 0 where an episode starts.
      gamma: discount, in [0, 1].

    Returns:
      G, float [T, B], and the carry for the next rows, float [B].
    """
    goes_on = gamma * (1.0 - ended)
    decay = tf.concat([tf.zeros_like(goes_on[:1]), goes_on[:-1]], axis=0)
    inputs = tf.concat([rewards[:1] + carry, rewards[1:]], axis=0)
    returns = linear_recurrence(decay, inputs)
    return returns, goes_on[-1] * returns[-1]
