"""Requests that TensorFlow Serving runs on a version before it takes it into service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tf_trpo.serving.endpoints import Endpoint

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_BATCHES = (1, 32)


def write_warmup_requests(described: Mapping[str, Endpoint], model_name: str, folder: Path) -> None:
    """Write requests of zeros to every endpoint, of one observation and of a batch, as a TFRecord of PredictionLog.

    Args:
      described: the endpoints.
      model_name: as the server will call the model.
      folder: of the version.

    Raises:
      ImportError: TensorFlow Serving's protocol buffers are not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError('tensorflow-serving-api is not installed: pip install "tf_trpo[warmup]"') from error
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, endpoint in described.items():
            for batch in _BATCHES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = model_name
                request.model_spec.signature_name = name
                for spec in endpoint.inputs:
                    shape = [batch if size is None else size for size in spec.shape]
                    request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(tf.zeros(shape, spec.dtype)))
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
