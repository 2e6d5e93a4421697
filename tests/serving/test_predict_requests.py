"""Bodies of requests and answers: TensorFlow Serving's rules, case by case and by properties."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tf_trpo.serving.json_tensors import InputSpec, RequestError, parse_predict_request, predict_answer

OBSERVATIONS = {"observations": InputSpec((None, 2), np.dtype(np.float32))}
SEEDED = {**OBSERVATIONS, "seed": InputSpec((2,), np.dtype(np.int32))}
PAIRS = {"a": InputSpec((None,), np.dtype(np.float32)), "b": InputSpec((None, 1), np.dtype(np.int64))}
SIGNATURES = {"": OBSERVATIONS, "seeded": SEEDED, "pairs": PAIRS, "flag": {"x": InputSpec((None,), np.dtype(bool))}}


def specs(name):
    if name not in SIGNATURES:
        raise RequestError(400, f"no {name}")
    return SIGNATURES[name]


def parse(body, max_batch=8):
    return parse_predict_request(body if isinstance(body, bytes) else json.dumps(body).encode(), specs, max_batch)


ROWS = np.float32([[1, 2.5], [3, 4]])
SEEDS = {"observations": ROWS, "seed": np.int32([3, -4])}
NUMBERS = {"a": np.float32([1, 3]), "b": np.int64([[2], [4]])}
UNDERSTOOD = [
    ("", "instances", ROWS.tolist(), {"observations": ROWS}),
    ("", "instances", [{"observations": row} for row in ROWS.tolist()], {"observations": ROWS}),
    ("", "inputs", ROWS.tolist(), {"observations": ROWS}),
    ("", "inputs", {"observations": ROWS.tolist()}, {"observations": ROWS}),
    ("seeded", "inputs", {"observations": ROWS.tolist(), "seed": [3, -4]}, SEEDS),
    ("pairs", "instances", [{"a": 1, "b": [2]}, {"b": [4], "a": 3}], NUMBERS),
]


@pytest.mark.parametrize(("signature", "key", "values", "inputs"), UNDERSTOOD)
def test_rows_and_columns_of_one_input_or_of_several_are_understood(signature, key, values, inputs):
    asked = parse({"signature_name": signature, key: values} if signature else {key: values})
    assert (asked.signature, asked.by_row, set(asked.inputs)) == (signature, key == "instances", set(inputs))
    for name, value in inputs.items():
        np.testing.assert_array_equal(asked.inputs[name], value, strict=True)


REFUSED = {
    b"": "JSON Parse error: The document is empty",
    b"instances = [1, 2]": "JSON Parse error",
    b'{"instances": [[1, 2]]': "JSON Parse error",
    b'\xff{"instances": [[1, 2]]}': "JSON Parse error",
    b'{"instances": ' + b"[" * 100_000: "JSON Parse error",
    b"[1, 2]": "Is not object",
    b'{"signature_name": 100, "instances": [[1, 2]]}': "'signature_name' key must be a string value",
    b'{"signature_name": "no", "instances": [[1, 2]]}': "no no",
    b"{}": "Missing 'inputs' or 'instances' key",
    b'{"instances": [[1, 2]], "inputs": [[1, 2]]}': "only one of 'inputs' or 'instances'",
    b'{"instances": {"observations": [[1, 2]]}}': "'instances' to be an list",
    b'{"instances": []}': "No values in 'instances' array",
    b'{"instances": [1, 2]}': r"'observations': expected shape \[\?,2\], got \[2\]",
    b'{"instances": [[1, 2, 3]]}': r"'observations': expected shape \[\?,2\], got \[1,3\]",
    b'{"inputs": 3}': r"expected shape \[\?,2\], got \[\]",
    b'{"inputs": null}': "null is not of expected type",
    b'{"instances": [[1, 2], [3]]}': "a list of 2 is not of expected type float32; lists side by side",
    b'{"instances": [[1, "2"]]}': '"2" is not of expected type',
    b'{"instances": [[1, true]]}': "true is not of expected type",
    b'{"instances": [[1, {"b64": "AA=="}]]}': "an object of 1 is not of expected type",
    b'{"instances": [[1, 1e39]]}': "a number is outside of the range of float32",
    b'{"instances": [[1, 1e999]]}': "JSON Parse error|outside of the range of float32",
    b'{"instances": [{"observations": [1, 2]}, [1, 2]]}': "element: 1 .* keys must be equal to: observations",
    b'{"instances": [{"observation": [1, 2]}]}': "element: 0 .* keys must be equal to: observations",
    b'{"instances": [{"observations": [1, 2], "more": 1}]}': "keys must be equal to: observations",
    b'{"inputs": {"observation": [[1, 2]]}}': "Missing named input: observations",
    b'{"signature_name": "seeded", "inputs": [[1, 2]]}': "expecting an object with observations, seed",
    b'{"signature_name": "seeded", "instances": [[1, 2]]}': "element: 0 .* to: observations,seed",
    b'{"signature_name": "seeded", "inputs": {"observations": [[1, 2]], "seed": [1, 2.0]}}': "2.0 is not of expected",
    b'{"signature_name": "seeded", "inputs": {"observations": [[1, 2]], "seed": [1, 2147483648]}}': "range of int32",
    b'{"signature_name": "seeded", "instances": [{"observations": [1, 2], "seed": [3, 4]}]}': (
        r"'seed': expected shape \[2\], got \[1,2\].*ask by columns"
    ),
    b'{"signature_name": "pairs", "inputs": {"a": [1, 2], "b": [[1]]}}': "inconsistent batch sizes",
    b'{"signature_name": "flag", "inputs": [1]}': "1 is not of expected type",
    b'{"instances": [' + b",".join([b"[1, 2]"] * 9) + b"]}": "a batch of 9 is larger than the largest of 8",
}


@pytest.mark.parametrize(("body", "words"), REFUSED.items(), ids=[body[:40] for body in REFUSED])
def test_what_cannot_be_understood_is_refused_with_the_reason(body, words):
    with pytest.raises(RequestError, match=words) as refused:
        parse(body)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("levels", [200, 300, 600, 1000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_what_is_nested_beyond_all_depth_is_refused_with_the_reason(opening, closing, levels):
    for body in (
        b"[0, %s]",
        b'{"signature_name": %s}',
        b'{"signature_name": [0, %s], "instances": []}',
        b'{"instances": [[1, %s]]}',
        b'{"instances": [{"observations": [1, 2]}, [0, %s]]}',
        b'{"inputs": [[1, [0, %s]]]}',
        b'{"inputs": %s}',
    ):
        with pytest.raises(RequestError) as refused:
            parse(body % (opening * levels + b"1" + closing * levels))
        assert refused.value.status == 400
        assert len(str(refused.value)) < 300


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(2)), elements=finite))
def test_every_float32_arrives_and_returns_as_it_is(values):
    for body in ({"instances": values.tolist()}, {"inputs": {"observations": values.tolist()}}):
        asked = parse(body)
        np.testing.assert_array_equal(asked.inputs["observations"], values, strict=True)
    for by_row, key in ((True, "predictions"), (False, "outputs")):
        answer = json.loads(predict_answer({"x": values}, by_row=by_row))
        np.testing.assert_array_equal(np.float32(answer[key]), values)


PART = np.arange(12, dtype=np.float32).reshape(4, 3)[1:3, ::2]
ONE, TWO = np.float32([[0.1, 2], [3, 4]]), np.int32([5, 6])
BY_ROW = [{"x": [0.1, 2.0], "y": 5}, {"x": [3.0, 4.0], "y": 6}]


@pytest.mark.parametrize(
    ("outputs", "by_row", "answer"),
    [
        ({"x": ONE}, True, {"predictions": [[0.1, 2], [3, 4]]}),
        ({"x": ONE}, False, {"outputs": [[0.1, 2], [3, 4]]}),
        ({"x": ONE, "y": TWO}, True, {"predictions": BY_ROW}),
        ({"x": ONE, "y": TWO}, False, {"outputs": {"x": [[0.1, 2], [3, 4]], "y": [5, 6]}}),
        ({"x": PART}, False, {"outputs": PART.tolist()}),  # Part of a larger batch.
        ({"x": np.array(2.5, np.float32)}, False, {"outputs": 2.5}),
    ],
)
def test_answers_are_in_the_shape_of_the_question(outputs, by_row, answer):
    assert json.loads(predict_answer(outputs, by_row=by_row)) == answer


def test_answers_that_do_not_fit_are_errors():
    with pytest.raises(RequestError, match="not finite") as refused:
        predict_answer({"x": np.float32([1, np.nan])}, by_row=True)
    assert refused.value.status == 500
    for outputs in ({"x": np.float32(1)}, {"x": np.zeros(2), "y": np.zeros(3)}):
        with pytest.raises(RequestError, match="inconsistent batch sizes"):
            predict_answer({name: np.asarray(value) for name, value in outputs.items()}, by_row=True)
