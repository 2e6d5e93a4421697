"""Running statistics as Keras layers: saved, exported and frozen between updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
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
      min_std: a feature that spreads less is divided by this, >= 0. One that is nearly always 0, such as a contact
        force, would otherwise become a spike as high as `clip` where it is not.

    Raises:
      ValueError: min_std is negative or not finite.
    """

    def __init__(
        self, shape: Sequence[int], clip: float = 10.0, epsilon: float = 1e-8, min_std: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= min_std < math.inf:
            raise ValueError(f"min_std must be finite and not negative, got {min_std}")
        self.shape = tuple(shape)
        self.clip = clip
        self.epsilon = epsilon
        self.min_std = min_std
        self.mean = self.add_weight(shape=self.shape, initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=self.shape, initializer="ones", trainable=False, name="variance")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scaled = (inputs - self.mean) / self._std()
        return tf.clip_by_value(scaled, -self.clip, self.clip)

    def update(self, moments: Moments, *, absorbed_by: keras.layers.Dense | None = None) -> tf.Tensor:
        """Take in a batch of samples by its moments (mean and variance [*shape], scalar count).

        Moments that are not finite are left out, but for an infinite variance: it counts as the largest number.

        A linear layer that follows can take the change in, so that the two together stay the function they were,
        where nothing is clipped and up to rounding:

            W (x - m) / s + b  =  W' (x - m') / s' + b',    W' = W s' / s,    b' = b + W' (m' - m) / s'

        The first samples of all are an exception: nothing was normalised before, and the layer stays as it is. If
        the spread of a feature grows by more than `clip`, its samples were clipped, and no weights could keep that:
        they grow by `clip`.

        Args:
          moments: as above.
          absorbed_by: the Dense layer, with a bias, on the flattened result; None changes the function.

        Returns:
          Bool scalar, whether they were taken in.
        """
        mean, std, begun = tf.identity(self.mean.value), self._std(), self.count.value > 0
        sound = _assign_moments(self, moments)
        if absorbed_by is not None:
            growth = tf.minimum(self._std() / std, self.clip)
            shift = (self.mean.value - mean) / self._std()
            _absorb(absorbed_by, tf.where(begun, growth, 1.0), tf.where(begun, shift, 0.0))
        return sound

    def _std(self) -> tf.Tensor:
        return tf.maximum(tf.sqrt(self.variance + self.epsilon), self.min_std)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shape": self.shape,
            "clip": self.clip,
            "epsilon": self.epsilon,
            "min_std": self.min_std,
        }


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningReturnScale(keras.layers.Layer):
    """Divides rewards by the running standard deviation of the discounted return; centres nothing.

    Nothing is added to the variance: rewards of 1e-12 are learned from as those of 1 are.

    Source:
      Engstrom et al. (2020), "reward scaling".
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=(), initializer="ones", trainable=False, name="variance")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Returns that do not vary set no scale; below the normal numbers, nothing can be told apart.
        varies = self.variance >= float(np.finfo(np.float32).tiny)
        return inputs * tf.where(varies, tf.math.rsqrt(self.variance), 1.0)

    def update(self, moments: Moments) -> tf.Tensor:
        """Take in returns by their moments (scalars), as `RunningNormalization` does."""
        return _assign_moments(self, moments)


def _absorb(layer: keras.layers.Dense, growth: tf.Tensor, shift: tf.Tensor) -> None:
    kernel = tf.reshape(growth, [-1, 1]) * layer.kernel.value
    layer.bias.assign_add(tf.linalg.matvec(kernel, tf.reshape(shift, [-1]), transpose_a=True))
    layer.kernel.assign(kernel)


def _assign_moments(layer: RunningNormalization | RunningReturnScale, moments: Moments) -> tf.Tensor:
    seen = Moments(layer.mean.value, layer.variance.value, layer.count.value)
    mean, variance, count = combined_moments(seen, moments)
    # The square of a huge number overflows: such samples are spread as far as can be told.
    variance = tf.minimum(variance, variance.dtype.max)
    sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(moment)) for moment in (mean, variance, count)])
    for weight, moment in ((layer.mean, mean), (layer.variance, variance), (layer.count, count)):
        weight.assign(tf.where(sound, moment, weight.value))
    return sound
