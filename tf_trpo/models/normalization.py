"""Running statistics as Keras layers: saved, exported and frozen between updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments, combined_moments

_TINY = float(np.finfo(np.float32).tiny)
_HUGE = float(np.finfo(np.float32).max)


class _RunningMoments(keras.layers.Layer):
    """Mean, variance and count of all samples given to `update`, as non-trainable weights.

    Only `update` moves them: acting and updating in one iteration see the same policy.
    """

    def __init__(self, shape: Sequence[int], precision: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.shape = tuple(shape)
        own = {"dtype": precision, "trainable": False, "autocast": False}
        self.mean = self.add_weight(shape=self.shape, initializer="zeros", name="mean", **own)
        self.variance = self.add_weight(shape=self.shape, initializer="ones", name="variance", **own)
        self.count = self.add_weight(shape=(), initializer="zeros", name="count", **own)
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
    """(x - mean) / std, clipped; x itself before the first samples.

    The statistics are float64, and the mean is subtracted before anything becomes float32: observations of 1e9 + 1 and
    1e9 + 2 are told apart. A feature that does not vary is divided by 1. So neither the units nor the origin of a
    feature change the result.

    Args:
      shape: shape of one sample.
      clip: largest absolute value of the result, > 0.
      min_std: a feature that spreads less is divided by this, >= 0, in the feature's own units. A feature that is
        nearly always 0, such as a contact force, would otherwise become a spike as high as `clip` when it is not 0.
      resolution: relative rounding error of the samples, >= 0: a spread of at most resolution * |mean| is rounding, and
        the feature counts as one that does not vary.

    Raises:
      ValueError: min_std is negative or not finite.
    """

    def __init__(
        self, shape: Sequence[int], clip: float = 10.0, min_std: float = 0.0, resolution: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(shape, "float64", **kwargs)
        if not 0 <= min_std < math.inf:
            raise ValueError(f"min_std must be finite and not negative, got {min_std}")
        self.clip = clip
        self.min_std = min_std
        self.resolution = resolution
        own = {"trainable": False, "autocast": False}
        self.scale = self.add_weight(shape=self.shape, initializer="ones", name="scale", **own)
        """What centred samples are divided by, float32 [*shape]."""
        unlimited = keras.initializers.Constant(_HUGE)
        self.limit = self.add_weight(shape=(), initializer=unlimited, name="limit", **own)
        """The largest absolute result: `clip`, or none before the first samples."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.scaled(self.centred(inputs))

    def centred(self, inputs: tf.Tensor) -> tf.Tensor:
        """Subtract the mean from samples [N, *shape] of any type of numbers; float32."""
        mean = self.mean.value
        if inputs.dtype != tf.float32:
            return tf.cast(tf.cast(inputs, tf.float64) - mean, tf.float32)
        # Two float32 numbers hold the mean: faster than float64, and possible where that does not exist.
        rounded = tf.cast(mean, tf.float32)
        return (inputs - rounded) - tf.cast(mean - tf.cast(rounded, tf.float64), tf.float32)

    def scaled(self, centred: tf.Tensor) -> tf.Tensor:
        """Divide centred samples, float32 [N, *shape], and clip them."""
        limit = self.limit.value
        return tf.minimum(tf.maximum(centred / self.scale.value, -limit), limit)

    def begin(self, moments: Moments, free: tf.Tensor, *, absorbed_by: keras.layers.Dense | None) -> Moments:
        """Take in the first samples, unless that would change what follows; see `update` for the arguments.

        Args:
          moments: of the samples.
          free: bool scalar, whether what follows does not depend on the samples.
          absorbed_by: the layer that takes in the change if it does.

        Returns:
          The moments that are left to take in: those of no samples, if these have been taken in.
        """
        first = tf.equal(self.count.value, 0.0)
        if absorbed_by is None:
            first &= free
        self._take_in(moments._replace(count=tf.where(first, moments.count, 0.0)), absorbed_by, first & ~free, _HUGE)
        return moments._replace(count=tf.where(first, tf.zeros_like(moments.count), moments.count))

    def update(self, moments: Moments, *, absorbed_by: keras.layers.Dense | None = None) -> tf.Tensor:
        """Take in a batch of samples by its moments; a linear layer that follows can take the change in.

        Up to rounding, and if nothing is clipped, the two layers together then stay the same function:

            W (x - m) / s + b  =  W' (x - m') / s' + b',    W' = W s' / s,    b' = b + W' (m' - m) / s'

        If the spread of a feature grows by more than `clip`, its samples were clipped, and no weights could keep the
        function: they grow by `clip`. Nothing is taken in before `begin`.

        Args:
          moments: mean and variance [*shape], scalar count.
          absorbed_by: the Dense layer, with a bias, on the flattened result; None changes the function.

        Returns:
          Bool scalar, whether the moments were taken in.
        """
        begun = self.count.value > 0
        return self._take_in(
            moments._replace(count=tf.where(begun, moments.count, 0.0)), absorbed_by, begun, float(self.clip)
        )

    def _take_in(
        self, moments: Moments, layer: keras.layers.Dense | None, absorb: tf.Tensor, largest_growth: float
    ) -> tf.Tensor:
        mean, scale = tf.identity(self.mean.value), tf.identity(self.scale.value)
        sound = super().update(moments)
        begun = self.count.value > 0
        self.scale.assign(tf.where(begun, self._std(), scale))
        self.limit.assign(tf.where(begun, self.clip, self.limit.value))
        if layer is not None:
            growth = tf.minimum(self.scale.value / scale, largest_growth)
            shift = tf.cast(self.mean.value - mean, tf.float32) / self.scale.value
            _absorb(layer, tf.where(absorb, growth, 1.0), tf.where(absorb, shift, 0.0))
        return sound

    def _std(self) -> tf.Tensor:
        std = tf.sqrt(self.variance.value)
        varies = std > self.resolution * tf.abs(self.mean.value)
        std = tf.maximum(tf.where(varies, std, self.min_std or 1.0), self.min_std)
        return tf.clip_by_value(tf.cast(std, tf.float32), _TINY, _HUGE)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("shape", "clip", "min_std", "resolution")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningReturnScale(_RunningMoments):
    """Divides rewards by the running standard deviation of the discounted return; centres nothing.

    Nothing is added to the variance: rewards of 1e-12 are learned from as rewards of 1 are.

    Source:
      Engstrom et al. (2020), "reward scaling".
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__((), "float32", **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # Returns that do not vary set no scale; below the normal numbers, nothing can be told apart.
        return inputs * tf.where(self.variance >= _TINY, tf.math.rsqrt(self.variance), 1.0)


def _absorb(layer: keras.layers.Dense, growth: tf.Tensor, shift: tf.Tensor) -> None:
    kernel = tf.reshape(growth, [-1, 1]) * layer.kernel.value
    layer.bias.assign_add(tf.linalg.matvec(kernel, tf.reshape(shift, [-1]), transpose_a=True))
    layer.kernel.assign(kernel)
