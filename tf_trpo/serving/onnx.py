"""A model's endpoints as one ONNX graph, by tf2onnx."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import tensorflow as tf

from tf_trpo.serving.endpoints import Endpoint

OPSET = 18
"""Of ONNX's operators: what the runtimes of the last years know."""


def onnx_model(described: Mapping[str, Endpoint]) -> bytes:
    """One graph, from the observations that all endpoints take to the outputs of all of them.

    Raises:
      ImportError: tf2onnx is not installed.
      ValueError: ONNX does not have an operation of the network.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ImportError('tf2onnx is not installed: pip install "tf_trpo[onnx]"') from error
    (observations,) = {endpoint.inputs for endpoint in described.values()}

    def outputs(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = {}
        for endpoint in described.values():
            found |= endpoint.function(observations)
        # The converter names an output after the operation that makes it.
        return {name: tf.identity(tensor, name=name) for name, tensor in found.items()}

    # It says what it folds and removes.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        model, _ = tf2onnx.convert.from_function(
            tf.function(outputs, autograph=False), input_signature=observations, opset=OPSET
        )
        # It hands on an operation that it does not know as if ONNX had it.
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        raise ValueError(f"the network cannot be converted to ONNX: {error}") from error
    return model.SerializeToString()
