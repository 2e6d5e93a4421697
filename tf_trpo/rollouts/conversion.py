"""Conversion of a policy's TensorFlow function, with its weights as inputs, to a LiteRT flatbuffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.models.structure import keep, pattern_of, structure_of
from tf_trpo.rollouts.centring import Centred, transposed

_kept: dict[Any, bytes] = {}
"""Converted policies, without their weights, to be reused for policies of equal structure."""


def act_by(
    policy: Policy,
    observations: Any,
    noise: tf.Tensor | None,
    weights: Sequence[tf.Tensor],
    states: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """Compute actions and new states for centred observations, with the given weights instead of the policy's own."""
    with keras.StatelessScope(state_mapping=list(zip(policy.weights, weights, strict=True))):
        parameters, states = policy.step_of_centred(observations, tuple(states))
        return [policy.actions(parameters, noise), *states]


def weight_names(policy: Policy) -> list[str]:
    """Return the names of the inputs for the policy's weights."""
    return [f"weight_{position}" for position in range(len(policy.weights))]


def state_names(policy: Policy) -> list[str]:
    """Return the names of the inputs for the states of the policy's memory."""
    return [f"state_{position}" for position in range(len(policy.initial_states(1)))]


def converted_once(policy: Policy, centred: Centred, num_envs: int, deterministic: bool) -> bytes:
    """Convert the policy, or reuse the result for a policy of equal structure: the weights are inputs."""
    structure = structure_of(policy)
    if structure is None:
        return _converted(policy, centred, num_envs, deterministic)
    key = structure, pattern_of(policy.weights), num_envs, deterministic
    if key not in _kept:
        keep(_kept, key, _converted(policy, centred, num_envs, deterministic))
    return _kept[key]


def _converted(policy: Policy, centred: Centred, num_envs: int, deterministic: bool) -> bytes:
    """Convert the policy to a LiteRT flatbuffer with inputs for the observation's parts, noise, states and weights."""
    noise = policy.action_distribution.noise([num_envs], tf.constant([0, 0]))
    specs = {
        f"part_{position}": tf.TensorSpec((num_envs, *spec.shape[1:]), spec.dtype)
        for position, spec in enumerate(centred.specs)
    }
    part_names = list(specs)
    if not deterministic:
        specs["noise"] = tf.TensorSpec(noise.shape, noise.dtype)
    for name, state in zip(state_names(policy), policy.initial_states(num_envs), strict=True):
        specs[name] = tf.TensorSpec(state.shape, state.dtype)
    names = weight_names(policy)
    for name, weight in zip(names, policy.weights, strict=True):
        specs[name] = tf.TensorSpec(transposed(weight.numpy()).shape, weight.dtype)

    def act(**inputs: tf.Tensor) -> list[tf.Tensor]:
        values = [tf.transpose(inputs[name]) if inputs[name].shape.rank == 2 else inputs[name] for name in names]
        observations = centred.nest([inputs[name] for name in part_names])
        states = [inputs[name] for name in state_names(policy)]
        return act_by(policy, observations, inputs.get("noise"), values, states)

    concrete = tf.function(act, autograph=False).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=tf.Module())
    # Conversion through a SavedModel takes twice as long and renames the inputs.
    converter.experimental_lower_to_saved_model = False
    return litert_flatbuffer(converter)


def litert_flatbuffer(converter: tf.lite.TFLiteConverter) -> bytes:
    """Run a converter; raise ValueError if a function has an operation that LiteRT does not have."""
    try:
        return converter.convert()
    except Exception as error:  # TensorFlow's ConverterError, which has no public name and no other base
        raise ValueError(str(error)) from error
