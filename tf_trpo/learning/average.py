"""The moving average of a policy's weights over iterations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.models.normalization import Statistics
from tf_trpo.models.structure import pattern_of


class WeightAverage(keras.layers.Layer):
    """Exponential moving average of a policy's trainable weights, as one flat vector [P].

    Every trust-region step follows the noise of one batch. The policies of the last iterations are near each other and
    differ by this noise; the average of their weights has less of it.

    The k-th policy has the weight max(1 - momentum, 4 / (k + 3)). So the average covers about the last quarter of the
    policies at first, the average of a short run does not lag behind, and the initial weights, which have learned
    nothing, have no influence. Weights that are not trained, such as observation statistics, are shared with the
    policy.

    Args:
      policy: the policy whose weights are averaged.
      momentum: in [0, 1); the average covers about 1 / (1 - momentum) iterations.

    Raises:
      ValueError: the momentum is out of range.

    Source:
      Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging"; the weights at first: Shamir
      and Zhang (2013), "Stochastic Gradient Descent for Non-smooth Optimization", polynomial-decay averaging with
      eta = 3; later those of `ema_momentum` of Keras' optimizers.
    """

    def __init__(self, policy: Policy, momentum: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"ema_momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        size = int(policy.flat_weights.shape[0])
        self.theta = self.add_weight(shape=(size,), initializer="zeros", trainable=False, name="theta")
        self.updates = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="updates")
        self._averaged = pattern_of(policy.weights)
        self.built = True

    def update(self, policy: Policy, statistics: list[Statistics]) -> None:
        """Add the policy's present weights to the average, just before its observation statistics are updated.

        The policy's first layer may absorb the change of the statistics. The average then has to absorb the same
        change, so that both weights stay comparable.

        Args:
          policy: the policy after its step, with the statistics that it acted with.
          statistics: the new statistics, with which `update_normalization` of the policy's encoder is called next.
        """
        self.updates.assign_add(1)
        new, old = policy.flat_weights, self.theta.value
        rate = tf.maximum(1.0 - self.momentum, 4.0 / (tf.cast(self.updates.value, tf.float32) + 3.0))
        self.theta.assign(policy.absorbed_at(old + tf.cast(rate, old.dtype) * (new - old), statistics))

    def fits(self, policy: Policy) -> bool:
        """Return whether the policy's trainable weights are still those that are averaged."""
        return self._averaged == pattern_of(policy.weights)

    def restart(self) -> None:
        """Restart the average, as if there had been no update."""
        self.updates.assign(0)

    def flat_weights(self, policy: Policy) -> tf.Tensor:
        """Return the average [P], or the policy's own weights before the first update.

        Raises:
          ValueError: other weights of the policy are trainable than those that are averaged.
        """
        if not self.fits(policy):
            raise ValueError("other weights of the policy are trainable than the average has: call compile again")
        return tf.where(self.updates.value > 0, self.theta.value, policy.flat_weights)
