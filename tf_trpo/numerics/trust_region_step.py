"""Compute the length of a step whose KL equals the limit in the quadratic model of the KL."""

from __future__ import annotations

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.scalars import dot, scalar
from tf_trpo.numerics.shapes import check_shapes


def step_length_for_kl(
    direction: tf.Tensor,
    fisher_times_direction: tf.Tensor,
    max_kl: float | tf.Tensor,
    *,
    damping: float | tf.Tensor = 0.0,
) -> tf.Tensor:
    """Compute the length beta with 1/2 (beta s)' F (beta s) = max_kl.

    F is the Fisher matrix without the damping of the linear system, because the constraint is on the KL. But if a
    policy has become nearly deterministic, s'Fs may be 0 by underflow, or negative by rounding. Then the damped
    curvature s'(F + damping I)s is used instead. It is larger, so the step is not too long. The same is done if
    s'Fs is within rounding of 0 next to damping s's.

    Args:
      direction: s, float [P].
      fisher_times_direction: F s, float [P].
      max_kl: delta, in nats, > 0; a number or a float scalar.
      damping: damping of the linear system that s solves, >= 0; a number or a float scalar.

    Returns:
      sqrt(2 delta / s'Fs), float scalar; 0 if neither curvature is positive and finite, or the length is not finite.

    Source:
      Schulman et al. (2015), appendix C; lecture, "Given candidate step s_unscaled rescale".
    """
    check_shapes(
        "step_length_for_kl",
        direction=(direction, "P"),
        fisher_times_direction=(fisher_times_direction, "P"),
        max_kl=(max_kl, ""),
        damping=(damping, ""),
    )
    added = scalar(damping, tf.float64) * dot(direction, direction)
    curvature = dot(direction, fisher_times_direction)
    curvature = tf.where(is_above_rounding(curvature, added, direction.dtype), curvature, curvature + added)
    usable = tf.math.is_finite(curvature) & (curvature > 0)
    length = tf.sqrt(2.0 * scalar(max_kl, tf.float64) / tf.where(usable, curvature, 1.0))
    # The length for a direction of nearly subnormal numbers would be infinite in float32.
    usable &= length <= direction.dtype.max
    return tf.cast(tf.where(usable, length, 0.0), direction.dtype)


def is_above_rounding(curvature: tf.Tensor, added: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return whether curvatures s'Fs are above the rounding error of a dtype next to damping s's, `added`, or 0."""
    return curvature > 8.0 * float(np.finfo(dtype.as_numpy_dtype).eps) * added
