"""Bodies of requests and answers: TensorFlow Serving's rules, case by case and by properties."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tf_trpo.serving.json_tensors import RequestError, parse_inputs, parse_request, predict_answer

OBSERVATIONS = {"observations": tf.TensorSpec((None, 2))}
SIGNATURES = {
    "": OBSERVATIONS,
    "seeded": {**OBSERVATIONS, "seed": tf.TensorSpec((2,), tf.int32)},
    "pairs": {"a": tf.TensorSpec((None,)), "b-1": tf.TensorSpec((None, 1), tf.int64)},
    "flag": {"x": tf.TensorSpec((None,), tf.bool)},
    "half": {"x": tf.TensorSpec((None,), tf.float16)},
    "bytes": {"x": tf.TensorSpec((None,), tf.uint8)},
    "long": {"x": tf.TensorSpec((None,), tf.uint64)},
    "free": {"x": tf.TensorSpec((None, None), tf.float64)},
}


def parse(body, max_batch=8):
    """(by row, inputs)."""
    request = parse_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    return request.by_row, parse_inputs(request, SIGNATURES[request.signature_name], max_batch)


ROWS = np.float32([[1, 2.5], [3, 4]])
SEEDS = {"observations": ROWS, "seed": np.int32([3, -4])}
NUMBERS = {"a": np.float32([1, 3]), "b-1": np.int64([[2], [-(2**63)]])}
UNDERSTOOD = [
    ("", "instances", ROWS.tolist(), {"observations": ROWS}),
    ("", "instances", [{"observations": row} for row in ROWS.tolist()], {"observations": ROWS}),
    ("", "inputs", ROWS.tolist(), {"observations": ROWS}),
    ("", "inputs", {"observations": ROWS.tolist(), "more": 1}, {"observations": ROWS}),
    ("seeded", "inputs", {"observations": ROWS.tolist(), "seed": [3, -4]}, SEEDS),
    ("pairs", "instances", [{"a": 1, "b-1": [2]}, {"b-1": [-(2**63)], "a": 3}], NUMBERS),
    ("flag", "instances", [True, False], {"x": np.array([True, False])}),
    ("half", "inputs", [65504, 0.1], {"x": np.float16([65504, 0.1])}),
    ("half", "inputs", [65510], {"x": np.float16([65504])}),
    ("bytes", "inputs", [0, 255], {"x": np.uint8([0, 255])}),
    ("long", "inputs", [0, 2**64 - 1], {"x": np.uint64([0, 2**64 - 1])}),
    ("free", "inputs", [[1e308, 1, 2]], {"x": np.array([[1e308, 1, 2]])}),
]


@pytest.mark.parametrize(("signature", "key", "values", "wanted"), UNDERSTOOD)
def test_rows_and_columns_of_one_or_several_inputs_are_parsed(signature, key, values, wanted):
    by_row, inputs = parse({"signature_name": signature, key: values} if signature else {key: values})
    assert (by_row, set(inputs)) == (key == "instances", set(wanted))
    for name, value in wanted.items():
        np.testing.assert_array_equal(inputs[name], value, strict=True)


EXPECTED = "^instances: Expected `{}`, got `{}` - at `{}`$"
PARSE_ERROR = "^JSON Parse error: "
REFUSED = {
    b"": PARSE_ERROR,
    b'{"instances": [[1, 2]]} 3': PARSE_ERROR,
    b'\xff{"instances": [[1, 2]]}': PARSE_ERROR,
    b'{"signature_name": "\xff", "instances": [[1, 2]]}': PARSE_ERROR,
    b'[{"instances": [[1, 2]]}]': PARSE_ERROR + "Expected `object`, got `array`",
    b'{"signature_name": 3, "instances": [[1, 2]]}': PARSE_ERROR
    + r"Expected `str`, got `int` - at `\$.signature_name`",
    b'{"instances": [[1, 2]], "inputs": [[1, 2]]}': "one of 'inputs' or 'instances' keys",
    b"{}": "one of 'inputs' or 'instances' keys",
    b'{"instances": {"observations": [[1, 2]]}}': "instances: Expected `array`, got `object`",
    b'{"instances": []}': "instances: Expected `array` of length >= 1",
    b'{"instances": [1, 2]}': r"got `int` - at `\$\[0\]`",
    b'{"instances": [[1, 2, 3]]}': r"Expected `array` of length <= 2 - at `\$\[0\]`",
    b'{"instances": [[1, 2], [3]]}': r"Expected `array` of length >= 2 - at `\$\[1\]`",
    b'{"inputs": null}': "inputs: Expected `object | array`, got `null`",
    b'{"instances": [[1, "2"]]}': EXPECTED.format("float", "str", r"\$\[0\]\[1\]"),
    b'{"instances": [[1, true]]}': EXPECTED.format("float", "bool", r"\$\[0\]\[1\]"),
    b'{"instances": [[1, NaN]]}': "JSON",
    b'{"instances": [[1, 3.41e38]]}': r"Expected `float` <= 3.40\S+ - at",
    b'{"instances": [[1, -3.41e38]]}': r"Expected `float` >= -3.40\S+ - at",
    b'{"instances": [[1, 1e999]]}': "Number out of range",
    b'{"instances": [{"observation": [1, 2]}]}': "unknown field `observation`",
    b'{"instances": [{"observations": [1, 2], "more": 1}]}': "unknown field `more`",
    b'{"inputs": {"observation": [[1, 2]]}}': "inputs: Object missing required field `observations`",
    b'{"signature_name": "seeded", "inputs": [[1, 2]]}': "inputs: Expected `object`, got `array`",
    b'{"signature_name": "seeded", "inputs": {"observations": [[1, 2]], "seed": [1, 2.0]}}': "`int`, got `float`",
    b'{"signature_name": "seeded", "inputs": {"observations": [[1, 2]], "seed": [1, 2147483648]}}': "<= 2147483647",
    b'{"signature_name": "seeded", "instances": [{"observations": [1, 2], "seed": [3, 4]}]}': "ask by columns",
    b'{"signature_name": "pairs", "instances": [[1, [2]]]}': "Expected `object`, got `array`",
    b'{"signature_name": "pairs", "inputs": {"a": [1, 2], "b-1": [[1]]}}': "inconsistent batch sizes",
    b'{"signature_name": "pairs", "inputs": {"a": [1], "b-1": [[9223372036854775808]]}}': "<= 9223372036854775807",
    b'{"signature_name": "flag", "inputs": [1]}': "Expected `bool`, got `int`",
    b'{"signature_name": "half", "inputs": [65521]}': "Expected `float` <= 655",
    b'{"signature_name": "bytes", "inputs": [256]}': "Expected `int` <= 255",
    b'{"signature_name": "long", "inputs": [18446744073709551616]}': "inputs: ",
    b'{"signature_name": "free", "inputs": [[1], [2, 3]]}': "inhomogeneous shape",
    b'{"instances": [' + b",".join([b"[1, 2]"] * 9) + b"]}": "a batch of 9 is larger than the limit of 8",
}


@pytest.mark.parametrize(("body", "words"), REFUSED.items(), ids=[body[:40] for body in REFUSED])
def test_malformed_requests_are_refused_with_a_reason(body, words):
    with pytest.raises(RequestError, match=words) as refused:
        parse(body)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("levels", [300, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_excessive_nesting_is_refused_with_a_reason(opening, closing, levels):
    for body in (b"[0, %s]", b'{"signature_name": [0, %s]}', b'{"instances": [[1, %s]]}', b'{"inputs": %s}'):
        with pytest.raises(RequestError) as refused:
            parse(body % (opening * levels + b"1" + closing * levels))
        assert refused.value.status == 400
        assert len(str(refused.value)) < 300


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
LARGEST = np.full((1, 2), np.finfo(np.float32).max)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(2)), elements=finite) | st.just(LARGEST))
def test_every_float32_is_read_and_written_exactly(values):
    for body in ({"instances": values.tolist()}, {"inputs": {"observations": values.tolist()}}):
        np.testing.assert_array_equal(parse(body)[1]["observations"], values, strict=True)
    for by_row, key in ((True, "predictions"), (False, "outputs")):
        answer = json.loads(predict_answer({"x": values}, by_row=by_row))[key]
        np.testing.assert_array_equal(np.float32(answer), values)
        # The shortest decimals of the largest number may exceed it.
        np.testing.assert_array_equal(parse({"instances": answer})[1]["observations"], values)


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
def test_answers_are_by_row_or_by_column_as_the_request(outputs, by_row, answer):
    assert json.loads(predict_answer(outputs, by_row=by_row)) == answer


def test_answers_that_do_not_fit_are_errors():
    with pytest.raises(RequestError, match="not finite") as refused:
        predict_answer({"x": np.float32([1, np.nan])}, by_row=True)
    assert refused.value.status == 500
    for outputs in ({"x": np.float32(1)}, {"x": np.zeros(2), "y": np.zeros(3)}):
        with pytest.raises(RequestError, match="inconsistent batch sizes"):
            predict_answer({name: np.asarray(value) for name, value in outputs.items()}, by_row=True)
