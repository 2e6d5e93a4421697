"""The endpoints of an exported model as functions of tensors, the same for every format."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.serving.formats import Endpoint
from tf_trpo.spaces import PartSpec, map_parts, named, nest_of


def endpoints(
    policy: Policy, value_function: ValueFunction, return_scale: RunningReturnScale, *, has_float64: bool
) -> dict[str, Endpoint]:
    """Make the endpoints that `export_policy` describes, by name; without float64, such inputs are float32.

    Raises:
      ValueError: there is no float64, and the actions need it.
    """
    distribution, spec = policy.action_distribution, policy.encoder.spec

    if not has_float64 and '"dtype": "float64"' in json.dumps(distribution.describe_actions()):
        raise ValueError(
            "LiteRT does not compute in float64, the type of the actions: export in the format saved_model or onnx, or "
            "give the environment a Box of float32 by a wrapper (gymnasium.wrappers.TransformAction)"
        )

    def dtype(part: PartSpec) -> str:
        return part.dtype if has_float64 or part.dtype != "float64" else "float32"

    signature = map_parts(lambda part: tf.TensorSpec((None, *part.shape), dtype(part)), spec)
    observations = tuple(
        tf.TensorSpec(part.shape, part.dtype, name=name) for name, part in named("observations", signature).items()
    )
    seed = tf.TensorSpec((2,), tf.int32, name="seed")

    def nest(inputs: tuple[tf.Tensor, ...]) -> Any:
        # Of float32, a mean is subtracted without float64.
        return map_parts(
            lambda part, rows: rows if has_float64 or part.kind != "vector" else tf.cast(rows, tf.float32),
            spec,
            nest_of(spec, inputs),
        )

    def act(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return named("actions", distribution.to_environment(policy.act(nest(inputs))))

    def act_stochastic(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = distribution.noise([tf.shape(inputs[0])[0]], inputs[-1])
        return named("actions", distribution.to_environment(policy.act(nest(inputs[:-1]), noise)))

    def value(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"values": value_function(nest(inputs)) / return_scale(tf.ones([]))}

    def parameters(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return distribution.named_parameters(policy.distribution_parameters(nest(inputs)))

    return {
        "act": Endpoint(act, observations),
        "act_stochastic": Endpoint(act_stochastic, (*observations, seed)),
        "value": Endpoint(value, observations),
        "distribution": Endpoint(parameters, observations),
    }
