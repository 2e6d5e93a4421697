"""Schedules: a setting as a function of progress, the fraction of a run that is over."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf


def linear(start: float, end: float, progress: float | tf.Tensor) -> tf.Tensor:
    """Go from start to end by equal differences.

    Args:
      start: the value at progress 0.
      end: the value at progress 1.
      progress: a number or a float scalar; values outside [0, 1] count as the nearer end.

    Returns:
      float64 scalar; start and end exactly at the ends.
    """
    # tf.cast would take a Python number by way of float32.
    progress = tf.cast(progress, tf.float64) if tf.is_tensor(progress) else tf.constant(progress, tf.float64)
    done = tf.clip_by_value(progress, 0.0, 1.0)
    return start * (1.0 - done) + end * done
