"""First-order linear recurrences along time in a logarithmic number of vector operations."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes


def linear_recurrence(decay: tf.Tensor, inputs: tf.Tensor, *, reverse: bool = False) -> tf.Tensor:
    """Solve y_t = decay_t y_{t-1} + inputs_t along the first axis, with y_{-1} = 0.

    With `reverse`, solve y_t = decay_t y_{t+1} + inputs_t with y_T = 0. Each of the ceil(log2 T) passes doubles the
    number of rows that a value has reached. A sequential loop would pay its overhead T times.

    Args:
      decay: float [T, ...], with a static T.
      inputs: float [T, ...], of the same shape.
      reverse: solve from the last row to the first.

    Returns:
      y, float [T, ...].

    Source:
      Hillis and Steele (1986), data-parallel prefix sums, applied to affine maps.
    """
    check_shapes("linear_recurrence", decay=(decay, "T S..."), inputs=(inputs, "T S..."))
    length = decay.shape[0]
    shift = 1
    while shift < length:
        inputs = inputs + decay * _shifted(inputs, shift, reverse)
        decay = decay * _shifted(decay, shift, reverse)
        shift *= 2
    return inputs


def _shifted(rows: tf.Tensor, shift: int, reverse: bool) -> tf.Tensor:
    """Move row t - shift (t + shift in reverse) to row t, with zeros beyond the end."""
    padding = tf.zeros_like(rows[:shift])
    if reverse:
        return tf.concat([rows[shift:], padding], axis=0)
    return tf.concat([padding, rows[:-shift]], axis=0)
