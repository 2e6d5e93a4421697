"""The surrogate objective L of a new policy, estimated from samples of the old policy."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes


def surrogate_improvement(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Estimate L(new) - L(old), with L(new) = E[ pi_new(a|s) / pi_old(a|s) A(s, a) ], which is MAXIMISED.

    A difference of two surrogates would lose digits by cancellation.

    Args:
      log_prob: log pi_new(a|s), float [N].
      old_log_prob: log pi_old(a|s), float [N].
      advantages: A(s, a) under the old policy, float [N].
      weights: float [N], with sum 1; 0 on padding.

    Returns:
      float scalar, in the unit of the advantages.

    Source:
      Schulman et al. (2015), equation 14; lecture, "L(pi_new)".
    """
    check_shapes(
        "surrogate_improvement",
        log_prob=(log_prob, "N"),
        old_log_prob=(old_log_prob, "N"),
        advantages=(advantages, "N"),
        weights=(weights, "N"),
    )
    # On padding, any actions may stand, and a ratio that overflows would make the gradient NaN times 0.
    log_ratio = tf.math.multiply_no_nan(log_prob - old_log_prob, tf.sign(weights))
    return weighted_mean(tf.math.expm1(log_ratio) * advantages, weights)
