"""Whether XLA compiles an update: chosen by the network, and given up where XLA cannot."""

import logging

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.models.settings import ValueSettings
from tf_trpo.optimizers import VanillaPolicyGradient
from tf_trpo.training import UpdateSettings
from tf_trpo.training.compilation import xla_is_fast

layers = keras.layers


def network(*made, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *made])


class OwnConvolution(layers.Conv2D):
    """A convolution by another name."""


@pytest.mark.parametrize(
    ("model", "fast"),
    [
        (network(layers.Flatten(), layers.Dense(4)), True),
        (network(layers.Dense(4), layers.LSTM(3), shape=(6, 4)), True),
        (network(layers.Conv2D(2, 3)), False),
        (network(network(layers.SeparableConv2D(2, 3)), layers.Flatten()), False),
        (network(layers.TimeDistributed(layers.Conv1D(2, 3))), False),
        (network(layers.Bidirectional(layers.ConvLSTM1D(2, 3))), False),
        (network(OwnConvolution(2, 3)), False),
    ],
)
def test_xla_is_slow_for_convolutions_on_a_cpu_only(model, fast, monkeypatch):
    assert xla_is_fast(model) == fast
    assert xla_is_fast(network(layers.Flatten()), model) == fast
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [f"a {kind}"])
    assert xla_is_fast(model)


@keras.saving.register_keras_serializable(package="tests")
class Texts(layers.Layer):
    """Passes numbers on, by way of texts, which XLA does not know."""

    def call(self, inputs):
        return inputs + 0.0 * tf.cast(tf.strings.length(tf.strings.as_string(inputs)), tf.float32)


def made(jit_compile):
    passed = keras.Sequential([keras.Input((4,)), Texts(), layers.Dense(5)])
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=passed, value=ValueSettings((4,)), seed=0)
    optimizer = VanillaPolicyGradient("sgd", 0.01)
    agent.compile(optimizer, update=UpdateSettings(value_epochs=1), jit_compile=jit_compile)
    return agent


def test_what_xla_cannot_compile_is_compiled_without_it_and_learns_the_same(caplog):
    caplog.set_level(logging.WARNING, "tf_trpo.training")
    agents, histories = [], []
    for jit_compile in ("auto", False):
        keras.utils.set_random_seed(0)
        agents.append(made(jit_compile))
        histories.append(agents[-1].fit("CartPole-v1", 60, num_steps=32, verbose=0).history)
    lines = [record.message for record in caplog.records if record.name == "tf_trpo.training.compilation"]
    assert len(lines) == 1
    assert lines[0].startswith("the update is compiled without XLA, which cannot compile it: Detected unsupported ")
    assert "AsString" in lines[0]
    assert "\n" not in lines[0]
    for one, other in zip(agents[0].variables, agents[1].variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert agents[0].jit_compile == "auto"


def test_an_error_is_not_hidden_if_xla_is_asked_for():
    agent = made(True)
    with pytest.raises(tf.errors.InvalidArgumentError):
        agent.fit("CartPole-v1", 32, num_steps=32, verbose=0)


def test_a_network_of_dense_layers_is_compiled_by_xla_by_default():
    agent = tf_trpo.TRPO.for_env(lambda: gym.make("CartPole-v1"), seed=0)
    assert agent.jit_compile == "auto"
    assert agent.learner._jit_compile
