"""The value function, a separate Keras model."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models.encoder import Encoder
from tf_trpo.models.memory import States
from tf_trpo.models.mirror_symmetry import MirroredEncoder


@keras.saving.register_keras_serializable(package="tf_trpo")
class ValueFunction(keras.Model):
    """Maps observations [N, ...], or `Segments` of N rows, to V(s) [N], the expected (scaled) discounted return.

    Args:
      encoder: maps observations to one output. It need not preserve its function when statistics change, since the
        value function is then fitted with the new statistics.
      **kwargs: arguments of `keras.Model`.

    Raises:
      ValueError: the encoder has another number of outputs than one.
    """

    def __init__(self, encoder: Encoder | MirroredEncoder, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if encoder.num_outputs != 1:
            raise ValueError(f"a value function's encoder has one output, not {encoder.num_outputs}")
        self.encoder = encoder
        self.built = True

    def call(self, observations: Any) -> tf.Tensor:
        return tf.squeeze(self.encoder(observations), axis=-1)

    def step(self, observations: Any, states: States = ()) -> tuple[tf.Tensor, States]:
        """Compute V [N] and the memory's new states for one row of each of N environments; see `Policy.step`."""
        outputs, states = self.encoder.step(self.encoder.centred(observations), states)
        return tf.squeeze(outputs, axis=-1), states

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ValueFunction:
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})
