"""Categorical distribution over discrete actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions.action_distribution import ActionDistribution, Distribution
from tf_trpo.numerics import Reflection


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Categorical(ActionDistribution):
    """Softmax over n actions; outputs and parameters are the logits, D = n.

    Args:
      num_actions: n.
      first_action: the environment's number for action 0 (`start` of its Discrete space).
      **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, num_actions: int, first_action: int = 0, **kwargs: Any) -> None:
        super().__init__(num_actions, **kwargs)
        self.first_action = first_action

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        return tfp.distributions.Categorical(logits=parameters)

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(p) - p p', in the logits."""
        probabilities = tf.nn.softmax(parameters)
        return probabilities * (vectors - tf.reduce_sum(probabilities * vectors, axis=-1, keepdims=True))

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        # Standard Gumbel noise, -log(-log u); u is kept off 0 and 1, where it would not be finite.
        smallest, largest = np.finfo(np.float32).tiny, 1.0 - np.finfo(np.float32).epsneg
        uniform = tf.random.stateless_uniform([*shape, self.num_outputs], seed)
        return -tf.math.log(-tf.math.log(tf.clip_by_value(uniform, smallest, largest)))

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return tf.argmax(parameters + noise, axis=-1, output_type=tf.int32)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        return actions + self.first_action

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": parameters}

    def mirrored(self, actions: Reflection) -> Reflection:
        if len(actions.signs) != self.num_outputs:
            raise ValueError(f"the mirror is one of {len(actions.signs)} actions, not of {self.num_outputs}")
        if actions != actions.unsigned():
            raise ValueError("discrete actions change places in the mirror, and have no sign")
        return actions

    def fits(self, action_space: Any) -> bool:
        from gymnasium.spaces import Discrete

        numbering = (self.num_outputs, self.first_action)
        return isinstance(action_space, Discrete) and (action_space.n, action_space.start) == numbering

    def describe_actions(self) -> dict[str, Any]:
        return {"type": "Discrete", "n": self.num_outputs, "start": self.first_action}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        num_actions = config.pop("num_outputs")
        return {**config, "num_actions": num_actions, "first_action": self.first_action}
