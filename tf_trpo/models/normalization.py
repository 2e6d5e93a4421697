"""Running statistics as Keras layers: saved, exported and frozen between updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments, combined_moments


class _RunningMoments(keras.layers.Layer):
    """Mean, variance and count of all samples given to `update`, as non-trainable weights.

    Only `update` moves them: acting and updating in one iteration see the same policy.
    """

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.mean = self.add_weight(shape=self.shape, initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=self.shape, initializer="ones", trainable=False, name="variance")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def update(self, moments: Moments) -> tf.Tensor:
        """Take in a batch of samples by its moments (mean and variance [*shape], scalar count).

        Returns:
          Bool scalar, whether the moments were taken in: those that are not finite are left out, except for an infinite
          variance, which counts as the largest number.
        """
        seen = Moments(self.mean.value, self.variance.value, self.count.value)
        mean, variance, count = combined_moments(seen, moments)
        # The square of a huge number overflows: such samples are spread as far as can be told.
        variance = tf.minimum(variance, variance.dtype.max)
        sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(moment)) for moment in (mean, variance, count)])
        for weight, moment in ((self.mean, mean), (self.variance, variance), (self.count, count)):
            weight.assign(tf.where(sound, moment, weight.value))
        return sound


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningNormalization(_RunningMoments):
    """(x - mean) / std, clipped.

    Args:
      shape: shape of one sample.
      clip: largest absolute value of the result, > 0.
      epsilon: added to the variance.
      min_std: a feature that spreads less is divided by this, >= 0. A feature that is nearly always 0, such as a
        contact force, would otherwise become a spike as high as `clip` when it is not 0.

    Raises:
      ValueError: min_std is negative or not finite.
    """

    def __init__(
        self, shape: Sequence[int], clip: float = 10.0, epsilon: float = 1e-8, min_std: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(shape, **kwargs)
        if not 0 <= min_std < math.inf:
            raise ValueError(f"min_std must be finite and not negative, got {min_std}")
        self.clip = clip
        self.epsilon = epsilon
        self.min_std = min_std

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        scaled = (inputs - self.mean) / self._std()
        return tf.clip_by_value(scaled, -self.clip, self.clip)

    def update(self, moments: Moments, *, absorbed_by: keras.layers.Dense | None = None) -> tf.Tensor:
        """Take in a batch of samples by its moments; a linear layer that follows can take the change in.

        Up to rounding, and if nothing is clipped, the two layers together then stay the same function:

            W (x - m) / s + b  =  W' (x - m') / s' + b',    W' = W s' / s,    b' = b + W' (m' - m) / s'

        The first samples leave the layer as it is: nothing was normalised before. If the spread of a feature grows
        by more than `clip`, its samples were clipped, and no weights could keep the function: they grow by `clip`.

        Args:
          moments: mean and variance [*shape], scalar count.
          absorbed_by: the Dense layer, with a bias, on the flattened result; None changes the function.

        Returns:
          Bool scalar, whether the moments were taken in.
        """
        mean, std, begun = tf.identity(self.mean.value), self._std(), self.count.value > 0
        sound = super().update(moments)
        if absorbed_by is not None:
            growth = tf.minimum(self._std() / std, self.clip)
            shift = (self.mean.value - mean) / self._std()
            _absorb(absorbed_by, tf.where(begun, growth, 1.0), tf.where(begun, shift, 0.0))
        return sound

    def _std(self) -> tf.Tensor:
        return tf.maximum(tf.sqrt(self.variance + self.epsilon), self.min_std)

    def get_config(self) -> dict[str, Any]:
        own = {"shape": self.shape, "clip": self.clip, "epsilon": self.epsilon, "min_std": self.min_std}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningReturnScale(_RunningMoments):
    """Divides rewards by the running standard deviation of the discounted return; centres nothing.

    Nothing is added to the variance: rewards of 1e-12 are learned from as rewards of 1 are.

    Source:
      Engstrom et al. (2020), "reward scaling".
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__((), **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Returns that do not vary set no scale; below the normal numbers, nothing can be told apart.
        varies = self.variance >= float(np.finfo(np.float32).tiny)
        return inputs * tf.where(varies, tf.math.rsqrt(self.variance), 1.0)


def _absorb(layer: keras.layers.Dense, growth: tf.Tensor, shift: tf.Tensor) -> None:
    kernel = tf.reshape(growth, [-1, 1]) * layer.kernel.value
    layer.bias.assign_add(tf.linalg.matvec(kernel, tf.reshape(shift, [-1]), transpose_a=True))
    layer.kernel.assign(kernel)
