"""Mirror symmetries of environments, and encoders that respect them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Moments
from tf_trpo.models.encoder import Encoder
from tf_trpo.models.memory import States
from tf_trpo.models.normalization import RunningNormalization, Statistics
from tf_trpo.numerics import Reflection
from tf_trpo.spaces import PartSpec


@dataclass(frozen=True)
class MirrorSymmetry:
    """A reflection under which an environment is invariant.

    From a mirrored observation, the mirrored action leads to the mirrored next observation with the same probability
    and the same reward. So some optimal policy takes mirrored actions in mirrored observations, and an observation and
    its image have the same optimal value. A policy and a value function with this symmetry also learn about the image
    of each sample, but each call computes twice as many rows.

    A symmetric policy is not always better. In an observation that is its own image, such as a body with its legs side
    by side, either leg could go first, but the mean of a symmetric Gaussian moves both alike.

    Args:
      observations: the reflection of an observation, a vector.
      actions: the reflection of a continuous action, or of the numbers of discrete actions, from 0 and without signs.

    Source:
      van der Pol et al. (2020), "MDP Homomorphic Networks"; Abdolhosseini et al. (2019), "On Learning Symmetric
      Locomotion".
    """

    observations: Reflection
    actions: Reflection

    @classmethod
    def from_names(cls, observations: str, actions: str) -> MirrorSymmetry:
        """Make a symmetry from the names of the components of both vectors; see `Reflection.from_names`."""
        return cls(Reflection.from_names(observations), Reflection.from_names(actions))


@keras.saving.register_keras_serializable(package="tf_trpo")
class MirroredEncoder(keras.layers.Layer):
    """Symmetrises an encoder f: computes (f(s) + R f(M s)) / 2, in one call of f.

    Args:
      encoder: f, for observations that are vectors.
      observations: M, the reflection of an observation.
      outputs: R, the corresponding reflection of the outputs (`ActionDistribution.mirrored`); by default the identity,
        as for a value function.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: a reflection has another number of components, or the encoder has a memory.
    """

    def __init__(
        self, encoder: Encoder, observations: Reflection, outputs: Reflection | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        size = len(observations.signs)
        if not isinstance(encoder.spec, PartSpec) or encoder.spec.shape != (size,) or encoder.spec.kind != "vector":
            shape = getattr(encoder.spec, "shape", encoder.spec)
            raise ValueError(f"the mirror is one of observations of shape ({size},), not {shape}")
        if encoder.memory is not None:
            raise ValueError(
                "a mirror and a memory exclude each other: an observation and its image would need separate memories"
            )
        if outputs is not None and len(outputs.signs) != encoder.num_outputs:
            raise ValueError(f"the mirror is one of {len(outputs.signs)} outputs, not of {encoder.num_outputs}")
        self.encoder = encoder
        self.spec, self.num_outputs = encoder.spec, encoder.num_outputs
        self.observations = observations
        self.outputs = outputs
        self.built = True

    @property
    def normalization(self) -> list[RunningNormalization]:
        """The encoder's normalisation of observations."""
        return self.encoder.normalization

    @property
    def normalization_by_part(self) -> list[RunningNormalization | None]:
        """See `Encoder.normalization_by_part`."""
        return self.encoder.normalization_by_part

    memory = None
    """Always None: a mirrored encoder has no memory."""

    def initial_states(self, count: int | tf.Tensor) -> States:
        """See `Encoder.initial_states`."""
        return ()

    def step(self, observations: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """See `Encoder.step`."""
        return self.from_centred(observations), states

    def call(self, observations: tf.Tensor) -> tf.Tensor:
        return self.from_centred(self.encoder.centred(observations))

    def centred(self, observations: tf.Tensor) -> tf.Tensor:
        """Subtract the mean, which is symmetric; see `Encoder.centred`."""
        return self.encoder.centred(observations)

    def from_centred(self, observations: tf.Tensor) -> tf.Tensor:
        """Compute the outputs from the result of `centred`."""
        both = tf.concat([observations, self.observations(observations)], axis=0)
        own, other = tf.split(self.encoder.from_centred(both), 2)
        return 0.5 * (own + (other if self.outputs is None else self.outputs(other)))

    def moments(self, observations: tf.Tensor, weights: tf.Tensor, count: tf.Tensor) -> list[Moments]:
        """Compute the moments of the observations together with their images; see `Encoder.moments`."""
        return [symmetric(part, self.observations) for part in self.encoder.moments(observations, weights, count)]

    def begin_normalization(self, moments: list[Moments]) -> list[Statistics]:
        """See `Encoder.begin_normalization`."""
        return self.encoder.begin_normalization(moments)

    def update_normalization(self, statistics: list[Statistics]) -> tf.Tensor:
        """See `Encoder.update_normalization`."""
        return self.encoder.update_normalization(statistics)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "observations": asdict(self.observations),
            "outputs": self.outputs and asdict(self.outputs),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MirroredEncoder:
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        reflections = {name: config[name] and Reflection(**config[name]) for name in ("observations", "outputs")}
        return cls(**{**config, **reflections, "encoder": encoder})


def symmetric(moments: Moments, reflection: Reflection) -> Moments:
    """Compute the moments (mean and variance [n]) of samples together with their images from the samples' moments."""
    mean, variance = moments.mean, moments.variance
    image, spread = reflection(mean), reflection.unsigned()(variance)
    return Moments(0.5 * (mean + image), 0.5 * (variance + spread) + tf.square(0.5 * (mean - image)), moments.count)
