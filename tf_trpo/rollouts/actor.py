"""Actors: a policy as a plain function of NumPy arrays, called once for every step of the environments.

Calling a Keras model, even a compiled one, costs hundreds of microseconds of Python; an environment step may cost ten.
So the policy's own TensorFlow function, with its weights as inputs, is converted to LiteRT once, and runs in a few
microseconds. A policy that LiteRT cannot convert, or that reads images where there is a GPU, is called as a compiled
TensorFlow function instead.
"""

from __future__ import annotations

import abc
import logging
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.rollouts.centring import Centred, transposed
from tf_trpo.rollouts.shards import shard_rows
from tf_trpo.spaces import parts

if TYPE_CHECKING:
    from tf_trpo.models import Policy

_logger = logging.getLogger(__name__)
_refused: weakref.WeakKeyDictionary[Policy, set[bool]] = weakref.WeakKeyDictionary()
"""Policies that LiteRT could not run, and whether their mode or their samples: to try again takes seconds."""
States: TypeAlias = "tuple[np.ndarray, ...]"
"""States of a policy's memory, one for each environment: arrays [B, ...]; empty without a memory."""


class Actions(NamedTuple):
    """The actions of one step.

    Attributes:
      sampled: [B, ...], as sampled, to be stored.
      environment: the same actions as the environments take them, a nest of arrays [B, ...].
      states: of the memory, after the observations; empty without a memory.
    """

    sampled: np.ndarray
    environment: Any
    states: States = ()


class Actor(abc.ABC):
    """A policy for a fixed number of environments; it computes actions shard by shard.

    Args:
      policy, num_envs, shards: as for `make_actor`.

    Attributes:
      initial_states: states of the memory at the start of episodes, arrays [B, ...]; empty without a memory.
      for_environment: converts sampled actions [L, ...] to a nest of arrays [L, ...], as the environments take them.
    """

    def __init__(self, policy: Policy, num_envs: int, shards: int) -> None:
        self._centred = Centred(policy)
        self._rows = shard_rows(num_envs, shards)
        self.initial_states: States = tuple(np.array(part) for part in policy.initial_states(num_envs))
        self.for_environment = policy.action_distribution.acting()

    @abc.abstractmethod
    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Set the weights to act with, in the order of `policy.weights`."""

    def __call__(self, observations: Any, noise: np.ndarray, states: States = ()) -> Actions:
        """Compute the actions of one step.

        Args:
          observations: a nest of arrays [B, ...].
          noise: [B, ...]; a deterministic actor ignores it.
          states: of the memory, before the observations; empty without a memory.
        """
        parts = self._centred(observations)
        if len(self._rows) == 1:
            sampled, *after = self._act(parts, noise, states)
        else:
            found = [
                self._act([part[rows] for part in parts], noise[rows], [state[rows] for state in states])
                for rows in self._rows
            ]
            sampled, *after = map(np.concatenate, zip(*found, strict=True))
        return Actions(sampled, self.for_environment(sampled), tuple(after))

    @abc.abstractmethod
    def _act(self, parts: list[np.ndarray], noise: np.ndarray, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the sampled actions and the new states of one shard."""


def make_actor(policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> Actor:
    """Make the fastest actor that can run the policy.

    TensorFlow acts if `acts_on_device`, or, with a warning the first time, if LiteRT cannot run the policy. Otherwise,
    LiteRT acts.

    Args:
      policy: the policy that acts.
      num_envs: B.
      deterministic: take the mode of the action distribution instead of a sample.
      shards: number of equal batches in which the actions for B environments are computed, a divisor of B. An action's
        last bits may depend on the size of its batch.
    """
    if not acts_on_device(policy, shards) and deterministic not in _refused.get(policy, ()):
        try:
            return LiteActor(policy, num_envs, deterministic=deterministic, shards=shards)
        except (ValueError, RuntimeError, ImportError) as error:
            _refused.setdefault(policy, set()).add(deterministic)
            reason = str(error).strip().splitlines()[0]
            _logger.warning("acting through TensorFlow, which is slower: LiteRT cannot run this policy (%s)", reason)
    return CompiledActor(policy, num_envs, deterministic=deterministic, shards=shards)


def acts_on_device(policy: Policy, shards: int) -> bool:
    """Return whether TensorFlow acts on its GPU: if it has one, for a policy that reads images, with a single shard.

    Several shards are what workers step, which have no GPU. So their actions are computed by LiteRT in every process,
    and have the same bits without workers, too.
    """
    reads_images = any(part.kind == "image" for _, part in parts(policy.encoder.spec))
    return reads_images and shards == 1 and bool(tf.config.list_logical_devices("GPU"))


class CompiledActor(Actor):
    """Actor that calls a tf.function. The arguments are those of `make_actor`."""

    def __init__(self, policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> None:
        from tf_trpo.rollouts.conversion import act_by

        def act(inputs: list[tf.Tensor], noise: tf.Tensor, weights: list[tf.Tensor], states: Any) -> list[tf.Tensor]:
            return act_by(policy, self._centred.nest(inputs), None if deterministic else noise, weights, states)

        super().__init__(policy, num_envs, shards)
        self._function = tf.function(act, autograph=False)
        self._weights = [tf.convert_to_tensor(weight) for weight in policy.weights]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._centred.set_weights(weights)
        self._weights = [tf.convert_to_tensor(weight) for weight in weights]

    def _act(self, parts: list[np.ndarray], noise: np.ndarray, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs, given = ([tf.convert_to_tensor(array) for array in arrays] for arrays in (parts, states))
        outputs = self._function(inputs, tf.convert_to_tensor(noise), self._weights, given)
        return [np.array(output.numpy()) for output in outputs]


class LiteActor(Actor):
    """Actor that runs a LiteRT model. The arguments are those of `make_actor`.

    The actor can be pickled. In another process it runs the same model, without the policy itself; call `set_weights`
    there first.

    Raises:
      ValueError, RuntimeError: the policy cannot be converted.
      ImportError: LiteRT is not installed.
    """

    def __init__(self, policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> None:
        from tf_trpo.rollouts.conversion import converted_once, state_names, weight_names

        super().__init__(policy, num_envs, shards)
        self._model = converted_once(policy, self._centred, num_envs // shards, deterministic)
        self._names = weight_names(policy), state_names(policy)
        self._distribution = policy.action_distribution
        self._load()
        self.set_weights([weight.numpy() for weight in policy.weights])

    def _load(self) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=self._model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        inputs = {details["name"]: details["index"] for details in self._interpreter.get_input_details()}
        self._sampled, *self._next_states = (details["index"] for details in self._interpreter.get_output_details())
        # The model has no inputs for what the converted function does not use.
        places = [inputs.get(f"part_{position}") for position in range(len(self._centred))]
        self._parts = [(position, index) for position, index in enumerate(places) if index is not None]
        self._noise = inputs.get("noise")
        self._weights, self._states = ([inputs.get(name) for name in names] for names in self._names)

    def __getstate__(self) -> dict[str, Any]:
        # An interpreter cannot be pickled, nor a Keras layer of a class that the other process does not know.
        kept = {name: value for name, value in vars(self).items() if name not in ("_interpreter", "_distribution")}
        distribution = self._distribution
        if getattr(self.for_environment, "__self__", None) is not distribution:
            return kept
        from keras.saving import serialize_keras_object

        from tf_trpo.models.structure import classes_of

        return {**kept, "for_environment": (classes_of(distribution), serialize_keras_object(distribution))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        saved: Any = self.for_environment
        if isinstance(saved, tuple):
            from keras.saving import deserialize_keras_object

            classes, described = saved
            self.for_environment = deserialize_keras_object(described, custom_objects=classes).acting()
        self._load()

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._centred.set_weights(weights)
        for index, weight in zip(self._weights, weights, strict=True):
            if index is not None:
                self._interpreter.set_tensor(index, transposed(weight))

    def _act(self, parts: list[np.ndarray], noise: np.ndarray, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        interpreter = self._interpreter
        for position, index in self._parts:
            interpreter.set_tensor(index, parts[position])
        if self._noise is not None:
            interpreter.set_tensor(self._noise, noise)
        if self._states:
            for place, state in zip(self._states, states, strict=True):
                if place is not None:
                    interpreter.set_tensor(place, state)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in (self._sampled, *self._next_states)]
