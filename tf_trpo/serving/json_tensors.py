"""Predict requests and answers as JSON, by the rules of TensorFlow Serving's REST API.

Source:
  TensorFlow Serving, tensorflow_serving/util/json_tensor.cc. Stricter here: numbers must be finite, and a message names
  the input and the shape that the input must have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

Inputs = dict[str, np.ndarray]
_LEAVES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}
"""NumPy's kind of a type -> JSON values of that type. A model with an input of another kind is not served."""


class RequestError(Exception):
    """A request that cannot be answered: HTTP's status, and what is wrong with the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InputSpec(NamedTuple):
    """Shape and type of an input; a size that is free is None."""

    shape: tuple[int | None, ...]
    dtype: np.dtype

    @property
    def batched(self) -> bool:
        return bool(self.shape) and self.shape[0] is None


class PredictRequest(NamedTuple):
    """What a request asks for.

    Attributes:
      signature: name of the endpoint; empty for the default.
      by_row: the request has "instances", one for each row; else "inputs", by columns.
      inputs: arrays that fit the endpoint.
    """

    signature: str
    by_row: bool
    inputs: Inputs


def parse_predict_request(
    body: bytes, input_specs: Callable[[str], Mapping[str, InputSpec]], max_batch: int
) -> PredictRequest:
    """Read the body of a request.

    Args:
      body: JSON.
      input_specs: gives the inputs of an endpoint by the endpoint's name; raises RequestError if there is none.
      max_batch: largest number of rows of a request.

    Raises:
      RequestError: status 400, with what is wrong.
    """
    document = _parsed(body)
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise RequestError(400, f"JSON Value: {_shown(signature)}: 'signature_name' key must be a string value.")
    specs = input_specs(signature)
    keys = document.keys() & {"instances", "inputs"}
    if not keys:
        raise RequestError(400, "Missing 'inputs' or 'instances' key")
    if len(keys) == 2:
        raise RequestError(400, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    by_row = "instances" in keys
    values = _columns_of_rows(document["instances"], specs) if by_row else _columns(document["inputs"], specs)
    inputs = {name: _array(values[name], spec, name, by_row=by_row) for name, spec in specs.items()}
    sizes = {name: len(inputs[name]) for name, spec in specs.items() if spec.batched}
    if len(set(sizes.values())) > 1:
        raise RequestError(400, f"inputs have inconsistent batch sizes: {sizes}")
    if max(sizes.values(), default=0) > max_batch:
        raise RequestError(400, f"a batch of {max(sizes.values())} is larger than the largest of {max_batch}")
    return PredictRequest(signature, by_row, inputs)


def predict_answer(outputs: Mapping[str, np.ndarray], *, by_row: bool) -> bytes:
    """Write the model's outputs as the body of an answer.

    With `by_row` that is {"predictions": ...}, one for each row; else {"outputs": ...}, by columns. A single output
    stands without its name.

    Raises:
      RequestError: an output is not finite (500), or `by_row` and the outputs do not have one row each (400).
    """
    for name, output in outputs.items():
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise RequestError(500, f"output {name!r} of the model is not finite")
    (only, *more) = outputs
    if not by_row:
        return _written({"outputs": dict(outputs) if more else outputs[only]})
    sizes = {name: output.shape[0] if output.ndim else None for name, output in outputs.items()}
    if None in sizes.values() or len(set(sizes.values())) > 1:
        raise RequestError(400, f"outputs have inconsistent batch sizes {sizes}: ask by columns, with 'inputs'")
    if not more:
        return _written({"predictions": outputs[only]})
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return _written({"predictions": rows})


def _parsed(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise RequestError(400, f"JSON Value: {_shown(document)} Is not object")
    return document


def _columns_of_rows(instances: Any, specs: Mapping[str, InputSpec]) -> Mapping[str, Any]:
    if not isinstance(instances, list):
        raise RequestError(400, "Expecting 'instances' to be an list/array")
    if not instances:
        raise RequestError(400, "No values in 'instances' array")
    if len(specs) == 1 and not any(isinstance(instance, dict) for instance in instances):
        return dict.fromkeys(specs, instances)
    for position, instance in enumerate(instances):
        if not isinstance(instance, dict) or instance.keys() != specs.keys():
            wanted = f"It must be a JSON object whose keys must be equal to: {','.join(specs)}"
            raise RequestError(400, f"Failed to process element: {position} of 'instances' list. {wanted}")
    return {name: [instance[name] for instance in instances] for name in specs}


def _columns(inputs: Any, specs: Mapping[str, InputSpec]) -> Mapping[str, Any]:
    if not isinstance(inputs, dict):
        if len(specs) > 1:
            raise RequestError(400, f"inputs is a plain value/list, but expecting an object with {', '.join(specs)}")
        return dict.fromkeys(specs, inputs)
    for name in specs:
        if name not in inputs:
            raise RequestError(400, f"Missing named input: {name} in 'inputs' object.")
    return inputs


def _array(value: Any, spec: InputSpec, name: str, *, by_row: bool) -> np.ndarray:
    # By way of objects: with a type, NumPy would make numbers of strings, of null and of true.
    leaves = np.array(value, object)
    flat = leaves.ravel().tolist()
    allowed = _LEAVES[spec.dtype.kind]
    if not set(map(type, flat)) <= allowed:
        wrong = next(leaf for leaf in flat if type(leaf) not in allowed)
        hint = "; lists side by side must have one length" if isinstance(wrong, list) else ""
        wanted = f"is not of expected type {spec.dtype}{hint}"
        raise RequestError(400, f"input {name!r}: JSON Value: {_shown(wrong)} {wanted}")
    same_rank = leaves.ndim == len(spec.shape)
    if not (same_rank and all(size in (None, found) for size, found in zip(spec.shape, leaves.shape, strict=True))):
        hint = "; it is not batched: ask by columns, with 'inputs'" if by_row and not spec.batched else ""
        shapes = f"expected shape {_brackets(spec.shape)}, got {_brackets(leaves.shape)}"
        raise RequestError(400, f"input {name!r}: {shapes}{hint}")
    try:
        with np.errstate(over="ignore"):
            array = leaves.astype(spec.dtype)
        fits = np.isfinite(array) if spec.dtype.kind == "f" else array == leaves
    except OverflowError:
        fits = np.False_
    if not np.all(fits):
        raise RequestError(400, f"input {name!r}: a number is outside of the range of {spec.dtype}")
    return array


def _written(answer: dict[str, Any]) -> bytes:
    def contiguous(array: np.ndarray) -> Any:
        """Replace an array that has gaps or no dimensions, which orjson does not write."""
        return array.copy() if array.ndim else array[()]

    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY, default=contiguous)


def _brackets(shape: Sequence[int | None]) -> str:
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"


def _shown(value: Any) -> str:
    """Show a scalar as JSON, and a list or an object by its size, because its depth has no bound."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 100 else f"{text[:100]}..."
