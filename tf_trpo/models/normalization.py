"""Running statistics as Keras layers: saved, exported and frozen between updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments, combined_moments

_TINY = float(np.finfo(np.float32).tiny)
_HUGE = float(np.finfo(np.float32).max)


class _RunningMoments(keras.layers.Layer):
    """Mean, variance and count of samples, as non-trainable weights that no call of the layer moves."""

    def __init__(self, shape: Sequence[int], precision: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.shape = tuple(shape)
        own = {"dtype": precision, "trainable": False, "autocast": False}
        self.mean = self.add_weight(shape=self.shape, initializer="zeros", name="mean", **own)
        self.variance = self.add_weight(shape=self.shape, initializer="ones", name="variance", **own)
        self.count = self.add_weight(shape=(), initializer="zeros", name="count", **own)
        self.built = True

    def _moments(self) -> Moments:
        return Moments(*(tf.convert_to_tensor(weight.value) for weight in (self.mean, self.variance, self.count)))

    def _assign(self, moments: Moments) -> None:
        for weight, moment in zip((self.mean, self.variance, self.count), moments, strict=True):
            weight.assign(moment)


class Statistics(NamedTuple):
    """What a `RunningNormalization` is to become.

    Attributes:
      moments: of all samples, float64.
      scale: what centred samples are divided by, float32 [*shape].
      sound: bool scalar, whether the moments were finite; samples whose moments are not are left out.
    """

    moments: Moments
    scale: tf.Tensor
    sound: tf.Tensor


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
        mean = tf.convert_to_tensor(self.mean.value)
        if inputs.dtype != tf.float32:
            return tf.cast(tf.cast(inputs, tf.float64) - mean, tf.float32)
        # Two float32 numbers hold the mean: faster than float64, and possible where that does not exist.
        rounded = tf.cast(mean, tf.float32)
        return (inputs - rounded) - tf.cast(mean - tf.cast(rounded, tf.float64), tf.float32)

    def scaled(self, centred: tf.Tensor) -> tf.Tensor:
        """Divide centred samples, float32 [N, *shape], and clip them."""
        limit = tf.convert_to_tensor(self.limit.value)
        return tf.minimum(tf.maximum(centred / self.scale.value, -limit), limit)

    def begin(self, moments: Moments, free: tf.Tensor, *, absorbed_by: keras.layers.Dense | None) -> Statistics:
        """Compute the statistics with a batch of samples; take them on at once if there were no samples before.

        The first samples are left out if they would change what follows.

        Args:
          moments: mean and variance [*shape], scalar count.
          free: bool scalar, whether what follows does not depend on the samples.
          absorbed_by: the layer that takes in the change if it does; see `update`.
        """
        seen, seen_scale = self._moments(), tf.convert_to_tensor(self.scale.value)
        first = tf.equal(seen.count, 0.0)
        if absorbed_by is None:
            moments = moments._replace(count=tf.where(free | ~first, moments.count, 0.0))
        combined, sound = _combined(seen, moments)
        begun = combined.count > 0
        scale = tf.where(begun, self._std(combined), seen_scale)
        self.limit.assign(tf.where(begun, self.clip, self.limit.value))
        own, own_scale = _where(first, (combined, scale), (seen, seen_scale))
        if absorbed_by is not None:
            mean, divisor = _where(free, (own.mean, own_scale), (seen.mean, seen_scale))
            _absorb(absorbed_by, own_scale / divisor, own.mean - mean, own_scale)
        self._assign(own)
        self.scale.assign(own_scale)
        return Statistics(combined, scale, sound)

    def update(self, statistics: Statistics, *, absorbed_by: keras.layers.Dense | None = None) -> tf.Tensor:
        """Take on the statistics that `begin` gave; a linear layer that follows can take the change in.

        Up to rounding, and if nothing is clipped, the two layers together then stay the same function:

            W (x - m) / s + b  =  W' (x - m') / s' + b',    W' = W s' / s,    b' = b + W' (m' - m) / s'

        If the spread of a feature grows by more than `clip`, its samples were clipped, and no weights could keep the
        function: they grow by `clip`.

        Args:
          statistics: of the samples so far and the new ones.
          absorbed_by: the Dense layer, with a bias, on the flattened result; None changes the function.

        Returns:
          Bool scalar: the moments of the new samples were finite, or are not needed.
        """
        moments, scale, sound = statistics
        if absorbed_by is not None:
            growth = tf.minimum(scale / self.scale.value, self.clip)
            _absorb(absorbed_by, growth, moments.mean - self.mean.value, scale)
        self._assign(moments)
        self.scale.assign(scale)
        return sound

    def _std(self, moments: Moments) -> tf.Tensor:
        std, least = tf.sqrt(moments.variance), tf.maximum(self.resolution * tf.abs(moments.mean), self.min_std)
        std = tf.where(std > least, std, self.min_std or 1.0)
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
        variance = tf.convert_to_tensor(self.variance.value)
        # Returns that do not vary set no scale; below the normal numbers, nothing can be told apart.
        return inputs * tf.where(variance >= _TINY, tf.math.rsqrt(variance), 1.0)

    def update(self, moments: Moments) -> tf.Tensor:
        """Take in a batch of returns by its moments, scalars.

        Returns:
          Bool scalar, whether they were taken in: those that are not finite are left out.
        """
        combined, sound = _combined(self._moments(), moments)
        self._assign(combined)
        return sound


def _combined(seen: Moments, moments: Moments) -> tuple[Moments, tf.Tensor]:
    """Combine the moments of samples and of a batch, which is left out if the result is not finite.

    Returns:
      The moments, and a bool scalar: they were finite. An infinite variance counts as the largest number.
    """
    mean, variance, count = combined_moments(seen, moments)
    # The square of a huge number overflows: such samples are spread as far as can be told.
    variance = tf.minimum(variance, variance.dtype.max)
    is_finite = tf.math.is_finite
    sound = tf.reduce_all(is_finite(mean) & is_finite(variance) & is_finite(count))
    return _where(sound, Moments(mean, variance, count), seen), sound


def _where(condition: tf.Tensor, values: Any, others: Any) -> Any:
    """Choose between two nests of tensors."""
    return tf.nest.map_structure(lambda value, other: tf.where(condition, value, other), values, others)


def _absorb(layer: keras.layers.Dense, growth: tf.Tensor, moved: tf.Tensor, scale: tf.Tensor) -> None:
    kernel = tf.reshape(growth, [-1, 1]) * layer.kernel.value
    shift = tf.reshape(tf.cast(moved, tf.float32) / scale, [-1])
    layer.bias.assign_add(tf.linalg.matvec(kernel, shift, transpose_a=True))
    layer.kernel.assign(kernel)
