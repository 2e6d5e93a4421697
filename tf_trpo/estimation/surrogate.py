"""The surrogate objective L of a new policy, estimated from samples of the old policy."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes


def surrogate_improvement(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Estimate L(new) - L(old), where the surrogate L(new) = E[ pi_new(a|s) / pi_old(a|s) A(s, a) ] is maximised.

    The difference is computed directly, because subtracting two surrogates would lose precision by cancellation.

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
    excess = _excess_ratio("surrogate_improvement", log_prob, old_log_prob, advantages, weights)
    return weighted_mean(excess * advantages, weights)


def clipped_surrogate_improvement(
    log_prob: tf.Tensor,
    old_log_prob: tf.Tensor,
    advantages: tf.Tensor,
    weights: tf.Tensor,
    *,
    clip_range: float | tf.Tensor,
) -> tf.Tensor:
    """Estimate L_clip(new) - L_clip(old), L_clip(new) = E[ min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) ].

    r is the ratio of `surrogate_improvement`. A sample has gradient 0 if its ratio has left the range in the direction
    that its advantage favours.

    Args:
      log_prob, old_log_prob, advantages, weights: as for `surrogate_improvement`.
      clip_range: epsilon, > 0; a number or a scalar of the same type.

    Returns:
      float scalar, in the unit of the advantages.

    Source:
      Schulman et al. (2017), "Proximal Policy Optimization Algorithms", equation 7.
    """
    excess = _excess_ratio("clipped_surrogate_improvement", log_prob, old_log_prob, advantages, weights)
    clipped = tf.clip_by_value(excess, -clip_range, clip_range)
    return weighted_mean(tf.minimum(excess * advantages, clipped * advantages), weights)


def _excess_ratio(
    function: str, log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Compute pi_new(a|s) / pi_old(a|s) - 1, [N]; 0 on padding."""
    check_shapes(
        function,
        log_prob=(log_prob, "N"),
        old_log_prob=(old_log_prob, "N"),
        advantages=(advantages, "N"),
        weights=(weights, "N"),
    )
    # Padding may hold any actions, whose ratio could overflow; multiplied by a weight of 0, the gradient would be NaN.
    return tf.math.expm1(tf.math.multiply_no_nan(log_prob - old_log_prob, tf.sign(weights)))
