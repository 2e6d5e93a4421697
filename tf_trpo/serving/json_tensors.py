"""Read predict requests and write answers as JSON, by the rules of TensorFlow Serving's REST API.

Numbers must be finite, which is stricter than TensorFlow Serving.

Source:
  TensorFlow Serving, tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import functools
import sys
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from tf_trpo.serving.saved_model import Arrays, Specs, is_batched


class RequestError(Exception):
    """A request that cannot be answered: the HTTP status and the reason."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PredictRequest(msgspec.Struct):
    """The body of a request. Its inputs are not parsed yet, because their types depend on the endpoint.

    Attributes:
      signature_name: the endpoint; empty for the default.
      instances: the inputs by row.
      inputs: the inputs by column.
    """

    signature_name: str = ""
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def by_row(self) -> bool:
        return self.instances is not msgspec.UNSET


def parse_request(body: bytes) -> PredictRequest:
    """Parse the body of a request except for its inputs; raise RequestError with status 400 if it is malformed."""
    try:
        request = msgspec.json.decode(body, type=PredictRequest)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"JSON Parse error: {error}") from None
    if request.by_row == (request.inputs is not msgspec.UNSET):
        raise RequestError(400, "Not formatted correctly expecting one of 'inputs' or 'instances' keys to exist")
    return request


def parse_inputs(request: PredictRequest, specs: Specs, max_batch: int) -> Arrays:
    """Parse the inputs of a request.

    Args:
      request: the request.
      specs: the inputs of the endpoint.
      max_batch: largest number of rows of a request.

    Raises:
      RequestError: the inputs do not fit the specs, or there are too many rows (400).
    """
    by_row = request.by_row
    raw: Any = request.instances if by_row else request.inputs
    if by_row and not all(map(is_batched, specs.values())):
        raise RequestError(400, "an input of this endpoint is not batched: ask by columns, with 'inputs'")
    try:
        found = _decoder(tuple(specs.items()), by_row=by_row).decode(raw)
        columns = zip(*map(_values, found), strict=True) if by_row else _values(found)
        inputs = {
            name: np.array(column, spec.dtype.as_numpy_dtype)
            for (name, spec), column in zip(specs.items(), columns, strict=True)
        }
    except (ValueError, OverflowError, RecursionError) as error:
        raise RequestError(400, f"{'instances' if by_row else 'inputs'}: {error}") from None
    sizes = {len(inputs[name]) for name, spec in specs.items() if is_batched(spec)}
    if len(sizes) > 1:
        raise RequestError(400, f"inputs have inconsistent batch sizes: {sizes}")
    if max(sizes, default=0) > max_batch:
        raise RequestError(400, f"a batch of {max(sizes)} is larger than the limit of {max_batch}")
    return inputs


def predict_answer(outputs: Arrays, *, by_row: bool) -> bytes:
    """Return the body of an answer with the model's outputs.

    With `by_row` the body is {"predictions": [...]}, one item for each row; otherwise {"outputs": ...}, by column. A
    single output is written without its name.

    Raises:
      RequestError: an output is not finite (500), or the outputs differ in their number of rows with `by_row` (400).
    """
    for name, output in outputs.items():
        if not np.isfinite(output).all():
            raise RequestError(500, f"output {name!r} of the model is not finite")
    sizes = {output.shape[:1] for output in outputs.values()}
    if by_row and (len(sizes) > 1 or () in sizes):
        raise RequestError(400, f"outputs have inconsistent batch sizes {sizes}: ask by columns, with 'inputs'")
    answer: Any = outputs
    if len(outputs) == 1:
        (answer,) = outputs.values()
    elif by_row:
        answer = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    document = {"predictions" if by_row else "outputs": answer}
    # By itself, orjson does not write arrays that are not contiguous or have no dimensions.
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=np.ndarray.tolist)


@functools.lru_cache(maxsize=64)
def _decoder(specs: tuple[tuple[str, Any], ...], *, by_row: bool) -> msgspec.json.Decoder[Any]:
    """Make a decoder of inputs by row or by column; a single input may be given without its name."""
    fields = {f"_{position}": name for position, (name, _) in enumerate(specs)}
    types = [_json_type(spec.shape[1:] if by_row else spec.shape, spec.dtype.as_numpy_dtype) for _, spec in specs]
    named: Any = msgspec.defstruct(
        "Inputs", list(zip(fields, types, strict=True)), rename=fields, forbid_unknown_fields=by_row
    )
    inputs: Any = named if len(types) > 1 else named | types[0]
    return msgspec.json.Decoder(_list_of(inputs) if by_row else inputs)


def _json_type(shape: Any, dtype: type) -> Any:
    """Return the type of nested lists of a shape (None: any size >= 1) whose numbers fit a NumPy type."""
    kind: Any = np.dtype(dtype).kind
    if kind == "b":
        found: Any = bool
    elif kind == "f":
        # A number that exceeds the largest one by less than half its spacing is rounded to it.
        largest = min(float(np.finfo(dtype).max) * (1 + float(np.finfo(dtype).eps) / 5), sys.float_info.max)
        found = Annotated[float, msgspec.Meta(ge=-largest, le=largest)]
    else:
        limits: Any = np.iinfo(dtype)
        # msgspec's limits are int64; NumPy refuses numbers that uint64 cannot hold.
        found = Annotated[
            int, msgspec.Meta(ge=int(limits.min), le=int(limits.max) if limits.max <= sys.maxsize else None)
        ]
    for size in reversed(shape):
        found = _list_of(found, size)
    return found


def _list_of(found: Any, size: int | None = None) -> Any:
    return Annotated[list[found], msgspec.Meta(min_length=1 if size is None else size, max_length=size)]


def _values(inputs: Any) -> tuple[Any, ...]:
    return msgspec.structs.astuple(inputs) if isinstance(inputs, msgspec.Struct) else (inputs,)
