"""Whether XLA compiles an update: chosen by the network, and given up where XLA cannot."""

import logging
import time

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.environments import make_vector_environment
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.compilation import xla_is_fast
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.samples import rollout_spec
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import VanillaPolicyGradient
from tf_trpo.rollouts import LocalSource, make_actor

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


def by_texts(inputs):
    """Pass numbers on, by way of texts, which XLA does not know."""
    return inputs + 0.0 * tf.cast(tf.strings.length(tf.strings.as_string(inputs)), tf.float32)


def made(jit_compile, first=None):
    passed = network(first or layers.Lambda(by_texts), layers.Dense(5), shape=(4,))
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=passed, value=ValueSettings((4,)), seed=0)
    agent.compile(VanillaPolicyGradient("sgd"), update=UpdateSettings(value_epochs=0), jit_compile=jit_compile)
    return agent


def test_what_xla_cannot_compile_is_compiled_without_it(caplog):
    caplog.set_level(logging.WARNING, "tf_trpo.training")
    agent = made("auto")
    history = agent.fit("CartPole-v1", 60, num_steps=32, verbose=0).history
    assert history["time/iterations"] == [1, 2]
    [line] = [record.message for record in caplog.records if record.name == "tf_trpo.learning.compilation"]
    assert line.startswith("the update is compiled without XLA, which cannot compile it: Detected unsupported ")
    assert "AsString" in line
    assert "\n" not in line
    assert agent.jit_compile == "auto"
    assert not agent.learner._jit_compile


class Uncompilable(Learner):
    """A learner whose variable changes before its update fails: always, or with XLA only."""

    def __init__(self, fails_always=False):
        self.variable, self._may_leave_xla, self._jit_compile, self.fails_always = 3, True, True, fails_always

    def _run(self, *given):
        self.variable += 1
        if self._jit_compile or self.fails_always:
            raise tf.errors.UnimplementedError(None, None, "no such operation")
        return self.variable, given[0]

    def state(self):
        return self.variable

    def restore(self, state):
        self.variable = state

    def compile(self, jit_compile):
        self._jit_compile = jit_compile


def test_an_update_that_xla_gave_up_begins_again_from_the_same_variables(says):
    learner = Uncompilable()
    with says("the update is compiled without XLA, which cannot compile it: no such operation"):
        assert learner.update(7, None, None, None) == (4, 7)
    assert learner.update(8, None, None, None) == (5, 8)


def test_an_error_that_is_not_of_xla_is_raised_and_xla_stays(caplog):
    learner = Uncompilable(fails_always=True)
    for _ in range(2):
        with pytest.raises(tf.errors.UnimplementedError):
            learner.update(7, None, None, None)
        assert learner._jit_compile
    assert not caplog.records


@keras.saving.register_keras_serializable(package="tests")
class Asserting(layers.Layer):
    """A layer that does not take 0."""

    def call(self, inputs):
        with tf.control_dependencies([tf.debugging.assert_positive(inputs, "observations must be positive")]):
            return tf.identity(inputs)


@pytest.mark.parametrize("convolutions", [True, False])
def test_an_error_of_the_network_itself_is_raised_whole(convolutions, monkeypatch, caplog):
    """Without XLA, because of convolutions, the update is not even tried again."""
    monkeypatch.setattr("tf_trpo.learning.learner.xla_is_fast", lambda *models: not convolutions)
    learner, updates = made("auto", Asserting()).learner, []
    monkeypatch.setattr(learner, "_update", lambda *given: updates.append(1) or Learner._update(learner, *given))
    rollout = tf.nest.map_structure(
        lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype), rollout_spec(learner.policy, 2, 1, 0)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="observations must be positive"):
        learner.update(rollout, learner.first_carry(1), np.zeros([0, 2], np.int32), tf.constant(0.0, tf.float64))
    assert len(updates) == (1 if convolutions else 2)
    assert not caplog.records


def test_there_is_no_way_out_if_xla_is_asked_for():
    learners = [made(jit_compile).learner for jit_compile in (True, False, "auto")]
    assert [learner._may_leave_xla for learner in learners] == [False, False, True]
    assert [learner._jit_compile for learner in learners] == [True, False, True]


def test_a_network_of_dense_layers_is_compiled_by_xla_by_default():
    agent = tf_trpo.TRPO.for_env(lambda: gym.make("CartPole-v1"), seed=0)
    assert agent.jit_compile == "auto"
    assert agent.learner._jit_compile


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_xla_compiles_the_loops_of_a_memory_in_seconds(memory, caplog):
    caplog.set_level(logging.WARNING, "tf_trpo.training")
    weights, seconds, steps = [], [], 128
    for jit_compile in ("auto", False):
        agent = tf_trpo.TRPO.for_env(
            "Pendulum-v1", policy=PolicySettings((8,), memory=memory), value=ValueSettings((8,)), seed=0
        )
        agent.compile(update=UpdateSettings(segment_length=steps, value_epochs=1), jit_compile=jit_compile)
        for model in (agent.policy, agent.value_function):
            # Of outputs that are 0, only the last layer would learn.
            kernel = model.encoder.output_layer.kernel
            kernel.assign(np.random.default_rng(0).normal(size=kernel.shape) / 8)
        if not weights:
            # Equal agents have equal rollouts.
            source = LocalSource(make_vector_environment("Pendulum-v1", 2), make_actor(agent.policy, 2), seed=0)
            noise = agent.policy.action_distribution.noise([steps, 2], tf.constant([0, 0])).numpy()
            rollout = source.collect([weight.numpy() for weight in agent.policy.weights], noise)
            source.close()
        learner = agent.learner
        orders, progress = learner.orders(steps, 2, np.random.default_rng(0)), tf.constant(0.0, tf.float64)
        before, carry = agent.get_weights(), learner.first_carry(2)
        for call in range(2 if jit_compile else 1):
            # Of all threads, whatever else the machine computes.
            start = time.process_time()
            result, _ = learner.update(rollout, carry, orders, progress)
            seconds.append(time.process_time() - start)
            if call == 0:
                assert result.policy.outcome.accepted
                weights.append([new - old for new, old in zip(agent.get_weights(), before, strict=True)])
        # There is a way out of XLA, and it was not taken.
        assert learner._jit_compile == bool(jit_compile)
    assert not caplog.records
    assert seconds[0] - seconds[1] < 60.0
    for compiled, moved in zip(*weights, strict=True):
        np.testing.assert_allclose(compiled, moved, rtol=1e-3, atol=1e-5)
