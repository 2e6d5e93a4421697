"""Regression of a value function on its targets: line 10 of Algorithm 1."""

from __future__ import annotations

import tensorflow as tf

from tf_trpo.estimation import as_rows, explained_variance
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.minibatches import fit_in_minibatches
from tf_trpo.learning.results import ValueResult
from tf_trpo.learning.samples import ValueSamples
from tf_trpo.learning.settings import UpdateSettings


def fit_critic(
    critic: Critic, samples: ValueSamples, orders: tf.Tensor, settings: UpdateSettings, jit_compile: bool = False
) -> ValueResult:
    """Minimise the mean squared error of a critic's value function, which takes in the samples' statistics first.

    Args:
      critic: the value function, and a built Keras optimizer of its trainable variables.
      samples: their weights are relative weights within a minibatch.
      orders: as for `fit_in_minibatches`.
      settings: value_minibatch_size and value_learning_rate_decay are used.
      jit_compile: compile the steps with XLA; only within a traced tf.function.
    """
    value_function, weights = critic.value_function, samples.weights
    # The value function is fitted under the statistics that it will be used with.
    value_function.encoder.update_normalization(samples.statistics)

    def loss(rows: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        inputs = tf.nest.map_structure(lambda each: tf.gather(each, rows), samples.observations)
        row_weights, row_targets = (as_rows(each, chosen) for each in (chosen, tf.gather(samples.targets, rows)))
        errors = value_function(inputs) - row_targets
        return tf.math.divide_no_nan(tf.reduce_sum(row_weights * tf.square(errors)), tf.reduce_sum(row_weights))

    return ValueResult(
        fit_in_minibatches(
            loss,
            value_function.trainable_variables,
            critic.optimizer,
            weights,
            orders=orders,
            minibatch_size=settings.value_minibatch_size,
            decay=settings.value_learning_rate_decay,
            jit_compile=jit_compile,
        ),
        explained_variance(*(as_rows(array, weights) for array in (samples.values, samples.targets, weights))),
        tf.convert_to_tensor(critic.optimizer.learning_rate),
    )
