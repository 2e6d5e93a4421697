"""The surrogate objective L of a new policy, estimated from samples of the old policy."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes


def surrogate_advantage(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Estimate the surrogate E[ pi_new(a|s) / pi_old(a|s) A(s, a) ], which is MAXIMISED.

    Args:
      log_prob: log pi_new(a|s), float [N].
      old_log_prob: log pi_old(a|s), float [N].
      advantages: A(s, a) under the old policy, float [N].
      weights: float [N], with sum 1; 0 on padding.

    Returns:
      float scalar, in the unit of the advantages.

    Raises:
      ValueError: a shape is wrong.

    Source:
      Schulman et al. (2015), equation 14; lecture, "L(pi_new)".
    """
    log_ratio = _log_ratio("surrogate_advantage", log_prob, old_log_prob, advantages, weights)
    return weighted_mean(tf.exp(log_ratio) * advantages, weights)


def surrogate_improvement(
    log_prob: tf.Tensor, old_log_prob: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Estimate L(new) - L(old) without the cancellation of a difference of two surrogates.

    Arguments, result and errors are as in `surrogate_advantage`.
    """
    log_ratio = _log_ratio("surrogate_improvement", log_prob, old_log_prob, advantages, weights)
    return weighted_mean(tf.math.expm1(log_ratio) * advantages, weights)


def _log_ratio(function: str, log_prob: tf.Tensor, old_log_prob: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
    """Compute log (pi_new / pi_old) [N], 0 on padding; raise ValueError unless all arguments have the shape [N]."""
    names = ("log_prob", "old_log_prob", "advantages", "weights")
    tensors = (log_prob, old_log_prob, *others)
    check_shapes(function, **{name: (tensor, "N") for name, tensor in zip(names, tensors, strict=True)})
    # On padding, any actions may stand, and a ratio that overflows would make the gradient NaN times 0.
    return tf.where(tf.equal(others[-1], 0), tf.zeros_like(log_prob), log_prob - old_log_prob)
