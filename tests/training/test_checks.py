"""What is said when an agent is made: how Keras must be set, and what cannot be loaded again."""

import contextlib
import logging
from pathlib import Path

import gymnasium as gym
import keras
import pytest
import tensorflow as tf

import tf_trpo
from benchmarks.runs import read_suite, suite_run
from tf_trpo.cli import main
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.cells import initial_span
from tf_trpo.models.making import make_policy, make_value_function
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import TrustRegion
from tf_trpo.training.checks import warn_of_short_segments


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


def twice(inputs):
    return 2.0 * inputs


@pytest.mark.parametrize("layer", [Unregistered, lambda: keras.layers.Dense(4, activation=twice)])
def test_what_cannot_be_loaded_can_be_an_anchor(layer, network_of, assert_same_weights):
    policy = PolicySettings(ema_momentum=None)
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(layer()), policy=policy)
    agent.compile(TrustRegion(anchor_kl=0.1), anchor=agent)
    assert_same_weights(agent.anchor.get_weights(), agent.policy.get_weights())


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_in_an_anchor_is_named(network_of):
    network = network_of(keras.layers.Dense(4, activation=lambda inputs: inputs))
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network, policy=PolicySettings(ema_momentum=None))
    with pytest.raises(ValueError, match=r"^anchor must be .* made from its config, without a lambda"):
        agent.compile(TrustRegion(anchor_kl=0.1), anchor=agent)


def test_an_agent_that_can_be_loaded_says_nothing(network_of, said, tmp_path):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(keras.layers.LayerNormalization()), seed=0)
    agent.save(tmp_path / "agent.keras")
    assert not said()


def test_a_layer_without_a_config_is_refused_in_one_line(network_of):
    with pytest.raises(ValueError, match=r"^the network cannot be saved: .*WithoutConfig.*get_config") as raised:
        tf_trpo.TRPO.for_env("CartPole-v1", network=network_of(WithoutConfig(lambda inputs: inputs)))
    assert "\n" not in str(raised.value)


def models():
    spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    policy = make_policy(PolicySettings((4,)), *spaces)
    return policy, make_value_function(PolicySettings((4,)), ValueSettings((4,)), spaces[0])


def test_keras_in_another_precision_is_refused():
    for choose, value, named in (
        (keras.config.set_floatx, "float64", "floatx is float64: .*set_floatx"),
        (keras.mixed_precision.set_global_policy, "mixed_float16", "dtype policy is mixed_float16: .*set_global"),
    ):
        choose(value)
        try:
            with pytest.raises(ValueError, match=named):
                tf_trpo.TRPO.for_env("CartPole-v1")
            with pytest.raises(ValueError, match=named):
                tf_trpo.TRPO(*models()).compile()
        finally:
            choose("float32")


def test_the_scope_of_a_distribution_strategy_is_refused(make_agent):
    agent = make_agent("CartPole-v1")
    refused = r"^an agent learns on one device, not in the scope of OneDeviceStrategy"
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        with pytest.raises(ValueError, match=refused):
            tf_trpo.TRPO.for_env("CartPole-v1")
        for learn in (agent.compile, lambda: agent.fit("CartPole-v1", 32)):
            with pytest.raises(ValueError, match=refused):
                learn()


def test_keras_on_another_backend_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--env", "CartPole-v1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: KERAS_BACKEND is jax, ")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"^Keras runs on jax, tf_trpo on TensorFlow: "):
        tf_trpo.TRPO.for_env("CartPole-v1")


@pytest.fixture
def begin_fit(monkeypatch):
    """begin_fit(policy settings, update settings, num_steps): begin a fit, which ends before environments are made."""

    def begin(policy, update, num_steps):
        agent = tf_trpo.TRPO.for_env("Pendulum-v1", policy=policy, seed=0)
        agent.compile(update=update, jit_compile=False)
        with monkeypatch.context() as patch:
            patch.setattr("tf_trpo.training.trpo.opened_source", lambda *given: contextlib.nullcontext(1 / 0))
            with pytest.raises(ZeroDivisionError):
                agent.fit("Pendulum-v1", 10, num_steps=num_steps, verbose=0)
        return agent

    return begin


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_span_that_gradients_cannot_teach_is_said_at_the_start_of_the_first_fit(memory, begin_fit, said):
    for span, burn_in, warns in ((40.0, 0, True), (32.0, 0, False), (40.0, 8, False), (40.1, 8, True)):
        policy = PolicySettings((8,), memory=memory, memory_units=4, memory_span=span)
        before = len(said())
        begin_fit(policy, UpdateSettings(segment_length=32, burn_in=burn_in), 64)
        found = said()[before:]
        assert len(found) == warns
        if warns:
            start = f"memory_span is {span:g} rows, and gradients go back through {32 + burn_in} rows only, "
            assert found[0].startswith(f"{start}segment_length and burn_in ({burn_in}) together: ")


def test_a_memory_without_a_span_of_its_own_and_an_agent_that_has_learned_say_nothing(begin_fit, said):
    begin_fit(PolicySettings((8,)), UpdateSettings(), 64)
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", memory="gru", memory_units=4, memory_span=100.0, seed=0)
    agent.iterations.assign(1)
    warn_of_short_segments(agent, 64)
    own = tf_trpo.TRPO.for_env("Pendulum-v1", memory=keras.layers.GRUCell(4), seed=0)
    own.compile(update=UpdateSettings(segment_length=1))
    warn_of_short_segments(own, 64)
    assert not said()


MEMORIES = [entry for entry in read_suite("memory") if entry.settings["memory"]]


@pytest.mark.parametrize("entry", MEMORIES, ids=lambda entry: entry.env)
def test_the_reported_memories_have_segments_as_long_as_their_spans(entry, begin_fit, said):
    settings = suite_run(entry, entry.first_seed, Path("runs"), "memory").experiment
    agent = begin_fit(settings.policy, settings.update, settings.rollouts.num_steps)
    span = settings.policy.memory_span or 2.0
    assert initial_span(agent.policy.memory.cell) == pytest.approx(span)
    assert not said()
