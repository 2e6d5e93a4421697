"""The average of a policy's weights over the last iterations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.policy import Policy


class PolicyAverage(keras.layers.Layer):
    """A second policy: the exponential moving average of the first one's weights.

    Every update of a trust region follows the noise of one batch. The policies of the last iterations, near each other
    by the trust region, differ by that noise, and the average of their weights has less of it.

    The k-th policy counts max(1 - momentum, 1 / k): the plain mean at first, so that the initial weights, which have
    learned nothing, leave no trace. What is not trained, such as statistics of observations, is taken over as it is.

    Args:
      policy: what is averaged; it must be one that its config makes again.
      momentum: in [0, 1); policies of about 1 / (1 - momentum) iterations count.

    Raises:
      ValueError: the momentum is out of range, or the policy's config makes none, or one that acts otherwise.

    Attributes:
      policy: the average.
      updates: how many policies it has taken in, int64.

    Source:
      Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging"; `ema_momentum` of Keras'
      optimizers.
    """

    def __init__(self, policy: Policy, momentum: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"ema_momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        self.policy = _copy(policy)
        self.policy.trainable = False
        self.updates = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="updates")
        self.built = True

    def update(self, policy: Policy) -> None:
        """Take in the policy as it is now. Both must have the same statistics of observations.

        Where those are absorbed by the first layer, weights are comparable under the same statistics only: new ones
        are given to the policy and to `self.policy` alike, after this.
        """
        self.updates.assign_add(1)
        rate = tf.maximum(1.0 - self.momentum, 1.0 / tf.cast(self.updates.value, tf.float32))
        for variable, average in zip(policy.weights, self.policy.weights, strict=True):
            new = tf.convert_to_tensor(variable)
            old = tf.convert_to_tensor(average)
            average.assign(old + tf.cast(rate, old.dtype) * (new - old) if variable.trainable else new)


def _copy(policy: Policy) -> Policy:
    """The policy made again by its config; ValueError where that fails, or makes one that acts otherwise."""
    needs = f"ema_momentum needs a {type(policy).__name__} whose config makes it again"
    try:
        copy = type(policy).from_config(policy.get_config())
        copy.set_weights(policy.get_weights())
    # Whatever Keras and classes of users raise.
    except Exception as error:
        raise ValueError(f"{needs}: {error}") from error
    probes = tf.random.stateless_normal([16, *policy.observation_shape], seed=[0, 0])
    noise = policy.action_distribution.noise([16], tf.constant([0, 0]))
    if not np.array_equal(policy.act(probes, noise), copy.act(probes, noise), equal_nan=True):
        raise ValueError(f"{needs}: the one that it makes acts otherwise")
    return copy
