"""Settings that are numbers, as tensors."""

from __future__ import annotations

import numbers

from tf_trpo.lazy import tensorflow as tf


def scalar(number: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Give a number, or a float scalar, in a float type: rounded once, and not by way of float32 as by `tf.cast`."""
    return tf.cast(number, dtype) if tf.is_tensor(number) else tf.constant(number, dtype)


def is_positive(setting: float | tf.Tensor) -> bool:
    """Tell whether a setting >= 0 is not 0: in a compiled update, it may be a tensor, but 0 stays a number."""
    # Asked for when settings are made, which does not wait for TensorFlow.
    return not isinstance(setting, numbers.Real) or float(setting) > 0
