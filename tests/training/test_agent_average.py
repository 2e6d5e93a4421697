"""An agent that averages its policy's weights: what is trained stays the same, what is evaluated is the average."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import AnnealedStd

FIT = {"num_envs": 2, "num_steps": 32, "seed": 3, "verbose": 0}
OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def make(ema_momentum, jit_compile=False, **kwargs):
    agent = tf_trpo.TRPO.for_env(
        "Pendulum-v1", hidden_sizes=[6], value_hidden_sizes=[6], ema_momentum=ema_momentum, seed=0, **kwargs
    )
    agent.compile(tf_trpo.optimizers.TrustRegion(0.05), jit_compile=jit_compile, value_epochs=2)
    return agent


def test_the_average_is_that_of_the_policies_that_a_fit_went_through(raw_first_layer):
    def raw(policy):
        output = policy.encoder.output_layer
        others = [output.kernel, output.bias, policy.action_distribution.log_std]
        return [*raw_first_layer(policy), *(weight.numpy() for weight in others)]

    agent, policies = make(0.7), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: policies.append(raw(agent.policy)))
    agent.fit("Pendulum-v1", 640, callbacks=[keep], **FIT)
    assert len(policies) == 11
    expected = policies[0]
    for count, weights in enumerate(policies[1:], start=2):
        rate = max(0.3, 1 / count)
        expected = [(1 - rate) * old + rate * new for old, new in zip(expected, weights, strict=True)]
    for found, wanted in zip(raw(agent.policy_average.policy), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(raw(agent.policy)[0] - expected[0]).max() > 1e-3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_is_bit_for_bit_the_same(jit_compile, assert_same_weights):
    agents = [make(None, jit_compile), make(0.9, jit_compile)]
    for agent in agents:
        agent.fit("Pendulum-v1", 320, **FIT)
    assert_same_weights(*(agent.policy.get_weights() for agent in agents))
    assert_same_weights(*(agent.value_function.get_weights() for agent in agents))


def test_all_that_is_shown_to_others_is_the_average(tmp_path):
    agent = make(0.9)
    agent.fit("Pendulum-v1", 320, **FIT)
    average, last = agent.policy_average.policy, agent.policy
    actions = average.action_distribution.to_environment(average.act(OBSERVATIONS)).numpy()
    assert np.abs(actions - last.action_distribution.to_environment(last.act(OBSERVATIONS)).numpy()).max() > 1e-4
    np.testing.assert_array_equal(agent.predict(OBSERVATIONS), actions)
    np.testing.assert_array_equal(agent(OBSERVATIONS).mode(), average(OBSERVATIONS).mode())
    compiled = tf.function(lambda x: agent(x).mode())
    np.testing.assert_allclose(compiled(OBSERVATIONS), average(OBSERVATIONS).mode(), rtol=1e-5, atol=1e-6)
    served = tf.saved_model.load(agent.export(tmp_path)).signatures["serving_default"]
    np.testing.assert_allclose(served(tf.constant(OBSERVATIONS))["actions"], actions, rtol=1e-5, atol=1e-6)
    alone = tf_trpo.TRPO(average, agent.value_function)
    alone.compile()
    assert agent.evaluate("Pendulum-v1", 3) == alone.evaluate("Pendulum-v1", 3)


def test_a_call_that_was_traced_before_the_first_iteration_goes_by_the_average_afterwards():
    agent = make(0.9)
    called = tf.function(lambda observations: agent(observations).mode())
    np.testing.assert_allclose(called(OBSERVATIONS), agent.policy(OBSERVATIONS).mode(), rtol=1e-6, atol=1e-7)
    agent.fit("Pendulum-v1", 320, **FIT)
    average = agent.policy_average.policy(OBSERVATIONS).mode()
    np.testing.assert_allclose(called(OBSERVATIONS), average, rtol=1e-5, atol=1e-6)
    assert np.abs(average - agent.policy(OBSERVATIONS).mode()).max() > 1e-3


def test_a_standard_deviation_by_schedule_is_that_of_the_average_too():
    agent = make(0.9, learned_std=False)
    agent.fit("Pendulum-v1", 320, callbacks=[AnnealedStd(0.1, 320)], **FIT)
    for policy in (agent.policy, agent.policy_average.policy):
        np.testing.assert_allclose(np.exp(policy.action_distribution.log_std), 0.1, rtol=1e-5)


def test_before_the_first_iteration_it_is_the_policy_whatever_was_assigned_to_that():
    agent = make(0.9)
    agent.policy.set_weights([weight + 0.5 for weight in agent.policy.get_weights()])
    assert agent.evaluation_policy() is agent.policy
    agent.fit("Pendulum-v1", 64, **FIT)
    assert agent.evaluation_policy() is agent.policy_average.policy
    np.testing.assert_allclose(
        agent.predict(OBSERVATIONS),
        agent.policy.action_distribution.to_environment(agent.policy.act(OBSERVATIONS)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_without_a_momentum_there_is_none():
    agent = make(None)
    assert agent.policy_average is None
    assert agent.evaluation_policy() is agent.policy
