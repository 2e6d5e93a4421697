"""Categorical distribution over discrete actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions.acting import Acting, WholeNumbers
from tf_trpo.distributions.action_distribution import ActionDistribution, Distribution
from tf_trpo.distributions.action_spaces import describe_discrete
from tf_trpo.numerics import Reflection
from tf_trpo.numerics.shapes import check_shapes

MASKED = -1e30
"""Logit of a choice that is not allowed: finite in float32, with a probability of exactly 0 even in float64."""


class LogitDistribution(ActionDistribution):
    """A family of distributions whose outputs and parameters are the logits of choices."""

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draw standard Gumbel noise -log(-log u); u is clipped off 0 and 1, where the noise would be infinite."""
        smallest, largest = np.finfo(np.float32).tiny, 1.0 - np.finfo(np.float32).epsneg
        uniform = tf.random.stateless_uniform([*shape, self.num_outputs], seed)
        return -tf.math.log(-tf.math.log(tf.clip_by_value(uniform, smallest, largest)))

    @property
    def mask_size(self) -> int:
        return self.num_outputs

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": parameters}


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Categorical(LogitDistribution):
    """Softmax over n actions; outputs and parameters are the logits, D = n.

    Args:
      num_actions: number of actions n.
      first_action: the environment's number for action 0 (`start` of its Discrete space).
      action_dtype: integer dtype of the environment's actions.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, num_actions: int, first_action: int = 0, *, action_dtype: str = "int64", **kwargs: Any) -> None:
        super().__init__(num_actions, **kwargs)
        self.num_actions, self.first_action = num_actions, first_action
        self.action_dtype = str(np.dtype(action_dtype))

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        return tfp.distributions.Categorical(logits=parameters)

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(p) - p p', in the logits."""
        return softmax_metric_product(parameters, vectors)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return tf.argmax(parameters + noise, axis=-1, output_type=tf.int32)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.cast(actions, tf.int64) + self.first_action, self.action_dtype)

    def acting(self) -> Acting:
        return WholeNumbers(self.first_action, self.action_dtype)

    def from_environment(self, actions: Any) -> np.ndarray:
        return (np.asarray(actions).astype(np.int64) - self.first_action).astype(np.int32)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        check_shapes("masked", parameters=(parameters, "N K"), mask=(mask, "N K"))
        return tf.where(allowed(mask), parameters, tf.cast(MASKED, parameters.dtype))

    def mirrored(self, actions: Reflection) -> Reflection:
        if len(actions.signs) != self.num_outputs:
            raise ValueError(f"the mirror is one of {len(actions.signs)} actions, not of {self.num_outputs}")
        if actions != actions.unsigned():
            raise ValueError("discrete actions change places in the mirror, and have no sign")
        return actions

    def describe_actions(self) -> dict[str, Any]:
        return describe_discrete(self.num_outputs, self.first_action, self.action_dtype)


def softmax_metric_product(logits: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """Compute (diag(p) - p p') u for logits and vectors u, both [..., n].

    The product does not change if a number is added to all entries of u, so the entry of the most likely choice is
    made 0. If that choice is almost certain, its p is 1 within rounding, and u_i - p'u would be a difference of nearly
    equal numbers whose error exceeds the product.
    """
    probabilities = tf.nn.softmax(logits)
    likeliest = tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1], dtype=vectors.dtype)
    centred = vectors - tf.reduce_sum(likeliest * vectors, axis=-1, keepdims=True)
    return probabilities * (centred - tf.reduce_sum(probabilities * centred, axis=-1, keepdims=True))


def allowed(mask: tf.Tensor) -> tf.Tensor:
    """Convert a mask [..., n] to bool: True where it is not 0. A row of zeros becomes True everywhere."""
    # In float32, because LiteRT cannot compare and reduce all other dtypes.
    marks = tf.cast(tf.not_equal(tf.cast(mask, tf.float32), 0.0), tf.float32)
    return marks >= tf.reduce_max(marks, axis=-1, keepdims=True)
