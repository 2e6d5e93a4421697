"""What is said when an agent is made: how Keras must be set, and what cannot be loaded again."""

import contextlib
import logging

import keras
import pytest

import tf_trpo
from tf_trpo.cli import main


@pytest.fixture
def network_of():
    return lambda *layers: keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "tf_trpo.training")
    return lambda: [record.message for record in caplog.records]


class Unregistered(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs


class WithoutConfig(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: keras.layers.Lambda(lambda inputs: inputs, output_shape=(4,)), "keras.layers.Lambda"),
        (Unregistered, "Unregistered"),
    ],
)
def test_what_cannot_be_loaded_is_said_at_the_start_and_when_it_is_saved(
    layer, name, network_of, said, assert_same_weights, tmp_path
):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(layer()), seed=0)
    (line,) = said()
    assert line.startswith("the agent learns, but tf_trpo.load refuses the file: ")
    assert name in line
    assert "register_keras_serializable" in line
    assert ("in the Lambda's place" in line) == name.endswith("Lambda")
    agent.compile(jit_compile=False)
    assert len(said()) == 1
    path = tmp_path / "agent.keras"
    with pytest.warns() if name.endswith("Lambda") else contextlib.nullcontext():
        agent.save(path)
    assert said()[1].startswith(f"{path} is written, but tf_trpo.load refuses the file: ")
    with pytest.raises(ValueError, match=name):
        tf_trpo.load(path)
    # The way out for the weights.
    again = tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(layer()), seed=1)
    again.load_weights(path)
    assert_same_weights(agent.get_weights(), again.get_weights())


def test_an_agent_that_can_be_loaded_says_nothing(network_of, said, tmp_path):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(keras.layers.LayerNormalization()), seed=0)
    agent.save(tmp_path / "agent.keras")
    assert not said()


def test_a_layer_without_a_config_is_refused_in_one_line(network_of):
    with pytest.raises(ValueError, match=r"^the network cannot be saved: .*WithoutConfig.*get_config") as raised:
        tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(WithoutConfig(lambda inputs: inputs)))
    assert "\n" not in str(raised.value)


def test_keras_in_another_precision_is_refused():
    for choose, value, named in (
        (keras.config.set_floatx, "float64", "floatx is float64: .*set_floatx"),
        (keras.mixed_precision.set_global_policy, "mixed_float16", "dtype policy is mixed_float16: .*set_global"),
    ):
        choose(value)
        try:
            with pytest.raises(ValueError, match=named):
                tf_trpo.TRPO.for_env("CartPole-v1")
        finally:
            choose("float32")


def test_keras_on_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--env", "CartPole-v1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: KERAS_BACKEND is jax, ")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"^Keras runs on jax, tf_trpo on TensorFlow: "):
        tf_trpo.TRPO.for_env("CartPole-v1")
