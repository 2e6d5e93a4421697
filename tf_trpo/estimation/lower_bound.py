"""Estimate the lower bound on the expected return, and its constants."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tf_trpo.estimation.batch import Batch
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, scalar


class LowerBound(NamedTuple):
    """Estimates from one batch; float64 scalars, in the environment's own units of return.

    Attributes:
      epsilon: max |A| over the valid samples.
      penalty_coefficient: C = 4 epsilon gamma / (1 - gamma)^2, per nat.
      predicted_improvement: L(new) - L(old) by the linear model.
      actual_improvement: L(new) - L(old).
      improvement: L(new) - L(old) - C D_max, a lower bound on the improvement of the return.
    """

    epsilon: tf.Tensor
    penalty_coefficient: tf.Tensor
    predicted_improvement: tf.Tensor
    actual_improvement: tf.Tensor
    improvement: tf.Tensor


def advantage_scale(batch: Batch) -> tf.Tensor:
    """Return the scale by which the batch's advantages were divided, as a float64 scalar."""
    check_shapes("advantage_scale", **{"batch.advantage_scale": (batch.advantage_scale, "")})
    return scalar(batch.advantage_scale, tf.float64)


def largest_advantage(batch: Batch) -> tf.Tensor:
    """Compute epsilon = max |A| over the valid samples, in the environment's own units of return; float64 scalar."""
    check_shapes("largest_advantage", **_batch_shapes(batch))
    raw = scalar(batch.advantage_mean, tf.float64) + advantage_scale(batch) * tf.cast(batch.advantages, tf.float64)
    return tf.reduce_max(tf.where(batch.weights > 0, tf.abs(raw), 0.0))


def penalty_coefficient(epsilon: tf.Tensor, gamma: float | tf.Tensor) -> tf.Tensor:
    """Compute C = 4 epsilon gamma / (1 - gamma)^2, which is infinite if gamma is 1.

    Args:
      epsilon: max |A|, in units of return, float scalar.
      gamma: discount, in [0, 1]; a number or a float64 scalar below 1.

    Returns:
      C, in units of return per nat, float scalar.

    Raises:
      ValueError: epsilon is not a scalar.

    Source:
      Schulman et al. (2015), theorem 1; lecture, "there exists the following bound".
    """
    check_shapes("penalty_coefficient", epsilon=(epsilon, ""))
    if not _is_below_1(gamma):
        return tf.constant(math.inf, epsilon.dtype)
    return epsilon * scalar(4.0 * gamma / (1.0 - gamma) ** 2, epsilon.dtype)


def estimate_lower_bound(
    batch: Batch, *, predicted: tf.Tensor, actual: tf.Tensor, max_kl: tf.Tensor, gamma: float | tf.Tensor
) -> LowerBound:
    """Estimate the bound eta(new) - eta(old) >= L(new) - L(old) - C D_max for a step that was taken.

    The bound's L sums over unnormalised discounted visits, whose total is 1 / (1 - gamma). The surrogate of a batch is
    a mean over samples, so it is divided by 1 - gamma.

    The result is an estimate without a guarantee: epsilon and D_max are maxima over the sampled states and not over
    all states, the advantages are estimates, and samples are not discounted by the time of their visit. The bound is
    also loose: C assumes the error of the worst state at every step of the horizon 1 / (1 - gamma), and once more for
    the change of the visits. With gamma = 0.99, C is about 40,000 epsilon, but the gain is at most 200 epsilon for each
    unit of total variation. So the bound is far below 0 at the step sizes that work in practice, and a step with a
    bound above 0 is tiny.

    Args:
      batch: the batch on which the step was taken.
      predicted: gain in the mean surrogate by the linear model, in the unit of `batch.advantages`; float scalar.
      actual: gain in the mean surrogate, in the same unit; float scalar.
      max_kl: largest KL(old || new) of a sampled state, in nats; float scalar.
      gamma: discount, in [0, 1]; a number, or a float64 scalar below 1. If it is 1, there is no bound: `improvement`
        is minus infinity, and a gain is infinite unless it is 0.

    Returns:
      The `LowerBound`.

    Source:
      Schulman et al. (2015), equations 9 and 10; lecture, "there exists the following bound".
    """
    scalars = {"predicted": (predicted, ""), "actual": (actual, ""), "max_kl": (max_kl, "")}
    check_shapes("estimate_lower_bound", **_batch_shapes(batch), **scalars)
    epsilon = largest_advantage(batch)
    coefficient = penalty_coefficient(epsilon, gamma)
    discounted = _is_below_1(gamma)
    horizon = scalar(1.0 / (1.0 - gamma) if discounted else math.inf, tf.float64)
    in_return = horizon * advantage_scale(batch)
    # Without a step both gains are 0, and the product with an infinite horizon must be 0 too.
    gain, linear = (tf.math.multiply_no_nan(in_return, tf.cast(value, tf.float64)) for value in (actual, predicted))
    penalty = tf.math.multiply_no_nan(coefficient, tf.cast(max_kl, tf.float64))
    improvement = gain - penalty if discounted else tf.constant(-math.inf, tf.float64)
    return LowerBound(epsilon, coefficient, linear, gain, improvement)


def _batch_shapes(batch: Batch) -> dict[str, tuple[Any, str]]:
    shapes = {"advantages": "N", "weights": "N", "advantage_mean": "", "advantage_scale": ""}
    return {f"batch.{name}": (getattr(batch, name), shape) for name, shape in shapes.items()}


def _is_below_1(gamma: float | tf.Tensor) -> bool:
    return tf.is_tensor(gamma) or gamma < 1
