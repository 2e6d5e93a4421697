"""The value function: a Keras model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Moments
from tf_trpo.models.mirror_symmetry import MirrorSymmetry, checked_mirror, symmetrized, with_mirror
from tf_trpo.models.networks import feature_shape, layer_seeds, mlp, output_layer
from tf_trpo.models.normalization import RunningNormalization


@keras.saving.register_keras_serializable(package="tf_trpo")
class ValueFunction(keras.Model):
    """Observations [N, *observation_shape] -> V(s) [N], the expected (scaled) discounted return.

    Args:
      observation_shape: shape of one observation.
      network: any keras.Model from [N, *observation_shape] to [N, features]; by default an MLP of
        64-64 tanh units. It is called as at inference, also while it is fitted.
      normalize_observations: put a `RunningNormalization` in front of the network.
      observation_min_std: its `min_std`.
      mirror: a reflection of the environment: a mirrored observation has the observation's value.
      seed: makes the initial weights reproducible.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        *,
        network: keras.Model | None = None,
        normalize_observations: bool = True,
        observation_min_std: float = 0.0,
        mirror: MirrorSymmetry | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.observation_shape = tuple(observation_shape)
        self.normalize_observations = normalize_observations
        self.observation_min_std = observation_min_std
        self.mirror = checked_mirror(mirror, observation_shape)
        network_seed, output_seed = layer_seeds(seed, 2)
        self.normalization = (
            RunningNormalization(self.observation_shape, min_std=observation_min_std)
            if normalize_observations
            else None
        )
        self.network = mlp(self.observation_shape, seed=network_seed) if network is None else network
        self.output_layer = output_layer(1, 1.0, output_seed)
        self.output_layer.build(feature_shape(self.network, self.observation_shape))
        self.built = True

    def update_normalization(self, moments: Moments) -> tf.Tensor:
        """Take in observations by their moments; whether those were finite, or are not needed. Bool scalar.

        Nothing keeps the function as it was: it is fitted under the new statistics.
        """
        if self.normalization is None:
            return tf.constant(True)
        return self.normalization.update(
            moments if self.mirror is None else self.mirror.observations.symmetric(moments)
        )

    def call(self, observations: tf.Tensor) -> tf.Tensor:
        values = symmetrized(self._network_values, observations, self.mirror, lambda values, _: values)
        return tf.squeeze(values, axis=-1)

    def _network_values(self, observations: tf.Tensor) -> tf.Tensor:
        if self.normalization is not None:
            observations = self.normalization(observations)
        return self.output_layer(self.network(observations, training=False))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "observation_shape": self.observation_shape,
            "network": keras.saving.serialize_keras_object(self.network),
            "normalize_observations": self.normalize_observations,
            "observation_min_std": self.observation_min_std,
            "mirror": None if self.mirror is None else self.mirror.get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ValueFunction:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**with_mirror(config), "network": network})
