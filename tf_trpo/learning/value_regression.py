"""Regression of the value function on its targets: line 10 of Algorithm 1."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import as_rows
from tf_trpo.learning.minibatches import fit_in_minibatches
from tf_trpo.models import ValueFunction


def fit_value_function(
    value_function: ValueFunction,
    optimizer: keras.optimizers.Optimizer,
    observations: Any,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    orders: tf.Tensor,
    minibatch_size: int,
    decay: bool = False,
    jit_compile: bool = False,
) -> tf.Tensor | None:
    """Minimise the mean squared error; see `fit_in_minibatches` for the other arguments and the result.

    Args:
      value_function: the model to fit.
      optimizer: a built Keras optimizer of its trainable variables.
      observations: a nest of arrays [N, ...], or `Segments`; then targets and weights are [S, L], and orders are of
        segments.
      targets: float32 [N].
      weights: float32 [N], 0 on padding; relative weights within a minibatch.
    """

    def loss(rows: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        inputs = tf.nest.map_structure(lambda each: tf.gather(each, rows), observations)
        row_weights, row_targets = (as_rows(each, chosen) for each in (chosen, tf.gather(targets, rows)))
        errors = value_function(inputs) - row_targets
        return tf.math.divide_no_nan(tf.reduce_sum(row_weights * tf.square(errors)), tf.reduce_sum(row_weights))

    return fit_in_minibatches(
        loss,
        value_function.trainable_variables,
        optimizer,
        weights,
        orders=orders,
        minibatch_size=minibatch_size,
        decay=decay,
        jit_compile=jit_compile,
    )
