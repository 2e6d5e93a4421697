"""The encoder: from observations to the outputs that an action distribution, or a value, is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Moments
from tf_trpo.models.networks import feature_shape, first_dense_layer, layer_seeds, mlp
from tf_trpo.models.normalization import RunningNormalization


@keras.saving.register_keras_serializable(package="tf_trpo")
class Encoder(keras.layers.Layer):
    """Observations [N, *observation_shape] -> normalisation -> network -> output layer -> outputs [N, num_outputs].

    Args:
      observation_shape: shape of one observation.
      num_outputs: units of the linear output layer.
      network: any keras.Model from [N, *observation_shape] to [N, features]; by default `mlp`. It is called as at
        inference: no dropout, and statistics such as those of batch normalisation stay as they are.
      normalize_observations: put a `RunningNormalization` in front of the network.
      observation_min_std: the normalisation's `min_std`.
      function_preserving: let the first layer take in what new statistics would change, so that they never move the
        outputs; possible only if `first_dense_layer` finds one.
      output_gain: gain of the output layer's orthogonal initialiser; small values start near the same outputs for
        every observation.
      seed: makes the initial weights reproducible.
      **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        num_outputs: int,
        *,
        network: keras.Model | None = None,
        normalize_observations: bool = True,
        observation_min_std: float = 0.0,
        function_preserving: bool = True,
        output_gain: float = 0.01,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.observation_shape = tuple(observation_shape)
        self.num_outputs = num_outputs
        self.observation_min_std = observation_min_std
        self.function_preserving = function_preserving
        self.output_gain = output_gain
        network_seed, output_seed = layer_seeds(seed, 2)
        self.normalization = (
            RunningNormalization(self.observation_shape, min_std=observation_min_std)
            if normalize_observations
            else None
        )
        self.network = mlp(self.observation_shape, seed=network_seed) if network is None else network
        initializer = keras.initializers.Orthogonal(gain=output_gain, seed=output_seed)
        self.output_layer = keras.layers.Dense(num_outputs, kernel_initializer=initializer)
        self.output_layer.build(feature_shape(self.network, self.observation_shape))
        self.built = True

    def call(self, observations: tf.Tensor) -> tf.Tensor:
        if self.normalization is not None:
            observations = self.normalization(observations)
        return self.output_layer(self.network(observations, training=False))

    def update_normalization(self, moments: Moments) -> tf.Tensor:
        """Take in observations by their moments.

        Returns:
          Bool scalar: the moments were finite, or are not needed.
        """
        if self.normalization is None:
            return tf.constant(True)
        layer = first_dense_layer(self.network, self.output_layer) if self.function_preserving else None
        return self.normalization.update(moments, absorbed_by=layer)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "observation_shape": self.observation_shape,
            "num_outputs": self.num_outputs,
            "network": keras.saving.serialize_keras_object(self.network),
            "normalize_observations": self.normalization is not None,
            "observation_min_std": self.observation_min_std,
            "function_preserving": self.function_preserving,
            "output_gain": self.output_gain,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Encoder:
        return cls(**{**config, "network": keras.saving.deserialize_keras_object(config["network"])})
