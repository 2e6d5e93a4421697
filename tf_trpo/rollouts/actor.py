"""The policy as a plain function of NumPy arrays, called once for every step of the environments.

Calling a Keras model, even a compiled one, costs hundreds of microseconds of Python; an environment step may cost ten.
So the policy's own TensorFlow function, with its weights as inputs, is converted to LiteRT once, and runs in a few
microseconds. A policy that LiteRT cannot convert is called as a compiled TensorFlow function instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models import Policy

_logger = logging.getLogger(__name__)


class Actions(NamedTuple):
    """Actions as sampled [B, ...], to be stored, and as the environment is given them [B, ...]."""

    sampled: np.ndarray
    environment: np.ndarray


class Actor(Protocol):
    """A policy for a fixed number of environments."""

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Act by these weights from now on; they are in the order of `policy.weights`."""

    def __call__(self, observations: np.ndarray, noise: np.ndarray) -> Actions:
        """Compute actions for float32 observations [B, ...] and noise [B, ...] (not used by a mode)."""


def make_actor(policy: Policy, num_envs: int, *, deterministic: bool = False) -> Actor:
    """Make the fastest actor that the policy allows for B environments; a deterministic one takes the mode."""
    try:
        return LiteActor(policy, num_envs, deterministic=deterministic)
    except (ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        _logger.warning("acting through TensorFlow, which is slower: LiteRT cannot run this policy (%s)", reason)
        return CompiledActor(policy, deterministic=deterministic)


def _act(
    policy: Policy, observations: tf.Tensor, noise: tf.Tensor | None, weights: Sequence[tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Run `Policy.act` with the given weights in place of the policy's own."""
    with keras.StatelessScope(state_mapping=list(zip(policy.weights, weights, strict=True))):
        sampled = policy.act(observations, noise)
        return {"sampled": sampled, "environment": policy.action_distribution.to_environment(sampled)}


class CompiledActor:
    """Acts through a tf.function. The arguments are those of `make_actor`."""

    def __init__(self, policy: Policy, *, deterministic: bool = False) -> None:
        def act(observations: tf.Tensor, noise: tf.Tensor, weights: list[tf.Tensor]) -> dict[str, tf.Tensor]:
            return _act(policy, observations, None if deterministic else noise, weights)

        self._function = tf.function(act, autograph=False)
        self._weights = [tf.convert_to_tensor(weight) for weight in policy.weights]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._weights = [tf.convert_to_tensor(weight) for weight in weights]

    def __call__(self, observations: np.ndarray, noise: np.ndarray) -> Actions:
        actions = self._function(tf.convert_to_tensor(observations), tf.convert_to_tensor(noise), self._weights)
        return Actions(actions["sampled"].numpy(), actions["environment"].numpy())


class LiteActor:
    """Acts through LiteRT. The arguments are those of `make_actor`.

    Raises:
      ValueError, RuntimeError: the policy cannot be converted.
      ImportError: LiteRT is not installed.
    """

    def __init__(self, policy: Policy, num_envs: int, *, deterministic: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=_converted(policy, num_envs, deterministic),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        # The runner only tells the tensors' places: while it lives, the interpreter refuses direct access.
        runner = self._interpreter.get_signature_runner()
        inputs = {name: details["index"] for name, details in runner.get_input_details().items()}
        outputs = {name: details["index"] for name, details in runner.get_output_details().items()}
        del runner
        self._observations, self._noise = inputs.get("observations"), inputs.get("noise")
        # A weight that the converted function does not use is no input.
        self._weights = [inputs.get(name) for name in _weight_names(policy)]
        self._sampled, self._environment = outputs["sampled"], outputs["environment"]
        self.set_weights([weight.numpy() for weight in policy.weights])

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        for index, weight in zip(self._weights, weights, strict=True):
            if index is not None:
                self._interpreter.set_tensor(index, _transposed(weight))

    def __call__(self, observations: np.ndarray, noise: np.ndarray) -> Actions:
        interpreter = self._interpreter
        interpreter.set_tensor(self._observations, observations)
        if self._noise is not None:
            interpreter.set_tensor(self._noise, noise)
        interpreter.invoke()
        return Actions(interpreter.get_tensor(self._sampled), interpreter.get_tensor(self._environment))


def _weight_names(policy: Policy) -> list[str]:
    return [f"weight_{position}" for position in range(len(policy.weights))]


def _transposed(weight: np.ndarray) -> np.ndarray:
    """Transpose a matrix for LiteRT's fully connected layer, which would otherwise transpose it at every step."""
    return np.ascontiguousarray(weight.T) if weight.ndim == 2 else weight


def _converted(policy: Policy, num_envs: int, deterministic: bool) -> bytes:
    """Convert the policy to a LiteRT flatbuffer with inputs observations, noise and the weights."""
    noise = policy.action_distribution.noise([num_envs], tf.constant([0, 0]))
    specs = {"observations": tf.TensorSpec((num_envs, *policy.observation_shape), tf.float32)}
    if not deterministic:
        specs["noise"] = tf.TensorSpec(noise.shape, noise.dtype)
    names = _weight_names(policy)
    for name, weight in zip(names, policy.weights, strict=True):
        specs[name] = tf.TensorSpec(_transposed(weight.numpy()).shape, weight.dtype)

    def act(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        values = [tf.transpose(inputs[name]) if inputs[name].shape.rank == 2 else inputs[name] for name in names]
        return _act(policy, inputs["observations"], inputs.get("noise"), values)

    concrete = tf.function(act, autograph=False).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=tf.Module())
    return litert_flatbuffer(converter)


def litert_flatbuffer(converter: tf.lite.TFLiteConverter) -> bytes:
    """Convert a converter's functions; raise ValueError if one has an operation that LiteRT does not have."""
    try:
        return converter.convert()
    except Exception as error:  # TensorFlow's ConverterError, which has no public name and no other base
        raise ValueError(str(error)) from error
