"""Converted models against their agents, for every supported space, in the runtimes of the formats."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from gymnasium import spaces

import tf_trpo
from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, ValueFunction
from tf_trpo.models.making import make_policy
from tf_trpo.models.settings import PolicySettings
from tf_trpo.serving import read_metadata
from tf_trpo.spaces import named


def litert(folder):
    """A function of inputs by name -> outputs of all signatures."""
    interpreter = Interpreter(model_path=str(Path(folder) / "model.tflite"))
    assert set(interpreter.get_signature_list()) == {"act", "value", "distribution"}

    def run(inputs):
        outputs = {}
        for name in ("act", "value", "distribution"):
            signature = interpreter.get_signature_runner(name)
            types = {name: details["dtype"] for name, details in signature.get_input_details().items()}
            outputs |= signature(**{name: inputs[name].astype(dtype) for name, dtype in types.items()})
        return outputs

    return run


def onnx(folder):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(Path(folder) / "model.onnx"))
    taken = session.get_inputs()
    assert not any(isinstance(put.shape[0], int) for put in taken)
    names = [put.name for put in session.get_outputs()]
    return lambda inputs: dict(
        zip(names, session.run(names, {put.name: inputs[put.name] for put in taken}), strict=True)
    )


RUNTIMES = {"litert": litert, "onnx": onnx}


def first(nest, count):
    return {name: rows[:count] for name, rows in nest.items()}


@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize("name", ["gaussian", "lake, doubles", "tuple", "dict", "mask"])
def test_a_converted_model_agrees_with_the_agent_for_any_batch_size(
    name, format, gaussian_agent, observations, case_of, expected, tmp_path
):
    agent, inputs = gaussian_agent, observations(17)
    if name != "gaussian":
        agent, inputs = case_of(name).agent, case_of(name).inputs
    if (name, format) == ("lake, doubles", "litert"):
        with pytest.raises(ValueError, match=r"does not compute in float64, .*: export in the format saved_model"):
            agent.export(tmp_path, format=format)
        assert not list(tmp_path.iterdir())
        return
    run, wanted = RUNTIMES[format](agent.export(tmp_path, format=format)), expected(agent, inputs)
    for count in (17, 1):
        found = run(first(named("observations", inputs), count))
        assert found.keys() == wanted.keys()
        for output, value in first(wanted, count).items():
            assert (found[output].dtype, found[output].shape) == (value.dtype, value.shape), output
            # A number near 0 may be the sum of large ones, each of them rounded.
            tolerance = {
                "rtol": 2e-3 if value.dtype == np.float16 else 1e-5,
                "atol": 1e-5 * max(1, np.abs(value).max()),
            }
            np.testing.assert_allclose(found[output], value, **tolerance, err_msg=output)


def test_an_export_is_the_next_version_with_its_metadata_and_of_one_format(gaussian_agent, model, tmp_path):
    for version in ("1", "2"):
        folder = gaussian_agent.export(tmp_path, format="onnx", environment="Pendulum-v1")
        assert folder == str(tmp_path / version)
    assert read_metadata(Path(folder)).environment == "Pendulum-v1"
    for there, format, other in ((tmp_path, "onnx", "saved_model"), (model, "saved_model", "litert")):
        versions = sorted(there.iterdir())
        with pytest.raises(ValueError, match=f"holds versions in format {format}; give format {other} a folder"):
            gaussian_agent.export(there, format=other)
        assert sorted(there.iterdir()) == versions


# Name -> dtype, mean and standard deviation of a number, and whether float32 is too coarse for it.
FEATURES = {
    "far": ("float64", 1e9, 1.0, True),
    "wide": ("float64", 1e9, 1e5, False),
    "near": ("float64", 0.1, 1.0, False),
    "stamp": ("int64", 1.7e9, 100.0, True),
    "count": ("int64", 1e7, 1.0, False),
    "single": ("float32", 1e9, 1.0, False),
}


def test_an_export_to_litert_warns_of_numbers_for_which_float32_is_too_coarse(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("tf_trpo.serving.export.write_model", lambda described, tracked, folder, format: folder.mkdir())
    observed = spaces.Dict({name: spaces.Box(-(2**40), 2**40, (2,), row[0]) for name, row in FEATURES.items()})
    settings = PolicySettings(hidden_sizes=(4,))
    policy = make_policy(settings, observed, spaces.Discrete(2), seed=0)
    for name, layer in zip(sorted(FEATURES), policy.encoder.normalization, strict=True):
        layer.mean.assign([0.0, FEATURES[name][1]])
        layer.scale.assign([1.0, FEATURES[name][2]])
    agent = tf_trpo.TRPO(policy, ValueFunction(Encoder(policy.encoder.spec, 1)))
    agent.export(tmp_path / "saved_model")
    assert not caplog.records
    agent.export(tmp_path / "litert", format="litert")
    found = [record.getMessage().partition(" has the mean")[0] for record in caplog.records]
    assert found == [f"number [1] of the observation part {name}" for name in sorted(FEATURES) if FEATURES[name][-1]]


@keras.saving.register_keras_serializable(package="test")
class Determinant(keras.layers.Layer):
    """A layer with an operation that neither LiteRT nor ONNX supports."""

    def call(self, inputs):
        import tensorflow as tf

        matrices = inputs[:, :, None] * inputs[:, None, :] + tf.eye(3)
        return tf.linalg.cholesky(matrices)[:, 0]


def test_an_unknown_format_is_refused_before_anything_is_done(gaussian_agent, tmp_path):
    with pytest.raises(ValueError, match=r"^format must be one of saved_model, litert, onnx, got 'tf_saved_model'$"):
        gaussian_agent.export(tmp_path / "new", format="tf_saved_model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", RUNTIMES)
def test_a_network_that_cannot_be_converted_is_refused_and_nothing_is_written(format, tmp_path):
    network = keras.Sequential([keras.Input((3,)), Determinant()])
    agent = tf_trpo.TRPO(Policy(Encoder((3,), 2, network=network), Categorical(2)), ValueFunction(Encoder((3,), 1)))
    for words, more in (("Cholesky", {}), ("warm-up requests are for a saved_model", {"warmup": True})):
        with pytest.raises(ValueError, match=words):
            agent.export(tmp_path, format=format, **more)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_message_names_it(gaussian_agent, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match=r"pip install -e .\.\[onnx\]"):
        gaussian_agent.export(tmp_path, format="onnx")
    with pytest.raises(ImportError, match=r"pip install -e .\.\[warmup\]"):
        gaussian_agent.export(tmp_path, warmup=True)
    assert list(tmp_path.iterdir()) == []


def test_there_are_warm_up_requests_for_every_endpoint_and_they_run(exported):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    loaded = tf.saved_model.load(str(exported["gaussian"]))
    records = tf.data.TFRecordDataset(str(exported["gaussian"] / "assets.extra" / "tf_serving_warmup_requests"))
    seen = set()
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "Policy-v1"
        signature = loaded.signatures[request.model_spec.signature_name]
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        batch = inputs["observations"].shape[0]
        assert all(output.shape[0] == batch for output in signature(**inputs).values())
        seen.add((request.model_spec.signature_name, batch))
    endpoints = set(loaded.signatures) - {"serving_default"}
    assert seen == {(name, batch) for name in endpoints for batch in (1, 32)}
