"""Predict requests and answers as JSON, by the rules of TensorFlow Serving's REST API.

Source:
  TensorFlow Serving, tensorflow_serving/util/json_tensor.cc. Stricter here: numbers have to be finite, and what is
  wrong is said with the input's name and the shape that it should have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

Inputs = dict[str, np.ndarray]


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
      status: HTTP's.
      message: what is wrong with it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InputSpec(NamedTuple):
    """Shape, None where any size will do, and type of an input."""

    shape: tuple[int | None, ...]
    dtype: np.dtype

    @property
    def batched(self) -> bool:
        return bool(self.shape) and self.shape[0] is None


class PredictRequest(NamedTuple):
    """A request, understood.

    Attributes:
      signature: name of the endpoint; empty for the default.
      by_row: asked with "instances", one for each row; else with "inputs", by columns.
      inputs: arrays that fit the endpoint.
    """

    signature: str
    by_row: bool
    inputs: Inputs


def parse_predict_request(
    body: bytes, input_specs: Callable[[str], Mapping[str, InputSpec]], max_batch: int
) -> PredictRequest:
    """Understand a body.

    Args:
      body: JSON.
      input_specs: the inputs of an endpoint, by its name; raises RequestError when there is none.
      max_batch: rows of a request, at most.

    Raises:
      RequestError: status 400, with what is wrong.
    """
    document = _parsed(body)
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise RequestError(
            400,
            f"JSON Value: {_shown(signature)} not formatted correctly. 'signature_name' key must be a string value.",
        )
    specs = input_specs(signature)
    if ("instances" in document) == ("inputs" in document):
        if "inputs" in document:
            raise RequestError(
                400, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
            )
        raise RequestError(400, "Missing 'inputs' or 'instances' key")
    by_row = "instances" in document
    values = _columns_of_rows(document["instances"], specs) if by_row else _columns(document["inputs"], specs)
    inputs = {name: _array(values[name], specs[name], name, max_batch, by_row=by_row) for name in specs}
    sizes = {name: len(inputs[name]) for name, spec in specs.items() if spec.batched}
    if len(set(sizes.values())) > 1:
        raise RequestError(400, f"inputs have inconsistent batch sizes: {sizes}")
    return PredictRequest(signature, by_row, inputs)


def predict_answer(outputs: Mapping[str, np.ndarray], *, by_row: bool) -> bytes:
    """The answer's body: {"predictions": ...} by row, {"outputs": ...} by columns; one output stands without its name.

    Raises:
      RequestError: outputs that are not finite (500), or asked for by row and not a row each (400).
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


def _columns_of_rows(instances: Any, specs: Mapping[str, InputSpec]) -> dict[str, list[Any]]:
    if not isinstance(instances, list):
        raise RequestError(400, "Expecting 'instances' to be an list/array")
    if not instances:
        raise RequestError(400, "No values in 'instances' array")
    if not isinstance(instances[0], dict):
        if len(specs) > 1:
            raise RequestError(400, f"instances is a plain list, but expecting list of objects with {', '.join(specs)}")
        for position, instance in enumerate(instances):
            if isinstance(instance, dict):
                raise RequestError(400, f"Expecting value/list but got object at item {position} of input list")
        (name,) = specs
        return {name: instances}
    for position, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise RequestError(400, f"Expecting object but got {_shown(instance)} at item {position} of input list")
        if instance.keys() != specs.keys():
            raise RequestError(
                400,
                f"Failed to process element: {position} of 'instances' list. JSON object keys must be equal to: "
                f"{','.join(specs)}",
            )
    return {name: [instance[name] for instance in instances] for name in specs}


def _columns(inputs: Any, specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    if not isinstance(inputs, dict):
        if len(specs) > 1:
            raise RequestError(400, f"inputs is a plain value/list, but expecting an object with {', '.join(specs)}")
        (name,) = specs
        return {name: inputs}
    missing = [name for name in specs if name not in inputs]
    if missing:
        raise RequestError(400, f"Missing named input: {missing[0]} in 'inputs' object.")
    return inputs


def _array(value: Any, spec: InputSpec, name: str, max_batch: int, *, by_row: bool) -> np.ndarray:
    shape = _shape(value)
    if len(shape) != len(spec.shape) or any(
        wanted not in (None, size) for wanted, size in zip(spec.shape, shape, strict=True)
    ):
        hint = "; it is not batched: ask by columns, with 'inputs'" if by_row and not spec.batched else ""
        raise RequestError(400, f"input {name!r}: expected shape {_brackets(spec.shape)}, got {_brackets(shape)}{hint}")
    if spec.batched and shape[0] > max_batch:
        raise RequestError(400, f"input {name!r}: a batch of {shape[0]} is larger than the largest of {max_batch}")
    flat: list[Any] = []
    _fill(flat, value, shape, 0, _LEAVES[spec.dtype.kind], f"input {name!r} of type {spec.dtype}")
    return _typed(flat, spec.dtype, name).reshape(shape)


_LEAVES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}
"""NumPy's kind of a type -> what of JSON it is made from; what has other kinds is refused when a model is loaded."""


_SHOWN_SIZES = 10


def _shape(value: Any) -> tuple[int, ...]:
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def _fill(flat: list[Any], value: Any, shape: Sequence[int], level: int, leaves: set[type], what: str) -> None:
    """Append all numbers of a nested list; its depth is that of `shape`, and so is bounded."""
    if level == len(shape):
        if type(value) not in leaves:
            raise RequestError(400, f"{what}: JSON Value: {_shown(value)} is not of expected type")
        flat.append(value)
        return
    if not isinstance(value, list):
        raise RequestError(400, f"{what}: JSON Value: {_shown(value)} found where a list of {shape[level]} is expected")
    if len(value) != shape[level]:
        raise RequestError(
            400,
            f"{what}: Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}",
        )
    if level == len(shape) - 1 and set(map(type, value)) <= leaves:
        flat.extend(value)
        return
    for part in value:
        _fill(flat, part, shape, level + 1, leaves, what)


def _typed(flat: list[Any], dtype: np.dtype, name: str) -> np.ndarray:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        beyond = [number for number in flat if not limits.min <= number <= limits.max]
        if beyond:
            raise RequestError(400, f"input {name!r}: {_shown(beyond[0])} is outside of the range of {dtype}")
        return np.array(flat, dtype)
    if dtype.kind == "b":
        return np.array(flat, dtype)
    with np.errstate(over="ignore"):
        numbers = np.array(flat, np.float64).astype(dtype)
    if not np.isfinite(numbers).all():
        (position, *_) = np.flatnonzero(~np.isfinite(numbers))
        raise RequestError(400, f"input {name!r}: {_shown(flat[position])} is not finite as {dtype}")
    return numbers


def _written(answer: dict[str, Any]) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY, default=_contiguous)


def _contiguous(value: Any) -> Any:
    """What orjson does not write itself: arrays with gaps, and of no dimension."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value) if value.ndim else value[()]
    raise TypeError(f"{type(value).__name__} is no JSON")


def _brackets(shape: Sequence[int | None]) -> str:
    more = ["..."] if len(shape) > _SHOWN_SIZES else []
    sizes = ["?" if size is None else str(size) for size in shape[:_SHOWN_SIZES]]
    return f"[{','.join([*sizes, *more])}]"


def _shown(value: Any) -> str:
    """A scalar as JSON; of a list or an object what it is and its size: its depth has no bound here."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 100 else f"{text[:100]}..."
