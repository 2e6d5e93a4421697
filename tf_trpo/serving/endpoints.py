"""The endpoints of an exported model as functions of tensors, for every format."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.models import Encoder, Policy, RunningReturnScale, ValueFunction
from tf_trpo.models.mirror_symmetry import MirroredEncoder
from tf_trpo.serving.formats import Endpoint
from tf_trpo.serving.metadata import EPISODES, INITIAL_STATE, STATE
from tf_trpo.spaces import PartSpec, Spec, map_parts, named, nest_of, parts

_logger = logging.getLogger(__name__)
VALUE_STATE = "value_state"
"""Prefix of the names of the value function's state."""
_COARSE = 0.01
"""Distance of neighbouring float32 numbers, in standard deviations of a feature, above which float32 is too coarse."""


def endpoints(
    policy: Policy, value_function: ValueFunction, return_scale: RunningReturnScale, *, has_float64: bool
) -> dict[str, Endpoint]:
    """Make the endpoints that `export_policy` describes, by name.

    Args:
      policy, value_function, return_scale: as for `export_policy`.
      has_float64: whether the format has float64; if not, float64 inputs become float32.

    Raises:
      ValueError: the actions are float64 and the format has no float64.
    """
    distribution = policy.action_distribution
    if not has_float64 and '"dtype": "float64"' in json.dumps(distribution.describe_actions()):
        raise ValueError(
            "LiteRT does not compute in float64, the type of the actions: export in the format saved_model or onnx, or "
            "give the environment a Box of float32 by a wrapper (gymnasium.wrappers.TransformAction)"
        )
    observations = _observation_specs(policy.encoder.spec, has_float64)
    nest, count = functools.partial(_nest, policy.encoder.spec, has_float64), len(observations)
    seed = tf.TensorSpec((2,), tf.int32, name="seed")

    def act(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parameters, states = policy.step(nest(inputs[:count]), inputs[count:])
        return _actions(policy, parameters, None) | named_states(STATE, states)

    def act_stochastic(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = distribution.noise([tf.shape(inputs[0])[0]], inputs[-1])
        parameters, states = policy.step(nest(inputs[:count]), inputs[count:-1])
        return _actions(policy, parameters, noise) | named_states(STATE, states)

    def value(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        values, states = value_function.step(nest(inputs[:count]), inputs[count:])
        return {"values": values / return_scale(tf.ones([]))} | named_states(VALUE_STATE, states)

    def parameters(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parameters, states = policy.step(nest(inputs[:count]), inputs[count:])
        return distribution.named_parameters(parameters) | named_states(STATE, states)

    def initial_state(episodes: tf.Tensor) -> dict[str, tf.Tensor]:
        return initial_states(policy, value_function, tf.shape(episodes)[0])

    own, of_value = _state_specs(STATE, policy.encoder), _state_specs(VALUE_STATE, value_function.encoder)
    described = {
        "act": Endpoint(act, (*observations, *own)),
        "act_stochastic": Endpoint(act_stochastic, (*observations, *own, seed)),
        "value": Endpoint(value, (*observations, *of_value)),
        "distribution": Endpoint(parameters, (*observations, *own)),
    }
    episodes = tf.TensorSpec((None,), tf.int32, name=EPISODES)
    return {**described, INITIAL_STATE: Endpoint(initial_state, (episodes,))} if own else described


def warn_of_coarse_features(encoder: Encoder | MirroredEncoder) -> None:
    """Warn of normalised features whose differences float32, in which LiteRT takes them, rounds away."""
    for place, mean, scale, step in _coarse_features(encoder):
        _logger.warning(
            "%s has the mean %.4g and is divided by %.4g, but LiteRT takes float32, with numbers %.4g apart there, "
            "so that the model's actions may differ much from the agent's: export in the format saved_model or onnx, "
            "or train with a wrapper that subtracts a constant",
            place,
            mean,
            scale,
            step,
        )


def _coarse_features(encoder: Encoder | MirroredEncoder) -> Iterator[tuple[str, float, float, float]]:
    """Yield the place, mean, divisor and distance of float32 numbers for each feature that is too coarse."""
    for (name, part), layer in zip(parts(encoder.spec), encoder.normalization_by_part, strict=True):
        if layer is None or part.dtype in ("float16", "float32"):
            continue
        mean, scale = layer.mean.numpy().ravel(), layer.scale.numpy().ravel()
        step = np.spacing(np.abs(mean).astype(np.float32))
        if part.dtype != "float64":
            # All integers between two float32 numbers with a distance of 1 are float32 numbers.
            step[step <= 1] = 0
        for place in np.flatnonzero(step > _COARSE * scale):
            index = [int(i) for i in np.unravel_index(place, part.shape)]
            where = f"number {index} of the observation{f' part {name}' if name else ''}"
            yield where, float(mean[place]), float(scale[place]), float(step[place])


def _observation_specs(spec: Spec, has_float64: bool) -> tuple[tf.TensorSpec, ...]:
    def typed(part: PartSpec) -> tf.TensorSpec:
        dtype = part.dtype if has_float64 or part.dtype != "float64" else "float32"
        return tf.TensorSpec((None, *part.shape), dtype)

    named_specs = named("observations", map_parts(typed, spec))
    return tuple(tf.TensorSpec(part.shape, part.dtype, name=name) for name, part in named_specs.items())


def _nest(spec: Spec, has_float64: bool, inputs: tuple[tf.Tensor, ...]) -> Any:
    """Arrange the inputs of an endpoint in the structure of observations."""
    # Without float64, vectors are cast to float32, so that the normalisation does not compute in float64.
    return map_parts(
        lambda part, rows: rows if has_float64 or part.kind != "vector" else tf.cast(rows, tf.float32),
        spec,
        nest_of(spec, inputs),
    )


def initial_states(policy: Policy, value_function: ValueFunction, count: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the initial states of `count` episodes, by their names in exported models."""
    of_value = value_function.encoder.initial_states(count)
    return named_states(STATE, policy.initial_states(count)) | named_states(VALUE_STATE, of_value)


def named_states(prefix: str, states: Sequence[Any]) -> dict[str, Any]:
    """Name the parts of a memory's state: PREFIX if there is one part, else PREFIX_0, PREFIX_1 and so on."""
    return named(prefix, states[0] if len(states) == 1 else tuple(states))


def _actions(policy: Policy, parameters: tf.Tensor, noise: tf.Tensor | None) -> dict[str, tf.Tensor]:
    return named("actions", policy.action_distribution.to_environment(policy.actions(parameters, noise)))


def _state_specs(prefix: str, encoder: Encoder | MirroredEncoder) -> tuple[tf.TensorSpec, ...]:
    states = named_states(prefix, encoder.initial_states(1)).items()
    return tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype, name=name) for name, part in states)
