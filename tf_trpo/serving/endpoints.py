"""The endpoints of an exported model as functions of tensors, the same for every format."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_trpo.models import Policy, RunningReturnScale, ValueFunction


class Endpoint(NamedTuple):
    """A function of named tensors; names, shapes and types of the inputs in the function's order."""

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: tuple[tf.TensorSpec, ...]


def endpoints(policy: Policy, value_function: ValueFunction, return_scale: RunningReturnScale) -> dict[str, Endpoint]:
    """Make the endpoints that `export_policy` describes, by name."""
    distribution = policy.action_distribution

    def act(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"actions": distribution.to_environment(policy.act(observations))}

    def act_stochastic(observations: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = distribution.noise([tf.shape(observations)[0]], seed)
        return {"actions": distribution.to_environment(policy.act(observations, noise))}

    def value(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"values": value_function(observations) / return_scale(tf.ones([]))}

    def parameters(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        return distribution.named_parameters(policy.distribution_parameters(observations))

    observations = tf.TensorSpec((None, *policy.observation_shape), tf.float32, name="observations")
    seed = tf.TensorSpec((2,), tf.int32, name="seed")
    return {
        "act": Endpoint(act, (observations,)),
        "act_stochastic": Endpoint(act_stochastic, (observations, seed)),
        "value": Endpoint(value, (observations,)),
        "distribution": Endpoint(parameters, (observations,)),
    }
