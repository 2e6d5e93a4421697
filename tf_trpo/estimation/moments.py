"""Weighted means and variances, and the union of two sets of samples."""

from __future__ import annotations

import math
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes


class Moments(NamedTuple):
    """Moments of a set of samples [...].

    Attributes:
      mean: float [...].
      variance: variance of the population, float [...].
      count: number of samples, float scalar.
    """

    mean: tf.Tensor
    variance: tf.Tensor
    count: tf.Tensor


def weighted_mean(samples: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Compute the weighted mean of samples.

    Args:
      samples: float [N]. A sample of weight 0 may have any value, also NaN.
      weights: float [N], >= 0, with sum 1.

    Returns:
      float scalar.
    """
    check_shapes("weighted_mean", samples=(samples, "N"), weights=(weights, "N"))
    return tf.reduce_sum(tf.math.multiply_no_nan(samples, weights))


def weighted_moments(samples: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute mean and population variance over the first axis.

    Args:
      samples: float [N, ...]. A sample of weight 0 may have any value, also NaN.
      weights: float [N], >= 0, with sum 1.

    Returns:
      Mean and variance, each float [...].
    """
    check_shapes("weighted_moments", samples=(samples, "N ..."), weights=(weights, "N"))
    # Deviations are measured from one of the samples, so that equal samples have a variance of exactly 0. Otherwise the
    # rounding error of the mean would look like a spread, and dividing by it would give values of size 1.
    reference = tf.gather(samples, tf.argmax(weights))
    if samples.shape.rank != 1:
        weights = tf.reshape(weights, [-1] + [1] * (len(samples.shape) - 1))
    # multiply_no_nan: a sample that is not finite counts as 0 if its weight is 0.
    offsets = samples - reference
    mean_offset = tf.reduce_sum(tf.math.multiply_no_nan(offsets, weights), axis=0)
    variance = tf.reduce_sum(tf.math.multiply_no_nan(tf.square(offsets - mean_offset), weights), axis=0)
    return reference + mean_offset, variance


def combined_moments(first: Moments, second: Moments) -> Moments:
    """Compute the moments of the union of two sets of samples of equal shapes.

    A set with a count of 0 and an infinite variance does not change the result, nor does a second set with a count of 0
    whose mean is not finite.

    Source:
      Chan, Golub and LeVeque (1983), equation 2.1.
    """
    parts = {"first": first._asdict(), "second": second._asdict()}
    shapes = {"mean": "S...", "variance": "S...", "count": ""}
    named = {f"{part}.{name}": (parts[part][name], shapes[name]) for part in parts for name in shapes}
    check_shapes("combined_moments", **named)
    count = first.count + second.count
    share = tf.math.divide_no_nan(second.count, count)
    delta = second.mean - first.mean
    # multiply_no_nan: a moment with a share of 0 counts as 0, even if it is not finite.
    mean = first.mean + tf.math.multiply_no_nan(delta, share)
    rest = 1.0 - share
    variance = tf.math.multiply_no_nan(first.variance, rest) + tf.math.multiply_no_nan(second.variance, share)
    return Moments(mean, variance + tf.math.multiply_no_nan(tf.square(delta), share * rest), count)


def explained_variance(predictions: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Compute 1 - Var(targets - predictions) / Var(targets).

    Args:
      predictions, targets: float [N].
      weights: float [N], with sum 1; 0 on padding.

    Returns:
      float scalar <= 1: 1 for perfect predictions, 0 for a constant, negative if a constant is better. NaN if the
      targets are constant.
    """
    check_shapes("explained_variance", predictions=(predictions, "N"), targets=(targets, "N"), weights=(weights, "N"))
    _, residual = weighted_moments(targets - predictions, weights)
    _, total = weighted_moments(targets, weights)
    return tf.where(total > 0, 1.0 - residual / total, math.nan)
