"""The policy: an encoder and an action distribution."""

from __future__ import annotations

from typing import Any, final

import keras
import tensorflow as tf

from tf_trpo.distributions import ActionDistribution, Distribution
from tf_trpo.estimation import Moments
from tf_trpo.models.encoder import Encoder
from tf_trpo.models.mirror_symmetry import MirroredEncoder
from tf_trpo.numerics import flatten, unflatten


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Policy(keras.Model):
    """Observations -> encoder -> outputs -> action distribution.

    Args:
      encoder: observations [N, *observation_shape] -> outputs [N, num_outputs].
      action_distribution: outputs -> distribution over actions; all questions about actions go to it.
      **kwargs: of `keras.Model`.

    Raises:
      TypeError: the action distribution is no `ActionDistribution`.
      ValueError: the numbers of outputs differ, or the action distribution's class inherits from a final one, whose
        closed forms would be wrong for another distribution.
    """

    def __init__(
        self, encoder: Encoder | MirroredEncoder, action_distribution: ActionDistribution, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        _check_class(action_distribution)
        if encoder.num_outputs != action_distribution.num_outputs:
            raise ValueError(
                f"the encoder has {encoder.num_outputs} outputs, the action distribution needs"
                f" {action_distribution.num_outputs}"
            )
        # Keras keeps the order of weights in which layers are set: the distribution's come first.
        self.action_distribution = action_distribution
        self.encoder = encoder
        self.observation_shape: tuple[int, ...] = encoder.observation_shape
        self.built = True

    def distribution_parameters(self, observations: tf.Tensor) -> tf.Tensor:
        """Compute parameters [N, D] of the action distribution: all that the distribution depends on."""
        return self.action_distribution.parameters(self.encoder(observations))

    def call(self, observations: tf.Tensor) -> Distribution:
        """Make the distribution over actions, batch shape [N], for observations [N, *observation_shape]."""
        return self.action_distribution.distribution(self.distribution_parameters(observations))

    def act(self, observations: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Compute actions [N, ...] for observations [N, ...]: sampled by the noise, or the mode without any."""
        parameters = self.distribution_parameters(observations)
        distribution = self.action_distribution
        return distribution.mode(parameters) if noise is None else distribution.sample(parameters, noise)

    def update_normalization(self, moments: Moments) -> tf.Tensor:
        """Take in observations by their moments; see `Encoder.update_normalization`."""
        return self.encoder.update_normalization(moments)

    @property
    def flat_weights(self) -> tf.Tensor:
        """The trainable weights as one vector [P]."""
        return flatten([variable.value for variable in self.trainable_variables])

    def assign_flat_weights(self, theta: tf.Tensor) -> None:
        """Set the trainable weights from one vector [P]."""
        for variable, value in self._mapping(theta):
            variable.assign(value)

    def parameters_at(self, theta: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """Compute distribution parameters [N, D] as a pure function of the flat trainable weights theta [P]."""
        with keras.StatelessScope(state_mapping=self._mapping(theta)):
            return self.distribution_parameters(observations)

    def absorbed_at(self, theta: tf.Tensor, moments: Moments) -> tf.Tensor:
        """Compute the flat weights [P] that `update_normalization` would make of flat trainable weights theta [P].

        No variable is assigned. So a second vector of weights under the same statistics, such as an average, follows
        the new statistics too: call this before `update_normalization`.
        """
        with keras.StatelessScope(state_mapping=self._mapping(theta)):
            self.encoder.update_normalization(moments)
            return self.flat_weights

    def _mapping(self, theta: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
        variables = self.trainable_variables
        return list(zip(variables, unflatten(theta, variables), strict=True))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "action_distribution": keras.saving.serialize_keras_object(self.action_distribution),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Policy:
        parts = ("encoder", "action_distribution")
        return cls(**{**config, **{name: keras.saving.deserialize_keras_object(config[name]) for name in parts}})


def _check_class(distribution: ActionDistribution) -> None:
    if not isinstance(distribution, ActionDistribution):
        raise TypeError(f"action_distribution must be an ActionDistribution, got {distribution!r}")
    cls = type(distribution)
    for base in cls.__mro__[1:]:
        if vars(base).get("__final__", False):
            raise ValueError(
                f"{cls.__name__} inherits from {base.__name__}, which is final: its closed forms hold for no other"
                " distribution. Derive from ActionDistribution instead"
            )
