"""Running statistics as Keras layers, which are saved, exported, and constant between updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments, combined_moments
from tf_trpo.models.absorbing import AffineRows

_TINY = float(np.finfo(np.float32).tiny)
_HUGE = float(np.finfo(np.float32).max)
"""Also the divisor of a feature that was constant so far: every change of the feature becomes 0, in any unit."""


class _RunningMoments(keras.layers.Layer):
    """Mean, variance and count of samples, as non-trainable weights that calls of the layer do not change."""

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
    """New statistics for a `RunningNormalization`.

    Attributes:
      moments: moments of all samples, float64.
      scale: divisor of centred samples, float32 [*shape].
      sound: bool scalar, whether the moments of the new samples were finite; otherwise the samples were left out.
    """

    moments: Moments
    scale: tf.Tensor
    sound: tf.Tensor


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningNormalization(_RunningMoments):
    """Computes (x - mean) / std, clipped; x itself before the first samples.

    The statistics are float64, and the mean is subtracted before the cast to float32, so that observations of 1e9 + 1
    and 1e9 + 2 differ. The result is 0 for a feature that was constant in all samples so far, since nothing is known
    about its unit. So neither the units nor the origin of a feature change the result.

    Args:
      shape: shape of one sample.
      clip: largest absolute value of the result, > 0.
      min_std: divisor of features whose standard deviation is smaller, >= 0, in the feature's own units; constant
        features, too, are divided by it. Otherwise a feature that is nearly always 0, such as a contact force, would
        become as large as `clip` when it is not 0.
      resolution: relative rounding error of the samples, >= 0. A feature whose standard deviation is at most the
        rounding error resolution * |mean| counts as constant.

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
        """Divisor of centred samples, float32 [*shape]."""
        unlimited = keras.initializers.Constant(_HUGE)
        self.limit = self.add_weight(shape=(), initializer=unlimited, name="limit", **own)
        """The largest absolute result: `clip`, or unlimited before the first samples."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.scaled(self.centred(inputs))

    def centred(self, inputs: tf.Tensor) -> tf.Tensor:
        """Subtract the mean from samples [N, *shape] of any numeric dtype, giving float32."""
        mean = tf.convert_to_tensor(self.mean.value)
        if inputs.dtype != tf.float32:
            return tf.cast(tf.cast(inputs, tf.float64) - mean, tf.float32)
        # The mean is split into two float32 numbers: faster than float64, and possible without float64.
        rounded = tf.cast(mean, tf.float32)
        return (inputs - rounded) - tf.cast(mean - tf.cast(rounded, tf.float64), tf.float32)

    def scaled(self, centred: tf.Tensor) -> tf.Tensor:
        """Divide centred samples, float32 [N, *shape], by the scale, and clip them."""
        limit = tf.convert_to_tensor(self.limit.value)
        return tf.minimum(tf.maximum(centred / self.scale.value, -limit), limit)

    def begin(self, moments: Moments, free: tf.Tensor, *, absorbed_by: AffineRows | None) -> Statistics:
        """Compute the statistics including a new batch of samples; if it is the first batch, also apply them at once.

        The first samples are left out if applying them would change the model's outputs.

        Args:
          moments: moments of the batch: mean and variance [*shape], scalar count.
          free: bool scalar, whether the model's outputs do not depend on this layer.
          absorbed_by: the weights that absorb the change if they do; see `update`.
        """
        seen, seen_scale = self._moments(), tf.convert_to_tensor(self.scale.value)
        first = tf.equal(seen.count, 0.0)
        if absorbed_by is None:
            moments = moments._replace(count=tf.where(free | ~first, moments.count, 0.0))
        combined, sound = _combined(seen, moments)
        begun = combined.count > 0
        # Weights that were trained without statistics read a constant feature in its own unit, and still do.
        constant = tf.where(first & free, _HUGE, seen_scale)
        scale = tf.where(begun, self._std(combined, constant), seen_scale)
        self.limit.assign(tf.where(begun, self.clip, self.limit.value))
        own, own_scale = _where(first, (combined, scale), (seen, seen_scale))
        if absorbed_by is not None:
            mean, divisor = _where(free, (own.mean, own_scale), (seen.mean, seen_scale))
            _absorb(absorbed_by, own.mean - mean, own_scale, divisor, _HUGE, 1.0)
        self._assign(own)
        self.scale.assign(own_scale)
        return Statistics(combined, scale, sound)

    def update(
        self, statistics: Statistics, *, absorbed_by: AffineRows | None = None, free: tf.Tensor | bool = False
    ) -> tf.Tensor:
        """Apply the statistics that `begin` returned; a linear layer that follows can absorb the change.

        Then the two layers together compute the same function as before, up to rounding and clipping:

            W (x - m) / s + b  =  W' (x - m') / s' + b',    W' = W s' / s,    b' = b + W' (m' - m) / s'

        A feature that was constant so far had no influence, so its weights become 0, unless the outputs are free. If
        the scale of another feature grows by a factor above `clip`, its samples were clipped, and no weights could
        preserve the function. Then the weights grow by the factor `clip`.

        Args:
          statistics: statistics of the earlier and the new samples.
          absorbed_by: the weights that read the flattened result, as of `affine_rows`; None lets the function change.
          free: bool scalar, whether the model's outputs do not depend on this layer. Without this exception, a policy
            whose first rollout has one row would have a first and a last layer of 0, where all gradients are 0.

        Returns:
          Bool scalar: whether the moments of the new samples were finite, or were not needed.
        """
        moments, scale, sound = statistics
        if absorbed_by is not None:
            moved, before = moments.mean - self.mean.value, tf.convert_to_tensor(self.scale.value)
            _absorb(absorbed_by, moved, scale, before, self.clip, tf.where(free, 1.0, 0.0))
        self._assign(moments)
        self.scale.assign(scale)
        return sound

    def _std(self, moments: Moments, constant: tf.Tensor) -> tf.Tensor:
        """Compute the divisors; `constant` are those of constant features if there is no min_std."""
        std, least = tf.sqrt(moments.variance), tf.maximum(self.resolution * tf.abs(moments.mean), self.min_std)
        # A constant feature may vary by its rounding error, which must not be amplified.
        otherwise = least if self.min_std else tf.maximum(least, tf.cast(constant, tf.float64))
        return tf.clip_by_value(tf.cast(tf.where(std > least, std, otherwise), tf.float32), _TINY, _HUGE)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("shape", "clip", "min_std", "resolution")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tf_trpo")
class RunningReturnScale(_RunningMoments):
    """Divides rewards by the running standard deviation of the discounted return, without subtracting a mean.

    No epsilon is added to the variance, so that rewards of size 1e-12 are learned like rewards of size 1.

    Source:
      Engstrom et al. (2020), "reward scaling".
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__((), "float32", **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        variance = tf.convert_to_tensor(self.variance.value)
        # Constant returns have no scale, and a variance below the normal float32 numbers is not accurate.
        return inputs * tf.where(variance >= _TINY, tf.math.rsqrt(variance), 1.0)

    def update(self, moments: Moments) -> tf.Tensor:
        """Add a batch of returns, given by its moments (scalars), to the statistics.

        Returns:
          Bool scalar: whether the moments were finite; otherwise the batch is left out.
        """
        combined, sound = _combined(self._moments(), moments)
        self._assign(combined)
        return sound


def _combined(seen: Moments, moments: Moments) -> tuple[Moments, tf.Tensor]:
    """Combine the moments of earlier samples and of a batch, which is left out if the result is not finite.

    Returns:
      The moments, and a bool scalar: whether the result was finite. An infinite variance becomes the largest number.
    """
    mean, variance, count = combined_moments(seen, moments)
    # The variance of huge numbers overflows; then use the largest number.
    variance = tf.minimum(variance, variance.dtype.max)
    is_finite = tf.math.is_finite
    sound = tf.reduce_all(is_finite(mean) & is_finite(variance) & is_finite(count))
    return _where(sound, Moments(mean, variance, count), seen), sound


def _where(condition: tf.Tensor, values: Any, others: Any) -> Any:
    """Choose between two nests of tensors."""
    return tf.nest.map_structure(lambda value, other: tf.where(condition, value, other), values, others)


def _absorb(
    rows: AffineRows, moved: tf.Tensor, scale: tf.Tensor, before: tf.Tensor, most: float, of_constant: tf.Tensor | float
) -> None:
    """Let weights absorb new divisors and changes of the means, float64; constant features get their own factor."""
    had_influence = before < _HUGE
    growth = tf.where(had_influence, tf.minimum(scale / before, most), of_constant)
    shift = tf.where(had_influence, tf.cast(moved, tf.float32) / scale, 0.0)
    rows.absorb(tf.reshape(growth, [-1]), tf.reshape(shift, [-1]))
