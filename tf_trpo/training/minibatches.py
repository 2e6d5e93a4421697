"""Fits by a Keras optimizer in minibatches: of the value function, and of a clone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tf_trpo.estimation import counted_weights
from tf_trpo.numerics import compiled_at_once, minibatch_rows, minibatch_size_of, minibatches_per_epoch


def fit_in_minibatches(
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    weights: tf.Tensor,
    *,
    orders: tf.Tensor,
    minibatch_size: int,
    decay: bool = False,
    jit_compile: bool = False,
) -> tf.Tensor | None:
    """Minimise a loss by minibatch steps, each epoch in an order of its own.

    If a loss, a gradient or a weight is not finite on the way, the variables and the optimizer are restored.

    Args:
      loss: (rows, int32 [M], their weights [M], or [M, L] of segments, 0 on what does not count) -> float32 scalar.
      variables: what is fitted.
      optimizer: a built Keras optimizer of these variables.
      weights: float32 [N], or [S, L] of segments, 0 on padding.
      orders: int32 [epochs, N], a permutation of the samples, or of the segments, for each pass over them; see
        `random_orders`.
      minibatch_size: samples of a minibatch, >= 1; at least one segment.
      decay: let the learning rate fall linearly from its value towards 0 over the fit, which averages the noise of the
        minibatches out; afterwards the optimizer has its learning rate again. The rate must not be a Keras schedule.
      jit_compile: let XLA compile the steps, in a fit that TensorFlow traces.

    Returns:
      Scalar, the mean of the minibatch losses; None without any epoch, NaN if nothing was changed.
    """
    epochs, num_samples = orders.shape
    if epochs == 0:
        return None
    minibatch_size = minibatch_size_of(weights.shape, minibatch_size)
    steps = epochs * minibatches_per_epoch(num_samples, minibatch_size)
    changed = [*variables, *optimizer.variables]
    before = [tf.identity(variable.value) for variable in changed]
    rate = tf.convert_to_tensor(optimizer.learning_rate)

    def minibatch_step(step: tf.Tensor, total_loss: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows, counted = minibatch_rows(orders, step, minibatch_size)
        chosen = counted_weights(tf.gather(weights, rows), counted)
        with tf.GradientTape() as tape:
            value = loss(rows, chosen)
        if decay:
            optimizer.learning_rate.assign(rate * (1.0 - tf.cast(step, rate.dtype) / steps))
        optimizer.apply(tape.gradient(value, variables), variables)
        return step + 1, total_loss + value

    # As a tensor, so that a call on zeros comes to its end quickly.
    end = tf.constant(steps)

    def all_steps() -> tf.Tensor:
        return tf.while_loop(lambda step, _: step < end, minibatch_step, [tf.constant(0), tf.constant(0.0)])[1]

    # XLA takes its time for every operation: what is done once is not for it.
    total_loss = compiled_at_once(all_steps)() if jit_compile else all_steps()
    if decay:
        optimizer.learning_rate.assign(rate)
    # A loss or a gradient that is not finite stays in the sum, or in the optimizer's moments and the weights.
    sound = tf.math.is_finite(total_loss) & tf.reduce_all([_is_finite(variable.value) for variable in changed])
    for variable, value in zip(changed, before, strict=True):
        variable.assign(tf.where(sound, variable.value, value))
    return tf.where(sound, total_loss / steps, math.nan)


def _is_finite(value: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(value)) if value.dtype.is_floating else tf.constant(True)
