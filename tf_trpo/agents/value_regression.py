"""Regression of the value function on its targets: line 10 of Algorithm 1."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models import ValueFunction


def fit_value_function(
    value_function: ValueFunction,
    optimizer: keras.optimizers.Optimizer,
    observations: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    orders: tf.Tensor,
    minibatch_size: int,
) -> tf.Tensor:
    """Minimise the mean squared error by minibatch steps, each epoch in an order of its own.

    If the minibatches do not divide the batch, the last one of an epoch is filled up with samples
    of weight 0, so that every sample counts once an epoch.

    Args:
      value_function: the model to fit.
      optimizer: a built Keras optimizer of its trainable variables.
      observations: float32 [N, ...].
      targets: float32 [N].
      weights: float32 [N], 0 on padding; relative weights within a minibatch.
      orders: int32 [epochs, N], a permutation of the samples for each pass over them; see
        `random_orders`.
      minibatch_size: samples of a minibatch, >= 1.

    Returns:
      Scalar, the mean of the minibatch losses; 0 without any epoch.
    """
    epochs, num_samples = orders.shape
    if epochs == 0:
        return tf.constant(0.0)
    minibatch_size = min(minibatch_size, num_samples)
    per_epoch = -(-num_samples // minibatch_size)
    variables = value_function.trainable_variables

    def minibatch_step(step: tf.Tensor, total_loss: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slots = step % per_epoch * minibatch_size + tf.range(minibatch_size)
        rows = tf.gather(orders[step // per_epoch], slots % num_samples)
        row_weights = tf.gather(weights, rows) * tf.cast(slots < num_samples, tf.float32)
        with tf.GradientTape() as tape:
            errors = value_function(tf.gather(observations, rows)) - tf.gather(targets, rows)
            loss = tf.math.divide_no_nan(tf.reduce_sum(row_weights * tf.square(errors)), tf.reduce_sum(row_weights))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return step + 1, total_loss + loss

    steps = epochs * per_epoch
    _, total_loss = tf.while_loop(lambda step, _: step < steps, minibatch_step, [tf.constant(0), tf.constant(0.0)])
    return total_loss / steps


def random_orders(epochs: int, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Independent random permutations, int32 [epochs, num_samples].

    Drawn by NumPy: sorting random numbers inside the compiled update took as long as the regression.
    """
    return rng.permuted(np.tile(np.arange(num_samples, dtype=np.int32), (epochs, 1)), axis=1)
