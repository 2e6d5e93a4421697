"""Models with a memory: every format against the agent, row by row of whole episodes."""

import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tf_trpo.serving import read_metadata
from tf_trpo.spaces import named

ENDPOINTS = ["act", "act_stochastic", "value", "distribution", "initial_state"]
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["gru", "lstm"])
def case(memories, request):
    return memories[request.param]


def session(folder):
    """Load a model as TensorFlow Serving does."""
    with tf.Graph().as_default():
        opened = tf.compat.v1.Session()
        signatures = tf.compat.v1.saved_model.load(opened, ["serve"], str(folder)).signature_def

    def run(endpoint, inputs):
        signature = signatures[endpoint]
        fed = {tensor.name: inputs[name] for name, tensor in signature.inputs.items()}
        return opened.run({name: tensor.name for name, tensor in signature.outputs.items()}, fed)

    return run, ENDPOINTS


def loaded(folder):
    model = tf.saved_model.load(str(folder))

    def run(endpoint, inputs):
        signature = model.signatures[endpoint]
        taken = signature.structured_input_signature[1]
        return signature(**{name: tf.constant(inputs[name], spec.dtype) for name, spec in taken.items()})

    return run, ENDPOINTS


def litert(folder):
    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    endpoints = [name for name in ENDPOINTS if name != "act_stochastic"]
    assert set(interpreter.get_signature_list()) == set(endpoints)

    def run(endpoint, inputs):
        runner = interpreter.get_signature_runner(endpoint)
        types = {name: details["dtype"] for name, details in runner.get_input_details().items()}
        return runner(**{name: np.asarray(inputs[name], dtype) for name, dtype in types.items()})

    return run, endpoints


def onnx(folder):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(folder / "model.onnx"))
    names = [put.name for put in session.get_outputs()]

    def run(endpoint, inputs):
        given = {put.name: inputs[put.name] for put in session.get_inputs()}
        return {name.removeprefix("next_"): out for name, out in zip(names, session.run(names, given), strict=True)}

    return run, ["act", "value", "distribution"]


FORMATS = {
    "saved_model": (loaded, "saved_model"),
    "session": (session, "saved_model"),
    "litert": (litert, "litert"),
    "onnx": (onnx, "onnx"),
}


@pytest.fixture(scope="session")
def model_of(memories, tmp_path_factory):
    """model_of(kind, format): the folder of an agent's only version."""

    @functools.cache
    def export(kind, format):
        if format == "saved_model":
            return memories[kind].folder / "1"
        return Path(memories[kind].agent.export(tmp_path_factory.mktemp("memory") / format, format=format))

    return export


def first_states(folder, run, endpoints, count):
    """The initial states, by the endpoint and by the metadata."""
    said = read_metadata(folder).initial_state
    states = {name: np.repeat(np.float32([value]), count, axis=0) for name, value in said.items()}
    if "initial_state" in endpoints:
        given = run("initial_state", {"episodes": np.zeros(count, np.int32)})
        assert given.keys() == states.keys()
        for name, value in states.items():
            np.testing.assert_array_equal(given[name], value)
    return states


@pytest.fixture(scope="session")
def episodes_of(memories, by_agent):
    """episodes_of(kind, count): rows of so many episodes at once, and what each row has to give."""

    @functools.cache
    def play(kind, count):
        rows = memories[kind].rows(count)
        return list(zip(rows, by_agent(memories[kind].agent, rows), strict=True))

    return play


@pytest.mark.parametrize("format", FORMATS)
def test_episodes_through_a_model_are_those_of_the_agent(case, format, model_of, episodes_of):
    load, kind = FORMATS[format]
    folder = model_of(case.kind, kind)
    run, endpoints = load(folder)
    for count in (1, 3):
        follow(folder, run, endpoints, episodes_of(case.kind, count), count)


def follow(folder, run, endpoints, episodes, count):
    """Compare each row's outputs of a model, and carry its states to the next row."""
    states = first_states(folder, run, endpoints, count)
    for row, expected in episodes:
        inputs, after = {**named("observations", row), **states, "seed": np.int32([7, 0])}, {}
        for endpoint in endpoints:
            if endpoint == "initial_state":
                continue
            found = run(endpoint, inputs)
            wanted = expected[endpoint]
            # Of an ONNX model, each endpoint gives the outputs of all.
            assert found.keys() == wanted.keys() if "initial_state" in endpoints else found.keys() >= wanted.keys()
            for name, value in wanted.items():
                assert np.shape(found[name]) == np.shape(value)
                close(found[name], value, err_msg=f"{endpoint} {name}")
            after |= {name: np.asarray(found[name]) for name in states if name in found}
        assert after.keys() == states.keys()
        assert any((after[name] != states[name]).any() for name in states)
        states = after


def test_the_metadata_of_a_model_have_the_initial_state(memories):
    zeros = [0.0] * 4
    said = {kind: read_metadata(case.folder / "1").initial_state for kind, case in memories.items()}
    assert said == {
        "gru": {"state": zeros, "value_state": zeros},
        "lstm": {f"{name}_{part}": zeros for name in ("state", "value_state") for part in (0, 1)},
    }


def test_there_are_warm_up_requests_for_every_endpoint_in_the_same_sizes(case):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    folder = case.folder / "1"
    run, _ = session(folder)
    seen = set()
    for record in tf.data.TFRecordDataset(
        str(folder / "assets.extra" / "tf_serving_warmup_requests")
    ).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = run(request.model_spec.signature_name, inputs)
        (size,) = {len(output) for output in outputs.values()}
        seen.add((request.model_spec.signature_name, size))
    assert seen == {(name, size) for name in ENDPOINTS for size in (1, 32)}
