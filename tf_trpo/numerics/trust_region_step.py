"""The length of a step that spends the trust region exactly, in the quadratic model of the KL."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf


def step_length_for_kl(direction: tf.Tensor, fisher_times_direction: tf.Tensor, max_kl: float | tf.Tensor) -> tf.Tensor:
    """Length beta with 1/2 (beta s)' F (beta s) = max_kl.

    F is the Fisher matrix itself, without the damping that conditioned the linear system: the
    constraint is on the KL, and damping is no part of it.

    Args:
      direction: s, float vector [P].
      fisher_times_direction: F s, float vector [P].
      max_kl: delta, > 0, in nats; a number or a float scalar.

    Returns:
      Scalar sqrt(2 delta / s'Fs); 0 where s'Fs is not a positive finite number.

    Source:
      Schulman et al. (2015), appendix C; lecture, "Given candidate step s_unscaled rescale".
    """
    curvature = tf.reduce_sum(direction * fisher_times_direction)
    usable = tf.math.is_finite(curvature) & (curvature > 0)
    safe_curvature = tf.where(usable, curvature, 1.0)
    # tf.cast would take a Python number by way of float32.
    limit = tf.cast(max_kl, curvature.dtype) if tf.is_tensor(max_kl) else tf.constant(max_kl, curvature.dtype)
    return tf.where(usable, tf.sqrt(2.0 * limit / safe_curvature), 0.0)
