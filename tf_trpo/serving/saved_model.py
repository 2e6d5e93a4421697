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


class ModelError(ValueError):
    """A version that cannot be served, and why."""


class Signature:
    """An endpoint: arrays to arrays.

    Attributes:
      inputs: what it takes.
      batched: whether rows of several requests can be put together, and its outputs taken apart again.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        specs = function.structured_input_signature[1]
        self.inputs = {
            name: InputSpec(tuple(spec.shape.as_list()), np.dtype(spec.dtype.as_numpy_dtype))
            for name, spec in specs.items()
            if spec.shape.rank is not None
        }
        self.numeric = len(self.inputs) == len(specs) and all(
            kind in _NUMERIC
            for kind in (
                *(spec.dtype.kind for spec in self.inputs.values()),
                *(np.dtype(output.dtype.as_numpy_dtype).kind for output in function.structured_outputs.values()),
            )
        )
        outputs = [output.shape for output in function.structured_outputs.values()]
        self.batched = all(spec.batched for spec in self.inputs.values()) and all(
            shape.rank and shape[0] is None for shape in outputs
        )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._function(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: output.numpy() for name, output in outputs.items()}

    def run_once(self) -> None:
        """Run on zeros: the first call is slow, and a model that cannot run should not be served."""
        self(
            {
                name: np.zeros([1 if n is None else n for n in spec.shape], spec.dtype)
                for name, spec in self.inputs.items()
            }
        )


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
        signatures = {name: Signature(function) for name, function in self._loaded.signatures.items()}
        self.signatures = {name: signature for name, signature in signatures.items() if signature.numeric}
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
