"""The policy: an encoder and an action distribution."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, final

import keras
import tensorflow as tf

from tf_trpo.distributions import ActionDistribution, Distribution
from tf_trpo.models.encoder import Encoder
from tf_trpo.models.memory import Memory, Segments, States
from tf_trpo.models.mirror_symmetry import MirroredEncoder
from tf_trpo.models.normalization import Statistics
from tf_trpo.numerics import flatten, unflatten
from tf_trpo.spaces import mask_of


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Policy(keras.Model):
    """Observations -> encoder -> outputs -> action distribution.

    Args:
      encoder: maps observations, a nest of arrays [N, ...] by its spec, to outputs [N, num_outputs]. With a memory, the
        observations are `Segments` of N rows.
      action_distribution: maps outputs to a distribution over actions, and computes everything about actions.
      **kwargs: arguments of `keras.Model`.

    Raises:
      TypeError: the action distribution is not an `ActionDistribution`.
      ValueError: the numbers of outputs differ, or the class of the action distribution inherits from a final one,
        whose closed forms would be wrong for another distribution.
    """

    def __init__(
        self, encoder: Encoder | MirroredEncoder, action_distribution: ActionDistribution, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        _check_class(action_distribution)
        if encoder.num_outputs != action_distribution.num_outputs:
            raise ValueError(
                f"the encoder has {encoder.num_outputs} outputs, the action distribution needs"
                f" {action_distribution.num_outputs}"
            )
        # Keras orders weights by the order in which layers are set: the distribution's weights come first. Layers
        # inside the distribution make their weights at their first call, and must have them before they are counted.
        self.action_distribution = action_distribution
        action_distribution.one_row()
        self.encoder = encoder
        self.built = True

    def distribution_parameters(self, observations: Any) -> tf.Tensor:
        """Compute the parameters [N, D] of the action distribution from observations."""
        observations = self.encoder.centred(observations)
        outputs = self.encoder.from_centred(observations)
        rows = observations.observations if isinstance(observations, Segments) else observations
        return self.of_outputs(outputs, mask_of(self.encoder.spec, rows))

    @property
    def memory(self) -> Memory | None:
        """The encoder's memory, if it has one."""
        return self.encoder.memory

    def initial_states(self, count: int | tf.Tensor) -> States:
        """Return the memory's initial states of episodes, [count, ...]; empty without a memory."""
        return self.encoder.initial_states(count)

    def step(self, observations: Any, states: States = ()) -> tuple[tf.Tensor, States]:
        """Compute parameters [N, D] and the memory's new states for one row of each of N environments.

        Args:
          observations: a nest of arrays [N, ...].
          states: the memory's states before the row, [N, ...]; empty without a memory.
        """
        return self.step_of_centred(self.encoder.centred(observations), states)

    def step_of_centred(self, observations: Any, states: States) -> tuple[tf.Tensor, States]:
        """Compute the same as `step` from the result of `Encoder.centred`."""
        outputs, states = self.encoder.step(observations, states)
        return self.of_outputs(outputs, mask_of(self.encoder.spec, observations)), states

    def of_outputs(self, outputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Compute parameters [N, D] from the encoder's outputs [N, num_outputs] and the action mask, if any."""
        parameters = self.action_distribution.parameters(outputs)
        return parameters if mask is None else self.action_distribution.masked(parameters, mask)

    def call(self, observations: Any) -> Distribution:
        """Return the distribution over actions, with batch shape [N], for a batch of observations."""
        return self.action_distribution.distribution(self.distribution_parameters(observations))

    def act(self, observations: Any, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Compute actions [N, ...] for a batch of observations: sampled with the given noise, or the mode if None."""
        return self.actions(self.distribution_parameters(observations), noise)

    def actions(self, parameters: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Compute actions [N, ...] for parameters [N, D]: sampled with the given noise, or the mode if None."""
        distribution = self.action_distribution
        return distribution.mode(parameters) if noise is None else distribution.sample(parameters, noise)

    @property
    def flat_weights(self) -> tf.Tensor:
        """The trainable weights as one vector [P]."""
        return flatten([variable.value for variable in self.trainable_variables])

    def assign_flat_weights(self, theta: tf.Tensor) -> None:
        """Set the trainable weights from one vector [P]."""
        for variable, value in self._mapping(theta):
            variable.assign(value)

    @contextlib.contextmanager
    def having(self, theta: tf.Tensor) -> Iterator[None]:
        """Replace the trainable weights by theta [P] until the context ends."""
        own = self.flat_weights
        self.assign_flat_weights(theta)
        try:
            yield
        finally:
            self.assign_flat_weights(own)

    def parameters_at(self, theta: tf.Tensor, observations: Any) -> tf.Tensor:
        """Compute distribution parameters [N, D] as a pure function of the flat trainable weights theta [P]."""
        with self.scope_at(theta):
            return self.distribution_parameters(observations)

    def absorbed_at(self, theta: tf.Tensor, statistics: list[Statistics]) -> tf.Tensor:
        """Compute the flat weights [P] that `update_normalization` would make from flat trainable weights theta [P].

        No variable is assigned. This adapts a second vector of weights under the same statistics, such as a moving
        average, to new statistics. Call it before the encoder's `update_normalization`.
        """
        with self.scope_at(theta):
            self.encoder.update_normalization(statistics)
            return self.flat_weights

    def scope_at(self, theta: tf.Tensor) -> keras.StatelessScope:
        """Return a context in which the trainable weights are the flat vector theta [P]; no variable is assigned."""
        return keras.StatelessScope(state_mapping=self._mapping(theta))

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
