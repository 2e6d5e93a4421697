"""Convert numeric settings to tensors."""

from __future__ import annotations

import numbers

from tf_trpo.lazy import tensorflow as tf


def scalar(number: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Convert a number or float scalar to a float dtype; a number is rounded once, not via float32 as in `tf.cast`."""
    return tf.cast(number, dtype) if tf.is_tensor(number) else tf.constant(number, dtype)


def is_positive(setting: float | tf.Tensor) -> bool:
    """Return whether a setting >= 0 is not 0. In a compiled update it may be a tensor, but then it is not 0."""
    # Settings are made before TensorFlow is imported, so tf.is_tensor is not used.
    return not isinstance(setting, numbers.Real) or float(setting) > 0
