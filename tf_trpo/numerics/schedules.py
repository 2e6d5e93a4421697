"""Schedules: settings as functions of progress, the fraction of a run that is over."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.scalars import scalar


def linear(start: float | tf.Tensor, end: float | tf.Tensor, progress: float | tf.Tensor) -> tf.Tensor:
    """Interpolate linearly from start to end.

    Args:
      start: the value at progress 0; a number or a float64 scalar.
      end: the value at progress 1; a number or a float64 scalar.
      progress: a number or a float scalar; values outside [0, 1] are clipped.

    Returns:
      float64 scalar; exactly start at progress 0 and exactly end at progress 1.
    """
    done = tf.clip_by_value(scalar(progress, tf.float64), 0.0, 1.0)
    return start * (1.0 - done) + end * done
