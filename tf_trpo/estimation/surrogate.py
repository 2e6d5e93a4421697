"""The surrogate objective L: what the old policy's samples say about a new policy."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_mean
from tf_trpo.lazy import tensorflow as tf


def surrogate_advantage(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Importance-sampled advantage, E[ pi_new(a|s) / pi_old(a|s) A(s, a) ]: to be MAXIMISED.

    Args:
      log_prob: log pi_new(a|s), float [N].
      old_log_prob: log pi_old(a|s), float [N].
      advantages: A(s, a) under the old policy, float [N].
      weights: float [N], summing to 1, 0 on padding.

    Returns:
      Scalar.

    Source:
      Schulman et al. (2015), equation 14; lecture, "L(pi_new)".
    """
    return weighted_mean(tf.exp(log_prob - old_log_prob) * advantages, weights)


def surrogate_improvement(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """L(new) - L(old), without the cancellation that subtracting the two would suffer.

    Arguments as in `surrogate_advantage`.
    """
    return weighted_mean(tf.math.expm1(log_prob - old_log_prob) * advantages, weights)
