"""What stays when an agent is compiled again, and what may not be set in another way."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.optimizers import AdaptiveRadius, TrustRegion
from tf_trpo.training import UpdateSettings
from tf_trpo.training.identity import check_unchanged


def fit(agent, seed=0, **arguments):
    return agent.fit("CartPole-v1", 32, num_steps=32, seed=seed, verbose=0, **arguments).history


@pytest.fixture(scope="module")
def agent(make_agent):
    agent = make_agent("CartPole-v1", TrustRegion(radius=AdaptiveRadius()))
    fit(agent)
    return agent


def test_what_is_not_named_stays(agent):
    optimizer, settings, policy_optimizer = agent.optimizer, agent.update_settings, agent.policy_optimizer
    before = agent.learner.state()
    agent.compile()
    for part, values in agent.learner.state().items():
        for value, old in zip(values, before[part], strict=True):
            np.testing.assert_array_equal(value, old)
    assert (agent.optimizer, agent.update_settings, agent.policy_optimizer) == (optimizer, settings, policy_optimizer)
    assert agent.jit_compile is False

    agent.compile(TrustRegion(max_kl=0.02))
    assert agent.optimizer is optimizer
    assert int(optimizer.iterations) > 0
    assert agent.update_settings == settings
    agent.compile(update=dataclasses.replace(settings, gamma=0.9))
    assert agent.policy_optimizer == TrustRegion(max_kl=0.02)
    agent.compile(value_optimizer="sgd", jit_compile=True)
    assert isinstance(agent.optimizer, keras.optimizers.SGD)
    assert agent.update_settings.gamma == 0.9
    assert agent.jit_compile is True
    agent.compile(policy_optimizer, optimizer, update=settings, jit_compile=False)


def test_the_value_optimizer_that_stays_gets_a_rate_that_is_named(make_agent):
    agent = make_agent("CartPole-v1")
    optimizer = agent.optimizer
    agent.compile(update=UpdateSettings(value_learning_rate=0.02))
    assert agent.optimizer is optimizer
    assert float(optimizer.learning_rate) == np.float32(0.02)
    agent.compile(update=UpdateSettings(gamma=0.9))
    assert float(optimizer.learning_rate) == np.float32(0.02)
    # The rate that the first optimizer had.
    agent.compile(update=UpdateSettings(value_learning_rate=1e-3))
    assert float(optimizer.learning_rate) == np.float32(1e-3)
    agent.compile(value_optimizer="sgd")
    assert agent.update_settings.value_learning_rate is None
    agent.compile(value_optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)))
    with pytest.raises(ValueError, match=r"^value_learning_rate needs a value optimizer without a schedule"):
        agent.compile(update=UpdateSettings(value_learning_rate=0.02))


CHANGES = {
    "policy_optimizer/max_kl": (lambda agent: agent, "policy_optimizer", TrustRegion(max_kl=0.5), "0.01 to 0.5"),
    "update_settings/gamma": (lambda agent: agent, "update_settings", UpdateSettings(gamma=0.5), "0.99 to 0.5"),
    "optimizer/class_name": (lambda agent: agent, "optimizer", keras.optimizers.SGD(0.1), "Adam to SGD"),
    "optimizer": (lambda agent: agent, "optimizer", keras.optimizers.Adam(0.1), "another one with the same settings"),
    "jit_compile": (lambda agent: agent, "jit_compile", True, "False to True"),
    "RunningNormalization/clip": (lambda agent: agent.policy.encoder.normalization[0], "clip", 5.0, "10.0 to 5.0"),
    "Dense/activation": (lambda agent: agent.policy.encoder.network.layers[0], "activation", tf.nn.relu, "tanh to "),
    "Dense/trainable": (lambda agent: agent.value_function.encoder.output_layer, "trainable", False, "True to False"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_set_after_compile_is_refused_until_compile_is_called(make_agent, name):
    agent = make_agent("CartPole-v1", TrustRegion(), value_epochs=10, value_minibatch_size=128)
    find, attribute, value, sides = CHANGES[name]
    setattr(find(agent), attribute, value)
    with pytest.raises(ValueError, match=f"{name} was changed after compile, .*{sides}.*: call compile again"):
        fit(agent)
    agent.compile()
    check_unchanged(agent)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda agent: agent.compile(TrustRegion(max_kl=0.2)), "policy_optimizer"),
        (lambda agent: agent.compile(), "compile"),
        (lambda agent: setattr(agent, "update_settings", UpdateSettings(gamma=0.5)), "update_settings"),
    ],
)
def test_what_is_set_within_a_fit_is_refused(make_agent, change, name):
    agent = make_agent("CartPole-v1")
    changing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: change(agent))
    with pytest.raises(ValueError, match=f"^{name} has no effect on a fit that has begun: "):
        agent.fit("CartPole-v1", 96, num_steps=32, verbose=0, callbacks=[changing])
    assert int(agent.iterations) == 1


def test_other_variables_are_refused(make_agent):
    agent, other = make_agent("CartPole-v1"), make_agent("CartPole-v1")
    agent.policy.encoder.output_layer = other.policy.encoder.output_layer
    with pytest.raises(ValueError, match="call compile again"):
        fit(agent)


def test_a_learning_rate_takes_effect_and_is_no_change(make_agent):
    agent = make_agent("CartPole-v1")
    agent.optimizer.learning_rate = 0.0
    before = agent.value_function.encoder.output_layer.kernel.numpy()
    assert set(fit(agent)["train/learning_rate"]) == {0.0}
    np.testing.assert_array_equal(agent.value_function.encoder.output_layer.kernel.numpy(), before)
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5)
    assert set(fit(agent, callbacks=[rates])["train/learning_rate"]) == {0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 256.0}, r"num_steps must be a whole number, got 256.0 \(float\)"),
        ({"total_steps": "x"}, r"total_steps must be a whole number, got 'x' \(str\)"),
        ({"seed": None}, r"seed must be a whole number, got None"),
        ({"num_envs": True}, r"num_envs must be a whole number, got True \(bool\)"),
        ({"schedule_steps": 1.5}, "schedule_steps must be a whole number"),
        ({"max_faults": 0.5}, "max_faults must be a whole number"),
        ({"restart_every": None}, "restart_every must be a whole number"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(agent, arguments, message):
    with pytest.raises(TypeError, match=message):
        agent.fit(tf_trpo, **{"total_steps": 10, "verbose": 0} | arguments)


def test_whole_numbers_of_numpy_are_taken(agent):
    assert agent.fit("CartPole-v1", np.int64(32), num_steps=np.int32(32), seed=np.uint8(3), verbose=0).history
