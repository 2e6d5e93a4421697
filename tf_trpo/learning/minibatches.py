"""Minibatch fits with a Keras optimizer, for the value function and for behavioural cloning."""

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
    """Minimise a loss in minibatches, each epoch in its own order.

    If a loss, a gradient or a weight becomes not finite, the variables and the optimizer are restored.

    Args:
      loss: (rows, int32 [M], their weights [M], or [M, L] for segments, 0 on padding) -> float32 scalar.
      variables: the variables to fit.
      optimizer: a built Keras optimizer of these variables.
      weights: float32 [N], or [S, L] for segments, 0 on padding.
      orders: int32 [epochs, N], a permutation of the samples, or [epochs, S] of the segments, for each epoch; see
        `random_orders`.
      minibatch_size: samples per minibatch, >= 1; a minibatch of segments has at least one.
      decay: decrease the learning rate linearly from its value towards 0 over the fit, which averages out the noise of
        the minibatches; afterwards the rate is restored. It must not be a Keras schedule.
      jit_compile: compile the steps with XLA; only within a traced tf.function.

    Returns:
      Scalar, the mean of the minibatch losses; None without epochs, NaN if the variables were restored.
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

    # A tensor, so that the compiling call on zeros takes no steps.
    end = tf.constant(steps)

    def all_steps() -> tf.Tensor:
        return tf.while_loop(lambda step, _: step < end, minibatch_step, [tf.constant(0), tf.constant(0.0)])[1]

    # XLA takes time to compile every operation, so only the loop is compiled.
    total_loss = compiled_at_once(all_steps)() if jit_compile else all_steps()
    if decay:
        optimizer.learning_rate.assign(rate)
    # A loss or gradient that is not finite leaves its trace in the sum, or in the optimizer's moments and the weights.
    sound = tf.math.is_finite(total_loss) & tf.reduce_all([_is_finite(variable.value) for variable in changed])
    for variable, value in zip(changed, before, strict=True):
        variable.assign(tf.where(sound, variable.value, value))
    return tf.where(sound, total_loss / steps, math.nan)


def _is_finite(value: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(value)) if value.dtype.is_floating else tf.constant(True)
