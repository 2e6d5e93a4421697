"""Categorical policy for discrete actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.distributions import Distribution, categorical
from tf_trpo.models.mirror_symmetry import Reflection
from tf_trpo.models.policy import Policy


@keras.saving.register_keras_serializable(package="tf_trpo")
class CategoricalPolicy(Policy):
    """Softmax over n actions; parameters are the logits, D = n.

    Args:
      observation_shape: shape of one observation.
      num_actions: n.
      first_action: the environment's number for action 0 (`start` of its Discrete space).
      **kwargs: as for `Policy`.
    """

    def __init__(
        self, observation_shape: Sequence[int], num_actions: int, *, first_action: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(observation_shape, num_actions, **kwargs)
        self.first_action = first_action
        if self.mirror is not None:
            self.mirror.check_actions([-math.inf] * num_actions, [math.inf] * num_actions)
            if self.mirror.actions != self.mirror.actions.unsigned():
                raise ValueError("discrete actions change places in the mirror, and have no sign")

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        return categorical(parameters)

    def mirrored_outputs(self, outputs: tf.Tensor, actions: Reflection) -> tf.Tensor:
        return actions(outputs)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": parameters}

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

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        num_actions = config.pop("num_outputs")
        return {**config, "num_actions": num_actions, "first_action": self.first_action}
