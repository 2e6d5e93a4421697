"""Regression of the value function on its targets: line 10 of Algorithm 1."""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_trpo.models import ValueFunction


def fit_value_function(
    value_function: ValueFunction,
    optimizer: keras.optimizers.Optimizer,
    observations: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    epochs: int,
    minibatch_size: int,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Minimise the mean squared error by minibatch steps, each epoch in a new random order.

    If the minibatches do not divide the batch, the last one of an epoch is filled up with samples
    of weight 0, so that every sample counts once an epoch.

    Args:
      value_function: the model to fit.
      optimizer: a built Keras optimizer of its trainable variables.
      observations: float32 [N, ...].
      targets: float32 [N].
      weights: float32 [N], 0 on padding; relative weights within a minibatch.
      epochs: passes over the batch, >= 0.
      minibatch_size: samples of a minibatch, >= 1.
      seed: int32 [2], of the random orders.

    Returns:
      Scalar, the mean of the minibatch losses; 0 without any epoch.
    """
    num_samples = targets.shape[0]
    minibatch_size = min(minibatch_size, num_samples)
    per_epoch = -(-num_samples // minibatch_size)
    variables = value_function.trainable_variables

    def minibatch_step(step: tf.Tensor, order: tf.Tensor, total_loss: tf.Tensor) -> tuple[tf.Tensor, ...]:
        position = step % per_epoch
        order = tf.cond(
            tf.equal(position, 0),
            lambda: _random_order(num_samples, seed + tf.stack([0, step // per_epoch])),
            lambda: order,
        )
        slots = position * minibatch_size + tf.range(minibatch_size)
        rows = tf.gather(order, slots % num_samples)
        row_weights = tf.gather(weights, rows) * tf.cast(slots < num_samples, tf.float32)
        with tf.GradientTape() as tape:
            errors = value_function(tf.gather(observations, rows)) - tf.gather(targets, rows)
            loss = tf.math.divide_no_nan(tf.reduce_sum(row_weights * tf.square(errors)), tf.reduce_sum(row_weights))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return step + 1, order, total_loss + loss

    steps = epochs * per_epoch
    _, _, total_loss = tf.while_loop(
        lambda step, *_: step < steps,
        minibatch_step,
        [tf.constant(0), tf.range(num_samples), tf.constant(0.0)],
    )
    return total_loss / max(steps, 1)


def _random_order(size: int, seed: tf.Tensor) -> tf.Tensor:
    return tf.argsort(tf.random.stateless_uniform([size], seed, maxval=None, minval=None, dtype=tf.int32))
