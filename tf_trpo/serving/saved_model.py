"""One version of a model, loaded by TensorFlow without Keras and called with arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import saved_model_pb2

from tf_trpo.serving.metadata import METADATA_FILE, read_metadata

Arrays = dict[str, np.ndarray]
Specs = Mapping[str, tf.TensorSpec]
_NUMERIC = "fiub"
"""NumPy dtype kinds to which JSON's numbers and booleans can be converted."""
_LONGEST_REASON = 500


class ModelError(ValueError):
    """A version cannot be served, or refuses its inputs."""


def is_batched(spec: tf.TensorSpec) -> bool:
    """Return whether the size of an array's first axis is free."""
    return bool(spec.shape.rank) and spec.shape[0] is None


class Signature:
    """An endpoint: a function of arrays.

    Args:
      function: a function of a loaded SavedModel.
      rows_independent: whether the outputs of a row are known not to depend on the other rows.

    Attributes:
      inputs: shapes and dtypes of the inputs, by name.
      outputs: the names of the outputs.
      batched: whether one call can answer several requests.
    """

    def __init__(self, function: Any, *, rows_independent: bool) -> None:
        self._function = function
        self.inputs: Specs = function.structured_input_signature[1]
        self.outputs = function.structured_outputs.keys()
        specs = [*self.inputs.values(), *function.structured_outputs.values()]
        self.batched = rows_independent and all(map(is_batched, specs))

    def __call__(self, inputs: Arrays) -> Arrays:
        """Compute the outputs; raise ModelError if the model refuses the values."""
        try:
            outputs = self._function(**{name: tf.constant(array) for name, array in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            reason = " ".join(str(error.message).split())
            raise ModelError(f"the model refuses the inputs: {reason[:_LONGEST_REASON]}") from None
        return {name: output.numpy() for name, output in outputs.items()}


class SavedModel:
    """One version of a model.

    Args:
      version: number of the version.
      folder: folder of the version.
      trust: also load a model that tf_trpo did not write.

    Attributes:
      metadata: the metadata of a model that tf_trpo wrote, else None.
      signature_def: the endpoints in the form of TensorFlow Serving's metadata.
      signatures: the endpoints whose inputs and outputs are numbers, by name.

    Raises:
      ModelError, MetadataError, OSError and any error of TensorFlow: the version cannot be loaded.
    """

    def __init__(self, version: int, folder: Path, *, trust: bool = False) -> None:
        self.version = version
        file = folder / "saved_model.pb"
        if not file.is_file():
            raise ModelError(f"{folder} holds no {file.name}")
        self.metadata = None if trust and not (folder / METADATA_FILE).exists() else read_metadata(folder)
        # The signatures work only while the loaded object exists.
        self._loaded = tf.saved_model.load(str(folder))
        self.signature_def = _signature_def(file)
        # In tf_trpo's endpoints, rows are independent; other models may normalise over the batch.
        self.signatures = {
            name: Signature(function, rows_independent=self.metadata is not None)
            for name, function in self._loaded.signatures.items()
            if _is_numeric(function)
        }
        if not self.signatures:
            raise ModelError(f"{folder} has no endpoint with numbers as inputs and outputs")
        for signature in self.signatures.values():
            # The first call is slow, and a model that cannot run should not be served.
            specs = signature.inputs.items()
            signature(
                {name: np.zeros([size or 1 for size in spec.shape], spec.dtype.as_numpy_dtype) for name, spec in specs}
            )


def _is_numeric(function: Any) -> bool:
    """Return whether a function has inputs of known rank and outputs, and all of them are numbers."""
    inputs = list(function.structured_input_signature[1].values())
    outputs = list(function.structured_outputs.values())
    numbers = all(np.dtype(spec.dtype.as_numpy_dtype).kind in _NUMERIC for spec in inputs + outputs)
    return bool(inputs and outputs) and numbers and all(spec.shape.rank is not None for spec in inputs)


def _signature_def(file: Path) -> dict[str, Any]:
    graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    (served, *_) = (graph for graph in graphs if "serve" in graph.meta_info_def.tags)
    return {
        name: MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, definition in served.signature_def.items()
    }
