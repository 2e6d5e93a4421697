"""A learning rate for regressions that follow each other."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tf_trpo")
class LinearDecayRestarts(keras.optimizers.schedules.LearningRateSchedule):
    """Falls linearly from its initial value towards 0, and begins anew after so many steps.

    A value function is fitted to one batch after the other. A rate that ends near 0 averages the noise of the
    minibatches out of each fit, and each fit is free to move as far as the first.

    Args:
      initial_learning_rate: of the first step of each fit, > 0.
      decay_steps: steps of one fit, >= 1: value_epochs times the minibatches of a batch, ceil(N / value_minibatch_size)
        of N = num_envs * num_steps samples. By another number the rate does not begin anew with a fit.

    Raises:
      ValueError: a setting out of range.
    """

    def __init__(self, initial_learning_rate: float, decay_steps: int) -> None:
        if not 0 < initial_learning_rate < math.inf:
            raise ValueError(f"initial_learning_rate must be positive and finite, got {initial_learning_rate}")
        if decay_steps < 1:
            raise ValueError(f"decay_steps must be at least 1, got {decay_steps}")
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps

    def __call__(self, step: Any) -> tf.Tensor:
        # Whole numbers, as long as they are whole: a float32 counts to 16 million only.
        taken = tf.math.floormod(tf.cast(step, tf.int64), tf.constant(self.decay_steps, tf.int64))
        return self.initial_learning_rate * (1.0 - tf.cast(taken, tf.float32) / self.decay_steps)

    def get_config(self) -> dict[str, Any]:
        return {"initial_learning_rate": self.initial_learning_rate, "decay_steps": self.decay_steps}
