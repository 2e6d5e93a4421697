"""A version of a model as it is served: loaded by TensorFlow alone, called with arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import saved_model_pb2

from tf_trpo.serving.json_tensors import InputSpec, RequestError
from tf_trpo.serving.metadata import METADATA_FILE, ModelMetadata, read_metadata

DEFAULT_SIGNATURE = "serving_default"
_NUMERIC = "fiub"
"""NumPy's kinds of types that JSON has numbers, or true and false, for."""
_LONGEST_REASON = 500


class ModelError(ValueError):
    """A version that cannot be served, and why."""


class Signature:
    """An endpoint: arrays to arrays.

    Args:
      function: TensorFlow's, of a loaded SavedModel.
      rows_independent: whether a row's outputs do not depend on the other rows, as far as is known.

    Attributes:
      inputs: what it takes.
      outputs: the names of what it gives.
      batched: whether rows of several requests can be put together, and its outputs taken apart again.
    """

    def __init__(self, function: Any, *, rows_independent: bool) -> None:
        self._function = function
        self.inputs = {
            name: InputSpec(tuple(spec.shape.as_list()), np.dtype(spec.dtype.as_numpy_dtype))
            for name, spec in function.structured_input_signature[1].items()
        }
        self.outputs = frozenset(function.structured_outputs)
        outputs = [output.shape for output in function.structured_outputs.values()]
        self.batched = (
            rows_independent
            and all(spec.batched for spec in self.inputs.values())
            and all(shape.rank and shape[0] is None for shape in outputs)
        )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs.

        Raises:
          RequestError: the model refuses the values.
        """
        try:
            outputs = self._function(**{name: tf.constant(array) for name, array in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            reason = " ".join(str(error.message).split())
            raise RequestError(400, f"the model refuses the inputs: {reason[:_LONGEST_REASON]}") from None
        return {name: output.numpy() for name, output in outputs.items()}

    def run_once(self) -> None:
        """Run on zeros: the first call is slow, and a model that cannot run should not be served."""
        shapes = {name: [1 if size is None else size for size in spec.shape] for name, spec in self.inputs.items()}
        self({name: np.zeros(shape, self.inputs[name].dtype) for name, shape in shapes.items()})


class SavedModel:
    """One version.

    Args:
      version: its number.
      folder: where it is.
      trust: load a program that tf_trpo did not write.

    Attributes:
      metadata: what tf_trpo wrote beside it; None of a model of others.
      signature_def: its endpoints as TensorFlow Serving's metadata show them.

    Raises:
      ModelError, MetadataError, OSError, ...: it cannot be loaded, whatever TensorFlow raises for it.
    """

    def __init__(self, version: int, folder: Path, *, trust: bool = False) -> None:
        self.version = version
        file = folder / "saved_model.pb"
        if not file.is_file():
            raise ModelError(f"{folder} holds no {file.name}")
        self.metadata = self._metadata(folder, trust)
        self.signature_def = _signature_def(file)
        # The signatures die with the object that they belong to.
        self._loaded = tf.saved_model.load(str(folder))
        # What tf_trpo exports acts on each row by itself; others' models may normalise over the batch.
        self.signatures = {
            name: Signature(function, rows_independent=self.metadata is not None)
            for name, function in self._loaded.signatures.items()
            if _is_numeric(function)
        }
        if not self.signatures:
            raise ModelError(f"{folder} has no endpoint with numbers as inputs and outputs")
        for signature in self.signatures.values():
            signature.run_once()

    @staticmethod
    def _metadata(folder: Path, trust: bool) -> ModelMetadata | None:
        if trust and not (folder / METADATA_FILE).exists():
            return None
        return read_metadata(folder)

    def signature(self, name: str) -> Signature:
        """An endpoint by its name, or the default for an empty one.

        Raises:
          RequestError: there is none.
        """
        name = name or DEFAULT_SIGNATURE
        try:
            return self.signatures[name]
        except KeyError:
            there = ", ".join(sorted(self.signatures))
            raise RequestError(
                400, f'Serving signature name: "{name[:100]}" not found in signature def; there are {there}'
            ) from None


def _is_numeric(function: Any) -> bool:
    """Whether JSON numbers make its inputs, of which there are some, of known rank, and its outputs make numbers."""
    inputs = list(function.structured_input_signature[1].values())
    outputs = list(function.structured_outputs.values())
    return (
        bool(inputs and outputs)
        and all(spec.shape.rank is not None for spec in inputs)
        and all(np.dtype(spec.dtype.as_numpy_dtype).kind in _NUMERIC for spec in inputs + outputs)
    )


def _signature_def(file: Path) -> dict[str, Any]:
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(file.read_bytes())
    graphs = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise ModelError(f"{file} has no graph with the tag serve")
    return {
        name: MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, definition in graphs[0].signature_def.items()
    }
