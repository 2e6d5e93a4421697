"""What samples say about the lower bound on the expected return: its constants, and its value."""

from __future__ import annotations

import math
from typing import NamedTuple

from tf_trpo.estimation.batch import Batch
from tf_trpo.lazy import tensorflow as tf


class LowerBound(NamedTuple):
    """Estimates from one batch; float64 scalars, in the environment's own units of return.

    Attributes:
      epsilon: max |A| over the valid samples.
      penalty_coefficient: C = 4 epsilon gamma / (1 - gamma)^2, for each nat.
      predicted_improvement: the linear model's L(new) - L(old).
      actual_improvement: L(new) - L(old).
      improvement: L(new) - L(old) - C D_max: by so much, the bound says, the return rises at least.
    """

    epsilon: tf.Tensor
    penalty_coefficient: tf.Tensor
    predicted_improvement: tf.Tensor
    actual_improvement: tf.Tensor
    improvement: tf.Tensor


def advantage_scale(batch: Batch) -> tf.Tensor:
    """What the advantages were divided by; float64 scalar."""
    return _float64(batch.advantage_scale)


def largest_advantage(batch: Batch) -> tf.Tensor:
    """epsilon = max |A| over the valid samples, unnormalised; float64 scalar."""
    raw = _float64(batch.advantage_mean) + advantage_scale(batch) * tf.cast(batch.advantages, tf.float64)
    return tf.reduce_max(tf.where(batch.weights > 0, tf.abs(raw), 0.0))


def penalty_coefficient(epsilon: tf.Tensor, gamma: float) -> tf.Tensor:
    """C = 4 epsilon gamma / (1 - gamma)^2; infinite at gamma = 1.

    Args:
      epsilon: max |A|, in units of return.
      gamma: discount, in [0, 1].

    Returns:
      C, in units of return for each nat.

    Source:
      Schulman et al. (2015), theorem 1; lecture, "there exists the following bound".
    """
    return (
        epsilon * (4.0 * gamma / (1.0 - gamma) ** 2)
        if gamma < 1
        else tf.fill(epsilon.shape, tf.constant(math.inf, epsilon.dtype))
    )


def estimate_lower_bound(
    batch: Batch, *, predicted: tf.Tensor, actual: tf.Tensor, max_kl: tf.Tensor, gamma: float
) -> LowerBound:
    """Estimate the bound eta(new) - eta(old) >= L(new) - L(old) - C D_max for a step that was taken.

    In the bound, L sums over unnormalised discounted visits, 1 / (1 - gamma) in all, where a batch has a
    mean over samples: that mean is divided by 1 - gamma.

    It is an estimate, and no guarantee: epsilon and D_max are maxima over the states that were sampled,
    the true ones are over all; the advantages are estimates; and samples are not discounted by the time
    of their visit. And it is loose: C takes every state for as bad as the worst one, at every step of
    the horizon 1 / (1 - gamma), and once more for how far the visits may drift. With gamma = 0.99, C is
    about 40,000 epsilon, against a gain of at most 200 epsilon for each unit of total variation.
    So at the step sizes that work in practice the bound is far below 0, and a step that it vouches for
    is tiny. What it shows is by how much, and how that changes.

    Args:
      batch: that the step was taken on.
      predicted: the linear model's gain in the mean surrogate, in the units of `batch.advantages`.
      actual: the gain in the mean surrogate, likewise.
      max_kl: the largest KL(old || new) of a sampled state, in nats.
      gamma: discount, in [0, 1]; at 1 there is no bound: its improvement is minus infinity, and gains over an
        endless horizon are infinite, unless they are 0.

    Returns:
      The `LowerBound`.

    Source:
      Schulman et al. (2015), equations 9 and 10; lecture, "there exists the following bound".
    """
    epsilon = largest_advantage(batch)
    coefficient = penalty_coefficient(epsilon, gamma)
    horizon = tf.constant(1.0 / (1.0 - gamma) if gamma < 1 else math.inf, tf.float64)
    in_return = horizon * advantage_scale(batch)
    # Without a step both are 0, and 0 times infinity should be.
    gain, linear = (tf.math.multiply_no_nan(in_return, tf.cast(value, tf.float64)) for value in (actual, predicted))
    penalty = tf.math.multiply_no_nan(coefficient, tf.cast(max_kl, tf.float64))
    improvement = gain - penalty if gamma < 1 else tf.constant(-math.inf, tf.float64)
    return LowerBound(epsilon, coefficient, linear, gain, improvement)


def _float64(value: tf.Tensor | float) -> tf.Tensor:
    # tf.cast would take a Python number by way of float32.
    return tf.cast(value, tf.float64) if tf.is_tensor(value) else tf.constant(value, tf.float64)
