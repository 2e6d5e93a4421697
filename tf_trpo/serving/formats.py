"""Write the files of an exported model in each format, by Keras' ExportArchive and converters."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_trpo.extras import not_installed
from tf_trpo.serving.metadata import INITIAL_STATE, ExportFormat

MODEL_FILES: dict[ExportFormat, str] = {
    "saved_model": "saved_model.pb",
    "litert": "model.tflite",
    "onnx": "model.onnx",
}
_OPSET = 18
"""Version of ONNX's operator set; the runtimes of recent years support it."""
_WARMUP_BATCHES = (1, 32)


class Endpoint(NamedTuple):
    """A function of named tensors, and the names, shapes and dtypes of its inputs in order."""

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: tuple[tf.TensorSpec, ...]


def write_model(
    described: Mapping[str, Endpoint], tracked: Sequence[keras.layers.Layer], folder: Path, format: ExportFormat
) -> None:
    """Make a folder, and write the endpoints that the format supports.

    Args:
      described: endpoints by name.
      tracked: all layers that the endpoints use.
      folder: folder to make; it must not exist.
      format: as for `export_policy`, which also describes the errors.
    """
    if format == "saved_model":
        _write_saved_model(described, tracked, folder)
        return
    deterministic = {name: endpoint for name, endpoint in described.items() if endpoint.inputs[-1].name != "seed"}
    content = _onnx(deterministic) if format == "onnx" else _litert(deterministic, tracked)
    folder.mkdir()
    (folder / MODEL_FILES[format]).write_bytes(content)


def write_warmup_requests(described: Mapping[str, Endpoint], model_name: str, folder: Path) -> None:
    """Write requests that TensorFlow Serving runs before it serves the version in a folder.

    The file is a TFRecord of PredictionLog. Each endpoint gets zeros, once as one observation and once as a batch.
    `model_name` must be the name by which the server serves the model.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise not_installed("tensorflow_serving") from error
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, endpoint in described.items():
            for batch in _WARMUP_BATCHES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = model_name
                request.model_spec.signature_name = name
                for spec in endpoint.inputs:
                    shape = [batch if size is None else size for size in spec.shape]
                    request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(tf.zeros(shape, spec.dtype)))
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def _write_saved_model(described: Mapping[str, Endpoint], tracked: Sequence[keras.layers.Layer], folder: Path) -> None:
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for name, endpoint in described.items():
        archive.add_endpoint(name, endpoint.function, input_signature=list(endpoint.inputs))
    archive.write_out(str(folder), verbose=False)


def _litert(described: Mapping[str, Endpoint], tracked: Sequence[keras.layers.Layer]) -> bytes:
    from tf_trpo.rollouts.conversion import litert_flatbuffer

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "saved_model"
        _write_saved_model(described, tracked, folder)
        return litert_flatbuffer(tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(described)))


def _onnx(described: Mapping[str, Endpoint]) -> bytes:
    """Convert the endpoints that take observations to one graph with all their outputs."""
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise not_installed("tf2onnx") from error
    # `initial_state` takes no observations.
    joined = [endpoint for name, endpoint in described.items() if name != INITIAL_STATE]
    inputs = {spec.name: spec for endpoint in joined for spec in endpoint.inputs}

    def outputs(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = dict(zip(inputs, given, strict=True))
        found: dict[str, tf.Tensor] = {}
        for endpoint in joined:
            found |= endpoint.function(*(tensors[spec.name] for spec in endpoint.inputs))
        # In one graph, an output cannot have the name of an input.
        return {f"next_{name}" if name in inputs else name: tensor for name, tensor in found.items()}

    # tf2onnx logs every operation that it folds or removes.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    function = tf.function(outputs, autograph=False)
    try:
        model, _ = tf2onnx.convert.from_function(function, input_signature=tuple(inputs.values()), opset=_OPSET)
        # tf2onnx writes operations that ONNX does not have without an error; the checker finds them.
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        raise ValueError(f"the network cannot be converted to ONNX: {error}") from error
    return model.SerializeToString()
