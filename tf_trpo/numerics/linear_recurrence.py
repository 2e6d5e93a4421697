"""First-order linear recurrences along time, in a logarithmic number of vector operations."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf


def linear_recurrence(decay: tf.Tensor, inputs: tf.Tensor, *, reverse: bool = False) -> tf.Tensor:
    """Solve y_t = decay_t y_{t-1} + inputs_t along the first axis, with y_{-1} = 0.

    With `reverse`, y_t = decay_t y_{t+1} + inputs_t and y_T = 0. Each of the ceil(log2 T) passes
    doubles how far a value has travelled; a sequential loop would pay its overhead T times.

    Args:
      decay: float tensor [T, ...], static T.
      inputs: float tensor [T, ...].
      reverse: run from the last row to the first.

    Returns:
      y, float tensor [T, ...].

    Source:
      Hillis and Steele (1986), data-parallel prefix sums, applied to affine maps.
    """
    length = decay.shape[0]
    shift = 1
    while shift < length:
        inputs = inputs + decay * _shifted(inputs, shift, reverse)
        decay = decay * _shifted(decay, shift, reverse)
        shift *= 2
    return inputs


def _shifted(rows: tf.Tensor, shift: int, reverse: bool) -> tf.Tensor:
    """Row t - shift (t + shift in reverse) at row t; zeros beyond the end."""
    padding = tf.zeros_like(rows[:shift])
    if reverse:
        return tf.concat([rows[shift:], padding], axis=0)
    return tf.concat([padding, rows[:-shift]], axis=0)
