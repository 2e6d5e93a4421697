"""Scalars: numeric settings as tensors, dot products, and norms."""

from __future__ import annotations

import numbers

from tf_trpo.lazy import tensorflow as tf


def scalar(number: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Convert a number or float scalar to a float dtype; a number is rounded once, not via float32 as in `tf.cast`."""
    return tf.cast(number, dtype) if tf.is_tensor(number) else tf.constant(number, dtype)


def dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Compute the dot products [...] of vectors [..., P] in float64.

    In float32, the squares of small vectors underflow and those of large ones overflow, so that a result would depend
    on the scale of the vectors, and for numbers near the smallest one on the processor.
    """
    return tf.reduce_sum(tf.cast(a, tf.float64) * tf.cast(b, tf.float64), axis=-1)


def norm(vector: tf.Tensor) -> tf.Tensor:
    """Compute the Euclidean norms [...] of vectors [..., P] in float64, for the same reason."""
    return tf.sqrt(dot(vector, vector))


def is_positive(setting: float | tf.Tensor) -> bool:
    """Return whether a setting >= 0 is not 0. In a compiled update it may be a tensor, but then it is not 0."""
    # Settings are made before TensorFlow is imported, so tf.is_tensor is not used.
    return not isinstance(setting, numbers.Real) or float(setting) > 0
