"""Weighted means and variances, and how two sets of them combine."""

from __future__ import annotations

import math
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf


class Moments(NamedTuple):
    """Mean, variance (of the population) and number of the samples seen."""

    mean: tf.Tensor
    variance: tf.Tensor
    count: tf.Tensor


def weighted_mean(samples: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Mean of samples [N] under weights [N] that sum to 1; samples of weight 0 may be anything."""
    return tf.reduce_sum(tf.where(weights > 0, weights * samples, tf.zeros_like(samples)))


def weighted_moments(samples: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and population variance over the first axis.

    Args:
      samples: float [N, ...].
      weights: float [N], non-negative, summing to 1; samples of weight 0 may be anything.

    Returns:
      Mean and variance, each [...].
    """
    # Measured from one of the samples, equal samples have a variance of exactly 0. Otherwise the rounding
    # error of their mean would pass for a spread, and whoever divides by it would blow it up to size 1.
    reference = tf.gather(samples, tf.argmax(weights))
    weights = tf.reshape(weights, [-1] + [1] * (samples.shape.rank - 1))
    offsets = tf.where(weights > 0, samples - reference, tf.zeros_like(samples))
    mean_offset = tf.reduce_sum(weights * offsets, axis=0)
    # A square that overflows is infinite; times a weight of 0 it would be no number.
    deviations = tf.where(weights > 0, offsets - mean_offset, tf.zeros_like(offsets))
    return reference + mean_offset, tf.reduce_sum(weights * tf.square(deviations), axis=0)


def combined_moments(first: Moments, second: Moments) -> Moments:
    """Moments of the union of two sets of samples.

    Source:
      Chan, Golub and LeVeque (1983), equation 2.1.
    """
    count = first.count + second.count
    share = tf.math.divide_no_nan(second.count, count)
    delta = second.mean - first.mean
    mean = first.mean + share * delta
    variance = _times(1.0 - share, first.variance) + _times(share, second.variance)
    return Moments(mean, variance + _times(share * (1.0 - share), tf.square(delta)), count)


def _times(share: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """The product; a share of 0 of what is infinite is 0."""
    return tf.where(share > 0, share * spread, tf.zeros_like(spread))


def explained_variance(predictions: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """1 - Var(targets - predictions) / Var(targets).

    Args:
      predictions: float [N].
      targets: float [N].
      weights: float [N], summing to 1, 0 on padding.

    Returns:
      Scalar: 1 is perfect, 0 no better than a constant, negative worse than one; NaN where the
      targets do not vary.
    """
    _, residual = weighted_moments(targets - predictions, weights)
    _, total = weighted_moments(targets, weights)
    return tf.where(total > 0, 1.0 - residual / total, math.nan)
