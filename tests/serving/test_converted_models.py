"""LiteRT and ONNX models against the agent they are of, in the runtimes they are for."""

import itertools
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import tf_trpo
from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, ValueFunction
from tf_trpo.serving import read_metadata


def litert(folder):
    """A function of observations -> outputs of all signatures."""
    interpreter = Interpreter(model_path=str(Path(folder) / "model.tflite"))
    assert set(interpreter.get_signature_list()) == {"act", "value", "distribution"}

    def run(observations):
        outputs = {}
        for name in ("act", "value", "distribution"):
            outputs |= interpreter.get_signature_runner(name)(observations=observations)
        return outputs

    return run


def onnx(folder):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"))
    (observations,) = session.get_inputs()
    assert observations.name == "observations"
    assert observations.shape[1:] == [3]
    assert not isinstance(observations.shape[0], int)
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, {"observations": inputs}), strict=True))


RUNTIMES = {"litert": litert, "onnx": onnx}


@pytest.fixture(scope="module", params=itertools.product(RUNTIMES, ("gaussian", "categorical")), ids="-".join)
def converted(request, agents, tmp_path_factory):
    """(agent, the converted model as a function)."""
    format, kind = request.param
    folder = agents[kind].export(tmp_path_factory.mktemp("models") / "policy", format=format)
    return agents[kind], RUNTIMES[format](folder)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_a_converted_model_gives_what_the_agent_gives_for_any_batch_size(converted, observations, expected, count):
    agent, run = converted
    wanted, found = expected(agent, observations(count)), run(observations(count))
    assert set(found) == set(wanted)
    for name in wanted:
        assert found[name].shape == wanted[name].shape
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("format", ["saved_model", *RUNTIMES])
def test_an_export_is_the_next_version_with_its_metadata_and_of_one_format(format, gaussian_agent, tmp_path):
    for version in ("1", "2"):
        folder = gaussian_agent.export(tmp_path, format=format, environment="Pendulum-v1")
        assert folder == str(tmp_path / version)
    assert read_metadata(Path(folder)).environment == "Pendulum-v1"
    other = "saved_model" if format != "saved_model" else "onnx"
    with pytest.raises(ValueError, match=f"holds versions in format {format}; give format {other} a folder"):
        gaussian_agent.export(tmp_path, format=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@keras.saving.register_keras_serializable(package="test")
class Determinant(keras.layers.Layer):
    """Has an operation that neither LiteRT nor ONNX has, as converted."""

    def call(self, inputs):
        import tensorflow as tf

        matrices = inputs[:, :, None] * inputs[:, None, :] + tf.eye(3)
        return tf.linalg.cholesky(matrices)[:, 0]


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
    with pytest.raises(ImportError, match=r"tf_trpo\[onnx\]"):
        gaussian_agent.export(tmp_path, format="onnx")
    with pytest.raises(ImportError, match=r"tf_trpo\[warmup\]"):
        gaussian_agent.export(tmp_path, warmup=True)
    assert list(tmp_path.iterdir()) == []
