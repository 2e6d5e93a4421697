"""Exported models in TensorFlow Serving's layout, by Keras' ExportArchive and the converters that start from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.serving.endpoints import Endpoint, endpoints
from tf_trpo.serving.metadata import ModelMetadata, Origin, installed_versions, write_metadata
from tf_trpo.serving.model_versions import add_version, version_folders
from tf_trpo.serving.warmup import write_warmup_requests

ExportFormat = Literal["saved_model", "litert", "onnx"]
_MODEL_FILES: dict[ExportFormat, str] = {
    "saved_model": "saved_model.pb",
    "litert": "model.tflite",
    "onnx": "model.onnx",
}
_PACKAGES = ("tf_trpo", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def export_policy(
    policy: Policy,
    value_function: ValueFunction,
    return_scale: RunningReturnScale,
    path: str | os.PathLike[str],
    *,
    format: ExportFormat = "saved_model",
    origin: Origin | None = None,
    warmup: bool = False,
) -> str:
    """Write PATH/VERSION, a model with everything inside, normalisation included, and what is known of it.

    Its endpoints take a batch of any size, raw observations float32 [N, ...]:

        act             observations -> actions, the mode of the distribution; also the default
        act_stochastic  observations, seed int32 [2] -> actions, sampled; same seed, same actions
        value           observations -> values [N], discounted returns in the environment's own units
        distribution    observations -> the distribution's parameters: mean and log_std [N, d] of a Gaussian,
                        logits [N, n] of a categorical policy, parameters [N, D] of one's own

    Actions are as the environment takes them: clipped to its bounds, or numbered from its first one. Parameters are
    those of the distribution before that.

    LiteRT has no stateless random numbers and ONNX no seeds to hand in: there, `act_stochastic` is left out, and
    sampling is up to who calls `distribution`. A LiteRT model has a signature for each endpoint, an ONNX model one
    graph with all outputs.

    Args:
      policy: the policy.
      value_function: the value function, of scaled rewards.
      return_scale: their scale, which the endpoint takes back.
      path: folder of the model, NAME in TensorFlow Serving's NAME/VERSION/; made when missing. The
        version is the next number after those there.
      format: "saved_model" (saved_model.pb), "litert" (model.tflite) or "onnx" (model.onnx, an extra).
      origin: what the agent does not know of itself, for the metadata in assets.extra/tf_trpo.json.
      warmup: add requests that TensorFlow Serving runs before it takes a version into service (an extra).

    Returns:
      The folder that was written.

    Raises:
      ValueError: PATH holds versions in another format, the network cannot be converted, or warm-up requests are
        asked for in a format that TensorFlow Serving does not run.
      ImportError: an extra that the format or the warm-up needs is not installed.
    """
    model = Path(path)
    if warmup and format != "saved_model":
        raise ValueError("warm-up requests are for a saved_model: TensorFlow Serving runs no other format with them")
    _check_format(model, format)
    described = endpoints(policy, value_function, return_scale)
    metadata = _metadata(policy, origin or Origin())

    def write(folder: Path) -> None:
        _write_model(described, [policy, value_function, return_scale], folder, format)
        if warmup:
            write_warmup_requests(described, model.name, folder)
        write_metadata(folder, metadata)

    return str(add_version(model, write))


def _check_format(model: Path, format: ExportFormat) -> None:
    """A server takes the highest version, whatever it holds: one folder is for one format."""
    folders = version_folders(model).values() if model.is_dir() else ()
    for other, file in _MODEL_FILES.items():
        if other != format and any((folder / file).exists() for folder in folders):
            raise ValueError(f"{model} holds versions in format {other}; give format {format} a folder of its own")


def _write_model(
    described: dict[str, Endpoint], tracked: Sequence[keras.layers.Layer], folder: Path, format: ExportFormat
) -> None:
    if format == "saved_model":
        _write_saved_model(described, tracked, folder)
        return
    deterministic = {name: endpoint for name, endpoint in described.items() if len(endpoint.inputs) == 1}
    folder.mkdir()
    if format == "onnx":
        from tf_trpo.serving.onnx import onnx_model

        content = onnx_model(deterministic)
    else:
        from tf_trpo.rollouts.litert import litert_flatbuffer

        with tempfile.TemporaryDirectory() as scratch:
            saved_model = Path(scratch) / "saved_model"
            _write_saved_model(deterministic, tracked, saved_model)
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=list(deterministic))
            content = litert_flatbuffer(converter)
    (folder / _MODEL_FILES[format]).write_bytes(content)


def _write_saved_model(described: dict[str, Endpoint], tracked: Sequence[keras.layers.Layer], folder: Path) -> None:
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for name, endpoint in described.items():
        archive.add_endpoint(name, endpoint.function, input_signature=list(endpoint.inputs))
    archive.write_out(str(folder), verbose=False)


def _metadata(policy: Policy, origin: Origin) -> ModelMetadata:
    normalization = policy.encoder.normalization
    return ModelMetadata(
        environment=origin.environment,
        observation_space={"type": "Box", "shape": list(policy.observation_shape), "dtype": "float32"},
        action_space=policy.action_distribution.describe_actions(),
        observation_statistics=None
        if normalization is None
        else {
            **{name: getattr(normalization, name).numpy().tolist() for name in ("mean", "variance", "count")},
            **{name: getattr(normalization, name) for name in ("epsilon", "min_std", "clip")},
        },
        training_steps=origin.training_steps,
        evaluation=origin.evaluation,
        versions=installed_versions(_PACKAGES),
    )
