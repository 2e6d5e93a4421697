"""Independent categorical distributions of several discrete numbers."""

from __future__ import annotations

from typing import Any, Literal, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from tf_trpo.distributions.acting import Acting, WholeNumbers
from tf_trpo.distributions.action_distribution import Distribution
from tf_trpo.distributions.action_spaces import describe_box
from tf_trpo.distributions.categorical import MASKED, LogitDistribution, allowed, softmax_metric_product
from tf_trpo.numerics import Reflection
from tf_trpo.numerics.shapes import check_shapes


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class MultiCategorical(LogitDistribution):
    """A softmax for each of k numbers; outputs and parameters are the concatenated logits of all numbers.

    Sampled actions are int32 [N, k]; each number counts from 0. Log-probability, KL and entropy are sums over the
    numbers. Numbers with fewer choices than others are padded with choices that are not allowed.

    Args:
      num_actions: number of choices of each number, >= 1, an array of the shape of one action.
      first_actions: the environment's value of each number's choice 0, in the same shape; by default 0.
      action_dtype: dtype of the environment's actions.
      space: type of the environment's space; a Box is one of integers.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: num_actions are not integers >= 1, or first_actions have another shape.
    """

    def __init__(
        self,
        num_actions: ArrayLike,
        first_actions: ArrayLike | None = None,
        *,
        action_dtype: str = "int64",
        space: Literal["MultiDiscrete", "MultiBinary", "Box"] = "MultiDiscrete",
        **kwargs: Any,
    ) -> None:
        sizes = np.asarray(num_actions)
        starts = np.zeros(sizes.shape, np.int64) if first_actions is None else np.asarray(first_actions)
        if not sizes.size or sizes.dtype.kind not in "iu" or sizes.min() < 1 or starts.shape != sizes.shape:
            raise ValueError(
                f"num_actions must be whole numbers of at least 1, with as many first_actions, got {num_actions!r} and "
                f"{first_actions!r}"
            )
        super().__init__(int(sizes.sum()), **kwargs)
        self.num_actions, self.first_actions = sizes.tolist(), starts.tolist()
        self.action_dtype, self.space = str(np.dtype(action_dtype)), space
        self.action_shape = sizes.shape
        self.sizes = tuple(int(size) for size in sizes.ravel())
        self.starts = tuple(int(start) for start in starts.ravel())

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        logits = self._grouped(parameters, MASKED)
        return tfp.distributions.Independent(tfp.distributions.Categorical(logits=logits), 1)

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(p) - p p', in the logits of each number."""
        return self._joined(softmax_metric_product(self._grouped(parameters, MASKED), self._grouped(vectors, 0.0)))

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return self.mode(parameters + noise)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._grouped(parameters, MASKED), axis=-1, output_type=tf.int32)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(tf.cast(actions, tf.int64) + self._first(), self.action_dtype)
        return numbers if len(self.action_shape) == 1 else tf.reshape(numbers, [-1, *self.action_shape])

    def acting(self) -> Acting:
        return WholeNumbers(self._first(), self.action_dtype, tuple(self.action_shape))

    def from_environment(self, actions: Any) -> np.ndarray:
        numbers = np.asarray(actions).astype(np.int64)
        return (numbers.reshape(len(numbers), -1) - self._first()).astype(np.int32)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """See `ActionDistribution.masked`; if a number has no allowed choice, all its choices are allowed."""
        check_shapes("masked", parameters=(parameters, "N K"), mask=(mask, "N K"))
        marks = self._grouped(tf.cast(mask, tf.float32), 0.0)
        open_choices = self._joined(tf.cast(allowed(marks), tf.float32))
        return tf.where(open_choices > 0.5, parameters, tf.cast(MASKED, parameters.dtype))

    def mirrored(self, actions: Reflection) -> Reflection:
        """Return the reflection of the concatenated logits, which is that of the choices and has no signs."""
        if len(actions.signs) != self.num_outputs:
            raise ValueError(f"the mirror is one of {len(actions.signs)} choices, not of {self.num_outputs}")
        owners = np.repeat(np.arange(len(self.sizes)), self.sizes)
        images = [set(owners[list(actions.sources)][owners == number].tolist()) for number in range(len(self.sizes))]
        if actions != actions.unsigned() or any(len(image) > 1 for image in images):
            raise ValueError(
                "the choices of each number must change places with the choices of one number, without signs"
            )
        return actions

    def describe_actions(self) -> dict[str, Any]:
        shape = list(self.action_shape)
        if self.space == "MultiBinary":
            return {"type": "MultiBinary", "shape": shape}
        if self.space == "Box":
            last = [start + size - 1 for start, size in zip(self.starts, self.sizes, strict=True)]
            return describe_box(self.starts, last, shape, self.action_dtype)
        numbers = {"nvec": list(self.sizes), "start": list(self.starts)}
        return {"type": "MultiDiscrete", "shape": shape, **numbers, "dtype": self.action_dtype}

    def _first(self) -> np.ndarray:
        """Return the first choices [k] as int64; large uint64 wrap around, and back when cast to the actions' dtype."""
        return np.asarray(self.starts, np.dtype(self.action_dtype)).astype(np.int64)

    def _grouped(self, values: tf.Tensor, fill: float) -> tf.Tensor:
        """Arrange values [N, K] of all choices as [N, k, n], n the largest number of choices, padded with `fill`."""
        if len(set(self.sizes)) > 1:
            values = tf.gather(tf.pad(values, [[0, 0], [0, 1]], constant_values=fill), self._places(), axis=-1)
        return tf.reshape(values, [-1, len(self.sizes), max(self.sizes)])

    def _joined(self, grouped: tf.Tensor) -> tf.Tensor:
        """Return values [N, K] from [N, k, n]: inverts `_grouped`."""
        values = tf.reshape(grouped, [-1, len(self.sizes) * max(self.sizes)])
        if len(set(self.sizes)) > 1:
            values = tf.gather(values, np.flatnonzero(self._places() < self.num_outputs), axis=-1)
        return values

    def _places(self) -> np.ndarray:
        """Return the index of each padded choice [k * n] among all K choices; K for padding."""
        sizes, choices = np.asarray(self.sizes)[:, None], np.arange(max(self.sizes))
        offsets = np.cumsum(sizes, axis=0) - sizes
        return np.where(choices < sizes, offsets + choices, self.num_outputs).ravel()
