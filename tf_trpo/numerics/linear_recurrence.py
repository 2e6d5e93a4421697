"""Solve first-order linear recurrences along time in a logarithmic number of vector operations."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes


def linear_recurrence(decay: tf.Tensor, inputs: tf.Tensor, *, reverse: bool = False) -> tf.Tensor:
    """Solve y_t = decay_t y_{t-1} + inputs_t along the first axis, with y_{-1} = 0.

    With `reverse`, solve y_t = decay_t y_{t+1} + inputs_t with y_T = 0. There are ceil(log2 T) passes, each of which
    doubles the number of rows that contribute to a value. A sequential loop would have its overhead T times.

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
    length, padding = decay.shape[0], tf.zeros_like(inputs)

    def double(shift: tf.Tensor, decay: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start = tf.stack([shift if reverse else length - shift, *[0] * (values.shape.rank - 1)])

        def moved(rows: tf.Tensor) -> tf.Tensor:
            """Move row t - shift (t + shift in reverse) to row t, with zeros beyond the end."""
            return tf.slice(tf.concat([rows, padding] if reverse else [padding, rows], axis=0), start, values.shape)

        return 2 * shift, decay * moved(decay), values + decay * moved(values)

    return tf.while_loop(lambda shift, *_: shift < length, double, [tf.constant(1), decay, inputs])[2]
