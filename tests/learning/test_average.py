"""An agent that averages its policy's weights: what is trained stays the same, what is evaluated is the average."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning.average import WeightAverage
from tf_trpo.optimizers import VanillaPolicyGradient

FIT = {"num_envs": 2, "num_steps": 16, "seed": 3, "verbose": 0}
AVERAGED = {"ema_momentum": 0.7}
SCHEDULED = {"final_std": 0.2, "ema_momentum": 0.8}
OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


@pytest.fixture
def agent(borrow_agent):
    return borrow_agent("Pendulum-v1", policy=AVERAGED)


def copy_of_average(agent):
    """A policy of its own with the average's weights."""
    policy = agent.policy.__class__.from_config(agent.policy.get_config())
    policy.set_weights(agent.policy.get_weights())
    policy.assign_flat_weights(agent.average.theta.numpy())
    return policy


def test_the_average_is_that_of_the_policies_that_a_fit_went_through(agent, raw_first_layer):
    def raw(policy):
        output = policy.encoder.output_layer
        others = [output.kernel, output.bias, policy.action_distribution.log_std]
        return [*raw_first_layer(policy), *(weight.numpy() for weight in others)]

    policies = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: policies.append(raw(agent.policy)))
    agent.fit("Pendulum-v1", 352, callbacks=[keep], **FIT)
    assert len(policies) == 11
    expected = policies[0]
    for count, weights in enumerate(policies[1:], start=2):
        rate = max(0.3, 4 / (count + 3))
        expected = [(1 - rate) * old + rate * new for old, new in zip(expected, weights, strict=True)]
    for found, wanted in zip(raw(copy_of_average(agent)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(raw(agent.policy)[0] - expected[0]).max() > 1e-3


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_is_bit_for_bit_the_same(borrow_agent, jit_compile, assert_same_weights):
    agents = [
        borrow_agent("Pendulum-v1", policy=policy, jit_compile=jit_compile)
        for policy in ({"ema_momentum": None}, AVERAGED)
    ]
    for agent in agents:
        agent.fit("Pendulum-v1", 160, **FIT)
    assert agents[0].average is None
    assert_same_weights(*(agent.policy.get_weights() for agent in agents))
    assert_same_weights(*(agent.value_function.get_weights() for agent in agents))


def test_all_that_is_shown_to_others_is_the_average(agent, tmp_path, assert_same_weights):
    called = tf.function(lambda observations: agent(observations).mode())
    np.testing.assert_allclose(called(OBSERVATIONS), agent.policy(OBSERVATIONS).mode(), rtol=1e-6, atol=1e-7)
    agent.fit("Pendulum-v1", 160, **FIT)
    weights, average, last = agent.policy.get_weights(), copy_of_average(agent), agent.policy
    to_environment = last.action_distribution.to_environment
    actions = to_environment(average.act(OBSERVATIONS)).numpy()
    assert np.abs(actions - to_environment(last.act(OBSERVATIONS)).numpy()).max() > 1e-4
    np.testing.assert_allclose(agent.predict(OBSERVATIONS), actions, rtol=1e-6, atol=1e-7)
    # A call that was traced before the first iteration goes by the average afterwards.
    for mode in (agent(OBSERVATIONS).mode(), called(OBSERVATIONS)):
        np.testing.assert_allclose(mode, average(OBSERVATIONS).mode(), rtol=1e-5, atol=1e-6)
    served = tf.saved_model.load(agent.export(tmp_path)).signatures["serving_default"]
    np.testing.assert_allclose(served(tf.constant(OBSERVATIONS))["actions"], actions, rtol=1e-5, atol=1e-6)
    alone = tf_trpo.TRPO(average, agent.value_function)
    assert agent.evaluate("Pendulum-v1", 3) == alone.evaluate("Pendulum-v1", 3)
    assert_same_weights(agent.policy.get_weights(), weights)


def test_a_scheduled_standard_deviation_ends_where_the_schedule_does(borrow_agent):
    agent, seen = borrow_agent("Pendulum-v1", VanillaPolicyGradient(), policy=SCHEDULED), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["train/std"]))
    agent.fit("Pendulum-v1", 320, callbacks=[keep], **FIT | {"num_steps": 32})
    rows = 64 * np.arange(len(seen)) / 320
    np.testing.assert_allclose(seen[:5], 0.2 ** rows[:5], rtol=1e-5)
    np.testing.assert_allclose(agent(OBSERVATIONS).stddev(), 0.2, rtol=1e-5)


def test_before_the_first_iteration_it_is_the_policy_whatever_was_assigned_to_that(agent):
    agent.policy.set_weights([weight + 0.5 for weight in agent.policy.get_weights()])

    def of_policy():
        return agent.policy.action_distribution.to_environment(agent.policy.act(OBSERVATIONS))

    np.testing.assert_allclose(agent.predict(OBSERVATIONS), of_policy(), rtol=1e-6)
    agent.fit("Pendulum-v1", 32, **FIT)
    np.testing.assert_allclose(agent.predict(OBSERVATIONS), of_policy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_out_of_range_is_refused(agent, momentum):
    with pytest.raises(ValueError, match=r"ema_momentum must lie in \[0, 1\)"):
        WeightAverage(agent.policy, momentum)
