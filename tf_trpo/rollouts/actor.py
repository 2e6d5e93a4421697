"""The policy as a plain function of NumPy arrays, called once for every step of the environments.

Calling a Keras model, even a compiled one, costs hundreds of microseconds of Python; an environment step may cost ten.
So the policy's own TensorFlow function, with its weights as inputs, is converted to LiteRT once, and runs in a few
microseconds. A policy that LiteRT cannot convert is called as a compiled TensorFlow function instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.rollouts.shards import shard_rows
from tf_trpo.spaces import PartSpec, flatten_to, map_parts, nest_of, parts

if TYPE_CHECKING:
    from tf_trpo.models import Policy

_logger = logging.getLogger(__name__)
_kept: dict[Any, bytes] = {}
"""Converted policies, without their weights, for others of equal structure."""


States: TypeAlias = "tuple[np.ndarray, ...]"
"""What a policy's memory holds for each environment: arrays [B, ...]; empty without a memory."""


class Actions(NamedTuple):
    """Actions as sampled [B, ...], to be stored, and as the environments are given them, a nest of arrays [B, ...].

    Also the memory's states after the observations.
    """

    sampled: np.ndarray
    environment: Any
    states: States = ()


class Actor(Protocol):
    """A policy for a fixed number of environments.

    Attributes:
      initial_states: of the memory, with which episodes begin.
    """

    initial_states: States

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Act by these weights from now on; they are in the order of `policy.weights`."""

    def __call__(self, observations: Any, noise: np.ndarray, states: States = ()) -> Actions:
        """Compute actions for observations, a nest of arrays [B, ...], and noise [B, ...] (not used by a mode).

        The states are those of the memory before the observations; without a memory they are not given.
        """

    def for_environment(self, sampled: np.ndarray) -> Any:
        """Turn sampled actions [L, ...] into a nest of arrays [L, ...], as the environments take them."""


def make_actor(policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> Actor:
    """Make the fastest actor that the policy allows.

    Args:
      policy: acts.
      num_envs: B.
      deterministic: take the mode.
      shards: batches of equal size in which the actions for B environments are computed, a divisor of B. An action's
        last bits may depend on the size of its batch.
    """
    try:
        return LiteActor(policy, num_envs, deterministic=deterministic, shards=shards)
    except (ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        _logger.warning("acting through TensorFlow, which is slower: LiteRT cannot run this policy (%s)", reason)
        return CompiledActor(policy, num_envs, deterministic=deterministic, shards=shards)


class _Centred:
    """Turns observations into the inputs of the policy's function: the parts in order, vectors less their means.

    The means are subtracted here because LiteRT has no arithmetic in float64. The function itself rounds to float32,
    and so does not warn: what float32 cannot hold becomes infinite, and the rollout is refused for that, with a reason.
    """

    def __init__(self, policy: Policy) -> None:
        encoder = policy.encoder
        # Without Keras' tracked dicts, which cannot be pickled.
        self._spec = map_parts(lambda part: part, encoder.spec)
        self._parts = [part for _, part in parts(self._spec)]
        positions = {id(weight): position for position, weight in enumerate(policy.weights)}
        layers = encoder.normalizations
        self._positions = [None if layer is None else positions[id(layer.mean)] for layer in layers]
        self._dtypes = [
            np.dtype("float64" if layer is not None else "float32" if _is_rounded_here(part) else part.dtype)
            for part, layer in zip(self._parts, layers, strict=True)
        ]
        self.set_weights([weight.numpy() for weight in policy.weights])

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """Types of the inputs, of shapes [None, ...]."""
        pairs = zip(self._parts, self._dtypes, strict=True)
        return [tf.TensorSpec((None, *part.shape), tf.as_dtype(dtype)) for part, dtype in pairs]

    def nest(self, inputs: Sequence[tf.Tensor]) -> Any:
        """Give the inputs the structure of observations, and vectors the type of networks."""
        values = [
            tf.cast(value, tf.float32) if part.kind == "vector" else value
            for part, value in zip(self._parts, inputs, strict=True)
        ]
        return nest_of(self._spec, values)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._means = [None if position is None else np.array(weights[position]) for position in self._positions]

    def __call__(self, observations: Any) -> list[np.ndarray]:
        return list(map(_centred, flatten_to(self._spec, observations), self._means, self._dtypes))


def _centred(part: np.ndarray, mean: np.ndarray | None, dtype: np.dtype[Any]) -> np.ndarray:
    return part.astype(dtype, copy=False) if mean is None else np.subtract(part, mean, dtype=dtype)


def _is_rounded_here(part: PartSpec) -> bool:
    """Tell whether a vector without a mean becomes float32 here: one of float64 would warn of what is too large."""
    return part.kind == "vector" and part.dtype != "float64"


def _act(
    policy: Policy,
    observations: Any,
    noise: tf.Tensor | None,
    weights: Sequence[tf.Tensor],
    states: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Compute actions for centred observations with the given weights in place of the policy's own, and new states."""
    import keras

    with keras.StatelessScope(state_mapping=list(zip(policy.weights, weights, strict=True))):
        parameters, states = policy.step_of_centred(observations, tuple(states))
        return [policy.actions(parameters, noise), *states]


class _Actor:
    """What both kinds of actors have: the preparation of observations, and the batches that are computed at once."""

    def __init__(self, policy: Policy, num_envs: int, shards: int) -> None:
        self._centred = _Centred(policy)
        self._rows = shard_rows(num_envs, shards)
        self.initial_states = tuple(np.array(part) for part in policy.initial_states(num_envs))
        self.for_environment = policy.action_distribution.acting()

    def __call__(self, observations: Any, noise: np.ndarray, states: States = ()) -> Actions:
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

    def _act(self, parts: list[np.ndarray], noise: np.ndarray, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the sampled actions and new states of one batch."""
        raise NotImplementedError


class CompiledActor(_Actor):
    """Acts through a tf.function. The arguments are those of `make_actor`."""

    def __init__(self, policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> None:
        def act(inputs: list[tf.Tensor], noise: tf.Tensor, weights: list[tf.Tensor], states: Any) -> list[tf.Tensor]:
            return _act(policy, self._centred.nest(inputs), None if deterministic else noise, weights, states)

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


class LiteActor(_Actor):
    """Acts through LiteRT. The arguments are those of `make_actor`.

    It can be pickled: in another process, the same converted policy acts, and the policy itself is not needed. The
    weights must be set there.

    Raises:
      ValueError, RuntimeError: the policy cannot be converted.
      ImportError: LiteRT is not installed.
    """

    def __init__(self, policy: Policy, num_envs: int, *, deterministic: bool = False, shards: int = 1) -> None:
        super().__init__(policy, num_envs, shards)
        self._model = _converted_once(policy, self._centred, num_envs // shards, deterministic)
        self._names = _weight_names(policy), _state_names(policy)
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
        # What the converted function does not use is no input.
        places = [inputs.get(f"part_{position}") for position in range(len(self._centred.specs))]
        self._parts = [(position, index) for position, index in enumerate(places) if index is not None]
        self._noise = inputs.get("noise")
        self._weights, self._states = ([inputs.get(name) for name in names] for names in self._names)

    def __getstate__(self) -> dict[str, Any]:
        # Neither can an interpreter be pickled, nor a Keras layer of a class that the other process does not know.
        kept = {name: value for name, value in vars(self).items() if name not in ("_interpreter", "_distribution")}
        distribution = self._distribution
        if getattr(self.for_environment, "__self__", None) is not distribution:
            return kept
        from keras.saving import serialize_keras_object

        return {**kept, "for_environment": (type(distribution), serialize_keras_object(distribution))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        door: Any = self.for_environment
        if isinstance(door, tuple):
            from keras.saving import deserialize_keras_object

            kind, described = door
            known = dict.fromkeys((described["class_name"], described["registered_name"]), kind)
            self.for_environment = deserialize_keras_object(described, custom_objects=known).acting()
        self._load()

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._centred.set_weights(weights)
        for index, weight in zip(self._weights, weights, strict=True):
            if index is not None:
                self._interpreter.set_tensor(index, _transposed(weight))

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


def _weight_names(policy: Policy) -> list[str]:
    return [f"weight_{position}" for position in range(len(policy.weights))]


def _state_names(policy: Policy) -> list[str]:
    return [f"state_{position}" for position in range(len(policy.initial_states(1)))]


def _transposed(weight: np.ndarray) -> np.ndarray:
    """Transpose a matrix for LiteRT's fully connected layer, which would otherwise transpose it at every step."""
    return np.ascontiguousarray(weight.T) if weight.ndim == 2 else weight


def _converted_once(policy: Policy, centred: _Centred, num_envs: int, deterministic: bool) -> bytes:
    """Convert the policy, unless one of equal structure was: the weights are inputs."""
    from tf_trpo.models.structure import keep, pattern_of, structure_of

    structure = structure_of(policy)
    if structure is None:
        return _converted(policy, centred, num_envs, deterministic)
    key = structure, pattern_of(policy.weights), num_envs, deterministic
    if key not in _kept:
        keep(_kept, key, _converted(policy, centred, num_envs, deterministic))
    return _kept[key]


def _converted(policy: Policy, centred: _Centred, num_envs: int, deterministic: bool) -> bytes:
    """Convert the policy to a LiteRT flatbuffer with inputs for the observation's parts, noise, states and weights."""
    noise = policy.action_distribution.noise([num_envs], tf.constant([0, 0]))
    specs = {
        f"part_{position}": tf.TensorSpec((num_envs, *spec.shape[1:]), spec.dtype)
        for position, spec in enumerate(centred.specs)
    }
    part_names = list(specs)
    if not deterministic:
        specs["noise"] = tf.TensorSpec(noise.shape, noise.dtype)
    for name, state in zip(_state_names(policy), policy.initial_states(num_envs), strict=True):
        specs[name] = tf.TensorSpec(state.shape, state.dtype)
    names = _weight_names(policy)
    for name, weight in zip(names, policy.weights, strict=True):
        specs[name] = tf.TensorSpec(_transposed(weight.numpy()).shape, weight.dtype)

    def act(**inputs: tf.Tensor) -> list[tf.Tensor]:
        values = [tf.transpose(inputs[name]) if inputs[name].shape.rank == 2 else inputs[name] for name in names]
        observations = centred.nest([inputs[name] for name in part_names])
        states = [inputs[name] for name in _state_names(policy)]
        return _act(policy, observations, inputs.get("noise"), values, states)

    concrete = tf.function(act, autograph=False).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=tf.Module())
    # By way of a SavedModel it takes twice as long, and the inputs have other names.
    converter.experimental_lower_to_saved_model = False
    return litert_flatbuffer(converter)


def litert_flatbuffer(converter: tf.lite.TFLiteConverter) -> bytes:
    """Convert a converter's functions; raise ValueError if one has an operation that LiteRT does not have."""
    try:
        return converter.convert()
    except Exception as error:  # TensorFlow's ConverterError, which has no public name and no other base
        raise ValueError(str(error)) from error
