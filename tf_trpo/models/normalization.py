"""Running statistics as Keras layers: saved, exported and frozen between updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Moments, combined_moments


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningNormalization(keras.layers.Layer):
    """(x - mean) / std, clipped, by the statistics of all samples given to `update`.

    The statistics are non-trainable weights, and only `update` moves them: acting and updating in one
    iteration see the same policy.

    Args:
      shape: shape of one sample.
      clip: largest absolute value of the result, > 0.
      epsilon: added to the variance.
    """

    def __init__(self, shape: Sequence[int], clip: float = 10.0, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.clip = clip
        self.epsilon = epsilon
        self.mean = self.add_weight(shape=self.shape, initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=self.shape, initializer="ones", trainable=False, name="variance")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scaled = (inputs - self.mean) * tf.math.rsqrt(self.variance + self.epsilon)
        return tf.clip_by_value(scaled, -self.clip, self.clip)

    def update(self, moments: Moments) -> None:
        """Take in a batch of samples by its moments (mean and variance [*shape], scalar count)."""
        _assign_moments(self, moments)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": self.shape, "clip": self.clip, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningReturnScale(keras.layers.Layer):
    """Divides rewards by the running standard deviation of the discounted return; centres nothing.

    Args:
      epsilon: added to the variance.

    Source:
      Engstrom et al. (2020), "reward scaling".
    """

    def __init__(self, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=(), initializer="ones", trainable=False, name="variance")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Returns that do not vary set no scale.
        return inputs * tf.where(self.variance > 0, tf.math.rsqrt(self.variance + self.epsilon), 1.0)

    def update(self, moments: Moments) -> None:
        """Take in returns by their moments (scalars)."""
        _assign_moments(self, moments)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


def _assign_moments(layer: RunningNormalization | RunningReturnScale, moments: Moments) -> None:
    seen = Moments(layer.mean.value, layer.variance.value, layer.count.value)
    mean, variance, count = combined_moments(seen, moments)
    layer.mean.assign(mean)
    layer.variance.assign(variance)
    layer.count.assign(count)
